"""Bridges to other libraries' graphs and matrices; each imports its library when it is used."""

from .networkx import from_networkx, to_networkx
from .scipy import from_scipy, to_scipy

__all__ = ["from_networkx", "from_scipy", "to_networkx", "to_scipy"]
