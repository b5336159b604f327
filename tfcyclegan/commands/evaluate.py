"""`tfcyclegan evaluate`: how good a trained model is, in numbers and on a page."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from ..backends import generator_of
from ..config import Config, Measuring
from ..cyclegan import CycleGAN
from ..errors import InputError
from ..evaluation import Evaluation
from ..evaluation.report import write_report
from ..evaluation.setup import make_evaluator
from ..files import written_whole
from ..networks import Direction
from ..runs import open_run

#: What a user with a network connection gets without asking.
_EXTRACTOR = "InceptionV3"


def evaluate(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    data: str | None = None,
    to: str | None = None,
    direction: Direction = "AtoB",
    measuring: Measuring = Measuring(),  # noqa: B008 (frozen)
) -> int:
    """Measure a trained model on test pictures, in both directions, with what to compare it with.

    Args:
        run: A run folder, or a .keras file.
        data: Where test pictures come from, as in train. Default: the run's data.
        to: Folder for evaluation.json and report.html. Default: the run folder; a file needs one.
        direction: Which way a .keras file with a single generator goes.
        measuring: What is measured; what is not typed is as in the run. Without --extractor it is
            keras.applications' InceptionV3 where its weights can be had; "none" leaves it out.
    """
    directory = Path(run) if Path(run).is_dir() else None
    if directory is None and to is None and Path(run).exists():
        raise InputError(f"{run}: a file has no folder of its own: say where to with --to")
    model, config, _ = open_run(run, data)
    config = dataclasses.replace(config, measuring=measuring.over(config.measuring)).resolved()
    console = Console()
    evaluator = None
    if config.measuring.extractor is None and measuring.metrics is None:
        try:
            evaluator = make_evaluator(_with_extractor(config, _EXTRACTOR))
        except InputError as problem:
            if not str(problem).startswith(_EXTRACTOR):
                raise
            console.print(
                f"FID and KID left out: {problem}", highlight=False, markup=False, soft_wrap=True
            )
    elif config.measuring.extractor == "none":
        config = _with_extractor(config, None)
    evaluator = evaluator or make_evaluator(config)
    ways = ("AtoB", "BtoA") if isinstance(model, CycleGAN) else (direction,)
    evaluation = evaluator({way: generator_of(model, way, run) for way in ways})
    print_evaluation(evaluation, console)
    folder = Path(to) if to else directory
    with written_whole(folder / "evaluation.json") as part:
        part.write_text(evaluation.to_json())
    page = write_report(directory or Path(run).parent, evaluation, folder)
    console.print(f"report: {page}", highlight=False, markup=False, soft_wrap=True)
    return 0


def _with_extractor(config: Config, name: str | None) -> Config:
    return dataclasses.replace(
        config, measuring=dataclasses.replace(config.measuring, extractor=name)
    )


def print_evaluation(evaluation: Evaluation, console: Console, title: str = "") -> None:
    """Prints a table a direction, and what the numbers stand on."""
    for way in evaluation.scores:
        generator = "G" if way == "AtoB" else "F"
        table = Table(title=f"{title}{generator}: {way[0]} to {way[-1]}", title_justify="left")
        head, *rows = evaluation.rows(way)
        for place, name in enumerate(head):
            table.add_column(name, justify="right" if place else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for fact in evaluation.facts():
        console.print(f"- {fact}", highlight=False, markup=False, soft_wrap=True)
