"""HOW a network is laid out for running: what a backend needs beside the rows and columns of the graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .functions import activations, aggregations
from .graph.graph import INPUT, Graph
from .schedule import Schedule

SPECIAL = tuple(code for name, code in aggregations.AGGREGATIONS.items() if name not in ("sum", "mean"))
MEAN = aggregations.AGGREGATIONS["mean"]
PARTS = 64  # parts from which a graph is run part by part, and the shares that they are cut into
WIDE = (
    50_000  # connections a generation from which threads share each at no cost, and looking for parts is not worth it
)


@dataclass(frozen=True)
class Plan:
    """The permuted sparse matrix of a whole network, ready to run.

    In schedule order a network is one strictly lower triangular matrix. Its rows (by target, for the forward pass) and
    columns (by source, for the backward pass) are the graph's own `Adjacency` arrays, so an edit of connections patches
    the plan by patching them, and a plan is lowered anew only when an edit moved a neuron to another generation, or
    changed the neurons themselves.

    Attributes
    ----------
    graph : Graph
    rows : ndarray of int32
        Slots of the neurons that compute something (all but inputs), generation after generation.
    offsets : ndarray of int64
        The g-th of their generations is ``rows[offsets[g]:offsets[g + 1]]``.
    numbers : ndarray of int64
        Number of each of these generations in the schedule: one without computing neurons is left out here.
    part_rows : ndarray of int32
        The same as ``rows`` where the graph hangs together. Where it falls into many parts that share only inputs, as a
        union of networks does: part after part, in each generation after generation.
    part_bounds : ndarray of int64
        ``part_rows[part_bounds[i]:part_bounds[i + 1]]`` holds whole parts of about equal work each: shares that need
        not wait for one another. Empty where the graph hangs together.
    version : int
        Of the graph that was lowered; only parts depend on it.
    inputs, outputs : ndarray of int32
        Slots of the columns of X and Y.
    incoming_work, outgoing_work, input_work : ndarray of int64
        Running totals of connections along ``rows`` (by target, by source) and along ``inputs`` (by source), for
        cutting generations into equal shares.
    special : ndarray of int32, shape (n_slots,)
        Number of a neuron whose terms do not add up (product, max, ...) among its like, -1 for sums and means.
    n_special : int
    has_mean : bool
    leaks : bool
        Some neuron has a time constant other than 1, so that its potential carries over from step to step.
    needs_preactivation : bool
        Some derivative cannot be computed from the neuron's output alone.

    Examples
    --------
    >>> import neurograph as ng
    >>> print(ng.topologies.layered([2, 3, 1]).plan)  # doctest: +ELLIPSIS
    Plan: 2 inputs, 4 neurons in 2 generations, 9 connections, 1 outputs, ... KiB
    generation    neurons  connections           fan-in  activations
             1          3            6           2 to 2  relu
             2          1            3           3 to 3  identity
    """

    graph: Graph
    rows: np.ndarray
    offsets: np.ndarray
    numbers: np.ndarray
    part_rows: np.ndarray
    part_bounds: np.ndarray
    version: int
    inputs: np.ndarray
    outputs: np.ndarray
    incoming_work: np.ndarray
    outgoing_work: np.ndarray
    input_work: np.ndarray
    special: np.ndarray
    n_special: int
    has_mean: bool
    leaks: bool
    needs_preactivation: bool
    layouts: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        # What is on a device is made anew by the copy: recorded launches name addresses.
        kept = {name: layout for name, layout in self.layouts.items() if not name.startswith("gpu")}
        return self.__dict__ | {"layouts": kept}

    @property
    def stale(self) -> bool:
        """Whether an edit may have joined or split the parts that the plan tells apart."""
        return len(self.part_bounds) > 0 and self.version != self.graph.version

    @property
    def history(self) -> int:
        """Steps before the present one that a step reads: the longest delay, and one where a potential leaks."""
        return max(self.graph.unrolled().max_delay, int(self.leaks)) if self.graph.delayed else int(self.leaks)

    @cached_property
    def output_columns(self) -> tuple[np.ndarray, np.ndarray]:
        """Column among the outputs of every neuron slot, -1 for the others; and the numbers of the columns."""
        numbers = np.arange(len(self.outputs), dtype=np.int32)
        columns = np.full(self.graph.neurons.size, -1, np.int32)
        columns[self.outputs] = numbers
        return columns, numbers

    @cached_property
    def is_input(self) -> np.ndarray:
        """Whether each neuron slot is an input."""
        return self.graph.neurons["kind"] == INPUT

    @cached_property
    def runs(self) -> np.ndarray:
        """Where in ``rows`` neighbours of one generation, activation and aggregation begin; and the end."""
        begins = np.zeros(len(self.rows) + 1, bool)
        begins[self.offsets] = True
        begins[1:-1] |= np.diff(self.rows) != 1
        for name in ("activation", "activation_parameter", "aggregation"):
            column = self.graph.neurons.read(name)[self.rows]
            begins[1:-1] |= column[1:] != column[:-1]
        return np.flatnonzero(begins)

    @property
    def n_generations(self) -> int:
        """Number of generations that compute something."""
        return len(self.offsets) - 1

    @property
    def nbytes(self) -> int:
        """Bytes of the plan: its own arrays, what backends keep, and the rows that it shares with the graph."""
        own = (self.rows, self.offsets, self.inputs, self.outputs, self.incoming_work, self.outgoing_work)
        shared = (self.graph.incoming, self.graph.outgoing)
        arrays = (*own, self.input_work, self.special, *shared, *self.layouts.values())
        return sum(a.nbytes for a in arrays)

    def __str__(self) -> str:
        graph = self.graph
        late = f" ({graph.delayed} with a delay, up to {graph.unrolled().max_delay} steps)" if graph.delayed else ""
        lines = [
            f"Plan: {len(self.inputs)} inputs, {len(self.rows)} neurons in {self.n_generations} generations, "
            f"{len(graph.connections)} connections{late}, {len(self.outputs)} outputs, {_bytes(self.nbytes)}",
            f"{'generation':>10}  {'neurons':>9}  {'connections':>11}  {'fan-in':>15}  activations",
        ]
        shown: Any = range(self.n_generations)
        if self.n_generations > 20:
            shown = [*range(12), *range(self.n_generations - 6, self.n_generations)]
        previous = -1
        for g in shown:
            if g != previous + 1:
                lines.append(f"{'...':>10}")
            previous = g
            slots = self.rows[self.offsets[g] : self.offsets[g + 1]]
            fan_in = graph.incoming.length[slots]
            span = f"{fan_in.min()} to {fan_in.max()}" if len(slots) else "-"
            codes = np.unique(graph.neurons.read("activation")[slots])
            names = ", ".join(activations.by_code(int(code)).name for code in codes)
            kinds = [aggregations.name(int(code)) for code in np.unique(graph.neurons.read("aggregation")[slots])]
            mixed = "" if kinds == ["sum"] else f" of {', '.join(kinds)}"
            lines.append(f"{self.numbers[g]:>10}  {len(slots):>9}  {fan_in.sum():>11}  {span:>15}  {names}{mixed}")
        lines += [text for layout in self.layouts.values() if (text := str(layout))]
        return "\n".join(lines)


def lower(graph: Graph, schedule: Schedule) -> Plan:
    """Lower a graph in schedule order to a `Plan`: array work over the neurons, none over the connections."""
    neurons = graph.neurons
    computes = neurons["kind"][schedule.order] != INPUT
    rows = schedule.order[computes]
    counted = np.concatenate([[0], np.cumsum(computes)])
    offsets = counted[schedule.offsets]
    numbers = np.flatnonzero(offsets[1:] > offsets[:-1])  # inputs alone make no generation to compute
    offsets = np.concatenate([[0], offsets[1:][numbers]])
    inputs = graph.inputs.astype(np.int32)
    aggregation = neurons.read("aggregation")[rows]
    is_special = np.isin(aggregation, SPECIAL)
    special = np.full(neurons.size, -1, np.int32)
    special[rows[is_special]] = np.arange(int(is_special.sum()))
    codes = np.unique(neurons.read("activation")[rows])
    incoming_work = _running(graph.incoming.length[rows])
    part_rows, part_bounds = _parts(graph, rows, incoming_work, len(offsets) - 1)
    return Plan(
        graph=graph,
        rows=rows,
        offsets=offsets.astype(np.int64),
        numbers=numbers,
        part_rows=part_rows,
        part_bounds=part_bounds,
        version=graph.version,
        inputs=inputs,
        outputs=graph.outputs.astype(np.int32),
        incoming_work=incoming_work,
        outgoing_work=_running(graph.outgoing.length[rows]),
        input_work=_running(graph.outgoing.length[inputs]),
        special=special,
        n_special=int(is_special.sum()),
        has_mean=bool((aggregation == MEAN).any()),
        leaks=bool((neurons.read("time_constant")[rows] != 1).any()),
        needs_preactivation=not all(activations.by_code(int(code)).from_output for code in codes),
    )


def _parts(graph: Graph, rows: np.ndarray, work: np.ndarray, generations: int) -> tuple[np.ndarray, np.ndarray]:
    """``part_rows`` and ``part_bounds`` of a plan."""
    nothing = np.zeros(0, np.int64)
    if len(rows) < PARTS or work[-1] > WIDE * generations:
        return rows, nothing
    from .graph import compiled

    is_input = graph.neurons["kind"] == INPUT
    roots = compiled.components(rows, is_input, graph.incoming.start, graph.incoming.length, graph.incoming.other)
    by_part = np.argsort(roots, kind="stable")
    first = np.flatnonzero(np.diff(roots[by_part], prepend=-1))
    if len(first) < PARTS:
        return rows, nothing
    # Cut the running work into equal shares, each moved up to the beginning of a part.
    running = np.concatenate([[0], np.cumsum(np.diff(work)[by_part])])
    goals = running[-1] * np.arange(1, PARTS) // PARTS
    ends = np.append(first, len(rows))
    bounds = ends[np.searchsorted(running[ends], goals)]
    return rows[by_part], np.concatenate([[0], bounds, [len(rows)]]).astype(np.int64)


def _running(work: np.ndarray) -> np.ndarray:
    # One unit for the neuron itself, so that rows without connections are shared out too.
    return np.concatenate([[0], np.cumsum(work.astype(np.int64) + 1)])


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")
