"""Networks to ONNX models, which onnxruntime and others run."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import numpy as np

from ..checks import require
from ..errors import NotSupportedError
from ..network import Network
from .libraries import library
from .onnx_functions import DOMAIN, NEXT_STATE, OPSET, PRODUCER, STATE, function_text, spell

IR_VERSION = 8  # what functions in a model need
# A weight that a matrix multiplication spends on a pair that is not connected costs about a 30th of a connection that
# is gathered on its own, and small matrices are not worth more than one operator.
SPARSEST_MATRIX = 1 / 32
SMALL_MATRIX = 2**16
LARGEST_FILE = 2**31 - 1
REDUCTIONS = {"mean": "ReduceMean", "product": "ReduceProd", "max": "ReduceMax", "min": "ReduceMin"}


def to_onnx(net: Network, path: str | os.PathLike) -> None:
    """Write a network as an ONNX model with an input ``x`` (batch, n_inputs) and an output ``y`` (batch, n_outputs).

    The model runs generation by generation in standard operators (opset 18) and in the network's precision; activation
    functions without an operator of their own are functions inside the model. The file is proportional to the number
    of connections. Connections and biases that share a parameter read it from one place. `from_onnx` reads it back:
    the same function with the same connections and parameters; names, groups, optimizer state and what is frozen are
    not in it (`Network.save` keeps all), and a time constant comes back as a neuron with a loop.

    A network that remembers (delays, time constants) becomes one time step: a second input ``state`` (batch, n_state)
    and a second output ``next_state``, which is the state of the next step. The first state is all zeros.

    Parameters
    ----------
    net : Network
    path : str or path
        Replaced if it exists.

    Raises
    ------
    NotSupportedError
        If the file would exceed 2 GB.
    InvalidValueError
        If the network has no outputs.
    MissingDependencyError
        If onnx is not installed.

    Examples
    --------
    >>> import tempfile, neurograph as ng
    >>> net = ng.topologies.layered([2, 3, 1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     to_onnx(net, f"{folder}/model.onnx")
    ...     again = ng.from_onnx(f"{folder}/model.onnx")
    >>> bool(abs(again.predict([[1, 2]]) - net.predict([[1, 2]])).max() < 1e-5), again.n_connections
    (True, 9)
    """
    onnx = library("onnx", "onnx")
    require(net.n_outputs > 0, "the network has no outputs, so a model of it would compute nothing; mark_outputs first")
    model = _Export(net, GraphWriter(onnx, net.dtype)).model()
    size = model.ByteSize()
    if size > LARGEST_FILE:
        raise NotSupportedError(f"the model would take {size:,} bytes, and an ONNX file holds 2 GB; prune, or use save")
    onnx.checker.check_model(model)
    onnx.save(model, os.fspath(path))


class GraphWriter:
    """Nodes and constants of a graph in the making; tensors are known by their names.

    Parameters
    ----------
    onnx : module
    dtype : numpy.dtype
        Of all real numbers.
    """

    def __init__(self, onnx: Any, dtype: np.dtype):
        self.onnx, self.dtype = onnx, dtype
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.functions: dict[str, Any] = {}
        self._names: Counter[str] = Counter()
        self._known: dict[tuple, str] = {}

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of one output; returns its name."""
        return self.split(operator, 1, *inputs, **attributes)[0]

    def split(self, operator: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node of several outputs; returns their names."""
        name = self._fresh(operator)
        outputs = [name] if count == 1 else [f"{name}_{i}" for i in range(count)]
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, outputs, **attributes))
        return outputs

    def call(self, function: str, *inputs: str) -> str:
        """Add a call of one of our functions; returns the name of its output."""
        if function not in self.functions:
            self.functions[function] = self.onnx.parser.parse_function(function_text(function))
        return self.node(function, *inputs, domain=DOMAIN)

    def floats(self, values: Any, name: str) -> str:
        """A constant of real numbers; returns its name."""
        return self._constant(np.asarray(values, self.dtype), name)

    def integers(self, values: Any, name: str, wide: bool = False) -> str:
        """A constant of integers, narrow where an operator takes them so and they fit; the same again is kept once."""
        array = np.asarray(values, np.int64)
        if not wide and array.max(initial=0) < 2**31:
            array = array.astype(np.int32)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = self._constant(array, name)
        return self._known[key]

    def _constant(self, array: np.ndarray, name: str) -> str:
        name = self._fresh(name)
        self.constants.append(self.onnx.numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def _fresh(self, name: str) -> str:
        self._names[name] += 1
        return f"{name}_{self._names[name]}"


class _Parameters:
    """Values of connections or neurons: constants, or read from a common constant where they share parameters."""

    def __init__(self, graph: GraphWriter, values: np.ndarray, numbers: np.ndarray, name: str):
        self._graph, self._values, self._name = graph, values, name
        _, first, group, count = np.unique(numbers, return_index=True, return_inverse=True, return_counts=True)
        shared = count > 1
        self._place = np.where(shared, np.cumsum(shared) - 1, -1)[group]
        self._common = graph.floats(values[first[shared]], f"shared_{name}") if shared.any() else None
        self._n_common = int(shared.sum())

    def tensor(self, which: np.ndarray, shape: tuple[int, ...]) -> str:
        """A tensor of the values of these, in C order."""
        place = self._place[which]
        own = place < 0
        if own.all():
            return self._graph.floats(self._values[which].reshape(shape), self._name)
        assert self._common is not None
        pool = self._common
        if own.any():
            place = np.where(own, self._n_common + np.cumsum(own) - 1, place)
            mine = self._graph.floats(self._values[which[own]], self._name)
            pool = self._graph.node("Concat", pool, mine, axis=0)
        return self._graph.node("Gather", pool, self._graph.integers(place.reshape(shape), "place"), axis=0)


class _Memory:
    """What a network remembers from step to step, as rows behind those of the neurons.

    First the outputs of neurons that delayed connections read: one, two, ... steps ago up to their longest delay. Then
    the potentials of neurons with a time constant above 1, before the step and after it.
    """

    def __init__(self, n: int, source: np.ndarray, delay: np.ndarray, leaky: np.ndarray):
        reach = np.zeros(n, np.int64)
        np.maximum.at(reach, source, delay)
        self._start = n + np.cumsum(reach) - reach
        self.neuron = np.repeat(np.arange(n), reach)
        self.delay = np.arange(len(self.neuron)) - np.repeat(self._start - n, reach) + 1
        after = n + len(self.neuron)
        self._potential = np.full(n, -1)
        self._potential[leaky] = after + np.arange(len(leaky))
        self._n_leaky = len(leaky)
        self.rows = after + 2 * len(leaky)
        # The state, and where each row of it is found after the step.
        self.state = np.arange(n, after + len(leaky))
        self.following = np.concatenate([self.past(self.neuron, self.delay - 1), self.state[len(self.neuron) :]])
        self.following[len(self.neuron) :] += len(leaky)

    def past(self, neuron: np.ndarray, delay: np.ndarray) -> np.ndarray:
        """Rows of the outputs of neurons some steps ago; the neurons themselves for none."""
        return np.where(delay > 0, self._start[neuron] + delay - 1, neuron)

    def potential(self, neuron: np.ndarray, after: bool) -> np.ndarray:
        """Rows of the potentials of neurons, before the step or after it."""
        return self._potential[neuron] + (self._n_leaky if after else 0)


class _Export:
    """Writes a network, generation by generation; neurons and connections are numbered from 0 here."""

    def __init__(self, net: Network, graph: GraphWriter):
        self.net, self.graph = net, graph
        neurons, conns = net.neurons, net.connections
        self.ids = neurons.ids
        self.time_constant = neurons.time_constant
        self.aggregation = neurons.aggregation.astype(str)
        names = [spec if isinstance(spec, str) else spec[0] for spec in neurons.activation]
        self.activations, self.activation = np.unique(np.array(names, str), return_inverse=True)
        self.parameter = np.array([0.0 if isinstance(spec, str) else spec[1] for spec in neurons.activation])
        self.bias, self.bias_frozen = neurons.bias, neurons.bias_frozen
        self.biases = _Parameters(graph, self.bias, neurons.bias_parameter, "bias")
        target = np.searchsorted(self.ids, conns.target)
        order = np.argsort(target, kind="stable")
        source, delay = np.searchsorted(self.ids, conns.source)[order], conns.delay[order]
        self.memory = _Memory(len(self.ids), source, delay, np.flatnonzero(self.time_constant > 1))
        self.source = self.memory.past(source, delay)
        self.weight, self.frozen = conns.weight[order], conns.frozen[order]
        self.weights = _Parameters(graph, self.weight, conns.parameter[order], "weight")
        self.fan_in = np.bincount(target, minlength=len(self.ids))
        self.start = np.cumsum(self.fan_in) - self.fan_in
        # Where each neuron's output is: which tensor, which column of it.
        self.tensors: list[str] = []
        self.tensor_of = np.full(self.memory.rows, -1)
        self.column = np.zeros(self.memory.rows, np.int64)
        self.widths: list[int] = []
        # Neurons along the first axis, where gathering them copies rows; full layers are written as others write them.
        self.rows = not self._is_chain_of_full_layers()
        self.axis = 0 if self.rows else 1
        self._gathered: dict[bytes, str] = {}

    def model(self) -> Any:
        """The whole model."""
        from .. import __version__

        helper, numbers = self.graph.onnx.helper, self.graph.onnx.TensorProto
        number = numbers.FLOAT if self.graph.dtype == np.float32 else numbers.DOUBLE
        state = self.memory.state
        self._receive("x", np.searchsorted(self.ids, self.net.inputs.ids))
        if len(state):
            self._receive(STATE, state)
        for generation in self.net.schedule.generations:
            members = np.searchsorted(self.ids, generation)
            self._write(np.sort(members[self.tensor_of[members] < 0]))
        self._send("y", np.searchsorted(self.ids, self.net.outputs.ids))
        inputs, outputs = {"x": self.net.n_inputs}, {"y": self.net.n_outputs}
        if len(state):
            self._send(NEXT_STATE, self.memory.following)
            inputs[STATE] = outputs[NEXT_STATE] = len(state)
        ends = [
            [helper.make_tensor_value_info(name, number, ["batch", width]) for name, width in end.items()]
            for end in (inputs, outputs)
        ]
        graph = helper.make_graph(self.graph.nodes, "network", *ends, self.graph.constants)
        domains = {"": OPSET, **({DOMAIN: 1} if self.graph.functions else {})}
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(domain, version) for domain, version in domains.items()],
            functions=list(self.graph.functions.values()),
            ir_version=IR_VERSION,
            producer_name=PRODUCER,
            producer_version=__version__,
        )

    def _receive(self, name: str, members: np.ndarray) -> None:
        """An input of the model."""
        self._put(self.graph.node("Transpose", name, perm=[1, 0]) if self.rows else name, members)

    def _send(self, name: str, members: np.ndarray) -> None:
        """An output of the model."""
        operator, options = ("Transpose", {"perm": [1, 0]}) if self.rows else ("Identity", {})
        node = self.graph.onnx.helper.make_node(operator, [self._read(members)], [name], name=name, **options)
        self.graph.nodes.append(node)

    def _write(self, members: np.ndarray) -> None:
        """One generation: a part for each aggregation, joined."""
        parts, order = [], []
        kinds = [self.fan_in[members] == 0, self.time_constant[members] > 1, self.aggregation[members]]
        _, kind = np.unique(np.stack([column.astype(str) for column in kinds]), axis=1, return_inverse=True)
        for which in range(kind.max(initial=-1) + 1):
            part = members[kind.ravel() == which]
            part = part[np.argsort(self.activation[part], kind="stable")]
            z = self._potential(part, str(self.aggregation[part[0]]))
            parts.append(self._activate(self._leak(z, part) if self.time_constant[part[0]] > 1 else z, part))
            order.append(part)
        if parts:
            self._put(self._joined(parts, self.axis), np.concatenate(order))

    def _potential(self, part: np.ndarray, aggregation: str) -> str:
        """Aggregated inputs and biases of neurons that aggregate alike."""
        if not self.fan_in[part].any():
            # Nothing flows in: the same for every sample.
            batch = self.graph.node("Shape", "x", start=0, end=1)
            width = self.graph.integers([len(part)], "width", wide=True)
            shape = self.graph.node("Concat", *((width, batch) if self.rows else (batch, width)), axis=0)
            constant = self.biases.tensor(part, self._along(part))
            if aggregation == "product":
                constant = self.graph.node("Add", constant, self.graph.floats(1.0, "empty_product"))
            return self.graph.node("Expand", constant, shape)
        incoming = self._incoming(part)
        sources = self._in_order(np.unique(self.source[incoming]))
        pairs = len(part) * len(sources)
        if aggregation == "sum" and (pairs <= SMALL_MATRIX or len(incoming) >= SPARSEST_MATRIX * pairs):
            matrix = self._matrix(part, incoming, sources)
            bias = (self.biases.tensor(part, self._along(part)),) if self._has_bias(part) else ()
            if self.rows:
                return self.graph.node("Gemm", matrix, self._read(sources), *bias)
            return self.graph.node("Gemm", self._read(sources), matrix, *bias, transB=1)
        z = self._by_fan_in(part, aggregation, sources)
        if not self.rows:
            z = self.graph.node("Transpose", z, perm=[1, 0])
        return self.graph.node("Add", z, self.biases.tensor(part, self._along(part))) if self._has_bias(part) else z

    def _matrix(self, part: np.ndarray, incoming: np.ndarray, sources: np.ndarray) -> str:
        """Weights as (targets, sources); pairs without a connection are not stored."""
        place = np.empty(len(self.column), np.int64)
        place[sources] = np.arange(len(sources))
        shape = (len(part), len(sources))
        flat = np.repeat(np.arange(len(part)), self.fan_in[part]) * len(sources) + place[self.source[incoming]]
        order = np.argsort(flat)
        if len(flat) == shape[0] * shape[1]:
            return self.weights.tensor(incoming[order], shape)
        size = self.graph.integers([shape[0] * shape[1]], "size", wide=True)
        zero = self.graph.onnx.numpy_helper.from_array(np.zeros(1, self.graph.dtype), "zero")
        empty = self.graph.node("ConstantOfShape", size, value=zero)
        flat_place = self.graph.integers(flat[order], "pairs")
        filled = self.graph.node("ScatterElements", empty, flat_place, self.weights.tensor(incoming[order], (-1,)))
        return self.graph.node("Reshape", filled, self.graph.integers(shape, "shape", wide=True))

    def _by_fan_in(self, part: np.ndarray, aggregation: str, sources: np.ndarray) -> str:
        """Neurons of equal fan-in together: their sources gathered, weighted and joined."""
        graph = self.graph
        place = np.empty(len(self.column), np.int64)
        place[sources] = np.arange(len(sources))
        values = self._read(sources)
        if not self.rows:
            values = graph.node("Transpose", values, perm=[1, 0])
        parts, order = [], []
        for fan_in in np.unique(self.fan_in[part]):
            like = part[self.fan_in[part] == fan_in]
            n, k = len(like), int(fan_in)
            incoming = self._incoming(like).reshape(n, k)
            if aggregation == "sum":
                terms = graph.node("Gather", values, graph.integers(place[self.source[incoming]], "sources"), axis=0)
                weights = self.weights.tensor(incoming.ravel(), (n, 1, k))
                product = graph.node("MatMul", weights, terms)
                parts.append(graph.node("Squeeze", product, graph.integers([1], "axis", wide=True)))
            else:
                incoming = incoming.T
                terms = graph.node("Gather", values, graph.integers(place[self.source[incoming]], "sources"), axis=0)
                if (self.weight[incoming] != 1).any() or not self.frozen[incoming].all():
                    terms = graph.node("Mul", terms, self.weights.tensor(incoming.ravel(), (k, n, 1)))
                parts.append(self._reduce(terms, aggregation, k))
            order.append(like)
        joined, written = self._joined(parts, axis=0), np.concatenate(order)
        if (written != part).any():
            place[written] = np.arange(len(written))
            joined = graph.node("Gather", joined, graph.integers(place[part], "order"), axis=0)
        return joined

    def _reduce(self, terms: str, aggregation: str, count: int) -> str:
        """Terms joined over the first axis."""
        if aggregation in REDUCTIONS:
            axes = self.graph.integers([0], "axis", wide=True)
            return self.graph.node(REDUCTIONS[aggregation], terms, axes, keepdims=0)
        if aggregation == "median":
            middle = [(count - 1) // 2, count // 2]
            largest = self.graph.integers([count // 2 + 1], "count", wide=True)
            return self.graph.call("median", terms, largest, self.graph.integers(middle, "middle"))
        return self.graph.call("maxabs", terms)

    def _leak(self, z: str, part: np.ndarray) -> str:
        """Potentials that move towards z by one part in each time constant."""
        graph, rate = self.graph, (1 / self.time_constant[part]).reshape(self._along(part))
        gain = graph.node("Mul", z, graph.floats(rate, "rate"))
        before = self._read(self.memory.potential(part, after=False))
        potential = graph.node("Add", gain, graph.node("Mul", before, graph.floats(1 - rate, "kept")))
        self._put(potential, self.memory.potential(part, after=True))
        return potential

    def _activate(self, z: str, part: np.ndarray) -> str:
        """Activation functions of neurons that are sorted by them."""
        which, starts = np.unique(self.activation[part], return_index=True)
        runs = np.split(part, starts[1:])
        pieces = [z]
        if len(runs) > 1:
            sizes = self.graph.integers([len(run) for run in runs], "widths", wide=True)
            pieces = self.graph.split("Split", len(runs), z, sizes, axis=self.axis)
        done = [
            spell(self.graph, str(self.activations[code]), self.parameter[run].reshape(self._along(run)), piece)
            for code, run, piece in zip(which, runs, pieces, strict=True)
        ]
        return self._joined(done, self.axis)

    def _incoming(self, part: np.ndarray) -> np.ndarray:
        """Connections into neurons, target by target."""
        counts = self.fan_in[part]
        offsets = np.cumsum(counts) - counts
        return np.repeat(self.start[part] - offsets, counts) + np.arange(counts.sum())

    def _is_chain_of_full_layers(self) -> bool:
        generations = self.net.schedule.generations
        depth = np.zeros(len(self.ids), np.int64)
        for number, generation in enumerate(generations):
            depth[np.searchsorted(self.ids, generation)] = number
        width = np.bincount(depth)
        full = np.concatenate([[0], width[:-1]])[depth]
        target = np.repeat(np.arange(len(self.ids)), self.fan_in)
        return bool(
            len(self.memory.state) == 0
            and width[0] == self.net.n_inputs
            and (self.aggregation[depth > 0] == "sum").all()
            and (self.fan_in == full).all()
            and (depth[self.source] == depth[target] - 1).all()
        )

    def _along(self, part: np.ndarray) -> tuple[int, ...]:
        return (len(part), 1) if self.rows else (len(part),)

    def _has_bias(self, part: np.ndarray) -> bool:
        return bool(self.bias[part].any() or not self.bias_frozen[part].all())

    def _put(self, tensor: str, members: np.ndarray) -> None:
        """Say that a tensor holds the outputs of neurons."""
        self.tensor_of[members], self.column[members] = len(self.tensors), np.arange(len(members))
        self.tensors.append(tensor)
        self.widths.append(len(members))

    def _in_order(self, members: np.ndarray) -> np.ndarray:
        """Neurons in the order in which their outputs lie, tensor by tensor."""
        return members[np.lexsort((self.column[members], self.tensor_of[members]))]

    def _read(self, members: np.ndarray) -> str:
        """A tensor of the outputs of neurons, in their order."""
        key = members.tobytes()
        if key not in self._gathered:
            ordered = self._in_order(members)
            starts = np.flatnonzero(np.diff(self.tensor_of[ordered], prepend=-1))
            pieces = []
            for run in np.split(ordered, starts[1:]):
                tensor, columns = self.tensor_of[run[0]], self.column[run]
                piece = self.tensors[tensor]
                if len(run) < self.widths[tensor]:
                    piece = self.graph.node("Gather", piece, self.graph.integers(columns, "columns"), axis=self.axis)
                pieces.append(piece)
            joined = self._joined(pieces, self.axis)
            if (ordered != members).any():
                place = np.empty(len(self.column), np.int64)
                place[ordered] = np.arange(len(ordered))
                joined = self.graph.node("Gather", joined, self.graph.integers(place[members], "order"), axis=self.axis)
            self._gathered[key] = joined
        return self._gathered[key]

    def _joined(self, parts: list[str], axis: int) -> str:
        return parts[0] if len(parts) == 1 else self.graph.node("Concat", *parts, axis=axis)
