"""Sparse evolutionary training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..rewire import Rewire

__all__ = ["SET"]


def SET(
    fraction: float | Callable = 0.3,
    every: int = 200,
    *,
    start: int = 0,
    stop: int | None = None,
    weight: Any = "zeros",
) -> Rewire:
    """Sparse evolutionary training: drop the smallest weights, grow as many at random places, layer pair by layer pair.

    Mocanu et al. (2018), "Scalable training of artificial neural networks with adaptive sparse connectivity inspired
    by network science", Nature Communications 9, 2383. The paper removes a share zeta of the smallest positive and of
    the largest negative weights; here, as in most later work, it is that share of the smallest absolute weights.

    Parameters
    ----------
    fraction : float or schedule
        zeta: share of the connections of each pair of homes, and of each delay between them, that is replaced.
    every, start, stop, weight
        As in `Rewire`.

    Returns
    -------
    Rewire
        To be handed to the Trainer as `rewire=`.

    Examples
    --------
    >>> SET(fraction=0.2, every=50).grow
    'random'
    """
    return Rewire("magnitude", "random", fraction, every, "local", start, stop, weight)
