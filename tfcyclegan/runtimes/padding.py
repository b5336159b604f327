"""Pictures of any size through generators that need multiples of some number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..data.preprocessing import to_float, to_uint8


def padded(pixels: np.ndarray, divisor: int, least: int) -> np.ndarray:
    """Pads `[H, W, C]` on the right and below by reflection.

    The sides become multiples of `divisor`, and at least `least`.
    """
    size = np.array(pixels.shape[:2])
    grown = np.maximum(-(-size // divisor) * divisor, least)
    return np.pad(pixels, [*((0, int(more)) for more in grown - size), (0, 0)], mode="reflect")


def run_in_float(
    run: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray, divisor: int, least: int
) -> np.ndarray:
    """Pads a uint8 picture, runs a float32 generator on it and crops the uint8 result."""
    height, width = pixels.shape[:2]
    images = to_float(padded(pixels, divisor, least)).numpy()[np.newaxis]
    return to_uint8(run(images)[0, :height, :width])
