"""A network from a file: its settings, and its weights in the order of this package.

All readers return a `Network`, and writers take one. The layers that settings describe are listed
without building the network, so that a file is compared with them before memory is allocated.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import keras
import numpy as np

from ..errors import InputError
from ..networks.architecture import Architecture
from ..networks.factory import Norm

Role = Literal["generator", "discriminator"]

#: The vectors of each norm, in Keras's order. They have one number per channel.
NORM_VECTORS: dict[Norm, tuple[str, ...]] = {
    "none": (),
    "instance": (),
    "instance-affine": ("gamma", "beta"),
    "batch": ("gamma", "beta", "moving_mean", "moving_variance"),
}

#: The fields of `Architecture` that describe generators as well as discriminators.
_SHARED = ("norm", "use_bias", "epsilon", "alignment")

#: The limit for blocks, halvings and strided layers, so that no file claims a million of them.
_MOST_LEVELS = 100


@dataclass(frozen=True)
class Convolution:
    """A convolution of a network of `tfcyclegan.networks`, and the norm after it.

    Attributes:
        layer: its name in the network. The name of its norm ends in `_norm`.
        size: int, side of its kernel in px.
        inputs: int, input channels.
        filters: int, output channels.
        bias: whether it has a bias.
        norm: the norm after it, or "none".
        transposed: whether it is a transposed convolution.
    """

    layer: str
    size: int
    inputs: int
    filters: int
    bias: bool = True
    norm: Norm = "none"
    transposed: bool = False

    @property
    def arrays(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """The shapes of its arrays and its norm's, by the names of their layers and arrays."""
        channels, vector = (self.inputs, self.filters), (self.filters,)
        kernel = (self.size, self.size, *(channels[::-1] if self.transposed else channels))
        arrays = {self.layer: {"kernel": kernel, **({"bias": vector} if self.bias else {})}}
        if vectors := NORM_VECTORS[self.norm]:
            arrays[f"{self.layer}_norm"] = dict.fromkeys(vectors, vector)
        return arrays


@dataclass(frozen=True)
class Network:
    """A generator or discriminator in terms of this package.

    Attributes:
        origin: the kind of file, in words.
        settings: the fields of `Architecture` that describe it.
        channels: int, input channels.
        output_channels: int, output channels; 1 for a discriminator.
        weights: for each layer with weights the argument of Keras's `set_weights`.
        notes: what the file does not say, and which parts of it are not used.
    """

    origin: str
    settings: Mapping[str, Any]
    channels: int
    output_channels: int
    weights: Mapping[str, list[np.ndarray]] = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def role(self) -> Role:
        """Whether it is a generator or a discriminator."""
        return "generator" if "generator" in self.settings else "discriminator"

    def count(self) -> int:
        """The number of its weights, including the statistics of batch norms."""
        return sum(array.size for arrays in self.weights.values() for array in arrays)

    def fill(self, network: keras.Model) -> keras.Model:
        """Sets the weights of a Keras model that was built from its settings, and returns it."""
        for layer in network.layers:
            if layer.weights:
                layer.set_weights(self.weights[layer.name])
        return network

    def non_finite_layer(self) -> str | None:
        """The first layer with NaN or infinite weights, or None."""
        for name, arrays in self.weights.items():
            if not all(np.isfinite(array).all() for array in arrays):
                return name
        return None


def complete_settings(role: Role, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `Architecture` that describe a generator or a discriminator.

    Args:
        role: "generator" or "discriminator".
        settings: some fields of `Architecture`. The others are the paper's.
    """
    return {
        name: value
        for name, value in dataclasses.asdict(Architecture(**settings)).items()
        if name in _SHARED
        or (
            name not in ("channels_A", "channels_B")
            and ("discriminator" in name or name == "sigmoid") == (role == "discriminator")
        )
    }


def weights_by_layer(network: keras.Model) -> dict[str, list[np.ndarray]]:
    """The weights of a Keras model of this package, as in `Network.weights`."""
    return {layer.name: layer.get_weights() for layer in network.layers if layer.weights}


def convolutions(
    settings: Mapping[str, Any], channels: int, output_channels: int
) -> list[Convolution]:
    """The convolutions of the network that settings describe, in the order of its layers.

    Args:
        settings: the fields of `Architecture` that describe a generator or a discriminator.
        channels: int, input channels.
        output_channels: int, output channels.

    Raises:
        InputError: it has absurdly many layers.
    """
    for name in ("blocks", "depth", "discriminator_layers"):
        if (settings.get(name) or 0) > _MOST_LEVELS:
            raise InputError(f"{name} {settings[name]}: the limit is {_MOST_LEVELS}")
    normed = functools.partial(Convolution, bias=settings["use_bias"], norm=settings["norm"])
    list_layers = {
        "resnet": _resnet, "unet": _unet, "patch": _patch, "pixel": _pixel
    }[settings.get("generator") or settings["discriminator"]]  # fmt: skip
    return list_layers(settings, channels, output_channels, normed)


# Each of these gets the settings, the input and output channels, and a maker of convolutions that
# have the norm and the bias of the settings. `Convolution` itself makes one with a bias, no norm.


def _resnet(
    settings: Mapping[str, Any], channels: int, output_channels: int, normed: Callable
) -> list[Convolution]:
    f, transposed = settings["filters"], settings["upsampling"] == "transposed"
    return [
        (Convolution if settings["bare_first"] else normed)("c7_in", 7, channels, f),
        normed("d1", 3, f, 2 * f),
        normed("d2", 3, 2 * f, 4 * f),
        *(
            normed(f"r{block + 1}{half}", 3, 4 * f, 4 * f)
            for block in range(settings["blocks"])
            for half in "ab"
        ),
        normed("u2", 3, 4 * f, 2 * f, transposed=transposed),
        normed("u1", 3, 2 * f, f, transposed=transposed),
        Convolution("c7_out", 7, f, output_channels),
    ]


def _unet(
    settings: Mapping[str, Any], channels: int, output_channels: int, normed: Callable
) -> list[Convolution]:
    widths = [settings["filters"] * min(2**level, 8) for level in range(settings["depth"])]
    down = [normed("down1", 4, channels, widths[0], norm="none")]
    up = [Convolution("up1", 4, 2 * widths[0], output_channels, transposed=True)]
    for level, (outer, inner) in enumerate(itertools.pairwise(widths), 2):
        innermost = level == len(widths)  # no norm, and no skip connection into it
        norm = "none" if innermost else settings["norm"]
        down.append(normed(f"down{level}", 4, outer, inner, norm=norm))
        inputs = inner if innermost else 2 * inner
        up.insert(0, normed(f"up{level}", 4, inputs, outer, transposed=True))
    return [*down, *up]


def _patch(
    settings: Mapping[str, Any], channels: int, output_channels: int, normed: Callable
) -> list[Convolution]:
    filters = settings["discriminator_filters"]
    widths = [filters * min(2**level, 8) for level in range(settings["discriminator_layers"] + 1)]
    return [
        Convolution("c1", 4, channels, filters),
        *(
            normed(f"c{level}", 4, before, after)
            for level, (before, after) in enumerate(itertools.pairwise(widths), 2)
        ),
        Convolution("score", 4, widths[-1], output_channels),
    ]


def _pixel(
    settings: Mapping[str, Any], channels: int, output_channels: int, normed: Callable
) -> list[Convolution]:
    filters = settings["discriminator_filters"]
    return [
        Convolution("c1", 1, channels, filters),
        normed("c2", 1, filters, 2 * filters),
        Convolution("score", 1, 2 * filters, output_channels, settings["use_bias"]),
    ]


def compare(
    where: object,
    found: Mapping[str, tuple[int, ...]],
    expected: Mapping[str, tuple[int, ...]],
    ignored: Iterable[str] = (),
) -> None:
    """Compares the shapes in a file with those of a network.

    Args:
        where: the file, for the message.
        found: shapes by name.
        expected: shapes by name.
        ignored: names that the file may have and that are not used.

    Raises:
        InputError: naming what is missing, what is unknown, and what has another shape.
    """
    wrong = [
        f"{name} is {found[name]} where {shape} fits"
        for name, shape in expected.items()
        if name in found and tuple(found[name]) != tuple(shape)
    ]
    known = {*expected, *ignored}
    problems = {
        "missing": [name for name in expected if name not in found],
        "not known": [name for name in found if name not in known],
        "of another shape": wrong,
    }
    if any(problems.values()):
        listed = "; ".join(f"{words}: {some(names)}" for words, names in problems.items() if names)
        raise InputError(
            f"{where}: almost a known network, but {listed}. It may come from modified code, which "
            "cannot be imported"
        )


def check_size(where: object, claimed: int, file_size: int) -> None:
    """Compares the bytes of all arrays with the bytes of their file.

    Four times the file's size is possible: 8-bit numbers become 32-bit ones.

    Raises:
        InputError: the arrays claim more.
    """
    if claimed > 4 * file_size:
        raise InputError(
            f"{where}: its arrays would fill {claimed} bytes, but the file has {file_size}: it is "
            "cut short, or it repeats an array"
        )


def some(names: list[str], most: int = 12) -> str:
    """The names as text. A long list is cut."""
    more = len(names) - most
    return ", ".join(name[:80] for name in names[:most]) + (f" and {more} more" if more > 0 else "")


def as_float32(array: np.ndarray) -> np.ndarray:
    """A contiguous float32 copy, or the array itself if it is one."""
    return np.ascontiguousarray(array, np.float32)
