"""A network from a file: its settings, and its weights in the order of this package.

Readers of all kinds of files return it, and writers take it. The layers that settings describe are
listed without building the network, so that a file is compared with them before memory is used.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import keras
import numpy as np

from ..errors import InputError
from ..networks.factory import Norm


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
    bias: bool
    norm: Norm = "none"
    transposed: bool = False

    @property
    def kernel(self) -> tuple[int, int, int, int]:
        """The kernel's shape in Keras."""
        channels = (self.inputs, self.filters)
        return (self.size, self.size, *(channels[::-1] if self.transposed else channels))


#: The limit for blocks, halvings and strided layers, so that no file claims a million of them.
_MOST_LEVELS = 100

#: The number of vectors of a norm, with one number per channel: gamma, beta, and for batch norm the
#: moving mean and variance, in this order.
NORM_VECTORS: dict[Norm, int] = {"none": 0, "instance": 0, "instance-affine": 2, "batch": 4}


@dataclass(frozen=True)
class Network:
    """A generator or discriminator in terms of this package.

    Attributes:
        origin: the kind of file, in words.
        settings: the fields of `Architecture` that describe it.
        channels: int, input channels.
        output_channels: int, output channels; 1 for a discriminator.
        weights: for each layer with weights the argument of Keras's `set_weights`.
        notes: what the file does not say, and what of it is not used.
    """

    origin: str
    settings: Mapping[str, Any]
    channels: int
    output_channels: int
    weights: Mapping[str, list[np.ndarray]] = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def role(self) -> Literal["generator", "discriminator"]:
        return "generator" if "generator" in self.settings else "discriminator"

    def count(self) -> int:
        """The number of its weights, including the statistics of batch norms."""
        return sum(array.size for arrays in self.weights.values() for array in arrays)

    def fill(self, network: keras.Model) -> keras.Model:
        """Sets the weights of a Keras model that was built by its settings, and returns it."""
        for layer in network.layers:
            if layer.weights:
                layer.set_weights(self.weights[layer.name])
        return network

    def non_finite_layer(self) -> str | None:
        """The first layer with NaN or infinite weights, or None."""
        return next(
            (
                name
                for name, arrays in self.weights.items()
                if not all(np.isfinite(array).all() for array in arrays)
            ),
            None,
        )


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
    norm, bias = settings["norm"], settings["use_bias"]
    for name in ("blocks", "depth", "discriminator_layers"):
        if (settings.get(name) or 0) > _MOST_LEVELS:
            raise InputError(f"{name} {settings[name]}: the limit is {_MOST_LEVELS}")
    if settings.get("generator") == "resnet":
        return _resnet(settings, channels, output_channels, norm, bias)
    if settings.get("generator") == "unet":
        return _unet(settings, channels, output_channels, norm, bias)
    filters = settings["discriminator_filters"]
    if settings["discriminator"] == "pixel":
        return [
            Convolution("c1", 1, channels, filters, True),
            Convolution("c2", 1, filters, 2 * filters, bias, norm),
            Convolution("score", 1, 2 * filters, 1, bias),
        ]
    levels = settings["discriminator_layers"] + 1
    widths = [filters * min(2**level, 8) for level in range(levels)]
    return [
        Convolution("c1", 4, channels, filters, True),
        *(
            Convolution(f"c{level + 1}", 4, widths[level - 1], widths[level], bias, norm)
            for level in range(1, len(widths))
        ),
        Convolution("score", 4, widths[-1], 1, True),
    ]


def _resnet(
    settings: Mapping[str, Any], channels: int, output_channels: int, norm: Norm, bias: bool
) -> list[Convolution]:
    f = settings["filters"]
    transposed = settings["upsampling"] == "transposed"
    if settings["bare_first"]:
        first = Convolution("c7_in", 7, channels, f, True)
    else:
        first = Convolution("c7_in", 7, channels, f, bias, norm)
    return [
        first,
        Convolution("d1", 3, f, 2 * f, bias, norm),
        Convolution("d2", 3, 2 * f, 4 * f, bias, norm),
        *(
            Convolution(f"r{block}{half}", 3, 4 * f, 4 * f, bias, norm)
            for block in range(1, settings["blocks"] + 1)
            for half in "ab"
        ),
        Convolution("u2", 3, 4 * f, 2 * f, bias, norm, transposed),
        Convolution("u1", 3, 2 * f, f, bias, norm, transposed),
        Convolution("c7_out", 7, f, output_channels, True),
    ]


def _unet(
    settings: Mapping[str, Any], channels: int, output_channels: int, norm: Norm, bias: bool
) -> list[Convolution]:
    depth = settings["depth"]
    widths = [settings["filters"] * min(2**level, 8) for level in range(depth)]
    down = [
        Convolution("down1", 4, channels, widths[0], True),
        *(
            Convolution(
                f"down{level + 1}", 4, widths[level - 1], widths[level], bias,
                norm if level < depth - 1 else "none",
            )
            for level in range(1, depth)
        ),
    ]  # fmt: skip
    up = [
        *(
            Convolution(
                f"up{level + 1}", 4, widths[level] * (1 if level == depth - 1 else 2),
                widths[level - 1], bias, norm, transposed=True,
            )
            for level in reversed(range(1, depth))
        ),
        Convolution("up1", 4, 2 * widths[0], output_channels, True, transposed=True),
    ]  # fmt: skip
    return [*down, *up]


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
    ignored = set(ignored)
    missing = [name for name in expected if name not in found]
    surplus = [name for name in found if name not in expected and name not in ignored]
    wrong = [
        f"{name} is {found[name]} where {expected[name]} fits"
        for name in expected
        if name in found and tuple(found[name]) != tuple(expected[name])
    ]
    problems = [
        f"{words}: {some(names)}"
        for words, names in (
            ("missing", missing), ("not known", surplus), ("of another shape", wrong)
        )
        if names
    ]  # fmt: skip
    if problems:
        raise InputError(
            f"{where}: almost a known network, but {'; '.join(problems)}. It may come from "
            "modified code, which cannot be imported"
        )


def some(names: list[str], most: int = 12) -> str:
    """The names as text. A long list is cut."""
    more = len(names) - most
    return ", ".join(name[:80] for name in names[:most]) + (f" and {more} more" if more > 0 else "")


def as_float32(array: np.ndarray) -> np.ndarray:
    """A contiguous float32 copy, or the array itself if it is one."""
    return np.ascontiguousarray(array, np.float32)


def total_bytes(arrays: Iterable[np.ndarray]) -> int:
    """The bytes that arrays need in memory if they share none."""
    return sum(math.prod(array.shape) * array.dtype.itemsize for array in arrays)
