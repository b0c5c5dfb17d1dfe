"""Which kernels are launched, with what, and which columns they are given: noted for those who repeat launches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cupy

#: Who is told at present; passes run one at a time.
current: Watch | None = None


class Watch:
    """What happened while something ran.

    Attributes
    ----------
    launches : list of tuple
        Kernel, grid, block, bytes of shared memory, and arguments, of arrays their addresses.
    columns : dict
        (holder, name) -> whether it was to be written.
    """

    def __init__(self) -> None:
        self.launches: list[tuple[Any, ...]] = []
        self.columns: dict[tuple[Any, str], bool] = {}

    def launched(self, kernel: Any, grid: Any, block: Any, arguments: tuple[Any, ...], shared: int) -> None:
        """A kernel is being launched."""
        given = tuple(a.data.ptr if isinstance(a, cupy.ndarray) else a.item() for a in arguments)
        self.launches.append((kernel, grid, block, shared, given))

    def asked(self, holder: Any, name: str, write: bool) -> None:
        """A column is handed out."""
        self.columns[holder, name] = write or self.columns.get((holder, name), False)


def watched(act: Callable[[], object]) -> Watch:
    """Do something, and tell what happened."""
    global current
    before, current = current, Watch()
    try:
        act()
        return current
    finally:
        current = before
