"""The module names of two PyTorch implementations, for each layer here.

"The reference" is the paper's. The other is "CycleGAN from scratch", of which there are versions:
https://github.com/aladdinpersson/Machine-Learning-Collection has one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .layouts import Convolution

#: For each convolution of ours the name of its module, in the order of the network.
Modules = dict[str, str]

COUNTER = "num_batches_tracked"

#: PyTorch's names of Keras's arrays.
_TENSORS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def norm_of(module: str) -> str:
    """The norm after a convolution: the next module in the same sequence."""
    sequence, _, place = module.rpartition(".")
    return f"{sequence}.{int(place) + 1}"


def reference_modules(settings: Mapping[str, Any], block: str = "conv_block") -> Modules:
    """The modules of a network of the reference.

    Args:
        settings: the fields of `Architecture` that describe it.
        block: the name of the sequence in a residual block.
    """
    if settings.get("generator") == "resnet":
        return _resnet(settings, block)
    if settings.get("generator") == "unet":
        return _unet(settings["depth"])
    if settings["discriminator"] == "pixel":
        return {"c1": "net.0", "c2": "net.2", "score": "net.5"}
    layers = settings["discriminator_layers"]
    strided = {f"c{level + 1}": f"model.{3 * level - 1}" for level in range(1, layers + 1)}
    return {"c1": "model.0", **strided, "score": f"model.{2 + 3 * layers}"}


def scratch_generator(blocks: int, first: str) -> Modules:
    """The modules of a generator from scratch, whose first convolution is the module `first`."""
    modules = {"c7_in": first, "d1": "down_blocks.0.conv.0", "d2": "down_blocks.1.conv.0"}
    for place in range(blocks):
        modules[f"r{place + 1}a"] = f"res_blocks.{place}.block.0.conv.0"
        modules[f"r{place + 1}b"] = f"res_blocks.{place}.block.1.conv.0"
    return modules | {"u2": "up_blocks.0.conv.0", "u1": "up_blocks.1.conv.0", "c7_out": "last"}


def scratch_discriminator(layers: int, last: str) -> Modules:
    """The modules of a discriminator from scratch, whose last convolution is the module `last`."""
    strided = {f"c{level + 2}": f"model.{level}.conv.0" for level in range(layers)}
    return {"c1": "initial.0", **strided, "score": last}


def _resnet(settings: Mapping[str, Any], block: str) -> Modules:
    """The positions in one sequence."""
    modules = {"c7_in": "model.1", "d1": "model.4", "d2": "model.7"}
    behind = 10 + settings["blocks"]
    for place in range(10, behind):
        modules[f"r{place - 9}a"] = f"model.{place}.{block}.1"
        # Dropout, if there is any, comes before the second padding.
        modules[f"r{place - 9}b"] = f"model.{place}.{block}.{6 if settings.get('dropout') else 5}"
    # Resizing and padding come before a convolution that is not transposed.
    up = (2, 7, 11) if settings.get("upsampling") == "resize" else (0, 3, 7)
    for layer, place in zip(("u2", "u1", "c7_out"), up, strict=True):
        modules[layer] = f"model.{behind + place}"
    return modules


def _unet(depth: int) -> Modules:
    """The sequence of each level contains the next one."""
    down, up = {"down1": "model.model.0"}, {"up1": "model.model.3"}
    inside = "model.model.1.model"
    for level in range(2, depth + 1):
        down[f"down{level}"] = f"{inside}.1"
        up = {f"up{level}": f"{inside}.{3 if level == depth else 5}", **up}
        inside += ".3.model"
    return down | up


def tensors_of(
    layers: list[Convolution], modules: Modules
) -> Iterator[tuple[str, str, tuple[int, ...], tuple[int, ...] | None]]:
    """For each tensor our layer, its name and shape in PyTorch, and the order of axes in Keras."""
    for layer in layers:
        module = modules[layer.layer]
        for name, shapes in layer.arrays.items():
            place = module if name == layer.layer else norm_of(module)
            for key, shape in shapes.items():
                kernel = key == "kernel"
                theirs = (*shape[:1:-1], *shape[:2]) if kernel else shape
                yield name, f"{place}.{_TENSORS[key]}", theirs, (2, 3, 1, 0) if kernel else None
