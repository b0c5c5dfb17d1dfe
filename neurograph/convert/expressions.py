"""What stands between another library's tensors and neurons: sums that are not neurons yet, and the builder of both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..network import Network

if TYPE_CHECKING:
    from ..graph.views import Connections, Group


@dataclass(frozen=True)
class Values:
    """Outputs of neurons, arranged as a tensor without its batch axis."""

    ids: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape without the batch axis."""
        return self.ids.shape


@dataclass(frozen=True)
class Part:
    """Connections into the elements of a tensor: those of one label share a parameter; without labels they are frozen.

    Attributes
    ----------
    source : ndarray of int, shape (n,)
        Ids of neurons.
    target : ndarray of int, shape (n,)
        Flat positions in the tensor.
    weight : ndarray, shape (n,)
    label : ndarray of int, shape (n,), or None
    """

    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    label: np.ndarray | None = None


@dataclass(frozen=True)
class Bias:
    """A number for each element of a tensor, labelled as a `Part` is; both of shape (n,)."""

    value: np.ndarray
    label: np.ndarray | None = None


@dataclass(frozen=True)
class Sum:
    """A tensor that some neurons will compute: what flows in is known, the activation is not.

    Additions of sums are sums, and an activation that follows belongs to the same neurons, so neither needs neurons of
    its own.
    """

    shape: tuple[int, ...]
    parts: tuple[Part, ...]
    biases: tuple[Bias, ...] = ()
    aggregation: str = "sum"
    name: str | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass
class Builder:
    """A network that grows tensor by tensor.

    Parameters
    ----------
    net : Network
    reused : frozenset of int
        Ids of the parameters (as objects) that occur in several places.

    Attributes
    ----------
    here : str or None
        Name of the groups that are made now, where a sum has none of its own.

    Examples
    --------
    >>> builder = Builder(Network())
    >>> x = Values(builder.net.add_inputs((2, 2)).ids.reshape(2, 2))
    >>> builder.here = "twice"
    >>> y = builder.neurons(builder.add(x, x), "relu")
    >>> builder.net.mark_outputs(y.ids.ravel())
    >>> builder.net.predict([[1, 2, -3, 4]]).tolist(), builder.net.groups["twice"].shape
    ([[2.0, 4.0, 0.0, 8.0]], (2, 2))
    """

    net: Network
    reused: frozenset[int] = frozenset()
    here: str | None = None
    _ranges: dict[int, tuple[int, int, Any]] = field(default_factory=dict)
    _next_label: int = 0
    _weights: list[tuple[Connections, np.ndarray]] = field(default_factory=list)
    _biases: list[tuple[Group, np.ndarray]] = field(default_factory=list)

    def labels(self, parameter: Any, size: int) -> np.ndarray:
        """Labels of the elements of a parameter: the same again for the same object."""
        if id(parameter) not in self._ranges:
            # Held, so that no other object gets its id.
            self._ranges[id(parameter)] = (self._next_label, self._next_label + size, parameter)
            self._next_label += size
        start, end, _ = self._ranges[id(parameter)]
        return np.arange(start, end)

    def is_reused(self, label: np.ndarray) -> bool:
        """Whether any of the labels belongs to a parameter that occurs in several places."""
        ranges = [self._ranges[key] for key in self.reused if key in self._ranges]
        return any(bool(((label >= start) & (label < end)).any()) for start, end, _ in ranges)

    def neurons(self, tensor: Values | Sum, activation: Any = "identity") -> Values:
        """Make neurons of a sum, or of an activation of values; values alone are neurons already."""
        if isinstance(tensor, Values):
            if activation == "identity":
                return tensor
            tensor = self.copied(tensor)
        bias, label = self._one_bias(tensor)
        name = tensor.name or self.here
        if name is not None:
            name = next(new for new in _numbered(name) if new not in self.net.groups)
        group = self.net.add_neurons(
            tensor.shape, activation=activation, aggregation=tensor.aggregation, bias=bias, name=name
        )
        ids = group.ids
        if label is None:
            group.bias_frozen = True
        else:
            self._biases.append((group, label))
        for part in tensor.parts:
            conns = self.net.add_connections(part.source, ids[part.target], weight=part.weight)
            if part.label is None:
                conns.frozen = True
            else:
                self._weights.append((conns, part.label))
        return Values(ids.reshape(tensor.shape))

    def copied(self, values: Values, factor: float = 1.0, shape: tuple[int, ...] | None = None) -> Sum:
        """Values as a sum of one term each, times a constant, broadcast to a shape."""
        source = np.broadcast_to(values.ids, values.shape if shape is None else shape)
        n = source.size
        return Sum(source.shape, (Part(source.ravel(), np.arange(n), np.full(n, factor)),))

    def add(self, left: Values | Sum, right: Values | Sum, factor: float = 1.0) -> Sum:
        """``left + factor * right``, broadcast as NumPy does."""
        if isinstance(right, Sum) and factor != 1:
            right = self.neurons(right)
        shape = np.broadcast_shapes(left.shape, right.shape)
        a, b = self._summand(left, shape, 1.0), self._summand(right, shape, factor)
        if _overlap(a.parts, b.parts):
            # A pair of neurons has one connection, so what comes twice takes a way round, by neurons that copy it.
            b = self.copied(self.neurons(b))
        return Sum(shape, a.parts + b.parts, a.biases + b.biases)

    def multiply(self, left: Values | Sum, right: Values | Sum) -> Sum:
        """``left * right``, broadcast as NumPy does."""
        left, right = self.neurons(left), self.neurons(right)
        shape = np.broadcast_shapes(left.shape, right.shape)
        a, b = self.copied(left, shape=shape), self.copied(right, shape=shape)
        if _overlap(a.parts, b.parts):
            b = self.copied(self.neurons(b))
        return Sum(shape, a.parts + b.parts, aggregation="product")

    def shift(self, tensor: Values | Sum, value: np.ndarray, label: np.ndarray | None) -> Sum:
        """Add a parameter (with labels), or a constant, of a shape that broadcasts."""
        shape = np.broadcast_shapes(tensor.shape, value.shape)
        value = np.broadcast_to(value, shape).ravel()
        if label is not None:
            label = np.broadcast_to(label, shape).ravel()
        # A bias is added after the aggregation, whatever that is.
        attached = isinstance(tensor, Sum) and tensor.shape == shape
        a: Any = tensor if attached else self._summand(tensor, shape, 1.0)
        if label is None and any(bias.label is not None for bias in a.biases):
            a = self.copied(self.neurons(a))  # elements that share a bias may get different constants
        return replace(a, biases=(*a.biases, Bias(value, label)))

    def scale(self, tensor: Values | Sum, factor: np.ndarray, label: np.ndarray | None) -> Sum:
        """Multiply by a parameter (with labels), or a constant, of a shape that broadcasts."""
        values = self.neurons(tensor)
        shape = np.broadcast_shapes(values.shape, factor.shape)
        copy = self.copied(values, shape=shape).parts[0]
        if label is not None:
            label = np.broadcast_to(label, shape).ravel()
        return Sum(shape, (replace(copy, weight=np.broadcast_to(factor, shape).ravel(), label=label),))

    def folded(self, x: Sum, factor: np.ndarray) -> Sum | None:
        """A sum times a factor for each element, if its own weights can take it: what is shared must stay equal."""
        if x.aggregation != "sum" or any(part.label is None or self.is_reused(part.label) for part in x.parts):
            return None
        if any(bias.label is not None and self.is_reused(bias.label) for bias in x.biases):
            return None
        parts = tuple(replace(part, weight=part.weight * factor[part.target]) for part in x.parts)
        biases = tuple(replace(bias, value=bias.value * factor) for bias in x.biases)
        if all(agree(part.weight, part.label) for part in parts) and all(agree(b.value, b.label) for b in biases):
            return replace(x, parts=parts, biases=biases)
        return None

    def tie(self) -> None:
        """Let all that has the same label share a parameter; the last step."""
        if self._weights:
            labels = np.concatenate([label for _, label in self._weights])
            conns = np.concatenate([conns.id for conns, _ in self._weights])
            shared = _repeated(labels)
            if shared.any():
                everything = self.net.connections
                self.net.tie(everything[np.searchsorted(everything.id, conns[shared])], labels[shared])
        if self._biases:
            labels = np.concatenate([label for _, label in self._biases])
            ids = np.concatenate([group.ids for group, _ in self._biases])
            shared = _repeated(labels)
            if shared.any():
                self.net.tie(self.net.group(ids[shared]), labels[shared])

    def _one_bias(self, tensor: Sum) -> tuple[np.ndarray, np.ndarray | None]:
        """The sum of the biases, and its labels: elements share it if they share every one of its summands."""
        value = np.zeros(tensor.size) + sum(bias.value for bias in tensor.biases)
        labels = [bias.label for bias in tensor.biases if bias.label is not None]
        if len(labels) < 2:
            return value, labels[0] if labels else None
        _, group = np.unique(np.stack(labels), axis=1, return_inverse=True)
        return value, self.labels(object(), tensor.size)[group.ravel()]

    def _summand(self, tensor: Values | Sum, shape: tuple[int, ...], factor: float) -> Sum:
        if isinstance(tensor, Sum) and tensor.aggregation == "sum" and tensor.shape == shape and factor == 1:
            return tensor
        return self.copied(self.neurons(tensor), factor, shape)


def agree(value: np.ndarray, label: np.ndarray | None) -> bool:
    """Whether values of the same label are equal."""
    if label is None or not len(label):
        return True
    _, first, group = np.unique(label, return_index=True, return_inverse=True)
    return bool((value == value[first][group]).all())


def _overlap(a: tuple[Part, ...], b: tuple[Part, ...]) -> bool:
    """Whether some pair of source and target is in both."""
    keys = []
    for parts in (a, b):
        source = np.concatenate([part.source for part in parts]).astype(np.int64)
        target = np.concatenate([part.target for part in parts]).astype(np.int64)
        keys.append((source, target))
    (s, t), (u, v) = keys
    if not np.isin(u, s).any():
        return False
    width = int(max(t.max(), v.max())) + 1
    return bool(np.isin(u * width + v, s * width + t).any())


def _repeated(labels: np.ndarray) -> np.ndarray:
    _, group, count = np.unique(labels, return_inverse=True, return_counts=True)
    return count[group] > 1


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name} {number}"
        number += 1
