"""Blocks: squares of neighbouring sources and neighbouring targets, and an order of the neurons that fills them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks
from .scores import evaluate

if TYPE_CHECKING:
    from ..graph import Connections
    from ..network import Network

__all__ = ["block_order", "squares"]

TABLE = 4  # cells of a table of all squares for each connection, up to which counting in one is faster than sorting
PASSES = 3  # that find a group: the first asks who is like one neuron, the others who is like the group


def squares(net: Network, connections: Connections, block: int) -> np.ndarray:
    """Number of the square in which each connection lies: `block` neighbouring sources by `block` neighbouring targets.

    Who are neighbours is what `net.block_places` says. Where a layer ends squares are smaller. Squares that hold a
    connection are numbered by their sources, then by their targets.

    Returns
    -------
    ndarray of int, one for each connection
        From 0 on, without gaps.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([3, 4], seed=0)
    >>> square = squares(net, net.connections, 2)
    >>> square[net.connections.source == 2]
    array([2, 2, 3, 3])
    >>> np.bincount(square)
    array([4, 4, 2, 2])
    """
    ids = net.neurons.ids
    places = np.zeros(int(ids.max(initial=-1)) + 1, np.int64)
    places[ids] = net.block_places // block
    groups = 0
    for home in net.homes:
        if len(home):
            places[home.ids] += groups
            groups = int(places[home.ids].max()) + 1
    code = places[connections.source] * groups + places[connections.target]
    if groups**2 > TABLE * len(code):
        return np.unique(code, return_inverse=True)[1]
    used = np.zeros(groups**2, bool)
    used[code] = True
    return (np.cumsum(used) - 1)[code]


def block_order(net: Network, block: int = 16, score: Any = "magnitude", rounds: int = 2) -> np.ndarray:
    """An order of the neurons in which those that are connected alike are neighbours, so that blocks are fuller.

    Rows of a matrix are put into groups by the cosine of the angle between them, as Saad (2003) does, "Finding exact
    and approximate block structures for ILU preconditioning", SIAM J. Sci. Comput. 24, 1107, section 3.2: the neuron
    with the largest scores left opens a group, and the neurons most alike to it, and then to the group, join until it
    has `block` members. A neuron's row has the scores of its connections, incoming and outgoing. In later rounds they
    are summed over the groups at the far ends, so that both ends of a block are found together.

    Parameters
    ----------
    net : Network
    block : int
        Neurons a group.
    score : str, function or array
        What makes a connection worth keeping, as in `prune_lowest`; below 0 counts as 0. Equal scores for all, such as
        ``np.ones(net.n_connections)``, ask only who is connected.
    rounds : int
        How often all neurons are put into groups.

    Returns
    -------
    ndarray of int
        Ids of all neurons, home after home: to be handed to `Network.order_blocks`.

    Raises
    ------
    InvalidValueError
        Block or rounds are no whole numbers of at least 1, or the scores are not finite or of the wrong shape.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.Network(seed=0)
    >>> x, y = net.add_inputs(4), net.add_outputs(4)
    >>> odd, even = [1, 3], [0, 2]
    >>> _ = net.connect(x[odd], y[even]), net.connect(x[even], y[odd])
    >>> block_order(net, block=2, score=np.ones(8))
    array([0, 2, 1, 3, 4, 6, 5, 7])
    >>> net.order_blocks(block_order(net, block=2, score=np.ones(8)))
    >>> len(np.unique(squares(net, net.connections, 2)))      # eight connections fill two squares
    2
    """
    checks.whole("block", block, 1)
    checks.whole("rounds", rounds, 1)
    from scipy import sparse

    connections, ids = net.connections, net.neurons.ids
    weight = np.maximum(evaluate(score, connections, net.rng), 0.0).astype(float)
    number = np.zeros(int(ids.max(initial=-1)) + 1, np.int64)
    number[ids] = np.arange(len(ids))
    source, target = number[connections.source], number[connections.target]
    homes = [number[home.ids] for home in net.homes if len(home)]
    group = np.arange(len(ids))  # of each neuron
    order = homes
    for _ in range(rounds):
        ends, features = np.concatenate([source, target]), np.concatenate([group[target], len(ids) + group[source]])
        matrix = sparse.csr_matrix((np.tile(weight, 2), (ends, features)), shape=(len(ids), 2 * len(ids)))
        order, groups = [members[_alike(matrix[members], block)] for members in homes], 0
        for ordered in order:
            group[ordered] = groups + np.arange(len(ordered)) // block
            groups += -(-len(ordered) // block)
    return ids[np.concatenate(order)] if order else ids


def _alike(rows: Any, block: int) -> np.ndarray:
    """Put rows of a sparse matrix into groups of ``block``, group after group; within each they keep their order."""
    norm = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    scale = np.divide(1.0, norm, out=np.zeros_like(norm), where=norm > 0)
    left, free, groups = np.arange(rows.shape[0]), np.ones(rows.shape[0], bool), []
    for _ in range(0, len(left) - block, block):
        if 2 * free.sum() < len(left):  # copying the rest each time would cost more than passing over the others
            left, rows, norm, scale, free = left[free], rows[free], norm[free], scale[free], free[free]
        chosen = np.array([np.argmax(np.where(free, norm, -1))])
        for _ in range(PASSES):
            cosine = (rows @ (rows[chosen].T @ scale[chosen])) * scale
            chosen = np.sort(np.argsort(np.where(free, -cosine, 1), kind="stable")[:block])
        groups.append(left[chosen])
        free[chosen] = False
    return np.concatenate([*groups, left[free]])
