"""The table of cases: what `neurograph bench` can measure, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ...errors import UnknownNameError
from ..rows import Row
from . import (
    challenge,
    connex,
    construction,
    deep,
    edits,
    fields,
    gpu,
    inference,
    loops,
    products,
    set_network,
    start,
    training,
    union,
)

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
    backend : str
        Which ``--backend`` it belongs to.
    """

    rows: Callable[..., list[Row]]
    long: bool = False
    backend: str = "cpu"

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
        Case(training.training),
        Case(training.training_512, long=True),
        Case(inference.inference),
        Case(products.irregular_product),
        Case(edits.edit),
        Case(edits.rewire),
        Case(connex.connex),
        Case(training.tiny),
        Case(deep.deep),
        Case(challenge.challenge),
        Case(set_network.set_network, long=True),
        Case(set_network.fifty_million, long=True),
        Case(construction.construction),
        Case(construction.at_rest),
        Case(start.import_time),
        Case(start.first_use),
        Case(fields.shared_parameters, long=True),
        Case(fields.growing_circles, long=True),
        Case(union.union, long=True),
        Case(loops.recurrent, long=True),
        Case(loops.larva, long=True),
        Case(loops.bptt_memory, long=True),
        *(
            Case(rows, backend="gpu")
            for rows in (
                gpu.ceilings.ceilings,
                gpu.products.sparse_product,
                gpu.products.fused_backward,
                gpu.training.gpu_training,
                gpu.products.tensor_tiles,
                gpu.products.tensor_blocks,
                gpu.deep.gpu_deep,
                gpu.challenge.gpu_challenge,
                gpu.edits.device_edit,
                gpu.edits.bulk_edits,
                gpu.training.against_cpu,
                gpu.products.crossover,
            )
        ),
    )
}


def choose(names: Iterable[str] = (), everything: bool = False, backend: str = "cpu") -> list[Case]:
    """A backend's cases that are named, in the order of the table; without names, those that are not long, or all.

    Raises
    ------
    UnknownNameError
        The backend has no case of a name.

    Examples
    --------
    >>> [case.name for case in choose(["tiny", "edit"])]
    ['edit', 'tiny']
    """
    own = {name: case for name, case in CASES.items() if case.backend == backend}
    names = set(names)
    for name in sorted(names - set(own)):
        where = f"; {name} is one of --backend {CASES[name].backend}" if name in CASES else ""
        raise UnknownNameError(f"There is no case {name!r} for --backend {backend}{where}. Known: {', '.join(own)}.")
    return [case for case in own.values() if (case.name in names if names else everything or not case.long)]
