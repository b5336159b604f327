"""`tfcyclegan translate`: translates picture files with a generator in any of its forms."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.progress import Progress

from ..directions import Direction
from ..errors import InputError
from ..runtimes.opening import open_runtime
from ..translation import storage
from ..translation.drawing import parse_size
from ..translation.finding import Listing
from ..translation.gallery import write_gallery
from ..translation.on_ray import Work, cluster, translate_on_ray
from ..translation.pipeline import already_exist, check_names, find_pictures, translate_files
from ..translation.report import REPORT, Report

#: Bad pictures that are named on the screen. The report names all of them.
_NAMED = 20

#: Seconds between lines of progress without a terminal.
_EVERY = 10.0


@dataclass
class _Counts:
    done: int = 0
    skipped: int = 0
    failed: int = 0


def translate(
    inputs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="INPUT...")],
    model: str,
    to: str,
    direction: Direction | None = None,
    glob: str = "",
    image_size: str | None = None,
    independent_tiles: bool = False,
    skip_existing: bool = False,
    strict: bool = False,
    side_by_side: bool = False,
    timeout: float = 60.0,
    threads: int | None = None,
    engine: Literal["local", "ray"] = "local",
    workers: int | None = None,
    address: str | None = None,
) -> int:
    """Translate picture files and folders.

    Args:
        inputs: Pictures, folders (searched recursively), lists of pictures (.txt, one path or URL
            per line), and URLs of these, such as s3://bucket/folder.
        model: A run folder, .keras file, export, SavedModel, .tflite file, or a TF Serving
            address (http://HOST:8501/v1/models/NAME or grpc://HOST:8500/NAME).
        to: The output folder or URL. Names and subfolders are kept.
        direction: Direction, if the model has both. Default: AtoB.
        glob: Pattern for names in folders, such as "*.png". Default: all pictures.
        image_size: Working size in px: N for the shorter side, or HEIGHTxWIDTH. Results are
            scaled back. Default: each picture's own size.
        independent_tiles: Translate pictures that are too large for the model in tiles, which may
            differ in colour. Run folders and .keras files do not need this.
        skip_existing: Skip translations that exist, to continue after an interruption.
        strict: Stop at the first picture that cannot be translated.
        side_by_side: Also write comparison pictures and a page that shows them.
        timeout: Seconds to wait for a server's answer to one picture.
        threads: Threads per process. Default: the number of cores.
        engine: "ray" translates many pictures on the workers of a Ray cluster and writes a report.
            The results are the same, byte for byte.
        workers: Worker processes, with --engine ray. Default: one per GPU or per four CPUs.
        address: The Ray cluster, with --engine ray. Default: RAY_ADDRESS, or else a new one on
            this machine that ends with the command.
    """
    if timeout <= 0:
        raise InputError(f"--timeout {timeout:g}: must be more than 0")
    for option, number in (("--threads", threads), ("--workers", workers)):
        if number is not None and number < 1:
            raise InputError(f"{option} {number}: must be at least 1")
    console = Console(file=sys.stdout)
    start = time.perf_counter()
    if engine == "ray":
        work = Work(
            model=model,
            to=to,
            direction=direction,
            timeout=timeout,
            threads=threads,
            image_size=image_size,
            independent_tiles=independent_tiles,
            strict=strict,
            side_by_side=side_by_side,
            folder=os.getcwd(),
        )
        counts = _with_ray(console, inputs, work, glob, skip_existing, workers, address)
        way = direction
    else:
        if workers is not None or address is not None:
            option = "--workers" if workers is not None else "--address"
            raise InputError(f"{option} is for --engine ray: pass that as well, or leave it out")
        jobs = find_pictures(inputs, to, glob)
        runtime = open_runtime(model, direction, timeout, threads)
        way = runtime.direction
        start = time.perf_counter()
        counts = _Counts()
        with _progress(console, len(jobs)) as progress:
            for job in translate_files(
                jobs,
                runtime,
                to,
                image_size=image_size,
                independent_tiles=independent_tiles,
                skip_existing=skip_existing,
                strict=strict,
                side_by_side=side_by_side,
            ):
                progress.advance()
                counts.skipped += job.skipped
                if job.problem:
                    counts.failed += 1
                    _say(console, f"left out: {job.problem}")
                elif not job.skipped:
                    counts.done += 1
    seconds = time.perf_counter() - start
    words = f"translated {counts.done} pictures to {to} in {seconds:.1f} s"
    words += f", {counts.done / seconds:.2f} per second" if counts.done else ""
    words += f"; {counts.skipped} existed already" if counts.skipped else ""
    words += f"; {counts.failed} could not be translated" if counts.failed else ""
    words += f": see {storage.open_place(to) / REPORT}" if counts.failed and engine == "ray" else ""
    _say(console, words)
    title = " ".join(filter(None, (Path(to).name, way)))
    if side_by_side and (page := write_gallery(Path(to), title)):
        _say(console, f"gallery: {page}")
    return 1 if counts.failed else 0


def _with_ray(
    console: Console,
    inputs: tuple[str, ...],
    work: Work,
    glob: str,
    skip_existing: bool,
    workers: int | None,
    address: str | None,
) -> _Counts:
    """Translates on a cluster and writes the report."""
    if work.image_size:
        parse_size(work.image_size)
    for given in (*inputs, work.to):
        if given.startswith("memory:"):
            raise InputError(f"{given}: workers cannot see this process's memory: use a store")
    place = storage.open_place(work.to)
    listing = Listing(inputs, place, glob)
    names = list(listing.names())
    check_names(names, place, work.side_by_side)
    if REPORT in names:
        raise InputError(f"{place / REPORT} is for the report: rename that picture")
    there = storage.existing(place, names)
    others = [REPORT, "index.html"] if work.side_by_side else [REPORT]
    others = [name for name in others if storage.exists(place / name)]
    if (there or others) and not skip_existing:
        first = next((name for name in names if name in there), *others[:1])
        raise already_exist(place / first, len(there) + len(others))
    listing.leave_out(there)
    counts, report, ended = _Counts(skipped=len(there)), Report(), "interrupted"
    try:
        if len(listing):
            with (
                cluster(address) as ray,
                _progress(console, len(listing)) as progress,
                closing(translate_on_ray(ray, listing, work, workers)) as outcomes,
            ):
                for picture, problem in outcomes:
                    progress.advance()
                    if not problem:
                        counts.done += 1
                        continue
                    counts.failed += 1
                    report.add(picture, problem)
                    if counts.failed <= _NAMED:
                        _say(console, f"left out: {problem}")
                    elif counts.failed == _NAMED + 1:
                        _say(console, "more are left out: see the report")
        ended = "done"
    except InputError as problem:
        ended = str(problem)
        raise
    finally:
        storage.remove_temporary(place, names)
        if ended == "done" or counts.done or counts.failed:
            left = len(listing) - counts.done - counts.failed
            report.publish(
                place,
                f"{ended}: {counts.done} translated, {counts.skipped} existed already, "
                f"{counts.failed} failed, {left} left, with {work.model}",
            )
    return counts


def _say(console: Console, words: str) -> None:
    console.print(words, highlight=False, markup=False, soft_wrap=True)


class _Bar:
    """A bar on a terminal, else a line every few seconds."""

    def __init__(self, console: Console, progress: Progress, total: int):
        self._console, self._progress = console, progress
        self._task = progress.add_task("translating", total=total)
        self._next = time.perf_counter() + _EVERY

    def advance(self) -> None:
        """Counts one picture."""
        self._progress.advance(self._task)
        if not self._console.is_terminal and time.perf_counter() >= self._next:
            task = self._progress.tasks[0]
            left = f", {task.time_remaining:.0f} s left" if task.time_remaining else ""
            _say(self._console, f"{task.completed:.0f} of {task.total:.0f} pictures{left}")
            self._next += _EVERY


@contextmanager
def _progress(console: Console, total: int) -> Iterator[_Bar]:
    with Progress(
        *Progress.get_default_columns(),
        console=console,
        redirect_stdout=False,
        disable=not console.is_terminal,
    ) as progress:
        yield _Bar(console, progress, total)
