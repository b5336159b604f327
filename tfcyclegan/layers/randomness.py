"""Layers that draw random numbers in training, and save the state of their generator."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from ..distributed.replicas import replica_id
from ..errors import InputError


class _SavesSeed(keras.layers.Layer):
    """A layer with a `seed_generator`, whose state is saved with the model.

    Keras does not save it: a loaded model would draw other numbers than the saved one, and training
    could not resume exactly. All replicas share the state, and each draws numbers of its own.
    """

    def next_seed(self) -> tf.Tensor:
        """A new seed of this replica, int32 `[2]`."""
        state = tf.cast(self.seed_generator.next(), tf.int64)
        state += tf.stack([65_536 * tf.cast(replica_id(), tf.int64), 0])
        return tf.cast(state % (tf.int32.max - 1), tf.int32)  # XLA takes int32, as in Keras

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        if hasattr(self, "seed_generator"):
            store["seed_generator_state"] = keras.ops.convert_to_numpy(self.seed_generator.state)

    def load_own_variables(self, store: Any) -> None:
        if hasattr(self, "seed_generator"):
            self.seed_generator.state.assign(store["seed_generator_state"])


@keras.saving.register_keras_serializable("tfcyclegan")
class Dropout(_SavesSeed, keras.layers.Dropout):
    """Keras's dropout, which also saves the state of its random generator."""

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or self.rate == 0:
            return inputs
        return tf.nn.experimental.stateless_dropout(
            inputs, rate=self.rate, noise_shape=self.noise_shape, seed=self.next_seed()
        )


@keras.saving.register_keras_serializable("tfcyclegan")
class RandomShift(_SavesSeed):
    """Moves each picture by a random number of whole pixels in training.

    In front of a discriminator it is the translation of DiffAugment (Zhao et al. 2020): real and
    generated pictures are moved, and the gradient passes through. What is missing at a border is
    its mirror image.

    Args:
        fraction: float in (0, 1), the largest shift as a fraction of the height and of the width.
            Default 1/8, as in DiffAugment.
        seed: int, of the random numbers. Default: a random one.

    Raises:
        InputError: another fraction.

    Example:
        >>> RandomShift(1 / 8)(tf.zeros((4, 64, 64, 3)), training=True).shape
        TensorShape([4, 64, 64, 3])
    """

    def __init__(self, fraction: float = 0.125, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if not 0 < fraction < 1:
            raise InputError(f"fraction={fraction}: must lie between 0 and 1")
        self.fraction = fraction
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training:
            return x
        shifts = tf.random.stateless_uniform([2, tf.shape(x)[0], 1], self.next_seed(), -1, 1)
        for axis in (1, 2):
            side = tf.shape(x)[axis]
            most = tf.cast(side - 1, tf.float32) * self.fraction
            places = tf.range(side) + tf.cast(tf.round(shifts[axis - 1] * most), tf.int32)
            places = (side - 1) - tf.abs((side - 1) - tf.abs(places))  # mirrored at both borders
            x = tf.gather(x, places, axis=axis, batch_dims=1)
        return x

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        return {**super().get_config(), "fraction": self.fraction, "seed": self.seed}
