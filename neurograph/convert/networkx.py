"""networkx graphs to networks and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import require
from ..network import Network

if TYPE_CHECKING:
    import networkx


def from_networkx(
    G: networkx.DiGraph,
    inputs: Iterable[Any],
    outputs: Iterable[Any],
    activation: Any = "relu",
    output_activation: Any = "identity",
    weight: Any = "he",
    seed: int = 0,
    dtype: Any = "float32",
    backend: str = "auto",
) -> Network:
    """Make a network of a directed networkx graph.

    Node attributes ``bias``, ``activation`` and ``aggregation`` and edge attributes ``weight`` and ``delay`` are used
    where they are given; the arguments stand in where they are not. Neurons get ascending ids: the inputs in the order
    given, then all other nodes in the graph's order; `Network.groups` holds "inputs" and "outputs".

    Parameters
    ----------
    G : networkx.DiGraph or networkx.MultiDiGraph
        Parallel edges must differ in ``delay``.
    inputs, outputs : iterable of nodes
        Columns of X and of the prediction, in this order. Inputs must have no incoming edges.
    activation, output_activation, weight : optional
        For nodes and edges without the attribute.
    seed, dtype, backend : optional
        As in `Network`.

    Returns
    -------
    Network

    Raises
    ------
    InvalidValueError
        If the graph is undirected, or a node in ``inputs`` or ``outputs`` is not in it.
    CycleError, DuplicateConnectionError
        If the edges without delay close a cycle, or two of them are the same.

    Examples
    --------
    >>> import networkx as nx
    >>> G = nx.DiGraph([("a", "h"), ("h", "b"), ("a", "b")])
    >>> net = from_networkx(G, inputs=["a"], outputs=["b"], weight=0.5)
    >>> net.predict([[2.0]]).tolist()
    [[1.5]]
    """
    inputs, outputs = list(inputs), list(outputs)
    require(G.is_directed(), "the graph is undirected; orient its edges first (every DAG is an ordering of the nodes)")
    for node in (*inputs, *outputs):
        require(node in G, f"node {node!r} is not in the graph; inputs and outputs must be nodes of it")
    require(len(set(inputs)) == len(inputs), "a node occurs twice in inputs; name each once")
    net = Network(seed=seed, dtype=dtype, backend=backend)
    is_input, is_output = set(inputs), set(outputs)
    others = [node for node in G if node not in is_input]
    columns = [G.nodes[node] for node in others]
    group = net.add_inputs(len(inputs), name="inputs")
    rest = net.add_neurons(
        len(others),
        activation=[
            data.get("activation", output_activation if node in is_output else activation)
            for node, data in zip(others, columns, strict=True)
        ],
        aggregation=[data.get("aggregation", "sum") for data in columns],
        bias=np.array([data.get("bias", 0.0) for data in columns], float),
    )
    id_of = dict(zip([*inputs, *others], [*group.ids.tolist(), *rest.ids.tolist()], strict=True))
    if outputs:
        ids = [id_of[node] for node in outputs]
        net.mark_outputs(ids)
        net.group(ids, name="outputs")
    edges = list(G.edges(data=True))
    if edges:
        weights = np.array([data.get("weight", np.nan) for *_, data in edges], float)
        conns = net.add_connections(
            [id_of[u] for u, _, _ in edges],
            [id_of[v] for _, v, _ in edges],
            weight="zeros",
            delay=[data.get("delay", 0) for *_, data in edges],
        )
        drawn = np.array(["weight" not in data for *_, data in edges])
        conns[~drawn].weight = weights[~drawn]
        if drawn.any():
            conns[drawn].initialize(weight)
    return net


def to_networkx(net: Network) -> networkx.MultiDiGraph | networkx.DiGraph:
    """A network as a networkx graph, which `from_networkx` reads back.

    Nodes are neuron ids with ``bias``, ``activation``, ``aggregation``, ``input`` and ``output``; edges have ``weight``
    and ``delay``. The graph is a `DiGraph`, or a `MultiDiGraph` where some pair has several delays. Its attributes
    ``G.graph["inputs"]`` and ``G.graph["outputs"]`` list the ids in column order.

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
    columns = (neurons.ids.tolist(), neurons.bias.tolist(), neurons.activation, neurons.aggregation)
    is_input, is_output = set(inputs), set(outputs)
    for id, bias, activation, aggregation in zip(*columns, strict=True):
        attributes = {} if id in is_input else {"bias": bias, "activation": activation, "aggregation": aggregation}
        G.add_node(id, **attributes, input=id in is_input, output=id in is_output)
    edges = (conns.source.tolist(), conns.target.tolist(), conns.weight.tolist(), conns.delay.tolist())
    G.add_edges_from((u, v, {"weight": w, "delay": d}) for u, v, w, d in zip(*edges, strict=True))
    return G
