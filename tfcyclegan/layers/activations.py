"""Activations, and a penalty of what goes into one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tfcyclegan")
class LeakyReLU(keras.layers.Layer):
    """`max(x, slope * x)`, the discriminators' activation.

    Keras's layer gives the same numbers, but its TensorFlow operation makes the graph optimizer of
    2.20 and 2.21 give up on a training step, with an error in the log.

    Args:
        slope: float in [0, 1), slope of the negative side. Default 0.2 (section 7.2).
    """

    def __init__(self, slope: float = 0.2, **kwargs: Any):
        super().__init__(**kwargs)
        self.slope = slope

    def call(self, x: tf.Tensor) -> tf.Tensor:
        @tf.custom_gradient
        def leaky_relu(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
            y = tf.maximum(x, self.slope * x)

            def gradient(dy: tf.Tensor) -> tf.Tensor:
                # The output has the sign of the input, so the input need not be kept.
                return tf.raw_ops.LeakyReluGrad(gradients=dy, features=y, alpha=self.slope)

            return y, gradient

        return leaky_relu(x)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        return {**super().get_config(), "slope": self.slope}


@keras.saving.register_keras_serializable("tfcyclegan")
class ResidualTanh(keras.layers.Layer):
    """`tanh(change + picture)`: the generator outputs the change, not the whole picture.

    The paper does not do this. The recipe for the embedded data set does: the generator then starts
    close to its input, and does not have to learn to copy it.

    The input is a pair `(change, picture)`, both `[N, H, W, C]`. The output is float32 in (-1, 1).

    Args:
        scale: float in (0, 1). The output is then `tanh(change + atanh(scale * picture))`, which is
            `scale * picture` at change 0, while `tanh(picture)` has less contrast. Default None.
    """

    def __init__(self, scale: float | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        change, picture = inputs
        if self.scale is not None:
            # atanh in logarithms, which LiteRT has.
            part = self.scale * picture
            picture = 0.5 * (tf.math.log(1.0 + part) - tf.math.log(1.0 - part))
        return tf.tanh(change + picture)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return tuple(input_shape[0])

    def get_config(self) -> dict:
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable("tfcyclegan")
class MeanSquare(keras.regularizers.Regularizer):
    """An activity regularizer: a weight times the mean square of a layer's output.

    Args:
        weight: float.
    """

    def __init__(self, weight: float):
        self.weight = weight

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        square = tf.reduce_mean(tf.square(tf.cast(x, tf.float32)))
        return self.weight * square * tf.cast(tf.shape(x)[0], tf.float32)  # Keras divides by it

    def get_config(self) -> dict:
        return {"weight": self.weight}


@keras.saving.register_keras_serializable("tfcyclegan")
class ResidualClip(keras.layers.Layer):
    """`change + picture`, clipped to [-1, 1]: the generator outputs the change.

    A change of 0 gives the picture itself. The gradient passes as if nothing were clipped, except
    where it would move a pixel further out. So the whites and blacks of a picture are as easy to
    change as its greys, and a pixel that was driven to black can come back; a tanh has almost no
    gradient there.

    The input is a pair `(change, picture)`, both `[N, H, W, C]`.
    """

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        @tf.custom_gradient
        def clip(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
            def gradient(dy: tf.Tensor) -> tf.Tensor:
                further_out = tf.logical_or((x > 1) & (dy < 0), (x < -1) & (dy > 0))
                return tf.where(further_out, tf.zeros_like(dy), dy)

            return tf.clip_by_value(x, -1.0, 1.0), gradient

        change, picture = inputs
        return clip(change + picture)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return tuple(input_shape[0])
