"""Where pictures come from: a folder, a zip, a TFDS data set or the embedded one.

A source names its splits (trainA, trainB, perhaps testA and testB) and gives the `Picture`s of
each, always in the same order. Nothing is decoded or resized here.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
import re
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

from PIL import Image

from ..errors import InputError
from . import shapes
from .decoding import SUFFIXES, open_picture
from .preprocessing import Preprocess

logger = logging.getLogger(__name__)

SPLITS = ("trainA", "trainB", "testA", "testB")

#: The embedded data sets; see `shapes.py`.
EMBEDDED = ("shapes", "shapes-dusk")

#: Folders of pictures that hold A and B side by side, as pix2pix's data sets do, and their splits.
_SIDE_BY_SIDE = {"train": "train", "test": "test", "val": "test"}

#: Configurations of the TFDS data set `cycle_gan`, version 3.0.0.
TFDS_CONFIGS = (
    "apple2orange", "summer2winter_yosemite", "horse2zebra", "monet2photo", "cezanne2photo",
    "ukiyoe2photo", "vangogh2photo", "maps", "facades", "iphone2dslr_flower",
)  # fmt: skip

#: A zip member may claim any size; no photograph needs more than this.
_MAX_MEMBER_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Picture:
    """A picture that has not been read yet.

    Attributes:
        name: what to call it in a message: its path, or its place in the data set.
        open: reads and decodes it to an RGB Pillow image; may be called from any thread.
            Raises InputError.
    """

    name: str
    open: Callable[[], Image.Image]


@dataclass(frozen=True)
class Source:
    """A place that pictures come from.

    Attributes:
        name: what to call it.
        splits: those of `SPLITS` that it has, with trainA and trainB.
        pictures: gives the pictures of a split, in a fixed order.
        kind: "files", "tfds" (without file names) or "shapes" (whose truth is known).
        preprocess: the default of `load_data`'s argument.
        pairs: gives the pictures of A and their partners in B, of "train" or "test". Default: those
            of the same name.
    """

    name: str
    splits: tuple[str, ...]
    pictures: Callable[[str], Iterable[Picture]]
    kind: Literal["files", "tfds", "shapes"] = "files"
    preprocess: Preprocess = "resize_and_crop"
    pairs: Callable[[str], tuple[list[Picture], list[Picture]]] | None = None


def find_source(source: str | os.PathLike, image_size: int, data_dir: str | None = None) -> Source:
    """The source that a name stands for.

    Args:
        source: as in `load_data`. A folder takes precedence over a TFDS configuration of that name.
        image_size: side in px that the embedded set is drawn at.
        data_dir: as in `load_data`.

    Raises:
        InputError: nothing of that name, or not laid out as a data set.
    """
    text = os.fspath(source)
    if text in EMBEDDED:
        return _shapes(text, image_size)
    if Path(text).is_dir():
        return _folder(Path(text))
    if text.lower().endswith(".zip") or ".zip:" in text.lower():
        return _zip(text)
    config = text.removeprefix("cycle_gan/")
    if config in TFDS_CONFIGS:
        return _tfds(config, data_dir)
    hint = _did_you_mean(config, (*EMBEDDED, *TFDS_CONFIGS))
    raise InputError(f"{text}: there is no such folder, zip or data set; {hint}")


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known data sets: {', '.join(known)}"


def _find_splits(where: str, names: Iterable[str], wanted: str = "") -> dict[str, list[str]]:
    """Sorted paths of the pictures in each split of the only data set in a folder or zip.

    `wanted` picks one of several: the folder of its splits, or that folder's name.
    """
    roots: dict[str, dict[str, list[str]]] = {}
    known = (*SPLITS, *_SIDE_BY_SIDE)
    for name in names:
        parts = PurePosixPath(name).parts
        if any(part.startswith(".") or part == "__MACOSX" for part in parts):
            continue
        if split := next((name for name in known if name in parts[:-1]), None):
            root = "/".join(parts[: parts.index(split)])
            files = roots.setdefault(root, {}).setdefault(split, [])
            if name.lower().endswith(SUFFIXES):
                files.append(name)
    separate = {root: found for root, found in roots.items() if found.keys() & {"trainA", "trainB"}}
    roots = separate or {root: found for root, found in roots.items() if "train" in found}
    if not roots:
        raise InputError(
            f"{where}: no trainA and trainB in it; a data set has trainA/ and trainB/ "
            "with pictures, and testA/ and testB/ to measure on"
        )
    if wanted:
        named = {PurePosixPath(root).name: root for root in roots} | {root: root for root in roots}
        if wanted not in named:
            hint = _did_you_mean(wanted, named)
            raise InputError(f"{where}: no data set {wanted!r} in it; {hint}")
        roots = {named[wanted]: roots[named[wanted]]}
    if len(roots) > 1:
        joint = "/" if Path(where).is_dir() else ":"
        choice = ", ".join(f"{where}{joint}{root}" for root in sorted(roots))
        raise InputError(f"{where} holds several data sets: name one of {choice}")
    ((root, splits),) = roots.items()
    if separate:
        splits = {split: files for split, files in splits.items() if split in SPLITS}
    for split in ("trainA", "trainB", *splits) if separate else splits:
        if not splits.get(split):
            raise InputError(
                f"{where}: {root and root + '/'}{split} has no pictures in it (looked for "
                f"{' '.join(SUFFIXES)})"
            )
    return {split: sorted(splits[split]) for split in splits}


def _of_files(name: str, splits: dict[str, list[str]], picture: Callable[[str], Picture]) -> Source:
    """The source of some files.

    Args:
        name: of the source.
        splits: from `_find_splits`.
        picture: from a path to its picture.
    """
    if "train" not in splits:

        def pictures(split: str) -> Iterator[Picture]:
            return map(picture, splits[split])

        return Source(name, tuple(split for split in SPLITS if split in splits), pictures)

    halves = {_SIDE_BY_SIDE[folder]: splits[folder] for folder in ("train", "val", "test")
              if folder in splits}  # fmt: skip

    def halved(split: str) -> Iterator[Picture]:
        for path in halves[split[:-1]]:
            whole = picture(path)
            side = "left" if split[-1] == "A" else "right"
            yield Picture(f"{whole.name} ({side} half)", partial(_open_half, whole, side))

    return Source(
        name,
        tuple(f"{half}{domain}" for half in halves for domain in "AB"),
        halved,
        pairs=lambda half: (list(halved(f"{half}A")), list(halved(f"{half}B"))),
    )


def _open_half(whole: Picture, side: str) -> Image.Image:
    image = whole.open()
    width, height = image.size
    if width != 2 * height:
        raise InputError(
            f"{whole.name}: has {width}×{height} px, but a file of pairs side by side is twice as "
            "wide as high: put the pictures in trainA/ and trainB/ instead"
        )
    left = 0 if side == "left" else height
    return image.crop((left, 0, left + height, height))


def partners(source: Source, half: Literal["train", "test"]) -> list[list[Picture]]:
    """The pictures of A and their partners in B, in the same order.

    Raises:
        InputError: a picture without a partner, or a source that has no file names.
    """
    if source.pairs:
        return list(source.pairs(half))
    if source.kind == "tfds":
        raise InputError(
            f"{source.name}: TFDS keeps no file names, so pairs are unknown: give a folder or zip "
            "of the data set"
        )

    def by_key(split: str) -> dict[str, Picture]:
        found: dict[str, Picture] = {}
        for picture in source.pictures(split):
            # The path below the split's folder.
            name = picture.name.split(f"{split}/")[-1]
            other = found.setdefault(re.sub(r"(_[AB])?\.\w+$", "", name), picture)
            if other is not picture:
                raise InputError(
                    f"paired=True: {other.name} and {picture.name} have the same name: rename one"
                )
        return found

    A, B = by_key(f"{half}A"), by_key(f"{half}B")
    lonely = sorted((A | B)[name].name for name in A.keys() ^ B.keys())
    if lonely:
        count = "1 picture has" if len(lonely) == 1 else f"{len(lonely)} pictures have"
        raise InputError(
            f"paired=True: {count} no partner of the same name in the other domain, such as "
            f"{lonely[0]}: give partners the same name, or leave `paired` out"
        )
    return [list(A.values()), [B[name] for name in A]]


def _folder(folder: Path) -> Source:
    """A folder with trainA/ trainB/ testA/ testB/, or one that has such a folder in it."""
    names = [
        Path(top, name).relative_to(folder).as_posix()
        for top, _, files in os.walk(folder, followlinks=True)
        for name in files
    ]
    splits = _find_splits(str(folder), names)

    def picture(name: str) -> Picture:
        return Picture(str(folder / name), partial(_open_file, folder / name))

    return _of_files(str(folder), splits, picture)


def _open_file(path: Path) -> Image.Image:
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise InputError(f"{path}: cannot be read ({problem.strerror})") from problem
    return _decode(data, str(path))


def _zip(text: str) -> Source:
    """A zip of such a folder, as the paper's site and Kaggle offer them. It is not unpacked."""
    cut = text.lower().rindex(".zip") + len(".zip")
    path, wanted = text[:cut], text[cut:].removeprefix(":").strip("/")
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such file")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as problem:
        raise InputError(f"{path}: not a readable zip ({problem})") from problem
    members = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    for name in members:
        inside = PureWindowsPath(name)  # splits at / and \ and knows drives
        if ".." in inside.parts or inside.anchor:
            raise InputError(
                f"{path}: the path {name!r} climbs out of the archive: zip the data set again"
            )
    splits = _find_splits(path, members, wanted)

    def picture(name: str) -> Picture:
        label = f"{text}:{name}"
        return Picture(label, partial(_open_member, archive, members[name], label))

    return _of_files(text, splits, picture)


def _open_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, label: str) -> Image.Image:
    if info.file_size > _MAX_MEMBER_BYTES:
        raise InputError(
            f"{label}: claims {info.file_size:,} bytes, more than any picture needs: remove it"
        )
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # Other methods cannot be unpacked in bounded pieces.
        raise InputError(f"{label}: uses an unusual compression method: zip it with deflate")
    try:
        with archive.open(info) as member:
            data = member.read(info.file_size)  # no more than it claims
    except Exception as problem:  # zipfile and zlib raise many kinds
        raise InputError(f"{label}: cannot be read from the zip ({problem})") from problem
    return _decode(data, label)


def _tfds(config: str, data_dir: str | None) -> Source:
    """A configuration of TFDS's `cycle_gan`, which TFDS downloads if it is missing."""
    import tensorflow_datasets as tfds  # takes seconds; only this source needs it

    source = f"cycle_gan/{config}"
    builder = tfds.builder(source, data_dir=data_dir)
    try:
        if not builder.is_prepared():
            _check_download(config, tfds.image_classification.cycle_gan._DL_URLS[config], builder)
        builder.download_and_prepare()
    except Exception as problem:  # the network and TFDS raise many kinds
        for path in (builder.data_path.parent, builder.data_path.parent.parent):
            with contextlib.suppress(OSError):
                path.rmdir()  # if TFDS left it empty
        reason = str(getattr(problem, "reason", "") or problem).replace("\n", " ")
        raise InputError(
            f"{config}: TFDS could not fetch it ({type(problem).__name__}: {reason}): check the "
            "network, or give a folder or zip of it"
        ) from problem

    def pictures(split: str) -> Iterator[Picture]:
        # Encoded, so that pixels equal those from a folder: the fast JPEG decoding of TFDS differs
        # from Pillow's by up to 23 levels.
        raw = {"image": tfds.decode.SkipDecoding()}
        stream = builder.as_dataset(split=split, decoders=raw, shuffle_files=False)
        for index, row in enumerate(stream.as_numpy_iterator()):
            label = f"{source} {split}[{index}]"
            yield Picture(label, partial(_decode, row["image"], label))

    return Source(source, SPLITS, pictures, "tfds")


def _check_download(config: str, url: str, builder: Any) -> None:
    """Says what TFDS is about to download, and asks for it: TFDS itself would retry for minutes.

    Raises:
        OSError: there is no such address, or no answer.
    """
    root = Path(builder.data_dir_root)
    logger.warning("%s: TFDS fetches %s into %s (once)", config, url, root)
    if not any((root / "downloads").glob(f"*{config}*")):
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=20):
            pass


def _decode(data: bytes, label: str) -> Image.Image:
    return open_picture(data, label).image


def _shapes(name: str, image_size: int) -> Source:
    """An embedded set, drawn at `image_size`."""

    def pictures(split: str, domain: str | None = None) -> Iterator[Picture]:
        for index, scene in enumerate(shapes.scenes(split, name)):
            draw = partial(_draw, scene, image_size, (domain or split[-1]) == "B")
            yield Picture(f"{name} {split}[{index}]", draw)

    def pairs(half: str) -> tuple[list[Picture], list[Picture]]:
        return list(pictures(f"{half}A")), list(pictures(f"{half}A", "B"))

    return Source(name, SPLITS, pictures, "shapes", preprocess="none", pairs=pairs)


def _draw(scene: shapes.Scene, size: int, striped: bool) -> Image.Image:
    return Image.fromarray(scene.render(size, striped)[0])
