"""Launches that repeat, recorded as CUDA graphs: one call starts what took one for each kernel.

A graph bakes in every argument of its launches: addresses, numbers, grids. What kernels read from memory of the device
(where rows begin, how long they are, weights, learning rates) may change between two replays. So after an edit the
launches are made one by one once more, and compared with those that were recorded: if they are the same, as after an
edit that only patched rows, the recording is good for the edited graph too; if not, it is made anew.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import cupy

from ...plan import Plan
from .mirror import mirror_of
from .watch import Watch, watched

KEPT = 8  # recordings of one sequence: two passes take turns, and the last batch of an epoch is shorter
PATIENCE = 3  # failed recordings after which no more are tried
MOST = 50_000  # launches in a recording; a longer sequence is not worth the memory that its nodes take
NAME = "gpu graphs"  # among the layouts of a plan


class Buffers(dict[str, Any]):
    """Arrays by name, as a dict; recordings over them live as long as it does.

    ``replaced`` counts how often an array took the place of another.
    """

    replaced = 0

    def __setitem__(self, name: str, array: Any) -> None:
        self.replaced += name in self
        super().__setitem__(name, array)


class Recording:
    """The launches over one set of arrays: made one by one, recorded, or impossible to record."""

    def __init__(self, buffers: Any):
        self.buffers = buffers
        self.seen: Watch | None = None
        self.state: tuple[Hashable, Hashable] = (None, None)
        self.graph: Any = None
        self.pool: Any = None  # memory that was found while recording belongs to the graph as long as it lives
        self.failed = False


class Replay:
    """A sequence of launches that runs again and again.

    Attributes
    ----------
    recorded, replayed, confirmed : int
        How often it was recorded, replayed, and found to be the same after an edit.
    reason : str or None
        Why the last recording failed.
    """

    def __init__(self, name: str, plan: Any) -> None:
        self.name = name
        self.recorded = self.replayed = self.confirmed = self.failures = 0
        self.reason: str | None = None
        self._plan = plan
        self._known: OrderedDict[Hashable, Recording] = OrderedDict()

    def run(self, key: Hashable, buffers: Buffers, launch: Callable[[], object]) -> None:
        """Do what ``launch`` does.

        The first time its launches are made one by one, for kernels may have to be compiled and memory to be found,
        which no recording can do. The second time they are recorded, and from then on replayed. What cannot be recorded
        goes on being launched one by one, and ``reason`` says why.

        Parameters
        ----------
        key : hashable
            The numbers that ``launch`` depends on.
        buffers : Buffers
            Its arrays, those of the graph's mirror aside.
        launch : callable
            Starts kernels on the current stream. It must neither wait for the device nor copy between it and the host,
            unless the graph was edited; and what it does by other means than kernels of ours (`module`) may only touch
            the buffers and the columns of the mirror. Layouts of the plan may have a ``stamp``: the launches are looked
            at again when it changes. (CuPy records nothing of cuBLAS: with dense blocks they are made one by one.)
        """
        key = (key, id(buffers))
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = Recording(weakref.ref(buffers, lambda _: self._known.pop(key, None)))
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        if known.failed:
            launch()
            return
        if known.seen is None:
            self._look(known, buffers, launch)
            return
        same = self._state(known.seen, buffers) == known.state
        if same and known.graph is None:
            same = self._record(known, buffers, launch)
        if same:
            known.graph.launch()
            self.replayed += 1
            return
        before = known.seen.launches, known.state[0]
        self._look(known, buffers, launch)
        if known.graph is not None:
            if (known.seen.launches, known.state[0]) == before:
                self.confirmed += 1
            else:
                known.graph = known.pool = None

    def _look(self, known: Recording, buffers: Buffers, launch: Callable[[], object]) -> None:
        """Launch one by one, and note what."""
        known.seen = watched(launch)
        known.state = self._state(known.seen, buffers)

    def _state(self, seen: Watch, buffers: Buffers) -> tuple[Hashable, Hashable]:
        """Bring the columns up to date that the launches read.

        Returns
        -------
        baked : hashable
            What else than arguments of our kernels a recording bakes in.
        edited : hashable
            Anything that may have made other launches of them.
        """
        mirror_of(self._plan.graph)
        addresses, changes = [], []
        for (holder, name), write in seen.columns.items():
            array = holder.write(name) if write else holder.read(name)
            addresses.append(array.data.ptr)
            changes.append(holder.changes(name))
        layouts = tuple(getattr(layout, "stamp", None) for layout in self._plan.layouts.values())
        graph = self._plan.graph
        return (buffers.replaced, tuple(addresses), layouts), (graph.edits, graph.precision, tuple(changes))

    def _record(self, known: Recording, buffers: Buffers, launch: Callable[[], object]) -> bool:
        assert known.seen is not None
        if self.failures >= PATIENCE or len(known.seen.launches) > MOST:
            known.failed = True
            return False
        # The default stream cannot be recorded; this one only takes the launches down.
        stream, pool = cupy.cuda.Stream(non_blocking=True), cupy.cuda.MemoryPool()
        graph, error, seen = None, None, known.seen
        with cupy.cuda.using_allocator(pool.malloc), stream:
            try:
                stream.begin_capture()
                seen = watched(launch)
            except Exception as caught:
                error = caught
            try:
                if stream.is_capturing():  # whatever happened: the stream must not go on recording
                    graph = stream.end_capture()
            except Exception as caught:
                error = error or caught
        if error is None:
            known.graph, known.pool, known.seen = graph, pool, seen
            known.state = self._state(seen, buffers)
            self.recorded += 1
            return True
        known.failed = True
        self.failures += 1
        self.reason = f"{type(error).__name__}: {error}"
        return False

    def __str__(self) -> str:
        if self.reason is not None:
            return f"{self.name} is launched kernel by kernel, for it could not be recorded ({self.reason})"
        return f"{self.name} recorded {self.recorded} times, replayed {self.replayed} times" if self.recorded else ""


class Replays:
    """The sequences of one plan, by name."""

    nbytes = 0

    def __init__(self, plan: Plan) -> None:
        self._plan = weakref.proxy(plan)  # which keeps this
        self._by_name: dict[str, Replay] = {}

    def __getitem__(self, name: str) -> Replay:
        if name not in self._by_name:
            self._by_name[name] = Replay(name, self._plan)
        return self._by_name[name]

    def __str__(self) -> str:
        said = [text for replay in self._by_name.values() if (text := str(replay))]
        return f"CUDA graphs: {'; '.join(said)}" if said else ""


def replays_of(plan: Plan) -> Replays:
    """The recordings that belong to a plan."""
    if NAME not in plan.layouts:
        plan.layouts[NAME] = Replays(plan)
    return plan.layouts[NAME]
