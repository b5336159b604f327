"""The generator of pix2pix."""

from __future__ import annotations

import keras
from keras import layers

from ..errors import InputError
from .factory import LayerFactory, Norm, Residual, picture_output


def default_depth(image_size: int) -> int:
    """Halvings of a U-Net: as many as lead to one pixel, but at least 5 and at most 8."""
    return max(5, min(8, image_size.bit_length() - 1))


def unet_generator(
    image_size: int = 256,
    channels: int = 3,
    filters: int = 64,
    *,
    output_channels: int | None = None,
    depth: int | None = None,
    norm: Norm = "instance",
    use_bias: bool | None = None,
    dropout: float = 0.0,
    residual_output: Residual = False,
    epsilon: float = 1e-5,
    dtype: str | None = None,
    name: str = "unet_generator",
) -> keras.Model:
    """The generator of pix2pix: halves the picture to one pixel and back, with skips at each size.

    4×4 convolutions of stride 2 down, transposed ones up, filters × (1, 2, 4, 8, 8, …), leaky
    ReLU 0.2 on the way down and ReLU on the way up, tanh at the end (Isola et al., CVPR 2017,
    and the reference's `unet_256` and `unet_128`).

    Args:
        image_size: int, the pictures' side in training. Only sets the default of `depth`.
        channels: int, channels of the domain it reads.
        filters: int, channels after the first convolution. Default 64.
        output_channels: int, channels of the output domain. Default: `channels`.
        depth: int, halvings, at least 5. Default: as many as lead from `image_size` to one pixel,
            at most 8 (256 px). Height and width must be multiples of 2**depth.
        norm: see `resnet_generator`.
        use_bias: see `resnet_generator`. The last convolution always has a bias.
        dropout: float, rate on the way up in the layers of 8 × filters, except the innermost.
            Default 0.
        residual_output: see `resnet_generator`.
        epsilon: see `resnet_generator`.
        dtype: see `resnet_generator`.
        name: str.

    Returns:
        A functional `keras.Model`, `[N, H, W, channels]` → float32 `[N, H, W, output_channels]`.

    Raises:
        InputError: a depth below 5, or a setting that is none of its choices.

    Example:
        >>> unet_generator(128)(tf.zeros((1, 128, 128, 3))).shape
        TensorShape([1, 128, 128, 3])
    """
    depth = default_depth(image_size) if depth is None else depth
    if depth < 5:
        raise InputError(f"depth={depth}: a U-Net needs at least 5 halvings")
    make = LayerFactory(norm, use_bias, epsilon, dtype)
    inputs = keras.Input((None, None, channels), name="images")
    widths = [filters * min(2**level, 8) for level in range(depth)]

    x, skips = inputs, []
    for level, width in enumerate(widths):
        label = f"down{level + 1}"
        outermost, innermost = level == 0, level == depth - 1
        if not outermost:
            x = make.leaky_relu(x, label)
        x = make.pad(x, 1, label)
        x = make.conv(x, width, 4, label, strides=2)
        if not outermost and not innermost:
            x = make.norm(x, label)
        skips.append(x)

    for level in reversed(range(depth)):
        label = f"up{level + 1}"
        outermost, innermost = level == 0, level == depth - 1
        if not innermost:
            x = layers.Concatenate(name=f"{label}_skip", dtype=dtype)([skips[level], x])
        x = make.relu(x, label)
        width = (output_channels or channels) if outermost else widths[level - 1]
        x = make.conv_transpose(x, width, 4, label, bias=True if outermost else None)
        x = make.crop(x, ((1, 1), (1, 1)), label)
        if not outermost:
            x = make.norm(x, label)
            # As in the reference: the middle layers of 8 × filters, not the innermost one.
            x = make.dropout(x, dropout if 3 < level < depth - 1 else 0, label)
    return keras.Model(inputs, picture_output(x, inputs, residual_output), name=name)
