"""Dense blocks on cuBLAS: where nearly all pairs of two sets of neurons are connected.

Where the neurons of a set have neighbouring slots their rows of activations are a matrix as they stand, and where the
connections of a block were made in order its weights are one in the column; what does not stand like that is gathered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cupy
import numpy as np
from cupy.cuda import cublas

from . import watch
from .mirror import Rows
from .module import Family

COPIED = -1  # the base of a block that is not a matrix in the column
THREADS = 256
WHOLE = 8  # numbers that a row of a gathered matrix is a multiple of: cuBLAS wants rows to begin at 16 bytes

FILL = Family("dense.cu", "fill_block", (np.float32, np.float64), (False, True))
COLLECT = Family("dense.cu", "collect_block", (np.float32, np.float64))
TAKE = Family("dense.cu", "take_rows", (np.float32, np.float64), (False, True))
PUT = Family("dense.cu", "put_rows", (np.float32, np.float64))

# As the headers of CUDA number them: the types of matrices, and what products are computed in.
CUDA_TYPE = {"float32": 0, "float64": 1, "uint16": 14}
COMPUTE = {"float32": 68, "tf32": 77, "bf16": 68, "float64": 70}
DEFAULT_ALGORITHM = -1


def product(
    out: Any, a: Any, b: Any, flip_a: bool = False, flip_b: bool = False, add: bool = False, precision: str = "float32"
) -> None:
    """``out = op(a) op(b)``, or added, for matrices row after row; ``op`` is the transpose where it is to ``flip``.

    A matrix of uint16 is one of bf16; ``out`` is in the type of the network.
    """
    rows, columns = out.shape
    terms = a.shape[0] if flip_a else a.shape[1]
    scalars = np.array([1, 1 if add else 0], out.dtype)
    compute = COMPUTE["float64" if out.dtype == np.float64 else precision]

    def matrix(array: Any) -> tuple[int, int, int]:
        return array.data.ptr, CUDA_TYPE[array.dtype.name], array.strides[0] // array.itemsize

    # cuBLAS counts by columns: to it all matrices are transposed, and so is the product.
    shape, places = (int(flip_b), int(flip_a), columns, rows, terms), (*matrix(b), *matrix(a))
    if watch.current is not None:
        watch.current.launches.append(("product", shape, places, matrix(out), add, compute))
    one = scalars.ctypes.data
    cublas.gemmEx(
        cupy.cuda.get_cublas_handle(), *shape, one, *places, one + scalars.itemsize, *matrix(out), compute,
        DEFAULT_ALGORITHM,
    )  # fmt: skip


@dataclass(eq=False)
class Block:
    """Sources of one generation and targets of another, of which most pairs are connected.

    Attributes
    ----------
    sources, targets : ndarray of int32
        Neuron slots, ascending: the members of two clusters.
    source_cluster, target_cluster : int
    source_number : int
        What the sources have as their cluster on the device.
    base : int
        Where the matrix begins in the column of weights; `COPIED` where it does not stand there.
    by_source : bool
        Whether the matrix in the column goes source after source, or target after target.
    """

    sources: np.ndarray
    targets: np.ndarray
    source_cluster: int
    target_cluster: int
    base: int = COPIED
    by_source: bool = True
    source_number: int = 0
    device: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Targets and sources."""
        return len(self.targets), len(self.sources)

    def slots(self, name: str) -> Any:
        """The ``sources`` or the ``targets`` on the device."""
        if name not in self.device:
            self.device[name] = cupy.asarray(getattr(self, name))
        return self.device[name]

    def find_base(self, incoming: tuple[np.ndarray, ...], source: np.ndarray, target: np.ndarray) -> None:
        """Find out whether the block is a matrix in the column: ``source`` and ``target`` are those of every slot."""
        (start, length, other, slot), (T, S) = incoming, self.shape
        self.base = COPIED
        begin = start[self.targets[0]]
        row = slice(begin, begin + length[self.targets[0]])
        first = slot[row][other[row] == self.sources[0]]
        if len(first) != 1 or first[0] + S * T > len(source):
            return
        cells = slice(int(first[0]), int(first[0]) + S * T)
        for by_source, (rows, columns) in ((True, (self.sources, self.targets)), (False, (self.targets, self.sources))):
            ends = (source, target) if by_source else (target, source)
            shape = len(rows), len(columns)
            if (ends[0][cells].reshape(shape) == rows[:, None]).all() and (
                ends[1][cells].reshape(shape) == columns
            ).all():
                self.base, self.by_source = cells.start, by_source
                return

    def check(self, sources: np.ndarray, targets: np.ndarray, source: np.ndarray, target: np.ndarray) -> None:
        """Look whether pairs that were edited stand where the matrix in the column has them; if not it is no matrix."""
        if self.base == COPIED:
            return
        i, j = (np.searchsorted(own, ends) for own, ends in ((self.sources, sources), (self.targets, targets)))
        T, S = self.shape
        inside = (self.sources.take(i, mode="clip") == sources) & (self.targets.take(j, mode="clip") == targets)
        i, j = i[inside], j[inside]
        cells = self.base + (i * T + j if self.by_source else j * S + i)
        if (source[cells] != sources[inside]).any() or (target[cells] != targets[inside]).any():
            self.base = COPIED


def footprint(blocks: list[Block], dtype: np.dtype, ld: int, precision: str, keep: bool) -> int:
    """Bytes that passes over blocks take: matrices that are gathered, and rows that do not stand side by side."""
    narrow = precision == "bf16"
    item, wide = (2, rounded(ld)) if narrow else (dtype.itemsize, rounded(ld))
    copied = [block for block in blocks if block.base == COPIED or narrow]
    size = sum(len(block.targets) * rounded(len(block.sources)) for block in copied) * item
    if keep:
        cells = (len(block.targets) * len(block.sources) for block in blocks if block.base == COPIED)
        size += max(cells, default=0) * dtype.itemsize
    ends = {name: [getattr(block, name) for block in blocks] for name in ("sources", "targets")}
    for slots in ends.values():
        size += max((len(s) for s in slots if narrow or not _neighbours(s)), default=0) * wide * item
    apart = [len(s) for s in (*ends["targets"], *(ends["sources"] if keep else ())) if not _neighbours(s)]
    return size + max(apart, default=0) * ld * dtype.itemsize


def rounded(count: int) -> int:
    """Numbers of a gathered row that has room for ``count``."""
    return -(-count // WHOLE) * WHOLE


def _neighbours(slots: np.ndarray) -> bool:
    return int(slots[-1]) - int(slots[0]) + 1 == len(slots)


class Dense:
    """The products of one pass over dense blocks.

    Parameters
    ----------
    cluster, position : device arrays of int32
        Of each neuron slot, the number of its cluster, -1 for none, and where it stands among its members.
    dtype : dtype
        Of the network.
    ld : int
        Numbers of each row of activations.
    precision : {"float32", "tf32", "bf16"}
    """

    incoming: Rows

    def __init__(self, cluster: Any, position: Any, dtype: np.dtype, ld: int, precision: str):
        self.cluster, self.position = cluster, position
        self.dtype, self.ld, self.precision = np.dtype(dtype), ld, precision
        self.narrow = precision == "bf16"
        self.type = np.dtype(np.uint16) if self.narrow else self.dtype
        self._matrices: dict[Block, Any] = {}
        self._filled: set[Block] = set()
        self._scratch: dict[tuple[str, Any], Any] = {}

    def forward(self, block: Block, weight: Any, acts: Any, add: bool) -> None:
        """Write the sums that the targets get to their rows, or add them; ``acts`` has a row a neuron slot."""
        matrix, by_source = self._matrix(block, weight)
        X = self._side_by_side(block, "sources", acts)
        self._into_rows(block, "targets", acts, add, matrix, X, by_source)

    def backward(self, block: Block, weight: Any, delta: Any, add: bool) -> None:
        """Write what the sources get back to their rows, or add it."""
        matrix, by_source = self._matrix(block, weight)
        D = self._side_by_side(block, "targets", delta)
        self._into_rows(block, "sources", delta, add, matrix, D, not by_source)

    def gradient(self, block: Block, acts: Any, delta: Any, add: bool, grad: Any) -> None:
        """The gradients of a block's connections, written to the column or added."""
        X, D = self._side_by_side(block, "sources", acts), self._side_by_side(block, "targets", delta)
        T, S = block.shape
        if block.base != COPIED:
            cells = grad[block.base : block.base + S * T]
            if block.by_source:
                product(cells.reshape(S, T), X, D, False, True, add, self.precision)
            else:
                product(cells.reshape(T, S), D, X, False, True, add, self.precision)
            return
        out = self._room("gradient", (T, S), self.dtype)
        product(out, D, X, False, True, False, self.precision)
        given = block.slots("targets"), *self.incoming, self.cluster, self.position, np.int32(block.source_number)
        COLLECT(self.dtype)((T,), (THREADS,), (*given, out, np.int32(S), np.bool_(add), grad))

    def begin(self, incoming: Rows) -> None:
        """The weights have changed, or the rows."""
        self.incoming = incoming
        self._filled.clear()

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return sum(a.nbytes for a in (*self._matrices.values(), *self._scratch.values()))

    def _room(self, name: str, shape: tuple[int, int], dtype: Any) -> Any:
        """A matrix for use within one call. It stays where it is: what was captured in a graph goes on using it."""
        count, key = shape[0] * shape[1], (name, dtype)
        if key not in self._scratch or self._scratch[key].size < count:
            self._scratch[key] = cupy.empty(count, dtype)
        return self._scratch[key][:count].reshape(shape)

    def _matrix(self, block: Block, weight: Any) -> tuple[Any, bool]:
        """The weights, and whether they go source after source."""
        T, S = block.shape
        if block.base != COPIED and not self.narrow:
            cells = weight[block.base : block.base + S * T]
            return (cells.reshape(S, T), True) if block.by_source else (cells.reshape(T, S), False)
        width = rounded(S)
        if block not in self._matrices:
            self._matrices[block] = cupy.empty((T, width), self.type)
        matrix = self._matrices[block]
        if block not in self._filled:
            given = block.slots("targets"), *self.incoming, self.cluster, self.position, np.int32(block.source_number)
            FILL(self.dtype, self.narrow)((T,), (THREADS,), (*given, weight, np.int32(width), matrix))
            self._filled.add(block)
        return matrix[:, :S], False

    def _side_by_side(self, block: Block, name: str, rows: Any) -> Any:
        """The rows of a block's sources or targets as a matrix."""
        slots = getattr(block, name)
        first, count = int(slots[0]), len(slots)
        if _neighbours(slots) and not self.narrow:
            return rows[first : first + count]
        width = rounded(self.ld)
        out = self._room(name, (count, width), self.type)
        given = block.slots(name), rows, np.int32(self.ld), np.int32(width), out
        TAKE(self.dtype, self.narrow)((count,), (THREADS,), given)
        return out[:, : self.ld]

    def _into_rows(self, block: Block, name: str, rows: Any, add: bool, matrix: Any, values: Any, flip: bool) -> None:
        slots = getattr(block, name)
        first, count = int(slots[0]), len(slots)
        if _neighbours(slots):
            product(rows[first : first + count], matrix, values, flip, False, add, self.precision)
            return
        out = self._room("sums", (count, self.ld), self.dtype)
        product(out, matrix, values, flip, False, False, self.precision)
        given = block.slots(name), out, np.int32(self.ld), np.bool_(add), rows
        PUT(self.dtype)((count,), (THREADS,), given)
