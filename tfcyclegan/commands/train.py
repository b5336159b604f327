"""`tfcyclegan train`: from pictures to a run folder and its exports."""

from __future__ import annotations

import dataclasses
import functools
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf
import tyro

from ..distributed.cluster import Cluster
from ..errors import InputError
from ..evaluation import METRICS
from ..evaluation.metrics import metric_name
from ..networks.unet import default_depth
from ..precision import resolve_precision
from ..training.config import Config
from ..training.on_ray import train_on_ray
from ..training.recipes import RECIPES, default_recipe
from ..training.run import Run
from ..training.run import train as run_training
from ..training.run_folder import free_run_dir, newest_run, run_folder
from .evaluate import print_evaluation
from .export import export, export_and_print


@dataclass(frozen=True)
class Train:
    """Train a CycleGAN or pix2pix: learn to translate pictures between two domains."""

    config: Config = field(default_factory=Config)
    """Settings of the run."""
    resume: bool = False
    """Continue from the last checkpoint in --run-dir. Default: the newest run (with --data, the
    newest one on that data). Settings that you do not give keep their values."""


def understand(arguments: Sequence[str]) -> tuple[Config, bool]:
    """Parses the arguments of the command.

    A resumed run's own settings are the defaults, so the arguments are parsed a second time once
    the run is known. Likewise, `initial_weights` determines the architecture.

    Args:
        arguments: the arguments after `train`.

    Returns:
        The settings, with `run_dir` set, and whether to resume.
    """
    parse = functools.partial(
        tyro.cli,
        Train,
        args=list(arguments),
        prog="tfcyclegan train",
        config=(tyro.conf.OmitArgPrefixes,),
    )
    typed = parse()
    config, directory = typed.config, typed.config.run_dir
    if typed.resume and not directory:
        data = parse(default=Train(Config(data=""))).config.data
        directory = newest_run(data or None)
    directory = Path(directory or free_run_dir(config.data))
    if typed.resume and (directory / "config.json").exists():
        config = parse(default=Train(Config.load(directory / "config.json"))).config
    elif config.initial_weights and (start := run_folder(Path(config.initial_weights))):
        config = parse(default=Train(Config(**architecture(start / "config.json")))).config
    return dataclasses.replace(config, run_dir=str(directory)), typed.resume


def architecture(path: Path) -> dict[str, Any]:
    """The settings in a run's `config.json` that describe its networks."""
    saved = Config.load(path)
    settings = dataclasses.asdict(saved.architecture)
    if saved.generator == "unet" and saved.depth is None:
        # The default depth follows the image size, which the new run may change.
        settings["depth"] = default_depth(saved.image_size or 256)
    if saved.model == "pix2pix":
        settings |= {"model": "pix2pix", "direction": saved.direction}
    return settings


def train(config: Config, resume: bool) -> int:
    """Trains as `Train` says, prints what the run came to, and exports the generators.

    Args:
        config: the settings, with `run_dir` set.
        resume: whether to continue from the last checkpoint.

    Returns:
        The exit code.
    """
    precision, reason = resolve_precision(config.precision)
    print(f"precision {precision}: {reason}")
    recipe = config.recipe or default_recipe(config.data, config.model)
    filled = {k: v for k, v in RECIPES.get(recipe, {}).items() if getattr(config, k) is None}
    if filled:
        print(f"recipe {recipe}:", *(f"{name}={value}" for name, value in filled.items()))
    if recipe == "paper" and not tf.config.list_physical_devices("GPU"):
        print(
            "no GPU found: photographs take days with the paper's settings on a CPU. --recipe fast "
            "shows results within the hour; it needs the extra projected"
        )
    if config.strategy == "ray":
        directory = train_on_ray(config, resume)
        print(f"run: {directory}")
        if config.export:
            export(str(directory))
        return 0
    run = run_training(config, resume)
    if run is None:  # only the chief has results to print and export
        if cluster := Cluster.from_environment():
            cluster.outlast_chief()
        return 0
    _report(run)
    if config.export:
        try:
            report = export_and_print(
                run.model, run.data, Path("exports", run.directory.resolve().name)
            )
            problems = report.missed
        except InputError as problem:
            again = f"python -m tfcyclegan export {shlex.quote(str(run.directory))}"
            problems = [f"not exported: {problem}. The run is complete; export it with: {again}"]
        for line in problems:
            print(f"warning: {line}")
    return 0


def _report(run: Run) -> None:
    if run.evaluation:
        print_evaluation(run.evaluation)
    if run.best:
        name = run.best["metric"]
        show = METRICS[metric_name(name)].show
        last = run.evaluation.flat().get(name) if run.evaluation else None
        compared = f" (last: {show(last)})" if last is not None else ""
        print(
            f"best {name}: {show(run.best['value'])} in epoch {run.best['epoch']}{compared}: "
            f"{run.directory / 'best.keras'}"
        )
    print(f"sample grid: {run.grid}")
    for name in ("curves.png", "report.html", "model.keras", "checkpoints"):
        print(f"{name.partition('.')[0]}: {run.directory / name}")
