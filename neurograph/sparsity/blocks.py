"""Blocks: squares of neighbouring sources and neighbouring targets, and an order of the neurons that fills them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..graph import Connections
    from ..network import Network

__all__ = ["block_order", "squares"]

TABLE = 4  # cells of a table of all squares for each connection, up to which counting in one is faster than sorting
LARGEST = 2**25  # cells of the table that similarities are counted in


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
    >>> squares(net, net.connections, 2)
    array([0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3])
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
