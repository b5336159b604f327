"""Pictures by the million, on the workers of a Ray cluster.

The driver knows names alone. Ray Data hands them out in batches to actors, each of which opens
the model once, reads, draws and writes pictures by itself, and answers with what went wrong. So
no picture passes through the driver or Ray's object store, and what a killed worker had not
answered is handed out again: files appear whole, so it does not matter how far it had come.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import io
import logging
import math
import os
import pickle
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ..directions import Direction
from ..errors import InputError, Terminated, first_line
from ..files import owner, work_for
from ..parallel import map_in_order
from ..runtimes.opening import open_runtime
from .files import Job, fetched, job_of, size_to_work_at, translate_each
from .locations import Found, open_place

#: Of a batch: pictures at most and at least, and bytes of their files. A batch is what is lost
#: with a worker, and what progress is counted in; Ray needs some milliseconds for each.
_MOST, _LEAST, _BYTES = 64, 8, 32 * 2**20

#: Batches a worker gets at least where there are enough pictures, so that all end together.
_ROUNDS = 16

#: Bytes of files that a worker holds at once, and files it reads at a time: stores are slow to
#: answer and quick to deliver.
_HELD, _READERS = 64 * 2**20, 8

#: How often a batch may take its worker down before its pictures are tried one after another, and
#: how often one of these may. Ray itself hands out again what a lost worker had, without end.
_LOST_WITH_BATCH, _LOST_WITH_PICTURE = 3, 2

#: Added to a batch's number, to tell it from its first picture's.
_BATCH = 2**60

#: Where nothing else is asked for: CPUs for each worker, and bytes of memory. TensorFlow takes
#: half a gigabyte, the paper's generator 1.5 KB a pixel, and 2**20 pixels are drawn at once.
_CPUS, _MEMORY = 4, 3 * 2**30

#: How Ray keeps `Attempts`: where its machine dies it begins anew elsewhere, and what was asked of
#: it meanwhile is asked again. Counts that are lost cost some more tries.
_ATTEMPTS = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}

#: How Ray Data is set while it works: it says nothing, and waits as long as pictures that are
#: large and machines that are long in coming take.
_SETTINGS = {
    "enable_progress_bars": False,
    "print_on_execution_start": False,
    "execution_no_progress_timeout_s": -1,
}

#: Seconds that Ray Data has to end what it is at.
_ENDING = 30.0

#: Bytes of the object store of a cluster of our own, where names lie and no pictures.
_NAMES = 256 * 2**20


@dataclass(frozen=True)
class Work:
    """What every worker is told.

    Attributes:
        model, direction, timeout, threads: see `open_runtime`.
        to: where the translations go.
        image_size, independent_tiles, strict, side_by_side: see `translate_files`.
        folder: the one that relative paths start from.
        owner: the process that half-written files belong to.
    """

    model: str
    to: str
    direction: Direction | None = None
    timeout: float = 60.0
    threads: int | None = None
    image_size: str | None = None
    independent_tiles: bool = False
    strict: bool = False
    side_by_side: bool = False
    folder: str = ""
    owner: str = ""


@dataclass(frozen=True)
class Answer:
    """What came of a batch.

    Attributes:
        first: number of its first picture.
        count: pictures.
        problems: `(source, name, why)` of those that could not be translated.
        fatal: why nothing more can be translated, or None.
        direction: the way the model goes, where that is known.
    """

    first: int
    count: int
    problems: list[tuple[str, str, str]]
    fatal: str | None = None
    direction: Direction | None = None


class Attempts:
    """An actor that knows how often something was begun and not ended: workers forget."""

    def __init__(self):
        self._begun: collections.Counter[int] = collections.Counter()

    def begin(self, number: int) -> int:
        """Counts; gives how often it was begun before, and not ended."""
        self._begun[number] += 1
        return self._begun[number] - 1

    def end(self, number: int) -> None:
        """Forgets it."""
        del self._begun[number]


class Translator:
    """An actor: a process with the model open."""

    def __init__(self, work: Work, attempts: Any):
        self._work = work
        self._attempts = attempts
        self._fatal: str | None = None
        self.direction: Direction | None = None
        work_for(work.owner)
        # Workers may share a GPU, of which TensorFlow would take all.
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        with contextlib.suppress(OSError):  # a machine without that folder: paths are absolute
            os.chdir(work.folder)
        try:
            # As many as without Ray, which tells its workers otherwise: sums depend on it.
            threads = work.threads or _cores()
            self._backend = open_runtime(work.model, work.direction, work.timeout, threads)
            self._size = size_to_work_at(work.image_size, self._backend)
            self._place = open_place(work.to)
            self._place.make()
            self.direction = self._backend.direction
        except InputError as problem:
            # Told with the first answer: Ray would start an actor that fails again and again.
            self._fatal = str(problem)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        answers = [self._answer(pickle.loads(pictures)) for pictures in batch["pictures"]]
        return {"answer": [pickle.dumps(answer) for answer in answers]}

    def _answer(self, pictures: tuple[int, list[Found]]) -> Answer:
        first, found = pictures
        problems, fatal = [], self._fatal
        if not fatal:
            try:
                for job in self._translated(first, found):
                    if job.problem:
                        problems.append((str(job.source), job.name, job.problem))
            except InputError as problem:
                fatal = str(problem)
            except Exception as problem:
                # Not left to Ray, which would end with many lines.
                logging.getLogger(__name__).exception("in the batch from picture %d", first)
                fatal = f"a worker failed ({type(problem).__name__}: {first_line(problem)})"
        return Answer(first, len(found), problems, fatal, self.direction)

    def _translated(self, first: int, found: list[Found]) -> Iterator[Job]:
        jobs = [job_of(picture.source, picture.name, self._place) for picture in found]
        if self._lost_with(_BATCH + first) < _LOST_WITH_BATCH:
            for group in _by_size(map_in_order(fetched, jobs, workers=_READERS, ahead=_READERS)):
                yield from self._each(group)
        else:
            for number, job in enumerate(jobs, first):
                if self._lost_with(number) < _LOST_WITH_PICTURE:
                    yield from self._each([job])
                else:
                    words = f"{job.source}: takes down the process that reads or draws it"
                    yield dataclasses.replace(job, problem=words)
                self._attempts.end.remote(number)
        self._attempts.end.remote(_BATCH + first)

    def _lost_with(self, number: int) -> int:
        import ray

        return ray.get(self._attempts.begin.remote(number))

    def _each(self, jobs: list[Job]) -> Iterator[Job]:
        return translate_each(
            jobs,
            self._backend,
            self._place,
            size=self._size,
            independent_tiles=self._work.independent_tiles,
            strict=self._work.strict,
            side_by_side=self._work.side_by_side,
        )


def _cores() -> int:
    """Those that this process may use, which is what TensorFlow counts."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _by_size(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    """Groups of pictures that fit into memory together, those of one size side by side.

    Interpreters allocate anew, and kernels are chosen anew, with every other size.
    """
    group, held = [], 0
    for job in jobs:
        group.append(job)
        held += len(job.content or b"")
        if held >= _HELD:
            yield sorted(group, key=_pixels)
            group, held = [], 0
    yield sorted(group, key=_pixels)


def _pixels(job: Job) -> tuple[int, int]:
    """What the file's head says; nothing is decoded."""
    try:
        with Image.open(io.BytesIO(job.content or b"")) as image:
            return image.size
    except Exception:  # no picture: told when it is decoded
        return 0, 0


@contextlib.contextmanager
def cluster(address: str | None = None) -> Iterator[Any]:
    """A Ray cluster: the one at an address, or one on this machine for the time being.

    Args:
        address: as `ray.init` takes it. Default: the environment variable RAY_ADDRESS, else a
            cluster of our own.

    Yields:
        The module `ray`, connected.

    Raises:
        InputError: Ray is not installed, or does not answer or let us in.
    """
    # Ray sends statistics of use to its makers unless it is told before it starts.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as problem:
        raise InputError(
            f'--engine ray: needs Ray ({problem}): pip install "tfcyclegan[ray]"'
        ) from problem
    if ray.is_initialized():  # the caller's
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    _check_address(address)
    # `local`: not one that somebody else started on this machine.
    own = {"include_dashboard": False, "object_store_memory": _NAMES} if address == "local" else {}
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    with _hushed():
        try:
            try:
                ray.init(address=address, log_to_driver=False, **own)
            except (ConnectionError, RuntimeError, ValueError, OSError) as problem:
                raise InputError(
                    f"--address {address}: no Ray cluster lets us in ({first_line(problem)}): "
                    "set RAY_AUTH_MODE=token where it asks for one"
                ) from problem
            if main:  # Ray has set its own
                signal.signal(signal.SIGTERM, _terminate)
            yield ray
        finally:
            ray.shutdown()
            if main:
                signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)


def _check_address(address: str) -> None:
    """Refuses what Ray would try for a quarter of an hour, without a word."""
    if address in ("local", "auto"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "//" in host:
        raise InputError(
            f"--address {address}: not a Ray cluster's: give HOST:PORT of its head, or auto"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as problem:
        raise InputError(
            f"--address {address}: no Ray cluster answers there ({first_line(problem)})"
        ) from problem


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Keeps back what is printed, and shows the end of it if all comes apart.

    Ray's C++ parts tell standard error of each start, and its supervisor of workers tells
    `sys.stdout` of each one lost, at length. (Both is in Ray's logs as well.) Who has something
    to say writes to the stream that was `sys.stdout` before.
    """
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            with (
                open(os.dup(kept.fileno()), "w", errors="backslashreplace") as printed,
                contextlib.redirect_stdout(printed),
            ):
                yield
        except Exception as problem:
            if not isinstance(problem, InputError):
                kept.seek(0)
                os.write(before, kept.read()[-10000:])
            raise
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)


def _terminate(number: int, frame: object) -> None:
    raise Terminated


@dataclass(frozen=True)
class Crew:
    """How many workers there are, and what each takes of its machine.

    Attributes:
        workers: actors.
        cpus: CPUs for each, as Ray counts them.
        gpus: GPUs for each.
    """

    workers: int
    cpus: float
    gpus: float = 0.0


def crew(machines: list[dict[str, float]], workers: int | None, threads: int | None) -> Crew:
    """As many workers as the machines carry, or as many as are asked for.

    Args:
        machines: what each has, by Ray's names: `CPU`, `GPU`, and `memory` in bytes.
        workers: how many are asked for. Default: one for each GPU; else one for every four CPUs
            (or every `threads` CPUs), at least one a machine, as far as memory goes.
        threads: threads that each computes with, if that is asked for.

    Raises:
        InputError: nothing to work with.
    """
    machines = [machine for machine in machines if machine.get("CPU", 0) >= 1]
    if not machines:
        raise InputError("--engine ray: no machine of the cluster has a CPU to work with")
    # Where there are GPUs, only their machines have a place for a worker.
    machines = [machine for machine in machines if machine.get("GPU", 0)] or machines
    gpus = sum(machine.get("GPU", 0) for machine in machines)
    if not workers:
        each = threads or _CPUS
        workers = int(gpus) or sum(
            max(1, min(int(m["CPU"] // each), int(m.get("memory", 2**63) // _MEMORY)))
            for m in machines
        )
    share = _share(gpus, workers)

    def places(machine: dict[str, float], cpus: int) -> float:
        own = machine["CPU"] // cpus
        return min(own, machine["GPU"] // share) if share else own

    # The most whole CPUs with which there is a place for each, so that none waits for ever.
    most = int(max(machine["CPU"] for machine in machines))
    for cpus in range(most, 0, -1):
        if sum(places(machine, cpus) for machine in machines) >= workers:
            return Crew(workers, cpus, share)
    on_each = -(-workers // len(machines))
    least = min(machine["CPU"] for machine in machines)
    return Crew(workers, int(10000 * min(1, least / on_each)) / 10000, share)


def _share(gpus: float, workers: int) -> float:
    """Of one GPU, in the ten-thousandths that Ray counts: no worker is spread over two."""
    return int(10000 / max(1, math.ceil(workers / gpus))) / 10000 if gpus else 0.0


def batches(pictures: Iterable[Found], total: int, workers: int) -> Iterator[list[Found]]:
    """Pictures in their order, in batches that take about the same time."""
    most = min(_MOST, max(_LEAST, total // (workers * _ROUNDS)))
    batch: list[Found] = []
    size = 0
    for picture in pictures:
        if batch and (len(batch) >= most or size + picture.size > _BYTES):
            yield batch
            batch, size = [], 0
        batch.append(picture)
        size += picture.size
    if batch:
        yield batch


def translate_on_ray(
    ray: Any, pictures: Iterable[Found], total: int, work: Work, workers: int | None = None
) -> Iterator[Answer]:
    """Translates pictures on a cluster; gives an answer for each batch, every picture once.

    Args:
        ray: from `cluster`.
        pictures: a `Listing`.
        total: how many they are.
        work: what to do. Its folder and owner are filled in.
        workers: see `crew`.

    Raises:
        InputError: the model cannot be opened, a server or disk is gone, no worker can be kept
            alive, or with `strict` the first bad picture.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    team = crew(machines, workers, work.threads)
    work = dataclasses.replace(work, folder=os.getcwd(), owner=owner())
    first, waiting = 0, {}
    for batch in batches(pictures, total, team.workers):
        # As bytes: names on a disk need not be text, and Arrow's must be.
        waiting[first] = pickle.dumps((first, batch))
        first += len(batch)
    attempts = ray.remote(**_ATTEMPTS)(Attempts).remote()
    rows = [{"pictures": pictures} for pictures in waiting.values()]
    with _set(ray.data.DataContext.get_current(), _SETTINGS), _ended_threads():
        answers = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            Translator,
            fn_constructor_args=(work, attempts),
            batch_size=1,
            # Work begins with the first that is ready, whenever the others come.
            compute=ray.data.ActorPoolStrategy(size=team.workers),
            num_cpus=team.cpus,
            num_gpus=team.gpus or None,
        )
        try:
            for row in answers.iter_rows():
                answer = pickle.loads(row["answer"])
                if answer.fatal:
                    raise InputError(answer.fatal)
                if waiting.pop(answer.first, None) is None:
                    raise RuntimeError(f"the batch from picture {answer.first} came back twice")
                yield answer
        except ray.exceptions.RayError as problem:
            raise InputError(
                f"--engine ray: the workers cannot be kept alive ({first_line(problem)})"
            ) from problem
    if waiting:
        raise RuntimeError(f"{len(waiting)} batches never came back")


@contextlib.contextmanager
def _ended_threads() -> Iterator[None]:
    """Ends the threads that Ray Data starts meanwhile, if not all of its answers were wanted.

    They would go on until somebody collects them, and the one that asks something of Ray after
    `ray.shutdown` has the whole process end, with 1 and without a word.
    """
    before = set(threading.enumerate())
    try:
        yield
    finally:
        # The one of that name waits for something to do, for ever.
        after = {one for one in threading.enumerate() if one.name != "Prefetcher"} - before
        deadline = time.monotonic() + _ENDING
        for thread in after:
            if hasattr(thread, "shutdown"):  # who keeps the others going
                with contextlib.suppress(Exception):  # a cluster that is gone
                    thread.shutdown(force=True)
        for thread in after:
            thread.join(max(0.0, deadline - time.monotonic()))


@contextlib.contextmanager
def _set(context: Any, settings: dict[str, Any]) -> Iterator[None]:
    """Sets attributes for the time being: Ray Data has one context, which is the caller's too."""
    before = {name: getattr(context, name) for name in settings if hasattr(context, name)}
    try:
        for name, value in settings.items():
            setattr(context, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
