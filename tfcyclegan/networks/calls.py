"""How a training step calls a network, and the losses that the network's own layers add."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf

from ..distributed.replicas import is_distributed, strategy_of
from ..errors import InputError
from ..layers import SpectralConv2D, without_xla
from .inspection import all_layers


class NetworkCall:
    """A network as the training step calls it: traced once, however often a step calls it.

    Tracing once halves the time to the first step. Do not switch off the inlining of the traced
    function: without it TensorFlow's graph optimizer moves the update of D before G's use of D.

    Args:
        network: a functional `keras.Model`.
        traced: bool. False calls the network directly, for eager execution.
        recompute: bool, whether to compute activations a second time for the gradients instead of
            keeping them. Needs `traced`.
        xla: bool, whether XLA may compile the call. Default True.

    Attributes:
        network: the network.
        losses: float32 scalars that layers added in the calls so far (`add_loss`, activity
            regularizers). The caller empties the list before it collects them.

    Example:
        >>> D = NetworkCall(patch_discriminator(64))
        >>> logits = D(images, training=True)
    """

    def __init__(
        self, network: keras.Model, traced: bool = True, recompute: bool = False, xla: bool = True
    ):
        self.network = network
        self.losses: list[tf.Tensor] = []

        def run(images: tf.Tensor, training: bool) -> tuple[Any, list[tf.Tensor]]:
            with contextlib.nullcontext() if xla else without_xla():
                return network(images, training=training), _added_losses(network)

        def call(images: tf.Tensor, training: bool) -> tuple[Any, list[tf.Tensor]]:
            bound = functools.partial(run, training=training)
            return (tf.recompute_grad(bound) if recompute else bound)(images)

        # Inside a traced function replicas cannot synchronise the moving averages of batch norm.
        synchronises = is_distributed(strategy_of(network)) and any(
            isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
            for layer in all_layers(network)
        )
        self._run = tf.function(call, autograph=False) if traced and not synchronises else run

    def __call__(self, images: tf.Tensor, training: bool = False) -> Any:
        output, losses = self._run(images, training)
        self.losses += losses
        return output

    def weight_regularization(self) -> list[tf.Tensor]:
        """The losses of weight regularizers, which depend on no picture."""
        return [
            tf.cast(variable.regularizer(variable), tf.float32)
            for variable in self.network.trainable_variables
            if variable.regularizer is not None
        ]


def _added_losses(network: keras.Model) -> list[tf.Tensor]:
    """What layers added in the last call. Keras lists the weight regularizers' losses after it."""
    penalties = sum(v.regularizer is not None for v in network.trainable_variables)
    losses = network.losses
    return [tf.cast(loss, tf.float32) for loss in losses[: len(losses) - penalties]]


def stand_in(call: NetworkCall) -> Callable[..., tf.Tensor]:
    """A function that gives zeros of the network's output channels, for a dry run of a loss.

    If a layer of the network may add a loss (an activity regularizer, or a layer from another
    package), the call itself is returned: only running it shows what is added.
    """
    if _may_add_losses(call.network):
        return call
    several = isinstance(call.network.output_shape, list)
    channels = [tensor.shape[-1] for tensor in call.network.outputs]

    def zeros(images: tf.Tensor, training: bool = False) -> Any:
        outputs = [tf.zeros((*images.shape[:-1], width)) for width in channels]
        return outputs if several else outputs[0]

    return zeros


def _may_add_losses(network: keras.Model) -> bool:
    return any(
        getattr(layer, "activity_regularizer", None) is not None
        or type(layer).__module__.split(".")[0] not in ("keras", "tfcyclegan")
        for layer in all_layers(network)
        if not isinstance(layer, keras.Model)
    )


def check_recompute(networks: Iterable[keras.Model]) -> None:
    """Refuses networks that give another result when computed a second time.

    Raises:
        InputError: naming the first random layer, batch norm or spectral norm. Other layers that
            change their own variables are not detected.
    """
    for network in networks:
        for layer in all_layers(network):
            changes = (
                keras.layers.BatchNormalization,
                keras.layers.SpectralNormalization,
                SpectralConv2D,
            )
            if isinstance(layer, changes) or hasattr(layer, "seed_generator"):
                raise InputError(
                    "recompute=True needs layers that give the same result twice, and "
                    f"{layer.name} in {network.name} ({type(layer).__name__}) does not"
                )
