"""Keras models with tensorflow-addons' InstanceNormalization.

These are the generators and discriminators of the CycleGAN example on Keras's site and of
LynnHo/CycleGAN-Tensorflow-2, and models derived from them: convolutions with padding "same",
instance norm with scale and shift and an epsilon of 1e-3, and no biases before a norm. Their
weights are read as arrays (see `hdf5` and `tf_checkpoint`), without tensorflow-addons and Keras 2.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from .addons_config import EPSILON, epsilon_of
from .layouts import (
    Network,
    as_float32,
    check_size,
    compare,
    complete_settings,
    convolutions,
    some,
)

ORIGIN = "Keras with tensorflow-addons"

#: The attributes of the example's model. Its X and Y are the paper's A and B.
EXAMPLE_NAMES = {"gen_G": "G", "gen_F": "F", "disc_X": "D_A", "disc_Y": "D_B"}

#: The names in the checkpoints of LynnHo/CycleGAN-Tensorflow-2.
LYNNHO_NAMES = {"G_A2B": "G", "G_B2A": "F", "D_A": "D_A", "D_B": "D_B"}

_ASSUMED = (
    "files of weights do not say which norm, epsilon and padding they go with: those of the Keras "
    "example are assumed"
)


class Array(NamedTuple):
    """An array in a file.

    Attributes:
        shape: its shape.
        read: returns its values.
    """

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


#: The layers that have weights, in order, by their names in the file: kernel, bias, gamma, beta.
Layers = Mapping[str, Mapping[str, Array]]


def read_network(
    layers: Layers,
    where: object,
    file_size: int,
    config: str | bytes | None = None,
) -> Network:
    """Recognises a network by the shapes of its layers, then reads its weights.

    Args:
        layers: the layers that have weights, in order.
        where: the file, for messages.
        file_size: int, bytes of the file.
        config: the JSON in the attribute `model_config`, if the file has it.

    Raises:
        InputError: not a generator or discriminator of the example.
    """
    for name, arrays in layers.items():
        if "moving_mean" in arrays or re.search(r"group_norm|layer_norm", name):
            raise InputError(
                f"{where}: {name} is not an instance norm: of Keras models only those with "
                "tensorflow-addons' InstanceNormalization can be read"
            )
    shapes = {
        f"{name}/{key}": array.shape
        for name, arrays in layers.items()
        for key, array in arrays.items()
    }
    check_size(where, 4 * sum(map(math.prod, shapes.values())), file_size)
    summary = f"it has {some(list(shapes), 5)}" if shapes else "it has no weights"
    kernels = [arrays["kernel"].shape for arrays in layers.values() if "kernel" in arrays]
    if not kernels or any(len(kernel) != 4 or 0 in kernel for kernel in kernels):
        raise InputError(f"{where}: not a network of 2D convolutions: {summary}")
    if config is None and not any("gamma" in arrays for arrays in layers.values()):
        raise InputError(
            f"{where}: no norm with weights in it: of Keras models only those with "
            f"tensorflow-addons' InstanceNormalization can be read: {summary}"
        )
    if kernels[0][:2] not in ((7, 7), (4, 4)):
        raise InputError(
            f"{where}: neither the generator nor the discriminator of the Keras example, whose "
            f"first kernels are 7×7 and 4×4: {summary}"
        )
    settings = _settings(layers, kernels)
    if config is not None:
        settings["epsilon"] = epsilon_of(settings, config, where)
    channels = kernels[0][2]
    output_channels = kernels[-1][3] if "generator" in settings else 1
    # Keras numbers its layers, so only their order counts.
    ours: dict[str, dict[str, tuple[int, ...]]] = {}
    for layer in convolutions(settings, channels, output_channels):
        ours |= layer.arrays
    # Messages use the file's names for the layers that it has, and ours for missing ones.
    names = [*layers, *list(ours)[len(layers) :]]
    if len({*names}) < len(names):
        raise InputError(f"{where}: two of its layers have the same name")
    expected = {
        f"{name}/{key}": shape
        for name, by_key in zip(names, ours.values(), strict=False)
        for key, shape in by_key.items()
    }
    compare(where, shapes, expected)  # before any value is read
    weights = {
        name: [as_float32(arrays[key].read()) for key in ours[name]]
        for name, arrays in zip(ours, layers.values(), strict=True)
    }
    notes = (_ASSUMED,) if config is None else ()
    return Network(ORIGIN, settings, channels, output_channels, weights, notes)


def _settings(layers: Layers, kernels: list[tuple[int, ...]]) -> dict[str, Any]:
    """The settings that the shapes tell."""
    convolutional = [arrays for arrays in layers.values() if "kernel" in arrays]
    affine = any("gamma" in arrays for arrays in layers.values())
    settings: dict[str, Any] = {
        "norm": "instance-affine" if affine else "instance",
        "use_bias": any("bias" in arrays for arrays in convolutional[1:2]),
        "epsilon": EPSILON,
        "alignment": "tensorflow",
    }
    filters, count = kernels[0][3], len(kernels)
    if kernels[0][:2] == (7, 7):
        settings |= {"filters": filters, "blocks": max(0, (count - 6) // 2)}
        return complete_settings("generator", settings)
    settings |= {"discriminator_filters": filters, "discriminator_layers": max(1, count - 2)}
    return complete_settings("discriminator", settings)
