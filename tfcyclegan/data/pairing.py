"""Batches of two domains, in an order that depends only on (seed, epoch, index)."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from .preprocessing import Preprocessing, to_float
from .store import PictureStore


def training_pairs(
    stores: Sequence[PictureStore],
    preparation: Sequence[Preprocessing],
    *,
    batch_size: int,
    steps_per_epoch: int,
    seed: int,
    aligned: bool = False,
) -> tf.data.Dataset:
    """Batches of A and B for training, an epoch for every iteration.

    Each domain is shuffled separately, with another order each epoch. The shorter domain is
    repeated, in another order, until the epoch ends. Crops and flips are drawn for every picture.
    With `aligned`, both domains have the same order, crops and flips.
    All of this is computed from the sample's number, so any step can be reached without replaying
    the steps before it.

    Args:
        stores: pictures of A and of B.
        preparation: crop and flip of A and of B.
        batch_size: int; batches are always full.
        steps_per_epoch: int.
        seed: int.
        aligned: bool, whether equal places in both stores are pairs, which stay together.

    Returns:
        A dataset of `(A, B)`, float32 `[batch_size, H, W, C]` in [-1, 1], of cardinality
        `steps_per_epoch`. Its attribute `position` is the training step whose pictures come first.
        It advances when the last batch of an epoch or of the iteration is taken; an iteration that
        is abandoned midway leaves it where it was. Its attribute `shards` makes the shard of a
        worker, which never ends: for each batch the pictures of the worker's first replica, of its
        second, and so on. Its caller advances `position`, because replicas prefetch and a shard
        does not know what they used.
    """
    samples_per_epoch = steps_per_epoch * batch_size
    with tf.device("CPU"):
        position = tf.Variable(0, dtype=tf.int64, trainable=False)

    def picture(domain: int, sample: tf.Tensor) -> tf.Tensor:
        count, key = len(stores[domain]), 2 * seed + (0 if aligned else domain)
        epoch, place = sample // samples_per_epoch, sample % samples_per_epoch
        passes = -(-samples_per_epoch // count)
        order = tf.stack([key, epoch * passes + place // count])
        index = tf.random.experimental.index_shuffle(place % count, order, count - 1)
        pixels = stores[domain].lookup(index)
        return to_float(preparation[domain].random(pixels, tf.stack([key, sample])))

    def pair(sample: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return picture(0, sample), picture(1, sample)

    def from_position(_: tf.Tensor) -> tf.data.Dataset:
        start = position.read_value()
        end = start + steps_per_epoch
        return tf.data.Dataset.range(start * batch_size, end * batch_size)

    def move_on(count: tf.Tensor, batch: tuple) -> tuple[tf.Tensor, tf.Tensor]:
        pictures, samples = batch
        after = samples[-1] + 1
        last_of_epoch = after % samples_per_epoch == 0
        last_of_iteration = count + 1 == steps_per_epoch
        if tf.logical_or(last_of_epoch, last_of_iteration):
            position.assign(after // batch_size)
        return pictures

    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False  # move_on must not run ahead
    pairs = (
        tf.data.Dataset.range(1)
        .flat_map(from_position)  # reads the position when iteration starts
        .map(lambda sample: (pair(sample), sample), tf.data.AUTOTUNE)
        .batch(batch_size, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
        .enumerate()
        .map(move_on)  # after prefetching, so it runs when the batch is taken
        .apply(tf.data.experimental.assert_cardinality(steps_per_epoch))
        .with_options(options)
    )

    def share(context: tf.distribute.InputContext) -> tf.data.Dataset:
        per_worker = batch_size // context.num_input_pipelines
        first = context.input_pipeline_id * per_worker

        def from_position(_: tf.Tensor) -> tf.data.Dataset:
            return tf.data.Dataset.range(position.read_value() * per_worker, tf.int64.max)

        def local_pair(n: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return pair(n // per_worker * batch_size + first + n % per_worker)

        return (
            tf.data.Dataset.range(1)
            .flat_map(from_position)
            .map(local_pair, tf.data.AUTOTUNE)
            .apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
            .batch(batch_size // context.num_replicas_in_sync, drop_remainder=True)
            .prefetch(tf.data.AUTOTUNE)
        )

    pairs.shards, pairs.position = share, position
    return pairs


def in_order(*stores: PictureStore, batch_size: int) -> tf.data.Dataset:
    """Batches of one split or of several, in file order; the last batch may be short.

    Returns:
        A dataset as long as the longest split, of float32 `[N, H, W, C]` in [-1, 1] from one split,
        or of tuples of that.
    """

    def pictures(place: tf.Tensor) -> tf.Tensor | tuple[tf.Tensor, ...]:
        found = tuple(to_float(store.lookup(place % len(store))) for store in stores)
        return found if len(found) > 1 else found[0]

    places = tf.data.Dataset.range(max(map(len, stores)))
    return places.map(pictures, tf.data.AUTOTUNE).batch(batch_size).prefetch(tf.data.AUTOTUNE)
