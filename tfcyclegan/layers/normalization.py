"""Normalisation of pictures, pixels and batches."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import keras
import tensorflow as tf

_WITHOUT_XLA = ContextVar("without_xla", default=False)


@keras.saving.register_keras_serializable("tfcyclegan")
class InstanceNormalization(keras.layers.Layer):
    """Normalises every channel of every picture to mean 0 and variance 1 over its pixels.

    Input and output are `[N, H, W, C]`. Statistics are those of the picture itself, in training and
    in inference. They are computed in float32: a float16 variance overflows from activations of 256
    upwards. In float32 the outputs are exact to 3e-5 of their size, also for pictures of 1,024 px
    and for channels that are nearly constant.

    Args:
        epsilon: float, added to the variance. Default 1e-5, as in PyTorch and the reference
            (tensorflow-addons had 1e-3).
        affine: bool, whether to scale each channel by a learned `gamma` and shift it by a learned
            `beta`. Default False, as in the reference.

    Example:
        >>> y = InstanceNormalization()(tf.random.normal((2, 8, 8, 3), mean=5.0))
        >>> tf.reduce_mean(y, axis=[1, 2])  # zeros
    """

    def __init__(self, epsilon: float = 1e-5, affine: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.affine = affine

    def build(self, input_shape: tuple) -> None:
        if self.affine:
            channels = (input_shape[-1],)
            self.gamma = self.add_weight(name="gamma", shape=channels, initializer="ones")
            self.beta = self.add_weight(name="beta", shape=channels, initializer="zeros")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        # Batch norm of a single picture is instance norm, and TensorFlow's kernels for it take half
        # of the time on a CPU. (On an H100 one picture at a time took 1.7 times as long.) Their
        # second gradient is inexact: the gradient penalty uses a batch of unknown size.
        if None in (x.shape[0], x.shape[3]) or tf.config.list_physical_devices("GPU"):
            return self.plain(x)
        normalize = self._normalize if x.dtype == tf.float32 else self._normalize_16_bits
        if x.shape[0] == 1:
            return normalize(x)
        return tf.concat([normalize(picture) for picture in tf.split(x, x.shape[0])], 0)

    def plain(self, x: tf.Tensor) -> tf.Tensor:
        """The same in operations that can be differentiated twice and exported to LiteRT."""
        wide = tf.cast(x, tf.float32)
        wide -= tf.stop_gradient(_average(wide))
        wide -= _average(wide)
        y = wide * tf.math.rsqrt(_average(tf.square(wide)) + self.epsilon)
        if self.affine:
            y = y * tf.cast(self.gamma, tf.float32) + tf.cast(self.beta, tf.float32)
        return tf.cast(y, x.dtype)

    def _normalize(self, picture: tf.Tensor) -> tf.Tensor:
        """One picture, by the kernels that apply and differentiate a batch norm."""

        @tf.custom_gradient
        def normalize(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
            x -= _average(x)
            mean = _average(x)
            variance = tf.maximum(_mean_square(x) - mean**2, 0.0)
            mean, variance = tf.reshape(mean, [-1]), tf.reshape(variance, [-1])
            ones, zeros = tf.ones([x.shape[3]]), tf.zeros([x.shape[3]])

            def gradient(dy: tf.Tensor) -> tf.Tensor:
                return tf.raw_ops.FusedBatchNormGradV3(
                    y_backprop=dy, x=x, scale=ones, reserve_space_1=mean, reserve_space_2=variance,
                    reserve_space_3=tf.zeros([0]), epsilon=self.epsilon,
                ).x_backprop  # fmt: skip

            y = tf.raw_ops.FusedBatchNormV3(
                x=x, scale=ones, offset=zeros, mean=mean, variance=variance,
                epsilon=self.epsilon, is_training=False,
            ).y  # fmt: skip
            return y, gradient

        y = normalize(picture)
        return y * self.gamma + self.beta if self.affine else y

    def _normalize_16_bits(self, picture: tf.Tensor) -> tf.Tensor:
        """One picture. The kernel's own sums lose digits of a float32, but not of 16 bits."""
        gamma = tf.cast(self.gamma, tf.float32) if self.affine else tf.ones([picture.shape[3]])
        beta = tf.cast(self.beta, tf.float32) if self.affine else tf.zeros([picture.shape[3]])
        return tf.raw_ops.FusedBatchNormV3(
            x=picture, scale=gamma, offset=beta, mean=[], variance=[], epsilon=self.epsilon
        ).y

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        return {**super().get_config(), "epsilon": self.epsilon, "affine": self.affine}


@keras.saving.register_keras_serializable("tfcyclegan")
class PixelNormalization(keras.layers.Layer):
    """Divides each pixel by the root mean square of its channels, then scales each channel.

    Pixels do not depend on each other. The mean square is computed in float32.

    Args:
        epsilon: float, added to the mean square. Default 1e-4.

    Example:
        >>> PixelNormalization()(tf.constant([[[[3.0, 4.0]]]]))
        [[[[0.85, 1.13]]]]
    """

    def __init__(self, epsilon: float = 1e-4, **kwargs: Any):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: tuple) -> None:
        self.gamma = self.add_weight(name="gamma", shape=(input_shape[-1],), initializer="ones")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        wide = tf.cast(x, tf.float32)
        square = tf.reduce_mean(tf.square(wide), axis=3, keepdims=True)
        wide *= tf.math.rsqrt(square + self.epsilon)
        return tf.cast(wide * tf.cast(self.gamma, tf.float32), x.dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable("tfcyclegan")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch norm, with moving averages that are averaged over all replicas.

    In Keras's layer each replica keeps the moving averages of its own pictures. In training each
    replica normalises with the statistics of its own pictures, here as in Keras.
    """

    def add_weight(self, *args: Any, **kwargs: Any) -> keras.Variable:
        if not kwargs.get("trainable", True):
            kwargs["aggregation"] = "mean"
        return super().add_weight(*args, **kwargs)


def _average(x: tf.Tensor) -> tf.Tensor:
    """The mean over height and width. One sum over 1,024 x 1,024 pixels would lose digits."""
    return tf.reduce_mean(tf.reduce_mean(x, 2, keepdims=True), 1, keepdims=True)


def _mean_square(x: tf.Tensor) -> tf.Tensor:
    """The mean of the squares over height and width."""
    if not _WITHOUT_XLA.get():
        return _average(tf.square(x))
    # One pass over memory less.
    rows = tf.raw_ops.EuclideanNorm(input=x, axis=2, keep_dims=True)
    norm = tf.raw_ops.EuclideanNorm(input=rows, axis=1, keep_dims=True)
    return norm**2 / tf.cast(tf.shape(x)[1] * tf.shape(x)[2], tf.float32)


@contextlib.contextmanager
def without_xla() -> Iterator[None]:
    """Allows the layers called inside to use kernels that XLA does not have."""
    token = _WITHOUT_XLA.set(True)
    try:
        yield
    finally:
        _WITHOUT_XLA.reset(token)
