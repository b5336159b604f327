"""Padding to the sizes that generators take."""

import numpy as np
import pytest
from serving import draw

from tfcyclegan.runtimes.padding import padded, run_in_float


@pytest.mark.parametrize(
    ("size", "wanted"),
    [((8, 8), (8, 8)), ((1, 1), (8, 8)), ((9, 16), (12, 16)), ((3, 13), (8, 16))],
)
def test_sides_become_multiples_and_large_enough(size, wanted):
    pixels = draw(*size)
    grown = padded(pixels, 4, 8)
    assert grown.shape == (*wanted, 3)
    np.testing.assert_array_equal(grown[: size[0], : size[1]], pixels)
    if size[0] == 9:  # reflected without repeating the edge
        np.testing.assert_array_equal(grown[9:], pixels[[7, 6, 5]])


def test_pictures_are_padded_run_and_cropped():
    shapes = []

    def negative(images):
        shapes.append(images.shape)
        assert images.dtype == np.float32
        assert abs(images).max() <= 1
        return -images

    pixels = draw(9, 13)
    np.testing.assert_array_equal(run_in_float(negative, pixels, 4, 8), 255 - pixels)
    assert shapes == [(1, 12, 16, 3)]
