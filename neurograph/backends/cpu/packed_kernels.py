"""The compiled loops over packed rows: narrow weights and gaps become float32 numbers and row indices.

The batch passes decode some rows into a small scratch buffer, once for all samples, and leave the rest to the loops and
the matrix products that float32 networks have.
"""

from functools import partial

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ...jit import njit
from ...packed.formats import BF16, FORMATS, HALF_FACTOR, INT8
from ...packed.layout import BASE, GAPS, HI, LO, SHIFT, WIDTH

jit = partial(njit, nogil=True, error_model="numpy")
parallel_jit = partial(jit, parallel=True)

HOLE_8, HOLE_16 = FORMATS["int8"].hole, FORMATS["bf16"].hole
BLOCK = 16  # gaps that are followed together
DECODED = 16_384  # entries that a thread decodes at a time


# A function for each loop: in one function that branches on the format they do not vectorise. Whole arrays and places
# in them: a slice is an object, which costs as much as ten connections.


@jit
def _widen_bytes(weight, first, count, scale, out, at):
    for k in range(count):
        out[np.uint64(at + k)] = np.float32(weight[np.uint64(first + k)]) * scale


@jit
def _widen_bytes_with_holes(weight, first, count, scale, out, at):
    for k in range(count):
        code = weight[np.uint64(first + k)]
        out[np.uint64(at + k)] = np.float32(code) * scale if code != HOLE_8 else np.float32(0)


@jit
def _widen_upper_halves(weight, first, count, bits, at):
    for k in range(count):
        code = np.uint32(weight[np.uint64(first + k)])
        bits[np.uint64(at + k)] = code << np.uint32(16) if code != np.uint32(HOLE_16) else np.uint32(0)


@jit
def _spread_bits(weight, first, count, bits, at):
    for k in range(count):
        code = np.uint32(weight[np.uint64(first + k)])
        code = code if code != np.uint32(HOLE_16) else np.uint32(0)
        sign, rest = code & np.uint32(0x8000), code & np.uint32(0x7FFF)
        bits[np.uint64(at + k)] = (sign << np.uint32(16)) | (rest << np.uint32(13))


@jit
def _multiply(out, at, count, factor):
    for k in range(count):
        out[np.uint64(at + k)] *= factor


@jit
def widen(weight, first, count, format, scale, gaps, out, bits, at):
    """Fill ``out[at:at + count]`` with the numbers that narrow weights stand for; ``bits`` views the same memory."""
    if format == INT8 and gaps:
        _widen_bytes_with_holes(weight, first, count, scale, out, at)
    elif format == INT8:
        _widen_bytes(weight, first, count, scale, out, at)
    elif format == BF16:
        _widen_upper_halves(weight, first, count, bits, at)
    else:
        _spread_bits(weight, first, count, bits, at)
        _multiply(out, at, count, np.float32(HALF_FACTOR))


@jit
def _number(index, count, other, at):
    for k in range(count):
        other[np.uint64(at + k)] = index + k


@intrinsic
def _follow_block(typing, code, k, index, other, at):
    """Running totals of so many gaps in a vector register: each step adds what stands 1, 2, 4, ... places before."""
    signature = types.int64(code, types.int64, types.int64, other, types.int64)

    def codegen(context, builder, signature, arguments):
        code, k, index, other, at = arguments
        t_code, _, _, t_other, _ = signature.args
        number = ir.IntType(32)
        gaps, totals = ir.VectorType(ir.IntType(t_code.dtype.bitwidth), BLOCK), ir.VectorType(number, BLOCK)

        def place(kind, array, first, vector):
            data = context.make_array(kind)(context, builder, array).data
            return builder.bitcast(builder.gep(data, [first]), vector.as_pointer())

        zero = ir.Constant(totals, [0] * BLOCK)
        total = builder.zext(builder.load(place(t_code, code, k, gaps), align=t_code.dtype.bitwidth // 8), totals)
        step = 1
        while step < BLOCK:
            lanes = [BLOCK + i - step if i >= step else 0 for i in range(BLOCK)]
            moved = builder.shuffle_vector(zero, total, ir.Constant(totals, lanes))
            total, step = builder.add(total, moved), 2 * step
        start = builder.insert_element(zero, builder.trunc(index, number), ir.Constant(number, 0))
        total = builder.add(total, builder.shuffle_vector(start, zero, zero))
        builder.store(total, place(t_other, other, at, totals), align=4)
        return builder.sext(builder.extract_element(total, ir.Constant(number, BLOCK - 1)), ir.IntType(64))

    return signature, codegen


def _follow_block_twin(code, k, index, other, at):
    other[at : at + BLOCK] = index + np.cumsum(code[k : k + BLOCK], dtype=np.int64)
    return np.int64(other[at + BLOCK - 1])


if numba.config.DISABLE_JIT:
    _follow_block = _follow_block_twin


@jit
def _follow(code, first, count, index, other, at):
    k = np.int64(0)
    while k + BLOCK <= count:
        index = _follow_block(code, first + k, index, other, at + k)
        k += BLOCK
    while k < count:
        index += np.int64(code[np.uint64(first + k)])
        other[np.uint64(at + k)] = index
        k += 1


@jit
def compact(column, first, count, nothing, value, other, at):
    """Move the entries where a column does not say ``nothing`` to the front; returns how many they are."""
    kept = at
    for k in range(count):
        value[np.uint64(kept)] = value[np.uint64(at + k)]
        other[np.uint64(kept)] = other[np.uint64(at + k)]
        kept += np.int64(np.int64(column[np.uint64(first + k)]) != nothing)
    return kept - at


@jit
def all_finite(x):
    """Whether no entry is infinite or not a number; in one go through memory, which numpy takes two for."""
    largest = np.float32(np.finfo(np.float32).max)
    bad = np.int32(0)
    for k in range(x.shape[0]):
        bad |= np.int32(not abs(x[k]) <= largest)
    return bad == 0


@jit
def segment_of(segments, row):
    """The segment in which a row lies."""
    first, last = np.int64(0), np.int64(segments.shape[0] - 1)
    while first < last:
        middle = (first + last + 1) // 2
        if segments[middle, LO] <= row:
            first = middle
        else:
            last = middle - 1
    return first


@jit
def decode_rows(
    lo, hi, origin, back, n_inputs, segments, start, first, code, weight, scale, format, value, bits, other, begin,
    length,
):  # fmt: skip
    """Decode rows ``lo:hi`` to where their entries stand, counted from entry ``origin``.

    Fills ``value`` and ``other``, indices less ``back``, and for the rows' positions ``begin`` and ``length``.
    """
    if lo == hi:
        return
    skip = np.int64(255 if code.itemsize == 1 else 65535)
    hole = np.int64(HOLE_8 if format == INT8 else HOLE_16)
    at = segment_of(segments, lo)
    one = np.float32(1)
    for r in range(lo, hi):
        while segments[at, HI] <= r:
            at += 1
        k0 = np.int64(start[r])
        count = np.int64(start[r + 1]) - k0
        out = k0 - origin
        begin[n_inputs + r] = out
        length[n_inputs + r] = count
        factor = scale[r if scale.shape[0] > 1 else 0] if scale.shape[0] > 0 else one
        index = segments[at, BASE] - back
        gaps = segments[at, GAPS] != 0
        dense = segments[at, WIDTH] > 0
        widen(weight, k0, count, format, factor, dense and gaps, value, bits, out)
        if dense:
            _number(index, count, other, out)
            if gaps:  # only connections are terms: a mean divides by their number
                length[n_inputs + r] = compact(weight, k0, count, hole, value, other, out)
            continue
        if first.shape[0] > 0:
            index += np.int64(first[r])
        from_code = k0 + segments[at, SHIFT]
        _follow(code, from_code, count, index, other, out)
        if gaps:
            length[n_inputs + r] = compact(code, from_code, count, skip, value, other, out)


@jit
def share_of_rows(start, lo, hi, share, shares):
    """Where a share of rows ``lo:hi`` begins, so that all have about as many entries."""
    if share == shares:
        return hi
    goal = np.int64(start[lo]) + (np.int64(start[hi]) - np.int64(start[lo])) * share // shares
    first, last = lo, hi
    while first < last:
        middle = (first + last) // 2
        if np.int64(start[middle]) < goal:
            first = middle + 1
        else:
            last = middle
    return first


@parallel_jit
def _decode_shares(
    shares, lo, hi, origin, back, n_inputs, segments, start, first, code, weight, scale, format, value, bits, other,
    begin, length,
):  # fmt: skip
    for i in numba.prange(shares):
        share = np.int64(i)
        a, b = share_of_rows(start, lo, hi, share, shares), share_of_rows(start, lo, hi, share + 1, shares)
        decode_rows(
            a, b, origin, back, n_inputs, segments, start, first, code, weight, scale, format, value, bits, other,
            begin, length,
        )  # fmt: skip


@jit
def decode(
    threads, lo, hi, back, n_inputs, segments, start, first, code, weight, scale, format, value, bits, other, begin,
    length,
):  # fmt: skip
    """Decode rows ``lo:hi`` as `decode_rows` does, the first entry at 0."""
    origin = np.int64(start[lo])
    shares = (np.int64(start[hi]) - origin) // DECODED
    if threads == 1 or shares < 2:
        decode_rows(
            lo, hi, origin, back, n_inputs, segments, start, first, code, weight, scale, format, value, bits, other,
            begin, length,
        )  # fmt: skip
    else:
        _decode_shares(
            shares, lo, hi, origin, back, n_inputs, segments, start, first, code, weight, scale, format, value, bits,
            other, begin, length,
        )  # fmt: skip


@jit
def _widen_rows(lo, hi, origin, width, begins, weight, scale, format, gaps, value, bits):
    one = np.float32(1)
    for r in range(lo, hi):
        factor = scale[r if scale.shape[0] > 1 else 0] if scale.shape[0] > 0 else one
        at = (r - origin) * width
        widen(weight, begins + at, width, format, factor, gaps, value, bits, at)


@parallel_jit
def _widen_shares(shares, lo, hi, width, begins, weight, scale, format, gaps, value, bits):
    for i in numba.prange(shares):
        share = np.int64(i)
        a, b = lo + (hi - lo) * share // shares, lo + (hi - lo) * (share + 1) // shares
        _widen_rows(a, b, lo, width, begins, weight, scale, format, gaps, value, bits)


@jit
def widen_matrix(threads, lo, hi, width, begins, weight, scale, format, gaps, value, bits):
    """Rows ``lo:hi`` of a dense segment, whose weights begin at ``begins``, as a matrix row after row."""
    shares = (hi - lo) * width // DECODED
    if threads == 1 or shares < 2:
        _widen_rows(lo, hi, lo, width, begins, weight, scale, format, gaps, value, bits)
    else:
        _widen_shares(shares, lo, hi, width, begins, weight, scale, format, gaps, value, bits)
