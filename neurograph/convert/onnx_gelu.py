"""GELU as exporters wrote it before it was an operator: ``0.5 * x * (1 + erf(x / sqrt(2)))``, in any order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import NotSupportedError
from .expressions import Builder, Sum, Values
from .onnx_tensors import Constant, Tensor

REFUSED = "Erf is supported as part of a GELU only, 0.5 * x * (1 + erf(x / sqrt(2)))"
NEAR = 1e-5


@dataclass(frozen=True)
class Gate:
    """A part of a GELU: ``factor * (one + erf(x / sqrt(2)))``, times x if `closed`."""

    ids: np.ndarray
    one: bool = False
    factor: float = 1.0
    closed: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of x."""
        return self.ids.shape


def gate(x: Tensor) -> Gate:
    """erf(x / sqrt(2))."""
    ids, factor = _multiple(x)
    _require(abs(factor - np.sqrt(0.5)) < NEAR)
    return Gate(ids)


def plus_one(*terms: Any) -> Gate:
    """1 + erf."""
    _require(len(terms) == 2)
    part, one = terms if isinstance(terms[0], Gate) else terms[::-1]
    _require(isinstance(one, Constant) and _number(one) == 1 and not part.one and part.factor == 1)
    return replace(part, one=True)


def times(builder: Builder, *factors: Any) -> Gate | Values:
    """A factor more; the neurons once all are there."""
    part, other = factors if isinstance(factors[0], Gate) else factors[::-1]
    _require(part.one and not isinstance(other, Gate))
    if isinstance(other, Constant):
        part = replace(part, factor=part.factor * _number(other))
    else:
        ids, factor = _multiple(other)
        _require(not part.closed and ids.shape == part.shape and bool((ids == part.ids).all()))
        part = replace(part, factor=part.factor * factor, closed=True)
    whole = part.closed and abs(part.factor - 0.5) < NEAR
    return builder.neurons(Values(part.ids), "gelu") if whole else part


def _multiple(x: Any) -> tuple[np.ndarray, float]:
    """Ids and the constant that their values are multiplied by."""
    if isinstance(x, Values):
        return x.ids, 1.0
    _require(isinstance(x, Sum) and len(x.parts) == 1 and not x.biases and x.aggregation == "sum")
    part = x.parts[0]
    _require(part.label is None and bool((part.target == np.arange(x.size)).all() and np.ptp(part.weight) == 0))
    return part.source.reshape(x.shape), float(part.weight[0])


def _number(c: Constant) -> float:
    _require(c.value.size == 1)
    return float(c.value.flat[0])


def _require(condition: bool) -> None:
    if not condition:
        raise NotSupportedError(REFUSED)
