"""`tfcyclegan train`: from pictures to a run folder and its exports."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from ..distributed.cluster import Cluster
from ..errors import InputError
from ..evaluation import METRICS
from ..evaluation.metrics import metric_name
from ..networks.unet import default_depth
from ..precision import resolve_precision
from ..training.config import ARCHITECTURE, Config
from ..training.on_ray import train_on_ray
from ..training.run import Run
from ..training.run import train as run_training
from ..training.run_folder import free_run_dir, newest_run, run_folder
from .evaluate import print_evaluation
from .export import export, export_and_print


def command(arguments: Sequence[str]) -> Callable[..., int]:
    """The command. It must know what was typed: a resumed run's settings are its own defaults.

    Args:
        arguments: what was typed behind the command's name.
    """

    def run(config: Config, resume: bool) -> int:
        return _train(*understand(arguments))

    return _with_signature(run, Config())


def _with_signature(function: Callable, default: Config) -> Callable:
    """Lets a function of `(config, resume)` be parsed for, with these settings as defaults."""

    def train(config, resume=False):
        """Learn to translate pictures between two domains.

        Args:
            config: The settings.
            resume: Go on from the newest checkpoint of run_dir, or without that of the newest
                run there is (on data, if that is given). Settings not typed stay what they were.
        """
        return function(config, resume)

    train.__annotations__ = {"config": Config, "resume": bool}
    train.__defaults__ = (default, False)
    return train


def understand(arguments: Sequence[str]) -> tuple[Config, bool]:
    """The configuration that was asked for, with its run folder, and whether to resume.

    Args:
        arguments: what was typed behind the command's name.
    """
    config, resume = _parse(arguments, Config())
    if config.run_dir:
        directory = Path(config.run_dir)
    else:
        named = any(re.match(r"--data(=|$)", argument) for argument in arguments)
        newest = newest_run(config.data if named else None) if resume else None
        directory = newest or free_run_dir(config.data)
    if resume and (directory / "config.json").exists():
        # What is not typed stays what it was; what is typed is compared later on.
        saved = Config.load(directory / "config.json")
        config, _ = _parse(arguments, dataclasses.replace(saved, run_dir=str(directory)))
    elif config.initial_weights and (start := run_folder(Path(config.initial_weights))):
        # So with the networks that training starts from.
        networks = architecture(start / "config.json")
        config, _ = _parse(arguments, dataclasses.replace(Config(), **networks))
    return dataclasses.replace(config, run_dir=str(directory)), resume


def architecture(path: Path) -> dict[str, Any]:
    """The settings of a run that describe its networks."""
    saved = Config.load(path)
    depth = default_depth(saved.image_size or 256) if saved.generator == "unet" else None
    settings = {name: getattr(saved, name) for name in ARCHITECTURE}
    # The sizes of that run's pictures, which these follow, need not be those of the new one.
    return {**settings, "depth": saved.depth or depth}


def _parse(arguments: Sequence[str], default: Config) -> tuple[Config, bool]:
    return tyro.cli(
        _with_signature(lambda config, resume: (config, resume), default),
        args=list(arguments),
        config=(tyro.conf.OmitArgPrefixes,),
    )


def _train(config: Config, resume: bool) -> int:
    console = Console()
    precision, reason = resolve_precision(config.precision)
    console.print(f"precision {precision}: {reason}", highlight=False)
    if config.strategy == "ray":
        directory = train_on_ray(config, resume)
        console.print(f"run: {directory}", highlight=False, soft_wrap=True)
        if config.export:
            export(str(directory))
        return 0
    run = run_training(config, resume)
    if run is None:  # the chief does the rest
        if cluster := Cluster.from_environment():
            cluster.outlast_chief()
        return 0
    _report(run, console)
    if config.export:
        name = run.directory.resolve().name
        try:
            report = export_and_print(run.model, run.data, Path("exports", name), console)
            problems = report.missed
        except InputError as problem:
            again = f"python -m tfcyclegan export {shlex.quote(str(run.directory))}"
            problems = [f"not exported: {problem}. The run is complete; export it with: {again}"]
        for line in problems:
            console.print(f"warning: {line}", highlight=False, markup=False, soft_wrap=True)
    return 0


def _report(run: Run, console: Console) -> None:
    if run.evaluation:
        print_evaluation(run.evaluation, console)
    if run.best:
        name = run.best["metric"]
        metric = METRICS[metric_name(name)]
        last = run.evaluation.flat().get(name) if run.evaluation else None
        console.print(
            f"best {name}: {metric.show(run.best['value'])} in epoch {run.best['epoch']}"
            + (f" (last: {metric.show(last)})" if last is not None else "")
            + f": {run.directory / 'best.keras'}",
            highlight=False,
            soft_wrap=True,
        )
    checkpoints = sorted((run.directory / "checkpoints").glob("*.npz"))
    size = sum(path.stat().st_size for path in checkpoints) / 1e6
    for label, path in (
        ("sample grid", run.grid),
        ("curves", run.directory / "curves.png"),
        ("report", run.directory / "report.html"),
        ("model", run.directory / "model.keras"),
        (f"{len(checkpoints)} checkpoints, {size:.0f} MB", run.directory / "checkpoints"),
    ):
        console.print(f"{label}: {path}", highlight=False, soft_wrap=True)
