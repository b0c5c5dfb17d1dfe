"""Rows of so many connections that the threads share them: hubs, as targets and as sources."""

import numba
import numpy as np
import pytest
from scipy import sparse

import neurograph as ng
from neurograph.backends.cpu import kernels, threads

LEAVES = kernels.LONG + 1000


def star(dtype="float32", delay=0, aggregation="sum"):
    """Inputs into a hub, and that into as many leaves, of which few are read by the outputs; all rows have company."""
    net = ng.Network(seed=0, dtype=dtype)
    x = net.add_inputs(LEAVES)
    hubs = net.add_neurons(2, activation="tanh", aggregation=["sum", aggregation])
    few = net.add_neurons(5)
    leaves = net.add_neurons(LEAVES)
    y = net.add_outputs(3)
    net.connect(x, hubs, weight=np.random.default_rng(0).normal(size=2 * LEAVES) / 100)
    net.connect(x[:40], few)
    net.connect(hubs, leaves, delay=delay)
    net.connect(few, leaves[::50])
    net.connect(leaves, y, density=0.5)
    net.connect(x[0], leaves)  # an input is a hub as well
    return net


def batch(net, count, steps=None):
    shape = (count, net.n_inputs) if steps is None else (count, steps, net.n_inputs)
    return np.random.default_rng(1).normal(size=shape).astype(net.dtype)


def gradients(net, X, Y):
    loss = net.backward(X, Y)
    return loss, net.connections.grad.copy(), net.neurons.bias_grad.copy()


def close(ours, truth, dtype):
    rtol = 1e-4 if dtype == "float32" else 1e-10
    for a, b in zip(ours, truth, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * max(np.abs(b).max(), 1e-30))


def test_fan_in_and_fan_out_against_scipy():
    net = ng.Network(seed=0, dtype="float64")
    x, hub, leaves = net.add_inputs(LEAVES), net.add_neurons(1, activation="identity"), net.add_outputs(LEAVES)
    into, out = net.connect(x, hub, weight="normal"), net.connect(hub, leaves, weight="normal")
    A = sparse.csr_array(into.weight[None])
    B = sparse.csr_array(out.weight[:, None])
    X, Y = batch(net, 5), np.random.default_rng(2).normal(size=(5, LEAVES))
    h = A @ X.T
    outputs = B @ h
    np.testing.assert_allclose(net.predict(X), outputs.T, rtol=1e-9, atol=1e-9)
    net.backward(X, Y)
    by_output = 2 * (outputs - Y.T) / Y.size
    by_hub = B.T @ by_output
    np.testing.assert_allclose(out.grad, (by_output @ h.T).ravel(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(hub.bias_grad, by_hub.sum(axis=1), rtol=1e-9)
    np.testing.assert_allclose(into.grad, (by_hub @ X).ravel(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("delay", "aggregation"), [(0, "sum"), (0, "mean"), (0, "max"), (1, "sum")], ids=["sum", "mean", "max", "delay"]
)
def test_as_the_reference_computes_it(dtype, delay, aggregation):
    net = star(dtype, delay, aggregation)
    X = batch(net, 3, 3 if delay else None)
    Y = np.ones((*X.shape[:-1], 3), dtype)
    ours = net.predict(X), *gradients(net, X, Y)
    net.backend_name = "reference"
    close(ours, (net.predict(X), *gradients(net, X, Y)), dtype)


@pytest.mark.parametrize("count", [3, 16, 100, 300])
def test_same_on_any_number_of_threads(count):
    net = star()
    X = batch(net, count)
    Y = np.ones((count, 3), np.float32)
    before = numba.get_num_threads()
    try:
        results = []
        for threads in range(1, before + 1):
            numba.set_num_threads(threads)
            results.append((net.predict(X), *gradients(net, X, Y)))
    finally:
        numba.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(a, b)


def test_edits_make_rows_long_and_short():
    net = star()
    X, Y = batch(net, 4), np.ones((4, 3), np.float32)
    hub = net.neurons[LEAVES : LEAVES + 1]
    for edit in (
        lambda: net.prune(hub.incoming[::2]),
        lambda: net.prune(hub.outgoing[1::2]),
        lambda: net.connect(net.inputs, hub),
        lambda: net.connect(net.inputs[1:2], net.neurons[LEAVES + 7 : 2 * LEAVES]),
    ):
        gradients(net, X, Y)
        edit()
        ours = net.predict(X), *gradients(net, X, Y)
        net.backend_name = "reference"
        truth = net.predict(X), *gradients(net, X, Y)
        net.backend_name = "cpu"
        close(ours, truth, "float32")


def test_sparse_inputs():
    net = star()
    X = batch(net, 6) * (np.random.default_rng(3).random((6, LEAVES)) < 0.001)
    Y = np.ones((6, 3), np.float32)
    dense = net.predict(X), *gradients(net, X, Y)
    close((net.predict(sparse.csr_array(X)), *gradients(net, sparse.csr_array(X), Y)), dense, "float32")


@pytest.mark.nojit
@pytest.mark.skipif(not numba.config.DISABLE_JIT, reason="compiled kernels do not see what a test puts in their place")
@pytest.mark.parametrize("count", [2, 200])
def test_one_thread_enters_no_parallel_region(monkeypatch, count):
    """A child made by fork must not."""

    def refuse(*arguments):
        raise AssertionError("a parallel region")

    for name in ("_forward_shares", "_forward_chunks", "_backward_shares", "_backward_chunks"):
        monkeypatch.setattr(kernels, name, refuse)
    monkeypatch.setattr(kernels, "LONG", 16)
    monkeypatch.setattr(kernels, "CHUNK", 8)
    monkeypatch.setattr(threads, "count", lambda: 1)
    net = ng.Network(seed=0)
    x, hub, leaves, y = net.add_inputs(30), net.add_neurons(1), net.add_neurons(29), net.add_outputs(2)
    net.connect(x, hub, weight=0.1)
    net.connect(hub, leaves)
    net.connect(leaves, y)
    net.connect(x[:1], leaves)
    X, Y = batch(net, count), np.ones((count, 2), np.float32)
    ours = net.predict(X), *gradients(net, X, Y)
    net.backend_name = "reference"
    close(ours, (net.predict(X), *gradients(net, X, Y)), "float32")
