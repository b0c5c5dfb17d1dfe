"""Draw new connections: which pairs are possible, and a uniform choice among those that do not exist yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .graph.graph import Graph
from .graph.side_by_side import both, halves
from .schedule import Schedule

AT_A_TIME = 2**15  # numbers that are drawn and sorted together
MANY_REGIONS = 4096  # from which the tables of digits are too large
MANY_HOMES = 256  # from which the pairs of homes are too many for tables of them
NOTHING = np.zeros(0)
Smallest = Callable[[np.ndarray, np.ndarray], np.ndarray]
FLAGS_A_DRAW = 16  # numbers to choose from, for each that is drawn, up to which marking them is cheaper than sorting


def draw_pairs(
    graph: Graph,
    schedule: Schedule,
    source: np.ndarray,
    target: np.ndarray,
    delay: int,
    choose: Callable[[int], int],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw pairs of neuron slots that are not connected yet and close no cycle.

    Parameters
    ----------
    graph, schedule : Graph, Schedule
    source, target : ndarray of int64
        Slots, each distinct.
    delay : int
        Pairs count as connected when they are with this delay; only pairs without delay can close a cycle.
    choose : callable
        ``choose(n_candidates) -> count``: how many to take.
    rng : numpy.random.Generator

    Returns
    -------
    source, target : ndarray of int64
        Ascending by the place of the target among the targets, then of the source among the sources.
    """
    by_rank, allowed, first, hole = _free_pairs(graph, schedule, source, target, delay)
    t, s = _choose_absent(allowed, first, hole, choose, rng)
    if by_rank is not None and len(s):
        s = by_rank[s]
        t, s = np.divmod(np.sort(t * len(source) + s), len(source))
    return source[s], target[t]


@dataclass(frozen=True)
class FreePairs:
    """The pairs of two sets of neurons that are not connected and close no cycle: rows of targets, each with holes.

    Target t may have the sources 0 .. ``allowed[t] - 1``, but for ``hole[first[t]:first[t + 1]]``, which it has. All of
    these pairs may be connected at once.

    Attributes
    ----------
    sources, targets : ndarray of int64
        Ids. The sources are in an order that the network's own respects.
    allowed, first, hole : ndarray of int

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([3, 2], density=0.5, seed=0)
    >>> pairs = net.free_pairs(net.inputs, net.outputs)
    >>> pairs.mask(0, 2).sum() == len(pairs) == 3
    True
    """

    sources: np.ndarray
    targets: np.ndarray
    allowed: np.ndarray
    first: np.ndarray
    hole: np.ndarray

    def __len__(self) -> int:
        return int(self.allowed.sum(dtype=np.int64)) - len(self.hole)

    def mask(self, begin: int, end: int) -> np.ndarray:
        """Which sources the targets from ``begin`` to before ``end`` could get: bools (end - begin, n_sources)."""
        free = np.arange(len(self.sources)) < self.allowed[begin:end, None]
        holes = slice(self.first[begin], self.first[end])
        free[np.repeat(np.arange(end - begin), np.diff(self.first[begin : end + 1])), self.hole[holes]] = False
        return free


def free_pairs(graph: Graph, schedule: Schedule, source: np.ndarray, target: np.ndarray, delay: int) -> FreePairs:
    """`FreePairs` of neuron slots; parameters as in `draw_pairs`."""
    by_rank, *rows = _free_pairs(graph, schedule, source, target, delay)
    ids = graph.neurons["id"]
    return FreePairs(ids[source if by_rank is None else source[by_rank]], ids[target], *rows)


def _free_pairs(
    graph: Graph, schedule: Schedule, source: np.ndarray, target: np.ndarray, delay: int
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray, np.ndarray]:
    """Order of the sources, None for the one given, and the rows of `FreePairs`."""
    by_rank = None
    allowed = np.full(len(target), len(source))
    if delay == 0 and not _all_acyclic(graph, schedule, source, target):
        # Any linear order that the graph respects already: connections along it close no cycle. Tightened first, for
        # what is drawn must not depend on who has looked at the schedule since a removal.
        generation, id = schedule.tighten().generation, graph.neurons["id"]
        key = generation.astype(np.int64) * graph.neurons.next_id + id
        key[graph.inputs] -= graph.neurons.next_id  # inputs stand before everything
        by_rank = np.argsort(key[source])
        allowed = np.searchsorted(key[source][by_rank], key[target])
    rank_of = np.full(graph.neurons.size, -1, np.int32)
    rank_of[source if by_rank is None else source[by_rank]] = np.arange(len(source), dtype=np.int32)
    from .graph import compiled

    delays = graph.connections.read("delay")
    mixed = delay > 0 or graph.delayed > 0
    rows = compiled.existing_ranks(target, rank_of, allowed, *graph.incoming.rows, delays, delay, mixed)
    return by_rank, allowed, *rows


def draw_successors(
    graph: Graph, doomed: np.ndarray | float, rng: np.random.Generator, smallest: bool | Smallest = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Draw as many pairs as there are ``doomed`` connections, between the same pairs of homes, all of them at once.

    Uniform among the pairs that are absent once those connections are gone.

    Parameters
    ----------
    graph : Graph
    doomed : ndarray of int64, or float
        Connection slots; or the share of the connections of each pair of homes that are drawn first.
    rng : numpy.random.Generator
    smallest : bool or function
        Instead of drawing that share take the smallest absolute weights, the oldest of equal ones. A function finds
        them: ``(code, counts) -> slots``, ``counts[r]`` among those of code r.

    Returns
    -------
    (doomed, source, target), or None
        Slots; the pairs in order of their targets' homes. None where drawing all at once could not be right: there are
        delays, or very many homes, or connections that run in a circle from home to home, or too few pairs.
    """
    homes, home = graph.n_homes, graph.neurons["home"]
    if graph.delayed or not 0 < homes <= MANY_HOMES:
        return None
    from .graph import compiled

    members = graph.neurons.live_by_id()
    first, order = compiled.group_by(home[members], homes)
    members, sizes = members[order].astype(np.int32), np.diff(first)
    position = np.empty(graph.neurons.size, np.int32)
    position[members] = np.arange(len(members), dtype=np.int32)
    code = np.empty(graph.connections.size, np.int32)
    columns = [graph.connections[name] for name in ("id", "source", "target")]

    def count(begin: int, end: int) -> np.ndarray:
        return compiled.count_between(begin, end, *columns, home, homes, code)

    middle = len(code) // 2
    counts = both(len(code), lambda: count(0, middle), lambda: count(middle, len(code)))
    between = counts[0] + counts[1]
    if _circular(between.reshape(homes, homes) > 0):
        return None
    if isinstance(doomed, float):
        wanted = np.array([round(doomed * n) for n in between.tolist()], np.int64)
    else:
        wanted = np.bincount(code[doomed], minlength=homes**2)
    free = np.outer(sizes, sizes).ravel() - between + wanted
    if (wanted > free).any() or (smallest and np.count_nonzero(wanted) > MANY_REGIONS):
        return None
    into, out = np.nonzero(wanted.reshape(homes, homes).T)  # by the home of the targets
    number, absent = wanted[out * homes + into], free[out * homes + into]
    uniform = rng.random(int(wanted.sum())) if isinstance(doomed, float) and not smallest else NOTHING

    def choose() -> np.ndarray:
        if not isinstance(doomed, float):
            return doomed
        if callable(smallest):
            return smallest(code, wanted)
        return _smallest(graph, code, wanted) if smallest else _pick(code, middle, *counts, wanted, uniform)

    def draw_ranks() -> list[np.ndarray]:
        return [subset(n, k, rng) for n, k in zip(absent.tolist(), number.tolist(), strict=True)]

    chosen, ranks = both(len(code), choose, draw_ranks)
    gone = np.zeros(len(code), bool)
    gone[chosen] = True
    if smallest:
        chosen = np.flatnonzero(gone)  # whoever found them
    rank = np.concatenate([*ranks, np.zeros(0, np.int64)])
    regions, ends = np.searchsorted(into, np.arange(homes + 1)), np.cumsum(number)
    source, target = np.empty(len(rank), np.int32), np.empty(len(rank), np.int32)

    def draw(begin: int, end: int) -> None:
        compiled.draw_rows(
            members, begin, end, first, position, home, *graph.incoming.rows, gone, regions, out, ends, rank, source,
            target,
        )  # fmt: skip

    halves(between.reshape(homes, homes).sum(axis=0), draw)
    return chosen, source, target


def _smallest(graph: Graph, code: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The slots of the ``wanted[r]`` smallest absolute weights of each code r, the oldest of equal ones.

    Found digit by digit, as numbers are sorted by punched cards: positive floats are in the order of their bits.
    """
    from .graph import compiled

    named = np.flatnonzero(wanted)
    number_of, counts = np.full(len(wanted) + 1, -1, np.int32), wanted[named]  # the last is that of no tenant, -1
    number_of[named] = np.arange(len(named))
    number, weight = number_of[code], graph.connections.read("weight")
    key = np.abs(weight).view(f"u{weight.itemsize}")
    n, middle = len(number), len(number) // 2
    prefix, left = np.zeros(len(counts), np.uint64), counts.copy()
    for shift in range((8 * weight.itemsize - 1) // 11 * 11, -1, -11):
        running = np.cumsum(_digits(number, key, shift, prefix), axis=1)
        # The digit at which the running count passes what is still to be taken.
        digit = np.minimum((running < left[:, None]).sum(axis=1), 2047)
        left -= np.where(digit > 0, np.take_along_axis(running, np.maximum(digit - 1, 0)[:, None], 1)[:, 0], 0)
        prefix = prefix << np.uint64(11) | digit.astype(np.uint64)

    def pick(begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        chosen, tied = np.empty(end - begin + 1, np.int64), np.empty(end - begin + 1, np.int64)
        found = compiled.pick_lowest(number, begin, end, key, prefix, chosen, tied)
        return chosen[: found[0]], tied[: found[1]]

    low, high = both(n, lambda: pick(0, middle), lambda: pick(middle, n))
    tied = np.concatenate([low[1], high[1]])
    by_age = np.lexsort([graph.connections.read("id")[tied], number[tied]])
    first = np.searchsorted(number[tied][by_age], np.arange(len(counts)))
    taken = [by_age[begin : begin + k] for begin, k in zip(first.tolist(), left.tolist(), strict=True) if k]
    return np.concatenate([low[0], high[0], *(tied[part] for part in taken)])


def _digits(number: np.ndarray, key: np.ndarray, shift: int, prefix: np.ndarray) -> np.ndarray:
    """How often each digit occurs in the keys of each number that begin with its prefix."""
    from .graph import compiled

    halves, middle = np.zeros((2, len(prefix), 2048), np.int64), len(number) // 2

    def count(half: int, begin: int, end: int) -> None:
        compiled.count_digits(number, begin, end, key, shift, prefix, halves[half])

    both(len(number), lambda: count(0, 0, middle), lambda: count(1, middle, len(number)))
    return halves.sum(axis=0)


def _circular(leads: np.ndarray) -> bool:
    """Whether a graph, given as a matrix of bools, has a cycle."""
    left = np.arange(len(leads))
    while len(left):
        ends = leads[np.ix_(left, left)].any(axis=0)
        if ends.all():
            return True
        left = left[ends]
    return False


def _all_acyclic(graph: Graph, schedule: Schedule, source: np.ndarray, target: np.ndarray) -> bool:
    """Whether every pair may be connected: no neuron is on both sides, and no target reaches a source."""
    goal = np.zeros(graph.neurons.size, bool)
    goal[source] = True
    if goal[target].any():
        return False
    if len(source) == 0 or len(graph.connections) == 0:
        return True
    deepest = int(schedule.generation[source].max())
    starts = target[schedule.generation[target] < deepest]
    if len(starts) == 0:
        return True
    from .graph import compiled

    delays = graph.connections.read("delay")
    return not compiled.reaches(starts, goal, deepest, schedule.generation, *graph.outgoing.rows, delays)


def absent_pairs(
    n_sources: int,
    allowed: np.ndarray,
    existing_target: np.ndarray,
    existing_source: np.ndarray,
    choose: Callable[[int], int],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose pairs (target, source) without replacement from those that do not exist.

    The pairs of target t are its sources 0 .. ``allowed[t] - 1``. Numbered one target after another, the candidates are
    a range with holes; a rank among the absent becomes a pair by stepping over the holes below it, so the choice is
    exactly uniform without rejecting anything.

    Parameters
    ----------
    n_sources : int
    allowed : ndarray of int, shape (n_targets,)
        How many leading sources each target may have.
    existing_target, existing_source : ndarray of int
        Pairs that exist already.
    choose : callable
        ``choose(n_absent) -> count``: how many to take.
    rng : numpy.random.Generator

    Returns
    -------
    target, source : ndarray of int64
        Ascending by target, then by source.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> some = np.array([0]), np.array([1])
    >>> target, source = absent_pairs(3, np.array([3, 2]), *some, lambda absent: absent, rng)
    >>> list(zip(target.tolist(), source.tolist()))
    [(0, 0), (0, 2), (1, 0), (1, 1)]
    """
    from .graph import compiled

    inside = existing_source < allowed[existing_target]
    rows, entries = existing_target[inside], existing_source[inside].astype(np.int32)
    first = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(allowed)))])
    return _choose_absent(allowed, first, entries[compiled.stable_order(rows, len(allowed))], choose, rng)


def _choose_absent(
    allowed: np.ndarray, first: np.ndarray, hole: np.ndarray, choose: Callable[[int], int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """`absent_pairs` where the existing sources of target t are ``hole[first[t]:first[t + 1]]``, in any order."""
    from .graph import compiled

    absent = int(allowed.sum(dtype=np.int64)) - len(hole)
    return compiled.step_over(subset(absent, choose(absent), rng), allowed, first, hole)


def subset(n: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw ``count`` different numbers below ``n``, every set of them with the same probability.

    Numbers are drawn with replacement until enough are different; of more than half of all, those that are left out.

    Parameters
    ----------
    n, count : int
        ``count`` at most ``n``.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int64, shape (count,)
        Ascending.

    Examples
    --------
    >>> subset(4, 4, np.random.default_rng(0)).tolist(), len(subset(10**12, 3, np.random.default_rng(0)))
    ([0, 1, 2, 3], 3)
    """
    if count == n:
        return np.arange(n)
    if 2 * count > n:
        kept = np.ones(n, bool)
        kept[subset(n, n - count, rng)] = False
        return np.flatnonzero(kept)
    if n <= FLAGS_A_DRAW * count:
        drawn, missing = np.zeros(n, bool), count
        while missing:  # so many draws cannot be too many
            drawn[rng.integers(0, n, missing)] = True
            missing = count - int(np.count_nonzero(drawn))
        return np.flatnonzero(drawn)
    from .graph import compiled

    if count <= AT_A_TIME:
        numbers = compiled.sort_uniform(rng.integers(0, n, count), n)
    else:  # part after part of the range, so that sorting stays in cache
        edges = [n * i // (count // AT_A_TIME) for i in range(count // AT_A_TIME + 1)]
        numbers, done = np.empty(count, np.int64), 0
        shares = rng.multinomial(count, np.diff(edges) / n).tolist()
        for (low, high), k in zip(pairwise(edges), shares, strict=True):
            part = compiled.sort_uniform(rng.integers(0, high - low, k), high - low)
            numbers[done : done + len(part)] = part + low
            done += len(part)
        numbers = numbers[:done]
    while len(numbers) < count:
        more = compiled.sort_uniform(rng.integers(0, n, count - len(numbers)), n)
        numbers = compiled.merge_sets(numbers, more)
    return numbers


def subset_of_each(number: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw ``counts[r]`` entries of each ``number`` r, every set of them with the same probability.

    Parameters
    ----------
    number : ndarray of int, shape (n,)
    counts : ndarray of int
        One for each number; none above how often it occurs.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int64
        Indices into ``number``, ascending.

    Examples
    --------
    >>> subset_of_each(np.array([0, 1, 0, 1]), np.array([2, 0]), np.random.default_rng(0)).tolist()
    [0, 2]
    """
    if len(counts) == 0:
        return np.zeros(0, np.int64)
    middle = len(number) // 2
    before = np.bincount(number[:middle], minlength=len(counts))
    after = np.bincount(number[middle:], minlength=len(counts))
    return _pick(number, middle, before, after, counts, rng.random(int(counts.sum())))


def _pick(
    number: np.ndarray, middle: int, before: np.ndarray, after: np.ndarray, counts: np.ndarray, uniform: np.ndarray
) -> np.ndarray:
    """`subset_of_each` where each number occurs so often ``before`` the middle, and so often ``after`` it."""
    from .graph import compiled

    sizes = before + after
    flags = compiled.draw_flags(uniform, sizes, counts)
    first, chosen = (
        np.cumsum(sizes) - sizes,
        (np.empty(middle + 1, np.int64), np.empty(len(number) - middle + 1, np.int64)),
    )
    n = both(
        len(number),
        lambda: compiled.pick_flagged(number, 0, middle, first.copy(), flags, chosen[0]),
        lambda: compiled.pick_flagged(number, middle, len(number), first + before, flags, chosen[1]),
    )
    return np.concatenate([part[:k] for part, k in zip(chosen, n, strict=True)])
