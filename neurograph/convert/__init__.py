"""Bridges to other libraries' graphs, matrices, models and files; each imports its library when it is used."""

from .edges import from_edges, to_edges
from .graphml import from_graphml, to_graphml
from .neat import from_neat
from .networkx import from_networkx, to_networkx
from .scipy import from_scipy, to_scipy
from .sklearn import from_sklearn
from .torch import from_torch
from .torch_export import to_torch

__all__ = [
    "from_edges",
    "from_graphml",
    "from_neat",
    "from_networkx",
    "from_scipy",
    "from_sklearn",
    "from_torch",
    "to_edges",
    "to_graphml",
    "to_networkx",
    "to_scipy",
    "to_torch",
]
