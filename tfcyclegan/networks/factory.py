"""The layers of generators and discriminators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import keras
from keras import layers

from ..layers import (
    BatchNormalization,
    Cropping2D,
    Dropout,
    InstanceNormalization,
    LeakyReLU,
    NarrowConv2D,
    ReflectionPadding2D,
    ResidualTanh,
)

Norm = Literal["instance", "instance-affine", "batch", "none"]


#: How strided convolutions pad: PyTorch on both sides, TensorFlow's "same" on the far side.
Alignment = Literal["torch", "tensorflow"]


Layer = Callable[[keras.KerasTensor], keras.KerasTensor]


class LayerFactory:
    """Makes the layers of one network: names, dtype, norms and biases.

    Args:
        norm: which normalisation follows a convolution.
        use_bias: whether convolutions that a norm follows have a bias; None means as in the
            reference, whose convolutions have one unless a batch norm makes it pointless.
        epsilon: what the norms add to a variance.
        dtype: the dtype policy of every layer; None means Keras's global one.
    """

    def __init__(self, norm: Norm, use_bias: bool | None, epsilon: float, dtype: str | None):
        if norm not in ("instance", "instance-affine", "batch", "none"):
            raise ValueError(
                f"norm={norm!r} is unknown: take instance, instance-affine, batch or none"
            )
        self.norm_kind = norm
        self.use_bias = norm != "batch" if use_bias is None else use_bias
        self.epsilon = epsilon
        self.dtype = dtype

    def conv(
        self,
        filters: int,
        size: int,
        name: str,
        strides: int = 1,
        bias: bool | None = None,
        padding: Literal["valid", "same"] = "valid",
    ) -> layers.Conv2D:
        # Of fewer than 8 filters, four copies still fit a vector of 32.
        kind = NarrowConv2D if filters < 8 else layers.Conv2D
        return kind(
            filters,
            size,
            strides,
            padding,
            use_bias=self.use_bias if bias is None else bias,
            # Each kernel needs its own initializer: a shared one gives them all the same numbers.
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
            name=name,
            dtype=self.dtype,
        )

    def conv_transpose(
        self, filters: int, size: int, name: str, bias: bool | None = None
    ) -> layers.Conv2DTranspose:
        return layers.Conv2DTranspose(
            filters,
            size,
            strides=2,
            use_bias=self.use_bias if bias is None else bias,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
            name=name,
            dtype=self.dtype,
        )

    def norm(self, name: str) -> Layer:
        if self.norm_kind == "none":
            return lambda x: x
        if self.norm_kind == "batch":
            return BatchNormalization(
                momentum=0.9,
                epsilon=self.epsilon,
                gamma_initializer=keras.initializers.RandomNormal(1.0, 0.02),
                name=f"{name}_norm",
                dtype=self.dtype,
            )
        affine = self.norm_kind == "instance-affine"
        return InstanceNormalization(
            self.epsilon, affine=affine, name=f"{name}_norm", dtype=self.dtype
        )

    def pad(self, padding: Any, name: str, reflect: bool) -> layers.Layer:
        kind = ReflectionPadding2D if reflect else layers.ZeroPadding2D
        return kind(padding, name=f"{name}_pad", dtype=self.dtype)

    def crop(self, cropping: tuple, name: str) -> layers.Layer:
        return Cropping2D(cropping, name=f"{name}_crop", dtype=self.dtype)

    def relu(self, name: str) -> layers.Layer:
        return layers.ReLU(name=f"{name}_relu", dtype=self.dtype)

    def leaky_relu(self, name: str) -> layers.Layer:
        return LeakyReLU(0.2, name=f"{name}_relu", dtype=self.dtype)

    def dropout(self, rate: float, name: str) -> Layer:
        if not rate:
            return lambda x: x
        return Dropout(rate, name=f"{name}_dropout", dtype=self.dtype)


def check_alignment(alignment: str, padding: str) -> None:
    if alignment not in ("torch", "tensorflow"):
        raise ValueError(f"alignment={alignment!r} is unknown: take torch or tensorflow")
    if alignment == "tensorflow" and padding == "reflect":
        raise ValueError("alignment='tensorflow' pads with zeros: take padding zero with it")


def picture_output(
    x: keras.KerasTensor, inputs: keras.KerasTensor, residual: bool
) -> keras.KerasTensor:
    """A generator's last layer, in float32: float16 has at most 8 steps for each grey level."""
    if residual:
        if x.shape[-1] != inputs.shape[-1]:
            raise ValueError("residual_output needs as many output channels as input channels")
        return ResidualTanh(name="tanh", dtype="float32")([x, inputs])
    return layers.Activation("tanh", name="tanh", dtype="float32")(x)


def score_output(x: keras.KerasTensor, sigmoid: bool = False) -> keras.KerasTensor:
    """A discriminator's last layer, in float32: the losses square its output."""
    if sigmoid:
        return layers.Activation("sigmoid", name="probability", dtype="float32")(x)
    return layers.Activation("linear", name="logit", dtype="float32")(x)
