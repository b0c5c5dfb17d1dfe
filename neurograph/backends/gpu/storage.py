"""How connections are stored on the device: row by row, in tiles or as dense blocks, whichever costs least.

Between every two clusters (neurons of one generation and home) connections are counted tile by tile. A pair of clusters
becomes a dense block where that is cheapest; elsewhere the tiles that are filled enough are opened; what is in neither
stays with the row kernels as the *rest*. Edits change tiles in place and look again at the rest of the rows that they
touched; after many of them everything is counted anew.

Absent connections of a tile or block are weights of zero. So where an activation is infinite or no number, all targets
of its tile or block get no number, connected with it or not; by rows only those that are.
"""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from ...functions.aggregations import AGGREGATIONS
from ...plan import Plan
from . import costs as measured
from .costs import Costs
from .dense import COPIED, Block, Dense, footprint
from .mirror import Mirror, Rows
from .module import Family
from .tiles import SIDE, Products, Tiles, launch, padded

SUM = AGGREGATIONS["sum"]
SAMPLES = 512  # for which the choice is made
PATIENCE = 64  # edits, as a share of all connections, between two surveys
LEAST = 1024  # and at least so many
FEWEST = 20_000  # connections from which a choice is worth measuring what it costs
ROOM = 2**24  # pairs of groups that are counted on the device, in an array, rather than by sorting
NAME = "gpu storage"  # among the layouts of a plan
COUNT = Family("tiles.cu", "count_pairs")
REST = Family("tiles.cu", "find_rest")


class Neighbours:
    """Neurons in clusters, of one generation and home, and in groups of up to 16 neighbours of one cluster."""

    def __init__(self, plan: Plan):
        graph, n = plan.graph, plan.graph.neurons.size
        slots = np.concatenate([plan.inputs, plan.rows]).astype(np.int64)
        widths = np.concatenate([[len(plan.inputs)], np.diff(plan.offsets)])
        generation = np.repeat(np.arange(-1, plan.n_generations), widths)
        home, place = graph.neurons.read("home")[slots].astype(np.int64), graph.places()[slots]
        order = np.lexsort((place, home, generation))
        slots, generation, home, square = slots[order], generation[order], home[order], place[order] // SIDE
        apart = np.ones(len(slots), bool)
        apart[1:] = (np.diff(generation) != 0) | (np.diff(home) != 0)
        new = apart.copy()
        new[1:] |= np.diff(square) != 0
        group, cluster = np.cumsum(new) - 1, np.cumsum(apart) - 1
        begin = np.flatnonzero(new)
        self.count, self.n_clusters = len(begin), int(apart.sum())
        self.members = np.full((self.count, SIDE), -1, np.int32)
        self.members[group, np.arange(len(slots)) - begin[group]] = slots
        self.size = np.diff(begin, append=len(slots))
        self.generation, self.cluster = generation[begin], cluster[begin]
        self.widths = np.bincount(cluster, minlength=self.n_clusters)
        self.group, self.cluster_of = np.full(n, -1, np.int32), np.full(n, -1, np.int32)
        self.group[slots], self.cluster_of[slots] = group, cluster
        adds = graph.neurons.read("aggregation")[slots] == SUM
        # A group or cluster is reached by tiles or blocks only if all of it can go on from a sum.
        self.group_adds = np.bincount(group, ~adds, self.count) == 0
        self.cluster_adds = np.bincount(cluster, ~adds, self.n_clusters) == 0

    def members_of(self, cluster: int) -> np.ndarray:
        """Neuron slots, ascending."""
        return np.flatnonzero(self.cluster_of == cluster).astype(np.int32)


class Storage:
    """What of a plan runs in tiles and dense blocks, kept up to date through edits.

    Parameters
    ----------
    plan : Plan
    costs : Costs, optional
        Those of the device if not given.
    """

    def __init__(self, plan: Plan, costs: Costs | None = None):
        self.plan, self.asked = plan, plan.graph.precision
        self.precision = self.asked if plan.graph.dtype == np.float32 else "float32"
        self._costs = costs
        self.blocks: list[Block] = []
        self.tiles: Tiles | None = None
        self.surveys = 0
        self.least = 0.0  # samples from which what is stored beside the rows is worth its copies
        self.orders: dict[str, Any] = {}  # whoever runs the rows keeps them apart here until the next survey
        self._known = False
        self._edits, self._rebuilds, self._budget = 0, (0, 0), 0

    # -- what the passes ask -------------------------------------------------------------------------------------------

    rest_in: Rows  # by target, what the rows of seeded targets have beside
    rest_out: Rows  # by source

    @property
    def any(self) -> bool:
        """Whether there are tiles or blocks."""
        return bool(self.blocks) or self.tiles is not None

    def refresh(self, mirror: Mirror) -> bool:
        """Take in what was edited; whether there are tiles or blocks. The mirror is up to date."""
        graph = self.plan.graph
        few = self._costs is None and measured.given is None and len(graph.connections) < FEWEST
        if few or self.plan.history or not self.plan.n_generations:
            self.blocks, self.tiles, self._known = [], None, False
            return False
        if self._known and self._edits == graph.edits:
            return self.any
        edited = graph.journal.take(len(graph.connections), self)
        if edited is not None:
            self._budget -= len(edited.sources)
        if not self._known or edited is None or self._budget < 0:
            self._survey(mirror)
        elif self.any:
            self._patch(mirror, edited.sources, edited.targets)
        self._edits, self._known = graph.edits, True
        return self.any

    def start(self, ld: int) -> Stored:
        """What passes over rows of so many numbers need until the next survey."""
        return Stored(self, ld)

    @property
    def stamp(self) -> tuple[Any, ...]:
        """Another where the launches of passes may have become others: an edit may move a block's matrix, too."""
        return self.precision, self.surveys, *((block.base, block.by_source) for block in self.blocks)

    @property
    def nbytes(self) -> int:
        """Bytes on the device between passes."""
        rest = sum(a.nbytes for rows in (self.rest_in, self.rest_out) for a in rows[1:]) if self.any else 0
        return rest + (self.tiles.nbytes if self.tiles else 0)

    def __str__(self) -> str:
        lines = []
        if self.tiles is not None:
            lines.append(f"{self.tiles.count} tiles of {SIDE} x {SIDE} for {self.in_tiles} connections")
        for block in self.blocks:
            how = "copied" if block.base == COPIED else "in place"
            lines.append(f"dense block of {len(block.sources)} sources and {len(block.targets)} targets, {how}")
        return "\n".join(lines) + f", in {self.precision}" if lines else ""

    def footprint(self, ld: int, keep: bool) -> int:
        """Bytes that a pass over rows of so many numbers takes beside, as far as the last survey tells."""
        if not self.any:
            return 0
        item = 2 if self.precision == "bf16" else self.plan.graph.dtype.itemsize
        size = 0
        if self.tiles is not None:
            packed = self.tiles.groups * SIDE * padded(ld) * (2 if keep else 1) if self.precision != "float32" else 0
            size += (self.tiles.count * SIDE * SIDE + packed) * item
        return size + footprint(self.blocks, self.plan.graph.dtype, ld, self.precision, keep)

    # -- looking -------------------------------------------------------------------------------------------------------

    def _survey(self, mirror: Mirror) -> None:
        """Count the connections of all pairs of groups, and choose."""
        plan, graph = self.plan, self.plan.graph
        self.surveys += 1
        self._budget = max(LEAST, len(graph.connections) // PATIENCE)
        near = Neighbours(plan)
        to, out_of, count = _count(mirror, plan, near)
        self.blocks, opened = self._choose(near, to, out_of, count)
        for block in self.blocks:
            block.find_base(graph.incoming.rows, graph.connections.read("source"), graph.connections.read("target"))
        self._lay_out(mirror, near, to[opened], out_of[opened], count[opened])

    def _choose(
        self, near: Neighbours, to: np.ndarray, out_of: np.ndarray, count: np.ndarray
    ) -> tuple[list[Block], np.ndarray]:
        """The dense blocks, and which pairs of groups are tiles."""
        costs = self._costs or measured.of_device(self.plan.graph.dtype, self.precision)
        full = count > costs.fill(SAMPLES)
        opened = full & near.group_adds[to]
        pair, number = np.unique(
            near.cluster[to] * np.int64(near.n_clusters) + near.cluster[out_of], return_inverse=True
        )
        connections, tiles = np.bincount(number, count), np.bincount(number, opened)
        left = np.bincount(number, np.where(opened, 0, count))
        t, s = np.divmod(pair, near.n_clusters)
        cells = near.widths[t] * near.widths[s]
        by_rows, by_tiles = costs.rows(connections, SAMPLES), costs.tiles(tiles, SAMPLES) + costs.rows(left, SAMPLES)
        by_block = costs.block(cells, SAMPLES)
        dense = near.cluster_adds[t] & (by_block < np.minimum(by_rows, by_tiles + costs.called))
        tiled = ~dense & (by_tiles + costs.called < by_rows)
        opened &= tiled[number]
        self.least = costs.least_samples(
            float(connections[dense].sum() + count[opened].sum()), float(opened.sum()), float(cells[dense].sum()),
            int(tiled.sum() + dense.sum()),
        )  # fmt: skip
        return [
            Block(near.members_of(int(b)), near.members_of(int(a)), int(b), int(a))
            for a, b in zip(t[dense], s[dense], strict=True)
        ], opened

    def _lay_out(self, mirror: Mirror, near: Neighbours, to: np.ndarray, out_of: np.ndarray, count: np.ndarray) -> None:
        plan, n, blocks = self.plan, self.plan.graph.neurons.size, self.blocks
        self.tiles, self.in_tiles = None, int(count.sum())
        kept = np.zeros(near.count, bool)
        kept[to], kept[out_of] = True, True
        number = np.cumsum(kept) - 1
        members, generation, cluster = near.members[kept], near.generation[kept], near.cluster[kept]
        to, out_of = number[to], number[out_of]
        if len(to):
            self.tiles = Tiles(n, members, out_of, to)
        self.bounds = np.searchsorted(generation, np.arange(-1, plan.n_generations + 1))
        self.gets, self.sends = (np.isin(range(-1, plan.n_generations), generation[end]) for end in (to, out_of))
        reached, sending = (_distinct(getattr(block, end) for block in blocks) for end in ("targets", "sources"))
        self.seeded_in, self.seeded_out = np.zeros(n, bool), np.zeros(n, bool)
        self.seeded_in[reached], self.seeded_out[sending] = True, True
        for mask, groups in ((self.seeded_in, to), (self.seeded_out, out_of)):
            inside = members[np.unique(groups)].ravel()
            mask[inside[inside >= 0]] = True
        of_targets = {block.target_cluster for block in blocks}
        of_sources = {block.source_cluster for block in blocks}
        self.begun_in, self.begun_out = (
            cupy.asarray(np.isin(cluster, list(ends)).astype(np.int8)) for ends in (of_targets, of_sources)
        )
        self._number_clusters(near)
        generation_of = np.full(near.n_clusters, -1)
        generation_of[near.cluster] = near.generation
        self.into: dict[int, list[Block]] = {}
        self.out_of: dict[int, list[Block]] = {}
        for block in blocks:
            self.into.setdefault(int(generation_of[block.target_cluster]), []).append(block)
            self.out_of.setdefault(int(generation_of[block.source_cluster]), []).append(block)
        self.orders = {}
        if self.tiles is not None:
            self.tiles.enter(cupy.asarray(np.flatnonzero(self.seeded_in).astype(np.int32)), mirror.incoming)
        self._rest_anew(mirror)

    def _number_clusters(self, near: Neighbours) -> None:
        """Clusters that blocks join, numbered; which of them are joined; and where each neuron stands in its own."""
        ends = [(block.target_cluster, block.source_cluster) for block in self.blocks]
        numbers = {cluster: i for i, cluster in enumerate(sorted({c for pair in ends for c in pair}))}
        cluster, position = (np.full(self.plan.graph.neurons.size, value, np.int32) for value in (-1, 0))
        joined = np.zeros((max(len(numbers), 1),) * 2, np.int8)
        for old, new in numbers.items():
            members = near.members_of(old)
            cluster[members], position[members] = new, np.arange(len(members))
        for block in self.blocks:
            block.source_number = numbers[block.source_cluster]
            joined[block.source_number, numbers[block.target_cluster]] = 1
        self.cluster, self.position = cupy.asarray(cluster), cupy.asarray(position)
        self._joined, self._n_joined = cupy.asarray(joined.ravel()), len(joined)
        begin, none = cupy.zeros(1, np.int64), cupy.zeros(1, np.int32)
        self._nowhere = cupy.full(self.plan.graph.neurons.size, -1, np.int32), begin, none, none

    # -- the rest of rows ----------------------------------------------------------------------------------------------

    def _rest_anew(self, mirror: Mirror) -> None:
        if not self.any:
            return
        for name, rows, mask in (
            ("rest_in", mirror.incoming, self.seeded_in),
            ("rest_out", mirror.outgoing, self.seeded_out),
        ):
            empty = (cupy.zeros(len(array), np.int32) for array in rows[1:])
            setattr(self, name, Rows(rows.start, *empty))
            self._find_rest(np.flatnonzero(mask), mirror, name == "rest_in")
        graph = self.plan.graph
        self._rebuilds = graph.incoming.rebuilds, graph.outgoing.rebuilds

    def _find_rest(self, slots: np.ndarray, mirror: Mirror, by_target: bool) -> None:
        """Look for the entries of some rows that are in no tile and no block."""
        whole, rest = (mirror.incoming, self.rest_in) if by_target else (mirror.outgoing, self.rest_out)
        where = self._nowhere
        if self.tiles is not None:
            where = self.tiles.seat, *(self.tiles.by_target if by_target else self.tiles.by_source)
        steps = (1, self._n_joined) if by_target else (self._n_joined, 1)
        clusters = self.cluster, self.cluster, self._joined, *(np.int32(step) for step in steps)
        rows = cupy.asarray(slots.astype(np.int32))
        launch(REST(), len(rows), rows, np.int32(len(rows)), *whole, *where, *clusters, *rest[1:])

    def _patch(self, mirror: Mirror, sources: np.ndarray, targets: np.ndarray) -> None:
        """Look again at the pairs of neurons whose connections came or went."""
        graph = self.plan.graph
        if self.tiles is not None:
            first, second = (cupy.asarray(end.astype(np.int32)) for end in (sources, targets))
            self.tiles.patch(first, second, mirror.incoming)
        source, target = (graph.connections.read(end) for end in ("source", "target"))
        for block in self.blocks:
            block.check(sources, targets, source, target)
        rebuilt = (graph.incoming.rebuilds, graph.outgoing.rebuilds) != self._rebuilds
        grown = len(self.rest_in.other) != len(mirror.incoming.other)
        grown |= len(self.rest_out.other) != len(mirror.outgoing.other)
        if rebuilt or grown:
            self._rest_anew(mirror)
            return
        self.rest_in = self.rest_in._replace(start=mirror.incoming.start)
        self.rest_out = self.rest_out._replace(start=mirror.outgoing.start)
        for slots, mask, by_target in ((targets, self.seeded_in, True), (sources, self.seeded_out, False)):
            touched = np.unique(slots)
            self._find_rest(touched[mask[touched]], mirror, by_target)


class Stored:
    """The tiles and blocks of one pass: what they add to the rows of each generation.

    Forward, generation after generation: `forward`, then the row kernel over the generation, whose ``seeded`` targets
    go on from what their rows hold and have only the rest, then `finish`. Backward the same with deltas, from the last
    generation to the first, and at the end `gradient`.
    """

    def __init__(self, storage: Storage, ld: int):
        self.storage, self.surveys, self._filled = storage, storage.surveys, False
        self.taken: Any = None  # what whoever runs passes knows of the weights that `begin` took over
        dtype, precision = storage.plan.graph.dtype, storage.precision
        self.products = Products(storage.tiles, dtype, ld, precision) if storage.tiles is not None else None
        where = storage.cluster, storage.position
        self.dense = Dense(*where, dtype, ld, precision) if storage.blocks else None

    @property
    def nbytes(self) -> int:
        """Bytes on the device that belong to passes."""
        return sum(part.nbytes for part in (self.products, self.dense) if part is not None)

    def begin(self, mirror: Mirror, weight: Any, acts: Any) -> None:
        """Take over the weights and the inputs' rows; ``acts`` has a row a neuron slot."""
        if self.dense:
            self.dense.begin(mirror.incoming)
        if self.products:
            self.products.load(weight, True)
        self.finish(-1, acts)
        self._filled = True

    def forward(self, generation: int, weight: Any, acts: Any) -> None:
        """Write to the rows of the seeded targets of a generation what they get from tiles and blocks."""
        storage, seen = self.storage, set()
        for block in storage.into.get(generation, ()):
            assert self.dense is not None
            self.dense.forward(block, weight, acts, block.target_cluster in seen)
            seen.add(block.target_cluster)
        if self.products and storage.gets[generation + 1]:
            self.products.forward(*self._groups(generation), acts, storage.begun_in)

    def finish(self, generation: int, acts: Any) -> None:
        """The activations of a generation, -1 for the inputs, are there."""
        if self.products and self.storage.sends[generation + 1]:
            self.products.pack(*self._groups(generation), acts)

    def begin_backward(self, mirror: Mirror, weight: Any, acts: Any, changed: bool = True) -> None:
        """Take over the weights, if they may have ``changed`` since `begin`; and the activations after a survey."""
        if not self._filled:
            for generation in range(-1, self.storage.plan.n_generations):
                self.finish(generation, acts)
            self._filled = True
        if self.dense and changed:
            self.dense.begin(mirror.incoming)
        if self.products:
            self.products.load(weight, False)

    def backward(self, generation: int, weight: Any, delta: Any) -> None:
        """Write to the rows of the seeded sources of a generation what they get back through tiles and blocks."""
        storage, seen = self.storage, set()
        for block in storage.out_of.get(generation, ()):
            assert self.dense is not None
            self.dense.backward(block, weight, delta, block.source_cluster in seen)
            seen.add(block.source_cluster)
        if self.products and storage.sends[generation + 1]:
            self.products.backward(*self._groups(generation), delta, storage.begun_out)

    def finish_backward(self, generation: int, delta: Any) -> None:
        """The deltas of a generation are there."""
        if self.products and self.storage.gets[generation + 1]:
            self.products.pack(*self._groups(generation), delta, delta=True)

    def gradient(self, acts: Any, delta: Any, add: bool, grad: Any) -> None:
        """Write the gradients of all connections in tiles and blocks to the column, or add them."""
        for block in self.storage.blocks:
            assert self.dense is not None
            self.dense.gradient(block, acts, delta, add, grad)
        if self.products:
            self.products.gradient(acts, delta, add, grad)

    def _groups(self, generation: int) -> tuple[int, int]:
        bounds = self.storage.bounds
        return int(bounds[generation + 1]), int(bounds[generation + 2])


def _count(mirror: Mirror, plan: Plan, near: Neighbours) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of groups that are connected, ascending by target, and by how many connections."""
    groups = near.count
    if groups * groups <= ROOM:
        counts, targets = cupy.zeros(groups * groups, np.int32), cupy.asarray(np.ascontiguousarray(plan.rows, np.int32))
        given = (
            targets,
            np.int32(len(targets)),
            *mirror.incoming[:3],
            cupy.asarray(near.group),
            np.int32(groups),
            counts,
        )
        launch(COUNT(), len(targets), *given)
        found = cupy.asnumpy(counts)
        keys = np.flatnonzero(found)
        return *np.divmod(keys, groups), found[keys].astype(np.int64)
    connections = plan.graph.connections
    live = connections.live()
    source, target = (near.group[connections.read(end)[live]] for end in ("source", "target"))
    keys, number = np.unique(target * np.int64(groups) + source, return_counts=True)
    return *np.divmod(keys, groups), number


def _distinct(slots: Any) -> np.ndarray:
    return np.unique(np.concatenate([np.zeros(0, np.int64), *slots]))


def storage_of(plan: Plan) -> Storage:
    """How the connections of a plan are stored; the same object until the network's precision changes."""
    storage = plan.layouts.get(NAME)
    if storage is None or storage.asked != plan.graph.precision:
        storage = plan.layouts[NAME] = Storage(plan)
    return storage
