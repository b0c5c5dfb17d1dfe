"""PyTorch's functions and methods on tensors of neurons: arithmetic, reductions, shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..checks import require
from ..errors import NotSupportedError
from .expressions import Builder, Part, Sum, Values
from .torch_layers import array, convolved, dense, labels_of, reshaped

Tensor = Values | Sum


class Batch:
    """The size of the batch axis, in shapes that a module's own code asks for."""

    def __repr__(self) -> str:
        return "batch size"


BATCH = Batch()


def add(builder: Builder, left: Any, right: Any, alpha: float = 1.0) -> Tensor:
    """``left + alpha * right``; either may be a number, a buffer or a parameter."""
    if isinstance(left, Values | Sum) and isinstance(right, Values | Sum):
        return builder.add(left, right, alpha)
    if isinstance(left, Values | Sum):
        return builder.shift(left, *_constant(builder, right, left, alpha))
    require(alpha == 1, "alpha is only known on tensors of neurons")
    return builder.shift(right, *_constant(builder, left, right))


def subtract(builder: Builder, left: Any, right: Any, alpha: float = 1.0) -> Tensor:
    """``left - alpha * right``."""
    if isinstance(left, Values | Sum):
        return add(builder, left, right, -alpha)
    return add(builder, builder.scale(right, np.array(-alpha), None), left)


def multiply(builder: Builder, left: Any, right: Any) -> Tensor:
    """``left * right``."""
    if isinstance(left, Values | Sum) and isinstance(right, Values | Sum):
        return builder.multiply(left, right)
    x, other = (left, right) if isinstance(left, Values | Sum) else (right, left)
    return builder.scale(x, *_constant(builder, other, x))


def divide(builder: Builder, left: Any, right: Any) -> Tensor:
    """``left / right`` by a constant."""
    if not isinstance(left, Values | Sum) or isinstance(right, Values | Sum):
        raise NotSupportedError("a division is supported by constants only")
    divisor, label = _constant(builder, right, left)
    if label is not None:
        raise NotSupportedError("a division by a trained parameter is not supported; multiply by one instead")
    return builder.scale(left, 1 / divisor, None)


def negate(builder: Builder, x: Tensor) -> Tensor:
    """``-x``."""
    return builder.scale(x, np.array(-1.0), None)


def mean(builder: Builder, x: Tensor, dim: Any = None, keepdim: bool = False) -> Sum:
    """``x.mean(dim)``, not over the batch."""
    return _reduced(builder, x, dim, keepdim, "sum", average=True)


def total(builder: Builder, x: Tensor, dim: Any = None, keepdim: bool = False) -> Sum:
    """``x.sum(dim)``, not over the batch."""
    return _reduced(builder, x, dim, keepdim, "sum", average=False)


def largest(builder: Builder, x: Tensor, dim: Any = None, keepdim: bool = False) -> Sum:
    """``x.amax(dim)``, not over the batch."""
    return _reduced(builder, x, dim, keepdim, "max", average=False)


def cat(builder: Builder, tensors: Any, dim: int = 0) -> Values:
    """``torch.cat``, not along the batch."""
    for x in tensors:
        if not isinstance(x, Values | Sum):
            raise NotSupportedError("only tensors that depend on the input can be joined")
    parts = [builder.neurons(x).ids for x in tensors]
    return Values(np.concatenate(parts, _axis(dim, parts[0].ndim)))


def reshape(builder: Builder, x: Tensor, *sizes: Any) -> Tensor:
    """``x.view(...)`` and ``x.reshape(...)``, which must keep the batch axis."""
    shape = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], list | tuple) else sizes
    batch, *rest = shape
    if batch is not BATCH and (batch != -1 or -1 in rest):
        raise NotSupportedError(
            f"a reshape to {tuple(shape)} fixes or moves the batch axis; write x.size(0) or x.flatten(1)"
        )
    return reshaped(x, tuple(rest))


def size(builder: Builder, x: Tensor, dim: int | None = None) -> Any:
    """``x.size()``."""
    shape = (BATCH, *x.shape)
    return shape if dim is None else shape[dim]


def attribute(builder: Builder, x: Tensor, name: str) -> Any:
    """``x.shape`` and ``x.ndim``."""
    if name not in ("shape", "ndim"):
        raise NotSupportedError(f"the attribute {name!r} of a tensor is not supported; shape and ndim are")
    return size(builder, x) if name == "shape" else len(x.shape) + 1


def item(builder: Builder, x: Tensor, index: Any) -> Values:
    """``x[:, ...]``: any index that leaves the batch axis alone."""
    first, *rest = index if isinstance(index, tuple) else (index,)
    if first != slice(None):
        raise NotSupportedError(f"the index {index!r} does not begin with ':', so it picks samples of a batch")
    ids = builder.neurons(x).ids
    try:
        return Values(np.asarray(ids[tuple(rest)]))
    except IndexError as error:
        raise NotSupportedError(f"the index {index!r} is not supported ({error})") from error


def _linear(builder: Builder, x: Tensor, weight: Any, bias: Any = None) -> Sum:
    return dense(builder, x, weight, bias)


CALLS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("add", "add_", "iadd"), add),
    **dict.fromkeys(("sub", "sub_", "isub"), subtract),
    **dict.fromkeys(("mul", "mul_", "imul"), multiply),
    **dict.fromkeys(("div", "truediv"), divide),
    "neg": negate,
    "mean": mean,
    "sum": total,
    "amax": largest,
    "cat": cat,
    "view": reshape,
    "reshape": reshape,
    "size": size,
    "getattr": attribute,
    "getitem": item,
    "linear": _linear,
    **{f"conv{n}d": convolved for n in (1, 2, 3)},
}


def _constant(builder: Builder, value: Any, like: Tensor, factor: float = 1.0) -> tuple[np.ndarray, np.ndarray | None]:
    """A number, buffer or parameter that broadcasts against a tensor: values and labels."""
    if isinstance(value, int | float):
        return np.array(factor * value), None
    if not hasattr(value, "numel"):
        raise NotSupportedError(f"{value!r} is neither a number nor a tensor")
    values, label = array(value), labels_of(builder, value)
    if label is not None and factor != 1:
        raise NotSupportedError("a trained parameter can be added but not subtracted; change its sign")
    if values.ndim > len(like.shape):
        require(values.shape[0] == 1, f"a constant of shape {values.shape} reaches over the batch axis")
        values = values[0]
    return factor * values, None if label is None else label.reshape(values.shape)


def _axis(dim: int, ndim: int) -> int:
    """Axis without the batch, which it must not be."""
    axis = dim % (ndim + 1)
    if axis == 0:
        raise NotSupportedError("an operation over the samples of a batch is not supported")
    return axis - 1


def _reduced(builder: Builder, x: Tensor, dim: Any, keepdim: bool, aggregation: str, average: bool) -> Sum:
    ids = builder.neurons(x).ids
    if dim is None:
        raise NotSupportedError("a reduction over the whole batch is not supported; name the dimensions")
    axes = sorted({_axis(d, ids.ndim) for d in (dim if isinstance(dim, list | tuple) else (dim,))})
    kept = [axis for axis in range(ids.ndim) if axis not in axes]
    rows = ids.transpose(*kept, *axes).reshape(int(np.prod([ids.shape[axis] for axis in kept])), -1)
    shape = tuple(1 if axis in axes else n for axis, n in enumerate(ids.shape) if keepdim or axis not in axes)
    weight = np.full(rows.size, 1 / rows.shape[1] if average else 1.0)
    return Sum(shape, (Part(rows.ravel(), np.repeat(np.arange(len(rows)), rows.shape[1]), weight),), (), aggregation)
