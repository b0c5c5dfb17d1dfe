"""Draw new connections: which pairs are possible, and a uniform choice among those that do not exist yet."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .graph.graph import Graph
from .schedule import Schedule

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
    by_rank = np.arange(len(source))
    allowed = np.full(len(target), len(source))
    ordered = delay == 0 and not _all_acyclic(graph, schedule, source, target)
    if ordered:
        # Any linear order that the graph respects already: connections along it close no cycle. Tightened first, for
        # what is drawn must not depend on who has looked at the schedule since a removal.
        generation, id = schedule.tighten().generation, graph.neurons["id"]
        key = generation.astype(np.int64) * graph.neurons.next_id + id
        key[graph.inputs] -= graph.neurons.next_id  # inputs stand before everything
        by_rank = np.argsort(key[source])
        allowed = np.searchsorted(key[source][by_rank], key[target])
    rank_of = np.full(graph.neurons.size, -1, np.int32)
    rank_of[source[by_rank]] = np.arange(len(source), dtype=np.int32)
    from .graph import compiled

    delays = graph.connections["delay"]
    mixed = delay > 0 or graph.delayed > 0
    first, hole = compiled.existing_ranks(target, rank_of, allowed, *graph.incoming.rows, delays, delay, mixed)
    t, s = _choose_absent(allowed, first, hole, choose, rng)
    s = by_rank[s]
    if ordered and len(s):
        t, s = np.divmod(np.sort(t * len(source) + s), len(source))
    return source[s], target[t]


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

    delays = graph.connections["delay"]
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
    numbers = np.zeros(0, np.int64)
    while len(numbers) < count:
        more = rng.integers(0, n, count - len(numbers))
        more.sort()
        new = np.ones(len(more), bool)
        new[1:] = more[1:] != more[:-1]
        if len(numbers):
            new &= numbers[np.minimum(np.searchsorted(numbers, more), len(numbers) - 1)] != more
        numbers = np.concatenate([numbers, more[new]])
        numbers.sort(kind="stable")  # which merges what is in order already
    return numbers
