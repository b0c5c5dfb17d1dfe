"""Quantized networks: against numbers rounded here, float64 networks, and PyTorch's bfloat16."""

import gc
import tracemalloc

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import neurograph as ng
from neurograph import testing
from neurograph.packed import FORMATS, formats, layout

pytestmark = pytest.mark.nojit

NAMES = list(FORMATS)
SMOOTH = [a for a in testing.MIXED if a != "step"]  # a step may turn by a rounding error
JITTED = not numba.config.DISABLE_JIT


def rounded(net, name, per="neuron"):
    """The weights of a network as they should be rounded, connection by connection in float64."""
    weight, target = net.connections.weight.astype(np.float32), net.connections.target
    if name == "fp16":
        return weight.astype(np.float16).astype(np.float64)
    if name == "bf16":
        mantissa, exponent = np.frexp(weight.astype(np.float64))
        return np.ldexp(np.rint(mantissa * 256), exponent - 8)  # rint rounds halves to even
    result = np.zeros(len(weight))
    for row in [target == t for t in np.unique(target)] if per == "neuron" else [slice(None)]:
        largest = np.abs(weight[row]).max(initial=0)
        scale = np.float32(largest / np.float32(127)) if largest else np.float32(1)
        result[row] = np.rint(weight[row] / scale).astype(np.float64) * scale
    return result


def with_rounded_weights(net, name, per="neuron"):
    """The same network in float64 on the reference backend, its weights rounded here."""
    twin = ng.Network(dtype="float64", backend="reference")
    ids = {}
    is_input = np.isin(net.neurons.ids, net.inputs.ids)
    for id in [*net.inputs.ids, *net.neurons.ids[~is_input]]:
        neuron = net.neuron(int(id))
        if len(ids) < net.n_inputs:
            ids[int(id)] = twin.add_inputs(1)[0].id
        else:
            given = dict(
                activation=neuron.activation, aggregation=neuron.aggregation, bias=float(np.float32(neuron.bias))
            )
            ids[int(id)] = twin.add_neurons(1, **given, time_constant=neuron.time_constant)[0].id
    conns = net.connections
    ends = [[ids[int(i)] for i in end] for end in (conns.source, conns.target)]
    twin.add_connections(*ends, weight=rounded(net, name, per), delay=conns.delay)
    twin.mark_outputs([ids[int(i)] for i in net.outputs.ids])
    return twin


def layered(density, sizes=(40, 30, 20, 5), backend="cpu", seed=0, **options):
    net = ng.topologies.layered(list(sizes), density=density, seed=seed, **options)
    rng = np.random.default_rng(seed)
    hidden = net.neurons[sizes[0] :]
    hidden.bias = rng.normal(size=len(hidden)) / 4
    net.backend_name = backend
    return net


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5 * max(1, np.abs(expected).max()))


# -- formats -----------------------------------------------------------------------------------------------------------


def test_bf16_is_pytorchs(rng):
    torch = pytest.importorskip("torch")
    bits = rng.integers(0, 2**32, 20_000, dtype=np.uint64).astype(np.uint32)
    bits[:4000] = (bits[:4000] & 0xFFFF0000) | 0x8000  # halfway between two
    weight = bits.view(np.float32)
    weight = weight[np.isfinite(weight) & ~formats.too_large(weight, FORMATS["bf16"])]
    stored = formats.narrow(weight, FORMATS["bf16"])
    expected = torch.from_numpy(weight).to(torch.bfloat16)
    assert np.array_equal(stored, expected.view(torch.int16).numpy().view(np.uint16))
    assert np.array_equal(formats.widen(stored, FORMATS["bf16"]), expected.float().numpy())


def test_every_half_comes_back(backend):
    """All finite numbers of 16 bits, subnormal ones included, through the kernels."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)].astype(np.float32)
    if not JITTED:
        halves = halves[::97]
    net = ng.Network(backend=backend)
    net.connect(net.add_inputs(1), net.add_outputs(len(halves)), weight=halves)
    small = net.quantize("fp16")
    for samples in (1, 20):
        Y = small.predict(np.ones((samples, 1)))
        assert np.array_equal(Y, np.repeat(halves[None], samples, 0))


@pytest.mark.parametrize("per", ["neuron", "network"])
def test_int8_errs_by_half_a_step(per, rng):
    net = layered(0.5)
    net.connections.weight = rng.normal(size=net.n_connections) * 10.0 ** rng.integers(-3, 3, net.n_connections)
    again = net.quantize("int8", per=per).dequantize()
    key = {
        (int(s), int(t)): w
        for s, t, w in zip(net.connections.source, net.connections.target, net.connections.weight, strict=True)
    }
    for t in np.unique(again.connections.target):
        mine = again.connections[again.connections.target == t]
        was = np.array([key[int(s), int(t)] for s in mine.source])
        largest = np.abs(was if per == "neuron" else net.connections.weight).max()
        assert np.abs(mine.weight - was).max() <= largest / 127 * 0.500001
        if per == "neuron":
            assert np.abs(mine.weight).max() == pytest.approx(largest, rel=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (dict(format="int4"), "unknown format 'int4' of weights; known: bf16, fp16, int8"),
        (dict(format=8), "unknown format 8"),
        (dict(per="layer"), "unknown choice 'layer' of scales; known: per='neuron' or 'network'"),
    ],
)
def test_unknown_names(call, message):
    with pytest.raises(ng.UnknownNameError, match=message):
        layered(1.0).quantize(**call)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("int8", np.nan, r"the weight of connection 7 \(\d+ -> \d+\) is nan \(1 such weights\)"),
        ("bf16", -np.inf, r"connection 7 \(\d+ -> \d+\) is -inf"),
        ("fp16", 65505.0, r"connection 7 \(\d+ -> \d+\) is 65505, but fp16 ends at 65504; clip the weight, or"),
        ("bf16", 3.4e38, "is 3.4e.38, but bf16 ends at 3.39e38"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(name, value, message):
    net = layered(1.0)
    net.graph.connections["weight"][net.connections.slots[7]] = value  # training can do that, an assignment cannot
    with pytest.raises(ng.InvalidValueError, match=message):
        net.quantize(name)
    net.quantize("int8" if np.isfinite(value) else "fp16") if np.isfinite(value) else None


def test_a_bias_that_is_not_finite_is_refused_by_name():
    net = layered(1.0)
    net.graph.neurons["bias"][net.outputs.slots[1]] = np.inf
    with pytest.raises(ng.InvalidValueError, match=f"the bias of neuron {net.outputs.ids[1]} is inf"):
        net.quantize()


def test_float64_beyond_float32_is_refused():
    net = layered(1.0, dtype="float64")
    net.connections[3].weight = 1e300
    with pytest.raises(ng.InvalidValueError, match="is 1e.300 .1 such weights., which is no finite float32"):
        net.quantize("int8")


# -- predictions -------------------------------------------------------------------------------------------------------


@given(
    net=testing.networks(activations=SMOOTH, aggregations=(*testing.AGGREGATIONS, "maxabs", "median")), data=st.data()
)
def test_any_wiring(net, data):
    """Every activation and aggregation on random DAGs, for one sample and for several, on both backends."""
    name, per = data.draw(st.sampled_from(NAMES)), data.draw(st.sampled_from(["neuron", "network"]))
    X = np.linspace(-1, 1, 6 * net.n_inputs).reshape(6, -1).astype(np.float32)
    expected = with_rounded_weights(net, name, per).predict(X)
    if np.abs(expected).max(initial=0) > 1e3:  # cubes of cubes
        return
    for backend in ng.available_backends():
        net.backend_name = backend
        small = net.quantize(name, per=per)
        assert (small.n_neurons, small.n_connections) == (net.n_neurons, net.n_connections)
        np.testing.assert_allclose(small.predict(X), expected, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(small.predict(X[:1]), expected[:1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("density", [1.0, 0.8, 0.3, 0.03])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_layers(name, density, activation, backend, rng):
    """Dense segments whole and with holes, sparse ones; by matrix and by row."""
    net = layered(density, backend=backend, activation=activation)
    twin, small = with_rounded_weights(net, name), net.quantize(name)
    for samples in (1, 7, 14, 16, 70):
        X = rng.normal(size=(samples, 40)).astype(np.float32)
        close(small.predict(X), twin.predict(X))
    close(small(X, batch_size=9), twin.predict(X))


@pytest.fixture
def by_source(monkeypatch):
    """Lines by source wherever they can be, however few connections there are for one."""
    monkeypatch.setattr(layout, "ENOUGH", 0)


def lines_of(small):
    """By which end connections are together: there is one line for each neuron, or for each that is no input."""
    return {small.n_neurons: "source", small.n_neurons - small.n_inputs: "target"}[len(small.arrays["start"]) - 1]


@pytest.mark.usefixtures("by_source")
@given(net=testing.networks(activations=SMOOTH, aggregations=("sum",)), data=st.data())
def test_any_wiring_by_source(net, data):
    name, per = data.draw(st.sampled_from(NAMES)), data.draw(st.sampled_from(["neuron", "network"]))
    X = np.linspace(-1, 1, 40 * net.n_inputs).reshape(40, -1).astype(np.float32)
    X[:, :: data.draw(st.integers(1, 3))] = 0
    expected = with_rounded_weights(net, name, per).predict(X)
    if np.abs(expected).max(initial=0) > 1e3:  # cubes of cubes
        return
    for backend in ng.available_backends():
        net.backend_name = backend
        small = net.quantize(name, per=per)
        for samples in (1, 2, 7, 16, 40):  # every number of lanes, and several panels
            np.testing.assert_allclose(small.predict(X[:samples]), expected[:samples], rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("by_source")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("inputs", "targets", "block", "bytes_of_code", "skips"),
    [(600, 2400, 1, 2, False), (30, 600, 20, 1, True), (30, 90, 3, 1, False)],
)
def test_gaps_of_every_size_by_source(name, inputs, targets, block, bytes_of_code, skips, backend, rng):
    """Sources that reach blocks of targets all over, and one target more somewhere."""
    net = ng.Network(seed=0, backend=backend)
    x, y = net.add_inputs(inputs), net.add_neurons(targets, activation="tanh")
    blocks = np.arange(targets).reshape(-1, inputs, block)
    for s in range(inputs):
        reached = np.union1d(blocks[:, s].ravel(), rng.integers(0, targets, 1))
        weight = rng.normal(size=len(reached))
        net.add_connections(np.full(len(reached), x.ids[s]), y.ids[reached], weight=weight)
    net.mark_outputs(y)
    small = net.quantize(name)
    assert lines_of(small) == "source"
    code = small.arrays["code"]
    assert (code.dtype.itemsize, bool((code == np.iinfo(code.dtype).max).any())) == (bytes_of_code, skips)
    again = small.dequantize(backend="reference")
    assert np.array_equal(edges(again, again.connections.weight), edges(net, rounded(net, name)))
    X = rng.normal(size=(40, inputs)).astype(np.float32)
    for samples in (X[:1], X[:3], X) if backend == "cpu" and JITTED else (X[:2],):
        close(small.predict(samples), again.predict(samples))


@pytest.mark.usefixtures("by_source")
def test_a_skip_by_source_sends_nothing(backend):
    """A skip from an infinite output that ends at a target which is not connected to it."""
    net = ng.Network(backend=backend)
    x, wild, y = net.add_inputs(1), net.add_neurons(2, activation="square"), net.add_outputs(700)
    net.connect(x, wild, weight=[[1e30, 1.0]])
    net.connect(wild[1:], y, weight=1e-30)
    net.add_connections([wild[0].id] * 2, [y[0].id, y[600].id], weight=1.0)
    small = net.quantize("bf16")
    assert lines_of(small) == "source" and (small.arrays["code"] == 255).any()
    for samples in (1, 2, 40):
        with np.errstate(over="ignore"):
            Y = small.predict(np.full((samples, 1), 1e10, np.float32))
        assert np.isinf(Y[:, [0, 600]]).all() and np.isfinite(np.delete(Y, [0, 600], axis=1)).all()


@pytest.mark.usefixtures("by_source")
def test_what_needs_rows_has_rows():
    """Everything but plain sums of one step: means, largest terms, delays and time constants; and dense networks."""
    for change in (dict(aggregation="mean"), dict(aggregation="max"), dict(time_constant=2.0)):
        net = layered(0.3)
        for name, value in change.items():
            setattr(net.neurons[50:55], name, value)
        assert lines_of(net.quantize()) == "target"
    assert lines_of(layered(0.3).quantize()) == "source"
    assert lines_of(layered(1.0, sizes=(784, 300, 10)).quantize()) == "target"
    net = ng.Network()
    x, y = net.add_inputs(3), net.add_outputs(3)
    net.connect(x, y, delay=1)
    assert lines_of(net.quantize()) == "target"


def test_few_connections_have_lines_by_target():
    """A line of each neuron would cost more than the connections."""
    net = ng.topologies.layered([100, 100, 10], density=0.05, seed=0)
    assert lines_of(net.quantize()) == "target"
    assert lines_of(ng.topologies.layered([100, 100, 10], density=0.3, seed=0).quantize()) == "source"


@pytest.mark.usefixtures("by_source")
def test_parts_of_samples_by_source(backend, rng):
    net = layered(0.4, backend=backend, activation="tanh")
    X, small = rng.normal(size=(100, 40)).astype(np.float32), net.quantize("fp16")
    expected = with_rounded_weights(net, "fp16").predict(X)
    for batch_size in (1, 3, 33, 64, 1000):
        close(small.predict(X, batch_size=batch_size), expected)


@pytest.mark.parametrize("density", [1.0, 0.8])
def test_means_of_dense_segments_count_connections(density, backend, rng):
    net = layered(density, backend=backend)
    net.neurons[45:60].aggregation = "mean"
    X = rng.normal(size=(40, 40)).astype(np.float32)
    close(net.quantize("int8").predict(X), with_rounded_weights(net, "int8").predict(X))
    close(net.quantize("bf16").predict(X[:1]), with_rounded_weights(net, "bf16").predict(X[:1]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("width", "count", "bytes_of_code", "by_first"),
    [
        (100_000, 4, 2, False),  # gaps beyond 65,535 now and then
        (60_000, 40, 2, False),
        (9_000, 300, 1, True),  # rows begin anywhere, gaps are small
        (400, 4, 1, True),  # a gap beyond 255 now and then
        (100, 30, 1, True),
        (None, 80, 1, False),  # all begin near one another
    ],
)
def test_gaps_of_every_size(name, width, count, bytes_of_code, by_first, backend, rng):
    n, rows = 150_000, 40
    net = ng.Network(seed=0, backend=backend)
    x, h, y = net.add_inputs(n), net.add_neurons(rows, activation="tanh"), net.add_outputs(3)
    for target in h.ids:
        first = 70_000 if width is None else rng.integers(0, n - width + 1)
        sources = np.sort(rng.choice(width or 300, count, replace=False)) + first
        net.add_connections(x.ids[sources], np.full(count, target), weight=rng.normal(size=count))
    net.connect(h, y)
    small = net.quantize(name)
    assert small.arrays["code"].dtype.itemsize == bytes_of_code
    assert bool(len(small.arrays["first"])) == by_first
    again = small.dequantize(backend="reference")
    assert np.array_equal(edges(again, again.connections.weight), edges(net, rounded(net, name)))
    X = rng.normal(size=(20 if JITTED else 2, n)).astype(np.float32)
    for samples in (X[:1], X):
        close(small.predict(samples), again.predict(samples))


def edges(net, weight):
    """Rows (source, target, weight) by rank of the ids, in one order."""
    ids = net.neurons.ids
    source, target = (np.searchsorted(ids, end) for end in (net.connections.source, net.connections.target))
    order = np.lexsort((source, target))
    return np.stack([source[order], target[order], np.asarray(weight, np.float32)[order]])


@pytest.mark.skipif(not JITTED, reason="the sizes of buffers are the compiled path's")
@pytest.mark.parametrize("density", [1.0, 0.8, 0.2])
def test_buffers_of_any_size(density, monkeypatch, rng):
    """Rows and matrices are decoded in many pieces, and samples run in many."""
    from neurograph.backends.cpu import packed

    net = layered(density, sizes=(60, 70, 50, 4))
    X = rng.normal(size=(100, 60)).astype(np.float32)
    expected = with_rounded_weights(net, "int8").predict(X)
    for scratch, matrix, piece in ((1, 1, 10), (300, 2000, 64), (10**6, 10**6, 10**6)):
        monkeypatch.setattr(packed, "SCRATCH", scratch)
        monkeypatch.setattr(packed, "MATRIX", matrix)
        monkeypatch.setattr(packed, "PIECE", piece)
        close(net.quantize("int8").predict(X), expected)


@pytest.mark.parametrize("leaks", [False, True])
@pytest.mark.parametrize("name", ["int8", "bf16"])
def test_time(name, leaks, backend, monkeypatch, rng):
    """Delays, loops and time constants; the state is carried from window to window."""
    net = ng.Network(seed=1, backend=backend)
    x, h, y = (
        net.add_inputs(3),
        net.add_neurons(6, activation="tanh", time_constant=2.5 if leaks else 1.0),
        net.add_outputs(2),
    )
    net.connect(x, h)
    net.connect(h, h, density=0.5, delay=3)
    net.connect(h, h, density=0.5, delay=1)
    net.connect(x | h, y)
    X = rng.normal(size=(5, 17, 3)).astype(np.float32)
    expected = with_rounded_weights(net, name).predict(X)
    small = net.quantize(name)
    assert small.remembers
    close(small.predict(X), expected)
    close(small.predict(X, batch_size=2), expected)
    if backend == "cpu":
        from neurograph.backends.cpu import packed

        monkeypatch.setattr(packed, "PIECE_BYTES", 1)
        close(small.predict(X), expected)
        monkeypatch.setattr(packed, "SCRATCH", 4)
        close(net.quantize(name).predict(X), expected)
    with pytest.raises(ng.InvalidValueError, match="time"):
        small.predict(X[:, 0])


def test_time_constants_alone(backend, rng):
    net = ng.Network(seed=1, backend=backend)
    x, y = net.add_inputs(3), net.add_outputs(2, time_constant=[1.0, 4.0])
    net.connect(x, y)
    X = rng.normal(size=(2, 9, 3)).astype(np.float32)
    close(net.quantize("fp16").predict(X), with_rounded_weights(net, "fp16").predict(X))


def test_shared_weights_are_expanded(backend, rng):
    net = layered(1.0, sizes=(6, 5, 4), backend=backend)
    net.tie(net.connections, np.arange(net.n_connections) % 3, average=True)
    X = rng.normal(size=(3, 6)).astype(np.float32)
    small = net.quantize("fp16")
    close(small.predict(X), with_rounded_weights(net, "fp16").predict(X))
    assert small.dequantize().n_parameters == net.n_connections + 9


def test_odd_networks(backend):
    """Rows without connections, rows of zeros, outputs that are inputs, and nearly nothing."""
    net = ng.Network(backend=backend)
    x, y = net.add_inputs(2), net.add_outputs(3, bias=[1.0, 2.0, 3.0])
    net.mark_outputs(x)
    small = net.quantize("int8")
    assert small.predict([[5.0, 6.0]]).tolist() == [[1, 2, 3, 5, 6]]
    net.connect(x, y[:1], weight=0.0)
    assert net.quantize("int8").predict([[5.0, 6.0], [7.0, 8.0]]).tolist() == [[1, 2, 3, 5, 6], [1, 2, 3, 7, 8]]
    assert net.quantize("int8").arrays["scale"].tolist() == [1.0, 1.0, 1.0]
    assert net.quantize("int8", per="network").arrays["scale"].tolist() == [1.0]
    alone = ng.Network(backend=backend)
    alone.mark_outputs(alone.add_inputs(2))
    assert alone.quantize("bf16").predict([[1.0, 2.0]]).tolist() == [[1.0, 2.0]]
    empty = ng.Network(backend=backend).quantize("int8")
    assert (empty.n_neurons, empty.n_connections, empty.dequantize().n_neurons) == (0, 0, 0)
    with pytest.raises(ng.InvalidValueError, match="no outputs"):
        empty.predict([[]])


def test_subnormal_weights_do_not_divide_by_zero():
    net = ng.Network()
    net.connect(net.add_inputs(2), net.add_outputs(1), weight=[1e-44, -1e-45])
    assert np.isfinite(net.quantize("int8").predict([[1e30, 1.0]])).all()


def test_one_unbounded_activation_does_not_reach_others(backend):
    """A skip that ends at an infinite output multiplies nothing: zero times infinity would be no number."""
    net = ng.Network(backend=backend)
    x, h, y = net.add_inputs(600), net.add_neurons(301), net.add_outputs(2)
    wild, last = h[254], h[300]  # the wild one is 255 behind the last input
    wild.activation = "square"
    net.connect(x[599], wild, weight=1e30)
    net.connect(x[560:], y[:1], weight=1.0)
    net.connect(last, y[0], weight=1.0)
    net.connect(wild, y[1], weight=1.0)
    X = np.zeros((20, 600), np.float32)
    X[:, 599] = 1e10
    small = net.quantize("bf16")
    assert small.arrays["code"].dtype == np.uint8 and (small.arrays["code"] == 255).any()
    for sample in (X, X[:1]):
        with np.errstate(over="ignore"):
            Y = small.predict(sample)
        assert np.isfinite(Y[:, 0]).all() and np.isinf(Y[:, 1]).all()


def test_x_of_any_kind(rng):
    from scipy import sparse

    net = layered(0.3)
    small = net.quantize("int8")
    X = rng.normal(size=(20, 40)).astype(np.float32)
    X[rng.random(X.shape) < 0.7] = 0
    Y = small.predict(X)
    frozen = X.copy()
    frozen.flags.writeable = False
    for same in (X.astype(np.float64), X.tolist(), np.asfortranarray(X), frozen, sparse.csr_array(X)):
        assert np.array_equal(small.predict(same), Y)
    for bad in (X[:, 1:], X[:0], X[0], np.full_like(X, np.nan)):
        with pytest.raises(ng.InvalidValueError, match="X"):
            small.predict(bad)
    with pytest.raises(ng.InvalidValueError, match="batch_size"):
        small.predict(X, batch_size=0)


@pytest.mark.skipif(not JITTED, reason="one thread runs everything")
@pytest.mark.parametrize("density", [1.0, 0.7, 0.1])
@pytest.mark.parametrize("samples", [1, 6, 40, 700])
def test_any_number_of_threads(density, samples, rng):
    net = layered(density, sizes=(400, 500, 300, 10) if density > 0.1 else (1000, 900, 300, 10))
    small = net.quantize("int8")
    X = rng.normal(size=(samples, net.n_inputs)).astype(np.float32)
    before, results = numba.get_num_threads(), []
    try:
        for threads in range(1, numba.config.NUMBA_NUM_THREADS + 1):
            numba.set_num_threads(threads)
            results.append(small.predict(X))
    finally:
        numba.set_num_threads(before)
    assert all(np.array_equal(result, results[0]) for result in results)
    close(results[0], small.dequantize(backend="reference").predict(X))


# -- copies ------------------------------------------------------------------------------------------------------------


def test_edits_of_the_network_change_nothing(backend, rng):
    net = layered(0.4, backend=backend)
    X = rng.normal(size=(4, 40)).astype(np.float32)
    before = net.predict(X)
    small = net.quantize("int8")
    assert np.array_equal(net.predict(X), before)
    Y = small.predict(X)
    net.prune(net.connections[:100])
    net.neurons[40:].bias = 0.5
    net.connections.weight = 0.25
    net.remove_neurons(net.neurons[45:50])
    assert np.array_equal(small.predict(X), Y)
    close(net.quantize("int8").predict(X), with_rounded_weights(net, "int8").predict(X))  # slots have holes now


def test_a_pruned_network(backend, rng):
    net = layered(1.0, sizes=(30, 40, 5), backend=backend)
    ng.sparsity.prune_lowest(net, fraction=0.9)
    small = net.quantize("int8")
    assert small.n_connections == net.n_connections == 140
    X = rng.normal(size=(50, 30)).astype(np.float32)
    close(small.predict(X), with_rounded_weights(net, "int8").predict(X))


@pytest.mark.parametrize("name", NAMES)
def test_dequantize_has_the_topology_and_the_rounded_weights(name, rng):
    net = layered(0.3)
    net.neurons[41:50].aggregation = "max"
    net.neurons[50:55].activation = ("leaky_relu", 0.25)
    again = net.quantize(name).dequantize(backend="reference")
    assert np.array_equal(edges(again, again.connections.weight), edges(net, rounded(net, name)))
    for column in ("activation", "aggregation", "bias"):
        assert np.array_equal(getattr(again.neurons, column), getattr(net.neurons, column))
    X = rng.normal(size=(3, 40)).astype(np.float32)
    small = net.quantize(name)
    close(small.predict(X), again.predict(X))
    assert np.array_equal(again.quantize(name).arrays["weight"], small.arrays["weight"])  # rounding twice is once


# -- bytes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("density", "name", "most"),
    [(1.0, "int8", 1.1), (0.7, "int8", 1.6), (0.1, "int8", 2.4), (0.1, "bf16", 3.3), (1.0, "fp16", 2.1)],
)
def test_bytes_a_connection(density, name, most):
    """Against 4 bytes a weight of a dense matrix, and 8 a connection of compressed rows: more than 2.5 times fewer."""
    net = layered(density, sizes=(784, 300, 100, 10))
    small = net.quantize(name)
    assert small.nbytes == sum(array.nbytes for array in small.arrays.values())
    assert small.nbytes < most * net.n_connections
    assert 2.5 * small.nbytes < net.nbytes
    if name == "int8":
        assert 2.5 * small.nbytes < (4 if density == 1 else 8) * net.n_connections


def test_nbytes_is_what_the_process_holds():
    net = layered(0.1, sizes=(784, 1000, 10))
    X = np.ones((3, 784), np.float32)
    net.quantize("int8").predict(X)  # whatever is made once
    gc.collect()
    tracemalloc.start()
    try:
        small = net.quantize("int8")
        small.predict(X)
        del net
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert small.nbytes <= held < small.nbytes * 1.05 + 20_000


def test_arrays_cannot_be_changed():
    small = layered(0.5).quantize()
    with pytest.raises(ValueError, match="read-only"):
        small.arrays["weight"][0] = 1


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("density", [1.0, 0.2])
def test_round_trip(name, density, backend, tmp_path, rng):
    net = layered(density, backend=backend)
    net.neurons[41:50].aggregation = "max"
    small = net.quantize(name)
    small.save(tmp_path / "small.ng")
    again = ng.load(tmp_path / "small.ng")
    assert isinstance(again, ng.QuantizedNetwork)
    assert (again.format, again.nbytes, again.backend_name) == (name, small.nbytes, backend)
    assert repr(again) == repr(small)
    X = rng.normal(size=(20, 40)).astype(np.float32)
    assert np.array_equal(again.predict(X), small.predict(X))
    assert again.dequantize().n_connections == net.n_connections
    net.save(tmp_path / "net.ng")
    assert (tmp_path / "small.ng").stat().st_size < (tmp_path / "net.ng").stat().st_size / 2


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "small.ng"
    layered(0.5).quantize().save(path)
    data = path.read_bytes()
    for length in (0, 7, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(ng.FileFormatError, match="truncated"):
            ng.load(path)
    for place in range(0, len(data), 211):
        damaged = bytearray(data)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with pytest.raises(ng.FileFormatError, match=r"small\.ng"):
            ng.load(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("code", lambda a: np.full_like(a, 254)),  # sources beyond the last neuron
        ("code", lambda a: a[:-1]),
        ("weight", lambda a: a[:-1]),
        ("weight", lambda a: a.astype(np.int16)),
        ("start", lambda a: a[::-1].copy()),
        ("start", lambda a: a[1:]),
        ("scale", lambda a: a[:3]),
        ("bias", lambda a: a[:-1]),
        ("outputs", lambda a: a + 1000),
        ("offsets", lambda a: a[:-1]),
        ("offsets", lambda a: a[:0]),
        ("segments", lambda a: a[:-1]),
        ("segments", lambda a: a[:, :3].copy()),
        ("segments", lambda a: a + [0, 0, 10**6, 0, 0, 0]),
        ("segments", lambda a: a + [0, 0, 0, 0, 10**6, 0]),
        ("segments", lambda a: a - [0, 0, 0, 0, 10**6, 0]),
        ("activation", None),
        ("weight", None),
    ],
)
@pytest.mark.parametrize("density", [0.3, 0.45, 1.0])
def test_files_that_contradict_themselves_are_refused(name, change, density, tmp_path):
    """Also with a right checksum: kernels would follow wrong places anywhere."""
    from neurograph import io

    path = tmp_path / "small.ng"
    small = layered(density).quantize()
    assert lines_of(small) == ("source" if density == 0.45 else "target")
    small.save(path)
    arrays, meta = io.load(path)
    before = arrays.pop(name)
    if change is not None:
        arrays[name] = change(before)
        if np.array_equal(arrays[name], before):
            pytest.skip("nothing to change: a dense network has no codes")
    io.save(path, arrays, meta)
    if density == 1.0 and name == "segments" and change is not None and arrays[name].shape == before.shape:
        base = (arrays[name] - before)[0]
        if base[4]:
            pytest.skip("dense segments have no codes to be shifted")
    with pytest.raises(ng.FileFormatError, match=r"small\.ng|contradict|fit together"):
        ng.load(path)


@pytest.mark.parametrize("density", [0.3, 0.45])
def test_a_file_that_names_the_wrong_end_is_refused(density, tmp_path):
    from neurograph import io

    path = tmp_path / "small.ng"
    layered(density).quantize().save(path)
    arrays, meta = io.load(path)
    io.save(path, arrays, {**meta, "by_source": not meta["by_source"]})
    with pytest.raises(ng.FileFormatError, match=r"small\.ng|contradict|fit together"):
        ng.load(path)


@pytest.mark.usefixtures("by_source")
def test_targets_beside_the_rows_are_refused(tmp_path):
    """Lines by source whose targets are inputs, in a file that is right in all else."""
    from neurograph import io

    net = ng.Network()
    net.connect(net.add_inputs(3), net.add_outputs(2), weight=1.0)
    path = tmp_path / "small.ng"
    net.quantize().save(path)
    arrays, meta = io.load(path)
    for base in (-1, 1, 10**6):
        segments = arrays["segments"].copy()
        segments[:, 2] += base
        io.save(path, {**arrays, "segments": segments}, meta)
        with pytest.raises(ng.FileFormatError, match=r"small\.ng|contradict"):
            ng.load(path)
