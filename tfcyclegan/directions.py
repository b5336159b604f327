"""The two directions of translation, and the generator of each."""

from __future__ import annotations

from typing import Literal, get_args

from .errors import InputError

#: "AtoB" is G, "BtoA" is F.
Direction = Literal["AtoB", "BtoA"]

#: The paper's name of each direction's generator. Models that this package builds are named so.
GENERATORS: dict[Direction, str] = {"AtoB": "G", "BtoA": "F"}


def check_direction(direction: str) -> Direction:
    """Returns the direction.

    Raises:
        InputError: it is neither "AtoB" nor "BtoA".
    """
    if direction not in get_args(Direction):
        raise InputError(f"direction={direction!r} is unknown: take AtoB or BtoA")
    return direction  # type: ignore[return-value]
