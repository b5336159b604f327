"""A residual generator that starts as its input."""

from __future__ import annotations

from typing import Literal

import keras
from keras import KerasTensor, initializers, layers

from ..errors import InputError
from ..layers import MeanSquare, PixelNormalization
from .factory import LayerFactory, picture_output


def fast_generator(
    channels: int = 3,
    filters: int = 24,
    blocks: int = 6,
    *,
    residual_output: Literal["scaled", "clipped"] = "scaled",
    change_penalty: float = 0.0,
    dtype: str | None = None,
    name: str = "fast_generator",
) -> keras.Model:
    """A residual generator that starts as its input and normalises each pixel by itself.

    Its layout is that of the paper's generator: shrink, residual blocks, grow. It differs in three
    points:

    - It outputs the change to the picture, which starts near 0, so it does not have to learn to
      copy.
    - It normalises each pixel over its channels. Instance norm with a residual output makes bright
      blobs at fixed places, which steer the norm's statistics.
    - Blocks normalise their input and start at 0. It resizes and convolves to grow, which avoids
      checkerboards (Odena et al. 2016). Convolutions pad with zeros.

    Args:
        channels: int, channels of the pictures it reads and of its output. Default 3.
        filters: int, channels after the first convolution. Default 24.
        blocks: int, residual blocks. Default 6.
        residual_output: "scaled" (default) or "clipped"; see `resnet_generator`.
        change_penalty: float, weight of the mean square of the change (before the tanh), which
            enters the generators' loss. Black and white are far out on the tanh, where its gradient
            is nearly 0: without a penalty a generator that has blackened an animal stays there.
            Default 0.
        dtype: see `resnet_generator`.
        name: str.

    Returns:
        A functional `keras.Model`, `[N, H, W, channels]` in [-1, 1] → the same shape, float32.
        Height and width must be multiples of 4.

    Raises:
        InputError: `filters` or `blocks` is too small.

    Example:
        >>> G = fast_generator(filters=16, blocks=3)
        >>> G(tf.zeros((1, 128, 128, 3))).shape
        TensorShape([1, 128, 128, 3])
    """
    if filters < 1 or blocks < 0:
        raise InputError(f"filters={filters}, blocks={blocks}: take at least 1 and 0")
    make = LayerFactory("none", True, 0.0, dtype)
    inputs = keras.Input((None, None, channels), name="images")

    def conv(
        x: KerasTensor, width: int, size: int, label: str,
        strides: int = 1, start: initializers.Initializer | None = None,
        penalty: MeanSquare | None = None,
    ) -> KerasTensor:  # fmt: skip
        x = make.pad(x, size // 2, label)
        start = start or _he()
        return make.conv(x, width, size, label, strides=strides, start=start, penalty=penalty)

    def norm_relu(x: KerasTensor, label: str) -> KerasTensor:
        return make.relu(PixelNormalization(name=f"{label}_norm", dtype=dtype)(x), label)

    x = norm_relu(conv(inputs, filters, 7, "c7_in"), "c7_in")
    for level in (1, 2):
        x = norm_relu(conv(x, filters * 2**level, 3, f"d{level}", strides=2), f"d{level}")
    for block in range(1, blocks + 1):
        first, second = f"r{block}a", f"r{block}b"
        y = conv(norm_relu(x, first), filters * 4, 3, first)
        y = conv(norm_relu(y, second), filters * 4, 3, second, start=initializers.Zeros())
        x = layers.Add(name=f"r{block}_add", dtype=dtype)([x, y])
    for level in (1, 0):
        label = f"u{level + 1}"
        x = layers.UpSampling2D(2, name=f"{label}_resize", dtype=dtype)(x)
        x = norm_relu(conv(x, filters * 2**level, 3, label), label)
    small = initializers.RandomNormal(stddev=1e-3)
    penalty = MeanSquare(change_penalty) if change_penalty else None
    change = conv(x, channels, 7, "c7_out", start=small, penalty=penalty)
    return keras.Model(inputs, picture_output(change, inputs, residual_output), name=name)


def _he() -> initializers.Initializer:
    """A new one for each kernel: kernels that share one start equal."""
    return initializers.HeNormal()
