"""Layers that Keras lacks, or that are faster or more exact than Keras's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import keras
import tensorflow as tf

from .distributed.replicas import replica_id

_WITHOUT_XLA = ContextVar("without_xla", default=False)


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


@keras.saving.register_keras_serializable("tfcyclegan")
class NarrowConv2D(keras.layers.Conv2D):
    """Keras's convolution, faster with few filters, as in the generators' last layer.

    Three filters fill a fifth of a vector register. So this layer computes the four pixels of a 2×2
    square as channels of one pixel, with four shifted copies of the kernel, and rearranges them: a
    third more arithmetic in less than half of the time. The sums are the same.

    This works without padding and strides, and if the output's height and width are known and even.
    Otherwise it computes as Keras's layer does.
    """

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        simple = (
            self.padding == "valid"
            and self.strides == self.dilation_rate == (1, 1)
            and self.groups == 1
            and self.data_format == "channels_last"
        )
        sides = zip(inputs.shape[1:3], self.kernel_size, strict=True)
        if not simple or any(side is None or (side - size) % 2 == 0 for side, size in sides):
            return super().convolution_op(inputs, kernel)
        shifted = [
            tf.pad(kernel, [[down, 1 - down], [right, 1 - right], [0, 0], [0, 0]])
            for down in (0, 1)
            for right in (0, 1)
        ]
        return tf.nn.depth_to_space(tf.nn.conv2d(inputs, tf.concat(shifted, 3), 2, "VALID"), 2)


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
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch norm, with moving averages that are averaged over all replicas.

    In Keras's layer each replica keeps the moving averages of its own pictures. In training each
    replica normalises with the statistics of its own pictures, here as in Keras.
    """

    def add_weight(self, *args: Any, **kwargs: Any) -> keras.Variable:
        if not kwargs.get("trainable", True):
            kwargs["aggregation"] = "mean"
        return super().add_weight(*args, **kwargs)


@keras.saving.register_keras_serializable("tfcyclegan")
class Dropout(keras.layers.Dropout):
    """Keras's dropout, which also saves the state of its random generator.

    Keras does not save it: a loaded model would draw other masks than the saved one, and training
    could not resume exactly. All replicas share the state, and each draws a mask of its own.
    """

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or self.rate == 0:
            return inputs
        state = tf.cast(self.seed_generator.next(), tf.int64)
        state += tf.stack([65_536 * tf.cast(replica_id(), tf.int64), 0])
        seed = tf.cast(state % (tf.int32.max - 1), tf.int32)  # XLA takes int32, as in Keras
        return tf.nn.experimental.stateless_dropout(
            inputs, rate=self.rate, noise_shape=self.noise_shape, seed=seed
        )

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        if self.rate > 0:
            store["seed_generator_state"] = keras.ops.convert_to_numpy(self.seed_generator.state)

    def load_own_variables(self, store: Any) -> None:
        if self.rate > 0:
            self.seed_generator.state.assign(store["seed_generator_state"])


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
