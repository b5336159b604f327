"""The interface that all forms of a trained generator share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ..directions import Direction
from ..errors import InputError

#: Default limit on the pixels of one picture, a little above Full HD. The paper's generator needs
#: about 1.5 KB of memory per pixel.
MAX_PIXELS = 2**21

#: Name of an exported model's description: of a file in a SavedModel's `assets.extra`, and of an
#: entry in a LiteRT file's metadata list.
DESCRIPTION_NAME = "tfcyclegan.json"


class BadPicture(InputError):
    """This runtime cannot translate this picture; it may still translate others."""


class Runtime(Protocol):
    """A generator that translates one picture at a time.

    Attributes:
        name: used in messages.
        direction: "AtoB" or "BtoA", or None if unknown.
        channels: int, channels of the input pictures: 3 (RGB) or 1 (grey).
        size: `(height, width)` in px of the only size it accepts, or None for any size.
        max_pixels: int, pixels of the largest picture it accepts.
        concurrent: int, number of calls that may run at the same time.
    """

    name: str
    channels: int
    direction: Direction | None = None
    size: tuple[int, int] | None = None
    max_pixels: int = MAX_PIXELS
    concurrent: int = 1

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Translates uint8 `[H, W, channels]` to uint8 `[H, W, channels']`.

        Raises:
            BadPicture: this picture cannot be translated.
            InputError: the runtime does not work at all.
        """


def check_shapes(where: object, taken: Sequence[int | None], drawn: Sequence[int | None]) -> None:
    """Refuses a model that does not map pictures to pictures of the same size.

    Args:
        where: the model's name in the message.
        taken: shape of its input.
        drawn: shape of its output for that input.

    Raises:
        InputError: they are not `[N, H, W, C]` with the same N, H and W, and 1 or 3 channels each.
    """
    if not (
        len(taken) == len(drawn) == 4
        and list(taken[:3]) == list(drawn[:3])
        and {taken[3], drawn[3]} <= {1, 3}
    ):
        raise InputError(
            f"{where}: not a generator: it goes from {taken} to {drawn}; a generator goes from "
            "[N, H, W, 3] or [N, H, W, 1] to pictures of the same size"
        )
