"""Where pictures come from: a folder, a zip, a TFDS data set or the embedded one.

A source names its splits (trainA, trainB, perhaps testA and testB) and gives the `Picture`s of
each, always in the same order. Nothing is decoded or resized here.
"""

from __future__ import annotations

import difflib
import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Protocol

from PIL import Image

from ..errors import InputError
from . import shapes
from .decoding import SUFFIXES, decode
from .preprocessing import Preprocess

SPLITS = ("trainA", "trainB", "testA", "testB")

#: Configurations of the TFDS data set `cycle_gan`, version 3.0.0.
TFDS_CONFIGS = (
    "apple2orange",
    "summer2winter_yosemite",
    "horse2zebra",
    "monet2photo",
    "cezanne2photo",
    "ukiyoe2photo",
    "vangogh2photo",
    "maps",
    "facades",
    "iphone2dslr_flower",
)

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


class Source(Protocol):
    """A place that pictures come from."""

    name: str
    splits: tuple[str, ...]
    #: What `preprocess` is unless it is given.
    preprocess: Preprocess = "resize_and_crop"

    def pictures(self, split: str) -> Iterator[Picture]:
        """The pictures of one of its splits, in a fixed order."""


def find_source(source: str | os.PathLike, image_size: int, data_dir: str | None = None) -> Source:
    """The source that a name stands for.

    Args:
        source: "shapes" (embedded), a folder, a zip or `FILE.zip:NAME` for one of several data
            sets in it, or a TFDS configuration (`horse2zebra` or `cycle_gan/horse2zebra`).
            A folder of that name takes precedence over a TFDS configuration.
        image_size: side in px that the embedded set is drawn at.
        data_dir: where TFDS keeps its data sets. Default: TFDS's own.

    Raises:
        InputError: nothing of that name, or not laid out as a data set.
    """
    text = os.fspath(source)
    if text == "shapes":
        return EmbeddedSource(image_size)
    if Path(text).is_dir():
        return FolderSource(Path(text))
    if text.lower().endswith(".zip") or ".zip:" in text.lower():
        return ZipSource(text)
    config = text.removeprefix("cycle_gan/")
    if config in TFDS_CONFIGS:
        return TfdsSource(config, data_dir)
    known = ("shapes", *TFDS_CONFIGS)
    near = difflib.get_close_matches(config, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known data sets: {', '.join(known)}"
    raise InputError(f"{text}: there is no such folder, zip or data set; {hint}")


def _find_roots(names: list[str]) -> dict[str, dict[str, list[str]]]:
    """Groups paths by the folder that has a trainA or trainB in it, then by split.

    A name that ends in a slash is a folder: it shows that a split is there, though empty.
    """
    roots: dict[str, dict[str, list[str]]] = {}
    for name in names:
        parts = PurePosixPath(name).parts
        if any(part.startswith(".") or part == "__MACOSX" for part in parts):
            continue
        for depth, part in enumerate(parts if name.endswith("/") else parts[:-1]):
            if part in SPLITS:
                splits = roots.setdefault("/".join(parts[:depth]), {})
                files = splits.setdefault(part, [])
                if name.lower().endswith(SUFFIXES):
                    files.append(name)
                break
    return {root: splits for root, splits in roots.items() if {"trainA", "trainB"} & set(splits)}


def _one_root(where: str, roots: dict[str, dict[str, list[str]]], joint: str) -> str:
    """The only data set there."""
    if not roots:
        raise InputError(
            f"{where}: no trainA and trainB in it; a data set has trainA/ and trainB/ "
            "with pictures, and testA/ and testB/ to measure on"
        )
    if len(roots) > 1:
        names = ", ".join(f"{where}{joint}{root}" for root in sorted(roots))
        raise InputError(f"{where} holds several data sets: name one of {names}")
    return next(iter(roots))


def _check_splits(where: str, splits: dict[str, list[str]]) -> dict[str, list[str]]:
    """Sorted, with the training domains there and nothing empty."""
    for split in ("trainA", "trainB"):
        if split not in splits:
            raise InputError(
                f"{where} has no {split} in it: a data set has trainA and trainB, "
                "and testA and testB to measure on"
            )
    for split, files in splits.items():
        if not files:
            raise InputError(
                f"{where}: {split} has no pictures in it (looked for {' '.join(SUFFIXES)})"
            )
    return {split: sorted(splits[split]) for split in SPLITS if split in splits}


class FolderSource(Source):
    """A folder with trainA/ trainB/ testA/ testB/, or one that has such a folder in it."""

    def __init__(self, folder: Path):
        self.name = str(folder)
        self._folder = folder
        names = []
        for top, folders, files in os.walk(folder, followlinks=True):
            above = Path(top).relative_to(folder)
            names += [(above / name).as_posix() for name in files]
            names += [(above / name).as_posix() + "/" for name in folders]
        roots = _find_roots(names)
        root = _one_root(str(folder), roots, "/")
        splits = roots[root]
        self._files = _check_splits(str(folder / root), splits)
        self.splits = tuple(self._files)

    def pictures(self, split: str) -> Iterator[Picture]:
        for name in self._files[split]:
            path = self._folder / name
            yield Picture(str(path), partial(_open_file, path))


def _open_file(path: Path) -> Image.Image:
    try:
        return decode(path.read_bytes(), str(path))
    except OSError as problem:
        raise InputError(f"{path}: cannot be read ({problem.strerror})") from problem


class ZipSource(Source):
    """A zip of such a folder, as the paper's site and Kaggle hand them out; never unpacked."""

    def __init__(self, text: str):
        cut = text.lower().rindex(".zip") + len(".zip")
        path, wanted = text[:cut], text[cut:].removeprefix(":").strip("/")
        self.name = text
        if not Path(path).is_file():
            raise InputError(f"{path}: there is no such file")
        try:
            self._zip = zipfile.ZipFile(path)
            members = {info.filename: info for info in self._zip.infolist() if not info.is_dir()}
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as problem:
            raise InputError(f"{path}: not a readable zip ({problem})") from problem
        for name in members:
            parts = PurePosixPath(name.replace("\\", "/")).parts
            if ".." in parts or name.startswith(("/", "\\")) or (parts and ":" in parts[0]):
                raise InputError(
                    f"{path}: the path {name!r} climbs out of the archive: pack the data set again"
                )
        roots = _find_roots(self._zip.namelist())
        if wanted and roots:
            found = {PurePosixPath(root).name: root for root in roots} | {r: r for r in roots}
            if wanted not in found:
                near = difflib.get_close_matches(wanted, list(found), n=1)
                raise InputError(
                    f"{text}: no data set {wanted!r} in it; "
                    + (f"did you mean {near[0]}?" if near else f"it has {', '.join(roots)}")
                )
            root = found[wanted]
        else:
            root = _one_root(path, roots, ":")
        self._files = _check_splits(f"{path}:{root}" if root else path, roots[root])
        self._members = members
        self.splits = tuple(self._files)

    def pictures(self, split: str) -> Iterator[Picture]:
        for name in self._files[split]:
            yield Picture(f"{self.name}:{name}", partial(self._open, name))

    def _open(self, name: str) -> Image.Image:
        label, info = f"{self.name}:{name}", self._members[name]
        if info.file_size > _MAX_MEMBER_BYTES:
            raise InputError(
                f"{label}: claims {info.file_size:,} bytes, more than any picture needs: remove it"
            )
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # Other methods cannot be unpacked in bounded pieces.
            raise InputError(f"{label}: uses an unusual compression method: pack it with deflate")
        try:
            with self._zip.open(info) as member:
                data = member.read(info.file_size)  # no more than it claims
        except (zipfile.BadZipFile, OSError, RuntimeError, EOFError, NotImplementedError) as bad:
            raise InputError(f"{label}: cannot be read from the zip ({bad})") from bad
        except Exception as bad:  # zlib, lzma and bz2 each raise their own
            raise InputError(f"{label}: is damaged in the zip ({bad})") from bad
        return decode(data, label)


class TfdsSource(Source):
    """A configuration of TFDS's `cycle_gan`, which TFDS downloads when it is missing."""

    splits = SPLITS

    def __init__(self, config: str, data_dir: str | None = None):
        import tensorflow_datasets as tfds  # takes seconds; only this source needs it

        self.name = f"cycle_gan/{config}"
        self._tfds = tfds
        self._builder = tfds.builder(self.name, data_dir=data_dir)
        try:
            self._builder.download_and_prepare()
        except Exception as problem:  # whatever the network and TFDS raise
            raise InputError(
                f"{config}: TFDS could not fetch it ({type(problem).__name__}: "
                f"{_short(problem)}): check the network, or give a folder or zip of it"
            ) from problem

    def pictures(self, split: str) -> Iterator[Picture]:
        # Encoded, so that pixels equal those from a folder: TensorFlow's default JPEG decoding
        # differs from Pillow's by up to 5 levels.
        stream = self._builder.as_dataset(
            split=split,
            decoders={"image": self._tfds.decode.SkipDecoding()},
            shuffle_files=False,
        )
        for index, row in enumerate(stream.as_numpy_iterator()):
            name = f"{self.name} {split}[{index}]"
            yield Picture(name, partial(decode, row["image"], name))


def _short(problem: Exception) -> str:
    return " ".join(str(problem).split())[:200]


@dataclass
class EmbeddedSource(Source):
    """`shapes`, drawn at the size that is asked for."""

    image_size: int
    name: str = "shapes"
    splits: tuple[str, ...] = field(default=SPLITS, init=False)
    preprocess: Preprocess = field(default="none", init=False)  # drawn at the size that is needed

    def pictures(self, split: str) -> Iterator[Picture]:
        striped = split.endswith("B")
        for index, scene in enumerate(shapes.scenes(split)):
            name = f"shapes {split}[{index}]"
            yield Picture(name, partial(_draw, scene, self.image_size, striped))


def _draw(scene: shapes.Scene, size: int, striped: bool) -> Image.Image:
    return Image.fromarray(scene.render(size, striped)[0])
