"""ONNX models to networks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..checks import require
from ..errors import FileFormatError, NeurographError, NotSupportedError
from ..network import Network
from .expressions import Builder, Sum, Values
from .libraries import library
from .onnx_functions import DOMAIN
from .onnx_gelu import REFUSED, Gate
from .onnx_operators import OPERATORS, Call
from .onnx_tensors import HOLE, Constant, neurons


def from_onnx(
    path: str | os.PathLike,
    drop_zeros: bool = False,
    input_shape: Sequence[int] | None = None,
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
    <Network: 6 neurons, 4 connections, 2 inputs, 1 outputs>
    """
    onnx = library("onnx", "onnx")
    onnx_model = _load(onnx, path)
    return _Reader(onnx, onnx_model.graph, drop_zeros, input_shape).network(seed, dtype, backend)


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
        self.tensors: dict[str, Any] = {}

    def network(self, seed: int, dtype: Any, backend: str) -> Network:
        """The whole network."""
        given = {proto.name for proto in self.protos} | {c.values.name for c in self.graph.sparse_initializer}
        inputs = [value for value in self.graph.input if value.name not in given]
        require(inputs, "the model has no inputs, so there is nothing to compute")
        shapes = [self._shape(value, len(inputs)) for value in inputs]
        types = {value.type.tensor_type.elem_type for value in inputs}
        if len(types) > 1 or not types <= {self.onnx.TensorProto.FLOAT, self.onnx.TensorProto.DOUBLE}:
            raise NotSupportedError("inputs must be all float or all double; cast them inside the model's caller")
        double = types == {self.onnx.TensorProto.DOUBLE}
        net = Network(seed=seed, dtype=dtype or ("float64" if double else "float32"), backend=backend)
        self.builder = Builder(net, frozenset(id(proto) for proto in self.protos if self.uses[proto.name] > 1))
        for value, shape in zip(inputs, shapes, strict=True):
            self.tensors[value.name] = Values(net.add_inputs(shape, name=value.name).ids.reshape(1, *shape))
        self._read_constants()
        for node in self.graph.node:
            self._read(node)
        self._mark_outputs(net)
        self.builder.tie()
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

    def _mark_outputs(self, net: Network) -> None:
        taken = np.zeros(0, np.int64)
        for output in self.graph.output:
            if output.name not in self.tensors:
                raise FileFormatError(f"output {output.name!r} is written by nothing; export the model again")
            if isinstance(self.tensors[output.name], Gate):
                raise NotSupportedError(f"output {output.name!r}: {REFUSED}")
            tensor = neurons(self.builder, self.tensors[output.name])
            flat = tensor.ids.ravel()
            if len(np.unique(flat)) < len(flat) or np.isin(flat, taken).any():
                flat = self.builder.neurons(self.builder.copied(tensor)).ids.ravel()
            net.mark_outputs(flat)
            taken = np.concatenate([taken, flat])
            if output.name not in net.groups:
                net.group(flat, name=output.name)
