"""Translates millions of pictures with Ray Data.

The driver knows only names. Ray Data sends them in batches to actors, each of which opens the
model once, reads, translates and writes its pictures, and returns the problems. No picture passes
through the driver or the object store. Ray Data repeats the batch of a worker that dies; because
files are written atomically, it does not matter how far the worker got.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..directions import Direction
from ..errors import InputError, Terminated, first_line
from ..runtimes.opening import open_runtime
from .drawing import working_size
from .finding import Found, Listing
from .pipeline import job_of, translate_each
from .storage import make_folder, open_place

#: Pictures per batch at most, and batches per worker at least, so that all workers finish together.
_LARGEST_BATCH, _ROUNDS = 64, 16

#: How often a batch is repeated whose worker died. Afterwards its pictures go to the report.
_RETRIES = 2

#: CPUs per worker if neither `workers` nor `threads` is given.
_CPUS = 4

#: Bytes of the object store of a local cluster, which holds only names.
_OBJECT_STORE = 256 * 2**20


@dataclass(frozen=True)
class Work:
    """What every worker is told.

    Attributes:
        model, direction, timeout, threads: see `open_runtime`.
        to: the output folder or URL.
        image_size, independent_tiles, strict, side_by_side: see `translate_files`.
        folder: the folder that relative paths start from. Default: the current one.
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


class Outcome(NamedTuple):
    """What became of a picture.

    Attributes:
        picture: the picture.
        problem: why it could not be translated, or None.
    """

    picture: Found
    problem: str | None


class Translator:
    """A Ray actor that holds the open model."""

    def __init__(self, work: Work):
        self._work = work
        self._fatal = ""
        # Workers may share a GPU, and TensorFlow would take all of its memory.
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        with contextlib.suppress(OSError):  # a machine without that folder: paths are absolute
            os.chdir(work.folder)
        try:
            # As many as without Ray, which sets another default. Rounding depends on it.
            self._runtime = open_runtime(
                work.model, work.direction, work.timeout, work.threads or _cores()
            )
            self._size = working_size(work.image_size, self._runtime)
            self._place = open_place(work.to)
            make_folder(self._place)
        except InputError as problem:
            # Returned with the first batch. Ray would restart an actor that raises here.
            self._fatal = str(problem)

    def __call__(self, batch: Any) -> Any:
        """Translates a batch: adds the columns `problem` and `fatal` to an Arrow table."""
        import pyarrow as pa

        pictures = [_decoded(row) for row in batch.to_pylist()]
        problems = [""] * len(pictures)
        fatal = self._fatal
        if not fatal:
            try:
                problems = self._translate(pictures)
            except InputError as problem:
                fatal = str(problem)
            except Exception as problem:
                logging.getLogger(__name__).exception("a batch failed")
                fatal = f"a worker failed ({type(problem).__name__}: {first_line(problem)})"
        encoded = pa.array(map(os.fsencode, problems), pa.binary())
        ends = pa.array([os.fsencode(fatal)] * len(pictures), pa.binary())
        return batch.append_column("problem", encoded).append_column("fatal", ends)

    def _translate(self, pictures: list[Found]) -> list[str]:
        jobs = translate_each(
            [job_of(picture, self._place) for picture in pictures],
            self._runtime,
            self._place,
            size=self._size,
            independent_tiles=self._work.independent_tiles,
            strict=self._work.strict,
            side_by_side=self._work.side_by_side,
        )
        return [job.problem or "" for job in jobs]


def _decoded(row: dict[str, Any]) -> Found:
    return Found(os.fsdecode(row["source"]), os.fsdecode(row["name"]))


def _cores() -> int:
    """The cores this process may use, which is TensorFlow's default number of threads."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def cluster(address: str | None = None) -> Iterator[Any]:
    """Connects to a Ray cluster, or starts one on this machine for the duration.

    Args:
        address: as for `ray.init`. Default: the environment variable RAY_ADDRESS, or else a new
            local cluster.

    Yields:
        The module `ray`, connected.

    Raises:
        InputError: Ray is not installed, does not answer, or refuses the connection.
    """
    # Ray reports usage statistics unless this is set before it starts.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as problem:
        raise InputError(f'Ray is missing ({problem}): pip install "tfcyclegan[ray]"') from problem
    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    _check_address(address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        options.update(include_dashboard=False, object_store_memory=_OBJECT_STORE)
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        try:
            ray.init(address=address, **options)
        except (ConnectionError, RuntimeError, ValueError, OSError) as problem:
            raise InputError(
                f"address={address}: the Ray cluster refuses the connection "
                f"({first_line(problem)}): set RAY_AUTH_MODE=token if it asks for one"
            ) from problem
        if main:  # Ray has set its own
            signal.signal(signal.SIGTERM, _terminate)
        yield ray
    finally:
        ray.shutdown()
        if main:
            signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)


def _terminate(number: int, frame: object) -> None:
    raise Terminated


def _check_address(address: str) -> None:
    """Refuses addresses to which Ray would try to connect for a quarter of an hour."""
    if address in ("local", "auto"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "//" in host:
        raise InputError(
            f"address={address}: not the address of a Ray cluster: give HOST:PORT of its head, or "
            "auto"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as problem:
        raise InputError(
            f"address={address}: no Ray cluster answers there ({first_line(problem)})"
        ) from problem


class Crew(NamedTuple):
    """The workers.

    Attributes:
        workers: number of actors.
        cpus: CPUs that Ray reserves for each.
        gpus: GPUs that Ray reserves for each.
    """

    workers: int
    cpus: float
    gpus: float = 0.0


def crew(machines: list[dict[str, float]], workers: int | None, threads: int | None) -> Crew:
    """Chooses the number of workers and their resources.

    Args:
        machines: the resources of each machine by Ray's names, such as `CPU` and `GPU`.
        workers: number of workers. Default: one per GPU, or else one for every four CPUs (or
            every `threads` CPUs), at least one per machine.
        threads: threads per worker, if given.

    Raises:
        InputError: no machine has a CPU.
    """
    machines = [machine for machine in machines if machine.get("CPU", 0) >= 1]
    if not machines:
        raise InputError("no machine of the Ray cluster has a CPU")
    machines = [machine for machine in machines if machine.get("GPU")] or machines
    gpus = sum(machine.get("GPU", 0) for machine in machines)
    workers = workers or int(gpus) or sum(
        max(1, int(machine["CPU"] // (threads or _CPUS))) for machine in machines
    )  # fmt: skip
    # Each machine could carry all workers, so none waits forever. Ray Data spreads them.
    cpus = min(1.0, min(machine["CPU"] for machine in machines) / workers)
    # A share of a single GPU: no worker may span two.
    share = 1 / max(1, math.ceil(workers / gpus)) if gpus else 0.0
    return Crew(workers, _rounded_down(cpus), _rounded_down(share))


def _rounded_down(share: float) -> float:
    """To the ten-thousandths in which Ray counts."""
    return int(10000 * share) / 10000


def translate_on_ray(
    ray: Any, pictures: Listing, work: Work, workers: int | None = None
) -> Generator[Outcome]:
    """Translates pictures on a cluster.

    Args:
        ray: from `cluster`.
        pictures: the pictures.
        work: what to do.
        workers: see `crew`.

    Yields:
        One outcome for each picture, in any order.

    Raises:
        InputError: the model cannot be opened, a server does not answer, the disk is full, the
            workers cannot be started, or with `strict` for the first bad picture.
    """
    team = crew([m["Resources"] for m in ray.nodes() if m["Alive"]], workers, work.threads)
    batch = max(1, min(_LARGEST_BATCH, len(pictures) // (team.workers * _ROUNDS)))
    answers = ray.data.from_arrow(list(_tables(pictures, batch))).map_batches(
        Translator,
        fn_constructor_kwargs={"work": work},
        batch_size=None,
        batch_format="pyarrow",
        # A worker that dies takes only the batch it works on with it.
        compute=ray.data.ActorPoolStrategy(size=team.workers, max_tasks_in_flight_per_actor=1),
        num_cpus=team.cpus,
        num_gpus=team.gpus or None,
        # Ray restarts dead actors without limit.
        ray_remote_args_fn=lambda: {"max_task_retries": _RETRIES},
    )
    answers.context.enable_progress_bars = False
    answers.context.print_on_execution_start = False
    answers.context.max_errored_blocks = -1
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    answered = bytearray(len(pictures))
    # Not `iter_rows`: its threads outlive it, and one that calls Ray after `ray.shutdown` ends the
    # process.
    bundles = answers.iter_internal_ref_bundles()
    try:
        for bundle in bundles:
            for table in ray.get(list(bundle.block_refs)):
                for row in table.to_pylist():
                    if row["fatal"]:
                        raise InputError(os.fsdecode(row["fatal"]))
                    answered[row["number"]] = True
                    yield Outcome(_decoded(row), os.fsdecode(row["problem"]) or None)
    except ray.exceptions.RayError as problem:
        raise InputError(f"the Ray workers cannot be started ({first_line(problem)})") from problem
    finally:
        del bundles  # the last reference: stops Ray Data before `ray.shutdown`
    for done, picture in zip(answered, pictures, strict=True):
        if not done:
            words = f"{picture.source}: its worker died {_RETRIES + 1} times on this batch"
            yield Outcome(picture, words)


def _tables(pictures: Listing, size: int) -> Iterator[Any]:
    """One Arrow table per batch. File names need not be text, so they are bytes."""
    import pyarrow as pa

    rows: list[dict[str, Any]] = []
    for number, (source, name) in enumerate(pictures):
        rows.append({"number": number, "source": os.fsencode(source), "name": os.fsencode(name)})
        if len(rows) == size or number == len(pictures) - 1:
            yield pa.Table.from_pylist(rows)
            rows = []
