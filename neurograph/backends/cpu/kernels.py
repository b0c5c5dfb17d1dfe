"""The compiled passes over a plan: panels of samples, accumulators in vector registers, a fused backward.

Activations are stored as ``acts[panel, neuron slot, lane]`` with `lanes` samples a panel, so that a neuron's row is a
contiguous run of vector registers and a panel stays in cache.

- Time is unrolled: in a network with delays step t has rows of its own, ``acts[panel, t * n + neuron slot, lane]``, and
  a connection's far end is given as a displacement, ``source - delay * n``, from the first row of the step. So the row
  loops are the same with and without time. The deltas slide through a window of a few steps.
- Forward walks the connections by target: the sums of one target stay in registers for the whole row; each connection
  costs one broadcast of its weight and, per register, one load and one multiply-add.
- Backward walks them by source and is fused: one load of the target's delta feeds two multiply-adds, one for the
  gradient of the source's output and one for the gradient of the weight. A source belongs to one thread, so there are
  no atomics and no scatter, and the results do not depend on the number of threads.

Numba's vectoriser does not keep accumulators in registers over a loop, so the two row loops are written with LLVM
vector types. Each has a scalar twin, which runs where numba's compiler is switched off. Everything compiled lives in
this one file, options included, because numba's disk cache does not notice changes elsewhere.
"""

import math
from functools import partial
from sys import byteorder
from typing import NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

from ...functions.activations import ACTIVATIONS, EXP_LIMIT, LELU_SLOPE, LOG_FLOOR, SELU_ALPHA, SELU_SCALE
from ...functions.aggregations import AGGREGATIONS
from ...jit import njit
from ...packed.formats import BF16, FORMATS, FP16, HALF_FACTOR, INT8
from ...packed.layout import BASE, GAPS, HI, LO, SHIFT, WIDTH

# Sums may be reassociated; NaN and infinity keep their meaning.
jit = partial(njit, nogil=True, error_model="numpy", fastmath={"nsz", "arcp", "contract", "afn", "reassoc"})
parallel_jit = partial(jit, parallel=True)


def _register_bytes() -> int:
    # What numba compiles for: the host, or what NUMBA_CPU_FEATURES, NUMBA_CPU_NAME and NUMBA_ENABLE_AVX say.
    given = numba.config.CPU_FEATURES
    features = (get_host_cpu_features() if given is None else given).split(",")
    if "+avx512f" in features:
        return 64
    return 32 if "+avx2" in features else 16


REGISTER_BYTES = _register_bytes()
# Registers in a row of a panel: one for a few samples, 128 bytes for a small batch, 256 bytes for a large one. Eight
# accumulators leave room for the operands in the 16 registers of AVX2. The 32 of AVX-512 are enough for 512 bytes: then
# a connection costs its own instructions for twice as many samples, where the second cache holds such a panel.
NARROW = 1
MIDDLE = min(4, 128 // REGISTER_BYTES)
WIDE = min(8, 256 // REGISTER_BYTES)
WIDEST = 8 if REGISTER_BYTES == 64 else WIDE
WIDEST_PANEL = 2**21  # bytes
# Sums that are in flight together hide how long a multiply-add takes. Registers of 64 bytes take two turns each.
ACCUMULATORS = 4 if REGISTER_BYTES == 64 else 8
# Whether a source's output, the sums of its delta and the operands of four connections have registers (AVX2 has 16).
RESIDENT = REGISTER_BYTES == 64
FEW = 2, 4, 8  # lanes of rows that are shorter than a register
CACHE_LINE = 64  # bytes
AHEAD = 24  # connections for which the rows are asked of the memory before they are needed
# Bytes of a panel from which asking pays: where the second cache holds what a generation reads, asking only costs time.
FAR = 2**22
COLUMNS = 1024  # columns of X or Y that a thread copies at a time
SERIAL_COPY = 250_000  # elements below which one thread copies them all
READS_PER_LOOK = 16  # connections a row that run between two looks for samples that are zero everywhere
CHUNK = 4096  # connections of a long row that one thread sums
LONG = 2 * CHUNK  # connections from which a row is cut into chunks, so that no thread runs it alone
HOLE_8, HOLE_16 = FORMATS["int8"].hole, FORMATS["bf16"].hole  # of packed weights
SERIAL_WORK = 20_000  # connections times panels, about 0.1 ms, below which a parallel region is not worth its risk

SUM, MEAN, PRODUCT, MAX, MIN, MAXABS, MEDIAN = AGGREGATIONS.values()
(
    IDENTITY, RELU, LEAKY_RELU, CLIPPED_RELU, ELU, GELU, SILU, SIGMOID, TANH, SOFTPLUS, SIN, GAUSS, STEP, ABS, SQUARE,
    CLAMPED, HAT, SELU, LELU, INV, LOG, EXP, CUBE,
) = (activation.code for activation in ACTIVATIONS.values())  # fmt: skip
# Where the clipping of `exp` shows in its output, less a margin for the last bits of two implementations of exp.
EXP_HIGH, EXP_LOW = math.exp(EXP_LIMIT) * (1 - 1e-6), math.exp(-EXP_LIMIT) * (1 + 1e-6)


def lanes_of(dtype: np.dtype, batch: int, rows: int) -> int:
    """Samples a panel of so many rows: as many as fit into the smallest row that takes the batch, or into a wide one.

    The widest are for batches that they divide as evenly, in panels that the second cache holds.
    """
    narrow, middle, wide, widest = (
        registers * REGISTER_BYTES // np.dtype(dtype).itemsize for registers in (NARROW, MIDDLE, WIDE, WIDEST)
    )
    if batch > wide and -batch % widest == -batch % wide and rows * WIDEST * REGISTER_BYTES <= WIDEST_PANEL:
        return widest
    return next((n for n in (narrow, middle) if batch <= n), wide)


def few_lanes_of(dtype: np.dtype, batch: int) -> int:
    """Samples a panel whose rows are shorter than a register, for `forward_few`; 0 if the batch is too large for it."""
    return next((n for n in FEW if batch <= n and n * np.dtype(dtype).itemsize < REGISTER_BYTES), 0)


# -- row loops in vector registers -------------------------------------------------------------------------------------

I32, I64 = ir.IntType(32), ir.IntType(64)


class _Emit:
    """The few vector instructions that the row loops need, on top of an llvmlite builder."""

    def __init__(self, context, builder, dtype, width=None):
        self.context, self.builder = context, builder
        self.scalar = ir.FloatType() if dtype == types.float32 else ir.DoubleType()
        self.width = width or REGISTER_BYTES // (4 if dtype == types.float32 else 8)
        self.vector = ir.VectorType(self.scalar, self.width)
        suffix = f"v{self.width}f{32 if dtype == types.float32 else 64}"
        # llvmlite's declare_intrinsic does not name vector types, so the intrinsics are declared by hand.
        declare = partial(cgutils.get_or_insert_function, builder.module)
        self._fma = declare(ir.FunctionType(self.vector, [self.vector] * 3), f"llvm.fmuladd.{suffix}")

    def row(self, array_type, array, panel, row, registers):
        """Pointer to ``array[panel, row, 0]``."""
        fields = self.context.make_array(array_type)(self.context, self.builder, array)
        rows = cgutils.unpack_tuple(self.builder, fields.shape)[1]
        index = self.builder.add(self.builder.mul(panel, rows), row)
        lanes = ir.Constant(I64, registers * self.width)
        return self.builder.gep(fields.data, [self.builder.mul(index, lanes)])

    def at(self, array_type, array, panel, row):
        """Pointer to ``array[panel, row, 0]`` for any number of lanes."""
        fields = self.context.make_array(array_type)(self.context, self.builder, array)
        _, rows, lanes = cgutils.unpack_tuple(self.builder, fields.shape)
        index = self.builder.add(self.builder.mul(panel, rows), row)
        return self.builder.gep(fields.data, [self.builder.mul(index, lanes)])

    def lanes(self, array_type, array):
        fields = self.context.make_array(array_type)(self.context, self.builder, array)
        return cgutils.unpack_tuple(self.builder, fields.shape)[2]

    def size(self, array_type, array):
        return self.context.make_array(array_type)(self.context, self.builder, array).nitems

    def data(self, array_type, array):
        return self.context.make_array(array_type)(self.context, self.builder, array).data

    def splat(self, value):
        undefined = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(
            first, undefined, ir.Constant(ir.VectorType(I32, self.width), [0] * self.width)
        )

    def constant(self, value):
        return ir.Constant(self.scalar, value)

    @property
    def zero(self):
        return ir.Constant(self.vector, [0.0] * self.width)

    def _at(self, pointer, i):
        step = ir.Constant(I64, i * self.width)
        return self.builder.bitcast(self.builder.gep(pointer, [step]), self.vector.as_pointer())

    def load(self, pointer, i):
        return self.builder.load(self._at(pointer, i), align=self.scalar_bytes)

    def store(self, value, pointer, i):
        self.builder.store(value, self._at(pointer, i), align=self.scalar_bytes)

    def prefetch(self, pointer):
        """Ask the memory for the line at a pointer, which will be read soon."""
        byte = ir.IntType(8).as_pointer()
        function = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32]), "llvm.prefetch.p0i8"
        )
        self.builder.call(function, [self.builder.bitcast(pointer, byte), *(ir.Constant(I32, i) for i in (0, 3, 1))])

    def later(self, k, size):
        """The connection `AHEAD` of connection k, or k itself near the end of all ``size``."""
        later = self.builder.add(k, ir.Constant(I64, AHEAD))
        return self.builder.select(self.builder.icmp_signed("<", later, size), later, k)

    def prefetch_row(self, pointer, size):
        """Ask for the lines of a row of so many bytes."""
        for line in range(0, size, CACHE_LINE):
            self.prefetch(self.builder.gep(pointer, [ir.Constant(I64, line // self.scalar_bytes)]))

    def either(self, condition, make):
        """Run ``make(True)`` or ``make(False)``; each returns the same number of vectors."""
        builder, ends = self.builder, []
        with builder.if_else(condition) as branches:
            for branch, truth in zip(branches, (True, False), strict=True):
                with branch:
                    ends.append((make(truth), builder.block))
        merged = []
        for vectors in zip(*(values for values, _ in ends), strict=True):
            phi = builder.phi(self.vector)
            for vector, (_, block) in zip(vectors, ends, strict=True):
                phi.add_incoming(vector, block)
            merged.append(phi)
        return merged

    def far(self, array_type, array):
        """Whether the rows of one panel are too many for the second cache."""
        fields = self.context.make_array(array_type)(self.context, self.builder, array)
        _, rows, lanes = cgutils.unpack_tuple(self.builder, fields.shape)
        return self.builder.icmp_signed(">", self.builder.mul(rows, lanes), ir.Constant(I64, FAR // self.scalar_bytes))

    def load_at(self, pointer, lane):
        return self.load(self.builder.gep(pointer, [lane]), 0)

    def store_at(self, value, pointer, lane):
        self.store(value, self.builder.gep(pointer, [lane]), 0)

    def write_sums(self, sums, column, cells, first):
        """Add the lanes of ``sums`` to single cells of a column, or write them where they are the ``first``.

        One vector's worth at once where the cells are neighbours, as they mostly are.
        """
        builder = self.builder
        if len(cells) == 1:
            self._write_each(sums, column, cells, first)
            return
        together = builder.icmp_signed("==", builder.sub(cells[-1], cells[0]), ir.Constant(I64, len(cells) - 1))
        for j in range(1, len(cells) - 1):
            beside = builder.icmp_signed("==", builder.sub(cells[j], cells[0]), ir.Constant(I64, j))
            together = builder.and_(together, beside)
        with builder.if_else(together) as (then, otherwise):
            with then:
                cell = builder.bitcast(builder.gep(column, [cells[0]]), sums.type.as_pointer())
                before = builder.load(cell, align=self.scalar_bytes)
                before = builder.select(first, ir.Constant(sums.type, [0.0] * len(cells)), before)
                builder.store(builder.fadd(before, sums), cell, align=self.scalar_bytes)
            with otherwise:
                self._write_each(sums, column, cells, first)

    def _write_each(self, sums, column, cells, first):
        for lane, place in enumerate(cells):
            cell = self.builder.gep(column, [place])
            before = self.builder.select(first, self.constant(0.0), self.builder.load(cell))
            value = self.builder.extract_element(sums, ir.Constant(I32, lane))
            self.builder.store(self.builder.fadd(before, value), cell)

    @property
    def scalar_bytes(self):
        return 4 if isinstance(self.scalar, ir.FloatType) else 8

    def fma(self, a, b, c):
        return self.builder.call(self._fma, [a, b, c])

    def index(self, pointer, k):
        return self.builder.sext(self.builder.load(self.builder.gep(pointer, [k])), I64)

    def loop(self, start, stop, step, seeds):
        """Open ``for k in range(start, stop - step + 1, step)`` that carries vectors.

        Returns ``(k, carried, close)``; what ``close`` returns, the first k not taken and the last vectors, are
        for use behind the loop.
        """
        builder, entry = self.builder, self.builder.block
        head, body, end = (builder.append_basic_block(name) for name in ("head", "body", "end"))
        builder.branch(head)
        builder.position_at_end(head)
        k = builder.phi(I64)
        k.add_incoming(start, entry)
        carried = [builder.phi(self.vector) for _ in seeds]
        for phi, seed in zip(carried, seeds, strict=True):
            phi.add_incoming(seed, entry)
        following = builder.add(k, ir.Constant(I64, step))
        builder.cbranch(builder.icmp_signed("<=", following, stop), body, end)
        builder.position_at_end(body)

        def close(values=()):
            k.add_incoming(following, builder.block)
            for phi, value in zip(carried, values, strict=True):
                phi.add_incoming(value, builder.block)
            builder.branch(head)
            builder.position_at_end(end)
            return k, carried

        return k, carried, close

    def transposed(self, vectors):
        """As many vectors as each has lanes, rows and columns exchanged: lanes change places, then pairs of lanes."""
        vectors, step = list(vectors), 1
        while step < self.width:
            lanes = range(self.width)
            left = [self.width + i - step if i & step else i for i in lanes]
            right = [self.width + i if i & step else i + step for i in lanes]
            for i in lanes:
                if not i & step:
                    a, b = vectors[i], vectors[i + step]
                    vectors[i], vectors[i + step] = self._pick(a, b, left), self._pick(a, b, right)
            step *= 2
        return vectors

    def sums(self, vectors):
        """The sums of the lanes of 1, 2 or 4 vectors, as lanes of one short vector."""
        builder, members, step = self.builder, len(vectors), 1
        while len(vectors) > 1:  # each turn halves the number of vectors and adds neighbouring lanes of each
            merged = []
            for x, y in zip(vectors[::2], vectors[1::2], strict=True):
                low = [i for i in range(self.width) if i // step % 2 == 0]
                pairs = [low[i : i + step] for i in range(0, len(low), step)]
                left = [lane for pair in pairs for lane in (*pair, *(self.width + i for i in pair))]
                right = [lane + step for lane in left]
                merged.append(builder.fadd(self._pick(x, y, left), self._pick(x, y, right)))
            vectors, step = merged, 2 * step
        (total,), width = vectors, self.width
        while width > members:
            width //= 2
            total = builder.fadd(
                self._pick(total, total, range(width)), self._pick(total, total, range(width, 2 * width))
            )
        return total

    def _pick(self, a, b, lanes):
        lanes = list(lanes)
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))


def _gather_of(registers):
    @intrinsic
    def gather(typing, weight, other, slot, k0, k1, acts, panel, base, row, seed, relu):
        places = types.int64, types.int64, types.int64
        signature = types.void(weight, other, slot, types.int64, types.int64, acts, *places, acts.dtype, types.boolean)

        def codegen(context, builder, signature, arguments):
            weight, other, slot, k0, k1, acts, panel, base, row, seed, relu = arguments
            t_weight, t_other, t_slot, _, _, t_acts, *_ = signature.args
            emit = _Emit(context, builder, t_acts.dtype)
            by_slot = builder.icmp_signed("!=", emit.size(t_slot, slot), ir.Constant(I64, 0))
            size = emit.size(t_other, other)
            weight, other, slot = emit.data(t_weight, weight), emit.data(t_other, other), emit.data(t_slot, slot)
            base = emit.row(t_acts, acts, panel, base, registers)
            out = emit.row(t_acts, acts, panel, row, registers)
            lanes = ir.Constant(I64, registers * emit.width)
            # A multiply-add waits for the one before it in its register, so a narrow row uses several for each sum.
            chains = max(1, ACCUMULATORS // registers)
            start = [emit.splat(seed)] * registers + [emit.zero] * (registers * (chains - 1))

            def add(place_of, far):
                k, values = k0, start
                for step in sorted({chains, 1}, reverse=True):
                    k, sums, close = emit.loop(k, k1, step, values)
                    sums = list(sums)
                    for chain in range(step):
                        here = builder.add(k, ir.Constant(I64, chain))
                        if far:
                            later = emit.later(here, size)
                            ahead = builder.gep(base, [builder.mul(emit.index(other, later), lanes)])
                            emit.prefetch_row(ahead, registers * REGISTER_BYTES)
                            emit.prefetch(builder.gep(weight, [place_of(later)]))
                        w = emit.splat(builder.load(builder.gep(weight, [place_of(here)])))
                        source = builder.gep(base, [builder.mul(emit.index(other, here), lanes)])
                        for i in range(registers):
                            j = chain * registers + i
                            sums[j] = emit.fma(w, emit.load(source, i), sums[j])
                    k, values = close(sums)
                return values

            far = emit.far(t_acts, acts)
            values = emit.either(
                by_slot,
                lambda by_slot: emit.either(
                    far, lambda far: add((lambda k: emit.index(slot, k)) if by_slot else (lambda k: k), far)
                ),
            )
            while len(values) > registers:
                half = len(values) // 2
                values = [builder.fadd(a, b) for a, b in zip(values[:half], values[half:], strict=True)]
            floor = emit.splat(builder.select(relu, emit.constant(0.0), emit.constant(-math.inf)))
            for i in range(registers):  # comparing this way round, NaN stays NaN
                below = builder.fcmp_ordered("<", values[i], floor)
                emit.store(builder.select(below, floor, values[i]), out, i)
            return context.get_dummy_value()

        return signature, codegen

    return gather


def _spread_of(by_source, registers=0, width=None):
    """The fused backward row; without ``by_source`` only the weights' gradients, as connections from inputs need.

    Four connections run together: their dot products are added up across the lanes by one transposition, where one at a
    time the horizontal sum takes as long as the multiply-adds. The source's output and the sums of its delta stay in
    ``registers`` where there are enough; otherwise they wait in their rows, which stay in the first cache, and the rows
    may have any number of lanes. A ``width`` makes a register shorter, for a few lanes. At last the delta is zeroed
    where a ReLU shut off the output; its sum is returned.
    """

    @intrinsic
    def spread(typing, weight, grad, other, slot, k0, k1, acts, delta, panel, row, base, out, first, begun, relu):
        ends, truth = (types.int64,) * 2, (types.boolean,) * 3
        signature = acts.dtype(weight, grad, other, slot, *ends, acts, delta, *ends, *ends, *truth)

        def codegen(context, builder, signature, arguments):
            weight, grad, other, slot, k0, k1, acts, delta, panel, row, base, out, first, begun, relu = arguments
            t_weight, t_grad, t_other, t_slot, _, _, t_acts, t_delta, *_ = signature.args
            emit = _Emit(context, builder, t_acts.dtype, width)
            lanes = ir.Constant(I64, registers * emit.width) if registers else emit.lanes(t_acts, acts)
            weight, grad = emit.data(t_weight, weight), emit.data(t_grad, grad)
            size = emit.size(t_other, other)
            other, slot = emit.data(t_other, other), emit.data(t_slot, slot)
            if registers:
                source = emit.row(t_acts, acts, panel, row, registers)
                base, out = (emit.row(t_delta, delta, panel, r, registers) for r in (base, out))
            else:
                source = emit.at(t_acts, acts, panel, row)
                base, out = emit.at(t_delta, delta, panel, base), emit.at(t_delta, delta, panel, out)
            zero = ir.Constant(I64, 0)

            def each(seeds, do):
                """Do something with every register of the rows, one after the other, that carries vectors."""
                if registers:
                    for i in range(registers):
                        seeds = do(ir.Constant(I64, i * emit.width), i, seeds)
                    return seeds
                at, carried, close = emit.loop(zero, lanes, emit.width, seeds)
                return close(do(at, 0, list(carried)))[1]

            own = [emit.load(source, i) for i in range(registers)]
            start = []
            if by_source and registers:
                start = [builder.select(begun, emit.load(out, i), emit.zero) for i in range(registers)]
            elif by_source:
                with builder.if_then(builder.not_(begun)):
                    each([], lambda at, i, _: emit.store_at(emit.zero, out, at) or [])

            def add(far):
                k, total = k0, start
                for group in sorted({min(4, emit.width), 2, 1}, reverse=True):
                    k, carried, close = emit.loop(k, k1, group, total)
                    total = list(carried)
                    here = [builder.add(k, ir.Constant(I64, j)) for j in range(group)]
                    for j in here if far else ():
                        ahead = builder.gep(base, [builder.mul(emit.index(other, emit.later(j, size)), lanes)])
                        emit.prefetch_row(ahead, max(registers * REGISTER_BYTES, CACHE_LINE))
                    cells = [emit.index(slot, j) for j in here]
                    targets = [builder.gep(base, [builder.mul(emit.index(other, j), lanes)]) for j in here]
                    weights = [emit.splat(builder.load(builder.gep(weight, [c]))) for c in cells] if by_source else []

                    def multiply(at, i, dots, targets=targets, weights=weights, total=total):
                        y = own[i] if registers else emit.load_at(source, at)
                        if by_source:
                            share = total[i] if registers else emit.load_at(out, at)
                        new = []
                        for j, target in enumerate(targets):
                            d = emit.load_at(target, at)
                            new.append(emit.fma(y, d, dots[j]))
                            if by_source:
                                share = emit.fma(weights[j], d, share)
                        if by_source and registers:
                            total[i] = share
                        elif by_source:
                            emit.store_at(share, out, at)
                        return new

                    emit.write_sums(emit.sums(list(each([emit.zero] * group, multiply))), grad, cells, first)
                    k, total = close(total)
                return total

            total = emit.either(emit.far(t_acts, acts), add)
            if not by_source:
                return emit.constant(0.0)

            def finish(at, i, sums):
                d = total[i] if registers else emit.load_at(out, at)
                y = own[i] if registers else emit.load_at(source, at)
                live = builder.fcmp_ordered(">", y, emit.zero)
                d = builder.select(relu, builder.select(live, d, emit.zero), d)
                emit.store_at(d, out, at)
                return [builder.fadd(sums[0], d)]

            return builder.extract_element(emit.sums(each([emit.zero], finish)), ir.Constant(I32, 0))

        return signature, codegen

    return spread


def _turn_of(inward):
    """Turn as many samples and columns as a register has lanes, from an array to the rows of a panel or back."""

    @intrinsic
    def turn(typing, array, sample, step, column, panels, panel, first, slots, lane):
        places = types.int64, types.int64, types.int64
        signature = types.void(array, *places, panels, types.int64, types.int64, slots, types.int64)

        def codegen(context, builder, signature, arguments):
            array, sample, step, column, panels, panel, first, slots, lane = arguments
            t_array, _, _, _, t_panels, _, _, t_slots, _ = signature.args
            emit = _Emit(context, builder, t_panels.dtype)
            slots = emit.data(t_slots, slots)
            number = [ir.Constant(I64, i) for i in range(emit.width)]
            # (sample, step) of the array and (panel, row) of the panels are the first two axes of each.
            samples = [builder.gep(emit.at(t_array, array, builder.add(sample, i), step), [column]) for i in number]
            rows = [builder.add(first, emit.index(slots, builder.add(column, i))) for i in number]
            rows = [builder.gep(emit.at(t_panels, panels, panel, row), [lane]) for row in rows]
            read, written = (samples, rows) if inward else (rows, samples)
            for vector, pointer in zip(emit.transposed([emit.load(p, 0) for p in read]), written, strict=True):
                emit.store(vector, pointer, 0)
            return context.get_dummy_value()

        return signature, codegen

    return turn


def _turn_twin(inward):
    def turn(array, sample, step, column, panels, panel, first, slots, lane):
        width = REGISTER_BYTES // panels.itemsize
        rows, lanes = first + slots[column : column + width], slice(lane, lane + width)
        samples, columns = slice(sample, sample + width), slice(column, column + width)
        if inward:
            panels[panel, rows, lanes] = array[samples, step, columns].T
        else:
            array[samples, step, columns] = panels[panel, rows, lanes].T

    return turn


def _push_few_of(lanes):
    """One source's share of the sums of its targets, for rows that are shorter than a register."""

    @intrinsic
    def push(typing, weight, other, slot, k0, k1, acts, row, sums, share):
        ends = types.int64, types.int64
        signature = types.void(weight, other, slot, *ends, acts, types.int64, sums, types.int64)

        def codegen(context, builder, signature, arguments):
            weight, other, slot, k0, k1, acts, row, sums, share = arguments
            t_weight, t_other, t_slot, _, _, t_acts, _, t_sums, _ = signature.args
            emit = _Emit(context, builder, t_acts.dtype, lanes)
            weight, other, slot = emit.data(t_weight, weight), emit.data(t_other, other), emit.data(t_slot, slot)
            size = ir.Constant(I64, lanes)
            source = emit.load(builder.gep(emit.data(t_acts, acts), [builder.mul(row, size)]), 0)
            base = emit.at(t_sums, sums, share, ir.Constant(I64, 0))
            length = emit.size(t_other, arguments[1])
            k, _, close = emit.loop(k0, k1, 1, [])
            emit.prefetch(builder.gep(base, [builder.mul(emit.index(other, emit.later(k, length)), size)]))
            target = builder.gep(base, [builder.mul(emit.index(other, k), size)])
            w = emit.splat(builder.load(builder.gep(weight, [emit.index(slot, k)])))
            emit.store(emit.fma(w, source, emit.load(target, 0)), target, 0)
            close()
            return context.get_dummy_value()

        return signature, codegen

    return push


def _push_few_twin(weight, other, slot, k0, k1, acts, row, sums, share):
    for k in range(k0, k1):
        sums[share, other[k]] += weight[slot[k]] * acts[0, row]


def _gather_twin(weight, other, slot, k0, k1, acts, panel, base, row, seed, relu):
    acts[panel, row] = seed
    for k in range(k0, k1):
        acts[panel, row] += weight[slot[k] if len(slot) else k] * acts[panel, base + other[k]]
    if relu:
        acts[panel, row] = np.maximum(acts[panel, row], 0)


def _spread_twin(weight, grad, other, slot, k0, k1, acts, delta, panel, row, base, out, first, begun, relu):
    _grad_twin(weight, grad, other, slot, k0, k1, acts, delta, panel, row, base, out, first, begun, relu)
    if not begun:
        delta[panel, out] = 0
    for k in range(k0, k1):
        delta[panel, out] += weight[slot[k]] * delta[panel, base + other[k]]
    if relu:
        delta[panel, out][~(acts[panel, row] > 0)] = 0
    return delta[panel, out].sum()


def _grad_twin(weight, grad, other, slot, k0, k1, acts, delta, panel, row, base, out, first, begun, relu):
    for k in range(k0, k1):
        before = 0 if first else grad[slot[k]]
        grad[slot[k]] = before + np.dot(acts[panel, row], delta[panel, base + other[k]])


if numba.config.DISABLE_JIT:
    gather_narrow = gather_middle = gather_wide = gather_widest = _gather_twin
    spread_narrow = spread_middle = spread_wide = spread_widest = _spread_twin
    grad_narrow = grad_middle = grad_wide = grad_widest = _grad_twin
    push_2 = push_4 = push_8 = _push_few_twin
    spread_2 = spread_4 = spread_8 = _spread_twin
    grad_2 = grad_4 = grad_8 = _grad_twin
    turn_inward, turn_outward = _turn_twin(True), _turn_twin(False)
else:
    turn_inward, turn_outward = _turn_of(True), _turn_of(False)
    sizes = (NARROW, MIDDLE, WIDE, WIDEST)
    gather_narrow, gather_middle, gather_wide, gather_widest = (_gather_of(n) for n in sizes)
    sizes = sizes if RESIDENT else (0, 0, 0, 0)
    spread_of, grad_of = ({n: _spread_of(by_source, n) for n in set(sizes)} for by_source in (True, False))
    spread_narrow, spread_middle, spread_wide, spread_widest = (spread_of[n] for n in sizes)
    grad_narrow, grad_middle, grad_wide, grad_widest = (grad_of[n] for n in sizes)
    push_2, push_4, push_8 = (_push_few_of(n) for n in FEW)
    spread_2, spread_4, spread_8 = (_spread_of(True, 1, n) for n in FEW)
    grad_2, grad_4, grad_8 = (_spread_of(False, 1, n) for n in FEW)


@jit
def gather(weight, other, slot, k0, k1, acts, panel, base, row, seed, relu):
    """``acts[panel, row] = seed + sum of weight * acts[panel, base + other]`` over one target's row, and its ReLU.

    The weights are in row order where ``slot`` is empty.
    """
    registers = acts.shape[2] * acts.itemsize // REGISTER_BYTES
    if WIDEST > WIDE and registers == WIDEST:
        gather_widest(weight, other, slot, k0, k1, acts, panel, base, row, seed, relu)
    elif registers == WIDE:
        gather_wide(weight, other, slot, k0, k1, acts, panel, base, row, seed, relu)
    elif registers == MIDDLE:
        gather_middle(weight, other, slot, k0, k1, acts, panel, base, row, seed, relu)
    else:
        gather_narrow(weight, other, slot, k0, k1, acts, panel, base, row, seed, relu)


@jit
def spread(weight, grad, other, slot, k0, k1, acts, delta, panel, row, base, out, first, begun, relu):
    """``delta[panel, out] = sum of weight * delta[panel, base + other]`` over one source's row, and its ReLU's slope.

    The weights' gradients, the dot products with the source's output ``acts[panel, row]``, are written where they are
    the ``first`` and added otherwise. The sum goes on from what is there if it has ``begun``. Returns the sum of the
    delta over the lanes.
    """
    lanes = acts.shape[2]
    registers = lanes * acts.itemsize // REGISTER_BYTES
    if RESIDENT and registers == WIDEST:
        return spread_widest(weight, grad, other, slot, k0, k1, acts, delta, panel, row, base, out, first, begun, relu)
    elif RESIDENT and registers == WIDE:
        return spread_wide(weight, grad, other, slot, k0, k1, acts, delta, panel, row, base, out, first, begun, relu)
    elif RESIDENT and registers == MIDDLE:
        return spread_middle(weight, grad, other, slot, k0, k1, acts, delta, panel, row, base, out, first, begun, relu)
    elif registers > 0:
        return spread_narrow(weight, grad, other, slot, k0, k1, acts, delta, panel, row, base, out, first, begun, relu)
    elif lanes == 2:
        return spread_2(weight, grad, other, slot, k0, k1, acts, delta, panel, row, base, out, first, begun, relu)
    elif lanes == 4:
        return spread_4(weight, grad, other, slot, k0, k1, acts, delta, panel, row, base, out, first, begun, relu)
    return spread_8(weight, grad, other, slot, k0, k1, acts, delta, panel, row, base, out, first, begun, relu)


@jit
def grad_only(weight, grad, other, slot, k0, k1, acts, delta, panel, row, base, first):
    """The gradients of the weights of one source whose own delta nobody needs."""
    lanes = acts.shape[2]
    registers = lanes * acts.itemsize // REGISTER_BYTES
    if RESIDENT and registers == WIDEST:
        grad_widest(weight, grad, other, slot, k0, k1, acts, delta, panel, row, base, base, first, False, False)
    elif RESIDENT and registers == WIDE:
        grad_wide(weight, grad, other, slot, k0, k1, acts, delta, panel, row, base, base, first, False, False)
    elif RESIDENT and registers == MIDDLE:
        grad_middle(weight, grad, other, slot, k0, k1, acts, delta, panel, row, base, base, first, False, False)
    elif registers > 0:
        grad_narrow(weight, grad, other, slot, k0, k1, acts, delta, panel, row, base, base, first, False, False)
    elif lanes == 2:
        grad_2(weight, grad, other, slot, k0, k1, acts, delta, panel, row, base, base, first, False, False)
    elif lanes == 4:
        grad_4(weight, grad, other, slot, k0, k1, acts, delta, panel, row, base, base, first, False, False)
    else:
        grad_8(weight, grad, other, slot, k0, k1, acts, delta, panel, row, base, base, first, False, False)


# -- what the passes work on, bundled ----------------------------------------------------------------------------------


class Rows(NamedTuple):
    """Connections of every neuron in one direction; see `Adjacency`."""

    start: np.ndarray
    length: np.ndarray
    other: np.ndarray  # displacement of the far end from the first row of the step
    slot: np.ndarray
    delay: np.ndarray  # of connection slots


class Neurons(NamedTuple):
    """Columns over neuron slots."""

    activation: np.ndarray
    parameter: np.ndarray
    aggregation: np.ndarray
    bias: np.ndarray
    rate: np.ndarray  # share of the new input in a leaky potential; 1 where nothing leaks, empty where nothing can
    special: np.ndarray  # number among the neurons whose terms do not add up, or -1


class Panels(NamedTuple):
    """What a forward pass leaves, all (panel, row of a neuron or special neuron at a step, ..., lane)."""

    acts: np.ndarray
    z: np.ndarray  # inputs of the activations; stands for `acts` where no derivative needs them
    kept: np.ndarray  # what the gradients of special neurons need; see `aggregate_special`


class Gradients(NamedTuple):
    """What a backward pass reads and fills."""

    weight: np.ndarray
    bias: np.ndarray
    output: np.ndarray  # column of each neuron slot among the outputs, or -1
    by_output: np.ndarray  # (panel, step * columns + column, lane)
    delta: np.ndarray  # (panel, row in the window, lane)
    delta_special: np.ndarray  # (panel, special row in the window, lane)
    fan_in: np.ndarray


class Long(NamedTuple):
    """The long rows of one direction, chunk after chunk in the order in which their neurons run; mostly none."""

    first: np.ndarray  # first chunk of each neuron slot, -1 where its row is short; empty without long rows
    row: np.ndarray  # neuron slot of each chunk
    place: np.ndarray  # where that stands in the order
    base: int  # row of the first chunk's sum, behind those of the neurons
    ready: bool  # the sums of the chunks are there


class Moment(NamedTuple):
    """Where one time step lies in the unrolled arrays."""

    acts: int  # first row of its activations
    kept: int  # first row in `kept`
    output: int  # first row in `by_output`
    delta: int  # first row in the window of deltas
    special: int  # first row in the window of special deltas
    n: int  # rows a step
    n_special: int


# -- long rows ---------------------------------------------------------------------------------------------------------
# The chunks, and the order in which their sums are added, are the same on any number of threads.


@jit
def is_long(long, r):
    """Whether a neuron's row is cut into chunks."""
    return long.first.shape[0] > 0 and long.first[r] >= 0


@jit
def chunk_ends(long, c, rows):
    """The entries of chunk ``c``."""
    r = np.int64(long.row[c])
    k0 = rows.start[r] + (c - long.first[r]) * CHUNK
    return k0, min(k0 + CHUNK, rows.start[r] + rows.length[r])


@jit
def first_chunk(long, i):
    """The first chunk of the neurons from place ``i`` of the order on."""
    return np.int64(np.searchsorted(long.place, i))


@jit
def chunks_of(long, r, rows):
    """The chunks of a neuron's row: the first, and the one behind the last."""
    first = np.int64(long.first[r])
    return first, first + (rows.length[r] + CHUNK - 1) // CHUNK


@jit
def gather_chunk(long, c, at, rows, weight, acts, panel):
    """The sum of one chunk of a target's row."""
    k0, k1 = chunk_ends(long, c, rows)
    zero = acts.dtype.type(0)
    gather(weight, rows.other, rows.slot, k0, k1, acts, panel, at.acts, long.base + c, zero, False)


@jit
def gather_long(long, r, at, rows, weight, acts, panel, seed, relu):
    """As `gather`, chunk by chunk."""
    c0, c1 = chunks_of(long, r, rows)
    if not long.ready:
        for c in range(c0, c1):
            gather_chunk(long, c, at, rows, weight, acts, panel)
    for lane in range(acts.shape[2]):
        total = seed
        for c in range(c0, c1):
            total += acts[panel, long.base + c, lane]
        acts[panel, at.acts + r, lane] = acts.dtype.type(0) if relu and total < 0 else total  # NaN stays NaN


@jit
def spread_chunks(long, first_c, last_c, constant, at, first_step, rows, weight, grad, acts, delta):
    """The gradients of some chunks of sources' rows, and what each adds to its source's delta."""
    for c in range(first_c, last_c):
        k0, k1 = chunk_ends(long, c, rows)
        row, out = at.acts + long.row[c], long.base + c
        for panel in range(acts.shape[0]):
            first = first_step and panel == 0
            if constant:
                grad_only(weight, grad, rows.other, rows.slot, k0, k1, acts, delta, panel, row, at.delta, first)
            else:
                spread(
                    weight, grad, rows.other, rows.slot, k0, k1, acts, delta, panel, row, at.delta, out, first, False,
                    False,
                )  # fmt: skip


@jit
def add_chunks(long, r, rows, acts, delta, panel, row, out, relu):
    """The delta of a source from the sums of its chunks, as `spread` leaves it; returns its sum over the lanes."""
    c0, c1 = chunks_of(long, r, rows)
    zero = delta.dtype.type(0)
    everything = zero
    for lane in range(delta.shape[2]):
        total = zero
        if not relu or acts[panel, row, lane] > zero:
            for c in range(c0, c1):
                total += delta[panel, long.base + c, lane]
        delta[panel, out, lane] = total
        everything += total
    return everything


# -- one neuron --------------------------------------------------------------------------------------------------------


@jit
def activate(code, a, row):
    """Apply an activation with parameter ``a`` to a row of lanes, in place."""
    zero = row.dtype.type(0)
    if code == RELU:  # the commonest have loops that vectorise
        for i in range(row.shape[0]):
            row[i] = max(row[i], zero)
    elif code == TANH and row.itemsize == 4:
        for i in range(row.shape[0]):
            row[i] = fast_tanh(row[i])
    elif code == SIGMOID and row.itemsize == 4:
        for i in range(row.shape[0]):
            row[i] = fast_sigmoid(row[i])
    elif code == GAUSS and row.itemsize == 4:
        for i in range(row.shape[0]):
            row[i] = fast_exp(-(row[i] * row[i]))
    elif code == ABS:
        for i in range(row.shape[0]):
            row[i] = abs(row[i])
    elif code == CLIPPED_RELU:
        for i in range(row.shape[0]):
            row[i] = value(CLIPPED_RELU, a, row[i], zero, row.dtype.type(1))
    elif code == LEAKY_RELU:
        for i in range(row.shape[0]):
            row[i] = value(LEAKY_RELU, a, row[i], zero, row.dtype.type(1))
    elif code == CLAMPED:
        for i in range(row.shape[0]):
            row[i] = value(CLAMPED, a, row[i], zero, row.dtype.type(1))
    elif code == HAT:
        for i in range(row.shape[0]):
            row[i] = value(HAT, a, row[i], zero, row.dtype.type(1))
    else:
        for i in range(row.shape[0]):
            row[i] = value(code, a, row[i], zero, row.dtype.type(1))


@jit
def fast_tanh(x):
    """Hyperbolic tangent in single precision: a rational function, exact to 3e-7 of its value.

    The coefficients are those of Eigen's ``ptanh``.
    """
    limit = np.float32(7.90531110763549805)
    x = limit if x > limit else (-limit if x < -limit else x)  # NaN stays NaN
    s = x * x
    p = np.float32(-2.76076847742355e-16) * s + np.float32(2.00018790482477e-13)
    p = p * s + np.float32(-8.60467152213735e-11)
    p = p * s + np.float32(5.12229709037114e-08)
    p = p * s + np.float32(1.48572235717979e-05)
    p = p * s + np.float32(6.37261928935436e-04)
    p = p * s + np.float32(4.89352455891786e-03)
    q = np.float32(1.19825839466702e-06) * s + np.float32(1.18534705686654e-04)
    q = q * s + np.float32(2.26843463243900e-03)
    q = q * s + np.float32(4.89352518554385e-03)
    return x * p / q


@intrinsic
def _power_of_two(typing, exponent):
    """``2 ** exponent`` as float32, for exponents from -126 to 127, put together bit by bit."""

    def codegen(context, builder, signature, arguments):
        biased = builder.add(arguments[0], ir.Constant(I32, 127))
        return builder.bitcast(builder.shl(biased, ir.Constant(I32, 23)), ir.FloatType())

    return types.float32(types.int32), codegen


def _power_of_two_twin(exponent):
    return np.float32(2.0) ** np.float32(exponent)


if numba.config.DISABLE_JIT:
    _power_of_two = _power_of_two_twin


@jit
def fast_exp(x):
    """Exponential in single precision, exact to 2e-7 of its value; what is below -87 counts as -87, 88 is the limit.

    The polynomial is that of Cephes' ``expf``.
    """
    lowest = np.float32(-87.0)
    x = lowest if x < lowest else x  # NaN stays NaN
    n = np.floor(x * np.float32(1.44269504088896341) + np.float32(0.5))  # math.floor would give int64, in no register
    r = x - n * np.float32(0.693359375) - n * np.float32(-2.12194440e-4)
    p = np.float32(1.9875691500e-4) * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    return (p * r * r + r + np.float32(1)) * _power_of_two(np.int32(n))


@jit
def fast_sigmoid(x):
    """Logistic function in single precision, exact to 3e-7 of its value."""
    one = np.float32(1)
    small = fast_exp(-abs(x))
    return (one if x >= 0 else small) / (one + small)


@jit
def value(code, a, x, zero, one):
    """An activation at x; ``zero`` and ``one`` carry the dtype, for a float64 literal would widen float32."""
    if code == LEAKY_RELU:
        return x if x > zero else a * x
    elif code == CLIPPED_RELU:
        return min(max(x, zero), a)
    elif code == ELU:
        return x if x > zero else a * math.expm1(x)
    elif code == GELU:
        return type(one)(0.5 * x * math.erfc(-x * math.sqrt(0.5)))
    elif code == SILU:
        return x * sigmoid(x, one)
    elif code == SIGMOID:
        return sigmoid(x, one)
    elif code == TANH:
        return math.tanh(x)
    elif code == SOFTPLUS:
        return max(x, zero) + math.log1p(math.exp(-abs(x)))
    elif code == SIN:
        return math.sin(x)
    elif code == GAUSS:
        return math.exp(-(x * x))
    elif code == STEP:
        return one if x > zero else zero
    elif code == ABS:
        return abs(x)
    elif code == SQUARE:
        return x * x
    elif code == CLAMPED:
        return min(max(x, -one), one)
    elif code == HAT:
        return max(one - abs(x), zero)
    elif code == SELU:
        return type(one)(SELU_SCALE * (x if x > zero else SELU_ALPHA * math.expm1(x)))
    elif code == LELU:
        return x if x > zero else type(one)(LELU_SLOPE * x)
    elif code == INV:
        return one / x if x != zero else zero
    elif code == LOG:
        return math.log(max(x, type(one)(LOG_FLOOR)))
    elif code == EXP:
        return math.exp(min(max(x, type(one)(-EXP_LIMIT)), type(one)(EXP_LIMIT)))
    elif code == CUBE:
        return x * x * x
    return x


@jit
def sigmoid(x, one):
    """Logistic function without overflow."""
    small = math.exp(-abs(x))
    return one / (one + small) if x >= 0 else small / (one + small)


@jit
def differentiate(code, a, y, z, delta):
    """Multiply a row of lanes of ``delta`` by the activation's derivative at input z and output y, in place."""
    zero = y.dtype.type(0)
    if code == RELU:
        for i in range(y.shape[0]):
            delta[i] = delta[i] if y[i] > zero else zero
    elif code == TANH:
        one = y.dtype.type(1)
        for i in range(y.shape[0]):
            delta[i] *= one - y[i] * y[i]
    elif code == SIGMOID:
        one = y.dtype.type(1)
        for i in range(y.shape[0]):
            delta[i] *= y[i] * (one - y[i])
    elif code == CLIPPED_RELU:
        for i in range(y.shape[0]):
            delta[i] *= slope(CLIPPED_RELU, a, y[i], z[i], zero, y.dtype.type(1))
    elif code == LEAKY_RELU:
        for i in range(y.shape[0]):
            delta[i] *= slope(LEAKY_RELU, a, y[i], z[i], zero, y.dtype.type(1))
    else:
        for i in range(y.shape[0]):
            delta[i] *= slope(code, a, y[i], z[i], zero, y.dtype.type(1))


@jit
def slope(code, a, y, z, zero, one):
    """Derivative of an activation at input z and output y; z counts only where the plan keeps it."""
    if code == LEAKY_RELU:
        return one if y > zero else a
    elif code == CLIPPED_RELU:
        return one if y > zero and y < a else zero
    elif code == ELU:
        return one if y > zero else y + a
    elif code == GELU:
        density = math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
        return type(one)(0.5 * math.erfc(-z * math.sqrt(0.5)) + z * density)
    elif code == SILU:
        s = sigmoid(z, one)
        return s * (one + z * (one - s))
    elif code == SIGMOID:
        return y * (one - y)
    elif code == TANH:
        return one - y * y
    elif code == SOFTPLUS:
        return sigmoid(z, one)
    elif code == SIN:
        return math.cos(z)
    elif code == GAUSS:
        return -(z + z) * y
    elif code == STEP:
        return zero
    elif code == ABS:
        return one if z > zero else (-one if z < zero else zero)
    elif code == SQUARE:
        return z + z
    elif code == CLAMPED:
        return one if abs(y) < one else zero
    elif code == HAT:
        return (zero if abs(z) >= one else -one) if z > zero else (one if z < zero and z > -one else zero)
    elif code == SELU:
        return type(one)(SELU_SCALE if y > zero else y + SELU_SCALE * SELU_ALPHA)
    elif code == LELU:
        return one if y > zero else type(one)(LELU_SLOPE)
    elif code == INV:
        return -(y * y)
    elif code == LOG:
        return one / z if z > type(one)(LOG_FLOOR) else zero
    elif code == EXP:
        return y if y > type(one)(EXP_LOW) and y < type(one)(EXP_HIGH) else zero
    elif code == CUBE:
        return (one + one + one) * z * z
    return one


@jit
def weight_at(weight, slot, k):
    """The weight of row entry k; without slots the weights are in row order."""
    return weight[slot[k]] if slot.shape[0] > 0 else weight[k]


@jit
def aggregate_special(kind, k0, k1, other, slot, weight, acts, panel, base, row, kept):
    """Aggregate a target's terms that do not add up; ``kept`` holds over lanes what the gradient needs.

    Product: the product of the terms that are not zero, and how many are zero. Max, min and maxabs: the value, and how
    many terms reach it. Median: the two middle terms (one, if their number is odd), and how many terms equal each.
    """
    out = acts[panel, row]
    for i in range(out.shape[0]):
        kept[0, i] = 1 if kind == PRODUCT else 0
        kept[1, i] = 0
    if kind == MEDIAN:
        if k1 > k0:
            _medians(k0, k1, other, slot, weight, acts, panel, base, kept)
        for i in range(out.shape[0]):
            out[i] = (kept[0, i] + kept[1, i]) / 2 if k1 > k0 else 0
        return
    for k in range(k0, k1):
        w = weight_at(weight, slot, k)
        x = acts[panel, base + other[k]]
        for i in range(out.shape[0]):
            term, best = w * x[i], kept[0, i]
            if kind == PRODUCT:
                if term == 0:
                    kept[1, i] += 1
                else:
                    kept[0, i] *= term
            elif (
                k == k0
                or (kind == MAX and term > best)
                or (kind == MIN and term < best)
                or (kind == MAXABS and abs(term) > abs(best))
            ):
                kept[0, i] = term
                kept[1, i] = 1
            elif term == best:
                kept[1, i] += 1
    for i in range(out.shape[0]):
        out[i] = kept[0, i] if kind != PRODUCT or kept[1, i] == 0 else 0


@jit
def _medians(k0, k1, other, slot, weight, acts, panel, base, kept):
    """The two middle terms of every lane, and how many terms equal each."""
    n = k1 - k0
    terms = np.empty(n, acts.dtype)
    for i in range(acts.shape[2]):
        for j in range(n):
            terms[j] = weight_at(weight, slot, k0 + j) * acts[panel, base + other[k0 + j], i]
        for half in range(2):
            middle = select(terms, (n - 1 + half) // 2)
            count = 0
            for j in range(n):
                count += terms[j] == middle
            kept[half, i] = middle
            kept[2 + half, i] = count


@jit
def select(values, rank):
    """The value that sorting would put at ``rank``; reorders ``values`` (Hoare 1961, algorithm 65)."""
    lo, hi = 0, values.shape[0] - 1
    while lo < hi:
        pivot = values[(lo + hi) // 2]
        i, j = lo, hi
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if rank <= j:
            hi = j
        elif rank >= i:
            lo = i
        else:
            break
    return values[rank]


@jit
def spread_special(kind, w, x, kept, delta, by_source, add):
    """The gradient of one weight into a special neuron; ``add`` its source's share of the delta to ``by_source``."""
    grad = x.dtype.type(0)
    nothing, one = x.dtype.type(0), x.dtype.type(1)
    for i in range(x.shape[0]):
        term = w * x[i]
        if kind == PRODUCT:
            if kept[1, i] == 0:
                share = kept[0, i] / term
            else:
                share = kept[0, i] if kept[1, i] == one and term == nothing else nothing
        elif kind == MEDIAN:
            share = nothing
            for half in range(2):
                if term == kept[half, i]:
                    share += one / (kept[2 + half, i] + kept[2 + half, i])
        else:
            share = one / kept[1, i] if term == kept[0, i] else nothing
        if add:
            by_source[i] += w * share * delta[i]
        grad += x[i] * share * delta[i]
    return grad


# -- ranges of neurons -------------------------------------------------------------------------------------------------


@jit
def forward_rows(order, lo, hi, first_panel, last_panel, at, rows, long, weight, neurons, panels, keep_z):
    """Compute neurons ``order[lo:hi]`` at one moment for some panels; each writes its own row of ``acts``."""
    acts = panels.acts
    lanes = acts.shape[2]
    leaky = neurons.rate.shape[0] > 0
    for panel in range(first_panel, last_panel):
        for i in range(lo, hi):
            r = np.int64(order[i])
            row = at.acts + r
            k0 = rows.start[r]
            k1 = k0 + rows.length[r]
            kind = neurons.aggregation[r]
            bias = neurons.bias[r]
            leaks = leaky and neurons.rate[r] != 1
            fused = kind == SUM and neurons.activation[r] == RELU and not leaks
            if neurons.special[r] < 0:
                seed = bias if kind == SUM else acts.dtype.type(0)
                if is_long(long, r):
                    gather_long(long, r, at, rows, weight, acts, panel, seed, fused)
                else:
                    gather(weight, rows.other, rows.slot, k0, k1, acts, panel, at.acts, row, seed, fused)
                if kind == MEAN:
                    scale = acts.dtype.type(1) / acts.dtype.type(max(rows.length[r], 1))
                    for lane in range(lanes):
                        acts[panel, row, lane] = acts[panel, row, lane] * scale + bias
            else:
                kept = panels.kept[panel, at.kept + neurons.special[r]]
                aggregate_special(kind, k0, k1, rows.other, rows.slot, weight, acts, panel, at.acts, row, kept)
                for lane in range(lanes):
                    acts[panel, row, lane] += bias
            if leaks:
                new = neurons.rate[r]
                old = acts.dtype.type(1) - new
                for lane in range(lanes):
                    acts[panel, row, lane] = new * acts[panel, row, lane] + old * panels.z[panel, row - at.n, lane]
            if fused:
                continue
            if keep_z:
                for lane in range(lanes):  # numba compiles for seconds where a slice is assigned
                    panels.z[panel, row, lane] = acts[panel, row, lane]
            if neurons.activation[r] != IDENTITY:
                activate(neurons.activation[r], neurons.parameter[r], acts[panel, row])


@jit
def backward_rows(order, lo, hi, constant, begun, at, first_step, rows, long, weight, neurons, panels, gradients):
    """Deltas of neurons ``order[lo:hi]`` at one moment, and what their outgoing connections add to the gradients.

    Each writes its own row of ``delta`` and its own connections' gradients. Neurons that are ``constant``, inputs or
    what a carried state holds, have no delta, for nobody needs it. Where the rows of ``delta`` are ``begun``, they hold
    what dense blocks sent. The delta of a mean is divided by its fan-in; that of a special neuron goes to
    ``delta_special``, so that the row loop adds nothing for them.
    """
    acts, delta, grad = panels.acts, gradients.delta, gradients.weight
    lanes = acts.shape[2]
    has_special = panels.kept.shape[1] > 0
    leaky = neurons.rate.shape[0] > 0
    one = acts.dtype.type(1)
    for panel in range(acts.shape[0]):
        first = first_step and panel == 0
        for i in range(lo, hi):
            r = np.int64(order[i])
            row, out = at.acts + r, at.delta + r
            k0 = rows.start[r]
            k1 = k0 + rows.length[r]
            if constant:
                if not is_long(long, r):
                    grad_only(weight, grad, rows.other, rows.slot, k0, k1, acts, delta, panel, row, at.delta, first)
                if not has_special:
                    continue
            else:
                activation, column = neurons.activation[r], gradients.output[r]
                leaks = leaky and neurons.rate[r] != 1
                adds_up = neurons.aggregation[r] == SUM and not has_special and not leaks
                common = adds_up and column < 0 and activation in (IDENTITY, RELU)
                shut = common and activation == RELU
                if is_long(long, r):
                    total = add_chunks(long, r, rows, acts, delta, panel, row, out, shut)
                else:
                    total = spread(
                        weight, grad, rows.other, rows.slot, k0, k1, acts, delta, panel, row, at.delta, out, first,
                        begun, shut,
                    )  # fmt: skip
                if common:
                    gradients.bias[r] = total if first else gradients.bias[r] + total
                    continue
            own = delta[panel, out]
            if has_special:
                for k in range(k0, k1):
                    c = rows.slot[k]
                    d = np.int64(rows.delay[c])
                    target = rows.other[k] - d * at.n
                    q = neurons.special[target]
                    kept_row = at.kept + d * at.n_special + q
                    if q >= 0 and kept_row >= 0 and kept_row < panels.kept.shape[1]:
                        kept = panels.kept[panel, kept_row]
                        by_target = gradients.delta_special[panel, at.special + d * at.n_special + q]
                        kind = neurons.aggregation[target]
                        x = acts[panel, row]
                        grad[c] += spread_special(kind, weight[c], x, kept, by_target, own, not constant)
            if constant:
                continue
            if column >= 0:
                for lane in range(lanes):
                    own[lane] += gradients.by_output[panel, at.output + column, lane]
            if activation != IDENTITY:
                differentiate(activation, neurons.parameter[r], acts[panel, row], panels.z[panel, row], own)
            scale = one
            if neurons.aggregation[r] == MEAN:
                scale = one / acts.dtype.type(max(gradients.fan_in[r], 1))
            q = neurons.special[r]
            if leaks:
                new = neurons.rate[r]
                old = (one - new) / scale
                for lane in range(lanes):
                    if q < 0:
                        later = delta[panel, out + at.n, lane]
                    else:
                        later = gradients.delta_special[panel, at.special + at.n_special + q, lane]
                    own[lane] = new * own[lane] + old * later
            total = acts.dtype.type(0)
            for lane in range(lanes):
                total += own[lane]
            gradients.bias[r] = total if first else gradients.bias[r] + total
            if neurons.aggregation[r] == MEAN:
                for lane in range(lanes):
                    own[lane] *= scale
            elif q >= 0:
                for lane in range(lanes):
                    gradients.delta_special[panel, at.special + q, lane] = own[lane]
                    own[lane] = 0


@jit
def cut(work, lo, hi, share, shares):
    """Where share ``share`` of ``shares`` of ``order[lo:hi]`` begins, so that all have about equal work."""
    if share == shares:
        return hi
    goal = work[lo] + (work[hi] - work[lo]) * share // shares
    first, last = lo, hi
    while first < last:
        middle = (first + last) // 2
        if work[middle] < goal:
            first = middle + 1
        else:
            last = middle
    return first


@jit
def wide_panels(acts):
    """How many panels, the widest counted as several."""
    return acts.shape[0] * max(acts.shape[2] * acts.itemsize // (WIDE * REGISTER_BYTES), 1)


# -- whole passes ------------------------------------------------------------------------------------------------------
# Numba links, and optimises anew, whatever a compiled function calls, so each row function has one parallel caller.


@jit
def moment(step, history, position, columns, n, n_special):
    """Where step ``step`` lies, after ``history`` steps of state, with its deltas at ``position`` of the window."""
    return Moment(
        (history + step) * n, step * n_special, step * columns, position * n, position * n_special, n, n_special
    )


@parallel_jit
def _forward_shares(
    order, lo, hi, by_panel, work, bounds, shares, first, last, history, rows, long, weight, neurons, panels, keep_z,
    n, n_special,
):  # fmt: skip
    for i in numba.prange(shares):
        share = np.int64(i)  # prange counts in unsigned numbers, which would compile every function a second time
        a, b, panel, end = lo, hi, share, share + 1
        if not by_panel:
            panel, end = np.int64(0), np.int64(panels.acts.shape[0])
            if bounds.shape[0] > 0:
                a, b = bounds[share], bounds[share + 1]
            else:
                a, b = cut(work, lo, hi, share, shares), cut(work, lo, hi, share + 1, shares)
        for step in range(first, last):
            at = moment(np.int64(step), history, np.int64(0), np.int64(0), n, n_special)
            forward_rows(order, a, b, panel, end, at, rows, long, weight, neurons, panels, keep_z)


@parallel_jit
def _forward_chunks(first, last, at, rows, long, weight, acts):
    panels = np.int64(acts.shape[0])
    for i in numba.prange((last - first) * panels):
        task = np.int64(i)
        gather_chunk(long, first + task // panels, at, rows, weight, acts, task % panels)


@jit
def forward(
    order, offsets, work, part_order, part_bounds, threads, steps, history, n, n_special, start, length, other, slot,
    delay, long_first, long_row, long_place, weight, activation, parameter, aggregation, bias, rate, special, acts, z,
    keep_z, kept,
):  # fmt: skip
    """Run all steps, and in each all generations, ``order[offsets[g]:offsets[g + 1]]`` after one another.

    Panels are independent, so with enough of them each thread takes its own through all steps and generations without
    a barrier, and so are parts of the graph that share only inputs; otherwise the threads share the neurons of each
    generation that is worth it, and before that the chunks of its long rows.
    """
    rows = Rows(start, length, other, slot, delay)
    base = acts.shape[1] - long_row.shape[0]
    long = Long(long_first, long_row, long_place, base, False)
    summed = Long(long_first, long_row, long_place, base, True)
    neurons = Neurons(activation, parameter, aggregation, bias, rate, special)
    panels = Panels(acts, z, kept)
    count, everything = np.int64(acts.shape[0]), np.int64(order.shape[0])
    none, one = np.int64(0), np.int64(1)
    load, has_long = np.int64(wide_panels(acts)), long_row.shape[0] > 0
    small = not has_long and (threads == 1 or work[everything] * load * steps < SERIAL_WORK)
    by_panel = threads > 1 and not small and count >= threads and (count % threads == 0 or count >= 4 * threads)
    by_part = not small and not by_panel and not has_long and part_bounds.shape[0] > 0
    nowhere = np.zeros(0, np.int64)
    if by_panel or by_part:
        shares = np.int64(part_bounds.shape[0] - 1) if by_part else count
        bounds = part_bounds if by_part else nowhere
        _forward_shares(
            part_order, none, everything, by_panel, work, bounds, shares, none, steps, history, rows, long, weight,
            neurons, panels, keep_z, n, n_special,
        )  # fmt: skip
        return
    for step in range(steps):
        at = moment(np.int64(step), history, none, none, n, n_special)
        for g in range(1 if small else offsets.shape[0] - 1):
            lo, hi = (none, everything) if small else (offsets[g], offsets[g + 1])
            first, last = (first_chunk(long, lo), first_chunk(long, hi)) if has_long else (none, none)
            if threads == 1 or (first == last and (small or (work[hi] - work[lo]) * load < SERIAL_WORK)):
                which = part_order if small else order
                forward_rows(which, lo, hi, none, count, at, rows, long, weight, neurons, panels, keep_z)
            else:
                if first < last:
                    _forward_chunks(first, last, at, rows, long, weight, acts)
                _forward_shares(
                    order, lo, hi, by_panel, work, nowhere, threads, np.int64(step), np.int64(step) + one, history,
                    rows, summed, weight, neurons, panels, keep_z, n, n_special,
                )  # fmt: skip


@parallel_jit
def _backward_shares(
    order, lo, hi, constant, begun, work, shares, at, first_step, rows, long, weight, neurons, panels, gradients
):  # fmt: skip
    for i in numba.prange(shares):
        share = np.int64(i)
        a, b = cut(work, lo, hi, share, shares), cut(work, lo, hi, share + 1, shares)
        backward_rows(order, a, b, constant, begun, at, first_step, rows, long, weight, neurons, panels, gradients)


@parallel_jit
def _backward_chunks(begin, end, constant, at, first_step, rows, long, weight, grad, acts, delta):
    for i in numba.prange(end - begin):
        c = begin + np.int64(i)
        spread_chunks(long, c, c + 1, constant, at, first_step, rows, weight, grad, acts, delta)


@jit
def slide(window, first, to, count):
    """Move ``count`` rows of every panel from row ``first`` up to row ``to``."""
    for panel in range(window.shape[0]):
        for i in range(count):
            row = count - 1 - i
            for lane in range(window.shape[2]):
                window[panel, to + row, lane] = window[panel, first + row, lane]


@jit
def clear(window, first, last):
    """Zero rows ``first`` to ``last`` of every panel."""
    for panel in range(window.shape[0]):
        for row in range(first, last):
            for lane in range(window.shape[2]):
                window[panel, row, lane] = 0


@jit
def backward(
    order, offsets, work, inputs, input_work, threads, steps, history, n, n_special, columns, add, constant_state,
    begun, start, length, other, slot, delay, long_first, long_row, long_place, input_first, input_row, input_place,
    fan_in, weight, grad, activation, parameter, aggregation, bias, bias_grad, rate, special, output, by_output, acts,
    z, kept, delta, delta_special,
):  # fmt: skip
    """Walk the steps from the last to the first, in each the generations likewise, then the inputs.

    The window of deltas ends with those of the ``history`` steps after the last one. With ``constant_state`` the state
    before the first step counts as inputs do: it has no delta, but the weights that read it have gradients. Returns the
    position of the first step in the window.
    """
    rows = Rows(start, length, other, slot, delay)
    neurons = Neurons(activation, parameter, aggregation, bias, rate, special)
    panels = Panels(acts, z, kept)
    gradients = Gradients(grad, bias_grad, output, by_output, delta, delta_special, fan_in)
    generations = offsets.shape[0] - 1
    base = delta.shape[1] - long_row.shape[0]
    window = np.int64(base // max(n, 1)) - history
    position = window
    before = history if constant_state else 0
    for back in range(steps + before):
        step = np.int64(steps - 1 - back)
        if position == 0 or step == -1:
            slide(delta, position * n, window * n, history * n)
            slide(delta_special, position * n_special, window * n_special, history * n_special)
            position = window
            if step == -1:  # nothing before the first step has a delta
                clear(delta, (window - history) * n, window * n)
                clear(delta_special, (window - history) * n_special, window * n_special)
        position -= 1
        at = moment(step, history, position, columns, n, n_special)
        for turn in range(generations + 1):
            g = generations - 1 - turn
            is_input = g < 0
            which, running = (inputs, input_work) if is_input else (order, work)
            lo, hi = (np.int64(0), np.int64(inputs.shape[0])) if is_input else (offsets[g], offsets[g + 1])
            first = back == 0 and not add
            constant = is_input or step < 0
            long_ones = (input_first, input_row, input_place) if is_input else (long_first, long_row, long_place)
            long = Long(long_ones[0], long_ones[1], long_ones[2], base, True)
            if long.row.shape[0] > 0:
                begin, end = first_chunk(long, lo), first_chunk(long, hi)
                if threads == 1:
                    spread_chunks(long, begin, end, constant, at, first, rows, weight, grad, acts, delta)
                elif begin < end:
                    _backward_chunks(begin, end, constant, at, first, rows, long, weight, grad, acts, delta)
            if threads == 1 or (running[hi] - running[lo]) * wide_panels(acts) < SERIAL_WORK:
                backward_rows(which, lo, hi, constant, begun, at, first, rows, long, weight, neurons, panels, gradients)
            else:
                _backward_shares(
                    which, lo, hi, constant, begun, running, threads, at, first, rows, long, weight, neurons,
                    panels, gradients,
                )  # fmt: skip
    return position


# -- neurons whose sums over dense blocks are known --------------------------------------------------------------------

FINISHED = 32  # targets that a thread finishes at a time


@jit
def finish_rows(order, lo, hi, together, sums, rows, weight, neurons, panels, keep_z):
    """Compute neurons ``order[lo:hi]``, which sum, from ``sums`` and the rest of their connections.

    The sums of ``together`` panels stand side by side, ``sums[group, i, lane]``.
    """
    acts = panels.acts
    count, lanes = np.int64(acts.shape[0]), np.int64(acts.shape[2])
    for panel in range(count):
        first = panel // together * together
        width = min(together, count - first) * lanes
        for i in range(lo, hi):
            r = np.int64(order[i])
            at = first * lanes * np.int64(order.shape[0]) + i * width + (panel - first) * lanes
            k0 = np.int64(rows.start[r])
            k1 = k0 + rows.length[r]
            bias = neurons.bias[r]
            if k1 > k0:
                gather(weight, rows.other, rows.slot, k0, k1, acts, panel, np.int64(0), r, bias, False)
                for lane in range(lanes):
                    acts[panel, r, lane] += sums[at + lane]
            else:
                for lane in range(lanes):
                    acts[panel, r, lane] = sums[at + lane] + bias
            if keep_z:
                for lane in range(lanes):
                    panels.z[panel, r, lane] = acts[panel, r, lane]
            if neurons.activation[r] != IDENTITY:
                activate(neurons.activation[r], neurons.parameter[r], acts[panel, r])


@parallel_jit
def _finish_shares(order, together, sums, rows, weight, neurons, panels, keep_z):
    count = np.int64(order.shape[0])
    for i in numba.prange((count + FINISHED - 1) // FINISHED):
        begin = np.int64(i) * FINISHED
        end = min(begin + FINISHED, count)
        finish_rows(order, begin, end, together, sums, rows, weight, neurons, panels, keep_z)


@jit
def finish(
    threads, order, together, sums, start, length, other, slot, delay, weight, activation, parameter, aggregation, bias,
    rate, special, acts, z, keep_z, kept,
):  # fmt: skip
    """Compute all neurons of ``order`` in all panels, as `finish_rows` does."""
    rows = Rows(start, length, other, slot, delay)
    neurons = Neurons(activation, parameter, aggregation, bias, rate, special)
    panels = Panels(acts, z, kept)
    if threads == 1:
        count = np.int64(order.shape[0])
        finish_rows(order, np.int64(0), count, together, sums, rows, weight, neurons, panels, keep_z)
    else:
        _finish_shares(order, together, sums, rows, weight, neurons, panels, keep_z)


@jit
def _place_entries(place, column, out, first, last):
    for c in range(first, last):
        out[np.uint32(place[c])] = column[c]  # an index that cannot be negative needs no check


@parallel_jit
def _place_chunks(place, column, out):
    chunk = np.int64(16_384)
    for i in numba.prange((place.shape[0] + chunk - 1) // chunk):
        first = np.int64(i) * chunk
        _place_entries(place, column, out, first, min(first + chunk, np.int64(place.shape[0])))


@jit
def by_place(threads, place, slot, column, out):
    """``out[place[c]] = column[c]`` for every connection slot c: a column in row order.

    The column is read in sequence and every row is written in sequence, so that a line of the cache serves many entries
    where the slots go by source; reading at random costs twice as much. Free slots have place 0, which ``slot``, by
    place, puts right.
    """
    if threads == 1:
        _place_entries(place, column, out, np.int64(0), np.int64(place.shape[0]))
    else:
        _place_chunks(place, column, out)
    if slot.shape[0] > 0:
        out[0] = column[slot[0]]


@jit
def _columns_to_panels(array, slots, panels, first, stride, repeat, begin, end):
    lanes, batch = panels.shape[2], array.shape[0]
    width = np.int64(REGISTER_BYTES // panels.itemsize)
    for panel in range(panels.shape[0]):
        inside = min(lanes, max(batch - panel * lanes, 0))
        whole, sample = inside - inside % width, panel * lanes
        for t in range(array.shape[1]):
            rows, turned = first + t * stride, end - (end - begin) % width
            for j in range(begin, turned, width):
                for lane in range(0, whole, width):
                    turn_inward(array, sample + lane, t, j, panels, panel, rows, slots, lane)
            for j in range(begin, end):
                row = panels[panel, rows + slots[j]]
                for lane in range(whole if j < turned else 0, lanes):
                    there = repeat or lane < inside
                    row[lane] = array[min(sample + lane, batch - 1), t, j] if there else 0


@parallel_jit
def _chunks_to_panels(array, slots, panels, first, stride, repeat):
    count = np.int64(slots.shape[0])
    for i in numba.prange((count + COLUMNS - 1) // COLUMNS):
        begin = np.int64(i) * COLUMNS
        _columns_to_panels(array, slots, panels, first, stride, repeat, begin, min(begin + COLUMNS, count))


@jit
def to_panels(threads, array, slots, panels, first, stride, repeat):
    """``panels[panel, first + t * stride + slots[j], lane] = array[sample, t, j]``.

    Lanes beyond the last sample ``repeat`` it, or are zero. Inputs repeat: a lane that computed something else could
    overflow where no sample does, and 0 * inf would reach the gradients.
    """
    if threads == 1:
        _columns_to_panels(array, slots, panels, first, stride, repeat, np.int64(0), np.int64(slots.shape[0]))
    else:
        _chunks_to_panels(array, slots, panels, first, stride, repeat)


@jit
def _columns_from_panels(panels, slots, first, stride, array, begin, end):
    lanes, batch = panels.shape[2], array.shape[0]
    width = np.int64(REGISTER_BYTES // panels.itemsize)
    for panel in range(panels.shape[0]):
        inside = min(lanes, max(batch - panel * lanes, 0))
        whole, sample = inside - inside % width, panel * lanes
        for t in range(array.shape[1]):
            rows, turned = first + t * stride, end - (end - begin) % width
            for j in range(begin, turned, width):
                for lane in range(0, whole, width):
                    turn_outward(array, sample + lane, t, j, panels, panel, rows, slots, lane)
            for j in range(begin, end):
                row = panels[panel, rows + slots[j]]
                for lane in range(whole if j < turned else 0, inside):
                    array[sample + lane, t, j] = row[lane]


@parallel_jit
def _chunks_from_panels(panels, slots, first, stride, array):
    count = np.int64(slots.shape[0])
    for i in numba.prange((count + COLUMNS - 1) // COLUMNS):
        begin = np.int64(i) * COLUMNS
        _columns_from_panels(panels, slots, first, stride, array, begin, min(begin + COLUMNS, count))


@jit
def from_panels(threads, panels, slots, first, stride, array):
    """``array[sample, t, j] = panels[panel, first + t * stride + slots[j], lane]``."""
    if threads == 1:
        _columns_from_panels(panels, slots, first, stride, array, np.int64(0), np.int64(slots.shape[0]))
    else:
        _chunks_from_panels(panels, slots, first, stride, array)


# -- one sample --------------------------------------------------------------------------------------------------------
# Panels of one lane: a row by target would read its weights all over the column, so each neuron adds to the sums of its
# targets instead, and one whose output is zero is passed over. The sums of so many shares of each generation are kept
# apart, whatever the number of threads, and so are the same on any.

PUSH_SHARES = 4
PUSH_GROUP = 8  # connections a turn


@intrinsic
def _push(typing, weight, other, slot, head, k0, k1, y, sums):
    ends = types.int64, types.int64
    signature = types.void(weight, other, slot, types.int64, *ends, sums.dtype, sums)

    def codegen(context, builder, signature, arguments):
        weight, other, slot, head, k0, k1, y, sums = arguments
        t_weight, t_other, t_slot, _, _, _, _, t_sums = signature.args
        emit = _Emit(context, builder, t_sums.dtype)
        weight, sums = emit.data(t_weight, weight), emit.data(t_sums, sums)
        other, slot = emit.data(t_other, other), emit.data(t_slot, slot)
        numbers, values = ir.VectorType(I32, PUSH_GROUP), ir.VectorType(emit.scalar, PUSH_GROUP)
        everywhere = ir.Constant(numbers, [0] * PUSH_GROUP)
        lanes = range(PUSH_GROUP)

        def filled(value):
            vector = builder.insert_element(ir.Constant(values, ir.Undefined), value, ir.Constant(I32, 0))
            return builder.shuffle_vector(vector, ir.Constant(values, ir.Undefined), everywhere)

        def block(pointer, k, vector, align):
            return builder.load(builder.bitcast(builder.gep(pointer, [k]), vector.as_pointer()), align=align)

        def add(term, target):
            cell = builder.gep(sums, [target])
            builder.store(builder.fadd(builder.load(cell), term), cell)

        def by_slot(k):
            slots = block(slot, k, numbers, 4)
            # Where the slots are neighbours, as they mostly are, so are the weights.
            steps = builder.sub(slots, builder.shuffle_vector(slots, slots, everywhere))
            beside = builder.icmp_signed("==", steps, ir.Constant(numbers, list(lanes)))
            flags = ir.IntType(PUSH_GROUP)
            together = builder.icmp_unsigned("==", builder.bitcast(beside, flags), ir.Constant(flags, -1))
            with builder.if_else(together, likely=True) as (then, otherwise):
                with then:
                    loaded, loaded_at = block(weight, emit.index(slot, k), values, emit.scalar_bytes), builder.block
                with otherwise:
                    gathered = ir.Constant(values, ir.Undefined)
                    for lane in lanes:
                        cell = builder.sext(builder.extract_element(slots, ir.Constant(I32, lane)), I64)
                        w = builder.load(builder.gep(weight, [cell]))
                        gathered = builder.insert_element(gathered, w, ir.Constant(I32, lane))
                    gathered_at = builder.block
            weights = builder.phi(values)
            weights.add_incoming(loaded, loaded_at)
            weights.add_incoming(gathered, gathered_at)
            return weights

        def row(weights_of, place_of):
            k, _, close = emit.loop(k0, k1, PUSH_GROUP, [])
            terms = builder.fmul(weights_of(k), filled(y))
            # Loads and stores are what limits the loop: weights are read together, and targets in pairs.
            for lane in range(0, PUSH_GROUP, 2):
                pointer = builder.gep(other, [builder.add(k, ir.Constant(I64, lane))])
                pair = builder.load(builder.bitcast(pointer, I64.as_pointer()), align=4)
                low, high = builder.zext(builder.trunc(pair, I32), I64), builder.lshr(pair, ir.Constant(I64, 32))
                for i, target in enumerate((low, high) if byteorder == "little" else (high, low)):
                    add(builder.extract_element(terms, ir.Constant(I32, lane + i)), target)
            k, _ = close()
            k, _, close = emit.loop(k, k1, 1, [])
            add(builder.fmul(builder.load(builder.gep(weight, [place_of(k)])), y), emit.index(other, k))
            close()

        def place(k):
            return builder.add(head, builder.sub(k, k0))

        straight = builder.icmp_signed(">=", head, ir.Constant(I64, 0))
        with builder.if_else(straight) as (then, otherwise):
            with then:
                row(lambda k: block(weight, place(k), values, emit.scalar_bytes), place)
            with otherwise:
                row(by_slot, lambda k: emit.index(slot, k))
        return context.get_dummy_value()

    return signature, codegen


def _push_twin(weight, other, slot, head, k0, k1, y, sums):
    for k in range(k0, k1):
        sums[other[k]] += weight[slot[k]] * y


if numba.config.DISABLE_JIT:
    _push = _push_twin


@jit
def find_heads(start, length, slot, heads):
    """The first slot of every row whose slots are neighbours in their order, -1 for the others."""
    for r in range(heads.shape[0]):
        first = slot[start[r]] if length[r] else 0
        apart = 0
        for k in range(length[r]):
            apart |= slot[start[r] + k] - (first + k)
        heads[r] = first if apart == 0 else -1


@jit
def push_rows(order, lo, hi, start, length, other, slot, heads, weight, x, sums):
    """Add what neurons ``order[lo:hi]`` send to the sums of their targets; for ``heads`` see `find_heads`."""
    for i in range(lo, hi):
        r = np.int64(order[i])
        if x[r] != 0:
            head = np.int64(heads[r]) if heads.shape[0] > 0 else np.int64(-1)
            _push(weight, other, slot, head, start[r], start[r] + length[r], x[r], sums)


@parallel_jit
def _push_shares(order, lo, hi, work, start, length, other, slot, heads, weight, x, sums):
    for i in numba.prange(PUSH_SHARES):
        share = np.int64(i)
        a, b = cut(work, lo, hi, share, np.int64(PUSH_SHARES)), cut(work, lo, hi, share + 1, np.int64(PUSH_SHARES))
        push_rows(order, a, b, start, length, other, slot, heads, weight, x, sums[share])


@jit
def push_generation(order, lo, hi, work, threads, start, length, other, slot, heads, weight, x, sums):
    """Add what one generation sends to the sums, ``sums[share, target]``; little work is one share."""
    if work[hi] - work[lo] < SERIAL_WORK:
        push_rows(order, lo, hi, start, length, other, slot, heads, weight, x, sums[0])
    elif threads == 1:
        for i in range(PUSH_SHARES):
            share, shares = np.int64(i), np.int64(PUSH_SHARES)
            a, b = cut(work, lo, hi, share, shares), cut(work, lo, hi, share + 1, shares)
            push_rows(order, a, b, start, length, other, slot, heads, weight, x, sums[share])
    else:
        _push_shares(order, lo, hi, work, start, length, other, slot, heads, weight, x, sums)


@jit
def take_sums(first, second, third, fourth, x):
    """Add up the four sums of every neuron, which become zero."""
    zero = x.dtype.type(0)
    for i in range(x.shape[0]):
        x[i] = (first[i] + second[i]) + (third[i] + fourth[i])
        first[i] = zero
        second[i] = zero
        third[i] = zero
        fourth[i] = zero


@jit
def shift(x, bias):
    """Add the biases."""
    for i in range(x.shape[0]):
        x[i] += bias[i]


@jit
def rectify(x):
    """ReLU in place; NaN stays NaN."""
    for i in range(x.shape[0]):
        x[i] = x.dtype.type(0) if x[i] < 0 else x[i]


@jit
def forward_one(
    order, offsets, runs, work, inputs, input_work, outputs, threads, start, length, other, slot, heads, fan_in, weight,
    activation, parameter, aggregation, bias, sample, x, sums, out,
):  # fmt: skip
    """Run one ``sample`` through neurons that add up their terms: fill ``x`` over neuron slots, and ``out``.

    For ``runs`` see `Plan`. The ``sums`` are zero before and after.
    """
    for j in range(inputs.shape[0]):
        x[inputs[j]] = sample[j]
    push_generation(
        inputs, np.int64(0), np.int64(inputs.shape[0]), input_work, threads, start, length, other, slot, heads, weight,
        x, sums,
    )  # fmt: skip
    g = 0
    for i in range(runs.shape[0] - 1):
        r0 = np.int64(order[runs[i]])
        r1 = r0 + runs[i + 1] - runs[i]
        terms = sums[:, r0:r1]
        take_sums(terms[0], terms[1], terms[2], terms[3], x[r0:r1])
        if aggregation[r0] == MEAN:
            for r in range(r0, r1):
                x[r] /= x.dtype.type(max(fan_in[r], 1))
        shift(x[r0:r1], bias[r0:r1])
        if activation[r0] == RELU:
            rectify(x[r0:r1])
        elif activation[r0] != IDENTITY:
            activate(activation[r0], parameter[r0], x[r0:r1])
        if runs[i + 1] == offsets[g + 1]:
            push_generation(
                order, offsets[g], offsets[g + 1], work, threads, start, length, other, slot, heads, weight, x, sums
            )
            g += 1
    for j in range(outputs.shape[0]):
        out[j] = x[outputs[j]]


# -- a few samples -----------------------------------------------------------------------------------------------------
# In a large network nothing that is read at random stays in cache: of a row as long as a register a few samples would
# use a part, and a row of weights by target is scattered over the column. So here too each neuron adds to the sums of
# its targets, which has it read weights in sequence, and rows are as short as the batch.


@jit
def push_few_rows(
    order, lo, hi, share, finish, rows, fan_in, weight, neurons, acts, z, keep_z, sums
):  # fmt: skip
    """``finish`` neurons ``order[lo:hi]``, whose sums are complete, and add what they send to their targets' sums."""
    zero, lanes = acts.dtype.type(0), acts.shape[2]
    for i in range(lo, hi):
        r = np.int64(order[i])
        if finish:
            scale = acts.dtype.type(1)
            if neurons.aggregation[r] == MEAN:
                scale /= acts.dtype.type(max(fan_in[r], 1))
            code, bias = neurons.activation[r], neurons.bias[r]
            for lane in range(lanes):
                total = zero
                for part in range(sums.shape[0]):
                    total += sums[part, r, lane]
                total = total * scale + bias
                acts[0, r, lane] = total if total > zero or total != total or code != RELU else zero
                if keep_z:
                    z[0, r, lane] = total
            if code != RELU and code != IDENTITY:
                activate(code, neurons.parameter[r], acts[0, r])
        k0 = rows.start[r]
        k1 = k0 + rows.length[r]
        silent = True
        for lane in range(lanes):
            silent &= acts[0, r, lane] == zero
        if silent or k0 == k1:
            continue
        if lanes == 2:
            push_2(weight, rows.other, rows.slot, k0, k1, acts, r, sums, share)
        elif lanes == 4:
            push_4(weight, rows.other, rows.slot, k0, k1, acts, r, sums, share)
        else:
            push_8(weight, rows.other, rows.slot, k0, k1, acts, r, sums, share)


@parallel_jit
def _push_few_shares(order, lo, hi, work, finish, rows, fan_in, weight, neurons, acts, z, keep_z, sums):
    for i in numba.prange(PUSH_SHARES):
        share, shares = np.int64(i), np.int64(PUSH_SHARES)
        a, b = cut(work, lo, hi, share, shares), cut(work, lo, hi, share + 1, shares)
        push_few_rows(order, a, b, share, finish, rows, fan_in, weight, neurons, acts, z, keep_z, sums)


@jit
def _clear_sums(sums, first, last):
    flat = sums.reshape(sums.size)
    for i in range(first, last):
        flat[i] = 0


@parallel_jit
def _clear_shares(sums):
    for i in numba.prange(PUSH_SHARES):
        share, shares = np.int64(i), np.int64(PUSH_SHARES)
        _clear_sums(sums, sums.size * share // shares, sums.size * (share + 1) // shares)


@jit
def forward_few(
    order, offsets, work, inputs, input_work, threads, start, length, other, slot, delay, fan_in, weight, activation,
    parameter, aggregation, bias, special, acts, z, keep_z, sums,
):  # fmt: skip
    """Run a few samples, the lanes of one panel whose inputs are there, through neurons that add up their terms.

    ``sums[share, neuron slot, lane]``; the rows are those by source.
    """
    rows = Rows(start, length, other, slot, delay)
    neurons = Neurons(activation, parameter, aggregation, bias, bias[:0], special)
    nothing, shares = np.int64(0), np.int64(PUSH_SHARES)
    if threads == 1:
        _clear_sums(sums, nothing, np.int64(sums.size))
    else:
        _clear_shares(sums)
    for turn in range(offsets.shape[0]):
        is_input = turn == 0
        which, running = (inputs, input_work) if is_input else (order, work)
        lo = nothing if is_input else offsets[turn - 1]
        hi = np.int64(inputs.shape[0]) if is_input else offsets[turn]
        if running[hi] - running[lo] < SERIAL_WORK:
            push_few_rows(which, lo, hi, nothing, not is_input, rows, fan_in, weight, neurons, acts, z, keep_z, sums)
        elif threads == 1:
            for i in range(PUSH_SHARES):
                share = np.int64(i)
                a, b = cut(running, lo, hi, share, shares), cut(running, lo, hi, share + 1, shares)
                push_few_rows(which, a, b, share, not is_input, rows, fan_in, weight, neurons, acts, z, keep_z, sums)
        else:
            _push_few_shares(which, lo, hi, running, not is_input, rows, fan_in, weight, neurons, acts, z, keep_z, sums)


# -- one sample through packed rows ------------------------------------------------------------------------------------
# Rows by target: a source's position is the one before it and a gap, and each weight is read once, in one or two bytes.

PACKED_SHARE = 4096  # entries that a thread sums at least, where threads share a segment


@intrinsic
def _float_of(typing, bits):
    """The float32 number of these 32 bits."""

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), codegen


def _float_of_twin(bits):
    return np.uint32(bits).view(np.float32)


if numba.config.DISABLE_JIT:
    _float_of = _float_of_twin


@jit
def packed_number(code, format):
    """The number that a narrow weight stands for, but for its scale; holes are zero."""
    if format == INT8:
        return np.float32(code) if code != HOLE_8 else np.float32(0)
    bits = np.uint32(code)
    bits = bits if bits != np.uint32(HOLE_16) else np.uint32(0)
    if format == BF16:
        return _float_of(bits << np.uint32(16))
    magnitude, sign = bits & np.uint32(0x7FFF), bits & np.uint32(0x8000)
    return _float_of((sign << np.uint32(16)) | (magnitude << np.uint32(13))) * np.float32(HALF_FACTOR)


# A function for each loop, so that they vectorise; whole arrays, because a slice costs as much as ten connections.


@jit
def _dot_bytes(weight, k0, count, x, first):
    total = np.float32(0)
    for k in range(count):
        total += np.float32(weight[np.uint64(k0 + k)]) * x[np.uint64(first + k)]
    return total


@jit
def _dot_numbers(weight, k0, count, format, x, first):
    total = np.float32(0)
    for k in range(count):
        total += packed_number(weight[np.uint64(k0 + k)], format) * x[np.uint64(first + k)]
    return total


@jit
def dot_neighbours(weight, k0, count, format, gaps, x, first):
    """The sum over a row of a dense segment; int8 weights without their scale."""
    if format == INT8 and not gaps:
        return _dot_bytes(weight, k0, count, x, first)
    if format == INT8:
        return _dot_numbers(weight, k0, count, INT8, x, first)
    if format == BF16:
        return _dot_numbers(weight, k0, count, BF16, x, first)
    return _dot_numbers(weight, k0, count, FP16, x, first)


@jit
def dot_bytes(weight, k0, count, code, c0, x, first):
    """The sum over a row of a sparse segment without skips, from int8 weights without their scale."""
    a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    at, k, one = np.uint64(first), np.int64(0), np.uint64(1)
    while k + 4 <= count:  # a single sum would wait for itself
        p, q = np.uint64(c0 + k), np.uint64(k0 + k)
        second = at + np.uint64(code[p])
        third = second + np.uint64(code[p + one])
        fourth = third + np.uint64(code[p + one + one])
        at = fourth + np.uint64(code[p + one + one + one])
        a += np.float32(weight[q]) * x[second]
        b += np.float32(weight[q + one]) * x[third]
        c += np.float32(weight[q + one + one]) * x[fourth]
        d += np.float32(weight[q + one + one + one]) * x[at]
        k += 4
    while k < count:
        at += np.uint64(code[np.uint64(c0 + k)])
        a += np.float32(weight[np.uint64(k0 + k)]) * x[at]
        k += 1
    return (a + b) + (c + d)


@jit
def dot_gaps(weight, k0, count, format, code, c0, x, first):
    """The sum over a row of a sparse segment, and its number of terms."""
    skip = np.uint64(255 if code.itemsize == 1 else 65535)
    at, total, terms = np.uint64(first), np.float32(0), np.int64(0)
    for k in range(count):
        gap = np.uint64(code[np.uint64(c0 + k)])
        at += gap
        if gap != skip:
            terms += 1
            total += packed_number(weight[np.uint64(k0 + k)], format) * x[at]
    return total, terms


class PackedRows(NamedTuple):
    """The arrays of a `Packed`, and the format's code; columns have one entry a row, or one in all."""

    segments: np.ndarray
    start: np.ndarray
    first: np.ndarray
    code: np.ndarray
    weight: np.ndarray
    scale: np.ndarray
    format: int
    activation: np.ndarray
    parameter: np.ndarray
    aggregation: np.ndarray
    bias: np.ndarray


@jit
def entry_of(column, r):
    """A row's entry in a column that may have one for all."""
    return column[r] if column.shape[0] > 1 else column[0]


@jit
def packed_rows(rows, segment, lo, hi, n_inputs, x):
    """Compute rows ``lo:hi`` of a segment from the outputs ``x`` by position, which it fills."""
    base, width = rows.segments[segment, BASE], rows.segments[segment, WIDTH]
    shift, gaps = rows.segments[segment, SHIFT], rows.segments[segment, GAPS] != 0
    for r in range(lo, hi):
        k0 = np.int64(rows.start[r])
        count = np.int64(rows.start[r + 1]) - k0
        kind = entry_of(rows.aggregation, r)
        terms = count
        if width > 0:
            total = dot_neighbours(rows.weight, k0, count, rows.format, gaps, x, base)
            if gaps and kind == MEAN:
                for k in range(k0, k0 + count):
                    terms -= np.int64(rows.weight[k]) == (HOLE_8 if rows.format == INT8 else HOLE_16)
        else:
            first = base + np.int64(rows.first[r]) if rows.first.shape[0] > 0 else base
            if rows.format == INT8 and not gaps:
                total = dot_bytes(rows.weight, k0, count, rows.code, k0 + shift, x, first)
            else:
                total, terms = dot_gaps(rows.weight, k0, count, rows.format, rows.code, k0 + shift, x, first)
        if rows.scale.shape[0] > 0:
            total *= entry_of(rows.scale, r)
        if kind == MEAN:
            total /= x.dtype.type(max(terms, 1))
        total += rows.bias[r]
        activation = entry_of(rows.activation, r)
        x[n_inputs + r] = np.float32(0) if activation == RELU and total < 0 else total  # NaN stays NaN
        if activation != RELU and activation != IDENTITY:
            activate(activation, entry_of(rows.parameter, r), x[n_inputs + r : n_inputs + r + 1])


@parallel_jit
def _packed_shares(shares, rows, segment, lo, hi, n_inputs, x):
    for i in numba.prange(shares):
        share = np.int64(i)
        packed_rows(
            rows, segment, lo + (hi - lo) * share // shares, lo + (hi - lo) * (share + 1) // shares, n_inputs, x
        )


@jit
def forward_one_packed(
    threads, segments, start, first, code, weight, scale, format, activation, parameter, aggregation, bias, outputs,
    sample, x, out,
):  # fmt: skip
    """Run one ``sample`` through neurons that sum or average: fill ``x`` by position, and ``out``."""
    rows = PackedRows(
        segments, start, first, code, weight, scale, format, activation, parameter, aggregation, bias
    )  # fmt: skip
    n_inputs = np.int64(sample.shape[0])
    for j in range(n_inputs):
        x[j] = sample[j]
    for s in range(segments.shape[0]):
        segment, lo, hi = np.int64(s), segments[s, LO], segments[s, HI]
        work = np.int64(start[hi]) - np.int64(start[lo])
        if threads == 1 or work < SERIAL_WORK:
            packed_rows(rows, segment, lo, hi, n_inputs, x)
        else:
            _packed_shares(min(work // PACKED_SHARE, hi - lo), rows, segment, lo, hi, n_inputs, x)
    for j in range(outputs.shape[0]):
        out[j] = x[np.int64(outputs[j])]


# -- samples through packed lines by source ----------------------------------------------------------------------------
# Each source adds to the sums of its targets, so that one whose output is zero in all lanes is passed over. Weights and
# gaps are decoded in registers, anew for every panel: reading and writing sums takes longer. More lanes would share out
# the decoding among more samples, but hardly any source would be silent, and the first cache would not hold the sums.

PACKED_LANES = 1, 4, 8, 16, 32
PACKED_SHARE_WORK = 60_000  # connections of one segment from which a few samples have so many shares of sums


def _push_packed_of(lanes):
    """Add what a source sends, if a lane of it is not zero, to ``panels[into]``; ``first`` is behind no gap yet."""

    @intrinsic
    def push(typing, weight, code, k0, k1, first, left, factor, panels, home, row, into):
        whole = types.int64
        signature = types.void(
            weight, code, whole, whole, whole, types.uint32, types.float32, panels, whole, whole, whole
        )

        def codegen(context, builder, signature, arguments):
            weight, code, k0, k1, first, left, factor, panels, home, row, into = arguments
            t_weight, t_code, *_, t_panels, _, _, _ = signature.args
            emit = _Emit(context, builder, t_panels.dtype, lanes)
            source = emit.load(emit.at(t_panels, panels, home, row), 0)
            heard = builder.fcmp_unordered("!=", source, emit.zero)  # NaN too
            if lanes > 1:
                flags = ir.IntType(lanes)
                heard = builder.icmp_unsigned("!=", builder.bitcast(heard, flags), ir.Constant(flags, 0))
            else:
                heard = builder.extract_element(heard, ir.Constant(I32, 0))
            with builder.if_then(heard):
                weight, code = emit.data(t_weight, weight), emit.data(t_code, code)
                base = emit.at(t_panels, panels, into, ir.Constant(I64, 0))
                entry = builder.block
                head, body, end = (builder.append_basic_block(name) for name in ("head", "body", "end"))
                add, following = builder.append_basic_block("add"), builder.append_basic_block("following")
                builder.branch(head)
                builder.position_at_end(head)
                k, before = builder.phi(I64), builder.phi(I64)
                k.add_incoming(k0, entry)
                before.add_incoming(first, entry)
                builder.cbranch(builder.icmp_signed("<", k, k1), body, end)
                builder.position_at_end(body)
                gap = builder.load(builder.gep(code, [k]))
                target = builder.add(before, builder.zext(gap, I64))
                skips = builder.icmp_unsigned("==", gap, ir.Constant(gap.type, 2**t_code.dtype.bitwidth - 1))
                builder.cbranch(skips, following, add)
                builder.position_at_end(add)
                w = emit.splat(number(builder, builder.load(builder.gep(weight, [k])), left, factor))
                cell = builder.gep(base, [builder.mul(target, ir.Constant(I64, lanes))])
                emit.store(emit.fma(w, source, emit.load(cell, 0)), cell, 0)
                builder.branch(following)
                builder.position_at_end(following)
                k.add_incoming(builder.add(k, ir.Constant(I64, 1)), following)
                before.add_incoming(target, following)
                builder.branch(head)
                builder.position_at_end(end)
            return context.get_dummy_value()

        def number(builder, stored, left, factor):
            if stored.type.width == 8:
                return builder.sitofp(stored, ir.FloatType())
            bits = builder.zext(stored, I32)
            sign = builder.shl(builder.and_(bits, ir.Constant(I32, 0x8000)), ir.Constant(I32, 16))
            rest = builder.shl(builder.and_(bits, ir.Constant(I32, 0x7FFF)), left)
            return builder.fmul(builder.bitcast(builder.or_(sign, rest), ir.FloatType()), factor)

        return signature, codegen

    return push


def _push_packed_twin(weight, code, k0, k1, first, left, factor, panels, home, row, into):
    target, format = first, INT8 if weight.itemsize == 1 else (BF16 if factor == 1 else FP16)
    if not panels[home, row].any():
        return
    for k in range(k0, k1):
        target += int(code[k])
        if code[k] != np.iinfo(code.dtype).max:
            panels[into, target] += packed_number(weight[k], format) * panels[home, row]


if numba.config.DISABLE_JIT:
    push_packed_1 = push_packed_4 = push_packed_8 = push_packed_16 = push_packed_32 = _push_packed_twin
else:
    push_packed_1, push_packed_4, push_packed_8, push_packed_16, push_packed_32 = map(_push_packed_of, PACKED_LANES)


@jit
def finish_packed(bias, scale, activation, parameter, lo, hi, n_inputs, home, parts, panels):
    """Make outputs out of the sums at positions ``lo:hi`` in ``panels[home]`` and so many ``parts`` from there on."""
    size, lanes = panels.shape[1] * panels.shape[2], panels.shape[2]
    flat, zero, one = panels.reshape(panels.size), panels.dtype.type(0), panels.dtype.type(1)
    for position in range(max(lo, n_inputs), hi):
        r, row = position - n_inputs, home * size + position * lanes
        factor = entry_of(scale, r) if scale.shape[0] > 0 else one
        code, shift = entry_of(activation, r), bias[r]
        for part in range(1, parts):
            for lane in range(lanes):
                flat[np.uint64(row + lane)] += flat[np.uint64(row + part * size + lane)]
        for lane in range(lanes):
            total = flat[np.uint64(row + lane)] * factor + shift
            flat[np.uint64(row + lane)] = zero if code == RELU and total < zero else total  # NaN stays NaN
        if code != RELU and code != IDENTITY:
            activate(code, entry_of(parameter, r), flat[row : row + lanes])


@jit
def push_packed(rows, segment, lo, hi, n_inputs, home, parts, into, panels):
    """Finish the neurons at positions ``lo:hi`` of a segment, and add what they send to sums in ``panels[into]``."""
    finish_packed(rows.bias, rows.scale, rows.activation, rows.parameter, lo, hi, n_inputs, home, parts, panels)
    base, lanes = rows.segments[segment, BASE], panels.shape[2]
    left = np.uint32(16) if rows.format == BF16 else np.uint32(13)
    factor = np.float32(HALF_FACTOR) if rows.format == FP16 else np.float32(1)
    start, heads, weight, code = rows.start, rows.first, rows.weight, rows.code
    for r in range(lo, hi):
        k0, k1 = np.int64(start[r]), np.int64(start[r + 1])
        if k0 == k1:
            continue
        first = base + np.int64(heads[r]) if heads.shape[0] > 0 else base
        if lanes == 1:
            push_packed_1(weight, code, k0, k1, first, left, factor, panels, home, r, into)
        elif lanes == 4:
            push_packed_4(weight, code, k0, k1, first, left, factor, panels, home, r, into)
        elif lanes == 8:
            push_packed_8(weight, code, k0, k1, first, left, factor, panels, home, r, into)
        elif lanes == 16:
            push_packed_16(weight, code, k0, k1, first, left, factor, panels, home, r, into)
        else:
            push_packed_32(weight, code, k0, k1, first, left, factor, panels, home, r, into)


@jit
def cut_lines(start, lo, hi, share, shares):
    """Where a share of lines ``lo:hi`` begins, so that all have about as many entries."""
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


@jit
def clear_sums(panels, first, panel):
    """Set the rows of a panel from the ``first`` on to zero."""
    for row in range(first, panels.shape[1]):
        for lane in range(panels.shape[2]):
            panels[panel, row, lane] = 0


@jit
def push_panels(rows, begin, end, home, X, inputs, outputs, panels, out):
    """Run the samples of panels ``begin:end``, one panel after another in ``panels[home]``."""
    n_inputs, lanes, one = np.int64(inputs.shape[0]), panels.shape[2], np.int64(1)
    nothing, here = np.int64(0), panels[home : home + 1]
    for p in range(begin, end):
        first, last = p * lanes, min((p + 1) * lanes, X.shape[0])
        _columns_to_panels(X[first:last], inputs, here, nothing, nothing, True, nothing, n_inputs)
        clear_sums(panels, n_inputs, home)
        for s in range(rows.segments.shape[0]):
            push_packed(rows, s, rows.segments[s, LO], rows.segments[s, HI], n_inputs, home, one, home, panels)
        _columns_from_panels(here, outputs, nothing, nothing, out[first:last], nothing, np.int64(outputs.shape[0]))


@parallel_jit
def _push_panel_shares(rows, count, X, inputs, outputs, panels, out):
    for i in numba.prange(panels.shape[0]):
        share, shares = np.int64(i), np.int64(panels.shape[0])
        push_panels(
            rows, count * share // shares, count * (share + 1) // shares, share, X, inputs, outputs, panels, out
        )


@parallel_jit
def _push_packed_shares(rows, segment, lo, hi, n_inputs, panels):
    for i in numba.prange(panels.shape[0]):
        share, shares = np.int64(i), np.int64(panels.shape[0])
        a, b = cut_lines(rows.start, lo, hi, share, shares), cut_lines(rows.start, lo, hi, share + 1, shares)
        push_packed(rows, segment, a, b, n_inputs, np.int64(0), shares, share, panels)


@jit
def push_few_packed(threads, rows, X, inputs, outputs, panels, out):
    """Run a few samples, the lanes of one panel; large segments add to the sums of as many shares as there are."""
    n_inputs, nothing, shares = np.int64(inputs.shape[0]), np.int64(0), np.int64(panels.shape[0])
    if panels.shape[2] == 1:
        for j in range(n_inputs):
            panels[0, j, 0] = X[0, 0, j]
    else:
        _columns_to_panels(X, inputs, panels[:1], nothing, nothing, True, nothing, n_inputs)
    for part in range(shares):
        clear_sums(panels, n_inputs, part)
    for s in range(rows.segments.shape[0]):
        lo, hi = rows.segments[s, LO], rows.segments[s, HI]
        if shares == 1 or np.int64(rows.start[hi]) - np.int64(rows.start[lo]) < PACKED_SHARE_WORK:
            push_packed(rows, s, lo, hi, n_inputs, nothing, shares, nothing, panels)
        elif threads == 1:
            for share in range(shares):
                a, b = cut_lines(rows.start, lo, hi, share, shares), cut_lines(rows.start, lo, hi, share + 1, shares)
                push_packed(rows, s, a, b, n_inputs, nothing, shares, share, panels)
        else:
            _push_packed_shares(rows, s, lo, hi, n_inputs, panels)
    _columns_from_panels(panels[:1], outputs, nothing, nothing, out, nothing, np.int64(outputs.shape[0]))


@jit
def forward_packed_sources(
    threads, segments, start, first, code, weight, scale, format, activation, parameter, aggregation, bias, outputs, X,
    panels, out,
):  # fmt: skip
    """Run X (batch, 1, n_inputs) through neurons that sum, with lines by source: fill ``out`` (batch, 1, n_outputs).

    ``panels[share, position, lane]``: the shares run panels of their own, or parts of the sources if there is but one.
    """
    rows = PackedRows(
        segments, start, first, code, weight, scale, format, activation, parameter, aggregation, bias
    )  # fmt: skip
    # The copying loops take such numbers; from Python they would cost more than they do here.
    inputs, outputs = np.arange(np.int32(X.shape[2]), dtype=np.int32), outputs.astype(np.int32)
    lanes = np.int64(panels.shape[2])
    count = (np.int64(X.shape[0]) + lanes - 1) // lanes
    if count == 1:
        push_few_packed(threads, rows, X, inputs, outputs, panels, out)
    elif threads == 1:
        push_panels(rows, np.int64(0), count, np.int64(0), X, inputs, outputs, panels, out)
    else:
        _push_panel_shares(rows, count, X, inputs, outputs, panels, out)


# -- predictions of deep networks, which keep only what is still to be read --------------------------------------------


@jit
def places(order, offsets, start, length, other, inputs, outputs, place, last):
    """Give every neuron a row that it keeps until the generation of its ``last`` reader is over.

    Outputs keep theirs to the end. Fills ``place`` and ``last`` and returns the number of rows.
    """
    generations = offsets.shape[0] - 1
    for g in range(generations):
        for i in range(offsets[g], offsets[g + 1]):
            r = order[i]
            last[r] = max(last[r], g)
            for k in range(start[r], start[r] + length[r]):
                last[other[k]] = g
    for r in outputs:
        last[r] = generations
    # The rows that fall free after a generation are a chain through `following`, which begins at `ending`.
    ending, following = np.full(generations + 1, -1), np.empty(place.shape[0], np.int64)
    free, n_free, used = np.empty(place.shape[0], np.int64), 0, 0
    for r in inputs:
        place[r] = used
        used += 1
        following[r] = ending[last[r]]
        ending[last[r]] = r
    for g in range(generations):
        if g > 0:
            r = ending[g - 1]
            while r >= 0:
                free[n_free] = place[r]
                n_free += 1
                r = following[r]
        for i in range(offsets[g], offsets[g + 1]):
            r = np.int64(order[i])
            if n_free > 0:
                n_free -= 1
                place[r] = free[n_free]
            else:
                place[r] = used
                used += 1
            following[r] = ending[last[r]]
            ending[last[r]] = r
    return used


@jit
def narrow_rows(order, lo, hi, panel, place, rows, weight, neurons, acts):
    """Compute neurons ``order[lo:hi]``, which sum or average, for one panel with a row for each ``place``."""
    for i in range(lo, hi):
        r = np.int64(order[i])
        row = np.int64(place[r])
        k0 = rows.start[r]
        k1 = k0 + rows.length[r]
        sums = neurons.aggregation[r] == SUM
        bias = neurons.bias[r]
        seed = bias if sums else acts.dtype.type(0)
        fused = sums and neurons.activation[r] == RELU
        gather(weight, rows.other, rows.slot, k0, k1, acts, panel, np.int64(0), row, seed, fused)
        if not sums:
            scale = acts.dtype.type(1) / acts.dtype.type(max(rows.length[r], 1))
            for lane in range(acts.shape[2]):
                acts[panel, row, lane] = acts[panel, row, lane] * scale + bias
        if not fused and neurons.activation[r] != IDENTITY:
            activate(neurons.activation[r], neurons.parameter[r], acts[panel, row])


@jit
def find_living(acts, panel, expires, g, living):
    """Which lanes of a panel are not zero in some row that generation ``g`` or a later one reads."""
    for lane in range(acts.shape[2]):
        living[panel, lane] = 0
    for row in range(expires.shape[0]):
        if expires[row] >= g:
            for lane in range(acts.shape[2]):
                living[panel, lane] |= acts[panel, row, lane] != 0


@parallel_jit
def _narrow_shares(
    order, lo, hi, by_panel, work, shares, place, rows, weight, neurons, acts, expires, g, living
):  # fmt: skip
    for i in numba.prange(shares):
        share = np.int64(i)
        a, b, panel, end = lo, hi, share, share + 1
        if not by_panel:
            panel, end = np.int64(0), np.int64(living.shape[0])
            a, b = cut(work, lo, hi, share, shares), cut(work, lo, hi, share + 1, shares)
        for p in range(panel, end):
            narrow_rows(order, a, b, p, place, rows, weight, neurons, acts)
        if by_panel:
            find_living(acts, panel, expires, g, living)


@jit
def _pack(acts, n_lanes, living, lane_of, expires, g):
    """Move the living lanes to the front, and one of those that are zero everywhere, which stands for all of them.

    Returns how many lanes are left; the same as before where that would empty too few panels to be worth it.
    """
    lanes = acts.shape[2]
    moved, left, nothing = np.empty(n_lanes, np.int64), 0, -1
    kept = np.empty(n_lanes, np.int64)
    for lane in range(n_lanes):
        if living[lane // lanes, lane % lanes] == 0 and nothing >= 0:
            moved[lane] = nothing
            continue
        if living[lane // lanes, lane % lanes] == 0:
            nothing = left
        moved[lane] = left
        kept[left] = lane
        left += 1
    if 4 * ((left + lanes - 1) // lanes) > 3 * ((n_lanes + lanes - 1) // lanes):
        return n_lanes
    for row in range(expires.shape[0]):
        if expires[row] >= g:
            for lane in range(left):  # none moves back, so none is overwritten before it has moved
                acts[lane // lanes, row, lane % lanes] = acts[kept[lane] // lanes, row, kept[lane] % lanes]
    for sample in range(lane_of.shape[0]):
        lane_of[sample] = moved[lane_of[sample]]
    return left


@jit
def narrow_forward(
    order, offsets, work, threads, inputs, start, length, other, slot, delay, weight, activation, parameter,
    aggregation, bias, rate, special, place, last, acts, lane_of,
):  # fmt: skip
    """Run all generations over rows that are taken over as soon as nobody reads them any more.

    Samples whose rows are all zero are the same from there on, whatever the weights are: one of them goes on for all.
    Fills ``lane_of`` with each sample's lane, counted over the panels, and returns the number of lanes.
    """
    rows = Rows(start, length, other, slot, delay)
    neurons = Neurons(activation, parameter, aggregation, bias, rate, special)
    generations, lanes, n_lanes = offsets.shape[0] - 1, acts.shape[2], lane_of.shape[0]
    expires = np.full(acts.shape[1], -1, np.int64)
    for r in inputs:
        expires[place[r]] = last[r]
    for sample in range(n_lanes):
        lane_of[sample] = sample
    g = 0
    while g < generations:
        first, lo = g, offsets[g]
        g += 1
        while g < generations and work[offsets[g]] - work[lo] < READS_PER_LOOK * acts.shape[1]:
            g += 1
        hi = offsets[g]
        for i in range(lo, hi):
            expires[place[order[i]]] = last[order[i]]
        count = np.int64((n_lanes + lanes - 1) // lanes)
        living = np.ones((count, lanes), np.int32)
        by_panel = count >= threads
        if threads == 1 or (work[hi] - work[lo]) * count < SERIAL_WORK:
            for panel in range(count):
                narrow_rows(order, lo, hi, panel, place, rows, weight, neurons, acts)
                if count > 1:
                    find_living(acts, panel, expires, g, living)
        elif by_panel:
            _narrow_shares(
                order, lo, hi, by_panel, work, count, place, rows, weight, neurons, acts, expires, np.int64(g), living
            )
        else:
            for each in range(first, g):
                _narrow_shares(
                    order, offsets[each], offsets[each + 1], by_panel, work, threads, place, rows, weight, neurons,
                    acts, expires, np.int64(g), living,
                )  # fmt: skip
            for panel in range(count if count > 1 else 0):
                find_living(acts, panel, expires, g, living)
        if count > 1:
            n_lanes = _pack(acts, n_lanes, living, lane_of, expires, g)
    return n_lanes
