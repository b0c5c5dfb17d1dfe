"""Pools of memory. The emulation frees at once, so there are never free blocks."""

from __future__ import annotations

import gc

from ... import state
from ...memory import used


class OutOfMemoryError(MemoryError):
    def __init__(self, size: int, total: int, limit: int = 0):
        self._size, self._total, self._limit = size, total, limit
        super().__init__(f"Out of memory allocating {size:,} bytes (of {limit:,} bytes, {total:,} are taken).")


class MemoryPool:
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
