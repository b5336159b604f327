"""State dictionaries of PyTorch's CycleGANs: recognises the network and takes its weights.

The names of the modules tell two families of code apart:

- the paper's own PyTorch implementation (here "the reference"): generators `resnet_6blocks`,
  `resnet_9blocks` and any other number of blocks, `unet_128` and `unet_256`, discriminators
  `basic`, `n_layers` and `pixel`; and code derived from it with the same order of modules;
- the implementation "from scratch" of many courses and blogs, whose generator has the modules
  `initial`, `down_blocks`, `res_blocks`, `up_blocks` and `last`.

Where names and shapes are ambiguous, the defaults of that code decide: in the reference a
convolution before an instance norm has a bias, and one before a batch norm has none.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import InputError
from ..networks.factory import Norm
from .layouts import Network, as_float32, compare, convolutions, some, total_bytes
from .torch_modules import (
    COUNTER,
    NORM_NAMES,
    Modules,
    patch_modules,
    pixel_modules,
    resnet_modules,
    tensors_of,
    unet_modules,
)

Tensors = Mapping[str, np.ndarray]

REFERENCE = "PyTorch, the paper's implementation"
FROM_SCRATCH = "PyTorch, from scratch"

_STATISTICS_NOTE = (
    "the running statistics of its instance norms are not used: the reference normalises each "
    "picture by itself, at inference too"
)
_NEAREST_NOTE = (
    "it upsamples by resizing, and the file does not say how: nearest neighbour, PyTorch's "
    "default, is assumed"
)


def state_dict(content: Any, where: object, file_size: int) -> dict[str, np.ndarray]:
    """The tensors of a state dictionary, or of one under the key `state_dict`.

    The prefix `module.`, which DataParallel adds, is removed.

    Args:
        content: from `read_torch_file`.
        where: the file, for messages.
        file_size: int, bytes of the file.

    Raises:
        InputError: there is no state dictionary.
    """
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise InputError(f"{where}: no state dictionary in it, nor under the key state_dict")
    odd = [key for key, value in content.items() if not isinstance(value, np.ndarray)]
    if odd:
        raise InputError(
            f"{where}: not a state dictionary: {some([str(key) for key in odd], 5)} in it "
            "are not tensors: save only network.state_dict()"
        )
    tensors = {str(key): value for key, value in content.items()}
    if total_bytes(tensors.values()) > 4 * file_size:
        raise InputError(
            f"{where}: its tensors would fill {total_bytes(tensors.values())} bytes, but the "
            f"file has {file_size}: it repeats a tensor"
        )
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def read_network(tensors: Tensors, where: object) -> Network:
    """Recognises a network by the names of its tensors and takes its weights.

    Args:
        tensors: from `state_dict`.
        where: the file, for messages.

    Raises:
        InputError: an unknown network, or one with missing or unknown tensors or other shapes; the
            message names them.
    """
    for fits, read in (
        ("down_blocks.0.conv.0.weight", _from_scratch_generator),
        ("model.0.conv.0.weight", _from_scratch_discriminator),
        ("model.model.0.weight", _unet),
        ("net.0.weight", _pixel),
        ("model.0.weight", _patch),
        ("model.1.weight", _resnet),
    ):
        if fits in tensors:
            return read(tensors, where)
    raise InputError(
        f"{where}: not a known network. It has {some(list(tensors), 5)}; known are the "
        "generators and discriminators of the paper's PyTorch implementation (model.1.weight, …) "
        "and of the implementation from scratch (initial, down_blocks, res_blocks, up_blocks, last)"
    )


# ---------------------------------------------------------------------- the reference


def _resnet(tensors: Tensors, where: object) -> Network:
    insides = {
        int(found[1]): found[2]
        for name in tensors
        if (found := re.match(r"model\.(\d{1,4})\.(conv_block|block)\.", name))
    }
    blocks = len(insides)
    block = next(iter(insides.values()), "conv_block")
    transposed, resized = (f"model.{at + blocks}.weight" in tensors for at in (10, 12))
    resize = resized and not transposed
    dropout = np.ndim(tensors.get(f"model.10.{block}.6.weight", 0)) == 4
    modules = resnet_modules(blocks, dropout=dropout, resize=resize, block=block)
    first, last = _kernel(tensors, "model.1", where), _kernel(tensors, modules["c7_out"][0], where)
    settings = {
        "generator": "resnet",
        "filters": first[0],
        "blocks": blocks,
        "upsampling": "resize" if resize else "transposed",
        "dropout": 0.5 if dropout else 0.0,
        "bare_first": False,
        "downsampling_padding": "zero",
        **_norm_settings(tensors, *modules["d1"]),
    }
    notes = (_NEAREST_NOTE,) if resize else ()
    return _network(REFERENCE, settings, first[1], last[0], modules, tensors, where, notes)


def _unet(tensors: Tensors, where: object) -> Network:
    depth, inside = 1, "model.model.1.model"
    while f"{inside}.1.weight" in tensors:
        depth, inside = depth + 1, f"{inside}.3.model"
    if depth < 5:
        raise InputError(f"{where}: a U-Net of {depth} halvings: it must have at least 5")
    modules = unet_modules(depth)
    first, last = _kernel(tensors, "model.model.0", where), _kernel(tensors, "model.model.3", where)
    settings = {
        "generator": "unet",
        "filters": first[0],
        "depth": depth,
        "dropout": 0.0,
        **_norm_settings(tensors, *modules["down2"]),
    }
    return _network(REFERENCE, settings, first[1], last[1], modules, tensors, where)


def _patch(tensors: Tensors, where: object) -> Network:
    kernels = [name for name in tensors if np.ndim(tensors[name]) == 4]
    layers = max(1, len(kernels) - 2)
    modules = patch_modules(layers)
    first = _kernel(tensors, "model.0", where)
    settings = {
        "discriminator": "patch",
        "discriminator_filters": first[0],
        "discriminator_layers": layers,
        "discriminator_padding": "zero",
        "sigmoid": False,
        **_norm_settings(tensors, *modules["c2"]),
    }
    return _network(REFERENCE, settings, first[1], 1, modules, tensors, where)


def _pixel(tensors: Tensors, where: object) -> Network:
    modules = pixel_modules()
    first = _kernel(tensors, "net.0", where)
    settings = {
        "discriminator": "pixel",
        "discriminator_filters": first[0],
        "sigmoid": False,
        **_norm_settings(tensors, *modules["c2"]),
    }
    return _network(REFERENCE, settings, first[1], 1, modules, tensors, where)


# ---------------------------------------------------------------------- from scratch


def _from_scratch_generator(tensors: Tensors, where: object) -> Network:
    blocks = len({name.split(".")[1] for name in tensors if name.startswith("res_blocks.")})
    # The first convolution is by itself, in a sequence, or in a block like all others.
    bare = "initial.weight" in tensors
    inside = "initial" if "initial.conv.0.weight" not in tensors else "initial.conv"
    modules = {
        "c7_in": ("initial", "") if bare else (f"{inside}.0", f"{inside}.1"),
        "d1": ("down_blocks.0.conv.0", "down_blocks.0.conv.1"),
        "d2": ("down_blocks.1.conv.0", "down_blocks.1.conv.1"),
        "u2": ("up_blocks.0.conv.0", "up_blocks.0.conv.1"),
        "u1": ("up_blocks.1.conv.0", "up_blocks.1.conv.1"),
        "c7_out": ("last", ""),
    }
    for number, half in itertools.product(range(blocks), (0, 1)):
        block = f"res_blocks.{number}.block.{half}.conv"
        modules[f"r{number + 1}{'ab'[half]}"] = (f"{block}.0", f"{block}.1")
    first, last = _kernel(tensors, modules["c7_in"][0], where), _kernel(tensors, "last", where)
    settings = {
        "generator": "resnet",
        "filters": first[0],
        "blocks": blocks,
        "upsampling": "transposed",
        "dropout": 0.0,
        "bare_first": bare,
        "downsampling_padding": "reflect",
        **_norm_settings(tensors, *modules["d1"]),
    }
    return _network(FROM_SCRATCH, settings, first[1], last[0], modules, tensors, where)


def _from_scratch_discriminator(tensors: Tensors, where: object) -> Network:
    layers = sum(bool(re.fullmatch(r"model\.\d+\.conv\.0\.weight", name)) for name in tensors)
    modules = {"c1": ("initial.0", ""), "score": (f"model.{layers}", "")}
    for level in range(layers):
        modules[f"c{level + 2}"] = (f"model.{level}.conv.0", f"model.{level}.conv.1")
    first = _kernel(tensors, "initial.0", where)
    settings = {
        "discriminator": "patch",
        "discriminator_filters": first[0],
        "discriminator_layers": layers,
        "discriminator_padding": "reflect",
        "sigmoid": True,
        **_norm_settings(tensors, *modules["c2"]),
    }
    return _network(FROM_SCRATCH, settings, first[1], 1, modules, tensors, where)


# ---------------------------------------------------------------------- both


def _kernel(tensors: Tensors, module: str, where: object) -> tuple[int, ...]:
    """The shape of a kernel that determines the other shapes."""
    name = f"{module}.weight"
    if name not in tensors:
        raise InputError(f"{where}: almost a known network, but missing: {name}")
    shape = tensors[name].shape
    if len(shape) != 4 or 0 in shape:
        raise InputError(
            f"{where}: almost a known network, but {name} is {shape}; a kernel has four "
            "dimensions, none of them 0"
        )
    return shape


def _norm_settings(tensors: Tensors, convolution: str, norm: str) -> dict[str, Any]:
    """The settings of the norms, from a layer that has a norm in every network of the kind."""
    bias, statistics = f"{convolution}.bias" in tensors, f"{norm}.running_mean" in tensors
    if f"{norm}.weight" in tensors:
        # Instance norms had statistics before PyTorch 0.4.1, which added the counter.
        counted = f"{norm}.{COUNTER}" in tensors
        kind: Norm = "batch" if statistics and (counted or not bias) else "instance-affine"
    else:
        kind = "instance" if statistics or bias else "none"
    return {"norm": kind, "use_bias": bias, "epsilon": 1e-5, "alignment": "torch"}


def _network(
    origin: str,
    settings: dict[str, Any],
    channels: int,
    output_channels: int,
    modules: Modules,
    tensors: Tensors,
    where: object,
    notes: tuple[str, ...] = (),
) -> Network:
    layers = convolutions(settings, channels, output_channels)
    parts = list(tensors_of(layers, modules))
    statistics = [
        f"{modules[layer.layer][1]}.{name}"
        for layer in layers
        if layer.norm.startswith("instance")
        for name in NORM_NAMES[2:]
    ]
    counters = [f"{modules[layer.layer][1]}.{COUNTER}" for layer in layers if layer.norm != "none"]
    compare(
        where,
        {name: value.shape for name, value in tensors.items()},
        {name: shape for _, name, shape, _ in parts},
        ignored=[*statistics, *counters],
    )
    weights: dict[str, list[np.ndarray]] = {}
    for layer, name, _, axes in parts:
        value = tensors[name]
        if value.dtype.kind != "f":
            raise InputError(f"{where}: {name} is {value.dtype}, but weights are floats")
        weights.setdefault(layer, []).append(as_float32(value.transpose(axes) if axes else value))
    if any(name in tensors for name in statistics):
        notes = (*notes, _STATISTICS_NOTE)
    return Network(origin, settings, channels, output_channels, weights, notes)
