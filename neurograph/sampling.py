"""Draw new connections: which pairs are possible, and a uniform choice among those that do not exist yet."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .graph.graph import Graph
from .schedule import Schedule


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
    rank_of = np.full(graph.neurons.size, -1, np.int64)
    rank_of[source[by_rank]] = np.arange(len(source))
    slots, table = graph.incoming.of(target), graph.connections
    existing_source = rank_of[table["source"][slots]]
    existing_target = np.repeat(np.arange(len(target)), graph.incoming.length[target])
    relevant = (existing_source >= 0) & (table["delay"][slots] == delay)
    t, s = absent_pairs(len(source), allowed, existing_target[relevant], existing_source[relevant], choose, rng)
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
    offsets = np.concatenate([[0], np.cumsum(allowed, dtype=np.int64)])
    inside = existing_source < allowed[existing_target]
    existing = np.sort(offsets[existing_target[inside]] + existing_source[inside])
    absent = int(offsets[-1]) - len(existing)
    count = choose(absent)
    if count == absent:
        ranks = np.arange(absent)
    else:
        ranks = np.sort(rng.choice(absent, size=count, replace=False, shuffle=False))
    if len(existing):
        ranks += np.searchsorted(existing - np.arange(len(existing)), ranks, side="right")
    if len(allowed) and (allowed == n_sources).all():
        return np.divmod(ranks, n_sources) if n_sources else (ranks, ranks)
    target = np.repeat(np.arange(len(allowed)), np.diff(np.searchsorted(ranks, offsets)))
    return target, ranks - offsets[target]
