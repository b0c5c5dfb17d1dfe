"""A few samples in a large network run source by source, in short rows: against the reference, on several threads."""

import numba
import numpy as np
import pytest

import neurograph as ng
from neurograph.backends import cpu
from neurograph.backends.cpu import kernels


def network(dtype, backend="cpu", scale=1):
    """Sums and means, activations with and without z, skips, a silent neuron, outputs that feed others."""
    net = ng.Network(seed=2, dtype=dtype, backend=backend)
    x, h = net.add_inputs(20 * scale), net.add_neurons(30 * scale, "tanh", aggregation="mean", bias=0.1)
    g = net.add_neurons(30 * scale, activation=["relu", "gelu", "identity"] * (10 * scale), bias=-0.2)
    y = net.add_outputs(5)
    net.mark_outputs(h[:2])
    net.connect(x, h, density=0.5), net.connect(x | h, g, density=0.5), net.connect(h | g, y, density=0.9)
    g[:3].bias = -1e3
    return net


@pytest.fixture
def from_the_first(monkeypatch):
    monkeypatch.setattr(cpu, "FEW_FROM", 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [1, 2, 3, 5, 8, 9])
def test_results_are_those_of_the_reference(from_the_first, dtype, batch):
    rng = np.random.default_rng(batch)
    X, Y = rng.normal(size=(batch, 20)), rng.normal(size=(batch, 7))
    found, expected = network(dtype), network(dtype, "reference")
    tolerance = {"rtol": 2e-4, "atol": 2e-6} if dtype == "float32" else {"rtol": 1e-10, "atol": 1e-13}
    for _ in range(2):  # the second time in the memory of the first
        np.testing.assert_allclose(found.backward(X, Y), expected.backward(X, Y), **tolerance)
        np.testing.assert_allclose(found.connections.grad, expected.connections.grad, **tolerance)
        np.testing.assert_allclose(found.neurons.bias_grad, expected.neurons.bias_grad, **tolerance)
        np.testing.assert_allclose(found.neuron(25).error, expected.neuron(25).error, **tolerance)
        np.testing.assert_allclose(found.activations(X), expected.activations(X), **tolerance)
        found.connections[::7].remove(), expected.connections[::7].remove()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_are_as_short_as_the_batch(from_the_first, dtype):
    net = network(dtype)
    size = np.dtype(dtype).itemsize
    for batch, lanes in ((2, 2), (3, 4), (4, 4), (5, 8), (8, 8)):
        net.backward(np.ones((batch, 20)), np.ones((batch, 7)))
        expected = lanes if lanes * size < kernels.REGISTER_BYTES else kernels.lanes_of(np.dtype(dtype), batch, 100)
        assert net.last_pass.buffer("acts").shape[2] == expected


def test_what_does_not_fit_runs_as_before(from_the_first):
    product = network("float64")
    product.neuron(60).aggregation = "max"
    delayed = network("float64")
    delayed.connect(delayed.neuron(30), delayed.neuron(30), delay=1)
    samples = np.random.default_rng(0).normal(size=(2, 20))
    for net, X in ((product, samples), (delayed, samples[:, None])):
        net.predict(X)
        assert net.last_pass.buffer("acts").shape[2] == kernels.lanes_of(np.dtype("float64"), 2, 100)


def test_small_networks_run_in_whole_registers():
    net = network("float32")
    net.backward(np.ones((2, 20)), np.ones((2, 7)))
    assert net.last_pass.buffer("acts").shape[2] == kernels.lanes_of(np.dtype("float32"), 2, 100)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread is all there is")
def test_results_do_not_depend_on_threads():
    X, Y = np.random.default_rng(0).normal(size=(3, 200)), np.zeros((3, 7))

    def run(threads):
        numba.set_num_threads(threads)
        net = network("float32", scale=10)
        assert cpu._few(net.plan, 3, 1) == 4
        net.backward(X, Y)
        return net.connections.grad, net.neurons.bias_grad, net.activations(X)

    most = numba.get_num_threads()
    try:
        for one, many in zip(run(1), run(most), strict=True):
            assert (one == many).all()
    finally:
        numba.set_num_threads(most)
