"""Segments photographs into the classes of label maps, for the paper's FCN score (section 5.1.1).

A generated photograph is good if a segmenter that learned from real photographs finds in it what
its label map asked for. The paper takes FCN-8s; we train a smaller network on the pairs of the
training half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import KerasTensor, layers

from ..data.preprocessing import Preprocessing, to_float
from ..data.reading import Reader
from ..data.sources import find_source, partners
from ..data.store import MemoryBudget
from ..data.test_set import check_pairs
from ..errors import InputError
from ..layers import ResizeLike
from ..networks.features import load_keras_file
from .label_maps import Palette, class_scores

#: Channels at each size, from the whole picture down to a sixteenth.
_WIDTHS = (1, 2, 4, 8, 8)

#: Larger batches go one picture at a time: the maps at full size take 32 times as much memory.
_MOST_VALUES = 2**22


@keras.saving.register_keras_serializable("tfcyclegan")
class Segmenter(keras.Model):
    """A U-Net that tells the class of each pixel of a photograph.

    Args:
        palette: the classes.
        filters: int, channels at the size of the picture; twice as many at each half. Default 24.
        network: the network; default: a new one.

    Example:
        ```python
        segmenter, ceiling = train_segmenter("path/to/facades", load_palette("facades"))
        segmenter.save("segmenter.keras")
        ```
    """

    def __init__(
        self,
        palette: Palette | dict[str, Any],
        filters: int = 24,
        network: keras.Model | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if isinstance(palette, dict):  # from a file
            colours = np.array(palette["colours"], np.uint8)
            palette = Palette(palette["name"], tuple(palette["classes"]), colours)
        self.palette = palette
        self.network = network or _unet(filters, len(palette.classes))
        self.built = True

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """RGB `[N, H, W, 3]` in [-1, 1] → logits `[N, H, W, classes]`."""
        return self.network(images, training=training)

    def labels(self, pictures: Sequence[np.ndarray], batch_size: int = 8) -> Iterator[np.ndarray]:
        """The class of each pixel, int `[H, W]`, of uint8 RGB pictures `[H, W, 3]`. Never void."""
        for first in range(0, len(pictures), batch_size):
            some = pictures[first : first + batch_size]
            small = sum(picture.size for picture in some) <= _MOST_VALUES
            same = small and len({picture.shape for picture in some}) == 1
            for batch in [np.stack(some)] if same else [picture[None] for picture in some]:
                logits = self(to_float(batch)).numpy()
                if self.palette.void >= 0:
                    logits[..., self.palette.void] = -np.inf
                yield from np.argmax(logits, axis=-1)

    def describe(self) -> dict[str, str]:
        """What its numbers depend on."""
        return {"name": self.name, "palette": self.palette.name}

    def get_config(self) -> dict[str, Any]:
        palette = {
            "name": self.palette.name,
            "classes": list(self.palette.classes),
            "colours": self.palette.colours.tolist(),
        }
        return {
            **super().get_config(), "palette": palette,
            "network": keras.saving.serialize_keras_object(self.network),
        }  # fmt: skip

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Segmenter:
        network = keras.saving.deserialize_keras_object(config["network"])
        return cls(**{**config, "network": network})


def load_segmenter(path: str | Path) -> Segmenter:
    """A segmenter from the file that `Segmenter.save` wrote.

    Raises:
        InputError: there is no such file, or it holds something else.
    """
    if not Path(path).is_file():
        raise InputError(f"segmenter={path}: no such file: make one with tfcyclegan segmenter")
    found = load_keras_file(Path(path))
    if not isinstance(found, Segmenter):
        raise InputError(f"segmenter={path}: not a segmenter: make one with tfcyclegan segmenter")
    return found


def train_segmenter(
    source: str,
    palette: Palette,
    *,
    image_size: int = 128,
    epochs: int = 40,
    batch_size: int = 8,
    filters: int = 24,
    learning_rate: float = 1e-3,
    seed: int = 0,
    name: str = "segmenter",
    on_epoch: Callable[[int, float], None] | None = None,
) -> tuple[Segmenter, dict[str, float]]:
    """Trains a segmenter on the pairs of the training half, and scores it on the test half.

    Adam with a cosine decay, cross entropy, random crops and flips; void is not trained on.

    Args:
        source: photographs in domain A and their label maps in domain B, as in `load_data` with
            `paired=True`.
        palette: the classes of the label maps.
        image_size: int, side in px. Default 128, as in the paper's experiments.
        epochs, batch_size, filters, learning_rate, seed: of the training.
        name: what results call it.
        on_epoch: called with the number of each epoch, from 1, and its loss.

    Returns:
        The segmenter, and its scores on real test photographs, the ceiling for generated ones: see
        `label_scores`.

    Raises:
        InputError: the data has no pairs, or a setting is too small.
    """
    least = {
        "image_size": (image_size, 16), "epochs": (epochs, 1), "batch_size": (batch_size, 1),
        "filters": (filters, 1), "seed": (seed, 0),
    }  # fmt: skip
    for setting, (value, smallest) in least.items():
        if value < smallest:
            raise InputError(f"{setting}={value}: must be at least {smallest}")
    if seed >= 2**32:
        raise InputError(f"seed={seed}: must be below 2**32")
    keras.utils.set_random_seed(seed)
    photographs, maps = _read_pairs(source, image_size, "train", training=True)
    labels = np.stack([palette.labels(picture).astype(np.uint8) for picture in maps])[..., None]
    real, real_maps = _read_pairs(source, image_size, "test")
    segmenter = Segmenter(palette, filters, name=name)
    steps = epochs * max(1, len(labels) // batch_size)
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    segmenter.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, ignore_class=palette.void if palette.void >= 0 else None
        ),
        jit_compile=False,
    )
    report = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: on_epoch(epoch + 1, logs["loss"]) if on_epoch else None
    )
    pairs = _batches(np.stack(list(photographs)), labels, image_size, batch_size, seed)
    segmenter.fit(pairs, epochs=epochs, verbose=0, shuffle=False, callbacks=[report])
    truth = (palette.labels(picture) for picture in real_maps)
    return segmenter, class_scores(segmenter.labels(real), truth, palette)


def _read_pairs(
    source: str, image_size: int, half: Literal["train", "test"], training: bool = False
) -> tuple[Sequence[np.ndarray], Sequence[np.ndarray]]:
    """Photographs and label maps of "train" or "test"; to be cropped, if for training."""
    found = find_source(source, image_size)
    if half == "test" and not {"testA", "testB"} <= {*found.splits}:
        raise InputError(f"{source}: has no pairs of test pictures to measure on")
    side = image_size * 286 // 256 if training else image_size
    how = Preprocessing("resize_and_crop", side, side, divisor=1)
    reader = Reader(found, {"A": how, "B": replace(how, nearest=True)}, MemoryBudget(), False)
    photographs, maps = (
        reader.read(f"{half}{domain}", pictures)
        for domain, pictures in zip("AB", partners(found, half), strict=True)
    )
    check_pairs(photographs, maps)
    return photographs, maps


def _batches(
    photographs: np.ndarray, labels: np.ndarray, image_size: int, batch_size: int, seed: int
) -> tf.data.Dataset:
    def changed(pair: tuple[tf.Tensor, tf.Tensor], draw: tf.Tensor) -> tuple:
        picture, classes = pair
        both = tf.concat([tf.cast(picture, tf.int32), tf.cast(classes, tf.int32)], axis=-1)
        key = tf.stack([tf.cast(seed, tf.int64), draw])
        both = tf.image.stateless_random_crop(both, (image_size, image_size, 4), key)
        both = tf.image.stateless_random_flip_left_right(both, key + 1)
        return to_float(both[..., :3]), both[..., 3]

    shown, told = tf.constant(photographs), tf.constant(labels)
    order = tf.data.Dataset.range(len(labels)).shuffle(len(labels), seed=seed)
    pairs = order.map(lambda place: (shown[place], told[place]))
    draws = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    pairs = tf.data.Dataset.zip((pairs, draws)).map(changed)
    return pairs.batch(batch_size, drop_remainder=len(labels) >= batch_size).prefetch(2)


def _unet(filters: int, classes: int) -> keras.Model:
    inputs = keras.Input((None, None, 3), name="images")

    def block(x: KerasTensor, width: int, name: str, strides: int = 1) -> KerasTensor:
        conv = layers.Conv2D(width, 3, strides, "same", use_bias=False, name=name)
        y = layers.BatchNormalization(name=f"{name}_norm")(conv(x))
        return layers.ReLU(name=f"{name}_relu")(y)

    x, skips = block(inputs, filters, "in"), []
    for level, width in enumerate(_WIDTHS[1:], 1):
        skips.append(x)
        x = block(x, filters * width, f"down{level}", strides=2)
        x = block(x, filters * width, f"flat{level}")
    for level in reversed(range(len(skips))):
        x = ResizeLike(name=f"resize{level}")([x, skips[level]])
        x = layers.Concatenate(name=f"skip{level}")([x, skips[level]])
        x = block(x, filters * _WIDTHS[level], f"up{level}")
    logits = layers.Conv2D(classes, 1, name="logits", dtype="float32")(x)
    return keras.Model(inputs, logits, name="unet")
