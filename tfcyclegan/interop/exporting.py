"""A run's networks as the paper's PyTorch implementation loads them."""

from __future__ import annotations

import os
from pathlib import Path

import keras

from ..cyclegan import CycleGAN
from ..errors import InputError
from ..networks.inspection import difference
from ..training.build import build_discriminator, build_generator
from ..training.config import ARCHITECTURE, Config
from .importing import _DIRECTIONS, _DOMAINS
from .layouts import Network, weights_by_layer
from .pytorch import reference_state_dict
from .sources import REFERENCE_NAMES
from .torch_files import write_torch_file


def export_to_pytorch(
    model: keras.Model, config: Config, directory: str | os.PathLike
) -> list[Path]:
    """Writes a run's networks as the paper's PyTorch implementation keeps them.

    `latest_net_G_A.pth` is G, `latest_net_G_B.pth` F; `latest_net_D_A.pth` is D_B, since there
    D_A judges what G_A draws, and `latest_net_D_B.pth` D_A. `torch.load(FILE, weights_only=True)`
    reads them, and that implementation's `load_state_dict` takes them.

    Args:
        model: a `CycleGAN` or a generator alone.
        config: the settings it was built by.
        directory: where to; there must be no files of these names.

    Returns:
        The files.

    Raises:
        InputError: a network that the implementation has no counterpart of, or another than the
            settings say; or a file that is there already.

    Example:
        ```python
        model, config, name = open_run("runs/horse2zebra")
        export_to_pytorch(model, config, "checkpoints/horse2zebra")
        ```
    """
    if isinstance(model, CycleGAN):
        networks = {name: getattr(model, name) for name in ("G", "F", "D_A", "D_B")}
    else:
        networks = {model.name if model.name in _DIRECTIONS else "G": model}
    theirs = {ours: name for name, ours in REFERENCE_NAMES.items()}
    files = {}
    for name, network in networks.items():
        try:
            tensors = reference_state_dict(_described(network, name, config))
        except InputError as problem:
            raise InputError(f"--to-pytorch: {name} cannot go there: {problem}") from problem
        files[Path(directory, f"latest_net_{theirs[name]}.pth")] = tensors
    for path in files:
        if path.exists():
            raise InputError(f"--to-pytorch: {path} is there already: give another folder")
    try:
        for path, tensors in files.items():
            write_torch_file(path, tensors)
    except BaseException:
        for path in files:
            path.unlink(missing_ok=True)  # all four or none
        raise
    return list(files)


def _described(network: keras.Model, name: str, config: Config) -> Network:
    """One of our networks with the settings it was built by, if it was."""
    generator = name in _DIRECTIONS
    settings = {setting: getattr(config, setting) for setting in ARCHITECTURE}
    if settings["use_bias"] is None:
        settings["use_bias"] = config.norm != "batch"
    if config.generator == "unet":
        settings["depth"] = config.divisor.bit_length() - 1
    settings = {
        setting: value
        for setting, value in settings.items()
        if setting in ("norm", "use_bias", "epsilon", "alignment")
        or ("discriminator" in setting or setting == "sigmoid") != generator
    }
    channels, output_channels = network.input_shape[-1], network.output_shape[-1]
    described = Network("", settings, channels, output_channels, weights_by_layer(network))
    if generator:
        again = build_generator(config, _DIRECTIONS[name])
    else:
        again = build_discriminator(config, _DOMAINS[name])
    if odd := difference(network, again):
        raise InputError(f"it is not the network that the run's config.json describes: {odd}")
    return described
