"""A network as a dictionary of arrays and a little metadata, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .functions import activations, aggregations
from .graph.sharing import KEY
from .graph.tables import Table
from .graph.views import Group

if TYPE_CHECKING:
    from .network import Network

# Tables by their prefix in the file; the last two hold what is shared, and are left out where nothing is.
TABLES = ("neurons", "connections", "weights", "biases")


def _tables(net: Network) -> dict[str, Table]:
    graph = net.graph
    return dict(zip(TABLES, (graph.neurons, graph.connections, graph.weights.table, graph.biases.table), strict=True))


def _renumbered(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """The live slots of a table, and for each slot its number among them."""
    live = table.live()
    number = np.full(table.size, -1, np.int64)
    number[live] = np.arange(len(live))
    return live, number


def to_arrays(net: Network) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Everything that makes the network, without the holes that edits left.

    The places of the connections in their rows are written too, so that a loaded network adds up every sum in the same
    order and goes on bit by bit as this one would.
    """
    graph = net.graph
    arrays: dict[str, np.ndarray] = {}
    numbers: dict[str, np.ndarray] = {}
    for prefix, table in _tables(net).items():
        live, numbers[prefix] = _renumbered(table)
        if len(live) or prefix in ("neurons", "connections"):
            arrays |= {f"{prefix}.{name}": table.read(name)[live] for name in table.columns}
    number = numbers["neurons"]
    for end in ("source", "target"):
        arrays[f"connections.{end}"] = number[arrays[f"connections.{end}"]].astype(np.int32)
    for tenants, shared in (("connections", "weights"), ("neurons", "biases")):
        if (key := f"{tenants}.{KEY}") in arrays:
            rows = np.concatenate([[0], numbers[shared] + 1])
            arrays[key] = rows[arrays[key]].astype(np.int32)
    arrays["inputs"], arrays["outputs"] = number[graph.inputs], number[graph.outputs]
    if graph.ordered.size:
        arrays["places"] = graph.ordered
    for i, group in enumerate(net.groups.values()):
        arrays[f"groups.{i}"] = group.ids
    meta = {
        "dtype": net.dtype.name,
        "backend": net.backend_name,
        "precision": net.precision,
        "seed": net.seed,
        "rng": net.rng.bit_generator.state,
        "counters": net.counters,
        "groups": [{"name": group.name, "shape": list(group.shape)} for group in net.groups.values()],
        "names": net.names.items(),
        "next_id": {prefix: table.next_id for prefix, table in _tables(net).items()},
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
    columns: dict[str, dict[str, np.ndarray]] = {prefix: {} for prefix in TABLES}
    for key, array in arrays.items():
        prefix, _, name = key.partition(".")
        if prefix in columns:
            columns[prefix][name] = array
    neurons = columns["neurons"]
    neurons.setdefault("time_constant", np.ones(len(neurons["id"]), net.dtype))  # older files have none
    codes = {int(code): activations.ACTIVATIONS[name].code for code, name in meta["activations"].items()}
    kinds = {int(code): aggregations.AGGREGATIONS[name] for code, name in meta["aggregations"].items()}
    for name, renamed in (("activation", codes), ("aggregation", kinds)):
        values, inverse = np.unique(neurons[name], return_inverse=True)
        neurons[name] = np.array([renamed[int(value)] for value in values], np.int8)[inverse]
    graph.restore(columns, meta["next_id"], meta["n_homes"])
    graph.inputs, graph.outputs = arrays["inputs"], arrays["outputs"]
    graph.ordered = arrays.get("places", graph.ordered)
    names = meta.get("names", [])
    net.names.set([id for id, _ in names], [name for _, name in names])
    for i, described in enumerate(meta["groups"]):
        net.keep_group(Group(net, arrays[f"groups.{i}"], described["name"], tuple(described["shape"])))
