"""Passes over sequences: windows of steps, carried states, truncated and recomputed back-propagation through time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from . import backends
from .checks import regular, require
from .errors import NotSupportedError
from .graph.graph import Graph
from .plan import Plan

PIECE_BYTES = 2**27  # activations that one piece of a large prediction may take


@dataclass(frozen=True)
class State:
    """What a network remembers between two calls: the last outputs and potentials of its neurons.

    A state belongs to neurons, not to rows of a table, so it survives edits: connections may come and go, a new neuron
    begins at zero, and what a removed one did is forgotten.

    Attributes
    ----------
    ids : ndarray, shape (n,)
        Ids of the neurons.
    outputs : ndarray, shape (batch, history, n)
        Their outputs in the last steps, the newest last; as many steps as the longest delay reaches back.
    potentials : ndarray, shape (batch, n), or None
        Their potentials in the last step; None where every time constant is 1.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.Network()
    >>> x, y = net.add_inputs(1), net.add_outputs(1)
    >>> _ = net.connect(x, y, weight=1.0), net.connect(y[0], y[0], weight=1.0, delay=1)   # adds up its input
    >>> Y, state = net.predict([[[1.0], [2.0]]], return_state=True)
    >>> Y[0, :, 0].tolist(), net.predict([[[3.0]]], state=state).tolist()
    ([1.0, 3.0], [[[6.0]]])
    """

    ids: np.ndarray
    outputs: np.ndarray
    potentials: np.ndarray | None

    @classmethod
    def of(cls, graph: Graph, raw: backends.State) -> State:
        """The state of live neurons, from one by slot."""
        slots = graph.neurons.live_by_id()
        potentials = None if raw.potentials is None else raw.potentials[:, slots]
        return cls(graph.neurons["id"][slots], raw.outputs[:, :, slots], potentials)

    def to_slots(self, graph: Graph, batch: int, plan: Plan) -> backends.State:
        """The state by slot, as a backend takes it: as many steps as the plan reads, missing ones zero."""
        history, n = plan.history, graph.neurons.size
        require(
            len(self.outputs) == batch, f"the state is of {len(self.outputs)} samples, but X has {batch}; give as many"
        )
        known = self.ids < graph.neurons.next_id
        slots = np.where(known, graph.slots_of(np.where(known, self.ids, 0)), -1)
        alive, common = slots >= 0, min(history, self.outputs.shape[1])
        outputs = np.zeros((batch, history, n), graph.dtype)
        if common:
            outputs[:, -common:, slots[alive]] = self.outputs[:, -common:, alive]
        potentials = None
        if plan.leaks:
            potentials = np.zeros((batch, n), graph.dtype)
            if self.potentials is not None:
                potentials[:, slots[alive]] = self.potentials[:, alive]
        return backends.State(outputs, potentials)


class Compared(NamedTuple):
    """Which outputs a loss looks at, and with what it compares them.

    Attributes
    ----------
    sample, step : ndarray of int, shape (n,)
        Place of each row in the sequences.
    targets : ndarray, shape (n,) or (n, n_outputs)
    """

    sample: np.ndarray
    step: np.ndarray
    targets: np.ndarray


def compared(shape: tuple[int, int, int], Y: Any, mask: Any, takes_labels: bool) -> Compared:
    """Match Y with outputs of shape (batch, time, n_outputs).

    Y with a time axis is compared at every step, or where ``mask`` (batch, time) is true; without one at the last step,
    or at each sample's last step where ``mask`` is true.

    Raises
    ------
    InvalidValueError
        If Y or the mask does not fit.

    Examples
    --------
    >>> compared((2, 3, 1), [[1.0], [2.0]], [[True, False, False], [True, True, False]], False).step.tolist()
    [0, 1]
    """
    batch, steps, n_outputs = shape
    Y = regular(Y, "Y")
    by_label = takes_labels and Y.dtype.kind in "iu"
    per_step = Y.ndim == 3 or (Y.shape == (batch, steps) and (by_label or n_outputs != steps))
    valid = np.ones((batch, steps), bool) if mask is None else np.asarray(mask)
    require(
        valid.dtype == bool and valid.shape == (batch, steps),
        f"mask must be bools of shape ({batch}, {steps}), true where a step counts, not {valid.dtype} of {valid.shape}",
    )
    if per_step:
        require(
            Y.shape[:2] == (batch, steps),
            f"Y has shape {Y.shape}; with a time axis it must begin with ({batch}, {steps}), as X does",
        )
        sample, step = np.nonzero(valid)
        require(len(sample) > 0, "the mask leaves no step to compare; it must be true somewhere")
        return Compared(sample, step, Y[sample, step])
    require(Y.ndim > 0 and len(Y) == batch, f"Y has shape {Y.shape}; give one row for each of the {batch} samples")
    require(valid.any(axis=1).all(), "the mask of some sample is false at every step; leave the sample out")
    return Compared(np.arange(batch), steps - 1 - valid[:, ::-1].argmax(axis=1), Y)


def predict(
    backend: ModuleType,
    plan: Plan,
    X: np.ndarray,
    state: backends.State | None,
    batch_size: int | None,
    reuse: Any,
    read: Callable[[Any], np.ndarray],
    want_state: bool,
) -> tuple[np.ndarray, backends.State | None, Any, bool]:
    """Run X in pieces of samples and windows of steps; returns what ``read`` takes from each pass, put together.

    Returns
    -------
    result : ndarray, shape (batch, time, ...)
    state : backends.State or None
        After the last step, if wanted.
    run : Pass
        The last pass.
    whole : bool
        Whether it held all samples and steps.
    """
    batch, steps = X.shape[:2]
    row = max(1, plan.graph.neurons.size * plan.graph.dtype.itemsize)
    if batch_size is None:
        batch_size = int(np.clip(PIECE_BYTES // (row * (plan.history + min(steps, 16))) // 64 * 64, 64, 2048))
    window = max(1, 2 * plan.history, PIECE_BYTES // (row * min(batch, batch_size)))
    parts: list[np.ndarray] = []
    states: list[Any] = []
    run = reuse
    for first in range(0, batch, batch_size):
        piece = slice(first, first + batch_size)
        carried = None if state is None else _of_samples(state, piece)
        of_piece: list[np.ndarray] = []
        for begin in range(0, steps, window):
            run = backend.forward(plan, np.ascontiguousarray(X[piece, begin : begin + window]), False, run, carried)
            of_piece.append(read(run))
            if want_state or begin + window < steps:
                carried = run.state()
        parts.append(of_piece[0] if len(of_piece) == 1 else np.concatenate(of_piece, axis=1))
        states.append(carried)
    whole = batch <= batch_size and steps <= window
    if len(parts) == 1:
        return parts[0], states[0], run, whole
    if not want_state:
        return np.concatenate(parts), None, run, whole
    potentials = np.concatenate([s.potentials for s in states]) if plan.leaks else None
    joined = backends.State(np.concatenate([s.outputs for s in states]), potentials)
    return np.concatenate(parts), joined, run, whole


def backward(
    backend: ModuleType,
    plan: Plan,
    X: np.ndarray,
    state: backends.State | None,
    measure: Callable[[np.ndarray], tuple[float, np.ndarray]],
    truncate: int | None,
    recompute: bool | int,
    reuse: Any,
) -> tuple[float, Any]:
    """Run X, ``measure`` the outputs (batch, time, n_outputs), and carry the gradient back through time.

    Without ``truncate`` and ``recompute`` every activation is kept and the gradient goes back to the first step. The
    sequence is cut into chunks otherwise: truncated, no delta crosses a cut (Williams & Peng 1990); recomputed, only
    the states at the cuts are kept and each chunk runs a second time when its turn comes (Chen et al. 2016, "Training
    deep nets with sublinear memory cost").

    Returns
    -------
    value : float
    run : Pass
        The pass over the first chunk.
    """
    steps = X.shape[1]
    length = steps
    if truncate is not None:
        length = truncate
    elif recompute is not False:
        length = isqrt(steps - 1) + 1 if recompute is True else int(recompute)
    again = recompute is not False and length < steps
    if again and plan.n_special and plan.graph.delayed:
        raise NotSupportedError(
            "recompute is for networks whose neurons sum or average where connections have delays; leave it out"
        )
    cuts = [slice(a, min(a + length, steps)) for a in range(0, steps, length)]
    chunks = [np.ascontiguousarray(X[:, cut]) for cut in cuts]
    states, outputs = [state], []
    runs: list[Any] = []
    for i, chunk in enumerate(chunks):
        last = i == len(chunks) - 1
        run = backend.forward(plan, chunk, last or not again, reuse, states[i])
        outputs.append(run.outputs)
        if not last:
            states.append(run.state())
        reuse = run if again else None
        runs = [run] if again else [*runs, run]
    value, gradient = measure(outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=1))
    later = None
    for i in reversed(range(len(chunks))):
        first, last = i == 0, i == len(chunks) - 1
        run = runs.pop() if last or not again else backend.forward(plan, chunks[i], True, run, states[i])
        constant = (states[0] is not None) if first else truncate is not None
        later = backend.backward(plan, run, gradient[:, cuts[i]], not last, later, constant)
        if truncate is not None:
            later = None
    return value, run


def settle(
    backend: ModuleType, plan: Plan, X: np.ndarray, steps: int | None, tolerance: float, max_steps: int
) -> tuple[Any, int, float]:
    """Hold X (batch, n_inputs) constant until no output changes by more than ``tolerance``, or for ``steps``.

    Returns
    -------
    run : Pass
        The last pass; its last step is the answer.
    taken : int
        Steps taken.
    change : float
        The largest change in the last steps, as many as the longest delay.
    """
    look = max(1, plan.history)
    window = max(8, 2 * look)
    everybody = plan.graph.neurons.live()
    limit, taken, change = steps or max_steps, 0, np.inf
    run = state = None
    while taken < limit:
        count = min(window, limit - taken)
        held = np.ascontiguousarray(np.broadcast_to(X[:, None], (len(X), count, X.shape[1])))
        run = backend.forward(plan, held, False, run, state)
        state = run.state()
        taken += count
        if steps is None:
            reach = max(-plan.history, count - 1 - look)
            ends = run.activations(everybody, reach)
            with np.errstate(invalid="ignore"):
                change = float(np.abs(np.diff(ends, axis=1)).max(initial=0.0)) if ends.shape[1] > 1 else 0.0
            if change <= tolerance:
                break
    return run, taken, change


def _of_samples(state: backends.State, samples: slice) -> backends.State:
    potentials = None if state.potentials is None else state.potentials[samples]
    return backends.State(state.outputs[samples], potentials)
