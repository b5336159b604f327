"""The paper's generator (section 7.2)."""

from __future__ import annotations

from typing import Literal

import keras
from keras import layers

from .factory import (
    Alignment,
    LayerFactory,
    Norm,
    Residual,
    check_choice,
    check_padding,
    picture_output,
)


def default_blocks(image_size: int) -> int:
    """The paper's number of residual blocks: 9 from 256 px upwards, 6 below (section 7.2)."""
    return 9 if image_size >= 256 else 6


def resnet_generator(
    image_size: int = 256,
    channels: int = 3,
    filters: int = 64,
    blocks: int | None = None,
    *,
    output_channels: int | None = None,
    norm: Norm = "instance",
    use_bias: bool | None = None,
    upsampling: Literal["transposed", "resize"] = "transposed",
    dropout: float = 0.0,
    residual_output: Residual = False,
    bare_first: bool = False,
    downsampling_padding: Literal["zero", "reflect"] = "zero",
    block_padding: Literal["reflect", "replicate"] = "reflect",
    alignment: Alignment = "torch",
    epsilon: float = 1e-5,
    dtype: str | None = None,
    name: str = "resnet_generator",
) -> keras.Model:
    """The paper's generator, after Johnson et al.: shrink, residual blocks, grow.

    In the paper's notation c7s1-64, d128, d256, R256 × blocks, u128, u64, c7s1-3 (section 7.2).
    A norm and a ReLU follow every convolution except the last, which tanh follows. The convolutions
    of stride 1 pad by reflection. Kernels start from N(0, 0.02). Height and width of the pictures
    must be multiples of 4.

    Args:
        image_size: int, the pictures' side in training. Only sets the default of `blocks`.
        channels: int, channels of the domain it reads: 3 for RGB, 1 for grey.
        filters: int, channels after the first convolution. Default 64.
        blocks: int, residual blocks. Default 9 from 256 px upwards, 6 below.
        output_channels: int, channels of the output domain. Default: `channels`.
        norm: "instance" (no learned scale; default), "instance-affine", "batch" or "none".
        use_bias: bool, whether convolutions before a norm have a bias. Default: yes, unless norm
            is "batch" (the reference). The last convolution always has one.
        upsampling: "transposed" convolution as in the paper (default), or "resize": nearest
            neighbour and a 3×3 convolution, which avoids checkerboards (Odena et al. 2016).
        dropout: float, rate between the two convolutions of a block. Default 0.
        residual_output: True: the output is tanh(change + picture), with less contrast than the
            picture where the change is 0. "scaled": it is tanh(change + atanh(0.97 picture)), which
            is 0.97 of the picture there. "clipped": it is change + picture, clipped to [-1, 1]; see
            `tfcyclegan.layers.ResidualClip`. Default False, as in the paper: tanh of the last
            layer.
        bare_first: bool, whether to leave out the norm and the ReLU after the first convolution,
            as in some imported models. Default False.
        downsampling_padding: "zero" as in the paper (default), or "reflect" as in some imported
            models.
        block_padding: how the residual blocks pad: "reflect" as in the paper (default), or
            "replicate" as in some imported models.
        alignment: how strided and transposed convolutions pad: "torch" (default: one pixel on
            each side, as in the reference), or "tensorflow" (one on the right and below: Keras's
            "same" for even sides).
        epsilon: float, added to the variance in each norm. Default 1e-5, as in PyTorch
            (tensorflow-addons had 1e-3).
        dtype: a Keras dtype policy for its layers. Default: the global one. The output is always
            float32.
        name: str.

    Returns:
        A functional `keras.Model`, `[N, H, W, channels]` → float32 `[N, H, W, output_channels]`.
        11,378,179 weights with 9 blocks and 7,837,699 with 6, with defaults otherwise.

    Raises:
        InputError: a setting that is none of the choices above.

    Example:
        >>> G = resnet_generator(image_size=256)
        >>> G(tf.zeros((1, 256, 256, 3))).shape
        TensorShape([1, 256, 256, 3])
    """
    blocks = default_blocks(image_size) if blocks is None else blocks
    check_choice("upsampling", upsampling, ("transposed", "resize"))
    check_choice("block_padding", block_padding, ("reflect", "replicate"))
    check_padding(alignment, "downsampling_padding", downsampling_padding)
    make = LayerFactory(norm, use_bias, epsilon, dtype)
    # Rows (and columns) before and behind: `padded` are added, `surplus` are cut off after a
    # transposed convolution. PyTorch's padding 1 with output padding 1 is the full result less its
    # first row and column; TensorFlow's "same" cuts off the last ones.
    padded, surplus = ((1, 1), (1, 0)) if alignment == "torch" else ((0, 1), (0, 1))
    inputs = keras.Input((None, None, channels), name="images")

    def reflected_conv(
        x: keras.KerasTensor, width: int, size: int, name: str, bias: bool | None = None,
        mode: Literal["reflect", "replicate"] = "reflect",
    ) -> keras.KerasTensor:  # fmt: skip
        """A convolution of stride 1 that keeps the picture's size."""
        return make.conv(make.pad(x, size // 2, name, mode), width, size, name, bias=bias)

    if bare_first:
        x = reflected_conv(inputs, filters, 7, "c7_in", bias=True)
    else:
        x = make.norm_relu(reflected_conv(inputs, filters, 7, "c7_in"), "c7_in")

    for level in (1, 2):
        label = f"d{level}"
        sides = 1 if downsampling_padding == "reflect" else (padded, padded)
        x = make.pad(x, sides, label, downsampling_padding)
        x = make.norm_relu(make.conv(x, filters * 2**level, 3, label, strides=2), label)

    for block in range(1, blocks + 1):
        first, second = f"r{block}a", f"r{block}b"
        y = make.norm_relu(reflected_conv(x, filters * 4, 3, first, mode=block_padding), first)
        y = make.dropout(y, dropout, f"r{block}")
        y = make.norm(reflected_conv(y, filters * 4, 3, second, mode=block_padding), second)
        x = layers.Add(name=f"r{block}_add", dtype=dtype)([x, y])

    for level in (1, 0):
        label, width = f"u{level + 1}", filters * 2**level
        if upsampling == "transposed":
            x = make.crop(make.conv_transpose(x, width, 3, label), (surplus, surplus), label)
        else:
            x = layers.UpSampling2D(2, name=f"{label}_resize", dtype=dtype)(x)
            x = reflected_conv(x, width, 3, label)
        x = make.norm_relu(x, label)

    x = reflected_conv(x, output_channels or channels, 7, "c7_out", bias=True)
    return keras.Model(inputs, picture_output(x, inputs, residual_output), name=name)
