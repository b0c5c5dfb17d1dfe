"""From which density on BLAS is faster than the row loops: measured once for a machine, and kept on disk."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cache, partial
from pathlib import Path

import llvmlite.binding
import numba
import numpy as np

from ...locks import alone
from .. import kept
from . import blas, dense, kernels, long_rows

FLOOR = 0.3  # BLAS would have to be more than three times as fast as the row loops, which it is nowhere
SAMPLES = 128  # for which the choice is made
SIDE = 256  # sources and targets of the block that is measured
REPEATS = 3
FILE = "neurograph_costs.json"
STEP = 0.05  # densities are rounded, so that two measurements mostly tell the same


@dataclass(frozen=True)
class Costs:
    """What a training step takes one thread, in nanoseconds.

    Attributes
    ----------
    sparse : float
        The row loops, a connection and sample.
    dense : float
        BLAS, a pair of neurons and sample.
    copied : float
        Bringing weights and gradients to and from a matrix, a connection.
    called : float
        Whatever a block costs beside.

    Examples
    --------
    >>> costs = Costs(sparse=0.1, dense=0.05, copied=4.0, called=20_000)
    >>> round(costs.crossover(1024, 1024), 2), round(costs.crossover(96, 96), 2), costs.crossover(64, 64) > 1
    (0.75, 0.95, True)
    """

    sparse: float
    dense: float
    copied: float
    called: float

    def crossover(self, sources: int, targets: int, copied: bool = True) -> float:
        """Density from which a block of so many neurons is run by BLAS, above 1 if it never pays."""
        by_block = self.dense * SAMPLES + self.called / (sources * targets)
        by_rows = self.sparse * SAMPLES - (self.copied if copied else 0)
        if by_rows <= 0:
            return 2.0
        return max(FLOOR, round(by_block / by_rows / STEP) * STEP)


# Where numba's compiler is switched off a measurement would tell nothing: those of a processor of 2022.
TYPICAL = Costs(sparse=0.1, dense=0.055, copied=3.5, called=30_000)


@cache
def costs(dtype: np.dtype) -> Costs:
    """The costs on this machine: those on disk, or else measured and put there if there is a place."""
    if numba.config.DISABLE_JIT:
        return TYPICAL
    key, places = _key(dtype), _folders()
    names = [field.name for field in fields(Costs)]
    if (found := kept.read(places, FILE, key, names, 1e9)) is not None and all(found.values()):
        return Costs(**found)
    measured = measure(dtype)
    kept.keep(places, FILE, key, asdict(measured))
    return measured


def _key(dtype: np.dtype) -> str:
    """What the costs depend on."""
    import scipy

    code = 0
    for module in (kernels, dense):  # as numba compiles them anew when they change
        with suppress(OSError):
            code = zlib.crc32(Path(str(module.__file__)).read_bytes(), code)
    machine = llvmlite.binding.get_host_cpu_name(), os.cpu_count(), kernels.REGISTER_BYTES
    return " ".join(map(str, (*machine, numba.__version__, scipy.__version__, code, dtype)))


def _folders() -> list[Path]:
    """Where the costs may be kept: where numba keeps what it compiled, for one."""
    beside = [Path(numba.config.CACHE_DIR)] if numba.config.CACHE_DIR else []
    return kept.folders(*beside, Path(__file__).parent / "__pycache__")


@alone
def measure(dtype: np.dtype) -> Costs:
    """Run one full block both ways, on one thread."""
    n, one = 2 * SIDE, np.int64(1)
    lanes = kernels.lanes_of(dtype, SAMPLES, n)
    panels = -(-SAMPLES // lanes)
    acts, delta = (np.ones((panels, n, lanes), dtype) for _ in range(2))
    sources, targets = np.arange(SIDE), np.arange(SIDE, n)
    count = SIDE * SIDE
    weight, grad = np.full(count, 1e-3, dtype), np.zeros(count, dtype)
    # By source the connections stand in order, by target they do not, as in most networks.
    start, length = np.zeros(n, np.int64), np.zeros(n, np.int32)
    start[sources], length[sources] = sources * SIDE, SIDE
    outgoing = start, length, np.tile(targets, SIDE).astype(np.int32), np.arange(count, dtype=np.int32)
    start, length = np.zeros(n, np.int64), np.zeros(n, np.int32)
    start[targets], length[targets] = sources * SIDE, SIDE
    incoming = start, length, np.tile(sources, SIDE).astype(np.int32), outgoing[3].reshape(SIDE, SIDE).T.ravel()
    incoming = *incoming[:3], np.ascontiguousarray(incoming[3])
    work = np.arange(SIDE + 1) * np.int64(SIDE + 1)
    offsets, order, nowhere = np.array([0, SIDE]), targets.astype(np.int32), np.zeros(0, np.int64)
    byte, real = (np.zeros(n, kind) for kind in (np.int8, dtype))
    both, nobody = np.arange(n, dtype=np.int32), order[:0]
    work_of_both = np.concatenate([work, work[-1] + np.arange(1, SIDE + 1)])
    special, delay = np.full(n, -1, np.int32), np.zeros(count, np.int16)
    kept, rate = np.zeros((panels, 0, 4, lanes), dtype), np.zeros(0, dtype)
    by_output = np.zeros((panels, 0, lanes), dtype)
    cluster, position = np.full(n, -1, np.int32), np.zeros(n, np.int32)
    cluster[targets], position[targets] = 0, sources
    place, long = blas.address(dtype), long_rows.LongRows()
    X, D, sums = (np.zeros(SIDE * panels * lanes, dtype) for _ in range(3))

    def forward_rows() -> None:
        kernels.forward(
            order, offsets, work, order, nowhere, 1, 1, 0, n, 0, *incoming, delay, *long, weight, byte, real, byte,
            real, rate, special, acts, acts, False, kept,
        )  # fmt: skip

    def backward_rows() -> None:
        kernels.backward(
            both, np.array([0, SIDE, n]), work_of_both, nobody, work[:1], 1, 1, 0, n, 0, 0, False, False, False,
            *outgoing, delay, *long, *long, length, weight, grad, byte, real, byte, real, real, rate, special, special,
            by_output, acts, acts, kept, delta, delta[:, :0],
        )  # fmt: skip

    def forward_block(edge: int = SIDE) -> None:
        dense.forward(1, one, place, acts, sources[:edge], edge, weight, 0, True, nowhere, False, X, sums)

    def delta_of_block(edge: int = SIDE) -> None:
        ends = sources[:edge], targets[:edge]
        dense.backward_delta(1, one, place, delta, *ends, weight, 0, True, nowhere, False, D, X)

    def grad_of_block(edge: int = SIDE) -> None:
        ends = sources[:edge], targets[:edge]
        dense.backward_grad(1, one, place, acts, delta, *ends, grad, 0, True, nowhere, False, X, D)

    def copy() -> None:
        given = sources, *outgoing, cluster, position, 0
        dense.fill(1, *given, weight, grad, SIDE)
        dense.collect(1, *given, weight, False, grad, SIDE)

    with blas.one_thread():
        by_rows = _least(forward_rows), _least(backward_rows)
        by_block = _least(forward_block) + _least(delta_of_block) + _least(grad_of_block)
        small = sum(_least(partial(run, 1)) for run in (forward_block, delta_of_block, grad_of_block))
        copied = _least(copy)
    cells = count * panels * lanes
    return Costs(sum(by_rows) / cells, max(by_block - small, 1.0) / cells, copied / count, small)


def _least(function: Callable[[], None]) -> float:
    """The least time that a function takes, in nanoseconds; the first call may have to compile it."""
    function()
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter_ns()
        function()
        times.append(time.perf_counter_ns() - begin)
    return float(max(1, min(times)))
