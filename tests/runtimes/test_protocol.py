"""What all runtimes share: defaults, and the check that a model is a generator."""

import numpy as np
import pytest

from tfcyclegan import InputError
from tfcyclegan.runtimes.protocol import MAX_PIXELS, BadPicture, Runtime, check_shapes


@pytest.mark.parametrize(
    ("taken", "drawn"),
    [
        ((None, None, None, 3), (None, None, None, 3)),
        ([1, 16, 24, 1], (1, 16, 24, 3)),
    ],
)
def test_generators_keep_the_size(taken, drawn):
    check_shapes("it", taken, drawn)


@pytest.mark.parametrize(
    ("taken", "drawn"),
    [
        ((1, 16, 24, 3), (1, 6, 14, 1)),
        ((1, 16, 24, 3), (1, 16, 24, 2)),
        ((1, 16, 24, 4), (1, 16, 24, 3)),
        ((1, 10), (1, 10)),
        ((1, 16, 24, 3), (1, 2)),
        ((), ()),
    ],
)
def test_other_models_are_refused(taken, drawn):
    with pytest.raises(InputError, match="it: not a generator: it goes from") as caught:
        check_shapes("it", taken, drawn)
    assert f"{taken} to {drawn};" in str(caught.value)


def test_defaults_of_runtimes():
    class Negative(Runtime):
        def __call__(self, pixels):
            if pixels.size > self.max_pixels:
                raise BadPicture("too large")
            return 255 - pixels

    runtime = Negative()
    assert (runtime.direction, runtime.size, runtime.concurrent) == (None, None, 1)
    assert runtime(np.zeros((1, 1, 3), np.uint8)).max() == 255
    with pytest.raises(InputError, match="too large"):
        runtime(np.zeros((1, MAX_PIXELS, 3), np.uint8))
