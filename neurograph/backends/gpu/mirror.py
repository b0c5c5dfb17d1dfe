"""A graph's arrays on the device, and who has the newest values of each: edits on the host are patched in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakSet

import cupy
import numpy as np

from ...graph.adjacency import Adjacency
from ...graph.graph import Graph
from ...graph.row_notes import RowNotes
from ...graph.tables import Table
from . import watch
from .patch import Patch
from .touched import Touched

HOST, BOTH, DEVICE = "host", "both", "device"  # where the newest values of a column are
FEW = 65_536  # words that are written one by one; more of one column go there as an array of their own


class Rows(NamedTuple):
    """Connections by target or by source on the device: an `Adjacency` as kernels read it."""

    start: Any  # int64, one entry a neuron slot
    length: Any  # int32
    other: Any  # int32, neuron slot at the far end of each entry
    slot: Any  # int32, connection slot of each entry


@dataclass
class _Column:
    """A column on the device.

    ``newest`` says where the newest values are, but for the ``notes``: slots whose newest values are on the host.
    ``changes`` counts how often the host's values were brought to the device, ``writes`` how often kernels were about
    to change them.
    """

    array: Any
    newest: str = HOST
    notes: list[np.ndarray] = field(default_factory=list)
    changes: int = 0
    writes: int = 0


class Columns:
    """The columns of a table on the device, over the same slots; see `neurograph.graph.tables.Copies`.

    Attributes
    ----------
    derived : dict
        What others make of columns and keep, each with the `changes` that it was made at.
    """

    def __init__(self, table: Table):
        self._table = table
        self.derived: dict[str, Any] = {}
        self._columns: dict[str, _Column] = {}
        table.copies = self

    # -- the host asks -------------------------------------------------------------------------------------------------

    def open(self, name: str) -> None:
        """All of a column may be read and written on the host from now on."""
        column = self._columns.get(name)
        if column is not None:
            self._bring(name, column)
            column.newest, column.notes = HOST, []

    def fetch(self, name: str) -> None:
        """All of a column is about to be read on the host."""
        column = self._columns.get(name)
        if column is not None:
            self._bring(name, column)

    def note(self, name: str, slots: np.ndarray | slice | int) -> None:
        """Some entries of a column are being written on the host."""
        column = self._columns.get(name)
        if column is not None and column.newest != HOST:
            if isinstance(slots, slice):
                slots = np.arange(slots.start, slots.stop)
            column.notes.append(np.atleast_1d(slots))

    def _bring(self, name: str, column: _Column) -> None:
        if column.newest == DEVICE:
            patch = Patch()
            self._patch_column(name, column, patch)
            patch.apply()
            entries = self._table.entries(name)
            entries[: len(column.array)] = cupy.asnumpy(column.array)
            column.newest = BOTH

    # -- the device asks -----------------------------------------------------------------------------------------------

    def read(self, name: str) -> Any:
        """A column as it is now, for reading."""
        if watch.current is not None:
            watch.current.asked(self, name, False)
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = _Column(None)
        entries = self._table.entries(name)
        if column.newest == HOST:
            if column.array is None or len(column.array) != len(entries):
                column.array = cupy.empty(len(entries), entries.dtype)
            column.array.set(entries)
            column.newest, column.notes = BOTH, []
            column.changes += 1
        elif column.notes or len(column.array) != len(entries):
            patch = Patch()
            self._patch_column(name, column, patch)
            patch.apply()
        return column.array

    def write(self, name: str) -> Any:
        """A column as it is now, for a kernel that changes it: from now on the device has its newest values."""
        if watch.current is not None:
            watch.current.asked(self, name, True)
        array = self.read(name)
        self._columns[name].newest = DEVICE
        self._columns[name].writes += 1
        return array

    def changes(self, name: str) -> int:
        """How often the host's values of a column were brought here: for what is derived from it."""
        return self._columns[name].changes

    def version(self, name: str) -> tuple[int, int]:
        """The same as long as nobody changed a column, here or on the host; as far as the host knows by now."""
        return self._columns[name].changes, self._columns[name].writes

    def patch(self, patch: Patch) -> None:
        """Collect what is to be written so that every column is up to date."""
        for name, column in self._columns.items():
            if column.notes and column.newest != HOST:
                self._patch_column(name, column, patch)

    def _patch_column(self, name: str, column: _Column, patch: Patch) -> None:
        entries = self._table.entries(name)
        if len(column.array) != len(entries):  # the table has grown; what is new there is zero
            grown = cupy.zeros(len(entries), entries.dtype)
            grown[: len(column.array)] = column.array
            column.array = grown
        if not column.notes:
            return
        slots = column.notes[0] if len(column.notes) == 1 else np.concatenate(column.notes)
        column.notes = []
        column.changes += 1
        if len(slots) <= FEW:
            patch.add(column.array, slots, entries[slots])
        else:
            column.array[cupy.asarray(slots)] = cupy.asarray(entries[slots])

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return sum(column.array.nbytes for column in self._columns.values() if column.array is not None)


class MirroredRows:
    """An `Adjacency` on the device, that follows the host's edits."""

    def __init__(self, rows: Adjacency):
        self._rows = rows
        self._there: Rows | None = None
        rows.notes = RowNotes()
        self.uploads = 0  # of everything; tests count them
        self.followers: WeakSet[Touched] = WeakSet()

    def patch(self, patch: Patch) -> Rows:
        """The rows, once what is collected in ``patch`` is written."""
        rows, notes, there = self._rows, self._rows.notes, self._there
        assert notes is not None
        if there is None or notes.everything or len(there.other) != len(rows.other):
            there = self._there = Rows(
                *(_uploaded(here, old) for here, old in zip(rows.rows, there or (None,) * 4, strict=True))
            )
            self.uploads += 1
        else:
            if len(there.start) != len(rows.start):  # room for more neurons
                there = self._there = there._replace(start=cupy.asarray(rows.start), length=cupy.asarray(rows.length))
            if notes.entries:
                which, places = np.array(notes.entries).T
                _patch(patch, there.length, rows.length, which)
                for name in ("other", "slot"):
                    _patch(patch, getattr(there, name), getattr(rows, name), places)
            if notes.whole:
                self._patch_rows(there, np.unique(np.concatenate(notes.whole)), patch)
        for follower in self.followers:
            follower.note(notes)
        notes.clear()
        return there

    def _patch_rows(self, there: Rows, which: np.ndarray, patch: Patch) -> None:
        rows = self._rows
        for name in ("start", "length"):
            _patch(patch, getattr(there, name), getattr(rows, name), which)
        length = rows.length[which].astype(np.int64)
        first = np.repeat(rows.start[which] - (np.cumsum(length) - length), length)
        places = first + np.arange(len(first))
        for name in ("other", "slot"):
            _patch(patch, getattr(there, name), getattr(rows, name), places)


def _patch(patch: Patch, there: Any, here: np.ndarray, entries: np.ndarray) -> None:
    if len(entries) <= FEW:
        patch.add(there, entries, here[entries])
    else:
        there[cupy.asarray(entries)] = cupy.asarray(here[entries])


def _uploaded(here: np.ndarray, there: Any) -> Any:
    if there is None or len(there) != len(here):
        return cupy.asarray(here)
    there.set(here)
    return there


class Mirror:
    """What the device holds of one graph.

    Attributes
    ----------
    incoming, outgoing : Rows
        Connections by target and by source.
    neurons, connections : Columns
    """

    incoming: Rows
    outgoing: Rows

    def __init__(self, graph: Graph):
        self.neurons, self.connections = columns_of(graph.neurons), columns_of(graph.connections)
        self.mirrored = MirroredRows(graph.incoming), MirroredRows(graph.outgoing)

    def update(self) -> None:
        """Follow the edits since the last time, in one copy and one launch where they are few."""
        patch = Patch()
        for columns in (self.neurons, self.connections):
            columns.patch(patch)
        self.incoming, self.outgoing = (rows.patch(patch) for rows in self.mirrored)
        patch.apply()


def columns_of(table: Table) -> Columns:
    """The columns of a table on the device; the same object as long as the table lives."""
    return table.copies if isinstance(table.copies, Columns) else Columns(table)


def mirror_of(graph: Graph) -> Mirror:
    """The mirror of a graph, up to date; the same one as long as the graph lives."""
    if not isinstance(graph.mirror, Mirror):
        graph.mirror = Mirror(graph)
    graph.mirror.update()
    return graph.mirror
