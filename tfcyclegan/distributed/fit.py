"""Keras's `fit` and `evaluate` on several replicas and workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ..errors import InputError
from .replicas import FollowPosition, distribute, is_distributed, strategy_of
from .workers import CollectiveTimeout, Workers, callback_list, check_callbacks


class DistributedModel(keras.Model):
    """A model whose steps run under the strategy that its networks were made in.

    Call `fit` inside or outside the strategy's scope (with several workers: outside). Steps run
    under the strategy either way.

    Attributes:
        strategy: `tf.distribute.Strategy` of the networks; TensorFlow's default for one device.
        workers: `Workers`, this process and the others.
    """

    def use_strategy_of(self, networks: Sequence[keras.Model]) -> None:
        """Adopts the strategy in whose scope the networks were made, which must be the current one.

        Raises:
            InputError: a network was made in another scope.
        """
        # Otherwise Keras would build this model from a batch of data, which fails with several
        # workers, and would not let a single worker call predict() on a network.
        for model in (self, *networks):
            model._distribute_strategy = None
        strategy = strategy_of(networks[0])
        # Variables of a strategy with one replica do not show their strategy.
        around = tf.distribute.get_strategy() if tf.distribute.has_strategy() else strategy
        for network in networks:
            own = strategy_of(network)
            if is_distributed(own, strategy, around) and not own is strategy is around:
                raise InputError(
                    f"{network.name} was made in the scope of another strategy: make all "
                    "networks and the model in one `with strategy.scope():`"
                )
        self.strategy = around
        self.workers = Workers(self.strategy)

    @property
    def distribute_strategy(self) -> tf.distribute.Strategy:
        """The strategy that steps run under, whatever the scope `fit` is called in.

        With several workers call `fit` outside any scope: callbacks that run only on the chief
        must not create variables inside it.
        """
        return self.strategy

    def fit(
        self, x: Any = None, *, steps_per_epoch: int | None = None, **kwargs: Any
    ) -> keras.callbacks.History:
        """`keras.Model.fit` on a dataset, on all replicas."""
        workers = self.workers
        callbacks = callback_list(kwargs.pop("callbacks", None))
        check_callbacks(callbacks, workers)
        if workers.count > 1:
            callbacks = [CollectiveTimeout(workers), *callbacks]
        validation = kwargs.pop("validation_data", None)
        if workers.replicas > 1 and hasattr(x, "shards"):
            # One endless iterator serves all epochs.
            steps_per_epoch = steps_per_epoch or int(x.cardinality())
            callbacks = [FollowPosition(x.position), *callbacks]
        with workers.watched():
            return super().fit(
                distribute(x, self.strategy, training=True),
                steps_per_epoch=steps_per_epoch,
                validation_data=distribute(validation, self.strategy),
                callbacks=callbacks,
                **kwargs,
            )

    def evaluate(self, x: Any = None, y: Any = None, **kwargs: Any) -> Any:
        """`keras.Model.evaluate` on a dataset, on all replicas."""
        workers = self.workers
        if workers.count > 1 and "_use_cached_eval_dataset" not in kwargs:  # not from fit
            callbacks = callback_list(kwargs.get("callbacks"))
            kwargs["callbacks"] = [CollectiveTimeout(workers), *callbacks]
        with workers.watched():
            return super().evaluate(distribute(x, self.strategy), y, **kwargs)

    def gathered(self, logs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """A step's logs, each with an axis along which Keras can average over workers."""
        if self.workers.count == 1:
            return logs
        return {name: tf.reshape(value, [1]) for name, value in logs.items()}
