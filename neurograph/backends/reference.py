"""The definition: a whole network in numpy and scipy, generation by generation, short enough to check by eye.

At every time step and for every neuron ``z = bias + aggregate(weight * output of the source, delay steps ago)``. A
potential follows with ``v = (1 - 1/tau) * (v one step ago) + z / tau``, which is z for a time constant tau of 1, and
``output = activation(v)``. Arrays here are (step, neuron slot, sample); the first steps are the state before the pass.
"""

from __future__ import annotations

import numpy as np

from ..functions import activations
from ..functions.losses import Loss
from ..plan import MEAN, SPECIAL, Plan
from .host import SCORES, accept, available, collect, column, differentiate, lowest, spread
from .packed_reference import all_finite
from .packed_reference import predict as predict_packed
from .state import State
from .updates import adam, rmsprop, sgd

__all__ = [
    "LOSSES",
    "SCORES",
    "Pass",
    "accept",
    "adam",
    "all_finite",
    "available",
    "backward",
    "collect",
    "column",
    "differentiate",
    "footprint",
    "forward",
    "lowest",
    "predict_packed",
    "rmsprop",
    "sgd",
    "spread",
    "stream",
]

LOSSES: dict[Loss, Loss] = {}
PRODUCT, MAX, _, MAXABS, MEDIAN = SPECIAL


class Pass:
    """Outputs of a batch and, once `backward` ran, the gradients by each neuron's input z."""

    def __init__(self, plan: Plan, batch: int, steps: int):
        self.steps, self.history = steps, plan.history
        shape = (self.history + steps, plan.graph.neurons.size, batch)
        self.y, self.v = np.zeros(shape, plan.graph.dtype), np.zeros(shape, plan.graph.dtype)
        self.delta = np.zeros((steps, *shape[1:]), plan.graph.dtype)
        self._plan = plan
        self.differentiated = False

    @property
    def nbytes(self) -> int:
        """Bytes of what the pass keeps."""
        return self.y.nbytes + self.v.nbytes + self.delta.nbytes

    @property
    def outputs(self) -> np.ndarray:
        """(batch, steps, n_outputs)."""
        return self.activations(self._plan.outputs)

    @property
    def device_outputs(self) -> np.ndarray:
        """The outputs where this backend has them."""
        return self.outputs

    def activations(self, slots: np.ndarray, first: int = 0) -> np.ndarray:
        """(batch, steps - first, len(slots)); a negative ``first`` begins in the state."""
        return self.y[self.history + first :, slots].transpose(2, 0, 1).copy()

    def state(self) -> State:
        """What a pass over the following steps needs of this one."""
        outputs = self.y[self.steps :].transpose(2, 0, 1).copy()
        return State(outputs, self.v[-1].T.copy() if self._plan.leaks else None)

    def output(self, slot: int) -> np.ndarray:
        """(batch, steps)."""
        return self.y[self.history :, slot].T.copy()

    def errors(self, slots: np.ndarray) -> np.ndarray:
        """(batch, len(slots)), at the first step."""
        return self.delta[0, slots].T.copy()


def prepare(plan: Plan) -> None:
    """There is nothing to decide before the first pass."""


def footprint(plan: Plan, batch: int, steps: int, keep: bool) -> int:
    """Bytes that a pass takes, with its gradients if they are to ``keep``."""
    return (4 if keep else 3) * (plan.history + steps) * plan.graph.neurons.size * batch * plan.graph.dtype.itemsize


def forward(
    plan: Plan, X: np.ndarray, keep: bool = True, reuse: Pass | None = None, state: State | None = None
) -> Pass:
    """Run a batch X of shape (batch, steps, n_inputs), beginning with a state or with zeros."""
    run, neurons = Pass(plan, len(X), X.shape[1]), plan.graph.neurons
    if state is not None and run.history:
        run.y[: run.history] = state.outputs.transpose(1, 2, 0)
        if state.potentials is not None:
            run.v[run.history - 1] = state.potentials.T
    run.y[run.history :, plan.inputs] = np.asarray(X).transpose(1, 2, 0)
    for t in range(run.history, run.history + run.steps):
        for rows in _generations(plan):
            run.v[t, rows] = neurons["bias"][rows, None] + _aggregate(plan, rows, run.y, t)
            if plan.leaks:
                rate = _rate(plan, rows)
                run.v[t, rows] = rate * run.v[t, rows] + (1 - rate) * run.v[t - 1, rows]
            for code, of_code in _by(neurons["activation"], rows):
                function = activations.by_code(code).function
                run.y[t, of_code] = function(run.v[t, of_code], neurons["activation_parameter"][of_code, None])
    return run


def backward(
    plan: Plan,
    run: Pass,
    gradient: np.ndarray,
    add: bool = False,
    later: tuple[np.ndarray, np.ndarray] | None = None,
    constant_state: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Fill ``grad`` of the connections and ``bias_grad`` of the neurons from ``gradient`` (batch, steps, n_outputs).

    ``add`` to what they hold; go on from what the pass over the ``later`` steps returned. Gradients of the weights that
    read the state always count here, as a ``constant_state`` asks for.
    """
    graph, neurons = plan.graph, plan.graph.neurons
    by_output = np.zeros_like(run.y)
    by_output[run.history :, plan.outputs] = gradient.transpose(1, 2, 0)
    after = np.zeros_like(run.delta[0])
    if later is not None:
        by_output[run.steps :] += later[0]
        after = later[1]
    if not add:
        graph.connections["grad"][:] = 0
        neurons["bias_grad"][:] = 0
    for t in reversed(range(run.history, run.history + run.steps)):
        delta = run.delta[t - run.history]
        for rows in _generations(plan)[::-1]:
            for code, of_code in _by(neurons["activation"], rows):
                slope = activations.by_code(code).derivative(
                    run.v[t, of_code], run.y[t, of_code], neurons["activation_parameter"][of_code, None]
                )
                delta[of_code] = by_output[t, of_code] * slope
            if plan.leaks:
                rate = _rate(plan, rows)
                delta[rows] = rate * delta[rows] + (1 - rate) * after[rows]
            neurons["bias_grad"][rows] += delta[rows].sum(axis=1)
            _spread(plan, rows, delta, run.y, by_output, t)
        after = delta
    run.differentiated = True
    return by_output[: run.history], after


def _generations(plan: Plan) -> list[np.ndarray]:
    return [plan.rows[a:b] for a, b in zip(plan.offsets[:-1], plan.offsets[1:], strict=True)]


def _by(column: np.ndarray, rows: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """The rows, split by their entry in a column."""
    return [(int(code), rows[column[rows] == code]) for code in np.unique(column[rows])]


def _rate(plan: Plan, rows: np.ndarray) -> np.ndarray:
    return 1 / plan.graph.neurons["time_constant"][rows, None]


def _matrix(plan: Plan, rows: np.ndarray, delay: int):
    """Incoming weights of some neurons at one delay, their slots, and the matrix[target, source] that they make."""
    import scipy.sparse

    graph = plan.graph
    slots = graph.incoming.of(rows)
    target = np.repeat(np.arange(len(rows)), graph.incoming.length[rows])
    of_delay = graph.connections["delay"][slots] == delay
    slots, target = slots[of_delay], target[of_delay]
    weight, source = graph.connections["weight"][slots], graph.connections["source"][slots]
    matrix = scipy.sparse.csr_array((weight, (target, source)), shape=(len(rows), graph.neurons.size))
    return slots, target, matrix


def _terms(plan: Plan, row: int, y: np.ndarray, t: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Slots, sources, steps and weighted values of everything that one neuron reads."""
    columns = plan.graph.connections
    slots = plan.graph.incoming.of(np.array([row]))
    source, step = columns["source"][slots], t - columns["delay"][slots]
    return slots, source, step, columns["weight"][slots, None] * y[step, source]


def _aggregate(plan: Plan, rows: np.ndarray, y: np.ndarray, t: int) -> np.ndarray:
    out = np.zeros((len(rows), y.shape[2]), y.dtype)
    kinds = plan.graph.neurons["aggregation"][rows]
    linear = ~np.isin(kinds, SPECIAL)
    for delay in range(plan.history + 1):
        out[linear] += _matrix(plan, rows[linear], delay)[2] @ y[t - delay]
    out[linear] /= _divisor(plan, rows[linear])[:, None]
    for i in np.flatnonzero(~linear):
        *_, terms = _terms(plan, rows[i], y, t)
        if kinds[i] == PRODUCT:
            out[i] = terms.prod(axis=0)
        elif len(terms):
            out[i] = np.median(terms, axis=0) if kinds[i] == MEDIAN else _best(terms, kinds[i])
    return out


def _spread(plan: Plan, rows: np.ndarray, delta: np.ndarray, y: np.ndarray, by_output: np.ndarray, t: int) -> None:
    """Hand the deltas of a generation down to the weights and to the sources' outputs, delay steps ago."""
    kinds = plan.graph.neurons["aggregation"][rows]
    grad, weights = plan.graph.connections["grad"], plan.graph.connections["weight"]
    linear = rows[~np.isin(kinds, SPECIAL)]
    by_term = delta[linear] / _divisor(plan, linear)[:, None]
    for delay in range(plan.history + 1):
        slots, target, matrix = _matrix(plan, linear, delay)
        by_output[t - delay] += matrix.T @ by_term
        source = plan.graph.connections["source"][slots]
        grad[slots] += np.einsum("cb,cb->c", y[t - delay, source], by_term[target])
    for row, kind in zip(rows, kinds, strict=True):
        if kind in SPECIAL:
            slots, source, step, terms = _terms(plan, row, y, t)
            by_value = _share(terms, kind) * delta[row]
            np.add.at(by_output, (step, source), weights[slots, None] * by_value)
            grad[slots] += (y[step, source] * by_value).sum(axis=1)


def _best(terms: np.ndarray, kind: int) -> np.ndarray:
    if kind == MAXABS:
        return np.take_along_axis(terms, np.abs(terms).argmax(axis=0)[None], axis=0)[0]
    return terms.max(axis=0) if kind == MAX else terms.min(axis=0)


def _share(terms: np.ndarray, kind: int) -> np.ndarray:
    """Derivative of an aggregation by each of its terms; terms that tie share evenly, as in torch.amax."""
    n = len(terms)
    if n == 0:
        return terms
    if kind == PRODUCT:
        return np.stack([np.delete(terms, k, axis=0).prod(axis=0) for k in range(n)])
    if kind == MEDIAN:
        ordered = np.sort(terms, axis=0)
        reached = [terms == ordered[(n - 1) // 2], terms == ordered[n // 2]]
        return sum(r / r.sum(axis=0).astype(terms.dtype) for r in reached) / 2
    reached = terms == _best(terms, kind)
    return reached / reached.sum(axis=0).astype(terms.dtype)


def _divisor(plan: Plan, rows: np.ndarray) -> np.ndarray:
    """Fan-in where the aggregation is a mean, 1 elsewhere."""
    graph = plan.graph
    fan_in = np.maximum(graph.incoming.length[rows], 1)
    return np.where(graph.neurons["aggregation"][rows] == MEAN, fan_in, 1).astype(graph.dtype)


def stream(plan: Plan, X: np.ndarray, batch_size: int | None, reuse: object) -> None:
    """No outputs without a whole pass: this backend is to be easy to check."""
