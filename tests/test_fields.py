"""Receptive fields and pooling against PyTorch, a naive loop and counts made by hand."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import neurograph as ng
from neurograph.topologies import (
    adaptive_pool,
    box,
    dilated,
    disk,
    fields,
    fovea,
    global_pool,
    pool,
    ring,
    subset,
)

TOLERANCE = {"float32": {"rtol": 1e-5, "atol": 1e-5}, "float64": {"rtol": 1e-10, "atol": 1e-10}}


def parameters(net, group):
    """Values, gradients and numbers of the parameters of a group's connections, in ascending order of the numbers."""
    conns = group.incoming
    numbers, first = np.unique(conns.parameter, return_index=True)
    return conns.weight[first], conns.grad[first], numbers


def naive(X, shape, channels, field_at, places, kernel, bias):
    """Fields as six loops; `kernel` is a dictionary (channel out, channel in, dy, dx) -> weight."""
    images = X.reshape(len(X), *shape)
    out = np.zeros((len(X), channels, len(places)))
    for c in range(channels):
        for p, (y, x) in enumerate(places):
            out[:, c, p] = bias[c]
            for dy, dx in field_at(c, y, x):
                if 0 <= y + dy < shape[1] and 0 <= x + dx < shape[2]:
                    for i in range(shape[0]):
                        out[:, c, p] += kernel[c, i, dy, dx] * images[:, i, y + dy, x + dx]
    return np.maximum(out, 0).reshape(len(X), -1)


# -- offsets -----------------------------------------------------------------------------------------------------------


def test_makers_by_hand():
    assert box(3).tolist() == [[-1], [0], [1]]
    assert box(1, 4).tolist() == [[0, -1], [0, 0], [0, 1], [0, 2]]
    assert disk(0).tolist() == [[0, 0]]
    assert len(disk(1)) == 5 and len(disk(np.sqrt(2))) == 9
    assert {tuple(o) for o in disk(2).tolist()} == {
        (y, x) for y in range(-3, 4) for x in range(-3, 4) if y * y + x * x <= 4
    }
    assert {tuple(o) for o in ring(2, 3).tolist()} == {
        (y, x) for y in range(-3, 4) for x in range(-3, 4) if 4 <= y * y + x * x <= 9
    }
    assert dilated(box(3, 3), (1, 2))[:, 1].tolist() == [-2, 0, 2] * 3
    some = subset(box(5, 5), 7, seed=3)
    assert len({tuple(o) for o in some.tolist()} & {tuple(o) for o in box(5, 5).tolist()}) == 7
    assert (subset(box(5, 5), 7, seed=3) == some).all() and (subset(box(5, 5), 7, seed=4) != some).any()


def test_a_fovea_grows_with_the_distance():
    field = fovea((10, 10), radius=1, growth=0.5)
    assert field(10, 10).tolist() == disk(1).tolist()
    assert field(10, 14).tolist() == disk(3).tolist() == field(6, 10).tolist()
    sizes = [len(field(10, 10 + d)) for d in range(12)]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize(
    "make",
    [
        lambda: box(),
        lambda: box(0, 3),
        lambda: box(2.5),
        lambda: disk(-1),
        lambda: disk(float("nan")),
        lambda: ring(3, 2),
        lambda: ring(0.2, 0.8),
        lambda: dilated(box(3, 3), 0),
        lambda: dilated(box(3, 3), (1, 2, 3)),
        lambda: subset(box(2, 2), 5),
        lambda: subset(box(2, 2), 0),
        lambda: fovea((1, 2, 3)),
        lambda: fovea((1, 2), radius=-1),
        lambda: fovea((1, 2), growth=float("inf")),
    ],
)
def test_makers_refuse(make):
    with pytest.raises(ng.InvalidValueError):
        make()


# -- fields against PyTorch --------------------------------------------------------------------------------------------

CONVOLUTIONS = [
    # shape, channels, kernel, stride, padding, dilation, groups
    ((1, 9, 8), 3, (3, 3), 1, 0, 1, 1),
    ((2, 9, 8), 4, (3, 3), 1, 1, 1, 1),
    ((2, 9, 8), 4, (2, 4), (2, 1), (1, 2), 1, 2),
    ((3, 10, 11), 6, (3, 2), (1, 3), (2, 0), (2, 3), 3),
    ((2, 7, 7), 2, (4, 4), 1, "same", 1, 1),
    ((2, 7, 7), 2, (3, 5), 1, "same", 2, 2),
    ((2, 5, 6), 3, (1, 1), 1, 1, 1, 1),  # places outside the image: nothing but the bias
    ((4, 6, 5), 8, (6, 5), 1, 0, 1, 4),
]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_box_is_a_convolution(case, dtype, backend, rng):
    torch = pytest.importorskip("torch")
    shape, channels, kernel, stride, padding, dilation, groups = case
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    conv = torch.nn.Conv2d(shape[0], channels, kernel, dtype=getattr(torch, dtype), **options)
    net = ng.Network(seed=0, dtype=dtype, backend=backend)
    img = net.add_inputs(shape)
    maps = fields(
        net, img, channels, box(*kernel), activation="tanh", weight=conv.weight.detach().numpy(),
        bias=conv.bias.detach().numpy(), **options,
    )  # fmt: skip
    net.mark_outputs(maps)
    X = rng.normal(size=(5, int(np.prod(shape)))).astype(dtype)
    expected = torch.tanh(conv(torch.from_numpy(X).reshape(5, *shape)))
    assert maps.shape == expected.shape[1:]
    outputs = expected.detach().numpy().reshape(5, -1)
    np.testing.assert_allclose(net.predict(X), outputs, **TOLERANCE[dtype])

    Y = rng.normal(size=outputs.shape).astype(dtype)
    loss = torch.nn.functional.mse_loss(expected, torch.from_numpy(Y).reshape(expected.shape), reduction="sum")
    loss.backward()
    net.backward(X, Y, loss=lambda out, y: (float(((out - y) ** 2).sum()), 2 * (out - y)))
    values, grads, numbers = parameters(net, maps)
    assert (np.diff(numbers) == 1).all() and net.n_parameters == values.size + channels
    np.testing.assert_array_equal(values, conv.weight.detach().numpy().ravel())
    scale = max(1, np.abs(grads).max())
    np.testing.assert_allclose(grads / scale, conv.weight.grad.numpy().ravel() / scale, **TOLERANCE[dtype])
    bias_grad = maps.bias_grad.reshape(channels, -1)
    assert (bias_grad == bias_grad[:, :1]).all()
    np.testing.assert_allclose(bias_grad[:, 0] / scale, conv.bias.grad.numpy() / scale, **TOLERANCE[dtype])


@pytest.mark.parametrize(("shape", "dims"), [((2, 12), 1), ((9,), 1), ((2, 5, 4, 6), 3), ((5, 4, 6), 3)])
def test_other_dimensions(shape, dims, rng):
    torch = pytest.importorskip("torch")
    channels_in = shape[0] if len(shape) > dims else 1
    conv = {1: torch.nn.Conv1d, 3: torch.nn.Conv3d}[dims](channels_in, 3, (3,) * dims, stride=2, dtype=torch.float64)
    net = ng.Network(dtype="float64")
    offsets = box(*[3] * dims)
    img = net.add_inputs(shape)
    maps = fields(
        net, img, 3, offsets, stride=2, activation="identity", weight=conv.weight.detach().numpy(),
        bias=conv.bias.detach().numpy(),
    )  # fmt: skip
    net.mark_outputs(maps)
    X = rng.normal(size=(4, img.ids.size))
    expected = conv(torch.from_numpy(X).reshape(4, channels_in, *shape[-dims:])).detach().numpy()
    assert maps.shape == expected.shape[1:]
    np.testing.assert_allclose(net.predict(X), expected.reshape(4, -1), atol=1e-12)


@given(
    st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.integers(1, 3),
    st.integers(0, 3),
    st.integers(1, 2),
)
def test_shapes_are_pytorchs(shape, kernel, stride, padding, dilation):
    """The same shape, or both refuse."""
    torch = pytest.importorskip("torch")
    conv = torch.nn.Conv2d(shape[0], 2, kernel, stride, padding, dilation)
    net = ng.Network(backend="reference")
    img = net.add_inputs(shape)
    before = net.n_neurons
    try:
        expected = conv(torch.zeros(1, *shape)).shape[1:]
    except RuntimeError:
        expected = None
    options = {"stride": stride, "padding": padding, "dilation": dilation, "outside": "drop"}
    if expected is None:
        with pytest.raises(ng.InvalidValueError, match="fits nowhere"):
            fields(net, img, 2, box(*kernel), **options)
        assert net.n_neurons == before
        return
    try:
        maps = fields(net, img, 2, box(*kernel), **options)
    except ng.InvalidValueError as error:  # stride and padding step over the image: every place sees only padding
        assert "no field reads" in str(error)
        return
    assert maps.shape == expected


# -- any shape ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("share", [True, False])
def test_growing_fields_equal_a_naive_loop(share, stride, backend, rng):
    shape, channels, field = (2, 7, 6), 3, fovea((3, 2.5), radius=0.5, growth=0.4)
    net = ng.Network(seed=1, dtype="float64", backend=backend)
    img = net.add_inputs(shape)
    maps = fields(net, img, channels, field, padding="same", stride=stride, share=share, bias=[0.1, -0.2, 0.3])
    net.mark_outputs(maps)
    places = [(y, x) for y in range(0, 7, stride) for x in range(0, 6, stride)]
    assert maps.shape == (3, -(-7 // stride), -(-6 // stride))
    X = rng.normal(size=(4, 84))
    reached = {
        (c, i, *map(int, o))
        for c in range(3)
        for i in range(2)
        for y, x in places
        for o in field(y, x)
        if 0 <= y + o[0] < 7 and 0 <= x + o[1] < 6
    }
    if share:
        kernel = dict(zip(sorted(reached), parameters(net, maps)[0].tolist(), strict=True))
        expected = naive(X, shape, channels, lambda c, y, x: field(y, x).tolist(), places, kernel, [0.1, -0.2, 0.3])
        np.testing.assert_allclose(net.predict(X), expected, atol=1e-12)
        assert net.n_parameters == len(reached) + 3
    else:
        assert net.n_parameters == net.n_connections + len(maps)
        assert len(np.unique(maps.incoming.weight)) == net.n_connections
        W = np.zeros((84, len(maps)))
        conns = maps.incoming
        W[conns.source, conns.target - 84] = conns.weight
        np.testing.assert_allclose(net.predict(X), np.maximum(X @ W + maps.bias, 0), atol=1e-12)


def test_every_channel_its_own_shape(backend, rng):
    shapes = [disk(1), ring(1, 2), box(1, 3), subset(box(5, 5), 6, seed=2), disk(1)]
    net = ng.Network(seed=0, dtype="float64", backend=backend)
    img = net.add_inputs((2, 8, 9))
    maps = fields(net, img, 5, shapes, bias=0.1)
    net.mark_outputs(maps)
    assert maps.shape == (5, 4, 5)  # ring(1, 2) and the 5 x 5 box reach two pixels
    places = [(y, x) for y in range(2, 6) for x in range(2, 7)]
    labels = [(c, i, *map(int, o)) for c in range(5) for i in range(2) for o in shapes[c]]
    values, _, numbers = parameters(net, maps)
    assert len(labels) == len(numbers) == numbers[-1] - numbers[0] + 1
    kernel = dict(zip(sorted(labels), values.tolist(), strict=True))
    X = rng.normal(size=(3, 144))
    expected = naive(X, (2, 8, 9), 5, lambda c, y, x: shapes[c].tolist(), places, kernel, [0.1] * 5)
    np.testing.assert_allclose(net.predict(X), expected, atol=1e-12)
    mixed = fields(net, img, 2, [disk(1), lambda y, x: disk(x % 2)], padding="same")
    assert mixed.shape == (2, 8, 9) and mixed[1, 4, 4].fan_in == 2 and mixed[1, 4, 5].fan_in == 10


@given(
    st.sets(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=8),
    st.integers(1, 3),
    st.one_of(st.integers(0, 2), st.just("same")),
    st.booleans(),
)
@settings(max_examples=30)
def test_any_offsets_connect_what_they_say(offsets, stride, padding, as_function):
    """The pairs themselves, place by place; functions and arrays agree."""
    height, width = 7, 6
    ys, xs = [dy for dy, _ in offsets], [dx for _, dx in offsets]
    if padding == "same":
        rows, columns = range(0, height, stride), range(0, width, stride)
    else:
        rows = range(-padding - min(ys), height + padding - max(ys), stride)
        columns = range(-padding - min(xs), width + padding - max(xs), stride)
    pairs = {
        ((y + dy) * width + x + dx, i * len(columns) + j)
        for i, y in enumerate(rows)
        for j, x in enumerate(columns)
        for dy, dx in offsets
        if 0 <= y + dy < height and 0 <= x + dx < width
    }
    net = ng.Network(backend="reference")
    img = net.add_inputs((height, width))
    given_offsets = np.array(sorted(offsets))
    what = (lambda y, x: given_offsets) if as_function else given_offsets
    if not pairs:
        with pytest.raises(ng.InvalidValueError):
            fields(net, img, 1, what, stride=stride, padding=padding, outside="drop")
        assert net.n_neurons == height * width and net.n_connections == 0
        return
    maps = fields(net, img, 1, what, stride=stride, padding=padding, outside="drop")
    assert maps.shape == (1, len(rows), len(columns))
    conns = maps.incoming
    assert set(zip(conns.source.tolist(), (conns.target - height * width).tolist(), strict=True)) == pairs
    same_offset = {}
    for number, s, t in zip(conns.parameter, conns.source, conns.target - height * width, strict=True):
        y, x = rows[t // len(columns)], columns[t % len(columns)]
        same_offset.setdefault(int(number), set()).add((s // width - y, s % width - x))
    assert all(len(them) == 1 for them in same_offset.values())
    found = [next(iter(same_offset[number])) for number in sorted(same_offset)]
    assert found == sorted(found) and set(found) <= offsets


def test_order_and_type_of_offsets_do_not_matter():
    one, two = ng.Network(seed=0), ng.Network(seed=0)
    for net, offsets in ((one, disk(1)), (two, [[1.0, 0.0], [0, 0], [0, 1], [-1, 0], [0, -1]])):
        net.mark_outputs(fields(net, net.add_inputs((6, 6)), 2, offsets))
    X = np.random.default_rng(0).normal(size=(3, 36))
    np.testing.assert_array_equal(one.predict(X), two.predict(X))


def test_without_a_bias():
    net = ng.Network(seed=0)
    maps = fields(net, net.add_inputs((5, 5)), 2, box(3, 3), bias=None)
    net.mark_outputs(maps)
    net.backward(np.ones((2, 25)), np.zeros((2, 18)), loss="mse")
    ng.optim.SGD(lr=1.0).step(net)
    assert (maps.bias == 0).all() and maps.bias_frozen.all()
    assert np.unique(maps.incoming.weight).size == 18 and (maps.incoming.grad != 0).any()


# -- one connection ----------------------------------------------------------------------------------------------------


def test_one_connection_of_a_convolution_pruned_and_one_added(backend, rng):
    torch = pytest.importorskip("torch")
    net = ng.Network(seed=0, dtype="float64", backend=backend)
    img = net.add_inputs((1, 6, 6))
    maps = fields(net, img, 1, box(3, 3), activation="identity")
    net.mark_outputs(maps)
    X, Y = rng.normal(size=(4, 36)), rng.normal(size=(4, 16))
    kernel = torch.tensor(parameters(net, maps)[0].reshape(1, 1, 3, 3), requires_grad=True)
    bias = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    # The neuron at place (1, 1) goes without its corner, and gives that weight to the far corner of the image.
    image = torch.from_numpy(X).reshape(4, 1, 6, 6)
    expected = torch.nn.functional.conv2d(image, kernel, bias).reshape(4, 16).clone()
    expected[:, 0] = expected[:, 0] - kernel[0, 0, 0, 0] * image[:, 0, 0, 0] + kernel[0, 0, 0, 0] * image[:, 0, 5, 5]
    torch.nn.functional.mse_loss(expected, torch.from_numpy(Y)).backward()

    corner = net.connection(img[0, 0, 0], maps[0, 0, 0])
    number = corner.parameter
    corner.remove()
    others = net.connections[net.connections.parameter == number]
    assert len(others) == 15
    new = net.add_connections([img[0, 5, 5]], [maps[0, 0, 0]], parameter=others[:1])
    assert new.parameter.tolist() == [number] and net.n_parameters == 10
    np.testing.assert_allclose(net.predict(X), expected.detach().numpy(), atol=1e-12)
    net.backward(X, Y, loss="mse")
    np.testing.assert_allclose(parameters(net, maps)[1], kernel.grad.numpy().ravel(), atol=1e-12)


# -- pooling -----------------------------------------------------------------------------------------------------------

POOLINGS = [
    (dict(size=2), (1, 8, 6)),
    (dict(size=2), (2, 7, 9)),
    (dict(size=3, stride=2), (2, 9, 8)),
    (dict(size=3, stride=2, padding=1), (2, 9, 8)),
    (dict(size=(2, 3), stride=(1, 2), padding=(1, 0)), (2, 5, 8)),
]


@pytest.mark.parametrize(("options", "shape"), POOLINGS, ids=str)
@pytest.mark.parametrize("kind", ["max", "mean"])
def test_pooling_is_pytorchs(kind, options, shape, backend, rng):
    torch = pytest.importorskip("torch")
    layer = (torch.nn.MaxPool2d if kind == "max" else torch.nn.AvgPool2d)(
        options["size"],
        options.get("stride"),
        options.get("padding", 0),
        **({} if kind == "max" else {"count_include_pad": False}),
    )
    _compare(layer, lambda net, maps: pool(net, maps, kind=kind, **options), shape, backend, rng)


@pytest.mark.parametrize(("kind", "name"), [("max", "AdaptiveMaxPool2d"), ("mean", "AdaptiveAvgPool2d")])
def test_adaptive_and_global_pooling_are_pytorchs(kind, name, backend, rng):
    torch = pytest.importorskip("torch")
    layer = getattr(torch.nn, name)
    _compare(layer((3, 4)), lambda net, maps: adaptive_pool(net, maps, (3, 4), kind), (2, 7, 9), backend, rng)
    _compare(layer(4), lambda net, maps: adaptive_pool(net, maps, 4, kind), (2, 3, 5), backend, rng)
    _compare(layer(1), lambda net, maps: global_pool(net, maps, kind), (3, 4, 5), backend, rng)


def _compare(layer, make, shape, backend, rng):
    """A convolution and the pooling behind it: outputs, and the gradient that reaches the convolution."""
    import torch

    conv = torch.nn.Conv2d(shape[0], 2, 1, dtype=torch.float64)
    net = ng.Network(dtype="float64", backend=backend)
    maps = fields(
        net, net.add_inputs(shape), 2, box(1, 1), activation="identity", weight=conv.weight.detach().numpy(),
        bias=conv.bias.detach().numpy(),
    )  # fmt: skip
    pooled = make(net, maps)
    net.mark_outputs(pooled)
    X = rng.normal(size=(3, int(np.prod(shape))))
    expected = layer(conv(torch.from_numpy(X).reshape(3, *shape)))
    assert pooled.shape in (expected.shape[1:], expected.shape[1:2])
    np.testing.assert_allclose(net.predict(X), expected.detach().numpy().reshape(3, -1), atol=1e-12)
    Y = rng.normal(size=(3, len(pooled)))
    torch.nn.functional.mse_loss(expected.reshape(3, -1), torch.from_numpy(Y)).backward()
    net.backward(X, Y, loss="mse")
    np.testing.assert_allclose(parameters(net, maps)[1], conv.weight.grad.numpy().ravel(), atol=1e-12)
    np.testing.assert_allclose(np.unique(maps.bias_grad), np.sort(conv.bias.grad.numpy()), atol=1e-12)


def test_pooling_of_sequences():
    net = ng.Network()
    maps = fields(net, net.add_inputs((2, 11)), 4, box(3))
    assert maps.shape == (4, 9)
    assert pool(net, maps, size=(2,)).shape == (4, 4) and global_pool(net, maps).shape == (4,)
    assert pool(net, net.add_inputs((6, 8)), size=2).shape == (1, 3, 4)


@pytest.mark.parametrize(
    "optimizer", [ng.optim.SGD(lr=0.1, weight_decay=0.1), ng.optim.Adam(lr=0.1)], ids=["sgd", "adam"]
)
def test_pooling_does_not_train(optimizer, rng):
    net = ng.Network(seed=0)
    maps = fields(net, net.add_inputs((6, 6)), 2, box(3, 3))
    pooled = pool(net, maps, kind="mean")
    net.mark_outputs(pooled)
    assert pooled.incoming.frozen.all() and not maps.incoming.frozen.any()
    assert pooled.bias_frozen.all() and not maps.bias_frozen.any()
    before = maps.incoming.weight
    for _ in range(3):
        net.backward(rng.normal(size=(5, 36)), np.ones((5, 8)), loss="mse")
        optimizer.step(net)
    assert (pooled.incoming.weight == 1).all() and (pooled.bias == 0).all()
    assert (maps.incoming.weight != before).all() and (maps.bias != 0).any()
    assert net.n_parameters == 2 * 9 + 2 + 2  # all pooling neurons share one weight and one bias


# -- refused -----------------------------------------------------------------------------------------------------------

REFUSED = {
    "has shape": lambda net, img: fields(net, img[:5], 1, box(3, 3)),
    "must be a Group": lambda net, img: fields(net, [0, 1, 2], 1, box(3, 3)),
    "channels is 0": lambda net, img: fields(net, img, 0, box(3, 3)),
    "fits nowhere": lambda net, img: fields(net, img, 1, box(9, 3)),
    "lies outside": lambda net, img: fields(net, img, 1, [[0, 0], [0, 30]], padding="same"),
    "groups": lambda net, img: fields(net, img, 3, box(3, 3), groups=2),
    "more than once": lambda net, img: fields(net, img, 1, [[0, 0], [0, 1], [0, 0]]),
    "at \\(0, 3\\) hold": lambda net, img: fields(net, img, 1, lambda y, x: [[0, 0], [0, 0]] if x == 3 else [[0, 0]]),
    "3 columns|have 2 columns": lambda net, img: fields(net, img, 1, lambda y, x: [[0, 0, 0]]),
    "no field reads": lambda net, img: fields(net, img, 1, lambda y, x: [[50, 50]], padding="same"),
    "whole numbers": lambda net, img: fields(net, img, 1, [[0, 0.5]]),
    "shape \\(k, 2\\)": lambda net, img: fields(net, img, 1, lambda y, x: None),
    "is empty": lambda net, img: fields(net, img, 1, np.zeros((0, 2), int)),
    "3 fields for 2": lambda net, img: fields(net, img, 2, [disk(1), disk(2), disk(1)]),
    "number of dimensions": lambda net, img: fields(net, img, 2, [box(3, 3), np.array([[1], [2]])]),
    "not a regular array": lambda net, img: fields(net, img, 2, [[0, 0], [1]]),
    "stride": lambda net, img: fields(net, img, 1, box(3, 3), stride=0),
    "padding": lambda net, img: fields(net, img, 1, box(3, 3), padding=-1),
    "padding must be": lambda net, img: fields(net, img, 1, box(3, 3), padding="full"),
    "outside must be": lambda net, img: fields(net, img, 1, box(3, 3), outside="maybe"),
    "unknown activation": lambda net, img: fields(net, img, 1, box(3, 3), activation="rleu"),
    "unknown initializer": lambda net, img: fields(net, img, 1, box(3, 3), weight="hee"),
    "connections need shape|entries": lambda net, img: fields(net, img, 1, box(3, 3), weight=np.ones(8)),
    "bias has shape": lambda net, img: fields(net, img, 2, box(3, 3), bias=[1.0, 2.0, 3.0]),
    "group named": lambda net, img: fields(net, img, 2, box(3, 3), name="image"),
    "group's name": lambda net, img: fields(net, img, 2, box(3, 3), name=3),
    "pool to nothing": lambda net, img: pool(net, img, size=7),
    "half of the window": lambda net, img: pool(net, img, size=3, padding=2),
    'kind must be "max"': lambda net, img: pool(net, img, kind="median"),
    "pooling needs": lambda net, img: pool(net, img[:7]),
    "maps must be a Group": lambda net, img: global_pool(net, 3),
    "size is \\(1, 2, 3, 4\\)|need": lambda net, img: adaptive_pool(net, img, (1, 2, 3, 4)),
    "a group named": lambda net, img: global_pool(net, img, name="image"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused_and_nothing_half_built(message):
    net = ng.Network(seed=0)
    img = net.add_inputs((1, 6, 6), name="image")
    state = net.rng.bit_generator.state
    with pytest.raises(ng.NeurographError, match=message):
        REFUSED[message](net, img)
    assert (net.n_neurons, net.n_connections, net.n_parameters, list(net.groups)) == (36, 0, 0, ["image"])
    assert net.rng.bit_generator.state == state
    fields(net, img, 1, box(3, 3), name="maps")
    assert net.groups["maps"].shape == (1, 4, 4)


def test_an_offset_outside_may_be_dropped():
    net = ng.Network()
    maps = fields(net, net.add_inputs((2, 2)), 1, box(5, 5), padding="same", outside="drop")
    assert maps.shape == (1, 2, 2) and net.n_connections == 16 and net.n_parameters == 9 + 1


# -- frozen biases -----------------------------------------------------------------------------------------------------


def test_frozen_biases(tmp_path, rng):
    net = ng.topologies.layered([3, 4, 2], seed=0)
    hidden, outputs = net.groups["hidden 1"], net.outputs
    hidden.bias_frozen = [True, False, True, False]
    outputs[0].bias_frozen = True
    assert outputs.bias_frozen.tolist() == [True, False] and not outputs[1].bias_frozen
    for _ in range(2):
        net.backward(rng.normal(size=(8, 3)), rng.normal(size=(8, 2)), loss="mse")
        ng.optim.Adam(lr=0.1).step(net)
        net.save(tmp_path / "net.ng")
        net = ng.load(tmp_path / "net.ng")
    assert (net.groups["hidden 1"].bias != 0).tolist() == [False, True, False, True]
    assert (net.outputs.bias != 0).tolist() == [False, True]
    with pytest.raises(ng.InvalidValueError, match="frozen must be True or False"):
        net.outputs.bias_frozen = 1
    with pytest.raises(ng.InvalidValueError, match="frozen"):
        net.outputs.bias_frozen = [True, True, True]


def test_bias_gradients_can_be_assigned():
    net = ng.topologies.layered([2, 3, 1], seed=0)
    net.backward(np.ones((2, 2)), np.zeros((2, 1)))
    net.groups["hidden 1"].bias_grad = [0.5, -0.5, 0.0]
    ng.optim.SGD(lr=1.0).step(net)
    assert net.groups["hidden 1"].bias.tolist() == [-0.5, 0.5, 0.0]
    net.tie(net.groups["hidden 1"], [0, 1, 1], average=True)
    with pytest.raises(ng.InvalidValueError, match="bias_grad"):
        net.groups["hidden 1"].bias_grad = [1.0, 2.0, 3.0]
