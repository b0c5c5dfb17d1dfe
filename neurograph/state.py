"""A network as a dictionary of arrays and a little metadata, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .functions import activations, aggregations
from .graph.views import Group

if TYPE_CHECKING:
    from .network import Network

DERIVED = "parameter"  # of each connection: its own slot


def to_arrays(net: Network) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Everything that makes the network, without the holes that edits left.

    The places of the connections in their rows are written too, so that a loaded network adds up every sum in the same
    order and goes on bit by bit as this one would.
    """
    graph = net.graph
    neurons = graph.neurons.live()
    number = np.full(graph.neurons.size, -1, np.int64)  # slots without the holes
    number[neurons] = np.arange(len(neurons))
    connections = graph.connections.live()
    arrays = {f"neurons.{name}": graph.neurons[name][neurons] for name in graph.neurons.columns}
    for name in graph.connections.columns:
        if name != DERIVED:
            arrays[f"connections.{name}"] = graph.connections[name][connections]
    for end in ("source", "target"):
        arrays[f"connections.{end}"] = number[graph.connections[end][connections]].astype(np.int32)
    arrays["inputs"], arrays["outputs"] = number[graph.inputs], number[graph.outputs]
    for i, group in enumerate(net.groups.values()):
        arrays[f"groups.{i}"] = group.ids
    meta = {
        "dtype": net.dtype.name,
        "backend": net.backend_name,
        "seed": net.seed,
        "rng": net.rng.bit_generator.state,
        "counters": net.counters,
        "groups": [{"name": group.name, "shape": list(group.shape)} for group in net.groups.values()],
        "next_id": {"neurons": graph.neurons.next_id, "connections": graph.connections.next_id},
        "n_homes": graph.n_homes,
        # Codes are stored by name, so that a later version may number them as it likes.
        "activations": {str(a.code): a.name for a in activations.ACTIVATIONS.values()},
        "aggregations": {str(code): name for name, code in aggregations.AGGREGATIONS.items()},
    }
    return arrays, meta


def fill(net: Network, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    """Make an empty network the one that `to_arrays` described."""
    net.rng.bit_generator.state = meta["rng"]
    net.counters.update(meta["counters"])
    graph = net.graph
    neurons, connections = ({}, {})
    for key, array in arrays.items():
        table, _, name = key.partition(".")
        if table == "neurons":
            neurons[name] = array
        elif table == "connections":
            connections[name] = array
    codes = {int(code): activations.ACTIVATIONS[name].code for code, name in meta["activations"].items()}
    kinds = {int(code): aggregations.AGGREGATIONS[name] for code, name in meta["aggregations"].items()}
    for name, renamed in (("activation", codes), ("aggregation", kinds)):
        values, inverse = np.unique(neurons[name], return_inverse=True)
        neurons[name] = np.array([renamed[int(value)] for value in values], np.int8)[inverse]
    graph.restore(neurons, connections, meta["next_id"], meta["n_homes"])
    graph.inputs, graph.outputs = arrays["inputs"], arrays["outputs"]
    for i, described in enumerate(meta["groups"]):
        net.keep_group(Group(net, arrays[f"groups.{i}"], described["name"], tuple(described["shape"])))
