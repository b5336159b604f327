"""What a built network shows of itself: its architecture, and the picture sizes that it takes."""

from __future__ import annotations

from collections.abc import Iterator

import keras
from keras import layers

from ..errors import InputError
from ..layers import Frozen, ReflectionPadding2D


def all_layers(network: keras.Model) -> Iterator[layers.Layer]:
    """All layers of a network, and of the models nested in it."""
    for layer in network.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from all_layers(layer)
        elif isinstance(layer, Frozen):
            yield from all_layers(layer.network)


def difference(network: keras.Model, other: keras.Model) -> str | None:
    """The first difference in architecture between two networks of this package, in words.

    Weights do not count, nor does precision, nor dropout, which does nothing at inference.

    Returns:
        None where there is no difference.
    """

    def described(network: keras.Model) -> list[tuple[str, dict]]:
        found = []
        for layer in all_layers(network):
            if isinstance(layer, (keras.Model, Frozen)):
                continue
            if isinstance(layer, layers.InputLayer):
                found.append((layer.name, {"channels": layer.batch_shape[-1]}))
            elif not isinstance(layer, layers.Dropout):
                config = {"kind": type(layer).__name__, **layer.get_config()}
                for name in ("dtype", "trainable", "kernel_initializer", "gamma_initializer"):
                    config.pop(name, None)
                found.append((layer.name, config))
        return found

    ours, theirs = described(network), described(other)
    for (name, mine), (other_name, yours) in zip(ours, theirs, strict=False):
        if name != other_name:
            return f"{name} in one is {other_name} in the other"
        for setting in mine | yours:
            if mine.get(setting) != yours.get(setting):
                return f"{setting} of {name} is {mine.get(setting)} and {yours.get(setting)}"
    return None if len(ours) == len(theirs) else f"{len(ours)} layers and {len(theirs)}"


def divisor(network: keras.Model) -> int:
    """The number that heights and widths must be multiples of: 4 for the paper's generators.

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

    Reflection by one pixel needs two pixels where the picture is smallest.
    """
    reflects = any(isinstance(layer, ReflectionPadding2D) for layer in network.layers)
    return divisor(network) * (2 if reflects else 1)


def check_channels(
    G: keras.Model, F: keras.Model, D_A: keras.Model, D_B: keras.Model
) -> tuple[int, int]:
    """The channels of domains A and B, which all four networks must agree on.

    Raises:
        InputError: naming a network that does not.
    """
    A, B = G.input_shape[-1], F.input_shape[-1]
    for what, found, wanted in (
        ("G outputs", G.output_shape[-1], B),
        ("F outputs", F.output_shape[-1], A),
        ("D_A reads", D_A.input_shape[-1], A),
        ("D_B reads", D_B.input_shape[-1], B),
    ):
        if found != wanted:
            raise InputError(
                f"{what} pictures of {found} channels, but the domain has {wanted} "
                f"(G reads {A}, F reads {B})"
            )
    return A, B


def ends_in_sigmoid(D: keras.Model) -> bool:
    """Whether a discriminator, or one of several joined, gives probabilities instead of logits."""
    last = [tensor._keras_history.operation for tensor in D.outputs]
    return any(
        ends_in_sigmoid(layer)
        if isinstance(layer, keras.Model)
        else layer.get_config().get("activation") == "sigmoid"
        for layer in last
    )
