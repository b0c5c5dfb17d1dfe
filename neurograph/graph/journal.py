"""Which connections came or went since somebody looked: for those who keep a layout of their own up to date."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

LEAST, SHARE = 1024, 64  # entries that are kept at least, and the share of all connections that are kept at most


class Edited(NamedTuple):
    """Ends of the connections that were added or removed: neuron slots, some of them more than once."""

    sources: np.ndarray
    targets: np.ndarray


class Journal:
    """A short list of edits with one reader.

    Examples
    --------
    >>> journal = Journal()
    >>> journal.note(0, 5, 100), journal.note(np.array([1, 2]), np.array([5, 6]), 100)
    (None, None)
    >>> journal.take().sources.tolist(), journal.take().sources.tolist()
    ([0, 1, 2], [])
    """

    def __init__(self) -> None:
        self._entries: list[tuple[np.ndarray | int, np.ndarray | int]] = []
        self._count: int | None = 0  # None where more happened than is worth keeping

    def note(self, sources: np.ndarray | int, targets: np.ndarray | int, connections: int) -> None:
        """Keep the ends of connections that were added or removed in a graph of so many."""
        if self._count is None:
            return
        self._count += 1 if isinstance(sources, int) else len(sources)
        if self._count > max(LEAST, connections // SHARE):
            self.forget()
        else:
            self._entries.append((sources, targets))

    def forget(self) -> None:
        """Everything may have changed: connections moved to other slots, or too many came and went."""
        self._entries, self._count = [], None

    def take(self) -> Edited | None:
        """What was noted since the last call; None where it was too much to keep."""
        entries, known = self._entries, self._count is not None
        self._entries, self._count = [], 0
        if not known:
            return None
        if all(isinstance(sources, int) for sources, _ in entries):  # which numpy takes at once
            both = np.array(entries, np.int64).reshape(-1, 2)
            return Edited(both[:, 0], both[:, 1])
        sources, targets = ([np.atleast_1d(entry[end]) for entry in entries] for end in (0, 1))
        return Edited(np.concatenate(sources), np.concatenate(targets))
