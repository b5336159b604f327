"""Copies of a network in another precision."""

from __future__ import annotations

import functools
from collections.abc import Callable

import keras
import tensorflow as tf


def with_precision(network: keras.Model, precision: str) -> keras.Model:
    """A copy of a network under another dtype policy.

    Under a mixed precision policy weights are float32 and computation has 16 bits. The last layer
    keeps its policy then, because it must give float32.

    Args:
        network: a functional model of this package's or Keras's layers.
        precision: "float32", "mixed_bfloat16" or "mixed_float16".

    Returns:
        A new functional model with a copy of the weights.
    """

    def change(config: object) -> object:
        if isinstance(config, dict):
            if config.get("class_name") == "DTypePolicy":
                return {**config, "config": {"name": precision}}
            return {key: change(value) for key, value in config.items()}
        if isinstance(config, (list, tuple)):
            return type(config)(change(value) for value in config)
        return config

    config = network.get_config()
    *inner, last = config["layers"]
    config["layers"] = [*map(change, inner), last]
    if precision == "float32":
        config = change(config)
    twin = type(network).from_config(config)
    twin.set_weights(network.get_weights())
    return twin


def twice_differentiable(D: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """D in float32, which can be differentiated twice: D itself, or a copy that shares its weights.

    The gradient penalty needs it. In 16 bits `InstanceNormalization` uses a fused kernel, whose
    second gradient is inexact.

    Args:
        D: a functional model, pictures `[N, H, W, C]` to logits.
    """
    if all(layer.compute_dtype == "float32" for layer in D.layers):
        return functools.partial(D, training=True)
    twin = with_precision(D, "float32")

    def call(images: tf.Tensor) -> tf.Tensor:
        trainable = [v.value for v in D.trainable_variables]
        fixed = [v.value for v in D.non_trainable_variables]
        return twin.stateless_call(trainable, fixed, images, training=True)[0]

    return call
