"""What the emulated device has done so far, and how it is to behave."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Counters:
    """Launches and traffic since the start or the last `reset`."""

    launches: int = 0
    graph_launches: int = 0
    uploads: int = 0
    uploaded: int = 0
    downloads: int = 0
    downloaded: int = 0
    kernels: list[str] = field(default_factory=list)

    def reset(self) -> None:
        """Start again from nothing."""
        self.__init__()


def number_of_order(which: str | int) -> int:
    """What the launcher calls an order: 0 ascending, 1 descending, more for a shuffle with a seed from 1."""
    if which in ("ascending", "descending"):
        return ("ascending", "descending").index(which)
    if (seed := int(which)) < 1:
        raise ValueError(f"seeds of shuffles are integers from 1, not {seed}")
    return seed + 1


counters = Counters()
launch_order = number_of_order(os.environ.get("NEUROGRAPH_EMULATION_ORDER", "ascending"))
memory_limit = 8 << 30
streams: list[Any] = []
pool: Any = None  # what `using_allocator` has chosen


def capture() -> Any:
    """The graph that the current stream records, or None."""
    return streams[-1].capturing if streams else None


def refuse_in_capture(what: str) -> None:
    """Raise what CUDA raises for something that cannot be recorded."""
    if capture() is not None:
        from .cupy_emulated.cuda import runtime

        raise runtime.CUDARuntimeError(900, f"operation not permitted when stream is capturing: {what}")
