"""The module names of the paper's PyTorch implementation ("the reference"), for each layer here."""

from __future__ import annotations

from collections.abc import Iterator

from .layouts import NORM_VECTORS, Convolution

#: For each convolution of ours the name of its module, in the order of the network.
Modules = dict[str, str]

#: The tensors of a norm, in the order of Keras's batch norm.
NORM_NAMES = ("weight", "bias", "running_mean", "running_var")
COUNTER = "num_batches_tracked"


def norm_of(module: str) -> str:
    """The norm after a convolution: the next module in the same sequence."""
    sequence, _, place = module.rpartition(".")
    return f"{sequence}.{int(place) + 1}"


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
    modules = {"c7_in": "model.1", "d1": "model.4", "d2": "model.7"}
    for place in range(blocks):
        inside = f"model.{10 + place}.{block}"
        modules[f"r{place + 1}a"] = f"{inside}.1"
        modules[f"r{place + 1}b"] = f"{inside}.{6 if dropout else 5}"
    behind = 10 + blocks
    up = (2, 7, 11) if resize else (0, 3, 7)
    for layer, place in zip(("u2", "u1", "c7_out"), up, strict=True):
        modules[layer] = f"model.{behind + place}"
    return modules


def unet_modules(depth: int) -> Modules:
    """The modules of the reference's U-Net: the sequence of each level contains the next one."""
    down, up = {"down1": "model.model.0"}, {"up1": "model.model.3"}
    inside = "model.model.1.model"
    for level in range(2, depth + 1):
        down[f"down{level}"] = f"{inside}.1"
        up = {f"up{level}": f"{inside}.{3 if level == depth else 5}", **up}
        inside += ".3.model"
    return down | up


def patch_modules(layers: int) -> Modules:
    """The modules of the reference's PatchGAN."""
    strided = {f"c{level + 1}": f"model.{3 * level - 1}" for level in range(1, layers + 1)}
    return {"c1": "model.0", **strided, "score": f"model.{2 + 3 * layers}"}


def pixel_modules() -> Modules:
    """The modules of the reference's discriminator of single pixels."""
    return {"c1": "net.0", "c2": "net.2", "score": "net.5"}


def tensors_of(
    layers: list[Convolution], modules: Modules
) -> Iterator[tuple[str, str, tuple[int, ...], tuple[int, ...] | None]]:
    """For each tensor our layer, its name and shape in PyTorch, and the order of axes in Keras."""
    for layer in layers:
        module = modules[layer.layer]
        height, width, *channels = layer.kernel
        yield layer.layer, f"{module}.weight", (*channels[::-1], height, width), (2, 3, 1, 0)
        if layer.bias:
            yield layer.layer, f"{module}.bias", (layer.filters,), None
        for name in NORM_NAMES[: NORM_VECTORS[layer.norm]]:
            yield f"{layer.layer}_norm", f"{norm_of(module)}.{name}", (layer.filters,), None
