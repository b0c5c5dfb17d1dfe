"""What the backends that work in the tables themselves have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import memory
from ..functions.losses import Loss
from ..graph.sharing import Sharing
from ..graph.tables import Table
from ..plan import Plan

SCORES: tuple[str, ...] = ()  # scores are computed by whoever asks, who finds the columns here


def lowest(table: Table, score: str, slots: Any, counts: Any, regions: Any = None) -> np.ndarray | None:
    """Nothing is chosen here."""
    return None


def column(table: Table, name: str, write: bool) -> np.ndarray:
    """A column of a table where this backend has it, to read or also to ``write``."""
    return table[name] if write else table.read(name)


def spread(sharing: Sharing) -> None:
    """Copy every shared value to its tenants, where the kernels read it."""
    sharing.spread()


def collect(sharing: Sharing) -> None:
    """Add up the tenants' gradients, parameter by parameter."""
    sharing.collect()


def differentiate(plan: Plan, X: Any, loss: Loss, Y: Any, reuse: Any) -> None:
    """Forward, loss and backward are three calls here."""


def accept(X: Any) -> np.ndarray:
    """An array of a GPU where this backend can read it."""
    return X.get()


def available() -> int | None:
    """Bytes that passes may still take, or None where nobody knows."""
    return memory.available()
