"""The embedded data set."""

import numpy as np
import pytest

from tfcyclegan import load_data
from tfcyclegan.data import shapes
from tfcyclegan.data.test_set import load_test_set


@pytest.fixture(scope="module")
def test_set():
    return load_test_set("shapes", image_size=32)


def test_shapes_are_always_the_same(test_set):
    data = load_data("shapes", image_size=32, test_count=9)
    assert data.counts == {**shapes.COUNTS, "testA": 9, "testB": 9}
    for side in ("A", "B", "truth_A", "masks_B"):
        again, first = getattr(data.test_set, side), getattr(test_set, side)
        assert np.array_equal(list(again), list(first[:9]))
    pixels, _ = shapes.scenes("trainB")[7].render(8, striped=True)
    again, _ = shapes.Scene(np.random.default_rng([1, 7])).render(8, striped=True)
    assert np.array_equal(pixels, again)


def test_truth_of_shapes(test_set):
    """Outside the coat the truth equals the picture; inside, stripes appear or disappear."""
    for images, truth, mask in (
        (test_set.A, test_set.truth_A, test_set.masks_A),
        (test_set.B, test_set.truth_B, test_set.masks_B),
    ):
        change = np.abs(np.stack(images).astype(float) - np.stack(truth)).max(axis=-1) / 127.5
        assert change[mask == 0].max() == 0
        share = (change[mask == 1] > 0.1).mean()
        assert 0.3 < share < 0.7
        assert 0.1 < mask.mean() < 0.3


def test_mapping_colours_does_not_solve_shapes(test_set):
    """Even the best colour map, fitted to the truth, leaves half of the error and no stripes."""
    images, truth = np.stack(test_set.A), np.stack(test_set.truth_A).astype(float)
    cells = (images // 16).astype(int)
    keys = (cells[..., 0] * 16 + cells[..., 1]) * 16 + cells[..., 2]
    best = np.zeros((4096, 3))
    for channel in range(3):
        total = np.bincount(keys.ravel(), truth[..., channel].ravel(), 4096)
        best[:, channel] = total / np.maximum(np.bincount(keys.ravel(), minlength=4096), 1)
    untouched = ((images - truth) ** 2).mean()
    assert ((best[keys] - truth) ** 2).mean() > 0.4 * untouched


def test_dusk(test_set):
    """The same scenes and stripes, some of them darker and redder, and more of B than of A."""
    dusk = load_test_set("shapes-dusk", image_size=32)
    for side, share in (("A", 0.3), ("B", 0.7)):
        day = np.stack(getattr(test_set, side)).astype(float)
        seen = np.stack(getattr(dusk, side)).astype(float)
        changed = (day != seen).any(axis=(1, 2, 3))
        assert changed.mean() == pytest.approx(share, abs=0.1)
        ratio = (seen[changed].sum(axis=(0, 1, 2)) / day[changed].sum(axis=(0, 1, 2))).round(2)
        assert ratio.tolist() == [0.8, 0.5, 0.4]
    truth, pictures = np.stack(dusk.truth_A).astype(float), np.stack(dusk.A)
    assert np.abs(truth - pictures)[dusk.masks_A == 0].max() == 0  # the time of day stays


def test_no_two_splits_share_a_scene():
    positions = {split: [s.position for s in shapes.scenes(split)[:20]] for split in shapes.COUNTS}
    drawn = [position for scenes in positions.values() for position in scenes]
    assert len(set(drawn)) == len(drawn)
