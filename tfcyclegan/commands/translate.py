"""`tfcyclegan translate`: picture files and folders through a generator in any of its forms."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from ..directions import Direction
from ..errors import InputError
from ..files import owner
from ..runtimes.opening import open_runtime
from ..translation.files import (
    already_there,
    check_names,
    find_pictures,
    parse_size,
    translate_files,
)
from ..translation.gallery import write_gallery
from ..translation.locations import Listing, existing, open_place, tidy
from ..translation.on_ray import Work, cluster, translate_on_ray
from ..translation.report import REPORT, Report

#: Bad pictures that are named on the screen; the report has them all.
_NAMED = 20

#: Seconds between lines of progress where there is no terminal.
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
    """Translate picture files and folders of them.

    Args:
        inputs: Pictures; folders, which are searched with all that is in them; lists of pictures
            (.txt, .csv, .jsonl); and URLs of these, such as s3://bucket/folder.
        model: A run folder, .keras file, export, SavedModel, .tflite file, or a TF Serving
            address (http://HOST:8501/v1/models/NAME or grpc://HOST:8500/NAME).
        to: The folder to write to, or such a URL; names stay.
        direction: Which way, where the model goes both ways. Default: AtoB.
        glob: Pattern of the names to take from folders, such as "*.png". Default: all pictures.
        image_size: Size to work at, in px: N for the shorter side, or HEIGHTxWIDTH. Results
            are scaled back. Default: the pictures' own size.
        independent_tiles: Go over pictures that the model does not take whole in tiles, which
            may differ in colour. Run folders and .keras files need none of it.
        skip_existing: Leave out what is there already, to go on after an interruption.
        strict: Stop at the first picture that cannot be translated.
        side_by_side: Also write comparison pictures and a page to look at them.
        timeout: Seconds that a server may take for a picture.
        threads: Threads that a process computes with. Default: as many as its machine has cores.
        engine: "ray" for many pictures: workers of a Ray cluster, and a report. The pictures are
            the same, byte for byte.
        workers: Processes that translate, with --engine ray. Default: what CPUs and memory allow.
        address: The Ray cluster. Default: RAY_ADDRESS, else one on this machine that ends with
            the command.
    """
    if timeout <= 0:
        raise InputError(f"--timeout {timeout:g}: must be more than 0")
    if threads is not None and threads < 1:
        raise InputError(f"--threads {threads}: at least 1 thread computes")
    # This stream, whatever the engine does to sys.stdout meanwhile.
    console = Console(file=sys.stdout)
    start = time.perf_counter()
    if engine == "ray":
        if workers is not None and workers < 1:
            raise InputError(f"--workers {workers}: at least 1 works")
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
        )
        counts, way = _with_ray(console, inputs, work, glob, skip_existing, workers, address)
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
                progress.advance(1)
                counts.skipped += job.skipped
                if job.problem:
                    counts.failed += 1
                    progress.say(f"left out: {job.problem}")
                elif not job.skipped:
                    counts.done += 1
    seconds = time.perf_counter() - start
    words = f"translated {counts.done} pictures to {to} in {seconds:.1f} s"
    words += f", {counts.done / seconds:.2f} a second" if counts.done else ""
    words += f"; {counts.skipped} were there already" if counts.skipped else ""
    words += f"; {counts.failed} could not be translated" if counts.failed else ""
    words += f": see {open_place(to).target(REPORT)}" if counts.failed and engine == "ray" else ""
    console.print(words, highlight=False, markup=False, soft_wrap=True)
    title = " ".join(filter(None, (Path(to).name, way)))
    if side_by_side and (page := write_gallery(Path(to), title)):
        console.print(f"gallery: {page}", highlight=False, markup=False, soft_wrap=True)
    return 1 if counts.failed else 0


def _with_ray(
    console: Console,
    inputs: tuple[str, ...],
    work: Work,
    glob: str,
    skip_existing: bool,
    workers: int | None,
    address: str | None,
) -> tuple[_Counts, Direction | None]:
    """Translates on a cluster and writes the report."""
    if work.image_size:
        parse_size(work.image_size)
    for given in (*inputs, work.to):
        if given.startswith("memory:"):
            raise InputError(f"{given}: that is memory of this process: take --engine local")
    place = open_place(work.to)
    listing = Listing(inputs, place, glob)
    names = listing.names()
    check_names(names, place, work.side_by_side)
    if REPORT in names:
        raise InputError(
            f"{place.target(REPORT)} is for the report: give that picture another name"
        )
    there = existing(place, names)
    others = [name for name in (REPORT, "index.html") if place.exists(name)]
    others = others if work.side_by_side else [name for name in others if name == REPORT]
    if (there or others) and not skip_existing:
        name = next((name for name in names if name in there), *others[:1])
        raise already_there(place.target(name), len(there) + len(others))
    # What an earlier run that was killed left half-written.
    tidy(place, names)
    listing.leave_out(there)
    counts, way, report, ended = _Counts(skipped=len(there)), None, Report(), "interrupted"
    start = time.perf_counter()
    try:
        if len(listing):
            with (
                cluster(address) as ray,
                _progress(console, len(listing)) as progress,
                closing(translate_on_ray(ray, listing, len(listing), work, workers)) as answers,
            ):
                for answer in answers:
                    way = answer.direction or way
                    counts.done += answer.count - len(answer.problems)
                    for source, name, problem in answer.problems:
                        counts.failed += 1
                        report.add(source, name, problem)
                        if counts.failed <= _NAMED:
                            progress.say(f"left out: {problem}")
                        elif counts.failed == _NAMED + 1:
                            progress.say("more are left out: the report names them")
                    progress.advance(answer.count)
        ended = "done"
    except InputError as problem:
        ended = str(problem)
        raise
    finally:
        # The workers are gone by now, and what they had not finished is nobody's.
        tidy(place, names, ended=owner())
        if ended == "done" or counts.done or counts.failed:
            report.publish(
                place,
                ended=ended,
                translated=counts.done,
                there_already=counts.skipped,
                failed=counts.failed,
                left=len(listing) - counts.done - counts.failed,
                seconds=round(time.perf_counter() - start, 3),
                model=work.model,
            )
    return counts, way


class _Pace:
    """How fast it goes, from the first pictures on: workers take a while to come."""

    def __init__(self, total: int):
        self.left = total
        self._done, self._start = 0, None

    def advance(self, count: int) -> None:
        self.left -= count
        if self._start is None:
            self._start = time.perf_counter()
        else:
            self._done += count

    def rate(self) -> float:
        """Pictures a second, or 0 as long as that is not known."""
        seconds = time.perf_counter() - self._start if self._done else 0.0
        return self._done / seconds if seconds else 0.0


class _Bar:
    """Progress on a terminal."""

    def __init__(self, progress: Progress, total: int):
        self._progress, self._pace = progress, _Pace(total)
        self._task = progress.add_task("translating", total=total, rate="")

    def advance(self, count: int) -> None:
        self._pace.advance(count)
        rate = self._pace.rate()
        shown = f"{rate:.2f} a second" if rate else ""
        self._progress.update(self._task, advance=count, rate=shown)

    def say(self, words: str) -> None:
        self._progress.console.print(words, highlight=False, markup=False, soft_wrap=True)


class _Lines:
    """Progress where nobody sees a bar: a line every few seconds."""

    def __init__(self, console: Console, total: int):
        self._console, self._total, self._pace = console, total, _Pace(total)
        self._next = time.perf_counter() + _EVERY

    def advance(self, count: int) -> None:
        self._pace.advance(count)
        now, left, rate = time.perf_counter(), self._pace.left, self._pace.rate()
        if now >= self._next and left and rate:
            seconds = round(left / rate)
            self.say(
                f"{self._total - left} of {self._total} pictures, {rate:.2f} a second, "
                f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d} to go"
            )
            self._next = now + _EVERY

    def say(self, words: str) -> None:
        self._console.print(words, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _progress(console: Console, total: int) -> Iterator[_Bar | _Lines]:
    if not console.is_terminal:
        yield _Lines(console, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    more = (TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, *more, console=console, redirect_stdout=False) as progress:
        yield _Bar(progress, total)
