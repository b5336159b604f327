"""The image pool against the reference's rule in plain Python."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan import ImagePool

SHAPE = (2, 2, 1)


def numbered(first, count):
    """Pictures whose values are their numbers."""
    return tf.reshape(tf.repeat(tf.range(first, first + count, dtype=tf.float32), 4), (-1, *SHAPE))


def values(images):
    return [float(v) for v in np.asarray(images)[:, 0, 0, 0]]


def in_plain_python(size, seed, batches):
    """The rule in plain Python, with the pool's own draws."""
    stored, shown = [], []
    for step, batch in enumerate(batches):
        row = []
        for place, image in enumerate(batch):
            draws = tf.random.stateless_uniform(
                [2], tf.constant([seed * 65_536 + place, step], tf.int64)
            )
            if len(stored) < size:
                stored.append(image)
                row.append(image)
            elif draws[0] < 0.5:
                slot = int(draws[1] * size)
                row.append(stored[slot])
                stored[slot] = image
            else:
                row.append(image)
        shown.append(row)
    return shown, stored


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_follows_the_rule(batch, graph):
    pool = ImagePool(SHAPE, size=5, seed=3)
    query = tf.function(pool.query) if graph else pool.query
    batches = [numbered(step * batch, batch) for step in range(40)]
    shown = [values(query(images, tf.constant(step))) for step, images in enumerate(batches)]
    expected, stored = in_plain_python(5, 3, [values(images) for images in batches])
    assert shown == expected
    assert values(pool.images) == stored
    assert int(pool.count.numpy()) == 5


def test_batch_of_unknown_size_follows_the_same_rule():
    known, unknown = ImagePool(SHAPE, 4, seed=1), ImagePool(SHAPE, 4, seed=1)
    query = tf.function(
        unknown.query,
        input_signature=[tf.TensorSpec((None, *SHAPE)), tf.TensorSpec((), tf.int64)],
    )
    for step in range(20):
        images = numbered(3 * step, 3)
        assert values(query(images, tf.constant(step, tf.int64))) == values(
            known.query(images, step)
        )


def test_old_pictures_half_of_the_time():
    pool = ImagePool(SHAPE, size=50)
    shown = [values(pool.query(numbered(step, 1), step))[0] for step in range(1050)]
    assert shown[:50] == list(range(50))
    old = [picture < step for step, picture in enumerate(shown)][50:]
    assert 0.45 < np.mean(old) < 0.55
    # A picture is returned at most twice: when it is new, and when it leaves the pool.
    assert max(shown.count(picture) for picture in set(shown)) == 2


def test_size_0_returns_every_picture():
    pool = ImagePool(SHAPE, size=0)
    images = numbered(0, 3)
    assert pool.query(images, 0) is images
    assert pool.variables == []


def test_a_saved_pool_continues(tmp_path):
    def wrap(pool):
        model = keras.Sequential([keras.Input(SHAPE), keras.layers.Identity()])
        model.pool = pool
        return model

    pool = ImagePool(SHAPE, 4, seed=2)
    for step in range(10):
        pool.query(numbered(step, 1), step)
    wrap(pool).save_weights(tmp_path / "pool.weights.h5")
    again = ImagePool.from_config(pool.get_config())
    wrap(again).load_weights(tmp_path / "pool.weights.h5")
    for step in range(10, 30):
        images = numbered(step, 1)
        assert values(again.query(images, step)) == values(pool.query(images, step))
