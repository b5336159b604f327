"""Test pictures without augmentation, and their truth if it is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

import numpy as np
from PIL import Image

from ..errors import InputError
from . import shapes
from .preprocessing import Preprocess, Preprocessing
from .reading import Reader
from .sources import Picture, find_source, partners
from .store import MemoryBudget, PictureStore


@dataclass(frozen=True)
class TestSet:
    """Test pictures of both domains, each uint8 `[H, W, C]`.

    Attributes:
        name: of the source.
        A: pictures of testA.
        B: pictures of testB.
        names_A: the names of the pictures of A.
        names_B: the names of the pictures of B.
        truth_A: what each picture of A should become in B, or None if that is unknown.
        truth_B: what each picture of B should become in A, or None.
        masks_A: the share of each pixel of A that is coat, float32 `[N, H, W]` in [0, 1]; None
            except for the embedded set.
        masks_B: the same for B.
        maps_B: the pictures of B with their own colours, if they are label maps (`label_maps`), or
            None. B itself is resized bicubically, which mixes colours at edges.
        train_A: pictures of trainA, evenly picked, as many as testB has, because they are compared
            with its translations; empty without `floor`.
        train_B: pictures of trainB, as many as testA has.
    """

    __test__ = False  # pytest must not collect it

    name: str
    A: Sequence[np.ndarray]
    B: Sequence[np.ndarray]
    names_A: Sequence[str]
    names_B: Sequence[str]
    truth_A: Sequence[np.ndarray] | None = None
    truth_B: Sequence[np.ndarray] | None = None
    masks_A: np.ndarray | None = None
    masks_B: np.ndarray | None = None
    maps_B: Sequence[np.ndarray] | None = None
    train_A: Sequence[np.ndarray] = ()
    train_B: Sequence[np.ndarray] = ()


def load_test_set(
    source: str,
    *,
    image_size: int = 256,
    preprocess: Preprocess | None = None,
    channels_A: int = 3,
    channels_B: int = 3,
    divisor: int = 4,
    paired: bool = False,
    label_maps: bool = False,
    floor: bool = False,
    test_count: int | None = None,
    or_training: bool = False,
    skip_bad_images: bool = False,
    data_dir: str | None = None,
) -> TestSet:
    """Loads test pictures: the whole picture if it is resized, its middle if it is cropped.

    Args:
        source, image_size, preprocess, channels_A, channels_B, divisor: as in `load_data`.
        paired, label_maps, floor, test_count, skip_bad_images, data_dir: as in `load_data`.
        or_training: bool, take training pictures of a domain without test pictures. Default False.

    Returns:
        `TestSet`.

    Raises:
        InputError: there is no such source, it has no test pictures, a picture cannot be used, or
            `paired` is set and a picture has no partner.

    Example:
        >>> len(load_test_set("shapes", image_size=32).A)
        64
    """
    found = find_source(source, image_size, data_dir)
    missing = [split for split in ("testA", "testB") if split not in found.splits]
    if missing and not or_training:
        raise InputError(f"{source}: has no {' and no '.join(missing)} to measure on")
    kind = preprocess or found.preprocess
    preparation = {
        domain: Preprocessing(kind, image_size, divisor=divisor, channels=channels)
        for domain, channels in (("A", channels_A), ("B", channels_B))
    }
    reader = Reader(found, preparation, MemoryBudget(), skip_bad_images)
    return read_test_set(
        reader, paired=paired, label_maps=label_maps, floor=floor, test_count=test_count
    )


def read_test_set(
    reader: Reader, *, paired: bool, floor: bool, test_count: int | None, label_maps: bool = False
) -> TestSet:
    """Reads the test pictures of a source, or training pictures of a domain without any.

    Args:
        reader: how they are read. With `paired` no picture is left out.
        paired, label_maps, floor, test_count: as in `load_data`.

    Raises:
        InputError: as `load_test_set`.
    """
    if test_count is not None and test_count < 1:
        raise InputError(f"test_count={test_count}: must be at least 1")
    source = reader.source
    splits = [
        f"test{domain}" if f"test{domain}" in source.splits else f"train{domain}" for domain in "AB"
    ]
    pictures: Sequence[Iterable[Picture]] = [source.pictures(split) for split in splits]
    if paired and source.kind != "shapes":
        half: Literal["train", "test"] = "test" if splits == ["testA", "testB"] else "train"
        splits = [f"{half}{domain}" for domain in "AB"]
        pictures = partners(source, half)
    strict = replace(reader, skip_bad_images=False) if paired else reader
    A, B = (
        strict.read(split, islice(chosen, test_count))
        for split, chosen in zip(splits, pictures, strict=True)
    )
    known: dict[str, Any] = {}
    if source.kind == "shapes":
        known = _drawn_truth(source.name, reader.preparation, test_count)
    elif paired:
        check_pairs(A, B)
        known = {"truth_A": B, "truth_B": A}
    if label_maps and source.kind != "shapes":
        exact = {**reader.preparation, "B": replace(reader.preparation["B"], nearest=True)}
        chosen = source.pictures(splits[1]) if not paired else pictures[1]
        known["maps_B"] = replace(strict, preparation=exact).read(
            splits[1], islice(chosen, test_count)
        )
        if paired:
            known["truth_A"] = known["maps_B"]
    if floor:
        for split, count in (("trainA", len(B)), ("trainB", len(A))):
            all_of = list(source.pictures(split))
            places = np.linspace(0, len(all_of) - 1, min(count, len(all_of))).round().astype(int)
            known[f"train_{split[-1]}"] = reader.read(split, [all_of[place] for place in places])
    return TestSet(source.name, A, B, A.names, B.names, **known)


def check_pairs(A: PictureStore, B: PictureStore) -> None:
    """Refuses partners of different sizes.

    Raises:
        InputError: naming the first.
    """
    for name, a, b in zip(A.names, A, B, strict=True):
        if a.shape[:2] != b.shape[:2]:
            raise InputError(
                f"paired=True: {name} and its partner have different sizes, {a.shape[1]}×"
                f"{a.shape[0]} and {b.shape[1]}×{b.shape[0]}: take a `preprocess` that crops"
            )


def _drawn_truth(
    name: str, preparation: Mapping[str, Preprocessing], count: int | None
) -> dict[str, Any]:
    """The embedded set's test scenes in the other domain, and where their coats are."""
    known: dict[str, Any] = {}
    for domain, other in ("AB", "BA"):
        how = preparation[other]
        drawn = [
            scene.render(how.image_size, striped=other == "B")
            for scene in shapes.scenes(f"test{domain}", name)[:count]
        ]
        known[f"truth_{domain}"] = [
            how.fixed(Image.fromarray(pixels), "truth", training=False) for pixels, _ in drawn
        ]
        known[f"masks_{domain}"] = np.stack([mask for _, mask in drawn])
    return known
