"""How translations change the colour of the light."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def tint_shift(inputs: Iterable[np.ndarray], outputs: Iterable[np.ndarray]) -> dict[str, float]:
    """How far the mean colours of pictures move, averaged over pictures.

    Args:
        inputs: uint8 RGB `[H, W, 3]` each.
        outputs: their translations.

    Returns:
        `brightness_shift`, the mean absolute difference of brightness (Rec. 601 luma, 0 to 255),
        and `hue_shift`, the mean angle between the hues in degrees, in [0, 180]. Pictures count
        by their colourfulness, because grey has no hue; without any colour it is 0.

    Example:
        >>> tint_shift([sunset], [sunset])
        {'brightness_shift': 0.0, 'hue_shift': 0.0}
    """
    before, after = (
        np.stack([picture.mean(axis=(0, 1), dtype=np.float64) for picture in pictures])
        for pictures in (inputs, outputs)
    )
    brightness = np.abs((after - before) @ [0.299, 0.587, 0.114])
    here, there = map(_chroma, (before, after))
    angles = np.degrees(np.abs(np.angle(there * here.conj())))
    weights = np.sqrt(np.abs(here) * np.abs(there))
    total = weights.sum()
    hue = float(np.sum(angles * weights) / total) if total else 0.0
    return {"brightness_shift": float(brightness.mean()), "hue_shift": hue}


def _chroma(colours: np.ndarray) -> np.ndarray:
    """RGB `[N, 3]` as points of the colour wheel, complex `[N]`: red is 1, grey is exactly 0."""
    red, green, blue = colours.T
    return red - (green + blue) / 2 + 1j * np.sqrt(0.75) * (green - blue)
