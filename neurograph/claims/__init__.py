"""What papers claim about pruning, repeated here: each claim trains networks, and says beside its target what it found.

A claim is a module in `cases` with `ABOUT`, one line, and ``run(settings)``, which yields a `Row` for each figure.
`neurograph claims` runs them. They take minutes each, so they are no tests.
"""

from .rows import Row, Settings, mean_over

__all__ = ["Row", "Settings", "mean_over"]
