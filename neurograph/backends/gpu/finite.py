"""Looking for what is not a number."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from .launch import THREADS, blocks_for
from .module import Family

FIND_NON_FINITE = Family("finite.cu", "find_non_finite", (np.float32, np.float64))


def all_finite(X: Any) -> bool:
    """Whether no entry of an array of floats, on the device or on the host, is infinite or not a number."""
    if not isinstance(X, cupy.ndarray):
        return bool(np.isfinite(X).all())
    x = cupy.ascontiguousarray(X).reshape(-1)
    if not x.size:
        return True
    found = cupy.zeros(1, np.int32)
    a_thread = 16 // x.dtype.itemsize
    kernel = FIND_NON_FINITE(x.dtype)
    kernel((blocks_for(x.size, THREADS * a_thread),), (THREADS,), (x, np.int64(x.size), found))
    return int(found[0]) == 0
