"""`neurograph bench`: the figures that the project promises, measured on any machine beside the tools that people use.

A case is a function that returns rows (`cases`), and a row knows how to measure itself. Each row runs in a process of
its own (`runner`, `child`), with neurograph and its peer in alternating blocks (`harness`). `report` prints the table,
`picture` draws time against density, `readme` writes the README's section from a file of results.

``--backend gpu`` has cases of its own (`cases.gpu`): `device` says whether there is a GPU, `events` measures by its
clock, `crossovers` finds and draws the densities at which dense layers win.
"""

from .rows import Bound, Outcome, Row, Settings
from .runner import Results, measured

__all__ = ["Bound", "Outcome", "Results", "Row", "Settings", "measured"]
