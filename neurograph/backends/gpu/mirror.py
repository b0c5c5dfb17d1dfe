"""A graph's arrays on the device. (For now everything is uploaded before each pass; patches follow.)"""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import cupy

from ...graph.graph import Graph
from ...graph.tables import Table


class Rows(NamedTuple):
    """Connections by target or by source on the device: an `Adjacency` as kernels read it."""

    start: Any  # int64, one entry a neuron slot
    length: Any  # int32
    other: Any  # int32, neuron slot at the far end of each entry
    slot: Any  # int32, connection slot of each entry


class Columns:
    """The columns of a table on the device, over the same slots."""

    def __init__(self, table: Table):
        self._table = table
        self._arrays: dict[str, Any] = {}

    def read(self, name: str) -> Any:
        """A column as it is now, for reading."""
        self._arrays[name] = cupy.asarray(self._table[name])
        return self._arrays[name]

    def write(self, name: str) -> Any:
        """A column as it is now, for a kernel that changes it: from now on the device has its newest values."""
        return self.read(name)

    def download(self) -> None:
        """Bring back what the device wrote."""
        for name, array in self._arrays.items():
            self._table[name][:] = cupy.asnumpy(array)


class Mirror:
    """What the device holds of one graph."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.neurons = Columns(graph.neurons)
        self.connections = Columns(graph.connections)

    @property
    def incoming(self) -> Rows:
        """Connections by target."""
        return Rows(*(cupy.asarray(a) for a in self.graph.incoming.rows))

    @property
    def outgoing(self) -> Rows:
        """Connections by source."""
        return Rows(*(cupy.asarray(a) for a in self.graph.outgoing.rows))


_mirrors: WeakKeyDictionary[Graph, Mirror] = WeakKeyDictionary()


def mirror_of(graph: Graph) -> Mirror:
    """The mirror of a graph; the same one as long as the graph lives."""
    if graph not in _mirrors:
        _mirrors[graph] = Mirror(graph)
    return _mirrors[graph]
