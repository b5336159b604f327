"""State dictionaries of PyTorch's CycleGANs: which network one is, and its weights.

Two families of code are known, by the names of their modules:

- the paper's own PyTorch implementation (here "the reference"): generators `resnet_6blocks`,
  `resnet_9blocks` and of any other count, `unet_128` and `unet_256`, discriminators `basic`,
  `n_layers` and `pixel`; and what was derived from it without changing its modules' order;
- the one "from scratch" that is found in many courses and blogs, whose generator is made of
  `initial`, `down_blocks`, `res_blocks`, `up_blocks` and `last`.

What names and shapes do not say goes by how that code builds: in the reference a convolution in
front of an instance norm has a bias and one in front of a batch norm has none.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import InputError
from ..networks.factory import Norm
from .layouts import (
    NORM_VECTORS,
    Convolution,
    Network,
    as_float32,
    compare,
    convolutions,
    some,
    total_bytes,
)

Tensors = Mapping[str, np.ndarray]
#: For each convolution of ours the names of its module and of its norm's.
Modules = dict[str, tuple[str, str]]

REFERENCE = "PyTorch, the paper's implementation"
FROM_SCRATCH = "PyTorch, from scratch"

#: What a norm keeps: always the same four, in the order of Keras's batch norm.
_NORM_NAMES = ("weight", "bias", "running_mean", "running_var")
_COUNTER = "num_batches_tracked"

_STATISTICS_NOTE = (
    "running statistics beside its instance norms are not used: the reference normalises each "
    "picture by itself, in inference too"
)
_NEAREST_NOTE = (
    "it enlarges by resizing, and a file does not say how: taken for nearest neighbour, which is "
    "PyTorch's default"
)


def state_dict(content: Any, where: object, file_size: int) -> dict[str, np.ndarray]:
    """The named tensors of what was saved: a state dictionary, or one under `state_dict`.

    A prefix `module.`, which DataParallel leaves, is taken off.

    Args:
        content: from `read_torch_file`.
        where: the file, for messages.
        file_size: int, bytes of the file.

    Raises:
        InputError: there is none.
    """
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise InputError(f"{where}: no state dictionary in it, and nothing under state_dict")
    odd = [key for key, value in content.items() if not isinstance(value, np.ndarray)]
    if odd:
        raise InputError(
            f"{where}: no state dictionary: {some([str(key) for key in odd], 5)} in it "
            "are no tensors: save network.state_dict() alone"
        )
    tensors = {str(key): value for key, value in content.items()}
    if total_bytes(tensors.values()) > 4 * file_size:
        raise InputError(
            f"{where}: its tensors would fill {total_bytes(tensors.values())} bytes, the file "
            f"has {file_size}: one is in it many times over"
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
        InputError: none that is known, or not quite one; what is missing, too much or of another
            shape is named.
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
        f"{where}: no network that is known here. It has {some(list(tensors), 5)}; known are the "
        "generators and discriminators of the paper's PyTorch implementation (model.1.weight, …) "
        "and of the one from scratch (initial, down_blocks, res_blocks, up_blocks, last)"
    )


# ---------------------------------------------------------------------- the reference


def resnet_modules(
    blocks: int, *, dropout: bool = False, resize: bool = False, block: str = "conv_block"
) -> Modules:
    """Where the reference's resnet keeps what: places in `model`, a sequence.

    Args:
        blocks: int, residual blocks.
        dropout: whether a dropout lies between the two convolutions of a block.
        resize: whether resizing, mirroring and a convolution stand for a transposed one.
        block: the name of the sequence within a block.
    """
    modules = {"c7_in": 1, "d1": 4, "d2": 7}
    behind = 10 + blocks
    if resize:
        modules |= {"u2": behind + 2, "u1": behind + 7, "c7_out": behind + 11}
    else:
        modules |= {"u2": behind, "u1": behind + 3, "c7_out": behind + 7}
    names = {layer: (f"model.{at}", f"model.{at + 1}") for layer, at in modules.items()}
    for number in range(1, blocks + 1):
        for half, at in (("a", 1), ("b", 6 if dropout else 5)):
            inside = f"model.{9 + number}.{block}"
            names[f"r{number}{half}"] = (f"{inside}.{at}", f"{inside}.{at + 1}")
    return names


def unet_modules(depth: int) -> Modules:
    """Where the reference's U-Net keeps what: each level's sequence lies within the last one's."""
    names = {"down1": ("model.model.0", ""), "up1": ("model.model.3", "")}
    inside = "model.model.1.model"
    for level in range(2, depth + 1):
        names[f"down{level}"] = (f"{inside}.1", f"{inside}.2")
        up = 3 if level == depth else 5
        names[f"up{level}"] = (f"{inside}.{up}", f"{inside}.{up + 1}")
        inside += ".3.model"
    return names


def patch_modules(layers: int) -> Modules:
    """Where the reference's PatchGAN keeps what."""
    places = {"c1": 0, "score": 2 + 3 * layers}
    places |= {f"c{level + 1}": 3 * level - 1 for level in range(1, layers + 1)}
    return {layer: (f"model.{at}", f"model.{at + 1}") for layer, at in places.items()}


def pixel_modules() -> Modules:
    """Where the reference's discriminator of single pixels keeps what."""
    return {"c1": ("net.0", ""), "c2": ("net.2", "net.3"), "score": ("net.5", "")}


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
    dropout = np.ndim(tensors.get(f"model.10.{block}.6.weight")) == 4
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
        raise InputError(f"{where}: a U-Net of {depth} halvings, where one has at least 5")
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
    # The first convolution stands alone, in a sequence, or in a block like all the others.
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


# ---------------------------------------------------------------------- what all have in common


def _kernel(tensors: Tensors, module: str, where: object) -> tuple[int, ...]:
    """The shape of a convolution's kernel, which decides what the network has to be."""
    name = f"{module}.weight"
    if name not in tensors:
        raise InputError(f"{where}: not quite a network that is known here: missing: {name}")
    shape = tensors[name].shape
    if len(shape) != 4 or 0 in shape:
        raise InputError(
            f"{where}: not quite a network that is known here: {name} is {shape} where a "
            "convolution has four sides"
        )
    return shape


def _norm_settings(tensors: Tensors, convolution: str, norm: str) -> dict[str, Any]:
    """Which norm, read off a place where every network of the kind has one."""
    bias, statistics = f"{convolution}.bias" in tensors, f"{norm}.running_mean" in tensors
    if f"{norm}.weight" in tensors:
        # An instance norm kept statistics before PyTorch 0.4.1, which brought the counter.
        counted = f"{norm}.{_COUNTER}" in tensors
        kind: Norm = "batch" if statistics and (counted or not bias) else "instance-affine"
    else:
        kind = "instance" if statistics or bias else "none"
    return {"norm": kind, "use_bias": bias, "epsilon": 1e-5, "alignment": "torch"}


def _parts(
    layers: list[Convolution], modules: Modules
) -> Iterator[tuple[str, str, tuple[int, ...], tuple[int, ...] | None]]:
    """Every tensor of a network: its layer here, its name and shape there, and how to turn it."""
    for layer in layers:
        convolution, norm = modules[layer.layer]
        side = (layer.size, layer.size)
        channels = (layer.filters, layer.inputs)
        shape = (*(channels[::-1] if layer.transposed else channels), *side)
        yield layer.layer, f"{convolution}.weight", shape, (2, 3, 1, 0)
        if layer.bias:
            yield layer.layer, f"{convolution}.bias", (layer.filters,), None
        for name in _NORM_NAMES[: NORM_VECTORS[layer.norm]]:
            yield f"{layer.layer}_norm", f"{norm}.{name}", (layer.filters,), None


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
    parts = list(_parts(layers, modules))
    statistics = [
        f"{modules[layer.layer][1]}.{name}"
        for layer in layers
        if layer.norm.startswith("instance")
        for name in _NORM_NAMES[2:]
    ]
    counters = [f"{modules[layer.layer][1]}.{_COUNTER}" for layer in layers if layer.norm != "none"]
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
            raise InputError(f"{where}: {name} is of {value.dtype}, where weights are floats")
        weights.setdefault(layer, []).append(as_float32(value.transpose(axes) if axes else value))
    if any(name in tensors for name in statistics):
        notes = (*notes, _STATISTICS_NOTE)
    return Network(origin, settings, channels, output_channels, weights, notes)


# ---------------------------------------------------------------------- the way back


def reference_state_dict(network: Network) -> dict[str, np.ndarray]:
    """A network's weights under the reference's names and in PyTorch's order of axes.

    Biases that the reference has in front of its instance norms, and this network has not, are
    zeros: an instance norm takes any bias off again.

    Raises:
        InputError: the reference has no such network.
    """
    problem = _not_in_the_reference(network.settings)
    if problem:
        raise InputError(f"the reference has no {problem}")
    settings = dict(network.settings)
    if settings.get("generator") == "resnet":
        modules = resnet_modules(settings["blocks"], dropout=settings["dropout"] > 0)
    elif settings.get("generator") == "unet":
        modules = unet_modules(settings["depth"])
    elif settings["discriminator"] == "patch":
        modules = patch_modules(settings["discriminator_layers"])
    else:
        modules = pixel_modules()
    settings["use_bias"] = settings["norm"].startswith("instance")
    layers = convolutions(settings, network.channels, network.output_channels)
    left = {layer: list(arrays) for layer, arrays in network.weights.items()}
    tensors = {}
    for layer, name, shape, axes in _parts(layers, modules):
        if name.endswith(".bias") and not left[layer]:
            tensors[name] = np.zeros(shape, np.float32)
            continue
        value = left[layer].pop(0)
        tensors[name] = value.transpose(3, 2, 0, 1) if axes else value
        if name.endswith(".running_var"):
            tensors[name.replace("running_var", _COUNTER)] = np.zeros((), np.int64)
    return tensors


def _not_in_the_reference(settings: Mapping[str, Any]) -> str | None:
    """What of a network the reference's code cannot express, in words."""
    norm, bias = settings["norm"], settings["use_bias"]
    for found, words in (
        (settings.get("residual_output"), "residual_output"),
        (settings.get("bare_first"), "bare first convolution"),
        (settings.get("downsampling_padding") == "reflect", "strided convolution with reflection"),
        (settings.get("upsampling") == "resize", "upsampling by resizing"),
        (settings.get("discriminator_padding") == "reflect", "discriminator with reflection"),
        (settings.get("sigmoid"), "discriminator with a sigmoid"),
        (settings["alignment"] == "tensorflow", "alignment as in TensorFlow"),
        (settings["epsilon"] != 1e-5, f"epsilon of {settings['epsilon']:g}"),
        (bias and norm == "batch", "bias in front of a batch norm"),
        (bias and norm == "none", "bias in front of no norm"),
        (
            not bias and norm.startswith("instance") and settings.get("discriminator") == "pixel",
            "last convolution without a bias",
        ),
    ):
        if found:
            return words
    return None
