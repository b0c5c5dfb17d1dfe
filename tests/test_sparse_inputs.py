"""X as a SciPy sparse matrix: the same answers as for the dense array, and the same refusals."""

import numpy as np
import pytest
from scipy import sparse

import neurograph as ng
from neurograph import samples, sequences

FORMATS = [getattr(sparse, f"{form}_{kind}") for form in ("csr", "csc", "coo") for kind in ("array", "matrix")]


def dag(backend="cpu", dtype="float32"):
    net = ng.topologies.random_dag(30, 60, 4, density=0.2, seed=1, backend=backend, dtype=dtype)
    rng = np.random.default_rng(0)
    X = np.where(rng.random((200, 30)) < 0.1, rng.normal(size=(200, 30)), 0).astype(dtype)
    X[5] = 0
    return net, X, rng.normal(size=(200, 4))


@pytest.mark.parametrize("form", FORMATS)
def test_the_answers_of_the_dense_array(backend, form):
    net, X, Y = dag(backend)
    wanted, loss = net.predict(X), net.backward(X, Y)
    grad, bias_grad = net.connections.grad.copy(), net.neurons.bias_grad.copy()
    np.testing.assert_array_equal(net.predict(form(X)), wanted)
    np.testing.assert_array_equal(net.activations(form(X)), net.activations(X))
    np.testing.assert_array_equal(net.settle(form(X), steps=1), wanted)
    assert net.backward(form(X), Y) == loss
    np.testing.assert_array_equal(net.connections.grad, grad)
    np.testing.assert_array_equal(net.neurons.bias_grad, bias_grad)
    np.testing.assert_allclose(net.predict(form(X), batch_size=70), wanted, rtol=1e-5, atol=1e-6)


def test_a_large_matrix_is_never_dense_as_a_whole(monkeypatch):
    net, X, _ = dag()
    tall = sparse.vstack([sparse.csr_array(X)] * 50).tocsr()
    most, dense = [], samples.SparseSamples.dense
    monkeypatch.setattr(samples.SparseSamples, "dense", lambda self: most.append(len(self)) or dense(self))
    given = net.predict(tall)
    assert sum(most) == 10_000
    assert max(most) <= 2048
    np.testing.assert_allclose(given, np.tile(net.predict(X), (50, 1)), rtol=1e-5, atol=1e-6)


def test_gradients_in_pieces(monkeypatch):
    net, X, Y = dag(dtype="float64")
    loss = net.backward(X, Y)
    grad = net.connections.grad.copy()
    monkeypatch.setattr(sequences, "fitting", lambda *_: (64, True))
    assert net.backward(sparse.csr_array(X), Y) == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(net.connections.grad, grad, rtol=1e-10, atol=1e-12)


def test_duplicates_add_up():
    net, X, _ = dag()
    twice = sparse.coo_array(([1.0, 2.0, 5.0], ([0, 0, 1], [3, 3, 4])), (2, 30))
    np.testing.assert_array_equal(net.predict(twice), net.predict(twice.toarray()))
    assert twice.nnz == 3
    apart = sparse.csr_array(([1.0, 2.0], [3, 3], [0, 2]), (1, 30))
    np.testing.assert_array_equal(net.predict(apart), net.predict(twice.toarray()[:1]))
    assert apart.nnz == 2


@pytest.mark.parametrize("dtype", ["int8", "bool", "float64", "uint16"])
def test_any_real_dtype(dtype):
    net, X, _ = dag()
    ones = (X != 0).astype(dtype)
    np.testing.assert_array_equal(net.predict(sparse.csr_array(ones)), net.predict(ones))


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (sparse.csr_array((3, 29)), ["29 columns", "30 inputs"]),
        (sparse.csr_array((0, 30)), ["empty batch"]),
        (sparse.csr_array(([1.0, np.nan], [3, 7], [0, 1, 1, 2]), (3, 30)), ["nan", "row 2, column 7"]),
        (sparse.csr_array(([np.inf], [3], [0, 1]), (1, 30)), ["inf", "row 0, column 3"]),
        (sparse.csr_array(([1e300], [3], [0, 1]), (1, 30)), ["inf", "float32"]),
        (sparse.csr_array(([1j], [3], [0, 1]), (1, 30)), ["complex"]),
        (sparse.coo_array(([3e38, 3e38], ([0, 0], [3, 3])), (1, 30), dtype="float32"), ["inf"]),
        (sparse.coo_array(np.ones(30)), ["shape"]),
    ],
)
def test_refused_as_dense_x_is(X, words):
    net, dense, Y = dag()
    net.backward(dense, Y)
    grad = net.connections.grad.copy()
    for call in (lambda: net.predict(X), lambda: net.backward(X, Y), lambda: ng.Trainer(net, "mse").evaluate(X, Y)):
        with np.errstate(all="ignore"), pytest.raises(ng.InvalidValueError) as error:
            call()
        assert all(word in str(error.value) for word in words), str(error.value)
    np.testing.assert_array_equal(net.connections.grad, grad)


def test_networks_that_remember_want_steps():
    net = ng.Network()
    net.connect(net.add_inputs(3), net.add_outputs(2, time_constant=2.0))
    with pytest.raises(ng.InvalidValueError, match="dense array of steps"):
        net.predict(sparse.eye_array(3))


def embedding(activation="tanh", aggregation="sum", dtype="float32", late=False):
    """Many inputs whose readers read nothing else, unless there is a ``late`` reader."""
    net = ng.Network(seed=3, dtype=dtype)
    x = net.add_inputs(300)
    h = net.add_neurons(20, activation=activation, aggregation=aggregation, bias=0.1)
    h2, y = net.add_neurons(15, activation="relu"), net.add_outputs(4)
    net.connect(x, h, density=0.5)
    net.connect(h, h2)
    net.connect(h2, y)
    if late:
        net.connect(x[7], y[1])
    rng = np.random.default_rng(4)
    X = sparse.random_array((200, 300), density=0.01, rng=rng, format="csr", dtype=dtype)
    X.data -= 0.5
    return net, X, rng.normal(size=(200, 4))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["tanh", "gelu", ("clipped_relu", 0.3), "identity", "exp", "mixed"])
@pytest.mark.parametrize("aggregation", ["sum", "mean"])
def test_only_active_inputs_run(activation, aggregation, dtype):
    activation = ["tanh", "sin", "relu", ("leaky_relu", 0.1)] * 5 if activation == "mixed" else activation
    net, X, Y = embedding(activation, aggregation, dtype)
    dense = X.toarray()
    assert (np.diff(X.indptr) == 0).any(), "some row is to be empty"
    close = dict(rtol=1e-5, atol=1e-6) if dtype == "float32" else dict(rtol=1e-11, atol=1e-13)
    wanted, activations = net.predict(dense), net.activations(dense)
    loss = net.backward(dense, Y)
    grad, bias_grad, error = net.connections.grad.copy(), net.neurons.bias_grad.copy(), net.neurons[305].error.copy()
    np.testing.assert_allclose(net.predict(X), wanted, **close)
    assert net.last_pass.sparse is not None
    net.backward(3 * dense, 2 * Y)
    assert net.backward(X, Y) == pytest.approx(loss, rel=1e-5)
    assert net.last_pass.sparse is not None
    np.testing.assert_allclose(net.connections.grad, grad, **close)
    np.testing.assert_allclose(net.neurons.bias_grad, bias_grad, **close)
    np.testing.assert_allclose(net.neurons[305].error, error, **close)
    np.testing.assert_array_equal(net.inputs[5].output, dense[:, 5])
    np.testing.assert_allclose(net.activations(X), activations, **close)
    np.testing.assert_array_equal(net.predict(dense), wanted)
    np.testing.assert_allclose(net.predict(X, batch_size=70), wanted, **close)


def test_active_inputs_in_pieces_of_a_backward_pass(monkeypatch):
    net, X, Y = embedding(dtype="float64")
    net.backward(X.toarray(), Y)
    grad = net.connections.grad.copy()
    monkeypatch.setattr(sequences, "fitting", lambda *_: (64, True))
    net.backward(X, Y)
    np.testing.assert_allclose(net.connections.grad, grad, rtol=1e-10, atol=1e-13)


def test_a_late_reader_of_inputs_runs_densely():
    net, X, Y = embedding(late=True)
    np.testing.assert_array_equal(net.predict(X), net.predict(X.toarray()))
    assert net.last_pass.sparse is None
    net.prune(net.connection(7, net.outputs.ids[1]))
    np.testing.assert_allclose(net.predict(X), net.predict(X.toarray()), rtol=1e-5, atol=1e-6)
    net.predict(X)
    assert net.last_pass.sparse is not None


def test_shared_weights_of_active_inputs():
    net, X, Y = embedding(dtype="float64")
    table = net.connections[:600]
    net.tie(table, np.arange(600) // 2, average=True)
    net.backward(X.toarray(), Y)
    blocks = [block.grad.copy() for block in net.parameters()]
    net.backward(X, Y)
    for block, wanted in zip(net.parameters(), blocks, strict=True):
        np.testing.assert_allclose(block.grad, wanted, rtol=1e-10, atol=1e-13)


def test_a_broken_matrix_is_refused():
    net, X, _ = embedding()
    X.indices[3] = 10_000
    with pytest.raises(ng.InvalidValueError, match="no valid sparse matrix"):
        net.predict(X)


def test_training():
    """An embedding: one-hot rows, a table of one vector an input."""
    nets = [ng.topologies.layered([50, 8, 4], activation="tanh", seed=2) for _ in range(2)]
    words = np.random.default_rng(0).integers(0, 50, 120)
    one_hot = sparse.csr_array((np.ones(120), words, np.arange(121)), (120, 50))
    results = []
    for net, X in zip(nets, (one_hot, one_hot.toarray()), strict=True):
        trainer = ng.Trainer(net, seed=1)
        fitted = trainer.fit(X, words % 4, epochs=3, batch_size=32, validation_data=(X, words % 4), progress=False)
        results.append((fitted["loss"], fitted["val_loss"], trainer.evaluate(X, words % 4), net.connections.weight))
    for given, wanted in zip(results[0], results[1], strict=True):
        if isinstance(given, dict):
            given, wanted = list(given.values()), list(wanted.values())
        np.testing.assert_allclose(given, wanted, rtol=1e-4, atol=1e-5)
