"""WHEN a neuron can run: topological generations, repaired after edits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .errors import CycleError
from .graph.graph import Graph
from .locks import alone

REPAIR_LIMIT = 4096  # changes a local repair may make before sorting everything is the better bet


def generations(graph: Graph) -> np.ndarray:
    """Generation of every neuron slot: the longest path to it over connections without delay.

    The generations are those of `networkx.topological_generations`: neurons of one generation do not depend on each
    other. Delayed connections read the past and do not count.

    Returns
    -------
    ndarray of int32, shape (n_slots,)

    Raises
    ------
    CycleError
        Names the neurons on one cycle, found in linear time.
    """
    from .graph import compiled

    delay = graph.connections.read("delay")
    generation, blocked = compiled.kahn(
        graph.neurons["id"], graph.incoming.start, graph.incoming.length, graph.incoming.slot, *graph.outgoing.rows,
        delay, graph.delayed > 0,
    )  # fmt: skip
    if blocked.any():
        cycle = graph.neurons["id"][compiled.one_cycle(blocked, *graph.incoming.rows, delay)]
        path = [str(i) for i in cycle]
        if len(path) > 12:
            path = [*path[:6], f"... {len(path) - 10} more ...", *path[-4:]]
        raise CycleError(
            f"neurons {' -> '.join(path)} -> {path[0]} would form a cycle without delay; "
            "leave one of these connections out, or give it delay=1"
        )
    return generation


def sequential(graph: Graph) -> np.ndarray:
    """One neuron a generation, in topological order: the slowest legal schedule, for tests.

    Returns
    -------
    ndarray of int32, shape (n_slots,)
    """
    from .graph import compiled

    order, _ = compiled.order_by_generation(graph.neurons["id"], generations(graph))
    rank = np.zeros(graph.neurons.size, np.int32)
    rank[order] = np.arange(len(order))
    return rank


class Schedule:
    """Neurons in dependency-free batches, kept valid through edits.

    Removing a connection never invalidates a schedule, it may only leave a neuron deeper than it needs to be
    (``loose``). Adding one repairs the affected region, or sorts everything where that region is large.

    Parameters
    ----------
    graph : Graph
    planner : callable, optional
        `generations` or `sequential`.

    Attributes
    ----------
    generation : ndarray of int32, shape (n_slots,)
    version : int
        Grows when any neuron's generation may have changed.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([2, 3, 1])
    >>> net.schedule, [ids.tolist() for ids in net.schedule.generations]
    (<Schedule: 6 neurons in 3 generations>, [[0, 1], [2, 3, 4], [5]])
    """

    def __init__(self, graph: Graph, planner: Callable[[Graph], np.ndarray] = generations):
        self._graph = graph
        self._planner = planner
        self.version = 0
        self._order: tuple[np.ndarray, np.ndarray] | None = None
        self.sort()

    def sort(self) -> None:
        """Compute every generation anew."""
        self.generation = self._planner(self._graph)
        self.loose = False
        self._changed()

    def tighten(self) -> Schedule:
        """Undo the depth that removals left behind, if there is any."""
        if self.loose:
            self.sort()
        return self

    def add_neurons(self) -> None:
        """Follow an edit that added neurons: they depend on nothing yet."""
        missing = self._graph.neurons.size - len(self.generation)
        if missing > 0:
            self.generation = np.concatenate([self.generation, np.zeros(missing, np.int32)])
        self._changed()

    def remove_neurons(self, slots: np.ndarray) -> None:
        """Follow an edit that removed neurons."""
        self.generation[slots] = 0
        self.loose = True
        self._changed()

    def remove_connections(self) -> None:
        """Follow an edit that removed connections."""
        self.loose = True

    def add_connections(self, source: np.ndarray, target: np.ndarray, delay: np.ndarray) -> None:
        """Follow an edit that added connections between neuron slots.

        Raises
        ------
        CycleError
            If they close a cycle; the schedule is unchanged then.
        """
        sinks = self.generation[source] >= self.generation[target]
        if not np.count_nonzero(sinks):
            return
        sinks &= delay == 0
        if not sinks.any():
            return
        if not self._sink_leaves(source, target, delay) and not self._repair(source[sinks], target[sinks]):
            self.sort()
        self._changed()

    def add_connection(self, source: int, target: int, delay: int) -> None:
        """Follow an edit that added one connection; errors as of `add_connections`."""
        if delay == 0 and self.generation.item(source) >= self.generation.item(target):
            self.add_connections(np.array([source]), np.array([target]), np.zeros(1, np.int16))

    @property
    def order(self) -> np.ndarray:
        """Live neuron slots, generation after generation."""
        return self._ordered()[0]

    @property
    def offsets(self) -> np.ndarray:
        """Generation g is ``order[offsets[g]:offsets[g + 1]]``."""
        return self._ordered()[1]

    @property
    def depth(self) -> int:
        """Number of generations."""
        return len(self.offsets) - 1

    @property
    def generations(self) -> list[np.ndarray]:
        """Ids of the neurons of each generation, ascending: the dependency-free batches."""
        ids = self._graph.neurons["id"][self.order]
        return [np.sort(ids[a:b]) for a, b in zip(self.offsets[:-1], self.offsets[1:], strict=True)]

    def __repr__(self) -> str:
        return f"<Schedule: {len(self.order)} neurons in {self.depth} generations>"

    def _sink_leaves(self, source: np.ndarray, target: np.ndarray, delay: np.ndarray) -> bool:
        """Deepen targets that feed nobody, as those of a layer just added; False (and nothing changed) if any does."""
        from .graph import compiled

        if self._planner is not generations or len(source) < REPAIR_LIMIT:
            return False
        deeper = self.generation.copy()
        delay = np.broadcast_to(delay, len(source)).astype(np.int16)
        done = compiled.sink_leaves(source, target, delay, deeper, self._graph.outgoing.length)
        if done:
            self.generation = deeper
        return done

    def _repair(self, source: np.ndarray, target: np.ndarray) -> bool:
        """Try to deepen the affected region only; False (and nothing changed) when sorting has to decide."""
        from .graph import compiled

        if self._planner is not generations or len(source) > REPAIR_LIMIT:
            return False
        log, old = np.empty(REPAIR_LIMIT, np.int32), np.empty(REPAIR_LIMIT, np.int32)
        budget = 1024 + len(self._graph.connections) // 16
        outcome, changes = compiled.raise_generations(
            source,
            target,
            budget,
            self.generation,
            *self._graph.outgoing.rows,
            self._graph.connections.read("delay"),
            log,
            old,
        )
        if outcome == compiled.ACYCLIC:
            return True
        for slot, generation in zip(log[:changes][::-1], old[:changes][::-1], strict=True):
            self.generation[slot] = generation
        return False

    @alone
    def _ordered(self) -> tuple[np.ndarray, np.ndarray]:
        if self._order is None:
            from .graph import compiled

            self._order = compiled.order_by_generation(self._graph.neurons["id"], self.generation)
        return self._order

    def _changed(self) -> None:
        self.version += 1
        self._order = None
