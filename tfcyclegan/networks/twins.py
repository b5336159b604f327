"""The same network in another precision."""

from __future__ import annotations

import copy
from collections.abc import Callable

import keras
import tensorflow as tf


def with_precision(network: keras.Model, precision: str) -> keras.Model:
    """The same network under another dtype policy, with a copy of its weights.

    A network made under a mixed precision policy keeps its weights in float32 but computes in
    16 bits; its float32 twin computes in 32. The other way round its last layer stays in float32.

    Args:
        network: a functional model of this package's or Keras's layers.
        precision: "float32", "mixed_bfloat16" or "mixed_float16".

    Returns:
        A new functional model; later changes of one's weights do not reach the other.
    """

    def change(config: object) -> object:
        if isinstance(config, dict):
            if config.get("class_name") == "DTypePolicy":
                return {**config, "config": {"name": precision}}
            return {key: change(value) for key, value in config.items()}
        if isinstance(config, (list, tuple)):
            return type(config)(change(value) for value in config)
        return config

    config = copy.deepcopy(network.get_config())
    *inner, last = config["layers"]
    config["layers"] = [*map(change, inner), last]
    if precision == "float32":
        config = change(config)
    twin = type(network).from_config(config)
    twin.set_weights(network.get_weights())
    return twin


def twice_differentiable(D: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """A float32 copy of D that can be differentiated twice, on D's own weights.

    For the gradient penalty. The copy computes in float32 whatever D's dtype policy is. It leaves
    the batch size open: the fused kernel that normalises a single picture has an inexact second
    gradient.

    Args:
        D: a functional model, pictures `[N, H, W, C]` to logits.
    """
    mixed = any(layer.compute_dtype != "float32" for layer in D.layers)
    twin = with_precision(D, "float32") if mixed else None

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, D.input_shape[-1]))])
    def call(images: tf.Tensor) -> tf.Tensor:
        if twin is None:
            return D(images, training=True)
        trainable = [v.value for v in D.trainable_variables]
        fixed = [v.value for v in D.non_trainable_variables]
        return twin.stateless_call(trainable, fixed, images, training=True)[0]

    return call
