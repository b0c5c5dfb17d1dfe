"""The definition: a whole network in numpy and scipy, generation by generation, short enough to check by eye.

For every neuron, ``z = bias + aggregate(weight * source output)`` and ``output = activation(z)``. Arrays here are
(neuron slot, sample).
"""

from __future__ import annotations

import numpy as np

from ..functions import activations, aggregations
from ..plan import MEAN, SPECIAL, Plan
from .updates import adam, rmsprop, sgd

__all__ = ["Pass", "adam", "backward", "forward", "rmsprop", "sgd"]

SUM, PRODUCT = aggregations.AGGREGATIONS["sum"], aggregations.AGGREGATIONS["product"]


class Pass:
    """Outputs of a batch and, once `backward` ran, the gradients by each neuron's input z."""

    def __init__(self, plan: Plan, batch: int):
        shape = (plan.graph.neurons.size, batch)
        self.y, self.z, self.delta = (np.zeros(shape, plan.graph.dtype) for _ in range(3))
        self._plan = plan
        self.differentiated = False

    @property
    def outputs(self) -> np.ndarray:
        """(batch, n_outputs)."""
        return self.y[self._plan.outputs].T.copy()

    def activations(self, slots: np.ndarray) -> np.ndarray:
        """(batch, len(slots))."""
        return self.y[slots].T.copy()

    def output(self, slot: int) -> np.ndarray:
        """(batch,)."""
        return self.y[slot].copy()

    def error(self, slot: int) -> np.ndarray:
        """(batch,)."""
        return self.delta[slot].copy()


def forward(plan: Plan, X: np.ndarray, keep: bool = True, reuse: Pass | None = None) -> Pass:
    """Run a batch X of shape (batch, n_inputs)."""
    run, neurons = Pass(plan, len(X)), plan.graph.neurons
    run.y[plan.inputs] = X.T
    for rows in _generations(plan):
        run.z[rows] = neurons["bias"][rows, None] + _aggregate(plan, rows, run.y)
        for code, of_code in _by(neurons["activation"], rows):
            function = activations.by_code(code).function
            run.y[of_code] = function(run.z[of_code], neurons["activation_parameter"][of_code, None])
    return run


def backward(plan: Plan, run: Pass, gradient: np.ndarray) -> None:
    """Fill ``grad`` of the connections and ``bias_grad`` of the neurons from ``gradient`` (batch, n_outputs)."""
    graph, neurons = plan.graph, plan.graph.neurons
    by_output = np.zeros_like(run.y)
    by_output[plan.outputs] = gradient.T
    graph.connections["grad"][:] = 0
    neurons["bias_grad"][:] = 0
    for rows in _generations(plan)[::-1]:
        for code, of_code in _by(neurons["activation"], rows):
            slope = activations.by_code(code).derivative(
                run.z[of_code], run.y[of_code], neurons["activation_parameter"][of_code, None]
            )
            run.delta[of_code] = by_output[of_code] * slope
        neurons["bias_grad"][rows] = run.delta[rows].sum(axis=1)
        _spread(plan, rows, run, by_output)
    run.differentiated = True


def _generations(plan: Plan) -> list[np.ndarray]:
    return [plan.rows[a:b] for a, b in zip(plan.offsets[:-1], plan.offsets[1:], strict=True)]


def _by(column: np.ndarray, rows: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """The rows, split by their entry in a column."""
    return [(int(code), rows[column[rows] == code]) for code in np.unique(column[rows])]


def _matrix(plan: Plan, rows: np.ndarray):
    """Incoming weights of some neurons, their slots, and the matrix[target, source] that they make."""
    import scipy.sparse

    graph = plan.graph
    slots = graph.incoming.of(rows)
    indptr = np.concatenate([[0], np.cumsum(graph.incoming.length[rows])])
    weight, source = graph.connections["weight"][slots], graph.connections["source"][slots]
    matrix = scipy.sparse.csr_array((weight, source, indptr), shape=(len(rows), graph.neurons.size))
    return slots, matrix


def _aggregate(plan: Plan, rows: np.ndarray, y: np.ndarray) -> np.ndarray:
    out = np.zeros((len(rows), y.shape[1]), y.dtype)
    kinds = plan.graph.neurons["aggregation"][rows]
    linear = ~np.isin(kinds, SPECIAL)
    _, matrix = _matrix(plan, rows[linear])
    out[linear] = matrix @ y / _divisor(plan, rows[linear])[:, None]
    for i in np.flatnonzero(~linear):
        _, matrix = _matrix(plan, rows[i : i + 1])
        terms = matrix.data[:, None] * y[matrix.indices]
        if kinds[i] == PRODUCT:
            out[i] = terms.prod(axis=0)
        elif len(terms):
            out[i] = terms.max(axis=0) if kinds[i] == aggregations.AGGREGATIONS["max"] else terms.min(axis=0)
    return out


def _spread(plan: Plan, rows: np.ndarray, run: Pass, by_output: np.ndarray) -> None:
    """Hand the deltas of a generation down to the weights and to the sources' outputs."""
    kinds = plan.graph.neurons["aggregation"][rows]
    grad = plan.graph.connections["grad"]
    linear = rows[~np.isin(kinds, SPECIAL)]
    slots, matrix = _matrix(plan, linear)
    delta = run.delta[linear] / _divisor(plan, linear)[:, None]
    by_output += matrix.T @ delta
    target = np.repeat(np.arange(len(linear)), np.diff(matrix.indptr))
    grad[slots] = np.einsum("cb,cb->c", run.y[matrix.indices], delta[target])
    for row, kind in zip(rows, kinds, strict=True):
        if kind not in SPECIAL:
            continue
        slots, matrix = _matrix(plan, np.array([row]))
        weight, y = matrix.data[:, None], run.y[matrix.indices]
        if kind == PRODUCT:
            share = np.stack([np.delete(weight * y, k, axis=0).prod(axis=0) for k in range(len(y))]) if len(y) else y
        else:
            # A maximum that several terms reach is shared out evenly among them, as torch.amax does.
            share = _winners(weight * y, kind)
        by_term = share * run.delta[row]
        np.add.at(by_output, matrix.indices, weight * by_term)
        grad[slots] = (y * by_term).sum(axis=1)


def _winners(terms: np.ndarray, kind: int) -> np.ndarray:
    if not len(terms):
        return terms
    best = terms.max(axis=0) if kind == aggregations.AGGREGATIONS["max"] else terms.min(axis=0)
    reached = terms == best
    return reached / reached.sum(axis=0).astype(terms.dtype)


def _divisor(plan: Plan, rows: np.ndarray) -> np.ndarray:
    """Fan-in where the aggregation is a mean, 1 elsewhere."""
    graph = plan.graph
    fan_in = np.maximum(graph.incoming.length[rows], 1)
    return np.where(graph.neurons["aggregation"][rows] == MEAN, fan_in, 1).astype(graph.dtype)
