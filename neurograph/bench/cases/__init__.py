"""The table of cases: what `neurograph bench` can measure, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ...errors import UnknownNameError
from ..rows import Row
from .challenge import challenge
from .connex import connex
from .construction import at_rest, construction
from .deep import deep
from .edits import edit, rewire
from .fields import growing_circles, shared_parameters
from .inference import inference
from .loops import bptt_memory, larva, recurrent
from .products import irregular_product
from .set_network import fifty_million, set_network
from .start import first_use, import_time
from .training import tiny, training, training_512
from .union import union

__all__ = ["CASES", "Case", "choose"]


@dataclass(frozen=True)
class Case:
    """Rows that belong together.

    Attributes
    ----------
    rows : callable
        Makes the rows, of any size; without arguments, of the size that is reported.
    long : bool
        Whether it runs only when it is named, or with ``--all``.
    """

    rows: Callable[..., list[Row]]
    long: bool = False

    @property
    def name(self) -> str:
        """What it is called on the command line."""
        return self.rows.__name__

    @property
    def about(self) -> str:
        """One line on what it measures."""
        return (self.rows.__doc__ or "").strip().splitlines()[0]


CASES = {
    case.name: case
    for case in (
        Case(training),
        Case(training_512, long=True),
        Case(inference),
        Case(irregular_product),
        Case(edit),
        Case(rewire),
        Case(connex),
        Case(tiny),
        Case(deep),
        Case(challenge),
        Case(set_network, long=True),
        Case(fifty_million, long=True),
        Case(construction),
        Case(at_rest),
        Case(import_time),
        Case(first_use),
        Case(shared_parameters),
        Case(growing_circles),
        Case(union, long=True),
        Case(recurrent, long=True),
        Case(larva, long=True),
        Case(bptt_memory, long=True),
    )
}


def choose(names: Iterable[str] = (), everything: bool = False) -> list[Case]:
    """The cases that are named, in the order of the table; without names, those that are not long, or all.

    Raises
    ------
    UnknownNameError
        There is no case of a name.

    Examples
    --------
    >>> [case.name for case in choose(["tiny", "edit"])]
    ['edit', 'tiny']
    """
    names = set(names)
    unknown = sorted(names - set(CASES))
    if unknown:
        raise UnknownNameError(f"There is no case {unknown[0]!r}. Known: {', '.join(CASES)}.")
    return [case for case in CASES.values() if (case.name in names if names else everything or not case.long)]
