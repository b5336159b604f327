"""Keras models with tensorflow-addons' InstanceNormalization.

These are the generators and discriminators of the CycleGAN example on Keras's site, and models
derived from it: convolutions with padding "same", instance norm with scale and shift and an epsilon
of 1e-3, and no biases before a norm. Their weights are read as arrays (see `hdf5` and
`tf_checkpoint`), without tensorflow-addons and Keras 2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from .addons_config import EPSILON, epsilon_of
from .layouts import NORM_VECTORS, Network, as_float32, compare, convolutions, some

ORIGIN = "Keras with tensorflow-addons"

#: The attributes of the example's model. Its X and Y are the paper's A and B.
EXAMPLE_NAMES = {"gen_G": "G", "gen_F": "F", "disc_X": "D_A", "disc_Y": "D_B"}

_ASSUMED = (
    "files of weights do not say which norm, epsilon and padding they go with: those of the Keras "
    "example are assumed"
)


@dataclass(frozen=True)
class Layer:
    """A layer with weights in a file.

    Attributes:
        name: its name in the file.
        shapes: the shapes of its arrays by their names: kernel, bias, gamma, beta.
        read: returns the array of a name.
    """

    name: str
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], np.ndarray]


def read_network(
    layers: Iterable[Layer], where: object, configured: list[dict[str, Any]] | None = None
) -> Network:
    """Recognises a network by the shapes of its layers, then reads its weights.

    Args:
        layers: the layers that have weights, in order.
        where: the file, for messages.
        configured: class and settings of all layers in order, if the file has them.

    Raises:
        InputError: not a generator or discriminator of the example.
    """
    layers = [layer for layer in layers if layer.shapes]
    for layer in layers:
        if "moving_mean" in layer.shapes or re.search(r"group_norm|layer_norm", layer.name):
            raise InputError(
                f"{where}: {layer.name} is not an instance norm: of Keras models only those with "
                "tensorflow-addons' InstanceNormalization can be read"
            )
    shapes = [layer.shapes["kernel"] for layer in layers if "kernel" in layer.shapes]
    if not shapes or any(len(shape) != 4 or 0 in shape for shape in shapes):
        raise InputError(f"{where}: not a network of 2D convolutions: {_summary(layers)}")
    if configured is None and not any("gamma" in layer.shapes for layer in layers):
        raise InputError(
            f"{where}: no norm with weights in it: of Keras models only those with "
            f"tensorflow-addons' InstanceNormalization can be read: {_summary(layers)}"
        )
    settings = _settings(layers, shapes, where)
    notes: tuple[str, ...] = ()
    if configured is None:
        notes = (_ASSUMED,)
    else:
        settings["epsilon"] = epsilon_of(settings, configured, where)
    channels = shapes[0][2]
    output_channels = shapes[-1][3] if "generator" in settings else 1
    weights = _weights(layers, settings, channels, output_channels, where)
    return Network(ORIGIN, settings, channels, output_channels, weights, notes)


def _settings(layers: list[Layer], kernels: list[tuple[int, ...]], where: object) -> dict[str, Any]:
    """The settings that the shapes tell."""
    convolutions = [layer for layer in layers if "kernel" in layer.shapes]
    affine = any("gamma" in layer.shapes for layer in layers)
    settings: dict[str, Any] = {
        "norm": "instance-affine" if affine else "instance",
        "use_bias": len(convolutions) > 1 and "bias" in convolutions[1].shapes,
        "epsilon": EPSILON,
        "alignment": "tensorflow",
    }
    if kernels[0][:2] == (7, 7):
        return settings | {
            "generator": "resnet",
            "filters": kernels[0][3],
            "blocks": max(0, (len(kernels) - 6) // 2),
            "upsampling": "transposed",
            "dropout": 0.0,
            "bare_first": False,
            "downsampling_padding": "zero",
        }
    if kernels[0][:2] == (4, 4):
        return settings | {
            "discriminator": "patch",
            "discriminator_filters": kernels[0][3],
            "discriminator_layers": max(1, len(kernels) - 2),
            "discriminator_padding": "zero",
            "sigmoid": False,
        }
    raise InputError(
        f"{where}: neither the generator nor the discriminator of the Keras example, whose first "
        f"kernels are 7×7 and 4×4: {_summary(layers)}"
    )


def _summary(layers: list[Layer]) -> str:
    names = [f"{layer.name}/{name}" for layer in layers for name in layer.shapes]
    return f"it has {some(names, 5)}" if names else "it has no weights"


def _weights(
    layers: list[Layer],
    settings: Mapping[str, Any],
    channels: int,
    output_channels: int,
    where: object,
) -> dict[str, list[np.ndarray]]:
    """The weights by our layer names. Keras numbers its layers, so only their order counts.

    All shapes are compared before any value is read.
    """
    expected: dict[str, dict[str, tuple[int, ...]]] = {}
    for layer in convolutions(settings, channels, output_channels):
        bias = {"bias": (layer.filters,)} if layer.bias else {}
        expected[layer.layer] = {"kernel": layer.kernel, **bias}
        if NORM_VECTORS[layer.norm]:
            expected[f"{layer.layer}_norm"] = {"gamma": (layer.filters,), "beta": (layer.filters,)}
    # Messages name what fits as the file does, and what is missing as this package does.
    names = [layer.name for layer in layers] + list(expected)[len(layers) :]
    if len({*names}) < len(names):
        raise InputError(f"{where}: two of its layers have the same name")
    compare(
        where,
        {f"{layer.name}/{key}": shape for layer in layers for key, shape in layer.shapes.items()},
        {
            f"{name}/{key}": shape
            for name, shapes in zip(names, expected.values(), strict=False)
            for key, shape in shapes.items()
        },
    )
    return {
        ours: [as_float32(layer.read(key)) for key in expected[ours]]
        for ours, layer in zip(expected, layers, strict=True)
    }
