"""The two directions of translation, and the names they give to generators."""

from __future__ import annotations

from typing import Literal

#: Which generator: G for "AtoB", F for "BtoA".
Direction = Literal["AtoB", "BtoA"]


#: The paper's names of the generators, which also name the models that this package builds.
GENERATORS: dict[Direction, str] = {"AtoB": "G", "BtoA": "F"}
