"""Draw new connections: which pairs are possible, and a uniform choice among those that do not exist yet."""

from __future__ import annotations

import numpy as np


def absent_pairs(
    n_sources: int,
    allowed: np.ndarray,
    existing_target: np.ndarray,
    existing_source: np.ndarray,
    choose,
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
