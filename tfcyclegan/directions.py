"""The two directions of translation, and the generators that go them."""

from __future__ import annotations

from typing import Literal, get_args

from .errors import InputError

#: "AtoB" is G, "BtoA" is F.
Direction = Literal["AtoB", "BtoA"]

#: The paper's names of the generators, which also name the models that this package builds.
GENERATORS: dict[Direction, str] = {"AtoB": "G", "BtoA": "F"}


def check_direction(direction: str) -> Direction:
    """The direction, if there is such a one.

    Raises:
        InputError: there is not.
    """
    if direction not in get_args(Direction):
        raise InputError(f"direction={direction!r} is unknown: take AtoB or BtoA")
    return direction  # type: ignore[return-value]
