"""Large arrays, placed where the processor finds them fast."""

from __future__ import annotations

import math

import numpy as np

from ...errors import OutOfMemoryError

HUGE_PAGES = 2**18  # bytes from which an array asks for them


def zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Zeros in an `empty` array."""
    array = empty(shape, dtype)
    array[:] = 0
    return array


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array that begins on a 2 MiB boundary of an allocation large enough for numpy to ask for huge pages.

    Connections visit the rows of a panel at random; on 4 KiB pages every other visit misses the address cache.
    """
    size = math.prod(shape) * dtype.itemsize
    if size < HUGE_PAGES:
        return np.empty(shape, dtype)
    try:
        memory = np.empty(size + 2**22, np.uint8)  # what is never touched takes no memory
    except MemoryError:
        raise OutOfMemoryError(
            f"a pass needs {size:,} bytes for one of its arrays, which the system does not give; run fewer samples or "
            "time steps at once"
        ) from None
    begin = -memory.ctypes.data % 2**21
    return memory[begin : begin + size].view(dtype).reshape(shape)
