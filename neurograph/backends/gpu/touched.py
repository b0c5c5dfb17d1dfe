"""Which rows of a graph were edited: for those who keep a layout of their own of them on the device."""

from __future__ import annotations

import numpy as np

from ...graph.row_notes import RowNotes


class Touched:
    """Rows that were edited since somebody looked; all of them in the beginning.

    Examples
    --------
    >>> touched, notes = Touched(), RowNotes()
    >>> touched.take() is None
    True
    >>> notes.clear(); notes.entry(3, 17); notes.rows(np.array([5, 3]))
    >>> touched.note(notes); touched.take().tolist(), touched.take().tolist()
    ([3, 5], [])
    """

    def __init__(self) -> None:
        self._everything = True
        self._rows: list[np.ndarray] = []

    def note(self, notes: RowNotes) -> None:
        """Remember what a copy of the rows is about to follow."""
        self._everything |= notes.everything
        if notes.entries:
            self._rows.append(np.array([row for row, _ in notes.entries]))
        self._rows += notes.whole
        if self._everything:
            self._rows = []

    def take(self) -> np.ndarray | None:
        """The rows that were edited since the last call, or None for all of them."""
        rows, everything = self._rows, self._everything
        self._rows, self._everything = [], False
        if everything:
            return None
        return np.unique(np.concatenate(rows)) if rows else np.zeros(0, np.int64)
