"""The CUDA backend: plan, parameters and optimizer state live on the device, which runs kernels of our own.

What the host edits is patched in before the next pass, what the device writes comes back when somebody reads it; see
`mirror`. Everything here imports CuPy; `backends.device`, which says whether a GPU can be used, does not.
"""

from __future__ import annotations

from typing import Any

from ...graph.sharing import KEY, Sharing
from ...graph.tables import Table
from ..device import accept, available, ran_out, release, too_small
from . import sharing as shared
from .finite import all_finite
from .losses import LOSSES
from .mirror import columns_of
from .passes import Pass, backward, footprint, forward, prepare, stream
from .select import SCORES
from .select import lowest_slots as lowest
from .step import differentiate
from .updates import adam, rmsprop, sgd

__all__ = [
    "LOSSES",
    "SCORES",
    "Pass",
    "accept",
    "adam",
    "all_finite",
    "available",
    "backward",
    "collect",
    "column",
    "differentiate",
    "footprint",
    "forward",
    "lowest",
    "predict_packed",
    "prepare",
    "rmsprop",
    "sgd",
    "spread",
    "stream",
]


def column(table: Table, name: str, write: bool) -> Any:
    """A column of a table on the device, to read or also to ``write``.

    Raises
    ------
    OutOfMemoryError
        If there is no room for it.
    """
    columns = columns_of(table)
    try:
        return columns.write(name) if write else columns.read(name)
    except MemoryError as error:
        if not ran_out(error):
            raise
        release()
        raise too_small(error) from None


def spread(sharing: Sharing) -> None:
    """Copy every shared value to its tenants, where the kernels read it."""
    if len(sharing.table):
        key, value = column(sharing.tenants, KEY, False), column(sharing.table, sharing.value, False)
        shared.spread(key, value, column(sharing.tenants, sharing.value, True))


def collect(sharing: Sharing) -> None:
    """Add up the tenants' gradients, parameter by parameter."""
    if len(sharing.table):
        columns = columns_of(sharing.tenants)
        key, own = columns.read(KEY), columns.read(sharing.grad)
        of = columns.changes(KEY), sharing.table.size
        if columns.derived.get("tenants", (None,))[0] != of:
            columns.derived["tenants"] = of, shared.tenants_of(key[: sharing.tenants.size], sharing.table.size)
        shared.collect(columns.derived["tenants"][1], own, column(sharing.table, sharing.grad, True))


def predict_packed(packed: Any, X: Any, batch_size: int | None = None) -> Any:
    """Run a frozen network; its packed rows are read by the CPU, which one or two bytes a weight suit as well."""
    from ..cpu.packed import predict

    return predict(packed, X, batch_size)
