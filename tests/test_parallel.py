"""The ordered `map` on threads."""

import time

import pytest

from tfcyclegan.parallel import map_in_order


def test_results_keep_the_order_and_few_items_are_read_ahead():
    read = []

    def items():
        for number in range(20):
            read.append(number)
            yield number

    def slow_at_first(number):
        time.sleep(0.02 if number % 5 == 0 else 0)
        return number * number

    results = map_in_order(slow_at_first, items(), workers=4, ahead=3)
    assert next(results) == 0
    assert len(read) <= 5
    assert list(results) == [number * number for number in range(1, 20)]


def test_an_error_is_raised_in_order():
    results = map_in_order(lambda number: 1 // (3 - number), range(6), workers=2)
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
