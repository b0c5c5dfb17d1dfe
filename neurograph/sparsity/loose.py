"""What a recipe that keeps a value for each connection may work on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import InvalidValueError

if TYPE_CHECKING:
    from ..graph import Connections
    from ..network import Network

__all__ = ["loose_connections"]


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
