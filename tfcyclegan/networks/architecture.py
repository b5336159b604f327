"""The settings of the four networks, and how to build the networks from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import keras

from ..directions import GENERATORS, Direction
from ..errors import InputError
from .discriminators import patch_discriminator, pixel_discriminator
from .factory import Alignment, Norm, Residual, check_choice
from .fast import fast_generator
from .features import LITE0, Pixels
from .projected import join_discriminators, projected_discriminator
from .resnet import resnet_generator
from .unet import default_depth, unet_generator

#: The discriminators by name.
DiscriminatorName = Literal["patch", "pixel", "projected", "projected+patch"]


@dataclass(frozen=True)
class Architecture:
    """What G, F, D_A and D_B look like. Defaults are the paper's (section 7.2).

    Attributes:
        channels_A: int, channels of domain A: 3 for RGB (default), 1 for grey.
        channels_B: int, channels of domain B.
        generator: "resnet" (the paper's; default), "unet" (pix2pix's) or "fast", which is built by
            `fast_generator` from `filters` and `blocks` only.
        filters: int, channels after a generator's first convolution. Default 64.
        blocks: int, residual blocks of a resnet. Default 9 from 256 px upwards, 6 below; 6 for
            "fast".
        depth: int, halvings of a U-Net. Default: see `unet_generator`.
        norm: "instance" (default), "instance-affine", "batch" or "none", in all four networks.
        use_bias: bool, whether convolutions before a norm have a bias. Default: yes, unless norm
            is "batch".
        epsilon: float, added to the variance in each norm. Default 1e-5 (the reference).
        alignment: "torch" (default) or "tensorflow"; see `resnet_generator`.
        upsampling: "transposed" (default) or "resize"; see `resnet_generator`.
        dropout: float, dropout rate in the generators. Default 0.
        change_penalty: float, of a fast generator; see there. Default 0.
        residual_output: whether generators output the change to the picture, False (default),
            True, "scaled" or "clipped"; see `resnet_generator`. A fast generator is "scaled" unless
            this is "clipped".
        bare_first: bool, whether a resnet's first convolution has no norm and no ReLU. Default
            False.
        downsampling_padding: "zero" (default) or "reflect", of a resnet's strided convolutions.
        block_padding: "reflect" (default) or "replicate", of a resnet's blocks.
        discriminator: "patch" (default), "pixel", "projected", or "projected+patch" for both.
        discriminator_filters: int, channels after the first convolution of "patch" or "pixel".
            Default 64.
        discriminator_layers: int, strided layers of a PatchGAN. Default 3: it sees 70 px.
        discriminator_padding: "zero" (default) or "reflect".
        sigmoid: bool, whether discriminators give probabilities instead of logits. Default False.
        discriminator_translation: float, random translation of pictures in front of the
            discriminators in training, as a fraction of their sides. Default 0.
        features: the pretrained network of a projected discriminator. Default EfficientNet-Lite0;
            see `tfcyclegan.networks.load_features`.
        feature_taps: its layers whose outputs are looked at, separated by commas. Default: the
            last one at each of the strides 4, 8, 16 and 32.
        feature_pixels: how it expects pixels, if it does not say so itself.

    Example:
        >>> G = Architecture(filters=16, blocks=3).build_generator("AtoB", image_size=64)
    """

    channels_A: int = 3
    channels_B: int = 3
    generator: Literal["resnet", "unet", "fast"] = "resnet"
    filters: int = 64
    blocks: int | None = None
    depth: int | None = None
    norm: Norm = "instance"
    use_bias: bool | None = None
    epsilon: float = 1e-5
    alignment: Alignment = "torch"
    upsampling: Literal["transposed", "resize"] = "transposed"
    dropout: float = 0.0
    change_penalty: float = 0.0
    residual_output: Residual = False
    bare_first: bool = False
    downsampling_padding: Literal["zero", "reflect"] = "zero"
    block_padding: Literal["reflect", "replicate"] = "reflect"
    discriminator: DiscriminatorName = "patch"
    discriminator_filters: int = 64
    discriminator_layers: int = 3
    discriminator_padding: Literal["zero", "reflect"] = "zero"
    sigmoid: bool = False
    discriminator_translation: float = 0.0
    features: str = LITE0
    feature_taps: str | None = None
    feature_pixels: Pixels | None = None

    def check(self) -> None:
        """Refuses settings that do not go together.

        Raises:
            InputError: naming the setting and a value that works.
        """
        check_choice("generator", self.generator, ("resnet", "unet", "fast"))
        check_choice("discriminator", self.discriminator, get_args(DiscriminatorName))
        least = {
            "filters": 1, "blocks": 0, "depth": 5, "epsilon": 0, "dropout": 0,
            "change_penalty": 0,
            "discriminator_filters": 1, "discriminator_layers": 1, "discriminator_translation": 0,
        }  # fmt: skip
        for name, smallest in least.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise InputError(f"{name}={value}: must be at least {smallest}")
        if self.dropout > 1:
            raise InputError(f"dropout={self.dropout}: must lie between 0 and 1")
        if (value := self.discriminator_translation) >= 1:
            raise InputError(f"discriminator_translation={value}: must be below 1")
        if self.generator == "fast":
            self._check_usual(
                "generator=resnet", "dropout", "bare_first", "depth", "downsampling_padding",
                "block_padding",
            )  # fmt: skip
            if self.channels_A != self.channels_B:
                raise InputError("generator=fast needs as many channels in A as in B")
        else:
            self._check_usual("generator=fast", "change_penalty")
        if self.sigmoid and self.discriminator != "patch":
            raise InputError("sigmoid=True needs discriminator=patch")
        if not self.discriminator.startswith("projected"):
            names = ("features", "feature_taps", "feature_pixels")
            self._check_usual("discriminator=projected", *names)
        if self.residual_output and self.channels_A != self.channels_B:
            raise InputError(
                f"residual_output={self.residual_output} needs as many channels in A as in B: "
                "leave it out"
            )

    def _check_usual(self, owner: str, *names: str) -> None:
        """Refuses values other than the default for settings that only `owner` has."""
        for name in names:
            if (value := getattr(self, name)) != getattr(type(self), name):
                raise InputError(f"{name}={value}: goes with {owner}")

    def divisor(self, image_size: int) -> int:
        """The number that heights and widths must be multiples of."""
        return 4 if self.generator != "unet" else 2 ** (self.depth or default_depth(image_size))

    def check_size(self, image_size: int) -> None:
        """Refuses a height or width that the generators do not take.

        Raises:
            InputError: naming the nearest size that they take.
        """
        divisor = self.divisor(image_size)
        if image_size % divisor:
            near = max(divisor, round(image_size / divisor) * divisor)
            raise InputError(
                f"image_size={image_size}: must be a multiple of {divisor}, for example {near}"
            )

    def build_generator(
        self, direction: Direction, image_size: int, dtype: str | None = None
    ) -> keras.Model:
        """G ("AtoB") or F ("BtoA") with fresh weights.

        Args:
            direction: "AtoB" or "BtoA".
            image_size: int, side in px of the training pictures.
            dtype: a Keras dtype policy. Default: the global one.

        Raises:
            InputError: settings that do not go together.
        """
        self.check()
        A, B = self.channels_A, self.channels_B
        channels, output_channels = (A, B) if direction == "AtoB" else (B, A)
        if self.generator == "fast":
            blocks = 6 if self.blocks is None else self.blocks
            residual: Literal["scaled", "clipped"] = (
                "clipped" if self.residual_output == "clipped" else "scaled"
            )
            return fast_generator(
                A, self.filters, blocks, residual_output=residual,
                change_penalty=self.change_penalty, dtype=dtype, name=GENERATORS[direction],
            )  # fmt: skip
        settings = self._pick(
            "filters", "norm", "use_bias", "epsilon", "dropout", "residual_output"
        )
        settings |= {"channels": channels, "output_channels": output_channels}
        settings |= {"dtype": dtype, "name": GENERATORS[direction]}
        if self.generator == "unet":
            return unet_generator(image_size, depth=self.depth, **settings)
        settings |= self._pick(
            "blocks",
            "upsampling",
            "bare_first",
            "downsampling_padding",
            "block_padding",
            "alignment",
        )
        return resnet_generator(image_size, **settings)

    def build_discriminator(
        self, domain: Literal["A", "B", "AB"], image_size: int, dtype: str | None = None
    ) -> keras.Model:
        """D_A, D_B, or pix2pix's D, with fresh weights.

        Args:
            domain: "A" or "B", or "AB" for a discriminator that sees pictures of both, concatenated
                along the channels.
            image_size: int, side in px of the training pictures.
            dtype: a Keras dtype policy. Default: the global one.

        Raises:
            InputError: settings that do not go together, or a pretrained network that cannot be
                had.
        """
        self.check()
        kinds, name = self.discriminator.split("+"), "D" if domain == "AB" else f"D_{domain}"
        alone = len(kinds) == 1 and not self.discriminator_translation
        channels = {"A": self.channels_A, "B": self.channels_B}
        shared: dict[str, Any] = {"channels": sum(channels[d] for d in domain), "dtype": dtype}
        settings = {**shared, **self._pick("norm", "use_bias", "epsilon")}
        settings["filters"] = self.discriminator_filters

        def build(kind: str) -> keras.Model:
            own_name = name if alone else kind
            if kind == "projected":
                taps = [tap.strip() for tap in (self.feature_taps or "").split(",") if tap.strip()]
                try:
                    return projected_discriminator(
                        features=self.features, taps=taps or None, pixels=self.feature_pixels,
                        name=own_name, **shared,
                    )  # fmt: skip
                except InputError as problem:
                    text = str(problem).replace("`taps`", "`feature_taps`")
                    text = text.replace("`pixels`", "`feature_pixels`")
                    raise InputError(text) from problem
            if kind == "pixel":
                return pixel_discriminator(name=own_name, **settings)
            return patch_discriminator(
                image_size,
                layers=self.discriminator_layers,
                padding=self.discriminator_padding,
                name=own_name,
                **self._pick("sigmoid", "alignment"),
                **settings,
            )

        discriminators = [build(kind) for kind in kinds]
        if alone:
            return discriminators[0]
        return join_discriminators(discriminators, self.discriminator_translation, name)

    def _pick(self, *names: str) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names}
