"""The connections of every neuron in one direction: compressed rows with slack, patched in place by edits."""

from __future__ import annotations

import numpy as np

from ..locks import alone
from .tables import Table

SLACK_SHIFT = 4  # a freshly sorted row has room for 1/16 more entries, and for one at least
NATURAL = np.zeros(0, np.int64)
REBUILD_SHARE = 8  # adding more than 1/8 of the connections at once: sorting everything is cheaper


class Adjacency:
    """Rows of connections by ``key`` ("target": fan-in, "source": fan-out), unordered inside a row.

    The same arrays serve the editor (who is connected to whom), the scheduler and the kernels, so there is no second
    copy that could be stale. ``column``, in the connection table, tells where each connection stands: removing one
    swaps the row's last entry into its place, adding one takes the row's slack, both O(1).

    Attributes
    ----------
    start, length, capacity : ndarray of int64, int32, int32
        One entry a neuron slot: where its row begins, how many entries it has and how many fit.
    other : ndarray of int32
        Neuron slot at the far end of each entry.
    slot : ndarray of int32
        Connection slot of each entry.
    rebuilds : int
        How often the rows were sorted anew; tests count them.
    """

    def __init__(self, connections: Table, key: str):
        self._connections = connections
        self._key = key
        self._other = "source" if key == "target" else "target"
        self._place = f"{key}_place"
        connections.add_column(self._place, np.int32)
        self.start = np.zeros(0, np.int64)
        self.length = np.zeros(0, np.int32)
        self.capacity = np.zeros(0, np.int32)
        self.other = np.zeros(0, np.int32)
        self.slot = np.zeros(0, np.int32)
        self._used = 0
        self.rebuilds = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the rows (the places are counted with the connection table)."""
        return sum(a.nbytes for a in (self.start, self.length, self.capacity, self.other, self.slot))

    @property
    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """``start, length, other, slot``: what an algorithm needs to walk the rows."""
        return self.start, self.length, self.other, self.slot

    def add_rows(self, count: int) -> None:
        """Make room for rows up to ``count`` neuron slots."""
        old = len(self.length)
        if count <= old:
            return
        room = max(count, old + old // 4)
        for name in ("start", "length", "capacity"):
            array = getattr(self, name)
            setattr(self, name, np.concatenate([array, np.zeros(room - old, array.dtype)]))

    def add(self, slots: np.ndarray) -> None:
        """Enter connections that are in the table but in no row yet."""
        if len(slots) * REBUILD_SHARE > len(self._connections):
            self.rebuild()
            return
        from . import compiled

        table = self._connections
        keys, others, place = table[self._key][slots], table[self._other][slots], table[self._place]
        begin = 0
        while True:
            begin, self._used = compiled.append_rows(
                keys,
                others,
                slots,
                begin,
                self.start,
                self.length,
                self.capacity,
                self.other,
                self.slot,
                place,
                self._used,
            )
            if begin == compiled.FITS:
                return
            if self._used * 8 > len(table) * 9 + 8 * len(self.length) + 2048:
                self.rebuild()  # an eighth is what rows left behind when they moved: squeeze it out
                return
            room = max(len(self.other) // 16, 2 * int(self.capacity[keys[begin]]) + 64)
            self.other = np.concatenate([self.other, np.zeros(room, np.int32)])
            self.slot = np.concatenate([self.slot, np.zeros(room, np.int32)])

    def remove(self, slots: np.ndarray) -> None:
        """Take live connections out of their rows, before the table releases them."""
        from . import compiled

        table = self._connections
        compiled.remove_rows(
            table[self._key][slots], slots, self.start, self.length, self.other, self.slot, table[self._place]
        )

    def rebuild(self, sequence: np.ndarray = NATURAL) -> None:
        """Sort every live connection into rows anew: one counting sort.

        Inside a row the slots ascend, or stand in the order of ``sequence``, which names every slot once.
        """
        from . import compiled

        table = self._connections
        self.other, self.slot, self._used = compiled.count_sort(
            table[self._key], table[self._other], table["id"], sequence, SLACK_SHIFT, self.start, self.length,
            self.capacity, table[self._place],
        )  # fmt: skip
        self.rebuilds += 1

    @alone
    def of(self, rows: np.ndarray) -> np.ndarray:
        """Connection slots of several rows, row after row."""
        from . import compiled

        return compiled.gather_rows(np.asarray(rows, np.int64), self.start, self.length, self.slot)
