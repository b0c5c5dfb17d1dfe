"""What a benchmark is made of: rows before they are measured, and what came out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import NeurographError

__all__ = ["Bound", "NotHere", "Outcome", "Row", "Settings"]


class NotHere(NeurographError):
    """A row cannot run on this machine; the message says what to install or to give."""


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes
    ----------
    threads : int
        Threads that neurograph and its peer get, each in its turn.
    quick : bool
        Fewer and shorter blocks: a look, no result.
    data : str or None
        Folder of data sets that are not part of the package.
    backend : str
        What runs our side of the cases that are the GPU's; the others name their own.

    Examples
    --------
    >>> Settings(threads=1).quick
    False
    """

    threads: int = 2
    quick: bool = False
    data: str | None = None
    backend: str = "auto"


@dataclass(frozen=True)
class Bound:
    """One condition of a target.

    Attributes
    ----------
    quantity : str
        Which figure: "ratio" (times as fast as the peer), "share" (of the peer's time), or another that a row measures.
    limit : float
        What it must reach, or must not pass.
    at_most : bool
        Whether the limit is an upper one.

    Examples
    --------
    >>> Bound("ratio", 4).holds({"ratio": 5.0}), Bound("share", 1.01, at_most=True).value({"ratio": 0.5})
    (True, 2.0)
    """

    quantity: str
    limit: float
    at_most: bool = False

    def value(self, figures: dict[str, Any]) -> float | None:
        """The figure that is bounded, None where it was not measured."""
        if self.quantity == "share" and figures.get("ratio"):
            return 1 / figures["ratio"]
        return figures.get(self.quantity)

    def holds(self, figures: dict[str, Any]) -> bool | None:
        """Whether the figure keeps the limit, None where it was not measured."""
        value = self.value(figures)
        if value is None:
            return None
        return value <= self.limit if self.at_most else value >= self.limit


@dataclass(frozen=True)
class Row:
    """One line of the table, before it is measured.

    Attributes
    ----------
    what, against : str
        The work, and whom it is compared with.
    measure : callable
        ``measure(settings) -> figures``: a dictionary of numbers. `harness.compare` makes "ours_ms", "peer_ms",
        "ratio", "ratio_range", "ours_peak_mib" and "peer_peak_mib"; any other is printed by its name.
    needs : tuple of str
        Peers that must be installed, by their names in `peers.PEERS`.
    target : tuple of Bound
        What was promised.
    curve : (str, float), optional
        Network and density, where the row is a point of the picture of time against density.
    """

    what: str
    against: str
    measure: Callable[[Settings], dict[str, Any]]
    needs: tuple[str, ...] = ()
    target: tuple[Bound, ...] = ()
    curve: tuple[str, float] | None = None


@dataclass(frozen=True)
class Outcome:
    """One line of the table, measured, skipped or failed.

    Attributes
    ----------
    case : str
        Name of the case that the row belongs to.
    what, against, target, curve
        As in `Row`.
    figures : dict
        What was measured; empty where nothing was.
    skipped, error : str or None
        Why nothing was measured.

    Examples
    --------
    >>> outcome = Outcome("tiny", "training step", "PyTorch", {"ratio": 4.0}, (Bound("ratio", 3),))
    >>> outcome.met, Outcome.from_json(outcome.to_json()) == outcome
    (True, True)
    """

    case: str
    what: str
    against: str
    figures: dict[str, Any] = field(default_factory=dict)
    target: tuple[Bound, ...] = ()
    curve: tuple[str, float] | None = None
    skipped: str | None = None
    error: str | None = None

    @classmethod
    def of(cls, case: str, row: Row, figures: dict[str, Any] | None = None, **why: str) -> Outcome:
        """The outcome of a row: its figures, or ``skipped=...`` or ``error=...``."""
        return cls(case, row.what, row.against, figures or {}, row.target, row.curve, **why)

    @property
    def met(self) -> bool | None:
        """Whether every condition of the target holds; None without a target, or where a figure is missing."""
        held = [bound.holds(self.figures) for bound in self.target]
        return None if not held or None in held else all(held)

    def to_json(self) -> dict[str, Any]:
        """The outcome in lists, dictionaries, numbers and text."""
        whole = asdict(self)
        whole["target"] = list(whole["target"])
        whole["curve"] = None if self.curve is None else list(self.curve)
        return whole

    @classmethod
    def from_json(cls, whole: dict[str, Any]) -> Outcome:
        """The outcome that `to_json` wrote."""
        target = tuple(Bound(**bound) for bound in whole["target"])
        network_density = whole["curve"]
        curve = None if network_density is None else (network_density[0], network_density[1])
        return cls(**{**whole, "target": target, "curve": curve})
