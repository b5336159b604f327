"""Translates millions of pictures with Ray Data.

The driver holds only names. Ray Data sends them in batches to actors, each of which opens the
model once, reads, translates and writes its pictures, and returns the problems. No picture passes
through the driver or the object store. Ray Data repeats the batch of a worker that dies; because
files are written atomically, it does not matter how far the worker got.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import re
import signal
import socket
from collections.abc import Generator, Iterator, Mapping
from typing import Any

from ..errors import InputError, Terminated, first_line
from ..runtimes.opening import open_runtime
from ..runtimes.protocol import Runtime
from .drawing import parse_size
from .finding import list_entry
from .pipeline import REPORT, Job, existing_translations, translate_each
from .storage import open_place, remove_temporary, write

#: Pictures per batch at most, and batches per worker at least, so that all workers finish together.
_LARGEST_BATCH, _ROUNDS = 64, 16

#: Retries of a batch whose worker died. Afterwards its pictures go to the report.
_RETRIES = 2

#: CPUs per worker if neither `workers` nor `threads` is given.
_CPUS = 4

#: Bytes of the object store of a local cluster, which holds only names.
_OBJECT_STORE = 256 * 2**20


def translate_on_ray(
    pictures: Mapping[str, str],
    to: str,
    model: Mapping[str, Any],
    workers: int | None = None,
    address: str | None = None,
    *,
    skip_existing: bool = False,
    **settings: Any,
) -> Generator[Job]:
    """Translates pictures on a Ray cluster, and lists the failed ones in a report.

    Args:
        pictures: from `list_pictures`.
        to: the output folder or URL.
        model: arguments of `open_runtime`, with `threads`. Every worker opens the model.
        workers: see `crew`.
        address: see `cluster`.
        skip_existing, settings: see `translate_files`.

    Yields:
        Each job, in any order.

    Raises:
        InputError: as `translate_files`; also if the model cannot be opened, there is no Ray
            cluster, or the workers cannot be started.
    """
    place = open_place(to)
    if settings["image_size"]:
        parse_size(settings["image_size"])
    for url in (to, *pictures.values()):
        if url.startswith("memory:"):
            raise InputError(f"{url}: workers cannot see this process's memory: use a store")
    there = existing_translations(
        pictures, place, skip_existing, settings["side_by_side"], report=True
    )
    left = {name: source for name, source in pictures.items() if name not in there}
    report: list[str] = []
    work = {"folder": os.getcwd(), "to": to, "model": model, "settings": settings}
    started, ended = len(left), "interrupted"
    try:
        for name in there & pictures.keys():
            yield Job(pictures[name], place / name, name, skipped=True)
        if left:
            with (
                cluster(address) as ray,
                contextlib.closing(_outcomes(ray, left, work, workers)) as outcomes,
            ):
                for job in outcomes:
                    if job.problem:
                        report.append(list_entry(job.source, job.name, job.problem))
                    yield job
        ended = "done"
    except InputError as problem:
        ended = str(problem)
        raise
    finally:
        remove_temporary(place, pictures)
        if ended == "done" or len(left) < started:
            skipped, done = len(pictures) - started, started - len(left) - len(report)
            summary = (
                f"{ended}: {done} translated, {skipped} existed already, {len(report)} failed, "
                f"{len(left)} left, with {model['model']}"
            )
            lines = "".join([*report, "# " + re.sub(r"[\r\n]+", " ", summary) + "\n"])
            write(place / REPORT, lines.encode("utf-8", "surrogateescape"))


class _Translator:
    """A Ray actor that holds the open model."""

    def __init__(self, folder: str, to: str, model: dict[str, Any], settings: dict[str, Any]):
        self._to, self._settings = to, settings
        # As many as without Ray, which sets another default. Rounding depends on it.
        self._model = {**model, "threads": model["threads"] or _cores()}
        # Workers may share a GPU, and TensorFlow would take all of its memory.
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        with contextlib.suppress(OSError):  # a machine without that folder: paths are absolute
            os.chdir(folder)

    @functools.cached_property
    def _runtime(self) -> Runtime:
        return open_runtime(**self._model)

    def __call__(self, batch: Any) -> Any:
        """Translates the pictures of an Arrow table and returns their problems, "" for none.

        An error that concerns all pictures is returned too, with `fatal`: Ray would repeat the
        batch if it were raised.
        """
        import pyarrow as pa

        fatal = False
        try:
            place = open_place(self._to)
            jobs = [
                Job(os.fsdecode(row["source"]), place / (name := os.fsdecode(row["name"])), name)
                for row in batch.to_pylist()
            ]
            done = translate_each(jobs, self._runtime, place, **self._settings)
            problems = [job.problem or "" for job in done]
        except Exception as problem:
            fatal, said = True, str(problem)
            if not isinstance(problem, InputError):
                logging.getLogger(__name__).exception("a batch failed")
                said = f"a worker failed ({type(problem).__name__}: {first_line(problem)})"
            problems = [said] * len(batch)
        encoded = pa.array(map(os.fsencode, problems), pa.binary())
        return pa.table({"name": batch["name"], "problem": encoded, "fatal": [fatal] * len(batch)})


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
        raise InputError(
            f'Ray is missing ({problem}): pip install ".[ray]" in a clone of tfcyclegan'
        ) from problem
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    _check_address(address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        options.update(include_dashboard=False, object_store_memory=_OBJECT_STORE)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        try:
            ray.init(address=address, **options)
        except (ConnectionError, RuntimeError, ValueError, OSError) as problem:
            raise InputError(
                f"address={address}: the Ray cluster refuses the connection "
                f"({first_line(problem)}): set RAY_AUTH_MODE=token if it asks for one"
            ) from problem
        signal.signal(signal.SIGTERM, _terminate)  # Ray has set its own
        yield ray
    finally:
        ray.shutdown()
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


def crew(
    machines: list[dict[str, float]], workers: int | None, threads: int | None
) -> tuple[int, float, float]:
    """Chooses the number of workers and their resources.

    Args:
        machines: the resources of each machine by Ray's names, such as `CPU` and `GPU`.
        workers: number of workers. Default: one per GPU, or else one for every four CPUs (or
            every `threads` CPUs), at least one per machine.
        threads: threads per worker, if given.

    Returns:
        The number of workers, and the CPUs and GPUs that Ray reserves for each.

    Raises:
        InputError: no machine has a CPU.
    """
    machines = [machine for machine in machines if machine.get("CPU", 0) >= 1]
    if not machines:
        raise InputError("no machine of the Ray cluster has a CPU")
    machines = [machine for machine in machines if machine.get("GPU")] or machines
    gpus = sum(machine.get("GPU", 0) for machine in machines)
    shares = [max(1, int(machine["CPU"] // (threads or _CPUS))) for machine in machines]
    workers = workers or int(gpus) or sum(shares)
    # Each machine could carry all workers, so none waits forever. Ray Data spreads them.
    cpus = min(1.0, min(machine["CPU"] for machine in machines) / workers)
    # A share of a single GPU: no worker may span two.
    share = 1 / max(1, math.ceil(workers / gpus)) if gpus else 0.0
    # Ray counts in ten-thousandths.
    return workers, int(10000 * cpus) / 10000, int(10000 * share) / 10000


def _outcomes(
    ray: Any, left: dict[str, str], work: dict[str, Any], workers: int | None
) -> Generator[Job]:
    """Translates the pictures and removes each from `left` when it is done."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    workers, cpus, gpus = crew(machines, workers, work["model"]["threads"])
    batch = max(1, min(_LARGEST_BATCH, len(left) // (workers * _ROUNDS)))
    answers = ray.data.from_arrow(_tables(left, batch)).map_batches(
        _Translator,
        fn_constructor_kwargs=work,
        batch_size=None,
        batch_format="pyarrow",
        # A worker that dies takes only the batch it works on with it.
        compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
        num_cpus=cpus,
        num_gpus=gpus or None,
        # Ray restarts dead actors without limit.
        ray_remote_args_fn=lambda: {"max_task_retries": _RETRIES},
    )
    answers.context.enable_progress_bars = False
    answers.context.print_on_execution_start = False
    answers.context.max_errored_blocks = -1
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    place = open_place(work["to"])
    # Not `iter_rows`: its threads outlive it, and one that calls Ray after `ray.shutdown` ends the
    # process.
    bundles = answers.iter_internal_ref_bundles()
    try:
        for bundle in bundles:
            for table in ray.get(list(bundle.block_refs)):
                for row in table.to_pylist():
                    name, problem = os.fsdecode(row["name"]), os.fsdecode(row["problem"])
                    if row["fatal"]:
                        raise InputError(problem)
                    yield Job(left.pop(name), place / name, name, problem=problem or None)
    except ray.exceptions.RayError as problem:
        raise InputError(f"the Ray workers cannot be started ({first_line(problem)})") from problem
    finally:
        del bundles  # the last reference: stops Ray Data before `ray.shutdown`
    for name in list(left):
        source = left.pop(name)
        died = f"{source}: its worker died {_RETRIES + 1} times on this batch"
        yield Job(source, place / name, name, problem=died)


def _tables(pictures: Mapping[str, str], size: int) -> list[Any]:
    """One Arrow table per batch. File names need not be text, so they are bytes."""
    import pyarrow as pa

    names = list(pictures)
    batches = (names[start : start + size] for start in range(0, len(names), size))
    return [
        pa.table(
            {
                "name": [os.fsencode(name) for name in batch],
                "source": [os.fsencode(pictures[name]) for name in batch],
            }
        )
        for batch in batches
    ]
