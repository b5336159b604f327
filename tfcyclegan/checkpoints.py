"""Checkpoints of everything a run needs to go on as if it had never stopped."""

from __future__ import annotations

import json
import logging
import re
import zipfile
import zlib
from pathlib import Path

import keras
import numpy as np

from .cyclegan import CycleGAN
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

    def save(self, model: CycleGAN) -> Path:
        """Writes one and removes those that are too many.

        Raises:
            InputError: the disk is full; those that were there are still there.
        """
        path = self.directory / f"step_{int(model.step.numpy()):09d}.npz"
        variables = model.state()
        meta = json.dumps({"format": 1, "names": list(variables)}).encode()
        arrays = {f"{i}": v.numpy() for i, v in enumerate(variables.values())}
        with written_whole(path) as part:
            np.savez(part, meta=np.frombuffer(meta, np.uint8), **arrays)
        for old in self.paths()[self.keep :]:
            old.unlink(missing_ok=True)
        return path

    def restore(self, model: CycleGAN) -> Path | None:
        """Sets the model's variables from the newest checkpoint that is sound.

        One that is damaged is named in a warning, and the one before it is used.

        Returns:
            Its path, or None where there is none.

        Raises:
            ValueError: a sound checkpoint is of another model.
        """
        for path in self.paths():
            try:
                values = _read(path)
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as bad:
                logger.warning("%s is damaged (%s): going back to the one before", path, bad)
                continue
            _assign(values, model.state(), path)
            return path
        return None


def _read(path: Path) -> dict[str, np.ndarray]:
    """All arrays by name; reading a member to its end compares its checksum."""
    with np.load(path, allow_pickle=False) as file:
        meta = json.loads(bytes(file["meta"]))
        if meta["format"] != 1:
            raise ValueError(f"format {meta['format']} is not known to this version")
        return {name: file[f"{i}"] for i, name in enumerate(meta["names"])}


def _assign(
    values: dict[str, np.ndarray], variables: dict[str, keras.Variable], path: Path
) -> None:
    if values.keys() != variables.keys():
        odd = sorted(values.keys() ^ variables.keys())
        raise ValueError(f"{path} is of another model: {len(odd)} names differ, first {odd[0]}")
    for name, variable in variables.items():
        if values[name].shape != tuple(variable.shape):
            raise ValueError(
                f"{path} is of another model: {name} is {values[name].shape} there and "
                f"{tuple(variable.shape)} here"
            )
    for name, variable in variables.items():
        variable.assign(values[name])
