"""Bad input gets a clear error of the right class and changes nothing."""

import re

import numpy as np
import pytest

import neurograph as ng

pytestmark = pytest.mark.nojit


def snapshot(net):
    """The whole public state, as plain values that compare with ==."""
    conns, neurons = net.connections, net.neurons
    return {
        "neurons": neurons.ids.tolist(),
        "bias": neurons.bias.tolist(),
        "bias_grad": neurons.bias_grad.tolist(),
        "activation": list(neurons.activation),
        "aggregation": list(neurons.aggregation),
        "fans": (neurons.fan_in.tolist(), neurons.fan_out.tolist()),
        "inputs": net.inputs.ids.tolist(),
        "outputs": net.outputs.ids.tolist(),
        "groups": {name: group.ids.tolist() for name, group in net.groups.items()},
        "connections": [
            getattr(conns, name).tolist() for name in ("id", "source", "target", "delay", "weight", "grad", "parameter")
        ],
        "homes": (conns.source_home.tolist(), conns.target_home.tolist()),
        "generations": [sorted(g.tolist()) for g in net.schedule.generations],
        "sizes": (net.n_neurons, net.n_inputs, net.n_outputs, net.n_connections, net.n_parameters),
        "moments": [b.state("adam_m").tolist() for b in net.parameters()] if net.counters else None,
        "counters": dict(net.counters),
        "random": net.rng.bit_generator.state,
        "last pass": [(n.output.tolist(), n.error.tolist()) for n in neurons] if net.last_pass else None,
    }


@pytest.fixture
def net(backend):
    """Inputs 0..2, hidden 3..6, outputs 7..8, trained for two steps; neuron 9 existed once."""
    net = ng.Network(seed=0, dtype="float64", backend=backend)
    x = net.add_inputs(3, name="x")
    h = net.add_neurons(4, activation="tanh", name="h")
    y = net.add_outputs(2, name="y")
    net.connect(x, h)
    net.connect(h, y)
    net.connect(h[0], h[1], weight=0.5)
    net.add_neurons(1)[0].remove()
    opt = ng.optim.Adam(lr=0.01)
    for _ in range(2):
        net.backward(np.ones((2, 3)), np.zeros((2, 2)), loss="mse")
        opt.step(net)
    return net


X, Y = np.ones((2, 3)), np.zeros((2, 2))
BAD_X = np.array([[1.0, 2.0, 3.0], [4.0, np.nan, 6.0]])
INF_X = np.array([[1.0, 2.0, np.inf], [4.0, 5.0, 6.0]])

# what is done, error class, built-in class, words that the message must hold (regular expressions)
CASES = {
    "unknown neuron": (lambda n: n.neuron(42), ng.UnknownNeuronError, KeyError, ["42"]),
    "negative neuron": (lambda n: n.neuron(-1), ng.UnknownNeuronError, KeyError, ["-1"]),
    "unknown neuron in connect": (lambda n: n.connect(42, 7), ng.UnknownNeuronError, KeyError, ["42"]),
    "unknown neuron in add_connections": (
        lambda n: n.add_connections([0, 1], [7, 42]),
        ng.UnknownNeuronError,
        KeyError,
        ["42"],
    ),
    "unknown neuron in group": (lambda n: n.group([3, 42], name="g"), ng.UnknownNeuronError, KeyError, ["42"]),
    "unknown neuron in group.add": (lambda n: n.groups["h"].add([0, 42]), ng.UnknownNeuronError, KeyError, ["42"]),
    "unknown neuron in remove_neurons": (lambda n: n.remove_neurons([3, 42]), ng.UnknownNeuronError, KeyError, ["42"]),
    "unknown neuron in mark_outputs": (lambda n: n.mark_outputs([3, 42]), ng.UnknownNeuronError, KeyError, ["42"]),
    "no such connection": (lambda n: n.connection(0, 7), ng.NeurographError, KeyError, ["0", "7"]),
    "neuron of another network": (
        lambda n: n.connect(ng.Network().add_neurons(1)[0], 7),
        ng.NeurographError,
        Exception,
        ["another network|other network|different network|not of this network"],
    ),
    "group of another network": (
        lambda n: n.connect(ng.Network().add_neurons(2), n.groups["y"]),
        ng.NeurographError,
        Exception,
        ["another network|other network|different network|not of this network"],
    ),
    "connections of another network": (
        lambda n: n.prune(ng.topologies.layered([2, 2], seed=0).connections),
        ng.NeurographError,
        Exception,
        ["another network|other network|different network|not of this network"],
    ),
    "stale neuron": (lambda n: n.connect(9, 7), ng.StaleError, KeyError, ["9", "removed"]),
    "stale neuron among others": (lambda n: n.add_connections([0, 9], [7, 7]), ng.StaleError, KeyError, ["9"]),
    "duplicate": (
        lambda n: n.connect(n.neuron(0), n.neuron(3)),
        ng.DuplicateConnectionError,
        ValueError,
        ["0 -> 3", "exists", "weight"],
    ),
    "duplicate among others": (
        lambda n: n.add_connections([0, 0], [7, 3], weight=1.0),
        ng.DuplicateConnectionError,
        ValueError,
        ["0 -> 3"],
    ),
    "duplicate in the call itself": (
        lambda n: n.add_connections([0, 1, 0], [7, 7, 7]),
        ng.DuplicateConnectionError,
        ValueError,
        ["0 -> 7", "twice"],
    ),
    "cycle": (lambda n: n.connect(7, 3), ng.CycleError, ValueError, ["7", "3", "delay=1"]),
    "cycle through generations": (lambda n: n.connect(4, 3), ng.CycleError, ValueError, ["3", "4", "delay=1"]),
    "cycle among good pairs": (
        lambda n: n.add_connections([0, 5, 8], [7, 6, 4]),
        ng.CycleError,
        ValueError,
        ["4", "8"],
    ),
    "cycle of new connections": (
        lambda n: n.add_connections([5, 6], [6, 5]),
        ng.CycleError,
        ValueError,
        ["5", "6", "delay=1"],
    ),
    "self-loop": (lambda n: n.connect(3, 3), ng.CycleError, ValueError, ["3", "delay=1"]),
    "self-loop in bulk": (lambda n: n.add_connections([0, 3], [7, 3]), ng.CycleError, ValueError, ["3", "delay=1"]),
    "into an input": (lambda n: n.connect(3, 0), ng.InvalidValueError, ValueError, ["0", "input"]),
    "into an input, in bulk": (
        lambda n: n.add_connections([0, 3], [7, 1], weight=1.0),
        ng.InvalidValueError,
        ValueError,
        ["1", "input"],
    ),
    "into an input, groups": (
        lambda n: n.connect(n.groups["h"], n.groups["x"]),
        ng.InvalidValueError,
        ValueError,
        ["input"],
    ),
    "into an input, with delay": (lambda n: n.connect(3, 0, delay=1), ng.InvalidValueError, ValueError, ["input"]),
    "X too narrow": (lambda n: n.predict(np.ones((2, 2))), ng.InvalidValueError, ValueError, ["X", "3", "2"]),
    "X too wide": (lambda n: n.activations(np.ones((2, 5))), ng.InvalidValueError, ValueError, ["X", "3", "5"]),
    "X one-dimensional": (lambda n: n.predict(np.ones(3)), ng.InvalidValueError, ValueError, ["X", "batch"]),
    "X three-dimensional": (lambda n: n.predict(np.ones((2, 2, 3))), ng.NeurographError, Exception, ["X|time"]),
    "X ragged": (lambda n: n.predict([[1.0, 2.0, 3.0], [1.0]]), ng.InvalidValueError, ValueError, ["X"]),
    "X text": (lambda n: n.predict([["a", "b", "c"]]), ng.InvalidValueError, ValueError, ["X"]),
    "X complex": (lambda n: n.predict(np.ones((2, 3)) * 1j), ng.InvalidValueError, ValueError, ["X", "complex"]),
    "X object": (lambda n: n.predict(np.array([[None, 1, 2]])), ng.InvalidValueError, ValueError, ["X"]),
    "Y too wide": (
        lambda n: n.backward(X, np.zeros((2, 3)), loss="mse"),
        ng.InvalidValueError,
        ValueError,
        ["Y", r"\(2, 2\)|2 outputs", "3"],
    ),
    "Y too long": (lambda n: n.backward(X, np.zeros((3, 2)), loss="mse"), ng.InvalidValueError, ValueError, ["Y", "3"]),
    "Y a vector for mse": (lambda n: n.backward(X, np.zeros(2), loss="mse"), ng.InvalidValueError, ValueError, ["Y"]),
    "Y not finite": (
        lambda n: n.backward(X, np.array([[0.0, np.nan], [0.0, 0.0]]), loss="mse"),
        ng.InvalidValueError,
        ValueError,
        ["Y", "nan|NaN|finite"],
    ),
    "label too large": (
        lambda n: n.backward(X, np.array([0, 2]), loss="cross_entropy"),
        ng.InvalidValueError,
        ValueError,
        ["2", "0", "1"],
    ),
    "label negative": (
        lambda n: n.backward(X, np.array([0, -1]), loss="cross_entropy"),
        ng.InvalidValueError,
        ValueError,
        ["-1"],
    ),
    "label fractional": (
        lambda n: n.backward(X, np.array([0, 0.5]), loss="cross_entropy"),
        ng.InvalidValueError,
        ValueError,
        ["label|integer"],
    ),
    "too few labels": (
        lambda n: n.backward(X, np.array([0]), loss="cross_entropy"),
        ng.InvalidValueError,
        ValueError,
        ["1", "2"],
    ),
    "NaN in X": (lambda n: n.predict(BAD_X), ng.InvalidValueError, ValueError, ["row 1", "column 1", "nan|NaN"]),
    "infinity in X": (lambda n: n.predict(INF_X), ng.InvalidValueError, ValueError, ["row 0", "column 2", "inf"]),
    "NaN in X of backward": (
        lambda n: n.backward(BAD_X, Y, loss="mse"),
        ng.InvalidValueError,
        ValueError,
        ["row 1", "column 1"],
    ),
    "NaN in a later piece of X": (
        lambda n: n.predict(BAD_X, batch_size=1),
        ng.InvalidValueError,
        ValueError,
        ["row 1", "column 1"],
    ),
    "both infinities in X": (
        lambda n: n.predict(np.array([[np.inf, -np.inf, 1.0]])),
        ng.InvalidValueError,
        ValueError,
        ["row 0", "column 0", "inf"],
    ),
    "empty batch": (
        lambda n: n.predict(np.ones((0, 3))),
        ng.InvalidValueError,
        ValueError,
        ["empty|no samples|at least"],
    ),
    "empty batch in backward": (
        lambda n: n.backward(np.ones((0, 3)), np.ones((0, 2)), loss="mse"),
        ng.InvalidValueError,
        ValueError,
        ["empty|no samples|at least"],
    ),
    "batch_size of zero": (lambda n: n.predict(X, batch_size=0), ng.InvalidValueError, ValueError, ["batch_size", "0"]),
    "unknown activation": (
        lambda n: n.add_neurons(2, activation="rellu"),
        ng.UnknownNameError,
        ValueError,
        ["rellu", "relu", "tanh", "gelu"],
    ),
    "unknown activation assigned": (
        lambda n: setattr(n.neuron(3), "activation", "rellu"),
        ng.UnknownNameError,
        ValueError,
        ["rellu", "relu"],
    ),
    "unknown activation among good ones": (
        lambda n: setattr(n.groups["h"], "activation", ["relu", "sin", "abs", "rellu"]),
        ng.UnknownNameError,
        ValueError,
        ["rellu"],
    ),
    "parameter for an activation without": (
        lambda n: setattr(n.neuron(3), "activation", ("tanh", 0.5)),
        ng.InvalidValueError,
        ValueError,
        ["tanh"],
    ),
    "unknown aggregation": (
        lambda n: n.add_outputs(1, aggregation="mode"),
        ng.UnknownNameError,
        ValueError,
        ["mode", "sum", "product"],
    ),
    "unknown loss": (
        lambda n: n.backward(X, Y, loss="mean"),
        ng.UnknownNameError,
        ValueError,
        ["mean", "mse", "cross_entropy"],
    ),
    "unknown initializer": (
        lambda n: n.connect(n.groups["x"], n.groups["y"], weight="hee"),
        ng.UnknownNameError,
        ValueError,
        ["hee", "he", "xavier", "zeros"],
    ),
    "unknown initializer for a pair": (
        lambda n: n.connect(0, 7, weight="hee"),
        ng.UnknownNameError,
        ValueError,
        ["hee", "xavier"],
    ),
    "unknown initializer for nothing": (
        lambda n: n.connect(n.groups["x"], n.groups["h"], weight="hee"),
        ng.UnknownNameError,
        ValueError,
        ["hee", "xavier"],
    ),
    "weights for pairs that exist": (
        lambda n: n.connect(n.groups["x"], n.groups["h"], weight=np.ones((4, 3))),
        ng.InvalidValueError,
        ValueError,
        ["weight", "12", "0"],
    ),
    "density above one": (
        lambda n: n.connect(n.groups["x"], n.groups["y"], density=1.5),
        ng.InvalidValueError,
        ValueError,
        ["density", "1.5", "0", "1"],
    ),
    "density below zero": (
        lambda n: n.connect(n.groups["x"], n.groups["y"], density=-0.1),
        ng.InvalidValueError,
        ValueError,
        ["density", "-0.1"],
    ),
    "density NaN": (
        lambda n: n.connect(n.groups["x"], n.groups["y"], density=float("nan")),
        ng.InvalidValueError,
        ValueError,
        ["density", "nan"],
    ),
    "arrays of unequal length": (
        lambda n: n.add_connections([0, 1], [7]),
        ng.InvalidValueError,
        ValueError,
        ["2", "1", "length|equal|as many|many"],
    ),
    "weights of unequal length": (
        lambda n: n.add_connections([0, 1], [7, 7], weight=[1.0, 2.0, 3.0]),
        ng.InvalidValueError,
        ValueError,
        ["weight", "3", "2"],
    ),
    "delays of unequal length": (
        lambda n: n.add_connections([0, 1], [7, 7], delay=[1, 1, 1]),
        ng.InvalidValueError,
        ValueError,
        ["delay"],
    ),
    "negative delay": (lambda n: n.connect(0, 7, delay=-1), ng.InvalidValueError, ValueError, ["delay", "-1"]),
    "delay of half a step": (lambda n: n.connect(0, 7, delay=0.5), ng.InvalidValueError, ValueError, ["delay", "0.5"]),
    "assigned weights of unequal length": (
        lambda n: setattr(n.connections, "weight", np.ones(3)),
        ng.InvalidValueError,
        ValueError,
        ["3", "21"],
    ),
    "assigned biases of unequal length": (
        lambda n: setattr(n.groups["h"], "bias", np.ones(3)),
        ng.InvalidValueError,
        ValueError,
        ["3", "4"],
    ),
    "biases of unequal length": (lambda n: n.add_neurons(4, bias=[1, 2]), ng.InvalidValueError, ValueError, ["bias"]),
    "activations of unequal length": (
        lambda n: n.add_neurons(4, activation=["tanh", "relu"]),
        ng.InvalidValueError,
        ValueError,
        ["activation", "4", "2"],
    ),
    "NaN weight": (lambda n: n.connect(0, 7, weight=float("nan")), ng.InvalidValueError, ValueError, ["weight", "nan"]),
    "NaN weights assigned": (
        lambda n: setattr(n.connections, "weight", np.full(21, np.nan)),
        ng.InvalidValueError,
        ValueError,
        ["weight", "nan|finite"],
    ),
    "infinite bias": (lambda n: n.add_neurons(1, bias=np.inf), ng.InvalidValueError, ValueError, ["bias", "inf"]),
    "text weight": (lambda n: setattr(n.connections[0], "weight", "big"), ng.InvalidValueError, ValueError, ["weight"]),
    "complex weights": (
        lambda n: setattr(n.connections, "weight", np.ones(21) * 1j),
        ng.InvalidValueError,
        ValueError,
        ["weight", "complex"],
    ),
    "fractional ids": (
        lambda n: n.add_connections([0.5], [7]),
        ng.InvalidValueError,
        ValueError,
        ["0.5|integer|float"],
    ),
    "bool ids": (
        lambda n: n.add_connections([True, False], [7, 7]),
        ng.InvalidValueError,
        ValueError,
        ["bool|integer"],
    ),
    "negative count": (lambda n: n.add_neurons(-1), ng.InvalidValueError, ValueError, ["-1"]),
    "fractional count": (lambda n: n.add_inputs(1.5), ng.InvalidValueError, ValueError, ["1.5"]),
    "name taken": (lambda n: n.add_neurons(1, name="h"), ng.InvalidValueError, ValueError, ["h", "name|taken|exists"]),
    "group name taken": (lambda n: n.group([0], name="h"), ng.InvalidValueError, ValueError, ["h"]),
    "bias per neuron of a wrong shape": (
        lambda n: setattr(n.groups["h"], "bias", np.ones((4, 1))),
        ng.InvalidValueError,
        ValueError,
        ["bias"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(net, case):
    """The right class, also as the built-in; the message names thing and value; the network is as it was."""
    action, error, builtin, words = CASES[case]
    before = snapshot(net)
    with pytest.raises(error) as caught:
        action(net)
    assert isinstance(caught.value, ng.NeurographError) and isinstance(caught.value, builtin)
    message = str(caught.value)
    missing = [w for w in words if not re.search(w, message)]
    assert not missing, f"the message lacks {missing}: {message}"
    assert len(message) > 25 and not message.startswith(("'", '"')), message
    assert snapshot(net) == before
    from neurograph.testing import assert_graph_invariants

    assert_graph_invariants(net)
    net.backward(X, Y, loss="mse")


def test_refused_edits_do_not_disturb_training(backend):
    """Trained with and without refused edits in between: the same weights, bit by bit."""

    def trained(disturb):
        net = ng.Network(seed=0, dtype="float64", backend=backend)
        x, h, y = net.add_inputs(3, name="x"), net.add_neurons(4, name="h"), net.add_outputs(2, name="y")
        net.connect(x, h, density=0.7)
        net.connect(h, y)
        net.connect(h[0], h[1], weight=0.5)
        net.add_neurons(1)[0].remove()
        opt = ng.optim.Adam(lr=0.05)
        for step in range(6):
            net.backward(X + step, Y, loss="mse")
            if disturb:
                for action, *_ in CASES.values():
                    with pytest.raises(ng.NeurographError):
                        action(net)
                net.backward(X + step, Y, loss="mse")
            opt.step(net)
            net.connect(x, h, density=0.5)
        return net.connections.weight.tobytes()

    assert trained(False) == trained(True)


def test_no_outputs(backend):
    """A network without outputs says what to call."""
    net = ng.Network(seed=0, backend=backend)
    net.connect(net.add_inputs(2), net.add_neurons(2))
    for run in (lambda: net.predict(np.ones((1, 2))), lambda: net.backward(np.ones((1, 2)), np.ones((1, 0)))):
        with pytest.raises(ng.InvalidValueError, match="output"):
            run()


def test_no_inputs(backend):
    """X of width 0 is the only X for a network without inputs."""
    net = ng.Network(seed=0, backend=backend)
    net.add_outputs(1, bias=2.0)
    np.testing.assert_array_equal(net.predict(np.ones((3, 0))), np.full((3, 1), 2.0))
    with pytest.raises(ng.InvalidValueError, match="X"):
        net.predict(np.ones((3, 1)))


@pytest.mark.parametrize(
    "arguments", [{"dtype": "float16"}, {"dtype": "int64"}, {"dtype": "nonsense"}, {"backend": "tpu"}]
)
def test_network_arguments(arguments):
    """Unknown dtype or backend: the message lists what there is."""
    with pytest.raises(ng.NeurographError) as caught:
        ng.Network(**arguments)
    message = str(caught.value)
    assert next(iter(arguments.values())) in message and ("float32" in message or "reference" in message)


def test_wrong_dtype_is_converted_if_lossless_else_refused(backend):
    """The issue's rule, for X, weights and biases of a float32 network."""
    net = ng.Network(seed=0, dtype="float32", backend=backend)
    x, y = net.add_inputs(2), net.add_outputs(1)
    net.connect(x, y, weight=1.0)
    exact = np.array([[0.5, 3.0]])
    for lossless in (exact, exact.astype("float32"), exact.astype("float16"), [[1, 3]], np.array([[1, 3]], "uint8")):
        assert net.predict(lossless).dtype == np.float32
    for dtype in ("int64", "uint8", "bool"):
        net.predict(np.ones((2, 2), dtype))
    with pytest.raises(ng.InvalidValueError, match="X"):
        net.predict(np.array([[2**53 + 1, 0]], dtype="int64"))
    with pytest.raises(ng.InvalidValueError, match="X"):
        net.predict(np.array([[1e300, 0.0]]))
    with pytest.raises(ng.InvalidValueError, match="weight"):
        net.connections.weight = np.array([1e300, 0.0])
    with pytest.raises(ng.InvalidValueError, match="bias"):
        y.bias = np.array([1e300])


def test_large_numbers_are_no_bad_input(backend):
    """Finite values near the end of float32 pass, without a warning from the check itself."""
    net = ng.Network(seed=0, dtype="float32", backend=backend)
    x, y = net.add_inputs(2), net.add_outputs(1)
    net.connect(x, y, weight=1e-30)
    np.testing.assert_allclose(net.predict(np.full((4, 2), 3e38, "float32")), 6e8, rtol=1e-5)


@pytest.fixture
def saved(tmp_path):
    """A trained network and the file it was saved to."""
    net = ng.topologies.random_dag(4, 12, 3, density=0.4, seed=0)
    net.backward(np.ones((2, 4), "float32"), np.array([0, 1]), loss="cross_entropy")
    ng.optim.Adam().step(net)
    path = tmp_path / "model.ng"
    net.save(path)
    return net, path


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 9, 100, 0.5, -1])
def test_truncated_file(saved, keep):
    """However much of the file is left, the error names the file."""
    _, path = saved
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)] if isinstance(keep, float) else data[:keep])
    with pytest.raises(ng.FileFormatError) as caught:
        ng.load(path)
    assert isinstance(caught.value, ValueError) and path.name in str(caught.value)


def test_altered_file(saved):
    """One changed byte, anywhere, is found."""
    _, path = saved
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in [0, 8, 20, len(data) // 2, len(data) - 1, *rng.integers(0, len(data), 40).tolist()]:
        altered = bytearray(data)
        altered[place] ^= 0x15
        path.write_bytes(bytes(altered))
        with pytest.raises(ng.FileFormatError):
            ng.load(path)
    path.write_bytes(data + b"more")
    with pytest.raises(ng.FileFormatError):
        ng.load(path)
    path.write_bytes(data)
    ng.load(path)


def test_file_of_another_kind(tmp_path):
    """Text, a NumPy file, a safetensors file of someone else's, a folder, nothing."""
    from safetensors.numpy import save_file

    text, array, tensors = tmp_path / "a.txt", tmp_path / "a.npy", tmp_path / "a.safetensors"
    text.write_text("hello, this is no network at all\n" * 10)
    np.save(array, np.ones(100))
    save_file({"weight": np.ones(10)}, tensors)
    for path in (text, array, tensors):
        with pytest.raises(ng.FileFormatError, match=path.name):
            ng.load(path)
    with pytest.raises((FileNotFoundError, ng.NeurographError), match="nowhere"):
        ng.load(tmp_path / "nowhere.ng")


def test_a_failed_save_leaves_the_old_file(saved, monkeypatch):
    """Saving is atomic: a crash while writing leaves the file that was there, and no litter."""
    import os

    net, path = saved
    before = path.read_bytes()
    net.connections.weight = 0.0

    def crash(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", crash)
    monkeypatch.setattr(os, "rename", crash)
    with pytest.raises(OSError, match="disk full"):
        net.save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [path.name]


def test_diverging_training_names_epoch_step_and_neuron(backend):
    """A loss that turns NaN or infinite stops the training."""
    net = ng.Network(seed=0, dtype="float32", backend=backend)
    x, h, y = net.add_inputs(2), net.add_neurons(3, activation="exp", name="steep"), net.add_outputs(1)
    net.connect(x, h, weight=1.0)
    net.connect(h, y, weight=1.0)
    trainer = ng.Trainer(net, loss="mse", optimizer=ng.optim.SGD(lr=1e30))
    with pytest.raises(ng.DivergedError) as caught:
        trainer.fit(np.ones((8, 2), "float32"), np.zeros((8, 1), "float32"), epochs=5, batch_size=2, progress=False)
    assert isinstance(caught.value, ArithmeticError)
    message = str(caught.value)
    for word in ("epoch", "step", "neuron"):
        assert re.search(rf"{word} \d+", message), message


def test_trainer_refuses_bad_data_before_the_first_step(backend):
    """Labels out of range or NaN in the last row of the data: nothing has been learned when the error comes."""
    net = ng.topologies.layered([2, 3], seed=0)
    trainer = ng.Trainer(net, loss="cross_entropy", optimizer=ng.optim.Adam())
    good = np.ones((10, 2), "float32")
    labels = np.zeros(10, int)
    before = snapshot(net)
    bad, wrong = good.copy(), labels.copy()
    bad[9, 1], wrong[9] = np.nan, 3
    for data in ((bad, labels), (good, wrong), (good, labels[:9]), (good[:0], labels[:0])):
        with pytest.raises(ng.InvalidValueError):
            trainer.fit(*data, epochs=1, batch_size=2, progress=False)
        assert snapshot(net) == before


def test_errors_are_documented_classes():
    """The family tree of the contract."""
    for name, builtin in {
        "StaleError": KeyError,
        "CycleError": ValueError,
        "DuplicateConnectionError": ValueError,
        "UnknownNameError": ValueError,
        "UnknownNeuronError": KeyError,
        "InvalidValueError": ValueError,
        "FileFormatError": ValueError,
        "DivergedError": ArithmeticError,
        "NotSupportedError": NotImplementedError,
        "MissingDependencyError": ImportError,
    }.items():
        error = getattr(ng, name)
        assert issubclass(error, ng.NeurographError) and issubclass(error, builtin)
