"""Run folders: the name of a new one, the newest one, and the model in one."""

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
    """Finds the run in `runs` that was started last.

    Imported models do not count, because there is nothing to resume.

    Args:
        data: only consider runs on this data. Default: on any.

    Returns:
        The run folder, or None if there is none.
    """
    configs = sorted(Path("runs").glob("*/config.json"), key=lambda path: path.stat().st_mtime)
    for path in reversed(configs):
        run = path.parent
        imported = (run / "model.keras").exists() and not (run / "checkpoints").exists()
        if not imported and (data is None or Config.load(path).data == data):
            return run
    return None


def free_run_dir(data: str) -> Path:
    """Returns the first of `runs/NAME`, `runs/NAME-2` and so on that does not exist."""
    name, number = name_of(data), 1
    while (directory := Path("runs", name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return directory


def name_of(data: str) -> str:
    """Returns the name of a run on that data: `maps` for `/pictures/maps.zip`."""
    last = re.split(r"[/\\:]", data.rstrip("/\\:"))[-1]
    return re.sub(r"[^\w.-]+", "_", last.removesuffix(".zip")).strip(".") or "run"


def run_folder(path: Path) -> Path | None:
    """Returns the run folder that `path` or its `model.keras` or `best.keras` is in, or None."""
    folder = path if path.is_dir() else path.parent
    ours = path.is_dir() or path.name in ("model.keras", "best.keras")
    return folder if ours and (folder / "config.json").exists() else None


def open_run(run: str, data: str | None = None) -> tuple[keras.Model, Config, str]:
    """Loads the model of a finished run, its settings and its name.

    Args:
        run: a run folder or a `.keras` file. A file gets the settings of the run folder that it is
            in, or else the defaults.
        data: a source to use instead of the run's. Required for a file outside a run folder.

    Returns:
        The model (a `CycleGAN` or `Pix2Pix`, or the generator if the file has only one), the
        configuration with `data`, and the name of the folder or file.

    Raises:
        InputError: there is no run or no model that can be loaded, or `data` is missing.

    Example:
        ```python
        model, config, name = open_run("runs/horse2zebra")
        ```
    """
    path = Path(run)
    folder = run_folder(path)
    if path.is_dir() and not folder:
        raise InputError(f"{run}: not a run folder: it has no config.json: give a run folder")
    if path.is_file() and path.suffix != ".keras":
        raise InputError(f"{run}: give a run folder or a .keras file")
    model = load_model(path)
    if folder:
        config = Config.load(folder / "config.json")
        name = folder.resolve().name + ("" if path.is_dir() else f"-{path.stem}")
    else:
        side = getattr(model, "image_size", None)
        config = Config(data="", image_size=side if isinstance(side, int) else 256)
        name = path.stem
    if not (data or config.data):
        what = "an imported model" if folder else "a file"
        raise InputError(f"{run}: {what} does not say what to measure on: pass `data`")
    return model, dataclasses.replace(config, data=data or config.data), name


def check_run_folder(directory: Path, config: Config, resume: bool) -> None:
    """Checks that a run may write to a folder. Removes the unfinished files of a killed process.

    Args:
        directory: the run folder.
        config: the settings of the run.
        resume: bool, whether to continue the run in the folder.

    Raises:
        InputError: the folder has another run or no run, or the run in it has other settings.
    """
    if directory.exists() and not directory.is_dir():
        raise InputError(f"run_dir={directory}: that is a file: give another `run_dir`")
    for part in directory.glob(".*.part-*"):
        part.unlink(missing_ok=True)
    if not directory.exists() or not any(directory.iterdir()):
        return
    if not resume:
        raise InputError(
            f"run_dir={directory}: there is a run already: pass resume=True to continue it, or "
            "another `run_dir`"
        )
    if not (directory / "config.json").exists():
        raise InputError(
            f"run_dir={directory}: not a run folder: it has no config.json: give another `run_dir`"
        )
    if (directory / "model.keras").exists() and not Checkpoints(directory / "checkpoints").paths():
        raise InputError(
            f"resume=True: {directory} holds a model and no checkpoint to go on from: start a new "
            f"run with initial_weights={directory}"
        )
    if differences := Config.load(directory / "config.json").differences(config):
        raise InputError(
            f"resume=True: {directory} was started with other settings: {'; '.join(differences)}. "
            "Leave them out to continue, or start a new run with another `run_dir`"
        )
