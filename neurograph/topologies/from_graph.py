"""Any undirected networkx graph as a network: an order of its nodes makes it a DAG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import require
from ..network import Network
from .assemble import Edges, assemble

if TYPE_CHECKING:
    import networkx

__all__ = ["from_graph"]


def from_graph(
    G: networkx.Graph,
    n_inputs: int,
    n_outputs: int,
    ordering: Any = "given",
    delay: int = 0,
    input_density: float = 1.0,
    output_density: float = 1.0,
    activation: Any = "relu",
    output_activation: Any = "identity",
    weight: Any = "he",
    seed: int = 0,
    dtype: Any = "float32",
    backend: str = "auto",
) -> Network:
    """Make a network whose hidden neurons are the nodes of an undirected graph.

    Every edge becomes a connection from the node that comes first in an order to the other, so any of networkx's
    generators gives a DAG. Parallel edges count once, and self-loops are left out. `from_networkx` takes directed
    graphs, and those that name their inputs and outputs.

    Parameters
    ----------
    G : networkx.Graph
        Neuron ``net.groups["hidden"][i]`` is the i-th node of the graph.
    n_inputs, n_outputs : int
        Number of neurons; the groups are named "inputs", "hidden" and "outputs".
    ordering : {"given", "random"}, array of float, shape (n_nodes,), or mapping of node to number
        The order, as in `ring_lattice`: by default that of the graph's nodes.
    delay, input_density, output_density : optional
        As in `ring_lattice`.
    activation, output_activation, weight, seed, dtype, backend : optional
        As in `random_dag`.

    Returns
    -------
    Network
        The network, with biases 0.

    Raises
    ------
    InvalidValueError
        The graph is directed or empty, or the ordering does not fit it.

    Examples
    --------
    >>> import networkx as nx, neurograph as ng
    >>> G = nx.barbell_graph(5, 3)
    >>> net = ng.topologies.from_graph(G, 4, 2, ordering=dict(G.degree))
    >>> len(net.groups["hidden"]), net.schedule.depth
    (13, 7)
    """
    import networkx

    require(
        isinstance(G, networkx.Graph),
        f"G is of type {type(G).__name__}; give a networkx graph, such as networkx.from_numpy_array makes of a matrix.",
    )
    require(
        not G.is_directed(),
        "the graph is directed; use ng.from_networkx, or G.to_undirected() to have its edges oriented anew.",
    )
    nodes = list(G)
    require(nodes, "the graph has no nodes; give one or more.")
    if isinstance(ordering, Mapping):
        missing = [node for node in nodes if node not in ordering]
        require(not missing, f"ordering has no number for node {missing[:1]}; add it.")
        ordering = [ordering[node] for node in nodes]
    return assemble(
        lambda rng: _edges(G, nodes),
        n_inputs,
        len(nodes),
        n_outputs,
        ordering=ordering,
        delay=delay,
        input_density=input_density,
        output_density=output_density,
        activation=activation,
        output_activation=output_activation,
        weight=weight,
        seed=seed,
        dtype=dtype,
        backend=backend,
    )


def _edges(G: networkx.Graph, nodes: list) -> Edges:
    """Edges as pairs of places in the list of nodes, each pair once."""
    # Neighbours come out of networkx several times faster than edges. Every edge comes twice, and one turn is kept;
    # a self-loop has none.
    counts = np.fromiter((len(neighbours) for _, neighbours in G.adjacency()), np.int64, len(nodes))
    ends: Iterable[Any] = chain.from_iterable(neighbours for _, neighbours in G.adjacency())
    if nodes != list(range(len(nodes))):
        ends = map(dict(zip(nodes, range(len(nodes)), strict=True)).__getitem__, ends)
    u, v = np.repeat(np.arange(len(nodes)), counts), np.fromiter(ends, np.int64, int(counts.sum()))
    once = u < v
    return u[once], v[once]
