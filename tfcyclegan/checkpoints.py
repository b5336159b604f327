"""Checkpoints of everything a run needs to go on as if it had never stopped."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np

from .cyclegan import CycleGAN
from .errors import InputError, NonFiniteLoss
from .files import written_whole

logger = logging.getLogger(__name__)


class Checkpoints:
    """A folder of checkpoints, `step_000001234.npz`, of which the newest few are kept.

    A checkpoint holds every variable of the model: networks, optimizers with their moments,
    pools, steps, the epoch's running means and the states of random generators. It appears whole
    or not at all, and its checksums are compared when it is read.

    Args:
        directory: the folder; made when the first one is written.
        keep: int, how many to keep. Default 3.
    """

    def __init__(self, directory: str | Path, keep: int = 3):
        self.directory = Path(directory)
        self.keep = keep

    def paths(self) -> list[Path]:
        """All that are there, the newest first."""
        if not self.directory.is_dir():
            return []
        found = [p for p in self.directory.iterdir() if re.fullmatch(r"step_\d+\.npz", p.name)]
        return sorted(found, key=lambda path: int(path.stem.removeprefix("step_")), reverse=True)

    def save(self, model: CycleGAN, about: dict[str, Any] | None = None) -> Path:
        """Writes one and removes those that are too many.

        Args:
            model: a compiled model.
            about: what else has to be the same when it is read, by name; JSON can hold it.

        Raises:
            NonFiniteLoss: the model is not worth keeping.
            InputError: the disk is full; those that were there are still there.
        """
        step = int(model.step.numpy())
        path = self.directory / f"step_{step:09d}.npz"
        variables = model.state()
        arrays = {name: variable.numpy() for name, variable in variables.items()}
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise NonFiniteLoss(self.advice(f"{name} is not finite", step))
        meta = json.dumps({"format": 1, "names": list(arrays), "about": about or {}}).encode()
        numbered = {f"{place}": array for place, array in enumerate(arrays.values())}
        with written_whole(path) as part:
            np.savez(part, meta=np.frombuffer(meta, np.uint8), **numbered)
        # What a killed process left half-written goes with those that are too many.
        for old in [*self.paths()[self.keep :], *self.directory.glob(".step_*.part-*")]:
            old.unlink(missing_ok=True)
        return path

    def advice(self, trouble: str, step: int) -> str:
        """What to tell somebody whose training came apart."""
        newest = next(iter(self.paths()), None)
        return (
            f"{trouble} at step {step}: training has come apart. "
            f"Last good checkpoint: {newest or 'none yet'}. "
            "Try a smaller learning rate, or --precision float32"
        )

    def restore(self, model: CycleGAN, about: dict[str, Any] | None = None) -> Path | None:
        """Sets the model's variables from the newest checkpoint that is sound.

        One that is damaged is named in a warning and set aside as `….npz.damaged`, and the one
        before it is used.

        Returns:
            Its path, or None where there is none.

        Raises:
            InputError: a sound checkpoint is of another model, or `about` something else.
        """
        damaged = False
        for path in self.paths():
            try:
                meta, values = _read(path)
            except Exception as problem:  # a damaged zip lets almost anything out
                logger.warning("%s is damaged (%s): going back to the one before", path, problem)
                path.rename(path.with_name(f"{path.name}.damaged"))
                damaged = True
                continue
            for name, value in (about or {}).items():
                if (before := meta["about"].get(name, value)) != value:
                    raise InputError(
                        f"{path}: {name} was {before} and is {value} now: bring back what it was, "
                        "or start a new run"
                    )
            _assign(values, model.state(), path)
            return path
        if damaged:
            logger.warning("%s has no sound checkpoint left: starting afresh", self.directory)
        return None


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What it says of itself, and all arrays by name.

    Reading a member to its end compares its checksum; nothing in it is executed.
    """
    with np.load(path, allow_pickle=False) as file:
        meta = json.loads(bytes(file["meta"]))
        if meta["format"] != 1:
            raise ValueError(f"format {meta['format']} is not known to this version")
        return meta, {name: file[f"{place}"] for place, name in enumerate(meta["names"])}


def _assign(
    values: dict[str, np.ndarray], variables: dict[str, keras.Variable], path: Path
) -> None:
    if values.keys() != variables.keys():
        odd = sorted(values.keys() ^ variables.keys())
        raise InputError(f"{path} is of another model: {len(odd)} names differ, first {odd[0]}")
    for name, variable in variables.items():
        if values[name].shape != tuple(variable.shape):
            raise InputError(
                f"{path} is of another model: {name} is {values[name].shape} there and "
                f"{tuple(variable.shape)} here"
            )
    for name, variable in variables.items():
        variable.assign(values[name])
