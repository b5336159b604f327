"""The paper's generator (section 7.2)."""

from __future__ import annotations

from typing import Literal

import keras
from keras import layers

from .factory import Alignment, LayerFactory, Norm, check_alignment, picture_output


def default_blocks(image_size: int) -> int:
    """Residual blocks the paper uses: 9 from 256 px upwards, 6 below (section 7.2)."""
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
    residual_output: bool = False,
    bare_first: bool = False,
    downsampling_padding: Literal["zero", "reflect"] = "zero",
    alignment: Alignment = "torch",
    epsilon: float = 1e-5,
    dtype: str | None = None,
    name: str = "resnet_generator",
) -> keras.Model:
    """The paper's generator, after Johnson et al.: shrink, residual blocks, grow.

    In the paper's notation c7s1-64, d128, d256, R256 × blocks, u128, u64, c7s1-3 (section 7.2).
    Norm and ReLU follow every convolution but the last, which tanh follows. Borders are mirrored
    before all 7×7 and 3×3 convolutions of stride 1. Kernels start from N(0, 0.02).
    It takes pictures of any height and width that are multiples of 4.

    Args:
        image_size: int, the pictures' side in training; sets only the default of `blocks`.
        channels: int, channels of the domain it reads: 3 for RGB, 1 for grey.
        filters: int, channels after the first convolution. Default 64.
        blocks: int, residual blocks. Default 9 from 256 px upwards, 6 below.
        output_channels: int, channels of the domain it draws. Default: `channels`.
        norm: "instance" (no learned scale; default), "instance-affine", "batch" or "none".
        use_bias: bool, biases before the norms. Default: unless norm is "batch", as in the
            reference. The last convolution always has one.
        upsampling: "transposed" convolution as in the paper (default), or "resize": nearest
            neighbour, then a 3×3 convolution, which cannot draw checkerboards (Odena et al.).
        dropout: float, rate between the two convolutions of a block. Default 0.
        residual_output: bool, add the input picture before the tanh. Not in the paper.
        bare_first: bool, no norm and no ReLU after the first convolution, as in some models
            trained elsewhere. Default False.
        downsampling_padding: "zero" as in the paper (default), or "reflect" as in those.
        alignment: how strided and transposed convolutions pad: "torch" (default: one pixel on
            each side, as the paper's weights were trained), or "tensorflow" (only to the right and
            below: Keras's "same" for even sides).
        epsilon: float, added to the norms' variances. Default 1e-5, as in PyTorch
            (tensorflow-addons had 1e-3).
        dtype: a Keras dtype policy for its layers. Default: the global one. The output is
            float32 whatever it is.
        name: str.

    Returns:
        A functional `keras.Model`, `[N, H, W, channels]` → float32 `[N, H, W, output_channels]`.
        11,378,179 weights with 9 blocks and 7,837,699 with 6, other settings by default.

    Raises:
        ValueError: a setting outside of the choices above.

    Example:
        >>> G = resnet_generator(image_size=256)
        >>> G(tf.zeros((1, 256, 256, 3))).shape
        TensorShape([1, 256, 256, 3])
    """
    if blocks is None:
        blocks = default_blocks(image_size)
    if upsampling not in ("transposed", "resize"):
        raise ValueError(f"upsampling={upsampling!r} is unknown: take transposed or resize")
    if downsampling_padding not in ("zero", "reflect"):
        raise ValueError(
            f"downsampling_padding={downsampling_padding!r} is unknown: take zero or reflect"
        )
    check_alignment(alignment, downsampling_padding)
    output_channels = output_channels or channels
    make = LayerFactory(norm, use_bias, epsilon, dtype)
    # Rows and columns before and behind: of padding, and of a transposed convolution's surplus.
    padded, surplus = ((1, 1), (1, 0)) if alignment == "torch" else ((0, 1), (0, 1))
    inputs = keras.Input((None, None, channels), name="images")

    x = make.pad(3, "c7_in", reflect=True)(inputs)
    if bare_first:
        x = make.conv(filters, 7, "c7_in", bias=True)(x)
    else:
        x = make.conv(filters, 7, "c7_in")(x)
        x = make.relu("c7_in")(make.norm("c7_in")(x))

    for depth in (1, 2):
        label = f"d{depth}"
        if downsampling_padding == "reflect":
            x = make.pad(1, label, reflect=True)(x)
        else:
            x = make.pad((padded, padded), label, reflect=False)(x)
        x = make.conv(filters * 2**depth, 3, label, strides=2)(x)
        x = make.relu(label)(make.norm(label)(x))

    for block in range(blocks):
        label = f"r{block + 1}"
        y = make.conv(filters * 4, 3, f"{label}a")(make.pad(1, f"{label}a", reflect=True)(x))
        y = make.relu(f"{label}a")(make.norm(f"{label}a")(y))
        y = make.dropout(dropout, label)(y)
        y = make.conv(filters * 4, 3, f"{label}b")(make.pad(1, f"{label}b", reflect=True)(y))
        x = layers.Add(name=f"{label}_add", dtype=dtype)([x, make.norm(f"{label}b")(y)])

    for depth in (1, 0):
        label = f"u{depth + 1}"
        if upsampling == "transposed":
            # PyTorch's padding 1 and output padding 1: the full result less its first row
            # and column. TensorFlow's "same" leaves out the last ones.
            x = make.conv_transpose(filters * 2**depth, 3, label)(x)
            x = make.crop((surplus, surplus), label)(x)
        else:
            x = layers.UpSampling2D(2, name=f"{label}_resize", dtype=dtype)(x)
            x = make.conv(filters * 2**depth, 3, label)(make.pad(1, label, reflect=True)(x))
        x = make.relu(label)(make.norm(label)(x))

    x = make.conv(output_channels, 7, "c7_out", bias=True)(make.pad(3, "c7_out", reflect=True)(x))
    return keras.Model(inputs, picture_output(x, inputs, residual_output), name=name)
