"""Bridges to other libraries' graphs, matrices and files; each imports its library when it is used."""

from .edges import from_edges, to_edges
from .graphml import from_graphml, to_graphml
from .networkx import from_networkx, to_networkx
from .scipy import from_scipy, to_scipy

__all__ = [
    "from_edges",
    "from_graphml",
    "from_networkx",
    "from_scipy",
    "to_edges",
    "to_graphml",
    "to_networkx",
    "to_scipy",
]
