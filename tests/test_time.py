"""Delays, time constants, states and back-propagation through time, against scalar unrolling and PyTorch."""

import numba
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import neurograph as ng

from . import naive

BATCH, STEPS = 3, 5


def looped(seed, backend, dtype="float64", mixed=False, leaky=False):
    """A random network with loops: delays 0 to 3, sums only or every aggregation, some potentials leaky."""
    rng = np.random.default_rng(seed)
    net = ng.Network(seed=seed, dtype=dtype, backend=backend)
    x = net.add_inputs(3)
    kinds = rng.choice(["sum", "mean", "product", "max", "min", "maxabs", "median"], 6) if mixed else "sum"
    acts = rng.choice(["relu", "tanh", "gelu", "sigmoid", "identity"], 6) if mixed else rng.choice(["tanh", "relu"], 6)
    taus = rng.choice([1.0, 2.0, 4.5], 6) if leaky else 1.0
    h = net.add_neurons(6, activation=acts.tolist(), aggregation=kinds if isinstance(kinds, str) else kinds.tolist())
    h.time_constant = taus
    h.bias = rng.normal(scale=0.3, size=6)
    net.mark_outputs(h[-2:])
    for delay in (0, 1, 3):
        net.connect(x, h, density=0.3, delay=delay, weight=lambda i, o, r: r.normal(scale=0.6, size=len(i)))
        net.connect(h, h, density=0.3, delay=delay, weight=lambda i, o, r: r.normal(scale=0.6, size=len(i)))
    return net, rng


def naive_truth(net, X, upstream):
    """Outputs, weight gradients and bias gradients of the unrolled scalar network."""
    twin, origin = naive.unroll(net, X.shape[1])
    column = {int(i): k for k, i in enumerate(net.inputs.ids)}
    samples = [[row[i[1], column[i[0]]] if i[1] >= 0 and i[0] in column else 0.0 for i in twin.inputs] for row in X]
    outputs = np.array(twin.predict(samples)).reshape(len(X), X.shape[1], -1)
    gradients = twin.backward(samples, upstream.reshape(len(X), -1))
    weights = np.zeros(net.n_connections)
    for gradient, index in zip(gradients.weights, origin, strict=True):
        if index >= 0:
            weights[index] += gradient
    biases = {}
    for key, value in gradients.biases.items():
        if key[0] == "z":
            biases[key[1]] = biases.get(key[1], 0.0) + value
    return outputs, weights, biases


def given_gradient(upstream):
    """A loss whose gradient by the outputs is ``upstream``."""
    flat = upstream.reshape(-1, upstream.shape[-1])
    return lambda outputs, Y: (float((outputs * flat).sum()), flat)


@pytest.mark.nojit
@pytest.mark.parametrize("leaky", [False, True], ids=["forgets", "leaks"])
@pytest.mark.parametrize("mixed", [False, True], ids=["sums", "mixed"])
@pytest.mark.parametrize("seed", range(4))
def test_sequences_equal_scalar_unrolling(seed, mixed, leaky, backend):
    net, rng = looped(seed, backend, mixed=mixed, leaky=leaky)
    X, upstream = rng.normal(size=(BATCH, STEPS, 3)), rng.normal(size=(BATCH, STEPS, 2))
    outputs, weights, biases = naive_truth(net, X, upstream)
    np.testing.assert_allclose(net.predict(X), outputs, rtol=1e-10, atol=1e-12)
    net.backward(X, np.zeros((BATCH, STEPS, 2)), loss=given_gradient(upstream))
    np.testing.assert_allclose(net.connections.grad, weights, rtol=1e-9, atol=1e-11)
    movable = net.neurons - net.inputs
    np.testing.assert_allclose(movable.bias_grad, [biases[int(i)] for i in movable.ids], rtol=1e-9, atol=1e-11)


@pytest.mark.nojit
@pytest.mark.parametrize("recompute", [1, 2, 3, True], ids=str)
@pytest.mark.parametrize("leaky", [False, True], ids=["forgets", "leaks"])
def test_recomputing_changes_nothing(recompute, leaky, backend):
    net, rng = looped(7, backend, leaky=leaky)
    X, Y = rng.normal(size=(BATCH, 11, 3)), rng.normal(size=(BATCH, 11, 2))
    whole = net.backward(X, Y)
    grads = net.connections.grad, net.neurons.bias_grad
    assert net.backward(X, Y, recompute=recompute) == pytest.approx(whole, rel=1e-12)
    np.testing.assert_allclose(net.connections.grad, grads[0], rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(net.neurons.bias_grad, grads[1], rtol=1e-10, atol=1e-13)


def elman(net, x, h, y, delay=1):
    """The network as PyTorch tensors: input, recurrent and output matrices and biases."""

    def matrix(source, target, d):
        m = np.zeros((len(target), len(source)))
        for i, t in enumerate(target.ids):
            for j, s in enumerate(source.ids):
                if net.has_connection(int(s), int(t), d):
                    m[i, j] = net.connection(int(s), int(t), d).weight
        return torch.tensor(m, requires_grad=True)

    return matrix(x, h, 0), matrix(h, h, delay), matrix(h, y, 0)


def rnn(seed, backend):
    net = ng.Network(seed=seed, dtype="float64", backend=backend)
    x, h = net.add_inputs(4), net.add_neurons(7, activation="tanh")
    y = net.add_outputs(2)
    net.connect(x, h)
    net.connect(h, h, density=0.6, delay=1)
    net.connect(h, y)
    return net, x, h, y


@pytest.mark.parametrize("truncate", [None, 1, 3, 4, 20])
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("carried", [False, True], ids=["fresh", "carried"])
def test_gradients_through_time_equal_pytorch(truncate, recompute, carried, backend):
    """Also truncated: the state at a cut is a constant, the weights that read it still learn from it."""
    net, x, h, y = rnn(0, backend)
    rng = np.random.default_rng(1)
    X, Y, before = rng.normal(size=(5, 10, 4)), rng.normal(size=(5, 10, 2)), rng.normal(size=(5, 6, 4))
    state = net.predict(before, return_state=True)[1] if carried else None
    w_in, w_rec, w_out = elman(net, x, h, y)
    hidden = torch.zeros(5, 7, dtype=torch.float64)
    if carried:
        with torch.no_grad():
            for t in range(6):
                hidden = torch.tanh(torch.tensor(before[:, t]) @ w_in.T + hidden @ w_rec.T)
    outputs = []
    for t in range(10):
        if truncate and t % truncate == 0:
            hidden = hidden.detach()
        hidden = torch.tanh(torch.tensor(X[:, t]) @ w_in.T + hidden @ w_rec.T)
        outputs.append(hidden @ w_out.T)
    loss = torch.nn.functional.mse_loss(torch.stack(outputs, 1), torch.tensor(Y))
    loss.backward()
    ours = net.backward(X, Y, truncate=truncate, recompute=recompute, state=state)
    assert ours == pytest.approx(loss.item(), rel=1e-12)
    for c in net.connections:
        matrix, source, target = next(
            (m, s, t) for m, s, t in ((w_in, x, h), (w_rec, h, h), (w_out, h, y)) if c.source in s and c.target in t
        )
        i, j = (int(np.flatnonzero(g.ids == n.id)[0]) for g, n in ((target, c.target), (source, c.source)))
        assert c.grad == pytest.approx(matrix.grad[i, j].item(), rel=1e-9, abs=1e-13)


def test_a_state_carries_on(backend):
    net, rng = looped(3, backend, mixed=True, leaky=True)
    X = rng.normal(size=(BATCH, 9, 3))
    whole, end = net.predict(X, return_state=True)
    first, state = net.predict(X[:, :4], return_state=True)
    middle, state = net.predict(X[:, 4:5], state=state, return_state=True)
    rest, state = net.predict(X[:, 5:], state=state, return_state=True)
    np.testing.assert_array_equal(np.concatenate([first, middle, rest], axis=1), whole)
    np.testing.assert_array_equal(state.outputs, end.outputs)
    assert state.outputs.shape == (BATCH, 3, net.n_neurons)
    state = net.predict(X[:, :5], return_state=True)[1]
    net.add_neurons(4)  # a state outlives edits
    np.testing.assert_array_equal(net.predict(X[:, 5:], state=state), whole[:, 5:])
    with pytest.raises(ng.InvalidValueError, match="3 samples, but X has 2"):
        net.predict(X[:2], state=state)


def test_pieces_and_windows_change_nothing(backend, monkeypatch):
    net, rng = looped(5, backend, leaky=True)
    X = rng.normal(size=(130, 40, 3))
    whole, state = net.predict(X, return_state=True)
    monkeypatch.setattr(ng.sequences, "PIECE_BYTES", 20_000)
    pieces, again = net.predict(X, batch_size=64, return_state=True)
    # The last two samples run in a narrow panel, which adds up in another order.
    np.testing.assert_allclose(pieces, whole, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(again.outputs, state.outputs, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(again.potentials, state.potentials, rtol=1e-11, atol=1e-13)


@given(st.integers(0, 2**31), st.integers(1, 6))
def test_one_step_at_a_time_is_the_whole_sequence(seed, steps):
    net, rng = looped(seed, "cpu", leaky=True)
    X = rng.normal(size=(2, steps, 3))
    state, parts = None, []
    for t in range(steps):
        part, state = net.predict(X[:, t : t + 1], state=state, return_state=True)
        parts.append(part)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), net.predict(X))


@pytest.mark.nojit
def test_lengths_by_mask(backend):
    """Padded sequences of several lengths count as each one alone does."""
    net, rng = looped(2, backend)
    lengths = [2, 5, 3]
    X, Y = rng.normal(size=(3, 5, 3)), rng.normal(size=(3, 5, 2))
    mask = np.arange(5) < np.array(lengths)[:, None]
    value = net.backward(X, Y, mask=mask)
    grad = net.connections.grad
    each = [(net.backward(X[i : i + 1, :n], Y[i : i + 1, :n]), net.connections.grad) for i, n in enumerate(lengths)]
    share = np.array(lengths) / sum(lengths)
    assert value == pytest.approx(sum(s * v for s, (v, _) in zip(share, each, strict=True)))
    np.testing.assert_allclose(grad, sum(s * g for s, (_, g) in zip(share, each, strict=True)), rtol=1e-9, atol=1e-13)
    net.backward(X, Y[:, 0], mask=mask)  # no time axis: the last step that counts
    grad = net.connections.grad
    last = []
    for i, n in enumerate(lengths):
        net.backward(X[i : i + 1, :n], Y[i : i + 1, 0])
        last.append(net.connections.grad)
    np.testing.assert_allclose(grad, np.mean(last, axis=0), rtol=1e-9, atol=1e-13)


def test_labels_at_every_step_or_at_the_last(backend):
    net, rng = looped(4, backend)
    X, labels = rng.normal(size=(BATCH, STEPS, 3)), rng.integers(0, 2, (BATCH, STEPS))
    outputs = torch.tensor(net.predict(X))
    every = torch.nn.functional.cross_entropy(outputs.reshape(-1, 2), torch.tensor(labels.ravel()))
    assert net.backward(X, labels, loss="cross_entropy") == pytest.approx(every.item())
    last = torch.nn.functional.cross_entropy(outputs[:, -1], torch.tensor(labels[:, 0]))
    assert net.backward(X, labels[:, 0], loss="cross_entropy") == pytest.approx(last.item())


def test_float32_and_threads():
    """A recurrent network large enough for parallel regions gives the same bits on one thread and on two."""
    net = ng.Network(seed=0, backend="cpu")
    x, h = net.add_inputs(20), net.add_neurons(600, activation="tanh", time_constant=2.0)
    net.mark_outputs(h[:5])
    net.connect(x, h)
    net.connect(h, h, density=0.2, delay=1)
    X = np.random.default_rng(0).normal(size=(70, 6, 20)).astype(np.float32)
    results, threads = [], numba.get_num_threads()
    try:
        for count in {1, min(2, numba.config.NUMBA_NUM_THREADS)}:
            numba.set_num_threads(count)
            net.backward(X, np.zeros((70, 6, 5)))
            results.append((net.predict(X), net.connections.grad, net.neurons.bias_grad))
    finally:
        numba.set_num_threads(threads)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.nojit
def test_edits_between_steps_are_seen(backend):
    """A pruned delayed connection no longer transmits, a new one does at once (ANNarchy shipped the opposite)."""
    net, rng = looped(9, backend)
    X = rng.normal(size=(2, 6, 3))
    for _ in range(4):
        net.connections[int(rng.integers(net.n_connections))].remove()
        net.connect(net.neurons - net.inputs, net.neurons - net.inputs, density=0.1, delay=2)
        outputs, *_ = naive_truth(net, X, np.zeros((2, 6, 2)))
        np.testing.assert_allclose(net.predict(X), outputs, rtol=1e-10, atol=1e-12)
        net.graph.check()


@pytest.mark.nojit
def test_settle_finds_the_fixed_point(backend):
    rng = np.random.default_rng(0)
    W, B = rng.normal(scale=0.1, size=(8, 8)), rng.normal(size=(8, 3))
    net = ng.Network(dtype="float64", backend=backend)
    x, h = net.add_inputs(3), net.add_neurons(8, activation="identity")
    net.mark_outputs(h)
    net.connect(x, h, weight=B.ravel())
    net.connect(h, h, weight=W.ravel(), delay=1)
    X = rng.normal(size=(4, 3))
    np.testing.assert_allclose(net.settle(X, tolerance=1e-12), np.linalg.solve(np.eye(8) - W, B @ X.T).T, atol=1e-10)
    held = np.repeat(X[:, None], 7, axis=1)
    np.testing.assert_array_equal(net.settle(X, steps=7), net.predict(held)[:, -1])
    net.connections[net.connections.delay > 0].weight = 0.9
    with pytest.raises(ng.NotSettledError, match="after 50 steps"):
        net.settle(X, max_steps=50)


def test_learning_to_remember():
    """The network has to say at the end which symbol it saw first: only its loops can carry that."""
    net = ng.Network(seed=0)
    x, h = net.add_inputs(3), net.add_neurons(24, activation="tanh")
    y = net.add_outputs(3)
    net.connect(x, h)
    net.connect(h, h, delay=1, density=0.5)
    net.connect(h, y)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (600, 8))
    X = np.eye(3, dtype=np.float32)[labels]
    trainer = ng.Trainer(net, optimizer=ng.optim.Adam(lr=5e-3), seed=0)
    validation = X[500:], labels[500:, 0]
    history = trainer.fit(X[:500], labels[:500, 0], epochs=25, progress=False, validation_data=validation)
    assert history["val_accuracy"][-1] > 0.95


@pytest.mark.nojit
def test_bad_input():
    net, rng = looped(0, "cpu")
    X = rng.normal(size=(2, 4, 3))
    net.backward(X, X[:, :, :2])
    before = net.outputs[0].output
    with pytest.raises(ng.InvalidValueError, match="label 7"):
        net.backward(X, np.full((2, 4), 7), loss="cross_entropy")
    np.testing.assert_array_equal(net.outputs[0].output, before)  # the last pass is what it was
    with pytest.raises(ng.InvalidValueError, match=r"\(batch, time, 3\).*settle"):
        net.predict(X[:, 0])
    with pytest.raises(ng.InvalidValueError, match="pad the sequences to one length and say by `mask`"):
        net.predict([X[0], X[0, :2]])
    with pytest.raises(ng.InvalidValueError, match="mask must be bools"):
        net.backward(X, X[:, :, :2], mask=np.ones((2, 4)))
    with pytest.raises(ng.InvalidValueError, match="begin with"):
        net.backward(X, np.zeros((2, 3, 2)))
    with pytest.raises(ng.InvalidValueError, match="false at every step"):
        net.backward(X, np.zeros((2, 2)), mask=np.array([[True] * 4, [False] * 4]))
    with pytest.raises(ng.InvalidValueError, match="truncate is 0"):
        net.backward(X, X[:, :, :2], truncate=0)
    with pytest.raises(ng.InvalidValueError, match="at least 1"):
        net.add_neurons(3, time_constant=0.5)
    with pytest.raises(ng.InvalidValueError, match="no time steps"):
        net.predict(X[:, :0])
    static = ng.topologies.layered([3, 2])
    with pytest.raises(ng.InvalidValueError, match="no delays"):
        static.predict(X)
    with pytest.raises(ng.InvalidValueError, match="a mask is for sequences"):
        static.backward(X[:, 0], X[:, 0, :2], mask=np.ones((2, 1), bool))


def test_a_saved_network_keeps_its_time(tmp_path, backend):
    net, rng = looped(6, backend, leaky=True)
    X = rng.normal(size=(2, 5, 3))
    net.save(tmp_path / "net.ng")
    np.testing.assert_array_equal(ng.load(tmp_path / "net.ng").predict(X), net.predict(X))
