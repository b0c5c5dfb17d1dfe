"""Exact selection of the lowest scores, over arrays: always as many as asked for, ties by the smallest id."""

import numpy as np

__all__ = ["lowest", "lowest_in_regions"]

FEW = 8  # regions up to which each goes through all scores for its own
ONE_BY_ONE = 4096  # regions up to which each is selected from by itself


def lowest(scores: np.ndarray, ids: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` lowest scores; among equal scores the smallest ids are taken.

    A threshold alone would take too few or too many when scores repeat, and pruned networks are full of equal scores.

    Parameters
    ----------
    scores : ndarray of float, shape (n,)
        No NaN.
    ids : ndarray of int, shape (n,)
        Distinct numbers that decide between equal scores.
    count : int
        How many to take; all when there are fewer.

    Returns
    -------
    ndarray of int, shape (min(count, n),)
        Indices into `scores`, ascending.

    Examples
    --------
    >>> lowest(np.array([2.0, 1.0, 5.0, 2.0]), np.array([9, 7, 4, 6]), 2)
    array([1, 3])
    """
    if count >= len(scores):
        return np.arange(len(scores))
    if count <= 0:
        return np.arange(0)
    return np.flatnonzero(_among_lowest(scores, ids, None, count))


def _among_lowest(scores: np.ndarray, ids: np.ndarray, members: np.ndarray | None, count: int) -> np.ndarray:
    """Which of the scores are among the ``count`` lowest; ``ids[members]``, or ``ids``, are theirs."""
    threshold = np.partition(scores, count - 1)[count - 1]
    taken = scores < threshold
    tied = np.flatnonzero(scores == threshold)
    needed = count - np.count_nonzero(taken)
    if needed < len(tied):
        tied_ids = ids[tied if members is None else members[tied]]
        tied = tied[np.argpartition(tied_ids, needed - 1)[:needed]]
    taken[tied] = True
    return taken


def lowest_in_regions(scores: np.ndarray, ids: np.ndarray, regions: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Indices of the `counts[r]` lowest scores of every region r; ties by the smallest id.

    Parameters
    ----------
    scores : ndarray of float, shape (n,)
        No NaN.
    ids : ndarray of int, shape (n,)
        Distinct numbers that decide between equal scores.
    regions : ndarray of int, shape (n,)
        Region of each score, 0 to n_regions - 1.
    counts : ndarray of int, shape (n_regions,)
        How many to take in each region; all of it when it has fewer.

    Returns
    -------
    ndarray of int
        Indices into `scores`, ascending.

    Examples
    --------
    >>> scores, regions = np.array([4.0, 3.0, 2.0, 1.0]), np.array([0, 0, 1, 1])
    >>> lowest_in_regions(scores, np.arange(4), regions, np.array([1, 2]))
    array([1, 2, 3])
    """
    n = len(scores)
    if len(counts) <= ONE_BY_ONE:
        from ..graph import compiled

        chosen = np.zeros(n, bool)
        few = len(counts) <= FEW
        first, order = compiled.group_by(regions[:0] if few else regions, len(counts))
        for r, count in enumerate(counts.tolist()):
            members = np.flatnonzero(regions == r) if few else order[first[r] : first[r + 1]]
            if 0 < count < len(members):
                members = members[_among_lowest(scores[members], ids, members, count)]
            if count > 0:
                chosen[members] = True
        return np.flatnonzero(chosen)
    by_id = np.argsort(ids, kind="stable")
    order = by_id[np.argsort(scores[by_id], kind="stable")]
    # Region in the high half and rank in the low half of one integer: sorting these is several times faster than a
    # stable sort by region.
    keys = (regions[order].astype(np.int64) << 32) | np.arange(n)
    keys.sort()
    region, order = keys >> 32, order[keys & 0xFFFFFFFF]
    first = np.cumsum(np.bincount(regions, minlength=len(counts))) - np.bincount(regions, minlength=len(counts))
    return np.sort(order[np.arange(n) - first[region] < counts[region]])
