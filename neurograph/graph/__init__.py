"""WHAT exists: slot tables, rows of connections, and the live views that users hold."""

from .adjacency import Adjacency
from .graph import HIDDEN, INPUT, Graph
from .tables import Table
from .views import Connection, Connections, Group, Neuron

__all__ = ["Adjacency", "Connection", "Connections", "Graph", "Group", "HIDDEN", "INPUT", "Neuron", "Table"]
