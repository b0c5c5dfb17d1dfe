"""Tensors of an ONNX graph while it is read: constants, outputs of neurons, and sums that are not neurons yet.

The batch axis is there as an axis of length 1, so that every shape is what the graph computes for one sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..checks import require
from ..errors import NotSupportedError
from .expressions import Bias, Builder, Part, Sum, Values

FIXED, HOLE = -1, -2  # labels of a number that is no parameter, and of one that is not there (a zero that fills space)


class Constant(NamedTuple):
    """Numbers; real ones have a label each, which says what parameter they are."""

    value: np.ndarray
    label: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the numbers."""
        return self.value.shape

    def labels(self) -> np.ndarray:
        """A label for each number."""
        return np.full(self.shape, FIXED) if self.label is None else self.label


Tensor = Constant | Values | Sum
Move = Callable[[np.ndarray], np.ndarray]


def moved(builder: Builder, x: Tensor, move: Move) -> Tensor:
    """A tensor whose elements are picked and arranged anew."""
    if isinstance(x, Constant):
        return Constant(move(x.value), None if x.label is None else move(x.label))
    if isinstance(x, Values):
        return Values(move(x.ids))
    place = move(np.arange(x.size).reshape(x.shape))
    to = np.full(x.size, -1)
    to[place.ravel()] = np.arange(place.size)
    if (to >= 0).sum() < place.size:  # some element twice: what several share must be neurons
        return Values(move(builder.neurons(x).ids))
    parts = []
    for part in x.parts:
        target = to[part.target]
        keep = target >= 0
        label = None if part.label is None else part.label[keep]
        parts.append(Part(part.source[keep], target[keep], part.weight[keep], label))
    flat = place.ravel()
    biases = [Bias(b.value[flat], None if b.label is None else b.label[flat]) for b in x.biases]
    return Sum(place.shape, tuple(parts), tuple(biases), x.aggregation)


def joined(builder: Builder, tensors: Sequence[Tensor], axis: int) -> Tensor:
    """Tensors one after the other along an axis."""
    constants = [t for t in tensors if isinstance(t, Constant)]
    if len(constants) == len(tensors):
        label = None if all(c.label is None for c in constants) else [c.labels() for c in constants]
        value = np.concatenate([c.value for c in constants], axis)
        return Constant(value, None if label is None else np.concatenate(label, axis))
    sums = [t for t in tensors if isinstance(t, Sum)]
    if len(sums) < len(tensors) or len({t.aggregation for t in sums}) > 1 or not _alike(sums):
        return Values(np.concatenate([neurons(builder, t).ids for t in tensors], axis))
    sizes = np.cumsum([0] + [t.size for t in sums])
    place = np.concatenate([a + np.arange(t.size).reshape(t.shape) for t, a in zip(sums, sizes, strict=False)], axis)
    to = np.empty(place.size, np.int64)
    to[place.ravel()] = np.arange(place.size)
    parts = [
        replace(part, target=to[part.target + start]) for t, start in zip(sums, sizes, strict=False) for part in t.parts
    ]
    biases = []
    for several in zip(*(t.biases for t in sums), strict=True):
        value = np.concatenate([bias.value for bias in several])[place.ravel()]
        label = [bias.label for bias in several if bias.label is not None]
        biases.append(Bias(value, np.concatenate(label)[place.ravel()] if label else None))
    return Sum(place.shape, tuple(parts), tuple(biases), sums[0].aggregation)


def _alike(sums: Sequence[Sum]) -> bool:
    """Whether sums have the same kinds of biases."""
    return len({tuple(bias.label is None for bias in t.biases) for t in sums}) == 1


def variable(builder: Builder, x: Tensor) -> Values | Sum:
    """A tensor as one that neurons compute; constants become biases of neurons without connections."""
    if not isinstance(x, Constant):
        return x
    label = x.labels().ravel()
    return Sum(x.shape, (), (Bias(x.value.ravel(), own(builder, label) if (label >= 0).any() else None),))


def neurons(builder: Builder, x: Tensor, activation: Any = "identity") -> Values:
    """Neurons with the values of a tensor, or with an activation function of them."""
    return builder.neurons(variable(builder, x), activation)


def own(builder: Builder, label: np.ndarray) -> np.ndarray:
    """Labels where the numbers that are no parameters, among others that are, become parameters too."""
    fixed = label < 0
    if not fixed.any():
        return label
    label = label.copy()
    label[fixed] = builder.labels(object(), int(fixed.sum()))
    return label


def derived(builder: Builder, value: np.ndarray, *operands: Constant) -> Constant:
    """A constant computed of others: parameters of its own if they are parameters."""
    if value.dtype.kind != "f":
        return Constant(value)
    trained = any((c.labels() >= 0).any() for c in operands)
    return Constant(value, builder.labels(object(), value.size).reshape(value.shape) if trained else None)


def contracted(builder: Builder, source: np.ndarray, weights: Constant, drop_zeros: bool = False) -> Sum:
    """Sums over the last axis of ids times weights, which broadcast against each other.

    Parameters
    ----------
    builder : Builder
    source : array of int
        Ids; negative where there is nothing.
    weights : Constant
    drop_zeros : bool
        Make no connections of weight 0.
    """
    shape = np.broadcast_shapes(source.shape, weights.shape)
    label = np.broadcast_to(weights.labels(), shape)
    weight = np.broadcast_to(weights.value, shape)
    source = np.broadcast_to(source, shape)
    keep = (source >= 0) & (label != HOLE)
    if drop_zeros:
        keep &= weight != 0
    target = np.broadcast_to(np.arange(int(np.prod(shape[:-1]))).reshape(*shape[:-1], 1), shape)[keep]
    return Sum(shape[:-1], parts(builder, source[keep], target, weight[keep], label[keep]))


def parts(
    builder: Builder, source: np.ndarray, target: np.ndarray, weight: np.ndarray, label: np.ndarray
) -> tuple[Part, ...]:
    """Connections, those of parameters apart from fixed ones; a pair that occurs again takes a way round by neurons."""
    if len(source):
        _, first = np.unique(target * (int(source.max()) + 1) + source, return_index=True)
        if len(first) < len(source):
            again = np.ones(len(source), bool)
            again[first] = False
            source = source.copy()
            source[again] = builder.neurons(builder.copied(Values(source[again]))).ids
    trained = label >= 0
    found = []
    if trained.any():
        found.append(Part(source[trained], target[trained], weight[trained], label[trained]))
    if not trained.all():
        found.append(Part(source[~trained], target[~trained], weight[~trained]))
    return tuple(found)


def reduced(builder: Builder, x: Tensor, axes: Sequence[int], keep: bool, aggregation: str) -> Sum:
    """Elements joined along axes; a factor that they had becomes their weight."""
    x = variable(builder, x)
    if isinstance(x, Values) or not _is_terms(x):
        x = builder.copied(builder.neurons(x))
    n = len(x.shape)
    axes = sorted({axis % n for axis in axes}) if len(axes) else list(range(n))
    kept = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    to = np.broadcast_to(np.arange(int(np.prod(kept))).reshape(kept), x.shape).ravel()
    source = np.concatenate([part.source for part in x.parts])
    target = np.concatenate([to[part.target] for part in x.parts])
    weight = np.concatenate([part.weight for part in x.parts])
    label = np.concatenate([np.full(len(p.source), FIXED) if p.label is None else p.label for p in x.parts])
    shape = tuple(kept) if keep else tuple(size for axis, size in enumerate(x.shape) if axis not in axes)
    return Sum(shape, parts(builder, source, target, weight, label), aggregation=aggregation)


def _is_terms(x: Sum) -> bool:
    """Whether each element is one neuron times a factor."""
    count = np.bincount(np.concatenate([part.target for part in x.parts] or [np.zeros(0, np.int64)]), minlength=x.size)
    return x.aggregation == "sum" and not x.biases and bool((count == 1).all())


def ids_of(builder: Builder, x: Tensor) -> np.ndarray:
    """Ids of the neurons of a tensor."""
    return neurons(builder, x).ids


def constant(x: Tensor, what: str) -> Constant:
    """A tensor that must not depend on the input."""
    if not isinstance(x, Constant):
        raise NotSupportedError(f"{what} is computed from the input; only constants are supported there")
    return x


def integers(x: Tensor | None, what: str) -> list[int]:
    """A constant list of integers; empty if it is not given."""
    if x is None:
        return []
    value = constant(x, what).value
    require(value.dtype.kind in "iu", f"{what} must be integers, not {value.dtype}")
    return [int(v) for v in value.ravel()]
