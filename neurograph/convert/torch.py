"""PyTorch modules to networks, by way of their traced graph."""

from __future__ import annotations

import operator
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import count_of, require
from ..errors import NeurographError, NotSupportedError
from ..network import Network
from . import torch_layers as layers
from .expressions import Builder, Sum, Values
from .libraries import library
from .torch_calls import CALLS

if TYPE_CHECKING:
    import torch

# Functions and methods that a module of torch.nn with the same arguments stands for.
AS_MODULES = {
    "relu": "ReLU",
    "relu_": "ReLU",
    "relu6": "ReLU6",
    "hardtanh": "Hardtanh",
    "leaky_relu": "LeakyReLU",
    "elu": "ELU",
    "celu": "CELU",
    "selu": "SELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "softplus": "Softplus",
    "flatten": "Flatten",
    **{f"max_pool{n}d": f"MaxPool{n}d" for n in (1, 2, 3)},
    **{f"avg_pool{n}d": f"AvgPool{n}d" for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": f"AdaptiveAvgPool{n}d" for n in (1, 2, 3)},
    **{f"adaptive_max_pool{n}d": f"AdaptiveMaxPool{n}d" for n in (1, 2, 3)},
}
PLAIN_ACTIVATIONS = {"sin": "sin", "abs": "abs", "square": "square"}
IN_PLACE = ("relu_", "add_", "iadd", "sub_", "isub", "mul_", "imul")
NOTHING = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "contiguous", "clone")


def from_torch(
    module: torch.nn.Module,
    input_shape: int | tuple[int, ...],
    seed: int = 0,
    dtype: Any = "float32",
    backend: str = "auto",
) -> Network:
    """Make a network that computes what a PyTorch module computes in evaluation mode.

    The module is traced (`torch.fx.symbolic_trace`), so any module will do whose forward pass consists of supported
    layers, additions, products and reshapes. A layer and the activation that follows are one group of neurons, named
    after the layer. Convolutions become connections and biases that share parameters, one for each parameter of the
    module; a parameter that the module uses twice is one parameter here too, unless it is a weight here and a bias
    there. What the module computes from parameters (weight normalisation, say) trains as a parameter itself. Batch
    normalisation is folded into the layer before it where that has weights of its own for it, and trains as its scale
    and shift otherwise. Residual additions, pooling and other fixed steps are connections of weight 1 (or 1 / n in a
    mean) that are frozen, like parameters with ``requires_grad=False`` and the biases that the module does not have.

    Parameters
    ----------
    module : torch.nn.Module
        With one tensor in and one out. It is left as it is.
    input_shape : int or tuple of int
        Shape of a sample, without the batch axis, such as (1, 28, 28).
    seed, dtype, backend : optional
        As in `Network`.

    Returns
    -------
    Network
        With groups "inputs", "outputs" and those of the layers. X and predictions are flat, in C order:
        ``net.predict(x.flatten(1).numpy())`` is ``module(x).flatten(1)``.

    Raises
    ------
    NotSupportedError
        If the module cannot be traced, or has a layer, an option or a call without counterpart; the message names its
        path and lists what is supported.
    InvalidValueError
        If shapes do not fit.
    MissingDependencyError
        If PyTorch is not installed.

    Examples
    --------
    >>> import torch
    >>> module = torch.nn.Sequential(
    ...     torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 2)
    ... )
    >>> net = from_torch(module, (1, 6, 6))
    >>> net.groups["0"].shape, net.n_parameters == sum(p.numel() for p in module.parameters())
    ((4, 4, 4), True)
    >>> x = torch.randn(5, 1, 6, 6)
    >>> difference = net.predict(x.flatten(1).numpy()) - module(x).detach().numpy()
    >>> bool(abs(difference).max() < 1e-5)
    True
    """
    torch = library("torch", "torch")
    require(isinstance(module, torch.nn.Module), f"from_torch takes a torch.nn.Module, not {type(module).__name__}")
    _, shape = count_of(input_shape if isinstance(input_shape, tuple | list) else (input_shape,), "input_shape")
    assert shape is not None
    net = Network(seed=seed, dtype=dtype, backend=backend)
    ids = net.add_inputs(shape, name="inputs").ids.reshape(shape)
    modes, attributes = [(part, part.training) for part in module.modules()], set(vars(module))
    try:
        module.eval()
        root, nodes = _traced(torch, module)
        builder = Builder(net, _reused(root, nodes))
        outputs = builder.neurons(_Reader(torch, root, builder).run(nodes, Values(ids)))
    finally:
        for part, training in modes:
            part.training = training
        for name in set(vars(module)) - attributes:  # tracing keeps constants of the forward pass there
            delattr(module, name)
    flat = outputs.ids.ravel()
    if len(np.unique(flat)) < len(flat):
        flat = builder.neurons(builder.copied(outputs)).ids.ravel()
    net.mark_outputs(flat)
    if "outputs" not in net.groups:
        net.group(flat, name="outputs")
    builder.tie()
    return net


def _traced(torch: Any, module: Any) -> tuple[Any, list]:
    """The nodes of the module's graph, and the module that their paths start from."""
    leaf = type(module).__module__.startswith("torch.nn") and not isinstance(module, torch.nn.Sequential)
    root = torch.nn.Sequential(module) if leaf else module
    try:
        return root, list(torch.fx.Tracer().trace(root).nodes)
    except (torch.fx.proxy.TraceError, TypeError, ValueError, RuntimeError) as error:
        raise NotSupportedError(
            f"{type(module).__name__} cannot be traced ({error}); its forward pass must not branch or loop on values, "
            "as torch.fx.symbolic_trace demands"
        ) from error


def _reused(root: Any, nodes: list) -> frozenset[int]:
    """Parameters that several nodes of the graph use."""
    uses: Counter[int] = Counter()
    for node in nodes:
        if node.op == "call_module":
            uses.update(id(parameter) for parameter in root.get_submodule(node.target).parameters())
        elif node.op == "get_attr":
            uses[id(_attribute(root, node.target))] += len(node.users)
    return frozenset(key for key, count in uses.items() if count > 1)


def _attribute(root: Any, path: str) -> Any:
    return operator.attrgetter(path)(root)


class _Reader:
    """Goes through a traced graph, node by node."""

    def __init__(self, torch: Any, root: Any, builder: Builder):
        self.torch, self.root, self.builder = torch, root, builder
        self.inputs: list[Values] = []
        self.values: dict[Any, Any] = {}
        self.functions = _functions(torch)

    def run(self, nodes: list, inputs: Values) -> Values | Sum:
        """The tensor that the module returns."""
        self.inputs = [inputs]
        for node in nodes:
            args, kwargs = self.torch.fx.node.map_arg((node.args, node.kwargs), self.values.__getitem__)
            if node.op == "output":
                return _tensor(args[0], "the module must return one tensor that depends on its input")
            self.builder.here = node.target if node.op == "call_module" else node.name
            try:
                value = self._value(node, args, kwargs)
                if isinstance(value, Sum):
                    value = value if value.name else replace(value, name=self.builder.here)
                    if len(node.users) > 1:  # what several read must be there for all of them
                        value = self.builder.neurons(value)
            except NeurographError as error:
                raise type(error)(f"{self._described(node)}: {error}") from error
            self.values[node] = value
        raise AssertionError("a traced graph ends with its output")

    def _value(self, node: Any, args: tuple, kwargs: dict) -> Any:
        if node.op == "placeholder":
            require(self.inputs, "the module takes several inputs; make it take one tensor")
            return self.inputs.pop()
        if node.op == "get_attr":
            return _attribute(self.root, node.target)
        if node.op == "call_module":
            module = self.root.get_submodule(node.target)
            result, in_place = self._layer(module, *args), getattr(module, "inplace", False)
        else:
            name = node.target if node.op == "call_method" else self.functions.get(node.target)
            result = self._call(name, node, args, kwargs)
            in_place = kwargs.get("inplace", False) or name in IN_PLACE
        if in_place and len(node.args[0].users) > 1:
            result = self.builder.neurons(result)
            self.values[node.args[0]] = result  # whoever reads it later reads what it has become
        return result

    def _layer(self, module: Any, x: Any) -> Values | Sum:
        kind = type(module).__name__
        if kind not in layers.LAYERS or not type(module).__module__.startswith("torch.nn"):
            raise NotSupportedError(_unsupported(kind, "layer"))
        return layers.LAYERS[kind](self.builder, module, _tensor(x, "a layer takes a tensor that depends on the input"))

    def _call(self, name: str | None, node: Any, args: tuple, kwargs: dict) -> Any:
        if not any(isinstance(x, Values | Sum) for x in _leaves((args, kwargs))):
            return self._constant(node, args, kwargs)
        if name in AS_MODULES:
            kwargs = {key: value for key, value in kwargs.items() if key != "input"}
            return self._layer(getattr(self.torch.nn, AS_MODULES[name])(*args[1:], **kwargs), args[0])
        if name in NOTHING:
            return args[0]
        if name in PLAIN_ACTIVATIONS:
            return self.builder.neurons(args[0], PLAIN_ACTIVATIONS[name])
        if name in CALLS:
            return CALLS[name](self.builder, *args, **kwargs)
        raise NotSupportedError(_unsupported(name or str(getattr(node.target, "__name__", node.target)), "call"))

    def _constant(self, node: Any, args: tuple, kwargs: dict) -> Any:
        """What does not depend on the input."""
        try:
            if node.op == "call_method":
                return getattr(args[0], node.target)(*args[1:], **kwargs)
            return node.target(*args, **kwargs)
        except (TypeError, AttributeError) as error:
            raise NotSupportedError(f"this cannot be computed without a batch ({error})") from error

    def _described(self, node: Any) -> str:
        if node.op == "call_module":
            kind = type(self.root.get_submodule(node.target))
            return f"layer {node.target!r} ({kind.__module__.partition('.modules')[0]}.{kind.__name__})"
        return f"{node.name!r} in the forward pass"


def _functions(torch: Any) -> dict[Any, str]:
    """Name by which `_Reader` knows each function."""
    names = [*AS_MODULES, *PLAIN_ACTIVATIONS, *NOTHING, *CALLS]
    owners = (torch, torch.nn.functional, operator)
    known = {getattr(owner, name): name for name in names for owner in owners if hasattr(owner, name)}
    return known | {getattr: "getattr", torch.concat: "cat", torch.true_divide: "truediv"}


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    return [leaf for item in value for leaf in _leaves(item)] if isinstance(value, list | tuple) else [value]


def _tensor(x: Any, message: str) -> Values | Sum:
    require(isinstance(x, Values | Sum), f"{message}, not {type(x).__name__}")
    return x


def _unsupported(name: str, what: str) -> str:
    hint = ""
    if "softmax" in name.lower():
        hint = 'a softmax joins several neurons; leave it out, and train with the loss "cross_entropy". '
    calls = sorted({*AS_MODULES, *PLAIN_ACTIVATIONS, *NOTHING, *CALLS})
    return (
        f"the {what} {name!r} is not supported. {hint}Supported layers: {', '.join(sorted(layers.LAYERS))}; "
        f"supported functions and methods: {', '.join(calls)}"
    )
