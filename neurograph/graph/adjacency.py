"""The connections of every neuron in one direction: compressed rows with slack, patched in place by edits."""

from __future__ import annotations

from collections.abc import Iterator
from sys import byteorder
from typing import Any

import numpy as np

from ..locks import alone
from .row_notes import RowNotes
from .side_by_side import halves
from .tables import Table, room_for

SLACK_SHIFT = 4  # a freshly sorted row has room for 1/16 more entries, and for one at least
ROOMY_SHIFT = 2  # one laid out anew while connections are exchanged, 1/4: it will be again
NATURAL = np.zeros(0, np.int32)
LARGE = 8  # an edit of more than 1/8 of the connections goes through all of them once, instead of one by one


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
    used : int
        End of the last row among the entries.
    rebuilds : int
        How often the rows were sorted anew; tests count them.
    notes : RowNotes, optional
        What a copy of the rows has to follow, if there is one.
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
        self.used = 0
        self.rebuilds = 0
        self.notes: RowNotes | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"notes": None}

    @property
    def nbytes(self) -> int:
        """Bytes of the rows (the places are counted with the connection table)."""
        return sum(a.nbytes for a in (self.start, self.length, self.capacity, self.other, self.slot))

    @property
    def place(self) -> np.ndarray:
        """Where each connection slot stands among the entries; 0 for a free slot."""
        return self._connections[self._place]

    @property
    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """``start, length, other, slot``: what an algorithm needs to walk the rows."""
        return self.start, self.length, self.other, self.slot

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """``start, length, capacity, other, slot, place``: what changes when a connection comes or goes."""
        return self.start, self.length, self.capacity, self.other, self.slot, self.place

    def add_rows(self, count: int) -> None:
        """Make room for rows up to ``count`` neuron slots."""
        old = len(self.length)
        if count <= old:
            return
        room = max(count, old + old // 4)
        for name in ("start", "length", "capacity"):
            array = getattr(self, name)
            setattr(self, name, np.concatenate([array, np.zeros(room - old, array.dtype)]))

    def append(self, slots: np.ndarray, source: np.ndarray, target: np.ndarray) -> None:
        """Enter connections that are in the table but in no row yet: by one counting sort if rows have no room."""
        table = self._connections
        if len(slots) * LARGE > len(table):
            room = int(self.capacity.sum(dtype=np.int64) - self.length.sum(dtype=np.int64))
            if (len(slots) - room) * LARGE > len(table):
                self.rebuild()
                return
        from . import compiled

        ends, done = (source, target) if self._key == "source" else (target, source), 0
        self.touched(ends[0])
        while done < len(slots):
            done, self.used = compiled.append_rows(*ends, slots, done, *self.arrays, self.used)
            if done < len(slots):
                if self.wasteful:
                    self.rebuild()
                    return
                self.widen()

    def put(self, slot: int) -> None:
        """Enter one connection.

        For one, a few reads and writes from Python cost less than a compiled call: after a training step nothing of the
        latter is left in the caches.
        """
        table = self._connections
        row = table[self._key].item(slot)
        length = self.length.item(row)
        if length == self.capacity.item(row):
            self.append(
                *(np.array([value]) for value in (slot, table["source"].item(slot), table["target"].item(slot)))
            )
            return
        at = self.start.item(row) + length
        self.length[row] = length + 1
        self.other[at] = table[self._other].item(slot)
        self.slot[at] = slot
        table[self._place][slot] = at
        if self.notes is not None:
            self.notes.entry(row, at)

    def take(self, slot: int) -> int:
        """Take one connection out: the row's last entry moves to its place. Returns the row."""
        table = self._connections
        row, place = table[self._key].item(slot), table[self._place]
        hole, length = place.item(slot), self.length.item(row) - 1
        last = self.start.item(row) + length
        self.length[row] = length
        if last != hole:
            moved = self.slot.item(last)
            self.other[hole] = self.other.item(last)
            self.slot[hole] = moved
            place[moved] = hole
        if self.notes is not None:
            self.notes.entry(row, hole)
        return row

    def touched(self, rows: np.ndarray | None = None) -> None:
        """Tell who keeps a copy that some rows, or all of them, may have changed in any way."""
        if self.notes is None:
            return
        if rows is None:
            self.notes.all()
        else:
            self.notes.rows(rows)

    def places(self, row: int, other: int) -> Iterator[int]:
        """Where a row names a neuron slot."""
        begin = self.start.item(row)
        # Searching bytes is as fast as compiled code; a match may lie across two entries.
        entries, key = self.other[begin : begin + self.length.item(row)].tobytes(), other.to_bytes(4, byteorder)
        at = entries.find(key)
        while at >= 0:
            if at % 4 == 0:
                yield begin + at // 4
            at = entries.find(key, at + 1)

    def sift(self, gone: np.ndarray) -> None:
        """Take connections out of their rows in one pass; ``gone`` has an entry for each slot."""
        from . import compiled

        self.touched()
        compiled.sift(gone, self.start, self.length, self.other, self.slot, self._connections[self._place])

    def exchange(
        self, gone: np.ndarray, keys: np.ndarray, ends: np.ndarray, heirs: np.ndarray, reuse: bool
    ) -> np.ndarray:
        """Put new connections where those that are ``gone`` were; returns the numbers of those that found no place.

        ``keys`` are the rows of the new ones, ``ends`` their far ends, ``heirs`` their slots, which with ``reuse`` are
        handed out here, with the ends and the ids of their new tenants: that of the connection in whose place each
        stands, if there is one, or any.
        """
        from . import compiled

        table = self._connections
        self.touched()
        first, order = compiled.group_by(keys, len(self.start))

        def share(lo: int, hi: int) -> tuple[np.ndarray, np.ndarray]:
            unused, waiting = np.empty(len(heirs), np.int64), np.empty(first[hi] - first[lo], np.int64)
            counts = compiled.exchange_rows(
                lo, hi, gone, first, order, ends, heirs, reuse, table["id"], table.next_id, table[self._other],
                self.start, self.length, self.other, self.slot, table[self._place], unused, waiting,
            )  # fmt: skip
            return unused[: counts[0]], waiting[: counts[1]]

        surplus, left = (np.concatenate(parts) for parts in zip(*halves(self.length, share), strict=True))
        if reuse:
            heirs[left] = surplus
            table["id"][surplus] = table.next_id + left
            table[self._key][surplus], table[self._other][surplus] = keys[left], ends[left]
        return left

    def put_all(self, slots: np.ndarray, source: np.ndarray, target: np.ndarray) -> None:
        """Enter the connections for which `exchange` found no place; the table is as it will be."""
        from . import compiled

        ends = (source, target) if self._key == "source" else (target, source)
        done, self.used = compiled.append_rows(*ends, slots, 0, *self.arrays, self.used)
        if done < len(slots):
            self.rebuild(slack_shift=ROOMY_SHIFT)

    def tighten(self) -> None:
        """Lay the rows out anew if more than half of the pool is air."""
        if self.used > 2 * (len(self._connections) + len(self.length)):
            self.relay(NATURAL)

    def relay(self, number: np.ndarray) -> None:
        """Lay the rows out anew without gaps, in the order in which they are; connections get a ``number``, if any."""
        from . import compiled

        self.touched()
        pool = self._pool()
        self.used = compiled.relay(
            number, SLACK_SHIFT, self.start, self.length, self.capacity, self.other, self.slot, *pool,
            self._connections[self._place],
        )  # fmt: skip
        self.other, self.slot = pool
        self.rebuilds += 1

    def _pool(self, slack_shift: int = SLACK_SHIFT, reuse: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Entries for all rows with their slack, and some for rows that outgrow it; ``reuse`` old ones if they fit."""
        count = len(self._connections)
        room = count + (count >> slack_shift) + min(count, len(self.length))
        room += (room >> min(5, slack_shift + 1)) + 64
        if reuse and room <= len(self.other) <= room + room // 4:
            other, slot = self.other, self.slot
        else:
            if reuse:
                self.other, self.slot = NATURAL, NATURAL  # the memory of the old rows serves the new ones
            other, slot = room_for(room, np.int32), room_for(room, np.int32)
        other[:], slot[:] = 0, 0  # the slack is read too, where kernels take several entries at once
        return other, slot

    def restore(self) -> None:
        """Make the rows of a table that was loaded: its connections stand in the order that their places tell."""
        place = self._connections[self._place]
        at = np.full(int(place.max(initial=-1)) + 1, -1, np.int32)
        at[place] = np.arange(len(place), dtype=np.int32)
        self.rebuild(at[at >= 0])

    def widen(self) -> None:
        """Make room in the pool for at least one row to move."""
        room = max(len(self.other) // 16, 2 * int(self.capacity.max(initial=0)) + 64)
        for name in ("other", "slot"):
            old = getattr(self, name)
            new = room_for(len(old) + room, np.int32)
            new[: self.used] = old[: self.used]
            new[self.used :] = 0
            setattr(self, name, new)

    @property
    def wasteful(self) -> bool:
        """Whether rows that moved have left more than an eighth of the pool behind; looks at every row."""
        return (self.used - int(self.capacity.sum(dtype=np.int64))) * 8 > self.used + 2048

    def rebuild(self, sequence: np.ndarray = NATURAL, slack_shift: int = SLACK_SHIFT) -> None:
        """Sort every live connection into rows anew: one counting sort.

        Inside a row the slots ascend, or stand in the order of ``sequence``, which names every slot once.
        """
        from . import compiled

        table = self._connections
        self.touched()
        self.other, self.slot = self._pool(slack_shift, reuse=True)
        self.used = compiled.count_sort(
            table[self._key], table[self._other], table["id"], sequence, slack_shift, self.start, self.length,
            self.capacity, self.other, self.slot, table[self._place],
        )  # fmt: skip
        self.rebuilds += 1

    @alone
    def of(self, rows: np.ndarray) -> np.ndarray:
        """Connection slots of several rows, row after row."""
        from . import compiled

        return compiled.gather_rows(np.asarray(rows, np.int64), self.start, self.length, self.slot)
