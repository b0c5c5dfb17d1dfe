"""Losses on the device, with the results of `neurograph.functions.losses`.

Sums are made in double precision and in an order that the shapes alone decide. What the kernels cannot take, and every
batch whose loss is no finite number, goes to the definition on the host, which knows the right error.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import cupy
import numpy as np

from ...functions import losses
from .launch import THREADS, blocks_for
from .module import REALS, Family

COMPARE_EACH = Family("losses.cu", "compare_each", REALS, REALS)
CROSS_ENTROPY = Family("losses.cu", "cross_entropy", REALS)
CROSS_ENTROPY_OF_SHARES = Family("losses.cu", "cross_entropy_of_shares", REALS, REALS)
FINISH = Family("losses.cu", "finish", (THREADS,))
KINDS = {losses.mse: 0, losses.mae: 1, losses.huber: 2, losses.binary_cross_entropy: 3}  # as the enum in losses.cu
ROWS_A_CHUNK, PAIRS_A_CHUNK = THREADS // 32, 4 * THREADS


def n_partials(loss: losses.Loss, shape: tuple[int, int]) -> int:
    """How many partial sums a loss of outputs of this shape leaves.

    Examples
    --------
    >>> n_partials(losses.cross_entropy, (60, 10)), n_partials(losses.mse, (600, 10))
    (8, 6)
    """
    if loss is losses.cross_entropy:
        return -(-shape[0] // ROWS_A_CHUNK)
    return -(-shape[0] * shape[1] // PAIRS_A_CHUNK)


def measure(loss: losses.Loss, outputs: Any, targets: Any, gradient: Any, value: Any, partials: Any) -> None:
    """Compute a loss and leave it on the device: two launches, which can be recorded; nothing is checked.

    Parameters
    ----------
    loss : function
        One of `LOSSES`.
    outputs : cupy array (batch, n_outputs)
        float32 or float64, with any strides.
    targets : cupy array
        float32 or float64 in the shape of the outputs, or int64 labels (batch,), contiguous.
    gradient : cupy array like `outputs`
        Overwritten.
    value : cupy array (1,) of float64
        Overwritten by the loss; NaN where a target is no valid one.
    partials : cupy array of float64
        Room for `n_partials` numbers.
    """
    shape = outputs.shape
    if loss is not losses.cross_entropy and outputs.strides[0] < outputs.strides[1]:
        outputs, targets, gradient = outputs.T, targets.T, gradient.T  # neighbours in memory to neighbouring threads
    rows, columns = np.int64(outputs.shape[0]), np.int64(outputs.shape[1])
    count = n_partials(loss, shape)
    given, result = (outputs, *_apart(outputs)), (gradient, *_apart(gradient), partials)
    grid, block = (blocks_for(count, 1),), (THREADS,)
    if loss is not losses.cross_entropy:
        kernel = COMPARE_EACH(outputs.dtype, targets.dtype)
        kernel(grid, block, (np.int32(KINDS[loss]), *given, targets, *_apart(targets), rows, columns, *result))
    elif targets.ndim == 1:
        CROSS_ENTROPY(outputs.dtype)(grid, block, (*given, targets, rows, columns, *result))
    else:
        kernel = CROSS_ENTROPY_OF_SHARES(outputs.dtype, targets.dtype)
        kernel(grid, block, (*given, targets, *_apart(targets), rows, columns, *result))
    compared = shape[0] if loss is losses.cross_entropy else shape[0] * shape[1]
    FINISH(THREADS)((1,), block, (partials, np.int64(count), np.float64(compared), value))


def _apart(array: Any) -> tuple[np.int64, np.int64]:
    """Distance between rows and between columns, in elements."""
    return np.int64(array.strides[0] // array.itemsize), np.int64(array.strides[1] // array.itemsize)


def _on_device(loss: losses.Loss, outputs: Any, Y: Any) -> tuple[float, Any]:
    """See the loss of this name in `neurograph.functions.losses`; outputs and gradient are arrays of the device."""
    if not isinstance(outputs, cupy.ndarray):
        return loss(outputs, _to_host(Y))
    usable = outputs.ndim == 2 and outputs.size and outputs.dtype in REALS
    targets = _targets(loss, Y, outputs.shape) if usable else None
    if targets is not None:
        gradient, value = like(outputs), cupy.empty(1, np.float64)
        measure(loss, outputs, targets, gradient, value, cupy.empty(n_partials(loss, outputs.shape), np.float64))
        number = float(value.item())
        if math.isfinite(number):
            return number, gradient
    number, on_host = loss(cupy.asnumpy(outputs), _to_host(Y))
    return number, cupy.asarray(on_host)


def like(outputs: Any) -> Any:
    """An array for the gradient of outputs, with samples or columns as neighbours as they have them."""
    if outputs.strides[0] < outputs.strides[1]:
        return cupy.empty(outputs.shape[::-1], outputs.dtype).T
    return cupy.empty(outputs.shape, outputs.dtype)


def _to_host(Y: Any) -> Any:
    return cupy.asnumpy(Y) if isinstance(Y, cupy.ndarray) else Y


def _targets(loss: losses.Loss, Y: Any, shape: tuple[int, int]) -> Any | None:
    """Targets as the kernels take them; None for what only the definition can judge."""
    if not isinstance(Y, cupy.ndarray):
        try:
            Y = np.asarray(Y)
        except ValueError:
            return None
    if Y.dtype.kind not in "fiub":
        return None
    if loss is losses.cross_entropy and Y.shape != shape:
        return _labels(Y) if Y.shape == shape[:1] else None
    if Y.shape != shape:
        if shape[1] != 1 or Y.shape != shape[:1]:
            return None
        Y = Y[:, None]
    return cupy.asarray(Y if Y.dtype in REALS else Y.astype(np.float64))


def _labels(Y: Any) -> Any | None:
    if Y.dtype.kind == "f":
        Y = _to_host(Y)
        with np.errstate(invalid="ignore"):
            whole = Y.astype(np.int64)
        if not (whole == Y).all():
            return None
        Y = whole
    return cupy.ascontiguousarray(cupy.asarray(Y.astype(np.int64, copy=False)))


LOSSES = {loss: partial(_on_device, loss) for loss in (losses.cross_entropy, *KINDS)}
