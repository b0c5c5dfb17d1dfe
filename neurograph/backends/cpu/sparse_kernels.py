"""The compiled loops over the entries of a sparse X."""

from functools import partial

import numpy as np

from ...jit import njit

jit = partial(njit, nogil=True, error_model="numpy")


@jit
def push(indptr, indices, data, inputs, start, length, other, slot, weight, acts):
    """Add ``weight * x`` over the connections of every active input to its targets' rows, one lane a sample."""
    lanes = acts.shape[2]
    for sample in range(indptr.shape[0] - 1):
        panel, lane = sample // lanes, sample % lanes
        for entry in range(indptr[sample], indptr[sample + 1]):
            r, x = inputs[indices[entry]], data[entry]
            for k in range(start[r], start[r] + length[r]):
                acts[panel, np.uint32(other[k]), lane] += weight[np.uint32(slot[k])] * x


@jit
def pull(indptr, indices, data, inputs, start, length, other, slot, delta, first, grad):
    """Add ``x * delta`` to the gradients of the connections of every active input."""
    lanes = delta.shape[2]
    for sample in range(indptr.shape[0] - 1):
        panel, lane = sample // lanes, sample % lanes
        for entry in range(indptr[sample], indptr[sample + 1]):
            r, x = inputs[indices[entry]], data[entry]
            for k in range(start[r], start[r] + length[r]):
                grad[np.uint32(slot[k])] += x * delta[panel, first + np.uint32(other[k]), lane]
