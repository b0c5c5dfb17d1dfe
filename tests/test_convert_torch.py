"""PyTorch modules: the network computes, and trains, what the module does; and back."""

import re

import numpy as np
import pytest

import neurograph as ng

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def flat(tensor):
    return tensor.detach().flatten(1).numpy()


def same(module, shape, batch=5, **options):
    """Convert, compare the outputs in evaluation mode, and return the network."""
    x = torch.randn(batch, *shape)
    before = [(part.training, set(vars(part))) for part in module.modules()]
    net = ng.from_torch(module, shape, **options)
    assert [(part.training, set(vars(part))) for part in module.modules()] == before, "the module was changed"
    with torch.no_grad():
        expected = module.eval()(x)
    np.testing.assert_allclose(net.predict(flat(x)), flat(expected), atol=1e-5, rtol=1e-5)
    return net


def trains_alike(module, shape, atol=1e-5):
    """After some steps of gradient descent on both, they still compute the same."""
    net = same(module, shape)
    x = torch.randn(7, *shape)
    target = torch.randn_like(module(x))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    before = module(x).detach()
    for _ in range(3):
        optimizer.zero_grad()
        F.mse_loss(module(x), target).backward()
        optimizer.step()
        net.backward(flat(x), flat(target), loss="mse")
        ng.optim.SGD(lr=0.1).step(net)
    np.testing.assert_allclose(net.predict(flat(x)), flat(module(x)), atol=atol)
    assert (module(x) - before).abs().max() > 100 * atol
    return net


LAYERS = {
    "linear": (nn.Linear(6, 4), (6,)),
    "linear without bias": (nn.Linear(6, 4, bias=False), (6,)),
    "linear on the last axis": (nn.Linear(6, 4), (3, 6)),
    "conv1d": (nn.Conv1d(3, 4, 3, stride=2, padding=1), (3, 9)),
    "conv2d": (nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0)), (2, 7, 6)),
    "conv2d dilated": (nn.Conv2d(2, 3, 3, dilation=2, padding=2), (2, 6, 7)),
    "conv2d grouped": (nn.Conv2d(4, 6, 3, groups=2, bias=False), (4, 5, 5)),
    "conv2d depthwise": (nn.Conv2d(4, 8, 3, groups=4), (4, 5, 5)),
    "conv2d same": (nn.Conv2d(2, 3, (3, 5), padding="same"), (2, 5, 6)),
    "conv2d padded widely": (nn.Conv2d(1, 2, 3, padding=3), (1, 2, 2)),
    "conv3d": (nn.Conv3d(2, 2, 2, padding=(0, 1, 0)), (2, 3, 4, 3)),
    "max_pool1d": (nn.MaxPool1d(3, stride=1, padding=1), (2, 7)),
    "max_pool2d": (nn.MaxPool2d(2), (3, 5, 6)),
    "max_pool2d dilated": (nn.MaxPool2d(2, stride=1, dilation=2, padding=1), (2, 5, 6)),
    "max_pool2d ceil": (nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), (2, 6, 7)),
    "avg_pool1d": (nn.AvgPool1d(2), (2, 6)),
    "avg_pool2d": (nn.AvgPool2d(3, stride=2, padding=1), (2, 6, 7)),
    "avg_pool2d without pad": (nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False), (2, 6, 7)),
    "avg_pool2d ceil": (nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True), (2, 6, 8)),
    "avg_pool2d ceil without pad": (nn.AvgPool2d(2, 3, 1, ceil_mode=True, count_include_pad=False), (2, 6, 8)),
    "avg_pool2d divisor": (nn.AvgPool2d(2, divisor_override=3), (2, 6, 6)),
    "avg_pool3d": (nn.AvgPool3d(2, padding=1), (2, 3, 4, 3)),
    "global average": (nn.AdaptiveAvgPool2d(1), (3, 5, 4)),
    "adaptive average": (nn.AdaptiveAvgPool2d((3, None)), (2, 7, 4)),
    "adaptive max": (nn.AdaptiveMaxPool2d((2, 3)), (2, 7, 4)),
    "flatten": (nn.Flatten(), (2, 3, 2)),
    "flatten some": (nn.Flatten(2, -1), (2, 3, 2)),
    "dropout": (nn.Dropout(0.5), (4,)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer(name):
    module, shape = LAYERS[name]
    net = same(module, shape)
    trained = sum(parameter.numel() for parameter in module.parameters())
    frozen = (net.neurons - net.inputs)[(net.neurons - net.inputs).bias_frozen]
    moving = len(np.unique(net.connections.parameter[~net.connections.frozen]))
    biases = net.neurons - net.inputs - frozen
    assert moving + len(np.unique(biases.bias_parameter)) == trained


ACTIVATIONS = [
    nn.ReLU(),
    nn.ReLU6(),
    nn.Hardtanh(),
    nn.Hardtanh(0, 2.5),
    nn.LeakyReLU(0.2),
    nn.ELU(0.7),
    nn.CELU(),
    nn.SELU(),
    nn.GELU(),
    nn.SiLU(),
    nn.Sigmoid(),
    nn.Tanh(),
    nn.Softplus(),
    nn.Identity(),
]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_every_activation_joins_its_layer(activation):
    net = trains_alike(nn.Sequential(nn.Linear(5, 8), activation, nn.Linear(8, 2)), (5,))
    assert net.n_neurons == 15
    assert same(activation, (5,)).n_neurons == (5 if isinstance(activation, nn.Identity) else 10)


def test_a_small_convolutional_network_trains_alike():
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.5).eval(),
        nn.Linear(6, 3),
    )
    net = trains_alike(module, (1, 8, 8))
    assert net.groups["0"].shape == (4, 8, 8) and net.groups["3"].shape == (6, 2, 2)
    weights = module[0].weight
    conns = net.groups["0"].incoming
    assert len(np.unique(conns.parameter)) == weights.numel() == 36
    np.testing.assert_allclose(np.unique(conns.weight), np.sort(weights.detach().numpy().ravel()), atol=1e-6)


class Residual(nn.Module):
    """As torchvision's basic block, with in-place activations."""

    def __init__(self, channels_in, channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.down = None
        if stride != 1 or channels_in != channels:
            self.down = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x):
        identity = x if self.down is None else self.down(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


def with_statistics(module):
    """Running statistics and scales that are not those of a fresh layer."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            nn.init.uniform_(part.weight, 0.5, 2)
            nn.init.normal_(part.bias)
    return module


def test_a_residual_network():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(1, 4, 3, padding=1)
            self.blocks = nn.Sequential(Residual(4, 4), Residual(4, 6, stride=2))
            self.head = nn.Linear(6, 3)

        def forward(self, x):
            x = F.relu(self.stem(x))
            x = self.blocks(x)
            return self.head(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))

    net = same(with_statistics(Net()), (1, 6, 6))
    # Batch normalisation, additions and activations take no neurons of their own.
    assert net.n_neurons == 36 + 144 + 2 * 144 + 2 * 54 + 6 + 3
    assert net.groups["blocks.0.conv1"].shape == (4, 6, 6)


def test_batch_norm_where_it_cannot_be_folded():
    """First of all, after an activation, and behind a layer that is used twice."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.third = nn.BatchNorm1d(4), nn.BatchNorm1d(4), nn.BatchNorm1d(4, affine=False)
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            x = self.first(x)
            x = self.second(torch.relu(self.layer(x)))
            return self.third(self.layer(x))

    module = with_statistics(nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 2)))
    net = same(module, (2, 4, 4))
    assert len(np.unique(net.groups["0"].incoming.parameter)) == 2
    module = Net()
    for part in (module.first, module.second):
        with_statistics(part)
    module.third.running_mean.normal_()
    same(module, (4,))


def residual(inner):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.last = inner, nn.Linear(6, 2)

        def forward(self, x):
            return self.last(torch.tanh(x + self.inner(x)))

    return Net()


@pytest.mark.parametrize(
    "inner",
    [nn.Linear(6, 6), nn.Sequential(nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 6)), nn.Identity(), nn.Tanh()],
    ids=["direct", "deep", "itself", "activation"],
)
def test_residual_additions_train_alike(inner):
    net = trains_alike(residual(inner), (6,))
    skips = net.connections[net.connections.frozen]
    assert len(skips) >= 6 and (skips.weight == 1).all()


def test_a_shared_layer_stays_shared():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(5, 5), nn.Linear(5, 5)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(torch.sigmoid(self.a(torch.tanh(self.a(x)))))

    net = trains_alike(Net(), (5,))
    assert net.n_connections == 75 and net.n_parameters == 25 + 10


def test_parameters_that_do_not_train_are_frozen():
    module = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    module[0].weight.requires_grad_(False)
    net = trains_alike(module, (4,))
    assert net.groups["0"].incoming.frozen.all() and not net.groups["2"].incoming.frozen.any()


FORWARDS = {
    "arithmetic": lambda self, x: 2.0 * self.a(x) - x * 0.5 + 1 - (3 - x) / 4,
    "negative": lambda self, x: -self.a(x) + torch.add(x, x, alpha=2.0),
    "a product": lambda self, x: self.a(x) * torch.sigmoid(self.b(x)),
    "a square": lambda self, x: self.a(x * x),
    "a sum of two layers": lambda self, x: torch.relu(self.a(x) + self.b(x)),
    "read twice": lambda self, x: (lambda h: torch.tanh(h) + h)(self.a(x)),
    "a parameter and a buffer": lambda self, x: torch.tanh(self.a(x) + self.p) * self.p + self.c,
    "a constant of the forward pass": lambda self, x: self.a(x) + torch.arange(6.0),
    "a computed constant": lambda self, x: x + self.p.exp() * 2,
    "cat": lambda self, x: torch.cat([self.a(x), x, torch.relu(self.b(x))], dim=1),
    "cat of the same": lambda self, x: self.b(torch.cat([x, x], dim=1)[:, 2:8]),
    "functions": lambda self, x: F.gelu(F.linear(x, self.a.weight, self.b.bias)),
    "methods": lambda self, x: self.a(x).tanh().sigmoid().abs(),
    "view": lambda self, x: self.a(x.view(x.size(0), 2, 3).reshape(-1, 6).view(x.shape[0], -1)),
    "mean": lambda self, x: (
        self.a(x).view(x.size(0), 2, 3).mean(2, keepdim=True) + x.view(x.size(0), 3, 2).sum(1, keepdim=True)
    ),
    "amax": lambda self, x: self.a(x).view(x.size(0), 2, 3).amax((1, 2)).view(-1, 1),
    "dropout": lambda self, x: F.dropout(self.a(x), 0.5, self.training),
    "in place": lambda self, x: (lambda h: (F.relu(h, inplace=True), self.b(h))[1] + h)(self.a(x)),
    "the input": lambda self, x: x,
    "the input again": lambda self, x: torch.cat([x, x], 1),
    "relu of the input": lambda self, x: x.relu(),
}


@pytest.mark.parametrize("name", FORWARDS)
def test_forward_passes(name):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
            self.p = nn.Parameter(torch.randn(6))
            self.register_buffer("c", torch.randn(6))

        forward = FORWARDS[name]

    net = same(Net(), (6,))
    parameters_stay = name not in ("a parameter and a buffer", "a computed constant")
    if parameters_stay and name not in ("the input", "the input again", "relu of the input"):
        trains_alike(Net(), (6,))
    assert len(net.groups["outputs"]) == net.n_outputs


def test_gates_over_channels():
    """Squeeze and excitation: a product that broadcasts."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.down, self.up = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)

        def forward(self, x):
            x = F.silu(self.conv(x))
            gate = x.mean((2, 3), keepdim=True)
            return x * torch.sigmoid(self.up(F.relu(self.down(gate))))

    trains_alike(Net(), (1, 5, 5))


REFUSED = {
    "lstm": (nn.Sequential(nn.Linear(3, 3), nn.LSTM(3, 3)), (3,), "layer '1' .*LSTM.*Supported layers: .*Conv2d"),
    "softmax": (nn.Sequential(nn.Linear(3, 3), nn.Softmax(1)), (3,), "Softmax.*cross_entropy"),
    "own leaf": (nn.Sequential(nn.PReLU()), (3,), "PReLU"),
    "padding_mode": (nn.Sequential(nn.Conv2d(1, 1, 3, padding_mode="reflect")), (1, 5, 5), "layer '0'.*padding_mode"),
    "statistics": (nn.BatchNorm2d(2, track_running_stats=False), (2, 3, 3), "track_running_stats"),
    "gelu": (nn.GELU("tanh"), (3,), "approximate"),
    "hardtanh": (nn.Hardtanh(-2, 3), (3,), "bounds"),
    "softplus": (nn.Softplus(2.0), (3,), "beta"),
    "indices": (nn.MaxPool2d(2, return_indices=True), (1, 4, 4), "return_indices"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unsupported_layers_are_named(name):
    module, shape, message = REFUSED[name]
    with pytest.raises(ng.NotSupportedError, match=message):
        ng.from_torch(module, shape)


@pytest.mark.parametrize(
    ("forward", "error", "message"),
    [
        (
            lambda self, x: torch.fft.rfft(x),
            ng.NotSupportedError,
            "'fft_rfft' in the forward pass.*supported functions",
        ),
        (lambda self, x: x.cumsum(1), ng.NotSupportedError, "cumsum"),
        (lambda self, x: x.sum(), ng.NotSupportedError, "whole batch"),
        (lambda self, x: x.mean(0), ng.NotSupportedError, "samples of a batch"),
        (lambda self, x: x[0], ng.NotSupportedError, "picks samples"),
        (lambda self, x: x.view(2, -1), ng.NotSupportedError, "batch axis"),
        (lambda self, x: x if x.sum() > 0 else -x, ng.NotSupportedError, "cannot be traced"),
        (lambda self, x: (x, x), ng.InvalidValueError, "one tensor"),
        (lambda self, x, y: x + y, ng.InvalidValueError, "several inputs"),
        (lambda self, x: x / self.p, ng.NotSupportedError, "trained parameter"),
    ],
)
def test_unsupported_calls_are_named(forward, error, message):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.p = nn.Parameter(torch.randn(4))

    Net.forward = forward
    with pytest.raises(error, match=message):
        ng.from_torch(Net(), 4)


def test_shapes_that_do_not_fit():
    with pytest.raises(ng.InvalidValueError, match=re.escape("layer '1'") + ".*takes 5 features.*(4,)"):
        ng.from_torch(nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 2)), 3)
    with pytest.raises(ng.InvalidValueError, match="takes 2 channels"):
        ng.from_torch(nn.Conv2d(2, 2, 3), (1, 5, 5))
    with pytest.raises(ng.InvalidValueError, match="does not fit.*larger"):
        ng.from_torch(nn.Conv2d(1, 2, 7), (1, 5, 5))
    with pytest.raises(ng.InvalidValueError, match="does not fit"):
        ng.from_torch(nn.Sequential(nn.MaxPool2d(2), nn.MaxPool2d(2)), (1, 3, 3))
    with pytest.raises(ng.InvalidValueError, match=r"torch.nn.Module, not function"):
        ng.from_torch(F.relu, 3)


# -- to PyTorch --------------------------------------------------------------------------------------------------------


def both(net, x, Y, loss="mse"):
    """Loss, outputs and gradients in the network and in its module, which must agree."""
    module = ng.to_torch(net)
    outputs = module(torch.as_tensor(x))
    value = F.mse_loss(outputs, torch.as_tensor(Y))
    value.backward()
    assert net.backward(x, Y, loss=loss) == pytest.approx(float(value.detach()), rel=1e-6)
    np.testing.assert_allclose(outputs.detach().numpy(), net.predict(x), rtol=1e-9, atol=1e-9)
    return module


def gradients_agree(net, module, rtol=1e-7, atol=1e-10):
    """Per parameter, in ascending order of their numbers."""
    neurons = net.neurons - net.inputs
    for given, number, grad, frozen in (
        (module.weight.grad, net.connections.parameter, net.connections.grad, net.connections.frozen),
        (module.bias.grad, neurons.bias_parameter, neurons.bias_grad, neurons.bias_frozen),
    ):
        _, first = np.unique(number[~frozen], return_index=True)
        np.testing.assert_allclose(given.numpy(), grad[~frozen][first], rtol=rtol, atol=atol)


SPECS = [("leaky_relu", 0.3), ("clipped_relu", 0.5), ("elu", 0.7)] + [
    name for name in ng.functions.activations.ACTIVATIONS if name not in ("leaky_relu", "clipped_relu", "elu")
]


AGGREGATIONS = list(ng.functions.aggregations.AGGREGATIONS)


def any_graph(seed, aggregations=AGGREGATIONS, n=40):
    """A random graph with every activation in turn, and aggregations at random."""
    rng = np.random.default_rng(seed)
    net = ng.topologies.random_dag(4, n, 5, density=0.2, seed=seed, dtype="float64", weight="xavier")
    hidden = net.groups["hidden"] | net.groups["outputs"]
    hidden.activation = [SPECS[k % len(SPECS)] for k in rng.permutation(len(hidden))]
    hidden.aggregation = rng.choice(aggregations, len(hidden)).tolist()
    hidden.bias = rng.normal(size=len(hidden)) * 0.3
    # What grows without bounds, or jumps, says nothing about the rest.
    wild = [k for k, spec in enumerate(hidden.activation) if spec in ("inv", "log", "cube", "exp", "step", "square")]
    for k in wild:
        if net.neuron(int(hidden.ids[k])).fan_out:
            hidden[k].outputs.weight *= 0.1
    return net, rng


@pytest.mark.parametrize("seed", range(6))
def test_any_graph_and_its_gradients(seed):
    net, rng = any_graph(seed)
    x, Y = rng.normal(size=(9, 4)), rng.normal(size=(9, 5))
    gradients_agree(net, both(net, x, Y), rtol=1e-6)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_every_activation_at_its_kinks(spec):
    net = ng.Network(dtype="float64")
    x = net.add_inputs(1)
    hidden = net.add_neurons(9, activation=spec, bias=[-2.0, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 70.0, -70.0])
    net.connect(x, hidden, weight=1.0)
    net.connect(hidden, net.add_outputs(1), weight=np.arange(1.0, 10.0))
    gradients_agree(net, both(net, np.zeros((1, 1)), np.zeros((1, 1))), rtol=1e-9)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_every_aggregation_with_ties_zeros_and_nothing(aggregation):
    rng = np.random.default_rng(0)
    net = ng.Network(dtype="float64")
    x = net.add_inputs(6)
    hidden = net.add_neurons(60, activation="tanh", aggregation=aggregation, bias=rng.normal(size=60))
    net.connect(x, hidden[:40], density=0.4, weight=1.0)
    net.connect(hidden, net.add_outputs(2), weight="he")
    X = rng.integers(-1, 2, size=(8, 6)).astype(float)
    gradients_agree(net, both(net, X, rng.normal(size=(8, 2))))


def test_shared_and_frozen_parameters():
    net, rng = any_graph(1, aggregations=("sum",))
    hidden = net.groups["hidden"]
    net.tie(net.connections[:60], rng.integers(0, 7, 60), average=True)
    net.tie(hidden[:20], rng.integers(0, 4, 20), average=True)
    net.connections[50:80].frozen = True
    hidden[15:25].bias_frozen = True
    x, Y = rng.normal(size=(9, 4)), rng.normal(size=(9, 5))
    module = both(net, x, Y)
    gradients_agree(net, module)
    assert module.weight.numel() + module.bias.numel() + module.frozen_weight.numel() + module.frozen_bias.numel() == (
        net.n_parameters
    )


def test_a_step_of_gradient_descent_in_both():
    net, rng = any_graph(2)
    x, Y = rng.normal(size=(9, 4)), rng.normal(size=(9, 5))
    other = ng.from_networkx(ng.to_networkx(net), net.inputs.ids, net.outputs.ids, dtype="float64")
    module = both(net, x, Y)
    torch.optim.SGD(module.parameters(), lr=0.01).step()
    ng.optim.SGD(lr=0.01).step(net)
    trained = net.connections.weight, net.neurons.bias
    module.write_to(net)
    np.testing.assert_allclose(net.connections.weight, trained[0], rtol=1e-9)
    np.testing.assert_allclose(net.neurons.bias, trained[1], rtol=1e-9)
    net.connections[0].remove()
    with pytest.raises(ng.InvalidValueError, match="edited"):
        module.write_to(net)
    assert other.n_connections == net.n_connections + 1


@pytest.mark.parametrize("seed", range(4))
def test_through_time(seed):
    """Loops, several delays beside connections of none, and leaky potentials."""
    net, rng = any_graph(seed, n=20)
    hidden = net.groups["hidden"]
    tame = hidden[[spec not in ("inv", "log", "cube", "exp", "square") for spec in hidden.activation]]
    net.connect(tame, tame, density=0.1, delay=1, weight=lambda *a: 0.3 * rng.normal(size=len(a[0])))
    net.connect(net.inputs, tame, density=0.2, delay=3, weight=0.5)
    if seed % 2:
        hidden[:10].time_constant = rng.uniform(1, 5, 10)
    x, Y = rng.normal(size=(6, 9, 4)), rng.normal(size=(6, 9, 5))
    gradients_agree(net, both(net, x, Y), rtol=1e-6, atol=1e-9)


def test_leaks_alone_need_time():
    net = ng.topologies.layered([2, 3, 1], activation="tanh", dtype="float64", seed=0)
    net.groups["hidden 1"].time_constant = 2.5
    x = np.random.default_rng(0).normal(size=(4, 7, 2))
    both(net, x, np.zeros((4, 7, 1)))
    with pytest.raises(ValueError, match="batch, time, 2"):
        ng.to_torch(net)(torch.randn(4, 2))


def test_there_and_back():
    module = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 4)).double()
    net = ng.from_torch(module, (1, 6, 6), dtype="float64")
    again = ng.to_torch(net)
    x = torch.randn(5, 1, 6, 6, dtype=torch.double)
    target = torch.randn(5, 4, dtype=torch.double)
    F.mse_loss(module(x), target).backward()
    F.mse_loss(again(x.flatten(1)), target).backward()
    np.testing.assert_allclose(again(x.flatten(1)).detach(), flat(module(x)), rtol=1e-9)
    assert again.weight.numel() == module[0].weight.numel() + module[4].weight.numel()
    for given, is_one in ((again.weight.grad, lambda p: p.ndim > 1), (again.bias.grad, lambda p: p.ndim == 1)):
        expected = torch.cat([p.grad.ravel() for p in module.parameters() if is_one(p)])
        np.testing.assert_allclose(np.sort(given), np.sort(expected), rtol=1e-7, atol=1e-12)


def test_a_module_is_a_module(tmp_path):
    """Saved with its classes, by its parameters, copied, and in single precision whatever comes in."""
    net = ng.topologies.layered([3, 5, 2], seed=0)
    module, x = ng.to_torch(net), torch.randn(4, 3)
    torch.save(module, tmp_path / "module.pt")
    torch.save(module.state_dict(), tmp_path / "parameters.pt")
    again = torch.load(tmp_path / "module.pt", weights_only=False)
    torch.testing.assert_close(again(x), module(x))
    with torch.no_grad():
        again.weight += 1
    again.load_state_dict(torch.load(tmp_path / "parameters.pt"))
    torch.testing.assert_close(again(x), module(x))
    torch.testing.assert_close(module(x.double()), module(x))
    with pytest.raises(ValueError, match=re.escape("(batch, 3)")):
        module(torch.randn(4, 5))


def test_to_torch_refuses_a_network_without_outputs():
    net = ng.Network()
    net.add_inputs(2)
    with pytest.raises(ng.InvalidValueError, match="no outputs"):
        ng.to_torch(net)
