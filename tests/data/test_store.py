"""Decoded pictures in memory and on disk."""

import errno
import gc
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from datasets import epoch, equal

from tfcyclegan import InputError, load_data
from tfcyclegan.data.store import MemoryBudget, PictureStore


def test_pictures_that_do_not_fit_memory_are_on_disk(folder, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    roomy = load_data(folder, image_size=16)
    tight = load_data(folder, image_size=16, cache_memory=3000, cache_dir=str(cache))
    assert any(cache.iterdir())
    assert equal(epoch(tight), epoch(roomy))
    del tight
    gc.collect()
    assert not any(cache.iterdir())


@pytest.mark.parametrize("memory", [10_000, 100])
def test_a_store_of_many_sizes(memory):
    store = PictureStore(MemoryBudget(memory), 3)
    random = np.random.default_rng(0)
    kept = [random.integers(0, 256, (h, 5, 3), dtype=np.uint8) for h in (4, 7, 1)]
    for number, pixels in enumerate(kept):
        store.add(pixels, f"picture {number}")
    store.close()
    assert store.on_disk == (memory == 100)
    assert store.size is None
    assert store.nbytes == 12 * 5 * 3
    assert store.names == ["picture 0", "picture 1", "picture 2"]
    assert [pixels.shape[0] for pixels in store[1:]] == [7, 1]
    assert np.array_equal(store[-1], kept[2])
    with pytest.raises(IndexError):
        store[3]
    for index, pixels in enumerate(kept):
        assert np.array_equal(store.lookup(tf.constant(index, tf.int64)), pixels)


def test_a_full_disk_is_one_line(monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"the disk is full: .*choose a `cache_dir`"):
        PictureStore(MemoryBudget(0), 3).add(np.zeros((2, 2, 3), np.uint8))
