"""What a recipe that keeps a value for each connection may work on."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InvalidValueError

if TYPE_CHECKING:
    from ..graph import Connections
    from ..network import Network

__all__ = ["loose_connections", "prune_known"]


def loose_connections(net: Network, name: str) -> Connections:
    """The connections that a recipe may change: all but the frozen ones, as they lie in the tables.

    Parameters
    ----------
    net : Network
    name : str
        Of the recipe, for the message.

    Raises
    ------
    InvalidValueError
        Connections share parameters, so that a value for each connection means nothing.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([2, 3, 1], seed=0)
    >>> net.connections[:2].frozen = True
    >>> len(loose_connections(net, "DropBack"))
    7
    """
    connections = net.connections_as_stored
    loose = connections[~connections.frozen]
    if len(np.unique(loose.parameter)) < len(loose):
        raise InvalidValueError(
            f"{name} keeps a value for each connection, but connections of this network share parameters; "
            "`net.untie` them first"
        )
    return loose


def prune_known(net: Network, doomed: Connections, name: str) -> int:
    """Remove connections; warn where nothing is left between two groups of neurons, refuse to cut all outputs off.

    Parameters
    ----------
    net : Network
    doomed : Connections
    name : str
        Of the recipe, for the messages.

    Returns
    -------
    int
        How many were removed.

    Raises
    ------
    InvalidValueError
        No output would have a connection left; nothing has been removed then.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([2, 3, 1], seed=0)
    >>> prune_known(net, net.connections[:2], "DropBack")
    2
    >>> prune_known(net, net.connections, "DropBack")
    Traceback (most recent call last):
    neurograph.errors.InvalidValueError: DropBack would remove the last connections into the outputs; prune less
    """
    if not len(doomed):
        return 0
    into = net.outputs.incoming
    if len(into) and np.isin(into.id, doomed.id).all():
        raise InvalidValueError(f"{name} would remove the last connections into the outputs; prune less")
    before = {tuple(region) for region in doomed.regions()[0].tolist()}
    removed = net.prune(doomed)
    emptied = sorted(before - {tuple(region) for region in net.connections_as_stored.regions()[0].tolist()})
    if emptied:
        pairs = ", ".join(f"{_called(net, source)} to {_called(net, target)}" for source, target, _ in emptied)
        warnings.warn(f"{name} removed every connection from {pairs}; prune less there", stacklevel=3)
    return removed


def _called(net: Network, home: int) -> str:
    """What to call the neurons of a home: the name of the group that they are, or the home's number."""
    ids = set(net.homes[home].ids.tolist())
    return next((repr(name) for name, group in net.groups.items() if set(group.ids.tolist()) == ids), f"home {home}")
