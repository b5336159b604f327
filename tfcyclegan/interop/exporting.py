"""Networks as files for the paper's PyTorch implementation, or for the one from scratch."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..errors import InputError
from ..networks.architecture import Architecture
from ..networks.inspection import difference
from ..networks.resnet import default_blocks
from ..torch_files import write_torch_file
from .description import DIRECTIONS, DOMAINS
from .layouts import Network, complete_settings, convolutions, weights_by_layer
from .sources import FROM_SCRATCH_NAMES, REFERENCE_NAMES
from .torch_modules import (
    COUNTER,
    Modules,
    reference_modules,
    scratch_discriminator,
    scratch_generator,
    tensors_of,
)


def export_to_pytorch(
    networks: Mapping[str, keras.Model],
    architecture: Architecture,
    directory: str | os.PathLike,
    image_size: int = 256,
) -> list[Path]:
    """Writes networks as state dictionaries of a PyTorch implementation.

    That is the paper's ("the reference"), unless the generators' strided convolutions pad with
    reflection, as those of the recipe from-scratch do.

    `latest_net_G_A.pth` is G and `latest_net_G_B.pth` is F. `latest_net_D_A.pth` is D_B, because
    the reference's D_A judges the output of G_A; `latest_net_D_B.pth` is D_A. A pix2pix is
    `latest_net_G.pth` and `latest_net_D.pth`.
    From scratch they are `genz.pth.tar` (G), `genh.pth.tar` (F), `critich.pth.tar` (D_A) and
    `criticz.pth.tar` (D_B), with the state dictionary under the key "state_dict".
    `torch.load(FILE, weights_only=True)` reads the files, and `load_state_dict` accepts them.

    Args:
        networks: some of G, F, D_A and D_B by their names, or G and D.
        architecture: the `Architecture` that they were built by.
        directory: the folder to write to. It must not have files of these names.
        image_size: int, the size in px that they were built for. Default 256.

    Returns:
        The files.

    Raises:
        InputError: PyTorch has no such network, a network is not the one that
            `architecture` describes, or a file exists already.

    Example:
        ```python
        G = Architecture().build_generator("AtoB", image_size=256)
        export_to_pytorch({"G": G}, Architecture(), "checkpoints/horse2zebra")
        ```
    """
    generators = {"G", "F"} & {*networks}
    told = architecture.downsampling_padding if generators else architecture.discriminator_padding
    from_scratch = told == "reflect"
    if from_scratch and "D" in networks:
        raise InputError("PyTorch has no pix2pix whose strided convolutions pad with reflection")
    last = "final.0" if architecture.bare_first else f"model.{architecture.discriminator_layers}"
    scratch = functools.partial(scratch_state_dict, last=last)
    make = scratch if from_scratch else reference_state_dict
    files = {}
    for name, network in networks.items():
        try:
            tensors = make(_described(network, name, architecture, image_size))
        except InputError as problem:
            raise InputError(f"{name} cannot be exported to PyTorch: {problem}") from problem
        files[Path(directory, _file_name(name, from_scratch, "D" in networks))] = tensors
    for path in files:
        if path.exists():
            raise InputError(f"{path} exists already: give another folder")
    try:
        for path, tensors in files.items():
            write_torch_file(path, tensors, "state_dict" if from_scratch else None)
    except BaseException:
        for path in files:
            path.unlink(missing_ok=True)  # all files or none
        raise
    return list(files)


def _file_name(network: str, from_scratch: bool, pix2pix: bool) -> str:
    if from_scratch:
        return {ours: f"{name}.pth.tar" for name, ours in FROM_SCRATCH_NAMES.items()}[network]
    theirs = {ours: name for name, ours in REFERENCE_NAMES.items()} | (
        {"G": "G"} if pix2pix else {}
    )
    return f"latest_net_{theirs[network]}.pth"


def _described(
    network: keras.Model, name: str, architecture: Architecture, image_size: int
) -> Network:
    """A network with its settings and weights.

    Raises:
        InputError: the settings describe another network.
    """
    if name in DIRECTIONS:
        expected = architecture.build_generator(DIRECTIONS[name], image_size)
    else:
        if (kind := architecture.discriminator) not in ("patch", "pixel"):
            raise InputError(f"discriminator is {kind}, but the reference has only patch and pixel")
        expected = architecture.build_discriminator(DOMAINS[name], image_size)
    if found := difference(network, expected):
        raise InputError(f"it is not the network that its settings describe: {found}")
    settings = dataclasses.asdict(architecture)
    # Defaults that depend on others.
    if settings["use_bias"] is None:
        settings["use_bias"] = architecture.norm != "batch"
    if settings["blocks"] is None:
        settings["blocks"] = default_blocks(image_size)
    if architecture.generator == "unet":
        settings["depth"] = architecture.divisor(image_size).bit_length() - 1
    settings = complete_settings("generator" if name in DIRECTIONS else "discriminator", settings)
    channels, output_channels = network.input_shape[-1], network.output_shape[-1]
    return Network("", settings, channels, output_channels, weights_by_layer(network))


def reference_state_dict(network: Network) -> dict[str, np.ndarray]:
    """A network's weights under the reference's names and in PyTorch's order of axes.

    The reference has biases before its instance norms. If this network has none, they are zeros: an
    instance norm removes any bias.

    Raises:
        InputError: the reference has no such network.
    """
    _check_reference(network.settings)
    settings = {**network.settings, "use_bias": network.settings["norm"].startswith("instance")}
    return _state_dict(network, settings, reference_modules(settings))


def scratch_state_dict(network: Network, last: str = "final.0") -> dict[str, np.ndarray]:
    """The same for the implementation from scratch, with `last` for D's last convolution.

    Raises:
        InputError: it has no such network.
    """
    _check(network.settings, _SCRATCH, "the implementation from scratch")
    if not (norm := network.settings["norm"]).startswith("instance"):
        raise InputError(f"norm is {norm}, but the implementation from scratch has only instance")
    settings = {**network.settings, "use_bias": True}
    if network.role == "generator":
        first = "initial" if settings["bare_first"] else "initial.0"
        modules = scratch_generator(settings["blocks"], first)
    else:
        modules = scratch_discriminator(settings["discriminator_layers"], last)
    return _state_dict(network, settings, modules)


def _state_dict(
    network: Network, settings: Mapping[str, Any], modules: Modules
) -> dict[str, np.ndarray]:
    layers = convolutions(settings, network.channels, network.output_channels)
    left = {layer: list(arrays) for layer, arrays in network.weights.items()}
    tensors = {}
    for layer, name, shape, axes in tensors_of(layers, modules):
        if name.endswith(".bias") and not left[layer]:
            tensors[name] = np.zeros(shape, np.float32)
            continue
        value = left[layer].pop(0)
        tensors[name] = value.transpose(3, 2, 0, 1) if axes else value
        if name.endswith(".running_var"):
            tensors[name.replace("running_var", COUNTER)] = np.zeros((), np.int64)
    return tensors


#: The settings of all networks of the reference.
_REFERENCE = {
    "residual_output": False,
    "bare_first": False,
    "downsampling_padding": "zero",
    "upsampling": "transposed",
    "discriminator_padding": "zero",
    "sigmoid": False,
    "discriminator_translation": 0.0,
    "alignment": "torch",
    "epsilon": 1e-5,
}


#: The settings of all networks of the implementation from scratch.
_SCRATCH = {name: value for name, value in _REFERENCE.items() if name != "bare_first"} | {
    "generator": "resnet",
    "downsampling_padding": "reflect",
    "block_padding": "reflect",
    "dropout": 0.0,
    "discriminator": "patch",
    "discriminator_padding": "reflect",
    "sigmoid": True,
}


def _check(settings: Mapping[str, Any], allowed: Mapping[str, Any], whose: str) -> None:
    """Refuses the first setting that an implementation does not have."""
    for name, value in allowed.items():
        if settings.get(name, value) != value:
            raise InputError(f"{name} is {settings[name]}, but {whose} has only {value}")


def _check_reference(settings: Mapping[str, Any]) -> None:
    if settings.get("generator") == "fast":
        raise InputError("generator is fast, but the reference has only resnet and unet")
    _check(settings, _REFERENCE, "the reference")
    norm, bias = settings["norm"], settings["use_bias"]
    if bias and norm in ("batch", "none"):
        raise InputError(
            f"norm={norm} with biases, which the reference does not have: train with use_bias=False"
        )
    if not bias and norm.startswith("instance") and settings.get("discriminator") == "pixel":
        raise InputError("the reference has no pixel discriminator without biases")
