"""Sparse evolutionary training."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..rewire import Rewire

if TYPE_CHECKING:
    from ...graph import Connections

__all__ = ["SET", "within_sign"]


def within_sign(conns: Connections, rng: np.random.Generator) -> np.ndarray:
    """Place of each weight among those of its sign in its pair of homes, 0 for the one nearest to zero, below 1.

    Pruned by this score a share of the positive and the same share of the negative weights goes.

    Parameters
    ----------
    conns : Connections
        The connections to score.
    rng : numpy.random.Generator
        Not used.

    Returns
    -------
    ndarray of float, shape (n,)

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([2, 2], weight=np.array([0.3, -2.0, 0.1, -1.0]))
    >>> within_sign(net.connections, None).tolist()
    [0.5, 0.5, 0.0, 0.0]
    """
    weight = conns.weight
    part = 2 * conns.regions()[1] + (weight > 0)
    order = np.lexsort([conns.id, np.abs(weight), part])
    size = np.bincount(part)
    first = np.cumsum(size) - size
    place = np.empty(len(part))
    place[order] = np.arange(len(part)) - first[part[order]]
    return place / size[part]


def SET(
    fraction: float | Callable = 0.3,
    every: int = 200,
    *,
    start: int = 0,
    stop: int | None = None,
    weight: Any = "zeros",
    by_sign: bool = False,
    allowed: Any = None,
) -> Rewire:
    """Sparse evolutionary training: drop the smallest weights, grow as many at random places, layer pair by layer pair.

    Mocanu et al. (2018), "Scalable training of artificial neural networks with adaptive sparse connectivity inspired
    by network science", Nature Communications 9, 2383. The paper removes a share zeta of the smallest positive and of
    the largest negative weights, which is `by_sign`; the default, as in most later work, is that share of the smallest
    absolute weights.

    Parameters
    ----------
    fraction : float or schedule
        zeta: share of the connections of each pair of homes, and of each delay between them, that is replaced.
    every, start, stop, weight, allowed
        As in `Rewire`.
    by_sign : bool
        Remove the share of the positive and of the negative weights, each by itself, up to rounding.

    Returns
    -------
    Rewire
        To be handed to the Trainer as `rewire=`.

    Examples
    --------
    >>> SET(fraction=0.2, every=50).grow
    'random'
    """
    drop = within_sign if by_sign else "magnitude"
    return Rewire(drop, "random", fraction, every, "local", start, stop, weight, allowed)
