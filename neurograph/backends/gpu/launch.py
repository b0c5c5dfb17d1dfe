"""How many blocks a kernel gets whose threads go over many things in turn."""

from __future__ import annotations

from functools import cache
from typing import Any

import cupy
import numpy as np

THREADS = 256
LAST_GRID = 65535  # blocks along y and z
MOST_BLOCKS = 132 * 8 * 8  # eight waves of all that a large device runs at a time: enough to even out the last


def blocks_for(count: int, a_block: int = THREADS) -> int:
    """Blocks for so many things, of which a block takes ``a_block`` at a time; at least one.

    Examples
    --------
    >>> blocks_for(1000), blocks_for(10**9)
    (4, 8448)
    """
    return max(1, min(-(-count // a_block), MOST_BLOCKS))


@cache
def unread(dtype: type[np.generic]) -> Any:
    """An array for a kernel's parameter that it does not look at."""
    return cupy.zeros(4, dtype)
