"""Scores of an untrained network, and pruning by them before any training: SNIP, SynFlow, GraSP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import checks
from ..checks import require
from ..errors import InvalidValueError, NotSupportedError, UnknownNameError
from ..functions import losses
from ..network import Network
from .guard import remove
from .scores import evaluate
from .select import lowest

__all__ = ["BEFORE_TRAINING", "grasp", "prune_before_training", "snip", "synflow"]


def snip(net: Network, X: Any, Y: Any, loss: Any = "cross_entropy") -> np.ndarray:
    """Score each connection by its sensitivity: ``|w * dL/dw|`` on a batch.

    Lee, Ajanthan & Torr (2019), "SNIP: single-shot network pruning based on connection sensitivity", arXiv 1810.02340,
    equations 4 and 5: the derivative of the loss by a gate on the connection, at 1, is ``w * dL/dw``. The paper divides
    by the sum of all, which changes no order.

    Parameters
    ----------
    net : Network
        Its weights stay; the gradients are those of this batch then.
    X, Y, loss
        One batch, as in `Network.backward`.

    Returns
    -------
    ndarray of float, shape (n_connections,)
        For `prune_lowest` as its `score`, in the order of ``net.connections``.

    Examples
    --------
    >>> import neurograph as ng
    >>> X, y, *_ = ng.datasets.load_digits()
    >>> net = ng.topologies.layered([64, 20, 10], seed=0)
    >>> ng.sparsity.prune_lowest(net, score=ng.sparsity.snip(net, X, y), fraction=0.5)
    740
    """
    net.backward(X, Y, loss)
    conns = net.connections
    return np.abs(conns.weight * conns.own_grad)


def grasp(net: Network, X: Any, Y: Any, loss: Any = "cross_entropy", temperature: float = 1.0) -> np.ndarray:
    """Score each connection by what its removal does to the gradient flow: ``w * (H g)``.

    Wang, Zhang & Grosse (2020), "Picking winning tickets before training by preserving gradient flow", arXiv
    2002.07376, equation 8 and algorithm 1; g is the gradient, H the Hessian. The paper's score is ``-w * (H g)`` and it
    removes the *highest*; here the sign is turned, so that the lowest go as everywhere. Weights whose removal would
    lower ``|g|`` most score highest.

    H g is the difference of the gradients at ``w + h g`` and ``w - h g`` over 2 h, for the weights alone, with biases
    held, on a copy of the network in float64. There h may be so small, 1e-8 of the weights' length, that hardly ever a
    ReLU switches in between, which alone would outweigh the rest; seven digits are those of automatic differentiation.
    In float32 no h is large enough for rounding and small enough for that.

    Parameters
    ----------
    net : Network
        It is only read.
    X, Y, loss
        One batch, as in `Network.backward`.
    temperature : float
        Outputs are divided by it before the loss; the paper's code takes 200.

    Returns
    -------
    ndarray of float64, shape (n_connections,)
        For `prune_lowest` as its `score`, in the order of ``net.connections``.

    Examples
    --------
    >>> import neurograph as ng
    >>> X, y, *_ = ng.datasets.load_digits()
    >>> net = ng.topologies.layered([64, 20, 10], seed=0)
    >>> ng.sparsity.prune_lowest(net, score=ng.sparsity.grasp(net, X, y), fraction=0.5)
    740
    """
    require(
        isinstance(temperature, int | float | np.number) and 0 < temperature < np.inf,
        f"temperature is {temperature!r}; give a number above 0.",
    )
    measure = losses.get(loss)

    def cooled(outputs: np.ndarray, Y: Any) -> tuple[float, np.ndarray]:
        value, gradient = measure(outputs / temperature, Y)
        return value, gradient / temperature

    used = loss if temperature == 1 else cooled
    twin = _in_float64(net)
    twin.backward(X, Y, used)
    conns = twin.connections
    weight, direction = conns.weight, np.where(net.connections.frozen, 0.0, conns.grad)
    length = float(np.linalg.norm(direction))
    require(
        bool(np.isfinite(length)), "the gradient is not finite; scale the inputs to about -1..1, or lower the weights"
    )
    if length == 0:
        return np.zeros(len(conns))
    h = STEP * max(float(np.linalg.norm(weight)), 1.0) / length
    grads = []
    for sign in (1, -1):
        conns.weight = weight + sign * h * direction
        twin.backward(X, Y, used)
        grads.append(conns.own_grad)
    return weight * (grads[0] - grads[1]) / (2 * h)


STEP = 1e-8  # of the weights' length, by which they are moved for a second derivative


def _in_float64(net: Network) -> Network:
    """A copy of what a network computes, with its connections in the same order; it has no optimizer state."""
    twin = Network(dtype="float64", backend=net.backend_name)
    inputs, outputs, neurons = net.inputs, net.outputs, net.neurons
    others = neurons - inputs
    new = np.zeros(1 + int(neurons.ids.max(initial=0)), np.int64)
    new[inputs.ids] = twin.add_inputs(len(inputs)).ids
    new[others.ids] = twin.add_neurons(
        len(others), list(others.activation), list(others.aggregation), others.bias, time_constant=others.time_constant
    ).ids
    twin.mark_outputs(new[outputs.ids])
    conns = net.connections
    shared = conns.parameter
    twin.add_connections(
        new[conns.source],
        new[conns.target],
        conns.weight,
        conns.delay,
        shared if len(np.unique(shared)) < len(shared) else None,
    )
    return twin


def synflow(net: Network) -> np.ndarray:
    """Score each connection by synaptic flow: the sum of the products of ``|w|`` along all paths through it.

    Tanaka, Kunin, Yamins & Ganguli (2020), "Pruning neural networks without any data by iteratively conserving synaptic
    flow", arXiv 2006.05467, equations 1 and 2: ``R = 1^T |W_L| ... |W_1| 1``; the score is ``w * dR/dw``. In any DAG
    R is the sum over all paths from inputs to outputs; that is the network with all inputs one, the absolute weights,
    biases zero, and every neuron adding up linearly whatever its activation and aggregation. What flows into a hidden
    neuron flows out of it: its scores add up to the same on both sides. Computed in float64, whatever the network's
    type, because products over many layers leave the range of float32.

    `prune_before_training` iterates it as the paper does; in one shot it may cut layers off.

    Parameters
    ----------
    net : Network
        It is only read. Connections of a parameter count each for itself.

    Returns
    -------
    ndarray of float64, shape (n_connections,)
        For `prune_lowest` as its `score`, in the order of ``net.connections``.

    Raises
    ------
    NotSupportedError
        The network has delays: paths through time have no end.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.Network()
    >>> x, h, y = net.add_inputs(2), net.add_neurons(1), net.add_outputs(1)
    >>> _ = net.connect(x, h, weight=[1.0, -2.0]), net.connect(h, y, weight=3.0)
    >>> ng.sparsity.synflow(net)
    array([3., 6., 9.])
    """
    return _Flow(net).scores(np.abs(net.connections.weight).astype(np.float64))


class _Flow:
    """The connections of a network in the order in which its generations run, for many sums over all paths."""

    def __init__(self, net: Network):
        conns = net.connections
        if conns.delay.any():
            raise NotSupportedError("SynFlow sums over paths, which have no end in a network with delays; use snip")
        ids = net.neurons.ids
        generation = np.zeros(1 + int(ids.max(initial=0)), np.int64)
        for number, members in enumerate(net.schedule.generations):
            generation[members] = number
        self.source, self.target = conns.source, conns.target
        self.size, self.inputs, self.outputs = len(generation), net.inputs.ids, net.outputs.ids
        self.by_target = _groups(generation[self.target])
        self.by_source = _groups(generation[self.source])[::-1]

    def scores(self, strength: np.ndarray) -> np.ndarray:
        """For each connection the sum over all paths through it of the product of strengths."""
        arriving, leaving = np.zeros(self.size), np.zeros(self.size)
        arriving[self.inputs] = 1
        leaving[self.outputs] = 1
        for some in self.by_target:
            flow = arriving[self.source[some]] * strength[some]
            arriving += np.bincount(self.target[some], flow, self.size)
        for some in self.by_source:
            flow = leaving[self.target[some]] * strength[some]
            leaving += np.bincount(self.source[some], flow, self.size)
        return arriving[self.source] * strength * leaving[self.target]


def _groups(number: np.ndarray) -> list[np.ndarray]:
    """Indices of each number that occurs, by ascending numbers."""
    order = np.argsort(number, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(number[order])) + 1) if len(order) else []


BEFORE_TRAINING: dict[str, Callable] = {"snip": snip, "grasp": grasp, "synflow": synflow}
ROUNDS = {"synflow": 100}


def prune_before_training(
    net: Network,
    method: str | Callable = "synflow",
    fraction: float = 0.9,
    X: Any = None,
    Y: Any = None,
    loss: Any = "cross_entropy",
    rounds: int | None = None,
    *,
    frozen: bool = False,
    allow_disconnected: bool = False,
    **options: Any,
) -> int:
    """Prune an untrained network to a share of its connections, scoring what is left anew in every round.

    After round k of n the share of connections that is left is ``(1 - fraction) ** (k / n)`` (arXiv 2006.05467,
    algorithm 1). One round is the single shot of SNIP and GraSP; several are "iterative SNIP" (Verdenius, Stol & Forre
    2020, arXiv 2006.00896; de Jorge et al. 2021, arXiv 2006.09081). Between rounds the weights of what has been chosen
    are zero, and all of it is removed at the end, at once: so either all goes or nothing.

    Parameters
    ----------
    net : Network
        The network to prune.
    method : {"synflow", "snip", "grasp"} or function
        What scores the connections; or a function ``(net, X, Y, loss) -> array``, one score for each of
        ``net.connections``.
    fraction : float
        Share of all connections to remove, exactly ``round(fraction * n)`` of n.
    X, Y, loss
        One batch, as in `Network.backward`; "synflow" needs none.
    rounds : int, optional
        100 for "synflow", as in the paper, 1 otherwise.
    frozen, allow_disconnected : bool
        As in `prune_lowest`.
    **options
        For the method, such as ``temperature`` of `grasp`.

    Returns
    -------
    int
        How many connections were removed.

    Raises
    ------
    UnknownNameError
        There is no such method.
    InvalidValueError
        A number is out of range, data are missing, scores are NaN, or an output would be cut off from all inputs. The
        network is as it was then.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([64, 100, 100, 10], seed=0)
    >>> ng.sparsity.prune_before_training(net, "synflow", fraction=0.98)
    17052
    >>> net.n_connections
    348
    """
    if not callable(method) and method not in BEFORE_TRAINING:
        raise UnknownNameError(f"There is no method {method!r}. Known: {', '.join(BEFORE_TRAINING)}.")
    checks.fraction("fraction", fraction)
    if rounds is None:
        rounds = ROUNDS.get(method, 1) if isinstance(method, str) else 1
    checks.whole("rounds", rounds, 1)
    if method != "synflow" and (X is None or Y is None):
        raise InvalidValueError(f"{method} scores by a batch of data; give X and Y")
    conns = net.connections
    if rounds > 1 and method != "synflow" and len(np.unique(conns.parameter)) < len(conns):
        raise InvalidValueError(
            f"rounds is {rounds}, but connections share parameters, which cannot be zero for some of them; use "
            'rounds=1, "synflow", or `untie` them'
        )
    loose = np.ones(len(conns), bool) if frozen else ~conns.frozen
    before, left, total = conns.weight, loose.copy(), int(loose.sum())
    flow = _Flow(net) if method == "synflow" else None
    function = BEFORE_TRAINING[method] if isinstance(method, str) else method
    try:
        for k in range(1, rounds + 1):
            if flow is not None:
                values = flow.scores(np.where(left | ~loose, np.abs(before), 0).astype(np.float64))
            else:
                values = evaluate(function(net, X, Y, loss, **options), conns, net.rng)
            keep = total - round(fraction * total) if k == rounds else round(total * (1 - fraction) ** (k / rounds))
            among = np.flatnonzero(left)
            doomed = among[lowest(values[among], conns.id[among], len(among) - keep)]
            left[doomed] = False
            if flow is None and k < rounds:
                conns[doomed].weight = 0.0
    finally:
        if flow is None and rounds > 1:
            conns.weight = before
    return remove(net, conns[loose & ~left], allow_disconnected)
