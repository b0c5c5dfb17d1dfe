"""What pruning must not do unseen: take the last connection of two layers, or cut an output off from the inputs."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from ..errors import EmptyLayerWarning, InvalidValueError

if TYPE_CHECKING:
    from ..graph import Connections
    from ..network import Network

__all__ = ["check_removal", "remove"]

SAMPLE = 2**15  # connections among which one of every pair of homes is looked for first
MANY = 8  # pairs that a warning names


def remove(net: Network, doomed: Connections, allow_disconnected: bool = False) -> int:
    """Remove connections unless that cuts an output off from the inputs; every method that prunes removes by this.

    Parameters
    ----------
    net : Network
        The network to prune.
    doomed : Connections
        Connections of it.
    allow_disconnected : bool
        True removes them all the same.

    Returns
    -------
    int
        How many connections were removed.

    Warns
    -----
    EmptyLayerWarning
        Two homes that were connected are not any more. If warnings are errors, nothing has been removed.

    Raises
    ------
    InvalidValueError
        Outputs that an input reached would be reached no more. Nothing has been removed then.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([2, 3, 2], seed=0)
    >>> ng.sparsity.remove(net, net.groups["hidden 1"][:2].outgoing)
    4
    >>> ng.sparsity.remove(net, net.groups["outputs"][1].inputs)
    Traceback (most recent call last):
    neurograph.errors.InvalidValueError: pruning would cut 1 output off from all inputs: neuron 6. Prune less, use
    scope="neuron" or a score that spares their last connections, or allow it by allow_disconnected=True
    """
    check_removal(net, doomed, allow_disconnected)
    return net.prune(doomed)


def check_removal(
    net: Network, doomed: Connections, allow_disconnected: bool = False, more: Connections | None = None
) -> None:
    """Refuse, or warn of, what `remove` would; parameters, warnings and errors as there, ``more`` goes as well.

    Time and memory are linear in the number of connections, and mostly far below what removing them takes: as long as
    every neuron that has inputs keeps one, nothing can be cut off in a network without delays where all that has none
    is an input, and as long as a sample of what is left has connections of every pair of homes, no pair is empty.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([2, 2], seed=0)
    >>> check_removal(net, net.connections[:1])
    """
    parts = [part for part in (doomed, more) if part is not None and len(part)]
    if not parts:
        return
    if not allow_disconnected and _may_disconnect(net, parts):
        _refuse_disconnected(net, parts)
    _warn_of_empty(net, parts)


def _left(connections: Connections, parts: list[Connections]) -> Connections:
    """Those connections that are in none of the parts."""
    slots = connections.slots
    gone = np.zeros(1 + int(slots.max(initial=0)), bool)
    for part in parts:
        doomed = part.slots
        gone[doomed[doomed < len(gone)]] = True
    return connections[~gone[slots]]


def _may_disconnect(net: Network, parts: list[Connections]) -> bool:
    """Whether paths have to be searched; False is certain."""
    neurons = net.neurons
    ids, fan_in = neurons.ids, neurons.fan_in
    size = 1 + int(ids.max(initial=0))
    lost = np.sum([np.bincount(part.target, minlength=size) for part in parts], axis=0)[ids]
    if net.remembers or ((fan_in > 0) & (fan_in <= lost)).any():
        return True
    # A neuron without inputs keeps its targets fed, though no input reaches them.
    from_nowhere = (fan_in == 0) & (neurons.fan_out > 0)
    return bool(np.count_nonzero(from_nowhere) > np.count_nonzero(from_nowhere & np.isin(ids, net.inputs.ids)))


def _refuse_disconnected(net: Network, parts: list[Connections]) -> None:
    everything, outputs = net.connections_as_stored, net.outputs.ids
    lost = outputs[~_reached(net, _left(everything, parts))[outputs]]
    if len(lost):
        lost = lost[_reached(net, everything)[lost]]
    if len(lost):
        named = ", ".join(map(str, lost[:8].tolist())) + (", ..." if len(lost) > 8 else "")
        plural = "s" if len(lost) > 1 else ""
        raise InvalidValueError(
            f"pruning would cut {len(lost)} output{plural} off from all inputs: neuron{plural} {named}. Prune less, "
            'use scope="neuron" or a score that spares their last connections, or allow it by allow_disconnected=True'
        )


def _reached(net: Network, connections: Connections) -> np.ndarray:
    """Which neurons, by id, have a path of these connections from an input, whatever the delays."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order

    inputs = net.inputs.ids
    start = 1 + int(net.neurons.ids.max(initial=0))  # one more vertex, which leads to all inputs
    ends = (
        np.concatenate([connections.source, np.full(len(inputs), start)]),
        np.concatenate([connections.target, inputs]),
    )
    graph = csr_array((np.ones(len(ends[0]), np.float32), ends), shape=(start + 1, start + 1))
    reached = np.zeros(start + 1, bool)
    reached[breadth_first_order(graph, start, directed=True, return_predecessors=False)] = True
    return reached[:start]


def _warn_of_empty(net: Network, parts: list[Connections]) -> None:
    pairs = {pair for part in parts for pair in _pairs(part)}
    everything = net.connections_as_stored
    for stride in (1 + len(everything) // SAMPLE, 1):
        pairs -= _pairs(_left(everything[::stride], parts))
        if not pairs:
            return
    homes = net.homes
    named = [f"{_name(net, homes[source].ids)} -> {_name(net, homes[target].ids)}" for source, target in sorted(pairs)]
    more = f" and of {len(named) - MANY} other pairs" if len(named) > MANY else ""
    warnings.warn(
        f"pruning takes the last connections of {'; '.join(named[:MANY])}{more}", EmptyLayerWarning, stacklevel=4
    )


def _pairs(connections: Connections) -> set[tuple[int, int]]:
    """The pairs of homes that these connect."""
    return {(source, target) for source, target, _ in connections.regions()[0].tolist()}


def _name(net: Network, ids: np.ndarray) -> str:
    """What a home is called: its group's name, or its neurons."""
    for name, group in net.groups.items():
        if len(group) == len(ids) and (np.sort(group.ids) == ids).all():
            return repr(name)
    return f"neurons {ids[0]} to {ids[-1]}" if len(ids) > 1 else f"neuron {ids[0]}"
