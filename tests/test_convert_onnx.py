"""ONNX models of networks and networks of ONNX models, against onnxruntime."""

import sys
import warnings

import hypothesis
import numpy as np
import pytest

import neurograph as ng
from neurograph.functions.activations import ACTIVATIONS
from neurograph.functions.aggregations import AGGREGATIONS
from neurograph.testing import assert_graph_invariants, networks

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

# Without jumps and steep growth: there the last bit of a sum decides about everything behind it.
TAME = (
    *("identity", "relu", "sigmoid", "tanh", "softplus", "gauss", "silu", "selu", "lelu", "abs", "hat", "clamped"),
    *(("leaky_relu", 0.125), ("clipped_relu", 2.0), ("elu", 0.5)),
)


def run(path, *feeds, optimized=True):
    """All outputs of a model for its inputs in their order."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {value.name: feed for value, feed in zip(session.get_inputs(), feeds, strict=True)})


def inputs_for(net, rng, batch=7):
    return rng.normal(size=(batch, net.n_inputs)).astype(net.dtype)


def exported(net, tmp_path):
    path = tmp_path / "model.onnx"
    ng.to_onnx(net, path)
    return path


def assert_same_export(net, tmp_path, X, tolerance=1e-5):
    """The model computes what the network does, and so does the network that is read back from it."""
    path = exported(net, tmp_path)
    expected = net.predict(X)
    (got,) = run(path, X)
    assert got.dtype == net.dtype
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)
    again = ng.from_onnx(path)
    assert_graph_invariants(again)
    np.testing.assert_allclose(again.predict(X), expected, rtol=tolerance, atol=tolerance)
    return again


def normal(scale):
    """Weights from a normal distribution."""
    return lambda fan_in, fan_out, rng: rng.normal(size=len(fan_in)) * scale


def random_network(seed, dtype="float32", hidden=60, aggregations=("sum", "mean", "product", "max", "min")):
    """A random DAG with every aggregation and all tame activations, skip connections and outputs of all kinds."""
    rng = np.random.default_rng(seed)
    net = ng.Network(seed=seed, dtype=dtype)
    x = net.add_inputs(5)
    h = net.add_neurons(
        hidden,
        activation=[TAME[i] for i in rng.integers(0, len(TAME), hidden)],
        aggregation=[str(kind) for kind in rng.choice(aggregations, hidden)],
        bias=rng.normal(size=hidden) * 0.3,
    )
    y = net.add_outputs(4)
    net.connect(x | h, h, density=0.15, weight=normal(0.4))
    net.connect(h, y, density=0.5, weight=normal(0.4))
    net.mark_outputs(h[3:6])
    net.mark_outputs(x[1])
    return net


class TestExport:
    """`to_onnx`."""

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("name", ACTIVATIONS)
    def test_every_activation(self, name, dtype, tmp_path):
        """Far out, at the kinks, with one parameter for all and with one each."""
        default = ACTIVATIONS[name].default
        specs = [name] * 3 if default is None else [(name, 0.5), (name, 1.5), (name, 0.5)]
        for activation in ([specs[0]] * 2, specs):
            net = ng.Network(dtype=dtype)
            x, y = net.add_inputs(1), net.add_outputs(len(activation), activation=activation)
            net.connect(x, y, weight=1.0)
            X = np.concatenate([np.linspace(-4, 4, 33), [-90, -1e-8, 1e-8, 90]])[:, None].astype(dtype)
            # Erf has single precision in onnxruntime.
            precise = dtype == "float64" and name != "gelu"
            assert_same_export(net, tmp_path, X, 1e-12 if precise else 2e-6)

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("aggregation", AGGREGATIONS)
    def test_every_aggregation(self, aggregation, dtype, tmp_path, rng):
        """Any fan-in, with terms that tie."""
        net = ng.Network(dtype=dtype)
        x, y = net.add_inputs(6), net.add_outputs(6, aggregation=aggregation, bias=np.arange(6) / 4)
        net.connect(x, y, density=0.6, weight=lambda i, o, r: r.choice([-1.0, 0.5, 1.0], len(i)))
        X = rng.integers(-2, 3, (20, 6)).astype(dtype)
        again = assert_same_export(net, tmp_path, X, 1e-6)
        # What has no inputs is a constant, whatever it would do with them.
        fed = net.outputs[net.outputs.fan_in > 0]
        assert (again.outputs.aggregation[net.outputs.fan_in > 0] == fed.aggregation).all()

    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_random_dags(self, seed, dtype, tmp_path, rng):
        """Everything mixed, read back neuron by neuron."""
        net = random_network(seed, dtype)
        again = assert_same_export(net, tmp_path, inputs_for(net, rng), 1e-5 if dtype == "float32" else 1e-10)
        assert (again.n_neurons, again.n_connections) == (net.n_neurons, net.n_connections)
        assert again.dtype == net.dtype
        assert sorted(again.connections.weight) == sorted(net.connections.weight)

    @hypothesis.given(net=networks(activations=TAME), seed=hypothesis.strategies.integers(0, 99))
    @hypothesis.settings(max_examples=40)
    def test_networks_of_any_shape(self, net, seed, tmp_path_factory):
        """Also neurons that nothing feeds or that feed nothing."""
        X = inputs_for(net, np.random.default_rng(seed), batch=3)
        assert_same_export(net, tmp_path_factory.mktemp("any"), X, 1e-8)

    def test_columns_keep_their_order(self, tmp_path, rng):
        """Inputs and outputs in another order than the ids."""
        net = ng.Network()
        x, h = net.add_inputs(3), net.add_neurons(4, activation=["tanh", "relu", "tanh", "sin"])
        net.connect(x, h, weight=normal(1.0))
        net.order_inputs([x[2], x[0], x[1]])
        net.mark_outputs([h[3], x[0], h[0], h[2]])
        assert_same_export(net, tmp_path, inputs_for(net, rng))

    def test_a_full_layered_network_is_a_chain_of_gemms(self, tmp_path, rng):
        """What other tools expect to see."""
        path = exported(ng.topologies.layered([4, 3, 2]), tmp_path)
        model = onnx.load(path)
        assert [node.op_type for node in model.graph.node] == ["Gemm", "Relu", "Gemm", "Identity"]
        assert [tuple(c.dims) for c in model.graph.initializer] == [(3, 4), (3,), (2, 3), (2,)]
        (opset,) = model.opset_import
        assert (opset.version, model.ir_version) == (18, 8)

    @pytest.mark.parametrize(("sizes", "density"), [([200, 200, 10], 0.1), ([600, 700, 10], 0.005)])
    def test_the_file_grows_with_the_connections(self, sizes, density, tmp_path, rng):
        """Both as a matrix that is filled when the model is loaded, and gathered by fan-in."""
        net = ng.topologies.layered(sizes, density=density)
        assert_same_export(net, tmp_path, inputs_for(net, rng))
        path = exported(net, tmp_path)
        size = path.stat().st_size
        assert size < 8 * net.n_connections + 12 * net.n_neurons + 20_000
        operators = {node.op_type for node in onnx.load(path).graph.node}
        assert ("MatMul" in operators) == (density < 0.1)
        (got,) = run(path, X := inputs_for(net, rng), optimized=False)
        np.testing.assert_allclose(got, net.predict(X), atol=1e-5)

    def test_what_is_shared_is_stored_once(self, tmp_path, rng):
        """Ties of weights and biases come through, among connections with weights of their own."""
        net = random_network(1, "float64")
        some = net.connections[::3]
        net.tie(some, rng.integers(0, 5, len(some)), average=True)
        hidden = net.neurons[net.neurons.fan_in > 0]
        net.tie(hidden[:20], np.arange(20) // 4, average=True)
        again = assert_same_export(net, tmp_path, inputs_for(net, rng), 1e-10)
        for one in (net, again):
            _, uses = np.unique(one.connections.parameter, return_counts=True)
            assert (uses > 1).sum() == 5 and uses[uses > 1].sum() == len(some)
            _, uses = np.unique(one.neurons.bias_parameter, return_counts=True)
            assert sorted(uses[uses > 1]) == [4] * 5
        path = exported(net, tmp_path)
        model = onnx.load(path)
        for constant in model.graph.initializer:
            if constant.name.startswith("shared_weight"):
                assert numpy_helper.to_array(constant).size == 5

    def test_structure_stays_frozen(self, tmp_path, rng):
        """Pooling has no weights to train, before and after."""
        net = ng.Network()
        x, y = net.add_inputs(4), net.add_outputs(2, aggregation="max")
        net.connect(x[:2], y[0], weight=1.0)
        net.connect(x[2:], y[1], weight=1.0)
        net.connections.frozen, y.bias_frozen = True, True
        again = assert_same_export(net, tmp_path, inputs_for(net, rng))
        assert again.connections.frozen.all() and again.outputs.bias_frozen.all()

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("seed", range(3))
    def test_a_network_that_remembers_is_one_step(self, seed, dtype, tmp_path):
        """The state goes out and in again: delays of several lengths, loops, time constants."""
        rng = np.random.default_rng(seed)
        net = ng.Network(seed=seed, dtype=dtype)
        x = net.add_inputs(3)
        taus = rng.choice([1.0, 2.0, 5.0], 20) if seed else 1.0
        kinds = [str(kind) for kind in rng.choice(["sum", "mean", "max"], 20)]
        h = net.add_neurons(20, activation="tanh", aggregation=kinds, bias=rng.normal(size=20), time_constant=taus)
        net.connect(x | h, h, density=0.1, weight=normal(0.5))
        net.connect(h, h, density=0.1, delay=1, weight=normal(0.3))
        net.connect(x | h, h, density=0.05, delay=3, weight=normal(0.3))
        net.mark_outputs(h[::2])
        path = exported(net, tmp_path)
        X = rng.normal(size=(4, 9, 3)).astype(dtype)
        width = onnx.load(path).graph.input[1].type.tensor_type.shape.dim[1].dim_value
        state, steps = np.zeros((4, width), dtype), []
        for t in range(9):
            y, state = run(path, X[:, t], state)
            steps.append(y)
        np.testing.assert_allclose(np.stack(steps, axis=1), net.predict(X), atol=1e-5)
        again = ng.from_onnx(path)
        assert_graph_invariants(again)
        np.testing.assert_allclose(again.predict(X), net.predict(X), atol=1e-5)
        if seed == 0:
            assert (again.n_neurons, again.n_connections) == (net.n_neurons, net.n_connections)
            assert sorted(again.connections.delay) == sorted(net.connections.delay)

    def test_nothing_to_compute(self, tmp_path):
        """A network without outputs, and no file of it."""
        net = ng.Network()
        net.add_inputs(2)
        with pytest.raises(ng.InvalidValueError, match="mark_outputs"):
            ng.to_onnx(net, tmp_path / "model.onnx")
        assert not list(tmp_path.iterdir())


def graph(nodes, shape, constants=(), inputs=None, outputs=("y",), opset=18, **options):
    """A model of nodes ``(operator, inputs, output, attributes)``."""
    made = [
        helper.make_node(op, ins.split(), out.split(), **(more[0] if more else {})) for op, ins, out, *more in nodes
    ]
    ends = inputs or {"x": ["batch", *shape]}
    return helper.make_model(
        helper.make_graph(
            made,
            "g",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in ends.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in dict(constants).items()],
            **options,
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )


def saved(model, tmp_path):
    path = tmp_path / "given.onnx"
    onnx.save(model, path)
    return path


def assert_same_import(model, tmp_path, rng, tolerance=1e-5, **options):
    """The network computes what the model does, and so does its own export."""
    path = saved(model, tmp_path)
    shapes = [[d.dim_value for d in value.type.tensor_type.shape.dim][1:] for value in model.graph.input]
    feeds = [rng.normal(size=(5, *shape)).astype(np.float32) for shape in shapes]
    expected = np.concatenate([y.reshape(5, -1) for y in run(path, *feeds)], axis=1)
    net = ng.from_onnx(path, **options)
    assert_graph_invariants(net)
    X = np.concatenate([feed.reshape(5, -1) for feed in feeds], axis=1)
    np.testing.assert_allclose(net.predict(X), expected, rtol=tolerance, atol=tolerance)
    (again,) = run(exported(net, tmp_path), X)
    np.testing.assert_allclose(again, expected, rtol=tolerance, atol=tolerance)
    return net


def weights(*shape):
    return np.random.default_rng(len(shape) + sum(shape)).normal(size=shape).astype(np.float32) / 2


W, B = weights(3, 4), weights(3)
IMAGE = (2, 6, 7)
LAYERS = {
    "Gemm": ([("Gemm", "x w b", "y", {"transB": 1})], (4,), {"w": W, "b": B}),
    "Gemm with factors": ([("Gemm", "x w b", "y", {"alpha": 2.0, "beta": 0.5})], (4,), {"w": W.T, "b": B}),
    "Gemm from the left": (
        [("Gemm", "w x b", "t", {"transB": 1}), ("Transpose", "t", "y")],
        (4,),
        {"w": W, "b": B[:, None]},
    ),
    "MatMul": ([("MatMul", "x w", "y")], (4,), {"w": W.T}),
    "MatMul by rows": ([("MatMul", "x w", "t"), ("Add", "t b", "y")], (2, 4), {"w": W.T, "b": B}),
    "MatMul from the left": ([("MatMul", "w x", "y")], (4, 2), {"w": W}),
    "MatMul by a vector": ([("MatMul", "x w", "y")], (2, 4), {"w": W[0]}),
    "Conv": ([("Conv", "x w b", "y")], IMAGE, {"w": weights(4, 2, 3, 2), "b": weights(4)}),
    "Conv, all options": (
        [("Conv", "x w", "y", {"pads": [1, 0, 2, 1], "strides": [2, 1], "dilations": [1, 2], "group": 2})],
        IMAGE,
        {"w": weights(4, 1, 3, 3)},
    ),
    "Conv, same padding": ([("Conv", "x w", "y", {"auto_pad": "SAME_UPPER"})], IMAGE, {"w": weights(3, 2, 2, 3)}),
    "Conv, same below, strides": (
        [("Conv", "x w", "y", {"auto_pad": "SAME_LOWER", "strides": [2, 3]})],
        IMAGE,
        {"w": weights(3, 2, 4, 3)},
    ),
    "Conv in one dimension": ([("Conv", "x w", "y", {"strides": [2]})], (3, 9), {"w": weights(2, 3, 3)}),
    "MaxPool": ([("MaxPool", "x", "y", {"kernel_shape": [2, 3], "strides": [2, 2], "pads": [1, 1, 0, 1]})], IMAGE),
    "MaxPool, rounded up": (
        [("MaxPool", "x", "y", {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1})],
        IMAGE,
    ),
    "AveragePool": ([("AveragePool", "x", "y", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]})], IMAGE),
    "AveragePool, padding counted": (
        [("AveragePool", "x", "y", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1})],
        IMAGE,
    ),
    "global pooling": (
        [("GlobalAveragePool", "x", "a"), ("GlobalMaxPool", "x", "b"), ("Concat", "a b", "y", {"axis": 1})],
        IMAGE,
    ),
    "BatchNormalization": (
        [("BatchNormalization", "x g s m v", "y", {"epsilon": 0.01})],
        IMAGE,
        {"g": weights(2), "s": weights(2) + 1, "m": weights(2) - 1, "v": weights(2) ** 2 + 0.5},
    ),
    "BatchNormalization behind Conv": (
        [("Conv", "x w", "c"), ("BatchNormalization", "c g s m v", "t"), ("Relu", "t", "y")],
        IMAGE,
        {"w": weights(3, 2, 2, 2), "g": B, "s": B + 1, "m": B - 1, "v": B**2 + 0.5},
    ),
    "residual": ([("MatMul", "x w", "t"), ("Add", "t x", "y")], (4,), {"w": weights(4, 4)}),
    "the same twice": ([("Concat", "x x", "t", {"axis": 1}), ("MatMul", "t w", "y")], (4,), {"w": weights(8, 3)}),
    "input and output": ([("Relu", "x", "r"), ("Concat", "x r x", "y", {"axis": 1})], (4,)),
    "differences": (
        [("Relu", "x", "r"), ("Sub", "r x", "a"), ("Sub", "one a", "b"), ("Sub", "b half", "y")],
        (4,),
        {"one": np.float32(1), "half": np.full(4, 0.5, np.float32)},
    ),
    "products": (
        [("Sigmoid", "x", "s"), ("Mul", "s x", "a"), ("Mul", "a c", "b"), ("Neg", "b", "d"), ("Div", "d c", "y")],
        (4,),
        {"c": np.array([1, 2, 3, 4], np.float32)},
    ),
    "several operands": (
        [
            *[("Relu", "x", "r"), ("Tanh", "x", "t"), ("Sum", "x r t", "a"), ("Max", "x t", "b")],
            *[("Min", "x t", "c"), ("Mean", "x r t", "d"), ("Concat", "a b c d", "y", {"axis": 1})],
        ],
        (4,),
    ),
    "reductions": (
        [
            *[("ReduceSum", "x k", "a", {"keepdims": 0}), ("ReduceMean", "x k", "b", {"keepdims": 0})],
            *[("ReduceProd", "x k", "c", {"keepdims": 0}), ("ReduceMax", "x k", "d", {"keepdims": 0})],
            *[("ReduceMin", "x k", "e", {"keepdims": 0}), ("Concat", "a b c d e", "y", {"axis": 1})],
        ],
        (3, 4),
        {"k": np.array([2])},
    ),
    "shapes": (
        [
            *[("Reshape", "x shape", "a"), ("Transpose", "a", "b", {"perm": [0, 2, 1]}), ("Unsqueeze", "b k", "c")],
            *[("Squeeze", "c k", "d"), ("Gather", "d i", "e", {"axis": 2}), ("Slice", "e i0 i1 k step", "f")],
            *[("Split", "f", "g h", {"axis": 2, "num_outputs": 2}), ("Flatten", "g", "m"), ("Flatten", "h", "n")],
            ("Concat", "m n", "y", {"axis": 1}),
        ],
        (12,),
        {
            "shape": np.array([0, 3, -1]),
            "k": np.array([1]),
            "i": np.array([2, 0, 1, 1]),
            "i0": np.array([3]),
            "i1": np.array([-9]),
            "step": np.array([-2]),
        },
    ),
    "a shape that is computed": (
        [
            *[("Shape", "x", "s", {"end": 1}), ("Concat", "s rest", "t", {"axis": 0}), ("Reshape", "x t", "a")],
            *[("Expand", "c t", "e"), ("Add", "a e", "y")],
        ],
        (2, 3),
        {"rest": np.array([6]), "c": weights(1, 6)},
    ),
    "activations": (
        [
            *[("LeakyRelu", "x", "a", {"alpha": 0.2}), ("Elu", "x", "b", {"alpha": 0.7}), ("Selu", "x", "c")],
            *[("Softplus", "x", "d"), ("Sin", "x", "e"), ("Abs", "x", "f"), ("Exp", "x", "g"), ("PRelu", "x p", "h")],
            *[("Clip", "x lo hi", "i"), ("Clip", "x zero hi2", "j"), ("Clip", "x zero", "k"), ("Pow", "x three", "l")],
            *[("Dropout", "x", "m"), ("Cast", "m", "n", {"to": 1}), ("Reciprocal", "g", "o")],
            ("Concat", "a b c d e f g h i j k l n o", "y", {"axis": 1}),
        ],
        (4,),
        {
            "p": np.array([0.1, 0.2, 0.3, 0.4], np.float32),
            **{name: np.float32(value) for name, value in (("lo", -1), ("hi", 1), ("zero", 0), ("hi2", 0.8))},
            "three": np.float32(3),
        },
    ),
    "constants alone": ([("Add", "c c", "r"), ("Add", "x r", "y")], (4,), {"c": weights(4)}),
}


class TestImport:
    """`from_onnx`."""

    @pytest.mark.parametrize("name", LAYERS)
    def test_operators(self, name, tmp_path, rng):
        """Every operator computes what onnxruntime does."""
        nodes, shape, *constants = LAYERS[name]
        assert_same_import(graph(nodes, shape, *constants), tmp_path, rng)

    def test_gelu_as_an_operator(self, tmp_path, rng):
        """From operator set 20 on."""
        net = assert_same_import(graph([("Gelu", "x", "y")], (4,), opset=20), tmp_path, rng)
        assert (net.outputs.activation == "gelu").all()

    @pytest.mark.parametrize("order", [("x", "o", "h"), ("o", "x", "h"), ("x", "h", "o"), ("h", "o", "x")])
    def test_gelu_in_single_steps(self, order, tmp_path, rng):
        """0.5, x and 1 + erf in any order."""
        first, second, third = order
        nodes = [
            *[("Div", "x root", "d"), ("Erf", "d", "e"), ("Add", "e one", "o")],
            *[("Mul", f"{first} {second}", "p"), ("Mul", f"p {third}", "y")],
        ]
        constants = {name: np.float32(v) for name, v in (("root", 2**0.5), ("one", 1), ("h", 0.5))}
        net = assert_same_import(graph(nodes, (4,), constants), tmp_path, rng)
        assert (net.outputs.activation == "gelu").all()

    def test_a_convolution_is_shared_connections(self, tmp_path, rng):
        """As many parameters as the layer has; pooling and residual are frozen."""
        nodes = [
            *[("Conv", "x w b", "c", {"pads": [1, 1, 1, 1]}), ("Add", "c x", "r"), ("Relu", "r", "a")],
            ("MaxPool", "a", "y", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ]
        net = assert_same_import(graph(nodes, (2, 6, 6), {"w": weights(2, 2, 3, 3), "b": B[:2]}), tmp_path, rng)
        conns, frozen = net.connections, net.connections.frozen
        assert len(np.unique(conns[~frozen].parameter)) == 36
        # Each neuron's residual takes a way round, since the kernel's middle connects the pair; then the windows.
        assert frozen.sum() == 2 * 72 + 72
        hidden = net.neurons[~net.neurons.bias_frozen & (net.neurons.fan_in > 0)]
        assert len(hidden) == 72 and len(np.unique(hidden.bias_parameter)) == 2
        assert net.n_neurons == 72 + 72 + 72 + 18

    def test_a_weight_that_two_nodes_use_is_one_parameter(self, tmp_path, rng):
        """A siamese network."""
        nodes = [
            *[("MatMul", "a w", "p"), ("MatMul", "b w", "q"), ("Add", "p c", "r"), ("Add", "q c", "s")],
            ("Sub", "r s", "y"),
        ]
        ends = {"a": ["n", 4], "b": ["n", 4]}
        net = assert_same_import(graph(nodes, (), {"w": W.T, "c": B}, inputs=ends), tmp_path, rng)
        trained = net.connections[~net.connections.frozen]
        assert len(trained) == 24 and len(np.unique(trained.parameter)) == 12
        assert {"a", "b", "y"} <= set(net.groups) and net.groups["b"].ids.tolist() == [4, 5, 6, 7]

    @pytest.mark.parametrize("drop_zeros", [False, True])
    def test_zeros_of_a_pruned_model(self, drop_zeros, tmp_path, rng):
        """Connections, unless they are not wanted."""
        dense, kernel = weights(6, 3), weights(2, 1, 3)
        dense[rng.random(dense.shape) < 0.5], kernel[0, 0, 1] = 0, 0
        nodes = [("Conv", "x k", "c"), ("Flatten", "c", "f"), ("MatMul", "f w", "y")]
        model = graph(nodes, (1, 5), {"k": kernel, "w": dense})
        net = assert_same_import(model, tmp_path, rng, drop_zeros=drop_zeros)
        kept = (18, 18) if not drop_zeros else (np.count_nonzero(dense), 15)
        assert net.n_connections == sum(kept)
        assert (net.connections.weight == 0).any() != drop_zeros

    def test_sparse_constants(self, tmp_path, rng):
        """What is not stored is no connection."""
        values = numpy_helper.from_array(np.array([1, 0, 3], np.float32), "w")
        places = numpy_helper.from_array(np.array([0, 4, 11]), "i")
        matrix = helper.make_sparse_tensor(values, places, [4, 3])
        model = graph([("MatMul", "x w", "y")], (4,), sparse_initializer=[matrix])
        assert assert_same_import(model, tmp_path, rng).n_connections == 3

    def test_functions_of_other_models(self, tmp_path, rng):
        """They are written out."""
        model = graph([("Relu", "x", "t")], (4,), outputs=("y",))
        model.graph.node.append(helper.make_node("Twice", ["t"], ["y"], domain="other"))
        body = [helper.make_node("Add", ["a", "a"], ["b"])]
        opsets = [helper.make_opsetid("", 18)]
        model.functions.append(helper.make_function("other", "Twice", ["a"], ["b"], body, opsets))
        model.opset_import.append(helper.make_opsetid("other", 1))
        assert_same_import(model, tmp_path, rng)

    def test_a_recurrent_step(self, tmp_path, rng):
        """What an output gives an input takes in the next step; weights may be shared with the present."""
        nodes = [
            *[("MatMul", "x w", "p"), ("MatMul", "h w", "q"), ("Add", "p q", "r"), ("Tanh", "r", "next")],
            *[("Identity", "h", "old"), ("Add", "next g", "y")],
        ]
        ends = {"x": ["n", 3], "h": ["n", 3], "g": ["n", 3]}
        model = graph(nodes, (), {"w": weights(3, 3)}, inputs=ends, outputs=("y", "next", "old"))
        path = saved(model, tmp_path)
        net = ng.from_onnx(path, states={"h": "next", "g": "old"})
        X = rng.normal(size=(4, 6, 3)).astype(np.float32)
        h, g, steps = np.zeros((4, 3), np.float32), np.zeros((4, 3), np.float32), []
        for t in range(6):
            y, h, g = run(path, X[:, t], h, g)
            steps.append(y)
        np.testing.assert_allclose(net.predict(X), np.stack(steps, axis=1), atol=1e-5)
        assert net.n_inputs == 3 and net.connections.delay.max() == 2
        weighted = net.connections[~net.connections.frozen]
        assert len(weighted) == 18 and len(np.unique(weighted.parameter)) == 9

    @pytest.mark.parametrize(
        ("states", "message"),
        [
            ({"k": "y"}, "the input 'k'"),
            ({"h": "z"}, "the output 'z'"),
            ({"h": "y"}, "3 values and come out as 6"),
            ({"h": "old"}, "comes from itself"),
        ],
    )
    def test_states_that_do_not_fit(self, states, message, tmp_path):
        """Names, sizes, and a state that nothing ever changes."""
        nodes = [("Concat", "x h", "y", {"axis": 1}), ("Identity", "h", "old")]
        model = graph(nodes, (), inputs={"x": ["n", 3], "h": ["n", 3]}, outputs=("y", "old"))
        with pytest.raises(ng.InvalidValueError, match=message):
            ng.from_onnx(saved(model, tmp_path), states=states)

    def test_double_precision(self, tmp_path, rng):
        """The network has the model's precision, unless another is asked for."""
        net = random_network(0, "float64")
        path = exported(net, tmp_path)
        assert ng.from_onnx(path).dtype == np.float64 and ng.from_onnx(path, dtype="float32").dtype == np.float32

    def test_an_open_shape_is_asked_for(self, tmp_path, rng):
        """A fully convolutional model has any size."""
        nodes = [("Conv", "x w", "c"), ("GlobalMaxPool", "c", "y")]
        model = graph(nodes, (), {"w": weights(3, 1, 2, 2)}, inputs={"x": ["n", 1, "height", "width"]})
        path = saved(model, tmp_path)
        with pytest.raises(ng.InvalidValueError, match="input_shape"):
            ng.from_onnx(path)
        X = rng.normal(size=(2, 1, 4, 5)).astype(np.float32)
        got = ng.from_onnx(path, input_shape=(1, 4, 5)).predict(X.reshape(2, -1))
        np.testing.assert_allclose(got, run(path, X)[0].reshape(2, -1), atol=1e-5)

    @pytest.mark.parametrize(
        ("nodes", "constants", "message"),
        [
            ([("Softmax", "x", "y")], {}, r"node 'y' \(Softmax\): .*supported are Abs, Add"),
            ([("MatMul", "x t", "y"), ], {}, "both depend on the input"),
            ([("Clip", "x lo hi", "y")], {"lo": np.float32(-2), "hi": np.float32(1)}, "clipping to -2.0..1.0"),
            ([("Erf", "x", "y")], {}, "part of a GELU"),
            ([("Div", "x root", "d"), ("Erf", "d", "e"), ("Relu", "e", "y")], {"root": np.float32(2**0.5)}, "GELU"),
            ([("Div", "x root", "d"), ("Erf", "d", "y")], {"root": np.float32(2**0.5)}, "GELU"),
            ([("Pow", "x p", "y")], {"p": np.float32(1.5)}, "exponent"),
            ([("Selu", "x", "y", {"alpha": 2.0})], {}, "alpha"),
            ([("Div", "x x", "y")], {}, "divisor"),
            ([("Cast", "x", "y", {"to": 7})], {}, "cast"),
            ([("ScatterElements", "c i c", "d", {"reduction": "add"}), ("Add", "x d", "y")],
             {"c": np.ones(4, np.float32), "i": np.arange(4)}, "reduction"),
        ],
    )  # fmt: skip
    def test_what_has_no_counterpart_is_named(self, nodes, constants, message, tmp_path):
        """Operator and node, and what there is instead."""
        nodes = [("Transpose", "x", "t"), *nodes] if nodes[0][1] == "x t" else nodes
        with pytest.raises(ng.NotSupportedError, match=message):
            ng.from_onnx(saved(graph(nodes, (4,), constants), tmp_path))

    def test_a_window_wholly_in_the_padding(self, tmp_path):
        """No neuron without inputs comes of it."""
        model = graph([("MaxPool", "x", "y", {"kernel_shape": [2], "pads": [3, 0]})], (1, 4))
        with pytest.raises(ng.NeurographError, match="padding"):
            ng.from_onnx(saved(model, tmp_path))

    def test_shapes_that_do_not_fit(self, tmp_path):
        """The node is named."""
        model = graph([("Reshape", "x s", "y")], (4,), {"s": np.array([-1, 3])})
        with pytest.raises(ng.InvalidValueError, match=r"node 'y' \(Reshape\)"):
            ng.from_onnx(saved(model, tmp_path))
        model = graph([("Relu", "x", "y")], (), inputs={"x": [8, 4]})
        with pytest.raises(ng.InvalidValueError, match="dynamic batch"):
            ng.from_onnx(saved(model, tmp_path))

    def test_integers_are_no_inputs(self, tmp_path):
        """They are named by their kind."""
        model = graph([("Cast", "x", "y", {"to": 1})], (4,))
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
        with pytest.raises(ng.NotSupportedError, match="float or all double"):
            ng.from_onnx(saved(model, tmp_path))

    def test_files_that_are_no_models(self, tmp_path):
        """Missing, garbage, or a graph that contradicts itself."""
        with pytest.raises(FileNotFoundError, match=r"nowhere\.onnx"):
            ng.from_onnx(tmp_path / "nowhere.onnx")
        (tmp_path / "text.onnx").write_text("no model at all")
        with pytest.raises(ng.FileFormatError, match=r"text\.onnx"):
            ng.from_onnx(tmp_path / "text.onnx")
        with pytest.raises(ng.FileFormatError, match="reads 'missing', which nothing writes"):
            ng.from_onnx(saved(graph([("Relu", "missing", "y")], (4,)), tmp_path))

    def test_without_onnx(self, tmp_path, monkeypatch):
        """What to install is said."""
        monkeypatch.setitem(sys.modules, "onnx", None)
        for call in (lambda: ng.to_onnx(ng.topologies.layered([2, 1]), tmp_path / "m"), lambda: ng.from_onnx("m")):
            with pytest.raises(ng.MissingDependencyError, match=r'pip install "neurograph\[onnx\]"'):
                call()


def lenet(nn):
    """The classic, with a normalization."""
    return nn.Sequential(
        *[nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)],
        *[nn.Conv2d(6, 16, 5), nn.BatchNorm2d(16), nn.LeakyReLU(), nn.AvgPool2d(2)],
        *[nn.Flatten(), nn.Linear(64, 30), nn.ELU(), nn.Linear(30, 20), nn.GELU(), nn.Linear(20, 10)],
    )


def residual_perceptron(nn):
    """A layer that is used twice, with what it read added."""

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.inner, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x):
            h = self.first(x).relu()
            h = h + self.inner(h).tanh()
            return self.last(h + self.inner(h).sigmoid() * h)

    return Residual()


def small(nn):
    """One dimension, and activations that exporters spell out."""
    return nn.Sequential(
        *[nn.Conv1d(3, 4, 3, stride=2, dilation=2), nn.SiLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten()],
        *[nn.Softplus(), nn.Linear(4, 2), nn.Hardtanh(), nn.Linear(2, 2), nn.ReLU6()],
    )


@pytest.mark.parametrize("opset", [13, 17, 20])
@pytest.mark.parametrize(
    ("make", "shape"), [(lenet, (1, 16, 16)), (residual_perceptron, (6,)), (small, (3, 20))], ids=lambda v: str(v)[:14]
)
def test_models_that_pytorch_exports(make, shape, opset, tmp_path, rng):
    """Values, and trained numbers: a parameter of the module is a parameter of the network."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module, path = make(torch.nn).eval(), tmp_path / "given.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (torch.randn(1, *shape),), str(path), input_names=["x"], opset_version=opset,
            dynamo=False, dynamic_axes={"x": {0: "batch"}},
        )  # fmt: skip
    X = rng.normal(size=(4, *shape)).astype(np.float32)
    net = ng.from_onnx(path)
    np.testing.assert_allclose(net.predict(X.reshape(4, -1)), run(path, X)[0], atol=1e-5)
    conns = net.connections
    trained = len(np.unique(conns.parameter[~conns.frozen]))
    biases = net.neurons[~net.neurons.bias_frozen & ~np.isin(net.neurons.ids, net.inputs.ids)]
    trained += len(np.unique(biases.bias_parameter))
    sizes = {name: p.numel() for name, p in module.named_parameters()}
    normalized = {"4.weight", "4.bias"} if make is lenet else set()  # folded into the convolution before
    assert trained == sum(size for name, size in sizes.items() if name not in normalized)
