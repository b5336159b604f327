"""Pictures to measure on: a test set as it is in its files, nothing drawn at random."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from PIL import Image

from ..errors import InputError
from ..parallel import map_in_order
from .loading import Data, GroundTruth, draw_truth
from .preprocessing import Preprocess, Preprocessing, resized, to_uint8
from .sources import EmbeddedSource, Picture, TfdsSource, find_source


@dataclass(frozen=True)
class TestSet:
    """Test pictures of both domains, and what is known about them.

    All pictures are uint8 `[H, W, C]`.

    Attributes:
        name: of the source.
        A: pictures of testA.
        B: pictures of testB.
        names_A: what each is called.
        names_B: the same for B.
        truth_A: for each picture of A what it should become in B, or None where nobody knows.
        truth_B: for each picture of B what it should become in A, or None.
        masks_A: for each picture of A how much of a pixel is coat, float32 `[H, W]` in [0, 1]; of
            the embedded set alone.
        masks_B: the same for B.
        train_A: pictures of trainA, evenly picked, as many as there are of testB (whose
            translations they are compared with); none where they were not asked for.
        train_B: pictures of trainB, as many as there are of testA.
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

    @staticmethod
    def of(data: Data) -> TestSet | None:
        """The test pictures that `load_data` read; None where there are none."""
        if data.test_A is None or data.test_B is None:
            return None

        def pictures(batches: Iterable) -> list[np.ndarray]:
            return [to_uint8(image) for batch in batches for image in batch.numpy()]

        A, B = pictures(data.test_A), pictures(data.test_B)
        return TestSet(
            name=data.name,
            A=A,
            B=B,
            names_A=[f"testA {number}" for number in range(len(A))],
            names_B=[f"testB {number}" for number in range(len(B))],
            **(_known(data.truth, A[0].shape[-1], B[0].shape[-1]) if data.truth else {}),
        )


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
    count: int | None = None,
    skip_bad_images: bool = False,
    data_dir: str | None = None,
) -> TestSet:
    """Loads the pictures to measure on: whole where they are resized, their middle where cropped.

    Args:
        source, image_size, preprocess, channels_A, channels_B, divisor: as in `load_data`.
        skip_bad_images, data_dir: as in `load_data`.
        paired: bool, whether testA and testB show the same under the same file names (an ending
            `_A` or `_B` of the name does not count). The embedded set always knows its truth.
        floor: bool, whether to load training pictures too, for what two sets of real pictures of
            one domain are apart.
        count: int, pictures of each domain. Default: all. The first ones.

    Raises:
        InputError: no such source, no test pictures, one that cannot be used, or with `paired`
            a picture without its partner.

    Example:
        >>> len(load_test_set("shapes", image_size=32).A)
        64
    """
    if count is not None and count < 1:
        raise InputError(f"--test-count {count}: must be at least 1")
    found = find_source(source, image_size, data_dir)
    kind = preprocess or ("none" if isinstance(found, EmbeddedSource) else "resize_and_crop")
    missing = [split for split in ("testA", "testB") if split not in found.splits]
    if missing:
        raise InputError(f"--data {source}: has no {' and no '.join(missing)} to measure on")
    preparation = {
        domain: Preprocessing(kind, image_size, None, False, divisor, channels)
        for domain, channels in (("A", channels_A), ("B", channels_B))
    }
    chosen = {split: list(found.pictures(split)) for split in ("testA", "testB")}
    if paired and not isinstance(found, EmbeddedSource):
        if isinstance(found, TfdsSource):
            raise InputError(
                f"--data {found.name}: TFDS does not keep file names, so nobody knows which "
                "pictures are pairs: give a folder or zip of the data set"
            )
        chosen["testB"] = _partners(chosen["testA"], chosen["testB"])
    if count:
        chosen = {split: pictures[:count] for split, pictures in chosen.items()}
    if floor:
        for domain, other in ("AB", "BA"):
            pictures = list(found.pictures(f"train{domain}"))
            wanted = min(len(pictures), len(chosen[f"test{other}"]))
            places = np.linspace(0, len(pictures) - 1, wanted).round().astype(int)
            chosen[f"train{domain}"] = [pictures[place] for place in places]
    read = {
        split: _read(pictures, preparation[split[-1]], skip_bad_images and not paired)
        for split, pictures in chosen.items()
    }
    for split, pictures in read.items():
        if not pictures:
            raise InputError(f"--data {source}: none of the pictures of {split} can be used")
    A, B = ([pixels for _, pixels in read[split]] for split in ("testA", "testB"))
    known = {"truth_A": B, "truth_B": A} if paired else {}
    if isinstance(found, EmbeddedSource):
        known = _known(draw_truth(image_size, count), channels_A, channels_B)
    elif paired:
        for (name, a), (_, b) in zip(read["testA"], read["testB"], strict=True):
            if a.shape[:2] != b.shape[:2]:
                raise InputError(
                    f"--paired: {name} and its partner come in other sizes, {a.shape[1]}×"
                    f"{a.shape[0]} and {b.shape[1]}×{b.shape[0]}: take a --preprocess that crops"
                )
    return TestSet(
        name=found.name,
        A=A,
        B=B,
        names_A=[name for name, _ in read["testA"]],
        names_B=[name for name, _ in read["testB"]],
        train_A=[pixels for _, pixels in read.get("trainA", ())],
        train_B=[pixels for _, pixels in read.get("trainB", ())],
        **known,
    )


def _known(truth: GroundTruth, channels_A: int, channels_B: int) -> dict[str, Any]:
    """What a test set knows from the embedded set's truth, in the domains' own channels."""

    def drawn(images: np.ndarray, channels: int) -> list[np.ndarray]:
        sides = images.shape[1:3]
        return [resized(Image.fromarray(pixels), sides, channels) for pixels in to_uint8(images)]

    return {
        "truth_A": drawn(truth.AtoB, channels_B),
        "truth_B": drawn(truth.BtoA, channels_A),
        "masks_A": truth.mask_A,
        "masks_B": truth.mask_B,
    }


def _read(
    pictures: Sequence[Picture], preparation: Preprocessing, skip: bool
) -> list[tuple[str, np.ndarray]]:
    """Names and pixels."""

    def prepare(picture: Picture) -> tuple[str, np.ndarray] | InputError:
        try:
            image = picture.open()
            return picture.name, preparation.fixed(image, picture.name, training=False)
        except InputError as problem:
            return problem

    read = []
    for found in map_in_order(prepare, pictures):
        if not isinstance(found, InputError):
            read.append(found)
        elif not skip:
            raise found
    return read


def _partners(A: list[Picture], B: list[Picture]) -> list[Picture]:
    """The pictures of B in the order of their partners in A."""

    def key(picture: Picture) -> str:
        # Behind the split's own folder, so that folders below it count.
        name = PurePath(re.split(r"test[AB]/", picture.name)[-1]).with_suffix("").as_posix()
        return re.sub(r"_[AB]$", "", name)

    by_name = {key(picture): picture for picture in B}
    for pictures in (A, B):
        counts = Counter(map(key, pictures))
        twice = [picture.name for picture in pictures if counts[key(picture)] > 1]
        if twice:
            raise InputError(f"--paired: {' and '.join(twice[:2])} have the same name: rename one")
    lonely = [p.name for p in A if key(p) not in by_name]
    lonely += [by_name[name].name for name in by_name.keys() - {key(p) for p in A}]
    if lonely:
        raise InputError(
            f"--paired: {len(lonely)} pictures have no partner of the same name in the other "
            f"domain, such as {sorted(lonely)[0]}: name pairs alike, or leave --paired out"
        )
    return [by_name[key(picture)] for picture in A]
