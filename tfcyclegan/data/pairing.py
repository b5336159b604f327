"""Unaligned pairs in an order that depends on (seed, epoch, index) and on nothing else."""

from __future__ import annotations

import tensorflow as tf

from .preprocessing import Preprocessing, to_float
from .store import PictureStore


class Position:
    """The training step whose pictures come next.

    A `tf.data.Dataset` made by `training_pairs` reads it when it is iterated over and gives the
    `steps_per_epoch` batches from there on. The position moves on when the last batch of an epoch
    or of the iteration is taken; an iteration given up midway leaves it where it was.

    Args:
        steps_per_epoch: int.
    """

    def __init__(self, steps_per_epoch: int):
        self.steps_per_epoch = steps_per_epoch
        with tf.device("CPU"):
            self.step = tf.Variable(0, dtype=tf.int64, trainable=False)


def training_pairs(
    store_A: PictureStore,
    store_B: PictureStore,
    preprocessing_A: Preprocessing,
    preprocessing_B: Preprocessing,
    *,
    batch_size: int,
    position: Position,
    seed: int,
) -> tf.data.Dataset:
    """Batches of A and B for training, an epoch for every iteration.

    Each domain is shuffled on its own, afresh each epoch; the shorter one is gone through again,
    in another order, until the epoch is over. Crops and flips are drawn for every picture anew.
    All of it is computed from the number of the sample alone, so any step can be gone to without
    replaying those before it.

    Args:
        store_A: pictures of A.
        store_B: pictures of B.
        preprocessing_A: how a picture of A becomes the model's.
        preprocessing_B: how one of B does.
        batch_size: int; batches are always full.
        position: where to start, and moved on at the end of an epoch.
        seed: int.

    Returns:
        A dataset of `(A, B)`, float32 `[batch_size, H, W, C]` in [-1, 1], of cardinality
        `position.steps_per_epoch`.
    """
    samples_per_epoch = position.steps_per_epoch * batch_size

    def picture(
        domain: int, store: PictureStore, preprocessing: Preprocessing, sample: tf.Tensor
    ) -> tf.Tensor:
        epoch, place = sample // samples_per_epoch, sample % samples_per_epoch
        count = len(store)
        passes = -(-samples_per_epoch // count)
        order = tf.stack([2 * seed + domain, epoch * passes + place // count])
        index = tf.random.experimental.index_shuffle(place % count, order, count - 1)
        draws = tf.stack([2 * seed + domain, sample])
        return to_float(preprocessing.random(store.lookup(index), draws))

    def pair(count: tf.Tensor, sample: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return (
            picture(0, store_A, preprocessing_A, sample),
            picture(1, store_B, preprocessing_B, sample),
            sample,
            count,
        )

    def from_position(_: tf.Tensor) -> tf.data.Dataset:
        start = position.step.read_value()
        end = start + position.steps_per_epoch
        return tf.data.Dataset.range(start * batch_size, end * batch_size).enumerate()

    def move_on(
        A: tf.Tensor, B: tf.Tensor, samples: tf.Tensor, counts: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        after = samples[-1] + 1
        last_of_epoch = after % samples_per_epoch == 0
        last_of_iteration = counts[-1] + 1 == samples_per_epoch
        if tf.logical_or(last_of_epoch, last_of_iteration):
            position.step.assign(after // batch_size)
        return A, B

    pairs = (
        tf.data.Dataset.range(1)
        .flat_map(from_position)  # so that the position is read when iteration starts
        .map(pair, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
        .map(move_on)  # behind the prefetching: it happens when the batch is taken
    )
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False  # nor may TensorFlow run ahead of it
    return pairs.apply(
        tf.data.experimental.assert_cardinality(position.steps_per_epoch)
    ).with_options(options)


def validation_pairs(
    store_A: PictureStore, store_B: PictureStore, batch_size: int
) -> tf.data.Dataset:
    """Batches of A and B in file order, as many as the longer domain fills, the last one short.

    Returns:
        A dataset of `(A, B)`, float32 `[N, H, W, C]` in [-1, 1].
    """

    def pair(place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return (
            to_float(store_A.lookup(place % len(store_A))),
            to_float(store_B.lookup(place % len(store_B))),
        )

    longer = max(len(store_A), len(store_B))
    return (
        tf.data.Dataset.range(longer)
        .map(pair, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )


def batches(store: PictureStore, batch_size: int) -> tf.data.Dataset:
    """Batches of one split in file order, float32 `[N, H, W, C]` in [-1, 1]."""
    return (
        tf.data.Dataset.range(len(store))
        .map(lambda place: to_float(store.lookup(place)), num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )
