"""What each ONNX operator does to tensors of neurons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..checks import require
from ..errors import NotSupportedError
from .expressions import Builder, Sum, Values
from .onnx_functions import AGGREGATIONS, DOMAIN, FUNCTIONS
from .onnx_gelu import Gate, gate, plus_one, times
from .onnx_tensors import (
    FIXED,
    HOLE,
    Constant,
    Move,
    Tensor,
    constant,
    contracted,
    derived,
    ids_of,
    integers,
    joined,
    moved,
    neurons,
    own,
    parts,
    reduced,
    variable,
)
from .windows import convolution as convolution_taps
from .windows import sliding, taps


class Call:
    """One node with its inputs: what an operator needs to know.

    Attributes
    ----------
    builder : Builder
    inputs : list of tensors
        None for an optional one that is not given.
    drop_zeros : bool
    count : int
        Number of outputs.
    """

    def __init__(self, builder: Builder, inputs: list[Any], attributes: dict[str, Any], count: int, drop_zeros: bool):
        self.builder, self.inputs, self.count, self.drop_zeros = builder, inputs, count, drop_zeros
        self._attributes = attributes

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        value = self._attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def input(self, i: int) -> Any:
        """An input, None if it is not given."""
        return self.inputs[i] if i < len(self.inputs) else None

    def option(self, i: int, name: str) -> list[int]:
        """A list of integers that newer operator sets take as an input and older ones as an attribute."""
        given = self.input(i)
        return integers(given, name) if given is not None else [int(v) for v in self.get(name, [])]

    def refuse(self, condition: Any, what: str, cure: str) -> None:
        """Raise `NotSupportedError` if an option has a value that has no counterpart."""
        if condition:
            raise NotSupportedError(f"{what} is not supported; use {cure}")


Operator = Callable[[Call], Any]

# -- layers ------------------------------------------------------------------------------------------------------------


def gemm(call: Call) -> Tensor:
    """``alpha * A' * B' + beta * C``."""
    a, b = call.inputs[:2]
    a = moved(call.builder, a, np.transpose) if call.get("transA", 0) else a
    b = moved(call.builder, b, np.transpose) if call.get("transB", 0) else b
    product = _product(call, a, b, call.get("alpha", 1.0))
    c = call.input(2)
    if c is None:
        return product
    beta = call.get("beta", 1.0)
    return _sum(call.builder, product, _scaled(call.builder, c, Constant(np.array(beta))) if beta != 1 else c)


def matmul(call: Call) -> Tensor:
    """Matrix product with one constant factor."""
    return _product(call, *call.inputs[:2])


def _product(call: Call, a: Tensor, b: Tensor, alpha: float = 1.0) -> Tensor:
    if isinstance(a, Constant) and isinstance(b, Constant):
        return derived(call.builder, a.value @ b.value * alpha, a, b)
    call.refuse(
        not isinstance(a, Constant) and not isinstance(b, Constant),
        "a product of two matrices that both depend on the input",
        "a constant for one of them",
    )
    if min(len(a.shape), len(b.shape)) < 2:
        first = moved(call.builder, a, lambda v: v[None]) if len(a.shape) < 2 else a
        second = moved(call.builder, b, lambda v: v[:, None]) if len(b.shape) < 2 else b
        drop = -2 if len(a.shape) < 2 else -1
        return moved(call.builder, _product(call, first, second, alpha), lambda v: v.squeeze(drop))
    require(a.shape[-1] == b.shape[-2], f"a product of shapes {a.shape} and {b.shape} does not exist")
    if isinstance(b, Constant):
        source = ids_of(call.builder, a)[..., None, :]
        weights = moved(call.builder, b, lambda v: np.swapaxes(v, -1, -2)[..., None, :, :])
    else:
        assert isinstance(a, Constant)
        source = np.swapaxes(ids_of(call.builder, b), -1, -2)[..., None, :, :]
        weights = moved(call.builder, a, lambda v: v[..., :, None, :])
    assert isinstance(weights, Constant)
    if alpha != 1:
        weights = weights._replace(value=weights.value * alpha)
    return contracted(call.builder, source, weights, call.drop_zeros)


def convolution(call: Call) -> Tensor:
    """Convolutions over any number of axes; connections share a parameter for each weight."""
    x, kernel = call.inputs[0], constant(call.inputs[1], "the kernel")
    n = len(kernel.shape) - 2
    require(len(x.shape) == n + 2, f"a kernel {kernel.shape} meets a tensor of shape {x.shape}")
    axes = _axes(call, x.shape[2:], kernel.shape[2:])
    found = convolution_taps(x.shape[1:], kernel.shape, axes, call.get("group", 1))
    source = ids_of(call.builder, x).ravel()[found.into]
    weight, label = kernel.value.ravel()[found.tap], kernel.labels().ravel()[found.tap]
    keep = label != HOLE
    if call.drop_zeros:
        keep &= weight != 0
    y = Sum((1, *found.out_shape), parts(call.builder, source[keep], found.out[keep], weight[keep], label[keep]))
    bias = call.input(2)
    return y if bias is None else _sum(call.builder, y, _by_channel(constant(bias, "the bias"), n))


def pooling(kind: str) -> Operator:
    """Max or mean of sliding windows, with frozen weights."""

    def pool(call: Call) -> Tensor:
        x, size = call.inputs[0], call.get("kernel_shape")
        call.refuse(call.count > 1, "the second output, indices of maxima,", "the first alone")
        n = len(size)
        require(len(x.shape) == n + 2, f"a window {tuple(size)} meets a tensor of shape {x.shape}")
        axes = _axes(call, x.shape[2:], size, bool(call.get("ceil_mode", 0)))
        found = taps(x.shape[2:], axes)
        places = int(np.prod(found.out_shape))
        members = np.bincount(found.out, minlength=places)
        require(members.all(), "a window lies wholly in the padding; use less padding")
        weight, aggregation = np.ones(len(found.out)), kind
        if kind == "mean" and call.get("count_include_pad", 0):
            counts = _counted(call, x.shape[2:], size, found.out_shape)
            if (counts != members).any():
                weight, aggregation = 1 / counts[found.out], "sum"
        ids = ids_of(call.builder, x).reshape(x.shape[1], -1)
        source = ids[:, found.into].ravel()
        target = (np.arange(len(ids))[:, None] * places + found.out).ravel()
        every = np.full(len(source), FIXED)
        joined_parts = parts(call.builder, source, target, np.tile(weight, len(ids)), every)
        return Sum((1, len(ids), *found.out_shape), joined_parts, aggregation=aggregation)

    return pool


def global_pooling(aggregation: str) -> Operator:
    """Max or mean of everything but batch and channels."""
    return lambda call: reduced(call.builder, call.inputs[0], range(2, len(call.inputs[0].shape)), True, aggregation)


def batch_normalization(call: Call) -> Tensor:
    """Normalization by fixed statistics."""
    call.refuse(call.get("training_mode", 0), "training_mode=1", "a model exported for inference")
    x = call.inputs[0]
    gain, shift, mean, variance = (constant(c, "a parameter") for c in call.inputs[1:5])
    factor = gain.value / np.sqrt(variance.value + call.get("epsilon", 1e-5))
    n = len(x.shape) - 2
    scaled = _folded(call.builder, x, factor) or _scaled(call.builder, x, _by_channel(Constant(factor, gain.label), n))
    return _sum(call.builder, scaled, _by_channel(Constant(shift.value - mean.value * factor, shift.label), n))


def _folded(builder: Builder, x: Tensor, factor: np.ndarray) -> Sum | None:
    return builder.folded(x, np.repeat(factor, x.size // len(factor))) if isinstance(x, Sum) else None


def _by_channel(c: Constant, n: int) -> Constant:
    """A number for each channel, as it broadcasts to a tensor with n axes behind."""
    shape = (-1, *[1] * n)
    return Constant(c.value.reshape(shape), c.labels().reshape(shape))


def _axes(call: Call, sizes: Sequence[int], kernel: Sequence[int], ceil: bool = False) -> list[np.ndarray]:
    """What each window reads along each axis."""
    strides, dilations, around = _spacing(call, sizes, kernel)
    return [
        sliding(n, k, s, *p, d, ceil) for n, k, s, p, d in zip(sizes, kernel, strides, around, dilations, strict=True)
    ]


def _spacing(
    call: Call, sizes: Sequence[int], kernel: Sequence[int]
) -> tuple[Sequence[int], Sequence[int], list[tuple[int, int]]]:
    """Strides, dilations and padding before and after."""
    n = len(kernel)
    strides, dilations = call.get("strides", [1] * n), call.get("dilations", [1] * n)
    auto = call.get("auto_pad", "NOTSET")
    if auto.startswith("SAME"):
        total = [
            max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
            for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True)
        ]
        less, more = [t // 2 for t in total], [t - t // 2 for t in total]
        return strides, dilations, list(zip(*((less, more) if auto == "SAME_UPPER" else (more, less)), strict=True))
    pads = call.get("pads", [0] * (2 * n)) if auto == "NOTSET" else [0] * (2 * n)
    return strides, dilations, list(zip(pads[:n], pads[n:], strict=True))


def _counted(call: Call, sizes: Sequence[int], kernel: Sequence[int], out: Sequence[int]) -> np.ndarray:
    """Places of each window that lie in the image or its padding."""
    counts = np.ones((), np.int64)
    for size, k, s, d, (before, after), n in zip(sizes, kernel, *_spacing(call, sizes, kernel), out, strict=True):
        last = np.arange(n)[:, None] * s - before + np.arange(k) * d
        counts = np.multiply.outer(counts, (last < size + after).sum(axis=1))
    return counts.ravel()


# -- arithmetic --------------------------------------------------------------------------------------------------------


def add(call: Call) -> Tensor | Gate:
    """Bias or residual."""
    if any(isinstance(x, Gate) for x in call.inputs):
        return plus_one(*call.inputs)
    total = call.inputs[0]
    for term in call.inputs[1:]:
        total = _sum(call.builder, total, term)
    return total


def subtract(call: Call) -> Tensor:
    """Difference."""
    a, b = call.inputs
    if isinstance(b, Constant):
        return _sum(call.builder, a, _negated(call.builder, b))
    if isinstance(a, Constant):
        return _sum(call.builder, _scaled(call.builder, b, Constant(np.array(-1.0))), a)
    return call.builder.add(a, b, factor=-1.0)


def multiply(call: Call) -> Tensor | Gate:
    """Factors, constant or not."""
    a, b = call.inputs
    if isinstance(a, Gate) or isinstance(b, Gate):
        return times(call.builder, a, b)
    if isinstance(b, Constant) or isinstance(a, Constant):
        return _scaled(call.builder, *((a, b) if isinstance(b, Constant) else (b, a)))
    return call.builder.multiply(a, b)


def divide(call: Call) -> Tensor:
    """By a constant."""
    a, b = call.inputs
    b = constant(b, "the divisor")
    if isinstance(a, Constant):
        quotient = a.value // b.value if a.value.dtype.kind in "iu" else a.value / b.value
        return derived(call.builder, quotient, a, b)
    return _scaled(call.builder, a, derived(call.builder, 1 / b.value, b))


def negative(call: Call) -> Tensor:
    """Minus."""
    x = call.inputs[0]
    if isinstance(x, Constant):
        return _negated(call.builder, x)
    return _scaled(call.builder, x, Constant(np.array(-1.0)))


def power(call: Call) -> Tensor:
    """Squares and cubes."""
    exponent = constant(call.inputs[1], "the exponent").value
    name = {2.0: "square", 3.0: "cube"}.get(float(exponent.flat[0])) if exponent.size == 1 else None
    call.refuse(name is None, f"the exponent {exponent.ravel()[:3].tolist()}", "2 or 3")
    return neurons(call.builder, call.inputs[0], name)


def elementwise(aggregation: str) -> Operator:
    """Tensors joined element by element by an aggregation."""

    def combine(call: Call) -> Tensor:
        tensors = [ids_of(call.builder, x) for x in call.inputs]
        return reduced(call.builder, Values(np.stack(np.broadcast_arrays(*tensors))), [0], False, aggregation)

    return combine


def reduction(aggregation: str) -> Operator:
    """Elements joined along axes."""

    def reduce(call: Call) -> Tensor:
        axes = call.option(1, "axes")
        call.refuse(
            call.get("noop_with_empty_axes", 0) and not axes, "noop_with_empty_axes without axes", "axes, or Identity"
        )
        return reduced(call.builder, call.inputs[0], axes, bool(call.get("keepdims", 1)), aggregation)

    return reduce


def aggregated(name: str) -> Operator:
    """One of the aggregations over the first axis that `to_onnx` writes."""
    return lambda call: reduced(call.builder, call.inputs[0], [0], False, name)


def _sum(builder: Builder, a: Tensor, b: Tensor) -> Tensor:
    if isinstance(a, Constant):
        a, b = b, a
    if isinstance(a, Constant) and isinstance(b, Constant):
        return derived(builder, a.value + b.value, a, b)
    assert not isinstance(a, Constant)
    if isinstance(b, Constant):
        label = b.labels()
        return builder.shift(a, b.value, own(builder, label) if (label >= 0).any() else None)
    return builder.add(a, b)


def _scaled(builder: Builder, x: Tensor, factor: Constant) -> Tensor:
    if isinstance(x, Constant):
        return derived(builder, x.value * factor.value, x, factor)
    label = factor.labels()
    return builder.scale(x, factor.value, own(builder, label) if (label >= 0).any() else None)


def _negated(builder: Builder, c: Constant) -> Constant:
    return derived(builder, -c.value, c)


# -- activation functions ----------------------------------------------------------------------------------------------


def activation(name: str) -> Operator:
    """An activation function without options."""
    return lambda call: neurons(call.builder, call.inputs[0], name)


def with_option(name: str, option: str, default: float) -> Operator:
    """An activation function with a number."""
    return lambda call: neurons(call.builder, call.inputs[0], (name, float(call.get(option, default))))


def selu(call: Call) -> Tensor:
    """With the constants of the paper."""
    given = call.get("alpha", 1.67326), call.get("gamma", 1.0507)
    call.refuse(abs(given[0] - 1.67326) > 1e-4 or abs(given[1] - 1.0507) > 1e-4, f"alpha, gamma = {given}", "defaults")
    return neurons(call.builder, call.inputs[0], "selu")


def gelu(call: Call) -> Tensor:
    """The exact one."""
    call.refuse(call.get("approximate", "none") != "none", "approximate='tanh'", "approximate='none'")
    return neurons(call.builder, call.inputs[0], "gelu")


def error_function(call: Call) -> Gate:
    """The beginning of a GELU in single steps."""
    return gate(call.inputs[0])


def swish(call: Call) -> Tensor:
    """With alpha 1."""
    call.refuse(call.get("alpha", 1.0) != 1, f"alpha={call.get('alpha')}", "1")
    return neurons(call.builder, call.inputs[0], "silu")


def clip(call: Call) -> Tensor:
    """ReLU with a bound, or clamped to -1..1."""
    low, high = (
        constant(call.input(i), "a bound").value.item() if call.input(i) is not None else call.get(name, infinite)
        for i, name, infinite in ((1, "min", -np.inf), (2, "max", np.inf))
    )
    if (low, high) == (-1, 1):
        return neurons(call.builder, call.inputs[0], "clamped")
    call.refuse(low != 0 or not high > 0, f"clipping to {low}..{high}", "0..a or -1..1")
    return neurons(call.builder, call.inputs[0], ("clipped_relu", high) if high < 1e30 else "relu")


def sloped(call: Call) -> Tensor:
    """Leaky ReLU with a slope for each element."""
    return _with_parameters(call, "leaky_relu", call.inputs[1])


def function(name: str) -> Operator:
    """One of the functions that `to_onnx` writes."""
    if len(FUNCTIONS[name][0].split(",")) == 1:
        return activation(name)
    return lambda call: _with_parameters(call, name, call.inputs[1])


def _with_parameters(call: Call, name: str, parameters: Tensor) -> Tensor:
    x = variable(call.builder, call.inputs[0])
    values = np.broadcast_to(constant(parameters, "the parameter").value, x.shape).ravel()
    return call.builder.neurons(x, [(name, float(value)) for value in values])


# -- shapes ------------------------------------------------------------------------------------------------------------


def move(make: Callable[[Call], Move]) -> Operator:
    """An operator that only picks and arranges elements."""
    return lambda call: moved(call.builder, call.inputs[0], make(call))


def reshape(call: Call) -> Move:
    """0 copies a size, -1 takes what is left."""
    x, wanted = call.inputs[0], integers(call.inputs[1], "the shape")
    if not call.get("allowzero", 0):
        wanted = [x.shape[i] if size == 0 else size for i, size in enumerate(wanted)]
    return _reshaped(x, wanted)


def flatten(call: Call) -> Move:
    """To two axes."""
    x, axis = call.inputs[0], call.get("axis", 1)
    axis = axis + len(x.shape) if axis < 0 else axis
    return _reshaped(x, [int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:]))])


def _reshaped(x: Tensor, shape: Sequence[int]) -> Move:
    size, known = int(np.prod(x.shape)), int(np.prod([n for n in shape if n != -1]))
    require(
        size == known or (-1 in shape and known and size % known == 0),
        f"a sample of shape {x.shape} cannot be reshaped to {tuple(shape)}; export the model with a dynamic batch axis",
    )
    return lambda v: v.reshape(shape)


def transpose(call: Call) -> Move:
    """By default all axes turned round."""
    return lambda v: v.transpose(call.get("perm"))


def squeeze(call: Call) -> Move:
    """Axes of length 1 away."""
    axes = call.option(1, "axes")
    return lambda v: v.squeeze(tuple(axes) if axes else None)


def unsqueeze(call: Call) -> Move:
    """New axes of length 1."""
    axes = call.option(1, "axes")
    return lambda v: np.expand_dims(v, tuple(axes))


def gather(call: Call) -> Move:
    """Entries along an axis."""
    index = constant(call.inputs[1], "an index").value
    return lambda v: np.take(v, index, axis=call.get("axis", 0))


def expand(call: Call) -> Move:
    """Broadcast."""
    shape = integers(call.inputs[1], "the shape")
    return lambda v: np.broadcast_to(v, np.broadcast_shapes(v.shape, tuple(shape)))


def slices(call: Call) -> Move:
    """From starts to ends, by steps, along axes."""
    starts, ends, axes, steps = (call.option(i, name) for i, name in enumerate(("starts", "ends", "axes", "steps"), 1))
    along = axes or range(len(starts))
    index = dict(zip(along, zip(starts, ends, steps or [1] * len(starts), strict=True), strict=True))

    def cut(v: np.ndarray) -> np.ndarray:
        key = [slice(None)] * v.ndim
        for axis, (start, end, step) in index.items():
            # An end far below zero, walking backwards, means the very first.
            key[axis] = slice(start, None if step < 0 and end < -v.shape[axis] else end, step)
        return v[tuple(key)]

    return cut


def split(call: Call) -> list[Tensor]:
    """Consecutive pieces along an axis."""
    x, axis, sizes = call.inputs[0], call.get("axis", 0), call.option(1, "split")
    if not sizes:
        each = -(-x.shape[axis] // call.count)
        sizes = [each] * (call.count - 1) + [x.shape[axis] - each * (call.count - 1)]
    ends = np.cumsum(sizes)
    ranges: list[Any] = [np.arange(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    return [moved(call.builder, x, partial(np.take, indices=along, axis=axis)) for along in ranges]


def scatter(call: Call) -> Tensor:
    """Constants written into constants."""
    data, index, updates = (constant(c, "an operand") for c in call.inputs)
    call.refuse(call.get("reduction", "none") != "none", f"reduction={call.get('reduction')!r}", "none")
    axis, where = call.get("axis", 0), index.value.astype(np.int64)
    value, label = data.value.copy(), data.labels().copy()
    np.put_along_axis(value, where, updates.value, axis)
    np.put_along_axis(label, where, updates.labels(), axis)
    return Constant(value, label)


def filled(call: Call) -> Tensor:
    """A constant of one number; zeros are space to be filled."""
    shape, given = integers(call.inputs[0], "the shape"), call.get("value")
    fill = np.zeros(1, np.float32) if given is None else given
    value = np.full(shape, fill[0], fill.dtype)
    return Constant(value, np.full(shape, FIXED if fill[0] else HOLE) if value.dtype.kind == "f" else None)


def shape_of(call: Call) -> Tensor:
    """Sizes of the axes; the batch counts 1."""
    return Constant(np.array(call.inputs[0].shape[call.get("start", 0) : call.get("end")], np.int64))


def cast(call: Call) -> Tensor:
    """Between kinds of numbers; neurons have one precision."""
    x = call.inputs[0]
    target = call.get("to")
    if isinstance(x, Constant):
        dtype = {1: np.float32, 11: np.float64, 6: np.int32, 7: np.int64}.get(target)
        call.refuse(dtype is None, f"a cast to type {target}", "float, double, int32 or int64")
        return Constant(x.value.astype(dtype), x.label)
    call.refuse(target not in (1, 11), f"a cast of values to type {target}", "float or double")
    return x


def literal(call: Call) -> Tensor:
    """A constant in the graph; a single number is no parameter."""
    for name, dtype in (("value_float", np.float32), ("value_floats", np.float32), ("value_int", np.int64)):
        if call.get(name) is not None:
            return Constant(np.array(call.get(name), dtype))
    value = call.get("value")
    if value is None:
        value = np.array(call.get("value_ints"), np.int64)
    if value.dtype.kind != "f" or value.size == 1:
        return Constant(value)
    return Constant(value, call.builder.labels(object(), value.size).reshape(value.shape))


OPERATORS: dict[tuple[str, str], Operator] = {
    ("", name): operator
    for name, operator in {
        "Gemm": gemm,
        "MatMul": matmul,
        "Conv": convolution,
        "MaxPool": pooling("max"),
        "AveragePool": pooling("mean"),
        "GlobalAveragePool": global_pooling("mean"),
        "GlobalMaxPool": global_pooling("max"),
        "BatchNormalization": batch_normalization,
        "Add": add,
        "Sum": add,
        "Sub": subtract,
        "Mul": multiply,
        "Div": divide,
        "Neg": negative,
        "Pow": power,
        "Max": elementwise("max"),
        "Min": elementwise("min"),
        "Mean": elementwise("mean"),
        "ReduceSum": reduction("sum"),
        "ReduceMean": reduction("mean"),
        "ReduceProd": reduction("product"),
        "ReduceMax": reduction("max"),
        "ReduceMin": reduction("min"),
        **{
            name: activation(ours)
            for name, ours in {
                "Relu": "relu",
                "Sigmoid": "sigmoid",
                "Tanh": "tanh",
                "Softplus": "softplus",
                "Sin": "sin",
                "Abs": "abs",
                "Exp": "exp",
                "Log": "log",
                "Reciprocal": "inv",
            }.items()
        },
        "LeakyRelu": with_option("leaky_relu", "alpha", 0.01),
        "Elu": with_option("elu", "alpha", 1.0),
        "PRelu": sloped,
        "Selu": selu,
        "Gelu": gelu,
        "Erf": error_function,
        "Swish": swish,
        "Clip": clip,
        "Identity": lambda call: call.inputs[0],
        "Dropout": lambda call: call.inputs[0],
        "Flatten": move(flatten),
        "Reshape": move(reshape),
        "Transpose": move(transpose),
        "Squeeze": move(squeeze),
        "Unsqueeze": move(unsqueeze),
        "Gather": move(gather),
        "Slice": move(slices),
        "Expand": move(expand),
        "Split": split,
        "Concat": lambda call: joined(call.builder, call.inputs, call.get("axis")),
        "ScatterElements": scatter,
        "ConstantOfShape": filled,
        "Shape": shape_of,
        "Cast": cast,
        "Constant": literal,
    }.items()
}
OPERATORS |= {(DOMAIN, name): function(name) for name in FUNCTIONS}
OPERATORS |= {(DOMAIN, name): aggregated(name) for name in AGGREGATIONS}
