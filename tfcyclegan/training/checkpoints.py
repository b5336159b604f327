"""Checkpoints of everything a run needs to go on as if it had never stopped."""

from __future__ import annotations

import json
import logging
import re
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from ..cyclegan import CycleGAN
from ..distributed.replicas import local_copies
from ..errors import InputError, NonFiniteLoss
from ..files import atomic_write

logger = logging.getLogger(__name__)


class Checkpoints:
    """A folder of checkpoints, `step_000001234.npz`, of which the newest few are kept.

    A checkpoint holds every variable of the model: networks, optimizers with their moments,
    pools, steps, the epoch's running means and the states of random generators. It appears whole
    or not at all, and its checksums are compared when it is read.

    Several workers write one together, in a folder that all of them share: each the pools and
    means of its replicas (`step_000001234.worker_1_of_2.npz`), then the chief the rest, which
    makes it a checkpoint.

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
        return sorted(found, key=_step_of, reverse=True)

    def save(self, model: CycleGAN, about: dict[str, Any] | None = None) -> Path:
        """Writes one and removes those that are too many. All workers have to call it.

        Args:
            model: a compiled model.
            about: what else has to be the same when it is read, by name; JSON can hold it.

        Raises:
            NonFiniteLoss: the model is not worth keeping.
            InputError: the disk is full, or workers do not share the folder; those that were
                there are still there.
        """
        workers = model.workers
        step = int(model.step.numpy())
        path = self.directory / f"step_{step:09d}.npz"
        shared, own = {}, {}
        for name, variable in model.state().items():
            if variable.synchronization == "on_read":
                for place, copy in enumerate(local_copies(variable)):
                    own[_of_replica(workers.first + place, name)] = copy.numpy()
            else:
                shared[name] = variable.numpy()
        meta = {
            "format": 1,
            "about": about or {},
            "replicas": workers.replicas,
            "workers": workers.count,
        }

        def write_own() -> None:
            self._check_finite({**shared, **own}, step)
            if workers.count > 1:
                _write(_part(path, workers.index, workers.count), own, meta)

        def write_rest() -> None:
            if workers.count == 1:
                _write(path, {**shared, **own}, meta)
            else:
                for index in range(workers.count):
                    if not (part := _part(path, index, workers.count)).exists():
                        raise InputError(
                            f"{part} of {workers.cluster.name(index)} is not there: the run's "
                            "folder has to lie where all workers write to it: give such a --run-dir"
                        )
                _write(path, shared, meta)
            self._clean()

        if workers.count > 1:  # parts of another attempt at the same step do not belong to it
            meta["id"] = workers.broadcast(uuid.uuid4().hex)
        workers.run_on_all(write_own)
        workers.run_on_chief(write_rest)
        return path

    def _check_finite(self, arrays: dict[str, np.ndarray], step: int) -> None:
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise NonFiniteLoss(self.advice(f"{name} is not finite", step))

    def _clean(self) -> None:
        """Removes what is too many, and what a killed process left half-written."""
        kept = self.paths()[: self.keep]
        steps = {_step_of(path) for path in kept}
        for old in self.paths()[self.keep :]:
            old.unlink(missing_ok=True)
        for part in self.directory.glob("step_*.worker_*.npz"):
            if _step_of(part) not in steps:
                part.unlink(missing_ok=True)
        for part in self.directory.glob(".step_*.part-*"):
            part.unlink(missing_ok=True)

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
        before it is used. Other numbers of replicas than before share the pools that are there.
        All workers have to call it.

        Returns:
            Its path, or None where there is none.

        Raises:
            InputError: a sound checkpoint is of another model, or `about` something else, or one
                cannot be read.
        """
        workers = model.workers
        names = json.loads(workers.broadcast(json.dumps([path.name for path in self.paths()])))
        for path in (self.directory / name for name in names):
            problem = None
            try:
                meta, values = _read(path)
                replicas, count = meta.get("replicas", 1), meta.get("workers", 1)
                # The replicas of then whose pools those of this worker get, and where they are.
                sources = [(workers.first + place) % replicas for place in range(workers.local)]
                files = {source * count // replicas for source in sources} if count > 1 else ()
                for part in (_part(path, index, count) for index in files):
                    part_meta, more = _read(part)
                    if part_meta["id"] != meta["id"]:
                        raise ValueError(f"{part.name} is of another attempt")
                    values |= more
            except Exception as trouble:  # a damaged zip lets almost anything out
                problem = trouble
            out_of_reach, damaged = workers.all_reduce(
                [_out_of_reach(problem, path), problem is not None]
            )
            if out_of_reach:
                raise InputError(
                    f"{path} cannot be read ({problem or 'so another worker says'}): see that "
                    "every worker reaches the run's folder, and start again"
                )
            if damaged:
                logger.warning(
                    "%s is damaged (%s): going back to the one before",
                    path, problem or "so another worker says",
                )  # fmt: skip
                if workers.chief:
                    path.rename(path.with_name(f"{path.name}.damaged"))
                continue
            for name, value in (about or {}).items():
                if (before := meta["about"].get(name, value)) != value:
                    raise InputError(
                        f"{path}: {name} was {before} and is {value} now: bring back what it was, "
                        "or start a new run"
                    )
            if replicas != workers.replicas:
                logger.warning(
                    "%s was written by %d replicas and is read by %d: the pools of generated "
                    "pictures are handed over as far as they go", path, replicas, workers.replicas,
                )  # fmt: skip
            _assign(values, sources, model, path)
            return path
        if names:
            logger.warning("%s has no sound checkpoint left: starting afresh", self.directory)
        return None


def _out_of_reach(problem: Exception | None, path: Path) -> bool:
    """Whether a checkpoint may well be sound, and only cannot be read here and now."""
    if isinstance(problem, FileNotFoundError):
        return problem.filename == str(path)  # and not one of its parts
    if isinstance(problem, OSError):
        return problem.errno is not None
    return isinstance(problem, MemoryError)


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix("step_").split(".")[0])


def _part(path: Path, index: int, count: int) -> Path:
    """The file beside a checkpoint that holds what is a worker's own."""
    return path.with_name(f"{path.stem}.worker_{index}_of_{count}.npz")


def _of_replica(number: int, name: str) -> str:
    """The name under which a replica's own variable is kept."""
    return f"replica_{number}/{name}" if number else name


def _write(path: Path, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    text = json.dumps({**meta, "names": list(arrays)}).encode()
    numbered = {f"{place}": array for place, array in enumerate(arrays.values())}
    with atomic_write(path) as part:
        np.savez(part, allow_pickle=False, meta=np.frombuffer(text, np.uint8), **numbered)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What it says of itself, and all arrays by name.

    Reading a member to its end compares its checksum; nothing in it is executed.
    """
    with np.load(path, allow_pickle=False) as file:
        meta = json.loads(bytes(file["meta"]))
        if meta["format"] != 1:
            raise ValueError(f"format {meta['format']} is not known to this version")
        return meta, {name: file[f"{place}"] for place, name in enumerate(meta["names"])}


def _assign(values: dict[str, np.ndarray], sources: list[int], model: CycleGAN, path: Path) -> None:
    """Sets a model's variables, those of its replicas from the given ones of then."""
    pairs: list[tuple[str, Any]] = []
    for name, variable in model.state().items():
        if variable.synchronization == "on_read":
            taken = (_of_replica(source, name) for source in sources)
            pairs += zip(taken, local_copies(variable), strict=True)
        else:
            pairs.append((name, variable))
    wanted = {name for name, _ in pairs}
    there = {name for name in values if name in wanted or not name.startswith("replica_")}
    if wanted - there or (0 in sources and there - wanted):
        odd = sorted(there ^ wanted)
        raise InputError(f"{path} is of another model: {len(odd)} names differ, first {odd[0]}")
    for name, variable in pairs:
        if values[name].shape != tuple(variable.shape):
            raise InputError(
                f"{path} is of another model: {name} is {values[name].shape} there and "
                f"{tuple(variable.shape)} here"
            )
    for name, variable in pairs:
        variable.assign(values[name])
