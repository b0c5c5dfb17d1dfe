"""Losses in one compiled loop, where NumPy's many small steps would cost more than the pass of a small network."""

import math
from functools import partial

import numpy as np

from ...functions import losses
from ...jit import njit

jit = partial(njit, nogil=True, error_model="numpy")


@jit
def _cross_entropy(outputs, labels, terms, gradient):
    """Fill ``terms``, the loss of each sample, and ``gradient``; False where a label is no column of the outputs.

    Sums and quotients are taken in the order of the definition, so that the results are the same.
    """
    batch, columns = outputs.shape
    shares = np.empty(columns)
    for i in range(batch):
        label = labels[i]
        if label < 0 or label >= columns:
            return False
        top = np.float64(outputs[i, 0])
        for j in range(1, columns):
            top = max(top, np.float64(outputs[i, j]))
        total = 0.0
        for j in range(columns):
            shares[j] = math.exp(np.float64(outputs[i, j]) - top)
            total += shares[j]
        terms[i] = math.log(total) - (np.float64(outputs[i, label]) - top)
        for j in range(columns):
            share = shares[j] / total
            gradient[i, j] = (share - 1.0 if j == label else share) / batch
    return True


def cross_entropy(outputs, Y):
    """See `neurograph.functions.losses.cross_entropy`, which also takes what is no plain array of labels."""
    plain = type(Y) is np.ndarray and Y.dtype == np.int64 and Y.shape == outputs.shape[:1] and outputs.size
    if plain and Y.flags.carray and outputs.flags.carray:
        terms, gradient = np.empty(len(Y)), np.empty_like(outputs)
        if _cross_entropy(outputs, Y, terms, gradient):
            return float(np.add.reduce(terms) / len(terms)), gradient
    return losses.cross_entropy(outputs, Y)


@jit
def _mse(outputs, targets, squares, gradient):
    """Fill the square of every error, and the ``gradient`` of their mean."""
    scale = 2.0 / outputs.size
    for i in range(outputs.shape[0]):
        for j in range(outputs.shape[1]):
            error = np.float64(outputs[i, j]) - np.float64(targets[i, j])
            squares[i, j] = error * error
            gradient[i, j] = error * scale


def mse(outputs, Y):
    """See `neurograph.functions.losses.mse`, which takes what is no plain array and refuses what is not finite."""
    plain = type(Y) is np.ndarray and Y.dtype in (np.float32, np.float64) and Y.shape == outputs.shape
    if plain and outputs.size and Y.flags.carray and outputs.flags.carray:
        squares, gradient = np.empty(Y.shape), np.empty_like(outputs)
        _mse(outputs, Y, squares, gradient)
        value = float(np.add.reduce(squares, axis=None) / squares.size)
        if math.isfinite(value):
            return value, gradient
    return losses.mse(outputs, Y)


LOSSES = {losses.cross_entropy: cross_entropy, losses.mse: mse}
