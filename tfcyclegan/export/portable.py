"""A generator in the operations that LiteRT's CPU delegate, XNNPACK, runs.

Operations that the delegate does not know run outside it and split the graph, with a copy of every
activation at each split. TensorFlow's mirror padding splits the paper's generator into 20 parts;
written as slices and a concatenation it makes 5.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from ..layers import Cropping2D, InstanceNormalization, NarrowConv2D, ReflectionPadding2D
from ..networks.twins import with_precision


class _SlicedReflection(ReflectionPadding2D):
    """Reflection padding as slices of one row or column each."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        p = self.padding
        above = [x[:, i : i + 1] for i in range(p, 0, -1)]
        below = [x[:, -i - 1 : -i] for i in range(1, p + 1)]
        x = tf.concat([*above, x, *below], axis=1)
        left = [x[:, :, i : i + 1] for i in range(p, 0, -1)]
        right = [x[:, :, -i - 1 : -i] for i in range(1, p + 1)]
        return tf.concat([*left, x, *right], axis=2)


class _PlainInstanceNormalization(InstanceNormalization):
    """Instance norm in operations that are all delegated."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.plain(x)


class _DepthToSpaceUpSampling(keras.layers.UpSampling2D):
    """Nearest-neighbour upsampling by 2: each pixel's channels four times, as a square."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        if (*self.size, self.interpolation, self.data_format) != (2, 2, "nearest", "channels_last"):
            return super().call(x)
        return tf.nn.depth_to_space(tf.concat([x] * 4, axis=3), 2)


_PORTABLE = {
    ReflectionPadding2D: _SlicedReflection,
    NarrowConv2D: keras.layers.Conv2D,
    Cropping2D: keras.layers.Cropping2D,
    InstanceNormalization: _PlainInstanceNormalization,
    keras.layers.UpSampling2D: _DepthToSpaceUpSampling,
}


def portable_twin(generator: keras.Model) -> keras.Model:
    """The same generator in float32 and delegated operations, with a copy of its weights.

    Args:
        generator: a functional model. Layers from elsewhere stay as they are.
    """

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        return _PORTABLE.get(type(layer), type(layer)).from_config(layer.get_config())

    wide = with_precision(generator, "float32")
    twin = keras.models.clone_model(wide, clone_function=clone)
    twin.set_weights(wide.get_weights())
    return twin
