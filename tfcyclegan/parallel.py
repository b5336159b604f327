"""`map` on several threads, in order."""

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
    """`map` on several threads, in order and reading no more than a few items ahead.

    Args:
        function: called in any of the threads; what it raises is raised here in its turn.
        items: read in the caller's thread.
        workers: int, threads. Default: as many as there are cores.
        ahead: int, items that may be under way behind the one that is waited for. Default: four
            for each worker.
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
