"""What exists: neurons, connections and groups as tables. No mathematics, no order, no names of users' things."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..errors import DuplicateConnectionError, NotSupportedError
from .adjacency import LARGE, Adjacency
from .journal import Journal
from .sharing import Sharing
from .side_by_side import both
from .tables import Table, as_block

COMPACT_FROM = 16  # connection slots below which free ones are not worth a look
FEW = 64  # connections that are never a large edit
INCOMING_FULL = -1  # what `enter` finds when it needs room
HIDDEN, INPUT = 0, 1  # kinds of neuron; being an output is a flag of its own


class Unrolled(NamedTuple):
    """The connections in an array where every time step has a row for each neuron slot.

    Attributes
    ----------
    max_delay : int
    incoming, outgoing : ndarray of int32
        Where the far end of each row entry lies, counted from the first row of the step in which the near end is:
        ``source - delay * n_slots`` and ``target + delay * n_slots``.
    """

    max_delay: int
    incoming: np.ndarray
    outgoing: np.ndarray


class Graph:
    """An editable directed graph of neuron slots and connection slots.

    Everything here speaks in slots (see `Table`); ids, groups of users and error messages about them belong to the
    callers. Each edit either happens whole or raises before anything changed.

    Parameters
    ----------
    dtype : dtype
        Type of weights, biases and everything that is trained.

    Attributes
    ----------
    neurons, connections : Table
    incoming, outgoing : Adjacency
        The same connections by target and by source.
    weights, biases : Sharing
        Which connections, and which neurons' biases, share a parameter.
    inputs, outputs : ndarray of int64
        Slots in the order in which they were added: the columns of X and Y.
    version : int
        Grows with every structural edit.
    edits : int
        Grows whenever connections may have moved to other slots, or others live there; never falls.
    removals : int
        Grows with every removal of neurons: groups look at it to forget the removed.
    delayed : int
        Connections with a delay of one step or more.
    journal : Journal
        Connections that came or went since a backend last looked.
    mirror : object, optional
        What a backend keeps of the graph on a device.
    precision : str
        "float32", "tf32" or "bf16": what a GPU may round numbers to before it multiplies them.
    """

    def __init__(self, dtype: np.dtype):
        self.dtype = np.dtype(dtype)
        self.neurons = Table(
            {
                "kind": np.int8,
                "activation": np.int8,
                "activation_parameter": self.dtype,
                "aggregation": np.int8,
                "home": np.int32,
                "time_constant": self.dtype,
                "bias": self.dtype,
                "bias_grad": self.dtype,
            }
        )
        self.connections = Table(
            {
                "source": np.int32,
                "target": np.int32,
                "delay": np.int16,
                "weight": self.dtype,
                "grad": self.dtype,
            }
        )
        self.incoming = Adjacency(self.connections, "target")
        self.outgoing = Adjacency(self.connections, "source")
        self.weights = Sharing(self.connections, "weight", "grad", common_numbers=True)
        self.biases = Sharing(self.neurons, "bias", "bias_grad", common_numbers=False)
        self.inputs = np.zeros(0, np.int64)
        self.outputs = np.zeros(0, np.int64)
        self.n_homes = 0
        self.version = 0
        self.edits = 0
        self.removals = 0
        self.delayed = 0
        self.journal = Journal()
        self.mirror: object = None
        self.precision = "float32"
        self.ordered = np.zeros((2, 0), np.int64)  # ids of neurons and the places that they were given
        self._slot_of = np.zeros(0, np.int32)  # neuron id -> slot, -1 once removed
        self._unrolled: tuple[tuple[int, int], Unrolled] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"mirror": None}

    # -- neurons -------------------------------------------------------------------------------------------------------

    def slots_of(self, ids: np.ndarray) -> np.ndarray:
        """Slots of neuron ids that were all given once; -1 for those that were removed."""
        return self._slot_of[ids].astype(np.int64)

    def slot_of(self, id: int) -> int:
        """Slot of one neuron id that was given once; -1 if it was removed."""
        return self._slot_of.item(id)

    def add_neurons(self, count: int, kind: int = HIDDEN, **columns) -> np.ndarray:
        """Add ``count`` neurons that share a new home; ``columns`` are values or arrays."""
        table = self.neurons
        first_id = table.next_id
        slots = table.allocate(count)
        if table.next_id > len(self._slot_of):
            grown = np.full(max(table.next_id, len(self._slot_of) * 5 // 4), -1, np.int32)
            grown[:first_id] = self._slot_of[:first_id]
            self._slot_of = grown
        self._slot_of[first_id : table.next_id] = slots
        table["kind"][slots] = kind
        table["home"][slots] = self.n_homes
        table["time_constant"][slots] = 1
        for name, value in columns.items():
            table[name][slots] = value
        self.n_homes += 1
        self.incoming.add_rows(table.size)
        self.outgoing.add_rows(table.size)
        if kind == INPUT:
            self.inputs = np.concatenate([self.inputs, slots])
        self.version += 1
        return slots

    def places(self) -> np.ndarray:
        """Where each neuron slot stands in its home: neighbours are cut into blocks together.

        That is by id, counted from the lowest that is still there, so that what is removed leaves a gap; or where
        `order` put it. -1 for a free slot.
        """
        ids, home = self.neurons["id"], self.neurons["home"]
        live = self.neurons.live()
        lowest = np.full(self.n_homes, self.neurons.next_id, np.int64)
        np.minimum.at(lowest, home[live], ids[live])
        places = np.full(self.neurons.size, -1, np.int64)
        places[live] = ids[live] - lowest[home[live]]
        slots = self.slots_of(self.ordered[0])
        places[slots[slots >= 0]] = self.ordered[1][slots >= 0]
        return places

    def order(self, slots: np.ndarray) -> None:
        """Give neurons of some homes, all of each, new places in them: their order among ``slots``."""
        home = self.neurons["home"][slots]
        by_home = np.argsort(home, kind="stable")
        sizes = np.bincount(home)
        ids, places = (
            self.neurons["id"][slots[by_home]],
            np.arange(len(slots)) - np.repeat(np.cumsum(sizes) - sizes, sizes),
        )
        kept = ~np.isin(self.ordered[0], ids)
        self.ordered = np.concatenate([self.ordered[:, kept], np.stack([ids, places])], axis=1)
        self.version += 1

    def mark_outputs(self, slots: np.ndarray) -> None:
        """Append neurons to the outputs; those that are outputs already keep their column."""
        new = slots[~np.isin(slots, self.outputs)]
        self.outputs = np.concatenate([self.outputs, new])
        self.version += 1

    def remove_neurons(self, slots: np.ndarray) -> None:
        """Remove neurons (distinct, live) with all their connections."""
        touching = np.concatenate([self.incoming.of(slots), self.outgoing.of(slots)])
        self.disconnect(np.unique(touching))
        self._slot_of[self.neurons["id"][slots]] = -1
        self.biases.release(slots)
        self.neurons.release(slots)
        self.inputs = self.inputs[~np.isin(self.inputs, slots)]
        self.outputs = self.outputs[~np.isin(self.outputs, slots)]
        self.version += 1
        self.removals += 1

    # -- connections ---------------------------------------------------------------------------------------------------

    def connect(self, source: np.ndarray, target: np.ndarray, delay: np.ndarray, absent: bool = False) -> np.ndarray:
        """Add connections between neuron slots, weights zero; returns their slots.

        Parameters
        ----------
        source, target, delay : ndarray of int64, int64, int16
        absent : bool
            The caller knows that none of them exists and none occurs twice.

        Raises
        ------
        DuplicateConnectionError
            If a pair is connected already with the same delay, or occurs twice. Nothing has changed then.
        """
        table = self.connections
        checkpoint, large = table.checkpoint(), self._is_large(len(source))
        slots = table.allocate(len(source))
        if large:
            slots = self._by_source(slots, source)
        table["source"][slots] = source
        table["target"][slots] = target
        if n_delayed := int(np.count_nonzero(delay)):
            table.put("delay", slots, delay)
            self.delayed += n_delayed
        # One by one means walking a row for each; where they are many for so few rows, all rows are walked once.
        if not absent and not large and len(slots) <= FEW + 8 * self.neurons.size:
            self._enter(slots, source, target, delay, checkpoint)
        else:
            self._side_by_side(len(slots), lambda rows: rows.append(slots, source, target))
            if not absent:
                self._refuse_double_rows(slots, checkpoint)
        self.journal.note(source, target)
        self.version += 1
        self.edits += 1
        return slots

    def connect_one(self, source: int, target: int, delay: int) -> int:
        """Add one connection, weight zero; returns its slot. Errors as of `connect`."""
        if self.find(source, target, delay) >= 0:
            self._raise_duplicate(source, target, delay, "exists already")
        table = self.connections
        slot = table.allocate_one()
        table["source"][slot] = source
        table["target"][slot] = target
        if delay:
            table.put("delay", slot, delay)
            self.delayed += 1
        self.incoming.put(slot)
        self.outgoing.put(slot)
        self.journal.note_one(source, target)
        self.version += 1
        self.edits += 1
        return slot

    def _is_large(self, count: int) -> bool:
        return count > FEW and count * LARGE > len(self.connections)

    def _enter(
        self,
        slots: np.ndarray,
        source: np.ndarray,
        target: np.ndarray,
        delay: np.ndarray,
        checkpoint: tuple[int, int, int],
    ) -> None:
        """Enter connections into both rows, each only if it is not there yet; all or none."""
        from .compiled import enter

        into, out, column = self.incoming, self.outgoing, self.connections.read("delay")
        done, widened = 0, False
        into.touched(target)
        out.touched(source)
        while True:
            done, found, into.used, out.used = enter(
                source, target, delay, slots, done, *into.arrays, into.used, *out.arrays, out.used, column
            )
            if done == len(slots):
                break
            if found >= 0:
                ends, twice = (source[done], target[done], delay[done]), found in slots[:done]
                self._forget_delays(slots)
                self.connections.rollback(checkpoint, slots)
                self._unrolled = None  # rows may have moved, at the same version
                self._raise_duplicate(*ends, "occurs twice in this call" if twice else "exists already")
            (into if found == INCOMING_FULL else out).widen()
            widened = True
        if widened:
            for rows in (into, out):
                if rows.wasteful:
                    rows.rebuild()

    def _leave(self, slots: np.ndarray | int) -> None:
        """Take connections out of both rows, one by one."""
        self._forget_delays(slots)
        if isinstance(slots, int):
            target = self.incoming.take(slots)
            self.journal.note_one(self.outgoing.take(slots), target)
            return
        from .compiled import leave

        into, out, table = self.incoming, self.outgoing, self.connections
        self.journal.note(table["source"], table["target"], slots)
        into.touched(table["target"][slots])
        out.touched(table["source"][slots])
        leave(
            slots, table["source"], table["target"], *into.rows, table["target_place"], *out.rows, table["source_place"]
        )

    def _forget_delays(self, slots: np.ndarray | int) -> None:
        if self.delayed:
            self.delayed -= int(np.count_nonzero(self.connections.read("delay")[slots]))

    def _side_by_side(self, count: int, task: Callable[[Adjacency], None]) -> None:
        """Do something with the rows of both directions, in two threads where there is enough to do."""
        both(count, lambda: task(self.incoming), lambda: task(self.outgoing))

    def _by_source(self, slots: np.ndarray, source: np.ndarray) -> np.ndarray:
        """Hand out new slots source by source; the ids still follow the call.

        The backward pass walks the connections by source and writes a gradient for each: with neighbouring slots these
        writes are sequential. The forward pass only reads weights, which it does as fast in any order.
        """
        from . import compiled

        order = compiled.stable_order(source, self.neurons.size)
        self.connections["id"][as_block(slots)] = self.connections.next_id - len(slots) + order
        handed = np.empty_like(slots)
        handed[order] = slots
        return handed

    def undo_connect(self, slots: np.ndarray | int, checkpoint: tuple[int, int, int]) -> None:
        """Take back the newest ``connect``, for an edit that a later check refused."""
        self._leave(slots)
        self.connections.rollback(checkpoint, slots)
        self.version -= 1
        self.edits += 1
        self._unrolled = None  # rows may have moved, at the same version

    def disconnect(self, slots: np.ndarray | int) -> None:
        """Remove connections (distinct, live), or one; their slots are free for new ones."""
        if not isinstance(slots, int) and len(slots) == 0:
            return
        table = self.connections
        large = not isinstance(slots, int) and self._is_large(len(slots))
        if large:
            self.journal.forget()
            self._forget_delays(slots)
            gone = np.zeros(table.size, bool)
            gone[slots] = True
            self._side_by_side(len(table), lambda rows: rows.sift(gone))
        else:
            self._leave(slots)
        self.weights.release(slots)
        table.release(slots)
        if table.size > COMPACT_FROM and table.n_free > 2 * len(table):
            self._compact()
        elif large:
            self._side_by_side(len(table), Adjacency.tighten)
        self.version += 1
        self.edits += 1

    def exchange(self, slots: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Remove connections (distinct, live), and let as many new ones have their slots, weights zero and no delay.

        Wherever a neuron gives away a connection and gets another, the new one stands in the old one's place, instead
        of rows being sifted and filled up again.

        Parameters
        ----------
        slots : ndarray of int64
        source, target : ndarray of int64
            Of the new connections; the caller knows that none of them stays and none occurs twice.

        Returns
        -------
        ndarray of int64
            Slots of the new connections, in their order.
        """
        table, heirs = self.connections, np.empty(len(slots), np.int64)
        gone = np.zeros(table.size, bool)
        gone[slots] = True
        any_delay = self.delayed > 0
        self._forget_delays(slots)
        self.weights.release(slots)
        kept = ("id", "source", "target", "source_place", "target_place", *(() if any_delay else ("delay",)))
        _, left_out = both(
            len(table),
            lambda: table.clear(slots, kept),
            lambda: self.outgoing.exchange(gone, source, target, heirs, True),
        )
        table.next_id += len(heirs)
        left_in = self.incoming.exchange(gone, target, source, heirs, False)
        both(
            len(table),
            lambda: self.incoming.put_all(heirs[left_in], source[left_in], target[left_in]),
            lambda: self.outgoing.put_all(heirs[left_out], source[left_out], target[left_out]),
        )
        self.version += 1
        self.edits += 1
        return heirs

    def find(self, source: int, target: int, delay: int = 0) -> int:
        """Slot of one connection, or -1; looks through the shorter of the two rows."""
        rows, row, other = self.incoming, target, source
        if self.outgoing.length.item(source) < self.incoming.length.item(target):
            rows, row, other = self.outgoing, source, target
        for place in rows.places(row, other):
            slot = rows.slot.item(place)
            if self.connections.read("delay").item(slot) == delay:
                return slot
        return -1

    def restore(self, columns: dict[str, dict[str, np.ndarray]], next_id: dict[str, int], n_homes: int) -> None:
        """Fill an empty graph from columns without holes; the rows get back the order that their places tell."""
        self.neurons.restore(columns["neurons"], next_id["neurons"])
        self.connections.restore(columns["connections"], next_id["connections"])
        for sharing, name in ((self.weights, "weights"), (self.biases, "biases")):
            if columns[name]:
                sharing.table.restore(columns[name], next_id[name])
            else:  # the numbers of parameters that are gone are not used again; older files know none
                sharing.table.next_id = next_id.get(name, sharing.table.next_id)
        self._slot_of = np.full(self.neurons.next_id, -1, np.int32)
        self._slot_of[self.neurons["id"]] = np.arange(self.neurons.size)
        self.n_homes = n_homes
        self.delayed = int(np.count_nonzero(self.connections.read("delay")))
        self.incoming.add_rows(self.neurons.size)
        self.outgoing.add_rows(self.neurons.size)
        # Sums are added up in row order, so keeping it keeps every result bit by bit.
        for rows in (self.incoming, self.outgoing):
            rows.restore()
        self.journal.forget()
        self.version += 1
        self.edits += 1

    def unrolled(self) -> Unrolled:
        """Far ends of the rows in unrolled time; without delays they are the rows' own."""
        if not self.delayed:
            return Unrolled(0, self.incoming.other, self.outgoing.other)
        key = self.version, self.neurons.size
        if self._unrolled is None or self._unrolled[0] != key:
            delay, n = self.connections.read("delay"), self.neurons.size
            longest = int(delay.max())
            if (longest + 1) * n >= 2**31:
                raise NotSupportedError(
                    f"a delay of {longest} steps in a network of {n} neurons needs more than 2**31 rows; shorten it"
                )
            from . import compiled

            incoming = compiled.displace(*self.incoming.rows, delay, -n)
            self._unrolled = key, Unrolled(longest, incoming, compiled.displace(*self.outgoing.rows, delay, n))
        return self._unrolled[1]

    # -- checks --------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Assert that tables and rows agree, entry by entry; for tests."""
        live = self.connections.live()
        assert len(live) == len(self.connections)
        ids = self.connections["id"][live]
        assert len(np.unique(ids)) == len(ids) and (ids < self.connections.next_id).all()
        free = np.setdiff1d(np.arange(self.connections.size), live)
        for name in self.connections.columns:
            assert name == "id" or not self.connections[name][free].any(), f"freed slots keep {name}"
        for rows, key, other in ((self.incoming, "target", "source"), (self.outgoing, "source", "target")):
            place = self.connections[f"{key}_place"][live]
            assert (rows.slot[place] == live).all()
            assert (rows.other[place] == self.connections[other][live]).all()
            row = self.connections[key][live]
            assert (self.neurons["id"][row] >= 0).all()
            assert (place >= rows.start[row]).all() and (place < rows.start[row] + rows.length[row]).all()
            assert len(np.unique(place)) == len(place) and rows.length.sum() == len(live)
            assert (rows.length <= rows.capacity).all()
            used = np.argsort(rows.start[rows.capacity > 0], kind="stable")
            start, capacity = rows.start[rows.capacity > 0][used], rows.capacity[rows.capacity > 0][used]
            assert (start[1:] >= (start + capacity)[:-1]).all(), "rows overlap"
        neurons = self.neurons.live()
        assert (self._slot_of[self.neurons["id"][neurons]] == neurons).all()
        assert self.delayed == np.count_nonzero(self.connections.read("delay")[live])
        self.weights.check()
        self.biases.check()

    @property
    def nbytes(self) -> int:
        """Bytes of everything that the graph holds."""
        arrays = (self.inputs, self.outputs, self._slot_of)
        parts = (self.neurons, self.connections, self.incoming, self.outgoing, self.weights, self.biases)
        return sum(a.nbytes for a in arrays) + sum(part.nbytes for part in parts)

    def _compact(self) -> None:
        """Give back the memory of removed connections once they are two thirds of all: views find theirs by id."""
        number = self.connections.compact()
        self.journal.forget()
        self._side_by_side(len(self.connections), lambda rows: rows.relay(number))

    def _refuse_double_rows(self, slots: np.ndarray, checkpoint: tuple[int, int, int]) -> None:
        from .compiled import first_duplicate

        table = self.connections
        c = first_duplicate(*self.incoming.rows, table.read("delay"))
        if c < 0:
            return
        ends = table["source"][c], table["target"][c], table.read("delay")[c]
        self._leave(slots)
        table.rollback(checkpoint, slots)
        self._unrolled = None
        self._raise_duplicate(*ends, "exists already, or occurs twice in this call")

    def _raise_duplicate(self, source: int, target: int, delay: int, what: str) -> None:
        u, v = self.neurons["id"][source], self.neurons["id"][target]
        raise DuplicateConnectionError(
            f"connection {u} -> {v} with delay {delay} {what}; set its weight instead, or leave the pair out"
        )
