"""Gradients against finite differences, and whole training steps against PyTorch."""

import numpy as np
import pytest
from hypothesis import given, settings

import neurograph as ng
from neurograph.testing import AGGREGATIONS, SMOOTH, check_gradients, networks
from tests import naive

LOSSES = ("mse", "mae", "huber", "cross_entropy", "binary_cross_entropy")


def targets_for(loss, batch, n_outputs, rng):
    """Targets that the loss takes: class labels, 0/1, or numbers."""
    if loss == "cross_entropy":
        return rng.integers(0, n_outputs, batch)
    if loss == "binary_cross_entropy":
        return rng.integers(0, 2, (batch, n_outputs)).astype(float)
    return rng.normal(size=(batch, n_outputs)) * 2


def smooth_network(backend, seed=0):
    """A small irregular float64 network without kinks, with skip connections and an output that feeds another."""
    net = ng.Network(seed=seed, dtype="float64", backend=backend)
    x = net.add_inputs(3)
    hidden = net.add_neurons(6, activation=["tanh", "sigmoid", "sin", "gauss", "softplus", "gelu"], bias=0.1)
    outputs = net.add_outputs(3)
    net.mark_outputs(hidden[:1])
    net.connect(x, hidden, density=0.7)
    net.connect(hidden, hidden, density=0.5)
    net.connect(x | hidden, outputs, density=0.7)
    net.connections.weight = np.random.default_rng(seed).normal(size=net.n_connections)
    return net


@pytest.mark.nojit
@pytest.mark.parametrize("loss", LOSSES)
def test_finite_differences_for_every_loss(backend, loss, rng):
    """backward is the derivative of what the loss says about predict."""
    net = smooth_network(backend)
    X = rng.normal(size=(5, 3))
    check_gradients(net, X, targets_for(loss, 5, 4, rng), loss, eps=1e-5, tolerance=1e-7)


@pytest.mark.nojit
def test_error_of_the_differences_shrinks_with_the_square_of_the_step(rng):
    """A property of a correct gradient: ten times the step, a hundred times the difference."""
    net = smooth_network("reference")
    X, Y = rng.normal(size=(5, 3)), rng.normal(size=(5, 4))
    errors = [check_gradients(net, X, Y, "mse", eps=eps, tolerance=1.0) for eps in (1e-1, 1e-2, 1e-3)]
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.5)
    assert errors[1] / errors[2] == pytest.approx(100, rel=0.5)


@pytest.mark.nojit
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_finite_differences_for_every_aggregation(backend, aggregation, rng):
    """Each aggregation in the middle of a network, so that its gradient is also passed on."""
    net = ng.Network(seed=0, dtype="float64", backend=backend)
    x, hidden = net.add_inputs(3), net.add_neurons(4, activation="tanh", aggregation=aggregation, bias=0.2)
    outputs = net.add_outputs(2, aggregation=aggregation)
    net.connect(x, hidden)
    net.connect(x | hidden, outputs)
    net.connections.weight = rng.uniform(0.3, 1.0, net.n_connections)
    check_gradients(net, rng.normal(size=(4, 3)), rng.normal(size=(4, 2)), "mse", eps=1e-6, tolerance=1e-6)


@pytest.mark.parametrize("which", ["reference", "cpu"])
def test_finite_differences_on_whatever_hypothesis_wires(which):
    """Smooth neurons in any wiring."""

    @settings(max_examples=25)
    @given(networks(max_hidden=5, activations=SMOOTH, aggregations=("sum", "mean", "product"), backend=which))
    def check(net):
        rng = np.random.default_rng(0)
        X, Y = rng.uniform(-1, 1, (2, net.n_inputs)), rng.uniform(-1, 1, (2, net.n_outputs))
        check_gradients(net, X, Y, "mse", eps=1e-5, tolerance=1e-4)

    check()


def test_check_gradients_can_fail(rng):
    """The checker finds a gradient that is wrong by one part in a thousand, and refuses float32."""
    net = smooth_network("reference")
    X, Y = rng.normal(size=(5, 3)), rng.normal(size=(5, 4))

    def crooked(outputs, targets):
        difference = outputs - targets
        return float((difference**2).mean()), 2.002 * difference / difference.size

    with pytest.raises(AssertionError, match="gradient of the weight of"):
        check_gradients(net, X, Y, crooked)
    single = ng.Network(seed=0, dtype="float32", backend="reference")
    single.connect(single.add_inputs(1), single.add_outputs(1))
    with pytest.raises(ng.InvalidValueError, match="float64"):
        check_gradients(single, np.ones((1, 1)), np.ones((1, 1)))


@pytest.mark.nojit
def test_error_of_a_neuron_is_its_naive_delta(backend, rng):
    """`neuron.output` and `neuron.error` hold the last pass, one value a sample."""
    net = smooth_network(backend)
    X, Y = rng.normal(size=(5, 3)), rng.normal(size=(5, 4))
    net.backward(X, Y, loss="mse")
    twin = naive.from_network(net)
    outputs = np.array(twin.predict(X.tolist()))
    expected = twin.backward(X.tolist(), (2 * (outputs - Y) / Y.size).tolist())
    for n in net.neurons - net.inputs:
        np.testing.assert_allclose(n.output, expected.outputs[n.id], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(n.error, expected.deltas[n.id], rtol=1e-10, atol=1e-12)
        assert n.error.shape == (5,)
    everyone = net.neurons[::-1]
    np.testing.assert_array_equal(everyone.output, np.stack([n.output for n in everyone], axis=1))
    np.testing.assert_array_equal(everyone.error, np.stack([n.error for n in everyone], axis=1))
    assert not net.inputs.error.any()


def torch_pair(sizes, activation, backend, dtype="float64", seed=0):
    """A layered network and the torch module with the same weights, found connection by connection."""
    torch = pytest.importorskip("torch")
    net = ng.Network(seed=seed, dtype=dtype, backend=backend)
    layers = [net.add_inputs(sizes[0])]
    layers += [net.add_neurons(n, activation=activation) for n in sizes[1:-1]]
    layers.append(net.add_outputs(sizes[-1]))
    rng = np.random.default_rng(seed)
    modules, readers = [], []
    for source, target in zip(layers, layers[1:], strict=False):
        net.connect(source, target)
        linear = torch.nn.Linear(len(source), len(target), dtype=getattr(torch, dtype))
        weight, bias = rng.normal(size=(len(target), len(source))) * 0.5, rng.normal(size=len(target)) * 0.1
        linear.weight.data[:] = torch.tensor(weight)
        linear.bias.data[:] = torch.tensor(bias)
        target.bias = bias
        modules += [linear, {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU, "gelu": torch.nn.GELU}[activation]()]
        readers.append((source, target, linear))
    conns = net.connections
    for source, target, linear in readers:
        for i, t in enumerate(target.ids):
            for j, s in enumerate(source.ids):
                net.connection(s, t).weight = linear.weight[i, j].item()
    assert len(conns) == sum(a * b for a, b in zip(sizes, sizes[1:], strict=False))
    return net, torch.nn.Sequential(*modules[:-1]), readers


def assert_same_parameters(net, readers, rtol, what="weight", group="bias"):
    """Every weight and bias (or gradient) of the network is that of the torch module."""
    for source, target, linear in readers:
        matrix = linear.weight.detach() if what == "weight" else linear.weight.grad
        vector = linear.bias.detach() if what == "weight" else linear.bias.grad
        actual = [[getattr(net.connection(s, t), what) for s in source.ids] for t in target.ids]
        np.testing.assert_allclose(actual, matrix.numpy(), rtol=rtol, atol=rtol)
        np.testing.assert_allclose(getattr(target, group), vector.numpy(), rtol=rtol, atol=rtol)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ["tanh", "gelu"])
def test_backward_equals_torch(backend, loss, activation, rng):
    """Loss value, weight and bias gradients of a layered network."""
    torch = pytest.importorskip("torch")
    net, module, readers = torch_pair([5, 7, 6, 4], activation, backend)
    X, Y = rng.normal(size=(33, 5)), targets_for(loss, 33, 4, rng)
    measure = {
        "mse": torch.nn.functional.mse_loss,
        "mae": torch.nn.functional.l1_loss,
        "huber": torch.nn.functional.huber_loss,
        "cross_entropy": torch.nn.functional.cross_entropy,
        "binary_cross_entropy": torch.nn.functional.binary_cross_entropy_with_logits,
    }[loss]
    expected = measure(module(torch.tensor(X)), torch.tensor(Y))
    expected.backward()
    assert net.backward(X, Y, loss=loss) == pytest.approx(expected.item(), rel=1e-12)
    assert_same_parameters(net, readers, 1e-10, "grad", "bias_grad")


OPTIMIZERS = {
    "sgd": (lambda: ng.optim.SGD(lr=0.05), lambda t, p: t.optim.SGD(p, lr=0.05)),
    "momentum": (
        lambda: ng.optim.SGD(lr=0.05, momentum=0.9, weight_decay=1e-2),
        lambda t, p: t.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-2),
    ),
    "nesterov": (
        lambda: ng.optim.SGD(lr=0.05, momentum=0.9, nesterov=True),
        lambda t, p: t.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    ),
    "adam": (lambda: ng.optim.Adam(lr=0.01), lambda t, p: t.optim.Adam(p, lr=0.01)),
    "adam with decay": (
        lambda: ng.optim.Adam(lr=0.01, weight_decay=0.1),
        lambda t, p: t.optim.Adam(p, lr=0.01, weight_decay=0.1),
    ),
    "adamw": (
        lambda: ng.optim.AdamW(lr=0.01, weight_decay=0.1),
        lambda t, p: t.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    ),
    "rmsprop": (lambda: ng.optim.RMSprop(lr=0.01), lambda t, p: t.optim.RMSprop(p, lr=0.01)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps_equal_torch(backend, name, rng):
    """Values after twenty updates, float64, to 1e-10."""
    torch = pytest.importorskip("torch")
    net, module, readers = torch_pair([4, 6, 3], "tanh", backend)
    ours, theirs = OPTIMIZERS[name]
    ours, theirs = ours(), theirs(torch, module.parameters())
    for _ in range(20):
        X, Y = rng.normal(size=(17, 4)), rng.integers(0, 3, 17)
        theirs.zero_grad()
        expected = torch.nn.functional.cross_entropy(module(torch.tensor(X)), torch.tensor(Y))
        expected.backward()
        theirs.step()
        assert net.backward(X, Y, loss="cross_entropy") == pytest.approx(expected.item(), rel=1e-10)
        ours.step(net)
    assert_same_parameters(net, readers, 1e-10)


def test_sparse_network_trains_like_a_masked_torch_layer(backend, rng):
    """Half of the connections, the other half masked to zero in torch, twenty Adam steps."""
    torch = pytest.importorskip("torch")
    net, module, readers = torch_pair([6, 8, 3], "relu", backend)
    masks = []
    for source, target, linear in readers:
        mask = torch.ones_like(linear.weight)
        for i, t in enumerate(target.ids):
            for j, s in enumerate(source.ids):
                if rng.random() < 0.5:
                    mask[i, j] = 0
                    net.connection(s, t).remove()
        linear.weight.data *= mask
        masks.append(mask)
    ours, theirs = ng.optim.Adam(lr=0.01), torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(20):
        X, Y = rng.normal(size=(9, 6)), rng.normal(size=(9, 3))
        theirs.zero_grad()
        torch.nn.functional.mse_loss(module(torch.tensor(X)), torch.tensor(Y)).backward()
        for (_, _, linear), mask in zip(readers, masks, strict=True):
            linear.weight.grad *= mask
        theirs.step()
        net.backward(X, Y, loss="mse")
        ours.step(net)
    for (source, target, linear), mask in zip(readers, masks, strict=True):
        for i, t in enumerate(target.ids):
            for j, s in enumerate(source.ids):
                assert net.has_connection(s, t) == bool(mask[i, j])
                if mask[i, j]:
                    assert net.connection(s, t).weight == pytest.approx(linear.weight[i, j].item(), rel=1e-10)


@pytest.mark.nojit
def test_loss_function_is_taken_as_it_is(backend, rng):
    """A loss of the user's own: its value is returned and its gradient used, without another average."""
    net = smooth_network(backend)
    X, Y = rng.normal(size=(5, 3)), rng.normal(size=(5, 4))
    value = net.backward(X, Y, loss=lambda o, t: (float(((o - t) ** 2).sum()) / 2, o - t))
    summed = net.connections.grad.copy()
    assert value == pytest.approx(float(((net.predict(X) - Y) ** 2).sum() / 2))
    net.backward(X, Y, loss="mse")
    np.testing.assert_allclose(net.connections.grad, summed / (Y.size / 2), rtol=1e-10)


@pytest.mark.nojit
def test_backward_does_not_accumulate(backend, rng):
    """Each backward replaces the gradients of the one before, also after connections died."""
    net = smooth_network(backend)
    X, Y = rng.normal(size=(5, 3)), rng.normal(size=(5, 4))
    net.backward(X, Y, loss="mse")
    first = net.connections.grad.copy()
    net.backward(X, Y, loss="mse")
    np.testing.assert_array_equal(net.connections.grad, first)


@pytest.mark.nojit
def test_inputs_take_no_bias_gradient(backend, rng):
    """Inputs hold X, so nothing trains their bias."""
    net = smooth_network(backend)
    net.mark_outputs(net.inputs[:1])
    X = rng.normal(size=(5, 3))
    before = net.inputs.bias.copy()
    net.backward(X, rng.normal(size=(5, 5)), loss="mse")
    assert not net.inputs.bias_grad.any()
    ng.optim.AdamW(lr=0.1, weight_decay=0.5).step(net)
    np.testing.assert_array_equal(net.inputs.bias, before)
    np.testing.assert_array_equal(net.predict(X)[:, 4], X[:, 0])
