"""Every backend computes what the naive scalar network computes."""

import numpy as np
import pytest
from hypothesis import given, settings

import neurograph as ng
from neurograph.testing import networks
from tests import naive

TOLERANCE = {"float64": 1e-10, "float32": 1e-4}
DTYPES = ("float64", "float32")
PARAMETRIC = {"leaky_relu": 0.2, "clipped_relu": 1.5}
BATCHES = (1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 130, 300)


def assert_close(actual, expected, dtype, what=""):
    """Close relative to the size of the whole array, at the tolerance of `dtype`."""
    actual, expected = np.asarray(actual), np.asarray(expected, dtype=float)
    assert actual.shape == expected.shape, f"{what}: {actual.shape} != {expected.shape}"
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    error = np.abs(actual - expected).max(initial=0.0) / scale
    assert error <= TOLERANCE[dtype], f"{what}: error {error:.3g} (scale {scale:.3g})"


def given_gradient(gradient):
    """A loss that is sum(outputs * gradient), so its derivative is `gradient` whatever the outputs."""
    return lambda outputs, Y: (float((outputs * gradient).sum()), gradient.astype(outputs.dtype))


def assert_equals_naive(net, X, gradient, dtype="float64"):
    """Forward and backward of `net` equal its naive twin's, neuron by neuron and connection by connection."""
    twin = naive.from_network(net)
    expected = twin.backward(X.tolist(), gradient.tolist())
    ids = net.neurons.ids.tolist()

    assert_close(net.predict(X), twin.predict(X.tolist()), dtype, "predict")
    assert_close(net.activations(X), np.array([expected.outputs[i] for i in ids]).T, dtype, "activations")
    net.backward(X, np.zeros_like(gradient), loss=given_gradient(gradient))
    assert_close(net.connections.grad, np.array(expected.weights), dtype, "weight gradient")
    assert_close(net.neurons.bias_grad, [expected.biases[i] for i in ids], dtype, "bias gradient")


def mixed_dag(backend, dtype, n_inputs=12, n_hidden=60, n_outputs=7, density=0.25, seed=0):
    """A mid-size random DAG whose neurons differ in activation and aggregation inside each generation."""
    rng = np.random.default_rng(seed)
    net = ng.Network(seed=seed, dtype=dtype, backend=backend)
    x = net.add_inputs(n_inputs)
    acts = ["tanh", "relu", "sigmoid", ("leaky_relu", 0.2), "sin", "gauss", "gelu", "identity", "softplus", "abs"]
    aggs = ["sum"] * 5 + ["mean", "max", "min", "product"]
    hidden = net.add_neurons(
        n_hidden,
        activation=[acts[i] for i in rng.integers(len(acts), size=n_hidden)],
        aggregation=[aggs[i] for i in rng.integers(len(aggs), size=n_hidden)],
        bias=rng.normal(size=n_hidden) * 0.3,
    )
    outputs = net.add_outputs(n_outputs, activation=["identity", "tanh"] * (n_outputs // 2) + ["identity"])
    net.connect(x, hidden, density=density)
    net.connect(hidden, hidden, density=density)
    net.connect(x | hidden, outputs, density=density)
    conns = net.connections
    conns.weight = rng.normal(size=len(conns)) * 0.5
    return net


@pytest.mark.nojit
@pytest.mark.parametrize("aggregation", naive.AGGREGATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_activation_with_every_aggregation(backend, dtype, aggregation, rng):
    """One neuron for each activation, all in one generation, each read by one output and by a second generation."""
    kinds = [(name, PARAMETRIC[name]) if name in PARAMETRIC else name for name in naive.ACTIVATIONS]
    net = ng.Network(seed=0, dtype=dtype, backend=backend)
    x = net.add_inputs(5)
    hidden = net.add_neurons(len(kinds), activation=kinds, aggregation=aggregation, bias=0.3)
    net.mark_outputs(hidden)
    net.connect(x, hidden, density=0.6)
    top = net.add_outputs(2, activation="tanh", aggregation=aggregation)
    net.connect(hidden, top, density=0.3)
    conns = net.connections
    conns.weight = rng.uniform(0.2, 0.9, len(conns)) * rng.choice([-1, 1], len(conns))
    # Keep every z away from the kinks and from the pole of inv, where float32 and float64 may fall on either side.
    for _ in range(400):
        X = rng.normal(size=(6, 5)).astype(dtype).astype(float)
        twin = naive.from_network(net)
        twin_z = []
        for row in X.tolist():
            twin.forward(row)
            twin_z += [twin.neurons[i].z for i in hidden.ids.tolist()]
        if min(min(abs(z), abs(abs(z) - 1), abs(z - 1.5)) for z in twin_z) > 0.01:
            break
    G = rng.normal(size=(6, net.n_outputs)).astype(dtype).astype(float)
    assert_equals_naive(net, X.astype(dtype), G, dtype)


def test_activations_have_their_default_parameter(backend):
    """A bare name of an activation with a parameter means the documented default."""
    net = ng.Network(seed=0, dtype="float64", backend=backend)
    names = list(naive.ACTIVATIONS)
    net.add_inputs(1)
    for z in (-0.7, 8.0):
        group = net.add_neurons(len(names), activation=names, bias=z)
        assert [spec if isinstance(spec, str) else spec[0] for spec in group.activation] == names
        net.mark_outputs(group)
    expected = [f(z, parameter) for z in (-0.7, 8.0) for f, _, parameter in naive.ACTIVATIONS.values()]
    np.testing.assert_allclose(net.predict(np.zeros((1, 1)))[0], expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "softplus", "elu", "selu", "silu", "gelu", "gauss", "exp", "log"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_stay_finite_far_out(backend, dtype, name):
    """z of ±500 neither overflows nor warns, forward or backward."""
    net = ng.Network(seed=0, dtype=dtype, backend=backend)
    net.connect(net.add_inputs(1), net.add_outputs(1, activation=name), weight=1.0)
    X = np.array([[-500.0], [500.0], [-80.0], [80.0]], dtype=dtype)
    expected = naive.from_network(net).predict(X.tolist())
    np.testing.assert_allclose(net.predict(X), expected, rtol=1e-5, atol=1e-30)
    net.backward(X, np.zeros((4, 1), dtype), loss=given_gradient(np.ones((4, 1)) * 1e-20))
    assert np.isfinite(net.connections.grad).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_batch_size_cpu_against_reference(dtype, rng):
    """Batches that are no multiple of a panel, on a DAG with mixed generations."""
    cpu, reference = (mixed_dag(b, dtype) for b in ("cpu", "reference"))
    np.testing.assert_array_equal(cpu.connections.weight, reference.connections.weight)
    for batch in BATCHES:
        X = rng.normal(size=(batch, 12)).astype(dtype)
        G = rng.normal(size=(batch, 7)) / batch
        assert_close(cpu.predict(X), reference.predict(X), dtype, f"predict {batch}")
        assert_close(cpu.activations(X), reference.activations(X), dtype, f"activations {batch}")
        for net in (cpu, reference):
            net.backward(X, np.zeros((batch, 7), dtype), loss=given_gradient(G))
        assert_close(cpu.connections.grad, reference.connections.grad, dtype, f"weight gradient {batch}")
        assert_close(cpu.neurons.bias_grad, reference.neurons.bias_grad, dtype, f"bias gradient {batch}")


@pytest.mark.parametrize("batch", [1, 5, 66])
def test_random_dag_against_naive(backend, batch, rng):
    """The whole DAG, every neuron and connection, against scalar arithmetic."""
    net = mixed_dag(backend, "float64", n_hidden=25, seed=batch)
    assert_equals_naive(net, rng.normal(size=(batch, 12)), rng.normal(size=(batch, 7)))


@pytest.mark.parametrize("which", ["reference", "cpu"])
def test_random_small_networks_against_naive(which):
    """Whatever hypothesis wires."""

    @settings(max_examples=60)
    @given(networks(backend=which))
    def check(net):
        rng = np.random.default_rng(1)
        assert_equals_naive(net, rng.normal(size=(3, net.n_inputs)), rng.normal(size=(3, net.n_outputs)))

    check()


@pytest.mark.nojit
def test_mean_over_the_batch_is_the_losses_affair(backend, rng):
    """Gradients are sums over the batch of what the loss hands back: doubling the batch doubles them."""
    net = mixed_dag(backend, "float64", n_hidden=10)
    X, G = rng.normal(size=(4, 12)), rng.normal(size=(4, 7))
    net.backward(X, np.zeros((4, 7)), loss=given_gradient(G))
    once = net.connections.grad.copy()
    net.backward(np.vstack([X, X]), np.zeros((8, 7)), loss=given_gradient(np.vstack([G, G])))
    np.testing.assert_allclose(net.connections.grad, 2 * once, rtol=1e-10, atol=1e-12)


@pytest.mark.nojit
@pytest.mark.parametrize("aggregation", naive.AGGREGATIONS)
def test_neurons_without_inputs(backend, aggregation):
    """Nothing arrives: a product of nothing is 1, everything else of nothing 0; the bias is still added."""
    net = ng.Network(seed=0, dtype="float64", backend=backend)
    net.add_inputs(1)
    lonely = net.add_outputs(1, aggregation=aggregation, bias=0.25)
    reader = net.add_outputs(1)
    net.connect(lonely[0], reader[0], weight=2.0)
    expected = 1.25 if aggregation == "product" else 0.25
    np.testing.assert_allclose(net.predict(np.zeros((2, 1))), [[expected, 2 * expected]] * 2)
    assert_equals_naive(net, np.zeros((2, 1)), np.ones((2, 2)))


@pytest.mark.nojit
def test_outputs_that_feed_others(backend, rng):
    """An output may be read by other neurons; its gradient then has two origins."""
    net = ng.Network(seed=0, dtype="float64", backend=backend)
    x, first = net.add_inputs(3), net.add_outputs(2, activation="tanh")
    second = net.add_outputs(2, activation="sigmoid")
    net.connect(x, first)
    net.connect(first, second)
    assert_equals_naive(net, rng.normal(size=(5, 3)), rng.normal(size=(5, 4)))


@pytest.mark.nojit
def test_input_marked_as_output(backend, rng):
    """`mark_outputs` takes any neuron, an input too; columns follow the order of marking."""
    net = ng.Network(seed=0, dtype="float64", backend=backend)
    pixels = net.add_inputs(3)
    digits = net.add_outputs(2)
    net.connect(pixels, digits)
    net.mark_outputs(pixels[:2])
    X = rng.normal(size=(4, 3))
    assert net.n_outputs == 4
    np.testing.assert_array_equal(net.predict(X)[:, 2:], X[:, :2])
    assert_equals_naive(net, X, rng.normal(size=(4, 4)))


@pytest.mark.nojit
def test_columns_follow_the_order_of_adding(backend):
    """Inputs and outputs added in turns keep their order, whatever the schedule does with positions."""
    net = ng.Network(seed=0, dtype="float64", backend=backend)
    a, out_a = net.add_inputs(1), net.add_outputs(1)
    hidden = net.add_neurons(1)
    b, out_b = net.add_inputs(1), net.add_outputs(1)
    net.connect(a[0], out_a[0], weight=1.0)
    net.connect(b[0], hidden[0], weight=10.0)
    net.connect(hidden[0], out_b[0], weight=1.0)
    net.mark_outputs(hidden)
    np.testing.assert_allclose(net.predict([[2.0, 3.0]]), [[2.0, 30.0, 30.0]])


@pytest.mark.nojit
@pytest.mark.parametrize("aggregation", ["max", "min"])
def test_ties_share_the_gradient(backend, aggregation):
    """Equal best values share the gradient evenly, as torch.amax does."""
    torch = pytest.importorskip("torch")
    net = ng.Network(seed=0, dtype="float64", backend=backend)
    x, y = net.add_inputs(3), net.add_outputs(1, aggregation=aggregation)
    net.connect(x, y, weight=1.0)
    X = np.array([[1.0, 1.0, 0.0], [2.0, 2.0, 2.0], [0.0, 1.0, 1.0]])
    net.backward(X, np.zeros((3, 1)), loss=given_gradient(np.ones((3, 1))))

    w = torch.ones(3, dtype=torch.float64, requires_grad=True)
    values = torch.tensor(X) * w
    (values.amax(1) if aggregation == "max" else values.amin(1)).sum().backward()
    np.testing.assert_allclose(net.connections.grad, w.grad.numpy(), rtol=1e-12)


@pytest.mark.nojit
def test_product_gradient_is_exact_with_zeros(backend):
    """One, two and no zeros among the factors; a division by the factor would give NaN."""
    net = ng.Network(seed=0, dtype="float64", backend=backend)
    x, hidden, y = net.add_inputs(3), net.add_neurons(3), net.add_outputs(1, aggregation="product")
    for k, w in enumerate((2.0, 0.0, 0.5)):
        net.connect(x[k], hidden[k], weight=1.0)
        net.connect(hidden[k], y[0], weight=w)
    X = np.array([[1.0, 3.0, 4.0]])
    net.backward(X, np.zeros((1, 1)), loss=given_gradient(np.ones((1, 1))))
    # y = (2 h0) (0 h1) (0.5 h2): only the factor that is zero has a gradient, h1 * (2 h0) * (0.5 h2) = 3 * 2 * 2.
    grads = [net.connection(hidden[k], y[0]).grad for k in range(3)]
    assert grads == [0.0, 12.0, 0.0]
    zeros = np.array([[1.0, 0.0, 4.0], [0.0, 0.0, 4.0], [1.0, 2.0, 4.0], [0.0, 0.0, 0.0]])
    assert_equals_naive(net, zeros, np.ones((4, 1)))
    net.connections.weight = 1.5
    assert_equals_naive(net, zeros, np.ones((4, 1)))


@pytest.mark.nojit
def test_edits_between_passes(backend, rng):
    """Each kind of edit is seen by the next pass."""
    net = mixed_dag(backend, "float64", n_hidden=15)
    X, G = rng.normal(size=(5, 12)), rng.normal(size=(5, 7))

    def edits():
        yield lambda: net.prune(net.connections[::3])
        yield lambda: net.connections[4].remove()
        yield lambda: net.connect(net.inputs, net.outputs, density=0.3)
        yield lambda: net.remove_neurons(net.neurons[20:22])
        yield lambda: setattr(net.neurons[14], "activation", "square")
        yield lambda: setattr(net.neurons[15], "aggregation", "max")
        yield lambda: setattr(net.neurons[16], "bias", 0.77)
        yield lambda: setattr(net.connections[0], "weight", -1.25)
        yield lambda: net.connections.__setattr__("weight", net.connections.weight * 0.9)
        yield lambda: net.connect(net.inputs[0], net.add_neurons(1, activation="sin")[0], weight=1.0)
        yield lambda: net.connections.remove()

    assert_equals_naive(net, X, G)
    for edit in edits():
        edit()
        assert_equals_naive(net, X, G)


@pytest.mark.nojit
def test_many_single_edits_between_passes(backend, rng):
    """Hundreds of single cuts and growths, one pass after each: slack, swaps and rebuilds all happen."""
    net = ng.topologies.random_dag(6, 30, 4, density=0.3, seed=2)
    other = ng.Network(seed=0, dtype="float64", backend=backend)
    groups = [other.add_inputs(6), other.add_neurons(30, activation="tanh"), other.add_outputs(4)]
    assert [len(g) for g in groups] == [6, 30, 4]
    other.add_connections(net.connections.source, net.connections.target, weight=net.connections.weight)
    X, G = rng.normal(size=(3, 6)), rng.normal(size=(3, 4))
    for step in range(120):
        if step % 2:
            other.connections[int(rng.integers(other.n_connections))].remove()
        else:
            for _ in range(50):
                u, v = sorted(rng.integers(0, 40, 2).tolist())
                if u != v and v >= 6 and not (u >= 36 or other.has_connection(u, v)):
                    other.connect(other.neuron(u), other.neuron(v), weight=float(rng.normal()))
                    break
        if step % 6 == 0:
            assert_equals_naive(other, X, G)
        else:
            other.predict(X)
    assert_equals_naive(other, X, G)


@pytest.mark.nojit
def test_predict_in_pieces_equals_whole(backend, rng):
    """`batch_size` changes memory, not results."""
    net = mixed_dag(backend, "float64", n_hidden=20)
    X = rng.normal(size=(37, 12))
    whole = net.predict(X)
    for size in (1, 5, 36, 37, 100):
        np.testing.assert_allclose(net.predict(X, batch_size=size), whole, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(net(X), whole)


def test_same_seed_same_network_and_result(backend, rng):
    """Two runs of the same calls are equal bit by bit, and another seed is not."""
    X = rng.normal(size=(70, 12))
    a, b, c = (mixed_dag(backend, "float32", seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(a.predict(X), b.predict(X))
    assert not np.array_equal(a.predict(X), c.predict(X))


def wide_network(dtype, backend="cpu"):
    """Generations wide enough, and parameters many enough, that every kernel really uses its threads."""
    rng = np.random.default_rng(1)
    net = ng.Network(seed=1, dtype=dtype, backend=backend)
    x, y = net.add_inputs(40), net.add_outputs(7)
    kinds = ["sum"] * 7 + ["mean", "max", "product"]
    acts = ["tanh", "relu", "gelu", "sin"]
    layers = [net.add_neurons(300, activation=acts * 75, aggregation=kinds * 30) for _ in range(2)]
    net.connect(x, layers[0], density=0.5)
    net.connect(layers[0], layers[1])
    net.connect(x | layers[0] | layers[1], y)
    net.connections.weight = rng.normal(size=net.n_connections) * 0.1
    assert net.n_connections > 90_000
    return net


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 70, 300])
def test_wide_generations_cpu_against_reference(dtype, batch, rng):
    """Where threads share the work, by neurons or by panels, each neuron and connection still gets its own."""
    cpu, reference = (wide_network(dtype, b) for b in ("cpu", "reference"))
    X, G = rng.normal(size=(batch, 40)).astype(dtype), rng.normal(size=(batch, 7)) / batch
    for net in (cpu, reference):
        net.backward(X, np.zeros((batch, 7), dtype), loss=given_gradient(G))
    assert_close(cpu.activations(X), reference.activations(X), dtype, "activations")
    assert_close(cpu.connections.grad, reference.connections.grad, dtype, "weight gradient")
    assert_close(cpu.neurons.bias_grad, reference.neurons.bias_grad, dtype, "bias gradient")


CONCURRENT = """
import threading
import numpy as np
import neurograph as ng
nets = [ng.topologies.layered([64, 256, 256, 10], seed=s, backend="cpu") for s in range(4)]
X, Y = np.random.default_rng(0).normal(size=(130, 64)).astype("float32"), np.zeros(130, int)
def train(net):
    opt = ng.optim.Adam(1e-3)
    for _ in range(8):
        net.backward(X, Y, loss="cross_entropy")
        opt.step(net)
threads = [threading.Thread(target=train, args=(net,)) for net in nets]
[t.start() for t in threads], [t.join() for t in threads]
alone = [ng.topologies.layered([64, 256, 256, 10], seed=s, backend="cpu") for s in range(4)]
[train(net) for net in alone]
print(all((a.connections.weight == b.connections.weight).all() for a, b in zip(nets, alone)))
"""


def test_networks_train_in_several_python_threads():
    """numba's workqueue layer aborts the process when two threads enter a parallel region; nothing of that here."""
    import os
    import subprocess
    import sys

    environment = {**os.environ, "NUMBA_THREADING_LAYER": "workqueue"}
    done = subprocess.run(
        [sys.executable, "-c", CONCURRENT], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True"


def train_digest(threads, batch, dtype="float32"):
    """Bytes of predictions, gradients and weights after three Adam steps on `threads` numba threads."""
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        rng = np.random.default_rng(5)
        net = wide_network(dtype)
        opt = ng.optim.Adam(lr=1e-2)
        X, Y = rng.normal(size=(batch, 40)).astype(dtype), rng.integers(0, 7, batch)
        parts = [net.predict(X).tobytes()]
        for _ in range(3):
            loss = net.backward(X, Y, loss="cross_entropy")
            parts += [net.connections.grad.tobytes(), net.neurons.bias_grad.tobytes(), repr(loss)]
            opt.step(net)
        return [*parts, net.connections.weight.tobytes(), net.neurons.bias.tobytes()]
    finally:
        numba.set_num_threads(before)


@pytest.mark.parametrize("batch", [1, 3, 64, 65, 300])
def test_one_and_two_threads_agree_bit_by_bit(batch):
    """predict, backward and Adam do not depend on the number of threads."""
    numba = pytest.importorskip("numba")
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("this machine has one core")
    assert train_digest(1, batch) == train_digest(2, batch)


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_of_results(backend, dtype, rng):
    """Everything that comes out has the network's dtype; integers and the other float go in when lossless."""
    net = ng.Network(seed=0, dtype=dtype, backend=backend)
    net.connect(net.add_inputs(2), net.add_outputs(1))
    for X in (
        np.ones((3, 2), "float32"),
        np.ones((3, 2), int),
        np.ones((3, 2), "float64"),
        [[1, 2]],
        np.ones((2, 2), bool),
    ):
        assert net.predict(X).dtype == dtype
    assert net.activations(np.ones((3, 2), dtype)).dtype == dtype
    net.backward(np.ones((3, 2), dtype), np.zeros((3, 1), dtype), loss="mse")
    assert {a.dtype for a in (net.connections.weight, net.connections.grad, net.neurons.bias)} == {np.dtype(dtype)}


@pytest.mark.nojit
def test_strided_and_fortran_inputs(backend, rng):
    """X of any memory layout gives what its C-ordered copy gives, and X is never changed."""
    net = mixed_dag(backend, "float64", n_hidden=10)
    X = rng.normal(size=(20, 24))
    for view in (X[:, ::2], np.asfortranarray(X[:, :12]), X[::-1, 12:], np.broadcast_to(X[:1, :12], (9, 12))):
        kept = view.copy()
        np.testing.assert_array_equal(net.predict(view), net.predict(np.ascontiguousarray(view)))
        np.testing.assert_array_equal(view, kept)


@pytest.mark.nojit
def test_sequential_schedule_changes_nothing(backend, rng):
    """One neuron a generation, lowered and run by the same code, gives the same results and gradients."""
    from neurograph.plan import lower
    from neurograph.schedule import Schedule, sequential

    net = mixed_dag(backend, "float64", n_hidden=20)
    X, G = rng.normal(size=(9, 12)), rng.normal(size=(9, 7))
    outputs = net.predict(X)
    net.backward(X, np.zeros((9, 7)), loss=given_gradient(G))
    grads = net.connections.grad, net.neurons.bias_grad

    schedule = Schedule(net.graph, sequential)
    assert [len(g) for g in schedule.generations] == [1] * net.n_neurons
    plan = lower(net.graph, schedule)
    run = net.backend.forward(plan, X[:, None], True, None)
    net.backend.backward(plan, run, G[:, None])
    np.testing.assert_allclose(run.outputs[:, 0], outputs, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(net.connections.grad, grads[0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(net.neurons.bias_grad, grads[1], rtol=1e-10, atol=1e-12)


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 17, 65])
def test_padding_never_reaches_the_gradient(backend, dtype, batch):
    """Whatever fills the lanes beyond the last sample may overflow where no sample does; 0 * inf must not leak.

    At x = -1 every neuron is tiny; at x = 0, which is no sample, the chain overflows both dtypes.
    """
    net = ng.Network(seed=0, dtype=dtype, backend=backend)
    x, steep, y = net.add_inputs(1), net.add_neurons(1, activation="exp", bias=50.0), net.add_outputs(1)
    cubes = net.add_neurons(3, activation="cube")
    net.connect(x, steep, weight=100.0)
    chain = [steep[0], *cubes, y[0]]
    for u, v in zip(chain, chain[1:], strict=False):
        net.connect(u, v, weight=1.0)
    value = net.backward(np.full((batch, 1), -1.0), np.ones((batch, 1)), loss="mse")
    assert value == 1.0 and np.isfinite(net.connections.grad).all()
    assert y[0].bias_grad == pytest.approx(-2.0) and np.isfinite(net.neurons.bias_grad).all()


def test_deep_chain(backend):
    """Thousands of generations of one neuron: no recursion, no drift."""
    n = 3000
    net = ng.Network(seed=0, dtype="float64", backend=backend)
    x, chain = net.add_inputs(1), net.add_neurons(n)
    net.mark_outputs(chain[n - 1 :])
    ids = np.concatenate([x.ids, chain.ids])
    net.add_connections(ids[:-1], ids[1:], weight=1.0)
    assert net.schedule.depth == n + 1
    np.testing.assert_allclose(net.predict([[0.5]]), [[0.5]])
    net.backward([[0.5]], [[0.0]], loss=given_gradient(np.ones((1, 1))))
    np.testing.assert_allclose(net.connections.grad, 0.5)


@pytest.mark.nojit
@pytest.mark.parametrize("fan_in", [1, 3, 8, 17, 40])
def test_rows_of_every_length(backend, fan_in, rng):
    """Fan-ins around the kernel's unrolling."""
    net = ng.Network(seed=0, dtype="float64", backend=backend)
    x, y = net.add_inputs(40), net.add_outputs(3, activation="tanh")
    for k in range(3):
        net.add_connections(x.ids[:fan_in], np.full(fan_in, y.ids[k]), weight=rng.normal(size=fan_in))
    assert_equals_naive(net, rng.normal(size=(4, 40)), rng.normal(size=(4, 3)))
