"""The gradient of the loss by weights that a network does not have, over arrays."""

from functools import cache
from typing import Any

import numpy as np

from ..locks import alone

__all__ = ["gradients_at"]

AT_A_TIME = 2**20  # numbers of an intermediate result
FILLED = 16  # cells of a matrix for each pair wanted, up to which a whole matrix by BLAS costs less than pair by pair


@alone
def gradients_at(outputs: np.ndarray, errors: np.ndarray, place: np.ndarray) -> np.ndarray:
    """``sum_b outputs[b, i] * errors[b, j]`` for the pairs (i, j) at ``place = i * targets + j``.

    With outputs of sources and errors of targets (gradients by their inputs) these are the gradients of the loss by the
    weights of connections between them, whether or not they exist, as long as the targets sum. Where most pairs are
    wanted BLAS multiplies whole blocks of rows, in one thread: with several it may sum in another order.

    Parameters
    ----------
    outputs : ndarray, shape (batch, sources)
    errors : ndarray, shape (batch, targets)
    place : ndarray of int64, shape (n,)
        Ascending.

    Returns
    -------
    ndarray, shape (n,)

    Examples
    --------
    >>> outputs, errors = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0], [10.0]])
    >>> gradients_at(outputs, errors, np.array([0, 1]))
    array([31., 42.])
    """
    gradient = np.empty(len(place), np.result_type(outputs, errors))
    targets = errors.shape[1]
    rows = max(1, AT_A_TIME // max(targets, 1))
    by_neuron = None
    with _blas().limit(limits=1, user_api="blas"):
        for begin in range(0, outputs.shape[1], rows):
            end = min(begin + rows, outputs.shape[1])
            first, last = np.searchsorted(place, [begin * targets, end * targets])
            wanted = place[first:last]
            if (end - begin) * targets <= FILLED * len(wanted):
                matrix = outputs[:, begin:end].T @ errors
                gradient[first:last] = matrix.ravel()[wanted - begin * targets if begin else wanted]
                continue
            if by_neuron is None:
                by_neuron = np.ascontiguousarray(outputs.T), np.ascontiguousarray(errors.T)
            step = max(1, AT_A_TIME // len(outputs))
            for i in range(first, last, step):
                row, column = np.divmod(place[i : min(i + step, last)], targets)
                gradient[i : i + len(row)] = np.einsum("ib,ib->i", by_neuron[0][row], by_neuron[1][column])
    return gradient


@cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
