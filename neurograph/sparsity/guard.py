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

    Time and memory are linear in the number of connections. As long as every neuron that has inputs keeps one, nothing
    can be cut off in a network without delays where all that has none is an input: then paths are not searched.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([2, 2], seed=0)
    >>> check_removal(net, net.connections[:1])
    """
    ids = doomed.id if more is None else np.concatenate([doomed.id, more.id])
    if not len(ids):
        return
    everything = net.connections_as_stored
    gone = _among(everything.id, ids)
    if not allow_disconnected:
        _refuse_disconnected(net, everything, gone)
    _warn_of_empty(net, everything, gone)


def _among(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Which of ``ids`` are ``wanted``: a table is several times faster than sorting."""
    lowest, highest = int(wanted.min()), int(wanted.max())
    if highest - lowest > 16 * len(ids):
        return np.isin(ids, wanted)
    table = np.zeros(highest - lowest + 2, bool)  # the last entry, False, stands for all ids outside
    table[wanted - lowest] = True
    outside = (ids < lowest) | (ids > highest)
    return table[np.where(outside, len(table) - 1, ids - lowest)]


def _refuse_disconnected(net: Network, everything: Connections, gone: np.ndarray) -> None:
    source, target = everything.source, everything.target
    size = 1 + max(int(ids.max(initial=0)) for ids in (source, target, net.inputs.ids, net.outputs.ids))
    before = np.bincount(target, minlength=size) > 0
    after = np.bincount(target[~gone], minlength=size) > 0
    starved = (before & ~after).any()
    feeds = np.zeros(size, bool)
    feeds[source] = True
    feeds[net.inputs.ids] = False
    from_nowhere = (feeds & ~before).any()  # such a neuron keeps its targets fed, but no input reaches them
    if not starved and not from_nowhere and not net.remembers:
        return
    outputs = net.outputs.ids
    reached = _reached(source[~gone], target[~gone], net.inputs.ids, size)
    lost = outputs[~reached[outputs]]
    if len(lost):
        lost = lost[_reached(source, target, net.inputs.ids, size)[lost]]
    if len(lost):
        named = ", ".join(map(str, lost[:8].tolist())) + (", ..." if len(lost) > 8 else "")
        raise InvalidValueError(
            f"pruning would cut {len(lost)} output{'s' * (len(lost) > 1)} off from all inputs: "
            f'neuron{"s" * (len(lost) > 1)} {named}. Prune less, use scope="neuron" or a score that spares their last '
            "connections, or allow it by allow_disconnected=True"
        )


def _reached(source: np.ndarray, target: np.ndarray, inputs: np.ndarray, size: int) -> np.ndarray:
    """Which neurons have a path from an input, whatever the delays."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order

    start = size  # one more vertex, which leads to all inputs
    ends = np.concatenate([source, np.full(len(inputs), start)]), np.concatenate([target, inputs])
    graph = csr_array((np.ones(len(ends[0]), np.float32), ends), shape=(size + 1, size + 1))
    reached = np.zeros(size + 1, bool)
    reached[breadth_first_order(graph, start, directed=True, return_predecessors=False)] = True
    return reached[:size]


def _warn_of_empty(net: Network, everything: Connections, gone: np.ndarray) -> None:
    regions, number = everything.regions()
    left = np.bincount(number[~gone], minlength=len(regions)) > 0
    pairs = dict.fromkeys((source, target) for source, target, _ in regions[~left].tolist())
    kept = {(source, target) for source, target, _ in regions[left].tolist()}
    empty = [pair for pair in pairs if pair not in kept]
    if not empty:
        return
    homes = net.homes
    named = "; ".join(f"{_name(net, homes[s].ids)} -> {_name(net, homes[t].ids)}" for s, t in empty[:8])
    more = f" and {len(empty) - 8} other pairs" if len(empty) > 8 else ""
    warnings.warn(f"pruning takes the last connections of {named}{more}", EmptyLayerWarning, stacklevel=4)


def _name(net: Network, ids: np.ndarray) -> str:
    """What a home is called: its group's name, or its neurons."""
    for name, group in net.groups.items():
        if len(group) == len(ids) and (np.sort(group.ids) == ids).all():
            return repr(name)
    return f"neurons {ids[0]} to {ids[-1]}" if len(ids) > 1 else f"neuron {ids[0]}"
