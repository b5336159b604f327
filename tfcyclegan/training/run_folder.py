"""Run folders: where a new run goes, which one is meant, and what one holds."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import keras

from ..errors import InputError
from ..runtimes.keras_model import load_model
from .checkpoints import Checkpoints
from .config import Config


def newest_run(data: str | None = None) -> Path | None:
    """The run below runs/ that was started last, on that data or on any, or None.

    Imported models are passed over.
    """
    runs = sorted(Path("runs").glob("*/config.json"), key=lambda path: path.stat().st_mtime)
    fitting = [
        path.parent
        for path in runs
        if (data is None or Config.load(path).data == data) and not _is_imported(path.parent)
    ]
    return fitting[-1] if fitting else None


def _is_imported(run: Path) -> bool:
    """Whether it holds a model that was not trained there, so that there is nothing to resume."""
    return (run / "model.keras").exists() and not (run / "checkpoints").exists()


def free_run_dir(data: str) -> Path:
    """runs/NAME of the data, with a number where that is taken."""
    name, number = name_of(data), 1
    while (directory := Path("runs", name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return directory


def name_of(data: str) -> str:
    """What a run on that data is called."""
    last = re.split(r"[/\\:]", data.rstrip("/\\:"))[-1]
    return re.sub(r"[^\w.-]+", "_", last.removesuffix(".zip")).strip(".") or "run"


def run_folder(path: Path) -> Path | None:
    """The run folder that a path is, or that a model in it lies in; None for other files."""
    folder = path if path.is_dir() else path.parent
    ours = path.is_dir() or path.name in ("model.keras", "best.keras")
    return folder if ours and (folder / "config.json").exists() else None


def open_run(run: str, data: str | None = None) -> tuple[keras.Model, Config, str]:
    """The model of a finished run, its settings and its name.

    Args:
        run: a run folder, or a `.keras` file, whose settings are those of the run folder it lies
            in, or else the defaults.
        data: a source to use instead of the run's own; a file needs one.

    Returns:
        The model (a `CycleGAN`, or a generator alone where a file holds one), the configuration
        with `data` in it, and the folder's or file's name.

    Raises:
        InputError: no run, no model that can be loaded, or a file without data.
    """
    path = Path(run)
    if path.is_dir():
        if not (path / "config.json").exists():
            raise InputError(f"{run}: no config.json in it, so it is no run: give a run folder")
        config = Config.load(path / "config.json")
        name = path.resolve().name
    elif (folder := run_folder(path)) is not None:
        config = Config.load(folder / "config.json")
        name = f"{folder.resolve().name}-{path.stem}"
    elif path.suffix == ".keras" or not path.exists():
        config, name = None, path.stem
    else:
        raise InputError(f"{run}: give a run folder or a .keras file")
    model = load_model(path)
    if config is None:
        if data is None:
            raise InputError(f"{run}: a file does not say what to measure on: pass `data`")
        side = getattr(model, "image_size", None)
        config = Config(data=data, image_size=side if isinstance(side, int) else 256)
    if not (data or config.data):
        raise InputError(f"{run}: an imported model does not say what to measure on: pass `data`")
    if data is not None:
        config = dataclasses.replace(config, data=data)
    return model, config, name


def check_run_folder(directory: Path, config: Config, resume: bool) -> None:
    """Refuses to overwrite a run, or to resume one with other settings.

    Raises:
        InputError: naming the folder and what to do.
    """
    if directory.exists() and not directory.is_dir():
        raise InputError(f"run_dir={directory}: that is a file: give another `run_dir`")
    # What a killed process left half-written does not count, and goes.
    for part in directory.glob(".*.part-*"):
        part.unlink(missing_ok=True)
    if not directory.exists() or not any(directory.iterdir()):
        return
    if not resume:
        raise InputError(
            f"run_dir={directory}: there is a run already: pass resume=True to go on with it, or "
            "another `run_dir`"
        )
    if not (directory / "config.json").exists():
        raise InputError(
            f"run_dir={directory}: no config.json in it, so it is no run: give another `run_dir`"
        )
    if (directory / "model.keras").exists() and not Checkpoints(directory / "checkpoints").paths():
        raise InputError(
            f"resume=True: {directory} holds a model and no checkpoint to go on from: train it "
            f"further in a run of its own with initial_weights={directory}"
        )
    differences = Config.load(directory / "config.json").differences(config)
    if differences:
        raise InputError(
            f"resume=True: {directory} was started with other settings: {'; '.join(differences)}. "
            "Leave them out to go on, or start a new run with another `run_dir`"
        )
