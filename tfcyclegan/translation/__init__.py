"""Picture files in, translated picture files out, whatever form the generator is in."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from PIL import Image

from ..backends import Backend, BadPicture, KerasBackend, padded
from ..data import in_order
from ..data.pictures import SUFFIXES, Opened, open_picture
from ..errors import InputError
from ..files import written_whole
from .gallery import FOLDER, write_comparison
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
        source: the file.
        target: where its translation goes.
        name: its path below the folder it was found in.
        opened: the decoded picture, once it is.
        drawn: the translation, uint8 `[H, W, C]`, once it is there.
        skipped: it was there already.
        problem: why it could not be translated, or None.
    """

    source: Path
    target: Path
    name: str
    opened: Opened | None = None
    drawn: np.ndarray | None = None
    skipped: bool = False
    problem: str | None = None


def find_pictures(
    inputs: Sequence[str | os.PathLike], to: str | os.PathLike, glob: str = ""
) -> list[Job]:
    """Finds what to translate and where each translation goes.

    Args:
        inputs: files and folders; folders are searched with all that is in them.
        to: folder of the translations, which keep their names and their places below their folder.
            What lies in it is not searched.
        glob: a pattern for names or paths in folders, such as `*.png` or `2024/*.jpg`, where `*`
            is any text, slashes included. Default: all pictures.

    Raises:
        InputError: an input that is not there, no pictures, or two that would get one name.
    """
    to = Path(to)
    if not inputs:
        raise InputError("nothing to translate: give pictures, or folders of them")
    jobs: dict[Path, Job] = {}
    for given in map(Path, inputs):
        if given.is_dir():
            inside = to.resolve() != given.resolve()
            found = [
                (path, path.relative_to(given))
                for path in _files(given)
                if (
                    fnmatch(path.relative_to(given).as_posix(), glob) or fnmatch(path.name, glob)
                    if glob
                    else path.suffix.lower() in SUFFIXES
                )
                and not (inside and to.resolve() in path.resolve().parents)
            ]
        elif given.is_file():
            found = [(given, Path(given.name))]
        else:
            raise InputError(f"{given}: there is no such file or folder")
        for source, name in found:
            target = to / name
            if target.resolve() == source.resolve():
                raise InputError(f"--to {to}: {source} would be overwritten: give another --to")
            if target in jobs and jobs[target].source.resolve() != source.resolve():
                raise InputError(
                    f"{jobs[target].source} and {source} would both become {target}: translate "
                    "them to folders of their own"
                )
            jobs[target] = Job(source, target, name.as_posix())
    if not jobs:
        looked = glob or " ".join(SUFFIXES)
        raise InputError(f"no pictures in {', '.join(map(str, inputs))} (looked for {looked})")
    return list(jobs.values())


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder in the order of their names, links followed, hidden ones not."""

    def unreadable(problem: OSError) -> None:
        raise InputError(f"{problem.filename}: cannot be read ({problem.strerror})") from problem

    seen = set()
    for top, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if (real := os.path.realpath(top)) in seen:
            folders.clear()  # a link that leads back
            continue
        seen.add(real)
        yield from (Path(top, name) for name in sorted(files) if not name.startswith("."))


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
    backend: Backend,
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
        backend: from `open_backend`.
        to: the folder, made when missing.
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
    to = Path(to)
    there = [job.target for job in jobs if job.target.exists()]
    if side_by_side:
        there += [path for path in [to / "index.html"] if path.exists()]
        if any(Path(job.name).parts[0] == FOLDER for job in jobs):
            raise InputError(
                f"{to / FOLDER} is for comparison pictures: rename the folder {FOLDER}"
            )
    if there and not skip_existing:
        others = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise InputError(
            f"{there[0]}{others} there already: pass --skip-existing to go on, or another --to"
        )
    size = parse_size(image_size) if image_size else None
    if size and backend.size and size != backend.size:
        raise InputError(
            f"--image-size {image_size}: {backend.name} takes "
            f"{backend.size[0]}x{backend.size[1]} alone: leave it out"
        )
    try:
        to.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise InputError(
            f"--to {to}: cannot be made ({problem.strerror}): choose another"
        ) from problem

    def load(job: Job) -> Job:
        if skip_existing and job.target.is_file():
            return dataclasses.replace(job, skipped=True)
        try:
            opened = open_picture(job.source.read_bytes(), str(job.source))
            return dataclasses.replace(job, opened=opened)
        except OSError as problem:
            return dataclasses.replace(
                job, problem=f"{job.source}: cannot be read ({problem.strerror})"
            )
        except InputError as problem:
            words = str(problem).removesuffix(": remove it, or pass --skip-bad-images")
            return dataclasses.replace(job, problem=words)

    def draw(job: Job) -> Job:
        if job.opened is None:
            return job
        try:
            drawn = _draw(job.opened.image, backend, size, independent_tiles, to)
            return dataclasses.replace(job, drawn=drawn)
        except BadPicture as problem:
            return dataclasses.replace(job, problem=f"{job.source}: {problem}")

    def save(job: Job) -> Job:
        if job.drawn is None:
            return job
        try:
            _save(job, to, side_by_side)
        except InputError:
            raise
        except Exception as problem:  # what Pillow and file systems have against this one
            words = f"{job.target}: cannot be written ({problem})"
            return dataclasses.replace(job, opened=None, drawn=None, problem=words)
        return dataclasses.replace(job, opened=None, drawn=None)

    loaded = in_order(load, jobs, ahead=2)
    drawn = in_order(draw, loaded, workers=backend.concurrent, ahead=backend.concurrent)
    for job in in_order(save, drawn, ahead=2):
        if job.problem and strict:
            raise InputError(job.problem)
        yield job


def _save(job: Job, to: Path, side_by_side: bool) -> None:
    result = Image.fromarray(job.drawn[..., 0] if job.drawn.shape[-1] == 1 else job.drawn)
    form, keep = job.opened.format, job.opened.keep
    if result.mode != "RGB":
        keep = {name: value for name, value in keep.items() if name != "icc_profile"}
    if job.opened.alpha is not None and form != "BMP":
        result = result.convert("RGB")
        result.putalpha(job.opened.alpha)
    if side_by_side:
        write_comparison(job.opened.image, result, to, job.name)
    with written_whole(job.target) as part:
        try:
            result.save(part, form, **_SAVE.get(form, {}), **keep)
        except ValueError:  # EXIF that is too long for the format, for one
            result.save(part, form, **_SAVE.get(form, {}))


def _draw(
    image: Image.Image,
    backend: Backend,
    size: tuple[int | None, int] | None,
    independent_tiles: bool,
    folder: Path,
) -> np.ndarray:
    """An RGB picture's translation, of its own size."""
    own = image.size
    tiles = independent_tiles and not isinstance(backend, KerasBackend)
    if backend.size and not tiles:
        size = backend.size
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
    pixels = np.asarray(image if backend.channels == 3 else image.convert("L"))
    drawn = _whole(pixels.reshape(image.height, image.width, -1), backend, tiles, folder)
    if image.size == own:
        return drawn
    back = Image.fromarray(drawn[..., 0] if drawn.shape[-1] == 1 else drawn)
    back = np.asarray(back.resize(own, Image.Resampling.BICUBIC))
    return back.reshape(own[1], own[0], -1)


def _whole(pixels: np.ndarray, backend: Backend, tiles: bool, folder: Path) -> np.ndarray:
    height, width = pixels.shape[:2]
    if backend.size and tiles:
        return translate_tiles(backend, pixels, backend.size)
    # At least 8 px go through a network, however narrow the picture.
    if max(height, 8) * max(width, 8) <= backend.max_pixels:
        return backend(pixels)
    if isinstance(backend, KerasBackend):
        grown = padded(pixels, backend.divisor, backend.least)
        return stream(backend.network, grown, folder)[:height, :width]
    if tiles:
        side = min(TILE, math.isqrt(backend.max_pixels))
        # A long picture may be narrower than a tile.
        return translate_tiles(backend, pixels, (min(side, height), min(side, width)))
    raise BadPicture(
        f"{width}×{height} px are more than the {backend.max_pixels} that {backend.name} takes at "
        "once, and it keeps its layers to itself: pass --independent-tiles or a smaller "
        "--image-size, or translate with the run folder or .keras file"
    )
