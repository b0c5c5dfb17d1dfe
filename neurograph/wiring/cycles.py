"""Cycles in edge lists: one of them named, and a small set of connections that opens all of them."""

from typing import Any

import numpy as np

from ..checks import require

__all__ = ["feedback_connections", "find_cycle"]


def feedback_connections(source: Any, target: Any, n_neurons: int, effort: int = 3 * 10**7) -> np.ndarray:
    """A small set of connections without which the graph has no cycle.

    The smallest set is NP-hard to find. This is the greedy order of Eades, Lin and Smyth (1993), "A fast and effective
    heuristic for the feedback arc set problem", Information Processing Letters 47:319, run inside the strongly
    connected components, in linear time: the connections that run against the order are the set. Then each of them, in
    the order given, is taken back if it closes no cycle with those that stand.

    Parameters
    ----------
    source, target : array of int, shape (n,)
        Ends of the connections, 0 to ``n_neurons - 1``. Parallel connections and self loops are allowed.
    n_neurons : int
    effort : int
        The second step stops once it has looked at connections so many times, by default after a few seconds. Where
        that suffices the set is minimal: putting any single one back closes a cycle. The larva's brain, with 119,010
        connections, takes a third of the default.

    Returns
    -------
    ndarray of bool, shape (n,)
        True for the connections of the set; every self loop is one. The same arrays always give the same set.

    Raises
    ------
    InvalidValueError
        The arrays differ in length, or an end lies outside 0 to ``n_neurons - 1``.

    Examples
    --------
    >>> feedback_connections([0, 1, 2, 2, 3], [1, 2, 0, 3, 3], 4).tolist()
    [False, False, True, False, True]
    """
    from ..graph import compiled

    source, target = ends_of(source, target, n_neurons)
    feedback = source == target
    label = _components(source, target, n_neurons)
    inside = np.flatnonzero((label[source] == label[target]) & ~feedback)
    if len(inside) == 0:
        return feedback
    u, v = source[inside], target[inside]
    rows = (*_rows(u, n_neurons), *_rows(v, n_neurons))
    position = compiled.greedy_order(u, v, *rows)
    against = position[u] > position[v]
    compiled.spare_feedback(u, v, *rows, position, against, effort)
    feedback[inside] = against
    return feedback


def find_cycle(source: Any, target: Any, n_neurons: int) -> list[int]:
    """The neurons of one short cycle, in the direction of the connections, or an empty list.

    Parameters
    ----------
    source, target : array of int, shape (n,)
    n_neurons : int

    Returns
    -------
    list of int
        Each of them feeds the next and the last feeds the first. A single neuron feeds itself.

    Examples
    --------
    >>> find_cycle([0, 1, 2, 3], [1, 2, 3, 1], 4)
    [1, 2, 3]
    """
    from scipy.sparse import csgraph, csr_array

    source, target = ends_of(source, target, n_neurons)
    loops = source[source == target]
    if len(loops):
        return [int(loops[0])]
    label = _components(source, target, n_neurons)
    inside = label[source] == label[target]
    if not inside.any():
        return []
    u, v = source[inside], target[inside]
    start = int(u.min())
    graph = csr_array((np.ones(len(u), np.int8), (u, v)), shape=(n_neurons, n_neurons))
    order, parent = csgraph.breadth_first_order(graph, start, directed=True, return_predecessors=True)
    # The first neuron found that feeds the start ends a shortest cycle through it.
    closing = np.zeros(n_neurons, bool)
    closing[u[v == start]] = True
    path = [int(order[closing[order]][0])]
    while path[-1] != start:
        path.append(int(parent[path[-1]]))
    return path[::-1]


def ends_of(source: Any, target: Any, n_neurons: int) -> tuple[np.ndarray, np.ndarray]:
    """The ends of connections as arrays of int64, checked."""
    source, target = np.ascontiguousarray(source, np.int64), np.ascontiguousarray(target, np.int64)
    require(
        source.ndim == 1 and source.shape == target.shape,
        f"source and target must be arrays of equal length, not of shapes {source.shape} and {target.shape}",
    )
    for ends in (source, target):
        require(
            len(ends) == 0 or (ends.min() >= 0 and ends.max() < n_neurons),
            f"ends of connections must lie between 0 and {n_neurons - 1}",
        )
    return source, target


def _components(source: np.ndarray, target: np.ndarray, n_neurons: int) -> np.ndarray:
    """Number of each neuron's strongly connected component."""
    from scipy.sparse import csgraph, csr_array

    graph = csr_array((np.ones(len(source), np.int8), (source, target)), shape=(n_neurons, n_neurons))
    return csgraph.connected_components(graph, directed=True, connection="strong")[1]


def _rows(keys: np.ndarray, n_neurons: int) -> tuple[np.ndarray, np.ndarray]:
    """Connections by one of their ends: where each neuron's begin, and their indices."""
    from ..graph import compiled

    return compiled.group_by(keys, n_neurons)
