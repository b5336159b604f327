"""The embedded data set."""

import numpy as np
from datasets import epoch, equal

from tfcyclegan import load_data
from tfcyclegan.data import shapes
from tfcyclegan.data.preprocessing import to_float, to_uint8


def test_shapes_are_always_the_same():
    one, two = (load_data("shapes", image_size=16, batch_size=4) for _ in range(2))
    assert equal(epoch(one), epoch(two))
    assert one.counts == shapes.COUNTS
    assert np.array_equal(one.test_set.truth_A, two.test_set.truth_A)


def test_truth_of_shapes():
    """Outside of the coat the truth is the picture itself; inside, stripes come or go."""
    data = load_data("shapes", image_size=32)
    for test, truth, mask in (
        (data.test_A, data.test_set.truth_A, data.test_set.masks_A),
        (data.test_B, data.test_set.truth_B, data.test_set.masks_B),
    ):
        images = np.concatenate(list(test.as_numpy_iterator()))
        change = np.abs(images - to_float(np.stack(truth)).numpy()).max(axis=-1)
        assert change[mask == 0].max() == 0
        share = (change[mask == 1] > 0.1).mean()
        assert 0.3 < share < 0.7
        assert 0.1 < mask.mean() < 0.3


def test_no_map_of_colours_solves_shapes():
    """The best map of colours, told the truth, turns coats grey: half of the error, no stripes."""
    data = load_data("shapes", image_size=32)
    images = to_uint8(np.concatenate(list(data.test_A.as_numpy_iterator())))
    truth = np.stack(data.test_set.truth_A).astype(float)
    cells = (images // 16).astype(int)
    keys = (cells[..., 0] * 16 + cells[..., 1]) * 16 + cells[..., 2]
    best = np.zeros((4096, 3))
    for channel in range(3):
        total = np.bincount(keys.ravel(), truth[..., channel].ravel(), 4096)
        best[:, channel] = total / np.maximum(np.bincount(keys.ravel(), minlength=4096), 1)
    untouched = ((images - truth) ** 2).mean()
    assert ((best[keys] - truth) ** 2).mean() > 0.4 * untouched


def test_scenes_of_the_splits_differ():
    positions = {split: [s.position for s in shapes.scenes(split)[:20]] for split in shapes.COUNTS}
    drawn = [position for scenes in positions.values() for position in scenes]
    assert len(set(drawn)) == len(drawn)
