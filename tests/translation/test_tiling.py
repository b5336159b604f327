"""Large pictures in overlapping tiles."""

import numpy as np
from translating import noise

from tfcyclegan.translation.tiling import translate_tiles


def test_tiles_blend():
    pixels = noise(70, 45)
    for size in ((16, 24), (45, 70), (64, 96), (45, 16)):
        np.testing.assert_array_equal(translate_tiles(lambda x: x, pixels, size), pixels)
    seen = []

    def brighter_each_time(tile):
        seen.append(tile.shape[:2])
        return np.full_like(tile, 20 * len(seen))

    drawn = translate_tiles(brighter_each_time, noise(100, 16), (16, 40)).astype(int)
    assert set(seen) == {(16, 40)}
    assert drawn[0, 0, 0] == 20
    steps = np.abs(np.diff(drawn[0, :, 0]))
    assert 0 < steps.max() <= 4  # of 20 between neighbours: no seam
