"""Layers that pad, crop and resize."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tfcyclegan")
class ReflectionPadding2D(keras.layers.Layer):
    """Pads height and width with the picture's own mirror image.

    The border row itself is not repeated, as in TensorFlow's `REFLECT` and PyTorch's
    `ReflectionPad2d`. The paper's generators pad this way: "reflection padding was used to reduce
    artifacts" (section 7.2).

    Args:
        padding: int, rows and columns to add on each side, fewer than the picture has. Default 1.

    Example:
        >>> ReflectionPadding2D(1)(tf.reshape(tf.range(9.0), (1, 3, 3, 1)))[0, :, :, 0]
        [[4, 3, 4, 5, 4], [1, 0, 1, 2, 1], [4, 3, 4, 5, 4], [7, 6, 7, 8, 7], [4, 3, 4, 5, 4]]
    """

    def __init__(self, padding: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.padding = padding

    def call(self, x: tf.Tensor) -> tf.Tensor:
        p = self.padding
        return tf.pad(x, [[0, 0], [p, p], [p, p], [0, 0]], mode="REFLECT")

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        batch, *sides, channels = input_shape
        return (batch, *(side and side + 2 * self.padding for side in sides), channels)

    def get_config(self) -> dict:
        return {**super().get_config(), "padding": self.padding}


@keras.saving.register_keras_serializable("tfcyclegan")
class ReplicationPadding2D(ReflectionPadding2D):
    """Pads height and width by repeating the border, as PyTorch's `ReplicationPad2d`.

    Args:
        padding: int, rows and columns to add on each side. Default 1.

    Example:
        >>> ReplicationPadding2D(1)(tf.reshape(tf.range(4.0), (1, 2, 2, 1)))[0, :, :, 0]
        [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    """

    def call(self, x: tf.Tensor) -> tf.Tensor:
        p = self.padding
        x = tf.concat([*[x[:, :1]] * p, x, *[x[:, -1:]] * p], axis=1)
        return tf.concat([*[x[:, :, :1]] * p, x, *[x[:, :, -1:]] * p], axis=2)


@keras.saving.register_keras_serializable("tfcyclegan")
class Cropping2D(keras.layers.Cropping2D):
    """Keras's cropping with a faster gradient: that of a slice, not of a strided slice."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        (above, below), (left, right) = self.cropping
        size = [-1, -1, -1, -1]  # as many as are left
        for axis, amount, ends in ((1, above + below, below), (2, left + right, right)):
            if ends:
                size[axis] = (x.shape[axis] or tf.shape(x)[axis]) - amount
        cropped = tf.slice(x, [0, above, left, 0], size)
        cropped.set_shape(self.compute_output_shape(x.shape))
        return cropped


@keras.saving.register_keras_serializable("tfcyclegan")
class ResizeLike(keras.layers.Layer):
    """Resizes feature maps to the height and width of others, by bilinear interpolation.

    The input is a pair `[N, H, W, C]`, `[N, h, w, D]`, and the output is `[N, h, w, C]`.
    """

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        x, like = inputs
        return tf.cast(tf.image.resize(x, tf.shape(like)[1:3]), x.dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        (batch, _, _, channels), (_, height, width, _) = input_shape
        return batch, height, width, channels
