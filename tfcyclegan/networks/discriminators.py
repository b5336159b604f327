"""The discriminators: PatchGAN and the 1×1 PatchGAN of pix2pix."""

from __future__ import annotations

from typing import Any, Literal

import keras

from .factory import Alignment, LayerFactory, Norm, check_alignment, score_output


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

    C64-C128-C256-C512 in the paper's notation (section 7.2): 4×4 convolutions, stride 2 for
    `layers` of them and 1 for the last two, leaky ReLU 0.2, no norm after the first.
    With 3 layers a score sees 70×70 px, with 2 it sees 34×34, with 1 it sees 16×16.

    Args:
        image_size: int, only checked: a picture that is too small leaves no patch.
        channels: int, channels of the pictures it reads.
        filters: int, channels after the first convolution. Default 64.
        layers: int, at least 1. Default 3.
        norm: see `resnet_generator`.
        use_bias: see `resnet_generator`. The first and last convolution always have one.
        padding: "zero" as in the paper (default), or "reflect" as in some models trained elsewhere.
        sigmoid: bool, probabilities instead of logits, as in those. Default False.
        alignment: "torch" (default: one pixel of padding on each side of every convolution), or
            "tensorflow": Keras's "same", which leaves 32×32 scores of 256×256 px.
        epsilon: see `resnet_generator`.
        dtype: see `resnet_generator`. The scores are float32 whatever it is.
        name: str.

    Returns:
        A functional `keras.Model`, `[N, H, W, channels]` → float32 `[N, h, w, 1]`, 30×30 for a
        picture of 256×256. 2,764,737 weights by default.

    Raises:
        ValueError: `image_size` is too small for that many layers, or a setting is outside of
            the choices.

    Example:
        >>> patch_discriminator()(tf.zeros((1, 256, 256, 3))).shape
        TensorShape([1, 30, 30, 1])
    """
    if padding not in ("zero", "reflect"):
        raise ValueError(f"padding={padding!r} is unknown: take zero or reflect")
    if image_size // 2**layers < 3:
        raise ValueError(
            f"a discriminator of {layers} layers leaves no patch of {image_size} px: "
            f"take pictures of at least {3 * 2**layers} px or fewer layers"
        )
    check_alignment(alignment, padding)
    make = LayerFactory(norm, use_bias, epsilon, dtype)
    inputs = keras.Input((None, None, channels), name="images")

    def conv(x: keras.KerasTensor, filters: int, name: str, **settings: Any) -> keras.KerasTensor:
        if alignment == "tensorflow":
            # Keras's own padding: its amount depends on the picture's size.
            return make.conv(filters, 4, name, padding="same", **settings)(x)
        x = make.pad(1, name, reflect=padding == "reflect")(x)
        return make.conv(filters, 4, name, **settings)(x)

    x = inputs
    for level in range(layers + 1):
        label = f"c{level + 1}"
        x = conv(
            x,
            filters * min(2**level, 8),
            label,
            strides=2 if level < layers else 1,
            bias=True if level == 0 else None,
        )
        if level > 0:
            x = make.norm(label)(x)
        x = make.leaky_relu(label)(x)
    x = conv(x, 1, "score", bias=True)
    return keras.Model(inputs, score_output(x, sigmoid), name=name)


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
        use_bias: see `resnet_generator`; here it holds for the last convolution too.
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
    x = make.leaky_relu("c1")(make.conv(filters, 1, "c1", bias=True)(inputs))
    x = make.norm("c2")(make.conv(filters * 2, 1, "c2")(x))
    x = make.conv(1, 1, "score")(make.leaky_relu("c2")(x))
    return keras.Model(inputs, score_output(x), name=name)
