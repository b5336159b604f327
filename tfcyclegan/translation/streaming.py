"""Runs a generator on a picture of any size in bounded memory, without tiles.

Instance normalisation needs the mean and variance of each channel over the whole picture, so the
picture cannot be cut into independent tiles. Statistics from a downscaled copy gave 28 to 37 dB
against the untiled result, and statistics from some of the tiles 18 to 49 dB (two trained
generators, two photographs). A second correcting pass made it worse, because the statistics of
each layer depend on the layers before it.

Instead, the network is evaluated layer by layer in horizontal strips, and the statistics of an
instance norm are computed over all strips first. Layers that are expensive to recompute are kept
on disk. No pixel differs by more than one grey level from the untiled result.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from ..data.preprocessing import to_float, to_uint8
from ..layers import (
    Dropout,
    InstanceNormalization,
    LeakyReLU,
    PixelNormalization,
    ReflectionPadding2D,
    ReplicationPadding2D,
    ResidualClip,
    ResidualTanh,
)
from ..runtimes.protocol import BadPicture

#: Bytes of one strip of one layer. A few strips are in memory at a time.
STRIP_BYTES = 96 * 2**20

#: A layer's output is kept on disk if it has at most this many values per pixel of the picture.
#: The paper's full-size layers (64) are cheap to recompute; those after them (32 and 16) are not.
KEPT_VALUES = 50


class _Stage:
    """The output of one layer, computed on demand in strips of rows.

    Args:
        shape: `(height, width, channels)`.
        rows: from the first row and the end row to float32 `[1, end - first, width, channels]`.
        sources: the stages it is computed from.
    """

    def __init__(
        self, shape: Sequence[int], rows: Callable[[int, int], tf.Tensor], *sources: _Stage
    ):
        self.shape, self.rows = tuple(shape), rows
        height, width, channels = shape
        # Computing a row also loads rows of all sources.
        behind = [source.row_bytes * source.shape[0] / height for source in sources]
        self.row_bytes: float = max([4.0 * width * channels, *behind])

    def strips(self) -> Iterator[tuple[int, int, tf.Tensor]]:
        """All strips: first row, end row, values."""
        height = self.shape[0]
        step = max(1, int(STRIP_BYTES / self.row_bytes))
        for first in range(0, height, step):
            last = min(height, first + step)
            yield first, last, self.rows(first, last)


def _kept(stage: _Stage, folder: str | os.PathLike[str]) -> _Stage:
    """The output of a stage in an unnamed file on disk."""
    row = 4 * stage.shape[1] * stage.shape[2]
    file = tempfile.TemporaryFile(dir=os.fspath(folder))  # noqa: SIM115 (open as long as the stage)
    for _, _, values in stage.strips():
        file.write(values.numpy().data)

    def rows(first: int, last: int) -> tf.Tensor:
        file.seek(first * row)
        values = np.frombuffer(file.read((last - first) * row), np.float32)
        return tf.constant(values.reshape(1, last - first, *stage.shape[1:]))

    return _Stage(stage.shape, rows)


def _local(
    layer: Callable,
    shape: Sequence[int],
    *sources: _Stage,
    size: int = 1,
    stride: int = 1,
    top: int = 0,
) -> _Stage:
    """A layer that computes row `r` from the `size` rows of its sources from `r * stride + top`."""

    def rows(first: int, last: int) -> tf.Tensor:
        start, end = first * stride + top, (last - 1) * stride + top + size
        given = [source.rows(start, end) for source in sources]
        return layer(given if len(given) > 1 else given[0])

    return _Stage(shape, rows, *sources)


def _enlarged(layer: keras.layers.Layer, source: _Stage, size: int, stride: int) -> _Stage:
    """A layer that adds each input row `r` to `size` output rows from `r * stride`."""

    def rows(first: int, last: int) -> tf.Tensor:
        above = max(0, -(-(first - size + 1) // stride))
        below = min(source.shape[0], (last - 1) // stride + 1)
        start = first - above * stride
        return layer(source.rows(above, below))[:, start : start + last - first]

    return _Stage(_shape(layer, source), rows, source)


def _padded(
    layer: keras.layers.Layer,
    source: _Stage,
    amounts: tuple,
    mode: Literal["zero", "reflect", "edge"],
) -> _Stage:
    """Padding by zeros, by reflection or by the edge."""
    known: Literal["reflect", "edge"] = "reflect" if mode == "reflect" else "edge"
    sides = list(zip(source.shape, amounts, strict=False))
    # For each row and column its index in the source, and 0 where it is zero, else 1.
    places, columns = (np.pad(np.arange(side), amount, known) for side, amount in sides)
    row_factors, column_factors = (
        np.pad(np.ones(side, np.float32), amount, "constant" if mode == "zero" else "edge")
        for side, amount in sides
    )

    def rows(first: int, last: int) -> tf.Tensor:
        wanted = places[first:last]
        start, end = int(wanted.min()), int(wanted.max()) + 1
        values = tf.gather(source.rows(start, end), wanted - start, axis=1)
        values = tf.gather(values, columns, axis=2)
        if mode == "zero":
            values *= np.outer(row_factors[first:last], column_factors)[..., None]
        return values

    return _Stage(_shape(layer, source), rows, source)


def _normalized(layer: InstanceNormalization, source: _Stage) -> _Stage:
    """Instance norm, with statistics computed over all strips first."""
    height, _, channels = source.shape
    # Relative to the first strip's mean, against cancellation of large squares.
    shift: tf.Tensor | None = None
    total, squares = np.zeros(channels), np.zeros(channels)
    for first, last, values in source.strips():
        if shift is None:
            shift = tf.reduce_mean(values, axis=[0, 1, 2])
        moved = values - shift
        total += tf.reduce_mean(moved, axis=[0, 1, 2]).numpy() * (last - first)
        squares += tf.reduce_mean(moved**2, axis=[0, 1, 2]).numpy() * (last - first)
    assert shift is not None
    mean = total / height
    scale = 1.0 / np.sqrt(squares / height - mean**2 + layer.epsilon)
    offset = -(shift.numpy() + mean) * scale
    if layer.affine:
        gamma, beta = layer.gamma.numpy(), layer.beta.numpy()
        scale, offset = scale * gamma, offset * gamma + beta
    scale, offset = scale.astype(np.float32), offset.astype(np.float32)
    return _local(lambda values: values * scale + offset, source.shape, source)


#: Pointwise layers.
_PER_PIXEL = (
    layers.Activation, layers.Add, layers.BatchNormalization, layers.Concatenate, layers.ReLU,
    Dropout, LeakyReLU, PixelNormalization, ResidualClip, ResidualTanh,
)  # fmt: skip


def _shape(layer: keras.layers.Layer, source: _Stage) -> tuple[int, int, int]:
    return layer.compute_output_shape((1, *source.shape))[1:]


def _stage_of(layer: keras.layers.Layer, sources: list[_Stage]) -> _Stage:
    source = sources[0]
    if isinstance(layer, InstanceNormalization):
        return _normalized(layer, source)
    if isinstance(layer, _PER_PIXEL):
        return _local(layer, (*source.shape[:2], layer.output.shape[-1]), *sources)
    if isinstance(layer, ReflectionPadding2D):
        repeats = isinstance(layer, ReplicationPadding2D)
        amounts = ((layer.padding,) * 2,) * 2
        return _padded(layer, source, amounts, "edge" if repeats else "reflect")
    if isinstance(layer, layers.ZeroPadding2D):
        return _padded(layer, source, layer.padding, "zero")
    if isinstance(layer, layers.Cropping2D):
        (top, _), (left, _) = layer.cropping
        columns = slice(left, left + _shape(layer, source)[1])
        return _local(lambda x: x[:, :, columns], _shape(layer, source), source, top=top)
    if isinstance(layer, layers.UpSampling2D) and layer.interpolation == "nearest":
        return _enlarged(layer, source, size=layer.size[0], stride=layer.size[0])
    if getattr(layer, "padding", None) == "valid":
        if isinstance(layer, layers.Conv2DTranspose):
            return _enlarged(layer, source, layer.kernel_size[0], layer.strides[0])
        if isinstance(layer, layers.Conv2D) and layer.dilation_rate == (1, 1):
            shape, size, stride = _shape(layer, source), layer.kernel_size[0], layer.strides[0]
            return _local(layer, shape, source, size=size, stride=stride)
    raise BadPicture(
        f"the picture is too large to translate at once, and the layer {layer.name} "
        f"({type(layer).__name__}) cannot run in strips: choose a smaller `image_size`"
    )


def stream(network: keras.Model, pixels: np.ndarray, folder: str | os.PathLike) -> np.ndarray:
    """Translates one picture of any size in bounded memory.

    Besides the picture and its translation it needs about 0.7 GB of memory and, for the paper's
    generator, up to 200 bytes of temporary disk space per pixel.

    Args:
        network: a functional float32 generator of this package's layers.
        pixels: uint8 `[H, W, C]`, with sides that the network takes.
        folder: the folder for temporary files.

    Returns:
        uint8 `[H, W, C']`.

    Raises:
        BadPicture: a layer cannot run in strips.
        OSError: the disk is full.
    """
    steps = [layer for layer in network.layers if not isinstance(layer, layers.InputLayer)]
    readers = Counter(id(x) for layer in steps for x in keras.tree.flatten(layer.input))
    feeds_norm = {id(layer.input) for layer in steps if isinstance(layer, InstanceNormalization)}
    picture = _Stage(pixels.shape, lambda first, last: to_float(pixels[np.newaxis, first:last]))
    stages = {id(network.inputs[0]): picture}
    for layer in steps:
        inputs = keras.tree.flatten(layer.input)
        stage = _stage_of(layer, [stages[id(x)] for x in inputs])
        key = id(layer.output)
        # Read more than once, and not cheap to recompute from a kept stage.
        again = key in feeds_norm or len(inputs) > 1 or readers[key] > 1
        simple = len(inputs) == 1 and isinstance(layer, (InstanceNormalization, *_PER_PIXEL))
        values = np.prod(stage.shape, dtype=float) / np.prod(pixels.shape[:2])
        if again and not simple and key != id(network.outputs[0]) and values <= KEPT_VALUES:
            stage = _kept(stage, folder)
        stages[key] = stage
        for x in inputs:
            readers[id(x)] -= 1
            if not readers[id(x)]:
                del stages[id(x)]  # its file goes with its last reader
    drawn = stages[id(network.outputs[0])]
    result = np.empty(drawn.shape, np.uint8)
    for first, last, values in drawn.strips():
        result[first:last] = to_uint8(values[0])
    return result
