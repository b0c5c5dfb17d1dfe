"""Small writes into many device arrays, gathered on the host and made in one copy and one launch."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from .module import Family

PATCH = Family("patch.cu", "patch")
THREADS = 128
WIDTH = np.uint64(56)  # bits of an address below the number of bytes


class Patch:
    """Words to be written, by address."""

    def __init__(self) -> None:
        self._addresses: list[np.ndarray] = []
        self._words: list[np.ndarray] = []

    def add(self, array: Any, entries: np.ndarray, values: np.ndarray) -> None:
        """Write ``values`` to some ``entries`` of a contiguous device array; no entry may get two different values."""
        size = values.dtype.itemsize
        begin = array.data.ptr + (size << int(WIDTH))
        self._addresses.append(entries.astype(np.uint64) * np.uint64(size) + np.uint64(begin))
        words = np.zeros(len(values), np.uint64)
        words.view(values.dtype)[:: 8 // size] = values
        self._words.append(words)

    def apply(self) -> None:
        """Make all the writes."""
        if not self._addresses:
            return
        both = np.stack([np.concatenate(self._addresses), np.concatenate(self._words)])
        count = both.shape[1]
        if count:
            there = cupy.asarray(both)
            PATCH()((min(-(-count // THREADS), 1024),), (THREADS,), (there[0], there[1], np.int32(count)))
        self._addresses, self._words = [], []
