"""What a stream has captured: steps that run again on the same memory."""

from __future__ import annotations

import weakref
from typing import Any

from ... import state


class Graph:
    def __init__(self) -> None:
        self._steps: list[tuple[Any, list[Any]]] = []

    def _record(self, step: Any, arrays: list[Any]) -> None:
        self._steps.append((step, [weakref.ref(a._memory) for a in arrays]))

    def launch(self, stream: Any = None) -> None:
        state.counters.graph_launches += 1
        for _, memories in self._steps:
            if any(m() is None for m in memories):
                raise RuntimeError("the graph works on memory that has been freed since it was captured")
        # Nothing of a replay is recorded again.
        before, state.streams[:] = list(state.streams), []
        try:
            for step, _ in self._steps:
                step()
        finally:
            state.streams[:] = before

    def upload(self, stream: Any = None) -> None:
        pass
