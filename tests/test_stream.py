"""Predictions that keep no activations: the same outputs as a whole pass, and less work for samples that died out."""

import numpy as np
import pytest

import neurograph as ng
from neurograph.backends.cpu.stream import Stream

ACTIVATIONS = ["relu", ("clipped_relu", 2.0), ("leaky_relu", 0.1), "tanh", "identity", "abs", "gelu"]


def chain(seed, dtype="float32", n=400, bias=-0.2, activations=ACTIVATIONS):
    """A deep DAG: each neuron reads some of the few before it, a few also inputs, and some nobody."""
    rng = np.random.default_rng(seed)
    net = ng.Network(seed=seed, dtype=dtype)
    net.add_inputs(8)
    for _ in range(n):
        net.add_neurons(1, activation=activations[rng.integers(len(activations))], bias=bias,
                        aggregation="mean" if rng.random() < 0.2 else "sum")  # fmt: skip
    targets = 8 + np.repeat(np.arange(n), 4)
    sources = targets - rng.integers(1, 13, targets.size)
    sources = np.where(rng.random(targets.size) < 0.02, rng.integers(0, 8, targets.size), sources)
    pairs = np.unique(np.stack([sources, targets])[:, sources >= 0], axis=1)
    pairs = pairs[:, pairs[1] % 50 != 0]
    net.add_connections(*pairs, weight=rng.normal(0, 0.8, pairs.shape[1]))
    net.mark_outputs([30, 200, 8 + n - 2, 8 + n - 1, 3])
    return net


def samples(net, batch, seed=0):
    """Inputs of which half are all zero."""
    X = np.random.default_rng(seed).normal(size=(batch, net.n_inputs)).astype(net.dtype)
    X[np.random.default_rng(seed + 1).random(batch) < 0.5] = 0
    return X


def layers(n_layers, width, bias=-0.3, dtype="float32"):
    """Layers in which samples with an average above a half grow up to the clip, and the others die."""
    net, rng = ng.Network(seed=1, dtype=dtype), np.random.default_rng(7)
    last = net.add_inputs(width)
    for _ in range(n_layers):
        layer = net.add_neurons(width, activation=("clipped_relu", 3.0), bias=bias)
        connections = net.connect(last, layer)
        connections.weight = rng.random(len(connections)) * 3.2 / width
        last = layer
    net.mark_outputs(last)
    return net


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bias", [-0.2, 0.0, 0.3])
def test_the_outputs_are_those_of_a_whole_pass(seed, dtype, bias):
    net = chain(seed, dtype, bias=bias)
    X = samples(net, 300)
    wanted = net.predict(X)
    assert not isinstance(net.last_pass, Stream)
    given = net.predict(X, batch_size=299)
    assert isinstance(net.last_pass, Stream)
    np.testing.assert_array_equal(given[:256], wanted[:256])
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for size in (1, 7, 64, 200):
        np.testing.assert_allclose(net.predict(X, batch_size=size), wanted, rtol=tolerance, atol=tolerance)
    net.backend_name = "reference"
    np.testing.assert_allclose(net.predict(X), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("threads", [1, 2])
def test_samples_that_died_out_run_as_one(threads):
    import numba

    net = layers(20, 32)
    X = np.random.default_rng(0).random((1000, 32), np.float32)
    X[100:] *= 0.7
    X[50:60] *= 8
    wanted = net.activations(X)[:, net.outputs.slots]
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, before))
    try:
        given = net.predict(X, batch_size=999)
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(given, wanted)
    assert 0 < np.count_nonzero(wanted.any(axis=1)) < 100
    np.testing.assert_array_equal(net.predict(np.concatenate([X, X]), batch_size=1000), np.concatenate([wanted] * 2))
    assert net.last_pass.n_lanes <= 128


def test_what_is_read_late_keeps_a_sample_alive():
    """Every neuron in between is zero for all samples, but the last one reads an input."""
    net = layers(20, 32, bias=-9.0)
    x, y = net.inputs, net.outputs
    net.add_connections(x.ids, y.ids, weight=20.0)
    X = np.random.default_rng(0).random((300, 32), np.float32)
    wanted = np.clip(20 * X - 9, 0, 3)
    np.testing.assert_allclose(net.predict(X, batch_size=299), wanted, rtol=1e-5, atol=1e-5)
    assert isinstance(net.last_pass, Stream)


def test_the_dead_follow_the_bias():
    """A layer that turns zeros into ones again, long after the samples have died."""
    net = layers(20, 32)
    net.neurons[32 * 15 : 32 * 16].bias = 1.5
    X = np.random.default_rng(0).random((700, 32), np.float32)
    wanted = net.activations(X)[:, net.outputs.slots]
    np.testing.assert_array_equal(net.predict(X, batch_size=699), wanted)
    assert net.last_pass.n_lanes <= 64


def test_edits_between_predictions():
    net = chain(5)
    X = samples(net, 200)
    for _ in range(3):
        given = net.predict(X, batch_size=100)
        np.testing.assert_array_equal(given[:64], net.predict(X)[:64])
        net.connections.weight = 0.9 * net.connections.weight
        np.testing.assert_allclose(net.predict(X, batch_size=100), net.predict(X), rtol=1e-5, atol=1e-6)
        net.prune(net.connections[::9])
        net.neurons[100 + len(net.connections) % 7].bias = 0.7
        np.testing.assert_allclose(net.predict(X, batch_size=100), net.predict(X), rtol=1e-5, atol=1e-6)


def test_nothing_is_kept():
    """Who asks for an activation is told how to get it; a pass that keeps them works as before."""
    net = chain(6)
    X = samples(net, 200)
    net.predict(X, batch_size=100)
    assert isinstance(net.last_pass, Stream)
    assert net.last_pass.nbytes < 100 * net.nbytes
    with pytest.raises(ng.errors.InvalidValueError, match="too large to keep"):
        net.neurons[20].output  # noqa: B018
    assert net.first_nonfinite() is None
    Y = np.zeros((200, net.n_outputs), net.dtype)
    loss = net.backward(X, Y)
    assert net.neurons[20].output.shape == (200,)
    net.predict(X, batch_size=100)
    assert net.backward(X, Y) == loss


@pytest.mark.parametrize("kind", ["max", "median"])
def test_special_neurons_take_a_whole_pass(kind):
    net = layers(12, 8)
    net.neurons[20].aggregation = kind
    X = np.random.default_rng(0).random((200, 8), np.float32)
    wanted = net.predict(X)
    np.testing.assert_array_equal(net.predict(X, batch_size=150)[:128], wanted[:128])
    assert not isinstance(net.last_pass, Stream)


def test_a_prediction_too_large_for_one_piece_keeps_nothing(monkeypatch):
    """The choice without a batch size."""
    from neurograph import sequences

    net = layers(20, 32)
    X = np.random.default_rng(0).random((500, 32), np.float32)
    wanted = net.predict(X)
    monkeypatch.setattr(sequences, "PIECE_BYTES", 2**18)
    np.testing.assert_array_equal(net.predict(X), wanted)
    assert isinstance(net.last_pass, Stream)
