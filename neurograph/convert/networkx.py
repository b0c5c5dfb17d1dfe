"""networkx graphs to networks and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import integers, require
from ..errors import InvalidValueError
from ..network import Network
from .assemble import assemble, numbers, one_of

if TYPE_CHECKING:
    import networkx


def from_networkx(
    G: networkx.Graph,
    inputs: Iterable[Any],
    outputs: Iterable[Any],
    activation: Any = "relu",
    output_activation: Any = "identity",
    weight: Any = "he",
    on_cycle: str = "error",
    on_input: str = "error",
    undirected: str = "error",
    seed: int = 0,
    dtype: Any = "float32",
    backend: str = "auto",
) -> Network:
    """Make a network of a networkx graph of any kind.

    Node attributes ``bias``, ``activation``, ``aggregation`` and ``time_constant`` and edge attributes ``weight``,
    ``delay`` and ``frozen`` are used where they are given; the arguments stand in where they are not. Neurons get
    ascending ids: the inputs in the order given, then all other nodes in the graph's order; `Network.groups` holds
    "inputs" and "outputs". A neuron is named by its node's attribute ``name``, or by the node itself if that is a
    string.

    Parameters
    ----------
    G : networkx.DiGraph, MultiDiGraph, Graph or MultiGraph
        Parallel edges must differ in ``delay``.
    inputs, outputs : iterable of nodes
        Columns of X and of the prediction, in this order.
    activation, output_activation, weight : optional
        For nodes and edges without the attribute.
    on_cycle : {"error", "delay", "all"}
        Edges without delay that close cycles: refuse and name one cycle; give a small set of feedback edges delay 1
        (found by `neurograph.wiring.feedback_connections`); or give every edge at least delay 1, as in a brain.
    on_input : {"error", "feed", "drop"}
        Inputs hold X and take no connections. Where edges lead into them: refuse; give every input an input neuron of
        its own that feeds it through a frozen connection of weight 1, so that the node keeps all its edges (the nodes
        are the group "fed"); or leave those edges out.
    undirected : {"error", "order", "both"}
        For an undirected graph: refuse it; direct each edge from the earlier node to the later (inputs stand before all
        others and outputs after them, otherwise in the graph's order), which closes no cycle; or make two connections
        of each edge, one in each direction.
    seed, dtype, backend : optional
        As in `Network`.

    Returns
    -------
    Network

    Raises
    ------
    InvalidValueError
        If the graph is undirected, a node in ``inputs`` or ``outputs`` is not in it, an attribute is no number, or
        edges lead into an input, unless the arguments say what to do.
    CycleError, DuplicateConnectionError
        If the edges without delay close a cycle, or two of them are the same.

    Examples
    --------
    >>> import networkx as nx
    >>> G = nx.DiGraph([("a", "h"), ("h", "b"), ("a", "b")])
    >>> net = from_networkx(G, inputs=["a"], outputs=["b"], weight=0.5)
    >>> net.predict([[2.0]]).tolist()
    [[1.5]]
    >>> net.neuron("h").fan_in
    1
    >>> G.add_edge("b", "h")
    >>> net = from_networkx(G, inputs=["a"], outputs=["b"], on_cycle="delay")
    >>> net.connections.delay.tolist()
    [0, 0, 0, 1]
    """
    one_of("undirected", undirected, ("error", "order", "both"))
    if not G.is_directed() and undirected == "error":
        raise InvalidValueError(
            'the graph is undirected; say undirected="order" to direct each edge from the earlier node to the later, '
            'or undirected="both" to make two connections of it (with on_cycle="delay" or "all")'
        )
    inputs, outputs = list(inputs), list(outputs)
    for what, nodes in (("inputs", inputs), ("outputs", outputs)):
        for node in nodes:
            require(node in G, f"node {node!r} in {what} is not in the graph; inputs and outputs must be nodes of it")
    is_input, is_output = set(inputs), set(outputs)
    order = [*dict.fromkeys(inputs), *(node for node in G if node not in is_input)]
    index = {node: i for i, node in enumerate(order)}
    data = [G.nodes[node] for node in order]
    columns: dict[str, Any] = {
        "activation": [
            attributes.get("activation", output_activation if node in is_output else activation)
            for node, attributes in zip(order, data, strict=True)
        ],
        "aggregation": [attributes.get("aggregation", "sum") for attributes in data],
        "bias": _attribute(data, "bias", 0.0, lambda i: f"node {order[i]!r}"),
        "time_constant": _attribute(data, "time_constant", 1.0, lambda i: f"node {order[i]!r}"),
    }
    names = [_name_of(node, attributes) for node, attributes in zip(order, data, strict=True)]

    edges = list(G.edges(data=True))
    ends = np.array([(index[u], index[v]) for u, v, _ in edges], np.int64).reshape(-1, 2)
    attributes = [found for *_, found in edges]
    drawn = np.array(["weight" not in found for found in attributes], bool)
    weights = _attribute(attributes, "weight", 0.0, lambda i: f"edge {edges[i][0]!r} -> {edges[i][1]!r}")
    delays = _attribute(attributes, "delay", 0, lambda i: f"edge {edges[i][0]!r} -> {edges[i][1]!r}")
    frozen = np.array([bool(found.get("frozen", False)) for found in attributes], bool)
    if not G.is_directed():
        place = np.arange(len(order))
        place[[index[node] for node in outputs if node not in is_input]] += len(order)
        backwards = place[ends[:, 0]] > place[ends[:, 1]]
        if undirected == "order":
            ends[backwards] = ends[backwards, ::-1]
        else:
            twice = np.concatenate([np.arange(len(ends)), np.flatnonzero(ends[:, 0] != ends[:, 1])])
            ends = np.concatenate([ends, ends[ends[:, 0] != ends[:, 1], ::-1]])
            drawn, weights, delays, frozen = drawn[twice], weights[twice], delays[twice], frozen[twice]
    return assemble(
        len(order),
        ends[:, 0],
        ends[:, 1],
        np.array([index[node] for node in inputs], np.int64),
        np.array([index[node] for node in outputs], np.int64),
        weight=weights,
        drawn=drawn,
        delay=integers(delays, "delay"),
        frozen=frozen,
        initializer=weight,
        columns=columns,
        labels=order,
        names=names,
        on_cycle=on_cycle,
        on_input=on_input,
        seed=seed,
        dtype=dtype,
        backend=backend,
    )


def _name_of(node: Any, attributes: dict[str, Any]) -> str | None:
    name = attributes.get("name", node)
    return name if isinstance(name, str) and name else None


def _attribute(data: list[dict[str, Any]], name: str, default: float, at: Callable[[int], str]) -> np.ndarray:
    return numbers([attributes.get(name, default) for attributes in data], name, at)


def to_networkx(net: Network) -> networkx.MultiDiGraph | networkx.DiGraph:
    """A network as a networkx graph, which `from_networkx` reads back.

    Nodes are neuron ids with ``bias``, ``activation``, ``aggregation``, ``input`` and ``output``, ``name`` where the
    neuron has one and ``time_constant`` where it is not 1; edges have ``weight`` and ``delay``, and ``frozen`` where
    that is so. Which connections share a parameter is not kept. The graph is a `DiGraph`, or a `MultiDiGraph` where
    some pair has several delays. Its attributes ``G.graph["inputs"]`` and ``G.graph["outputs"]`` list the ids in
    column order.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([2, 3, 1])
    >>> G = to_networkx(net)
    >>> G.number_of_edges(), G.graph["inputs"]
    (9, [0, 1])
    """
    import networkx

    neurons, conns = net.neurons, net.connections
    ends = np.stack([conns.source, conns.target], axis=1)
    several = len(np.unique(ends, axis=0)) < len(ends)
    inputs, outputs = net.inputs.ids.tolist(), net.outputs.ids.tolist()
    G = (networkx.MultiDiGraph if several else networkx.DiGraph)(inputs=inputs, outputs=outputs)
    columns = (neurons.ids.tolist(), neurons.names, neurons.bias.tolist(), neurons.activation, neurons.aggregation)
    taus = neurons.time_constant.tolist()
    is_input, is_output = set(inputs), set(outputs)
    for id, name, bias, activation, aggregation, tau in zip(*columns, taus, strict=True):
        attributes = {} if id in is_input else {"bias": bias, "activation": activation, "aggregation": aggregation}
        if name is not None:
            attributes["name"] = name
        if tau != 1:
            attributes["time_constant"] = tau
        G.add_node(id, **attributes, input=id in is_input, output=id in is_output)
    edges = (conns.source, conns.target, conns.weight, conns.delay, conns.frozen)
    G.add_edges_from(
        (u, v, {"weight": w, "delay": d, **({"frozen": True} if frozen else {})})
        for u, v, w, d, frozen in zip(*(column.tolist() for column in edges), strict=True)
    )
    return G
