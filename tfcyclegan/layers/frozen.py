"""A network inside another that is neither trained nor in training mode."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("tfcyclegan")
class Frozen(keras.layers.Layer):
    """Calls a network as in inference, whatever the model around it does, and never trains it.

    (A model that is called inside another one gets the `training` of the outer call.)

    Args:
        network: a functional `keras.Model`, which is made untrainable.
    """

    def __init__(self, network: keras.Model, **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs, "trainable": False})
        network.trainable = False
        self.network = network
        self.built = True

    def call(self, x: Any) -> Any:
        return self.network(x, training=False)

    def compute_output_shape(self, input_shape: tuple) -> Any:
        return self.network.compute_output_shape(input_shape)

    def get_config(self) -> dict:
        network = keras.saving.serialize_keras_object(self.network)
        return {**super().get_config(), "network": network}

    @classmethod
    def from_config(cls, config: dict) -> Frozen:
        network = keras.saving.deserialize_keras_object(config["network"])
        return cls(**{**config, "network": network})
