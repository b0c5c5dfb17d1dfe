"""Predictions of packed networks, which decode what they read, and keep nothing of it.

Lines by source are decoded in registers, panel after panel. Lines by target are decoded a few at a time, once for a
piece of samples, and run as float32: most of what that needs beside the packed arrays is one scratch buffer of two MiB
at most. A few samples of such a network run one after another, and decode in registers.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ...packed import Packed
from ...packed.layout import ADDS_UP, BASE, GAPS, HI, LO, WIDTH
from . import blas, blocked, dense, kernels, long_rows, packed_kernels, threads
from .buffers import HUGE_PAGES, empty

FLOAT = np.dtype(np.float32)
SCRATCH = 2**18  # connections that are decoded at a time, in 8 bytes each, unless a row is longer
MATRIX = 2**18  # weights of a matrix that are decoded at a time, in 4 bytes each
LEAST_TARGETS, LEAST_SAMPLES = 16, 16  # of a matrix, below which the row loops are as good
PIECE_BYTES = 2**25  # activations that run at once
PIECE = 2048  # samples that run at once
LEAST = 64  # samples that always run together
FEW, FEW_DENSE = 4, 12  # samples that run one after another, of a sparse network and of a dense one
TURNS = 4  # shares of the panels of a thread, so that one that is held up does not hold up all
NO_LONG_ROWS = long_rows.LongRows()
NONE_16, NONE_32 = np.zeros(0, np.int16), np.zeros(0, np.int32)


class Chunk(NamedTuple):
    """Rows that run together: by the row loops, or as the matrix of a segment."""

    lo: int
    hi: int
    segment: int  # of the matrix, -1 for the row loops
    entries: int


class Neurons(NamedTuple):
    """Columns over positions, as the kernels take them."""

    activation: np.ndarray
    parameter: np.ndarray
    aggregation: np.ndarray
    bias: np.ndarray
    rate: np.ndarray
    special: np.ndarray


class Scratch:
    """Room for decoded rows, and where each of them is; and for the sums of a matrix."""

    def __init__(self, packed: Packed, chunks: tuple[Chunk, ...], samples: int):
        entries = max((chunk.entries for chunk in chunks if chunk.segment < 0), default=0)
        self.value = np.empty(max((chunk.entries for chunk in chunks), default=0), FLOAT)
        self.bits = self.value.view(np.uint32)
        self.other = np.empty(entries, np.int32)
        self.begin, self.length = np.empty(packed.n, np.int64), np.empty(packed.n, np.int32)
        rows = max((chunk.hi - chunk.lo for chunk in chunks if chunk.segment >= 0), default=0)
        self.sums = np.empty(rows * samples, FLOAT)
        self.n_special = 0 if packed.adds_up else int((~np.isin(packed.column("aggregation"), ADDS_UP)).sum())
        self.holds: Chunk | None = None


def all_finite(X: np.ndarray) -> bool:
    """Whether no entry of a contiguous float32 array is infinite or not a number."""
    return bool(packed_kernels.all_finite(X.reshape(-1)))


def predict(packed: Packed, X: np.ndarray, batch_size: int | None = None) -> np.ndarray:
    """Outputs (batch, steps, n_outputs) for X (batch, steps, n_inputs)."""
    if packed.by_source:
        return _predict_by_source(packed, X, batch_size)
    batch, steps, _ = X.shape
    few = FEW if 2 * len(packed.code) > len(packed.weight) else FEW_DENSE
    if batch <= few and steps == 1 and not packed.history and packed.adds_up:
        return _predict_each(packed, X)
    n, history = packed.n, packed.history
    row = max(1, n * FLOAT.itemsize)
    if batch_size is None:
        fitting = PIECE_BYTES // (row * (history + min(steps, 16))) // LEAST * LEAST
        batch_size = min(max(fitting, LEAST), PIECE)
    size = min(batch, batch_size)
    window = min(steps, max(1, 2 * history, PIECE_BYTES // (row * size)))
    lanes = _lanes(size, n)
    acts = empty((-(-size // lanes), (history + window) * n, lanes), FLOAT)
    z = empty(acts.shape, FLOAT) if packed.leaks else acts
    chunks = _chunks(packed, size >= LEAST_SAMPLES)
    scratch, neurons = Scratch(packed, chunks, acts.shape[0] * lanes), _neurons(packed)
    out = np.empty((batch, steps, len(packed.outputs)), FLOAT)
    outputs, inputs = packed.outputs.astype(np.int32), np.arange(packed.n_inputs, dtype=np.int32)
    for first in range(0, batch, size):
        piece = X[first : first + size]
        here, potentials = (rows[: -(-len(piece) // lanes)] for rows in (acts, z))
        if history:
            here[:, : history * n] = 0
            potentials[:, : history * n] = 0
        for begin in range(0, steps, window):
            part = piece[:, begin : begin + window]
            # Numba types arrays with gaps, or read-only ones, apart, which would compile every kernel again.
            part = part if part.flags.carray else np.array(part, order="C")
            if begin:  # what the window before it left is where this one begins
                for rows in (here, potentials) if packed.leaks else (here,):
                    rows[:, : history * n] = rows[:, window * n : (window + history) * n].copy()
            kernels.to_panels(_copiers(part), part, inputs, here, history * n, n, True)
            _run(packed, chunks, scratch, neurons, here, potentials, part.shape[1])
            made = out[first : first + size] if window == steps else np.empty((*part.shape[:2], len(outputs)), FLOAT)
            kernels.from_panels(_copiers(made), here, outputs, history * n, n, made)
            if window < steps:
                out[first : first + size, begin : begin + window] = made
    return out


@lru_cache(maxsize=64)
def _lanes(batch: int, rows: int) -> int:
    return kernels.lanes_of(FLOAT, batch, rows)


def _copiers(array: np.ndarray) -> int:
    return 1 if array.size < kernels.SERIAL_COPY else threads.count()


def _neurons(packed: Packed) -> Neurons:
    def by_position(name: str, dtype: Any) -> np.ndarray:
        column: np.ndarray = np.zeros(packed.n, dtype)
        column[packed.n_inputs :] = getattr(packed, name)
        return column

    aggregation = by_position("aggregation", np.int8)
    special = np.full(packed.n, -1, np.int32)
    if not packed.adds_up:
        which = np.flatnonzero(~np.isin(aggregation, ADDS_UP))
        special[which] = np.arange(len(which))
    rate = np.zeros(0, FLOAT)
    if packed.leaks:
        rate = np.ones(packed.n, FLOAT)
        rate[packed.n_inputs :] = 1 / packed.time_constant
    return Neurons(
        by_position("activation", np.int8), by_position("parameter", np.float32), aggregation,
        by_position("bias", np.float32), rate, special,
    )  # fmt: skip


def _chunks(packed: Packed, by_matrix: bool) -> tuple[Chunk, ...]:
    """All rows in their order, in pieces that are decoded together; dense segments as matrices if it pays."""
    if by_matrix not in packed.layouts:
        packed.layouts[by_matrix] = _cut(packed, by_matrix)
    return packed.layouts[by_matrix]


def _cut(packed: Packed, by_matrix: bool) -> tuple[Chunk, ...]:
    segments, chunks, start = packed.segments, [], packed.start.astype(np.int64)
    wide = (segments[:, WIDTH] > 0) & by_matrix
    wide &= segments[:, HI] - segments[:, LO] >= LEAST_TARGETS
    if packed.aggregation.any():  # a mean of a matrix with holes has its own number of terms
        column = packed.column("aggregation")
        wide &= [not column[s[LO] : s[HI]].any() for s in segments]
    ends = np.append(segments[:, LO], packed.n_rows)
    done = 0
    for number in [*np.flatnonzero(wide), len(segments)]:
        hi = int(ends[number])
        while done < hi:  # by rows up to the next matrix
            end = int(np.searchsorted(start, start[done] + SCRATCH, side="right")) - 1
            end = min(max(end, done + 1), hi)
            chunks.append(Chunk(done, end, -1, int(start[end] - start[done])))
            done = end
        if number < len(segments):
            lo, hi = (int(i) for i in segments[number, [LO, HI]])
            step = max(LEAST_TARGETS, MATRIX // int(segments[number, WIDTH]))
            for at in range(lo, hi, step):
                end = min(at + step, hi)
                chunks.append(Chunk(at, end, int(number), int(start[end] - start[at])))
            done = hi
    return tuple(chunks)


def _run(
    packed: Packed, chunks: tuple[Chunk, ...], scratch: Scratch, neurons: Neurons, acts: np.ndarray, z: np.ndarray,
    steps: int,
) -> None:  # fmt: skip
    """Fill the rows of ``steps`` steps behind those of the history."""
    kept = np.empty((len(acts), steps * scratch.n_special, 4, acts.shape[2]), FLOAT)
    if len(chunks) == 1 and chunks[0].segment < 0:
        _rows(packed, chunks[0], scratch, neurons, acts, z, kept, 0, steps)
        return
    with blas.one_thread():
        for step in range(steps):
            for chunk in chunks:
                if chunk.segment < 0:
                    _rows(packed, chunk, scratch, neurons, acts, z, kept, step, 1)
                else:
                    _matrix(packed, chunk, scratch, neurons, acts, z, kept)


def _rows(
    packed: Packed, chunk: Chunk, scratch: Scratch, neurons: Neurons, acts: np.ndarray, z: np.ndarray,
    kept: np.ndarray, step: int, steps: int,
) -> None:  # fmt: skip
    """Run rows by the loops of float32 networks."""
    n, lo, hi = packed.n, chunk.lo, chunk.hi
    workers = threads.count()
    if scratch.holds != chunk:
        packed_kernels.decode(
            workers, lo, hi, packed.history * n, packed.n_inputs, packed.segments, packed.start, packed.first,
            packed.code, packed.weight, packed.scale, packed.format.code, scratch.value, scratch.bits, scratch.other,
            scratch.begin, scratch.length,
        )  # fmt: skip
        scratch.holds = chunk
    order = np.arange(packed.n_inputs + lo, packed.n_inputs + hi, dtype=np.int32)
    offsets, work = packed.offsets, packed.start[lo : hi + 1].astype(np.int64)
    if hi - lo < packed.n_rows:
        inside = offsets[(offsets > lo) & (offsets < hi)]
        offsets = np.concatenate([[0], inside - lo, [hi - lo]])
        work -= work[0]
    kernels.forward(
        order, offsets, work, order, offsets[:0], workers, steps, packed.history + step, n, scratch.n_special,
        scratch.begin, scratch.length, scratch.other, NONE_32, NONE_16, *NO_LONG_ROWS, scratch.value,
        *neurons, acts, z, packed.leaks, kept,
    )  # fmt: skip


def _matrix(
    packed: Packed, chunk: Chunk, scratch: Scratch, neurons: Neurons, acts: np.ndarray, z: np.ndarray,
    kept: np.ndarray,
) -> None:  # fmt: skip
    """Run rows of a dense segment by BLAS."""
    segment, workers = packed.segments[chunk.segment], threads.count()
    width, rows = int(segment[WIDTH]), chunk.hi - chunk.lo
    if scratch.holds != chunk:
        packed_kernels.widen_matrix(
            workers, chunk.lo, chunk.hi, width, int(packed.start[chunk.lo]), packed.weight, packed.scale,
            packed.format.code, bool(segment[GAPS]), scratch.value, scratch.bits,
        )  # fmt: skip
        scratch.holds = chunk
    dense.forward_neighbours(
        workers, blocked.SHARES, blas.address(FLOAT), acts, int(segment[BASE]), width, rows, scratch.value, scratch.sums
    )
    order = np.arange(packed.n_inputs + chunk.lo, packed.n_inputs + chunk.hi, dtype=np.int32)
    nothing = np.zeros(packed.n, np.int32)
    kernels.finish(
        workers, order, 1, scratch.sums, scratch.begin, nothing, scratch.other, NONE_32, NONE_16, scratch.value,
        *neurons, acts, z, False, kept,
    )  # fmt: skip


def _predict_each(packed: Packed, X: np.ndarray) -> np.ndarray:
    """Samples of one step, one after another."""
    X = X if X.flags.carray else np.array(X, order="C")
    out = np.empty((len(X), 1, len(packed.outputs)), FLOAT)
    workers = 1 if len(packed.weight) < kernels.SERIAL_WORK else threads.count()  # asking numba takes a lock
    x = np.empty(packed.n, FLOAT)
    for sample, outputs in zip(X, out, strict=True):
        kernels.forward_one_packed(
            workers, packed.segments, packed.start, packed.first, packed.code, packed.weight, packed.scale,
            packed.format.code, packed.activation, packed.parameter, packed.aggregation, packed.bias, packed.outputs,
            sample.reshape(-1), x, outputs.reshape(-1),
        )  # fmt: skip
    return out


def _predict_by_source(packed: Packed, X: np.ndarray, batch_size: int | None) -> np.ndarray:
    """Samples of one step, in panels of their own for each thread, or all in one."""
    X = X if X.flags.carray else np.array(X, order="C")
    batch = len(X)
    out = np.empty((batch, 1, len(packed.outputs)), FLOAT)
    size = batch if batch_size is None else min(batch, batch_size)
    lanes = next((n for n in kernels.PACKED_LANES if size <= n), kernels.PACKED_LANES[-1])
    count, work = -(-size // lanes), len(packed.weight)
    workers = 1  # asking numba takes a lock
    if count == 1:  # the sums of so many shares have one order, whatever the number of threads
        shares = kernels.PUSH_SHARES if work >= kernels.PACKED_SHARE_WORK else 1
        if shares > 1:
            workers = threads.count()
    else:
        if work * count >= kernels.SERIAL_WORK:
            workers = threads.count()
        turns = PIECE_BYTES // (packed.n * lanes * FLOAT.itemsize * workers)
        shares = min(count, workers * min(max(turns, 1), TURNS)) if workers > 1 else 1
    panels = _on_lines((shares, packed.n, lanes))
    for first in range(0, batch, size):
        kernels.forward_packed_sources(
            workers, packed.segments, packed.start, packed.first, packed.code, packed.weight, packed.scale,
            packed.format.code, packed.activation, packed.parameter, packed.aggregation, packed.bias, packed.outputs,
            X[first : first + size], panels, out[first : first + size],
        )  # fmt: skip
    return out


def _on_lines(shape: tuple[int, int, int]) -> np.ndarray:
    """An array whose rows, where they are long, begin with a line of the cache, so that none takes an access more."""
    size = math.prod(shape)
    if shape[2] * FLOAT.itemsize <= kernels.CACHE_LINE or size * FLOAT.itemsize >= HUGE_PAGES:
        return empty(shape, FLOAT)
    memory = np.empty(size + kernels.CACHE_LINE // FLOAT.itemsize, FLOAT)
    begin = -memory.__array_interface__["data"][0] % kernels.CACHE_LINE // FLOAT.itemsize
    return memory[begin : begin + size].reshape(shape)
