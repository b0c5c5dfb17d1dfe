"""GraphML files to networks and back, through networkx."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from ..checks import require
from ..errors import FileFormatError, InvalidValueError
from ..network import Network
from .networkx import from_networkx, to_networkx


def from_graphml(
    path: str | os.PathLike,
    inputs: Iterable[str] | None = None,
    outputs: Iterable[str] | None = None,
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
    """Make a network of a GraphML file, of `to_graphml` or of another program.

    Typed node attributes ``name``, ``bias``, ``activation``, ``activation_parameter``, ``aggregation`` and
    ``time_constant`` and edge attributes ``weight``, ``delay`` and ``frozen`` are used where they are given.

    Parameters
    ----------
    path : path
    inputs, outputs : iterable of str, optional
        Names of neurons, or ids of nodes in the file, that hold the columns of X and of the prediction, in this order;
        without them, the nodes with an attribute ``input_column`` or ``output_column``, as `to_graphml` writes.
    activation, output_activation, weight, on_cycle, on_input, undirected, seed, dtype, backend : optional
        As in `from_networkx`.

    Returns
    -------
    Network
        A neuron without a name is named by its node's id.

    Raises
    ------
    FileNotFoundError, FileFormatError
        The file is missing, or it is no GraphML that networkx reads.
    InvalidValueError
        A weight, delay or bias is no number (an attribute declared as a string is none), or a node does not exist.
    CycleError, DuplicateConnectionError
        As in `from_networkx`.

    Examples
    --------
    >>> import os, tempfile
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([3, 4, 2], seed=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "net.graphml")
    ...     ng.to_graphml(net, path)
    ...     again = ng.from_graphml(path)
    >>> bool((again.predict([[1, 2, 3]]) == net.predict([[1, 2, 3]])).all())
    True
    """
    import networkx

    name = os.fspath(path)
    if not os.path.isfile(name):
        raise FileNotFoundError(f"there is no file {name!r}; give the path of a GraphML file")
    try:
        G = networkx.read_graphml(name)
    except Exception as error:
        # Bad XML, unknown types and values that do not fit them raise errors of many kinds.
        raise FileFormatError(f"{name!r} cannot be read as GraphML ({type(error).__name__}: {error})") from None
    for data in G.nodes.values():
        if "activation" in data and "activation_parameter" in data:
            data["activation"] = (data["activation"], data["activation_parameter"])
    named: dict[Any, Any] = {}
    for node, data in G.nodes.items():
        if isinstance(data.get("name"), str):
            require(data["name"] not in named, f"two nodes of {name!r} are named {data['name']!r}; give each its own")
            named[data["name"]] = node

    def nodes(given: Iterable[str] | None, what: str) -> list[Any]:
        if given is None:
            columns = {node: data[f"{what}_column"] for node, data in G.nodes.items() if f"{what}_column" in data}
            require(
                columns,
                f"{name!r} does not say which nodes are {what}s (attribute {what}_column); name them in {what}s=[...]",
            )
            return sorted(columns, key=columns.__getitem__)
        if isinstance(given, str):
            raise InvalidValueError(f"{what}s is {given!r}; give a list, such as [{given!r}]")
        return [named.get(member, member) for member in given]

    return from_networkx(
        G,
        nodes(inputs, "input"),
        nodes(outputs, "output"),
        activation=activation,
        output_activation=output_activation,
        weight=weight,
        on_cycle=on_cycle,
        on_input=on_input,
        undirected=undirected,
        seed=seed,
        dtype=dtype,
        backend=backend,
    )


def to_graphml(net: Network, path: str | os.PathLike) -> None:
    """Write a network to a GraphML file, which `from_graphml` and other programs read.

    Nodes are "n" and the neuron's id, with typed attributes ``name``, ``bias``, ``activation``,
    ``activation_parameter``, ``aggregation``, ``time_constant``, ``input_column`` and ``output_column``; edges have
    ``weight``, ``delay`` and ``frozen``. An attribute is left out where it says nothing. Which connections share a
    parameter is not kept.

    Parameters
    ----------
    net : Network
    path : path

    Examples
    --------
    >>> import os, tempfile
    >>> import networkx
    >>> import neurograph as ng
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "net.graphml")
    ...     ng.to_graphml(ng.topologies.layered([1, 2, 1]), path)
    ...     networkx.read_graphml(path).nodes["n0"]
    {'input_column': 0}
    """
    import networkx

    G = to_networkx(net)
    named = type(G)()  # without the attributes of the graph: GraphML has no lists
    for id, data in G.nodes.items():
        kept = {name: value for name, value in data.items() if name not in ("input", "output")}
        if isinstance(kept.get("activation"), tuple):
            kept["activation"], kept["activation_parameter"] = kept["activation"]
        named.add_node(f"n{id}", **kept)
    for column, group in (("input_column", net.inputs), ("output_column", net.outputs)):
        for number, id in enumerate(group.ids.tolist()):
            named.nodes[f"n{id}"][column] = number
    named.add_edges_from((f"n{u}", f"n{v}", data) for u, v, data in G.edges(data=True))
    networkx.write_graphml(named, os.fspath(path))
