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
from .errors import NotSupportedError, OutOfMemoryError
from .functions.arrays import module_of, on_device, to_host
from .functions.losses import Loss
from .graph.graph import Graph
from .plan import Plan

PIECE_BYTES = 2**27  # activations that one piece of a large prediction may take
LEAST = 64  # samples that always run together, if they fit
# A pass of more bytes than FREELY asks how much memory there is, and takes at most this SHARE of it.
FREELY, SHARE = 2**28, 0.5


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


class Known(NamedTuple):
    """A loss by name, for a backend that computes it between forward and backward without coming back.

    Attributes
    ----------
    loss : callable
        Its definition.
    targets : array
        One row for each sample.
    took : callable
        Is told the outputs (batch, n_outputs) that were compared.
    """

    loss: Loss
    targets: Any
    took: Callable[[Any], None]


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
    by_label = (takes_labels and Y.dtype.kind in "iu") or Y.dtype.names is not None
    per_step = Y.ndim == 3 or (Y.shape == (batch, steps) and (by_label or n_outputs != steps))
    valid = np.ones((batch, steps), bool) if mask is None else np.asarray(to_host(mask))
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
    read: Callable[[Any], np.ndarray] | None,
    want_state: bool,
) -> tuple[np.ndarray, backends.State | None, Any, bool]:
    """Run X in pieces of samples and windows of steps; returns what ``read`` takes from each pass, put together.

    Without ``read`` that is the outputs, on the device if X is there. Where the samples need several pieces the backend
    may compute them in a way of its own that keeps nothing else.

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
    batch, steps, _ = X.shape
    outputs_alone = read is None and not want_state
    read = read or (_device_outputs if on_device(X) else _outputs)
    if steps == 1 and batch <= (batch_size or LEAST) and _is_small(plan, batch, 1):
        # A few samples should cost no more than their arithmetic.
        run = backend.forward(plan, X, False, reuse, state)
        return read(run), run.state() if want_state else state, run, True
    row, history = max(1, plan.graph.neurons.size * plan.graph.dtype.itemsize), plan.history
    given = batch_size
    if batch_size is None:
        fitting = PIECE_BYTES // (row * (history + min(steps, 16))) // LEAST * LEAST
        batch_size = min(max(fitting, LEAST), 2048)
    if outputs_alone and steps == 1 and batch > batch_size:
        streamed = backend.stream(plan, X, given, reuse)
        if streamed is not None:
            outputs, held = streamed
            return outputs, None, held, False
    batch_size = min(batch, batch_size)
    window = max(1, 2 * history, PIECE_BYTES // (row * batch_size))
    batch_size = samples_at_once(backend, plan, batch_size, min(steps, window), False, reuse)
    parts: list[np.ndarray] = []
    states: list[Any] = []
    run = reuse
    for first in range(0, batch, batch_size):
        piece = slice(first, first + batch_size)
        carried = None if state is None else _of_samples(state, piece)
        of_piece: list[np.ndarray] = []
        for begin in range(0, steps, window):
            part = X[piece, begin : begin + window]
            part = np.ascontiguousarray(part) if isinstance(part, np.ndarray) else part
            run = backend.forward(plan, part, False, run, carried)
            of_piece.append(read(run))
            if want_state or begin + window < steps:
                carried = run.state()
        parts.append(of_piece[0] if len(of_piece) == 1 else _joined(of_piece, axis=1))
        states.append(carried)
    whole = batch <= batch_size and steps <= window
    if len(parts) == 1:
        return parts[0], states[0], run, whole
    if not want_state:
        return _joined(parts), None, run, whole
    potentials = np.concatenate([s.potentials for s in states]) if plan.leaks else None
    joined = backends.State(np.concatenate([s.outputs for s in states]), potentials)
    return _joined(parts), joined, run, whole


def _is_small(plan: Plan, batch: int, steps: int) -> bool:
    """Whether a pass surely takes less than FREELY; a look that costs nothing."""
    rows = max(batch, LEAST) * (plan.history + steps) * plan.graph.neurons.size
    return rows * 64 <= FREELY  # five arrays of eight bytes at most, and what fills up their panels


def samples_at_once(backend: ModuleType, plan: Plan, batch: int, steps: int, keep: bool, held: Any = None) -> int:
    """How many of ``batch`` samples a pass over ``steps`` may take: all, or as many as the memory is there for.

    ``held`` is a pass whose memory the new one may take over.

    Raises
    ------
    OutOfMemoryError
        If there is no room for one sample.
    """
    if _is_small(plan, batch, steps) or backend.footprint(plan, batch, steps, keep) <= FREELY:
        return batch
    free = backend.available()
    if free is None:
        return batch
    room = int(SHARE * (free + (held.nbytes if held is not None else 0)))
    if backend.footprint(plan, batch, steps, keep) <= room:
        return batch
    fitting = room * LEAST // backend.footprint(plan, LEAST, steps, keep) // LEAST * LEAST
    samples = fitting or LEAST // 2
    while backend.footprint(plan, samples, steps, keep) > room:
        if samples == 1:
            raise OutOfMemoryError(
                f"one sample over {steps} time steps needs {backend.footprint(plan, 1, steps, keep):,} bytes for the "
                f"activations of {len(plan.graph.neurons):,} neurons, but only {room:,} bytes, half of what is free, "
                f"may be taken; {_cure(plan, keep)}"
            )
        samples = (samples - LEAST if samples > LEAST else samples // 2) or 1
    if samples > LEAST:  # pieces of one size run in the same memory
        pieces = -(-batch // samples)
        samples = -(-batch // (pieces * LEAST)) * LEAST
    return samples


def _cure(plan: Plan, keep: bool) -> str:
    cures = ["use dtype float32"] if plan.graph.dtype.itemsize > 4 else []
    if plan.history:
        cures.append("give backward recompute=True, or shorter sequences" if keep else "give shorter sequences")
    return ", ".join([*cures, "free memory, or use a machine with more"])


def chunk_length(steps: int, truncate: int | None, recompute: bool | int) -> int:
    """Steps that run together in a backward pass through time."""
    if truncate is not None:
        return min(truncate, steps)
    if recompute is False:
        return steps
    return min(steps, isqrt(steps - 1) + 1 if recompute is True else int(recompute))


def fitting(
    backend: ModuleType, plan: Plan, X: np.ndarray, truncate: int | None, recompute: bool | int, held: Any
) -> tuple[int, bool]:
    """Samples of X that a backward pass may take at once, and whether they are so many that memory matters."""
    batch, steps, _ = X.shape
    if _is_small(plan, batch, steps):
        return batch, False
    if recompute is not False:
        steps = chunk_length(steps, truncate, recompute)
    samples = samples_at_once(backend, plan, batch, steps, True, held)
    return samples, backend.footprint(plan, samples, steps, True) > FREELY


def backward(
    backend: ModuleType,
    plan: Plan,
    X: np.ndarray,
    state: backends.State | None,
    measure: Callable[[np.ndarray], tuple[float, np.ndarray]],
    truncate: int | None,
    recompute: bool | int,
    reuse: Any,
    samples: int,
    known: Known | None = None,
) -> tuple[float, Any, bool]:
    """Run X, ``measure`` the outputs (batch, time, n_outputs), and fill the gradients; ``samples`` at a time.

    A pass of one step hands over its outputs where the backend has them, others those on the host; with what is
    ``known`` of the loss a backend may do all of it at once.
    Several pieces of samples run forward first, for the loss needs all outputs, and once more with their gradients.

    Returns
    -------
    value : float
    run : Pass
        The last pass.
    whole : bool
        Whether it held all samples and steps.
    """
    batch, steps, _ = X.shape
    length = chunk_length(steps, truncate, recompute)
    again = recompute is not False and length < steps
    if again and plan.n_special and plan.graph.delayed:
        raise NotSupportedError(
            "recompute is for networks whose neurons sum or average where connections have delays; leave it out"
        )
    if steps == 1 and batch <= samples:  # not a sequence: no chunks to look after
        if known is not None and state is None:
            done = backend.differentiate(plan, X, known.loss, known.targets, reuse)
            if done is not None:
                value, run, outputs = done
                known.took(outputs)
                return value, run, True
        run = backend.forward(plan, X, True, reuse, state)
        value, gradient = measure(run.device_outputs)
        backend.backward(plan, run, gradient, False, None, state is not None)
        return value, run, True
    if batch <= samples:
        value, run = _through_time(backend, plan, X, state, measure, length, truncate is not None, again, reuse, False)
        return value, run, length == steps
    outputs, _, run, _ = predict(backend, plan, X, state, samples, reuse, _outputs, False)
    value, gradient = measure(outputs)
    for first in range(0, batch, samples):
        piece = slice(first, first + samples)
        part, carried = gradient[piece], None if state is None else _of_samples(state, piece)
        _, run = _through_time(
            backend, plan, X[piece], carried, _given(value, part), length, truncate is not None, again, run, first > 0
        )
    return value, run, False


def _outputs(run: Any) -> np.ndarray:
    return run.outputs


def _device_outputs(run: Any) -> Any:
    return run.device_outputs


def _joined(parts: list[Any], axis: int = 0) -> Any:
    return module_of(parts[0]).concatenate(parts, axis=axis)


def _given(value: float, gradient: np.ndarray) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    return lambda outputs: (value, gradient)


def _through_time(
    backend: ModuleType,
    plan: Plan,
    X: np.ndarray,
    state: backends.State | None,
    measure: Callable[[np.ndarray], tuple[float, np.ndarray]],
    length: int,
    truncated: bool,
    again: bool,
    reuse: Any,
    add: bool,
) -> tuple[float, Any]:
    """Run X in chunks of ``length`` steps, ``measure`` the outputs, and carry the gradient back through time.

    In one chunk every activation is kept and the gradient goes back to the first step. ``truncated``, no delta crosses
    a cut (Williams & Peng 1990); run ``again``, only the states at the cuts are kept and each chunk runs a second time
    when its turn comes (Chen et al. 2016, "Training deep nets with sublinear memory cost"). Gradients are to ``add`` to
    what is there already.

    Returns
    -------
    value : float
    run : Pass
        The pass over the first chunk.
    """
    steps = X.shape[1]
    cuts = [slice(a, min(a + length, steps)) for a in range(0, steps, length)]
    chunks = [module_of(X).ascontiguousarray(X[:, cut]) for cut in cuts]
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
        constant = (states[0] is not None) if first else truncated
        later = backend.backward(plan, run, gradient[:, cuts[i]], add or not last, later, constant)
        if truncated:
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
    np_like = module_of(X)
    while taken < limit:
        count = min(window, limit - taken)
        held = np_like.ascontiguousarray(np_like.broadcast_to(X[:, None], (len(X), count, X.shape[1])))
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
