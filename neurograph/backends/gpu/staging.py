"""Which generations of a plan run staged, and their buckets, kept through edits."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import cupy
import numpy as np

from ...plan import Plan
from . import staged
from .buckets import Buckets, tiling
from .mirror import Mirror
from .touched import Touched

NAME = "gpu staged"  # among the layouts of a plan
INPUTS = -1  # the number of the inputs among the generations of sources

# To be measured: leads from datasheets. How many bytes shared memory gives in the time of one from the L2 cache, and
# what a segment of a row in one tile takes beside its entries: places that are not full, and beginning it.
SHARED_SPEED = 5.0
SEGMENT = 8
BEGINNING = 8_000_000  # what goes by until the first tile is there
GATHERED_ENTRY, STAGED_ENTRY = 8, 6  # bytes of an entry itself: 128 columns at a time, or a strip at a time
# A row that is so many times longer than the mean keeps a warp busy when the block's others are done; it runs in chunks
# beside the others.
LONG, LONGER = 1024, 4
MOST_ENTRIES = 2**30  # the kernels number places by int32, of which some stay empty


class Costs(NamedTuple):
    """What running a generation takes, in bytes from the L2 cache."""

    gathered: float
    staged: float


def costs(rows: int, entries: int, others: int, lead: int, dtype: np.dtype, processors: int) -> Costs:
    """Count the bytes of a product of ``rows`` rows with ``entries`` entries among ``others``, of ``lead`` columns.

    Gathered, each entry reads its far end's row, of float32, from the L2 cache. Staged, each block reads all others'
    rows from there, and each entry its far end's from shared memory, whole strips of columns.

    Examples
    --------
    >>> half = costs(4096, 4096 * 410, 4096, 512, np.dtype(np.float32), 132)
    >>> half.gathered / half.staged > 3
    True
    >>> few = costs(4096, 4096 * 4, 4096, 512, np.dtype(np.float32), 132)
    >>> few.gathered / few.staged < 0.5
    True
    """
    strips = -(-lead // staged.columns_of(dtype))
    how = staged.shape(rows, lead, dtype, staged.FORWARD_SUMS, processors)
    tiles, _ = tiling(others, staged.room())
    gathered = entries * (lead * staged.SINGLE.itemsize + GATHERED_ENTRY * -(-lead // 128))
    brought = how.blocks * others * strips * staged.STRIP + entries * strips * STAGED_ENTRY
    shared = (entries + rows * tiles * SEGMENT) * strips * staged.STRIP / SHARED_SPEED
    # Two tiles take turns: one is copied while the other is run over.
    together = max(brought, shared) if tiles > 1 else brought + shared
    # Blocks that do not fill the device leave bandwidth unused.
    busy = min(1.0, how.blocks * strips / processors)
    return Costs(gathered, BEGINNING + together / busy)


def pays(rows: int, entries: int, longest: int, neurons: int, lead: int, dtype: np.dtype, count: Any) -> bool:
    """Whether staging takes fewer bytes; ``count()`` the far ends only where their number decides.

    Those are at least as many as the ``longest`` row has entries, and at most all ``neurons`` or entries.
    """

    def wins(others: int) -> bool:
        of = costs(rows, entries, others, lead, dtype, staged.processors())
        return of.staged < of.gathered

    if not rows or not 0 < entries < MOST_ENTRIES or not wins(longest):
        return False
    return wins(min(entries, neurons)) or wins(count())


class Part(NamedTuple):
    """How a generation runs: so many rows, the longest, by the row kernels, and those of the buckets staged."""

    long: int
    buckets: Buckets


class Staging:
    """The buckets of a plan, made when first asked for.

    Generations run staged where all their neurons are sums or means without delays and `pays` says so. What was decided
    for a width of batch holds until many connections change at once, or the plan.
    """

    def __init__(self, plan: Plan, mirror: Mirror):
        self._plan = plan
        self.allowed = not plan.history and not plan.n_special and plan.graph.dtype == np.float32
        #: What is staged: the rows themselves, or these rounded to bfloat16.
        self.stored_as = staged.HALF if plan.graph.precision == "bf16" else staged.SINGLE
        self._touched = Touched(), Touched()
        for touched, rows in zip(self._touched, mirror.mirrored, strict=True):
            rows.followers.add(touched)
        self._parts: tuple[dict[int, Part], dict[int, Part]] = {}, {}
        self._decided: dict[tuple[int, int, int], bool] = {}
        self.patches = self.rebuilds = 0  # tests count them

    def update(self, mirror: Mirror) -> None:
        """Follow the edits since the last time: rows that changed are sorted anew."""
        for direction, touched in enumerate(self._touched):
            rows, parts = touched.take(), self._parts[direction]
            if rows is None:
                parts.clear()
                self._decided = {key: yes for key, yes in self._decided.items() if key[0] != direction}
            elif len(rows):
                there, host = _sides(self._plan, mirror, direction)
                for g in [g for g, part in parts.items() if not part.buckets.patch(there, rows, host)]:
                    del parts[g]
                self.patches += 1

    def forward(self, mirror: Mirror, g: int, slots: np.ndarray, batch: int) -> Part | None:
        """How the ``slots`` of generation g, the longest rows first, run by target; None: none of them staged."""
        return self._part(mirror, 0, g, slots, batch)

    def backward(self, mirror: Mirror, g: int, slots: np.ndarray, batch: int) -> Part | None:
        """The same by source, for a generation or the `INPUTS`."""
        return self._part(mirror, 1, g, slots, batch)

    def _part(self, mirror: Mirror, direction: int, g: int, slots: np.ndarray, batch: int) -> Part | None:
        if not self.allowed or not self._decide(mirror, direction, g, slots, batch):
            return None
        parts = self._parts[direction]
        if g not in parts:
            there, host = _sides(self._plan, mirror, direction)
            long = _long(host.length[slots])
            parts[g] = Part(long, Buckets(there, slots[long:], host.length, staged.room()))
            self.rebuilds += 1
        return parts[g]

    def _decide(self, mirror: Mirror, direction: int, g: int, slots: np.ndarray, batch: int) -> bool:
        lead = staged.lead_of(batch, self.stored_as)
        key = direction, g, lead
        if key not in self._decided:
            _, host = _sides(self._plan, mirror, direction)
            length = host.length[slots]
            length = length[_long(length) :]
            ends = self._plan.graph.connections.read("source" if direction == 0 else "target")

            def count() -> int:
                used = np.zeros(len(host.length), bool)
                used[ends[host.of(slots)]] = True
                return int(np.count_nonzero(used))

            self._decided[key] = pays(
                len(length), int(length.sum(dtype=np.int64)), int(length.max(initial=0)), len(host.length), lead,
                self.stored_as, count,
            )  # fmt: skip
        return self._decided[key]

    @cached_property
    def everybody(self) -> Any:
        """All slots, on the device."""
        return cupy.arange(self._plan.graph.neurons.size, dtype=np.int32)

    @property
    def rounds(self) -> bool:
        """Whether rows are rounded before they are staged."""
        return self.stored_as == staged.HALF

    def footprint(self, batch: int, steps: int, keep: bool) -> int:
        """Bytes that a pass takes for the parts there are, beside what every pass takes."""
        parts, lead = [part for parts in self._parts for part in parts.values()], staged.lead_of(batch, self.stored_as)
        if not parts:
            return 0
        rounded = steps * self._plan.graph.neurons.size * lead * staged.HALF.itemsize if self.rounds else 0
        dots = [
            staged.backward_shape(part.buckets, lead, self.stored_as).groups * part.buckets.places * 4
            for part in self._parts[1].values()
        ]
        return 2 * rounded + max(dots, default=0) if keep else rounded

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return sum(part.buckets.nbytes for parts in self._parts for part in parts.values())

    def __str__(self) -> str:
        found = [", ".join("inputs" if g == INPUTS else str(g) for g in sorted(parts)) for parts in self._parts]
        names = [f"{name} {text}" for name, text in zip(("by target", "by source"), found, strict=True) if text]
        return f"staged in shared memory: {'; '.join(names)}" if names else ""


def staging_of(plan: Plan, mirror: Mirror) -> Staging:
    """The staging of a plan, up to date; the same one as long as the plan lives."""
    if NAME not in plan.layouts:
        plan.layouts[NAME] = Staging(plan, mirror)
    staging = plan.layouts[NAME]
    staging.update(mirror)
    return staging


def _sides(plan: Plan, mirror: Mirror, direction: int) -> tuple[Any, Any]:
    graph = plan.graph
    return (mirror.incoming, graph.incoming) if direction == 0 else (mirror.outgoing, graph.outgoing)


def _long(length: np.ndarray) -> int:
    """How many rows at the beginning are too long to run staged."""
    if not len(length):
        return 0
    limit = max(LONG, LONGER * float(length.mean()))
    short = np.flatnonzero(length <= limit)
    return int(short[0]) if len(short) else len(length)
