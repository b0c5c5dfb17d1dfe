"""Tiles: where whole blocks of neighbours are connected, as block pruning leaves them, and how they are kept so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...functions.activations import ACTIVATIONS
from ...functions.aggregations import AGGREGATIONS
from ...plan import Plan
from .buffers import zeros
from .kernels import REGISTER_BYTES

SIDES = (64, 48, 40, 32, 24, 20, 16, 12, 10, 8, 7, 6, 5, 4)  # that are looked for
LEAST = 16  # pairs of neurons in a tile, so that what is left at the end of a layer may be one but a pair may not
FEWEST = 10_000  # connections from which looking is worth it
ASKED = 256  # neurons whose connections are looked at before all are
TRIPLES, ALIKE = 48, 0.2  # neighbours that are asked first, and what share of sources they must have in common
# A connection of a tile costs this much of one in the row loops, and the more the smaller the tiles are: as measured in
# training steps with AVX-512, whose many registers hold four rows of sums, and with AVX2.
INSIDE, SMALL = (0.5, 0.6) if REGISTER_BYTES == 64 else (0.85, 1.0)
WORTH, LOYALTY = 0.95, 0.03  # cost at which tiles begin to run, and what those that ran may cost beyond

GAP = 4096  # cells of tiles to come that there is room for
BEYOND = 512  # cells behind the last tile that the kernels may look at, when they ask the memory ahead

SUM = AGGREGATIONS["sum"]
RELU, IDENTITY = (ACTIVATIONS[name].code for name in ("relu", "identity"))
NOBODY = np.zeros(0, np.int64)


@dataclass(eq=False)
class Segment:
    """Groups ``lo`` to ``hi``, all of one generation and in the same dense blocks or none."""

    generation: int
    lo: int
    hi: int
    target_cluster: int  # of the dense blocks that lead to them, -1 for none
    sends: bool  # to dense blocks as well
    targets: np.ndarray  # neuron slots of those that get something from tiles
    others: np.ndarray  # of these, those that are not finished with that: see `Tiles.tell_finished`
    is_source: bool  # whether some of them send to tiles


class Groups:
    """Neurons cut into groups of up to ``side`` neighbours of one home.

    A group of which another generation has a part is none.
    """

    def __init__(self, plan: Plan, side: int, clusters: tuple[np.ndarray, ...]):
        graph = plan.graph
        slots = np.concatenate([plan.inputs, plan.rows]).astype(np.int64)
        widths = np.concatenate([[len(plan.inputs)], np.diff(plan.offsets)])
        generation = np.repeat(np.arange(-1, plan.n_generations), widths)
        place, home = graph.places()[slots], graph.neurons["home"][slots].astype(np.int64)
        square = home * (place.max(initial=0) // side + 1) + place // side
        out_of, into = (cluster[slots] for cluster in clusters)
        order = np.lexsort((place, square, out_of, into, generation))
        slots, generation, square, into, out_of = (a[order] for a in (slots, generation, square, into, out_of))
        cuts = np.diff(square) != 0
        for kind in (generation, into, out_of):
            cuts |= np.diff(kind) != 0
        first = np.concatenate([[0], np.flatnonzero(cuts) + 1, [len(slots)]])
        number = np.unique(square[first[:-1]], return_inverse=True, return_counts=True)
        whole = number[2][number[1]] == 1  # the only group of its square
        kept = np.repeat(whole, np.diff(first))
        self.side = side
        self.members = slots[kept].astype(np.int32)
        self.first = np.concatenate([[0], np.cumsum(np.diff(first)[whole])]).astype(np.int64)
        begin = first[:-1][whole]
        self.generation, self.into, self.out_of = generation[begin], into[begin], out_of[begin]
        self.group = np.full(graph.neurons.size, -1, np.int32)
        self.group[self.members] = np.repeat(np.arange(len(begin)), np.diff(self.first))
        neurons = graph.neurons
        simple = (neurons["aggregation"][self.members] == SUM) & (neurons["time_constant"][self.members] == 1)
        self.is_target = np.ones(len(begin), bool)
        self.is_target[np.searchsorted(self.first, np.flatnonzero(~simple), side="right") - 1] = False
        self.is_target &= self.generation >= 0

    @property
    def size(self) -> np.ndarray:
        """Members of each group."""
        return np.diff(self.first)

    def find(self, plan: Plan, asked: np.ndarray, dense: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray, Any]:
        """Sources and targets of the tiles that lead from some groups, and the share of their connections inside."""
        from . import tile_kernels

        start, length, other, _ = plan.graph.outgoing.rows
        rows = self.members[np.concatenate([np.arange(self.first[g], self.first[g + 1]) for g in asked])]
        sources, targets = (np.empty(int(length[rows].sum()) // LEAST + 1, np.int32) for _ in range(2))
        count, inside, seen = tile_kernels.find(
            asked, self.members, self.first, self.group, self.is_target, LEAST, start, length, other, *dense, sources,
            targets,
        )  # fmt: skip
        return sources[:count].copy(), targets[:count].copy(), inside / max(seen, 1)


class Listed(NamedTuple):
    """Tiles in ascending order of ``key``, own group * number of groups + far group, and where their slots begin."""

    key: np.ndarray
    base: np.ndarray

    def without(self, keys: np.ndarray) -> tuple[Listed, np.ndarray]:
        """Leave some out, if they are there; and where the slots of those began."""
        at = np.searchsorted(self.key, keys)
        at = at[self.key.take(at, mode="clip") == keys] if len(self.key) else at[:0]
        return Listed(np.delete(self.key, at), np.delete(self.base, at)), self.base[at]

    def plus(self, keys: np.ndarray, bases: np.ndarray) -> Listed:
        """Put some in that are not there."""
        order = np.argsort(keys)
        at = np.searchsorted(self.key, keys[order])
        return Listed(np.insert(self.key, at, keys[order]), np.insert(self.base, at, bases[order]))

    def by_group(self, groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where the tiles of each own group begin, their far groups, and where their slots begin."""
        begin = np.searchsorted(self.key, np.arange(groups + 1) * np.int64(groups))
        return begin.astype(np.int64), (self.key % groups).astype(np.int32), self.base


NO_TILES = Listed(np.zeros(0, np.int64), np.zeros(0, np.int64))


class Tiles:
    """The tiles of a plan, kept through edits: a pair of groups is one while all its pairs are connected."""

    def __init__(self, plan: Plan, groups: Groups, source: np.ndarray, target: np.ndarray, position: np.ndarray):
        self.plan, self.groups, self.count = plan, groups, len(groups.generation)
        self.is_source, self.is_target = np.zeros(self.count, bool), np.zeros(self.count, bool)
        self.is_source[source], self.is_target[target] = True, True
        self._cells = np.int64(groups.side**2)
        self._free, self._used = np.zeros(0, np.int64), 0
        self.slots = np.zeros(0, np.int32)
        self._by_source = self._by_target = NO_TILES
        self._put(source.astype(np.int64), target.astype(np.int64))
        self.segments = self._cut(position)

    # -- what the passes read ------------------------------------------------------------------------------------------

    @property
    def by_target(self) -> tuple[Any, ...]:
        """The lists that the forward kernel walks."""
        return self.slots, np.int64(self.groups.side), self.groups.members, self.groups.first, *self.into

    @property
    def by_source(self) -> tuple[Any, ...]:
        """The lists that the backward kernels walk."""
        return self.slots, np.int64(self.groups.side), self.groups.members, self.groups.first, *self.out_of

    @property
    def side(self) -> int:
        """Neighbours that a tile has on each side, but where a layer ends."""
        return self.groups.side

    @property
    def ends_of_each(self) -> tuple[np.ndarray, np.ndarray]:
        """Groups that each tile joins."""
        return np.divmod(self._by_source.key, self.count)

    @property
    def connections(self) -> int:
        """How many run in tiles."""
        source, target = self.ends_of_each
        return int((self.groups.size[source] * self.groups.size[target]).sum())

    @property
    def nbytes(self) -> int:
        """Bytes of the lists."""
        lists = (self.slots, *self._by_source, *self._by_target, *self.into[:2], *self.out_of[:2])
        rows = (self.sum_rows, self.other_rows, self.finished_rows, self.delta_rows)
        ends = (self.floors, self.lowest, self.zeros, self.groups.members, self.groups.first, self.groups.group)
        return sum(a.nbytes for a in (*lists, *rows, *ends))

    @property
    def neurons(self) -> tuple[np.ndarray, np.ndarray]:
        """Slots of those whose groups sent to tiles when they were looked for, and of those that got something."""
        sends, gets = (np.repeat(which, self.groups.size) for which in (self.is_source, self.is_target))
        return self.groups.members[sends].astype(np.int64), self.groups.members[gets].astype(np.int64)

    def pairs(self) -> list[tuple[int, int, int, int, int, int]]:
        """For people, of every pair of homes: generation, home and number of sources, targets, tiles, connections."""
        groups, (source, target) = self.groups, self.ends_of_each
        home = self.plan.graph.neurons["home"][groups.members[groups.first[:-1]]]
        widths = np.bincount(home, groups.size).astype(int)
        cells = groups.size[source] * groups.size[target]
        keys = np.stack([groups.generation[target], home[source], home[target]])
        found, number = np.unique(keys, axis=1, return_inverse=True)
        tiles, inside = np.bincount(number.ravel()), np.bincount(number.ravel(), cells).astype(int)
        return [
            (generation, s, int(widths[s]), int(widths[t]), int(tiles[i]), int(inside[i]))
            for i, (generation, s, t) in enumerate(found.T.tolist())
        ]

    def tell_finished(self, rest: np.ndarray) -> None:
        """Which groups are finished with what their tiles give, a bias and at most a ReLU; the others need the rest.

        The sums of those go straight to their rows of activations, ``finished_rows``, those of the others of a segment
        wait in ``other_rows``.
        """
        g, neurons = self.groups, self.plan.graph.neurons
        code = neurons["activation"][g.members]
        simple = np.isin(code, (RELU, IDENTITY)) & (rest[g.members] == 0)
        unfinished = np.unique(np.repeat(np.arange(self.count), g.size)[~simple])
        finished = self.is_target & (g.into < 0)
        finished[unfinished] = False
        members = np.repeat(finished, g.size)
        self.floors = np.where(members & (code == RELU), 0, -np.inf).astype(self.plan.graph.dtype)
        self.lowest, self.zeros = np.full_like(self.floors, -np.inf), np.zeros_like(self.floors)
        self.finished_rows = np.where(members, g.members, -1).astype(np.int32)
        self.other_rows = np.full(len(members), -1, np.int32)
        waits = ~members & np.repeat(self.is_target, g.size)
        for part in self.segments:
            a, b = g.first[part.lo], g.first[part.hi]
            part.others = g.members[a:b][waits[a:b]].astype(np.int64)
            self.other_rows[a:b][waits[a:b]] = np.arange(len(part.others))

    # -- keeping them --------------------------------------------------------------------------------------------------

    def patch(self, sources: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Look again at the pairs of groups whose connections came or went; returns the members of their groups."""
        groups, n = self.groups, self.count
        s, t = groups.group[sources].astype(np.int64), groups.group[targets].astype(np.int64)
        inside = (s >= 0) & (t >= 0)
        inside[inside] = self.is_source[s[inside]] & self.is_target[t[inside]]
        s, t = np.divmod(np.unique(s[inside] * n + t[inside]), n)
        if len(s):
            self._take(s, t)
            enough = groups.size[s] * groups.size[t] >= LEAST
            self._put(s[enough], t[enough])
        both = [np.unique(end) for end in (s, t)]
        members = [np.concatenate([NOBODY, *(groups.members[a:b] for a, b in self._spans(end))]) for end in both]
        return members[0], members[1]

    def _spans(self, groups: np.ndarray) -> Any:
        return zip(self.groups.first[groups].tolist(), self.groups.first[groups + 1].tolist(), strict=True)

    def _take(self, source: np.ndarray, target: np.ndarray) -> None:
        """Forget the tiles between some pairs of groups, if there are any."""
        self._by_source, bases = self._by_source.without(source * self.count + target)
        self._by_target, _ = self._by_target.without(target * self.count + source)
        self._free = np.concatenate([self._free, bases])

    def _put(self, source: np.ndarray, target: np.ndarray) -> None:
        """Make tiles of those pairs of groups that are connected wholly; none of them is one yet."""
        more = max(0, len(source) - len(self._free))
        bases = np.concatenate([self._free, (self._used + np.arange(more)) * self._cells])
        bases, self._free = bases[: len(source)], bases[len(source) :]
        self._used += more
        if self._used * self._cells + BEYOND > len(self.slots):
            room = zeros((int(self._used * self._cells) + BEYOND + GAP,), np.dtype(np.int32))
            room[: len(self.slots)] = self.slots
            self.slots = room
        self._by_source = self._by_source.plus(source * self.count + target, bases)
        self._by_target = self._by_target.plus(target * self.count + source, bases)
        self._index()
        self._fill(np.unique(source))

    def _index(self) -> None:
        self.into, self.out_of = self._by_target.by_group(self.count), self._by_source.by_group(self.count)

    def _fill(self, groups: np.ndarray) -> None:
        """Look up the connections of the tiles that lead from some groups; forget those that are not whole."""
        from . import tile_kernels

        g, (begin, far, base) = self.groups, self.out_of
        rows = self.plan.graph.outgoing.rows
        before = far.copy()
        if tile_kernels.fill(groups, begin, far, base, g.side, g.members, g.first, g.group, *rows, self.slots):
            broken = np.flatnonzero(far < 0)
            self._take(self._by_source.key[broken] // self.count, before[broken].astype(np.int64))
            self._index()

    def _cut(self, position: np.ndarray) -> list[Segment]:
        """Segments, and where each member's sums and deltas are; see the kernels' ``rows``.

        Where dense blocks lead too, sums are where theirs are, by the ``position`` in the cluster.
        """
        g = self.groups
        sends = g.out_of >= 0
        changes = (np.diff(g.generation) != 0) | (np.diff(g.into) != 0) | (np.diff(sends.astype(int)) != 0)
        bounds = [0, *(np.flatnonzero(changes) + 1).tolist(), len(g.generation)]
        gets = np.repeat(self.is_target, g.size)
        self.sum_rows = np.full(len(g.members), -1, np.int32)
        self.delta_rows = np.where(np.repeat(self.is_source, g.size), g.members, -1).astype(np.int32)
        segments = []
        for lo, hi in zip(bounds, bounds[1:], strict=False):
            a, b = g.first[lo], g.first[hi]
            targets = g.members[a:b][gets[a:b]].astype(np.int64)
            self.sum_rows[a:b][gets[a:b]] = position[targets] if g.into[lo] >= 0 else np.arange(len(targets))
            segments.append(
                Segment(
                    int(g.generation[lo]),
                    lo,
                    hi,
                    int(g.into[lo]),
                    bool(sends[lo]),
                    targets,
                    targets,
                    bool(self.is_source[lo:hi].any()),
                )  # fmt: skip
            )
        return segments


def look_for(plan: Plan, dense: tuple[np.ndarray, ...], position: np.ndarray, before: int) -> Tiles | None:
    """The tiles of a plan, of the side that costs least, if they cost less than the row loops do.

    Parameters
    ----------
    plan : Plan
    dense : tuple of ndarray
        Cluster of each neuron slot as a source and as a target of dense blocks, and the number of the block between two
        clusters or -1.
    position : ndarray
        Of each neuron slot in its cluster of targets.
    before : int
        Side of the tiles that ran until now, 0 for none.
    """
    best, cost = None, WORTH
    for side in SIDES:
        groups = Groups(plan, side, dense[:2])
        step = max(1, len(groups.members) // ASKED)
        inside = groups.find(plan, np.arange(0, len(groups.generation), step), dense)[2]
        estimate = inside * (INSIDE + SMALL / side) + 1 - inside - (LOYALTY if side == before else 0)
        if estimate < cost:
            best, cost = groups, estimate
    if best is None:
        return None
    source, target, _ = best.find(plan, np.arange(len(best.generation)), dense)
    return Tiles(plan, best, source, target, position) if len(source) else None


def promising(plan: Plan, left: int, is_dense: Callable[[np.ndarray, int], np.ndarray]) -> bool:
    """Whether neighbours read the same sources: asked of a few, without compiling anything.

    Parameters
    ----------
    plan : Plan
    left : int
        Connections that no dense block runs.
    is_dense : function
        (sources, target) -> which of the connections a dense block runs.
    """
    graph = plan.graph
    if left < FEWEST or not len(plan.rows):
        return False
    some = graph.neurons["id"][plan.rows[:: max(1, len(plan.rows) // TRIPLES)]]
    samples = [some[:, None] + np.arange(3)]
    if given := graph.ordered.shape[1] - 2:
        begins = np.arange(0, given, max(1, given // TRIPLES))
        samples.append(graph.ordered[0][begins[:, None] + np.arange(3)])
    start, length, other, _ = graph.incoming.rows
    for ids in samples:
        ids = ids[(ids < graph.neurons.next_id).all(axis=1)]
        slots = graph.slots_of(ids)
        slots = slots[(slots >= 0).all(axis=1)]
        home, common, total = graph.neurons["home"][slots], 0, 0
        for triple in slots[(home == home[:, :1]).all(axis=1)].tolist():
            sources = [other[start[row] : start[row] + length[row]] for row in triple]
            sources = [ends[~is_dense(ends, row)] for ends, row in zip(sources, triple, strict=True)]
            counts = np.unique(np.concatenate(sources), return_counts=True)[1]
            common, total = common + int((counts == 3).sum()), total + len(sources[0])
        if common > ALIKE * total:
            return True
    return False
