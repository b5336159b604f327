"""Unaligned pairs, in an order that depends only on (seed, epoch, index)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from .preprocessing import Preprocessing, to_float
from .store import PictureStore


class Position:
    """The training step whose pictures come next.

    A `tf.data.Dataset` made by `training_pairs` reads it when it is iterated over and gives the
    `steps_per_epoch` batches from there. The position advances when the last batch of an epoch or
    of the iteration is taken; an iteration that is abandoned midway leaves it where it was.

    Args:
        steps_per_epoch: int.
    """

    def __init__(self, steps_per_epoch: int):
        self.steps_per_epoch = steps_per_epoch
        with tf.device("CPU"):
            self.step = tf.Variable(0, dtype=tf.int64, trainable=False)


@dataclass(frozen=True)
class Shards:
    """How replicas share the batches of a dataset.

    Attributes:
        of: makes one worker's shard, endlessly, epoch after epoch: of each batch the pictures of
            its first replica, of its second, and so on.
        batch_size: int, pictures of a whole batch.
        steps: int, batches an epoch.
        position: where an iteration starts; the caller advances it, because replicas are fed ahead
            of time and the dataset cannot know what was taken. None starts at the first picture.
    """

    of: Callable[[tf.distribute.InputContext], tf.data.Dataset]
    batch_size: int
    steps: int
    position: Position | None = None


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

    Each domain is shuffled separately, afresh each epoch. The shorter domain is repeated, in
    another order, until the epoch is over. Crops and flips are drawn for every picture. All of
    this is computed from the sample's number, so any step can be reached without replaying those
    before.

    Args:
        store_A: pictures of A.
        store_B: pictures of B.
        preprocessing_A: crop and flip of A.
        preprocessing_B: crop and flip of B.
        batch_size: int; batches are always full.
        position: where to start; advances at the end of an epoch.
        seed: int.

    Returns:
        A dataset of `(A, B)`, float32 `[batch_size, H, W, C]` in [-1, 1], of cardinality
        `position.steps_per_epoch`, with `Shards` of it as `shards`.
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

    def pair(sample: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return (
            picture(0, store_A, preprocessing_A, sample),
            picture(1, store_B, preprocessing_B, sample),
        )

    def from_position(_: tf.Tensor) -> tf.data.Dataset:
        start = position.step.read_value()
        end = start + position.steps_per_epoch
        return tf.data.Dataset.range(start * batch_size, end * batch_size).enumerate()

    def move_on(
        pictures: tuple[tf.Tensor, tf.Tensor], samples: tf.Tensor, counts: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        after = samples[-1] + 1
        last_of_epoch = after % samples_per_epoch == 0
        last_of_iteration = counts[-1] + 1 == samples_per_epoch
        if tf.logical_or(last_of_epoch, last_of_iteration):
            position.step.assign(after // batch_size)
        return pictures

    pairs = (
        tf.data.Dataset.range(1)
        .flat_map(from_position)  # reads the position when iteration starts
        .map(lambda count, sample: (pair(sample), sample, count), tf.data.AUTOTUNE)
        .batch(batch_size, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
        .map(move_on)  # after prefetching, so it runs when the batch is taken
    )
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False  # move_on must not run ahead
    pairs = pairs.apply(
        tf.data.experimental.assert_cardinality(position.steps_per_epoch)
    ).with_options(options)

    def share(context: tf.distribute.InputContext) -> tf.data.Dataset:
        per_worker = batch_size // context.num_input_pipelines
        first = context.input_pipeline_id * per_worker
        samples = tf.range(first, first + per_worker, dtype=tf.int64)

        def from_position(_: tf.Tensor) -> tf.data.Dataset:
            steps = tf.data.Dataset.range(position.step.read_value(), tf.int64.max)
            return steps.flat_map(
                lambda step: tf.data.Dataset.from_tensor_slices(step * batch_size + samples)
            )

        return (
            tf.data.Dataset.range(1)
            .flat_map(from_position)
            .map(pair, tf.data.AUTOTUNE)
            .apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
            .batch(batch_size // context.num_replicas_in_sync, drop_remainder=True)
            .prefetch(tf.data.AUTOTUNE)
        )

    pairs.shards = Shards(share, batch_size, position.steps_per_epoch, position)
    return pairs


def validation_pairs(
    store_A: PictureStore, store_B: PictureStore, batch_size: int
) -> tf.data.Dataset:
    """Batches of A and B in file order, as many as the longer domain fills; the last may be short.

    Returns:
        A dataset of `(A, B)`, float32 `[N, H, W, C]` in [-1, 1], with `Shards` of it as `shards`.
    """

    def pair(place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return (
            to_float(store_A.lookup(place % len(store_A))),
            to_float(store_B.lookup(place % len(store_B))),
        )

    longer = max(len(store_A), len(store_B))
    pairs = (
        tf.data.Dataset.range(longer)
        .map(pair, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )

    steps = -(-longer // batch_size)

    def share(context: tf.distribute.InputContext) -> tf.data.Dataset:
        per_replica = batch_size // context.num_replicas_in_sync
        per_worker = batch_size // context.num_input_pipelines
        local = per_worker // per_replica

        def pictures(element: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            step, replica = element // local, element % local
            first = step * batch_size + context.input_pipeline_id * per_worker
            first = tf.minimum(first + replica * per_replica, longer)
            # A short last batch may leave a replica no picture.
            places = tf.range(first, tf.minimum(first + per_replica, longer))
            kinds = (tf.float32, tf.float32)
            return tf.map_fn(pair, places, fn_output_signature=kinds)

        shapes = [(None, *spec.shape[1:]) for spec in pairs.element_spec]
        return (
            tf.data.Dataset.range(steps * local)
            .repeat()
            .map(pictures, num_parallel_calls=tf.data.AUTOTUNE)
            .map(lambda A, B: (tf.ensure_shape(A, shapes[0]), tf.ensure_shape(B, shapes[1])))
            .prefetch(tf.data.AUTOTUNE)
        )

    pairs.shards = Shards(share, batch_size, steps)
    return pairs


def batches(store: PictureStore, batch_size: int) -> tf.data.Dataset:
    """Batches of one split in file order, float32 `[N, H, W, C]` in [-1, 1]."""
    return (
        tf.data.Dataset.range(len(store))
        .map(lambda place: to_float(store.lookup(place)), num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )
