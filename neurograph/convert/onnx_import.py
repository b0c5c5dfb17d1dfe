"""ONNX models to networks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..checks import require
from ..errors import FileFormatError, NeurographError, NotSupportedError
from ..network import Network
from .expressions import Builder, Sum, Values
from .libraries import library
from .onnx_functions import DOMAIN, NEXT_STATE, PRODUCER, STATE
from .onnx_gelu import REFUSED, Gate
from .onnx_operators import OPERATORS, Call
from .onnx_tensors import HOLE, Constant, neurons


def from_onnx(
    path: str | os.PathLike,
    drop_zeros: bool = False,
    input_shape: Sequence[int] | None = None,
    states: Mapping[str, str] | None = None,
    seed: int = 0,
    dtype: Any = None,
    backend: str = "auto",
) -> Network:
    """Make a network of an ONNX model.

    Read are matrix products, convolutions, pooling, batch normalization (folded), additions and products, activation
    functions that exist here, and whatever reshapes, picks or joins: feed-forward models of one or several inputs and
    outputs, those of `to_onnx` among them. A weight of the model is one parameter, however many connections use it.
    What is no weight (pooling, residual additions, single constants) is frozen.

    Parameters
    ----------
    path : str or path
    drop_zeros : bool
        Make no connections of weight 0: a pruned model comes in truly sparse.
    input_shape : sequence of int, optional
        Shape of the input without the batch, where the model leaves it open.
    states : mapping of str to str, optional
        For a model of one time step: which input takes in the next step what an output gives in this one. The network
        has no such inputs and outputs but connections with a delay, and its state starts at zero. Known by itself for
        models of `to_onnx`.
    seed, dtype, backend : optional
        As in `Network`; the dtype is the model's by default.

    Returns
    -------
    Network
        Columns of X are the inputs in C order, one input after the other, and those of the prediction the outputs.
        `Network.groups` holds them by the names that they have in the model.

    Raises
    ------
    NotSupportedError
        If an operator has no counterpart; it is named, and so are those that have.
    FileFormatError
        If the file is no ONNX model, or its graph contradicts itself.
    InvalidValueError
        If shapes are open or do not fit.
    MissingDependencyError
        If onnx is not installed.

    Examples
    --------
    >>> import tempfile, neurograph as ng
    >>> net = ng.topologies.layered([2, 3, 1], density=0.5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ng.to_onnx(net, f"{folder}/model.onnx")
    ...     again = from_onnx(f"{folder}/model.onnx")
    >>> again
    <Network: 6 neurons, 5 connections, 2 inputs, 1 outputs>
    """
    onnx = library("onnx", "onnx")
    onnx_model = _load(onnx, path)
    reader = _Reader(onnx, onnx_model.graph, drop_zeros, input_shape)
    ours = onnx_model.producer_name == PRODUCER and {STATE, NEXT_STATE} <= {*reader.inputs, *reader.outputs}
    return reader.network({STATE: NEXT_STATE} if states is None and ours else dict(states or {}), seed, dtype, backend)


def _load(onnx: Any, path: str | os.PathLike) -> Any:
    """A valid model, whose functions other than ours are written out."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no file {os.fspath(path)}")
    try:
        model = onnx.load(os.fspath(path))
    except Exception as error:  # protobuf has errors of its own
        raise FileFormatError(f"{os.fspath(path)} is no ONNX model ({error}); export it again") from error
    foreign = [(f.domain, f.name) for f in model.functions if f.domain != DOMAIN]
    if not foreign:
        return model
    inliner = library("onnx.inliner", "onnx")
    return inliner.inline_selected_functions(model, foreign)


class _Reader:
    """Goes through a graph, node by node."""

    def __init__(self, onnx: Any, graph: Any, drop_zeros: bool, input_shape: Sequence[int] | None):
        self.onnx, self.graph, self.drop_zeros, self.input_shape = onnx, graph, drop_zeros, input_shape
        self.protos = list(graph.initializer)
        self.uses = Counter(name for node in graph.node for name in node.input)
        self.uses.update(output.name for output in graph.output)
        given = {proto.name for proto in self.protos} | {c.values.name for c in graph.sparse_initializer}
        self.inputs = {value.name: value for value in graph.input if value.name not in given}
        self.outputs = [value.name for value in graph.output]
        self.tensors: dict[str, Any] = {}

    def network(self, states: dict[str, str], seed: int, dtype: Any, backend: str) -> Network:
        """The whole network."""
        for name, known, what in (
            *((name, self.inputs, "input") for name in states),
            *((name, self.outputs, "output") for name in states.values()),
        ):
            require(name in known, f"states names the {what} {name!r}, but the model has {', '.join(known)}")
        inputs = list(self.inputs.values())
        require(len(inputs) > len(states), "the model has no inputs, so there is nothing to compute")
        shapes = [self._shape(value, len(inputs) - len(states)) for value in inputs]
        types = {value.type.tensor_type.elem_type for value in inputs}
        if len(types) > 1 or not types <= {self.onnx.TensorProto.FLOAT, self.onnx.TensorProto.DOUBLE}:
            raise NotSupportedError("inputs must be all float or all double; cast them inside the model's caller")
        double = types == {self.onnx.TensorProto.DOUBLE}
        net = Network(seed=seed, dtype=dtype or ("float64" if double else "float32"), backend=backend)
        self.builder = Builder(net, frozenset(id(proto) for proto in self.protos if self.uses[proto.name] > 1))
        for value, shape in zip(inputs, shapes, strict=True):
            group = net.add_inputs(shape, name=None if value.name in states else value.name)
            self.tensors[value.name] = Values(group.ids.reshape(1, *shape))
        self._read_constants()
        for node in self.graph.node:
            self._read(node)
        before = self._flat(states)
        after = self._flat(states.values())
        self._mark_outputs(net, [name for name in self.outputs if name not in states.values()], before)
        self.builder.tie()
        if states:
            _close_loops(net, before, after)
        return net

    def _shape(self, value: Any, n_inputs: int) -> tuple[int, ...]:
        dims = value.type.tensor_type.shape.dim
        sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
        require(
            len(sizes) > 0 and sizes[0] in (None, 1),
            f"input {value.name!r} has the shape {sizes}; its first axis must be a batch of any size or 1: export the "
            "model with a dynamic batch axis",
        )
        shape = sizes[1:]
        if self.input_shape is not None and n_inputs == 1:
            shape = list(self.input_shape)
        require(
            all(size is not None and size > 0 for size in shape),
            f"input {value.name!r} has the open shape {shape}; say which one with input_shape=(...)",
        )
        return tuple(int(size or 0) for size in shape)

    def _read_constants(self) -> None:
        for proto in self.protos:
            value = self.onnx.numpy_helper.to_array(proto)
            labelled = value.dtype.kind == "f" and value.ndim > 0
            label = self.builder.labels(proto, value.size).reshape(value.shape) if labelled else None
            self.tensors[proto.name] = Constant(value, label)
        for sparse in self.graph.sparse_initializer:
            values, index = (self.onnx.numpy_helper.to_array(proto) for proto in (sparse.values, sparse.indices))
            shape = tuple(sparse.dims)
            flat = index if index.ndim == 1 else np.ravel_multi_index(tuple(index.T), shape)
            value, label = np.zeros(shape, values.dtype), np.full(shape, HOLE)
            value.flat[flat] = values
            label.flat[flat] = self.builder.labels(sparse, len(values))
            self.tensors[sparse.values.name] = Constant(value, label)

    def _read(self, node: Any) -> None:
        domain = "" if node.domain == "ai.onnx" else node.domain
        described = f"node {node.name or node.output[0]!r} ({domain + '::' if domain else ''}{node.op_type})"
        operator = OPERATORS.get((domain, node.op_type))
        if operator is None:
            known = ", ".join(sorted(name for space, name in OPERATORS if not space))
            raise NotSupportedError(f"{described}: this operator is not supported; supported are {known}")
        attributes = {a.name: self._attribute(a) for a in node.attribute}
        missing = [name for name in node.input if name and name not in self.tensors]
        if missing:
            raise FileFormatError(f"{described} reads {missing[0]!r}, which nothing writes; export the model again")
        inputs = [self.tensors[name] if name else None for name in node.input]
        if any(isinstance(tensor, Gate) for tensor in inputs) and node.op_type not in ("Add", "Mul", "Identity"):
            raise NotSupportedError(f"{described}: {REFUSED}")
        count = max((i + 1 for i, name in enumerate(node.output) if self.uses[name]), default=1)
        try:
            results = operator(Call(self.builder, inputs, attributes, count, self.drop_zeros))
        except NeurographError as error:
            raise type(error)(f"{described}: {error}") from error
        for name, result in zip(node.output, results if isinstance(results, list) else [results], strict=False):
            if isinstance(result, Sum) and self.uses[name] > 1:
                # What several read must be there for all of them.
                result = self.builder.neurons(result)
            self.tensors[name] = result

    def _attribute(self, attribute: Any) -> Any:
        value = self.onnx.helper.get_attribute_value(attribute)
        return self.onnx.numpy_helper.to_array(value) if isinstance(value, self.onnx.TensorProto) else value

    def _flat(self, names: Iterable[str]) -> np.ndarray:
        """Ids of the neurons of tensors, one after the other."""
        parts = [np.zeros(0, np.int64)]
        for name in names:
            tensor = self.tensors.get(name)
            if tensor is None:
                raise FileFormatError(f"output {name!r} is written by nothing; export the model again")
            if isinstance(tensor, Gate):
                raise NotSupportedError(f"output {name!r}: {REFUSED}")
            self.tensors[name] = neurons(self.builder, tensor)
            parts.append(self.tensors[name].ids.ravel())
        return np.concatenate(parts)

    def _mark_outputs(self, net: Network, names: Sequence[str], states: np.ndarray) -> None:
        taken = states  # which will not stay
        for name in names:
            flat = self._flat([name])
            if len(np.unique(flat)) < len(flat) or np.isin(flat, taken).any():
                flat = self.builder.neurons(self.builder.copied(Values(flat))).ids.ravel()
            net.mark_outputs(flat)
            taken = np.concatenate([taken, flat])
            if name not in net.groups:
                net.group(flat, name=name)


def _close_loops(net: Network, before: np.ndarray, after: np.ndarray) -> None:
    """Replace inputs that hold what neurons gave a step ago by connections with a delay from these."""
    require(
        len(before) == len(after),
        f"the states go in as {len(before)} values and come out as {len(after)}; name the output of each input",
    )
    place = np.full(int(net.neurons.ids.max()) + 1, -1)
    place[before] = np.arange(len(before))
    delay = np.ones(len(before), np.int64)
    # A state that comes from another state is one step older.
    while (chained := place[after] >= 0).any():
        require(
            delay.max() <= len(before), "a state comes from itself, so it is always zero; leave it out of the model"
        )
        delay[chained] += 1
        after = np.where(chained, after[place[after]], after)
    conns = net.connections
    conns = conns[place[conns.source] >= 0]
    where = place[conns.source]
    tied = conns.parameter != conns.id
    for some, weight in ((~tied, {"weight": conns.weight[~tied]}), (tied, {"parameter": conns[tied]})):
        if not some.any():
            continue
        new = net.add_connections(after[where[some]], conns.target[some], delay=delay[where[some]], **weight)
        new.frozen = conns.frozen[some]
    net.remove_neurons(before)
