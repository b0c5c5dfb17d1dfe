"""A sparse matrix on the device, multiplied by the kernels of staged generations: for measuring them by themselves."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from . import staged
from .buckets import Buckets
from .mirror import Rows


class StagedMatrix:
    """A matrix in compressed rows whose products with dense matrices stage the latter's rows in shared memory.

    Dense matrices are C-contiguous device arrays with a row for each column, or row, of the matrix: float32, or
    bfloat16 as uint16, with a multiple of 4, or of 8, columns (a row is read 16 bytes at a time).

    Parameters
    ----------
    indptr, indices, data : array_like
        As of `scipy.sparse.csr_array`; rows may be unsorted, but name no column twice.
    shape : (int, int)
    room : int, optional
        Rows of the dense matrix that fit shared memory; by default as the device has it.
    """

    def __init__(self, indptr: Any, indices: Any, data: Any, shape: tuple[int, int], room: int | None = None):
        self.shape = shape
        host_indptr, host_indices = np.asarray(indptr, np.int64), np.asarray(indices, np.int32)
        self.data = cupy.asarray(np.asarray(data, np.float32))
        order = np.argsort(host_indices, kind="stable")
        row_of_entry = np.repeat(np.arange(shape[0], dtype=np.int32), np.diff(host_indptr))
        by_column = np.concatenate([[0], np.cumsum(np.bincount(host_indices, minlength=shape[1]))])
        room = staged.room() if room is None else room
        number = np.arange(len(order), dtype=np.int32)
        self.rows = _buckets(host_indptr, host_indices, number, max(shape), room)
        self.columns = _buckets(by_column, row_of_entry[order], order.astype(np.int32), max(shape), room)
        self.update()

    def update(self) -> None:
        """Bring ``data`` into the order of the kernels, as a training step has to once."""
        self._by_row, self._by_column = self.rows.weights(self.data), self.columns.weights(self.data)

    def product(self, x: Any, out: Any | None = None, sums: int | None = None) -> Any:
        """``matrix @ x`` in float32."""
        out = self._checked(x, self.shape[1], self.shape[0], out)
        staged.product(self.rows, self._by_row, x, out, sums)
        return out

    def transposed_product(self, delta: Any, out: Any | None = None, sums: int | None = None) -> Any:
        """``matrix.T @ delta`` in float32."""
        out = self._checked(delta, self.shape[0], self.shape[1], out)
        staged.product(self.columns, self._by_column, delta, out, sums)
        return out

    def sampled_product(
        self, delta: Any, x: Any, grad: Any | None = None, scratch: Any | None = None, sums: int | None = None
    ) -> Any:
        """``delta[i] . x[j]`` for every entry (i, j), in the order of ``data``."""
        grad = cupy.empty(len(self.data), np.float32) if grad is None else grad
        staged.backward(self.columns, self._by_column, delta, x, None, grad, False, scratch, sums)
        return grad

    def backward(
        self,
        delta: Any,
        x: Any,
        out: Any | None = None,
        grad: Any | None = None,
        scratch: Any | None = None,
        sums: int | None = None,
    ) -> tuple[Any, Any]:
        """Both of the above, with each row of ``delta`` read once."""
        out = self._checked(delta, self.shape[0], self.shape[1], out)
        grad = cupy.empty(len(self.data), np.float32) if grad is None else grad
        staged.backward(self.columns, self._by_column, delta, x, out, grad, False, scratch, sums)
        return out, grad

    def scratch(self, lead: int, dtype: Any, sums: int | None = None) -> Any:
        """Memory for the last two, so that they need not allocate it."""
        return staged.scratch_for(self.columns, lead, np.dtype(dtype), sums)

    @property
    def nbytes(self) -> int:
        """Bytes on the device, of both directions and with the weights."""
        return self.rows.nbytes + self.columns.nbytes + self.data.nbytes

    def _checked(self, x: Any, rows: int, rows_out: int, out: Any | None) -> Any:
        columns = staged.PIECE // x.dtype.itemsize
        if x.dtype not in (staged.SINGLE, staged.HALF):
            raise TypeError(f"a dense matrix of {x.dtype}; staged products take float32, or bfloat16 as uint16")
        if x.ndim != 2 or len(x) != rows or x.shape[1] % columns or not x.flags.c_contiguous:
            raise ValueError(
                f"a dense matrix of shape {x.shape}; needed is a C-contiguous one of {rows} rows, with columns filled "
                f"up with zeros to a multiple of {columns}"
            )
        return cupy.empty((rows_out, x.shape[1]), np.float32) if out is None else out


def _buckets(indptr: np.ndarray, indices: np.ndarray, slots: np.ndarray, size: int, room: int) -> Buckets:
    # Rows and columns are two kinds of neurons with numbers of their own: nothing compares them.
    start, length = np.zeros(size, np.int64), np.zeros(size, np.int32)
    count = len(indptr) - 1
    start[:count], length[:count] = indptr[:-1], np.diff(indptr)
    rows = Rows(*(cupy.asarray(a) for a in (start, length, np.ascontiguousarray(indices), slots)))
    return Buckets(rows, np.arange(count, dtype=np.int32), length, room)
