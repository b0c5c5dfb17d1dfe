"""Passes over a plan with dense blocks or tiles: BLAS for blocks, the loops over tiles, the row loops for the rest."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from ...plan import Plan
from . import blas, dense, kernels
from .blocks import COPIED, Block, Blocks
from .tiles import Segment

SAMPLES = 64  # below which the row loops run everything
SHARES = os.cpu_count() or 1  # that a product is cut into; the number of threads may change, this does not


def forward(
    plan: Plan,
    run: Any,
    blocks: Blocks,
    threads: int,
    acts: np.ndarray,
    z: np.ndarray,
    keep_z: bool,
    run_rows: Callable[..., None],
) -> None:
    """Run all generations; ``run_rows(order, offsets, work)`` runs neurons without blocks."""
    graph, neurons = plan.graph, plan.graph.neurons
    sizes, address = blocks.scratch_sizes(run.samples), blas.address(graph.dtype)
    side_by_side, sums = blocks.scratch("sources", sizes["sources"]), blocks.scratch("sums", sizes["sums"])
    together = int(dense.together(acts))

    def finish(targets: np.ndarray) -> None:
        kernels.finish(
            threads, targets, together, sums, *blocks.incoming.rows, graph.connections["delay"],
            graph.connections["weight"], neurons["activation"], neurons["activation_parameter"],
            neurons["aggregation"], neurons["bias"], run.rate, plan.special, acts, z, keep_z, run.buffer("kept"),
        )  # fmt: skip

    for generation, plain, _ in blocks.forward_runs:
        if len(plain.rows):
            run_rows(plain.rows, plain.offsets, plain.incoming_work)
        for part in blocks.tiles_into(generation, -1):
            _tiles_forward(blocks, part, graph, threads, acts, sums, together, keep_z)
            if len(left := part.targets if keep_z else part.others):
                finish(left)
        for group in blocks.groups.get(generation, ()):
            for number, block in enumerate(group):
                weight, base, by_source = _weights(blocks, block, run, threads)
                dense.forward(
                    threads, SHARES, address, acts, block.sources, len(block.targets), weight, base, by_source,
                    block.holes, number > 0, side_by_side, sums,
                )  # fmt: skip
            for part in blocks.tiles_into(generation, group[0].target_cluster):
                _tiles_added(blocks, part, graph, threads, acts, sums, together, len(group[0].targets))
            finish(group[0].targets)


def _tiles_forward(
    blocks: Blocks, part: Segment, graph: Any, threads: int, acts: np.ndarray, sums: np.ndarray, together: int,
    keep_z: bool,
) -> None:  # fmt: skip
    """Compute the targets of a segment that are finished with that, and the sums of all others."""
    from . import tile_kernels

    tiles = blocks.tiles
    assert tiles is not None
    weight, lists = graph.connections["weight"], tiles.by_target
    if not keep_z and len(part.others) < len(part.targets):
        bias = graph.neurons["bias"][tiles.groups.members]
        tile_kernels.forward(
            threads, part.lo, part.hi, *lists, weight, acts, 1, acts.reshape(-1), acts.shape[1], tiles.finished_rows,
            bias, tiles.floors, False,
        )  # fmt: skip
    rows, targets = (tiles.sum_rows, part.targets) if keep_z else (tiles.other_rows, part.others)
    if len(targets):
        tile_kernels.forward(
            threads, part.lo, part.hi, *lists, weight, acts, together, sums, len(targets), rows, tiles.zeros,
            tiles.lowest, False,
        )  # fmt: skip


def _tiles_added(
    blocks: Blocks, part: Segment, graph: Any, threads: int, acts: np.ndarray, sums: np.ndarray, together: int,
    count: int,
) -> None:  # fmt: skip
    """Add what the targets of a segment get from tiles to the sums of ``count`` neurons, which dense blocks began."""
    from . import tile_kernels

    tiles = blocks.tiles
    assert tiles is not None
    tile_kernels.forward(
        threads, part.lo, part.hi, *tiles.by_target, graph.connections["weight"], acts, together, sums, count,
        tiles.sum_rows, tiles.zeros, tiles.lowest, True,
    )  # fmt: skip


def backward(
    run: Any,
    blocks: Blocks,
    threads: int,
    add: bool,
    acts: np.ndarray,
    delta: np.ndarray,
    run_rows: Callable[..., int],
) -> None:
    """Fill the gradients; ``run_rows(order, offsets, work, inputs, input_work, begun, rows)`` as `forward` has it."""
    graph = blocks.plan.graph
    sizes, address = blocks.scratch_sizes(run.samples), blas.address(graph.dtype)
    X, D = blocks.scratch("sources", sizes["sources"]), blocks.scratch("targets", sizes["targets"])
    nobody, no_work, rest = blocks.plan.inputs[:0], np.zeros(1, np.int64), blocks.outgoing.rows
    for generation, plain, with_blocks in reversed(blocks.backward_runs):
        for part in blocks.tiles_from(generation):
            _tiles_delta(blocks, part, graph, threads, delta)
        if with_blocks is not None:
            run_rows(with_blocks.rows, with_blocks.offsets, with_blocks.outgoing_work, nobody, no_work, True, rest)
        if len(plain.rows):
            run_rows(plain.rows, plain.offsets, plain.outgoing_work, nobody, no_work)
        for group in reversed(blocks.groups.get(generation, ())):
            for block in reversed(group):
                ends = block.sources, block.targets
                if not block.constant:
                    weight, base, by_source = _weights(blocks, block, run, threads)
                    dense.backward_delta(
                        threads, SHARES, address, delta, *ends, weight, base, by_source, block.holes, not block.first,
                        D, X,
                    )  # fmt: skip
                grad, base, by_source, more = graph.connections["grad"], block.base, block.by_source, add
                if base == COPIED:  # the weights are not needed any more
                    block.filled_for = -1
                    grad, base, by_source, more = blocks.matrix(block), 0, True, False
                dense.backward_grad(
                    threads, SHARES, address, acts, delta, *ends, grad, base, by_source, block.holes, more, X, D
                )
                if block.base == COPIED:
                    dense.collect(
                        threads, block.sources, *graph.outgoing.rows, *blocks.of_targets(block),
                        graph.connections["grad"], add, grad, len(block.targets),
                    )  # fmt: skip
    if blocks.tiles:
        _tiles_grad(blocks, graph, threads, add, acts, delta)
    none = nobody, no_work, no_work
    if blocks.outgoing.used:
        run_rows(*none, blocks.block_inputs, blocks.block_input_work, False, rest)
    if len(blocks.plain_inputs):
        run_rows(*none, blocks.plain_inputs, blocks.plain_input_work)


def _tiles_delta(blocks: Blocks, part: Segment, graph: Any, threads: int, delta: np.ndarray) -> None:
    """What the sources of a segment get back from their tiles; dense blocks have sent what they do."""
    from . import tile_kernels

    tiles = blocks.tiles
    assert tiles is not None
    tile_kernels.backward_delta(
        threads, part.lo, part.hi, *tiles.by_source, graph.connections["weight"], delta, tiles.delta_rows, tiles.zeros,
        tiles.lowest, part.sends,
    )  # fmt: skip


def _tiles_grad(blocks: Blocks, graph: Any, threads: int, add: bool, acts: np.ndarray, delta: np.ndarray) -> None:
    """The gradients of the connections in tiles."""
    from . import tile_kernels

    tiles = blocks.tiles
    assert tiles is not None
    tile_kernels.backward_grad(threads, 0, tiles.count, *tiles.by_source, acts, delta, graph.connections["grad"], add)


def _weights(blocks: Blocks, block: Block, run: Any, threads: int) -> tuple[np.ndarray, int, bool]:
    """Where a block's matrix is: the array, the place in it, and whether it goes source after source."""
    graph = blocks.plan.graph
    if block.base != COPIED:
        return graph.connections["weight"], block.base, block.by_source
    matrix = blocks.matrix(block)
    if block.filled_for != run.number:
        dense.fill(
            threads, block.sources, *graph.outgoing.rows, *blocks.of_targets(block), graph.connections["weight"],
            matrix, len(block.targets),
        )  # fmt: skip
        block.filled_for = run.number
    return matrix, 0, True
