"""Random wiring with something kept: the degrees of every neuron, or only the number of connections."""

import numpy as np

from ..checks import require, whole
from .cycles import ends_of

__all__ = ["random_pairs", "rewire_degrees"]

CHUNK = 2**20  # pairs drawn at a time


def rewire_degrees(
    source: np.ndarray, target: np.ndarray, n_neurons: int, rng: np.random.Generator, swaps: int = 20
) -> np.ndarray:
    """New targets for the same connections, so that every neuron keeps its numbers of connections in and out.

    Two connections u -> v and w -> x, drawn uniformly, become u -> x and w -> v, unless that makes a self loop or a
    duplicate; ``swaps`` attempts per connection (Maslov and Sneppen 2002, "Specificity and stability in topology of
    protein networks", Science 296:910). In the brains shipped here, after 3 the share of connections that are where
    they were is as low as it gets. Self loops in the original are swapped away where the degrees allow it.

    Parameters
    ----------
    source, target : array of int, shape (n,)
        Ends of the connections; each pair occurs once.
    n_neurons : int
    rng : numpy.random.Generator
    swaps : int

    Returns
    -------
    ndarray of int64, shape (n,)
        The new target of each connection.

    Raises
    ------
    InvalidValueError
        A pair occurs twice, an end lies outside 0 to ``n_neurons - 1``, or ``swaps`` is negative.

    Examples
    --------
    >>> rewire_degrees([0, 1, 2, 3], [1, 0, 3, 2], 4, np.random.default_rng(0)).tolist()
    [3, 2, 0, 1]
    """
    from ..graph import compiled

    whole("swaps", swaps, 0)
    source, target = ends_of(source, target, n_neurons)
    count = len(source)
    require(
        len(np.unique(source * n_neurons + target)) == count,
        "a pair occurs twice; merge such connections before rewiring",
    )
    target = target.copy()
    if count < 2:
        return target
    table = np.full(1 << int(2 * count).bit_length(), -1, np.int64)
    for begin in range(0, swaps * count, CHUNK):
        pairs = rng.integers(0, count, (2, min(CHUNK, swaps * count - begin)))
        compiled.swap_targets(source, target, n_neurons, pairs[0], pairs[1], table)
    loops = np.flatnonzero(source == target)
    for _ in range(100):
        if len(loops) == 0 or swaps == 0:
            break
        first = np.repeat(loops, 100)
        compiled.swap_targets(source, target, n_neurons, first, rng.integers(0, count, len(first)), table)
        loops = np.flatnonzero(source == target)
    return target


def random_pairs(
    n_sources: int, n_targets: int, count: int, rng: np.random.Generator, loops: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Different pairs (source, target), drawn uniformly, sorted.

    Parameters
    ----------
    n_sources, n_targets : int
    count : int
    rng : numpy.random.Generator
    loops : bool
        False leaves out the pairs of a number with itself; the two numbers of neurons must be equal then.

    Returns
    -------
    (source, target) : arrays of int64, shape (count,)

    Raises
    ------
    InvalidValueError
        There are fewer than ``count`` pairs.

    Examples
    --------
    >>> random_pairs(3, 3, 6, np.random.default_rng(0), loops=False)[1].tolist()
    [1, 2, 0, 2, 0, 1]
    """
    require(loops or n_sources == n_targets, "without loops, n_sources and n_targets must be equal")
    width = n_targets if loops else n_targets - 1
    require(
        0 <= count <= n_sources * width,
        f"{count} different pairs were asked for, but {n_sources} sources and {n_targets} targets make "
        f"{n_sources * width}; ask for fewer connections",
    )
    places = np.sort(rng.choice(n_sources * width, count, replace=False, shuffle=False))
    source, target = np.divmod(places, max(width, 1))
    if not loops:
        target += target >= source
    return source, target
