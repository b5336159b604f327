"""The same network in another precision."""

from __future__ import annotations

import copy

import keras


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
