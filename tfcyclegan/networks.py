"""The generators and discriminators (sections 4 and 7.2 of the paper, pix2pix for the U-Net).

All are functional `keras.Model`s: float32 pictures `[N, H, W, C]` in [-1, 1] go in, of any size
that is a multiple of 4 (resnet) or of 2**depth (U-Net). Generators give pictures of the same size
in [-1, 1], discriminators one logit for each patch.

Strided and transposed convolutions are aligned as PyTorch's are, not as TensorFlow's "same"
(which pads one side only when the stride is 2): pad by hand, then "valid". With that, weights
trained in either framework give the same pictures in the other. `alignment="tensorflow"` is for
weights that were trained with "same".
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Literal

import keras
from keras import layers

from .layers import (
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
#: Whose "same" a strided convolution follows: PyTorch pads both sides, TensorFlow the far one.
Alignment = Literal["torch", "tensorflow"]
#: Which generator: G for "AtoB", F for "BtoA".
Direction = Literal["AtoB", "BtoA"]
#: The paper's names of the generators, which also name the models that this package builds.
GENERATORS: dict[Direction, str] = {"AtoB": "G", "BtoA": "F"}
Layer = Callable[[keras.KerasTensor], keras.KerasTensor]


class _Maker:
    """Makes the layers of one network: their names, dtype, and what goes with the norm.

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
        # Four times fewer than 8 fill a vector of 32 at most.
        kind = NarrowConv2D if filters < 8 else layers.Conv2D
        return kind(
            filters,
            size,
            strides,
            padding,
            use_bias=self.use_bias if bias is None else bias,
            # An initializer of its own: one that is shared gives every kernel the same numbers.
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

    def pad(self, padding: int | tuple, name: str, reflect: bool) -> layers.Layer:
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


def default_blocks(image_size: int) -> int:
    """Residual blocks the paper uses: 9 from 256 px upwards, 6 below (section 7.2)."""
    return 9 if image_size >= 256 else 6


def default_depth(image_size: int) -> int:
    """Halvings of a U-Net: 8 from 256 px upwards, else as many as lead to one pixel, but 5."""
    return max(5, min(8, image_size.bit_length() - 1))


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
    in front of all 7×7 and 3×3 convolutions of stride 1. Kernels start from N(0, 0.02).
    It takes pictures of any height and width that are multiples of 4.

    Args:
        image_size: int, the pictures' side in training; decides the default of `blocks` alone.
        channels: int, channels of the domain it reads: 3 for RGB, 1 for grey.
        filters: int, channels after the first convolution. Default 64.
        blocks: int, residual blocks. Default 9 from 256 px upwards, 6 below.
        output_channels: int, channels of the domain it draws. Default: `channels`.
        norm: "instance" (no learned scale; default), "instance-affine", "batch" or "none".
        use_bias: bool, biases in front of the norms. Default: unless norm is "batch", as in the
            reference. The last convolution always has one.
        upsampling: "transposed" convolution as in the paper (default), or "resize": nearest
            neighbour, then a 3×3 convolution, which cannot draw checkerboards (Odena et al.).
        dropout: float, rate between the two convolutions of a block. Default 0.
        residual_output: bool, add the picture itself in front of the tanh. Not in the paper.
        bare_first: bool, no norm and no ReLU after the first convolution. Some trained models
            found elsewhere are built so. Default False.
        downsampling_padding: "zero" as in the paper (default), or "reflect" as in those.
        alignment: where strided and transposed convolutions lie on their pictures: "torch"
            (default, one pixel of padding on each side, as the paper's weights were trained), or
            "tensorflow" (padding to the right and below alone: Keras's "same" for even sides).
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
    _check_alignment(alignment, downsampling_padding)
    output_channels = output_channels or channels
    make = _Maker(norm, use_bias, epsilon, dtype)
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
    return keras.Model(inputs, _picture(x, inputs, residual_output), name=name)


def _check_alignment(alignment: str, padding: str) -> None:
    if alignment not in ("torch", "tensorflow"):
        raise ValueError(f"alignment={alignment!r} is unknown: take torch or tensorflow")
    if alignment == "tensorflow" and padding == "reflect":
        raise ValueError("alignment='tensorflow' pads with zeros: take padding zero with it")


def _picture(x: keras.KerasTensor, inputs: keras.KerasTensor, residual: bool) -> keras.KerasTensor:
    """The last layer of a generator, in float32: float16 has 8 steps a grey level at most."""
    if residual:
        if x.shape[-1] != inputs.shape[-1]:
            raise ValueError("residual_output needs as many output channels as input channels")
        return ResidualTanh(name="tanh", dtype="float32")([x, inputs])
    return layers.Activation("tanh", name="tanh", dtype="float32")(x)


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
    residual_output: bool = False,
    epsilon: float = 1e-5,
    dtype: str | None = None,
    name: str = "unet_generator",
) -> keras.Model:
    """The generator of pix2pix: halves the picture to one pixel and back, with skips at each size.

    4×4 convolutions of stride 2 down, transposed ones up, filters × (1, 2, 4, 8, 8, …), leaky
    ReLU 0.2 on the way down and ReLU on the way up, tanh at the end (Isola et al., CVPR 2017,
    and the reference's `unet_256` and `unet_128`).

    Args:
        image_size: int, decides the default of `depth` alone.
        channels: int, channels of the domain it reads.
        filters: int, channels after the first convolution. Default 64.
        output_channels: int, channels of the domain it draws. Default: `channels`.
        depth: int, at least 5, halvings. Default 8 from 256 px upwards, 7 from 128 px, else as
            many as lead from `image_size` to one pixel, 5 at the least. Sides must be multiples
            of 2**depth.
        norm: see `resnet_generator`.
        use_bias: see `resnet_generator`.
        dropout: float, rate in the innermost layers up, those of 8 × filters. Default 0.
        residual_output: see `resnet_generator`.
        epsilon: see `resnet_generator`.
        dtype: see `resnet_generator`.
        name: str.

    Returns:
        A functional `keras.Model`, `[N, H, W, channels]` → float32 `[N, H, W, output_channels]`.

    Raises:
        ValueError: a depth below 5 or a setting outside of the choices.

    Example:
        >>> unet_generator(128)(tf.zeros((1, 128, 128, 3))).shape
        TensorShape([1, 128, 128, 3])
    """
    if depth is None:
        depth = default_depth(image_size)
    if depth < 5:
        raise ValueError(f"depth={depth}: a U-Net has at least 5 halvings")
    output_channels = output_channels or channels
    make = _Maker(norm, use_bias, epsilon, dtype)
    inputs = keras.Input((None, None, channels), name="images")
    widths = [filters * min(2**level, 8) for level in range(depth)]

    x, skips = inputs, []
    for level, width in enumerate(widths):
        label = f"down{level + 1}"
        outermost, innermost = level == 0, level == depth - 1
        if not outermost:
            x = make.leaky_relu(label)(x)
        x = make.conv(width, 4, label, strides=2, bias=True if outermost else None)(
            make.pad(1, label, reflect=False)(x)
        )
        if not outermost and not innermost:
            x = make.norm(label)(x)
        skips.append(x)

    for level in reversed(range(depth)):
        label = f"up{level + 1}"
        outermost, innermost = level == 0, level == depth - 1
        if not innermost:
            x = layers.Concatenate(name=f"{label}_skip", dtype=dtype)([skips[level], x])
        x = make.relu(label)(x)
        width = output_channels if outermost else widths[level - 1]
        x = make.conv_transpose(width, 4, label, bias=True if outermost else None)(x)
        x = make.crop(((1, 1), (1, 1)), label)(x)
        if not outermost:
            x = make.norm(label)(x)
            # As in the reference: the middle layers of 8 × filters, not the innermost one.
            if not innermost and level > 3:
                x = make.dropout(dropout, label)(x)
    return keras.Model(inputs, _picture(x, inputs, residual_output), name=name)


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
    """The PatchGAN: judges overlapping patches of a picture, each by one number.

    C64-C128-C256-C512 in the paper's notation (section 7.2): 4×4 convolutions, stride 2 for
    `layers` of them and 1 for the last two, leaky ReLU 0.2, no norm after the first.
    With 3 layers a number sees 70×70 px, with 2 it sees 34×34, with 1 16×16.

    Args:
        image_size: int, checked alone: a picture too small would leave no patch.
        channels: int, channels of the pictures it judges.
        filters: int, channels after the first convolution. Default 64.
        layers: int, at least 1. Default 3.
        norm: see `resnet_generator`.
        use_bias: see `resnet_generator`. The first and last convolution always have one.
        padding: "zero" as in the paper (default), or "reflect" as in some models found elsewhere.
        sigmoid: bool, give probabilities instead of logits, as those do. Default False.
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
    _check_alignment(alignment, padding)
    make = _Maker(norm, use_bias, epsilon, dtype)
    inputs = keras.Input((None, None, channels), name="images")

    def conv(x: keras.KerasTensor, filters: int, name: str, **settings: Any) -> keras.KerasTensor:
        if alignment == "tensorflow":
            # By Keras itself: how much "same" pads depends on the size of the picture.
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
    return keras.Model(inputs, _score(x, sigmoid), name=name)


def _score(x: keras.KerasTensor, sigmoid: bool = False) -> keras.KerasTensor:
    """The last layer of a discriminator, in float32: the losses square what it gives."""
    if sigmoid:
        return layers.Activation("sigmoid", name="probability", dtype="float32")(x)
    return layers.Activation("linear", name="logit", dtype="float32")(x)


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
    """Judges every pixel by its colour alone: 1×1 convolutions (the 1×1 PatchGAN of pix2pix).

    Args:
        channels: int, channels of the pictures it judges.
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
    make = _Maker(norm, use_bias, epsilon, dtype)
    inputs = keras.Input((None, None, channels), name="images")
    x = make.leaky_relu("c1")(make.conv(filters, 1, "c1", bias=True)(inputs))
    x = make.norm("c2")(make.conv(filters * 2, 1, "c2")(x))
    x = make.conv(1, 1, "score")(make.leaky_relu("c2")(x))
    return keras.Model(inputs, _score(x), name=name)


def with_precision(network: keras.Model, precision: str) -> keras.Model:
    """The same network under another dtype policy, with a copy of its weights.

    A network made under a mixed precision policy keeps its weights in float32 but computes in
    16 bits; its float32 twin computes in 32. The other way round its last layer stays in float32.

    Args:
        network: a functional model of this package's or Keras's layers.
        precision: "float32", "mixed_bfloat16" or "mixed_float16".

    Returns:
        A new functional model; later changes of one's weights do not reach the other.
    """

    def change(config: object) -> object:
        if isinstance(config, dict):
            if config.get("class_name") == "DTypePolicy":
                return {**config, "config": {"name": precision}}
            return {key: change(value) for key, value in config.items()}
        if isinstance(config, (list, tuple)):
            return type(config)(change(value) for value in config)
        return config

    config = copy.deepcopy(network.get_config())
    *inner, last = config["layers"]
    config["layers"] = [*map(change, inner), last]
    if precision == "float32":
        config = change(config)
    twin = type(network).from_config(config)
    twin.set_weights(network.get_weights())
    return twin


def difference(network: keras.Model, other: keras.Model) -> str | None:
    """The first thing that two networks of this package differ in beside their weights, in words.

    Precision is no difference, nor is dropout, which does nothing at inference.
    """

    def described(network: keras.Model) -> list[tuple[str, dict]]:
        found = []
        for layer in network.layers:
            if isinstance(layer, layers.Dropout):
                continue
            config = {"kind": type(layer).__name__, **layer.get_config()}
            for name in ("dtype", "trainable", "kernel_initializer", "gamma_initializer"):
                config.pop(name, None)
            if isinstance(layer, layers.InputLayer):
                config = {"channels": layer.batch_shape[-1]}
            found.append((layer.name, config))
        return found

    ours, theirs = described(network), described(other)
    for (name, mine), (other_name, yours) in zip(ours, theirs, strict=False):
        if name != other_name:
            return f"{name} in one is {other_name} in the other"
        for setting in mine.keys() | yours.keys():
            if mine.get(setting) != yours.get(setting):
                return f"{setting} of {name} is {mine.get(setting)} and {yours.get(setting)}"
    if len(ours) != len(theirs):
        return f"{len(ours)} layers and {len(theirs)}"
    return None


def divisor(network: keras.Model) -> int:
    """What a generator needs height and width to be multiples of: 4 for the paper's.

    Args:
        network: a functional model that halves by strides, as those of this package do.
    """
    shrinks = 1
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            shrinks *= divisor(layer)
        elif not isinstance(layer, layers.Conv2DTranspose):
            strides = getattr(layer, "strides", 1)
            shrinks *= strides if isinstance(strides, int) else strides[0]
    return shrinks


def least_size(network: keras.Model) -> int:
    """The smallest height and width a generator takes: 8 for the paper's.

    Mirroring a border of one pixel needs two pixels where the network is at its smallest.
    """
    mirrors = any(isinstance(layer, ReflectionPadding2D) for layer in network.layers)
    return divisor(network) * (2 if mirrors else 1)
