"""Dense blocks and tiles: where (almost) all pairs of two sets of neurons are connected, row loops are not the best.

Large sets are run by BLAS, small ones, what block pruning leaves, by loops of their own; see `tiles`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ...functions.aggregations import AGGREGATIONS
from ...plan import Plan
from . import costs, dense
from .buffers import zeros
from .tiles import Segment, Tiles, look_for, promising

SIDE = 64  # sources and targets that a block has at least
CLUSTERS = 1024  # sets of neurons from which too many pairs would have to be looked at
LOYALTY = 0.9  # share of the density at which a block becomes dense, below which it becomes sparse again
AIR = 32  # a matrix in the column may have one in so many places that are not its own
LOOKS = 64  # connections that are asked where a block's matrix begins
PATIENCE = 128  # edits, as a share of all connections, between two searches for blocks
GAPS = 4096  # entries of the rest of rows that may lie idle
FEW = 32  # edits that are faster to sort in Python than in numpy
COPIED = -1  # the base of a block that is not a matrix in the column

SUM = AGGREGATIONS["sum"]
NO_TILES = np.zeros(0, np.int32), np.zeros(1, np.int64), np.zeros(0, np.int32)


@dataclass(eq=False)
class Block:
    """Sources of one generation and targets of another, of which most pairs are connected.

    Attributes
    ----------
    sources, targets : ndarray of int64
        Neuron slots, ascending.
    source_cluster, target_cluster : int
    generation : int
        Of the targets, among those of the plan.
    count : int
        Connections when they were last counted.
    base : int
        Where the matrix begins in the column of weights; `COPIED` where the connections do not stand like that.
    by_source : bool
        Whether the matrix in the column goes source after source, or target after target.
    first : bool
        Whether no other block sends deltas to the same sources before this one.
    constant : bool
        The sources are inputs, whose deltas nobody needs.
    """

    sources: np.ndarray
    targets: np.ndarray
    source_cluster: int
    target_cluster: int
    generation: int
    count: int
    base: int = COPIED
    by_source: bool = True
    first: bool = True
    constant: bool = False
    holes: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    matrix: np.ndarray | None = None
    filled_for: int = -1  # number of the pass whose weights the matrix holds

    @property
    def cells(self) -> int:
        """Pairs of neurons."""
        return len(self.sources) * len(self.targets)

    @property
    def density(self) -> float:
        """Share of the pairs that are connected."""
        return self.count / self.cells


class Ends(NamedTuple):
    """Neurons as ends of blocks: the number of the cluster of each, -1 for none, and its position there."""

    cluster: np.ndarray
    position: np.ndarray

    @classmethod
    def none(cls, n: int) -> Ends:
        """No clusters among so many neuron slots."""
        return cls(np.full(n, -1, np.int32), np.zeros(n, np.int32))


class Rest:
    """The connections in one direction that no block runs, of the neurons that have blocks."""

    def __init__(self, n: int):
        self.start, self.length = np.zeros(n, np.int64), np.zeros(n, np.int32)
        self.other, self.slot = np.zeros(64, np.int32), np.zeros(64, np.int32)
        self.used = 0

    @property
    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """As of an `Adjacency`."""
        return self.start, self.length, self.other, self.slot

    def write(self, rows: np.ndarray, whole: tuple[np.ndarray, ...], by_target: bool, *where: tuple[Any, ...]) -> None:
        """Find the rest of some rows anew; ``where`` the dense blocks are, and the tiles in this direction."""
        while True:
            used = dense.leftovers(rows, by_target, *whole, *where[0], *where[1], *self.rows, self.used)
            if used <= len(self.other):
                break
            room = used + used // 4
            self.other = np.concatenate([self.other, np.zeros(room - len(self.other), np.int32)])
            self.slot = np.concatenate([self.slot, np.zeros(room - len(self.slot), np.int32)])
        self.used = used


class Run:
    """Neurons of one generation, or several, that run in the same way; ``offsets`` and ``work`` as of a plan."""

    def __init__(self, rows: np.ndarray, bounds: Any, incoming: np.ndarray, outgoing: np.ndarray):
        self.rows, self.offsets = rows, np.array(bounds, np.int64)
        self.incoming_work = np.concatenate([[0], np.cumsum(incoming[rows].astype(np.int64) + 1)])
        self.outgoing_work = np.concatenate([[0], np.cumsum(outgoing[rows].astype(np.int64) + 1)])


class Blocks:
    """The dense blocks of a plan, kept up to date through edits.

    Neurons of one home and generation are a cluster. A pair of clusters is a block if it is dense enough; a neuron may
    be in several blocks as a source, and as a target too. What is not in a block stays with the row loops.
    """

    def __init__(self, plan: Plan):
        self.plan = plan
        self.found: list[Block] = []
        self.considered: list[Block] = []  # pairs that are too sparse, for people to see
        self.tiles: Tiles | None = None
        self.sources, self.targets = Ends.none(0), Ends.none(0)
        self.known = False
        self.edits = 0
        self._budget = 0
        self._scratch: dict[str, np.ndarray] = {}

    # -- what the passes ask -------------------------------------------------------------------------------------------

    def refresh(self) -> bool:
        """Take in what was edited; whether there are blocks."""
        plan, graph = self.plan, self.plan.graph
        if plan.history or not plan.n_generations:
            self.found, self.tiles, self.known = [], None, False
            return False
        if self.known and self.edits == graph.edits:
            return self.any
        edited = graph.journal.take(len(graph.connections), self)
        if not self.known or edited is None:
            self._survey()
        else:
            self._budget -= len(edited.sources)
            if self._budget < 0:
                self._survey()
            elif self.any:
                self._patch(edited.sources, edited.targets)
        self.edits = graph.edits
        return self.any

    @property
    def any(self) -> bool:
        """Whether there are blocks or tiles."""
        return bool(self.found) or self.tiles is not None

    @property
    def run_most(self) -> bool:
        """Whether most connections are in dense blocks, which BLAS runs."""
        return 2 * sum(block.count for block in self.found) > len(self.plan.graph.connections)

    def tiles_into(self, generation: int, cluster: int) -> list[Segment]:
        """Where tiles lead to neurons of a generation that are in a cluster of targets of dense blocks, or in none."""
        parts = self.tiles.segments if self.tiles and generation >= 0 else []
        return [p for p in parts if p.generation == generation and p.target_cluster == cluster and len(p.targets)]

    def tiles_from(self, generation: int) -> list[Segment]:
        """Where tiles lead from neurons of a generation."""
        parts = self.tiles.segments if self.tiles and generation >= 0 else []
        return [part for part in parts if part.generation == generation and part.is_source]

    def scratch(self, name: str, size: int) -> np.ndarray:
        """Room for at least so many numbers; what it held is lost."""
        held = self._scratch.get(name)
        if held is None or len(held) < size:
            held = self._scratch[name] = zeros((size,), self.plan.graph.dtype)
        return held

    def scratch_sizes(self, samples: int) -> dict[str, int]:
        """Numbers that passes over so many samples, panels filled, keep beside their own."""
        if not self.any:
            return {}
        together = min(samples, dense.TOGETHER)
        sources = max((len(block.sources) for block in self.found), default=0)
        targets = max((len(block.targets) for block in self.found), default=0)
        summed = max((len(part.targets) for part in self.tiles.segments), default=0) if self.tiles else 0
        return {
            "sources": sources * together,
            "targets": targets * together,
            "sums": max(targets, summed) * samples,
            "matrices": sum(block.cells for block in self.found if block.base == COPIED),
        }

    @property
    def nbytes(self) -> int:
        """Bytes of what is held between passes."""
        matrices = [block.matrix for block in self.found if block.matrix is not None]
        lists = self.tiles.nbytes if self.tiles else 0
        return lists + sum(a.nbytes for a in (*self._scratch.values(), *matrices))

    def matrix(self, block: Block) -> np.ndarray:
        """Room for a copied block."""
        if block.matrix is None:
            block.matrix = zeros((block.cells,), self.plan.graph.dtype)
        return block.matrix

    def of_targets(self, block: Block) -> tuple[np.ndarray, np.ndarray, int]:
        """What tells a block's targets: the cluster of each neuron, its position there, and the block's cluster."""
        return self.targets.cluster, self.targets.position, block.target_cluster

    def __str__(self) -> str:
        home, rows, tiles = self.plan.graph.neurons["home"], [], self.tiles
        for generation, source, n_sources, n_targets, count, inside in tiles.pairs() if tiles else ():
            how = f"{count} blocks of {tiles.side} x {tiles.side}, {inside} connections" if tiles else ""
            rows.append((generation, source, n_sources, n_targets, inside / (n_sources * n_targets), how))
        tiled = {row[:2] for row in rows}
        for block in [*self.found, *self.considered]:
            self._count(block)
            how, key = "sparse rows", (block.generation, int(home[block.sources[0]]))
            if block in self.found:
                how = "dense block, copied" if block.base == COPIED else "dense block, in place"
            elif key in tiled:
                continue
            rows.append((*key, len(block.sources), len(block.targets), block.density, how))
        if not rows:
            return ""
        lines = [f"{'into':>10}  {'sources':>9}  {'targets':>11}  {'density':>15}  runs as"]
        for generation, _, n_sources, n_targets, density, how in sorted(rows):
            number = self.plan.numbers[generation]
            lines.append(f"{number:>10}  {n_sources:>9}  {n_targets:>11}  {density:>15.3f}  {how}")
        return "\n".join(lines)

    # -- finding them --------------------------------------------------------------------------------------------------

    def _survey(self) -> None:
        """Look at all connections that may be in a block."""
        graph = self.plan.graph
        dense_before = {(b.generation, b.sources[0], b.targets[0]) for b in self.found}
        side_before, self.tiles = self.tiles.side if self.tiles else 0, None
        self.found, self.considered, self.known = [], [], True
        graph.journal.take(len(graph.connections), self)
        self._budget = max(SIDE, len(graph.connections) // PATIENCE)
        clusters = self._clusters()
        pairs = self._pairs(clusters) if len(clusters) <= CLUSTERS else []
        if pairs:
            self._number(clusters, pairs)
        for s in sorted({s for s, _ in pairs}):
            counts = np.zeros(self._n_targets, np.int64)
            sources = clusters[s][1]
            start, length, other, _ = graph.outgoing.rows
            dense.count_pairs(sources, start, length, other, self.targets.cluster, counts)
            for t in (t for first, t in pairs if first == s):
                generation, targets = clusters[t][0], self._targets_of(clusters[t][1])
                number = int(self.targets.cluster[targets[0]])
                block = Block(
                    sources, targets, int(self.sources.cluster[sources[0]]), number, generation, int(counts[number]),
                    constant=clusters[s][0] < 0,
                )  # fmt: skip
                if block.density < costs.FLOOR:
                    continue
                copied = block.count * AIR < block.cells * (AIR - 1)
                limit = costs.costs(graph.dtype).crossover(len(sources), len(targets), copied)
                if (generation, sources[0], targets[0]) in dense_before:
                    limit *= LOYALTY
                (self.found if limit <= block.density else self.considered).append(block)
        self.found.sort(key=lambda b: (b.generation, b.targets[0], b.sources[0]))
        if self.found:
            self._tell_apart()
        left = len(graph.connections) - sum(block.count for block in self.found)
        if promising(self.plan, left, self._is_dense):
            if not pairs:
                self._number([], [])
            self._tell_apart()
            self.tiles = look_for(self.plan, self._dense, self.targets.position, side_before)
        if self.any:
            self._lay_out()

    def _is_dense(self, sources: np.ndarray, target: int) -> np.ndarray:
        """Which connections into a target a dense block runs."""
        if not self.found:
            return np.zeros(len(sources), bool)
        out_of, into, block_at = self._dense
        if into[target] < 0:
            return np.zeros(len(sources), bool)
        return (out_of[sources] >= 0) & (block_at[out_of[sources], into[target]] >= 0)

    def _count(self, block: Block) -> None:
        counts = np.zeros(self._n_targets, np.int64)
        start, length, other, _ = self.plan.graph.outgoing.rows
        dense.count_pairs(block.sources, start, length, other, self.targets.cluster, counts)
        block.count = int(counts[block.target_cluster])

    def _clusters(self) -> list[tuple[int, np.ndarray]]:
        """(generation, slots) of neurons of one home and generation, if they are many; inputs have generation -1."""
        plan, graph = self.plan, self.plan.graph
        n = graph.neurons.size
        reach = int(costs.FLOOR * SIDE)
        rich = np.maximum(graph.incoming.length[:n], graph.outgoing.length[:n]) >= max(reach, 1)
        slots = np.concatenate([plan.inputs, plan.rows]).astype(np.int64)
        widths = np.concatenate([[len(plan.inputs)], np.diff(plan.offsets)])
        generation = np.repeat(np.arange(-1, plan.n_generations), widths)
        chosen = rich[slots]
        slots, generation = slots[chosen], generation[chosen]
        if len(slots) < 2 * SIDE:
            return []
        key = generation * np.int64(graph.n_homes) + graph.neurons["home"][slots]
        order = np.lexsort((slots, key))
        cuts = np.flatnonzero(np.diff(key[order])) + 1
        parts = np.split(order, cuts)
        return [(int(generation[part[0]]), slots[part]) for part in parts if len(part) >= SIDE]

    def _targets_of(self, slots: np.ndarray) -> np.ndarray:
        """Those that add up their terms at once: the others need the row loops."""
        neurons = self.plan.graph.neurons
        simple = (neurons["aggregation"][slots] == SUM) & (neurons["time_constant"][slots] == 1)
        return slots[simple]

    def _pairs(self, clusters: list[tuple[int, np.ndarray]]) -> list[tuple[int, int]]:
        """Pairs of clusters that have enough connections at their ends."""
        graph = self.plan.graph
        targets = [self._targets_of(slots) if g >= 0 else slots[:0] for g, slots in clusters]
        reached = np.array([graph.incoming.length[slots].sum() for slots in targets], np.float64)
        sent = np.array([graph.outgoing.length[slots].sum() for _, slots in clusters], np.float64)
        size = np.array([len(slots) for _, slots in clusters], np.float64)
        width = np.array([len(slots) for slots in targets], np.float64)
        generation = np.array([g for g, _ in clusters])
        enough = np.minimum.outer(sent, reached) >= costs.FLOOR * np.multiply.outer(size, width)
        enough &= generation[:, None] < generation[None, :]
        enough &= width[None, :] >= SIDE
        sources, found = np.nonzero(enough)
        return list(zip(sources.tolist(), found.tolist(), strict=True))

    def _number(self, clusters: list[tuple[int, np.ndarray]], pairs: list[tuple[int, int]]) -> None:
        """Give every neuron of a pair the number of its cluster and its position there."""
        n = self.plan.graph.neurons.size
        self.sources, self.targets = Ends.none(n), Ends.none(n)
        for i, s in enumerate(sorted({s for s, _ in pairs})):
            slots = clusters[s][1]
            self.sources.cluster[slots], self.sources.position[slots] = i, np.arange(len(slots))
        self._n_targets = 0
        for j, t in enumerate(sorted({t for _, t in pairs})):
            slots = self._targets_of(clusters[t][1])
            self.targets.cluster[slots], self.targets.position[slots] = j, np.arange(len(slots))
            self._n_targets += 1

    # -- laying them out -----------------------------------------------------------------------------------------------

    def _tell_apart(self) -> None:
        """Which block joins two clusters, and the clusters of those neurons that are in one."""
        block_at = np.full((int(self.sources.cluster.max(initial=-1)) + 1, self._n_targets), -1, np.int64)
        for number, block in enumerate(self.found):
            block_at[block.source_cluster, block.target_cluster] = number
        sends, gets = np.append((block_at >= 0).any(axis=1), False), np.append((block_at >= 0).any(axis=0), False)
        source, target = self.sources.cluster, self.targets.cluster
        self._dense = np.where(sends[source], source, -1), np.where(gets[target], target, -1), block_at

    def _lay_out(self) -> None:
        graph, found = self.plan.graph, self.found
        for block in found:
            self._place(block)
        sent: set[int] = set()
        for block in reversed(found):  # in the order of the backward pass
            block.first = block.source_cluster not in sent
            sent.add(block.source_cluster)
        self._where = (
            self.sources.cluster, self.sources.position, self.targets.cluster, self.targets.position, self._dense[2],
            np.array([block.base for block in found], np.int64), np.array([block.by_source for block in found], bool),
            np.array([(len(block.sources), len(block.targets)) for block in found], np.int64).reshape(-1, 2),
        )  # fmt: skip
        self.has_sources = np.zeros(graph.neurons.size, bool)  # is a target of some block
        self.has_targets = np.zeros(graph.neurons.size, bool)
        for block in found:
            self.has_targets[block.sources] = True
            self.has_sources[block.targets] = True
        if self.tiles:
            senders, getters = self.tiles.neurons
            self.has_targets[senders], self.has_sources[getters] = True, True
        self.incoming, self.outgoing = Rest(graph.neurons.size), Rest(graph.neurons.size)
        self._write_rest(
            self._with_rest("source", graph.outgoing.length), self._with_rest("target", graph.incoming.length)
        )
        self._most_entries = GAPS + 2 * (self.incoming.used + self.outgoing.used)
        self._cut_into_runs()

    def _with_rest(self, end: str, length: np.ndarray) -> np.ndarray:
        """Neurons of the clusters that have connections which no block runs; a look at each costs more than a count."""
        inside: dict[int, int] = {}
        members: dict[int, np.ndarray] = {}
        for block in self.found:
            cluster = getattr(block, f"{end}_cluster")
            members[cluster] = getattr(block, f"{end}s")
            own = block.count if block.base == COPIED else block.cells - len(block.holes)
            inside[cluster] = inside.get(cluster, 0) + own
        rows = [slots for c, slots in members.items() if int(length[slots].sum()) != inside[c]]
        tiled = self.tiles.neurons[0 if end == "source" else 1] if self.tiles else np.zeros(0, np.int64)
        return np.unique(np.concatenate([*rows, tiled])).astype(np.int64)

    def _write_rest(self, sources: np.ndarray, targets: np.ndarray) -> None:
        graph, by_source, by_target = self.plan.graph, NO_TILES, NO_TILES
        if self.tiles:
            group = self.tiles.groups.group
            by_source, by_target = (group, *self.tiles.out_of[:2]), (group, *self.tiles.into[:2])
        self.outgoing.write(sources, graph.outgoing.rows, False, self._where, by_source)
        self.incoming.write(targets, graph.incoming.rows, True, self._where, by_target)
        if self.tiles:
            self.tiles.tell_finished(self.incoming.length)

    def _place(self, block: Block) -> None:
        """Find out whether a block is a matrix in the column as it stands."""
        graph, S, T = self.plan.graph, len(block.sources), len(block.targets)
        if block.count * AIR < block.cells * (AIR - 1):
            return
        start, length, other, slot = graph.outgoing.rows
        sample = block.sources[np.linspace(0, S - 1, LOOKS).astype(np.int64)]
        places = np.concatenate([np.arange(start[r], start[r] + min(length[r], 8)) for r in sample])
        source = np.repeat(sample, np.minimum(length[sample], 8))
        inside = self.targets.cluster[other[places]] == block.target_cluster
        i, j = self.sources.position[source[inside]], self.targets.position[other[places[inside]]]
        if not len(i):
            return
        i, j = i.astype(np.int64), j.astype(np.int64)
        rows = graph.outgoing.rows
        for by_source, offset in ((True, i * T + j), (False, j * S + i)):
            bases, votes = np.unique(slot[places[inside]] - offset, return_counts=True)
            base = int(bases[votes.argmax()])
            if 2 * votes.max() <= len(i) or base < 0 or base + block.cells > graph.connections.size:
                continue
            where = self.targets.cluster, self.targets.position, block.target_cluster, base, by_source
            right = dense.count_in_place(block.sources, *rows, *where, T)
            if right * AIR < block.cells * (AIR - 1):
                continue
            block.base, block.by_source = base, by_source
            if right < block.cells:
                self._find_holes(block, np.arange(S))
            return

    def _find_holes(self, block: Block, members: np.ndarray) -> None:
        """Look for the places among those of some sources, by position, that are not the block's."""
        T, before = len(block.targets), block.holes
        holes = np.empty(len(members) * T + len(before), np.int64)
        where = *self.of_targets(block), block.base, block.by_source, T
        count = dense.find_holes(members, block.sources, *self.plan.graph.outgoing.rows, *where, before, holes)
        block.holes = holes[:count] if len(members) == 1 else holes[:count].copy()

    def _cut_into_runs(self) -> None:
        """Which neurons of each generation run with the blocks, and which with the row loops alone."""
        plan, graph = self.plan, self.plan.graph
        fan_in, fan_out = graph.incoming.length, graph.outgoing.length
        of: dict[int, list[list[Block]]] = {}
        for block in self.found:
            groups = of.setdefault(block.generation, [])
            if groups and groups[-1][0].target_cluster == block.target_cluster:
                groups[-1].append(block)
            else:
                groups.append([block])
        self.groups = of

        def runs(of_blocks: np.ndarray) -> Iterator[tuple[int, Run, Run | None]]:
            """(generation, its neurons without blocks, those with); -1 for those that no block begins or ends in."""
            begin = 0
            for g in range(plan.n_generations + 1):
                last = g == plan.n_generations
                rows = plan.rows[plan.offsets[g] : plan.offsets[g + 1]] if not last else plan.rows[:0]
                inside = of_blocks[rows]
                if not last and g not in of and not inside.any():
                    continue
                if begin < g:
                    bounds = plan.offsets[begin : g + 1]
                    yield -1, Run(plan.rows[bounds[0] : bounds[-1]], bounds - bounds[0], fan_in, fan_out), None
                begin = g + 1
                if not last:
                    plain, with_blocks = rows[~inside], rows[inside]
                    one = Run(with_blocks, [0, len(with_blocks)], fan_in, fan_out) if len(with_blocks) else None
                    yield g, Run(plain, [0, len(plain)], fan_in, fan_out), one

        self.forward_runs = list(runs(self.has_sources))
        self.backward_runs = list(runs(self.has_targets))
        self.sparse_work = sum(int(run.incoming_work[-1]) for _, run, _ in self.forward_runs)
        inputs = plan.inputs
        inside = self.has_targets[inputs]
        self.plain_inputs, self.block_inputs = inputs[~inside], inputs[inside]
        self.plain_input_work = np.concatenate([[0], np.cumsum(fan_out[self.plain_inputs].astype(np.int64) + 1)])
        rest = self.outgoing.length[self.block_inputs].astype(np.int64)
        self.block_input_work = np.concatenate([[0], np.cumsum(rest + 1)])

    # -- keeping them --------------------------------------------------------------------------------------------------

    def _patch(self, sources: np.ndarray, targets: np.ndarray) -> None:
        """Look again at the rows whose connections came or went, and at those of the tiles that this made or broke."""
        if self.tiles:
            senders, getters = self.tiles.patch(sources, targets)
            sources, targets = np.concatenate([sources, senders]), np.concatenate([targets, getters])
        sources, targets = _distinct(sources), _distinct(targets)
        touched = sources[self.has_targets[sources]]
        for block in self.found:
            if block.base != COPIED:
                members = touched[self.sources.cluster[touched] == block.source_cluster]
                if len(members):
                    self._find_holes(block, self.sources.position[members].astype(np.int64))
        if self.incoming.used + self.outgoing.used > self._most_entries:  # rows that were written anew leave gaps
            self.incoming.used = self.outgoing.used = 0
            touched, targets = np.flatnonzero(self.has_targets), np.flatnonzero(self.has_sources)
            self._write_rest(touched, targets)
            self._most_entries = GAPS + 2 * (self.incoming.used + self.outgoing.used)
            return
        self._write_rest(touched, targets[self.has_sources[targets]])


def blocks_of(plan: Plan) -> Blocks:
    """The dense blocks of a plan."""
    if "cpu" not in plan.layouts:
        plan.layouts["cpu"] = Blocks(plan)
    return plan.layouts["cpu"]


def _distinct(slots: np.ndarray) -> np.ndarray:
    return np.unique(slots) if len(slots) > FEW else np.array(sorted(set(slots.tolist())), np.int64)
