"""What an optimizer updates, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from .graph.sharing import Sharing
from .graph.tables import Table


@dataclass(frozen=True)
class Parameters:
    """One column of values with its gradients and moments, slot by slot.

    Attributes
    ----------
    name : str
        "weight" (over connection slots), "bias" (over neuron slots), "shared weight" or "shared bias" (one row a
        parameter). What is shared has an entry in the first two as well, which nobody reads.
    value, grad : array, shape (n_slots,)
        Views of the tables; slots without a tenant have gradient zero.
    """

    name: str
    value: Any
    grad: Any
    _table: Table
    _column: Callable[[Table, str, bool], Any]

    @classmethod
    def of(cls, sharing: Sharing, column: Callable[[Table, str, bool], Any]) -> Iterator[Parameters]:
        """The blocks of what may be shared; ``column(table, name, write)`` says where arrays are."""
        own, shared = sharing.tenants, sharing.table
        blocks = [(sharing.value, own)] if len(own) and sharing.n_tied < len(own) else []
        if len(shared):
            blocks.append((f"shared {sharing.value}", shared))
        for name, table in blocks:
            yield cls(name, column(table, sharing.value, True), column(table, sharing.grad, True), table, column)

    def state(self, name: str) -> Any:
        """An aligned column of the same table; zeros when first asked for, and for every new connection."""
        self._table.ensure_column(name, self.value.dtype)
        return self._column(self._table, name, True)

    def holding_frozen(self) -> AbstractContextManager[None]:
        """Whatever an update rule does inside, frozen values are what they were."""
        return self._holding() if "frozen" in self._table else nullcontext()

    @contextmanager
    def _holding(self) -> Iterator[None]:
        frozen = self._column(self._table, "frozen", False).nonzero()[0]
        kept = self.value[frozen]
        yield
        self.value[frozen] = kept
