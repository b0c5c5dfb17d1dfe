"""Many networks side by side in one: one plan, one pass, one update for all of them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .checks import require
from .errors import InvalidValueError
from .graph.graph import INPUT, Graph
from .graph.sharing import Sharing
from .graph.views import Group
from .network import Network


def union(
    networks: Iterable[Network],
    share_inputs: bool = False,
    share_parameters: bool = False,
    average: bool = False,
    seed: int = 0,
) -> Network:
    """Put networks side by side, so that a thousand small ones run and train as one.

    The parts are copied, with weights, optimizer state, delays and what each shares within itself; the originals stay
    as they are, and one network may occur many times. Inputs and outputs are concatenated in order. The group
    ``"part k"`` holds the neurons of the k-th network, shared inputs aside, and its named groups become
    ``"part k: name"``.

    Parameters
    ----------
    networks : iterable of Network
        At least one; all of one dtype.
    share_inputs : bool
        All parts read the same inputs, X has the columns of one part; their numbers must agree.
    share_parameters : bool
        Corresponding connections and biases, in the order of their ids, share a parameter; the parts must have equally
        many of both.
    average : bool
        Shared parameters start from the mean of values that differ, instead of refusing them.
    seed : int
        Of the union.

    Returns
    -------
    Network
        On the backend of the first part.

    Raises
    ------
    InvalidValueError
        If the parts do not fit together.

    Examples
    --------
    >>> import neurograph as ng
    >>> parts = [ng.topologies.layered([2, 3, 1], seed=k) for k in range(100)]
    >>> big = ng.union(parts, share_inputs=True)
    >>> big, big.schedule.depth
    (<Network: 402 neurons, 900 connections, 2 inputs, 100 outputs>, 3)
    >>> bool((big.predict([[1.0, 2.0]])[0, 7] == parts[7].predict([[1.0, 2.0]])[0, 0]))
    True
    """
    parts = list(networks)
    for part in parts:
        require(isinstance(part, Network), f"union takes networks, not {type(part).__name__}")
    require(parts, "union of no networks; give at least one")
    dtypes = {part.dtype.name for part in parts}
    require(len(dtypes) == 1, f"the networks are of {' and '.join(sorted(dtypes))}; make all of one dtype")
    if share_inputs:
        _require_equal("inputs", [part.n_inputs for part in parts], "share_inputs")
    if share_parameters:
        _require_equal("connections", [part.n_connections for part in parts], "share_parameters")
        _require_equal("neurons beside the inputs", [p.n_neurons - p.n_inputs for p in parts], "share_parameters")
    net = Network(seed, parts[0].dtype, parts[0].backend_name, parts[0].precision)
    graph, graphs = net.graph, [part.graph for part in parts]

    # Neurons: part after part, each in the order of its ids; shared inputs are those of the first part.
    live = [g.neurons.live_by_id() for g in graphs]
    new_slot = [np.full(g.neurons.size, -1, np.int64) for g in graphs]
    taken, count = [], 0
    for k, (g, slots, numbers) in enumerate(zip(graphs, live, new_slot, strict=True)):
        if share_inputs and k:
            slots = slots[g.neurons["kind"][slots] != INPUT]
            numbers[g.inputs] = new_slot[0][graphs[0].inputs]
        numbers[slots] = np.arange(count, count + len(slots))
        count += len(slots)
        taken.append(slots)
    homes = np.cumsum([0, *(g.n_homes for g in graphs)])
    slots = graph.add_neurons(count)
    renamed = [g.neurons["home"][t] + first for g, t, first in zip(graphs, taken, homes[:-1], strict=True)]
    graph.neurons["home"][slots] = np.concatenate(renamed)
    graph.n_homes = int(homes[-1])
    _copy_columns(graph.biases, [g.biases for g in graphs], slots, taken, ("home",))
    inputs = [numbers[g.inputs] for g, numbers in zip(graphs, new_slot, strict=True)]
    graph.inputs = inputs[0] if share_inputs else np.concatenate(inputs)
    outputs = np.concatenate([numbers[g.outputs] for g, numbers in zip(graphs, new_slot, strict=True)])
    graph.mark_outputs(outputs)
    if len(graph.outputs) < len(outputs):
        raise InvalidValueError(
            "an input that is an output too would be one column for all parts; leave share_inputs out"
        )

    # Connections, likewise.
    conns = [g.connections.live_by_id() for g in graphs]
    source, target = [
        np.concatenate([numbers[g.connections[end][c]] for g, numbers, c in zip(graphs, new_slot, conns, strict=True)])
        for end in ("source", "target")
    ]
    delay = np.concatenate([g.connections.read("delay")[c] for g, c in zip(graphs, conns, strict=True)])
    new = graph.connect(source, target, delay)
    skip = ("source", "target", "delay", "source_place", "target_place")
    _copy_columns(graph.weights, [g.weights for g in graphs], new, conns, skip)

    _tie(graph.weights, [g.weights for g in graphs], new, conns, share_parameters, average)
    movable = [t[g.neurons["kind"][t] != INPUT] for g, t in zip(graphs, taken, strict=True)]
    new_movable = np.concatenate([numbers[m] for numbers, m in zip(new_slot, movable, strict=True)])
    _tie(graph.biases, [g.biases for g in graphs], new_movable, movable, share_parameters, average)
    for part in parts:
        for name, value in part.counters.items():
            net.counters[name] = max(value, net.counters.get(name, 0))
    _keep_groups(net, parts, graphs, new_slot, taken)
    return net


def _require_equal(what: str, counts: list[int], argument: str) -> None:
    require(
        len(set(counts)) == 1,
        f"the networks have {min(counts)} to {max(counts)} {what}; leave {argument} out, or unite equals only",
    )


def _copy_columns(
    new: Sharing, old: list[Sharing], slots: np.ndarray, taken: list[np.ndarray], skip: tuple[str, ...]
) -> None:
    """Copy every column but those that say where things stand; what is shared is read through."""
    names = dict.fromkeys(name for sharing in old for name in (*sharing.structure, *sharing.trained))
    for name in names:
        if name in ("id", "parameter", *skip):
            continue
        values = np.concatenate(
            [  # a gradient is each tenant's own share, as a pass left it
                sharing.tenants.read(name)[t] if name == sharing.grad else sharing.read(name, t)
                for sharing, t in zip(old, taken, strict=True)
            ]
        )
        new.tenants.add_column(name, values.dtype)[slots] = values


def _tie(
    new: Sharing, old: list[Sharing], slots: np.ndarray, taken: list[np.ndarray], across: bool, average: bool
) -> None:
    """Share inside each part what is shared there and, if asked, what corresponds across the parts."""
    if across:
        groups = [np.unique(sharing.numbers(t), return_inverse=True)[1] for sharing, t in zip(old, taken, strict=True)]
        require(
            all(np.array_equal(group, groups[0]) for group in groups),
            "the networks share parameters within themselves in different ways; leave share_parameters out",
        )
        if len(slots):
            new.tie(slots, np.concatenate(groups), average)
        return
    rows = [sharing.rows(t) for sharing, t in zip(old, taken, strict=True)]
    offsets = np.cumsum([0, *(sharing.table.size for sharing in old)])
    labels = np.concatenate([np.where(r >= 0, r + offset, -1) for r, offset in zip(rows, offsets[:-1], strict=True)])
    if (labels >= 0).any():
        new.tie(slots[labels >= 0], labels[labels >= 0])


def _keep_groups(
    net: Network, parts: list[Network], graphs: list[Graph], new_slot: list[np.ndarray], taken: list[np.ndarray]
) -> None:
    id_of = net.graph.neurons["id"]
    for k, (part, graph, numbers, slots) in enumerate(zip(parts, graphs, new_slot, taken, strict=True)):
        net.keep_group(Group(net, id_of[numbers[slots]], f"part {k}"))
        for name, group in part.groups.items():
            net.keep_group(Group(net, id_of[numbers[graph.slots_of(group.ids)]], f"part {k}: {name}", group.shape))
