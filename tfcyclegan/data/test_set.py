"""Test pictures as they are in their files, without augmentation, and what is known about them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from PIL import Image

from ..errors import InputError
from . import shapes
from .preprocessing import Preprocess, Preprocessing, preprocessings, resized
from .reading import read
from .sources import EmbeddedSource, Picture, Source, TfdsSource, find_source
from .store import MemoryBudget


@dataclass(frozen=True)
class TestSet:
    """Test pictures of both domains, uint8 `[H, W, C]` each.

    Attributes:
        name: of the source.
        A: pictures of testA.
        B: pictures of testB.
        names_A: what each is called.
        names_B: the same for B.
        truth_A: for each picture of A what it should become in B; None where that is unknown.
        truth_B: for each picture of B what it should become in A, or None.
        masks_A: for each picture of A how much of a pixel is coat, float32 `[N, H, W]` in
            [0, 1]; None but for the embedded set.
        masks_B: the same for B.
        train_A: pictures of trainA, evenly picked, as many as testB has (whose translations they
            are compared with); empty unless asked for.
        train_B: pictures of trainB, as many as testA has.
    """

    __test__ = False  # for pytest: this is no test case

    name: str
    A: Sequence[np.ndarray]
    B: Sequence[np.ndarray]
    names_A: Sequence[str]
    names_B: Sequence[str]
    truth_A: Sequence[np.ndarray] | None = None
    truth_B: Sequence[np.ndarray] | None = None
    masks_A: np.ndarray | None = None
    masks_B: np.ndarray | None = None
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
    floor: bool = False,
    test_count: int | None = None,
    or_training: bool = False,
    skip_bad_images: bool = False,
    data_dir: str | None = None,
) -> TestSet:
    """Loads test pictures: whole where they are resized, their middle where they are cropped.

    Args:
        source, image_size, preprocess, channels_A, channels_B, divisor: as in `load_data`.
        paired, floor, test_count, skip_bad_images, data_dir: as in `load_data`.
        or_training: bool, take training pictures of a domain that has no test pictures.

    Raises:
        InputError: no such source, no test pictures, one that cannot be used, or with `paired`
            a picture without its partner.

    Example:
        >>> len(load_test_set("shapes", image_size=32).A)
        64
    """
    found = find_source(source, image_size, data_dir)
    missing = [split for split in ("testA", "testB") if split not in found.splits]
    if missing and not or_training:
        raise InputError(f"{source}: has no {' and no '.join(missing)} to measure on")
    return read_test_set(
        found,
        preprocessings(found, image_size, preprocess, channels_A, channels_B, divisor=divisor),
        paired=paired,
        floor=floor,
        test_count=test_count,
        skipped=[] if skip_bad_images else None,
    )


def read_test_set(
    source: Source,
    preparation: Mapping[str, Preprocessing],
    *,
    paired: bool = False,
    floor: bool = False,
    test_count: int | None = None,
    skipped: list[str] | None = None,
    budget: MemoryBudget | None = None,
) -> TestSet:
    """Reads the test pictures of a source, or training pictures of a domain without any.

    Args:
        source: from `find_source`.
        preparation: how pictures of domains "A" and "B" are resized.
        paired, floor, test_count: as in `load_data`.
        skipped: see `read`. Of pairs none may be left out.
        budget: memory that the pictures may take. Default: 2 GiB.

    Raises:
        InputError: as `load_test_set`.
    """
    if test_count is not None and test_count < 1:
        raise InputError(f"test_count={test_count}: must be at least 1")
    splits = {
        domain: f"test{domain}" if f"test{domain}" in source.splits else f"train{domain}"
        for domain in "AB"
    }
    chosen = {domain: list(source.pictures(split)) for domain, split in splits.items()}
    embedded = isinstance(source, EmbeddedSource)
    if paired and not embedded:
        chosen["B"] = _partners(source, chosen["A"], chosen["B"])
    budget = budget or MemoryBudget(2**31)
    A, B = (
        read(
            chosen[domain][:test_count],
            f"{source.name} {splits[domain]}",
            preparation[domain],
            training=False,
            budget=budget,
            skipped=None if paired else skipped,
        )
        for domain in "AB"
    )
    known: dict[str, Any] = {}
    if embedded:
        known = _drawn_truth(preparation, test_count)
    elif paired:
        for name, a, b in zip(A.names, A, B, strict=True):
            if a.shape[:2] != b.shape[:2]:
                raise InputError(
                    f"paired=True: {name} and its partner have different sizes, {a.shape[1]}×"
                    f"{a.shape[0]} and {b.shape[1]}×{b.shape[0]}: take a `preprocess` that crops"
                )
        known = {"truth_A": B, "truth_B": A}
    if floor:
        for domain, count in (("A", len(B)), ("B", len(A))):
            pictures = list(source.pictures(f"train{domain}"))
            places = np.linspace(0, len(pictures) - 1, min(count, len(pictures)))
            known[f"train_{domain}"] = read(
                [pictures[place] for place in places.round().astype(int)],
                f"{source.name} train{domain}",
                preparation[domain],
                training=False,
                budget=budget,
                skipped=skipped,
            )
    return TestSet(source.name, A, B, A.names, B.names, **known)


def _drawn_truth(preparation: Mapping[str, Preprocessing], count: int | None) -> dict[str, Any]:
    """The embedded set's test scenes in the other domain, and where their coats are."""
    known: dict[str, Any] = {}
    for domain, other in ("AB", "BA"):
        size, channels = preparation[other].image_size, preparation[other].channels
        drawn = [
            scene.render(size, striped=other == "B")
            for scene in shapes.scenes(f"test{domain}")[:count]
        ]
        known[f"truth_{domain}"] = [
            resized(Image.fromarray(pixels), (size, size), channels) for pixels, _ in drawn
        ]
        known[f"masks_{domain}"] = np.stack([mask for _, mask in drawn])
    return known


def _partners(source: Source, A: list[Picture], B: list[Picture]) -> list[Picture]:
    """The pictures of B in the order of their partners in A."""
    if isinstance(source, TfdsSource):
        raise InputError(
            f"{source.name}: TFDS keeps no file names, so pairs are unknown: give a folder or zip "
            "of the data set"
        )

    def key(picture: Picture) -> str:
        # Without the split's own folder, so that folders below it count.
        name = PurePath(re.split(r"test[AB]/", picture.name)[-1]).with_suffix("").as_posix()
        return re.sub(r"_[AB]$", "", name)

    by_name = {key(picture): picture for picture in B}
    for pictures in (A, B):
        counts = Counter(map(key, pictures))
        twice = [picture.name for picture in pictures if counts[key(picture)] > 1]
        if twice:
            raise InputError(
                f"paired=True: {' and '.join(twice[:2])} have the same name: rename one"
            )
    lonely = [p.name for p in A if key(p) not in by_name]
    lonely += [by_name[name].name for name in by_name.keys() - {key(p) for p in A}]
    if lonely:
        raise InputError(
            f"paired=True: {len(lonely)} pictures have no partner of the same name in the other "
            f"domain, such as {sorted(lonely)[0]}: name pairs alike, or leave `paired` out"
        )
    return [by_name[key(picture)] for picture in A]
