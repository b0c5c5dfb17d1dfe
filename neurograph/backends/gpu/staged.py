"""Wide generations that share their sources: products with the shared rows in shared memory, a tile of them at a time.

A warp that gathers a row of activations for each connection reads them from the L2 cache, which gives half an operation
a byte. Where many rows of a generation read the same sources, a block of threads copies tiles of the sources, 128 bytes
of each, to its shared memory, which is several times faster, and gathers from there: `pays` counts the bytes of both.

`float32` activations, or bfloat16 (as ``uint16``, with the same float32 weights and sums): half the bytes.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any, NamedTuple

import cupy
import numpy as np

from .buckets import Buckets
from .module import Family

SINGLE, HALF = np.dtype(np.float32), np.dtype(np.uint16)  # what activations are stored as
PRECISIONS = {"float32": SINGLE, "bf16": HALF}
FORWARD_SUMS, BACKWARD_SUMS = (32, 16), (64, 16)  # that a thread keeps; 64 forward is for measuring which is faster
PRODUCT = Family("staged.cu", "staged_product", (np.float32, np.uint16), (16, 32, 64), (False, True))
OF_OUTPUTS, OF_WEIGHTS = 1, 2  # gradients, or both at once
BACKWARD = Family("staged.cu", "staged_backward", (np.float32, np.uint16), (16, 64), (1, 2, 3))
FINISH = Family("ends.cu", "finish_sources")
ROUND = Family("buckets.cu", "round_rows")

PIECE = 16  # bytes that a lane holds of a row
LANES = 8  # for one row
STRIP = PIECE * LANES  # bytes of a row that a block stages
STATIC = 5120  # bytes of shared memory that kernels take beside the tiles, at most
MOST_GROUPS = 65535  # blocks along y
MOST_DOTS = 2**26  # numbers
FULL = 0.9  # share of the processors that blocks should keep busy, before they are made smaller


class Shape(NamedTuple):
    """How a generation is cut into blocks: so many sums a thread, and the grid over rows and groups of strips."""

    sums: int
    threads: int
    blocks: int
    groups: int


def columns_of(dtype: np.dtype) -> int:
    """Columns of a strip."""
    return STRIP // dtype.itemsize


def lead_of(batch: int, dtype: np.dtype) -> int:
    """Columns of a stored row: whole pieces."""
    piece = PIECE // dtype.itemsize
    return -(-batch // piece) * piece


def threads_of(sums: int) -> int:
    """Threads of a block; as in the kernels."""
    return 1024 if sums == 32 else 512


def rows_of(sums: int, dtype: np.dtype) -> int:
    """Rows that a block runs."""
    return threads_of(sums) // 32 * (sums * dtype.itemsize // PIECE)


@lru_cache
def shape(
    n_rows: int, lead: int, dtype: np.dtype, choices: tuple[int, ...], processors: int, most: int = MOST_GROUPS
) -> Shape:
    """The blocks of most rows, for each stages all that they share, that still keep the processors busy.

    Each runs a group of strips, one after another: of those numbers of groups, up to ``most``, that take the fewest
    strips in turn, the smallest.
    """
    strips, best = -(-lead // columns_of(dtype)), choices[-1]
    for sums in choices:
        if -(-n_rows // rows_of(sums, dtype)) * strips >= FULL * processors:
            best = sums
            break
    blocks = -(-n_rows // rows_of(best, dtype))

    def in_turn(groups: int) -> int:
        return -(-blocks * groups // processors) * -(-strips // groups)

    groups = min(range(1, max(min(strips, most), 1) + 1), key=in_turn)
    return Shape(best, threads_of(best), blocks, groups)


def room() -> int:
    """Rows that fit a block's shared memory."""
    return (_shared_memory() - STATIC) // STRIP


def product(buckets: Buckets, weights: Any, x: Any, out: Any, sums: int | None = None) -> None:
    """``out[slot] = sum of weight * x[other]`` for the rows of the buckets.

    ``x`` (float32, or uint16 for bfloat16) and ``out`` (float32) have a row for each slot, ``out`` no more columns.
    """
    none = _nothing()
    unread = none.floats, none.floats, none.bytes, none.bytes, none.words
    _forward(buckets, weights, x, out.shape[1], none.floats, out, True, unread, False, sums)


def forward(
    buckets: Buckets,
    weights: Any,
    x: Any,
    acts: Any,
    batch: int,
    z: Any | None,
    neurons: tuple[Any, Any, Any, Any, Any],
    sums: int | None = None,
) -> None:
    """Compute the neurons of the buckets, which are sums or means, in ``acts`` (float32, a row for each slot).

    ``x`` is what is staged: the same array, or its rows in bfloat16. ``z``, if given, gets what the activations were
    applied to; ``neurons`` are the columns bias, activation_parameter (float32), activation and aggregation (int8), and
    the lengths of the rows (int32).
    """
    _forward(buckets, weights, x, batch, acts, acts if z is None else z, z is not None, neurons, True, sums)


def _forward(
    buckets: Buckets, weights: Any, x: Any, batch: int, y: Any, z: Any, keep_z: bool, neurons: Any, ends: bool,
    sums: int | None,
) -> None:  # fmt: skip
    n_rows, lead = len(buckets.rows), x.shape[1]
    if not n_rows or not lead:
        return
    how = shape(n_rows, lead, x.dtype, FORWARD_SUMS if sums is None else (sums,), processors())
    _with_tiles(PRODUCT, x.dtype, how.sums, ends)(
        (how.blocks, how.groups), (how.threads,),
        (
            x, np.int64(lead), np.int32(batch), *_tiles(buckets), *_rows(buckets), weights, y, z,
            np.int64(z.shape[1]), np.bool_(keep_z), *neurons,
        ),
        shared_mem=_tile_bytes(buckets),
    )  # fmt: skip


def backward(
    buckets: Buckets,
    weights: Any,
    delta: Any,
    y: Any,
    sums_of_outputs: Any | None,
    grad: Any | None,
    add: bool = False,
    scratch: Any | None = None,
    sums: int | None = None,
) -> None:
    """Gradients by source, of which the buckets hold the rows: by the sources' outputs and by the weights, in one pass.

    ``delta`` and ``y`` have a row for each slot, of the same type and width; ``sums_of_outputs`` (float32, the same
    rows, of no more columns) gets ``sum of weight * delta[target]``, and ``grad``, a column of the connections,
    ``y[source] . delta[target]``, or has it added. Either may be None. ``scratch`` is what `scratch_for` gives.
    """
    n_rows, lead = len(buckets.rows), delta.shape[1]
    if not n_rows or not lead or (sums_of_outputs is None and grad is None):
        return
    how = backward_shape(buckets, lead, delta.dtype, sums)
    none = _nothing().floats
    dots = none
    if grad is not None:
        dots = scratch_for(buckets, lead, delta.dtype, sums) if scratch is None else scratch
    what = (0 if sums_of_outputs is None else OF_OUTPUTS) + (0 if grad is None else OF_WEIGHTS)
    _with_tiles(BACKWARD, delta.dtype, how.sums, what)(
        (how.blocks, how.groups), (how.threads,),
        (
            delta, y, np.int64(lead), *_tiles(buckets), *_rows(buckets), weights,
            none if sums_of_outputs is None else sums_of_outputs,
            np.int64(lead if sums_of_outputs is None else sums_of_outputs.shape[1]), dots, np.int32(buckets.places),
        ),
        shared_mem=_tile_bytes(buckets),
    )  # fmt: skip
    if grad is not None:
        buckets.gradients(dots, grad, add)


def finish(
    buckets: Buckets, sums_of_outputs: Any, output: Any, by_output: Any, y: Any, batch: int, z: Any | None,
    neurons: tuple[Any, Any, Any, Any], delta: Any, bias_grad: Any, add: bool,
) -> None:  # fmt: skip
    """Make deltas of the sums that `backward` left, which may be the same array, and the gradients of the biases.

    ``by_output`` has a row for each number in ``output``, a column over the slots, -1 for those that are no outputs;
    ``neurons`` are the columns activation (int8), activation_parameter, aggregation (int8) and the fan-ins (int32).
    """
    if len(buckets.rows) and y.shape[1]:
        FINISH()(
            (-(-len(buckets.rows) // 4),), (128,),
            (
                buckets.rows, np.int32(len(buckets.rows)), sums_of_outputs, output, by_output, y,
                _nothing().floats if z is None else z, *neurons, delta, bias_grad, np.bool_(add), np.int32(batch),
                np.int32(y.shape[1]),
            ),
        )  # fmt: skip


def backward_shape(buckets: Buckets, lead: int, dtype: np.dtype, sums: int | None = None) -> Shape:
    """Blocks of `backward`, whose groups each write the dots of all entries: they may not take too much memory."""
    most = max(1, MOST_DOTS // buckets.places)
    return shape(len(buckets.rows), lead, dtype, BACKWARD_SUMS if sums is None else (sums,), processors(), most)


def scratch_for(buckets: Buckets, lead: int, dtype: np.dtype, sums: int | None = None) -> Any:
    """An array (groups of strips, places) for the dots of `backward`."""
    return cupy.empty((backward_shape(buckets, lead, dtype, sums).groups, buckets.places), np.float32)


def round_rows(x: Any, slots: Any, batch: int, out: Any) -> None:
    """Set some rows of ``out`` (bfloat16, as uint16) to those of ``x`` (float32), with zeros behind the ``batch``."""
    if len(slots) and out.shape[1]:
        ROUND()(
            (-(-len(slots) // 8),), (256,),
            (
                x, np.int64(x.shape[1]), slots, np.int32(len(slots)), np.int32(batch), out, np.int64(out.shape[1]),
            ),
        )  # fmt: skip


def rounded(x: Any) -> Any:
    """Rows of float32 as rows of bfloat16 (as uint16), to nearest even, with zeros up to whole pieces."""
    rows, batch = x.shape
    out = cupy.empty((rows, lead_of(batch, HALF)), HALF)
    round_rows(x, cupy.arange(rows, dtype=np.int32), batch, out)
    return out


def _rows(buckets: Buckets) -> tuple[Any, ...]:
    return buckets.rows, np.int32(len(buckets.rows)), buckets.firsts, buckets.counts, buckets.locals


def _tiles(buckets: Buckets) -> tuple[Any, ...]:
    return buckets.others, np.int32(buckets.tiles), np.int32(buckets.tile_rows), np.int32(buckets.buffers)


def _tile_bytes(buckets: Buckets) -> int:
    return buckets.buffers * (buckets.tile_rows + 1) * STRIP


class _Nothing(NamedTuple):
    floats: Any
    bytes: Any
    words: Any


@cache
def _nothing() -> _Nothing:
    # For parameters of a kernel that it does not read.
    return _Nothing(cupy.zeros(1, np.float32), cupy.zeros(1, np.int8), cupy.zeros(1, np.int32))


@cache
def _with_tiles(family: Family, *arguments: Any) -> Any:
    kernel = family(*arguments)
    kernel.max_dynamic_shared_size_bytes = _shared_memory() - STATIC
    return kernel


@cache
def _shared_memory() -> int:
    return int(cupy.cuda.Device().attributes["MaxSharedMemoryPerBlockOptin"])


@cache
def processors() -> int:
    return int(cupy.cuda.Device().attributes["MultiProcessorCount"])
