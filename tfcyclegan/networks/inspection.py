"""What a built network shows: its architecture, and the sizes it takes."""

from __future__ import annotations

import keras
from keras import layers

from ..layers import (
    ReflectionPadding2D,
)


def difference(network: keras.Model, other: keras.Model) -> str | None:
    """The first difference between two networks of this package apart from their weights, in words.

    Precision does not count, nor does dropout, which does nothing at inference.
    """

    def described(network: keras.Model) -> list[tuple[str, dict]]:
        found = []
        for layer in network.layers:
            if isinstance(layer, layers.Dropout):
                continue
            config = {"kind": type(layer).__name__, **layer.get_config()}
            for name in ("dtype", "trainable", "kernel_initializer", "gamma_initializer"):
                config.pop(name, None)
            if isinstance(layer, layers.InputLayer):
                config = {"channels": layer.batch_shape[-1]}
            found.append((layer.name, config))
        return found

    ours, theirs = described(network), described(other)
    for (name, mine), (other_name, yours) in zip(ours, theirs, strict=False):
        if name != other_name:
            return f"{name} in one is {other_name} in the other"
        for setting in mine.keys() | yours.keys():
            if mine.get(setting) != yours.get(setting):
                return f"{setting} of {name} is {mine.get(setting)} and {yours.get(setting)}"
    if len(ours) != len(theirs):
        return f"{len(ours)} layers and {len(theirs)}"
    return None


def divisor(network: keras.Model) -> int:
    """Height and width must be multiples of this: 4 for the paper's generators.

    Args:
        network: a functional model that shrinks pictures by strides, as this package's do.
    """
    shrinks = 1
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            shrinks *= divisor(layer)
        elif not isinstance(layer, layers.Conv2DTranspose):
            strides = getattr(layer, "strides", 1)
            shrinks *= strides if isinstance(strides, int) else strides[0]
    return shrinks


def least_size(network: keras.Model) -> int:
    """The smallest height and width that a generator takes: 8 for the paper's.

    Mirroring one pixel needs two pixels where the picture is smallest.
    """
    mirrors = any(isinstance(layer, ReflectionPadding2D) for layer in network.layers)
    return divisor(network) * (2 if mirrors else 1)


def check_channels(
    G: keras.Model, F: keras.Model, D_A: keras.Model, D_B: keras.Model
) -> tuple[int, int]:
    """The channels of domains A and B, on which four networks agree.

    Raises:
        ValueError: naming a network that reads or draws others.
    """
    A, B = G.input_shape[-1], F.input_shape[-1]
    for what, found, wanted in (
        ("G draws", G.output_shape[-1], B),
        ("F draws", F.output_shape[-1], A),
        ("D_A reads", D_A.input_shape[-1], A),
        ("D_B reads", D_B.input_shape[-1], B),
    ):
        if found != wanted:
            raise ValueError(
                f"{what} pictures of {found} channels, but the domain has {wanted} "
                f"(G reads {A}, F reads {B})"
            )
    return A, B


def ends_in_sigmoid(D: keras.Model) -> bool:
    """Whether a discriminator gives probabilities instead of logits."""
    return D.layers[-1].get_config().get("activation") == "sigmoid"
