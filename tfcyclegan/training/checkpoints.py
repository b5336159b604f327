"""Checkpoints of the complete training state."""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..distributed.replicas import local_copies
from ..distributed.workers import Workers
from ..errors import InputError, NonFiniteLoss
from ..files import atomic_write
from ..translation_model import TranslationModel

logger = logging.getLogger(__name__)


class Checkpoints:
    """A folder of checkpoints, `step_000001234.npz`, of which the newest few are kept.

    A checkpoint holds every variable of the model: networks, optimizers with their moments, pools,
    steps, the epoch's running means and the states of random generators. It is written atomically,
    and reading it verifies its checksums.

    Several workers write a checkpoint together, into a folder that they share. Each worker writes
    the pools and means of its replicas (`step_000001234.worker_1_of_2.npz`). Then the chief writes
    the rest, which completes the checkpoint.

    Args:
        directory: the folder. The first `save` creates it.
        keep: int, how many checkpoints to keep. Default 3.
    """

    def __init__(self, directory: str | Path, keep: int = 3):
        self.directory = Path(directory)
        self.keep = keep

    def paths(self) -> list[Path]:
        """Returns the paths of all checkpoints, the newest first."""
        if not self.directory.is_dir():
            return []
        found = [p for p in self.directory.iterdir() if re.fullmatch(r"step_\d+\.npz", p.name)]
        return sorted(found, key=_step_of, reverse=True)

    def save(self, model: TranslationModel, about: dict[str, Any] | None = None) -> Path:
        """Writes a checkpoint and removes old ones. All workers must call it.

        Args:
            model: a compiled model.
            about: what must be equal when the checkpoint is read, by name, as JSON values.

        Returns:
            `pathlib.Path` of the checkpoint.

        Raises:
            NonFiniteLoss: a variable of the model is infinite or NaN.
            InputError: the disk is full, or the workers do not share the folder. Existing
                checkpoints stay.
        """
        workers = model.workers
        step = int(model.step.numpy())
        path = self.directory / f"step_{step:09d}.npz"
        shared: dict[str, np.ndarray] = {}
        own: dict[str, np.ndarray] = {}
        replicas = range(workers.first, workers.first + workers.local)
        for name, variable, of_replica in _named(model, replicas):
            (own if of_replica else shared)[name] = variable.numpy()
        meta: dict[str, Any] = {"format": 1, "about": about or {}}
        meta |= {"replicas": workers.replicas, "workers": workers.count}
        several = workers.count > 1
        if several:  # marks the parts, so that those of another attempt are not taken for them
            meta["id"] = workers.broadcast(uuid.uuid4().hex)

        def write_own() -> None:
            for name, array in {**shared, **own}.items():
                if not np.isfinite(array).all():
                    raise self.diverged(f"{name} is not finite", step)
            if several:
                _write(_part(path, workers.index, workers.count), own, meta)

        def write_shared() -> None:
            for index in range(workers.count if several else 0):
                if not (part := _part(path, index, workers.count)).exists():
                    raise InputError(
                        f"{part} of {workers.cluster.name(index)} is missing: set `run_dir` to a "
                        "folder that all workers share"
                    )
            _write(path, shared if several else {**shared, **own}, meta)
            self._clean()

        workers.run_on_all(write_own)
        workers.run_on_chief(write_shared)
        return path

    def _clean(self) -> None:
        """Removes old checkpoints, and the unfinished files of a killed process."""
        kept = {_step_of(path) for path in self.paths()[: self.keep]}
        for path in (*self.paths(), *self.directory.glob("step_*.worker_*.npz")):
            if _step_of(path) not in kept:
                path.unlink(missing_ok=True)
        for part in self.directory.glob(".step_*.part-*"):
            part.unlink(missing_ok=True)

    def diverged(self, problem: str, step: int) -> NonFiniteLoss:
        """Makes the error for a loss or a weight that is not finite at a step."""
        newest = next(iter(self.paths()), "none yet")
        return NonFiniteLoss(
            f"{problem} at step {step}: training has diverged. Last good checkpoint: {newest}. "
            "Try a smaller learning rate, or precision=float32"
        )

    def restore(self, model: TranslationModel, about: dict[str, Any] | None = None) -> Path | None:
        """Sets the model's variables from the newest intact checkpoint. All workers must call it.

        A damaged checkpoint is named in a warning and renamed to `….npz.damaged`, and the one
        before it is used. If the number of replicas has changed, they share the pools that there
        are.

        Args:
            model: a compiled model.
            about: what must be equal to `about` of `save`.

        Returns:
            `pathlib.Path` of the checkpoint, or None if there is none.

        Raises:
            InputError: a checkpoint belongs to another model, its `about` differs, or it cannot be
                read.
        """
        workers = model.workers
        names = json.loads(workers.broadcast(json.dumps([path.name for path in self.paths()])))
        for path in (self.directory / name for name in names):
            problem = None
            try:
                meta, values, sources = _read_parts(path, workers)
            except Exception as trouble:  # a damaged zip raises almost anything
                problem = trouble
            unreadable, damaged = workers.all_reduce(
                [_is_unreadable(problem, path), problem is not None]
            )
            if unreadable:
                raise InputError(
                    f"{path} cannot be read ({problem or 'on another worker'}): see that every "
                    "worker reaches the run's folder, and start again"
                )
            if damaged:
                reason = problem or "on another worker"
                logger.warning("%s is damaged (%s): going back to the one before", path, reason)
                if workers.chief:
                    path.rename(path.with_name(f"{path.name}.damaged"))
                continue
            for name, value in (about or {}).items():
                if (before := meta["about"].get(name, value)) != value:
                    raise InputError(
                        f"{path}: {name} was {before}, now {value}: change it back, or start a "
                        "new run"
                    )
            if (replicas := meta.get("replicas", 1)) != workers.replicas:
                logger.warning(
                    "%s has the image pools of %d replicas, which are now shared by %d",
                    path, replicas, workers.replicas,
                )  # fmt: skip
            _assign(values, sources, model, path)
            return path
        if names:
            logger.warning("%s has no intact checkpoint left: starting afresh", self.directory)
        return None


def _is_unreadable(problem: Exception | None, path: Path) -> bool:
    """Whether the file may be intact: this is an I/O error, not corruption."""
    if isinstance(problem, FileNotFoundError):
        return problem.filename == str(path)  # a missing part is corruption
    if isinstance(problem, OSError):
        return problem.errno is not None
    return isinstance(problem, MemoryError)


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix("step_").split(".")[0])


def _part(path: Path, index: int, count: int) -> Path:
    """The file beside a checkpoint that holds a worker's own variables."""
    return path.with_name(f"{path.stem}.worker_{index}_of_{count}.npz")


def _named(model: TranslationModel, replicas: Iterable[int]) -> Iterator[tuple[str, Any, bool]]:
    """Variables by their names in the checkpoint of these replicas, and whether a replica's own."""
    for name, variable in model.state().items():
        if variable.synchronization == "on_read":
            for number, copy in zip(replicas, local_copies(variable), strict=True):
                yield (f"replica_{number}/{name}" if number else name), copy, True
        else:
            yield name, variable, False


def _write(path: Path, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    text = json.dumps({**meta, "names": list(arrays)}).encode()
    numbered = {f"{place}": array for place, array in enumerate(arrays.values())}
    with atomic_write(path) as part:
        np.savez(part, allow_pickle=False, meta=np.frombuffer(text, np.uint8), **numbered)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Reads the description and the arrays of a file. numpy verifies the checksums."""
    with np.load(path, allow_pickle=False) as file:
        meta = json.loads(bytes(file["meta"]))
        if meta["format"] != 1:
            raise ValueError(f"this version cannot read format {meta['format']}")
        return meta, {name: file[f"{place}"] for place, name in enumerate(meta["names"])}


def _read_parts(
    path: Path, workers: Workers
) -> tuple[dict[str, Any], dict[str, np.ndarray], list[int]]:
    """Reads a checkpoint and the parts that this worker needs.

    The third result tells, for each replica of this worker, whose saved pools it gets.
    """
    meta, values = _read(path)
    replicas, count = meta.get("replicas", 1), meta.get("workers", 1)
    sources = [(workers.first + place) % replicas for place in range(workers.local)]
    for index in {source * count // replicas for source in sources} if count > 1 else ():
        part = _part(path, index, count)
        part_meta, more = _read(part)
        if part_meta["id"] != meta["id"]:
            raise ValueError(f"{part.name} is of another attempt")
        values |= more
    return meta, values, sources


def _assign(
    values: dict[str, np.ndarray], sources: list[int], model: TranslationModel, path: Path
) -> None:
    """Sets a model's variables, those of its replicas from the saved replicas `sources`."""
    pairs = [(name, variable) for name, variable, _ in _named(model, sources)]
    wanted = {name for name, _ in pairs}
    there = {name for name in values if name in wanted or not name.startswith("replica_")}
    if wanted - there or (0 in sources and there - wanted):
        odd = sorted(there ^ wanted)
        raise InputError(f"{path} belongs to another model: {len(odd)} names differ, as {odd[0]}")
    for name, variable in pairs:
        if values[name].shape != tuple(variable.shape):
            raise InputError(
                f"{path} belongs to another model: {name} has shape {values[name].shape} instead "
                f"of {tuple(variable.shape)}"
            )
    for name, variable in pairs:
        variable.assign(values[name])
