"""The Keras side of `CycleGAN` and `Pix2Pix`: compiling, prediction, `fit`, saving and loading."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from .directions import Direction, check_direction
from .distributed.fit import DistributedModel
from .distributed.replicas import check_compiling, is_distributed
from .errors import InputError
from .losses import Objective, get_objective
from .means import TermMeans
from .networks.calls import NetworkCall, check_recompute, stand_in
from .networks.twins import copy_of
from .optimizers import Adam
from .players import Player
from .schedules import LinearDecay


class TranslationModel(DistributedModel):
    """What makes `CycleGAN` and `Pix2Pix` ordinary Keras models.

    A subclass sets the attributes below, and defines `train_step`, `test_step`, `compile` and
    `trial_terms`.

    Attributes:
        network_names: the attributes that hold the networks, generators first.
        pool_names: the attributes that hold image pools.
        setting_names: the attributes besides the networks that `get_config` returns.
        generator_names: the attribute of each direction's generator.
        generator_optimizer: its `iterations` count the steps since `compile`.
        step, total_steps: int variables, the steps taken and the length of the run.
        ema_momentum: of the generators' moving averages; 0 without averages.
    """

    network_names: ClassVar[tuple[str, ...]]
    pool_names: ClassVar[tuple[str, ...]] = ()
    setting_names: ClassVar[tuple[str, ...]]
    generator_names: Mapping[Direction, str]
    generator_optimizer: keras.optimizers.Optimizer
    discriminator_optimizer: keras.optimizers.Optimizer
    step: keras.Variable
    total_steps: keras.Variable
    ema_momentum: float = 0.0
    generators: Player
    discriminators: Player
    objective: Objective
    _means: TermMeans
    _calls: dict[str, NetworkCall]
    _sides: tuple[int, int] | None
    _compile_arguments: dict[str, Any]

    @property
    def networks(self) -> dict[str, keras.Model]:
        """The networks by name, such as G, F, D_A and D_B."""
        return {name: getattr(self, name) for name in self.network_names}

    def compile_players(
        self,
        generator_optimizer: keras.optimizers.Optimizer | None,
        discriminator_optimizer: keras.optimizers.Optimizer | None,
        *,
        objective: str | Objective,
        learning_rate: float,
        discriminator_learning_rate: float | None,
        beta_1: float,
        beta_2: float,
        constant_fraction: float,
        total_steps: int | None,
        recompute: bool,
        run_eagerly: bool,
        steps_per_execution: int,
        jit_compile: bool | str,
    ) -> None:
        """The part of `compile` that all models share; see `CycleGAN.compile`.

        It makes `generators` and `discriminators`, the two players, and `_calls`, the networks as
        the steps call them: `self._calls["G"](images, training=True)`.
        """
        optimizers = (generator_optimizer, discriminator_optimizer)
        check_compiling(self.strategy, optimizers, steps_per_execution, jit_compile)
        if recompute:
            check_recompute(self.networks.values())
        if is_distributed(self.strategy):
            jit_compile = False  # as "auto" does in Keras under a strategy
        # Without optimizer=None, Keras would save an unused RMSprop in every checkpoint.
        super().compile(
            optimizer=None,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
        )
        self.objective = get_objective(objective)
        self._calls = {
            name: NetworkCall(network, not run_eagerly, recompute, xla=jit_compile is True)
            for name, network in self.networks.items()
        }

        def player(
            names: Sequence[str], optimizer: keras.optimizers.Optimizer | None, rate: float
        ) -> Player:
            falling = LinearDecay(rate, self.total_steps, constant_fraction)
            optimizer = optimizer or Adam(falling, beta_1=beta_1, beta_2=beta_2, epsilon=1e-8)
            return Player({name: self._calls[name] for name in names}, optimizer)

        generators = list(self.generator_names.values())
        discriminators = [name for name in self.network_names if name not in generators]
        D_rate = discriminator_learning_rate
        with self.strategy.scope():
            self.total_steps.assign(total_steps or 0)
            self.generators = player(generators, generator_optimizer, learning_rate)
            self.discriminators = player(
                discriminators, discriminator_optimizer, learning_rate if D_rate is None else D_rate
            )
            # Keras saves attributes of a model, not of a Player.
            self.generator_optimizer = self.generators.optimizer
            self.discriminator_optimizer = self.discriminators.optimizer

    def add_counter(self, name: str) -> keras.Variable:
        """Makes a variable for a number of steps, which is saved with the model."""
        return self.add_weight(
            name=name, shape=(), dtype="int64", initializer="zeros", trainable=False
        )

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Translates pictures, `[N, H, W, C]` in [-1, 1], with G."""
        return self.generator()(images, training=training)

    def generator(self, direction: Direction | None = None) -> keras.Model:
        """The generator of a direction: its moving average if the model has averages.

        Args:
            direction: "AtoB" or "BtoA". Default: the only one that the model has, or AtoB.

        Raises:
            InputError: an unknown direction, or one that the model does not have.
        """
        there = self.translators
        first = next(iter(there))
        direction = check_direction(direction or first)
        if direction not in there:
            raise InputError(f"direction={direction}: {self.name} only translates {first}")
        return there[direction]

    @property
    def translators(self) -> dict[Direction, keras.Model]:
        """The generators by direction: their moving averages if the model has them."""
        ending = "_average" if self.ema_momentum else ""
        return {way: getattr(self, name + ending) for way, name in self.generator_names.items()}

    def average_generators(self, momentum: float) -> None:
        """Adds moving averages of the generators, which start as the generators are now.

        Raises:
            InputError: a momentum that is not in [0, 1).
        """
        if not 0 <= momentum < 1:
            raise InputError(f"ema_momentum={momentum}: must be at least 0 and below 1")
        self.ema_momentum = momentum
        for name in self.generator_names.values() if momentum else ():
            setattr(self, f"{name}_average", copy_of(self.networks[name]))

    def update_averages(self) -> None:
        """Moves the averages towards the generators, on every replica by itself.

        Early in a run the momentum is smaller, (1 + step) / (10 + step), as in TensorFlow's
        `ExponentialMovingAverage`: otherwise averages would lag by as much as has been learned.
        """
        if not self.ema_momentum:
            return
        step = tf.cast(self.step.value, tf.float32)
        momentum = tf.minimum(self.ema_momentum, (1 + step) / (10 + step))
        for direction, average in self.translators.items():
            network = self.networks[self.generator_names[direction]]
            for mean, variable in zip(average.weights, network.weights, strict=True):
                mean.assign_sub((1 - momentum) * (mean.value - variable.value))

    def translate(
        self, images: Any, direction: Direction | None = None, batch_size: int | None = None
    ) -> np.ndarray:
        """Translates pictures.

        Args:
            images: float32 `[N, H, W, C]` in [-1, 1] (an array or tensor), or a
                `tf.data.Dataset` of such batches.
            direction: "AtoB" (G of a CycleGAN) or "BtoA" (F). Default: the only one that the model
                has, or AtoB.
            batch_size: int, pictures of an array at a time. Default 32, as in Keras.

        Returns:
            A float32 array `[N, H, W, C]` in [-1, 1].

        Raises:
            InputError: an unknown direction, or one that the model does not have.
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
        optimizers = ("generator_optimizer", "discriminator_optimizer")
        owners = (*self.network_names, *self.pool_names, *optimizers)
        names = self.generator_names.values() if self.ema_momentum else ()
        averages = [f"{name}_average" for name in names]
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

    def trial_terms(
        self, networks: Mapping[str, Callable], images: Callable[[str], tf.Tensor]
    ) -> list[str]:
        """The names of all terms of a step, from losses computed with stand-ins.

        Args:
            networks: the networks' stand-ins by name; see `networks.calls.stand_in`.
            images: from the name of a network to a picture of zeros that it takes.
        """
        raise NotImplementedError

    def term_names(self) -> list[str]:
        """The names of all terms that a step logs, from a dry run with networks of zeros."""
        networks = {name: stand_in(call) for name, call in self._calls.items()}
        height, width = self._sides or (256, 256)
        names = ["loss"]

        def images(name: str) -> tf.Tensor:
            return tf.zeros((1, height, width, self.networks[name].input_shape[-1]))

        def trace() -> None:
            names.extend(self.trial_terms(networks, images))

        tf.function(trace, autograph=False).get_concrete_function()
        return names

    def get_config(self) -> dict:
        settings = {name: getattr(self, name) for name in ("name", *self.setting_names)}
        return keras.saving.serialize_keras_object(self.networks) | settings

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> TranslationModel:
        networks = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects)
            for name in cls.network_names
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
