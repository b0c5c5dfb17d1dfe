"""cuSPARSE through CuPy: the operator that people write, and every algorithm in both orders of the dense matrices."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["ALGORITHMS", "ways"]

# Numbers of cusparseSpMMAlg_t for CSR matrices; CuPy hands them on.
ALGORITHMS = {"ALG_DEFAULT": 0, "CSR_ALG1": 4, "CSR_ALG2": 6, "CSR_ALG3": 12}
FLOAT32 = 0  # CUDA_R_32F


def ways(weight: Any, inputs: list[np.ndarray]) -> dict[str, Callable[[], Any]]:
    """Steps that multiply a SciPy CSR matrix with the inputs in turn, by name of the order and the algorithm.

    Parameters
    ----------
    weight : scipy.sparse.csr_array, shape (targets, sources)
    inputs : list of ndarray, shape (sources, batch)
        Rotated, so that the cache does not hold them.

    Returns
    -------
    dict
        "csr @ dense" is CuPy's operator, which makes its result anew at each call; the others write into one result
        for each input, with their buffers made once.
    """
    import cupy
    from cupy_backends.cuda.libs import cusparse
    from cupyx.scipy import sparse

    from ..events import rotated

    parts = (weight.data, weight.indices.astype(np.int32), weight.indptr.astype(np.int32))
    matrix = sparse.csr_matrix(tuple(map(cupy.asarray, parts)), shape=weight.shape)
    matrix.sum_duplicates()  # there are none; now it knows
    columns = [(cupy.asarray(x, order="F"),) for x in inputs]
    rows = [(cupy.ascontiguousarray(cupy.asarray(x)),) for x in inputs]
    found = {"csr @ dense": rotated(lambda x: matrix @ x, columns)}
    for order, sets in (("column-major", columns), ("row-major", rows)):
        for name, algorithm in ALGORITHMS.items():
            # cuSPARSE refuses some algorithms in some orders; the operator is always there.
            with contextlib.suppress(cusparse.CuSparseError):
                products = [(Product(matrix, x, order == "row-major", algorithm),) for (x,) in sets]
                found[f"{name}, {order}"] = rotated(Product.__call__, products)
    return found


class Product:
    """One sparse product, described once: descriptors, buffer and result are kept, and a call only computes.

    Parameters
    ----------
    matrix : cupyx.scipy.sparse.csr_matrix
    x : cupy.ndarray, shape (sources, batch)
    row_major : bool
        The order of x and of the result.
    algorithm : int
        One of `ALGORITHMS`.
    """

    def __init__(self, matrix: Any, x: Any, row_major: bool, algorithm: int):
        import cupy
        from cupy_backends.cuda.libs import cusparse

        (n_targets, n_sources), batch = matrix.shape, x.shape[1]
        self.library, self.keep = cusparse, (matrix, x)
        self.result = cupy.empty((n_targets, batch), np.float32, order="C" if row_major else "F")
        order = cusparse.CUSPARSE_ORDER_ROW if row_major else cusparse.CUSPARSE_ORDER_COL
        int32 = cusparse.CUSPARSE_INDEX_32I
        self.handle = cupy.cuda.device.get_cusparse_handle()
        self.matrix = cusparse.createCsr(
            n_targets,
            n_sources,
            matrix.nnz,
            matrix.indptr.data.ptr,
            matrix.indices.data.ptr,
            matrix.data.data.ptr,
            int32,
            int32,
            cusparse.CUSPARSE_INDEX_BASE_ZERO,
            FLOAT32,
        )
        self.x, self.y = (
            cusparse.createDnMat(*a.shape, a.shape[1] if row_major else a.shape[0], a.data.ptr, FLOAT32, order)
            for a in (x, self.result)
        )
        self.one, self.zero = np.array(1, np.float32), np.array(0, np.float32)
        plain = cusparse.CUSPARSE_OPERATION_NON_TRANSPOSE
        self.how = (FLOAT32, algorithm)
        self.what = (
            self.handle,
            plain,
            plain,
            self.one.ctypes.data,
            self.matrix,
            self.x,
            self.zero.ctypes.data,
            self.y,
        )
        self.buffer = cupy.empty(max(cusparse.spMM_bufferSize(*self.what, *self.how), 1), np.int8)

    def __call__(self) -> Any:
        self.library.spMM(*self.what, *self.how, self.buffer.data.ptr)
        return self.result

    def __del__(self) -> None:
        if hasattr(self, "y"):
            self.library.destroySpMat(self.matrix)
            self.library.destroyDnMat(self.x)
            self.library.destroyDnMat(self.y)
