"""The numba backend: samples in panels, compiled row loops, as many threads as numba is set to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from itertools import count
from typing import Any

import numpy as np

from ...locks import ALONE
from ...plan import MEAN, Plan
from ..host import SCORES, accept, available, collect, column, differentiate, lowest, spread
from ..state import State
from . import blas, blocked, kernels, long_rows, sparse, threads
from .blocks import Blocks, blocks_of
from .buffers import zeros
from .losses import LOSSES
from .packed import all_finite
from .packed import predict as predict_packed
from .stream import stream
from .updates import adam, rmsprop, sgd

__all__ = [
    "LOSSES",
    "SCORES",
    "Pass",
    "accept",
    "adam",
    "all_finite",
    "available",
    "backward",
    "collect",
    "column",
    "differentiate",
    "footprint",
    "forward",
    "lowest",
    "predict_packed",
    "rmsprop",
    "sgd",
    "spread",
    "stream",
]


# Bringing the weights into row order pays from so many reads of a column so long that it does not stay in the first
# cache, and for a single read of one that stays in none: by slot, each read takes a line of its own from the caches.
ENOUGH_READS, LARGE_COLUMN, HUGE_COLUMN = 2, 20_000, 2_000_000
_numbers = count()  # of passes
NO_HEADS = np.zeros(0, np.int32)
FEW_FROM = 20_000  # connections from which a few samples run source by source
NO_DELTAS = np.zeros((0, 0, 0), np.float32)


class Pass:
    """Activations of a batch in panels and, once `backward` ran, the gradients by each neuron's input z.

    Step t of a pass has the rows ``(history + t) * n`` and on; the ``history`` steps before are the state that the pass
    began with.
    """

    def __init__(
        self,
        plan: Plan,
        batch: int,
        steps: int,
        reuse: Pass | None,
        lanes: int = 0,
        blocks: Blocks | None = None,
    ):
        self._dtype = dtype = plan.graph.dtype
        self._plan, self._batch, self._n = plan, batch, plan.graph.neurons.size
        self.steps, self.history, self.single = steps, plan.history, lanes == 1
        self._edits = plan.graph.edits
        known = reuse if isinstance(reuse, Pass) and reuse._plan is plan else None
        self._heads: tuple[int, np.ndarray] = known._heads if known else (-1, NO_HEADS)
        self.blocks = blocks  # if dense blocks are run as such; then no row is so long that it would have to be cut
        self.long = long_rows.NONE
        if blocks is None:
            unedited = known is not None and known.blocks is None and known._edits == self._edits
            self.long = known.long if known and unedited else long_rows.find(plan)
        chunks = len(self.long.incoming.row), len(self.long.outgoing.row)
        self._layout = _layout(self._n, plan.n_special, batch, steps, self.history, dtype, lanes, chunks)
        self._buffers: dict[str, np.ndarray] = {}
        # Fresh pages cost more than the arithmetic of a small batch: take over what fits.
        if isinstance(reuse, Pass) and reuse._layout is self._layout:
            self._buffers = reuse._buffers
        elif isinstance(reuse, Pass) and reuse._dtype == dtype:
            self._buffers = {
                name: a for name, a in reuse._buffers.items() if a.shape == self._layout.get(name, a.shape)
            }
        self._divisor: np.ndarray | None = None
        self._first_delta = 0
        self.rate = _nothing(dtype)
        self.differentiated = False
        self.filled: np.ndarray | None = None  # the outputs, if the kernel has put them together
        self.sparse: Any = None  # X, if only the active inputs were run
        self.number = next(_numbers)
        self._unread = False  # whether the inputs' rows are still to be filled from it

    def buffer(self, name: str) -> np.ndarray:
        """An array of the pass, made when first asked for."""
        if name not in self._buffers:
            self._buffers[name] = zeros(self._layout[name], self._dtype)
        return self._buffers[name]

    def ordered_weights(self, count: int) -> np.ndarray:
        """Room for the weights in row order."""
        if "ordered" not in self._buffers or len(self._buffers["ordered"]) != count:
            self._buffers["ordered"] = zeros((count,), self._dtype)
        return self._buffers["ordered"]

    def heads(self) -> np.ndarray:
        """See `kernels.find_heads`; empty for the first sample after an edit, which may be the only one."""
        graph = self._plan.graph
        edits, heads = self._heads
        if edits != graph.edits:
            self._heads = graph.edits, NO_HEADS
        elif not len(heads):
            heads = np.empty(self._n, np.int32)
            kernels.find_heads(graph.outgoing.start, graph.outgoing.length, graph.outgoing.slot, heads)
            self._heads = edits, heads
        return self._heads[1]

    @property
    def samples(self) -> int:
        """Samples that run, those included that fill up the last panel."""
        panels, _, lanes = self._layout["acts"]
        return panels * lanes

    @property
    def nbytes(self) -> int:
        """Bytes of what the pass holds."""
        return sum(array.nbytes for array in self._buffers.values())

    @property
    def outputs(self) -> np.ndarray:
        """(batch, steps, n_outputs)."""
        filled, self.filled = self.filled, None  # given away once: who has it may change it
        return self.activations(self._plan.outputs) if filled is None else filled

    @property
    def device_outputs(self) -> np.ndarray:
        """The outputs where this backend has them."""
        return self.outputs

    def activations(self, slots: np.ndarray, first: int = 0) -> np.ndarray:
        """(batch, steps - first, len(slots)); a negative ``first`` begins in the state."""
        return self._read("acts", slots, first, self.steps - first)

    def state(self) -> State:
        """What a pass over the following steps needs of this one."""
        slots, history = np.arange(self._n, dtype=np.int32), self.history
        outputs = self._read("acts", slots, self.steps - history, history)
        potentials = self._read("z", slots, self.steps - 1, 1)[:, 0] if self._plan.leaks else None
        return State(outputs, potentials)

    def run_sparse(self, X: Any, z: np.ndarray, keep_z: bool) -> None:
        """Run the first generation over the active inputs of a sparse X; the inputs' rows wait until they are read."""
        self.sparse, self._unread = X, True
        sparse.forward(self._plan, X.rows, self.buffer("acts"), z, keep_z)

    def _read(self, name: str, slots: np.ndarray, first: int, steps: int) -> np.ndarray:
        array = np.empty((self._batch, steps, len(slots)), self._dtype)
        slots = slots if slots.dtype == np.int32 else slots.astype(np.int32)
        if self._unread and self._plan.is_input[slots].any():
            X, self._unread = np.asarray(self.sparse), False
            kernels.to_panels(_copiers(X), X, self._plan.inputs, self.buffer("acts"), 0, self._n, True)
        kernels.from_panels(_copiers(array), self.buffer(name), slots, (self.history + first) * self._n, self._n, array)
        return array

    def output(self, slot: int) -> np.ndarray:
        """(batch, steps)."""
        return self.activations(np.array([slot]))[:, :, 0]

    def errors(self, slots: np.ndarray) -> np.ndarray:
        """(batch, len(slots)), at the first step; those of later steps are not kept."""
        array = np.empty((self._batch, 1, len(slots)), self._dtype)
        special = self._plan.special[slots]
        for chosen, name, rows, stride in (
            (special < 0, "delta", slots, self._n),
            (special >= 0, "delta_special", special, self._plan.n_special),
        ):
            if not chosen.any():
                continue
            part = array if chosen.all() else np.empty((self._batch, 1, np.count_nonzero(chosen)), self._dtype)
            rows = np.ascontiguousarray(rows[chosen], np.int32)
            kernels.from_panels(_copiers(part), self.buffer(name), rows, self._first_delta * stride, stride, part)
            if part is not array:
                array[:, :, chosen] = part
        return array[:, 0] if self._divisor is None else array[:, 0] * self._divisor[slots]


@lru_cache(maxsize=64)
def _layout(
    n: int,
    n_special: int,
    batch: int,
    steps: int,
    history: int,
    dtype: np.dtype,
    lanes: int = 0,
    chunks: tuple[int, int] = (0, 0),
) -> Mapping[str, tuple[int, ...]]:
    """Shapes of the buffers of a pass; with so many lanes a panel, if not as many as fit the batch.

    Behind the rows of the neurons are those for the ``chunks`` of long rows by target, and by source.
    """
    lanes = lanes or kernels.lanes_of(dtype, batch, n)
    panels = -(-batch // lanes)
    # Sliding on costs ``history`` steps of copying every so many steps.
    window = max(min(steps, 4 * history) + history, 2 * history) if history else 1
    rows = (panels, (history + steps) * n, lanes)
    return {
        "acts": (panels, rows[1] + chunks[0], lanes),
        "z": rows,
        "delta": (panels, window * n + chunks[1], lanes),
        "kept": (panels, steps * n_special, 4, lanes),
        "delta_special": (panels, window * n_special, lanes),
        "sums": (kernels.PUSH_SHARES, n, lanes),
    }


def footprint(plan: Plan, batch: int, steps: int, keep: bool) -> int:
    """Bytes that a pass takes, with its gradients if they are to ``keep``."""
    lanes = _few(plan, batch, steps)
    shapes = _layout(plan.graph.neurons.size, plan.n_special, batch, steps, plan.history, plan.graph.dtype, lanes)
    names = ["acts", "sums"] if lanes else ["acts", "kept"]
    if plan.leaks or (keep and plan.needs_preactivation):
        names.append("z")
    if keep:
        names += ["delta", "delta_special"]
    numbers = sum(math.prod(shapes[name]) for name in names)
    blocks = None if lanes else _blocks_for(plan, batch, steps)
    if blocks is not None:
        numbers += sum(blocks.scratch_sizes(shapes["acts"][0] * shapes["acts"][2]).values())
    return numbers * plan.graph.dtype.itemsize


def prepare(plan: Plan) -> None:
    """Decide now what the first pass would: what is a dense block, and so what `print(plan)` tells."""
    with ALONE:
        blocks_of(plan).refresh()


def _blocks_for(plan: Plan, batch: int, steps: int) -> Blocks | None:
    """The dense blocks, if there are any and the samples are enough for them, those that fill up a panel included."""
    panels, _, lanes = _layout(plan.graph.neurons.size, 0, batch, 1, 0, plan.graph.dtype)["acts"]
    if steps != 1 or panels * lanes < blocked.SAMPLES:
        return None
    with ALONE:
        blocks = blocks_of(plan)
        return blocks if blocks.refresh() else None


def _few(plan: Plan, batch: int, steps: int) -> int:
    """Lanes of the rows if so few samples run source by source, 0 otherwise."""
    if steps > 1 or plan.history or plan.n_special or len(plan.graph.connections) < FEW_FROM:
        return 0
    return kernels.few_lanes_of(plan.graph.dtype, batch)


@lru_cache
def _nothing(dtype: np.dtype) -> np.ndarray:
    return np.zeros(0, dtype)


def _threads(run: Pass) -> int:
    """One where so little is to be done that the kernels would not share it out: asking numba takes a lock."""
    connections = len(run._plan.graph.connections) + run._n
    panels, _, lanes = run._layout["acts"]
    panels *= max(lanes * run._dtype.itemsize // (kernels.WIDE * kernels.REGISTER_BYTES), 1)
    small = connections * panels * run.steps < kernels.SERIAL_WORK
    return 1 if small else threads.count()


def _copiers(array: np.ndarray) -> int:
    """Threads that copy X, Y or a state: one where it is small."""
    return 1 if array.size < kernels.SERIAL_COPY else threads.count()


def forward(plan: Plan, X: Any, keep: bool = True, reuse: Pass | None = None, state: State | None = None) -> Pass:
    """Run a batch X of shape (batch, steps, n_inputs).

    ``keep`` what `backward` needs; ``reuse`` the memory of an older pass; begin with a ``state``, or with zeros.
    """
    batch, steps, _ = X.shape
    if batch == steps == 1 and not keep and not plan.history and not plan.n_special:
        return _forward_one(plan, np.asarray(X), reuse)
    entries = not isinstance(X, np.ndarray) and sparse.pays(plan, X)
    if not entries:
        X = np.asarray(X)
    few = 0 if entries else _few(plan, batch, steps)
    blocks = None if entries or few else _blocks_for(plan, batch, steps)
    run = Pass(plan, batch, steps, reuse, few, blocks)
    graph, neurons, n = plan.graph, plan.graph.neurons, plan.graph.neurons.size
    acts, keep_z = run.buffer("acts"), plan.leaks or (keep and plan.needs_preactivation)
    z = run.buffer("z") if keep_z else acts
    if plan.leaks:  # a freed slot has time constant 0
        run.rate = (1 / np.maximum(neurons["time_constant"], 1)).astype(graph.dtype)
    weight, slot = graph.connections["weight"], graph.incoming.slot
    if few:
        with ALONE:
            kernels.to_panels(_copiers(X), X, plan.inputs, acts, 0, n, True)
            kernels.forward_few(
                plan.rows, plan.offsets, plan.outgoing_work, plan.inputs, plan.input_work, _threads(run),
                *graph.outgoing.rows, graph.connections["delay"], graph.incoming.length, weight, neurons["activation"],
                neurons["activation_parameter"], neurons["aggregation"], neurons["bias"], plan.special, acts, z, keep_z,
                run.buffer("sums"),
            )  # fmt: skip
        return run
    order, offsets, work, part_rows, part_bounds = (
        plan.rows, plan.offsets, plan.incoming_work, plan.part_rows, plan.part_bounds,
    )  # fmt: skip
    long = run.long.incoming
    if entries:  # the first generation is for `run_sparse`
        done = offsets[1]
        order, offsets, work = order[done:], offsets[1:] - done, work[done:] - work[done]
        part_rows, part_bounds, long = order, part_bounds[:0], long.behind(int(done))
    with ALONE:
        by_rows = work[-1] if run.blocks is None else run.blocks.sparse_work
        column = len(weight) if 2 * by_rows > len(weight) else 0
        if column >= (LARGE_COLUMN if acts.shape[0] * steps >= ENOUGH_READS else HUGE_COLUMN):
            # In the order of the rows the weights are read in sequence, panel after panel and step after step.
            ordered = run.ordered_weights(len(slot))
            kernels.by_place(_threads(run), graph.incoming.place, slot, weight, ordered)
            weight, slot = ordered, slot[:0]
        if run.history and state is not None:
            slots = np.arange(n, dtype=np.int32)
            kernels.to_panels(_copiers(state.outputs), state.outputs, slots, acts, 0, n, True)
            if plan.leaks:
                assert state.potentials is not None
                kernels.to_panels(1, state.potentials[:, None], slots, z, (run.history - 1) * n, n, True)
        elif run.history:
            kernels.clear(acts, 0, run.history * n)
            kernels.clear(z, 0, run.history * n)
        if entries:
            run.run_sparse(X, z, keep_z)
        else:
            kernels.to_panels(_copiers(X), X, plan.inputs, acts, run.history * n, n, True)

        def run_rows(order: np.ndarray, offsets: np.ndarray, work: np.ndarray, *parts: np.ndarray) -> None:
            kernels.forward(
                order, offsets, work, *(parts or (order, part_bounds[:0])), _threads(run), steps, run.history, n,
                plan.n_special, graph.incoming.start, graph.incoming.length, graph.unrolled().incoming, slot,
                graph.connections["delay"], *long, weight, neurons["activation"], neurons["activation_parameter"],
                neurons["aggregation"], neurons["bias"], run.rate, plan.special, acts, z, keep_z, run.buffer("kept"),
            )  # fmt: skip

        if run.blocks is None:
            run_rows(order, offsets, work, part_rows, part_bounds)
        else:
            with blas.one_thread():
                blocked.forward(plan, run, run.blocks, _threads(run), acts, z, keep_z, run_rows)
    return run


def _forward_one(plan: Plan, X: np.ndarray, reuse: Pass | None) -> Pass:
    """Run one sample of one step, of which nothing is to be kept."""
    # Beside a small network every attribute counts: the pass of the sample before is this one's too.
    taken = isinstance(reuse, Pass) and reuse.single and reuse._plan is plan
    run = reuse if taken and reuse is not None else Pass(plan, 1, 1, reuse, 1)
    graph, neurons = plan.graph, plan.graph.neurons
    outputs = np.empty((1, 1, len(plan.outputs)), graph.dtype)
    with ALONE:
        kernels.forward_one(
            plan.rows, plan.offsets, plan.runs, plan.outgoing_work, plan.inputs, plan.input_work, plan.outputs,
            _threads(run),
            *graph.outgoing.rows, run.heads(), graph.incoming.length, graph.connections["weight"],
            neurons["activation"], neurons["activation_parameter"], neurons["aggregation"], neurons["bias"],
            X.reshape(-1), run.buffer("acts").reshape(-1), run.buffer("sums")[..., 0],
            outputs.reshape(-1),
        )  # fmt: skip
    run.filled = outputs
    return run


def backward(
    plan: Plan,
    run: Pass,
    gradient: np.ndarray,
    add: bool = False,
    later: np.ndarray | None = None,
    constant_state: bool = False,
) -> np.ndarray:
    """Fill ``grad`` of the connections and ``bias_grad`` of the neurons from ``gradient`` (batch, steps, n_outputs).

    ``add`` to what they hold; go on from the deltas of the ``later`` steps, which the pass over those returned; the
    weights that read a ``constant_state`` have gradients from there too.
    """
    graph, neurons, n = plan.graph, plan.graph.neurons, plan.graph.neurons.size
    acts, delta = run.buffer("acts"), run.buffer("delta")
    columns, history = len(plan.outputs), run.history
    output, places = plan.output_columns
    by_output = np.empty((acts.shape[0], run.steps * columns, acts.shape[2]), graph.dtype)
    if plan.has_mean:
        fan_in = np.maximum(graph.incoming.length[:n], 1)
        run._divisor = np.where(neurons["aggregation"] == MEAN, fan_in, 1).astype(graph.dtype)
    z = run.buffer("z") if plan.needs_preactivation or plan.leaks else acts
    special = run.buffer("delta_special")
    inputs, input_work, long = plan.inputs, plan.input_work, run.long
    if run.sparse is not None:
        inputs, input_work, long = inputs[:0], input_work[:1], long._replace(inputs=long_rows.LongRows())
        if not add:
            graph.connections["grad"][:] = 0
    with ALONE:
        kernels.to_panels(_copiers(gradient), np.ascontiguousarray(gradient), places, by_output, 0, columns, False)
        if history:
            ends = (delta.shape[1] - len(long.outgoing.row)) // max(n, 1) - history
            delta[:, ends * n : (ends + history) * n] = 0 if later is None else later
            special[:, ends * plan.n_special :] = 0

        def run_rows(
            order: np.ndarray, offsets: np.ndarray, work: np.ndarray, inputs: np.ndarray, input_work: np.ndarray,
            begun: bool = False, rows: Any = None,
        ) -> int:  # fmt: skip
            out = graph.outgoing
            rows = rows or (out.start, out.length, graph.unrolled().outgoing, out.slot)
            return kernels.backward(
                order, offsets, work, inputs, input_work, _threads(run), run.steps, history, n, plan.n_special, columns,
                add, constant_state, begun, *rows, graph.connections["delay"], *long.outgoing, *long.inputs,
                graph.incoming.length,
                graph.connections["weight"], graph.connections["grad"], neurons["activation"],
                neurons["activation_parameter"], neurons["aggregation"], neurons["bias"], neurons["bias_grad"],
                run.rate, plan.special, output, by_output, acts, z, run.buffer("kept"), delta, special,
            )  # fmt: skip

        if run.blocks is None or not run.blocks.refresh():
            run._first_delta = run_rows(plan.rows, plan.offsets, plan.outgoing_work, inputs, input_work)
        else:
            with blas.one_thread():
                blocked.backward(run, run.blocks, _threads(run), add, acts, delta, run_rows)
            run._first_delta = 0
        if run.sparse is not None:
            sparse.backward(plan, run.sparse.rows, delta, run._first_delta * n)
    run.differentiated = True
    first = run._first_delta * n
    return delta[:, first : first + history * n].copy() if history else NO_DELTAS
