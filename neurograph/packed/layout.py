"""HOW a frozen network lies in memory: lines of connections, narrow weights, and gaps of a byte instead of indices.

Neurons are numbered by *position*: inputs in the order of X's columns, then all others generation after generation.
Row r is that of the neuron at position ``n_inputs + r``. Each connection is in one *line*, by one of its ends, and has
the other as its *index*:

- by target: line r is row r, and the index is that of the source in the rows that a step can read:
  ``position + (history - delay) * n``, which without time is the position itself. Any network can be laid out so.
- by source: line p is that of the neuron at position p, and the index is the position of the target. A line whose
  source is silent need not be read at all. Networks that only sum, have no time, are sparse and have enough
  connections for a line of each neuron are laid out so.

Lines come in *segments*, each of neighbours in one generation:

- sparse: an entry holds the gap to the index before it, in one byte or two, and the weight. A gap too large for the
  code takes several entries, of which all but the last are *skips*: the largest code, and a weight that does not count.
- dense: lines whose sources fill most of one range are a matrix without any index. What is not connected is a hole.
  There are none by source.

One running total finds both: within a segment codes and weights advance together.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import FileFormatError, InvalidValueError
from ..functions import aggregations
from . import formats
from .formats import Format

# Columns of `Packed.segments`. A width of zero means sparse; `gaps` says whether there are skips, or holes.
LO, HI, BASE, WIDTH, SHIFT, GAPS = range(6)
ADDS_UP = [aggregations.AGGREGATIONS[name] for name in ("sum", "mean")]
LEAST = 32  # sources of a row from which it can be part of a dense segment
LEAST_CELLS = 256  # pairs of a dense segment, which costs a line of the table
ENOUGH = 8  # connections a line, where lines are by source
SHIFTED = 8  # rows whose ranges differ by more than 1/8 are not of one dense segment
NO_FIRST = np.zeros(0, np.uint32)


@dataclass(frozen=True, eq=False)
class Packed:
    """A frozen network: arrays that no one changes.

    Attributes
    ----------
    format : Format
    by_source : bool
        Whether lines are by source.
    n_inputs, n_connections, history : int
    outputs : ndarray of uint32
        Positions of the columns of the prediction.
    offsets : ndarray of int64
        Rows ``offsets[g]:offsets[g + 1]`` are the g-th generation.
    activation, parameter, aggregation, time_constant : ndarray of int8, float32, int8, float32
        One entry a row, or one for all.
    bias : ndarray of float32, shape (n_rows,)
    scale : ndarray of float32
        One a row, one for all, or none.
    segments : ndarray of int64, shape (n_segments, 6)
    start : ndarray of uint32 (int64 if need be), shape (n_lines + 1,)
        Where each line begins in ``weight``.
    first : ndarray of uint16 or uint32, shape (n_lines,) or (0,)
        The first index of each line, counted from its segment's base, where that saves codes.
    code : ndarray of uint8 or uint16
    weight : ndarray of int8 or uint16
    layouts : dict
        What backends remember: a tuple for every piece of 100,000 connections or so.
    """

    format: Format
    by_source: bool
    n_inputs: int
    n_connections: int
    history: int
    outputs: np.ndarray
    offsets: np.ndarray
    activation: np.ndarray
    parameter: np.ndarray
    aggregation: np.ndarray
    time_constant: np.ndarray
    bias: np.ndarray
    scale: np.ndarray
    segments: np.ndarray
    start: np.ndarray
    first: np.ndarray
    code: np.ndarray
    weight: np.ndarray
    layouts: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def n_rows(self) -> int:
        """Neurons that compute something."""
        return len(self.bias)

    @cached_property
    def n(self) -> int:
        """Positions: all neurons."""
        return self.n_inputs + self.n_rows

    @cached_property
    def n_lines(self) -> int:
        """Neurons whose connections are together: all, by source, and those that compute something, by target."""
        return self.n if self.by_source else self.n_rows

    @cached_property
    def leaks(self) -> bool:
        """Whether a potential carries over from step to step."""
        return bool((self.time_constant != 1).any())

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name."""
        return {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), np.ndarray)}

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    @cached_property
    def adds_up(self) -> bool:
        """Whether all terms are summed or averaged."""
        return bool(np.isin(self.aggregation, ADDS_UP).all())

    def column(self, name: str) -> np.ndarray:
        """A column with one entry a row."""
        values = getattr(self, name)
        return np.broadcast_to(values, (self.n_rows,))

    def unpack(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Row, position of the source, delay and float32 weight of every connection, row after row."""
        line, index, kept = self._ends()
        place = np.flatnonzero(kept)
        if self.by_source:  # a stable sort keeps the sources of a row in their order
            row = index - self.n_inputs
            order = np.argsort(row, kind="stable")
            row, index, place = row[order], line[order], place[order]
        else:
            row = line
        scale = self.column("scale")[row] if self.format.scaled else None
        delay = self.history - index // max(self.n, 1)
        return row, index % max(self.n, 1), delay, formats.widen(self.weight[place], self.format, scale)

    def _ends(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Line and index of every connection; and which entries these are, all but the skips and holes."""
        start = self.start.astype(np.int64)
        line = np.repeat(np.arange(self.n_lines), np.diff(start))
        place = np.arange(len(line))
        ends = np.append(self.segments[:, LO], self.n_lines)
        segment = np.repeat(np.arange(len(self.segments)), np.diff(start[ends]))
        of = self.segments[segment]
        dense = of[:, WIDTH] > 0
        index = of[:, BASE] + place - start[line]
        sparse = np.flatnonzero(~dense)
        code = self.code[sparse + of[sparse, SHIFT]].astype(np.int64)
        total = np.cumsum(code)
        begins = np.searchsorted(sparse, start[line[sparse]])
        index[sparse] = of[sparse, BASE] + total - (total - code)[begins]
        if len(self.first):
            index[sparse] += self.first[line[sparse]]
        kept = np.where(dense, self.weight != self.format.hole, True)
        kept[sparse] &= code != np.iinfo(self.code.dtype).max
        return line[kept], index[kept], kept

    def check(self) -> None:
        """Refuse arrays that contradict one another: kernels would follow them anywhere.

        Raises
        ------
        FileFormatError
        """
        n_rows, n_lines, size = self.n_rows, self.n_lines, int(self.start[-1]) if len(self.start) else -1
        columns = (self.activation, self.parameter, self.aggregation, self.time_constant)
        whole = (
            len(self.start) == n_lines + 1
            and all(len(column) in (1, n_rows) for column in columns)
            and len(self.scale) in ((1, n_rows) if self.format.scaled else (0,))
            and len(self.first) in (0, n_lines)
            and self.segments.ndim == 2
            and self.segments.shape[1] == GAPS + 1
            and (np.diff(self.start.astype(np.int64)) >= 0).all()
            and self.start[0] == 0
            and size == len(self.weight)
            and self.weight.dtype == self.format.dtype
            and self.code.dtype in (np.uint8, np.uint16)
            and (self.outputs < self.n).all()
            and self.offsets[0] == 0
            and self.offsets[-1] == n_rows
            and (np.diff(self.offsets) > 0).all()
        )
        if whole:
            lo, hi, base, width, shift = self.segments[:, :GAPS].T
            start = self.start.astype(np.int64)
            ends = np.append(lo, n_lines)
            whole = bool(
                ends[0] == 0
                and (hi == ends[1:]).all()
                and (hi > lo).all()
                and (base >= 0).all()
                and (width >= 0).all()
                and np.isin(_line_offsets(self.offsets, self.n_inputs, self.by_source)[1:-1], lo).all()
                and ((wide := np.repeat(width, hi - lo)) == np.where(wide > 0, np.diff(start), 0)).all()
                and (start[lo[width == 0]] + shift[width == 0] >= 0).all()
                and (start[hi[width == 0]] + shift[width == 0] <= len(self.code)).all()
                and (base[width > 0] + width[width > 0] <= self.n).all()
                and ((self.history == 0) | (width == 0)).all()
            )
        if whole and self.by_source:
            plain = self.history == 0 and not self.leaks and not self.aggregation.any() and not width.any()
            _, target, _ = self._ends() if plain and not shift.any() else (0, np.array([-1]), 0)
            whole = bool((target >= self.n_inputs).all() and (target < self.n).all())
        if whole:
            row, source, delay, _ = self.unpack()
            generation = np.searchsorted(self.offsets, row, side="right") - 1
            earlier = source < self.n_inputs + self.offsets[generation]
            whole = bool(len(row) == self.n_connections and (delay >= 0).all() and (earlier | (delay > 0)).all())
        if not whole:
            raise FileFormatError("its rows, codes and weights contradict one another")


def pack(graph: Any, plan: Any, format: Format, per: str) -> Packed:
    """Freeze a graph as its plan has it; nothing of it is shared.

    Raises
    ------
    InvalidValueError
        If a weight or a bias is not finite, or a weight too large for the format.
    """
    neurons, connections = graph.neurons, graph.connections
    rows, n_inputs, history = plan.rows, len(plan.inputs), plan.history
    n, count = n_inputs + len(rows), len(rows)
    position = np.full(neurons.size, -1, np.int64)
    position[plan.inputs] = np.arange(n_inputs)
    position[rows] = np.arange(n_inputs, n)
    length = graph.incoming.length[rows].astype(np.int64)
    slots = graph.incoming.of(rows)
    row = np.repeat(np.arange(count), length)
    delay = connections.read("delay")[slots].astype(np.int64)
    index = position[connections["source"][slots]] + (history - delay) * n
    by_index = np.argsort(row * ((history + 1) * n) + index, kind="stable")
    slots, index = slots[by_index], index[by_index]
    weight = _weights(graph, slots, format)
    scale = formats.scales(weight, length, per) if format.scaled else np.zeros(0, np.float32)
    of_entry = np.broadcast_to(scale, (count,))[row] if format.scaled else None
    stored = formats.narrow(weight, format, of_entry)
    aggregation = neurons.read("aggregation")[rows]
    can_be_dense = np.isin(aggregation, ADDS_UP) & (history == 0)
    offsets = plan.offsets.astype(np.int64)
    places = _places(index, length, offsets, can_be_dense, format)
    by_source = bool(
        history == 0
        and not (neurons.read("time_constant")[rows] != 1).any()
        and not aggregation.any()
        and len(slots) >= ENOUGH * n
        and 2 * length[_in_dense(places[0])].sum() < len(slots)
    )
    if by_source:
        target, source = row + n_inputs, index
        order = np.argsort(source, kind="stable")
        row, index, stored = source[order], target[order], stored[order]
        length = np.bincount(source, minlength=n)
        places = _places(index, length, _line_offsets(offsets, n_inputs, True), np.zeros(n, bool), format)
    return Packed(
        format, by_source, n_inputs, len(slots), history, position[plan.outputs].astype(np.uint32), offsets,
        _one_or_all(neurons.read("activation")[rows].astype(np.int8)),
        _one_or_all(neurons.read("activation_parameter")[rows].astype(np.float32)),
        _one_or_all(aggregation.astype(np.int8)),
        _one_or_all(neurons.read("time_constant")[rows].astype(np.float32)),
        _biases(graph, rows), scale, *_fill(index, stored, row, length, *places, format),
    )  # fmt: skip


def _line_offsets(offsets: np.ndarray, n_inputs: int, by_source: bool) -> np.ndarray:
    """Where the lines of the inputs and of each generation begin, and all end."""
    return np.unique(np.append(0, offsets + n_inputs)) if by_source else offsets


def _in_dense(segments: np.ndarray) -> np.ndarray:
    """Which lines are in dense segments."""
    return np.repeat(segments[:, WIDTH] > 0, segments[:, HI] - segments[:, LO])


def _one_or_all(column: np.ndarray) -> np.ndarray:
    if len(column) == 0:
        return np.ones(1, column.dtype)
    return column[:1].copy() if (column == column[0]).all() else column


def _biases(graph: Any, rows: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        bias = graph.neurons.read("bias")[rows].astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(bias))
    if len(bad):
        raise InvalidValueError(
            f"the bias of neuron {graph.neurons['id'][rows[bad[0]]]} is {graph.neurons.read('bias')[rows[bad[0]]]} "
            f"({len(bad)} such biases), which is no finite float32; set it, or train with a smaller learning rate"
        )
    return bias


def _weights(graph: Any, slots: np.ndarray, format: Format) -> np.ndarray:
    """The weights as float32; refused by name where they do not fit."""
    with np.errstate(over="ignore"):
        weight = graph.connections.read("weight")[slots].astype(np.float32)

    def name(i: int) -> str:
        columns, ids = graph.connections, graph.neurons["id"]
        ends = (ids[columns[end][slots[i]]] for end in ("source", "target"))
        return f"the weight of connection {columns['id'][slots[i]]} ({' -> '.join(map(str, ends))})"

    bad = np.flatnonzero(~np.isfinite(weight))
    if len(bad):
        raise InvalidValueError(
            f"{name(bad[0])} is {graph.connections.read('weight')[slots[bad[0]]]} ({len(bad)} such weights), which is "
            "no finite float32; set or prune it, or train with a smaller learning rate"
        )
    large = np.flatnonzero(formats.too_large(weight, format))
    if len(large):
        formats.refuse(format, weight[large[0]], name(large[0]))
    return weight


def _places(
    index: np.ndarray, length: np.ndarray, offsets: np.ndarray, can_be_dense: np.ndarray, format: Format
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Segments without their shifts; first and last index of each row."""
    count, size = len(length), format.dtype.itemsize
    ends = np.cumsum(length)
    first, last = np.zeros(count, np.int64), np.full(count, -1, np.int64)
    filled = np.flatnonzero(length)
    first[filled], last[filled] = index[(ends - length)[filled]], index[ends[filled] - 1]
    span = last - first + 1
    # A dense row costs its span, a sparse one a code more for each connection.
    good = can_be_dense & (length >= LEAST) & (span * size <= length * (size + 1))
    new = np.zeros(count, bool)
    new[offsets[:-1]] = True
    apart = new.copy()
    apart[1:] |= good[1:] != good[:-1]
    apart[1:] |= (np.abs(np.diff(first)) + np.abs(np.diff(last))) * SHIFTED > span[1:]
    group = np.cumsum(apart) - 1
    begins = np.flatnonzero(apart)
    dense = np.zeros(count, bool)
    if len(begins):
        base, end = np.minimum.reduceat(first, begins), np.maximum.reduceat(last, begins) + 1
        cells = (end - base) * np.bincount(group)
        worth = good[begins] & (cells >= LEAST_CELLS)
        worth &= cells * size <= np.bincount(group, length).astype(np.int64) * (size + 1)
        dense = worth[group]
    new[1:] |= (dense[1:] != dense[:-1]) | (dense[1:] & apart[1:])
    lo = np.flatnonzero(new)
    segments = np.zeros((len(lo), GAPS + 1), np.int64)
    if len(lo):
        hi = np.append(lo[1:], count)
        # Rows without connections have no say in where their segment begins.
        lowest = np.minimum.reduceat(np.where(length > 0, first, np.iinfo(np.int64).max), lo)
        base = np.where(lowest == np.iinfo(np.int64).max, 0, lowest)
        width = np.where(dense[lo], np.maximum.reduceat(last, lo) + 1 - base, 0)
        segments[:, LO], segments[:, HI], segments[:, BASE], segments[:, WIDTH] = lo, hi, base, width
    return segments, first, filled


def _fill(
    index: np.ndarray, stored: np.ndarray, row: np.ndarray, length: np.ndarray, segments: np.ndarray,
    first: np.ndarray, filled: np.ndarray, format: Format,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """``segments, start, first, code, weight``, with the cheapest code."""
    count = len(length)
    of = np.repeat(segments, segments[:, HI] - segments[:, LO], axis=0) if count else segments
    dense = of[:, WIDTH] > 0
    sparse_entries = np.flatnonzero(~dense[row])
    gap = np.diff(index, prepend=0)
    begins = (np.cumsum(length) - length)[filled]
    base = of[filled, BASE]
    gap[begins] = index[begins] - base
    gap = gap[sparse_entries]
    lead = np.where(length > 0, first - of[:, BASE], 0)
    lead[dense] = 0
    is_lead = np.zeros(len(row), bool)
    is_lead[begins] = True
    is_lead = is_lead[sparse_entries]
    wide_first = np.dtype(np.uint16 if lead.max(initial=0) < 2**16 else np.uint32)
    choices = []
    for dtype in (np.dtype(np.uint8), np.dtype(np.uint16)):
        most, each = np.iinfo(dtype).max, dtype.itemsize + format.dtype.itemsize
        skips = int((gap // most).sum())
        of_leads = int((gap[is_lead] // most).sum())
        choices.append(((len(gap) + skips) * each, dtype, False))
        choices.append(((len(gap) + skips - of_leads) * each + count * wide_first.itemsize, dtype, True))
    _, dtype, by_first = min(choices, key=lambda choice: choice[0])
    if by_first:
        gap = np.where(is_lead, 0, gap)
    most = np.iinfo(dtype).max
    entries = gap // most + 1
    in_row = np.bincount(row[sparse_entries], entries, count).astype(np.int64)
    in_row = np.where(dense, of[:, WIDTH], in_row)
    start = np.concatenate([[0], np.cumsum(in_row)])
    # The places of codes: as those of weights, without the dense rows before them.
    cells = np.concatenate([[0], np.cumsum(np.where(dense, in_row, 0))])
    segments[:, SHIFT] = -cells[segments[:, LO]]
    code = np.full(int(start[-1] - cells[-1]), most, dtype)
    at = np.cumsum(entries) - 1
    code[at] = gap % most
    weight = np.zeros(int(start[-1]), format.dtype)
    shift = np.repeat(segments[:, SHIFT], segments[:, HI] - segments[:, LO])
    weight[at - shift[row[sparse_entries]]] = stored[sparse_entries]
    for segment in segments[segments[:, WIDTH] > 0]:
        lo, hi, base_of, width = segment[[LO, HI, BASE, WIDTH]]
        begin, end = np.searchsorted(row, [lo, hi])
        block = np.full((hi - lo, width), format.hole, format.dtype)
        block[row[begin:end] - lo, index[begin:end] - base_of] = stored[begin:end]
        weight[start[lo] : start[hi]] = block.reshape(-1)
        segment_gaps = end - begin < (hi - lo) * width
        segments[np.searchsorted(segments[:, LO], lo), GAPS] = segment_gaps
    longer = np.concatenate([[0], np.cumsum(np.bincount(row[sparse_entries], entries > 1, count))])
    sparse = segments[:, WIDTH] == 0
    segments[sparse, GAPS] = longer[segments[sparse, HI]] > longer[segments[sparse, LO]]
    starts = start.astype(np.uint32 if start[-1] < 2**32 else np.int64)
    return segments, starts, lead.astype(wide_first) if by_first else NO_FIRST, code, weight
