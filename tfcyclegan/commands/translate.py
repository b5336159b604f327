"""`tfcyclegan translate`: translates picture files with a generator in any of its forms."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.progress import Progress

from ..directions import Direction
from ..errors import InputError
from ..runtimes.opening import open_runtime
from ..translation.finding import list_pictures
from ..translation.gallery import write_gallery
from ..translation.on_ray import translate_on_ray
from ..translation.pipeline import REPORT, Job, find_pictures, translate_files
from ..translation.storage import open_place

#: Bad pictures that are named on the screen. The report names all of them.
_NAMED = 20

#: Seconds between lines of progress without a terminal.
_EVERY = 10.0


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
        raise InputError(f"timeout={timeout:g}: must be more than 0")
    for name, number in (("threads", threads), ("workers", workers)):
        if number is not None and number < 1:
            raise InputError(f"{name}={number}: must be at least 1")
    if engine == "local" and (workers is not None or address is not None):
        option = "--workers" if workers is not None else "--address"
        raise InputError(f"{option} is for --engine ray: pass that as well, or leave it out")
    opening: dict[str, Any] = {
        "model": model,
        "direction": direction,
        "timeout": timeout,
        "threads": threads,
    }
    settings: dict[str, Any] = {
        "image_size": image_size,
        "independent_tiles": independent_tiles,
        "skip_existing": skip_existing,
        "strict": strict,
        "side_by_side": side_by_side,
    }
    place = open_place(to)
    if engine == "ray":
        pictures = list_pictures(inputs, place, glob)
        total, way = len(pictures), direction
        jobs = translate_on_ray(pictures, to, opening, workers, address, **settings)
    else:
        found = find_pictures(inputs, to, glob)
        runtime = open_runtime(**opening)
        total, way = len(found), runtime.direction
        jobs = translate_files(found, runtime, to, **settings)
    console = Console(file=sys.stdout)
    start = time.perf_counter()
    named = _NAMED if engine == "ray" else total
    done, skipped, failed = _follow(console, jobs, total, named)
    seconds = time.perf_counter() - start
    count = "1 picture" if done == 1 else f"{done} pictures"
    words = f"translated {count} to {to} in {seconds:.1f} s"
    words += f", {done / seconds:.2f} per second" if done else ""
    words += f"; {skipped} existed already" if skipped else ""
    words += f"; {failed} could not be translated" if failed else ""
    words += f": see {place / REPORT}" if failed and engine == "ray" else ""
    _say(console, words)
    title = " ".join(filter(None, (Path(to).name, way)))
    if side_by_side and (page := write_gallery(Path(to), title)):
        _say(console, f"gallery: {page}")
    return 1 if failed else 0


def _follow(console: Console, jobs: Generator[Job], total: int, named: int) -> tuple[int, int, int]:
    """Shows progress and names up to `named` bad pictures.

    Returns:
        How many pictures were translated, skipped and left out.
    """
    done = skipped = failed = 0
    next_line = time.perf_counter() + _EVERY
    progress = Progress(
        *Progress.get_default_columns(),
        console=console,
        redirect_stdout=False,
        disable=not console.is_terminal,
    )
    with closing(jobs), progress:
        progress.add_task("translating", total=total)
        (task,) = progress.tasks
        for job in jobs:
            progress.advance(task.id)
            if job.skipped:
                skipped += 1
            elif not job.problem:
                done += 1
            else:
                failed += 1
                if failed <= named:
                    _say(console, f"left out: {job.problem}")
                elif failed == named + 1:
                    _say(console, "more pictures are left out: see the report")
            if not console.is_terminal and time.perf_counter() >= next_line:
                left = f", {task.time_remaining:.0f} s left" if task.time_remaining else ""
                _say(console, f"{task.completed:.0f} of {total} pictures{left}")
                next_line += _EVERY
    return done, skipped, failed


def _say(console: Console, words: str) -> None:
    console.print(words, highlight=False, markup=False, soft_wrap=True)
