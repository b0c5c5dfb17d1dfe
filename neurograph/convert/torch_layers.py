"""PyTorch's layers as sums: what each module does to a tensor of neurons, with the parameters' labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..checks import require
from ..errors import NotSupportedError
from .expressions import Bias, Builder, Part, Sum, Values
from .windows import Taps, adaptive, sliding, taps
from .windows import convolution as convolution_taps

Tensor = Values | Sum
Layer = Callable[[Builder, Any, Tensor], Tensor]


def linear(builder: Builder, module: Any, x: Tensor) -> Sum:
    """``torch.nn.Linear``, on the last axis."""
    return dense(builder, x, module.weight, module.bias)


def dense(builder: Builder, x: Tensor, weight: Any, bias: Any) -> Sum:
    """``torch.nn.functional.linear``."""
    ids = builder.neurons(x).ids
    n_out, n_in = weight.shape
    require(x.shape[-1:] == (n_in,), f"it takes {n_in} features, but what arrives has the shape {x.shape}")
    rows = ids.reshape(-1, 1, n_in)
    source = np.broadcast_to(rows, (len(rows), n_out, n_in)).ravel()
    target = np.repeat(np.arange(len(rows) * n_out), n_in)
    values, label = array(weight), labels_of(builder, weight)
    part = Part(source, target, np.tile(values.ravel(), len(rows)), tiled(label, len(rows)))
    shape = (*x.shape[:-1], n_out)
    return Sum(shape, (part,), biases_of(builder, bias, shape, axis=-1))


def convolution(builder: Builder, module: Any, x: Tensor) -> Sum:
    """``torch.nn.Conv1d``, ``Conv2d`` and ``Conv3d``."""
    refuse(module.padding_mode != "zeros", f"padding_mode={module.padding_mode!r}", "zeros")
    return convolved(
        builder, x, module.weight, module.bias, module.stride, module.padding, module.dilation, module.groups
    )


def convolved(
    builder: Builder,
    x: Tensor,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Sum:
    """``torch.nn.functional.conv1d``, ``conv2d`` and ``conv3d``."""
    kernel = weight.shape[2:]
    n = len(kernel)
    ids = builder.neurons(x).ids
    strides, dilations = spread(stride, n), spread(dilation, n)
    if isinstance(padding, str):
        total = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilations, kernel, strict=True)]
        around = [(t // 2, t - t // 2) for t in total]
    else:
        around = [(p, p) for p in spread(padding, n)]
    require(ids.ndim == n + 1, f"it takes channels and {n} axes, but what arrives has the shape {x.shape}")
    sizes = zip(ids.shape[1:], kernel, strides, around, dilations, strict=True)
    axes = [sliding(size, k, s, *p, d) for size, k, s, p, d in sizes]
    found = convolution_taps(ids.shape, weight.shape, axes, groups)
    values, label = array(weight).ravel(), labels_of(builder, weight)
    part = Part(ids.ravel()[found.into], found.out, values[found.tap], None if label is None else label[found.tap])
    return Sum(found.out_shape, (part,), biases_of(builder, bias, found.out_shape, axis=0))


def max_pool(builder: Builder, module: Any, x: Tensor) -> Sum:
    """``torch.nn.MaxPool1d`` to ``MaxPool3d``."""
    refuse(module.return_indices, "return_indices=True", "False")
    _, sum_of = _pooled(builder, module, x, module.dilation)
    return sum_of(None, "max")


def average_pool(builder: Builder, module: Any, x: Tensor) -> Sum:
    """``torch.nn.AvgPool1d`` to ``AvgPool3d``."""
    n = len(x.shape) - 1
    found, sum_of = _pooled(builder, module, x, 1)
    divisor: Any = getattr(module, "divisor_override", None)
    if divisor is None and module.count_include_pad:
        # Padding counts, but what a rounded-up number of windows reads beyond it does not.
        sizes = zip(x.shape[1:], *_windows_of(module, n), found.out_shape, strict=True)
        counts = [
            np.minimum(np.arange(out) * s - p + k, size + p) - (np.arange(out) * s - p) for size, k, s, p, out in sizes
        ]
        divisor = _outer(counts)
    elif divisor is None:
        divisor = np.bincount(found.out, minlength=int(np.prod(found.out_shape)))
    return sum_of(1.0 / np.broadcast_to(divisor, int(np.prod(found.out_shape))), "sum")


def adaptive_average_pool(builder: Builder, module: Any, x: Tensor) -> Sum:
    """``torch.nn.AdaptiveAvgPool1d`` to ``AdaptiveAvgPool3d``."""
    return _adaptive(builder, module, x, "sum")


def adaptive_max_pool(builder: Builder, module: Any, x: Tensor) -> Sum:
    """``torch.nn.AdaptiveMaxPool1d`` to ``AdaptiveMaxPool3d``."""
    refuse(module.return_indices, "return_indices=True", "False")
    return _adaptive(builder, module, x, "max")


def batch_norm(builder: Builder, module: Any, x: Tensor) -> Tensor:
    """``torch.nn.BatchNorm1d`` to ``BatchNorm3d`` with its running statistics, folded into the layer before it."""
    refuse(module.running_mean is None, "track_running_stats=False", "True, since only running statistics are fixed")
    mean, deviation = array(module.running_mean), np.sqrt(array(module.running_var) + module.eps)
    gain, shift = module.weight, module.bias
    require(
        len(x.shape) > 0 and x.shape[0] == len(mean),
        f"it takes {len(mean)} channels, but what arrives has the shape {x.shape}",
    )
    channels = (-1,) + (1,) * (len(x.shape) - 1)
    factor = (1.0 if gain is None else array(gain)) / deviation
    constant = (0.0 if shift is None else array(shift)) - mean * factor
    label = None if shift is None else labels_of(builder, shift)
    scaled = builder.folded(x, np.repeat(factor, x.size // len(factor))) if isinstance(x, Sum) else None
    if scaled is None:
        gains = None if gain is None else labels_of(builder, gain)
        scaled = builder.scale(x, factor.reshape(channels), None if gains is None else gains.reshape(channels))
    return builder.shift(scaled, constant.reshape(channels), None if label is None else label.reshape(channels))


def flatten(builder: Builder, module: Any, x: Tensor) -> Tensor:
    """``torch.nn.Flatten``."""
    n = len(x.shape) + 1
    start, end = module.start_dim % n, module.end_dim % n
    refuse(start == 0, "start_dim=0, which joins the samples of a batch", "1 or more")
    return reshaped(x, (*x.shape[: start - 1], -1, *x.shape[end:]))


def reshaped(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Another shape in C order, without the batch axis; one entry may be -1."""
    size = int(np.prod(x.shape, dtype=np.int64))
    known = int(np.prod([n for n in shape if n != -1], dtype=np.int64))
    require(
        size == known or (-1 in shape and known and size % known == 0),
        f"{x.shape} cannot be reshaped to {shape}; a sample must stay a sample",
    )
    shape = tuple(size // known if n == -1 else n for n in shape)
    return replace(x, shape=shape) if isinstance(x, Sum) else Values(x.ids.reshape(shape))


def identity(builder: Builder, module: Any, x: Tensor) -> Tensor:
    """Dropout, in evaluation mode, and other modules that do nothing."""
    return x


def activation(spec: Callable[[Any], Any]) -> Layer:
    """The layer of an activation function; ``spec(module)`` is its name here."""
    return lambda builder, module, x: builder.neurons(x, spec(module))


def hardtanh(module: Any) -> Any:
    """``torch.nn.Hardtanh`` and ``ReLU6``: clamped, or clipped_relu."""
    bounds = module.min_val, module.max_val
    if bounds == (-1, 1):
        return "clamped"
    refuse(bounds[0] != 0, f"bounds {bounds}", "(-1, 1) or (0, upper)")
    return ("clipped_relu", float(bounds[1]))


def only(name: Any, **fixed: Any) -> Callable[[Any], Any]:
    """An activation whose options must have certain values."""

    def spec(module: Any) -> Any:
        for option, value in fixed.items():
            given = getattr(module, option)
            refuse(given != value, f"{option}={given!r}", repr(value))
        return name

    return spec


def softplus(module: Any) -> Any:
    """``torch.nn.Softplus``; beyond its threshold PyTorch's is linear, which changes nothing in single precision."""
    refuse(module.beta != 1, f"beta={module.beta}", "1")
    refuse(module.threshold < 15, f"threshold={module.threshold}", "15 or more")
    return "softplus"


LAYERS: dict[str, Layer] = {
    "Linear": linear,
    "Flatten": flatten,
    "ReLU": activation(only("relu")),
    "ReLU6": activation(hardtanh),
    "Hardtanh": activation(hardtanh),
    "LeakyReLU": activation(lambda module: ("leaky_relu", float(module.negative_slope))),
    "ELU": activation(lambda module: ("elu", float(module.alpha))),
    "CELU": activation(only("elu", alpha=1.0)),
    "SELU": activation(only("selu")),
    "GELU": activation(only("gelu", approximate="none")),
    "SiLU": activation(only("silu")),
    "Sigmoid": activation(only("sigmoid")),
    "Tanh": activation(only("tanh")),
    "Softplus": activation(softplus),
    **dict.fromkeys(("Identity", "Dropout", "AlphaDropout", "FeatureAlphaDropout"), identity),
    **{f"Dropout{n}d": identity for n in (1, 2, 3)},
    **{f"Conv{n}d": convolution for n in (1, 2, 3)},
    **{f"MaxPool{n}d": max_pool for n in (1, 2, 3)},
    **{f"AvgPool{n}d": average_pool for n in (1, 2, 3)},
    **{f"AdaptiveAvgPool{n}d": adaptive_average_pool for n in (1, 2, 3)},
    **{f"AdaptiveMaxPool{n}d": adaptive_max_pool for n in (1, 2, 3)},
    **{f"BatchNorm{n}d": batch_norm for n in (1, 2, 3)},
}


def array(tensor: Any) -> np.ndarray:
    """A tensor as float64."""
    return tensor.detach().cpu().double().numpy()


def labels_of(builder: Builder, parameter: Any) -> np.ndarray | None:
    """One label for each element of a parameter, flat; None for a tensor that is not trained."""
    return builder.labels(parameter, parameter.numel()) if parameter.requires_grad else None


def tiled(label: np.ndarray | None, times: int) -> np.ndarray | None:
    """Labels again and again, if there are any."""
    return None if label is None else np.tile(label, times)


def biases_of(builder: Builder, bias: Any, shape: tuple[int, ...], axis: int) -> tuple[Bias, ...]:
    """A bias for each place along one axis."""
    if bias is None:
        return ()
    along = [1] * len(shape)
    along[axis] = -1
    every, label = np.broadcast_to(array(bias).reshape(along), shape).ravel(), labels_of(builder, bias)
    return (Bias(every, None if label is None else np.broadcast_to(label.reshape(along), shape).ravel()),)


def spread(value: Any, n: int) -> tuple[int, ...]:
    """One number for each of n axes."""
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    return values * n if len(values) == 1 else values


def refuse(condition: Any, what: str, cure: str) -> None:
    """Raise `NotSupportedError` if an option has a value that has no counterpart."""
    if condition:
        raise NotSupportedError(f"{what} is not supported; use {cure}")


def _windows_of(module: Any, n: int) -> tuple[tuple[int, ...], ...]:
    """Kernel, stride and padding."""
    kernel = spread(module.kernel_size, n)
    stride = kernel if module.stride in (None, ()) else spread(module.stride, n)
    return kernel, stride, spread(module.padding, n)


def _pooled(builder: Builder, module: Any, x: Tensor, dilation: Any) -> tuple[Taps, Callable[[Any, str], Sum]]:
    n = _axes(module, x)
    kernel, stride, padding = _windows_of(module, n)
    sizes = zip(x.shape[1:], kernel, stride, padding, spread(dilation, n), strict=True)
    found = taps(x.shape[1:], [sliding(size, k, s, p, p, d, module.ceil_mode) for size, k, s, p, d in sizes])
    return found, lambda factor, aggregation: _by_channel(builder, x, found, factor, aggregation)


def _adaptive(builder: Builder, module: Any, x: Tensor, aggregation: str) -> Sum:
    n = _axes(module, x)
    wanted = spread(module.output_size, n)
    counts = [size if count is None else count for size, count in zip(x.shape[1:], wanted, strict=True)]
    found = taps(x.shape[1:], [adaptive(size, count) for size, count in zip(x.shape[1:], counts, strict=True)])
    average = 1.0 / np.bincount(found.out, minlength=int(np.prod(found.out_shape)))
    return _by_channel(builder, x, found, average if aggregation == "sum" else None, aggregation)


def _axes(module: Any, x: Tensor) -> int:
    n = int(type(module).__name__[-2])
    require(len(x.shape) == n + 1, f"it takes (channels, {n} axes), but what arrives has the shape {x.shape}")
    return n


def _by_channel(builder: Builder, x: Tensor, found: Taps, factor: np.ndarray | None, aggregation: str) -> Sum:
    """Every channel for itself; ``factor`` is a number for each place in the output, or None for 1."""
    ids = builder.neurons(x).ids
    source = ids.reshape(len(ids), -1)[:, found.into]
    places = int(np.prod(found.out_shape))
    target = np.arange(len(ids))[:, None] * places + found.out
    weight = np.ones(source.size) if factor is None else np.tile(factor[found.out], len(ids))
    return Sum((len(ids), *found.out_shape), (Part(source.ravel(), target.ravel(), weight),), aggregation=aggregation)


def _outer(counts: list[np.ndarray]) -> np.ndarray:
    product = np.ones(())
    for count in counts:
        product = np.multiply.outer(product, count)
    return product.ravel()
