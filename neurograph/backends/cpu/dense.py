"""The compiled loops over dense blocks: rows of neurons side by side, and products of matrices by BLAS.

A block joins S sources with T targets. Its weights are a matrix in memory, source after source (``weight[base + i * T +
j]``) or target after target (``weight[base + j * S + i]``), either the column of the connections itself or a copy. BLAS
counts by columns, so the activations of a few panels side by side, ``X[i * m + lane]``, are an m by S matrix to it.

Each product is cut into as many shares as the machine has processors, whatever the number of threads, and each share is
one call of BLAS on one thread; so the results do not depend on the number of threads. The address of BLAS comes as an
argument, because numba's disk cache outlives the process in which it is valid.
"""

import ctypes
from functools import partial

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ...jit import njit

jit = partial(njit, nogil=True, error_model="numpy")
parallel_jit = partial(jit, parallel=True)

LEAST = 64  # rows of a matrix that one call of BLAS computes at least
TOGETHER = 512  # samples whose panels stand side by side
JOINED = 32  # rows that a thread copies at a time
FILLED = 16  # sources whose connections a thread copies at a time


@intrinsic
def _gemm(typing, address, flip_a, flip_b, m, n, k, a, a_from, lda, b, b_from, ldb, add, c, c_from, ldc):
    whole = types.int64
    flags, sizes, matrix = (types.boolean,) * 2, (whole,) * 3, (whole, whole)
    signature = types.void(whole, *flags, *sizes, a, *matrix, b, *matrix, types.boolean, c, *matrix)

    def codegen(context, builder, signature, arguments):
        address, flip_a, flip_b, m, n, k, a, a_from, lda, b, b_from, ldb, add, c, c_from, ldc = arguments
        t_a, t_b, t_c = signature.args[6], signature.args[9], signature.args[13]
        scalar = ir.FloatType() if t_a.dtype == types.float32 else ir.DoubleType()
        letter, number = ir.IntType(8), ir.IntType(32)

        def place(value):
            return cgutils.alloca_once_value(builder, value)

        def flip(flag):
            return place(builder.select(flag, ir.Constant(letter, ord("T")), ir.Constant(letter, ord("N"))))

        def size(value):
            return place(builder.trunc(value, number))

        def start(kind, array, first):
            return builder.gep(context.make_array(kind)(context, builder, array).data, [first])

        one, zero = ir.Constant(scalar, 1.0), ir.Constant(scalar, 0.0)
        given = [
            flip(flip_a), flip(flip_b), size(m), size(n), size(k), place(one), start(t_a, a, a_from), size(lda),
            start(t_b, b, b_from), size(ldb), place(builder.select(add, one, zero)), start(t_c, c, c_from), size(ldc),
        ]  # fmt: skip
        function = ir.FunctionType(ir.VoidType(), [value.type for value in given])
        builder.call(builder.inttoptr(address, function.as_pointer()), given)
        return context.get_dummy_value()

    return signature, codegen


def _gemm_twin(address, flip_a, flip_b, m, n, k, a, a_from, lda, b, b_from, ldb, add, c, c_from, ldc):
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 13)(int(address))
    scalar = ctypes.c_float if a.dtype == np.float32 else ctypes.c_double
    letters = [ctypes.c_char(b"T" if flag else b"N") for flag in (flip_a, flip_b)]
    sizes = {name: ctypes.c_int(int(value)) for name, value in zip("mnkabc", (m, n, k, lda, ldb, ldc), strict=True)}
    starts = [
        ctypes.c_void_p(x.ctypes.data + int(first) * x.itemsize) for x, first in ((a, a_from), (b, b_from), (c, c_from))
    ]
    one, beta = scalar(1), scalar(1 if add else 0)
    at = ctypes.byref
    function(
        at(letters[0]), at(letters[1]), at(sizes["m"]), at(sizes["n"]), at(sizes["k"]), at(one), starts[0],
        at(sizes["a"]), starts[1], at(sizes["b"]), at(beta), starts[2], at(sizes["c"]),
    )  # fmt: skip


if numba.config.DISABLE_JIT:
    gemm = _gemm_twin
else:

    @jit
    def gemm(address, flip_a, flip_b, m, n, k, a, a_from, lda, b, b_from, ldb, add, c, c_from, ldc):
        """``C = op(A) op(B)``, or added to C, for matrices by columns that begin at some entry of flat arrays."""
        _gemm(address, flip_a, flip_b, m, n, k, a, a_from, lda, b, b_from, ldb, add, c, c_from, ldc)


# -- rows of neurons side by side --------------------------------------------------------------------------------------


@jit
def _join_rows(panels, slots, first, last, out, begin, end):
    lanes = panels.shape[2]
    width = (last - first) * lanes
    for i in range(begin, end):
        for panel in range(first, last):
            row, at = panels[panel, slots[i]], i * width + (panel - first) * lanes
            for lane in range(lanes):
                out[at + lane] = row[lane]


@parallel_jit
def _join_shares(panels, slots, first, last, out):
    count = np.int64(slots.shape[0])
    for share in numba.prange((count + JOINED - 1) // JOINED):
        begin = np.int64(share) * JOINED
        _join_rows(panels, slots, first, last, out, begin, min(begin + JOINED, count))


@jit
def join(threads, panels, slots, first, last, out):
    """``out[i * m + lane]``: the rows of some neurons in panels ``first`` to ``last``, side by side."""
    if threads == 1:
        _join_rows(panels, slots, first, last, out, np.int64(0), np.int64(slots.shape[0]))
    else:
        _join_shares(panels, slots, first, last, out)


@jit
def together(panels):
    """How many panels stand side by side."""
    return max(np.int64(1), TOGETHER // np.int64(panels.shape[2]))


@jit
def width(count, shares):
    """Rows of each of so many shares, a whole number of vector registers."""
    return max(np.int64(LEAST), (count + 16 * shares - 1) // (16 * shares) * 16)


# -- forward -----------------------------------------------------------------------------------------------------------


@jit
def _forward_share(address, m, S, T, X, weight, base, by_source, sums, sums_from, add, begin, end):
    first = base + begin if by_source else base + begin * S
    gemm(
        address, False, by_source, m, end - begin, S, X, np.int64(0), m, weight, first, T if by_source else S, add,
        sums, sums_from + begin * m, m,
    )  # fmt: skip


@parallel_jit
def _forward_shares(address, m, S, T, X, weight, base, by_source, sums, sums_from, add, wide):
    for share in numba.prange((T + wide - 1) // wide):
        begin = np.int64(share) * wide
        end = min(begin + wide, T)
        _forward_share(address, m, S, T, X, weight, base, by_source, sums, sums_from, add, begin, end)


@jit
def hide(column, holes, kept):
    """Put zeros where a block's matrix in a column has the values of others."""
    for h in range(holes.shape[0]):
        kept[h] = column[holes[h]]
        column[holes[h]] = 0


@jit
def show(column, holes, kept):
    """Take back `hide`."""
    for h in range(holes.shape[0]):
        column[holes[h]] = kept[h]


@jit
def forward(threads, shares, address, acts, sources, T, weight, base, by_source, holes, add, X, sums):
    """``sums = acts W``, or added, for all panels: group after group of them, ``sums[group, target, lane]``."""
    S, panels, step, wide = np.int64(sources.shape[0]), np.int64(acts.shape[0]), together(acts), width(T, shares)
    kept = np.empty(holes.shape[0], weight.dtype)
    hide(weight, holes, kept)
    for first in range(np.int64(0), panels, step):
        last = min(first + step, panels)
        m, at = (last - first) * acts.shape[2], first * acts.shape[2] * T
        join(threads, acts, sources, first, last, X)
        if threads == 1:
            for begin in range(np.int64(0), T, wide):
                end = min(begin + wide, T)
                _forward_share(address, m, S, T, X, weight, base, by_source, sums, at, add, begin, end)
        else:
            _forward_shares(address, m, S, T, X, weight, base, by_source, sums, at, add, wide)
    show(weight, holes, kept)


@jit
def _neighbours_share(address, acts, first, S, T, weight, sums, begin, end, panel):
    lanes, rows = np.int64(acts.shape[2]), np.int64(acts.shape[1])
    gemm(
        address, False, False, lanes, end - begin, S, acts.reshape(acts.size), (panel * rows + first) * lanes, lanes,
        weight, begin * S, S, False, sums, (panel * T + begin) * lanes, lanes,
    )  # fmt: skip


@parallel_jit
def _neighbours_shares(address, acts, first, S, T, weight, sums, wide):
    a_panel = (T + wide - 1) // wide
    for i in numba.prange(a_panel * np.int64(acts.shape[0])):
        task = np.int64(i)
        begin, panel = task % a_panel * wide, task // a_panel
        _neighbours_share(address, acts, first, S, T, weight, sums, begin, min(begin + wide, T), panel)


@jit
def forward_neighbours(threads, shares, address, acts, first, S, T, weight, sums):
    """``sums[panel, target, lane]`` over S sources whose rows are neighbours from ``first`` on: they are not copied.

    The matrix goes target after target, ``weight[target * S + source]``.
    """
    wide = width(T, shares)
    if threads == 1:
        for panel in range(np.int64(acts.shape[0])):
            for begin in range(np.int64(0), T, wide):
                _neighbours_share(address, acts, first, S, T, weight, sums, begin, min(begin + wide, T), panel)
    else:
        _neighbours_shares(address, acts, first, S, T, weight, sums, wide)


# -- backward ----------------------------------------------------------------------------------------------------------


@jit
def _delta_share(address, m, S, T, D, weight, base, by_source, Y, sources, first, last, add, delta, begin, end):
    start = base + begin * T if by_source else base + begin
    gemm(
        address, False, not by_source, m, end - begin, T, D, np.int64(0), m, weight, start, T if by_source else S,
        False, Y, begin * m, m,
    )  # fmt: skip
    lanes = delta.shape[2]
    for i in range(begin, end):
        for panel in range(first, last):
            row, at = delta[panel, sources[i]], i * m + (panel - first) * lanes
            if add:
                for lane in range(lanes):
                    row[lane] += Y[at + lane]
            else:
                for lane in range(lanes):
                    row[lane] = Y[at + lane]


@parallel_jit
def _delta_shares(address, m, S, T, D, weight, base, by_source, Y, sources, first, last, add, delta, wide):
    for share in numba.prange((S + wide - 1) // wide):
        begin = np.int64(share) * wide
        end = min(begin + wide, S)
        _delta_share(address, m, S, T, D, weight, base, by_source, Y, sources, first, last, add, delta, begin, end)


@jit
def _grad_share(address, m, rows, A, B, grad, base, add, begin, end):
    zero = np.int64(0)
    gemm(address, True, False, rows, end - begin, m, A, zero, m, B, begin * m, m, add, grad, base + begin * rows, rows)


@parallel_jit
def _grad_shares(address, m, rows, columns, A, B, grad, base, add, wide):
    for share in numba.prange((columns + wide - 1) // wide):
        begin = np.int64(share) * wide
        _grad_share(address, m, rows, A, B, grad, base, add, begin, min(begin + wide, columns))


@jit
def backward_delta(threads, shares, address, delta, sources, targets, weight, base, by_source, holes, add, D, Y):
    """What the targets' deltas send back to the rows of the sources in ``delta``, written or added."""
    S, T = np.int64(sources.shape[0]), np.int64(targets.shape[0])
    panels, step, wide = np.int64(delta.shape[0]), together(delta), width(S, shares)
    kept = np.empty(holes.shape[0], weight.dtype)
    hide(weight, holes, kept)
    for first in range(np.int64(0), panels, step):
        last = min(first + step, panels)
        m = (last - first) * delta.shape[2]
        join(threads, delta, targets, first, last, D)
        if threads == 1:
            for begin in range(np.int64(0), S, wide):
                end = min(begin + wide, S)
                _delta_share(
                    address, m, S, T, D, weight, base, by_source, Y, sources, first, last, add, delta, begin, end
                )
        else:
            _delta_shares(address, m, S, T, D, weight, base, by_source, Y, sources, first, last, add, delta, wide)
    show(weight, holes, kept)


@jit
def backward_grad(threads, shares, address, acts, delta, sources, targets, grad, base, by_source, holes, add, X, D):
    """The gradients of a block's weights, written or added, in a matrix like theirs."""
    S, T = np.int64(sources.shape[0]), np.int64(targets.shape[0])
    panels, step, wide = np.int64(acts.shape[0]), together(acts), width(S if by_source else T, shares)
    kept = np.empty(holes.shape[0], grad.dtype)
    hide(grad, holes, kept)
    for first in range(np.int64(0), panels, step):
        last = min(first + step, panels)
        m = (last - first) * acts.shape[2]
        join(threads, acts, sources, first, last, X)
        join(threads, delta, targets, first, last, D)
        A, B, rows, columns = (D, X, T, S) if by_source else (X, D, S, T)
        if threads == 1:
            for begin in range(np.int64(0), columns, wide):
                end = min(begin + wide, columns)
                _grad_share(address, m, rows, A, B, grad, base, add or first > 0, begin, end)
        else:
            _grad_shares(address, m, rows, columns, A, B, grad, base, add or first > 0, wide)
    show(grad, holes, kept)


# -- copies of blocks whose connections are not a matrix in the column -------------------------------------------------


@jit
def _fill_rows(sources, start, length, other, slot, cluster, position, of, column, out, T, begin, end):
    for i in range(begin, end):
        row = out[i * T : (i + 1) * T]
        row[:] = 0
        r = sources[i]
        for k in range(start[r], start[r] + length[r]):
            target = other[k]
            if cluster[target] == of:
                row[position[target]] = column[np.uint32(slot[k])]


@parallel_jit
def _fill_shares(sources, start, length, other, slot, cluster, position, of, column, out, T):
    count = np.int64(sources.shape[0])
    for share in numba.prange((count + FILLED - 1) // FILLED):
        begin = np.int64(share) * FILLED
        end = min(begin + FILLED, count)
        _fill_rows(sources, start, length, other, slot, cluster, position, of, column, out, T, begin, end)


@jit
def fill(threads, sources, start, length, other, slot, cluster, position, of, column, out, T):
    """A block as a matrix source after source: the weight of each connection, zero where there is none."""
    if threads == 1:
        count = np.int64(sources.shape[0])
        _fill_rows(sources, start, length, other, slot, cluster, position, of, column, out, T, np.int64(0), count)
    else:
        _fill_shares(sources, start, length, other, slot, cluster, position, of, column, out, T)


@jit
def _collect_rows(sources, start, length, other, slot, cluster, position, of, column, add, matrix, T, begin, end):
    for i in range(begin, end):
        row = matrix[i * T : (i + 1) * T]
        r = sources[i]
        for k in range(start[r], start[r] + length[r]):
            target = other[k]
            if cluster[target] == of:
                c = np.uint32(slot[k])
                column[c] = row[position[target]] + (column[c] if add else 0)


@parallel_jit
def _collect_shares(sources, start, length, other, slot, cluster, position, of, column, add, matrix, T):
    count = np.int64(sources.shape[0])
    for share in numba.prange((count + FILLED - 1) // FILLED):
        begin = np.int64(share) * FILLED
        end = min(begin + FILLED, count)
        _collect_rows(sources, start, length, other, slot, cluster, position, of, column, add, matrix, T, begin, end)


@jit
def collect(threads, sources, start, length, other, slot, cluster, position, of, column, add, matrix, T):
    """The gradients of a block's connections out of the matrix, written or added."""
    if threads == 1:
        first, count = np.int64(0), np.int64(sources.shape[0])
        _collect_rows(sources, start, length, other, slot, cluster, position, of, column, add, matrix, T, first, count)
    else:
        _collect_shares(sources, start, length, other, slot, cluster, position, of, column, add, matrix, T)


# -- looking for blocks ------------------------------------------------------------------------------------------------


@jit
def count_pairs(sources, start, length, other, cluster, counts):
    """Add to ``counts`` how many connections lead from some sources into each cluster of targets."""
    for r in sources:
        for k in range(start[r], start[r] + length[r]):
            of = cluster[other[k]]
            if of >= 0:
                counts[of] += 1


@jit
def count_in_place(sources, start, length, other, slot, cluster, position, of, base, by_source, T):
    """How many connections of a block stand where its matrix in the column, which begins at ``base``, has them."""
    S, count = np.int64(sources.shape[0]), 0
    for i in range(S):
        r = sources[i]
        for k in range(start[r], start[r] + length[r]):
            target = other[k]
            if cluster[target] == of:
                j = position[target]
                count += slot[k] == base + (i * T + j if by_source else j * S + i)
    return count


@jit
def find_holes(members, sources, start, length, other, slot, cluster, position, of, base, by_source, T, before, holes):
    """Fill ``holes`` with the places in a block's matrix that are not its own, and return how many there are.

    Those ``before`` stay what they are, but for the sources of numbers ``members``, which are looked at anew.
    """
    S, count = np.int64(sources.shape[0]), 0
    looked, used = np.zeros(S, np.bool_), np.zeros(T, np.bool_)
    for i in members:
        looked[i] = True
    for hole in before:
        if not looked[(hole - base) // T if by_source else (hole - base) % S]:
            holes[count] = hole
            count += 1
    for i in members:
        used[:] = False
        r = sources[i]
        for k in range(start[r], start[r] + length[r]):
            target = other[k]
            if cluster[target] == of:
                j = position[target]
                if slot[k] == base + (i * T + j if by_source else j * S + i):
                    used[j] = True
        for j in range(T):
            if not used[j]:
                holes[count] = base + (i * T + j if by_source else j * S + i)
                count += 1
    return count


@jit
def leftovers(
    rows, by_target, start, length, other, slot, source_cluster, source_position, target_cluster, target_position,
    block_at, base, by_source, sizes, group, tile_begin, tile_far, out_start, out_length, out_other, out_slot, at,
):  # fmt: skip
    """Write the connections of some rows that no block runs, beginning at entry ``at``; returns where they end.

    Tiles join the ``group`` of a row with ``tile_far[tile_begin[g]:tile_begin[g + 1]]``; without tiles nobody is in a
    group. What does not fit is counted only. All in one function: numba hands over an array as seven numbers.
    """
    in_tile = np.zeros(tile_begin.shape[0], np.bool_)
    for row in rows:
        first, g = at, -1
        if group.shape[0] > 0 and group[row] >= 0:
            g = group[row]
            for tile in range(tile_begin[g], tile_begin[g + 1]):
                in_tile[tile_far[tile]] = True
        for k in range(start[row], start[row] + length[row]):
            end = np.int64(other[k])
            s, t = (end, np.int64(row)) if by_target else (np.int64(row), end)
            outside = True
            if source_cluster[np.uint64(s)] >= 0 and target_cluster[np.uint64(t)] >= 0:
                b = block_at[source_cluster[np.uint64(s)], target_cluster[np.uint64(t)]]
                if b >= 0:
                    i, j = source_position[np.uint64(s)], target_position[np.uint64(t)]
                    place = base[b] + (i * sizes[b, 1] + j if by_source[b] else j * sizes[b, 0] + i)
                    outside = base[b] >= 0 and slot[k] != place
            if g >= 0 and group[np.uint64(end)] >= 0:
                outside = outside and not in_tile[group[np.uint64(end)]]
            if outside:
                if at < out_other.shape[0]:
                    out_other[at] = other[k]
                    out_slot[at] = slot[k]
                at += 1
        out_start[row] = first
        out_length[row] = at - first
        if g >= 0:
            for tile in range(tile_begin[g], tile_begin[g + 1]):
                in_tile[tile_far[tile]] = False
    return at
