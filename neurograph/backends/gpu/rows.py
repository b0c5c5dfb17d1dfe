"""Passes row by row: one launch for each generation and time step, whatever the graph looks like."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import cupy
import numpy as np

from ...locks import ALONE
from ...plan import MEAN, Plan
from ..state import State
from . import sliced, staged
from .graphs import Buffers, replays_of
from .mirror import Mirror, Rows, mirror_of
from .module import Family
from .staging import INPUTS, Part, staging_of
from .storage import Stored, storage_of

__all__ = ["Pass", "backward", "footprint", "forward", "prepare", "stream"]

FLOATS = (np.float32, np.float64)
FORWARD = Family("rows.cu", "forward_rows", FLOATS, (1, 2, 4, 8, 16, 32))
BACKWARD = Family("backward.cu", "backward_rows", FLOATS, (1, 2, 4, 8, 16, 32))
BACKWARD_WIDE = Family("backward.cu", "backward_wide_rows", FLOATS, (1, 2, 4))
AGGREGATE_SPECIAL = Family("special.cu", "aggregate_special", FLOATS)
SPREAD_SPECIAL = Family("special.cu", "spread_special", FLOATS)
TO_ROWS = Family("moves.cu", "to_rows", FLOATS)
FROM_ROWS = Family("moves.cu", "from_rows", FLOATS)
IN_ORDER = Family("moves.cu", "in_order", FLOATS)
DISPLACE = Family("moves.cu", "displace")

THREADS = 128  # of a block whose warps have nothing to do with each other
WARPS = THREADS // 32
TOGETHER = 8  # warps of a block that share the columns of one row, at most
# A row of more than LONG connections is cut into chunks, which warps of their own sum: a warp would be busy with it
# when all others are done. Where a generation has MANY rows the device is busy anyway, and only those are cut that are
# far LONGER than the mean.
LONG, CHUNK, MANY, LONGER = 1024, 512, 4096, 4
ENOUGH_READS = 2  # of a weight in one pass, from which the weights are brought into the order of the rows
FEWEST = 32  # samples that tiles and dense blocks are worth
NOT_CUT = 2**31 - 1
LAST_GRID = 65535  # blocks along y and z


Launch = tuple[tuple[int, ...], tuple[Any, ...]]  # the grid, and the first arguments


class Work(NamedTuple):
    """Neurons that run together: ``first`` to ``first + size`` of an order, and the chunks of their long rows."""

    first: int
    size: int
    longest: int = NOT_CUT
    first_chunk: int = 0
    chunks: int = 0


class Order:
    """Neurons in the order in which they run, the longest rows of a generation first, and which rows are cut.

    The lengths are those at the time of lowering: after edits the order is as right as before, if not as balanced.
    """

    def __init__(self, slots: np.ndarray, bounds: np.ndarray, length: np.ndarray):
        generation = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
        lengths = length[slots].astype(np.int64)
        longest = lengths.max(initial=0) + 1
        key = generation * longest + (longest - 1 - lengths)
        if len(key) and (np.diff(key) < 0).any():
            slots = slots[np.argsort(key, kind="stable")]
        self.host, self.bounds = slots, bounds
        self.slots = cupy.asarray(np.ascontiguousarray(slots, np.int32))
        self._edits = -1
        self.partials = 0  # rows for the sums of chunks that one generation needs
        ends = bounds.tolist()
        self._whole = [Work(a, b - a) for a, b in zip(ends[:-1], ends[1:], strict=True)]
        self.works = self._whole
        self.chunk_row = self.chunk_begin = self.first_chunk = self.slots
        self._chunk_position = np.zeros(0, np.int64)
        self._limits = LONG, CHUNK
        self._launches: dict[Any, Any] = {}

    @property
    def nbytes(self) -> int:
        """Bytes on the device and on the host."""
        chunks = 0 if self.chunk_row is self.slots else 2 * self.chunk_row.nbytes + self.first_chunk.nbytes
        return 2 * self.slots.nbytes + chunks

    def cut(self, length: np.ndarray, edits: int) -> None:
        """Look which rows are long now."""
        if self._edits == edits and self._limits == (LONG, CHUNK):
            return
        self._edits, self._limits = edits, (LONG, CHUNK)
        if length.max(initial=0) <= LONG:
            if self.partials:
                self.works, self.partials, self._launches = self._whole, 0, {}
            return
        self.works, self.partials, self._launches = self._whole.copy(), 0, {}
        lengths = length[self.host]
        rows: list[np.ndarray] = []
        positions: list[np.ndarray] = []
        begins: list[np.ndarray] = []
        first_chunk = np.zeros(len(length), np.int32)
        done = 0
        for g, (first, count, *_) in enumerate(self.works):
            own = lengths[first : first + count]
            if own.max(initial=0) <= LONG:
                continue
            limit = LONG if count < MANY else max(LONG, int(LONGER * own.mean()))
            long = np.flatnonzero(own > limit)
            counts = -(-own[long] // CHUNK)
            firsts = np.cumsum(counts) - counts
            chunks = int(counts.sum())
            first_chunk[self.host[first + long]] = firsts
            rows.append(np.repeat(self.host[first + long], counts))
            positions.append(np.repeat(first + long, counts))
            begins.append((np.arange(chunks) - np.repeat(firsts, counts)) * CHUNK)
            self.works[g] = Work(first, count, limit, done, chunks)
            self.partials, done = max(self.partials, chunks), done + chunks
        if done:
            self.chunk_row = cupy.asarray(np.concatenate(rows).astype(np.int32))
            self.chunk_begin = cupy.asarray(np.concatenate(begins).astype(np.int32))
            self.first_chunk = cupy.asarray(first_chunk)
            self._chunk_position = np.concatenate(positions)

    def leading(self, work: Work, count: int) -> Work:
        """The first ``count`` neurons of a generation alone."""
        of_work = self._chunk_position[work.first_chunk : work.first_chunk + work.chunks]
        return work._replace(size=count, chunks=int(np.searchsorted(of_work, work.first + count)))

    def generation(self, g: int) -> np.ndarray:
        """Slots of a generation."""
        return self.host[self.bounds[g] : self.bounds[g + 1]]

    def on_device(self, g: int) -> Any:
        """The same, on the device."""
        return self.slots[int(self.bounds[g]) : int(self.bounds[g + 1])]

    def launches(self, rows_a_block: int, parts: list[Part | None], *others: int) -> list[list[Launch]]:
        """For each generation those of the chunks of long rows and of the rows, without ``parts`` that run staged."""
        key = rows_a_block, tuple(part and part.long for part in parts), *others
        if key not in self._launches:
            if len(self._launches) > 8:  # batches of many sizes
                self._launches = {}
            tables = np.int32(CHUNK), self.chunk_row, self.chunk_begin, self.first_chunk
            found: list[list[Launch]] = []
            for whole, part in zip(self.works, parts, strict=True):
                work = whole if part is None else self.leading(whole, part.long)
                found.append([])
                for first, size, cut in ((work.first_chunk, work.chunks, 1), (work.first, work.size, 0)):
                    if size:
                        grid = -(-size // rows_a_block), *others
                        which = np.int32(first), np.int32(size), np.int32(cut), np.int32(work.longest)
                        found[-1].append((grid, (self.slots, *which, *tables)))
            self._launches[key] = found
        return self._launches[key]


class Layout:
    """What the kernels need of a plan beside the graph: uploaded once, kept with the plan."""

    def __init__(self, plan: Plan):
        graph = plan.graph
        fan_in, fan_out = graph.incoming.length, graph.outgoing.length
        adds_up = plan.special[plan.rows] < 0
        before = np.concatenate([[0], np.cumsum(adds_up)])[plan.offsets]
        self.targets = Order(plan.rows[adds_up], before, fan_in)
        self.special_targets = Order(plan.rows[~adds_up], plan.offsets - before, fan_in)
        self.sources = Order(plan.rows, plan.offsets, fan_out)
        self.inputs = Order(plan.inputs, np.array([0, len(plan.inputs)]), fan_out)
        self.special = cupy.asarray(plan.special)
        self.input_slots = cupy.asarray(plan.inputs)
        self.output_slots = cupy.asarray(plan.outputs)
        columns, numbers = plan.output_columns
        self.output_columns, self.output_numbers = cupy.asarray(columns), cupy.asarray(numbers)

    @property
    def nbytes(self) -> int:
        """Bytes of what it holds."""
        orders = (self.targets, self.special_targets, self.sources, self.inputs)
        arrays = (self.special, self.input_slots, self.output_slots, self.output_columns, self.output_numbers)
        return sum(order.nbytes for order in orders) + sum(array.nbytes for array in arrays)

    def __str__(self) -> str:
        return ""


def layout_of(plan: Plan) -> Layout:
    """The layout of a plan; the same one as long as the plan lives."""
    if "gpu rows" not in plan.layouts:
        plan.layouts["gpu rows"] = Layout(plan)
    return plan.layouts["gpu rows"]


def prepare(plan: Plan) -> None:
    """Upload now what the first pass would."""
    with ALONE:
        layout_of(plan)


def width(batch: int) -> int:
    """Columns of a row: the samples, and what fills it up to 16 bytes."""
    return -(-batch // 4) * 4


@lru_cache
def forward_lanes(ld: int) -> int:
    """How many lanes hold a piece of a row: those that read the least, connections counting as 8 bytes each.

    A warp's other lanes take other connections of the same row; other pieces are for other warps.
    """
    return min((32, 16, 8, 4, 2, 1), key=lambda lanes: -(-ld // (4 * lanes)) * (4 * lanes + 8))


@lru_cache
def backward_shape(ld: int) -> tuple[int, int, int]:
    """Lanes of a piece, pieces of 128 columns a warp and warps a row, so that the lanes are as busy as can be."""
    if ld <= 128:
        return next(lanes for lanes in (1, 2, 4, 8, 16, 32) if 4 * lanes >= ld), 1, 1

    def cost(pieces: int) -> int:
        return -(-ld // (128 * pieces)) * (pieces + 1)

    pieces = min((4, 2, 1), key=cost)
    return 32, pieces, min(-(-ld // (128 * pieces)), TOGETHER)


@lru_cache(maxsize=64)
def _shapes(n: int, n_special: int, batch: int, steps: int, history: int, columns: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the buffers of a pass."""
    ld, all_steps = width(batch), history + steps
    return {
        "acts": (all_steps * n, ld),
        "z": (all_steps * n, ld),
        "kept": (4 * steps * n_special, ld),
        "delta": (all_steps * n, ld),
        "delta_special": (all_steps * n_special, ld),
        "by_special": (n if n_special else 0, ld),
        "by_output": (steps * columns, ld),
    }


def _shapes_of(plan: Plan, batch: int, steps: int) -> dict[str, tuple[int, ...]]:
    return _shapes(plan.graph.neurons.size, plan.n_special, batch, steps, plan.history, len(plan.outputs))


def footprint(plan: Plan, batch: int, steps: int, keep: bool) -> int:
    """Bytes that a pass takes on the device, with its gradients if they are to ``keep``."""
    shapes, names = _shapes_of(plan, batch, steps), ["acts", "kept"]
    if plan.leaks or (keep and plan.needs_preactivation):
        names.append("z")
    if keep:
        names += ["delta", "delta_special", "by_special", "by_output"]
    staging: Any = plan.layouts.get("gpu staged")
    more = 0 if staging is None else staging.footprint(batch, steps, keep)
    return sum(shapes[name][0] * shapes[name][1] for name in names) * plan.graph.dtype.itemsize + more


def stream(plan: Plan, X: Any, batch_size: int | None, reuse: Any) -> None:
    """No outputs without a whole pass."""


class Pass:
    """Activations of a batch on the device and, once `backward` ran, the gradients by each neuron's input z.

    Step t of a pass has the rows ``(history + t) * n`` and on; the ``history`` steps before are the state that the pass
    began with. The deltas begin with step 0, and end with those of as many steps after the last.
    """

    def __init__(self, plan: Plan, batch: int, steps: int, reuse: Any = None):
        self._plan, self._batch, self._n = plan, batch, plan.graph.neurons.size
        self._dtype = plan.graph.dtype
        self.steps, self.history, self.ld = steps, plan.history, width(batch)
        self._shapes = _shapes_of(plan, batch, steps)
        self._buffers = Buffers()
        if isinstance(reuse, Pass) and reuse._dtype == self._dtype:
            if reuse._shapes is self._shapes:
                self._buffers = reuse._buffers
            else:
                same = {name: a for name, a in reuse._buffers.items() if a.shape == self._shapes.get(name)}
                self._buffers.update(same)
        self._divisor: np.ndarray | None = None
        self.stored: Stored | None = reuse.stored if isinstance(reuse, Pass) and reuse.ld == self.ld else None
        self.differentiated = False

    def buffer(self, name: str) -> Any:
        """An array of the pass on the device, made when first asked for."""
        if name not in self._buffers:
            self._buffers[name] = cupy.zeros(self._shapes[name], self._dtype)
        return self._buffers[name]

    def scratch(self, name: str, count: int, dtype: Any) -> Any:
        """An array of at least so many numbers, for use within one call."""
        if name not in self._buffers or self._buffers[name].size < count:
            self._buffers[name] = cupy.empty((count,), dtype)
        return self._buffers[name]

    def replay(self, name: str, flags: tuple[bool, ...], launch: Callable[[], None]) -> None:
        """Launch what runs on the arrays of this pass, as one CUDA graph where it has been launched before."""
        replays_of(self._plan)[name].run((self._batch, self.steps, flags), self._buffers, launch)

    @property
    def nbytes(self) -> int:
        """Bytes of what the pass holds."""
        return sum(array.nbytes for array in self._buffers.values())

    @property
    def outputs(self) -> np.ndarray:
        """(batch, steps, n_outputs)."""
        return cupy.asnumpy(self.device_outputs)

    @property
    def device_outputs(self) -> Any:
        """The same, on the device."""
        return self.read_outputs(cupy.empty((self._batch, self.steps, len(self._plan.outputs)), self._dtype))

    def read_outputs(self, into: Any) -> Any:
        """The same, in an array of the caller's."""
        return self.read("acts", layout_of(self._plan).output_slots, self.history, self.steps, into)

    def activations(self, slots: np.ndarray, first: int = 0) -> np.ndarray:
        """(batch, steps - first, len(slots)); a negative ``first`` begins in the state."""
        return self._fetch("acts", slots, self.history + first, self.steps - first)

    def output(self, slot: int) -> np.ndarray:
        """(batch, steps)."""
        return self.activations(np.array([slot]))[:, :, 0]

    def state(self) -> State:
        """What a pass over the following steps needs of this one."""
        slots, history = np.arange(self._n), self.history
        outputs = self._fetch("acts", slots, self.steps, history)
        last = self.history + self.steps - 1
        potentials = self._fetch("z", slots, last, 1)[:, 0] if self._plan.leaks else None
        return State(outputs, potentials)

    def errors(self, slots: np.ndarray) -> np.ndarray:
        """(batch, len(slots)), at the first step."""
        array = np.empty((self._batch, len(slots)), self._dtype)
        special = self._plan.special[slots]
        for chosen, name, rows in ((special < 0, "delta", slots), (special >= 0, "delta_special", special)):
            if chosen.any():
                array[:, chosen] = self._fetch(name, rows[chosen], 0, 1)[:, 0]
        return array if self._divisor is None else array * self._divisor[slots]

    def _fetch(self, name: str, slots: np.ndarray, first: int, steps: int) -> np.ndarray:
        return cupy.asnumpy(self.read(name, cupy.asarray(np.ascontiguousarray(slots, np.int32)), first, steps))

    def read(self, name: str, slots: Any, first: int, steps: int, into: Any = None) -> Any:
        """Some rows of ``steps`` steps from the ``first`` one in the buffer, as (batch, steps, len(slots))."""
        n = self._plan.n_special if name == "delta_special" else self._n
        array = cupy.empty((self._batch, steps, len(slots)), self._dtype) if into is None else into
        if array.size:
            FROM_ROWS(self._dtype)(
                _tiles(len(slots), self._batch, steps),
                (32, 8),
                (
                    array, slots, np.int32(len(slots)), np.int32(steps), np.int32(self._batch), self.buffer(name),
                    np.int64(first * n), np.int32(n), np.int32(self.ld),
                ),
            )  # fmt: skip
        return array

    def write(self, name: str, slots: Any, array: Any, first: int, n: int) -> None:
        """Set some rows of the steps from the ``first`` one on from an array (batch, steps, len(slots))."""
        array = cupy.ascontiguousarray(cupy.asarray(array, self._dtype))
        steps, columns = array.shape[1:]
        if array.size:
            TO_ROWS(self._dtype)(
                _tiles(columns, self.ld, steps),
                (32, 8),
                (
                    array, slots, np.int32(columns), np.int32(steps), np.int32(self._batch), self.buffer(name),
                    np.int64(first * n), np.int32(n), np.int32(self.ld),
                ),
            )  # fmt: skip


def _tiles(columns: int, samples: int, steps: int) -> tuple[int, int, int]:
    return -(-columns // 32), -(-samples // 32), min(steps, LAST_GRID)


def _blocks(count: int, threads: int = 256) -> tuple[int]:
    return (-(-count // threads),)


def _ends(run: Pass, rows: Rows, delay: Any, name: str, direction: int) -> Any:
    """The far end of every entry, as a displacement from the first row of the step."""
    if delay is None:
        return rows.other
    ends, count = run.scratch(name, len(rows.other), np.int32), len(rows.other)
    DISPLACE()(_blocks(count), (256,), (rows.other, rows.slot, delay, np.int64(count), np.int32(direction), ends))
    return ends


def forward(plan: Plan, X: Any, keep: bool = True, reuse: Pass | None = None, state: State | None = None) -> Pass:
    """Run a batch X of shape (batch, steps, n_inputs).

    ``keep`` what `backward` needs; ``reuse`` the memory of an older pass; begin with a ``state``, or with zeros.
    """
    if not isinstance(X, cupy.ndarray):
        X = np.asarray(X)
    with ALONE:
        run = Pass(plan, len(X), X.shape[1], reuse)
        begin(plan, run, X, state)
        run.replay("forward", (keep,), lambda: launch_forward(plan, run, keep))
    return run


def begin(plan: Plan, run: Pass, X: Any, state: State | None = None) -> None:
    """Fill the rows of the inputs and of the state."""
    layout, n = layout_of(plan), run._n
    acts = run.buffer("acts")
    if run.history:
        if state is None:
            acts[: run.history * n].fill(0)
            if plan.leaks:
                run.buffer("z")[: run.history * n].fill(0)
        else:
            everybody = cupy.arange(n, dtype=np.int32)
            run.write("acts", everybody, state.outputs, 0, n)
            if plan.leaks:
                assert state.potentials is not None
                run.write("z", everybody, state.potentials[:, None], run.history - 1, n)
    run.write("acts", layout.input_slots, X, run.history, n)
    staging_of(plan, mirror_of(plan.graph))  # follows edits here, for what follows may be recorded


def launch_forward(plan: Plan, run: Pass, keep: bool) -> None:
    """Compute all rows that are not there yet."""
    keep_z = plan.leaks or (keep and plan.needs_preactivation)
    acts = run.buffer("acts")
    z = run.buffer("z") if keep_z else acts
    if sliced.pays(plan, run._batch):
        sliced.forward(plan, acts, z, keep_z, run._batch, run.steps)
    else:
        _forward_rows(plan, run, acts, z, keep_z)


def _forward_rows(plan: Plan, run: Pass, acts: Any, z: Any, keep_z: bool) -> None:
    layout, graph, mirror, dtype = layout_of(plan), plan.graph, mirror_of(plan.graph), run._dtype
    neurons, rows = mirror.neurons, mirror.incoming
    weight = mirror.connections.read("weight")
    bias, parameter = neurons.read("bias"), neurons.read("activation_parameter")
    activation, aggregation = neurons.read("activation"), neurons.read("aggregation")
    time_constant = neurons.read("time_constant") if plan.leaks else bias
    delay = mirror.connections.read("delay") if graph.delayed else None
    ends = _ends(run, rows, delay, "incoming ends", -run._n)
    lanes = forward_lanes(run.ld)
    pieces = -(-run.ld // (4 * lanes))
    ordered, entries = weight, len(rows.slot)
    by_slot = min(pieces, LAST_GRID) * run.steps < ENOUGH_READS or not entries
    if not by_slot:
        ordered = run.scratch("ordered", entries, dtype)
        IN_ORDER(dtype)(_blocks(entries), (256,), (weight, rows.slot, np.int64(entries), ordered))
    targets = layout.targets
    targets.cut(graph.incoming.length, graph.edits)
    partial = run.scratch("partial", targets.partials * run.ld, dtype) if targets.partials else acts
    shape = np.int32(run._n), np.int32(run._batch), np.int32(run.ld)
    flags = np.int32(plan.leaks), acts, z, np.int32(keep_z)
    functions = bias, activation, parameter, aggregation, time_constant, *flags
    stored, staging = stored_for(plan, mirror, run), staging_of(plan, mirror)
    slots = [targets.generation(g) for g in range(len(targets.works))]
    parts = [
        None
        if stored is not None and stored.storage.seeded_in[of].any()
        else staging.forward(mirror, g, of, run._batch)
        for g, of in enumerate(slots)
    ]
    staged_weights = [part and part.buckets.weights(weight) for part in parts]
    columns = bias, parameter, activation, aggregation, rows.length
    where = rows.start, rows.length, ends, rows.slot, ordered, np.int32(by_slot), np.int32(0)
    columns_grid = min(pieces, LAST_GRID)
    launches = [(targets.launches(WARPS, parts, columns_grid), where)]
    if stored is not None:
        plain, seeded = _apart(stored, "targets", targets, graph.incoming.length, graph.edits)
        rest = *stored.storage.rest_in, weight, np.int32(1), np.int32(1)
        launches = [
            (plain.launches(WARPS, parts, columns_grid), where),
            (seeded.launches(WARPS, [None] * len(parts), columns_grid), rest),
        ]
        stored.begin(mirror, weight, acts)
    kernel, special = FORWARD(dtype, lanes), AGGREGATE_SPECIAL(dtype) if plan.n_special else None
    halves = Halves(run, "acts") if staging.rounds and any(parts) else None
    for t in range(run.steps):
        base = np.int64((run.history + t) * run._n)
        of_step = (*functions, partial, base, *shape)
        if halves is not None:
            halves.follow(t, layout.input_slots)
        for g in range(len(parts)):
            if stored is not None:
                stored.forward(g, weight, acts)
            for of_order, adjacency in launches:
                for grid, which in of_order[g]:
                    kernel(grid, (THREADS,), which + adjacency + of_step)
            if (part := parts[g]) is not None:
                own = slice(int(base), int(base) + run._n)
                x, own_z = acts[own] if halves is None else halves.step(t), z[own] if keep_z else None
                staged.forward(part.buckets, staged_weights[g], x, acts[own], run._batch, own_z, columns)
            if special is not None and (work := layout.special_targets.works[g]).size:
                special(
                    _blocks(work.size * run.ld),
                    (256,),
                    (
                        layout.special_targets.slots, np.int32(work.first), np.int32(work.size), layout.special,
                        np.int32(plan.n_special), rows.start, rows.length, ends, rows.slot, weight, *functions,
                        run.buffer("kept"), np.int32(t), base, *shape,
                    ),
                )  # fmt: skip
            if stored is not None:
                stored.finish(g, acts)
            if halves is not None and any(parts[g + 1 :]):
                halves.follow(t, targets.on_device(g))


def stored_for(plan: Plan, mirror: Mirror, run: Pass) -> Stored | None:
    """The tiles and dense blocks of a pass, if there are any, and samples enough for them."""
    if run.steps > 1 or plan.history or run._batch < FEWEST:
        return None
    storage = storage_of(plan)
    if not storage.refresh(mirror):
        return None
    if run.stored is None or run.stored.storage is not storage or run.stored.surveys != storage.surveys:
        run.stored = storage.start(run.ld)
    return run.stored


def _apart(stored: Stored, name: str, order: Order, length: np.ndarray, edits: int) -> list[Order]:
    """An order's neurons of which all connections run by rows, and those that have a rest of them."""
    storage = stored.storage
    if name not in storage.orders:
        seeded = (storage.seeded_in if name == "targets" else storage.seeded_out)[order.host]
        storage.orders[name] = [
            Order(order.host[chosen], np.append(0, np.cumsum(chosen))[order.bounds], length)
            for chosen in (~seeded, seeded)
        ]
    for part in storage.orders[name]:
        part.cut(length, edits)
    return storage.orders[name]


def backward(
    plan: Plan,
    run: Pass,
    gradient: Any,
    add: bool = False,
    later: tuple[Any, Any] | None = None,
    constant_state: bool = False,
) -> tuple[Any, Any] | None:
    """Fill ``grad`` of the connections and ``bias_grad`` of the neurons from ``gradient`` (batch, steps, n_outputs).

    ``add`` to what they hold; go on from the deltas of the ``later`` steps, which the pass over those returned; the
    weights that read a ``constant_state`` have gradients from there too.
    """
    with ALONE:
        history, n, n_special = run.history, run._n, plan.n_special
        delta, special = run.buffer("delta"), run.buffer("delta_special")
        if history:
            ends, special_ends = delta[run.steps * n :], special[run.steps * n_special :]
            if later is None:
                ends.fill(0)
                special_ends.fill(0)
            else:
                ends[:], special_ends[:] = later
        run.write("by_output", layout_of(plan).output_numbers, gradient, 0, len(plan.outputs))
        run.replay("backward", (add, constant_state), lambda: _backward(plan, run, add, constant_state))
        finish(plan, run)
        return (delta[: history * n].copy(), special[: history * n_special].copy()) if history else None


def launch_backward(plan: Plan, run: Pass, gradient: Any) -> None:
    """Go back from ``gradient`` (batch, 1, n_outputs), an array of the device, where nothing comes later."""
    run.write("by_output", layout_of(plan).output_numbers, gradient, 0, len(plan.outputs))
    _backward(plan, run, False, False)


def finish(plan: Plan, run: Pass) -> None:
    """Remember what is to be known of a pass that has gone back."""
    if plan.has_mean:
        fan_in = np.maximum(plan.graph.incoming.length[: run._n], 1)
        run._divisor = np.where(plan.graph.neurons.read("aggregation") == MEAN, fan_in, 1).astype(run._dtype)
    run.differentiated = True


def _backward(plan: Plan, run: Pass, add: bool, constant_state: bool) -> None:
    if sliced.pays(plan, run._batch) and sliced.has_room(plan, run._batch, run.steps):
        z = run.buffer("z") if plan.needs_preactivation or plan.leaks else None
        sliced.backward(
            plan, run.buffer("acts"), z, run.buffer("by_output"), layout_of(plan).output_columns, run.buffer("delta"),
            run._batch, run.steps, 0, add, constant_state,
        )  # fmt: skip
    else:
        _backward_rows(plan, run, add, constant_state)


def _backward_rows(plan: Plan, run: Pass, add: bool, constant_state: bool) -> None:
    layout, graph, mirror, dtype = layout_of(plan), plan.graph, mirror_of(plan.graph), run._dtype
    neurons, rows = mirror.neurons, mirror.outgoing
    weight, grad = mirror.connections.read("weight"), mirror.connections.write("grad")
    bias_grad = neurons.write("bias_grad")
    acts, delta, delta_special = run.buffer("acts"), run.buffer("delta"), run.buffer("delta_special")
    if plan.n_special and not add:  # special targets add to what the others left
        grad.fill(0)
        bias_grad.fill(0)
        add = True
    z = run.buffer("z") if plan.needs_preactivation or plan.leaks else acts
    activation, parameter = neurons.read("activation"), neurons.read("activation_parameter")
    aggregation = neurons.read("aggregation")
    time_constant = neurons.read("time_constant") if plan.leaks else parameter
    by_special = run.buffer("by_special") if plan.n_special else acts
    special = delta_special if plan.n_special else acts
    delay = mirror.connections.read("delay") if graph.delayed else None
    ends = _ends(run, rows, delay, "outgoing ends", run._n)
    for order in (layout.sources, layout.inputs):
        order.cut(graph.outgoing.length, graph.edits)
    partials = max(layout.sources.partials, layout.inputs.partials)
    partial = run.scratch("partial", partials * run.ld, dtype) if partials else acts
    lanes, pieces, warps = backward_shape(run.ld)
    together = run.ld > 128
    columns = range(0, run.ld, 128 * pieces * warps)
    kernel = BACKWARD_WIDE(dtype, pieces) if together else BACKWARD(dtype, lanes)
    threads = (32 * warps,) if together else (THREADS,)
    shared = 2 * warps * 32 * dtype.itemsize if together else 0
    rows_a_block = 1 if together else WARPS
    staging = staging_of(plan, mirror)
    numbers = range(INPUTS, len(layout.sources.works))
    slots = [layout.inputs.generation(0), *(layout.sources.generation(g) for g in numbers[1:])]
    stored = stored_for(plan, mirror, run)
    parts = [
        None
        if stored is not None and stored.storage.seeded_out[of].any()
        else staging.backward(mirror, g, of, run._batch)
        for g, of in zip(numbers, slots, strict=True)
    ]
    staged_weights = [part and part.buckets.weights(weight) for part in parts]
    where = rows.start, rows.length, ends, rows.slot, np.int32(0)
    inputs, sources = layout.inputs, layout.sources
    launches = [(_both_launches(inputs, sources, rows_a_block, parts), where)]
    if stored is not None:
        plain_inputs, seeded_inputs = _apart(stored, "inputs", inputs, graph.outgoing.length, graph.edits)
        plain, seeded = _apart(stored, "sources", sources, graph.outgoing.length, graph.edits)
        rest = *stored.storage.rest_out, np.int32(1)
        launches = [
            (_both_launches(plain_inputs, plain, rows_a_block, parts), where),
            (_both_launches(seeded_inputs, seeded, rows_a_block, [None] * len(parts)), rest),
        ]
        stored.begin_backward(mirror, weight, acts)
    spread, n, n_outputs = SPREAD_SPECIAL(dtype) if plan.n_special else None, run._n, len(plan.outputs)
    orders = [(layout.inputs, 0), *((layout.sources, g) for g in range(len(layout.sources.works)))]
    adjacency = rows.start, rows.length, ends, rows.slot, weight, grad
    functions = (
        activation, parameter, aggregation, mirror.incoming.length, time_constant, np.int32(plan.leaks), layout.special,
        np.int32(plan.n_special), by_special, layout.output_columns, run.buffer("by_output"), acts, z, delta, special,
        partial,
    )  # fmt: skip
    shape = np.int32(run._batch), np.int32(run.ld)
    halves = None
    if staging.rounds and any(parts):
        halves = Halves(run, "acts"), Halves(run, "delta")
        for t in range(run.steps):  # the pass itself may have rounded none, or fewer
            halves[0].follow(t, staging.everybody)
    for t in reversed(range(-run.history if constant_state else 0, run.steps)):
        fresh = np.int32(t == run.steps - 1 and not add)
        before = np.int64((run.history + t) * n)
        places = np.int32(max(0, -t * n)), before, np.int64(t * n), np.int64(t * plan.n_special)
        of_step = (*places, np.int64(t * n_outputs), np.int32(n))
        rests = [
            [
                (weight, grad, bias_grad, fresh, *functions, np.int32(constant), *of_step, np.int32(column), *shape)
                for column in columns
            ]
            for constant in (0, 1)
        ]
        for g in reversed(range(len(parts))):
            constant = int(t < 0 or g == 0)
            if spread is not None:
                order, number = orders[g]
                work = order.works[number]
                if work.size:
                    spread(
                        (-(-work.size // WARPS),),
                        (THREADS,),
                        (
                            order.slots, np.int32(work.first), np.int32(work.size), np.int32(constant), layout.special,
                            np.int32(plan.n_special), *adjacency, aggregation, acts, run.buffer("kept"), special,
                            by_special, np.int32(t), np.int32(run.steps), before, np.int32(n), *shape,
                        ),
                    )  # fmt: skip
            if stored is not None and g:
                stored.backward(g - 1, weight, delta)
            # All columns of the chunks come before those of the rows, which add their sums.
            for of_order, ends_of in launches:
                for grid, which in of_order[g]:
                    for remaining in rests[constant]:
                        kernel(grid, threads, which + ends_of + remaining, shared_mem=shared)
            if (part := parts[g]) is not None:
                _backward_staged(plan, run, mirror, part, staged_weights[g], halves, t, bool(constant), not fresh)
            if stored is not None and g:
                stored.finish_backward(g - 1, delta)
            if halves is not None and g:
                halves[1].follow(t, sources.on_device(g - 1))
    if stored is not None:
        stored.gradient(acts, delta, add, grad)


class Halves:
    """Rows of a pass as bfloat16, for generations that run staged: rounded as they are computed."""

    def __init__(self, run: Pass, name: str):
        self._rows, self._n, self._batch = run.buffer(name), run._n, run._batch
        lead, count = staged.lead_of(run._batch, staged.HALF), run.steps * run._n
        self._halves = run.scratch(f"{name} in halves", count * lead, staged.HALF)[: count * lead].reshape(count, lead)

    def step(self, t: int) -> Any:
        """The rows of a step, of all neurons."""
        return self._halves[t * self._n : (t + 1) * self._n]

    def follow(self, t: int, slots: Any) -> None:
        """Round the rows of some neurons anew."""
        staged.round_rows(self._rows[t * self._n : (t + 1) * self._n], slots, self._batch, self.step(t))


def _both_launches(inputs: Order, sources: Order, rows_a_block: int, parts: list[Part | None]) -> list[list[Launch]]:
    """Those of the inputs, and behind them those of each generation."""
    return inputs.launches(rows_a_block, parts[:1]) + sources.launches(rows_a_block, parts[1:])


def _backward_staged(
    plan: Plan, run: Pass, mirror: Mirror, part: Part, weights: Any, halves: tuple[Halves, Halves] | None, t: int,
    constant: bool, add: bool,
) -> None:  # fmt: skip
    """Deltas of a step, and the gradients of the outgoing weights, of the sources that run staged."""
    layout, n = layout_of(plan), run._n
    own = slice(t * n, (t + 1) * n)  # without history, the same rows everywhere
    acts, delta = run.buffer("acts")[own], run.buffer("delta")[own]
    y, by_target = (acts, delta) if halves is None else (halves[0].step(t), halves[1].step(t))
    buckets, grad = part.buckets, mirror.connections.write("grad")
    groups = staged.backward_shape(buckets, y.shape[1], y.dtype).strips
    dots = run.scratch("dots", groups * buckets.places, np.float32)[: groups * buckets.places]
    scratch = dots.reshape(groups, buckets.places)
    staged.backward(buckets, weights, by_target, y, None if constant else delta, grad, add, scratch)
    if constant:
        return
    neurons = mirror.neurons
    columns = (*(neurons.read(name) for name in ("activation", "activation_parameter", "aggregation")),)
    columns += (mirror.incoming.length,)
    outputs = len(plan.outputs)
    by_output = run.buffer("by_output")[t * outputs : (t + 1) * outputs]
    z = run.buffer("z")[own] if plan.needs_preactivation else None
    staged.finish(
        buckets, delta, layout.output_columns, by_output, acts, run._batch, z, columns, delta,
        neurons.write("bias_grad"), add,
    )  # fmt: skip
