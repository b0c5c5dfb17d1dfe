"""Pools of memory. The emulation frees at once, so there are never free blocks."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ... import state
from ...memory import used


class OutOfMemoryError(MemoryError):
    def __init__(self, size: int, total: int, limit: int = 0):
        self._size, self._total, self._limit = size, total, limit
        super().__init__(f"Out of memory allocating {size:,} bytes (of {limit:,} bytes, {total:,} are taken).")


class MemoryPool:
    """A pool; what is allocated from one of its own stays allocated as long as the pool lives."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def malloc(self, size: int) -> Any:
        raise NotImplementedError("only using_allocator(pool.malloc) is emulated")

    def used_bytes(self) -> int:
        return used()

    def total_bytes(self) -> int:
        return used()

    def free_bytes(self) -> int:
        return 0

    def n_free_blocks(self) -> int:
        return 0

    def free_all_blocks(self, stream: object = None) -> None:
        gc.collect()

    def free_all_free(self) -> None:
        self.free_all_blocks()

    def get_limit(self) -> int:
        return state.memory_limit

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        raise NotImplementedError("tests limit the memory with emulation.memory_limit")


class _PinnedMemoryPool:
    def n_free_blocks(self) -> int:
        return 0

    def free_all_blocks(self) -> None:
        pass


default_pool = MemoryPool()
default_pinned_pool = _PinnedMemoryPool()


@contextmanager
def using_allocator(allocator: Callable[[int], Any]) -> Iterator[None]:
    """Allocate from a pool for a while."""
    pool = getattr(allocator, "__self__", None)
    if not isinstance(pool, MemoryPool):
        raise NotImplementedError("only the malloc of a MemoryPool is emulated")
    before, state.pool = state.pool, pool
    try:
        yield
    finally:
        state.pool = before
