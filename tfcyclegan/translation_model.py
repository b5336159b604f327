"""The Keras side of `CycleGAN`: prediction, `fit`, logs, saving and loading."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .cycle import Cycle
from .directions import GENERATORS, Direction, check_direction
from .distributed.fit import DistributedModel
from .errors import InputError
from .means import TermMeans
from .networks.calls import NetworkCall, stand_in
from .networks.twins import copy_of
from .players import Player, Terms


class TranslationModel(DistributedModel):
    """The part of `CycleGAN` that makes it an ordinary `keras.Model`.

    A subclass sets the attributes below, and defines `train_step`, `test_step` and `compile`.

    Attributes:
        G, F, D_A, D_B: the networks.
        generator_optimizer: its `iterations` count the steps since `compile`.
        step, total_steps: int variables, the steps taken and the length of the run.
        ema_momentum: of the generators' moving averages; 0 without averages.
    """

    G: keras.Model
    F: keras.Model
    D_A: keras.Model
    D_B: keras.Model
    generator_optimizer: keras.optimizers.Optimizer
    step: keras.Variable
    total_steps: keras.Variable
    ema_momentum: float = 0.0
    generators: Player
    discriminators: Player
    lambda_gan: float
    _means: TermMeans
    _calls: dict[str, NetworkCall]
    _sides: tuple[int, int] | None
    _generator_losses: Callable[[Cycle, Cycle], tuple[Callable[[], Terms], ...]]
    _compile_arguments: dict[str, Any]

    @property
    def networks(self) -> dict[str, keras.Model]:
        """G, F, D_A and D_B by name."""
        return {name: getattr(self, name) for name in ("G", "F", "D_A", "D_B")}

    def add_counter(self, name: str) -> keras.Variable:
        """Makes a variable for a number of steps, which is saved with the model."""
        return self.add_weight(
            name=name, shape=(), dtype="int64", initializer="zeros", trainable=False
        )

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Translates pictures of A, `[N, H, W, C]` in [-1, 1], with G."""
        return self.generator()(images, training=training)

    def generator(self, direction: Direction = "AtoB") -> keras.Model:
        """G for "AtoB", F for "BtoA": their moving averages if the model has them.

        Raises:
            InputError: an unknown direction.
        """
        return self.translators[check_direction(direction)]

    @property
    def translators(self) -> dict[Direction, keras.Model]:
        """The generators by direction: their moving averages if the model has them."""
        if self.ema_momentum:
            return {"AtoB": self.G_average, "BtoA": self.F_average}
        return {"AtoB": self.G, "BtoA": self.F}

    def average_generators(self, momentum: float) -> None:
        """Adds moving averages of the generators, which start as the generators are now.

        Raises:
            InputError: a momentum that is not in [0, 1).
        """
        if not 0 <= momentum < 1:
            raise InputError(f"ema_momentum={momentum}: must be at least 0 and below 1")
        self.ema_momentum = momentum
        if momentum:
            self.G_average, self.F_average = copy_of(self.G), copy_of(self.F)

    def update_averages(self) -> None:
        """Moves the averages towards the generators, on every replica by itself."""
        if not self.ema_momentum:
            return
        for direction, average in self.translators.items():
            network = self.networks[GENERATORS[direction]]
            for mean, variable in zip(average.weights, network.weights, strict=True):
                mean.assign_sub((1 - self.ema_momentum) * (mean.value - variable.value))

    def translate(
        self, images: Any, direction: Direction = "AtoB", batch_size: int | None = None
    ) -> np.ndarray:
        """Translates pictures in either direction.

        Args:
            images: float32 `[N, H, W, C]` in [-1, 1] (an array or tensor), or a
                `tf.data.Dataset` of such batches.
            direction: "AtoB" (G, default) or "BtoA" (F).
            batch_size: int, pictures of an array at a time. Default 32, as in Keras.

        Returns:
            A float32 array `[N, H, W, C]` in [-1, 1].

        Raises:
            InputError: an unknown direction.
        """
        return self.generator(direction).predict(images, batch_size=batch_size, verbose=0)

    def fit(
        self, x: Any = None, *, epochs: int = 1, initial_epoch: int = 0,
        steps_per_epoch: int | None = None, **kwargs: Any,
    ) -> keras.callbacks.History:  # fmt: skip
        """`keras.Model.fit` on a dataset of `(A, B)` batches; all but `x` by keyword.

        At the start of a run its length in steps (epochs × steps per epoch) is stored in
        `total_steps`, which the falling learning rate depends on. `fit` on a model that was saved
        midway keeps that length, so it finishes the old schedule. After the end of a run, further
        training gets a new length.
        """
        batches = _batches(x)
        if steps_per_epoch == batches:
            # Given steps_per_epoch, Keras keeps one iterator for all epochs. In the first epoch
            # after resuming it is short of batches.
            steps_per_epoch = None
        done = int(self.generator_optimizer.iterations.numpy())
        if done >= int(self.total_steps.numpy()):
            if steps := steps_per_epoch or batches:
                self.total_steps.assign(done + (epochs - initial_epoch) * steps)
            else:
                warnings.warn(
                    "the data does not say how many steps an epoch has, so the learning rate "
                    "stays constant: pass steps_per_epoch, or compile(total_steps=...)",
                    stacklevel=2,
                )
        if isinstance(x, tf.data.Dataset):
            kwargs.setdefault("shuffle", False)  # Keras warns otherwise: a dataset has its order
        kwargs |= {"epochs": epochs, "initial_epoch": initial_epoch}
        return super().fit(x, steps_per_epoch=steps_per_epoch, **kwargs)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return self._means.metrics if self.compiled else []

    def state(self) -> dict[str, keras.Variable]:
        """Every variable that training resumes from, by a unique name.

        A variable with `synchronization="on_read"`, of a pool or a mean, has a different value on
        each replica. A `.keras` file holds all of them except the means of the epoch.
        """
        owners = (
            "G", "F", "D_A", "D_B", "pool_A", "pool_B", "generator_optimizer",
            "discriminator_optimizer",
        )  # fmt: skip
        averages = ("G_average", "F_average") if self.ema_momentum else ()
        groups: dict[str, list[keras.Variable]] = {
            **{name: getattr(self, name).variables for name in (*owners, *averages)},
            "run": [self.step, self.total_steps],
            "means": self.metrics_variables,
        }
        return {
            f"{group}/{index:03d}/{variable.name}": variable
            for group, variables in groups.items()
            for index, variable in enumerate(variables)
        }

    def term_names(self) -> list[str]:
        """The names of all terms that a step logs, from a dry run with networks of zeros."""
        networks = {name: stand_in(call) for name, call in self._calls.items()}
        height, width = self._sides or (256, 256)
        names = ["loss"]

        def trace() -> None:
            real_A = tf.zeros((1, height, width, self.G.input_shape[-1]))
            real_B = tf.zeros((1, height, width, self.F.input_shape[-1]))
            A, B = Cycle(networks, "A", real_A), Cycle(networks, "B", real_B)
            names.extend(self.generators.terms(*self._generator_losses(A, B)))
            if self.lambda_gan:
                # Logits in place of losses: what counts is the terms that the layers add.
                names.extend(
                    self.discriminators.terms(lambda: {"D_A_loss": B.logits, "D_B_loss": A.logits})
                )

        tf.function(trace, autograph=False).get_concrete_function()
        return names

    def get_config(self) -> dict:
        settings = {
            name: getattr(self, name)
            for name in ("name", "image_size", "pool_size", "seed", "ema_momentum")
        }
        return keras.saving.serialize_keras_object(self.networks) | settings

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> TranslationModel:
        networks = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects)
            for name in ("G", "F", "D_A", "D_B")
        }
        return cls(**{**config, **networks})

    def get_compile_config(self) -> dict | None:
        return (
            keras.saving.serialize_keras_object(self._compile_arguments) if self.compiled else None
        )

    def compile_from_config(self, config: dict) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))


def _batches(x: Any) -> int | None:
    """Batches in one pass over a dataset. None if it does not say, or never ends."""
    batches = int(x.cardinality()) if isinstance(x, tf.data.Dataset) else 0
    return batches if batches > 0 else None
