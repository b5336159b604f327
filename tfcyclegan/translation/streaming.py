"""Runs a generator on a picture of any size in bounded memory, with the untiled result.

Instance normalisation needs the mean and variance of each channel over the whole picture, so the
picture cannot be cut into independent tiles. Statistics from a downscaled copy gave 28 to 37 dB
against the untiled result, and statistics from some of the tiles 18 to 49 dB (two trained
generators, two photographs). A second correcting pass made it worse, because the statistics of
each layer depend on the layers before it.

Instead, the network is evaluated layer by layer in horizontal strips, and the statistics of an
instance norm are computed over all strips first. Layers that are expensive to recompute are kept
on disk. The result differs from the untiled one only by rounding, and there are no seams.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from ..data.preprocessing import to_float, to_uint8
from ..layers import Dropout, InstanceNormalization, LeakyReLU, ReflectionPadding2D, ResidualTanh
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

    def __init__(self, shape: tuple[int, int, int], *sources: _Stage):
        self.shape = shape
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


class _PerPixel(_Stage):
    """A pointwise layer, such as an activation, a sum, or batch norm at inference."""

    def __init__(self, layer: Callable, sources: list[_Stage], shape: tuple[int, int, int]):
        super().__init__(shape, *sources)
        self._layer, self._sources = layer, sources

    def rows(self, first: int, last: int) -> tf.Tensor:
        given = [source.rows(first, last) for source in self._sources]
        return self._layer(given if len(given) > 1 else given[0])


class _Normalised(_PerPixel):
    """Instance norm, with statistics computed over all strips first."""

    def __init__(self, layer: InstanceNormalization, source: _Stage):
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
        super().__init__(lambda values: values * scale + offset, [source], source.shape)


class _Padded(_Stage):
    """Reflection or zero padding."""

    def __init__(self, source: _Stage, amounts: tuple, mirror: bool):
        (self._top, bottom), self._sides = amounts
        height, width, channels = source.shape
        grown = (height + self._top + bottom, width + sum(self._sides), channels)
        super().__init__(grown, source)
        self._source, self._mirror = source, mirror

    def rows(self, first: int, last: int) -> tf.Tensor:
        height = self._source.shape[0]
        wanted = np.arange(first, last) - self._top
        inside = np.abs(wanted) if self._mirror else np.clip(wanted, 0, height - 1)
        inside = np.where(inside >= height, 2 * (height - 1) - inside, inside)
        start, stop = int(inside.min()), int(inside.max()) + 1
        values = tf.gather(self._source.rows(start, stop), inside - start, axis=1)
        if not self._mirror:
            real = (wanted >= 0) & (wanted < height)
            values = values * tf.constant(real.astype(np.float32)[:, np.newaxis, np.newaxis])
        mode = "REFLECT" if self._mirror else "CONSTANT"
        return tf.pad(values, [[0, 0], [0, 0], self._sides, [0, 0]], mode=mode)


class _Cropped(_Stage):
    def __init__(self, source: _Stage, amounts: tuple):
        (self._top, bottom), (self._left, right) = amounts
        height, width, channels = source.shape
        shrunk = (height - self._top - bottom, width - self._left - right, channels)
        super().__init__(shrunk, source)
        self._source = source

    def rows(self, first: int, last: int) -> tf.Tensor:
        values = self._source.rows(first + self._top, last + self._top)
        return values[:, :, self._left : self._left + self.shape[1]]


class _Convolved(_Stage):
    """A convolution without padding ("valid")."""

    def __init__(self, layer: layers.Conv2D, source: _Stage):
        self._size, self._stride = layer.kernel_size[0], layer.strides[0]
        height, width, _ = source.shape
        sides = [(side - self._size) // self._stride + 1 for side in (height, width)]
        super().__init__((*sides, layer.filters), source)
        self._layer, self._source = layer, source

    def rows(self, first: int, last: int) -> tf.Tensor:
        below = (last - 1) * self._stride + self._size
        return self._layer(self._source.rows(first * self._stride, below))


class _Grown(_Stage):
    """A transposed convolution ("valid"). Each input row contributes to `size` output rows."""

    def __init__(self, layer: layers.Conv2DTranspose, source: _Stage):
        self._size, self._stride = layer.kernel_size[0], layer.strides[0]
        height, width, _ = source.shape
        sides = [(side - 1) * self._stride + self._size for side in (height, width)]
        super().__init__((*sides, layer.filters), source)
        self._layer, self._source = layer, source

    def rows(self, first: int, last: int) -> tf.Tensor:
        above = max(0, -(-(first - self._size + 1) // self._stride))
        below = min(self._source.shape[0], (last - 1) // self._stride + 1)
        values = self._layer(self._source.rows(above, below))
        start = first - above * self._stride
        return values[:, start : start + last - first]


class _Repeated(_Stage):
    """Nearest-neighbour upsampling by an integer factor."""

    def __init__(self, layer: layers.UpSampling2D, source: _Stage):
        self._times, (height, width, channels) = layer.size[0], source.shape
        grown = (height * layer.size[0], width * layer.size[1], channels)
        super().__init__(grown, source)
        self._layer, self._source = layer, source

    def rows(self, first: int, last: int) -> tf.Tensor:
        above = first // self._times
        values = self._layer(self._source.rows(above, (last - 1) // self._times + 1))
        start = first - above * self._times
        return values[:, start : start + last - first]


#: Pointwise layers.
_PER_PIXEL = (
    layers.Activation, layers.Add, layers.BatchNormalization, layers.Concatenate, layers.ReLU,
    Dropout, LeakyReLU, ResidualTanh,
)  # fmt: skip


def _stage_of(layer: keras.layers.Layer, sources: list[_Stage]) -> _Stage:
    source = sources[0]
    if isinstance(layer, InstanceNormalization):
        return _Normalised(layer, source)
    if isinstance(layer, ReflectionPadding2D):
        return _Padded(source, ((layer.padding,) * 2,) * 2, mirror=True)
    if isinstance(layer, layers.ZeroPadding2D):
        return _Padded(source, layer.padding, mirror=False)
    if isinstance(layer, layers.Cropping2D):
        return _Cropped(source, layer.cropping)
    plain = getattr(layer, "padding", "valid") == "valid"
    if isinstance(layer, layers.Conv2DTranspose) and plain:
        return _Grown(layer, source)
    if isinstance(layer, layers.Conv2D) and plain and layer.dilation_rate == (1, 1):
        return _Convolved(layer, source)
    if isinstance(layer, layers.UpSampling2D) and layer.interpolation == "nearest":
        return _Repeated(layer, source)
    if isinstance(layer, _PER_PIXEL):
        channels = layer.output.shape[-1]
        return _PerPixel(layer, sources, (*source.shape[:2], channels))
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
    feeds_norm = {
        id(x)
        for layer in network.layers
        if isinstance(layer, InstanceNormalization)
        for x in _inputs(layer)
    }
    stages: dict[int, _Stage] = {id(network.inputs[0]): _Picture(pixels)}
    for layer in network.layers:
        if isinstance(layer, layers.InputLayer):
            continue
        inputs = _inputs(layer)
        stage = _stage_of(layer, [stages[id(x)] for x in inputs])
        key = id(layer.output)
        # Read more than once, and not cheap to recompute from a kept stage.
        again = key in feeds_norm or len(inputs) > 1 or readers[key] > 1
        simple = isinstance(stage, _PerPixel) and len(inputs) == 1
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
