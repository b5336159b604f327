"""Resizing, cropping and flipping, as the reference implementation's `--preprocess` does.

Pictures are resized once, by Pillow, when they are read. They are cropped and flipped at random by
TensorFlow, each time they are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import tensorflow as tf
from PIL import Image

from ..errors import InputError

Preprocess = Literal["resize_and_crop", "crop", "scale_width", "scale_width_and_crop", "none"]


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the model's input.

    Attributes:
        kind: "resize_and_crop" (to a square of `load_size`, then a random square of
            `image_size`), "crop" (of the picture as it is), "scale_width" (to `image_size`, in
            proportion), "scale_width_and_crop" (to `load_size` wide, at least `image_size` high,
            then crop) or "none". If nothing is cropped, sides become multiples of `divisor`.
        image_size: side in px of the model's input.
        load_size: size in px before the crop. Default 286/256 of `image_size`, the paper's "resized
            to 286×286 and cropped" in proportion.
        flip: whether half of the pictures are mirrored left to right.
        divisor: sides become multiples of it, as the generators need.
        channels: 3 for RGB, 1 for grey.
        nearest: whether to resize to the nearest pixel, as label maps need. Otherwise resizing is
            bicubic with antialiasing, by Pillow, in 8 bits, as in the reference.
    """

    kind: Preprocess = "resize_and_crop"
    image_size: int = 256
    load_size: int | None = None
    flip: bool = True
    divisor: int = 4
    channels: int = 3
    nearest: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(Preprocess):
            kinds = ", ".join(get_args(Preprocess))
            raise InputError(f"preprocess={self.kind!r} is unknown: take one of {kinds}")
        if self.image_size <= 0 or self.image_size % self.divisor:
            raise InputError(
                f"image_size={self.image_size} is no multiple of {self.divisor}, which the "
                f"generators need: take {self._rounded(self.image_size)}"
            )
        if self.load_size is not None and self.load_size < self.image_size:
            raise InputError(
                f"load_size={self.load_size} is smaller than image_size={self.image_size}, which "
                "is cropped from it: take a larger `load_size` or a smaller `image_size`"
            )
        if self.channels not in (1, 3):
            raise InputError(
                f"`channels_A` and `channels_B` must be 1 (grey) or 3 (RGB), not {self.channels}"
            )

    @property
    def crops(self) -> bool:
        """Whether every picture ends up `image_size` square."""
        return self.kind in ("resize_and_crop", "crop", "scale_width_and_crop")

    def fixed(self, image: Image.Image, name: str, training: bool) -> np.ndarray:
        """Resizes a picture, the same every time.

        Args:
            image: an RGB Pillow image.
            name: what to call it in a message.
            training: whether to leave room for the random crop. Otherwise the result is the
                model's input: the whole picture if it is resized, its middle if it is cropped.

        Returns:
            uint8 `[height, width, channels]`.

        Raises:
            InputError: the picture is smaller than the crop.
        """
        target = size = self.image_size
        if training:
            size = self.load_size or round(target * 286 / 256)
        width, height = image.size
        if self.kind == "resize_and_crop":
            width, height = size, size
        elif self.kind == "scale_width_and_crop":
            width, height = size, max(round(size * height / width), target)
        elif self.kind == "scale_width":
            width, height = target, self._rounded(target * height / width)
        elif self.kind == "none":
            width, height = self._rounded(width), self._rounded(height)
        if self.crops and min(width, height) < target:
            raise InputError(
                f"{name}: {width}×{height} px is smaller than the crop of {target}×{target}: take "
                "a smaller `image_size` or preprocess=resize_and_crop"
            )
        resampling = Image.Resampling.NEAREST if self.nearest else Image.Resampling.BICUBIC
        image = image.resize((width, height), resampling)
        if self.crops and not training:
            left, top = (width - target) // 2, (height - target) // 2
            image = image.crop((left, top, left + target, top + target))
        return _pixels(image, self.channels)

    def _rounded(self, side: float) -> int:
        return max(self.divisor, round(side / self.divisor) * self.divisor)

    def random(self, pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Crops and flips a picture at random; the seed decides both.

        Args:
            pixels: uint8 `[height, width, channels]`, from `fixed(training=True)`.
            seed: integer tensor `[2]`.

        Returns:
            uint8, `[image_size, image_size, channels]` if the kind crops.
        """
        draws = tf.random.stateless_uniform([3], seed)
        if self.crops:
            room = tf.shape(pixels)[:2] - self.image_size
            corner = tf.cast(draws[:2] * tf.cast(room + 1, tf.float32), tf.int32)
            corner = tf.minimum(corner, room)
            pixels = tf.image.crop_to_bounding_box(
                pixels, corner[0], corner[1], self.image_size, self.image_size
            )
        if self.flip:
            pixels = tf.cond(draws[2] < 0.5, lambda: pixels[:, ::-1], lambda: pixels)
        return pixels


def resized(image: Image.Image, size: tuple[int, int], channels: int = 3) -> np.ndarray:
    """A picture at the size `(height, width)`, as the model's input: uint8 `[H, W, channels]`."""
    return _pixels(image.resize(size[::-1], Image.Resampling.BICUBIC), channels)


def _pixels(image: Image.Image, channels: int) -> np.ndarray:
    pixels = np.asarray(image.convert("RGB" if channels == 3 else "L"))
    return pixels.reshape(image.height, image.width, channels)


def to_float(pixels: tf.Tensor) -> tf.Tensor:
    """uint8 in [0, 255] to float32 in [-1, 1]."""
    return tf.cast(pixels, tf.float32) / 127.5 - 1.0


def to_uint8(images: np.ndarray) -> np.ndarray:
    """float in [-1, 1] to uint8 in [0, 255], rounded and clipped."""
    return np.clip(np.rint((np.asarray(images, np.float32) + 1.0) * 127.5), 0, 255).astype(np.uint8)
