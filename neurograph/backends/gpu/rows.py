"""Row by row: launches for each generation and time step, whatever the graph looks like, and staged, tiled or dense
where that is expected to cost less."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ...plan import Plan
from . import staged
from .launch import LAST_GRID
from .layout import layout_of
from .mirror import Mirror, Rows, mirror_of
from .module import REALS, Family
from .orders import Launch, Order
from .staged_parts import backward_part, rounded_acts, rounded_both
from .staging import INPUTS, Part, staging_of
from .storage import Stored, storage_of

if TYPE_CHECKING:
    from .passes import Pass

FORWARD = Family("rows.cu", "forward_rows", REALS, (1, 2, 4, 8, 16, 32))
BACKWARD = Family("backward.cu", "backward_rows", REALS, (1, 2, 4, 8, 16, 32))
BACKWARD_WIDE = Family("backward.cu", "backward_wide_rows", REALS, (1, 2, 4))
AGGREGATE_SPECIAL = Family("special.cu", "aggregate_special", REALS)
SPREAD_SPECIAL = Family("special.cu", "spread_special", REALS)
IN_ORDER = Family("moves.cu", "in_order", REALS)
DISPLACE = Family("moves.cu", "displace")

THREADS = 128  # of a block whose warps have nothing to do with each other
WARPS = THREADS // 32
TOGETHER = 8  # warps of a block that share the columns of one row, at most
ENOUGH_READS = 2  # of a weight in one pass, from which the weights are brought into the order of the rows
FEWEST = 32  # samples that tiles and dense blocks are worth


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


def _blocks(count: int, threads: int = 256) -> tuple[int]:
    return (-(-count // threads),)


def _ends(run: Pass, rows: Rows, delay: Any, name: str, direction: int) -> Any:
    """The far end of every entry, as a displacement from the first row of the step."""
    if delay is None:
        return rows.other
    ends, count = run.scratch(name, len(rows.other), np.int32), len(rows.other)
    DISPLACE()(_blocks(count), (256,), (rows.other, rows.slot, delay, np.int64(count), np.int32(direction), ends))
    return ends


def forward(plan: Plan, run: Pass, acts: Any, z: Any, keep_z: bool) -> None:
    layout, graph, mirror, dtype = layout_of(plan), plan.graph, mirror_of(plan.graph), run.dtype
    neurons, rows = mirror.neurons, mirror.incoming
    weight = mirror.connections.read("weight")
    bias, parameter = neurons.read("bias"), neurons.read("activation_parameter")
    activation, aggregation = neurons.read("activation"), neurons.read("aggregation")
    time_constant = neurons.read("time_constant") if plan.leaks else bias
    delay = mirror.connections.read("delay") if graph.delayed else None
    ends = _ends(run, rows, delay, "incoming ends", -run.n)
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
    shape = np.int32(run.n), np.int32(run.batch), np.int32(run.ld)
    flags = np.int32(plan.leaks), acts, z, np.int32(keep_z)
    functions = bias, activation, parameter, aggregation, time_constant, *flags
    stored, staging = stored_for(plan, mirror, run), staging_of(plan, mirror)
    slots = [targets.generation(g) for g in range(len(targets.works))]
    parts = [
        None if stored is not None and stored.storage.seeded_in[of].any() else staging.forward(mirror, g, of, run.batch)
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
    halves = rounded_acts(run, staging, parts)
    for t in range(run.steps):
        base = np.int64((run.history + t) * run.n)
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
                own = slice(int(base), int(base) + run.n)
                x, own_z = acts[own] if halves is None else halves.step(t), z[own] if keep_z else None
                staged.forward(part.buckets, staged_weights[g], x, acts[own], run.batch, own_z, columns)
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
    if run.steps > 1 or plan.history or run.batch < FEWEST:
        return None
    storage = storage_of(plan)
    if not storage.refresh(mirror) or run.batch < storage.least:
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


def backward(plan: Plan, run: Pass, add: bool, constant_state: bool, changed: bool) -> None:
    layout, graph, mirror, dtype = layout_of(plan), plan.graph, mirror_of(plan.graph), run.dtype
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
    ends = _ends(run, rows, delay, "outgoing ends", run.n)
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
        else staging.backward(mirror, g, of, run.batch)
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
        stored.begin_backward(mirror, weight, acts, changed)
    spread, n, n_outputs = SPREAD_SPECIAL(dtype) if plan.n_special else None, run.n, len(plan.outputs)
    orders = [(layout.inputs, 0), *((layout.sources, g) for g in range(len(layout.sources.works)))]
    adjacency = rows.start, rows.length, ends, rows.slot, weight, grad
    functions = (
        activation, parameter, aggregation, mirror.incoming.length, time_constant, np.int32(plan.leaks), layout.special,
        np.int32(plan.n_special), by_special, layout.output_columns, run.buffer("by_output"), acts, z, delta, special,
        partial,
    )  # fmt: skip
    shape = np.int32(run.batch), np.int32(run.ld)
    halves = rounded_both(run, staging, parts)
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
                backward_part(plan, run, mirror, part, staged_weights[g], halves, t, bool(constant), not fresh)
            if stored is not None and g:
                stored.finish_backward(g - 1, delta)
            if halves is not None and g:
                halves[1].follow(t, sources.on_device(g - 1))
    if stored is not None:
        stored.gradient(acts, delta, add, grad)


def _both_launches(inputs: Order, sources: Order, rows_a_block: int, parts: list[Part | None]) -> list[list[Launch]]:
    """Those of the inputs, and behind them those of each generation."""
    return inputs.launches(rows_a_block, parts[:1]) + sources.launches(rows_a_block, parts[1:])
