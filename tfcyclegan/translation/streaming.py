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
    ReflectionPadding2D,
    ReplicationPadding2D,
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
        sources: the stages it is computed from.
    """

    def __init__(self, shape: Sequence[int], *sources: _Stage):
        self.shape, self.sources = tuple(shape), sources
        height, width, channels = shape
        # Computing a row also loads rows of all sources.
        behind = [source.row_bytes * source.shape[0] / height for source in sources]
        self.row_bytes: float = max([4.0 * width * channels, *behind])

    def rows(self, first: int, last: int) -> tf.Tensor:
        """float32 `[1, last - first, width, channels]`."""
        raise NotImplementedError

    def strips(self) -> Iterator[tuple[int, int, tf.Tensor]]:
        """All strips: first row, end row, values."""
        height = self.shape[0]
        step = max(1, int(STRIP_BYTES / self.row_bytes))
        for first in range(0, height, step):
            last = min(height, first + step)
            yield first, last, self.rows(first, last)


class _Picture(_Stage):
    """The input picture, uint8 in memory."""

    def __init__(self, pixels: np.ndarray):
        super().__init__(pixels.shape)
        self._pixels = pixels

    def rows(self, first: int, last: int) -> tf.Tensor:
        return to_float(self._pixels[np.newaxis, first:last])


class _Kept(_Stage):
    """The output of another stage in an unnamed file on disk."""

    def __init__(self, stage: _Stage, folder: str | os.PathLike[str]):
        super().__init__(stage.shape)
        self._row = 4 * stage.shape[1] * stage.shape[2]
        self._file = tempfile.TemporaryFile(dir=os.fspath(folder))  # noqa: SIM115 (open as long as this object)
        for _, _, values in stage.strips():
            self._file.write(values.numpy().data)

    def rows(self, first: int, last: int) -> tf.Tensor:
        self._file.seek(first * self._row)
        values = np.frombuffer(self._file.read((last - first) * self._row), np.float32)
        return tf.constant(values.reshape(1, last - first, *self.shape[1:]))


class _Local(_Stage):
    """A layer that computes row `r` from the `size` rows of its sources from `r * stride + top`."""

    def __init__(
        self,
        layer: Callable,
        shape: Sequence[int],
        *sources: _Stage,
        size: int = 1,
        stride: int = 1,
        top: int = 0,
    ):
        super().__init__(shape, *sources)
        self._layer, self._size, self._stride, self._top = layer, size, stride, top

    def rows(self, first: int, last: int) -> tf.Tensor:
        start = first * self._stride + self._top
        end = (last - 1) * self._stride + self._top + self._size
        given = [source.rows(start, end) for source in self.sources]
        return self._layer(given if len(given) > 1 else given[0])


class _Enlarged(_Stage):
    """A layer that adds each input row `r` to `size` output rows from `r * stride`."""

    def __init__(self, layer: keras.layers.Layer, source: _Stage, size: int, stride: int):
        super().__init__(_shape(layer, source), source)
        self._layer, self._size, self._stride = layer, size, stride

    def rows(self, first: int, last: int) -> tf.Tensor:
        source = self.sources[0]
        above = max(0, -(-(first - self._size + 1) // self._stride))
        below = min(source.shape[0], (last - 1) // self._stride + 1)
        start = first - above * self._stride
        return self._layer(source.rows(above, below))[:, start : start + last - first]


class _Padded(_Stage):
    """Padding by zeros, by reflection or by the edge."""

    def __init__(
        self,
        layer: keras.layers.Layer,
        source: _Stage,
        amounts: tuple,
        mode: Literal["zero", "reflect", "edge"],
    ):
        super().__init__(_shape(layer, source), source)
        known: Literal["reflect", "edge"] = "reflect" if mode == "reflect" else "edge"
        # For each row and column its index in the source, and 0 where it is zero, else 1.
        self._rows, self._columns = (
            np.pad(np.arange(side), amount, known)
            for side, amount in zip(source.shape, amounts, strict=False)
        )
        self._row_factors, self._column_factors = (
            np.pad(np.ones(side, np.float32), amount, "constant" if mode == "zero" else "edge")
            for side, amount in zip(source.shape, amounts, strict=False)
        )

    def rows(self, first: int, last: int) -> tf.Tensor:
        wanted = self._rows[first:last]
        start, end = int(wanted.min()), int(wanted.max()) + 1
        values = tf.gather(self.sources[0].rows(start, end), wanted - start, axis=1)
        values = tf.gather(values, self._columns, axis=2)
        return values * np.outer(self._row_factors[first:last], self._column_factors)[..., None]


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
    return _Local(lambda values: values * scale + offset, source.shape, source)


#: Pointwise layers.
_PER_PIXEL = (
    layers.Activation, layers.Add, layers.BatchNormalization, layers.Concatenate, layers.ReLU,
    Dropout, LeakyReLU, ResidualTanh,
)  # fmt: skip


def _shape(layer: keras.layers.Layer, source: _Stage) -> tuple[int, int, int]:
    return layer.compute_output_shape((1, *source.shape))[1:]


def _stage_of(layer: keras.layers.Layer, sources: list[_Stage]) -> _Stage:
    source = sources[0]
    if isinstance(layer, InstanceNormalization):
        return _normalized(layer, source)
    if isinstance(layer, _PER_PIXEL):
        return _Local(layer, (*source.shape[:2], layer.output.shape[-1]), *sources)
    if isinstance(layer, ReflectionPadding2D):
        repeats = isinstance(layer, ReplicationPadding2D)
        amounts = ((layer.padding,) * 2,) * 2
        return _Padded(layer, source, amounts, "edge" if repeats else "reflect")
    if isinstance(layer, layers.ZeroPadding2D):
        return _Padded(layer, source, layer.padding, "zero")
    if isinstance(layer, layers.Cropping2D):
        (top, _), (left, _) = layer.cropping
        columns = slice(left, left + _shape(layer, source)[1])
        return _Local(lambda x: x[:, :, columns], _shape(layer, source), source, top=top)
    if isinstance(layer, layers.UpSampling2D) and layer.interpolation == "nearest":
        return _Enlarged(layer, source, size=layer.size[0], stride=layer.size[0])
    if getattr(layer, "padding", None) == "valid":
        if isinstance(layer, layers.Conv2DTranspose):
            return _Enlarged(layer, source, layer.kernel_size[0], layer.strides[0])
        if isinstance(layer, layers.Conv2D) and layer.dilation_rate == (1, 1):
            shape, size, stride = _shape(layer, source), layer.kernel_size[0], layer.strides[0]
            return _Local(layer, shape, source, size=size, stride=stride)
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
    readers = Counter(id(x) for layer in network.layers for x in _inputs(layer))
    norms = [layer for layer in network.layers if isinstance(layer, InstanceNormalization)]
    feeds_norm = {id(layer.input) for layer in norms}
    stages: dict[int, _Stage] = {id(network.inputs[0]): _Picture(pixels)}
    for layer in network.layers:
        if isinstance(layer, layers.InputLayer):
            continue
        inputs = _inputs(layer)
        stage = _stage_of(layer, [stages[id(x)] for x in inputs])
        key = id(layer.output)
        # Read more than once, and not cheap to recompute from a kept stage.
        again = key in feeds_norm or len(inputs) > 1 or readers[key] > 1
        simple = len(inputs) == 1 and isinstance(layer, (InstanceNormalization, *_PER_PIXEL))
        values = np.prod(stage.shape, dtype=float) / np.prod(pixels.shape[:2])
        if again and not simple and key != id(network.outputs[0]) and values <= KEPT_VALUES:
            stage = _Kept(stage, folder)
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


def _inputs(layer: keras.layers.Layer) -> list[keras.KerasTensor]:
    if isinstance(layer, layers.InputLayer):
        return []
    return layer.input if isinstance(layer.input, list) else [layer.input]
