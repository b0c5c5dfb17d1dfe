"""Growable struct of arrays with stable slots: the storage of neurons and connections."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from .side_by_side import both

HUGE = 2**22  # bytes from which numpy asks for huge pages
FREE = -1  # the id of a slot that nobody lives in


def as_block(slots: np.ndarray) -> np.ndarray | slice:
    """Ascending slots as a slice where they have no gaps: writing a slice is several times faster."""
    if len(slots) and slots[-1] - slots[0] + 1 == len(slots):
        return slice(int(slots[0]), int(slots[-1]) + 1)
    return slots


def room_for(count: int, dtype: np.dtype | type) -> np.ndarray:
    """An array without values that lies on huge pages if it is large: what is visited at random needs few of them."""
    size = count * np.dtype(dtype).itemsize
    if size < HUGE:
        return np.empty(count, dtype)
    memory = np.empty(size + 2**21, np.uint8)  # numpy asks for huge pages, which begin at multiples of 2 MiB
    begin = -memory.ctypes.data % 2**21
    return memory[begin : begin + size].view(dtype)


class Copies(Protocol):
    """Copies of columns somewhere else, on a device, which may be newer than the columns here."""

    def open(self, name: str) -> None:
        """All of a column may be read and written here from now on."""

    def fetch(self, name: str) -> None:
        """All of a column is about to be read here."""

    def note(self, name: str, slots: np.ndarray | slice | int) -> None:
        """Some entries of a column are being written here, whether or not the others are the newest."""


class Table:
    """Columns over the same slots; a freed slot is reused, a used slot never moves.

    Every table has a column ``id``: ids only grow and are never reused, so a view that remembers (slot, id) notices
    when its slot has a new tenant. All columns of a slot are zero when a tenant moves in.

    Parameters
    ----------
    columns : dict of str to dtype
        Columns beside ``id``.

    Attributes
    ----------
    copies : Copies, optional
        Who keeps copies of some columns and hears of what happens to them here. So code that only reads a column says
        `read`, and code that writes a few entries says `put`; ``table[name]`` may do anything.

    Examples
    --------
    >>> table = Table({"weight": np.float32})
    >>> slots = table.allocate(3)
    >>> table["weight"][slots] = [1, 2, 3]
    >>> table.release(slots[:1])
    >>> int(table.allocate(1)[0]), float(table["weight"][0]), table["id"].tolist()
    (0, 0.0, [3, 1, 2])
    """

    def __init__(self, columns: dict[str, np.dtype | type]):
        self.size = 0  # slots that were ever used
        self.next_id = 0
        self._columns = {"id": np.zeros(0, np.int64)}
        self._free = np.zeros(0, np.int32)  # a stack; the first n_free entries count
        self.n_free = 0
        self.copies: Copies | None = None
        for name, dtype in columns.items():
            self._columns[name] = np.zeros(0, dtype)

    def __getstate__(self) -> dict[str, Any]:
        if self.copies is not None:
            for name in self._columns:
                self.copies.fetch(name)
        return self.__dict__ | {"copies": None}  # of whoever is copied, not of the copy

    def __getitem__(self, name: str) -> np.ndarray:
        """The used part of a column, to read and write: a view, valid until the table grows."""
        if self.copies is not None:
            self.copies.open(name)
        return self._columns[name][: self.size]

    def read(self, name: str) -> np.ndarray:
        """The used part of a column, which the caller leaves as it is."""
        if self.copies is not None:
            self.copies.fetch(name)
        return self._columns[name][: self.size]

    def put(self, name: str, slots: np.ndarray | slice | int, values: np.ndarray | float) -> None:
        """Write some entries of a column."""
        if self.copies is not None:
            self.copies.note(name, slots)
        self._columns[name][slots] = values

    def entries(self, name: str) -> np.ndarray:
        """A column with its unused room, for whoever keeps copies: as it is here, newest or not."""
        return self._columns[name]

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def __len__(self) -> int:
        """How many slots have a tenant."""
        return self.size - self.n_free

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns."""
        return tuple(self._columns)

    @property
    def capacity(self) -> int:
        """Slots that fit before the columns must grow."""
        return len(self._columns["id"])

    @property
    def nbytes(self) -> int:
        """Bytes of all columns and of the free list."""
        return sum(column.nbytes for column in self._columns.values()) + self._free.nbytes

    def add_column(self, name: str, dtype: np.dtype | type) -> np.ndarray:
        """Add a column of zeros, if it is not there, and return its used part."""
        self.ensure_column(name, dtype)
        return self[name]

    def ensure_column(self, name: str, dtype: np.dtype | type) -> None:
        """Add a column of zeros, if it is not there."""
        if name not in self._columns:
            self._columns[name] = room_for(self.capacity, dtype)
            self._columns[name][:] = 0

    def live(self) -> np.ndarray:
        """Slots that have a tenant, ascending."""
        return np.flatnonzero(self.read("id") >= 0) if self.n_free else np.arange(self.size)

    def live_by_id(self) -> np.ndarray:
        """Slots that have a tenant, by ascending id."""
        live = self.live()
        ids = self.read("id")[live] if self.n_free else self.read("id")
        if (ids[1:] > ids[:-1]).all():
            return live
        from . import compiled

        lowest = int(ids.min())
        span = self.next_id - lowest
        if span <= 4 * len(live):
            return compiled.slots_by_id(self.read("id"), lowest, len(live), self.next_id)
        order = np.arange(len(live))
        for shift in range(0, span.bit_length(), 16):  # sixteen bits after sixteen, the lowest first
            order = order[compiled.stable_order((ids[order] - lowest) >> shift & 0xFFFF, 2**16)]
        return live[order]

    def allocate(self, count: int) -> np.ndarray:
        """Give ``count`` new tenants a slot each, freed slots first, and an id in the same order."""
        reused = min(count, self.n_free)
        fresh = count - reused
        if self.size + fresh > self.capacity:
            self._grow(self.size + fresh)
        slots = np.empty(count, np.int64)
        if fresh:
            slots[reused:] = np.arange(self.size, self.size + fresh)
        if reused:
            slots[:reused] = self._free[self.n_free - reused : self.n_free]
            if reused > 1:
                slots[:reused].sort()
        self.n_free -= reused
        self.size += fresh
        self.put("id", as_block(slots), np.arange(self.next_id, self.next_id + count))
        self.next_id += count
        return slots

    def allocate_one(self) -> int:
        """Give one new tenant a slot, as `allocate` does."""
        if not self.n_free:
            return self.allocate(1).item()
        self.n_free -= 1
        slot = self._free.item(self.n_free)
        self.put("id", slot, self.next_id)
        self.next_id += 1
        return slot

    def release(self, slots: np.ndarray | int) -> None:
        """End the tenancy of ``slots`` (all distinct and live), or of one, and zero all their columns."""
        need = self.n_free + (1 if isinstance(slots, int) else len(slots))
        if need > len(self._free):
            room = np.empty(max(need, len(self._free) * 3 // 2), np.int32)
            room[: self.n_free] = self._free[: self.n_free]
            self._free = room
        self._free[self.n_free : need] = slots
        self.n_free = need
        self.clear(slots)

    def checkpoint(self) -> tuple[int, int, int]:
        """What ``rollback`` needs to take back one ``allocate``."""
        return self.size, self.next_id, self.n_free

    def rollback(self, checkpoint: tuple[int, int, int], slots: np.ndarray | int) -> None:
        """Undo the ``allocate`` of ``slots`` that followed ``checkpoint``, ids and free list included."""
        self.clear(slots)
        self.size, self.next_id, self.n_free = checkpoint

    def compact(self) -> np.ndarray:
        """Squeeze out the free slots: tenants keep their order and their ids, and get new slots.

        Returns
        -------
        ndarray of int32
            The new slot of every old one, -1 for those that were free.
        """
        live = self.live()
        if self.copies is not None:  # slots move, so the newest values have to be here
            for name in self._columns:
                self.copies.open(name)
        number = np.full(self.size, -1, np.int32)
        number[live] = np.arange(len(live), dtype=np.int32)
        self._columns = {name: column[live] for name, column in self._columns.items()}
        self._free, self.n_free, self.size = np.zeros(0, np.int32), 0, len(live)
        return number

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Slots of tenants by id, -1 for those that moved out; sorts the table, so only for when slots have moved."""
        order = np.argsort(self.read("id"))
        sorted_ids = self.read("id")[order]
        at = np.minimum(np.searchsorted(sorted_ids, ids), max(len(order) - 1, 0))
        return np.where(sorted_ids[at] == ids, order[at], -1) if len(order) else np.full(len(ids), -1)

    def restore(self, columns: dict[str, np.ndarray], next_id: int) -> None:
        """Fill an empty table with the tenants that ``columns`` (``id`` among them) describe."""
        count = len(columns["id"])
        self.allocate(count)
        for name, values in columns.items():
            self.add_column(name, values.dtype)[:] = values
        self.next_id = next_id

    def clear(self, slots: np.ndarray | int, kept: tuple[str, ...] = ()) -> None:
        """Zero all columns of slots but those that are ``kept``; without their ids they have no tenant."""
        for name, column in self._columns.items():
            if name not in kept:
                if self.copies is not None:
                    self.copies.note(name, slots)
                column[slots] = FREE if name == "id" else 0

    def _grow(self, need: int) -> None:
        # A little room for the edits to come, far less than doubling: memory at rest is a promise of this library.
        capacity = max(need + need // 32 + 8, self.capacity + self.capacity // 16)
        names = sorted(self._columns, key=lambda name: self._columns[name].itemsize)

        def move(names: list[str]) -> dict[str, np.ndarray]:
            return {name: self._moved(self._columns[name], capacity) for name in names}

        # Fresh memory costs more than the copy; two threads get it faster. Wide columns and narrow ones in each.
        for columns in both(self.size, lambda: move(names[::2]), lambda: move(names[1::2])):
            self._columns |= columns

    def _moved(self, column: np.ndarray, capacity: int) -> np.ndarray:
        room = room_for(capacity, column.dtype)
        room[: self.size], room[self.size :] = column[: self.size], 0
        return room
