"""Which connections came or went since somebody looked: for those who keep a layout of their own up to date."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import numpy as np

EVERY = slice(None)
LEAST, SHARE = 1024, 64  # entries that are kept at least, and the share of all connections that are kept at most


def _nobody() -> None:
    """Stands for a reader without a name."""


class Edited(NamedTuple):
    """Ends of the connections that were added or removed: neuron slots, some of them more than once."""

    sources: np.ndarray
    targets: np.ndarray


class Journal:
    """A short list of edits. Whoever takes it has it; another reader has missed what was in it.

    Examples
    --------
    >>> journal = Journal()
    >>> journal.note_one(0, 5)
    >>> journal.note(np.array([0, 1, 2]), np.array([4, 5, 6]), np.array([1, 2]))
    >>> journal.take(100).sources.tolist(), journal.take(100).sources.tolist()
    ([0, 1, 2], [])
    >>> another = Journal()
    >>> journal.take(100, another) is None, journal.take(100, another).sources.tolist(), journal.take(100) is None
    (True, [], True)
    """

    def __init__(self) -> None:
        self._entries: list[tuple[np.ndarray | int, np.ndarray | int]] = []
        self._room = LEAST  # below 0 where more happened than is worth keeping
        self._reader: Any = _nobody

    def note_one(self, source: int, target: int) -> None:
        """Keep the ends of a connection that was added or removed."""
        self._room -= 1
        if self._room >= 0:
            self._entries.append((source, target))

    def note(self, sources: np.ndarray, targets: np.ndarray, members: np.ndarray | slice = EVERY) -> None:
        """Keep the ends of several connections, or of some ``members``."""
        if self._room < 0:
            return
        sources = sources[members]
        if len(sources) > self._room:
            self.forget()
        else:
            self._room -= len(sources)
            self._entries.append((sources, targets[members]))

    def forget(self) -> None:
        """Everything may have changed: connections moved to other slots, or too many came and went."""
        self._entries, self._room = [], -1

    def take(self, connections: int, reader: Any = None) -> Edited | None:
        """What was noted since the last call, in a graph of so many connections.

        None where it was too much to keep, or where somebody else than this ``reader`` called last.
        """
        same = self._reader() is reader
        self._reader = _nobody if reader is None else weakref.ref(reader)
        entries, known = self._entries, self._room >= 0 and same
        self._entries, self._room = [], max(LEAST, connections // SHARE)
        if not known:
            return None
        if all(isinstance(source, int) for source, _ in entries):  # which numpy takes at once
            both = np.array(entries, np.int64).reshape(-1, 2)
            return Edited(both[:, 0], both[:, 1])
        sources, targets = ([np.atleast_1d(entry[end]) for entry in entries] for end in (0, 1))
        return Edited(np.concatenate(sources), np.concatenate(targets))
