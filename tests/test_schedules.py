"""The learning rate over a run."""

import keras
import pytest

from tfcyclegan import LinearDecay


def rates(schedule, steps):
    return [float(schedule(step)) for step in range(steps)]


def test_constant_for_half_then_linear_to_zero_after_the_last_step():
    assert rates(LinearDecay(1.0, 8), 9) == [1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0]
    assert rates(LinearDecay(2e-4, 400), 400)[-1] == pytest.approx(2e-4 / 200)


def test_constant_if_the_length_is_unknown():
    assert rates(LinearDecay(3.0, 0), 3) == [3, 3, 3]


def test_other_fractions():
    assert rates(LinearDecay(1.0, 4, constant_fraction=1.0), 4) == [1, 1, 1, 1]
    assert rates(LinearDecay(1.0, 4, constant_fraction=0.0), 4) == [1, 0.75, 0.5, 0.25]


def test_follows_a_variable():
    total = keras.Variable(4, dtype="int64")
    schedule = LinearDecay(1.0, total)
    assert float(schedule(3)) == 0.5
    total.assign(400)
    assert float(schedule(3)) == 1.0
    again = LinearDecay.from_config(schedule.get_config())
    assert rates(again, 4) == rates(schedule, 4)
