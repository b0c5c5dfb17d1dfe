"""Deep, narrow networks in one launch: each block of threads owns a slice of the samples and walks all generations.

A launch a generation costs about what a hundred thousand multiply-adds do, so a network of many small generations would
wait for its launches. Samples never meet before the weights' gradients, so a block that owns some of them needs nobody
else: between two generations it waits for its own threads only. The price is that few blocks run (one for 8 or 32
samples), and that each adds up the gradients of its samples in memory of its own, to be summed at last.

The kernels read where rows begin and end from the device, so an edit of connections changes no launch.
"""

from __future__ import annotations

import math
import weakref
from typing import Any

import cupy
import numpy as np

from ...plan import Plan
from .mirror import mirror_of
from .module import REALS, Family
from .staged import processors

COLUMNS = (8, 32)
FORWARD = Family("sliced.cu", "forward_slices", REALS, COLUMNS)
BACKWARD = Family("sliced.cu", "backward_slices", REALS, COLUMNS)
SUM = Family("sliced.cu", "sum_slices", REALS)
THREADS = 512  # at most, in a block; as the source says
CHUNK = 8  # entries of a row in flight together, and threads that share a row of `sum_slices`
SCRATCH = 2**28  # bytes that the sums of all slices may take
NAME = "gpu sliced"  # among the layouts of a plan

# Costs in seconds, on an H100: to be measured there. Nothing but the choice depends on them.
LAUNCH = 3e-6  # of a generation that is launched by itself, however small
TURN = 4e-7  # of eight entries of a row and a barrier: loads that wait for what was just computed
RATE = 2e12  # connections times samples a second that rows run at on the whole device
SLICED_RATE = 0.5  # of that blocks reach on their share of the device


class Slices:
    """Which neuron each group of threads computes in which turn, on the device; and the sums of the slices."""

    def __init__(self, plan: Plan):
        self._plan = weakref.proxy(plan)  # which keeps this
        widths = np.diff(plan.offsets)
        # A generation wider than that takes several turns; most need one.
        self.width = max(1, math.ceil(np.quantile(widths, 0.9))) if len(widths) else 1
        self._turns: dict[int, tuple[Any, Any, int]] = {}
        self._partial: Any = None
        self._backward_order: Any = None

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        arrays = [a for forward, backward, _ in self._turns.values() for a in (forward, backward)]
        arrays += [a for a in (self._partial, self._backward_order) if a is not None]
        return sum(a.nbytes for a in arrays)

    def __str__(self) -> str:
        turns = ", ".join(f"{len(forward)} turns of {groups}" for groups, (forward, _, _) in self._turns.items())
        return f"in slices of the batch: {turns} neurons" if turns else ""

    def groups(self, columns: int) -> int:
        """Neurons that a block computes together, in whole warps."""
        threads = -(-self.width * columns // 32) * 32
        return min(threads, THREADS) // columns

    def turns(self, groups: int) -> tuple[Any, Any, int]:
        """Tables of neuron slots, (turn, group), -1 for none: forward, and backward; and the turns of inputs there."""
        if groups not in self._turns:
            rows, inputs = self._plan.rows, self._plan.inputs
            forward = turns(rows, self._plan.offsets, groups)
            last = turns(inputs, np.array([0, len(inputs)]), groups)
            backward = np.concatenate([forward[::-1], last])
            self._turns[groups] = cupy.asarray(forward), cupy.asarray(backward), len(last)
        return self._turns[groups]

    def partial(self, size: int, dtype: np.dtype) -> Any:
        """Memory for the sums of the slices; what it holds is of no account."""
        if self._partial is None or self._partial.size < size or self._partial.dtype != dtype:
            self._partial = cupy.empty(size, dtype)
        return self._partial

    @property
    def order(self) -> Any:
        """Slots of all neurons that compute, then those of inputs, on the device."""
        if self._backward_order is None:
            self._backward_order = cupy.asarray(np.concatenate([self._plan.rows, self._plan.inputs]).astype(np.int32))
        return self._backward_order


def turns(rows: np.ndarray, offsets: np.ndarray, groups: int) -> np.ndarray:
    """Deal the neurons of each generation, ``rows[offsets[g]:offsets[g + 1]]``, to groups, in as many turns as needed.

    Examples
    --------
    >>> turns(np.array([7, 8, 9, 4]), np.array([0, 3, 4]), 2).tolist()
    [[7, 8], [9, -1], [4, -1]]
    """
    widths = np.diff(offsets)
    needed = -(-widths // groups)
    first = np.concatenate([[0], np.cumsum(needed)])
    generation = np.repeat(np.arange(len(widths)), widths)
    within = np.arange(len(rows)) - offsets[generation]
    table = np.full((first[-1], groups), -1, np.int32)
    table[first[generation] + within // groups, within % groups] = rows
    return table


def slices_of(plan: Plan) -> Slices:
    """What is kept of a plan for this way to run it."""
    if NAME not in plan.layouts:
        plan.layouts[NAME] = Slices(plan)
    return plan.layouts[NAME]


def columns_for(batch: int) -> int:
    """Samples a block: few, so that many blocks run, until there are enough for the whole device."""
    return COLUMNS[-1] if batch > COLUMNS[-1] * processors() else COLUMNS[0]


def pays(plan: Plan, batch: int) -> bool:
    """Whether a block that walks all generations alone is expected to be faster than a launch a generation.

    A launch a generation takes ``LAUNCH`` each, and the work at the rate of the whole device. A block is bound by the
    latency of its turns, a ``TURN`` for each eight entries of a row, or by the work, of which a multiprocessor does its
    share for 8 or 32 samples. Time steps multiply both. Networks with neurons whose terms do not add up are not run
    this way.

    Examples
    --------
    A hundred generations of eight neurons wait for launches; two of three hundred keep the whole device busy.

    >>> import neurograph as ng
    >>> pays(ng.topologies.layered([8] * 100).plan, 1024), pays(ng.topologies.layered([300] * 3).plan, 4096)
    (True, False)
    """
    if plan.n_special or not len(plan.rows):
        return False
    work = len(plan.graph.connections) * float(batch)
    generations = plan.n_generations
    slices = -(-batch // columns_for(batch))
    waves, share = -(-slices // processors()), min(slices, processors()) / processors()
    neurons = len(plan.rows) + len(plan.inputs)
    turns = max(generations, neurons / slices_of(plan).groups(columns_for(batch)))
    chunks = max(1.0, len(plan.graph.connections) / len(plan.rows) / CHUNK)
    alone = max(waves * turns * chunks * TURN, work / (RATE * SLICED_RATE * share))
    return alone < generations * LAUNCH + work / RATE


def has_room(plan: Plan, batch: int, steps: int) -> bool:
    """Whether the slices' sums of gradients are small, in bytes and beside the activations."""
    scratch = _slices(batch) * _places(plan) * plan.graph.dtype.itemsize
    activations = (plan.history + steps) * plan.graph.neurons.size * batch * plan.graph.dtype.itemsize
    return scratch <= min(SCRATCH, 2**20 + 16 * activations)


def forward(plan: Plan, acts: Any, z: Any, keep_z: bool, batch: int, steps: int, columns: int | None = None) -> None:
    """Fill the rows of ``acts`` (and ``z``, if kept) of all steps; those of inputs and of the state are there.

    Parameters
    ----------
    plan : Plan
        Without neurons whose terms do not add up.
    acts, z : cupy array, shape (rows, ld)
        Row ``(history + t) * n + slot``; may be the same where z is neither kept nor leaks.
    keep_z : bool
    batch, steps : int
    columns : int, optional
        Samples a block, one of COLUMNS.
    """
    mirror, slices = mirror_of(plan.graph), slices_of(plan)
    columns = columns or columns_for(batch)
    groups = slices.groups(columns)
    table = slices.turns(groups)[0]
    if not len(table) or not batch or not steps:
        return
    ld = acts.shape[1]
    neurons, connections, rows = mirror.neurons, mirror.connections, mirror.incoming
    FORWARD(acts.dtype.type, columns)(
        (-(-ld // columns),),
        (groups * columns,),
        (
            table, np.int32(len(table)), np.int32(steps), np.int32(plan.history), np.int32(plan.graph.neurons.size),
            rows.start, rows.length, rows.other, rows.slot, connections.read("delay"), np.int32(plan.graph.delayed > 0),
            connections.read("weight"), neurons.read("bias"), neurons.read("activation"),
            neurons.read("activation_parameter"), neurons.read("aggregation"), neurons.read("time_constant"),
            np.int32(plan.leaks), acts, z, np.int32(keep_z), np.int32(batch), np.int32(ld),
        ),
    )  # fmt: skip


def backward(
    plan: Plan,
    acts: Any,
    z: Any,
    gradient: Any,
    output: Any,
    delta: Any,
    batch: int,
    steps: int,
    first_delta: int,
    add: bool = False,
    constant_state: bool = False,
    columns: int | None = None,
) -> None:
    """Fill the rows of ``delta`` of all steps, and the gradients of connections and biases.

    Parameters
    ----------
    plan : Plan
    acts, z : cupy array, shape (rows, ld)
        As `forward` left them; z None where no derivative reads it.
    gradient : cupy array, shape (steps * n_outputs, ld)
        By the outputs.
    output : cupy array of int32, shape (n,)
        Column among the outputs of each neuron slot, -1 for the others.
    delta : cupy array, shape (rows, ld)
        Row ``(first_delta + t) * n + slot``; those of the ``history`` steps after the last one are there, zero or what
        the pass over the later steps left.
    batch, steps, first_delta : int
    add : bool
        To the gradients that are there.
    constant_state : bool
        The weights that read the state have gradients from there too.
    columns : int, optional
        Samples a block, one of COLUMNS.
    """
    graph, mirror, slices = plan.graph, mirror_of(plan.graph), slices_of(plan)
    columns = columns or columns_for(batch)
    groups = slices.groups(columns)
    _, table, input_turns = slices.turns(groups)
    order, n, ld = slices.order, graph.neurons.size, acts.shape[1]
    if not len(order):
        return
    neurons, connections, rows = mirror.neurons, mirror.connections, mirror.outgoing
    count, places = -(-ld // columns), len(rows.other)
    partial = slices.partial(count * (places + n), acts.dtype)
    dtype = acts.dtype.type
    BACKWARD(dtype, columns)(
        (count,),
        (groups * columns,),
        (
            table, np.int32(len(table)), np.int32(input_turns), np.int32(steps),
            np.int32(plan.history if constant_state else 0), np.int32(plan.history), np.int32(first_delta), np.int32(n),
            rows.start, rows.length, rows.other, rows.slot, connections.read("delay"), np.int32(graph.delayed > 0),
            mirror.incoming.length, connections.read("weight"), neurons.read("activation"),
            neurons.read("activation_parameter"), neurons.read("aggregation"), neurons.read("time_constant"),
            np.int32(plan.leaks), output, np.int32(len(plan.outputs)), gradient, acts, acts if z is None else z,
            np.int32(z is not None), delta, partial, np.int64(places), np.int32(batch), np.int32(ld),
        ),
    )  # fmt: skip
    threads = 256
    SUM(dtype)(
        (-(-len(order) * CHUNK // threads),),
        (threads,),
        (
            order, np.int32(len(order)), np.int32(len(plan.inputs)), rows.start, rows.length, rows.slot, partial,
            np.int32(count), np.int64(places), np.int32(n), np.int32(add), connections.write("grad"),
            neurons.write("bias_grad"),
        ),
    )  # fmt: skip


def _slices(batch: int) -> int:
    columns = columns_for(batch)
    return -(-(-(-batch // 4) * 4) // columns)


def _places(plan: Plan) -> int:
    return len(plan.graph.outgoing.other) + plan.graph.neurons.size
