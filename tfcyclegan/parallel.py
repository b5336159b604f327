"""A `map` on threads that keeps the order."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def map_in_order(
    function: Callable[[Any], Any],
    items: Iterable,
    workers: int | None = None,
    ahead: int | None = None,
) -> Iterator:
    """`map` on several threads. Results keep the order of the items.

    Args:
        function: called in the threads. Its exceptions are raised in the caller's thread.
        items: read in the caller's thread.
        workers: int, number of threads. Default: the number of cores.
        ahead: int, items in progress beyond the one whose result is awaited. Default: four per
            thread.

    Yields:
        The result for each item.

    Example:
        ```python
        for image in map_in_order(decode, paths, workers=4):
            ...
        ```
    """
    workers = workers or os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        waiting: collections.deque = collections.deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > (ahead or 4 * workers):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
