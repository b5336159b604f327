"""`tfcyclegan translate`: picture files and folders through a generator in any of its forms."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from ..backends import open_backend
from ..errors import InputError
from ..networks import Direction
from ..translation import find_pictures, translate_files
from ..translation.gallery import write_gallery


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
) -> int:
    """Translate picture files and folders of them.

    Args:
        inputs: Pictures, and folders that are searched with all that is in them.
        model: A run folder, .keras file, export, SavedModel, .tflite file, or a TF Serving
            address (http://HOST:8501/v1/models/NAME or grpc://HOST:8500/NAME).
        to: The folder to write to; names stay.
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
    """
    if timeout <= 0:
        raise InputError(f"--timeout {timeout:g}: must be more than 0")
    jobs = find_pictures(inputs, to, glob)
    backend = open_backend(model, direction, timeout)
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    start = time.perf_counter()
    done = skipped = failed = 0
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("translating", total=len(jobs))
        for job in translate_files(
            jobs,
            backend,
            to,
            image_size=image_size,
            independent_tiles=independent_tiles,
            skip_existing=skip_existing,
            strict=strict,
            side_by_side=side_by_side,
        ):
            progress.update(task, advance=1)
            skipped += job.skipped
            if job.problem:
                failed += 1
                progress.console.print(
                    f"left out: {job.problem}", highlight=False, markup=False, soft_wrap=True
                )
            elif not job.skipped:
                done += 1
    seconds = time.perf_counter() - start
    words = f"translated {done} pictures to {to} in {seconds:.1f} s"
    words += f", {done / seconds:.2f} a second" if done else ""
    words += f"; {skipped} were there already" if skipped else ""
    words += f"; {failed} could not be translated" if failed else ""
    console.print(words, highlight=False, markup=False, soft_wrap=True)
    title = " ".join(filter(None, (Path(to).name, backend.direction)))
    if side_by_side and (page := write_gallery(Path(to), title)):
        console.print(f"gallery: {page}", highlight=False, markup=False, soft_wrap=True)
    return 1 if failed else 0
