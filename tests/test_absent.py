"""Gradients of connections that are not there, against those that they get once they are."""

import numpy as np
import pytest

import neurograph as ng

pytestmark = pytest.mark.nojit


def skipping(seed=0, density=0.4, **options):
    """Layers of which each feeds all that follow; some neurons average."""
    net = ng.Network(seed=seed, **{"dtype": "float64", **options})
    layers = [net.add_inputs(6), net.add_neurons(9, aggregation=["sum", "mean", "sum"] * 3)]
    layers += [net.add_neurons(7, activation="tanh"), net.add_outputs(3)]
    for i, targets in enumerate(layers[1:], 1):
        for sources in layers[:i]:
            net.connect(sources, targets, density=density)
    return net


def data(net, batch=12, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(batch, net.n_inputs)), rng.normal(size=(batch, net.n_outputs))


def absent(net):
    """All pairs of neurons that are not connected, from older to younger."""
    ids, inputs = net.neurons.ids, net.inputs.ids
    return [(s, t) for t in ids for s in ids if t not in inputs and s < t and not net.has_connection(s, t)]


def test_pair_gradients_equal_those_of_the_connections_once_they_exist(backend):
    net = skipping(backend=backend)
    X, Y = data(net)
    net.backward(X, Y)
    pairs = np.array([(s, t) for s, t in absent(net) if net.neuron(t).aggregation == "sum"])
    found = ng.sparsity.pair_gradients(net, *pairs.T)
    assert len(found) > 40 and found.dtype == np.float64
    new = net.add_connections(*pairs.T, weight=0.0)
    net.backward(X, Y)
    np.testing.assert_allclose(found, new.grad, rtol=1e-10, atol=1e-14)
    assert np.abs(found).max() > 0.01


def test_where_a_target_averages_the_gradient_is_divided_by_the_fan_in_it_would_have():
    net = ng.Network(dtype="float64")
    x, y = net.add_inputs(3), net.add_outputs(1, aggregation="mean")
    net.add_connections(x.ids[:2], [3, 3], weight=[1.0, 3.0])
    net.backward([[1.0, 2.0, 6.0]], [[1.5]])  # y is (1 + 6) / 2, the error 2 * (3.5 - 1.5), and 6 / 3 is added
    assert ng.sparsity.pair_gradients(net, [x[2]], [y[0]]).tolist() == [4.0 * 2]
    assert net.connections.grad.tolist() == [4.0 * 0.5, 4.0 * 1.0]


def test_the_network_may_be_edited_since():
    net = skipping(1)
    net.backward(*data(net))
    conns = net.connections
    doomed = conns[(conns.target > 14) & (conns.id % 2 == 0)]  # into neurons that sum
    grads, source, target = doomed.grad, doomed.source, doomed.target
    doomed.remove()
    net.connect(net.neuron(0), net.add_neurons(2))
    np.testing.assert_allclose(ng.sparsity.pair_gradients(net, source, target), grads, rtol=1e-12, atol=1e-15)


def test_no_pairs():
    net = skipping()
    net.backward(*data(net))
    assert ng.sparsity.pair_gradients(net, [], []).tolist() == []


def test_bad_pairs():
    net = skipping()
    with pytest.raises(ng.InvalidValueError, match="no pass"):
        ng.sparsity.pair_gradients(net, [0], [20])
    net.predict(data(net)[0])
    with pytest.raises(ng.InvalidValueError, match="call backward"):
        ng.sparsity.pair_gradients(net, [0], [20])
    net.backward(*data(net))
    for sources, targets, words in (
        ([0, 1], [20], "equal length, not 2 and 1"),
        ([0], [1], "neuron 1 is an input"),
        ([0], [99], "no neuron 99"),
    ):
        with pytest.raises(ng.NeurographError, match=words):
            ng.sparsity.pair_gradients(net, sources, targets)
    late = net.add_neurons(1)
    with pytest.raises(ng.InvalidValueError, match="after the last pass"):
        ng.sparsity.pair_gradients(net, [0], late)
    net.neuron(20).aggregation = "max"
    with pytest.raises(ng.InvalidValueError, match="neuron 20 aggregates by 'max'"):
        ng.sparsity.pair_gradients(net, [0], [20])
    net.neuron(20).aggregation = "sum"
    net.connections.weight = 10.0
    with np.errstate(all="ignore"):
        net.backward(np.full((2, 6), 1e308), np.zeros((2, 3)))
    with pytest.raises(ng.InvalidValueError, match="not finite"):
        ng.sparsity.pair_gradients(net, range(24), [24] * 24)
    net.connect(0, 20, delay=1)
    with pytest.raises(ng.InvalidValueError, match='grow="random"'):
        ng.sparsity.pair_gradients(net, [0], [20])
