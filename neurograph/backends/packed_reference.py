"""The definition of what a packed network computes: connection by connection in numpy, short enough to check by eye."""

from __future__ import annotations

import numpy as np

from ..functions import activations
from ..packed import Packed
from ..plan import MEAN, SPECIAL

PRODUCT, MAX, MIN, MAXABS, MEDIAN = SPECIAL


def all_finite(X: np.ndarray) -> bool:
    """Whether no entry is infinite or not a number."""
    return bool(np.isfinite(X).all())


def predict(packed: Packed, X: np.ndarray, batch_size: int | None = None) -> np.ndarray:
    """Outputs (batch, steps, n_outputs) for X (batch, steps, n_inputs), all samples together."""
    batch, steps, _ = X.shape
    history, first = packed.history, packed.n_inputs
    row, source, delay, weight = packed.unpack()
    ends = np.searchsorted(row, np.arange(packed.n_rows + 1))
    y = np.zeros((history + steps, packed.n, batch), np.float32)
    v = np.zeros_like(y) if packed.leaks else y
    y[history:, :first] = X.transpose(1, 2, 0)
    rate = 1 / packed.column("time_constant")
    columns = packed.column("activation"), packed.column("parameter"), packed.column("aggregation")
    with np.errstate(all="ignore"):
        for t in range(history, history + steps):
            for r, (code, parameter, kind) in enumerate(zip(*columns, strict=True)):
                own = slice(ends[r], ends[r + 1])
                terms = weight[own, None] * y[t - delay[own], source[own]]
                z = packed.bias[r] + _join(terms, kind)
                if rate[r] != 1:
                    z = rate[r] * z + (1 - rate[r]) * v[t - 1, first + r]
                v[t, first + r] = z
                y[t, first + r] = activations.by_code(int(code)).function(z.astype(np.float32), parameter)
    return y[history:, packed.outputs].transpose(2, 0, 1).copy()


def _join(terms: np.ndarray, kind: int) -> np.ndarray:
    if kind == PRODUCT:
        return terms.prod(axis=0)
    if len(terms) == 0:
        return np.zeros(terms.shape[1], terms.dtype)
    if kind == MAX:
        return terms.max(axis=0)
    if kind == MIN:
        return terms.min(axis=0)
    if kind == MAXABS:
        return np.take_along_axis(terms, np.abs(terms).argmax(axis=0)[None], axis=0)[0]
    if kind == MEDIAN:
        return np.median(terms, axis=0)
    return terms.mean(axis=0) if kind == MEAN else terms.sum(axis=0)
