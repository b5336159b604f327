"""A CycleGAN as a Keras model: prediction, `fit`, logs, saving and loading."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .directions import GENERATORS, Direction, check_direction
from .distributed.fit import DistributedModel
from .means import TermMeans


class TranslationModel(DistributedModel):
    """What `CycleGAN` needs to be an ordinary `keras.Model`.

    A subclass sets the attributes below, and has `train_step`, `test_step` and `compile`.

    Attributes:
        G, F, D_A, D_B: the networks.
        generator_optimizer: its steps are those of the run.
        step, total_steps: int variables, the steps taken and the length of the run.
    """

    G: keras.Model
    F: keras.Model
    D_A: keras.Model
    D_B: keras.Model
    generator_optimizer: keras.optimizers.Optimizer
    step: keras.Variable
    total_steps: keras.Variable
    _means: TermMeans
    _compile_arguments: dict[str, Any]

    @property
    def networks(self) -> dict[str, keras.Model]:
        """G, F, D_A and D_B by name."""
        return {name: getattr(self, name) for name in ("G", "F", "D_A", "D_B")}

    def add_counter(self, name: str) -> keras.Variable:
        """A variable that counts steps, saved with the model."""
        return self.add_weight(
            name=name, shape=(), dtype="int64", initializer="zeros", trainable=False
        )

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """G: pictures of A, `[N, H, W, C]` in [-1, 1], to pictures of B."""
        return self.G(images, training=training)

    def generator(self, direction: Direction = "AtoB") -> keras.Model:
        """G for "AtoB", F for "BtoA".

        Raises:
            ValueError: an unknown direction.
        """
        return self.networks[GENERATORS[check_direction(direction)]]

    def translate(
        self, images: Any, direction: Direction = "AtoB", batch_size: int | None = None
    ) -> np.ndarray:
        """Translates pictures, in either direction.

        Args:
            images: float32 `[N, H, W, C]` in [-1, 1] (an array or tensor), or a
                `tf.data.Dataset` of such batches.
            direction: "AtoB" (G, default) or "BtoA" (F).
            batch_size: int, pictures at a time for arrays. Default 32, as in Keras.

        Returns:
            A float32 array `[N, H, W, C]` in [-1, 1].

        Raises:
            ValueError: an unknown direction.
        """
        return self.generator(direction).predict(images, batch_size=batch_size, verbose=0)

    def fit(
        self,
        x: Any = None,
        *,
        epochs: int = 1,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """`keras.Model.fit` on a dataset of `(A, B)` batches; all but `x` by keyword.

        When a run begins, its length in steps (epochs × steps an epoch) is kept in
        `total_steps`, which the falling learning rate follows. The length stays while the run
        goes on, so `fit` on a model that was saved midway finishes the old schedule. A run that
        is over gets a new length when it is trained further.
        """
        held = _batches(x)
        if steps_per_epoch == held:
            # Keras would keep one iterator for all epochs, which a resumed epoch leaves short.
            steps_per_epoch = None
        done = int(self.generator_optimizer.iterations.numpy())
        if done >= int(self.total_steps.numpy()):
            if known := steps_per_epoch or held:
                self.total_steps.assign(done + (epochs - initial_epoch) * known)
            else:
                warnings.warn(
                    "the data does not say how many steps an epoch has, so the learning rate "
                    "stays constant: pass steps_per_epoch, or compile(total_steps=...)",
                    stacklevel=2,
                )
        if isinstance(x, tf.data.Dataset):
            kwargs.setdefault("shuffle", False)  # a dataset has its order; Keras warns otherwise
        return super().fit(
            x,
            epochs=epochs,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            **kwargs,
        )

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return self._means.metrics if self.compiled else []

    def state(self) -> dict[str, keras.Variable]:
        """Every variable that training resumes from, by a name of its own.

        Each replica has its own copy of variables with `synchronization="on_read"`: pools and
        means. A `.keras` file holds all but the means of the running epoch.
        """
        groups: dict[str, list[keras.Variable]] = {
            name: getattr(self, name).variables
            for name in (
                *("G", "F", "D_A", "D_B", "pool_A", "pool_B"),
                *("generator_optimizer", "discriminator_optimizer"),
            )
        }
        groups["run"] = [self.step, self.total_steps]
        groups["means"] = self.metrics_variables
        return {
            f"{group}/{index:03d}/{variable.name}": variable
            for group, variables in groups.items()
            for index, variable in enumerate(variables)
        }

    def get_config(self) -> dict:
        networks = {
            name: keras.saving.serialize_keras_object(network)
            for name, network in self.networks.items()
        }
        settings = ("name", "image_size", "pool_size", "seed")
        return networks | {setting: getattr(self, setting) for setting in settings}

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> TranslationModel:
        networks = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects)
            for name in ("G", "F", "D_A", "D_B")
        }
        return cls(**{**config, **networks})

    def get_compile_config(self) -> dict | None:
        if not self.compiled:
            return None
        arguments = self._compile_arguments.items()
        return {name: keras.saving.serialize_keras_object(value) for name, value in arguments}

    def compile_from_config(self, config: dict) -> None:
        arguments = config.items()
        self.compile(
            **{name: keras.saving.deserialize_keras_object(value) for name, value in arguments}
        )


def _batches(x: Any) -> int | None:
    """Batches in one pass over a dataset, None where it does not say or never ends."""
    if not isinstance(x, tf.data.Dataset):
        return None
    cardinality = int(x.cardinality())
    return cardinality if cardinality > 0 else None
