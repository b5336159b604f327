"""Translates large pictures in overlapping tiles and blends them.

For generators whose layers are not accessible. Each tile is normalised by its own statistics, so
colour and contrast may differ between tiles. Blending hides only the seams.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def translate_tiles(
    translate: Callable[[np.ndarray], np.ndarray],
    pixels: np.ndarray,
    size: tuple[int, int],
) -> np.ndarray:
    """Translates a picture in tiles.

    Args:
        translate: translates one tile, uint8 `[height, width, C]` of `size`.
        pixels: uint8 `[H, W, C]`. A picture smaller than a tile is padded by reflection.
        size: `(height, width)` of a tile in px. Neighbours overlap by a quarter of it.

    Returns:
        uint8 `[H, W, C']`.
    """
    whole = np.array(pixels.shape[:2])
    tile = np.array(size)
    more = np.maximum(tile - whole, 0)
    pixels = np.pad(pixels, [(0, int(more[0])), (0, int(more[1])), (0, 0)], mode="reflect")
    ramps = [_ramp(side) for side in size]
    weight = (ramps[0][:, np.newaxis] * ramps[1])[..., np.newaxis]
    total: np.ndarray | None = None
    weights = np.zeros((*pixels.shape[:2], 1), np.float32)
    for top in _starts(pixels.shape[0], size[0]):
        for left in _starts(pixels.shape[1], size[1]):
            place = np.s_[top : top + size[0], left : left + size[1]]
            drawn = translate(pixels[place]).astype(np.float32)
            if total is None:
                total = np.zeros((*pixels.shape[:2], drawn.shape[-1]), np.float32)
            total[place] += weight * drawn
            weights[place] += weight
    assert total is not None
    total /= weights
    return np.rint(total[: whole[0], : whole[1]]).astype(np.uint8)


def _starts(length: int, tile: int) -> list[int]:
    """Evenly spaced starts that cover `length`. Tiles overlap by at least a quarter."""
    count = 1 + -(-(length - tile) // max(1, tile - tile // 4))
    return [round(place) for place in np.linspace(0, length - tile, count)]


def _ramp(side: int) -> np.ndarray:
    """Blending weights: rising over the overlap, flat, falling. Never zero, even at the edges."""
    distance = np.minimum(np.arange(side), np.arange(side)[::-1]) + 1.0
    return np.minimum(distance / max(1, side // 4), 1.0).astype(np.float32)
