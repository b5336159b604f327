"""The two directions of translation."""

import pytest

from tfcyclegan import InputError
from tfcyclegan.directions import GENERATORS, check_direction


def test_each_direction_has_its_generator():
    assert {check_direction(way): name for way, name in GENERATORS.items()} == {
        "AtoB": "G",
        "BtoA": "F",
    }
    with pytest.raises(InputError, match="direction='A2B' is unknown: take AtoB or BtoA"):
        check_direction("A2B")
