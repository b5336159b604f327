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

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..networks.factory import Norm
from .layouts import Network, as_float32, check_size, compare, complete_settings, convolutions, some
from .torch_modules import (
    COUNTER,
    Modules,
    norm_of,
    reference_modules,
    scratch_discriminator,
    scratch_generator,
    tensors_of,
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
    odd = [str(key) for key, value in content.items() if not isinstance(value, np.ndarray)]
    if odd:
        raise InputError(
            f"{where}: not a state dictionary: {some(odd, 5)} in it are not tensors: save only "
            "network.state_dict()"
        )
    check_size(where, sum(array.nbytes for array in content.values()), file_size)
    tensors = {str(key): value for key, value in content.items()}
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
    for name, read_layout in _LAYOUTS.items():
        if name in tensors:
            return _network(read_layout(tensors), tensors, where)
    raise InputError(
        f"{where}: not a known network. It has {some(list(tensors), 5)}; known are the "
        "generators and discriminators of the paper's PyTorch implementation (model.1.weight, …) "
        "and of the implementation from scratch (initial, down_blocks, res_blocks, up_blocks, last)"
    )


class _Layout(NamedTuple):
    """What the names of tensors tell.

    Attributes:
        origin: the kind of code.
        settings: the fields of `Architecture` that are not the paper's.
        modules: the convolutions. The second one has a norm in every network of the kind.
    """

    origin: str
    settings: dict[str, Any]
    modules: Modules


def _reference(settings: dict[str, Any], block: str = "conv_block") -> _Layout:
    return _Layout(REFERENCE, settings, reference_modules(settings, block))


def _resnet(tensors: Tensors) -> _Layout:
    insides = {
        found[1]: found[2]
        for name in tensors
        if (found := re.match(r"model\.(\d{1,4})\.(conv_block|block)\.", name))
    }
    blocks, block = len(insides), next(iter(insides.values()), "conv_block")
    settings: dict[str, Any] = {"generator": "resnet", "blocks": blocks}
    if f"model.{12 + blocks}.weight" in tensors:
        settings["upsampling"] = "resize"
    if np.ndim(tensors.get(f"model.10.{block}.6.weight", 0)) == 4:
        settings["dropout"] = 0.5
    return _reference(settings, block)


def _unet(tensors: Tensors) -> _Layout:
    depth, inside = 1, "model.model.1.model"
    while f"{inside}.1.weight" in tensors:
        depth, inside = depth + 1, f"{inside}.3.model"
    return _reference({"generator": "unet", "depth": depth})


def _patch(tensors: Tensors) -> _Layout:
    layers = max(1, sum(np.ndim(array) == 4 for array in tensors.values()) - 2)
    return _reference({"discriminator": "patch", "discriminator_layers": layers})


def _pixel(_: Tensors) -> _Layout:
    return _reference({"discriminator": "pixel"})


def _from_scratch_generator(tensors: Tensors) -> _Layout:
    # The first convolution is by itself, in a sequence, or in a block like all others.
    first = next(
        (name for name in ("initial", "initial.conv.0") if f"{name}.weight" in tensors), "initial.0"
    )
    blocks = len({name.split(".")[1] for name in tensors if name.startswith("res_blocks.")})
    settings = {
        "generator": "resnet",
        "blocks": blocks,
        "bare_first": first == "initial",
        "downsampling_padding": "reflect",
    }
    return _Layout(FROM_SCRATCH, settings, scratch_generator(blocks, first))


def _from_scratch_discriminator(tensors: Tensors) -> _Layout:
    layers = sum(bool(re.fullmatch(r"model\.\d+\.conv\.0\.weight", name)) for name in tensors)
    # The last convolution is in a sequence with its sigmoid, or in that of the others.
    last = "final.0" if "final.0.weight" in tensors else f"model.{layers}"
    settings = {
        "discriminator": "patch",
        "discriminator_layers": layers,
        "discriminator_padding": "reflect",
        "sigmoid": True,
    }
    return _Layout(FROM_SCRATCH, settings, scratch_discriminator(layers, last))


#: The layouts by the tensor that tells them. The first one that is in the file decides.
_LAYOUTS: dict[str, Callable[[Tensors], _Layout]] = {
    "down_blocks.0.conv.0.weight": _from_scratch_generator,
    "model.0.conv.0.weight": _from_scratch_discriminator,
    "model.model.0.weight": _unet,
    "net.0.weight": _pixel,
    "model.0.weight": _patch,
    "model.1.weight": _resnet,
}


def _network(layout: _Layout, tensors: Tensors, where: object) -> Network:
    """Reads the settings that shapes tell, compares all shapes, and takes the weights."""
    modules = layout.modules
    names = list(modules.values())
    first, last = _kernel(tensors, names[0], where), _kernel(tensors, names[-1], where)
    channels, filters = first[1], first[0]
    settings = layout.settings | _norm_settings(tensors, names[1])
    if "generator" in settings:
        settings = complete_settings("generator", settings | {"filters": filters})
        output_channels = last[1 if settings["generator"] == "unet" else 0]
    else:
        settings |= {"discriminator_filters": filters}
        settings, output_channels = complete_settings("discriminator", settings), 1
    layers = convolutions(settings, channels, output_channels)
    norms = {norm_of(modules[layer.layer]): layer.norm for layer in layers if layer.norm != "none"}
    counters = [f"{norm}.{COUNTER}" for norm in norms]
    statistics = [
        f"{norm}.{name}"
        for norm, kind in norms.items()
        if kind != "batch"
        for name in ("running_mean", "running_var")
    ]
    parts = list(tensors_of(layers, modules))
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
    notes: tuple[str, ...] = ()
    if settings.get("upsampling") == "resize":
        notes = (_NEAREST_NOTE,)
    if any(name in tensors for name in statistics):
        notes = (*notes, _STATISTICS_NOTE)
    return Network(layout.origin, settings, channels, output_channels, weights, notes)


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


def _norm_settings(tensors: Tensors, module: str) -> dict[str, Any]:
    """The settings of the norms, from a convolution that has one in every network of the kind."""
    norm = norm_of(module)
    bias, statistics = f"{module}.bias" in tensors, f"{norm}.running_mean" in tensors
    if f"{norm}.weight" in tensors:
        # Instance norms had statistics before PyTorch 0.4.1, which added the counter.
        counted = f"{norm}.{COUNTER}" in tensors
        kind: Norm = "batch" if statistics and (counted or not bias) else "instance-affine"
    else:
        kind = "instance" if statistics or bias else "none"
    return {"norm": kind, "use_bias": bias, "epsilon": 1e-5, "alignment": "torch"}
