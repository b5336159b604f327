"""Replicas: the copies of one model on several devices, which train together.

This module tells which variables belong to a replica, shards batches over replicas, and makes
replicas agree on an overflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ..errors import InputError


def strategy_of(network: keras.Model) -> tf.distribute.Strategy:
    """The strategy in whose scope a network was made, or else TensorFlow's default strategy."""
    for variable in network.variables:
        if isinstance(variable.value, tf.distribute.DistributedValues):
            return variable.value.distribute_strategy
    with tf.Graph().as_default():  # leaves the scope of the caller
        return tf.distribute.get_strategy()


def check_compiling(
    strategy: tf.distribute.Strategy,
    optimizers: Sequence[keras.optimizers.Optimizer | None],
    steps_per_execution: int,
    jit_compile: bool | str,
) -> None:
    """Refuses settings of `compile` that do not work with several replicas.

    Args:
        strategy: the strategy of the networks.
        optimizers, steps_per_execution, jit_compile: as given to `compile`.

    Raises:
        InputError: names the setting.
    """
    for optimizer in optimizers:
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        theirs = getattr(inner, "_distribution_strategy", strategy)
        if inner is not None and theirs is not strategy and is_distributed(theirs, strategy):
            raise InputError(
                f"{inner.name} was made in the scope of another strategy than the networks: make "
                "it in the scope of theirs"
            )
    if is_distributed(strategy) and steps_per_execution > 1:
        raise InputError(
            f"steps_per_execution={steps_per_execution}: with several replicas it must be 1 "
            "(compile again; load a saved model with compile=False)"
        )
    if is_distributed(strategy) and jit_compile is True:
        raise InputError(
            "jit_compile=True: XLA does not work with several replicas (compile again; load a "
            "saved model with compile=False)"
        )


def is_distributed(*strategies: tf.distribute.Strategy) -> bool:
    """Whether any of the strategies has more than one replica."""
    return any(strategy.num_replicas_in_sync > 1 for strategy in strategies)


def local_copies(variable: keras.Variable) -> Sequence[tf.Variable]:
    """A variable's copies, one per replica of this process."""
    value = variable.value
    if isinstance(value, tf.distribute.DistributedValues):
        return value.distribute_strategy.experimental_local_results(value)
    return (value,)


def local_copy(variable: keras.Variable) -> tf.Variable:
    """The current replica's copy of a variable."""
    copies = local_copies(variable)
    if len(copies) == 1:
        return copies[0]
    return copies[int(tf.get_static_value(replica_id())) % len(copies)]


def replica_id() -> tf.Tensor:
    """The current replica's number, int32; 0 for a single device."""
    context = tf.distribute.get_replica_context()
    return context.replica_id_in_sync_group if context else tf.constant(0)


def replica_count() -> int:
    """The number of replicas that the current step runs on."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def all_reduce_overflow(gradients: Sequence[Any]) -> list[Any]:
    """Makes all gradients NaN on all replicas if a gradient on any replica is not finite.

    Keras's `LossScaleOptimizer` checks only the first replica, so an overflow on another replica
    would reach the weights of all.
    """
    finite = tf.reduce_all(
        [tf.reduce_all(tf.math.is_finite(g)) for g in gradients if g is not None]
    )
    replica = tf.distribute.get_replica_context()
    bad = tf.cast(tf.logical_not(finite), tf.float32)
    (bad,) = replica.all_reduce(tf.distribute.ReduceOp.SUM, [bad])
    poison = tf.where(bad > 0, float("nan"), 0.0)
    return [
        None if gradient is None else gradient + tf.cast(poison, gradient.dtype)
        for gradient in gradients
    ]


def distribute(data: Any, strategy: tf.distribute.Strategy, training: bool = False) -> Any:
    """A dataset that gives each replica its shard of every batch.

    In training with `load_data` each worker prepares only its own pictures. TensorFlow shards other
    datasets and prepares every batch on every worker.

    Args:
        data: anything that `fit` accepts.
        strategy: the strategy of the replicas.
        training: bool, whether the shards must have equal sizes. Default False.

    Returns:
        The distributed dataset. `data` itself for one replica, or if it is not a dataset.

    Raises:
        InputError: the batch size is unknown, or not a multiple of the number of replicas.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas == 1 or data is None:
        return data
    if training:
        known = isinstance(data, tf.data.Dataset)
        batch_size = tf.nest.flatten(data.element_spec)[0].shape[0] if known else None
        if batch_size is None:
            raise InputError(
                f"{replicas} replicas share every batch evenly, but its size is not fixed: give a "
                "tf.data.Dataset made with .batch(size, drop_remainder=True)"
            )
        check_batch(batch_size, replicas)
        if shards := getattr(data, "shards", None):
            return strategy.distribute_datasets_from_function(shards)
    if not isinstance(data, tf.data.Dataset):
        return data
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return strategy.experimental_distribute_dataset(data.with_options(options))


def check_batch(batch_size: int, replicas: int) -> None:
    """Refuses a batch size that is not a multiple of the number of replicas.

    Raises:
        InputError: names a batch size that is.
    """
    if batch_size % replicas:
        near = max(1, round(batch_size / replicas)) * replicas
        raise InputError(
            f"batch_size={batch_size}: {batch_size} pictures cannot be shared evenly by "
            f"{replicas} replicas: take batch_size={near}"
        )


def pad_empty_batch(images: tf.Tensor) -> tf.Tensor:
    """The pictures, or one picture of zeros if the batch is empty."""
    if images.shape[0]:
        return images
    missing = tf.cast(tf.shape(images)[0] == 0, tf.int32)
    return tf.pad(images, [[0, missing], [0, 0], [0, 0], [0, 0]])


class FollowPosition(keras.callbacks.Callback):
    """Advances a dataset's position by the batches that the replicas took in an epoch."""

    def __init__(self, position: tf.Variable):
        super().__init__()
        self._position = position

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._taken = 0

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._taken += 1

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._position.assign_add(self._taken)
