"""One sample at a time runs source by source; it must give what the same sample gives in a batch."""

import numba
import numpy as np
import pytest

import neurograph as ng
from neurograph.functions.activations import ACTIVATIONS


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_activation_and_mean(dtype):
    rtol = 2e-5 if dtype == "float32" else 1e-12
    net = ng.Network(seed=0, dtype=dtype)
    x = net.add_inputs(12)
    names = [name for name in ACTIVATIONS if name not in ("inv", "log", "exp", "cube", "square")]
    hidden = net.add_neurons(len(names) * 2, activation=names * 2)
    hidden.aggregation = ["sum"] * len(names) + ["mean"] * len(names)
    hidden.bias = np.linspace(-0.5, 0.5, len(hidden))
    net.connect(x, hidden, density=0.5)
    net.connect(hidden, hidden, density=0.1)
    net.connect(x | hidden, net.add_outputs(5))
    X = np.random.default_rng(0).normal(size=(9, 12)).astype(dtype)
    X[:, ::3] = 0  # such inputs are passed over
    net.backend_name = "reference"
    truth, inside = net.predict(X), net.activations(X)
    net.backend_name = "cpu"
    ours = np.concatenate([net.predict(row[None]) for row in X])
    np.testing.assert_allclose(ours, truth, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(net.activations(X[4:5]), inside[4:5], rtol=rtol, atol=rtol)
    np.testing.assert_allclose(net.neuron(hidden.ids[3]).output, inside[4:5, 15], rtol=rtol, atol=rtol)


def test_same_on_any_number_of_threads_and_after_edits():
    net = ng.topologies.layered([300, 400, 10], density=0.5)  # enough to be shared out
    X = np.random.default_rng(1).normal(size=(1, 300))
    before = numba.get_num_threads()
    try:
        results = []
        for threads in range(1, before + 1):
            numba.set_num_threads(threads)
            results.append(net.predict(X))
    finally:
        numba.set_num_threads(before)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])
    net.prune(net.connections[::3])
    net.connect(net.inputs, net.outputs, density=0.2)
    whole = net.predict(np.repeat(X, 3, axis=0))
    np.testing.assert_allclose(net.predict(X), whole[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_whether_slots_are_neighbours_or_not(dtype):
    net = ng.topologies.layered([50, 60, 4], density=0.6, dtype=dtype)
    rng = np.random.default_rng(2)
    X = rng.normal(size=(1, 50)).astype(dtype)
    for _ in range(6):
        first = net.predict(X)  # reads the slots
        np.testing.assert_array_equal(net.predict(X), first)  # knows which rows need no slots
        np.testing.assert_array_equal(net.predict(X), first)
        truth = net.predict(np.repeat(X, 2, axis=0))[:1]
        np.testing.assert_allclose(first, truth, rtol=1e-4, atol=1e-5)
        some = rng.random(net.n_connections) < 0.1  # freed slots are taken by others, so rows get mixed
        net.prune(net.connections[some])
        net.grow(net.inputs, net.neurons[50:110], int(some.sum()))


def test_outputs_belong_to_the_caller():
    net = ng.topologies.layered([5, 4, 3])
    X = np.ones((1, 5), np.float32)
    given = net.predict(X)
    kept = given.copy()
    given[:] = 7
    np.testing.assert_array_equal(net.last_pass.outputs[:, 0], kept)
    np.testing.assert_array_equal(net.predict(X), kept)
    np.testing.assert_array_equal(given, 7)
