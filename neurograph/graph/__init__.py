"""WHAT exists: slot tables, rows of connections, and the live views that users hold."""

from .adjacency import Adjacency
from .graph import HIDDEN
from .graph import INPUT
from .graph import Graph
from .tables import Table
from .views import Connection
from .views import Connections
from .views import Group
from .views import Neuron

__all__ = ["Adjacency", "Connection", "Connections", "Graph", "Group", "HIDDEN", "INPUT", "Neuron", "Table"]
