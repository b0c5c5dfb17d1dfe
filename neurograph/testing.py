"""Helpers for tests of networks, ours and yours: random networks, invariants, a gradient check.

Nothing in the package imports this module. `networks` needs hypothesis; the rest needs only NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InvalidValueError, MissingDependencyError
from .functions import losses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .network import Network

SMOOTH = ("identity", "sigmoid", "tanh", "softplus", "sin", "gauss", "silu", "gelu")
PIECEWISE = ("relu", ("leaky_relu", 0.125), ("clipped_relu", 2.0), ("elu", 1.0), "selu", "lelu", "step", "abs", "hat")
MIXED = (*SMOOTH, *PIECEWISE, "square", "cube", "clamped")
AGGREGATIONS = ("sum", "mean", "product", "max", "min")


def networks(
    max_inputs: int = 4,
    max_hidden: int = 8,
    max_outputs: int = 3,
    activations: Sequence[Any] = MIXED,
    aggregations: Sequence[str] = AGGREGATIONS,
    dtype: str = "float64",
    backend: str = "reference",
) -> Any:
    """Hypothesis strategy: small random networks, any wiring without delays.

    Each pair of neurons is wired or not by a coin, so neurons without inputs and neurons that lead nowhere occur. Some
    hidden neurons are marked as outputs too.

    Parameters
    ----------
    max_inputs, max_hidden, max_outputs : int
        Largest numbers of neurons; there is at least one input and one output.
    activations, aggregations : sequence
        What each neuron draws from.
    dtype, backend : str
        As in `Network`.

    Raises
    ------
    MissingDependencyError
        When hypothesis is not installed.

    Examples
    --------
    >>> from hypothesis import given
    >>> @given(networks(max_hidden=3))
    ... def every_network_answers(net):
    ...     assert net.predict(np.zeros((2, net.n_inputs))).shape == (2, net.n_outputs)
    """
    try:
        from hypothesis import strategies as st
    except ImportError as error:
        raise MissingDependencyError(
            'neurograph.testing.networks needs hypothesis: pip install "neurograph[test]"'
        ) from error
    from .network import Network

    numbers = st.integers(-40, 40).map(lambda n: n / 20)

    @st.composite
    def build(draw: Any) -> Network:
        net = Network(seed=0, dtype=dtype, backend=backend)
        n_inputs = draw(st.integers(1, max_inputs))
        n_hidden = draw(st.integers(0, max_hidden))
        n_outputs = draw(st.integers(1, max_outputs))
        net.add_inputs(n_inputs, name="in")
        for count, add in ((n_hidden, net.add_neurons), (n_outputs, net.add_outputs)):
            for _ in range(count):
                add(
                    1,
                    activation=draw(st.sampled_from(list(activations))),
                    aggregation=draw(st.sampled_from(list(aggregations))),
                    bias=draw(numbers),
                )
        ids = net.neurons.ids
        pairs = [(u, v) for v in range(n_inputs, len(ids)) for u in range(v)]
        weights = draw(st.lists(st.none() | numbers, min_size=len(pairs), max_size=len(pairs)))
        kept = [(u, v, w) for (u, v), w in zip(pairs, weights, strict=True) if w is not None]
        if kept:
            source, target, weight = zip(*kept, strict=True)
            net.add_connections(ids[list(source)], ids[list(target)], weight=np.array(weight))
        extra = ids[n_inputs : n_inputs + draw(st.integers(0, min(2, n_hidden)))]
        if len(extra):
            net.mark_outputs(extra)
        return net

    return build()


def assert_graph_invariants(net: Network) -> None:
    """Fail if a network contradicts itself.

    Checked: ids are unique and ordered; no connection hangs on a missing neuron or doubles another; fan_in and
    fan_out agree with the connections; every connection is found from both of its ends and by `net.connection`; the
    schedule holds each neuron once and every source without delay before its target; inputs receive nothing. The
    graph's own `check` runs too.

    Parameters
    ----------
    net : Network
        The network to examine; it is not changed.

    Raises
    ------
    AssertionError
        Naming what is wrong.

    Examples
    --------
    >>> import neurograph as ng
    >>> assert_graph_invariants(ng.topologies.layered([3, 4, 2], seed=0))
    """
    if hasattr(net.graph, "check"):
        net.graph.check()
    ids = np.asarray(net.neurons.ids)
    assert len(ids) == net.n_neurons, f"n_neurons is {net.n_neurons}, but there are {len(ids)} ids"
    assert np.all(np.diff(ids) > 0), "neuron ids are not strictly growing"
    conns = net.connections
    source, target, delay = (np.asarray(a) for a in (conns.source, conns.target, conns.delay))
    assert len(conns) == net.n_connections == len(source) == len(target), "connection counts disagree"
    assert len(np.unique(conns.id)) == len(conns), "connection ids are not unique"
    for name, ends in (("source", source), ("target", target)):
        dangling = ends[~np.isin(ends, ids)]
        assert not len(dangling), f"connections hang on neurons that do not exist: {name} {dangling[:5]}"
    triples = list(zip(source.tolist(), target.tolist(), delay.tolist(), strict=True))
    assert len(set(triples)) == len(triples), "a connection exists twice"

    _check_fans(net, ids, source, target)
    _check_ends(net, conns.id, source, target, delay)
    _check_schedule(net, ids, source, target, delay)


def _check_fans(net: Network, ids: np.ndarray, source: np.ndarray, target: np.ndarray) -> None:
    rank = {i: k for k, i in enumerate(ids.tolist())}
    for name, ends, found in (("fan_in", target, net.neurons.fan_in), ("fan_out", source, net.neurons.fan_out)):
        expected = np.bincount([rank[e] for e in ends.tolist()], minlength=len(ids)) if len(ids) else np.array([], int)
        wrong = ids[expected != np.asarray(found)]
        assert not len(wrong), f"{name} of neurons {wrong[:5]} disagrees with the connections"
    inputs = np.asarray(net.inputs.ids)
    assert not np.isin(target, inputs).any(), "an input neuron receives a connection"
    for name, members in (("inputs", net.inputs.ids), ("outputs", net.outputs.ids)):
        assert np.isin(members, ids).all(), f"net.{name} holds a neuron that does not exist"
    for name, group in net.groups.items():
        assert np.isin(group.ids, ids).all(), f"group {name!r} holds a neuron that does not exist"


def _check_ends(net: Network, cid: np.ndarray, source: np.ndarray, target: np.ndarray, delay: np.ndarray) -> None:
    by_end: dict[str, dict[int, set[int]]] = {"inputs": {}, "outputs": {}}
    for i, u, v in zip(cid.tolist(), source.tolist(), target.tolist(), strict=True):
        by_end["inputs"].setdefault(v, set()).add(i)
        by_end["outputs"].setdefault(u, set()).add(i)
    for neuron in net.neurons:
        for name, expected in by_end.items():
            found = np.asarray(getattr(neuron, name).id).tolist()
            assert sorted(found) == sorted(expected.get(int(neuron.id), set())), (
                f"neuron {neuron.id}.{name} holds connections {sorted(found)}, "
                f"expected {sorted(expected.get(int(neuron.id), set()))}"
            )
    for i, u, v, d in zip(cid.tolist(), source.tolist(), target.tolist(), delay.tolist(), strict=True):
        assert net.has_connection(u, v, d), f"has_connection({u}, {v}, {d}) is False"
        assert net.connection(u, v, d).id == i, f"net.connection({u}, {v}, {d}) finds another connection"


def _check_schedule(net: Network, ids: np.ndarray, source: np.ndarray, target: np.ndarray, delay: np.ndarray) -> None:
    generations = net.schedule.generations
    generation = {int(i): g for g, members in enumerate(generations) for i in members}
    assert sum(len(members) for members in generations) == len(generation), "the schedule holds a neuron twice"
    assert sorted(generation) == ids.tolist(), "the schedule does not hold exactly the neurons of the network"
    assert net.schedule.depth == len(generations), "schedule.depth is not the number of generations"
    for u, v, d in zip(source.tolist(), target.tolist(), delay.tolist(), strict=True):
        assert d or generation[u] < generation[v], (
            f"connection {u} -> {v} reads generation {generation[u]} in generation {generation[v]}"
        )


def check_gradients(
    net: Network, X: np.ndarray, Y: np.ndarray, loss: Any = "mse", eps: float = 1e-6, tolerance: float = 1e-6
) -> float:
    """Compare `net.backward` with central finite differences, for every weight and bias; shared ones move together.

    Parameters
    ----------
    net : Network
        A float64 network; its weights and biases are moved and put back.
    X : array of shape (batch, n_inputs)
    Y : array
        Targets, as the loss takes them.
    loss : str or function
        As in `Network.backward`.
    eps : float
        The step of the difference. The error of a correct gradient shrinks with its square until rounding takes over.
    tolerance : float
        Largest difference allowed, relative to the larger of 1 and the gradient.

    Returns
    -------
    float
        The largest relative difference found.

    Raises
    ------
    InvalidValueError
        For a float32 network, whose rounding hides any error.
    AssertionError
        Naming the weight or bias whose gradient is wrong.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.Network(seed=0, dtype="float64")
    >>> _ = net.connect(net.add_inputs(2), net.add_outputs(1, activation="tanh"))
    >>> check_gradients(net, np.ones((3, 2)), np.zeros((3, 1))) < 1e-6
    True
    """
    if np.dtype(net.dtype) != np.float64:
        raise InvalidValueError(
            f"the network is {np.dtype(net.dtype).name}; differences need dtype='float64', build it with that"
        )
    measure = losses.get(loss)
    net.backward(X, Y, loss=loss)
    conns, movable = net.connections, net.neurons - net.inputs
    worst = 0.0
    for columns, column, gradient, parameter in (
        (conns, "weight", np.array(conns.grad), conns.parameter),
        (movable, "bias", np.array(movable.bias_grad), movable.bias_parameter),
    ):
        start = np.array(getattr(columns, column))
        for k in np.unique(parameter, return_index=True)[1].tolist():
            values = []
            for step in (eps, -eps):
                moved = start.copy()
                moved[parameter == parameter[k]] += step
                setattr(columns, column, moved)
                values.append(float(measure(net.predict(X), Y)[0]))
            setattr(columns, column, start)
            expected = (values[0] - values[1]) / (2 * eps)
            error = abs(expected - gradient[k]) / max(1.0, abs(expected))
            who = f"{conns.source[k]} -> {conns.target[k]}" if column == "weight" else f"neuron {movable.ids[k]}"
            assert error <= tolerance, f"gradient of the {column} of {who} is {gradient[k]}, differences say {expected}"
            worst = max(worst, error)
    return float(worst)
