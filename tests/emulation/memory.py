"""Memory of the emulated device: poisoned before use and after, with canaries in front and behind."""

from __future__ import annotations

import weakref
from collections import deque

import numpy as np

from . import state

GUARD = 512
ALIGNMENT = 512
POISON = 0xFF
# NaN in every floating type, not what the poison is, and not the same in any two allocations that follow each other:
# else what a kernel reads behind one array and writes behind another would leave no trace.
_PATTERN = (0xFFF0 | np.random.default_rng(0).integers(1, 15, 2 * GUARD)).astype("<u2").tobytes()
_QUARANTINE = 32 << 20


class Memory:
    """One allocation."""

    __slots__ = ("__weakref__", "buffer", "bytes", "canary", "nbytes")

    def __init__(self, nbytes: int):
        size = -(-max(nbytes, 1) // ALIGNMENT) * ALIGNMENT
        if used() + size > state.memory_limit:
            from .cupy_emulated.cuda import memory

            raise memory.OutOfMemoryError(size, used(), state.memory_limit)
        self.nbytes = nbytes
        _count[0] += 1
        start = 2 * (_count[0] % 509)
        self.canary = np.frombuffer(_PATTERN, np.uint8)[start : start + GUARD]
        raw = np.empty(GUARD + nbytes + GUARD + ALIGNMENT, dtype=np.uint8)
        skip = -(raw.ctypes.data + GUARD) % ALIGNMENT
        self.buffer = raw[skip : skip + GUARD + nbytes + GUARD]
        self.mend()
        self.bytes = self.buffer[GUARD : GUARD + nbytes]
        self.bytes.fill(POISON)
        _live[id(self)] = weakref.ref(self)
        _sizes[id(self)] = size

    def __del__(self) -> None:
        if _sizes.pop(id(self), None) is None:
            return
        _live.pop(id(self), None)
        self.bytes.fill(POISON)
        _freed.append(self.buffer)
        total = sum(b.nbytes for b in list(_freed))  # other threads free too
        while len(_freed) > 1 and total > _QUARANTINE:
            total -= _freed.popleft().nbytes

    def damage(self) -> int | None:
        """How many bytes behind (or, negative, before) the allocation something was written, or None."""
        behind = self.buffer[GUARD + self.nbytes :] != self.canary
        if behind.any():
            return int(np.argmax(behind))
        before = self.buffer[:GUARD] != self.canary
        if before.any():
            return int(np.flatnonzero(before)[-1]) - GUARD
        return None

    def mend(self) -> None:
        """Put the canaries back, so that a damage is reported once."""
        self.buffer[:GUARD] = self.canary
        self.buffer[GUARD + self.nbytes :] = self.canary


_count = [0]
_live: dict[int, weakref.ref[Memory]] = {}
_sizes: dict[int, int] = {}
_freed: deque[np.ndarray] = deque()  # not given back at once, so that what still points there reads poison


def used() -> int:
    """Bytes of all allocations."""
    return sum(list(_sizes.values()))


def live() -> list[Memory]:
    """All allocations that have not been freed."""
    return [m for m in (ref() for ref in list(_live.values())) if m is not None]
