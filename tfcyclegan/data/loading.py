"""Data sets of two domains: `load_data` and the `Data` that it returns."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from ..errors import InputError
from .pairing import in_order, training_pairs
from .preprocessing import Preprocess, Preprocessing, to_uint8
from .reading import Reader
from .sources import find_source, partners
from .store import MemoryBudget
from .test_set import TestSet, check_pairs, read_test_set

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """What `load_data` returns.

    Attributes:
        name: str, of the source.
        train: `tf.data.Dataset` of `(A, B)` batches, float32 `[batch_size, H, W, C]` in
            [-1, 1]; iterating over it again gives the next epoch.
        validation: the same of testA and testB, in file order and without augmentation; the last
            batch may be shorter. None if there are no test pictures.
        test_A: `tf.data.Dataset` of batches `[N, H, W, C]` of testA, or None.
        test_B: the same of testB, or None.
        test_set: `TestSet`, the same pictures in uint8 with their names and truth, or None.
        steps_per_epoch: int, batches in `train`.
        batch_size: int.
        counts: dict, the number of pictures in each split that was read.
        skipped: tuple of str, one message for each picture that was left out.
    """

    name: str
    train: tf.data.Dataset
    validation: tf.data.Dataset | None
    test_A: tf.data.Dataset | None
    test_B: tf.data.Dataset | None
    test_set: TestSet | None
    steps_per_epoch: int
    batch_size: int
    counts: dict[str, int]
    skipped: tuple[str, ...]

    @property
    def position(self) -> int:
        """The training step that the next iteration of `train` starts at."""
        return int(self.train.position.numpy())

    def seek(self, step: int) -> None:
        """Makes the next iteration of `train` start at that training step.

        Steps are counted from 0 over all epochs. An iteration gives `steps_per_epoch` batches,
        wherever it starts. If you start within an epoch, stop at its end, as `ResumableState`
        does.
        """
        self.train.position.assign(step)

    def some_pictures(self, count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The first few test pictures of A and of B, or training pictures if there are none.

        Returns:
            Lists of uint8 `[H, W, C]`, at most `count` each.
        """
        if self.test_set:
            return list(self.test_set.A[:count]), list(self.test_set.B[:count])
        pairs = list(self.train.unbatch().take(count).as_numpy_iterator())
        return [to_uint8(a) for a, _ in pairs], [to_uint8(b) for _, b in pairs]


def load_data(
    source: str | os.PathLike = "shapes",
    *,
    image_size: int = 256,
    batch_size: int = 1,
    preprocess: Preprocess | None = None,
    load_size: int | None = None,
    flip: bool = True,
    channels_A: int = 3,
    channels_B: int = 3,
    divisor: int = 4,
    steps_per_epoch: int | None = None,
    seed: int = 0,
    skip_bad_images: bool = False,
    cache_memory: int = 2 * 2**30,
    cache_dir: str | None = None,
    data_dir: str | None = None,
    paired: bool | Literal["test"] = False,
    label_maps: bool = False,
    floor: bool = False,
    test_count: int | None = None,
) -> Data:
    """Loads pictures of two domains for training and measuring.

    Every picture is decoded once, here, so bad pictures are found before training starts. The
    pixels stay in memory, or on disk if they do not fit.

    Args:
        source: "shapes" or "shapes-dusk" (embedded), a folder with trainA/ trainB/ testA/ testB/,
            a zip of such a folder (`FILE.zip:NAME` picks one of several), or a TFDS configuration
            such as `horse2zebra` or `cycle_gan/horse2zebra`.
        image_size: int, side of the pictures in px. Default 256 (the paper).
        batch_size: int, default 1 (section 4 of the paper).
        preprocess: "resize_and_crop", "crop", "scale_width", "scale_width_and_crop" or "none";
            see `Preprocessing`. Default "resize_and_crop"; "none" for the embedded set, which is
            drawn at `image_size`.
        load_size: int, size in px before the crop. Default 286/256 of `image_size`.
        flip: bool, mirror half of the training pictures. Default True (the reference).
        channels_A: 3 (RGB; default) or 1 (grey).
        channels_B: the same for domain B.
        divisor: int, sides become multiples of it. Default 4, as the resnet generators need.
        steps_per_epoch: int, batches in an epoch. Default: as many as the longer domain fills.
        seed: int, of order and augmentation: the same seed gives the same batches.
        skip_bad_images: bool, leave out pictures that cannot be used, with a warning, instead of
            stopping. Default False.
        cache_memory: int, bytes of decoded pictures to keep in memory. Default 2 GiB.
        cache_dir: folder for pictures that do not fit. Default: the system's temporary folder.
        data_dir: folder of TFDS's data sets. Default: TFDS's own.
        paired: whether A and B show the same scenes: under the same file names in both folders (an
            ending `_A` or `_B` is ignored), or side by side in the files of train/ and test/ (A on
            the left). True: `train` gives pairs, cropped and mirrored alike, and the truth of the
            test pictures is known. "test": only the latter. Default False.
        label_maps: bool, whether domain B is label maps. `test_set.maps_B` (with `paired` the truth
            for A) is then resized to the nearest neighbour, so that no colours mix. Default False.
        floor: bool, whether `test_set` also gets training pictures, to measure the distance between
            two sets of real pictures of one domain. Default False.
        test_count: int, test pictures of each domain to read. Default: all.

    Returns:
        `Data`.

    Raises:
        InputError: the source is missing or not laid out as a data set, a picture cannot be
            decoded or is too small, or a setting makes no sense.

    Example:
        ```python
        data = tfcyclegan.load_data("horse2zebra", image_size=128)
        model.fit(data.train, epochs=200, validation_data=data.validation)
        ```
    """
    if batch_size < 1:
        raise InputError(f"batch_size={batch_size}: a batch has at least 1 picture")
    if steps_per_epoch is not None and steps_per_epoch < 1:
        raise InputError(f"steps_per_epoch={steps_per_epoch}: an epoch has at least 1 step")
    found = find_source(source, image_size, data_dir)
    kind = preprocess or found.preprocess
    preparation = {
        domain: Preprocessing(kind, image_size, load_size, flip, divisor, channels)
        for domain, channels in (("A", channels_A), ("B", channels_B))
    }
    budget = MemoryBudget(cache_memory, cache_dir)
    reader = Reader(found, preparation, budget, skip_bad_images)
    aligned = paired is True
    chosen: Sequence[Any] = partners(found, "train") if aligned else (None, None)
    strict = replace(reader, skip_bad_images=False) if aligned else reader
    stores: dict[str, Any] = {
        split: strict.read(split, pictures, training=True)
        for split, pictures in zip(("trainA", "trainB"), chosen, strict=True)
    }
    if aligned:
        check_pairs(stores["trainA"], stores["trainB"])
    test_set, tests = None, [split for split in ("testA", "testB") if split in found.splits]
    if len(tests) == 2:
        test_set = read_test_set(
            reader, paired=bool(paired), label_maps=label_maps, floor=floor, test_count=test_count
        )
        stores |= {"testA": test_set.A, "testB": test_set.B}
    elif tests:
        logger.warning("%s: %s is not read, because the other is missing", found.name, tests[0])
    for split, store in stores.items():
        if batch_size > 1 and store.size is None and not preparation["A"].crops:
            raise InputError(
                f"batch_size={batch_size}: the pictures of {split} have different sizes under "
                f"preprocess={kind}: take batch_size=1 or a `preprocess` that crops"
            )
    longer = max(len(stores["trainA"]), len(stores["trainB"]))
    if steps_per_epoch is None:
        steps_per_epoch = longer // batch_size
        if not steps_per_epoch:
            raise InputError(
                f"batch_size={batch_size} is more than the {longer} pictures to train on: take a "
                "smaller one"
            )
    logger.info(
        "read %s: %s; %.0f MB of pixels %s",
        found.name,
        ", ".join(f"{len(store)} {split}" for split, store in stores.items()),
        sum(store.nbytes for store in stores.values()) / 1e6,
        "partly on disk" if any(store.on_disk for store in stores.values()) else "in memory",
    )
    validation = test_A = test_B = None
    if test_set:
        test = [stores["testA"], stores["testB"]]
        if aligned and found.kind == "shapes":  # whose testA and testB are different scenes
            striped = partners(found, "test")[1][:test_count]
            test[1] = reader.read("testB", striped)
        validation = in_order(*test, batch_size=batch_size)
        test_A, test_B = (
            in_order(stores[split], batch_size=batch_size) for split in ("testA", "testB")
        )
    return Data(
        name=found.name,
        train=training_pairs(
            [stores["trainA"], stores["trainB"]],
            [preparation["A"], preparation["B"]],
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            seed=seed,
            aligned=aligned,
        ),
        validation=validation,
        test_A=test_A,
        test_B=test_B,
        test_set=test_set,
        steps_per_epoch=steps_per_epoch,
        batch_size=batch_size,
        counts={split: len(store) for split, store in stores.items()},
        skipped=tuple(reader.skipped),
    )
