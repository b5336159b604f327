"""`tfcyclegan evaluate`: how good a trained model is, in numbers and on a page."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import keras
import tyro
from rich.console import Console
from rich.table import Table

from ..cyclegan import CycleGAN
from ..directions import Direction
from ..errors import InputError
from ..evaluation import METRICS, Evaluation, Pretrained, open_pretrained
from ..evaluation.metrics import split_names
from ..files import atomic_write
from ..runtimes.keras_model import direction_of, generator_of
from ..training.config import Config
from ..training.evaluation import make_evaluator
from ..training.measuring import Measuring
from ..training.report import write_report
from ..training.run_folder import open_run, run_folder


def evaluate(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    data: str | None = None,
    to: str | None = None,
    direction: Direction | None = None,
    measuring: Measuring = Measuring(),  # noqa: B008 (frozen)
) -> int:
    """Measure a trained model on test pictures, in both directions, with what to compare it with.

    Args:
        run: A run folder, or a .keras file.
        data: Where test pictures come from, as in train. Default: the run's data.
        to: Folder for evaluation.json and report.html. Default: the run folder; a file needs one.
        direction: Which way a generator that is alone goes. Default: what it says, else AtoB.
        measuring: What is measured; what is not typed is as in the run. Without --extractor it is
            keras.applications' InceptionV3 where its weights can be had; "none" leaves it out.
    """
    path = Path(run)
    folder = Path(to) if to else path
    if to is None and path.is_file():
        raise InputError(f"{run}: a file has no folder of its own: say where to with --to")
    model, config, _ = open_run(run, data)
    both = isinstance(model, CycleGAN)
    ways: tuple[Direction, ...] = (
        ("AtoB", "BtoA") if both else (direction or direction_of(model) or "AtoB",)
    )
    generators = {way: generator_of(model, way, run) for way in ways}
    config = _to_measure(config, measuring, generators, path)
    console = Console()
    evaluation = make_evaluator(config, _default_extractor(config, console))(generators)
    print_evaluation(evaluation, console)
    with atomic_write(folder / "evaluation.json") as part:
        part.write_text(evaluation.to_json())
    page = write_report(run_folder(path), evaluation, folder, path.name if path.is_file() else None)
    console.print(f"report: {page}", highlight=False, markup=False, soft_wrap=True)
    return 0


def _to_measure(
    config: Config, measuring: Measuring, generators: Mapping[Direction, keras.Model], path: Path
) -> Config:
    """The run's configuration with what was typed over it, fit for the pictures at hand."""
    before = config.measuring
    saved = run_folder(path)
    if saved and Config.load(saved / "config.json").data != config.data:
        # Other data has pairs and colours of its own, and perhaps another size to begin with.
        before = dataclasses.replace(before, paired=False, palette=None, test_count=None)
        config = dataclasses.replace(config, preprocess=None)
    channels = {}
    for way, generator in generators.items():
        channels[way[0]] = generator.input_shape[-1]
        channels.setdefault(way[-1], generator.output_shape[-1])
    return dataclasses.replace(
        config,
        channels_A=channels["A"],
        channels_B=channels["B"],
        measuring=measuring.over(before),
    ).resolved()


def _default_extractor(config: Config, console: Console) -> Pretrained | None:
    """InceptionV3, where features are wanted, no network is named, and it can be had."""
    how = config.measuring
    wanted = how.metrics is None or any(
        METRICS[name].needs == "extractor" for name in split_names(how.metrics)
    )
    if how.extractor or not wanted:
        return None
    try:
        return open_pretrained("InceptionV3")
    except InputError as problem:
        if how.metrics is not None:
            raise
        console.print(
            f"FID and KID left out: {problem}", highlight=False, markup=False, soft_wrap=True
        )
        return None


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Prints a table a direction, and what the numbers stand on."""
    for way in evaluation.scores:
        generator = "G" if way == "AtoB" else "F"
        console.print(table_of(f"{generator}: {way[0]} to {way[-1]}", evaluation.rows(way)))
    for fact in evaluation.facts():
        console.print(f"- {fact}", highlight=False, markup=False, soft_wrap=True)


def table_of(title: str, rows: Sequence[Sequence[str]]) -> Table:
    """A table to print, the first row its head, with names on the left and numbers behind."""
    head, *body = rows
    table = Table(title=title, title_justify="left")
    for place, name in enumerate(head):
        table.add_column(name, justify="right" if place else "left")
    for row in body:
        table.add_row(*row)
    return table
