"""Prune the connections of lowest score, counted over the network, per pair of layers, per neuron or per block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks
from ..errors import UnknownNameError
from .scores import evaluate
from .select import lowest, lowest_in_regions

if TYPE_CHECKING:
    from ..graph import Connections
    from ..network import Network

__all__ = ["SCOPES", "choose", "home_pairs", "prune_lowest"]

SCOPES = ("global", "local", "neuron", "block")


def prune_lowest(
    net: Network,
    score: Any = "magnitude",
    fraction: float = 0.2,
    scope: str = "global",
    *,
    count: int | None = None,
    block: int = 16,
) -> int:
    """Remove the connections of lowest score, exactly as many as asked for.

    In every region of `scope` exactly `round(fraction * n)` of its n connections go (Python's `round`: halves go to
    the even number). Equal scores are decided by the connection's id, the oldest first. All other connections keep
    their weight and their optimizer state.

    Parameters
    ----------
    net : Network
        The network to prune.
    score : str, function or array
        "magnitude", "gradient", "saliency" or "random" (see `neurograph.sparsity.SCORES`); a function
        `(connections, rng) -> array`; or an array with one score for each of `net.connections`.
    fraction : float
        Share of every region to remove, 0 to 1.
    scope : {"global", "local", "neuron", "block"}
        "global": the network is one region. "local": each pair of homes is a region (a neuron's home is the `add_...`
        call that made it, so this is a pair of layers in a layered network). "neuron": the incoming connections of
        each neuron are a region. "block": each pair of homes is cut into `block` x `block` squares of neighbouring
        sources and neighbouring targets; a square scores the sum of its connections, and over the whole network
        `fraction` of the squares that hold a connection is removed, each one whole.
    count : int, optional
        Remove this many in every region (of the squares, for "block") instead of a share, or all where there are fewer.
    block : int
        Side of the squares of scope "block".

    Returns
    -------
    int
        How many connections were removed.

    Raises
    ------
    UnknownNameError
        The score or the scope is not known.
    InvalidValueError
        Fraction, count, block or scores are out of range or of the wrong shape. Nothing has been removed then.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([4, 5, 3], seed=0)
    >>> net.n_connections
    35
    >>> ng.sparsity.prune_lowest(net, fraction=0.2)
    7
    >>> ng.sparsity.prune_lowest(net, scope="neuron", count=1)
    8
    """
    connections = net.connections
    return net.prune(connections[choose(net, connections, score, fraction, scope, count=count, block=block)])


def choose(
    net: Network,
    connections: Connections,
    score: Any,
    fraction: float,
    scope: str,
    *,
    count: int | None = None,
    block: int = 16,
) -> np.ndarray:
    """Indices of the connections that `prune_lowest` would remove; parameters and errors as there.

    Returns
    -------
    ndarray of int
        Indices into `connections`, ascending.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([2, 2], weight=np.array([0.3, 0.1, 0.4, 0.2]))
    >>> choose(net, net.connections, "magnitude", 0.5, "global")
    array([1, 3])
    """
    if scope not in SCOPES:
        raise UnknownNameError(f"There is no scope {scope!r}. Known scopes: {', '.join(SCOPES)}.")
    if count is None:
        checks.fraction("fraction", fraction)
    else:
        checks.whole("count", count, 0)
    checks.whole("block", block, 1)

    scores, ids = evaluate(score, connections, net.rng), connections.id
    if scope == "global":
        return lowest(scores, ids, _count(len(scores), fraction, count))
    if scope == "block":
        _, square = np.unique(_squares(net, connections, block), return_inverse=True)
        sums = np.bincount(square, weights=scores)
        removed = np.zeros(len(sums), bool)
        removed[lowest(sums, np.arange(len(sums)), _count(len(sums), fraction, count))] = True
        return np.flatnonzero(removed[square])
    key = connections.target if scope == "neuron" else home_pairs(connections)
    _, region, sizes = np.unique(key, return_inverse=True, return_counts=True)
    counts = np.array([_count(size, fraction, count) for size in sizes.tolist()], dtype=np.int64)
    return lowest_in_regions(scores, ids, region, counts)


def home_pairs(connections: Connections) -> np.ndarray:
    """One integer for the pair of homes of each connection: the source's in the high half, the target's in the low.

    Examples
    --------
    >>> import neurograph as ng
    >>> home_pairs(ng.topologies.layered([1, 1, 1]).connections) >> 32
    array([0, 1])
    """
    return (connections.source_home.astype(np.int64) << 32) | connections.target_home


def _count(size: int, fraction: float, count: int | None) -> int:
    return round(float(fraction) * size) if count is None else min(count, size)


def _squares(net: Network, connections: Connections, block: int) -> np.ndarray:
    """One integer for the (source home, target home, row, column) of the square in which each connection lies."""
    source, target = connections.source, connections.target
    row = np.zeros(1 + max(source.max(initial=0), target.max(initial=0)), dtype=np.int64)
    for home in net.homes:
        members = home.ids[home.ids < len(row)]
        row[members] = np.arange(len(members)) // block
    # The widest home has fewer rows than there are ids, so mixed radix numbers do not collide.
    rows = row.max() + 1
    _, pair = np.unique(home_pairs(connections), return_inverse=True)
    return (pair * rows + row[source]) * rows + row[target]
