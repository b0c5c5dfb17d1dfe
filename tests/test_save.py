"""A saved network comes back whole, and goes on training as if nothing had happened."""

import numpy as np
import pytest

import neurograph as ng


@pytest.fixture
def trained():
    net = ng.topologies.random_dag(6, 40, 4, density=0.3, activation="silu", seed=2)
    net.group([7, 9, 8], name="odd")
    train(net, 5)
    net.connections[::7].remove()
    net.neuron(12).remove()
    net.grow(net.inputs, net.homes[1], 5)
    train(net, 3)
    return net


def train(net, steps):
    rng, optimizer = np.random.default_rng(0), ng.optim.Adam(lr=0.01)
    for _ in range(steps):
        net.backward(rng.normal(size=(8, 6)), rng.normal(size=(8, 4)))
        optimizer.step(net)


def test_everything_comes_back(trained, tmp_path):
    trained.save(tmp_path / "model.ng")
    again = ng.load(tmp_path / "model.ng")
    again.graph.check()
    X = np.random.default_rng(1).normal(size=(10, 6))
    np.testing.assert_array_equal(again.predict(X), trained.predict(X))
    assert again.counters == trained.counters and list(again.groups) == list(trained.groups)
    for name, group in trained.groups.items():
        np.testing.assert_array_equal(again.groups[name].ids, group.ids)
    a, b = (sorted_columns(net) for net in (again, trained))
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def sorted_columns(net):
    conns = net.connections
    conns = conns[np.argsort(conns.id)]
    yield from (conns.id, conns.source, conns.target, conns.weight, conns.state("adam_m"), conns.state("adam_v"))
    neurons = net.neurons
    yield from (neurons.ids, neurons.bias, neurons.activation, neurons.aggregation, net.inputs.ids, net.outputs.ids)


def test_training_goes_on_as_if_nothing_had_happened(trained, tmp_path):
    trained.save(tmp_path / "model.ng")
    again = ng.load(tmp_path / "model.ng")
    for net in (trained, again):
        train(net, 4)
    X = np.random.default_rng(1).normal(size=(10, 6))
    np.testing.assert_array_equal(again.predict(X), trained.predict(X))
    np.testing.assert_array_equal(trained.rng.random(3), again.rng.random(3))
    assert trained.add_neurons(1).ids == again.add_neurons(1).ids


def test_slots_do_not_matter(trained, tmp_path):
    """A file has no holes: what was removed takes no place in it."""
    trained.save(tmp_path / "model.ng")
    again = ng.load(tmp_path / "model.ng")
    assert again.graph.connections.size == again.n_connections
    again.save(tmp_path / "again.ng")
    assert (tmp_path / "again.ng").stat().st_size == (tmp_path / "model.ng").stat().st_size
