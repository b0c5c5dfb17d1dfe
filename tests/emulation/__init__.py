"""A GPU's programming model on the host, for tests: CUDA kernels compiled by g++ and a strict fake of `cupy`.

``install()`` puts the fake into ``sys.modules["cupy"]``; nothing of it is ever reported as a GPU. ``counters`` count
launches and bytes that went up and down, ``order`` chooses in which order blocks and threads run (and the variable
NEUROGRAPH_EMULATION_ORDER does for a whole run of the tests), ``in_orders`` runs something in several of them and
demands the same bits, ``memory_limit`` makes the device small.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import state
from .state import counters

__all__ = ["can_compile", "counters", "in_orders", "install", "memory_limit", "order"]

ORDERS = ("ascending", "descending", 1, 2)


def can_compile() -> bool:
    """Whether the compiler that kernels need is there."""
    return shutil.which("g++") is not None


def install() -> Any:
    """Make ``import cupy`` give the fake, where no cupy has been imported yet."""
    from . import cupy_emulated

    present = sys.modules.get("cupy")
    if present is not None and present is not cupy_emulated:
        raise RuntimeError(f"cupy has been imported from {present.__file__} before the emulation was installed")
    sys.modules["cupy"] = cupy_emulated
    sys.modules["cupy.cuda"] = cupy_emulated.cuda
    return cupy_emulated


@contextmanager
def order(which: str | int) -> Iterator[None]:
    """Run blocks and threads "ascending", "descending" or shuffled with a seed (an integer from 1)."""
    before = state.launch_order
    state.launch_order = state.number_of_order(which)
    try:
        yield
    finally:
        state.launch_order = before


def in_orders(run: Callable[[], Any], orders: tuple[str | int, ...] = ORDERS) -> Any:
    """The result of ``run()``, an array or a tuple of them, which must be the same to the bit in every order."""
    first = None
    for which in orders:
        with order(which):
            result = run()
        arrays = [np.asarray(a.get() if hasattr(a, "get") else a) for a in _as_tuple(result)]
        if first is None:
            first, kept = arrays, result
        for i, (a, b) in enumerate(zip(first, arrays, strict=True)):
            if a.dtype != b.dtype or a.shape != b.shape or a.tobytes() != b.tobytes():
                raise AssertionError(f"race: result {i} differs between the orders {orders[0]!r} and {which!r}")
    return kept


def _as_tuple(result: Any) -> tuple[Any, ...]:
    return tuple(result) if isinstance(result, tuple | list) else (result,)


@contextmanager
def memory_limit(nbytes: int) -> Iterator[None]:
    """The device has this much memory: allocations that would go beyond raise OutOfMemoryError."""
    before = state.memory_limit
    state.memory_limit = nbytes
    try:
        yield
    finally:
        state.memory_limit = before
