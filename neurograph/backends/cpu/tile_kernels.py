"""The compiled loops over tiles: small blocks, K neighbouring sources by K neighbouring targets, all pairs connected.

The row loops read one row of activations for each connection, mostly from the second cache, which is what bounds them.
A tile's rows serve all its connections, so here the sums of several neurons stay in registers together, and each vector
that is loaded feeds a multiply-add for every one of them.

Neurons are in *groups* of up to K neighbours: ``members[first[g]:first[g + 1]]``. A tile joins a group of sources with
a group of targets. The connection slots of tile t are ``slots[base[t] + i * K + j]``, source i and target j; weights
and gradients stay where they are, in the columns of the connections. Tiles are listed by their target, for the forward
pass, and by their source, for the backward pass. Each group belongs to one thread, and every sum has a fixed order, so
results do not depend on the number of threads.

Everything compiled lives in this one file, the few vector instructions included: numba's disk cache does not notice
changes elsewhere.
"""

from functools import partial
from typing import NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ...jit import njit
from .kernels import REGISTER_BYTES

jit = partial(njit, nogil=True, error_model="numpy", fastmath={"nsz", "arcp", "contract", "afn", "reassoc"})
parallel_jit = partial(jit, parallel=True)

# Neurons whose sums stay in registers together, and vectors of each: 16 sums and their operands in the 32 registers of
# AVX-512, 8 in the 16 of others. A tile of gradients keeps the sums of ROWS x COLUMNS connections, a vector each.
TOGETHER = 4
VECTORS = 4 if REGISTER_BYTES == 64 else 2
ROWS, COLUMNS = (4, 4) if REGISTER_BYTES == 64 else (2, 4)
AHEAD = 32  # neurons, a whole number of tiles, for which cells and weights are asked of the memory before

I32, I64 = ir.IntType(32), ir.IntType(64)


class _Emit:
    """The vector instructions that the loops need, on top of an llvmlite builder."""

    def __init__(self, context, builder, dtype):
        self.context, self.builder = context, builder
        single = dtype == types.float32
        self.scalar, self.scalar_bytes = (ir.FloatType(), 4) if single else (ir.DoubleType(), 8)
        self.width = REGISTER_BYTES // self.scalar_bytes
        self.vector = ir.VectorType(self.scalar, self.width)
        self.zero = ir.Constant(self.vector, [0.0] * self.width)
        name = f"llvm.fmuladd.v{self.width}f{32 if single else 64}"
        multiply_add = ir.FunctionType(self.vector, [self.vector] * 3)
        self._fma = cgutils.get_or_insert_function(builder.module, multiply_add, name)

    def data(self, array_type, array):
        return self.context.make_array(array_type)(self.context, self.builder, array).data

    def panel(self, array_type, array, panel, lane):
        """``array[panel, 0, lane]``, and how many lanes a row has."""
        fields = self.context.make_array(array_type)(self.context, self.builder, array)
        _, rows, lanes = cgutils.unpack_tuple(self.builder, fields.shape)
        start = self.builder.add(self.builder.mul(self.builder.mul(panel, rows), lanes), lane)
        return self.builder.gep(fields.data, [start]), lanes

    def number(self, value):
        return ir.Constant(I64, value)

    def index(self, pointer, k):
        return self.builder.sext(self.builder.load(self.builder.gep(pointer, [k])), I64)

    def whole(self, pointer, k):
        return self.builder.load(self.builder.gep(pointer, [k]))

    def splat(self, value):
        undefined = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(
            first, undefined, ir.Constant(ir.VectorType(I32, self.width), [0] * self.width)
        )

    def _at(self, pointer, i):
        place = self.builder.gep(pointer, [self.number(i * self.width)])
        return self.builder.bitcast(place, self.vector.as_pointer())

    def load(self, pointer, i=0):
        return self.builder.load(self._at(pointer, i), align=self.scalar_bytes)

    def store(self, value, pointer, i=0):
        self.builder.store(value, self._at(pointer, i), align=self.scalar_bytes)

    def prefetch(self, pointer):
        """Ask the memory for the line at a pointer, which will be read soon."""
        byte = ir.IntType(8).as_pointer()
        function = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32]), "llvm.prefetch.p0i8"
        )
        self.builder.call(function, [self.builder.bitcast(pointer, byte), *(ir.Constant(I32, i) for i in (0, 3, 1))])

    def later(self, t, ahead, count):
        """Tile ``t + ahead``, or the last of all ``count``."""
        last = self.builder.sub(count, self.number(1))
        later = self.builder.add(t, ahead)
        return self.builder.select(self.builder.icmp_signed("<", later, last), later, last)

    def fma(self, a, b, c):
        return self.builder.call(self._fma, [a, b, c])

    def loop(self, start, stop, step, seeds):
        """Open ``for k in range(start, stop, step)`` that carries vectors: ``(k, carried, close)``."""
        builder, entry = self.builder, self.builder.block
        head, body, end = (builder.append_basic_block(name) for name in ("head", "body", "end"))
        builder.branch(head)
        builder.position_at_end(head)
        k = builder.phi(I64)
        k.add_incoming(start, entry)
        carried = [builder.phi(self.vector) for _ in seeds]
        for phi, seed in zip(carried, seeds, strict=True):
            phi.add_incoming(seed, entry)
        builder.cbranch(builder.icmp_signed("<", k, stop), body, end)
        builder.position_at_end(body)

        def close(values):
            k.add_incoming(builder.add(k, self.number(step)), builder.block)
            for phi, value in zip(carried, values, strict=True):
                phi.add_incoming(value, builder.block)
            builder.branch(head)
            builder.position_at_end(end)
            return carried

        return k, carried, close

    def sums(self, vectors):
        """The sums of the lanes of 1, 2, 4, ... vectors, as lanes of one vector as short as that."""
        members, step = len(vectors), 1
        while len(vectors) > 1:  # each turn halves the number of vectors and adds neighbouring lanes of each
            merged = []
            for x, y in zip(vectors[::2], vectors[1::2], strict=True):
                low = [i for i in range(self.width) if i // step % 2 == 0]
                pairs = [low[i : i + step] for i in range(0, len(low), step)]
                left = [lane for pair in pairs for lane in (*pair, *(self.width + i for i in pair))]
                merged.append(
                    self.builder.fadd(self._pick(x, y, left), self._pick(x, y, [lane + step for lane in left]))
                )
            vectors, step = merged, 2 * step
        (total,), width = vectors, self.width
        while width > members:
            width //= 2
            halves = [self._pick(total, total, range(begin, begin + width)) for begin in (0, width)]
            total = self.builder.fadd(*halves)
        return total

    def part(self, vector, begin, count):
        """Some neighbouring lanes of a vector."""
        return vector if vector.type.count == count else self._pick(vector, vector, range(begin, begin + count))

    def write(self, values, column, cells, add):
        """Write the lanes of a vector to the places in a column that ``cells`` names, or add them.

        At once where the places are neighbours, as they mostly are.
        """
        builder, count = self.builder, values.type.count
        numbers = ir.VectorType(I32, count)
        places = builder.load(builder.bitcast(cells, numbers.as_pointer()), align=4)
        first = builder.extract_element(places, ir.Constant(I32, 0))
        begin = builder.gep(column, [builder.sext(first, I64)])
        none = ir.Constant(values.type, [0.0] * count)
        if count == 1:
            place = builder.bitcast(begin, values.type.as_pointer())
            before = builder.select(add, builder.load(place, align=self.scalar_bytes), none)
            builder.store(builder.fadd(before, values), place, align=self.scalar_bytes)
            return
        filled = builder.insert_element(ir.Constant(numbers, ir.Undefined), first, ir.Constant(I32, 0))
        filled = builder.shuffle_vector(filled, filled, ir.Constant(numbers, [0] * count))
        beside = builder.icmp_signed("==", builder.sub(places, filled), ir.Constant(numbers, list(range(count))))
        flags = ir.IntType(count)
        together = builder.icmp_unsigned("==", builder.bitcast(beside, flags), ir.Constant(flags, -1))
        with builder.if_else(together, likely=True) as (then, otherwise):
            with then:
                place = builder.bitcast(begin, values.type.as_pointer())
                before = builder.select(add, builder.load(place, align=self.scalar_bytes), none)
                builder.store(builder.fadd(before, values), place, align=self.scalar_bytes)
            with otherwise:
                for lane in range(count):
                    number = ir.Constant(I32, lane)
                    place = builder.gep(column, [builder.sext(builder.extract_element(places, number), I64)])
                    before = builder.select(add, builder.load(place), ir.Constant(self.scalar, 0.0))
                    builder.store(builder.fadd(before, builder.extract_element(values, number)), place)

    def _pick(self, a, b, lanes):
        lanes = list(lanes)
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))


def _accumulate_of(count):
    """The sums of ``count`` members of a group over all its tiles, for some lanes of a panel; both directions.

    The weight of the r-th member and the i-th neuron at the far end is in slot
    ``slots[base[t] + offset + i * inner + r * across]``.
    """

    @intrinsic
    def accumulate(
        typing, weight, slots, inner, across, offset, members, first, far, base, t0, t1, panels, panel, lane, out,
        start, stride, rows, seeds, floors, own, add, ahead,
    ):  # fmt: skip
        whole = types.int64
        signature = types.void(
            weight, slots, whole, whole, whole, members, first, far, base, whole, whole, panels, whole, whole, out,
            whole, whole, rows, seeds, floors, whole, types.boolean, whole,
        )  # fmt: skip

        def codegen(context, builder, signature, arguments):
            (
                weight, slots, inner, across, offset, members, first, far, base, t0, t1, panels, panel, lane, out,
                start, stride, rows, seeds, floors, own, add, ahead,
            ) = arguments  # fmt: skip
            kinds = signature.args
            emit = _Emit(context, builder, kinds[11].dtype)
            weight, slots = emit.data(kinds[0], weight), emit.data(kinds[1], slots)
            count_of_tiles = context.make_array(kinds[7])(context, builder, far).nitems
            members, first, far, base = (emit.data(kinds[i], arguments[i]) for i in range(5, 9))
            origin, lanes = emit.panel(kinds[11], panels, panel, lane)
            out, rows = emit.data(kinds[14], out), emit.data(kinds[17], rows)
            first_sums, floors = (
                [emit.splat(emit.whole(emit.data(kinds[i], arguments[i]), builder.add(own, emit.number(r))))
                 for r in range(count)]
                for i in (18, 19)
            )  # fmt: skip
            by_target = builder.icmp_signed(">", inner, across)

            def ahead_of(i):
                """Which of a tile's cells to ask for at the i-th neuron: in the end all that these members need."""
                r = builder.and_(i, emit.number(TOGETHER - 1))
                by_source = builder.add(builder.mul(r, across), builder.sub(i, r))
                return builder.add(offset, builder.select(by_target, builder.mul(i, inner), by_source))

            steps = [builder.mul(across, emit.number(r)) for r in range(count)]
            ends = []
            for r in range(count):
                row = emit.index(rows, builder.add(own, emit.number(r)))
                ends.append(builder.gep(out, [builder.add(start, builder.mul(row, stride))]))
            begun = [
                builder.select(add, emit.load(ends[r], v), first_sums[r]) for r in range(count) for v in range(VECTORS)
            ]  # fmt: skip
            t, outer, close_tiles = emit.loop(t0, t1, 1, begun)
            group = emit.index(far, t)
            begin = emit.whole(first, group)
            behind = emit.whole(first, builder.add(group, emit.number(1)))
            coming, after = (
                builder.gep(slots, [emit.whole(base, emit.later(t, distance, count_of_tiles))])
                for distance in (ahead, builder.add(ahead, ahead))
            )  # fmt: skip
            cells = builder.gep(slots, [builder.add(emit.whole(base, t), offset)])
            i, carried, close = emit.loop(emit.number(0), builder.sub(behind, begin), 1, outer)
            source = builder.gep(origin, [builder.mul(emit.index(members, builder.add(begin, i)), lanes)])
            row = ahead_of(i)
            emit.prefetch(builder.gep(after, [row]))
            emit.prefetch(builder.gep(weight, [emit.index(coming, row)]))
            x = [emit.load(source, v) for v in range(VECTORS)]
            here, sums = builder.gep(cells, [builder.mul(i, inner)]), []
            for r in range(count):
                w = emit.splat(builder.load(builder.gep(weight, [emit.index(here, steps[r])])))
                sums += [emit.fma(w, x[v], carried[r * VECTORS + v]) for v in range(VECTORS)]
            totals = close_tiles(close(sums))
            for r, end in enumerate(ends):
                for v in range(VECTORS):
                    total = totals[r * VECTORS + v]  # comparing this way round, NaN stays NaN
                    below = builder.fcmp_ordered("<", total, floors[r])
                    emit.store(builder.select(below, floors[r], total), end, v)
            return context.get_dummy_value()

        return signature, codegen

    return accumulate


def _accumulate_twin_of(count):
    def accumulate(
        weight, slots, inner, across, offset, members, first, far, base, t0, t1, panels, panel, lane, out, start,
        stride, rows, seeds, floors, own, add, ahead,
    ):  # fmt: skip
        width = VECTORS * REGISTER_BYTES // panels.itemsize
        for r in range(count):
            at = start + rows[own + r] * stride
            if not add:
                out[at : at + width] = seeds[own + r]
            for t in range(t0, t1):
                neurons = members[first[far[t]] : first[far[t] + 1]]
                for i, neuron in enumerate(neurons):
                    w = weight[slots[base[t] + offset + i * inner + r * across]]
                    out[at : at + width] += w * panels[panel, neuron, lane : lane + width]
            out[at : at + width] = np.maximum(out[at : at + width], floors[own + r])

    return accumulate


def _products_of(rows, columns):
    """Gradients of the connections of ``rows`` sources and ``columns`` targets of a tile: dot products over lanes."""

    @intrinsic
    def products(typing, grad, slots, at, side, acts, delta, members, source, target, add):
        whole = types.int64
        signature = types.void(grad, slots, whole, whole, acts, delta, members, whole, whole, types.boolean)

        def codegen(context, builder, signature, arguments):
            grad, slots, at, side, acts, delta, members, source, target, add = arguments
            kinds = signature.args
            emit = _Emit(context, builder, kinds[4].dtype)
            grad, slots, members = emit.data(kinds[0], grad), emit.data(kinds[1], slots), emit.data(kinds[6], members)
            zero = emit.number(0)
            fields = context.make_array(kinds[4])(context, builder, acts)
            panels = cgutils.unpack_tuple(builder, fields.shape)[0]
            ends = [
                [emit.index(members, builder.add(begin, emit.number(i))) for i in range(count)]
                for begin, count in ((source, rows), (target, columns))
            ]
            p, outer, close_panels = emit.loop(zero, panels, 1, [emit.zero] * (rows * columns))
            X, lanes = emit.panel(kinds[4], acts, p, zero)
            D, _ = emit.panel(kinds[5], delta, p, zero)
            xs, ds = (
                [builder.gep(start, [builder.mul(row, lanes)]) for row in places]
                for start, places in zip((X, D), ends, strict=True)
            )
            lane, carried, close = emit.loop(zero, lanes, emit.width, outer)
            d = [emit.load(builder.gep(pointer, [lane])) for pointer in ds]
            dots = []
            for i, pointer in enumerate(xs):
                x = emit.load(builder.gep(pointer, [lane]))
                dots += [emit.fma(x, d[j], carried[i * columns + j]) for j in range(columns)]
            dots = close_panels(close(dots))
            at_once = max(columns, min(rows * columns, emit.width))
            for i in range(0, rows * columns, at_once):
                total = emit.sums(dots[i : i + at_once])
                for j in range(0, at_once, columns):
                    row = emit.number((i + j) // columns)
                    cells = builder.gep(slots, [builder.add(at, builder.mul(side, row))])
                    emit.write(emit.part(total, j, columns), grad, cells, add)
            return context.get_dummy_value()

        return signature, codegen

    return products


def _products_twin_of(rows, columns):
    def products(grad, slots, at, side, acts, delta, members, source, target, add):
        for i in range(rows):
            for j in range(columns):
                x, d = acts[:, members[source + i]], delta[:, members[target + j]]
                cell = slots[at + i * side + j]
                grad[cell] = (grad[cell] if add else 0) + (x * d).sum()

    return products


if numba.config.DISABLE_JIT:
    accumulate_several, accumulate_one = _accumulate_twin_of(TOGETHER), _accumulate_twin_of(1)
    products_several, products_one = _products_twin_of(ROWS, COLUMNS), _products_twin_of(1, 1)
else:
    accumulate_several, accumulate_one = _accumulate_of(TOGETHER), _accumulate_of(1)
    products_several, products_one = _products_of(ROWS, COLUMNS), _products_of(1, 1)


class Listed(NamedTuple):
    """Tiles in one direction, as the loops walk them."""

    slots: np.ndarray  # int32, connection slots, tile after tile
    side: int  # K
    members: np.ndarray  # int32, neuron slots, group after group
    first: np.ndarray  # int64, where each group begins among them, and the end
    begin: np.ndarray  # int64, where the tiles of each group begin, and the end
    far: np.ndarray  # int32, the group at the other end of each tile
    base: np.ndarray  # int64, where each tile begins among the slots


@jit
def _cut(work, lo, hi, share, shares):
    """Where share ``share`` of ``shares`` of the groups ``lo`` to ``hi`` begins, so that all have about equal work."""
    goal = work[lo] + (work[hi] - work[lo]) * share // shares
    return hi if share == shares else lo + np.searchsorted(work[lo:hi], goal)


# -- sums, in both directions ------------------------------------------------------------------------------------------


@jit
def _add_up(tiles, lo, hi, by_target, weight, panels, panel, out, start, stride, rows, seeds, floors, add):
    """The sums of some groups in one panel; a part of each row after the other, so that the parts stay in cache."""
    inner, across = (tiles.side, np.int64(1)) if by_target else (np.int64(1), tiles.side)
    width, lanes = np.int64(VECTORS * REGISTER_BYTES // panels.itemsize), np.int64(panels.shape[2])
    ahead = max(np.int64(1), AHEAD // tiles.side)
    for lane in range(np.int64(0), lanes, width):
        for g in range(lo, hi):
            a, end = tiles.first[g], tiles.first[g + 1]
            t0, t1, r = tiles.begin[g], tiles.begin[g + 1], np.int64(0)
            while rows[a] >= 0 and a + r < end:
                if a + r + TOGETHER <= end:
                    accumulate_several(
                        weight, tiles.slots, inner, across, r * across, tiles.members, tiles.first, tiles.far,
                        tiles.base, t0, t1, panels, panel, lane, out, start + lane, stride, rows, seeds, floors,
                        a + r, add, ahead,
                    )  # fmt: skip
                    r += TOGETHER
                else:
                    accumulate_one(
                        weight, tiles.slots, inner, across, r * across, tiles.members, tiles.first, tiles.far,
                        tiles.base, t0, t1, panels, panel, lane, out, start + lane, stride, rows, seeds, floors,
                        a + r, add, ahead,
                    )  # fmt: skip
                    r += 1


@jit
def _sums_of_share(tiles, lo, hi, weight, acts, together, sums, count, rows, seeds, floors, add):
    panels, lanes = np.int64(acts.shape[0]), np.int64(acts.shape[2])
    for panel in range(panels):
        first = panel // together * together
        start = first * lanes * count + (panel - first) * lanes
        stride = min(together, panels - first) * lanes
        _add_up(tiles, lo, hi, True, weight, acts, panel, sums, start, stride, rows, seeds, floors, add)


@parallel_jit
def _sums_of_shares(shares, tiles, lo, hi, weight, acts, together, sums, count, rows, seeds, floors, add):
    for i in numba.prange(shares):
        share = np.int64(i)
        a, b = _cut(tiles.begin, lo, hi, share, shares), _cut(tiles.begin, lo, hi, share + 1, shares)
        _sums_of_share(tiles, a, b, weight, acts, together, sums, count, rows, seeds, floors, add)


@jit
def forward(
    threads, lo, hi, slots, side, members, first, begin, far, base, weight, acts, together, sums, count, rows, seeds,
    floors, add,
):  # fmt: skip
    """What groups ``lo`` to ``hi`` get from their tiles, written to ``sums`` or added.

    The sums of ``together`` panels stand side by side, ``sums[panels, i, lane]`` of ``count`` neurons; ``rows`` says
    which i each member has, -1 in a group that is passed over. What is not added to begins with the ``seeds`` of the
    members, and no sum ends below their ``floors``: a bias and a ReLU.
    """
    tiles = Listed(slots, side, members, first, begin, far, base)
    if threads == 1:
        _sums_of_share(tiles, lo, hi, weight, acts, together, sums, count, rows, seeds, floors, add)
    else:
        _sums_of_shares(threads, tiles, lo, hi, weight, acts, together, sums, count, rows, seeds, floors, add)


@jit
def _deltas_of_share(tiles, lo, hi, weight, delta, rows, seeds, floors, add):
    lanes = np.int64(delta.shape[2])
    size, out = np.int64(delta.shape[1]) * lanes, delta.reshape(delta.size)
    for panel in range(np.int64(delta.shape[0])):
        _add_up(tiles, lo, hi, False, weight, delta, panel, out, panel * size, lanes, rows, seeds, floors, add)


@parallel_jit
def _deltas_of_shares(shares, tiles, lo, hi, weight, delta, rows, seeds, floors, add):
    for i in numba.prange(shares):
        share = np.int64(i)
        a, b = _cut(tiles.begin, lo, hi, share, shares), _cut(tiles.begin, lo, hi, share + 1, shares)
        _deltas_of_share(tiles, a, b, weight, delta, rows, seeds, floors, add)


@jit
def backward_delta(
    threads, lo, hi, slots, side, members, first, begin, far, base, weight, delta, rows, seeds, floors, add
):  # fmt: skip
    """What groups ``lo`` to ``hi`` get back from their targets' deltas, written to their rows of ``delta`` or added.

    Arguments as of `forward`, with nothing to begin with and no floor.
    """
    tiles = Listed(slots, side, members, first, begin, far, base)
    if threads == 1:
        _deltas_of_share(tiles, lo, hi, weight, delta, rows, seeds, floors, add)
    else:
        _deltas_of_shares(threads, tiles, lo, hi, weight, delta, rows, seeds, floors, add)


# -- gradients ---------------------------------------------------------------------------------------------------------


@jit
def _gradients_of_share(tiles, lo, hi, acts, delta, grad, add):
    for g in range(lo, hi):
        a, a_end = tiles.first[g], tiles.first[g + 1]
        whole_rows = a_end - (a_end - a) % ROWS
        for t in range(tiles.begin[g], tiles.begin[g + 1]):
            h = np.int64(tiles.far[t])
            b, b_end = tiles.first[h], tiles.first[h + 1]
            whole_columns = b_end - (b_end - b) % COLUMNS
            for i in range(a, whole_rows, ROWS):
                for j in range(b, whole_columns, COLUMNS):
                    at = tiles.base[t] + (i - a) * tiles.side + (j - b)
                    products_several(grad, tiles.slots, at, tiles.side, acts, delta, tiles.members, i, j, add)
            for i in range(a, a_end):
                for j in range(whole_columns if i < whole_rows else b, b_end):
                    at = tiles.base[t] + (i - a) * tiles.side + (j - b)
                    products_one(grad, tiles.slots, at, tiles.side, acts, delta, tiles.members, i, j, add)


@parallel_jit
def _gradients_of_shares(shares, tiles, lo, hi, acts, delta, grad, add):
    for i in numba.prange(shares):
        share = np.int64(i)
        a, b = _cut(tiles.begin, lo, hi, share, shares), _cut(tiles.begin, lo, hi, share + 1, shares)
        _gradients_of_share(tiles, a, b, acts, delta, grad, add)


@jit
def backward_grad(threads, lo, hi, slots, side, members, first, begin, far, base, acts, delta, grad, add):
    """The gradients of all connections in the tiles of groups ``lo`` to ``hi``, written or added."""
    tiles = Listed(slots, side, members, first, begin, far, base)
    if threads == 1:
        _gradients_of_share(tiles, lo, hi, acts, delta, grad, add)
    else:
        _gradients_of_shares(threads, tiles, lo, hi, acts, delta, grad, add)


# -- looking for tiles -------------------------------------------------------------------------------------------------


@jit
def find(
    groups, members, first, group, is_target, least, start, length, other, source_cluster, target_cluster, block_at,
    sources, targets,
):  # fmt: skip
    """Fill ``sources`` and ``targets`` with the tiles that lead from some groups: all pairs of two groups connected.

    Two groups with fewer than ``least`` pairs are no tile, nor is what a dense block runs. Returns the number of tiles,
    of connections in them, and of all connections from these groups that no dense block runs.
    """
    count, inside, seen = 0, 0, 0
    pairs, touched = np.zeros(first.shape[0], np.int64), np.empty(first.shape[0], np.int64)
    for g in groups:
        n_touched = 0
        for k in range(first[g], first[g + 1]):
            r = members[k]
            cluster = source_cluster[r]
            for e in range(start[r], start[r] + length[r]):
                target = other[e]
                if cluster >= 0 and target_cluster[target] >= 0 and block_at[cluster, target_cluster[target]] >= 0:
                    continue
                seen += 1
                h = group[target]
                if h >= 0 and is_target[h]:
                    if pairs[h] == 0:
                        touched[n_touched] = h
                        n_touched += 1
                    pairs[h] += 1
        size = first[g + 1] - first[g]
        for i in range(n_touched):
            h = touched[i]
            if pairs[h] == size * (first[h + 1] - first[h]) and pairs[h] >= least:
                sources[count] = g
                targets[count] = h
                count += 1
                inside += pairs[h]
            pairs[h] = 0
    return count, inside, seen


@jit
def fill(groups, begin, far, base, side, members, first, group, start, length, other, slot, slots):
    """Write the connection slots of all tiles that lead from some groups, and the end of each that is not whole.

    Returns how many tiles are not whole any more; their ``far`` becomes -1.
    """
    broken, n_groups = 0, first.shape[0] - 1
    tile_of, position = np.full(n_groups, -1, np.int64), np.empty(group.shape[0], np.int32)
    for each in range(n_groups):
        for k in range(first[each], first[each + 1]):
            position[members[k]] = k - first[each]
    for g in groups:
        for t in range(begin[g], begin[g + 1]):
            tile_of[far[t]] = t
        found = np.zeros(begin[g + 1] - begin[g], np.int64)
        for k in range(first[g], first[g + 1]):
            r = members[k]
            for e in range(start[r], start[r] + length[r]):
                of = group[other[e]]
                if of >= 0 and tile_of[of] >= 0:
                    tile = tile_of[of]
                    slots[base[tile] + (k - first[g]) * side + position[other[e]]] = slot[e]
                    found[tile - begin[g]] += 1
        for t in range(begin[g], begin[g + 1]):
            h = np.int64(far[t])
            tile_of[h] = -1
            if found[t - begin[g]] != (first[g + 1] - first[g]) * (first[h + 1] - first[h]):
                far[t] = -1
                broken += 1
    return broken
