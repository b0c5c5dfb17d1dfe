"""Rows of connections sorted for the staged kernels: by target or by source, each row's entries by tile of far ends."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from ...graph.adjacency import Adjacency
from .mirror import Rows
from .module import Family

MARK = Family("buckets.cu", "mark_others")
SORT = Family("buckets.cu", "sort_rows")
WEIGHTS = Family("buckets.cu", "bucket_weights")
GRADIENTS = Family("buckets.cu", "bucket_gradients")

GROUP = 16  # entries that a warp takes at once; a (row, tile) holds whole groups
AHEAD = 2  # groups that kernels read beyond the last one
SLACK_SHIFT = 4  # a row has room for 1/16 more entries, and for a few at least
FEW = 4
LARGE = 8  # an edit of more than 1/8 of the rows sorts all of them
THREADS = 256
MOST_BLOCKS = 4096


def tiling(others: int, room: int) -> tuple[int, int]:
    """Into how many tiles of how many rows so many others are cut, where shared memory has ``room`` for so many rows.

    One tile if it fits; else tiles of one size, of which two fit, for one is copied while another one is run over. Each
    has a row of zeros as well.

    Examples
    --------
    >>> tiling(9, 10), tiling(10, 10), tiling(1000, 200)
    ((1, 9), (3, 4), (11, 91))
    """
    if others < room:
        return 1, others
    most = max(room // 2 - 1, 1)
    tiles = -(-others // most)
    return tiles, -(-others // tiles)


class Buckets:
    """The rows of some neurons, their entries sorted by tiles of the neurons at the far ends.

    Those, the ``others``, are numbered in ascending order of their slots; tile t has the numbers from ``t * tile_rows``
    on. The entries of row r in tile t stand in ``counts[r, t]`` places from group ``firsts[r, t]`` on, as
    ``buckets.cuh`` tells. Rows are in descending order of length, so that kernels can share them out evenly.

    Parameters
    ----------
    rows : Rows
        On the device, by target or by source.
    slots : ndarray of int32
        Neurons whose rows are wanted.
    length : ndarray of int32
        The host's copy of ``rows.length``.
    room : int
        Rows of the others that fit a block's shared memory.
    """

    def __init__(self, rows: Rows, slots: np.ndarray, length: np.ndarray, room: int):
        order = slots[np.argsort(-length[slots], kind="stable")].astype(np.int32)
        size = len(rows.start)
        self.row_slots = order
        self.rows = cupy.asarray(order)
        self._number_of_row = np.full(size, -1, np.int32)
        self._number_of_row[order] = np.arange(len(order), dtype=np.int32)
        used = cupy.zeros(size, np.int32)
        if len(order):
            self._launch_by_row(
                MARK(), len(order), rows.start, rows.length, rows.other, self.rows, _int(len(order)), used
            )
        self._known = used.get() != 0  # of the others, by slot
        found = np.flatnonzero(self._known).astype(np.int32)
        self.n_others = len(found)
        # A little room for others that are new.
        self.tiles, self.tile_rows = tiling(self.n_others + (self.n_others >> 6) + 1, room)
        self.buffers = 2 if self.tiles > 1 or 2 * (self.tile_rows + 1) <= room else 1
        # Where none is, any row may be staged: nothing names it.
        others = np.zeros(self.tiles * self.tile_rows, np.int32)
        others[: len(found)] = found
        number = np.full(size, -1, np.int32)
        number[found] = np.arange(len(found), dtype=np.int32)
        self.others, self._number = cupy.asarray(others), cupy.asarray(number)

        have = length[order].astype(np.int64)
        self._room = have + (have >> SLACK_SHIFT) + FEW
        # However the entries fall on tiles, all but one of those that a row reads may end with a group of one entry.
        groups = (self._room + (GROUP - 1) * np.minimum(self.tiles, self._room)) // GROUP
        bounds = np.concatenate([[0], np.cumsum(groups)])
        self.places = int(bounds[-1] + AHEAD) * GROUP
        if self.places >= 2**31 or len(order) * self.tiles >= 2**31:
            raise ValueError(f"{int(have.sum())} connections are too many for one staged generation")
        self._groups = cupy.asarray(bounds.astype(np.int32))
        self.firsts = cupy.zeros((len(order), self.tiles), np.int32)
        self.counts = cupy.zeros((len(order), self.tiles), np.int32)
        self.locals = cupy.zeros(self.places, np.uint16)
        self.slots = cupy.full(self.places, -1, np.int32)
        self._weights: Any = None
        self._sort(rows, np.arange(len(order), dtype=np.int32))

    def patch(self, rows: Rows, touched: np.ndarray, host: Adjacency) -> bool:
        """Sort again the rows of the ``touched`` neurons, which were edited.

        False, and nothing changed, where it is too many, or a row or the list of others has no room left: then make
        new buckets.
        """
        which = self._number_of_row[touched]
        which = np.unique(which[which >= 0])
        if not len(which):
            return True
        neurons = self.row_slots[which]
        length = host.length[neurons]
        if len(which) * LARGE > len(self.row_slots) + LARGE or (length > self._room[which]).any():
            return False
        ends = [host.other[a : a + n] for a, n in zip(host.start[neurons].tolist(), length.tolist(), strict=True)]
        others = np.concatenate(ends)
        fresh = np.unique(others[~self._known[others]]).astype(np.int32)
        if self.n_others + len(fresh) > len(self.others):
            return False
        if len(fresh):
            end = self.n_others + len(fresh)
            numbers = np.arange(self.n_others, end, dtype=np.int32)
            there = cupy.asarray(fresh)
            self.others[self.n_others : end] = there
            self._number[there] = cupy.asarray(numbers)
            self._known[fresh], self.n_others = True, end
        self._sort(rows, which)
        return True

    def weights(self, column: Any) -> Any:
        """A column of the connections (float32) in the order of the places; 0 where there is no entry.

        In an array that the next call fills anew.
        """
        if self._weights is None:
            self._weights = cupy.empty(self.places, np.float32)
        self._launch_by_place(WEIGHTS(), self.slots, column, np.int64(self.places), self._weights)
        return self._weights

    def gradients(self, dots: Any, grad: Any, add: bool) -> None:
        """Sum the ``dots`` (parts, places) over their parts into ``grad``, by connection; or ``add`` them to it."""
        self._launch_by_place(
            GRADIENTS(), dots, np.int64(self.places), _int(len(dots)), self.slots, grad, np.bool_(add)
        )  # fmt: skip

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        arrays = (self.rows, self.others, self._number, self._groups, self.firsts, self.counts, self.locals, self.slots)
        return sum(array.nbytes for array in arrays) + (0 if self._weights is None else self._weights.nbytes)

    def _sort(self, rows: Rows, which: np.ndarray) -> None:
        if len(which):
            self._launch_by_row(
                SORT(), len(which), *rows, self.rows, cupy.asarray(which), _int(len(which)), self._number, self._groups,
                _int(self.tiles), _int(self.tile_rows), self.firsts, self.counts, self.locals, self.slots,
            )  # fmt: skip

    def _launch_by_row(self, kernel: Any, count: int, *arguments: Any) -> None:
        kernel((-(-count * 32 // THREADS),), (THREADS,), arguments)

    def _launch_by_place(self, kernel: Any, *arguments: Any) -> None:
        kernel((min(-(-self.places // THREADS), MOST_BLOCKS),), (THREADS,), arguments)


def _int(value: int) -> np.int32:
    return np.int32(value)
