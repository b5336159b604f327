"""Copies of a network in another precision."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from .inspection import all_layers


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


def copy_of(network: keras.Model) -> keras.Model:
    """A copy of a functional model, with weights of its own."""
    twin = keras.models.clone_model(network)
    twin.set_weights(network.get_weights())
    return twin


def twice_differentiable(D: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """D in float32, as a function that can be differentiated twice. It shares D's weights.

    The gradient penalty needs it. The function takes a batch of unknown size: with a known size,
    `InstanceNormalization` uses a kernel whose second gradient is inexact.

    Args:
        D: a functional model, pictures `[N, H, W, C]` to logits.
    """
    mixed = any(layer.compute_dtype != "float32" for layer in all_layers(D))
    twin = with_precision(D, "float32") if mixed else None

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, D.input_shape[-1]))])
    def call(images: tf.Tensor) -> tf.Tensor:
        if twin is None:
            return D(images, training=True)
        trainable = [v.value for v in D.trainable_variables]
        fixed = [v.value for v in D.non_trainable_variables]
        return twin.stateless_call(trainable, fixed, images, training=True)[0]

    return call
