"""Picture files in, translated picture files out, whatever form the generator is in."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.decoding import Opened, open_picture
from ..errors import InputError
from ..parallel import map_in_order
from ..runtimes.keras_model import KerasRuntime
from ..runtimes.protocol import BadPicture, Runtime, padded
from .gallery import FOLDER, write_comparison
from .locations import Folder, Listing, Store, is_url, open_place, read
from .streaming import stream
from .tiling import translate_tiles

#: Side in px of independent tiles, where the back end takes any size.
TILE = 1024


_SAVE = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "MPO": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95},
}


@dataclass(frozen=True)
class Job:
    """One picture on its way.

    Attributes:
        source: the file, or its URL.
        target: where its translation goes, a file or a URL.
        name: its path below the folder it was found in.
        content: the file's bytes, once they are read.
        opened: the decoded picture, once it is.
        drawn: the translation, uint8 `[H, W, C]`, once it is there.
        skipped: it was there already.
        problem: why it could not be translated, or None.
    """

    source: Path | str
    target: Path | str
    name: str
    content: bytes | None = None
    opened: Opened | None = None
    drawn: np.ndarray | None = None
    skipped: bool = False
    problem: str | None = None


def find_pictures(
    inputs: Sequence[str | os.PathLike], to: str | os.PathLike, glob: str = ""
) -> list[Job]:
    """Finds what to translate and where each translation goes.

    Args:
        inputs: files and folders; folders are searched with all that is in them. Also URLs that
            fsspec opens, such as `s3://bucket/folder`, and lists of pictures: `.txt` files of
            one path or URL a line, `.csv` files with a column `input` (and one `target`), and
            `.jsonl` files of objects with these names. Paths in a list are relative to it.
        to: folder or URL of the translations, which keep their names and their places below
            their folder. What lies in it is not searched.
        glob: a pattern for names or paths in folders, such as `*.png` or `2024/*.jpg`, where `*`
            is any text, slashes included. Default: all pictures.

    Raises:
        InputError: an input that is not there, no pictures, or two that would get one name; a
            name in a list that leads out of `to`.
    """
    place = open_place(to)
    return [job_of(found.source, found.name, place) for found in Listing(inputs, place, glob)]


def job_of(source: str, name: str, place: Folder | Store) -> Job:
    """The job for a picture that was found."""
    return Job(source if is_url(source) else Path(source), place.target(name), name)


def parse_size(text: str) -> tuple[int | None, int]:
    """`"256"`: the shorter side; `"HEIGHTxWIDTH"`: exactly that.

    Returns:
        `(height, width)`, the height None for a shorter side.
    """
    match = re.fullmatch(r"(?:([0-9]{1,6})[x×])?([0-9]{1,6})", text.strip())
    if not match or not int(match[2]) or (match[1] and not int(match[1])):
        raise InputError(
            f"--image-size {text}: give one number of px for the shorter side, or HEIGHTxWIDTH"
        )
    return (int(match[1]) if match[1] else None, int(match[2]))


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
    """Translates files; gives each job when its file is written, or why it could not be.

    Decoding, inference and encoding run beside each other, a few pictures ahead. Every file
    appears whole or not at all. Names, sizes, alpha and formats stay; EXIF orientation is applied.

    Args:
        jobs: from `find_pictures`.
        runtime: from `open_runtime`.
        to: the folder, made when missing, or a URL that fsspec opens.
        image_size: size to work at, `"SHORTER SIDE"` or `"HEIGHTxWIDTH"` in px; results are
            scaled back. Default: the pictures' own, or the only one the model takes.
        independent_tiles: go over pictures that the back end does not take whole in tiles, each
            with statistics of its own. (A Keras model needs none of that: see `streaming`.)
        skip_existing: leave what is there. Default: refuse to start.
        strict: stop at the first picture that cannot be translated.
        side_by_side: also write comparison pictures.

    Raises:
        InputError: before anything is written: files that are there already, a folder that
            cannot be made, a size the model does not take; later: a server that is gone, a full
            disk, or with `strict` the first bad picture.
    """
    place = open_place(to)
    check_names([job.name for job in jobs], place, side_by_side)
    there = [job.target for job in jobs if place.exists(job.name)]
    if side_by_side and place.exists("index.html"):
        there.append(place.target("index.html"))
    if there and not skip_existing:
        raise already_there(there[0], len(there))
    size = size_to_work_at(image_size, runtime)
    place.make()
    taken = set(there)
    jobs = (
        dataclasses.replace(job, skipped=True) if job.target in taken else job for job in jobs
    )  # fmt: skip
    yield from translate_each(
        jobs,
        runtime,
        place,
        size=size,
        independent_tiles=independent_tiles,
        strict=strict,
        side_by_side=side_by_side,
    )


def check_names(names: Iterable[str], place: Folder | Store, side_by_side: bool) -> None:
    """Refuses names that comparison pictures take, and places that cannot have these.

    Raises:
        InputError: so it is.
    """
    if not side_by_side:
        return
    if isinstance(place, Store):
        raise InputError(f"--to {place}: --side-by-side writes to folders alone: leave it out")
    if any(name.split("/")[0] == FOLDER for name in names):
        raise InputError(
            f"{place.target(FOLDER)} is for comparison pictures: rename the folder {FOLDER}"
        )


def already_there(target: object, count: int) -> InputError:
    """What to tell somebody whose translations would overwrite something."""
    others = f" and {count - 1} more" if count > 1 else ""
    return InputError(
        f"{target}{others} there already: pass --skip-existing to go on, or another --to"
    )


def size_to_work_at(image_size: str | None, runtime: Runtime) -> tuple[int | None, int] | None:
    """What `parse_size` gives, where that is a size the back end takes.

    Raises:
        InputError: it takes another one alone.
    """
    size = parse_size(image_size) if image_size else None
    if size and runtime.size and size != runtime.size:
        raise InputError(
            f"--image-size {image_size}: {runtime.name} takes "
            f"{runtime.size[0]}x{runtime.size[1]} alone: leave it out"
        )
    return size


def fetched(job: Job) -> Job:
    """With its file's bytes, or why they cannot be read."""
    if job.content is not None or job.problem or job.skipped:
        return job
    try:
        return dataclasses.replace(job, content=read(job.source))
    except OSError as problem:
        words = f"{job.source}: cannot be read ({problem.strerror})"
        return dataclasses.replace(job, problem=words)


def translate_each(
    jobs: Iterable[Job],
    runtime: Runtime,
    place: Folder | Store,
    *,
    size: tuple[int | None, int] | None,
    independent_tiles: bool,
    strict: bool,
    side_by_side: bool,
) -> Iterator[Job]:
    """Takes pictures from their files to their translations' files, whichever engine asks.

    One picture goes through the generator at a time: in a batch with others the kernels' sums
    are rounded otherwise, and its pixels would depend on its neighbours.

    Args:
        jobs: read a few ahead.
        runtime: from `open_runtime`.
        place: from `open_place`.
        size: from `size_to_work_at`.
        independent_tiles: see `translate_files`.
        strict: raise the problem of the first picture that has one.
        side_by_side: the place is a folder, in which comparison pictures are wanted too.
    """

    def load(job: Job) -> Job:
        job = fetched(job)
        if job.content is None:
            return job
        try:
            opened = open_picture(job.content, str(job.source))
            return dataclasses.replace(job, content=None, opened=opened)
        except InputError as problem:
            words = str(problem).removesuffix(": remove it, or pass --skip-bad-images")
            return dataclasses.replace(job, content=None, problem=words)

    def draw(job: Job) -> Job:
        if job.opened is None:
            return job
        try:
            drawn = _draw(job.opened.image, runtime, size, independent_tiles, place.scratch)
            return dataclasses.replace(job, drawn=drawn)
        except BadPicture as problem:
            return dataclasses.replace(job, opened=None, problem=f"{job.source}: {problem}")

    def save(job: Job) -> Job:
        if job.drawn is None:
            return job
        try:
            _save(job, place, side_by_side)
        except InputError:
            raise
        except Exception as problem:  # what Pillow and file systems have against this one
            words = f"{job.target}: cannot be written ({problem})"
            return dataclasses.replace(job, opened=None, drawn=None, problem=words)
        return dataclasses.replace(job, opened=None, drawn=None)

    loaded = map_in_order(load, jobs, ahead=2)
    drawn = map_in_order(draw, loaded, workers=runtime.concurrent, ahead=runtime.concurrent)
    for job in map_in_order(save, drawn, ahead=2):
        if job.problem and strict:
            raise InputError(job.problem)
        yield job


def _save(job: Job, place: Folder | Store, side_by_side: bool) -> None:
    result = Image.fromarray(job.drawn[..., 0] if job.drawn.shape[-1] == 1 else job.drawn)
    form, keep = job.opened.format, job.opened.keep
    if result.mode != "RGB":
        keep = {name: value for name, value in keep.items() if name != "icc_profile"}
    if job.opened.alpha is not None and form != "BMP":
        result = result.convert("RGB")
        result.putalpha(job.opened.alpha)
    if side_by_side:
        write_comparison(job.opened.image, result, place.path, job.name)
    with place.atomic_write(job.name) as part:
        try:
            result.save(part, form, **_SAVE.get(form, {}), **keep)
        except ValueError:  # EXIF that is too long for the format, for one
            if not isinstance(part, Path):
                part.seek(0)
                part.truncate()
            result.save(part, form, **_SAVE.get(form, {}))


def _draw(
    image: Image.Image,
    runtime: Runtime,
    size: tuple[int | None, int] | None,
    independent_tiles: bool,
    folder: Path,
) -> np.ndarray:
    """An RGB picture's translation, of its own size."""
    own = image.size
    tiles = independent_tiles and not isinstance(runtime, KerasRuntime)
    if runtime.size and not tiles:
        size = runtime.size
    if size:
        width, height = own
        if size[0] is None:
            scale = size[1] / min(own)
            wanted = (max(1, round(width * scale)), max(1, round(height * scale)))
        else:
            wanted = (size[1], size[0])
        if wanted[0] * wanted[1] > Image.MAX_IMAGE_PIXELS:
            raise BadPicture(
                f"{wanted[0]}×{wanted[1]} px are too many: take a smaller --image-size"
            )
        image = image.resize(wanted, Image.Resampling.BICUBIC)
    pixels = np.asarray(image if runtime.channels == 3 else image.convert("L"))
    drawn = _whole(pixels.reshape(image.height, image.width, -1), runtime, tiles, folder)
    if image.size == own:
        return drawn
    back = Image.fromarray(drawn[..., 0] if drawn.shape[-1] == 1 else drawn)
    back = np.asarray(back.resize(own, Image.Resampling.BICUBIC))
    return back.reshape(own[1], own[0], -1)


def _whole(pixels: np.ndarray, runtime: Runtime, tiles: bool, folder: Path) -> np.ndarray:
    height, width = pixels.shape[:2]
    if runtime.size and tiles:
        return translate_tiles(runtime, pixels, runtime.size)
    # At least 8 px go through a network, however narrow the picture.
    if max(height, 8) * max(width, 8) <= runtime.max_pixels:
        return runtime(pixels)
    if isinstance(runtime, KerasRuntime):
        grown = padded(pixels, runtime.divisor, runtime.least)
        return stream(runtime.network, grown, folder)[:height, :width]
    if tiles:
        side = min(TILE, math.isqrt(runtime.max_pixels))
        # A long picture may be narrower than a tile.
        return translate_tiles(runtime, pixels, (min(side, height), min(side, width)))
    raise BadPicture(
        f"{width}×{height} px are more than the {runtime.max_pixels} that {runtime.name} takes at "
        "once, and it keeps its layers to itself: pass --independent-tiles or a smaller "
        "--image-size, or translate with the run folder or .keras file"
    )
