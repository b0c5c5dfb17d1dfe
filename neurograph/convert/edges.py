"""Edge tables to networks and back: one row a connection."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..checks import integers, require
from ..errors import DuplicateConnectionError, InvalidValueError
from ..network import Network
from .assemble import assemble, merge_duplicates, numbers, one_of, places
from .table import columns_of, pick, write


def from_edges(
    table: Any,
    inputs: Iterable[Any],
    outputs: Iterable[Any],
    source: str = "source",
    target: str = "target",
    weight: str | None = "weight",
    delay: str | None = None,
    neurons: Any = None,
    activation: Any = "relu",
    output_activation: Any = "identity",
    initializer: Any = "he",
    duplicates: str = "error",
    on_cycle: str = "error",
    on_input: str = "error",
    seed: int = 0,
    dtype: Any = "float32",
    backend: str = "auto",
) -> Network:
    """Make a network of an edge table, one row a connection.

    Parameters
    ----------
    table : DataFrame, mapping of arrays, structured array or path
        A path ends in .csv, .tsv (both may be followed by .gz) or .parquet, and the first line of a text names the
        columns. Parquet needs ``pip install "neurograph[tables]"``.
    inputs, outputs : iterable
        Neurons, as the table calls them, that hold the columns of X and of the prediction, in this order.
    source, target : str
        Columns with the ends of the connections: names or whole numbers.
    weight : str or None
        Column with the weights; None draws all of them with ``initializer``.
    delay : str, optional
        Column with the delays; without it the column "delay" if the table has one, otherwise 0.
    neurons : table, optional
        A second table with a column "name" that lists all neurons, in order, and may have columns "bias", "activation",
        "activation_parameter", "aggregation" and "time_constant". Without it the neurons are those that occur as ends,
        sorted.
    activation, output_activation : optional
        For neurons without one of their own.
    initializer : optional
        Draws the weights if ``weight`` is None, as in `Network.connect`.
    duplicates : {"error", "sum"}
        Rows with the same source, target and delay: refuse, or make one connection with the sum of their weights.
    on_cycle : {"error", "delay", "all"}
        Connections without delay that close cycles: refuse and name one cycle; give a small set of feedback
        connections delay 1; or give every connection at least delay 1, as in a brain.
    on_input : {"error", "feed", "drop"}
        Connections into inputs, which hold X: refuse; give every input an input neuron of its own that feeds it through
        a frozen connection of weight 1 (the fed ones are the group "fed"); or leave those connections out.
    seed, dtype, backend : optional
        As in `Network`.

    Returns
    -------
    Network
        Neurons are named as in the table, unless it calls them by the whole numbers that are their ids.

    Raises
    ------
    InvalidValueError
        A column is missing, an end or a weight is missing or no number, or a name in ``inputs`` or ``outputs`` occurs
        nowhere.
    CycleError, DuplicateConnectionError
        Each names the neurons, and what to say to load the table all the same.
    FileNotFoundError, FileFormatError, MissingDependencyError
        The file cannot be read.

    Examples
    --------
    >>> table = {"pre": ["AWC", "AIY", "AIZ"], "post": ["AIY", "AIZ", "RIA"], "n": [3, 1, 2]}
    >>> net = from_edges(table, source="pre", target="post", weight="n", inputs=["AWC"], outputs=["RIA"])
    >>> net.predict([[1.0]]).tolist(), net.neuron("AIY").fan_in
    ([[6.0]], 1)
    """
    one_of("duplicates", duplicates, ("error", "sum"))
    columns = columns_of(table)
    listed = {} if neurons is None else columns_of(neurons, "the table of neurons")
    at = "row {} of the table".format
    ends = [pick(columns, source, "source"), pick(columns, target, "target")]
    weights = None
    if weight is not None:
        require(
            weight in columns,
            f"weight is {weight!r}, but the table has no such column; it has {', '.join(columns)}. Say weight=None to "
            "draw all weights with the initializer",
        )
        weights = numbers(columns[weight], weight, at)
    delays = np.zeros(len(ends[0]), np.int64)
    if delay is not None or "delay" in columns:
        name = "delay" if delay is None else delay
        delays = integers(numbers(pick(columns, name, "delay"), name, at), "delay")
    if listed:
        ends.append(pick(listed, "name", "the column that lists the neurons"))
    labels, (u, v, *rest) = _number(ends, [source, target, "name"])
    if listed:
        labels, u, v = _in_order(labels, u, v, rest[0])
    if duplicates == "sum":
        u, v, delays, weights = merge_duplicates(u, v, delays, weights)
    index = {label: i for i, label in enumerate(labels)}
    ins, outs = places(inputs, index, "inputs", "the table"), places(outputs, index, "outputs", "the table")
    is_output = np.zeros(len(labels), bool)
    is_output[outs] = True
    try:
        return assemble(
            len(labels),
            u,
            v,
            ins,
            outs,
            weight=weights,
            delay=delays,
            initializer=initializer,
            columns=_attributes(listed, [output_activation if out else activation for out in is_output.tolist()]),
            labels=labels,
            names=[None if label == i else str(label) for i, label in enumerate(labels)],
            on_cycle=on_cycle,
            on_input=on_input,
            seed=seed,
            dtype=dtype,
            backend=backend,
        )
    except DuplicateConnectionError as error:
        raise DuplicateConnectionError(f'{error}. duplicates="sum" adds the weights of equal rows') from None


def to_edges(net: Network, path: str | os.PathLike | None = None) -> dict[str, np.ndarray]:
    """A network's connections as an edge table.

    Parameters
    ----------
    net : Network
    path : path, optional
        Also write the table to this file, which ends in .csv, .tsv or .parquet.

    Returns
    -------
    dict of arrays, each of shape (n_connections,)
        "source" and "target" (names, or ids where some neuron has no name), "weight" and "delay", as `from_edges`
        reads them; ``pandas.DataFrame(to_edges(net))`` is a data frame. Biases, activations and which connections
        share a parameter are not in it: `Network.save`, `to_networkx` and `to_graphml` keep more.

    Examples
    --------
    >>> import neurograph as ng
    >>> table = to_edges(ng.topologies.layered([2, 1], weight=0.5))
    >>> {name: column.tolist() for name, column in table.items()}
    {'source': [0, 1], 'target': [2, 2], 'weight': [0.5, 0.5], 'delay': [0, 0]}
    """
    conns, neurons = net.connections, net.neurons
    names = neurons.names
    called = neurons.ids if any(name is None for name in names) else names.astype(str)
    columns = {
        "source": called[np.searchsorted(neurons.ids, conns.source)],
        "target": called[np.searchsorted(neurons.ids, conns.target)],
        "weight": conns.weight,
        "delay": conns.delay.astype(np.int64),
    }
    if path is not None:
        write(columns, path)
    return columns


def _number(columns: list[np.ndarray], what: list[str]) -> tuple[list[Any], list[np.ndarray]]:
    """What occurs in any of several columns of labels, sorted; and for each column the places in that list."""
    plain = [_plain(column, name) for column, name in zip(columns, what, strict=False)]
    kinds = {column.dtype.kind for column in plain if len(column)}
    if len(kinds) > 1:
        raise InvalidValueError(
            f"{' and '.join(what[: len(plain)])} must all be names or all be whole numbers; convert one of them"
        )
    together = np.concatenate([column for column in plain if len(column)] or [np.zeros(0, np.int64)])
    if together.dtype.kind == "O":
        labels = sorted(set(together.tolist()))
        index = {label: i for i, label in enumerate(labels)}
        codes = np.fromiter((index[label] for label in together.tolist()), np.int64, len(together))
    elif len(together) and together.min() >= 0 and together.max() < 4 * len(together) + 1000:
        # Numbers that a table of their own size can hold need no sorting.
        there = np.zeros(int(together.max()) + 1, bool)
        there[together] = True
        labels, codes = np.flatnonzero(there).tolist(), (np.cumsum(there) - 1)[together]
    else:
        values, codes = np.unique(together, return_inverse=True)
        labels = values.tolist()
    return labels, np.split(codes, np.cumsum([len(column) for column in plain])[:-1])


def _plain(column: np.ndarray, what: str) -> np.ndarray:
    """Labels as an array of int64 or of Python strings; a missing one is named by its row."""
    if column.dtype.kind in "iu":
        return column.astype(np.int64)
    if column.dtype.kind in "fb":
        bad = np.flatnonzero(~np.isfinite(column) | (column != np.round(column)))
        if len(bad):
            raise InvalidValueError(f"{what} in row {bad[0]} is {column[bad[0]]}; give a name or a whole number")
        return column.astype(np.int64)
    values = column.tolist()
    if all(isinstance(value, int) for value in values) and values:
        return np.array(values, np.int64)
    for row, value in enumerate(values):
        if not isinstance(value, str) or not value:
            raise InvalidValueError(f"{what} in row {row} is {value!r}; give every end a name, or all whole numbers")
    return np.array(values, object)


def _in_order(
    labels: list[Any], u: np.ndarray, v: np.ndarray, listed: np.ndarray
) -> tuple[list[Any], np.ndarray, np.ndarray]:
    """Labels and ends in the order of the table of neurons."""
    times = np.bincount(listed, minlength=len(labels))
    require((times <= 1).all(), f"{labels[times.argmax()]!r} occurs twice in the table of neurons; list each once")
    if not times.all():
        raise InvalidValueError(
            f"{labels[times.argmin()]!r} has connections, but is not in the table of neurons; list every neuron there"
        )
    place = np.empty(len(labels), np.int64)
    place[listed] = np.arange(len(listed))
    return [labels[i] for i in listed], place[u], place[v]


def _attributes(listed: dict[str, np.ndarray], activations: Sequence[Any]) -> dict[str, Any]:
    """Columns for `Network.add_neurons` from a table of neurons, in which cells may be empty."""
    at = "row {} of the table of neurons".format
    count = len(activations)

    def cells(name: str, default: Any) -> list[Any]:
        values = listed[name].tolist() if name in listed else [None] * count
        return [default if value is None or value != value or value == "" else value for value in values]

    parameters = cells("activation_parameter", None)
    named = [
        cell if cell is None or parameter is None else (cell, parameter)
        for cell, parameter in zip(cells("activation", None), parameters, strict=True)
    ]
    columns: dict[str, Any] = {
        "activation": [default if cell is None else cell for cell, default in zip(named, activations, strict=True)]
    }
    if "aggregation" in listed:
        columns["aggregation"] = cells("aggregation", "sum")
    for name, default in (("bias", 0.0), ("time_constant", 1.0)):
        if name in listed:
            columns[name] = numbers(cells(name, default), name, at)
    return columns
