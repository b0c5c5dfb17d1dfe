"""Shared parameters: PyTorch with an index into a vector of parameters, finite differences and hand counts agree."""

import copy
import pickle

import numpy as np
import pytest
import torch

import neurograph as ng
from neurograph.functions.initializers import initialize
from neurograph.state import to_arrays
from neurograph.testing import check_gradients


def shared(seed, backend, dtype="float64", delays=(0,)):
    """A network of 4-6-3 neurons and some skips; 60% of its weights and four biases share, some of them with nobody."""
    rng = np.random.default_rng(seed)
    net = ng.Network(seed=seed, dtype=dtype, backend=backend)
    x, h = net.add_inputs(4, name="x"), net.add_neurons(6, activation="tanh", name="h")
    y = net.add_outputs(3, name="y")
    net.connect(x, h)
    net.connect(h, y)
    net.connect(x, y, density=0.5)
    for delay in delays:
        net.connect(h, h, density=0.3, delay=delay)
    conns = net.connections
    tied = conns[rng.random(len(conns)) < 0.6]
    net.tie(tied, rng.integers(0, 6, len(tied)), average=True)
    h.bias = rng.normal(size=6)
    net.tie(h[:4], ["p", "q", "p", "q"], average=True)
    return net, rng


class Twin:
    """The network as it is now, in PyTorch: neuron after neuron, each weight an entry of a vector of parameters."""

    def __init__(self, net):
        conns, movable = net.connections, net.neurons - net.inputs
        self.conns, self.movable = conns, movable
        self.conn_ids, self.movable_ids = conns.id, movable.ids
        names, first, self.weight_of = np.unique(conns.parameter, return_index=True, return_inverse=True)
        self.w = torch.nn.Parameter(torch.tensor(conns.weight[first]))
        self.frozen = torch.tensor(conns.frozen[first])
        _, first, self.bias_of = np.unique(movable.bias_parameter, return_index=True, return_inverse=True)
        self.b = torch.nn.Parameter(torch.tensor(movable.bias[first]))
        self.inputs, self.outputs = net.inputs.ids.tolist(), net.outputs.ids.tolist()
        self.order = [i for g in net.schedule.generations for i in g.tolist() if i not in self.inputs]
        self.tanh = {i for i in self.order if net.neuron(i).activation == "tanh"}
        ends = zip(conns.source.tolist(), conns.target.tolist(), conns.delay.tolist(), strict=True)
        self.rows = {i: [] for i in self.order}
        for k, (source, target, delay) in enumerate(ends):
            self.rows[target].append((source, delay, int(self.weight_of[k])))
        self.bias_at = dict(zip(movable.ids.tolist(), self.bias_of.tolist(), strict=True))

    def __call__(self, X):
        flat = X.ndim == 2
        steps = torch.tensor(X[:, None] if flat else X)
        past, outputs = [], []
        for t in range(steps.shape[1]):
            now = {i: steps[:, t, k] for k, i in enumerate(self.inputs)}
            past.append(now)
            for i in self.order:
                z = self.b[self.bias_at[i]].expand(len(X))
                for source, delay, k in self.rows[i]:
                    if t >= delay:
                        z = z + self.w[k] * past[t - delay][source]
                now[i] = torch.tanh(z) if i in self.tanh else z
            outputs.append(torch.stack([now[i] for i in self.outputs], 1))
        return outputs[0] if flat else torch.stack(outputs, 1)

    def backward(self, X, Y):
        """Gradients of the mean squared error, in `w.grad` and `b.grad`."""
        self.w.grad = self.b.grad = None
        loss = torch.nn.functional.mse_loss(self(X), torch.tensor(Y))
        loss.backward()
        return loss.item()

    def compare(self, tolerance=1e-9):
        """The network's weights and biases are those of this twin."""
        close = dict(rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(self.conns.weight, self.w.detach().numpy()[self.weight_of], **close)
        np.testing.assert_allclose(self.movable.bias, self.b.detach().numpy()[self.bias_of], **close)


def pair(weight=0.5, **options):
    """Two inputs, two outputs, four connections in the order of (target, source), ids 0 to 3."""
    net = ng.Network(seed=0, dtype="float64", **options)
    x, y = net.add_inputs(2), net.add_outputs(2)
    return net, x, y, net.connect(x, y, weight=weight)


def data(rng, *shape):
    return rng.normal(size=(*shape, 4)), rng.normal(size=(*shape, 3))


def assert_same(found, expected):
    """Two answers of `whole` are equal; names what is not."""
    for new, old in zip(found, expected, strict=True):
        assert {name for name in {*new, *old} if name not in new or name not in old or new[name] != old[name]} == set()


def whole(net):
    """Everything that a file would hold, as bytes and plain values."""
    arrays, meta = to_arrays(net)
    return {name: (array.dtype, array.tobytes()) for name, array in arrays.items()}, copy.deepcopy(meta)


# -- gradients ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delays", [(0,), (1, 2)], ids=["static", "loops"])
@pytest.mark.parametrize("seed", range(3))
def test_one_gradient_for_a_parameter(seed, delays, backend):
    net, rng = shared(seed, backend, delays=delays)
    X, Y = data(rng, 5, 4) if delays[-1] else data(rng, 5)
    twin = Twin(net)
    np.testing.assert_allclose(net.predict(X), twin(X).detach().numpy(), rtol=1e-12, atol=1e-12)
    assert net.backward(X, Y) == pytest.approx(twin.backward(X, Y), rel=1e-12)
    np.testing.assert_allclose(twin.conns.grad, twin.w.grad.numpy()[twin.weight_of], rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(twin.movable.bias_grad, twin.b.grad.numpy()[twin.bias_of], rtol=1e-10, atol=1e-13)
    parts = np.bincount(twin.weight_of, weights=twin.conns.own_grad)
    np.testing.assert_allclose(parts, twin.w.grad.numpy(), rtol=1e-10, atol=1e-13)
    c = twin.conns[3]
    assert (c.grad, c.own_grad, c.parameter) == (twin.conns.grad[3], twin.conns.own_grad[3], twin.conns.parameter[3])


def test_what_a_connection_alone_contributes_is_the_gradient_of_the_untied_network(backend):
    net, rng = shared(4, backend)
    X, Y = data(rng, 6)
    net.backward(X, Y)
    own, before = net.connections.own_grad, net.connections.weight
    net.untie(net.connections)
    np.testing.assert_array_equal(net.connections.weight, before)
    np.testing.assert_array_equal(net.connections.grad, own)  # at once: the sum is no gradient of one of them
    net.backward(X, Y)
    np.testing.assert_allclose(net.connections.grad, own, rtol=1e-12, atol=1e-14)


def test_gradients_by_finite_differences(backend):
    net, rng = shared(5, backend)
    X, Y = data(rng, 5)
    start = net.connections.weight, net.neurons.bias
    assert check_gradients(net, X, Y) < 1e-7
    np.testing.assert_array_equal(net.connections.weight, start[0])
    np.testing.assert_array_equal(net.neurons.bias, start[1])


def test_a_one_dimensional_convolution(backend, rng):
    """Three taps in two output channels, shifted along a line of ten."""
    net = ng.Network(seed=0, dtype="float64", backend=backend)
    x, y = net.add_inputs(10), net.add_outputs((2, 8))
    channel, place, tap = (a.ravel() for a in np.meshgrid(range(2), range(8), range(3), indexing="ij"))
    conns = net.add_connections(x.ids[place + tap], y.ids.reshape(2, 8)[channel, place], parameter=3 * channel + tap)
    net.tie(y, np.repeat([0, 1], 8))
    y.bias = np.repeat([0.25, -0.5], 8)
    assert net.n_parameters == 6 + 2
    torch_conv = torch.nn.Conv1d(1, 2, 3, dtype=torch.float64)
    kernel = conns.weight[np.unique(conns.parameter, return_index=True)[1]].reshape(2, 1, 3)
    with torch.no_grad():
        torch_conv.weight[:], torch_conv.bias[:] = torch.tensor(kernel), torch.tensor([0.25, -0.5])
    X, G = rng.normal(size=(4, 10)), rng.normal(size=(4, 16))
    out = torch_conv(torch.tensor(X)[:, None]).reshape(4, 16)
    np.testing.assert_allclose(net.predict(X), out.detach().numpy(), rtol=1e-12, atol=1e-12)
    out.backward(torch.tensor(G))
    net.backward(X, G, loss=lambda outputs, Y: (0.0, Y))
    np.testing.assert_allclose(conns.grad[:3], torch_conv.weight.grad[0, 0], rtol=1e-12)
    np.testing.assert_allclose(conns.grad[-3:], torch_conv.weight.grad[1, 0], rtol=1e-12)
    np.testing.assert_allclose(y.bias_grad[[0, 15]], torch_conv.bias.grad, rtol=1e-12)


def test_the_reference_backend_and_float32_agree_with_float64():
    nets = [shared(6, backend, dtype)[0] for backend, dtype in (("cpu", "float32"), ("reference", "float64"))]
    X, Y = data(np.random.default_rng(0), 7)
    for net in nets:
        net.connections.weight = nets[1].connections.weight
        net.backward(X, Y)
    np.testing.assert_allclose(nets[0].connections.grad, nets[1].connections.grad, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(nets[0].neurons.bias_grad, nets[1].neurons.bias_grad, rtol=1e-4, atol=1e-5)


# -- optimizers --------------------------------------------------------------------------------------------------------

OPTIMIZERS = [
    ("SGD", dict(lr=0.05)),
    ("SGD", dict(lr=0.05, momentum=0.9, weight_decay=0.01)),
    ("SGD", dict(lr=0.05, momentum=0.9, nesterov=True)),
    ("Adam", dict(lr=0.01)),
    ("Adam", dict(lr=0.01, weight_decay=0.05)),
    ("AdamW", dict(lr=0.01, weight_decay=0.3)),
    ("RMSprop", dict(lr=0.005, momentum=0.8)),
]


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=str)
def test_fifty_steps_equal_pytorch(name, options, backend):
    """A shared parameter moves as a PyTorch parameter that is used many times."""
    net, rng = shared(7, backend)
    twin = Twin(net)
    ours, theirs = getattr(ng.optim, name)(**options), getattr(torch.optim, name)([twin.w, twin.b], **options)
    X, Y = data(rng, 8)
    for _ in range(50):
        assert net.backward(X, Y) == pytest.approx(twin.backward(X, Y), rel=1e-6)
        ours.step(net)
        theirs.step()
    twin.compare(1e-6)
    net.graph.check()


def test_steps_through_time_equal_pytorch(backend):
    net, rng = shared(8, backend, delays=(1, 3))
    twin, (X, Y) = Twin(net), data(rng, 4, 6)
    ours, theirs = ng.optim.Adam(lr=0.02), torch.optim.Adam([twin.w, twin.b], lr=0.02)
    for _ in range(10):
        net.backward(X, Y, recompute=2)
        twin.backward(X, Y)
        ours.step(net)
        theirs.step()
    twin.compare(1e-6)


def test_sharing_pruning_and_untying_between_steps_keep_the_optimizer_state(backend):
    """Momentum of whoever stays is PyTorch's; one that is untied goes on with a copy of it."""
    net, rng = shared(9, backend)
    X, Y = data(rng, 8)
    ours = ng.optim.SGD(lr=0.05, momentum=0.9)
    twin, velocity = Twin(net), {}

    def steps(count):
        for _ in range(count):
            net.backward(X, Y)
            ours.step(net)
            twin.backward(X, Y)
            with torch.no_grad():
                for p, name in ((twin.w, "w"), (twin.b, "b")):
                    velocity[name] = 0.9 * velocity.get(name, 0) + p.grad
                    p -= 0.05 * velocity[name]
        twin.compare()

    def again():
        nonlocal twin
        old, twin = twin, Twin(net)
        rank = {id: k for k, id in enumerate(old.conn_ids.tolist())}
        _, first = np.unique(twin.conns.parameter, return_index=True)
        known = [rank.get(i) for i in twin.conns.id[first].tolist()]
        w = velocity["w"][old.weight_of]
        velocity["w"] = torch.stack([torch.zeros((), dtype=w.dtype) if k is None else w[k] for k in known])
        _, first = np.unique(twin.movable.bias_parameter, return_index=True)
        velocity["b"] = velocity["b"][old.bias_of[first]]
        np.testing.assert_allclose(
            twin.conns.state("sgd_velocity"), velocity["w"][twin.weight_of], rtol=1e-9, atol=1e-12
        )

    steps(3)
    net.prune(net.connections[::5])
    again()
    steps(3)
    net.untie(net.connections[1::3])
    net.untie(net.groups["h"][:2])
    again()
    steps(3)
    own = net.connections[[0, 1, 2]]
    net.tie(own, [5, 6, 7])  # a label for each: no value and no momentum changes
    again()
    steps(3)
    net.remove_neurons(net.groups["h"][3:5])
    twin.bias_of = twin.bias_of[np.isin(twin.movable_ids, net.neurons.ids)]
    again()
    steps(3)


def test_ties_average_optimizer_state(backend):
    net, x, y, conns = pair(weight=[1.0, 3.0, 0.5, 0.5], backend=backend)
    net.backward([[1.0, -2.0]], [[0.0, 1.0]])
    ng.optim.Adam().step(net)
    m, weight = conns.state("adam_m"), conns.weight
    net.tie(conns, ["a", "a", "b", "c"], average=True)
    np.testing.assert_allclose(conns.state("adam_m"), [(m[0] + m[1]) / 2] * 2 + m[2:].tolist())
    np.testing.assert_allclose(conns.weight, [(weight[0] + weight[1]) / 2] * 2 + weight[2:].tolist())
    assert conns[0].state("adam_m") == conns[1].state("adam_m") and conns.state("no such column").tolist() == [0] * 4


# -- frozen weights ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS[1:], ids=str)
def test_frozen_weights_stay_under_weight_decay(name, options, backend):
    """The others move as they do in PyTorch, where the frozen ones are put back after every step."""
    net, rng = shared(10, backend)
    conns = net.connections
    conns[4::7].frozen = True  # freezes their parameters, and so whoever shares these
    frozen = conns.frozen
    np.testing.assert_array_equal(frozen, np.isin(conns.parameter, conns[4::7].parameter))
    assert len(conns[4::7]) < frozen.sum() < len(conns)
    twin, start = Twin(net), conns.weight
    ours, theirs = getattr(ng.optim, name)(**options), getattr(torch.optim, name)([twin.w, twin.b], **options)
    X, Y = data(rng, 8)
    fixed = twin.w.detach().clone()
    for _ in range(20):
        net.backward(X, Y)
        ours.step(net)
        twin.backward(X, Y)
        theirs.step()
        with torch.no_grad():
            twin.w[twin.frozen] = fixed[twin.frozen]
    twin.compare(1e-8)
    np.testing.assert_array_equal(conns.weight[frozen], start[frozen])
    assert (conns.weight[~frozen] != start[~frozen]).all()
    conns.frozen = False
    net.backward(X, Y)
    ours.step(net)
    assert not conns.frozen.any() and (conns.weight != start).all()


def test_frozen_is_a_property_of_the_parameter(backend):
    net, x, y, conns = pair(backend=backend)
    assert not conns.frozen.any() and not conns[0].frozen
    conns[0].frozen = True
    net.tie(conns, [0, 0, 1, 1])  # a frozen one freezes its parameter
    assert conns.frozen.tolist() == [True, True, False, False] and conns[1].frozen
    conns[2].frozen = True
    assert conns[3].frozen
    with pytest.raises(ng.InvalidValueError, match="set the frozen of parameter"):
        conns.frozen = [True, False, True, True]
    net.untie(conns)
    conns[3].frozen = False
    assert conns.frozen.tolist() == [True, True, True, False]
    new = net.add_connections([], [])
    new.frozen = True
    conns[:2].remove()
    assert net.connect(x[0], y[0]).frozen is False  # the next tenant of a frozen slot
    conns[2:].frozen = np.array([False, True])
    assert conns[2:].frozen.tolist() == [False, True]
    for wrong in (1, "yes", [True], np.ones(2), None):
        with pytest.raises(ng.InvalidValueError, match="True or False, one for all or one for each of 2"):
            conns[2:].frozen = wrong


def test_frozen_weights_survive_files(tmp_path, backend):
    net, x, y, conns = pair(backend=backend)
    conns[1].frozen = True
    net.save(tmp_path / "net.ng")
    assert ng.load(tmp_path / "net.ng").connections.frozen.tolist() == [False, True, False, False]


# -- values and numbers ------------------------------------------------------------------------------------------------


def test_numbers_of_parameters():
    """Consecutive, in ascending order of the labels, and from the same counter as the ids of connections."""
    net = ng.Network()
    x, y = net.add_inputs(2), net.add_outputs(3)
    s, t = np.tile(x.ids, 3), np.repeat(y.ids, 2)
    first = net.add_connections(s[:4], t[:4], parameter=[30, -1, 30, 7])
    assert (first.parameter.tolist(), first.id.tolist()) == ([2, 0, 2, 1], [3, 4, 5, 6])
    free = net.add_connections(s[4:], t[4:])
    assert free.parameter.tolist() == free.id.tolist() == [7, 8]
    net.tie(free, ["b", "a"])
    assert free.parameter.tolist() == [10, 9]
    net.tie(net.connections, np.array([1, 0, 1, 0, 1, 0], bool), average=True)
    assert net.connections.parameter.tolist() == [12, 11] * 3
    net.untie(net.connections)
    assert net.connections.parameter.tolist() == net.connections.id.tolist() == list(range(3, 9))
    assert net.connect(net.add_neurons(1), y).id.tolist() == [13, 14, 15]  # no number is ever used again
    assert len(np.unique(net.connections.parameter)) == net.graph.weights.n_parameters == 9


def test_numbers_of_bias_parameters(tmp_path):
    """The neuron's id until it is tied, and never one of these after."""
    net = ng.Network()
    h = net.add_neurons(5)
    assert h.bias_parameter.tolist() == [0, 1, 2, 3, 4]
    net.tie(h[1:], ["odd", "even", "odd", "even"])
    shared_by = h.bias_parameter
    assert shared_by[0] == 0 and shared_by[2] == shared_by[4] == shared_by[1] - 1 == shared_by[3] - 1
    assert net.add_neurons(3).bias_parameter.tolist() == [5, 6, 7] and shared_by[2] > 10**9
    net.untie(h)
    assert h.bias_parameter.tolist() == [0, 1, 2, 3, 4]
    net.save(tmp_path / "net.ng")
    for other in (net, ng.load(tmp_path / "net.ng")):  # also a file without any shared parameter knows the next number
        group = other.group(range(5))
        other.tie(group, [0] * 5)
        assert group.bias_parameter.min() == shared_by.max() + 1


def test_n_parameters_counts_what_is_shared_once():
    net, x, y, conns = pair()
    assert net.n_parameters == 4 + 2
    net.tie(conns, [0, 0, 1, 2])
    assert net.n_parameters == 3 + 2
    net.tie(y, [0, 0])
    assert net.n_parameters == 3 + 1
    conns.frozen = True
    assert net.n_parameters == 3 + 1
    net.prune(conns[0])
    assert net.n_parameters == 3 + 1
    net.prune(conns[1])  # the last of its parameter
    assert net.n_parameters == 2 + 1
    net.remove_neurons(y[0])
    assert net.n_parameters == 2 + 1
    net.untie(net.outputs)
    net.untie(net.connections)
    assert net.n_parameters == 2 + 1
    net.remove_neurons(y)
    assert net.n_parameters == 0 and not len(net.graph.weights.table) and not len(net.graph.biases.table)


def test_values_are_read_and_written_through(backend):
    net, x, y, conns = pair(weight=[1.0, 2.0, 1.0, 3.0], backend=backend)
    X = np.array([[1.0, 10.0]])
    net.tie(conns, ["s", "t", "s", "u"])
    conns[0].weight = 5.0
    assert conns.weight.tolist() == [5, 2, 5, 3] and net.predict(X).tolist() == [[25, 35]]
    conns[2:].weight = [6.0, 4.0]
    assert conns.weight.tolist() == [6, 2, 6, 4] and net.predict(X).tolist() == [[26, 46]]
    conns.weight *= 0.5
    assert net.predict(X).tolist() == [[13, 23]]
    net.tie(y, [0, 0])
    y[0].bias = 1.5
    assert y.bias.tolist() == [1.5, 1.5] and net.predict(X).tolist() == [[14.5, 24.5]]
    net.untie(conns[:1])
    conns[0].weight = 0.0
    assert conns.weight.tolist() == [0, 1, 3, 2]
    net.untie(y)
    y[0].bias = 0.0
    assert y.bias.tolist() == [0, 1.5]


def test_an_assigned_gradient_is_the_one_that_is_used(backend):
    """Clipping scales a parameter's gradient once; what each connection contributed stays."""
    net, x, y, conns = pair(backend=backend)
    net.tie(conns, [0, 0, 1, 2])
    net.untie(conns[3:])
    net.backward(np.ones((1, 2)), np.zeros((1, 2)))
    own = conns.own_grad
    assert own.tolist() == [1, 1, 1, 1] and conns.grad.tolist() == [2, 2, 1, 1]
    conns.grad *= 0.1
    np.testing.assert_array_equal(conns.own_grad, [1, 1, 1, 0.1])
    ng.optim.SGD(lr=1.0).step(net)
    np.testing.assert_allclose(conns.weight, [0.3, 0.3, 0.4, 0.4])


def test_tying_again_adds_up_what_each_contributed(backend):
    net, x, y, conns = pair(backend=backend)
    net.tie(conns, [0] * 4)
    net.backward(np.ones((1, 2)), np.zeros((1, 2)))
    assert conns.grad.tolist() == [4] * 4
    net.tie(conns, [0] * 4)
    assert conns.grad.tolist() == [4] * 4
    net.tie(conns[:3], ["a", "b", "b"])
    assert conns.grad.tolist() == [1, 2, 2, 4]  # the last stays with the old parameter and its gradient


def test_averages():
    net, x, y, conns = pair(weight=[1.0, 2.0, 4.0, 8.0])
    net.tie(conns, [0, 1, 0, 1], average=True)
    assert conns.weight.tolist() == [2.5, 5, 2.5, 5]
    y.bias = [1.0, 2.0]
    net.tie(y, ["b", "b"], average=True)
    assert y.bias.tolist() == [1.5, 1.5]


def test_a_common_value_is_kept_to_the_last_bit():
    net = ng.Network()
    conns = net.connect(net.add_inputs(7), net.add_outputs(3), weight=0.1)
    net.tie(conns, [0] * 21)
    assert (conns.weight == np.float32(0.1)).all()


def test_a_connection_that_occurs_twice():
    net, x, y, conns = pair()
    net.tie(conns[[0, 1, 0, 3]], ["a", "a", "a", "b"])
    net.graph.check()
    assert conns.parameter[0] == conns.parameter[1] != conns.parameter[3]
    net.untie(conns[[1, 1, 2, 2]])
    net.graph.check()
    assert conns.parameter[1] == conns[1].id and net.n_parameters == 6
    with pytest.raises(ng.InvalidValueError, match=f"connection {conns[3].id} occurs with several labels"):
        net.tie(conns[[3, 0, 3]], [0, 0, 1])


def test_nothing_to_share():
    net, x, y, conns = pair()
    before = whole(net)
    net.untie(conns)
    net.untie(y)
    assert len(net.add_connections([], [], parameter=[])) == 0
    assert len(net.add_connections([], [], parameter=conns[:0])) == 0
    net.tie(conns[:0], [])
    net.tie(net.group([]), [])
    assert_same(whole(net), before)


# -- joining and initializing ------------------------------------------------------------------------------------------


def test_new_connections_join_parameters(backend):
    net, x, y, conns = pair(weight=[1.0, 2.0, 1.0, 3.0], backend=backend)
    net.tie(conns[[0, 2]], ["s", "s"])
    z = net.add_outputs(2)
    new = net.add_connections([0, 1, 0, 1], np.repeat(z.ids, 2), parameter=conns[[0, 3, 2, 3]])
    net.graph.check()
    assert new.weight.tolist() == [1, 3, 1, 3] and net.n_connections == 8
    assert new.parameter.tolist() == conns.parameter[[0, 3, 2, 3]].tolist()
    assert net.n_parameters == 3 + 4
    new[3].weight = 7.0
    assert conns.weight.tolist() == [1, 2, 1, 7]
    assert len(np.unique(np.concatenate([net.connections.id, net.connections.parameter]))) == 8 + 2
    net.backward([[1.0, 1.0]], np.zeros((1, 4)))
    ng.optim.Adam().step(net)
    more = net.connect(z[0], net.add_outputs(1)[0])
    latest = net.add_connections([x[0]], [net.outputs[4]], parameter=net.connections[:1])
    assert latest.state("adam_m")[0] == conns.state("adam_m")[0] != 0 == more.state("adam_m")
    conns.remove()
    net.graph.check()
    assert new.parameter[1] == new.parameter[3] and net.n_parameters == 1 + 1 + 1 + 5


def by_fans(fan_in, fan_out, rng):
    """An initializer that shows which fans it was given."""
    return rng.normal(size=len(fan_in)) + 10 * fan_in + 100 * fan_out


@pytest.mark.parametrize("weight", ["he", "xavier", by_fans])
def test_an_initializer_draws_one_value_for_a_label(weight):
    """The same as drawing for one connection a label with its widest fan-in, and nothing more is drawn."""
    labels = np.array([3, 1, 3, 2, 1, 3])
    net, free = (ng.Network(seed=5, dtype="float64") for _ in range(2))
    for other in (net, free):
        other.add_inputs(4)
        other.add_outputs(3)
    # Neurons 4, 5, 6 have fan-ins 3, 2, 1 and neurons 0, 1, 2 fan-outs 3, 2, 1.
    conns = net.add_connections([0, 1, 2, 0, 1, 0], [4, 4, 4, 5, 5, 6], weight=weight, parameter=labels)
    # Label 1 has the fan-ins 3 and 2 and the fan-outs 2 and 2, label 2 has 2 and 3, label 3 has 3 3 1 and 3 1 3.
    drawn = initialize(weight, [3, 2, 3], [2, 3, 3], free.rng, np.float64)
    np.testing.assert_array_equal(conns.weight, drawn[labels - 1])
    assert net.rng.bit_generator.state == free.rng.bit_generator.state
    conns.initialize(weight)  # one for each parameter again
    np.testing.assert_array_equal(
        conns.weight, initialize(weight, [3, 2, 3], [2, 3, 3], free.rng, np.float64)[labels - 1]
    )


def test_initializing_a_part_reaches_all_that_share():
    net, x, y, conns = pair()
    net.tie(conns, [0, 1, 0, 1])
    conns[:2].initialize("xavier")
    assert conns.weight[0] == conns.weight[2] != conns.weight[1] == conns.weight[3]
    conns[:3].initialize([7.0, 8.0, 7.0])
    assert conns.weight.tolist() == [7, 8, 7, 8]


def test_given_weights_must_agree():
    net = ng.Network()
    net.add_inputs(2)
    net.add_outputs(2)
    conns = net.add_connections([0, 1], [2, 3], weight=[0.5, 0.5], parameter=[9, 9])
    assert conns.weight.tolist() == [0.5, 0.5]
    with pytest.raises(ng.InvalidValueError, match="label 4 to both 1.0 and 2.0"):
        net.add_connections([0, 1], [3, 2], weight=[1.0, 2.0], parameter=[4, 4])


# -- files and copies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["file", "pickle", "copy"])
def test_copies_go_on_bit_by_bit(how, tmp_path, backend):
    net, rng = shared(11, backend, dtype="float32")
    X, Y = data(rng, 8)
    optimizer = ng.optim.Adam(lr=0.01)

    def train(other):
        for _ in range(3):
            other.backward(X, Y)
            optimizer.step(other)

    net.connections[3].frozen = True
    train(net)
    net.prune(net.connections[::4])
    net.save(tmp_path / "net.ng")
    twin = {
        "file": lambda: ng.load(tmp_path / "net.ng"),
        "pickle": lambda: pickle.loads(pickle.dumps(net)),
        "copy": lambda: copy.deepcopy(net),
    }[how]()
    twin.graph.check()
    for column in ("parameter", "weight", "grad", "own_grad", "frozen", "id"):
        np.testing.assert_array_equal(getattr(twin.connections, column), getattr(net.connections, column))
    np.testing.assert_array_equal(twin.neurons.bias_parameter, net.neurons.bias_parameter)
    assert twin.n_parameters == net.n_parameters
    for other in (net, twin):
        train(other)
        other.tie(other.connections[:6], np.arange(6) % 3, average=True)
        train(other)
    for column in ("parameter", "weight", "grad", "id"):
        np.testing.assert_array_equal(getattr(twin.connections, column), getattr(net.connections, column))
    for state in ("adam_m", "adam_v"):
        np.testing.assert_array_equal(twin.connections.state(state), net.connections.state(state))
    np.testing.assert_array_equal(twin.neurons.bias, net.neurons.bias)
    np.testing.assert_array_equal(twin.predict(X), net.predict(X))
    twin.connections.weight *= 2
    assert (twin.connections.weight != net.connections.weight).all()


def test_a_union_keeps_what_each_part_shares(backend):
    parts = [shared(seed, backend)[0] for seed in (14, 15)]
    X, Y = data(np.random.default_rng(0), 6)
    for part in parts:
        part.backward(X, Y)
    big = ng.union(parts, share_inputs=True)
    big.graph.check()
    assert big.n_parameters == sum(part.n_parameters for part in parts)
    for column in ("weight", "grad", "own_grad"):
        expected = np.concatenate([getattr(part.connections, column) for part in parts])
        np.testing.assert_allclose(getattr(big.connections, column), expected, rtol=1e-12)
    np.testing.assert_allclose(big.predict(X), np.hstack([part.predict(X) for part in parts]), rtol=1e-12, atol=1e-14)


# -- removals and memory -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["connections", "neurons"])
def test_two_thirds_removed_and_the_tables_squeezed(by, backend):
    """Views, sharing, gradients and training go on where the tables moved."""
    rng = np.random.default_rng(0)
    net = ng.Network(seed=0, dtype="float64", backend=backend)
    x, h, y = net.add_inputs(4, name="x"), net.add_neurons(30, activation="tanh"), net.add_outputs(3)
    conns = net.connect(x | h, y)
    wide = net.connect(x, h)
    net.tie(wide, np.arange(120) % 100, average=True)
    net.tie(h, np.arange(30) % 20)
    net.connections[7].frozen = True
    X, Y = data(rng, 6)
    optimizer = ng.optim.Adam(lr=0.01)
    for _ in range(3):
        net.backward(X, Y)
        optimizer.step(net)
    keep = wide[5]
    before = {id: values for id, *values in zip(*(getattr(net.connections, c) for c in KEPT), strict=True)}
    moments = dict(zip(net.connections.id.tolist(), net.connections.state("adam_m"), strict=True))
    size, held = net.graph.connections.size, net.nbytes
    if by == "neurons":
        net.remove_neurons([i for i in h.ids if i != keep.target.id][:25])
    else:
        gone = net.connections
        net.prune(gone[rng.permutation(np.flatnonzero(gone.id != keep.id))[: round(0.8 * len(gone))]])
    net.graph.check()
    assert net.graph.connections.size < size / 2 and net.nbytes < held
    assert net.graph.weights.table.size < 50
    left = net.connections
    assert {id: values for id, *values in zip(*(getattr(left, c) for c in KEPT), strict=True)} == {
        id: before[id] for id in left.id
    }
    assert left.state("adam_m").tolist() == [moments[i] for i in left.id.tolist()]
    assert keep.weight == before[keep.id][1] and len(conns) == 34 * 3
    assert net.n_parameters == len(np.unique(left.parameter)) + len(np.unique((net.neurons - x).bias_parameter))
    twin = Twin(net)
    net.backward(X, Y)
    twin.backward(X, Y)
    np.testing.assert_allclose(left.grad, twin.w.grad.numpy()[twin.weight_of], rtol=1e-10, atol=1e-13)
    net.connect(x, h)
    net.tie(net.connections, np.arange(net.n_connections) % 4, average=True)
    net.graph.check()
    assert len(np.unique(net.connections.parameter)) == 4


KEPT = ("id", "source", "weight", "parameter", "frozen")


def test_a_removed_connection_no_longer_contributes(backend):
    net, rng = shared(12, backend)
    X, Y = data(rng, 6)
    net.prune(net.connections[::3])
    net.remove_neurons(net.groups["h"][1:3])
    twin = Twin(net)
    net.backward(X, Y)
    twin.backward(X, Y)
    np.testing.assert_allclose(twin.conns.grad, twin.w.grad.numpy()[twin.weight_of], rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(twin.movable.bias_grad, twin.b.grad.numpy()[twin.bias_of], rtol=1e-10, atol=1e-13)


def test_a_million_ties_are_array_code():
    net = ng.Network(seed=0)
    conns = net.connect(net.add_inputs(1000), net.add_outputs(1000))
    net.tie(conns, np.arange(10**6) % 1000, average=True)
    assert net.n_parameters == 2000
    assert conns.weight.reshape(1000, 1000).max(axis=0).tolist() == conns.weight[:1000].tolist()
    conns[: 10**6 // 2].remove()
    net.untie(net.connections)
    assert net.n_parameters == 10**6 // 2 + 1000


# -- what is refused ---------------------------------------------------------------------------------------------------


def refused():
    """(name, call, words of the message), each on a network of `shared` that has been trained a little."""
    other = ng.topologies.layered([2, 2])
    bad = [
        ("tie different", lambda n, c: n.tie(c[:4], [0, 0, 1, 1]), "average"),
        ("tie few labels", lambda n, c: n.tie(c, [0, 1]), "labels must be"),
        ("tie floats", lambda n, c: n.tie(c[:2], [0.5, 0.5]), "integers or strings"),
        ("tie matrix", lambda n, c: n.tie(c[:4], [[0, 1], [2, 3]]), "integers or strings"),
        ("tie ragged", lambda n, c: n.tie(c[:2], [[0], [1, 2]]), "regular"),
        ("tie ids", lambda n, c: n.tie([0, 1], [0, 0]), "takes Connections, or a Group"),
        ("tie one", lambda n, c: n.tie(c[0], [0]), "takes Connections, or a Group"),
        ("tie a stranger", lambda n, c: n.tie(other.connections, [0] * 4), "another network"),
        ("tie inputs", lambda n, c: n.tie(n.neurons, [0] * n.n_neurons), "input"),
        ("tie biases", lambda n, c: n.tie(n.groups["h"], [0] * 6), "average"),
        ("tie twice", lambda n, c: n.tie(c[[0, 1, 0]], [0, 0, 1]), "several labels"),
        ("untie ids", lambda n, c: n.untie([0, 1]), "takes Connections"),
        ("untie a stranger", lambda n, c: n.untie(other.connections), "another network"),
        ("write", lambda n, c: setattr(c, "weight", np.arange(len(c))), "untie"),
        ("write nan", lambda n, c: setattr(c, "weight", np.nan), "nan"),
        ("write bias", lambda n, c: setattr(n.groups["h"], "bias", np.arange(6)), "bias of parameter"),
        ("initialize nan", lambda n, c: c.initialize(lambda i, o, r: r.normal(size=len(i)) * np.nan), "finite"),
        ("initialize", lambda n, c: c.initialize(np.arange(len(c))), "set the weight of parameter"),
        ("initialize none", lambda n, c: c.initialize("hee"), "hee"),
    ]
    # Each adds a pair that is legal and a second one.
    add = [
        ("few labels", "legal", dict(parameter=[0]), "parameter must be 2"),
        ("floats", "legal", dict(parameter=[0.0, 1.0]), "integers or strings"),
        ("disagree", "legal", dict(parameter=["a", "a"], weight=[1.0, 2.0]), "label a to both"),
        ("few others", "legal", dict(parameter=1), "parameter has 1 connections for 2"),
        ("a stranger", "legal", dict(parameter=other.connections[:2]), "another network"),
        ("no weights", "legal", dict(parameter=[0, 1], weight="hee"), "hee"),
        ("nan", "legal", dict(parameter=[0, 1], weight=lambda i, o, r: r.normal(size=len(i)) * np.nan), "finite"),
        ("duplicate", "there", dict(parameter=[0, 1]), "exists already"),
        ("cycle", "cycle", dict(parameter=[0, 1]), "cycle"),
        ("joins a cycle", "cycle", dict(parameter=2), "cycle"),
        ("joins a duplicate", "there", dict(parameter=2), "exists already"),
    ]

    def call(second, options):
        def run(net, conns):
            h, y, new = net.groups["h"].ids, net.outputs.ids, net.neurons.ids[-1]
            pair = {"legal": (h[0], new), "there": (conns.source[0], conns.target[0]), "cycle": (y[0], h[0])}[second]
            joined = options["parameter"]
            joined = conns[:joined] if isinstance(joined, int) else joined
            net.add_connections([h[5], pair[0]], [new, pair[1]], **options | {"parameter": joined})

        return run

    return bad + [(f"add {name}", call(second, options), words) for name, second, options, words in add]


@pytest.mark.parametrize(("name", "call", "words"), refused(), ids=lambda v: v if isinstance(v, str) else "")
def test_a_refused_call_leaves_everything_as_it_was(name, call, words, backend):
    net, rng = shared(13, backend)
    net.add_neurons(1)
    X, Y = data(rng, 5)
    net.backward(X, Y)
    ng.optim.Adam().step(net)
    outputs, conns, before = net.predict(X), net.connections, whole(net)
    generations = [g.tolist() for g in net.schedule.generations]
    with pytest.raises(ng.NeurographError, match=words):
        call(net, conns)
    assert_same(whole(net), before)
    net.graph.check()
    assert [g.tolist() for g in net.schedule.generations] == generations
    np.testing.assert_array_equal(net.predict(X), outputs)


@pytest.mark.parametrize("pairs", [3, 200])
def test_a_refused_call_moves_no_delayed_connection(pairs, backend):
    """New pairs may move rows before one of them is refused; what a pass reads must follow."""
    net = ng.Network(seed=0, dtype="float64", backend=backend)
    x, h = net.add_inputs(2), net.add_neurons(40, activation="tanh")
    net.mark_outputs(h[:3])
    net.connect(x, h)
    net.connect(h, h, density=0.3, delay=1)
    X = np.random.default_rng(0).normal(size=(2, 4, 2))
    before = net.predict(X)
    free = [(u, v) for u in h.ids.tolist() for v in h.ids.tolist() if not net.has_connection(u, v, 1)][:pairs]
    s, t = zip(*free, (2, 3), (3, 2), strict=True)
    for count, error in ((len(free) + 2, ng.CycleError), (0, ng.DuplicateConnectionError)):
        edges = (s[:count], t[:count]) if count else (x.ids[[0] * 300], np.tile(h.ids, 8)[:300])
        with pytest.raises(error):
            net.add_connections(*edges, delay=[1] * len(free) + [0, 0] if count else 0)
        net.graph.check()
        np.testing.assert_array_equal(net.predict(X), before)
