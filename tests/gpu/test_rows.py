"""Passes row by row on the device, against the reference backend."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

import neurograph as ng
from neurograph.backends import reference
from neurograph.backends.gpu import orders, passes, rows
from neurograph.backends.gpu.layout import layout_of
from neurograph.functions.activations import ACTIVATIONS
from neurograph.functions.aggregations import AGGREGATIONS

FUNCTIONS = (*ACTIVATIONS, ("leaky_relu", 0.25), ("clipped_relu", 1.5), ("elu", 0.5))
LINEAR = ("sum", "mean")
TOLERANCE = {"float32": {"rtol": 2e-4, "atol": 2e-5}, "float64": {"rtol": 1e-12, "atol": 1e-13}}


@pytest.fixture(autouse=True)
def row_by_row(monkeypatch):
    """Small networks would run in slices, in one launch, which has tests of its own."""
    monkeypatch.setattr(passes.sliced, "pays", lambda *_: False)


def random_network(
    seed,
    sizes=(5, 14, 4),
    density=0.6,
    dtype="float64",
    activations=FUNCTIONS,
    aggregations=LINEAR,
    delay=0,
    leaky=False,
):
    """Any wiring along the order of the neurons; with delays also against it, and from a neuron to itself."""
    rng = np.random.default_rng(seed)
    n_inputs, n_hidden, n_outputs = sizes
    net = ng.Network(seed=seed, dtype=dtype, backend="reference")
    net.add_inputs(n_inputs)
    for i in range(n_hidden + n_outputs):
        (net.add_neurons if i < n_hidden else net.add_outputs)(
            1,
            activation=activations[rng.integers(len(activations))],
            aggregation=aggregations[rng.integers(len(aggregations))],
            bias=rng.normal() / 2,
            time_constant=float(rng.uniform(1, 4)) if leaky and i % 3 else 1.0,
        )
    n, ids = sum(sizes), net.neurons.ids
    present = rng.random((n, n, delay + 1)) < density / (delay + 1)
    present[:, :n_inputs] = False
    present[..., 0] &= np.arange(n)[:, None] < np.arange(n)
    source, target, late = np.nonzero(present)
    weight = rng.normal(size=len(source)) / np.sqrt(n * density)
    net.add_connections(ids[source], ids[target], weight=weight, delay=late)
    if n_hidden:
        net.mark_outputs(ids[n_inputs : n_inputs + 1])
    return net


def everything(backend, net, X, upstream, state=None, later=None, add=False, constant=False, keep=True, reuse=None):
    """All that a pass and its gradients give."""
    plan = net.plan
    run = backend.forward(plan, X, keep, reuse, state)
    live = plan.graph.neurons.live()
    result = {"outputs": run.outputs, "activations": run.activations(live, -run.history)}
    after = run.state()
    result["state"] = after.outputs[..., live]
    computing = np.setdiff1d(live, plan.inputs)
    if after.potentials is not None:
        result["potentials"] = after.potentials[:, computing]
    held = SimpleNamespace(run=run, state=after, later=None)
    if keep:
        held.later = backend.backward(plan, run, upstream, add, later, constant)
        result["grad"] = net.connections.grad.copy()
        result["bias_grad"] = (net.neurons - net.inputs).bias_grad.copy()
        result["errors"] = run.errors(computing)
    return result, held


def assert_equal(found, expected, dtype):
    """Compare what two backends gave, each array relative to its largest entry."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].shape == array.shape and found[name].dtype == array.dtype, name
        scale = float(np.abs(array).max(initial=0)) or 1.0
        np.testing.assert_allclose(found[name] / scale, array / scale, **TOLERANCE[dtype], err_msg=name)


def samples(net, batch, steps=1, seed=0):
    """X and the gradient of some loss."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(batch, steps, net.n_inputs)).astype(net.dtype)
    return X, rng.normal(size=(batch, steps, net.n_outputs)).astype(net.dtype)


def check(net, batch, steps=1, **options):
    """The same from both backends."""
    X, upstream = samples(net, batch, steps)
    expected, _ = everything(reference, net, X, upstream, **options)
    found, held = everything(passes, net, X, upstream, **options)
    assert_equal(found, expected, np.dtype(net.dtype).name)
    return held


def test_the_source_has_the_codes_of_the_tables():
    """Activations and aggregations are numbered alike on both sides."""
    text = (passes.Family.__init__.__globals__["SOURCES"] / "neuron.cuh").read_text()
    names = [re.findall(r"\w+", body) for body in re.findall(r"enum \w+ \{(.*?)\}", text, re.DOTALL)]
    assert names == [[name.upper() for name in ACTIVATIONS], [name.upper() for name in AGGREGATIONS]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_activation(gpu, dtype):
    """Values and derivatives far and near, at kinks and where exponentials end."""
    points = [
        0.0,
        -0.0,
        1e-8,
        -1e-8,
        0.5,
        -0.5,
        1.0,
        -1.0,
        1.5,
        3.0,
        -3.0,
        6.0,
        7.5,
        -8.0,
        20.0,
        -20.0,
        59.0,
        -61.0,
        90.0,
    ]
    X = np.array(points, dtype)[:, None, None]
    for function in FUNCTIONS:
        net = ng.Network(dtype=dtype, backend="reference")
        net.connect(net.add_inputs(1), net.add_outputs(1, activation=function), weight=1.0)
        upstream = np.ones_like(X)
        expected, _ = everything(reference, net, X, upstream)
        found, _ = everything(passes, net, X, upstream)
        for name in ("outputs", "errors"):
            # A derivative that comes from an output near its limit has lost digits by then.
            near = {"rtol": 1e-5, "atol": 3e-7} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-15}
            np.testing.assert_allclose(found[name], expected[name], **near, err_msg=f"{function}")


@pytest.mark.parametrize("batch", [1, 3, 16, 33, 130, 600])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_number_of_samples(gpu, batch, dtype):
    """Few samples, a warp's, several pieces of them, several warps of a block."""
    check(random_network(batch, dtype=dtype), batch)


def test_more_samples_than_a_block_has_columns(gpu, monkeypatch):
    """Then several launches add."""
    monkeypatch.setattr(rows, "TOGETHER", 1)
    rows.backward_shape.cache_clear()
    check(random_network(3), 600)
    rows.backward_shape.cache_clear()


@pytest.mark.parametrize("batch", [2, 40])
@pytest.mark.parametrize("seed", range(3))
def test_random_wiring(gpu, seed, batch):
    """Empty rows, neurons that lead nowhere, rows of all lengths."""
    check(random_network(seed, sizes=(3, 60, 5), density=(0.02, 0.2, 0.9)[seed]), batch)


def test_layers_and_unions(gpu):
    """Rows of equal lengths, and parts that share nothing."""
    layered = ng.topologies.layered([7, 20, 20, 3], density=0.4, seed=0, dtype="float64", backend="reference")
    check(layered, 9)
    check(ng.union([layered, random_network(1)]), 9)


@pytest.mark.parametrize("batch", [1, 6, 150])
def test_long_rows_are_cut(gpu, batch, monkeypatch):
    """In both directions, inputs too, with more chunks than fit and with one that is nearly empty."""
    monkeypatch.setattr(orders, "LONG", 16)
    monkeypatch.setattr(orders, "CHUNK", 8)
    net = random_network(7, sizes=(40, 30, 30), density=0.7)
    check(net, batch)
    plan = net.plan
    layout = layout_of(plan)
    assert layout.targets.partials and layout.sources.partials and layout.inputs.partials
    monkeypatch.setattr(orders, "MANY", 2)
    monkeypatch.setattr(orders, "LONGER", 1.2)
    plan.layouts.clear()
    check(net, batch)
    assert 0 < layout_of(plan).targets.partials < layout.targets.partials


def test_edits_leave_slack(gpu, rng):
    """Rows that grew, shrank and moved, new neurons and freed slots."""
    net = random_network(11, sizes=(6, 25, 4), density=0.4)
    check(net, 5)
    for _ in range(4):
        net.prune(net.connections[rng.random(net.n_connections) < 0.25])
        hidden = net.neurons.ids[6:31]
        for _ in range(20):
            u, v = np.sort(rng.choice(len(hidden), 2, replace=False))
            if not net.has_connection(hidden[u], hidden[v]):
                net.connect(net.neuron(hidden[u]), net.neuron(hidden[v]), weight=rng.normal())
        check(net, 5)
    net.remove_neurons(net.neurons[9:12])
    fresh = net.add_neurons(2, activation="tanh")
    net.connect(net.inputs, fresh, weight=0.3)
    net.connect(fresh, net.outputs, weight=-0.2)
    check(net, 5)


@pytest.mark.parametrize("batch", [1, 3, 35])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_aggregations(gpu, batch, dtype):
    """Products, extremes and medians among sums and means."""
    net = random_network(5, dtype=dtype, activations=("identity", "tanh"), aggregations=tuple(AGGREGATIONS))
    check(net, batch)


@pytest.mark.parametrize("kind", [name for name in AGGREGATIONS if name not in LINEAR])
def test_ties_and_zeros(gpu, kind):
    """Terms that tie share evenly; the gradient of a product is exact where terms are zero."""
    net = ng.Network(dtype="float64", backend="reference")
    x, out = net.add_inputs(4), net.add_outputs(1, aggregation=kind)
    net.connect(x, out, weight=[[1.0], [1.0], [-1.0], [2.0]])
    net.add_outputs(1, aggregation=kind)  # of no terms
    X = np.array([[1, 1, -1, 0.5], [0, 2, 3, 1], [0, 0, 1, 1], [1, 2, -2, 1], [-1, -1, 1, -0.5], [3, 3, 3, 1.5]])
    X = X[:, None].astype(float)
    upstream = np.random.default_rng(0).normal(size=(len(X), 1, 2))
    expected, _ = everything(reference, net, X, upstream)
    found, _ = everything(passes, net, X, upstream)
    assert_equal(found, expected, "float64")


@pytest.mark.parametrize(("delay", "leaky"), [(0, True), (1, False), (3, True)])
def test_time(gpu, delay, leaky):
    """Delays, loops and leaky potentials; the state goes on, and gradients come back through time."""
    smooth = ("tanh", "sigmoid", "identity", "softplus", "sin")
    net = random_network(13, activations=smooth, delay=delay, leaky=leaky, density=0.4)
    check(net, 5, steps=6)
    X, upstream = samples(net, 5, 9, seed=1)
    first = {b: everything(b, net, X[:, :4], upstream[:, :4])[1] for b in (reference, passes)}
    last = {}
    for b, held in first.items():
        options = {"state": held.state, "constant": True}
        last[b], held.late = everything(b, net, X[:, 4:], upstream[:, 4:], **options)
    assert_equal(last[passes], last[reference], "float64")
    # Back over the later steps, then on to the earlier ones.
    totals = {}
    for b, held in first.items():
        plan = net.plan
        later = b.backward(plan, held.late.run, upstream[:, 4:], False, None, False)
        b.backward(plan, held.run, upstream[:, :4], True, later, False)
        totals[b] = {"grad": net.connections.grad.copy(), "bias": (net.neurons - net.inputs).bias_grad.copy()}
    assert_equal(totals[passes], totals[reference], "float64")


@pytest.mark.parametrize("kinds", [tuple(AGGREGATIONS), ("sum", "max")])
def test_special_aggregations_through_time(gpu, kinds):
    """Terms from earlier steps, and neurons whose potential leaks."""
    check(random_network(3, activations=("tanh",), aggregations=kinds, delay=2, leaky=True, density=0.5), 4, steps=5)


def test_gradients_add_up(gpu):
    """As over the pieces of a large batch."""
    for aggregations in (LINEAR, ("sum", "max")):
        net = random_network(2, aggregations=aggregations)
        X, upstream = samples(net, 20)
        whole, _ = everything(passes, net, X, upstream)
        everything(passes, net, X[:7], upstream[:7])
        parts, _ = everything(passes, net, X[7:], upstream[7:], add=True)
        for name in ("grad", "bias_grad"):
            np.testing.assert_allclose(parts[name], whole[name], rtol=1e-11, atol=1e-13)


def test_memory_is_taken_over(gpu, cupy):
    """A pass of the same shape uses the arrays of the one before, whatever they hold."""
    net = random_network(4, delay=1)
    X, upstream = samples(net, 6, 4)
    expected, held = everything(passes, net, X, upstream)
    for array in held.run._buffers.values():
        if array.dtype == np.float64:
            array.fill(np.nan)
    found, again = everything(passes, net, X, upstream, reuse=held.run)
    assert again.run.buffer("acts") is held.run.buffer("acts")
    assert_equal(found, expected, "float64")
    assert passes.footprint(net.plan, 6, 4, True) <= again.run.nbytes


def test_infinite_values_stay_where_they_are(gpu):
    """Neither the entries behind a row nor the samples that fill up a row carry anything over."""
    net = ng.Network(dtype="float32", backend="reference")
    x = net.add_inputs(9)
    hidden = net.add_neurons(9)
    for i in range(9):  # rows of 1 to 9 entries, each beside the next
        net.connect(x[: i + 1], hidden[i], weight=1.0)
    net.connect(hidden, net.add_outputs(1), weight=1.0)
    X = np.ones((5, 1, 9), np.float32)
    X[1, 0, 4] = np.inf
    X[3, 0, 8] = np.nan
    with np.errstate(invalid="ignore"):
        expected = reference.forward(net.plan, X)
    run = passes.forward(net.plan, X)
    np.testing.assert_array_equal(run.activations(net.plan.rows), expected.activations(net.plan.rows))


@pytest.mark.parametrize("batch", [3, 140])
def test_the_order_of_threads_does_not_matter(emulated, batch, monkeypatch):
    """The same bits in every order of blocks and threads, cut rows and special neurons included."""
    monkeypatch.setattr(orders, "LONG", 16)
    monkeypatch.setattr(orders, "CHUNK", 8)
    net = random_network(
        6, sizes=(20, 12, 3), dtype="float32", aggregations=("sum", "sum", "mean", "max"), delay=1, leaky=True
    )
    X, upstream = samples(net, batch, 2)

    def run():
        return tuple(everything(passes, net, X, upstream)[0].values())

    emulated.in_orders(run)


def test_inputs_and_gradients_of_other_kinds(gpu, cupy):
    """Arrays on the device, lists of lists made arrays, and views with gaps."""
    net = random_network(9)
    X, upstream = samples(net, 6)
    expected, _ = everything(passes, net, X, upstream)
    wide = np.repeat(X, 2, axis=2)[..., ::2]
    for given, gradient in ((cupy.asarray(X), cupy.asarray(upstream)), (wide, np.asfortranarray(upstream))):
        found, _ = everything(passes, net, given, gradient)
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("ld", [4, 8, 12, 36, 64, 68, 128, 132, 256, 512, 600, 1024, 5000])
def test_shapes_cover_all_columns(ld):
    """The pieces that a launch is cut into hold every column, and no warp is idle."""
    lanes, pieces, warps = rows.backward_shape(ld)
    if ld <= 128:
        assert 4 * lanes >= ld and pieces == warps == 1
    else:
        assert lanes == 32 and warps <= rows.TOGETHER
        assert 128 * pieces * (warps - 1) < ld
    assert rows.forward_lanes(ld) in (1, 2, 4, 8, 16, 32)
