"""The discriminators: PatchGAN and the 1×1 PatchGAN of pix2pix."""

from __future__ import annotations

from typing import Any, Literal

import keras

from ..errors import InputError
from .factory import Alignment, LayerFactory, Norm, check_padding, score_output


def patch_discriminator(
    image_size: int = 256,
    channels: int = 3,
    filters: int = 64,
    layers: int = 3,
    *,
    norm: Norm = "instance",
    use_bias: bool | None = None,
    padding: Literal["zero", "reflect"] = "zero",
    sigmoid: bool = False,
    alignment: Alignment = "torch",
    epsilon: float = 1e-5,
    dtype: str | None = None,
    name: str = "patch_discriminator",
) -> keras.Model:
    """The PatchGAN: one score for each of a picture's overlapping patches.

    C64-C128-C256-C512 in the paper's notation (section 7.2): 4×4 convolutions, `layers` of them of
    stride 2 and the last two of stride 1, leaky ReLU 0.2, no norm after the first. A score sees
    70×70 px with 3 layers, 34×34 with 2 and 16×16 with 1.

    Args:
        image_size: int, the pictures' side in training. Only checked: a picture that is too small
            has no patch.
        channels: int, channels of the pictures it reads.
        filters: int, channels after the first convolution. Default 64.
        layers: int, at least 1. Default 3.
        norm: see `resnet_generator`.
        use_bias: see `resnet_generator`. The first and last convolution always have one.
        padding: "zero" as in the paper (default), or "reflect" as in some imported models.
        sigmoid: bool, probabilities instead of logits, as in some imported models. Default False.
        alignment: "torch" (default: every convolution pads one pixel on each side), or
            "tensorflow": Keras's "same", which gives 32×32 scores for 256×256 px.
        epsilon: see `resnet_generator`.
        dtype: see `resnet_generator`.
        name: str.

    Returns:
        A functional `keras.Model`, `[N, H, W, channels]` → float32 `[N, h, w, 1]`, 30×30 for a
        picture of 256×256. 2,764,737 weights by default.

    Raises:
        InputError: `image_size` is too small for that many layers, or a setting is none of its
            choices.

    Example:
        >>> patch_discriminator()(tf.zeros((1, 256, 256, 3))).shape
        TensorShape([1, 30, 30, 1])
    """
    check_padding(alignment, "padding", padding)
    if image_size // 2**layers < 3:
        raise InputError(
            f"a discriminator of {layers} layers leaves no patch of {image_size} px: "
            f"take pictures of at least {3 * 2**layers} px or fewer layers"
        )
    make = LayerFactory(norm, use_bias, epsilon, dtype)
    inputs = keras.Input((None, None, channels), name="images")

    def conv(x: keras.KerasTensor, width: int, name: str, **settings: Any) -> keras.KerasTensor:
        if alignment == "tensorflow":
            # How much "same" pads depends on the picture's size, so Keras must do it.
            return make.conv(x, width, 4, name, padding="same", **settings)
        x = make.pad(x, 1, name, padding)
        return make.conv(x, width, 4, name, **settings)

    x = make.leaky_relu(conv(inputs, filters, "c1", strides=2, bias=True), "c1")
    for level in range(1, layers + 1):
        label, strides = f"c{level + 1}", 2 if level < layers else 1
        x = conv(x, filters * min(2**level, 8), label, strides=strides)
        x = make.leaky_relu(make.norm(x, label), label)
    return keras.Model(inputs, score_output(conv(x, 1, "score", bias=True), sigmoid), name=name)


def pixel_discriminator(
    channels: int = 3,
    filters: int = 64,
    *,
    norm: Norm = "instance",
    use_bias: bool | None = None,
    epsilon: float = 1e-5,
    dtype: str | None = None,
    name: str = "pixel_discriminator",
) -> keras.Model:
    """Scores every pixel by its colour only: 1×1 convolutions (the 1×1 PatchGAN of pix2pix).

    Args:
        channels: int, channels of the pictures it reads.
        filters: int, channels after the first convolution. Default 64.
        norm: see `resnet_generator`.
        use_bias: see `resnet_generator`. Here the last convolution follows it too.
        epsilon: see `resnet_generator`.
        dtype: see `resnet_generator`.
        name: str.

    Returns:
        A functional `keras.Model`, `[N, H, W, channels]` → float32 logits `[N, H, W, 1]`.

    Example:
        >>> pixel_discriminator()(tf.zeros((1, 64, 64, 3))).shape
        TensorShape([1, 64, 64, 1])
    """
    make = LayerFactory(norm, use_bias, epsilon, dtype)
    inputs = keras.Input((None, None, channels), name="images")
    x = make.leaky_relu(make.conv(inputs, filters, 1, "c1", bias=True), "c1")
    x = make.leaky_relu(make.norm(make.conv(x, filters * 2, 1, "c2"), "c2"), "c2")
    return keras.Model(inputs, score_output(make.conv(x, 1, 1, "score")), name=name)
