"""How long training steps take on the present device when the same connections run by rows, in tiles and densely."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import cupy
import numpy as np

from ...functions.activations import ACTIVATIONS
from ...graph.graph import INPUT, Graph
from ...plan import Plan, lower
from .costs import TILED, Costs
from .passes import backward, forward
from .storage import NAME, Storage

SIDE, DENSITY = 1024, 0.1  # two layers of so many neurons, of whose pairs this share is connected
SAMPLES = (128, 512)  # time per sample is told from time per step by the two
REPEATS = 5
NEVER, ALWAYS = 1e9, 1e-9


class Layers(NamedTuple):
    """The schedule of a network of layers, as far as a plan needs it."""

    order: np.ndarray
    offsets: np.ndarray


def measure(
    dtype: np.dtype, precision: str, side: int = SIDE, samples: tuple[int, int] = SAMPLES, repeats: int = REPEATS
) -> Costs:
    """Run passes in every way that there is; `Costs` of a network of a ``dtype`` in a ``precision``."""
    count, cells, tiles = int(side * side * DENSITY), side * side, (side // 16) ** 2
    by_rows = Costs(row=1.0, tile=NEVER, dense=NEVER, copied=0.0, called=0.0)
    in_tiles = Costs(row=1.0, tile=ALWAYS, dense=NEVER, copied=0.0, called=0.0)
    as_block = Costs(row=1.0, tile=NEVER, dense=ALWAYS, copied=0.0, called=0.0)
    (few, many), plan = samples, _plan(dtype, side, count)
    plan.graph.precision = precision

    def line(costs: Costs) -> tuple[float, float]:
        """What a step takes for each sample, and beside."""
        low, high = (_time(plan, costs, batch, repeats) for batch in samples)
        slope = max((high - low) / (many - few), ALWAYS)
        return slope, max(low - few * slope, 0.0)

    (row, least), (tile, of_tiles), (dense, of_block) = line(by_rows), line(in_tiles), line(as_block)
    # What a step costs beside is mostly the copies of tiles, and launches where a block is small.
    return Costs(
        row=row / count,
        tile=tile / tiles,
        dense=dense / cells,
        copied=max(of_tiles - least, 0.0) / (tiles * TILED),
        called=max(of_block - least, 1.0),
        library=_library(dtype, side, count, many, repeats),
    )


def _plan(dtype: np.dtype, side: int, count: int) -> Plan:
    """An input before two layers, between which so many pairs at random are connected."""
    graph, rng = Graph(np.dtype(dtype)), np.random.default_rng(0)
    first, *layers = graph.add_neurons(1, kind=INPUT), *(graph.add_neurons(side) for _ in range(2))
    code = ACTIVATIONS["relu"].code
    graph.neurons["activation"][:] = code
    pairs = rng.choice(side * side, count, replace=False)
    ends = (
        np.concatenate([np.repeat(first, side), layers[0][pairs // side]]),
        np.concatenate([layers[0], layers[1][pairs % side]]),
    )
    source, target = (np.asarray(end, np.int64) for end in ends)
    graph.connect(source, target, np.zeros(len(source), np.int16), absent=True)
    graph.connections["weight"][:] = 1e-3
    graph.inputs, graph.outputs = np.asarray(first, np.int64), np.asarray(layers[1][:1], np.int64)
    schedule: Any = Layers(np.concatenate([first, *layers]).astype(np.int32), np.array([0, 1, 1 + side, 1 + 2 * side]))
    return lower(graph, schedule)


def _time(plan: Plan, costs: Costs, batch: int, repeats: int) -> float:
    """Nanoseconds of a forward and a backward pass, the least of several."""
    plan.layouts[NAME] = Storage(plan, costs)
    X = cupy.ones((batch, 1, len(plan.inputs)), plan.graph.dtype)
    gradient = cupy.ones((batch, 1, len(plan.outputs)), plan.graph.dtype)
    held: list[Any] = [None]

    def step() -> None:
        held[0] = forward(plan, X, True, held[0])
        backward(plan, held[0], gradient)

    return _least(step, repeats)


def _library(dtype: np.dtype, side: int, count: int, batch: int, repeats: int) -> float:
    """cuSPARSE's product forward, a connection and sample; 0 where CuPy has no sparse matrices."""
    with suppress(ImportError):
        from cupyx.scipy.sparse import csr_matrix

        row = np.sort(np.random.default_rng(0).choice(side * side, count, replace=False))
        start = np.searchsorted(row // side, np.arange(side + 1)).astype(np.int32)
        parts = cupy.full(count, 1e-3, dtype), cupy.asarray((row % side).astype(np.int32)), cupy.asarray(start)
        matrix, values = csr_matrix(parts, shape=(side, side)), cupy.ones((side, batch), dtype, order="F")
        return _least(lambda: matrix @ values, repeats) / (count * batch)
    return 0.0


def _least(function: Callable[[], Any], repeats: int) -> float:
    """The least nanoseconds on the device; the first call may have to compile."""
    function()
    times = []
    for _ in range(repeats):
        begin, end = cupy.cuda.Event(), cupy.cuda.Event()
        begin.record()
        function()
        end.record()
        end.synchronize()
        times.append(1e6 * cupy.cuda.get_elapsed_time(begin, end))
    return max(1.0, min(times))
