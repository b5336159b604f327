"""The layers that generators and discriminators are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import keras
from keras import KerasTensor, layers

from ..errors import InputError
from ..layers import (
    BatchNormalization,
    Cropping2D,
    Dropout,
    InstanceNormalization,
    LeakyReLU,
    NarrowConv2D,
    ReflectionPadding2D,
    ReplicationPadding2D,
    ResidualClip,
    ResidualTanh,
)

Norm = Literal["instance", "instance-affine", "batch", "none"]

#: How strided and transposed convolutions pad: PyTorch on all four sides, TensorFlow's "same" only
#: on the right and below.
Alignment = Literal["torch", "tensorflow"]


class LayerFactory:
    """Makes the layers of one network and applies them: names, dtype, norms and biases.

    Every method takes a tensor and returns the layer's output. `name` is the layer's name without
    its kind: `norm(x, "c1")` makes the layer `c1_norm`.

    Args:
        norm: the normalisation after each convolution.
        use_bias: whether convolutions before a norm have a bias. None means as in the reference:
            yes, unless the norm is a batch norm, which makes it pointless.
        epsilon: added to the variance in each norm.
        dtype: the dtype policy of every layer. None means Keras's global one.

    Example:
        >>> make = LayerFactory("instance", None, 1e-5, None)
        >>> x = make.conv(make.pad(images, 3, "c1", "reflect"), 64, 7, "c1")
        >>> x = make.norm_relu(x, "c1")
    """

    def __init__(self, norm: Norm, use_bias: bool | None, epsilon: float, dtype: str | None):
        check_choice("norm", norm, get_args(Norm))
        self.norm_kind = norm
        self.use_bias = norm != "batch" if use_bias is None else use_bias
        self.epsilon = epsilon
        self.dtype = dtype

    def conv(
        self, x: KerasTensor, filters: int, size: int, name: str, *,
        strides: int = 1, bias: bool | None = None, padding: Literal["valid", "same"] = "valid",
        start: keras.initializers.Initializer | None = None,
        penalty: keras.regularizers.Regularizer | None = None,
    ) -> KerasTensor:  # fmt: skip
        # NarrowConv2D makes 4 channels of each filter, and 8 filters fill a vector of 32 already.
        kind = NarrowConv2D if filters < 8 else layers.Conv2D
        settings = self._kernel(bias) | ({"kernel_initializer": start} if start else {})
        settings |= {"activity_regularizer": penalty} if penalty else {}
        return kind(filters, size, strides, padding, name=name, **settings)(x)

    def conv_transpose(
        self, x: KerasTensor, filters: int, size: int, name: str, bias: bool | None = None
    ) -> KerasTensor:
        return layers.Conv2DTranspose(filters, size, 2, name=name, **self._kernel(bias))(x)

    def _kernel(self, bias: bool | None) -> dict[str, Any]:
        return {
            "use_bias": self.use_bias if bias is None else bias,
            # A new initializer for each kernel: kernels that share one start equal.
            "kernel_initializer": keras.initializers.RandomNormal(stddev=0.02),
            "dtype": self.dtype,
        }

    def norm(self, x: KerasTensor, name: str) -> KerasTensor:
        if self.norm_kind == "none":
            return x
        settings: dict[str, Any] = {"name": f"{name}_norm", "dtype": self.dtype}
        settings["epsilon"] = self.epsilon
        if self.norm_kind == "batch":
            gamma = keras.initializers.RandomNormal(1.0, 0.02)
            return BatchNormalization(momentum=0.9, gamma_initializer=gamma, **settings)(x)
        return InstanceNormalization(affine=self.norm_kind == "instance-affine", **settings)(x)

    def relu(self, x: KerasTensor, name: str) -> KerasTensor:
        return layers.ReLU(name=f"{name}_relu", dtype=self.dtype)(x)

    def norm_relu(self, x: KerasTensor, name: str) -> KerasTensor:
        return self.relu(self.norm(x, name), name)

    def leaky_relu(self, x: KerasTensor, name: str) -> KerasTensor:
        return LeakyReLU(0.2, name=f"{name}_relu", dtype=self.dtype)(x)

    def pad(
        self, x: KerasTensor, padding: Any, name: str,
        mode: Literal["zero", "reflect", "replicate"] = "zero",
    ) -> KerasTensor:  # fmt: skip
        kind = {
            "zero": layers.ZeroPadding2D,
            "reflect": ReflectionPadding2D,
            "replicate": ReplicationPadding2D,
        }[mode]
        return kind(padding, name=f"{name}_pad", dtype=self.dtype)(x)

    def crop(self, x: KerasTensor, cropping: tuple, name: str) -> KerasTensor:
        return Cropping2D(cropping, name=f"{name}_crop", dtype=self.dtype)(x)

    def dropout(self, x: KerasTensor, rate: float, name: str) -> KerasTensor:
        return Dropout(rate, name=f"{name}_dropout", dtype=self.dtype)(x) if rate else x


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuses a setting that is none of its choices.

    Raises:
        InputError: naming the setting and the choices.
    """
    if value not in choices:
        known = f"{', '.join(choices[:-1])} or {choices[-1]}"
        raise InputError(f"{name}={value!r} is unknown: take {known}")


def check_padding(alignment: str, name: str, padding: str) -> None:
    """Refuses an unknown alignment or padding, and two that do not go together.

    Args:
        alignment: see `Alignment`.
        name: the padding's argument.
        padding: "zero" or "reflect".

    Raises:
        InputError: naming the setting.
    """
    check_choice("alignment", alignment, get_args(Alignment))
    check_choice(name, padding, ("zero", "reflect"))
    if alignment == "tensorflow" and padding == "reflect":
        raise InputError(f"alignment=tensorflow pads with zeros: take {name}=zero with it")


#: Whether a generator outputs the change to the picture: see `resnet_generator`.
Residual = bool | Literal["scaled", "clipped"]

#: How much of the input's contrast a generator with a scaled residual output keeps at change 0.
#: tanh(atanh(x)) is x, but it is not defined at white and black.
START = 0.97


def picture_output(x: KerasTensor, inputs: KerasTensor, residual: Residual) -> KerasTensor:
    """A generator's last layer, in float32: float16 has at most 8 steps for each grey level."""
    if residual not in (False, True, "scaled", "clipped"):
        raise InputError(
            f"residual_output={residual!r} is unknown: take False, True, scaled or clipped"
        )
    if not residual:
        return layers.Activation("tanh", name="tanh", dtype="float32")(x)
    if x.shape[-1] != inputs.shape[-1]:
        raise InputError(
            f"residual_output={residual} needs as many output channels as input channels"
        )
    if residual == "clipped":
        return ResidualClip(name="clip", dtype="float32")([x, inputs])
    scale = START if residual == "scaled" else None
    return ResidualTanh(scale, name="tanh", dtype="float32")([x, inputs])


def score_output(x: KerasTensor, sigmoid: bool = False, name: str | None = None) -> KerasTensor:
    """A discriminator's last layer, in float32: the losses square its output."""
    activation, usual = ("sigmoid", "probability") if sigmoid else ("linear", "logit")
    return layers.Activation(activation, name=name or usual, dtype="float32")(x)
