"""Picture files in, translated picture files out: load, draw, save."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from upath import UPath

from ..data.decoding import Opened, open_picture
from ..errors import InputError
from ..parallel import map_in_order
from ..runtimes.protocol import BadPicture, Runtime
from . import storage
from .drawing import Size, draw, working_size
from .finding import Found, Listing
from .gallery import FOLDER, write_comparison

_SAVE = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "MPO": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95},
}


@dataclass(frozen=True)
class Job:
    """A picture to translate.

    Attributes:
        source: its path or URL.
        target: the file or URL of its translation.
        name: its path below the folder it was found in.
        opened: the decoded picture, between loading and saving.
        drawn: the translation, uint8 `[H, W, C]`, between drawing and saving.
        skipped: whether the translation existed already.
        problem: why it could not be translated, or None.
    """

    source: str
    target: Path | UPath
    name: str
    opened: Opened | None = None
    drawn: np.ndarray | None = None
    skipped: bool = False
    problem: str | None = None


def find_pictures(
    inputs: Sequence[str | os.PathLike], to: str | os.PathLike, glob: str = ""
) -> list[Job]:
    """Finds the pictures to translate and names their translations.

    Args:
        inputs: files, folders (searched recursively), URLs that fsspec opens, such as
            `s3://bucket/folder`, and lists of pictures: `.txt` files with one path or URL per
            line. Paths in a list are relative to it.
        to: folder or URL of the translations. They keep their names and subfolders. It is not
            searched.
        glob: pattern for names or paths in folders, such as `*.png` or `2024/*.jpg`, where `*`
            matches any text including slashes. Default: all pictures.

    Returns:
        A job for each picture.

    Raises:
        InputError: an input is missing, there are no pictures, two pictures would get one name,
            or a name in a list leads out of `to`.
    """
    place = storage.open_place(to)
    return [job_of(found, place) for found in Listing(inputs, place, glob)]


def job_of(found: Found, place: Path | UPath) -> Job:
    """The job for a picture."""
    return Job(found.source, place / found.name, found.name)


def translate_files(
    jobs: Sequence[Job],
    runtime: Runtime,
    to: str | os.PathLike,
    *,
    image_size: str | None = None,
    independent_tiles: bool = False,
    skip_existing: bool = False,
    strict: bool = False,
    side_by_side: bool = False,
) -> Iterator[Job]:
    """Translates picture files.

    Decoding, inference and encoding overlap, a few pictures ahead. Files are written atomically.
    Names, sizes, alpha channels and formats are kept. EXIF orientation is applied.

    Args:
        jobs: from `find_pictures`.
        runtime: from `open_runtime`.
        to: the same folder or URL as for `find_pictures`. A folder is created if it is missing.
        image_size: working size, `"SHORTER SIDE"` or `"HEIGHTxWIDTH"` in px. Results are scaled
            back. Default: each picture's own size, or the model's only size.
        independent_tiles: translate pictures that are too large for the runtime in tiles, each
            normalised by its own statistics. A Keras model does not need this; see `streaming`.
        skip_existing: skip translations that exist. Default: refuse to start.
        strict: stop at the first picture that cannot be translated.
        side_by_side: also write comparison pictures.

    Yields:
        Each job when its file is written, or with the problem.

    Raises:
        InputError: before anything is written, if files exist, the folder cannot be created, or
            the model does not take the size; later, if a server does not answer, the disk is
            full, or with `strict` for the first bad picture.

    Example:
        ```python
        runtime = open_runtime("runs/horse2zebra")
        for job in translate_files(find_pictures(["horses"], "zebras"), runtime, "zebras"):
            print(job.problem or job.target)
        ```
    """
    place = storage.open_place(to)
    check_names([job.name for job in jobs], place, side_by_side)
    there = storage.existing(place, [job.name for job in jobs])
    others = ["index.html"] if side_by_side and storage.exists(place / "index.html") else []
    if (there or others) and not skip_existing:
        first = next((job.name for job in jobs if job.name in there), *others)
        raise already_exist(place / first, len(there) + len(others))
    size = working_size(image_size, runtime)
    storage.make_folder(place)
    yield from translate_each(
        (dataclasses.replace(job, skipped=job.name in there) for job in jobs),
        runtime,
        place,
        size=size,
        independent_tiles=independent_tiles,
        strict=strict,
        side_by_side=side_by_side,
    )


def check_names(names: Iterable[str], place: Path | UPath, side_by_side: bool) -> None:
    """Checks that comparison pictures can be written.

    Raises:
        InputError: the place is remote, or a name is in their folder.
    """
    if not side_by_side:
        return
    if not isinstance(place, Path):
        raise InputError(f"{place}: `side_by_side` writes only to local folders: leave it out")
    if any(name.split("/")[0] == FOLDER for name in names):
        raise InputError(f"{place / FOLDER} is for comparison pictures: rename the input {FOLDER}")


def already_exist(target: object, count: int) -> InputError:
    """The error for translations that would overwrite files."""
    others = f" and {count - 1} more exist" if count > 1 else " exists"
    return InputError(
        f"{target}{others} already: pass `skip_existing=True` to continue, or another `to`"
    )


def translate_each(
    jobs: Iterable[Job],
    runtime: Runtime,
    place: Path | UPath,
    *,
    size: Size | None,
    independent_tiles: bool,
    strict: bool,
    side_by_side: bool,
) -> Iterator[Job]:
    """Loads, draws and saves pictures, for both engines.

    Pictures go through the generator one at a time: kernels round the sums of a batch
    differently, so pixels would depend on the other pictures.

    Args:
        jobs: read a few ahead.
        runtime: from `open_runtime`.
        place: from `open_place`.
        size: from `working_size`.
        independent_tiles, strict, side_by_side: see `translate_files`.

    Yields:
        Each job when its file is written, or with the problem.
    """
    scratch = place if isinstance(place, Path) else tempfile.gettempdir()

    def load(job: Job) -> Job:
        if job.skipped or job.problem:
            return job
        try:
            content = storage.read(job.source)
        except OSError as problem:
            return _failed(job, f"{job.source}: cannot be read ({storage.reason(problem)})")
        try:
            return dataclasses.replace(job, opened=open_picture(content, job.source))
        except InputError as problem:
            return _failed(job, str(problem).split(": remove it, or pass")[0])

    def translate(job: Job) -> Job:
        if job.opened is None:
            return job
        try:
            drawn = draw(job.opened.image, runtime, size, independent_tiles, scratch)
            return dataclasses.replace(job, drawn=drawn)
        except BadPicture as problem:
            return _failed(job, f"{job.source}: {problem}")

    def save(job: Job) -> Job:
        if job.drawn is None or job.opened is None:
            return job
        try:
            result = _with_alpha(job.drawn, job.opened)
            if side_by_side and isinstance(place, Path):
                write_comparison(job.opened.image, result, place, job.name)
            _save(result, job.opened, job.target)
        except InputError:
            raise
        except Exception as problem:  # Pillow and file systems raise many kinds
            return _failed(job, f"{job.target}: cannot be written ({problem})")
        return dataclasses.replace(job, opened=None, drawn=None)

    loaded = map_in_order(load, jobs, ahead=2)
    drawn = map_in_order(translate, loaded, workers=runtime.concurrent, ahead=runtime.concurrent)
    for job in map_in_order(save, drawn, ahead=2):
        if job.problem and strict:
            raise InputError(job.problem)
        yield job


def _failed(job: Job, problem: str) -> Job:
    return dataclasses.replace(job, opened=None, drawn=None, problem=problem)


def _with_alpha(drawn: np.ndarray, opened: Opened) -> Image.Image:
    result = Image.fromarray(drawn[..., 0] if drawn.shape[-1] == 1 else drawn)
    if opened.alpha is not None and opened.format != "BMP":
        result = result.convert("RGB")
        result.putalpha(opened.alpha)
    return result


def _save(result: Image.Image, opened: Opened, target: Path | UPath) -> None:
    keep = dict(opened.keep)
    if result.mode in ("L", "LA"):  # the colour profile is one for RGB
        keep.pop("icc_profile", None)
    settings: dict[str, Any] = _SAVE.get(opened.format, {})
    with storage.atomic_write(target) as part:
        try:
            result.save(part, opened.format, **settings, **keep)
        except ValueError:  # such as EXIF that is too long for the format
            if not isinstance(part, Path):
                part.seek(0)
                part.truncate()
            result.save(part, opened.format, **settings)
