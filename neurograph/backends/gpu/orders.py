"""In which order neurons run, and which of their rows are cut into chunks."""

from __future__ import annotations

from typing import Any, NamedTuple

import cupy
import numpy as np

from .staging import Part

# A row of more than LONG connections is cut into chunks, which warps of their own sum: a warp would be busy with it
# when all others are done. Where a generation has MANY rows the device is busy anyway, and only those are cut that are
# far LONGER than the mean.
LONG, CHUNK, MANY, LONGER = 1024, 512, 4096, 4
NOT_CUT = 2**31 - 1

Launch = tuple[tuple[int, ...], tuple[Any, ...]]  # the grid, and the first arguments


class Work(NamedTuple):
    """Neurons that run together: ``first`` to ``first + size`` of an order, and the chunks of their long rows."""

    first: int
    size: int
    longest: int = NOT_CUT
    first_chunk: int = 0
    chunks: int = 0


class Order:
    """Neurons in the order in which they run, the longest rows of a generation first, and which rows are cut.

    The lengths are those at the time of lowering: after edits the order is as right as before, if not as balanced.
    """

    def __init__(self, slots: np.ndarray, bounds: np.ndarray, length: np.ndarray):
        generation = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
        lengths = length[slots].astype(np.int64)
        longest = lengths.max(initial=0) + 1
        key = generation * longest + (longest - 1 - lengths)
        if len(key) and (np.diff(key) < 0).any():
            slots = slots[np.argsort(key, kind="stable")]
        self.host, self.bounds = slots, bounds
        self.slots = cupy.asarray(np.ascontiguousarray(slots, np.int32))
        self._edits = -1
        self.partials = 0  # rows for the sums of chunks that one generation needs
        ends = bounds.tolist()
        self._whole = [Work(a, b - a) for a, b in zip(ends[:-1], ends[1:], strict=True)]
        self.works = self._whole
        self.chunk_row = self.chunk_begin = self.first_chunk = self.slots
        self._chunk_position = np.zeros(0, np.int64)
        self._limits = LONG, CHUNK
        self._launches: dict[Any, Any] = {}

    @property
    def nbytes(self) -> int:
        """Bytes on the device and on the host."""
        chunks = 0 if self.chunk_row is self.slots else 2 * self.chunk_row.nbytes + self.first_chunk.nbytes
        return 2 * self.slots.nbytes + chunks

    def cut(self, length: np.ndarray, edits: int) -> None:
        """Look which rows are long now."""
        if self._edits == edits and self._limits == (LONG, CHUNK):
            return
        self._edits, self._limits = edits, (LONG, CHUNK)
        if length.max(initial=0) <= LONG:
            if self.partials:
                self.works, self.partials, self._launches = self._whole, 0, {}
            return
        self.works, self.partials, self._launches = self._whole.copy(), 0, {}
        lengths = length[self.host]
        rows: list[np.ndarray] = []
        positions: list[np.ndarray] = []
        begins: list[np.ndarray] = []
        first_chunk = np.zeros(len(length), np.int32)
        done = 0
        for g, (first, count, *_) in enumerate(self.works):
            own = lengths[first : first + count]
            if own.max(initial=0) <= LONG:
                continue
            limit = LONG if count < MANY else max(LONG, int(LONGER * own.mean()))
            long = np.flatnonzero(own > limit)
            counts = -(-own[long] // CHUNK)
            firsts = np.cumsum(counts) - counts
            chunks = int(counts.sum())
            first_chunk[self.host[first + long]] = firsts
            rows.append(np.repeat(self.host[first + long], counts))
            positions.append(np.repeat(first + long, counts))
            begins.append((np.arange(chunks) - np.repeat(firsts, counts)) * CHUNK)
            self.works[g] = Work(first, count, limit, done, chunks)
            self.partials, done = max(self.partials, chunks), done + chunks
        if done:
            self.chunk_row = cupy.asarray(np.concatenate(rows).astype(np.int32))
            self.chunk_begin = cupy.asarray(np.concatenate(begins).astype(np.int32))
            self.first_chunk = cupy.asarray(first_chunk)
            self._chunk_position = np.concatenate(positions)

    def leading(self, work: Work, count: int) -> Work:
        """The first ``count`` neurons of a generation alone."""
        of_work = self._chunk_position[work.first_chunk : work.first_chunk + work.chunks]
        return work._replace(size=count, chunks=int(np.searchsorted(of_work, work.first + count)))

    def generation(self, g: int) -> np.ndarray:
        """Slots of a generation."""
        return self.host[self.bounds[g] : self.bounds[g + 1]]

    def on_device(self, g: int) -> Any:
        """The same, on the device."""
        return self.slots[int(self.bounds[g]) : int(self.bounds[g + 1])]

    def launches(self, rows_a_block: int, parts: list[Part | None], *others: int) -> list[list[Launch]]:
        """For each generation those of the chunks of long rows and of the rows, without ``parts`` that run staged."""
        key = rows_a_block, tuple(part and part.long for part in parts), *others
        if key not in self._launches:
            if len(self._launches) > 8:  # batches of many sizes
                self._launches = {}
            tables = np.int32(CHUNK), self.chunk_row, self.chunk_begin, self.first_chunk
            found: list[list[Launch]] = []
            for whole, part in zip(self.works, parts, strict=True):
                work = whole if part is None else self.leading(whole, part.long)
                found.append([])
                for first, size, cut in ((work.first_chunk, work.chunks, 1), (work.first, work.size, 0)):
                    if size:
                        grid = -(-size // rows_a_block), *others
                        which = np.int32(first), np.int32(size), np.int32(cut), np.int32(work.longest)
                        found[-1].append((grid, (self.slots, *which, *tables)))
            self._launches[key] = found
        return self._launches[key]
