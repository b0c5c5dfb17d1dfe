"""What a claim is told, and what it tells."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidValueError

__all__ = ["Row", "Settings", "mean_over"]


@dataclass(frozen=True)
class Settings:
    """How to run the claims.

    Parameters
    ----------
    data : path, optional
        Folder with the data sets that the package does not have: mnist.npz.
    seeds : tuple of int
        Every figure is a mean over networks of these seeds.
    quick : bool
        Few samples and epochs: whether it runs, no result.

    Examples
    --------
    >>> Settings(seeds=(0,)).quick
    False
    """

    data: Path | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    quick: bool = False

    def mnist(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """X, y, X_test, y_test of MNIST; 2,000 and 1,000 of them when it is to be quick.

        Raises
        ------
        InvalidValueError
            No folder was given.
        """
        from ..datasets import load_mnist

        if self.data is None:
            raise InvalidValueError("this claim needs MNIST; name the folder with mnist.npz by --data FOLDER")
        X, y, X_test, y_test = load_mnist(Path(self.data) / "mnist.npz")
        return (X[:2000], y[:2000], X_test[:1000], y_test[:1000]) if self.quick else (X, y, X_test, y_test)


@dataclass(frozen=True)
class Row:
    """One figure beside its target.

    Parameters
    ----------
    name : str
        What was measured.
    measured, target : float
        The figure, and what it should reach.
    at_least : bool
        False where the figure should be at most the target.
    unit : str
    seeds : tuple of float
        The figure for each seed, where it is a mean.
    note : str
        Hyper-parameters, and the figures that it was computed from.

    Examples
    --------
    >>> Row("gap to dense", 0.1, 0.2, at_least=False, unit="points").holds
    True
    """

    name: str
    measured: float
    target: float
    at_least: bool = True
    unit: str = ""
    seeds: tuple[float, ...] = field(default=())
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether the target is met."""
        return self.measured >= self.target if self.at_least else self.measured <= self.target


def mean_over(seeds: Iterable[int], measure: Callable[[int], Any]) -> tuple[float, tuple[float, ...]]:
    """The mean of a figure over seeds, and the figures.

    Examples
    --------
    >>> mean_over((0, 1, 2), lambda seed: seed / 2)
    (0.5, (0.0, 0.5, 1.0))
    """
    values = tuple(float(measure(seed)) for seed in seeds)
    return statistics.fmean(values), values
