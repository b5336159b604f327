"""What a checkpoint holds: its networks, and the architecture that they share."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Literal

from ..directions import GENERATORS, Direction
from ..errors import InputError
from ..networks.architecture import Architecture
from .layouts import Network
from .sources import find_networks

#: The settings that `_in_words` names even if they are the paper's.
_ALWAYS_NAMED = {
    "generator", "filters", "blocks", "depth", "norm",
    "discriminator", "discriminator_filters", "discriminator_layers",
}  # fmt: skip

#: The direction of each generator, and the domain of each discriminator, by their names.
DIRECTIONS: dict[str, Direction] = {name: direction for direction, name in GENERATORS.items()}
DOMAINS: dict[str, Literal["A", "B", "AB"]] = {"D_A": "A", "D_B": "B", "D": "AB"}


@dataclasses.dataclass(frozen=True)
class Description:
    """What a checkpoint holds.

    Attributes:
        networks: `Network`s under G, F, D_A and D_B; of a pix2pix under G or F, and D.
        architecture: the `Architecture` that fits all of them; None if there is no generator.
    """

    networks: Mapping[str, Network]
    architecture: Architecture | None

    @property
    def generators(self) -> list[str]:
        """The names of its generators: G, F or both."""
        return [name for name in self.networks if name in DIRECTIONS]

    @property
    def pix2pix(self) -> bool:
        """Whether it is a pix2pix: its discriminator reads two pictures."""
        return "D" in self.networks and len(self.generators) == 1

    @property
    def notes(self) -> list[str]:
        """What the file does not say and what is not used, each note once."""
        return list(dict.fromkeys(note for n in self.networks.values() for note in n.notes))

    def rows(self) -> list[tuple[str, str, str]]:
        """For each network its name, what it is, and its number of weights."""
        return [
            (name, _in_words(network), f"{network.count():,}")
            for name, network in self.networks.items()
        ]


def describe(
    checkpoint: str | os.PathLike, direction: Direction | None = None, *,
    epoch: str | None = None, block_padding: Literal["reflect", "replicate"] | None = None,
) -> Description:  # fmt: skip
    """Reads the networks in a checkpoint. Writes nothing.

    Args:
        checkpoint: a file or folder that `find_networks` reads.
        direction: "AtoB" or "BtoA", for a file with one generator. Default: what the file name
            says, else AtoB.
        epoch: which files of a folder to read. Default: the latest.
        block_padding: "reflect" or "replicate", how the blocks of a resnet pad, which no file says.
            Default: "reflect", as the reference by default.

    Returns:
        `Description`.

    Raises:
        InputError: the checkpoint is missing, unknown, damaged or unsafe, its networks do not fit
            together, or `block_padding` for a checkpoint without resnet.

    Example:
        >>> describe("G_A2B_epoch33.pth").networks["G"].settings["norm"]
        'instance-affine'
    """
    networks = find_networks(checkpoint, direction, epoch)
    if block_padding is not None:
        networks = _with_padding(checkpoint, networks, block_padding)
    for name, network in networks.items():
        if bad := network.non_finite_layer():
            raise InputError(
                f"{checkpoint}: {name} has NaN or infinite weights in {bad}: its training "
                "diverged, take an earlier checkpoint"
            )
    if not any(name in DIRECTIONS for name in networks):
        return Description(networks, None)
    return Description(networks, _common_architecture(checkpoint, networks))


def _with_padding(
    checkpoint: str | os.PathLike, networks: Mapping[str, Network], block_padding: str
) -> dict[str, Network]:
    if not any(network.settings.get("generator") == "resnet" for network in networks.values()):
        raise InputError(f"block_padding={block_padding}: {checkpoint} has no resnet: leave it out")
    return {
        name: dataclasses.replace(
            network, settings={**network.settings, "block_padding": block_padding}
        )
        if network.role == "generator"
        else network
        for name, network in networks.items()
    }


def _common_architecture(
    checkpoint: str | os.PathLike, networks: Mapping[str, Network]
) -> Architecture:
    """The architecture of all networks.

    Raises:
        InputError: two networks differ in a setting, or their channels do not match.
    """
    settings: dict[str, Any] = {}
    for name, network in networks.items():
        for setting, value in network.settings.items():
            if settings.setdefault(setting, value) != value:
                raise InputError(
                    f"{checkpoint}: {name} has {setting} {value}, another of its networks has "
                    f"{settings[setting]}, but all networks of a run share one value: import the "
                    "file of one generator"
                )
    first = next(name for name in networks if name in DIRECTIONS)
    A, B = networks[first].channels, networks[first].output_channels
    A, B = (A, B) if first == "G" else (B, A)
    wanted = {"G": (A, B), "F": (B, A), "D_A": (A, 1), "D_B": (B, 1), "D": (A + B, 1)}
    for name, network in networks.items():
        channels = network.channels, network.output_channels
        if channels != wanted[name] or not (name == "D" or {*channels} <= {1, 3}):
            raise InputError(
                f"{checkpoint}: {name} goes from {channels[0]} to {channels[1]} channels; it must "
                f"go from {wanted[name][0]} to {wanted[name][1]}, each 3 (RGB) or 1 (grey)"
            )
    architecture = Architecture(channels_A=A, channels_B=B, **settings)
    architecture.check()
    return architecture


def _in_words(network: Network) -> str:
    """A network in words, with the settings in which it differs from the paper."""
    settings = network.settings
    kind = {
        "resnet": "resnet of {blocks} blocks",
        "unet": "U-Net of {depth} halvings",
        "patch": "PatchGAN of {discriminator_layers} layers",
        "pixel": "discriminator of single pixels",
    }[settings.get("generator") or settings["discriminator"]]
    filters = settings.get("filters") or settings["discriminator_filters"]
    paper = dataclasses.asdict(Architecture(use_bias=True))
    variants = [
        f"{name} {value}"
        for name, value in settings.items()
        if name not in _ALWAYS_NAMED and value != paper[name]
    ]
    channels = f"{network.channels} to {network.output_channels} channels"
    words = [f"{filters} filters", channels, f"norm {settings['norm']}", *variants]
    return ", ".join([f"{network.origin}: {kind.format(**settings)}", *words])
