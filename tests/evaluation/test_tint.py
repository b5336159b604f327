"""How far mean colours move."""

import numpy as np
import pytest

from tfcyclegan.evaluation.tint import tint_shift


def flat(*colour):
    return np.full((2, 2, 3), colour, np.uint8)


def test_brightness_and_hue():
    red, green, grey = flat(200, 0, 0), flat(0, 200, 0), flat(90, 90, 90)
    assert tint_shift([red], [red]) == {"brightness_shift": 0, "hue_shift": 0}
    assert tint_shift([red], [green])["hue_shift"] == pytest.approx(120)
    assert tint_shift([flat(200, 0, 200)], [red])["hue_shift"] == pytest.approx(60)
    darker = tint_shift([red, grey], [flat(100, 0, 0), grey])
    assert darker["brightness_shift"] == pytest.approx(0.299 * 100 / 2)
    assert darker["hue_shift"] == 0


def test_grey_has_no_hue():
    red, green, grey = flat(200, 0, 0), flat(0, 200, 0), flat(90, 90, 90)
    assert tint_shift([grey], [red])["hue_shift"] == 0
    # Grey pictures do not dilute the others, and pale ones count little.
    assert tint_shift([red, grey], [green, grey])["hue_shift"] == pytest.approx(120)
    pale = [flat(100, 98, 98), flat(98, 100, 98)]
    assert tint_shift([red, pale[0]], [red, pale[1]])["hue_shift"] == pytest.approx(120 * 2 / 202)
