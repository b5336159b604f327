"""`tfcyclegan evaluate`: measures a trained model and writes a report."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import keras
import tyro

from ..directions import Direction
from ..errors import InputError
from ..evaluation import METRICS, Evaluation, Pretrained, open_pretrained
from ..evaluation.metrics import split_names
from ..files import write_text
from ..runtimes.keras_model import direction_of, generator_of
from ..training.config import Config
from ..training.evaluation import make_evaluator
from ..training.measuring import Measuring
from ..training.report import write_report
from ..training.run_folder import open_run, run_folder
from .tables import print_table


def evaluate(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    data: str | None = None,
    to: str | None = None,
    direction: Direction | None = None,
    measuring: Measuring = Measuring(),  # noqa: B008 (frozen)
) -> int:
    """Measure a trained model on test pictures, in both directions, and compare with baselines.

    Args:
        run: A run folder or a .keras file.
        data: Source of the test pictures, as in train. Default: the run's data.
        to: The folder for evaluation.json and report.html. Default: the run folder. Required for
            a .keras file.
        direction: Direction of a single generator. Default: the one that the file records, else
            AtoB.
        measuring: What to measure. Default: as in the run. Without --extractor, features come
            from keras.applications' InceptionV3 if its weights are available.
    """
    path = Path(run)
    folder = Path(to) if to else path
    if to is None and path.is_file():
        raise InputError(f"{run}: a file has no run folder to write to: pass `to`")
    model, config, _ = open_run(run, data)
    own: Direction = direction or direction_of(model) or "AtoB"
    ways: Sequence[Direction] = list(getattr(model, "translators", [own]))
    if direction and hasattr(model, "translators"):
        raise InputError(f"direction={direction}: goes with a single generator: leave it out")
    generators = {way: generator_of(model, way, run) for way in ways}
    config = _to_measure(config, measuring, generators, path)
    evaluation = make_evaluator(config, _default_extractor(config))(generators)
    print_evaluation(evaluation)
    write_text(folder / "evaluation.json", evaluation.to_json())
    page = write_report(run_folder(path), evaluation, folder, path.name if path.is_file() else None)
    print(f"report: {page}")
    return 0


def _to_measure(
    config: Config, measuring: Measuring, generators: Mapping[Direction, keras.Model], path: Path
) -> Config:
    """The run's settings, with those of the command, adapted to the test pictures."""
    before = config.measuring
    saved = run_folder(path)
    if saved and Config.load(saved / "config.json").data != config.data:
        # These settings describe the run's own data.
        before = dataclasses.replace(
            before, paired=False, palette=None, segmenter=None, test_count=None
        )
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


def _default_extractor(config: Config) -> Pretrained | None:
    """InceptionV3 if a metric needs features, no extractor is set, and its weights are there."""
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
        print(f"FID and KID left out: {problem}")
        return None


def print_evaluation(evaluation: Evaluation) -> None:
    """Prints one table per direction, then the data and networks that the scores depend on."""
    for way in evaluation.scores:
        print_table(f"{way[0]} to {way[-1]}", evaluation.rows(way))
    for fact in evaluation.facts():
        print(f"- {fact}")
