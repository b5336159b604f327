"""Pictures of two domains, from wherever they are to batches the model takes."""

from __future__ import annotations

import itertools
import logging
import os
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ..errors import InputError
from ..parallel import map_in_order
from . import shapes
from .pairing import Position, batches, training_pairs, validation_pairs
from .preprocessing import Preprocess, Preprocessing, resized, to_float
from .sources import EmbeddedSource, Picture, Source, find_source
from .store import MemoryBudget, PictureStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GroundTruth:
    """The right answers for the test pictures of the embedded data set.

    Attributes:
        AtoB: float32 `[N, H, W, 3]` in [-1, 1]: the scenes of `test_A` drawn in domain B.
        BtoA: the scenes of `test_B` drawn in domain A.
        mask_A: float32 `[N, H, W]` in [0, 1]: how much of each pixel of `test_A` is coat.
        mask_B: the same for `test_B`.
    """

    AtoB: np.ndarray
    BtoA: np.ndarray
    mask_A: np.ndarray
    mask_B: np.ndarray


@dataclass(frozen=True)
class Data:
    """Everything `load_data` read.

    Attributes:
        name: str, the source.
        train: `tf.data.Dataset` of `(A, B)` batches, float32 `[batch_size, H, W, C]` in
            [-1, 1]; iterating over it again gives the next epoch.
        validation: the same of testA and testB, in file order and without augmentation, the
            last batch shorter; None where there are no test pictures.
        test_A: `tf.data.Dataset` of batches `[N, H, W, C]` of testA, or None.
        test_B: the same of testB, or None.
        steps_per_epoch: int, batches in `train`.
        batch_size: int.
        counts: pictures in each split that was read.
        skipped: what could not be decoded and was left out.
        truth: `GroundTruth` of the embedded data set, else None.
    """

    name: str
    train: tf.data.Dataset
    validation: tf.data.Dataset | None
    test_A: tf.data.Dataset | None
    test_B: tf.data.Dataset | None
    steps_per_epoch: int
    batch_size: int
    counts: dict[str, int]
    skipped: tuple[str, ...]
    truth: GroundTruth | None
    _position: Position

    @property
    def position(self) -> int:
        """The training step whose pictures the next iteration of `train` starts with."""
        return int(self._position.step.numpy())

    def seek(self, step: int) -> None:
        """Makes the next iteration of `train` start with the pictures of that training step.

        Steps are counted from 0 over all epochs. An iteration gives `steps_per_epoch` batches
        from wherever it starts; who starts within an epoch stops at its end, as
        `ResumableState` does.
        """
        self._position.step.assign(step)


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
) -> Data:
    """Loads pictures of two domains for training and measuring.

    Every picture is read and decoded once, here, so bad ones are found before training starts;
    the pixels stay in memory, or on disk where they do not fit.

    Args:
        source: "shapes" (the embedded set), a folder with trainA/ trainB/ testA/ testB/, a zip
            of such a folder (`FILE.zip:NAME` picks one of several), or a TFDS configuration
            such as `horse2zebra` or `cycle_gan/horse2zebra`.
        image_size: int, side of the pictures in px. Default 256 (the paper).
        batch_size: int, default 1 (section 4 of the paper).
        preprocess: "resize_and_crop", "crop", "scale_width", "scale_width_and_crop" or "none";
            see `Preprocessing`. Default "resize_and_crop", but "none" for the embedded set,
            which is drawn at `image_size`.
        load_size: int, size in px that is cropped from. Default 286/256 of `image_size`.
        flip: bool, mirror half of the training pictures. Default True (the reference).
        channels_A: 3 (RGB; default) or 1 (grey).
        channels_B: the same for domain B.
        divisor: int, sides become multiples of it. Default 4, the resnet generators' need.
        steps_per_epoch: int, batches an epoch. Default: as many as the longer domain fills.
        seed: int, of order and augmentation: the same seed gives the same batches.
        skip_bad_images: bool, leave out pictures that cannot be decoded, with a warning, instead
            of stopping. Default False.
        cache_memory: int, bytes of decoded pictures to keep in memory. Default 2 GiB.
        cache_dir: folder for those that do not fit. Default: the system's temporary folder.
        data_dir: folder of TFDS's data sets. Default: TFDS's own.

    Returns:
        `Data`.

    Raises:
        InputError: the source is not there or not laid out as it should be, a picture cannot be
            decoded or is too small, or a setting does not fit.

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
    kind = preprocess or ("none" if os.fspath(source) == "shapes" else "resize_and_crop")
    preprocessing = {
        domain: Preprocessing(kind, image_size, load_size, flip, divisor, channels)
        for domain, channels in (("A", channels_A), ("B", channels_B))
    }
    found = find_source(source, image_size, data_dir)
    budget = MemoryBudget(cache_memory, cache_dir)
    skipped: list[str] = []
    stores = {
        split: _read(
            found, split, preprocessing[split[-1]], budget, skipped if skip_bad_images else None
        )
        for split in found.splits
    }
    if skipped:
        logger.warning(
            "left out %d pictures that cannot be used: %s", len(skipped), "; ".join(skipped)
        )
    for split, store in stores.items():
        if batch_size > 1 and store.size is None:
            raise InputError(
                f"--batch-size {batch_size}: the pictures of {split} come in several sizes under "
                f"--preprocess {kind}: take --batch-size 1 or a --preprocess that crops"
            )
    longer = max(len(stores["trainA"]), len(stores["trainB"]))
    if steps_per_epoch is None:
        steps_per_epoch = longer // batch_size
        if not steps_per_epoch:
            raise InputError(
                f"--batch-size {batch_size} is more than the {longer} pictures there are to train "
                "on: take a smaller one"
            )
    logger.info(
        "read %s: %s; %.0f MB of pixels %s",
        found.name,
        ", ".join(f"{len(store)} {split}" for split, store in stores.items()),
        sum(store.nbytes for store in stores.values()) / 1e6,
        "partly on disk" if any(store.on_disk for store in stores.values()) else "in memory",
    )
    position = Position(steps_per_epoch)
    test_A, test_B = stores.get("testA"), stores.get("testB")
    return Data(
        name=found.name,
        train=training_pairs(
            stores["trainA"],
            stores["trainB"],
            preprocessing["A"],
            preprocessing["B"],
            batch_size=batch_size,
            position=position,
            seed=seed,
        ),
        validation=validation_pairs(test_A, test_B, batch_size) if test_A and test_B else None,
        test_A=batches(test_A, batch_size) if test_A else None,
        test_B=batches(test_B, batch_size) if test_B else None,
        steps_per_epoch=steps_per_epoch,
        batch_size=batch_size,
        counts={split: len(store) for split, store in stores.items()},
        skipped=tuple(skipped),
        truth=draw_truth(image_size) if isinstance(found, EmbeddedSource) else None,
        _position=position,
    )


def load_test_pictures(
    source: str | os.PathLike,
    domain: str,
    count: int,
    *,
    image_size: tuple[int, int],
    channels: int = 3,
    data_dir: str | None = None,
) -> list[np.ndarray]:
    """The first few pictures of testA or testB, or of trainA or trainB where there are none.

    Pictures that cannot be decoded are passed over.

    Args:
        source: see `load_data`.
        domain: "A" or "B".
        count: int.
        image_size: `(height, width)` in px that each is resized to.
        channels: 3 (RGB) or 1 (grey).
        data_dir: see `load_data`.

    Returns:
        float32 `[H, W, C]` in [-1, 1] each.

    Raises:
        InputError: the source is not there, or none of its pictures can be decoded.
    """
    found = find_source(source, min(image_size), data_dir)
    split = f"test{domain}" if f"test{domain}" in found.splits else f"train{domain}"
    some: list[np.ndarray] = []
    for picture in found.pictures(split):
        try:
            some.append(to_float(resized(picture.open(), image_size, channels)).numpy())
        except InputError as problem:
            logger.warning("not measured on: %s", problem)
        if len(some) == count:
            break
    if not some:
        raise InputError(f"--data {found.name}: none of the pictures of {split} can be used")
    return some


def some_pictures(
    pictures: tf.data.Dataset | np.ndarray | None, count: int, image_size: tuple[int, int]
) -> list[np.ndarray]:
    """The first few pictures of a stream of batches or of an array, at a given size.

    Returns:
        float32 `[H, W, C]` in [-1, 1] each; none where there is nothing.
    """
    if pictures is None:
        return []
    if isinstance(pictures, tf.data.Dataset):
        pictures = pictures.unbatch().take(count).as_numpy_iterator()
    some = [np.asarray(picture, np.float32) for picture in itertools.islice(pictures, count)]
    return [
        picture
        if picture.shape[:2] == image_size
        else tf.image.resize(picture, image_size, "bicubic", antialias=True).numpy().clip(-1, 1)
        for picture in some
    ]


def _read(
    source: Source,
    split: str,
    preprocessing: Preprocessing,
    budget: MemoryBudget,
    skipped: list[str] | None,
) -> PictureStore:
    """Decodes and resizes all pictures of a split, on as many threads as there are cores."""

    def prepare(picture: Picture) -> np.ndarray | InputError:
        try:
            image = picture.open()
            return preprocessing.fixed(image, picture.name, training=split.startswith("train"))
        except InputError as problem:
            return problem

    store = PictureStore(budget, preprocessing.channels)
    for pixels in map_in_order(prepare, source.pictures(split)):
        if not isinstance(pixels, InputError):
            store.add(pixels)
        elif skipped is None:
            raise pixels
        else:
            skipped.append(str(pixels))
    if not len(store):
        raise InputError(f"--data {source.name}: none of the pictures of {split} can be used")
    store.close()
    return store


def draw_truth(image_size: int, count: int | None = None) -> GroundTruth:
    """Draws the embedded set's test scenes in the other domain.

    Args:
        image_size: side in px.
        count: int, the first so many alone. Default: all.
    """

    def draw(split: str, striped: bool) -> tuple[np.ndarray, np.ndarray]:
        drawn = [scene.render(image_size, striped) for scene in shapes.scenes(split)[:count]]
        images, masks = zip(*drawn, strict=True)
        return to_float(np.stack(images)).numpy(), np.stack(masks)

    AtoB, mask_A = draw("testA", striped=True)
    BtoA, mask_B = draw("testB", striped=False)
    return GroundTruth(AtoB, BtoA, mask_A, mask_B)
