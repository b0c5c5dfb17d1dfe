"""Compiled array work in two threads: it holds no interpreter lock."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

T = TypeVar("T")
U = TypeVar("U")
TWO_THREADS_FROM = 100_000  # connections; a thread of our own costs as much as a thousand


def both(count: int, first: Callable[[], T], second: Callable[[], U]) -> tuple[T, U]:
    """The results of two functions, which run at the same time where there is enough to do.

    Examples
    --------
    >>> both(10**6, lambda: 1 + 1, lambda: 2 + 2)
    (2, 4)
    """
    if count < TWO_THREADS_FROM:
        return first(), second()
    with ThreadPoolExecutor(1) as other:
        future = other.submit(second)
        return first(), future.result()


def halves(work: np.ndarray, task: Callable[[int, int], T]) -> tuple[T, T]:
    """``task(begin, end)`` of two ranges of rows with about half of the ``work`` each.

    Examples
    --------
    >>> halves(np.array([1, 1, 4, 2]), lambda begin, end: (begin, end))
    ((0, 2), (2, 4))
    """
    running = np.cumsum(work, dtype=np.int64)
    total = int(running[-1]) if len(running) else 0
    middle = int(np.searchsorted(running, total / 2))
    if middle < len(work) and 2 * running[middle] - work[middle] < total:  # the row in the middle is nearer to the end
        middle += 1
    return both(total, lambda: task(0, middle), lambda: task(middle, len(work)))
