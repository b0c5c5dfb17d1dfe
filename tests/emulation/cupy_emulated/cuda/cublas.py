"""Of cuBLAS the one product that serves all types; matrices are addresses, and must lie within what was allocated."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from ... import state
from ...memory import live

CUBLAS_STATUS = {
    1: "CUBLAS_STATUS_NOT_INITIALIZED",
    7: "CUBLAS_STATUS_INVALID_VALUE",
    15: "CUBLAS_STATUS_NOT_SUPPORTED",
}
HANDLE = 1
TYPES = {0: np.dtype(np.float32), 1: np.dtype(np.float64), 14: np.dtype(np.uint16)}  # CUDA_R_32F, _64F, _16BF
# Of each way to compute (CUBLAS_COMPUTE_32F, _64F, _32F_FAST_TF32) the types of the factors and of the result.
COMPUTE = {68: ((0, 0), (14, 0)), 70: ((1, 1),), 77: ((0, 0),)}


class CUBLASError(RuntimeError):
    def __init__(self, status: int):
        self.status = status
        super().__init__(CUBLAS_STATUS[status])


def get_cublas_handle() -> int:
    return HANDLE


def gemmEx(
    handle: int, transa: int, transb: int, m: int, n: int, k: int, alpha: int, A: int, Atype: int, lda: int,
    B: int, Btype: int, ldb: int, beta: int, C: int, Ctype: int, ldc: int, computeType: int, algo: int,
) -> None:  # fmt: skip
    """C = alpha op(A) op(B) + beta C, matrices by columns; alpha and beta are addresses on the host, read now."""
    if state.capture() is not None:
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
    for number in (handle, transa, transb, m, n, k, lda, ldb, ldc, computeType, algo):
        if not isinstance(number, int):
            raise TypeError(f"an integer is required, not {type(number)}")
    if handle != HANDLE:
        raise CUBLASError(1)
    if (Atype, Ctype) not in COMPUTE.get(computeType, ()) or Atype != Btype:
        raise CUBLASError(15)
    rows = (k if transa else m, n if transb else k, m)
    if min(m, n, k) < 0 or any(ld < max(1, row) for ld, row in zip((lda, ldb, ldc), rows, strict=True)):
        raise CUBLASError(7)
    scalar = ctypes.c_double if computeType == 70 else ctypes.c_float
    one, other = (scalar.from_address(place).value for place in (alpha, beta))
    a = _matrix(A, rows[0], m if transa else k, lda, Atype)
    b = _matrix(B, rows[1], k if transb else n, ldb, Btype)
    c = _matrix(C, m, n, ldc, Ctype)

    left, right = (_values(x, computeType) for x in (a.T if transa else a, b.T if transb else b))
    before = other * c if other else 0  # where beta is 0, C is not read
    c[...] = (one * (left @ right) + before).astype(c.dtype)


def _matrix(address: int, rows: int, columns: int, ld: int, code: int) -> np.ndarray:
    dtype = TYPES[code]
    if not rows or not columns:
        return np.zeros((rows, columns), dtype)
    nbytes = ((columns - 1) * ld + rows) * dtype.itemsize
    for memory in live():
        begin = memory.bytes.ctypes.data
        if begin <= address and address + nbytes <= begin + memory.nbytes:
            piece = memory.bytes[address - begin : address - begin + nbytes].view(dtype)
            return np.lib.stride_tricks.as_strided(piece, (rows, columns), (dtype.itemsize, ld * dtype.itemsize))
    raise RuntimeError(f"gemmEx: a matrix of {nbytes} bytes is not within one allocation of the device")


def _values(matrix: np.ndarray, compute: int) -> Any:
    """What is multiplied, in float64: cuBLAS sums in an order of its own."""
    if matrix.dtype == np.uint16:
        return (matrix.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    if compute == 77:  # tf32 has ten bits of mantissa
        bits = np.ascontiguousarray(matrix).view(np.uint32) + np.uint32(0x1000) & np.uint32(0xFFFFE000)
        return bits.view(np.float32).astype(np.float64)
    return matrix.astype(np.float64)
