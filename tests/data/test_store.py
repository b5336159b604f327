"""Decoded pictures in memory and on disk."""

import numpy as np
import tensorflow as tf
from datasets import epoch, equal

from tfcyclegan import load_data
from tfcyclegan.data.store import MemoryBudget, PictureStore


def test_pictures_that_do_not_fit_memory_are_on_disk(folder, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    roomy = load_data(folder, image_size=16)
    tight = load_data(folder, image_size=16, cache_memory=3000, cache_dir=str(cache))
    assert any(cache.iterdir())
    assert equal(epoch(tight), epoch(roomy))
    del tight
    import gc

    gc.collect()
    assert not any(cache.iterdir())


def test_store_of_many_sizes():
    budget = MemoryBudget(10_000)
    store = PictureStore(budget, 3)
    random = np.random.default_rng(0)
    kept = [random.integers(0, 256, (h, 5, 3), dtype=np.uint8) for h in (4, 7, 1)]
    for pixels in kept:
        store.add(pixels)
    store.close()
    assert not store.on_disk
    assert store.size is None
    for index, pixels in enumerate(kept):
        assert np.array_equal(store.lookup(tf.constant(index, tf.int64)), pixels)
