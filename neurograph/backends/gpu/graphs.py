"""Launches that repeat, recorded as CUDA graphs: one call starts what took one for each kernel.

A graph bakes in every argument of its launches: pointers, numbers, grids. Whoever wants launches replayed names all of
these in a key, and a recording is replayed only under the key that it was made with. What kernels read from memory of
the device (where rows begin, how long they are, weights, learning rates) may change between two replays; so an edit
that patches rows in place needs no new recording.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import cupy

from ...plan import Plan

KEPT = 8  # recordings of one sequence: two passes take turns, and the last batch of an epoch is shorter
PATIENCE = 3  # failed recordings after which no more are tried
NAME = "gpu graphs"  # among the layouts of a plan


class Recording:
    """One key's launches: not yet recorded, recorded, or impossible to record."""

    def __init__(self) -> None:
        self.graph: Any = None
        self.pool: Any = None  # memory that was found while recording belongs to the graph as long as it lives
        self.failed = False


class Replay:
    """A sequence of launches that runs again and again.

    Under a new key the launches are made one by one, for kernels may have to be compiled and memory to be found, which
    no recording can do. The second time they are recorded, and from then on replayed. What cannot be recorded goes on
    being launched one by one, and ``reason`` says why.

    Attributes
    ----------
    recorded, replayed : int
        How often.
    reason : str or None
        Why the last recording failed.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.recorded = self.replayed = self.failures = 0
        self.reason: str | None = None
        self._known: OrderedDict[Hashable, Recording] = OrderedDict()

    def run(self, key: Hashable, launch: Callable[[], object]) -> None:
        """Do what ``launch`` does: start kernels on the current stream, and nothing else that matters.

        Parameters
        ----------
        key : hashable
            All that the launches bake in.
        launch : callable
            Called without arguments; what it returns is dropped. It must neither wait for the device nor copy between
            it and the host.
        """
        known = self._known.get(key)
        if known is None:
            launch()
            self._known[key] = Recording()
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
            return
        self._known.move_to_end(key)
        if known.graph is None and not known.failed:
            self._record(known, launch)
        if known.graph is None:
            launch()
            return
        known.graph.launch()
        self.replayed += 1

    def forget(self) -> None:
        """Free all recordings."""
        self._known.clear()

    def _record(self, known: Recording, launch: Callable[[], object]) -> None:
        if self.failures >= PATIENCE:
            known.failed = True
            return
        # The default stream cannot be recorded; this one only takes the launches down.
        stream, pool = cupy.cuda.Stream(non_blocking=True), cupy.cuda.MemoryPool()
        error: Exception | None = None
        graph = None
        with cupy.cuda.using_allocator(pool.malloc), stream:
            stream.begin_capture()
            try:
                launch()
            except Exception as caught:
                error = caught
            try:
                graph = stream.end_capture()  # whatever happened: the stream must not go on recording
            except Exception as caught:
                error = error or caught
        if error is None:
            known.graph, known.pool = graph, pool
            self.recorded += 1
            return
        known.failed = True
        self.failures += 1
        self.reason = f"{type(error).__name__}: {error}"

    def __str__(self) -> str:
        if self.reason is not None:
            return f"{self.name} is launched kernel by kernel, for it could not be recorded: {self.reason}"
        return f"{self.name} recorded {self.recorded} times, replayed {self.replayed} times" if self.recorded else ""


class Replays:
    """The sequences of one plan, by name."""

    nbytes = 0

    def __init__(self) -> None:
        self._by_name: dict[str, Replay] = {}

    def __getitem__(self, name: str) -> Replay:
        return self._by_name.setdefault(name, Replay(name))

    def __str__(self) -> str:
        said = [text for replay in self._by_name.values() if (text := str(replay))]
        return f"CUDA graphs: {'; '.join(said)}" if said else ""


def replays_of(plan: Plan) -> Replays:
    """The recordings that belong to a plan."""
    if NAME not in plan.layouts:
        plan.layouts[NAME] = Replays()
    return plan.layouts[NAME]


def pointers(*arrays: Any) -> tuple[int, ...]:
    """Where arrays lie on the device, and how large they are: a part of a key. None stands for no array."""
    return tuple(number for a in arrays for number in ((0, 0) if a is None else (a.data.ptr, a.nbytes)))
