"""Arrays of NumPy, and of CuPy where a caller brings them: told apart without importing CuPy."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def on_device(array: Any) -> bool:
    """Whether this is an array of CuPy, in the memory of a GPU.

    Examples
    --------
    >>> on_device(np.zeros(3)), on_device([1, 2])
    (False, False)
    """
    kind = type(array)
    return kind is not np.ndarray and kind.__module__ == "cupy"


def to_host(array: Any) -> Any:
    """The same for NumPy: an array of CuPy is copied, everything else passes through."""
    return array.get() if on_device(array) else array


def module_of(array: Any) -> Any:
    """CuPy, which whoever made the array has imported, or NumPy.

    Examples
    --------
    >>> module_of(np.zeros(3)).__name__
    'numpy'
    """
    return sys.modules["cupy"] if on_device(array) else np


def to_device(array: Any) -> Any:
    """The same for CuPy, which has been imported; what is no array of numbers passes through."""
    if isinstance(array, np.ndarray) and array.dtype.kind in "fiub":
        return sys.modules["cupy"].asarray(array)
    return array
