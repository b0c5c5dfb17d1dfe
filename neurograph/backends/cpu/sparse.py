"""Passes over a sparse X that touch the active inputs and their connections only, as an embedding needs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...functions import activations
from ...plan import MEAN, Plan
from . import sparse_kernels

FEW = 32  # an input must be zero in all but one of so many samples: going through samples one by one is slower


def pays(plan: Plan, X: Any) -> bool:
    """Whether a sparse X (batch, 1, n_inputs) is worth running entry by entry.

    Only where those that read inputs read nothing else, nor the past, and sum or average.
    """
    graph = plan.graph
    if plan.history or plan.n_special or not plan.n_generations or len(X) * len(plan.inputs) < FEW * X.rows.nnz:
        return False
    first = plan.rows[: plan.offsets[1]]
    return int(graph.outgoing.length[plan.inputs].sum()) == int(graph.incoming.length[first].sum())


def forward(plan: Plan, rows: Any, acts: np.ndarray, z: np.ndarray, keep_z: bool) -> None:
    """Fill the rows of the first generation in panels ``acts``, and in ``z`` if that is to be kept."""
    graph, neurons = plan.graph, plan.graph.neurons
    first = plan.rows[: plan.offsets[1]]
    acts[:, first] = 0
    sparse_kernels.push(
        rows.indptr, rows.indices, rows.data, plan.inputs, *graph.outgoing.rows, graph.connections["weight"], acts
    )
    sums = acts[:, first]
    scale = np.where(neurons["aggregation"][first] == MEAN, np.maximum(graph.incoming.length[first], 1), 1)
    sums /= scale.astype(sums.dtype)[:, None]
    sums += neurons["bias"][first][:, None]
    unused = len(sums) * sums.shape[2] - rows.shape[0]
    if unused:  # lanes beyond the last sample repeat it, as in a dense pass
        sums[-1, :, -unused:] = sums[-1, :, -unused - 1, None]
    if keep_z:
        z[:, first] = sums
    codes, parameters = neurons["activation"][first], neurons["activation_parameter"][first]
    with np.errstate(all="ignore"):
        for code in np.unique(codes):
            alike = np.flatnonzero(codes == code)
            function = activations.by_code(int(code)).function
            acts[:, first[alike]] = function(sums[:, alike], parameters[alike][:, None])


def backward(plan: Plan, rows: Any, delta: np.ndarray, first: int) -> None:
    """Add to the gradients of the active inputs' connections, from deltas that begin at row ``first``."""
    graph = plan.graph
    sparse_kernels.pull(
        rows.indptr, rows.indices, rows.data, plan.inputs, *graph.outgoing.rows, delta, first, graph.connections["grad"]
    )
