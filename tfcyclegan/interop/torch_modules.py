"""The module names of the paper's PyTorch implementation ("the reference"), for each layer here."""

from __future__ import annotations

from collections.abc import Iterator

from .layouts import NORM_VECTORS, Convolution

#: For each convolution of ours the name of its module and of its norm.
Modules = dict[str, tuple[str, str]]

#: The tensors of a norm, in the order of Keras's batch norm.
NORM_NAMES = ("weight", "bias", "running_mean", "running_var")
COUNTER = "num_batches_tracked"


def resnet_modules(
    blocks: int, *, dropout: bool = False, resize: bool = False, block: str = "conv_block"
) -> Modules:
    """The modules of the reference's resnet: positions in the sequence `model`.

    Args:
        blocks: int, residual blocks.
        dropout: whether there is a dropout between the two convolutions of a block.
        resize: whether resizing, padding and a convolution replace each transposed convolution.
        block: the name of the sequence in a block.
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
    """The modules of the reference's U-Net: the sequence of each level contains the next one."""
    names = {"down1": ("model.model.0", ""), "up1": ("model.model.3", "")}
    inside = "model.model.1.model"
    for level in range(2, depth + 1):
        names[f"down{level}"] = (f"{inside}.1", f"{inside}.2")
        up = 3 if level == depth else 5
        names[f"up{level}"] = (f"{inside}.{up}", f"{inside}.{up + 1}")
        inside += ".3.model"
    return names


def patch_modules(layers: int) -> Modules:
    """The modules of the reference's PatchGAN."""
    places = {"c1": 0, "score": 2 + 3 * layers}
    places |= {f"c{level + 1}": 3 * level - 1 for level in range(1, layers + 1)}
    return {layer: (f"model.{at}", f"model.{at + 1}") for layer, at in places.items()}


def pixel_modules() -> Modules:
    """The modules of the reference's discriminator of single pixels."""
    return {"c1": ("net.0", ""), "c2": ("net.2", "net.3"), "score": ("net.5", "")}


def tensors_of(
    layers: list[Convolution], modules: Modules
) -> Iterator[tuple[str, str, tuple[int, ...], tuple[int, ...] | None]]:
    """For each tensor our layer, its name and shape in PyTorch, and the order of axes in Keras."""
    for layer in layers:
        convolution, norm = modules[layer.layer]
        side = (layer.size, layer.size)
        channels = (layer.filters, layer.inputs)
        shape = (*(channels[::-1] if layer.transposed else channels), *side)
        yield layer.layer, f"{convolution}.weight", shape, (2, 3, 1, 0)
        if layer.bias:
            yield layer.layer, f"{convolution}.bias", (layer.filters,), None
        for name in NORM_NAMES[: NORM_VECTORS[layer.norm]]:
            yield f"{layer.layer}_norm", f"{norm}.{name}", (layer.filters,), None
