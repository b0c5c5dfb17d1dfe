"""SciPy's BLAS: where it is, and how to keep it on one thread while our own threads call it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np


@cache
def address(dtype: np.dtype) -> int:
    """Where the product of matrices of a dtype begins in this process.

    Examples
    --------
    >>> address(np.dtype(np.float32)) != 0
    True
    """
    from scipy.linalg import cython_blas

    capsule = cython_blas.__pyx_capi__["sgemm" if dtype == np.float32 else "dgemm"]
    api = ctypes.pythonapi
    name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", api))
    pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", api))
    return pointer_of(capsule, name_of(capsule))


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep BLAS on one thread; for those only who hold `ALONE`, so that nobody restores what another one set.

    With threads of its own it would take the cores from ours, and sum in an order that depends on their number.

    Examples
    --------
    >>> with one_thread():
    ...     [library.num_threads for library in _libraries()] in ([], [1])
    True
    """
    libraries = [(library, number) for library in _libraries() if (number := library.num_threads) != 1]
    for library, _ in libraries:
        library.set_num_threads(1)
    try:
        yield
    finally:
        for library, number in libraries:
            library.set_num_threads(number)


@cache
def _libraries() -> list[Any]:
    """Controllers of the library that SciPy calls: its own where it brings one, else every BLAS of the process."""
    from scipy.linalg import cython_blas  # noqa: F401  it must be there to be found
    from threadpoolctl import ThreadpoolController

    found = [lib for lib in ThreadpoolController().lib_controllers if lib.user_api == "blas"]
    own = [
        lib for lib in found if "scipy" in os.path.basename(os.path.dirname(lib.filepath)) or "scipy/." in lib.filepath
    ]
    return own or found
