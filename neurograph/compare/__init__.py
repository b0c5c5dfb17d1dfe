"""Pruning methods side by side: one network, the same data and training steps for each, several densities and seeds.

A method is one function that takes a `Task` and returns the network that it trained (`published` has those of papers);
`run` measures them, one `Row` each; `write` makes a CSV of the rows and `draw` a picture. `neurograph sparsity` does
all of it.
"""

from . import published as published
from .data import load
from .measure import COLUMNS, Row, Setting, run, summary, table, write
from .methods import METHODS, Method, method
from .picture import draw
from .task import Task

__all__ = [
    "COLUMNS",
    "METHODS",
    "Method",
    "Row",
    "Setting",
    "Task",
    "draw",
    "load",
    "method",
    "run",
    "summary",
    "table",
    "write",
]
