"""What every form of a trained generator has in common."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from ..data.preprocessing import to_float, to_uint8
from ..directions import Direction
from ..errors import InputError

#: Pixels of the largest picture a back end takes at once unless it says otherwise: Full HD and a
#: little. The paper's generator needs about 1.5 KB of memory for each.
MAX_PIXELS = 2**21


#: What an exported model says about itself: a file in a SavedModel's assets.extra, an entry in a
#: LiteRT file's list of metadata.
DESCRIPTION_NAME = "tfcyclegan.json"


class BadPicture(InputError):
    """This picture cannot be translated here; others may be."""


class Runtime(Protocol):
    """A generator that translates one picture at a time.

    Attributes:
        name: what to call it in a message.
        direction: "AtoB" or "BtoA", where that is known, or None.
        channels: int, channels of the pictures it reads: 3 (RGB) or 1 (grey).
        size: `(height, width)` in px of the only size it takes, or None for any.
        max_pixels: int, pixels of the largest picture it takes at once.
        concurrent: int, calls that may run at the same time.
    """

    name: str
    direction: Direction | None
    channels: int
    size: tuple[int, int] | None
    max_pixels: int
    concurrent: int

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Translates uint8 `[H, W, channels]` to uint8 `[H, W, channels']`.

        Raises:
            BadPicture: it refuses this picture.
            InputError: it refuses to work.
        """


def versions(directory: str | os.PathLike) -> list[Path]:
    """A model's version folders, oldest first, as TF Serving finds them: names of digits alone."""
    folder = Path(directory)
    found = [path for path in folder.glob("[0-9]*") if path.is_dir()]
    found = [path for path in found if re.fullmatch("[0-9]+", path.name)]
    return sorted(found, key=lambda path: int(path.name))


def padded(pixels: np.ndarray, divisor: int, least: int) -> np.ndarray:
    """Mirrored to the right and below, to multiples of the divisor and at least the least size."""
    size = np.array(pixels.shape[:2])
    grown = np.maximum(-(-size // divisor) * divisor, least)
    return np.pad(pixels, [*((0, int(more)) for more in grown - size), (0, 0)], mode="reflect")


def run_in_float(
    run: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray, divisor: int, least: int
) -> np.ndarray:
    """uint8 in and out around a generator of floats, padded as it needs."""
    height, width = pixels.shape[:2]
    images = to_float(padded(pixels, divisor, least)).numpy()[np.newaxis]
    return to_uint8(run(images)[0, :height, :width])
