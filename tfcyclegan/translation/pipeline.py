"""Picture files in, translated picture files out: load, translate, save."""

from __future__ import annotations

import dataclasses
import io
import os
import tempfile
import threading
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ..data.decoding import Opened, open_picture
from ..errors import InputError
from ..parallel import map_in_order
from ..runtimes.protocol import BadPicture, Runtime
from . import storage
from .drawing import draw, working_size
from .finding import list_pictures
from .gallery import FOLDER, INDEX, write_comparison
from .storage import Place

#: The list of pictures that could not be translated, in the output folder.
REPORT = "translate-report.txt"

_JPEG = {"quality": 95, "subsampling": 0}
_SAVE: dict[str, dict[str, Any]] = {"JPEG": _JPEG, "MPO": _JPEG, "WEBP": {"quality": 95}}


@dataclass(frozen=True)
class Job:
    """A picture to translate.

    Attributes:
        source: its path or URL.
        target: the file or URL of its translation.
        name: its path below the folder it was found in.
        skipped: whether the translation existed already.
        problem: why it could not be translated, or None.
    """

    source: str
    target: Place
    name: str
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
    pictures = list_pictures(inputs, place, glob)
    return [Job(source, place / name, name) for name, source in pictures.items()]


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
) -> Generator[Job]:
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
    there = existing_translations([job.name for job in jobs], place, skip_existing, side_by_side)
    yield from translate_each(
        (dataclasses.replace(job, skipped=job.name in there) for job in jobs),
        runtime,
        place,
        image_size=image_size,
        independent_tiles=independent_tiles,
        strict=strict,
        side_by_side=side_by_side,
    )


def existing_translations(
    names: Collection[str],
    place: Place,
    skip_existing: bool,
    side_by_side: bool,
    report: bool = False,
) -> set[str]:
    """Checks, before anything is written, what the output folder holds.

    Args:
        names: of all translations.
        place: from `open_place`.
        skip_existing, side_by_side: see `translate_files`.
        report: whether a report is written as well.

    Returns:
        The names that exist already.

    Raises:
        InputError: names exist without `skip_existing`, a name is that of a report, comparison
            picture or page, or the place is remote and cannot hold comparison pictures.
    """
    if side_by_side and not isinstance(place, Path):
        raise InputError(f"{place}: `side_by_side` writes only to local folders: leave it out")
    ours = [FOLDER, INDEX] * side_by_side + [REPORT] * report
    for top in (name.split("/")[0] for name in names):
        if top in ours:
            purpose = "the report" if top == REPORT else "comparison pictures"
            raise InputError(f"{place / top} is for {purpose}: rename the input {top}")
    there = storage.existing(place, [*names, *ours])
    if there and not skip_existing:
        first = next(name for name in (*names, *ours) if name in there)
        verb = f" and {len(there) - 1} more exist" if len(there) > 1 else " exists"
        raise InputError(
            f"{place / first}{verb} already: pass skip_existing=True to continue, or another `to`"
        )
    return there


def translate_each(
    jobs: Iterable[Job],
    runtime: Runtime,
    place: Place,
    *,
    image_size: str | None,
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
        image_size, independent_tiles, strict, side_by_side: see `translate_files`.

    Yields:
        Each job when its file is written, or with the problem.
    """
    size = working_size(image_size, runtime)
    scratch = Path(tempfile.gettempdir())
    if isinstance(place, Path):  # remote folders are created with their first file
        scratch = place
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise InputError(
                f"{place}: cannot be created ({problem.strerror}): choose another `to`"
            ) from problem
    turns = threading.Semaphore(runtime.concurrent)

    def translate(job: Job) -> Job:
        if job.skipped:
            return job
        try:
            opened = _load(job.source)
            with turns:
                drawn = draw(opened.image, runtime, size, independent_tiles, scratch)
            try:
                if side_by_side and isinstance(place, Path):
                    write_comparison(opened.image, drawn, place, job.name)
                storage.write(job.target, _encoded(drawn, opened))
            except InputError:
                raise
            except Exception as problem:  # Pillow and file systems raise many kinds
                raise BadPicture(f"{job.target} cannot be written ({problem})") from problem
        except BadPicture as problem:
            return dataclasses.replace(job, problem=f"{job.source}: {problem}")
        return job

    # While some pictures are in the generator, two are loaded and two are saved.
    workers = runtime.concurrent + 4
    for job in map_in_order(translate, jobs, workers=workers, ahead=workers):
        if job.problem and strict:
            raise InputError(job.problem)
        yield job


def _load(source: str) -> Opened:
    content = storage.read(source)
    try:
        return open_picture(content, source)
    except InputError as problem:
        said = str(problem).removeprefix(f"{source}: ").split(": remove it, or pass")[0]
        raise BadPicture(said) from problem


def _encoded(result: Image.Image, opened: Opened) -> bytes:
    keep: dict[str, Any] = dict(opened.keep)
    if opened.alpha is not None and opened.format != "BMP":
        result = result.convert("RGB")
        result.putalpha(opened.alpha)
    if result.mode == "L":  # the colour profile is one for RGB
        keep.pop("icc_profile", None)
    settings = _SAVE.get(opened.format, {})
    file = io.BytesIO()
    try:
        result.save(file, opened.format, **settings, **keep)
    except ValueError:  # such as EXIF that is too long for the format
        file = io.BytesIO()
        result.save(file, opened.format, **settings)
    return file.getvalue()
