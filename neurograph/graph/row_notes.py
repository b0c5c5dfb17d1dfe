"""Which entries of compressed rows were written since somebody looked: for those who keep a copy of the rows."""

from __future__ import annotations

import numpy as np

MANY = 4096  # entries noted one by one, after which everything may as well be copied


class RowNotes:
    """What to copy of an `Adjacency`: single entries, whole rows, or everything.

    Examples
    --------
    >>> notes = RowNotes()
    >>> notes.everything
    True
    >>> notes.clear(); notes.entry(3, 17); notes.rows(np.array([5, 3]))
    >>> notes.everything, notes.entries, [rows.tolist() for rows in notes.whole]
    (False, [(3, 17)], [[5, 3]])
    """

    def __init__(self) -> None:
        self.everything = True
        self.entries: list[tuple[int, int]] = []
        self.whole: list[np.ndarray] = []

    def entry(self, row: int, place: int) -> None:
        """The length of a row changed, and one of its entries."""
        if not self.everything:
            self.entries.append((row, place))
            if len(self.entries) > MANY:
                self.all()

    def rows(self, rows: np.ndarray) -> None:
        """Anything in some rows may have changed, also where they begin; rows may occur several times."""
        if not self.everything:
            self.whole.append(rows)
            if sum(map(len, self.whole)) > 16 * MANY:
                self.all()

    def all(self) -> None:
        """Anything may have changed."""
        self.clear()
        self.everything = True

    def clear(self) -> None:
        """Everything noted was copied."""
        self.everything, self.entries, self.whole = False, [], []
