"""The lowest scores on the device: exactly as many as wanted, ties by the smallest id.

The same choice as `neurograph.sparsity.select` makes, by a radix select: the digits of the last score that is taken are
found from the highest down, each from a histogram of those that agree so far, and then those of the last id among equal
scores. That reads the scores once for each of their bytes; a sort would also move them.

`lowest_slots` is what pruning and rewiring come to, by `Network.lowest`. What stays on the device begins with
`candidates`, which makes the entries out of a table's columns, and leaves out free slots and frozen connections:

>>> entries = candidates("magnitude", graph.connections)       # doctest: +SKIP
>>> slots = lowest(entries, round(0.2 * n_connections))        # doctest: +SKIP

`lowest` is scope "global", `lowest_in_regions` "local" with the regions of `Connections.regions`, and `lowest_in_rows`
"neuron", whose regions are the rows that the device has anyway.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cupy
import numpy as np

from ...graph.tables import Table
from .launch import THREADS, blocks_for, unread
from .mirror import Rows, columns_of
from .module import REALS, Family
from .sharing import tenants_of

RANK_ENTRIES = Family("select.cu", "rank_entries", REALS)
COUNT_DIGITS = Family("select.cu", "count_digits", REALS)
NARROW_REGIONS = Family("select.cu", "narrow_regions")
MARK = Family("select.cu", "mark", REALS)
SELECT_ROWS = Family("select.cu", "select_rows", REALS)
DIGITS = 256  # as in select.cu
CHUNK = 16 * DIGITS
MANY_REGIONS = 1024  # more than these are sorted first, and get a block each: a histogram each would be large
SCORES = ("magnitude", "gradient", "saliency")
COLUMNS = {"magnitude": ("weight",), "gradient": ("grad",), "saliency": ("weight", "grad")}


class Entries(NamedTuple):
    """What is chosen from."""

    key: Any  # uint32 or uint64: in the order of the scores; the largest of all is that of nobody
    id: Any  # int64, distinct where somebody is
    dtype: type[np.floating]  # of the scores
    id_bits: int  # a multiple of 8; all ids are below 2 ** id_bits


def entries(scores: Any, ids: Any | None = None, ids_below: int = 2**56, largest: bool = False) -> Entries:
    """Entries by their scores, an array of floats of the device.

    Parameters
    ----------
    scores : cupy array (n,)
        NaN counts as larger than all others, or smaller for the largest.
    ids : cupy array (n,) of int64, optional
        They decide between equal scores; negative ones are no candidates. By default the index.
    ids_below : int
        Larger than every id, and at most 2 ** 56: fewer digits are looked at where it is small.
    largest : bool
        Choose those of highest score, of equal ones still the smallest ids.
    """
    if ids is None:
        ids, ids_below = cupy.arange(scores.size, dtype=np.int64), scores.size
    return _entries(0, scores, scores, ids, None, ids_below, largest)


def candidates(score: str, table: Table, frozen: Any | None = None, largest: bool = False) -> Entries:
    """The tenants of a table, connections, by a score out of their columns: one entry a slot.

    Parameters
    ----------
    score : str
        "magnitude", "gradient" or "saliency", or the name of a column, of which the absolute value counts: a momentum.
    table : Table
    frozen : cupy array of bool, optional
        Those that stay out.
    largest : bool
        As for `entries`.
    """
    columns, size = columns_of(table), table.size  # behind the size there is room without a meaning
    scored = [columns.read(name)[:size] for name in COLUMNS.get(score, (score,))]
    return _entries(len(scored), scored[0], scored[-1], columns.read("id")[:size], frozen, table.next_id, largest)


def lowest_slots(table: Table, score: str, slots: Any, counts: Any, regions: Any = None) -> np.ndarray | None:
    """The slots that score lowest, where the host asks; None where a score is no number.

    Parameters
    ----------
    table : Table
        Connections.
    score : str
        One of `SCORES`.
    slots : array of int
        Those to choose from, all different.
    counts : array of int, shape (n_regions,)
        How many to choose in each region; all of it where it has fewer.
    regions : array of int, optional
        Region of each of the slots; by default they are one.

    Returns
    -------
    array of int64, or None
        Slots, ascending.
    """
    found = candidates(score, table)
    all_in_order = len(slots) == len(table) and bool((slots[1:] > slots[:-1]).all())
    there = cupy.flatnonzero(found.id >= 0) if all_in_order else cupy.asarray(slots)
    ids = cupy.full(table.size, -1, np.int64)
    ids[there] = found.id[there]
    nobody = ~found.key.dtype.type(0)
    key = cupy.where(ids < 0, nobody, found.key)
    if bool((key == nobody - 1).any()):
        return None
    region = unread(np.int32)
    if regions is not None:
        region = cupy.full(table.size, -1, np.int32)
        region[there] = cupy.asarray(regions, np.int32)
    number = cupy.asarray(np.minimum(counts, table.size), np.int32)
    return cupy.asnumpy(lowest_in_regions(found._replace(key=key, id=ids), region, number))


def _entries(how: int, first: Any, second: Any, ids: Any, frozen: Any, ids_below: int, largest: bool) -> Entries:
    dtype = first.dtype.type
    keys = cupy.empty(first.size, np.dtype(f"u{first.itemsize}"))
    if first.size:
        held = (unread(np.bool_), np.int32(0)) if frozen is None else (frozen, np.int32(1))
        arguments = (np.int32(how), first, second, ids, *held, np.int64(first.size), np.int32(largest), keys)
        RANK_ENTRIES(dtype)((blocks_for(first.size),), (THREADS,), arguments)
    id_bits = max(8, -(-(ids_below - 1).bit_length() // 8) * 8)
    return Entries(keys, ids, dtype, id_bits)


def lowest(entries: Entries, count: int) -> Any:
    """Indices of the ``count`` lowest entries, ascending; of all candidates where there are fewer."""
    return lowest_in_regions(entries, unread(np.int32), cupy.full(1, max(count, 0), np.int32))


def lowest_in_regions(entries: Entries, regions: Any, counts: Any) -> Any:
    """Indices of the ``counts[r]`` lowest entries of every region r, ascending.

    Parameters
    ----------
    entries : Entries
    regions : cupy array of int32
        Region of each entry; any number where nobody is.
    counts : cupy array (n_regions,) of int32

    Returns
    -------
    cupy array of int64
    """
    if not entries.key.size or not counts.size:
        return cupy.zeros(0, np.int64)
    if counts.size > MANY_REGIONS:
        somebody = entries.key != ~entries.key.dtype.type(0)
        members = tenants_of(cupy.where(somebody, regions + 1, 0).astype(np.int32), counts.size)
        length = (members.start[1:] - members.start[:-1]).astype(np.int32)
        return lowest_in_rows(entries, Rows(members.start[:-1], length, members.slot, members.slot), counts)
    return cupy.flatnonzero(_taken(entries, regions, counts))


def _taken(entries: Entries, regions: Any, counts: Any) -> Any:
    key, ids, dtype, id_bits = entries
    n, n_regions = np.int64(key.size), np.int32(counts.size)
    threshold, until = cupy.zeros(counts.size, np.uint64), cupy.zeros(counts.size, np.uint64)
    left, is_open = counts.copy(), cupy.ones(counts.size, np.int32)
    histogram = cupy.zeros(counts.size * DIGITS, np.int32)
    grid, block = (blocks_for(key.size, CHUNK),), (DIGITS,)
    for of_ids, bits in enumerate((8 * key.itemsize, id_bits)):
        if of_ids and not bool(is_open.any()):
            break  # no ties, as a rule
        for shift in range(bits - 8, -1, -8):
            digit = np.int32(shift), np.int32(of_ids)
            counted = key, ids, regions, n, n_regions, *digit, threshold, until, is_open, histogram
            COUNT_DIGITS(dtype)(grid, block, counted)
            NARROW_REGIONS()((counts.size,), block, (histogram, n_regions, *digit, threshold, until, left, is_open))
    taken = cupy.empty(key.size, np.bool_)
    MARK(dtype)((blocks_for(key.size),), (THREADS,), (key, ids, regions, n, n_regions, threshold, until, taken))
    return taken


def lowest_in_rows(entries: Entries, rows: Rows, counts: Any) -> Any:
    """Indices of the ``counts[r]`` lowest entries in every row r, ascending; ``rows.slot`` are indices of entries.

    Parameters
    ----------
    entries : Entries
    rows : Rows
        No entry is in two of them.
    counts : cupy array (n_rows,) of int32

    Returns
    -------
    cupy array of int64
    """
    taken = cupy.zeros(entries.key.size, np.bool_)
    if counts.size and taken.size:
        arguments = (
            entries.key, entries.id, rows.start, rows.length, rows.slot, counts, np.int32(counts.size),
            np.int32(entries.id_bits), taken,
        )  # fmt: skip
        SELECT_ROWS(entries.dtype)((blocks_for(counts.size, 1),), (DIGITS,), arguments)
    return cupy.flatnonzero(taken)
