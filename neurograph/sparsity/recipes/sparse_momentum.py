"""Sparse momentum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..allowed import Allowed
from ..growth import Momentum
from ..rewire import Rewire

__all__ = ["SparseMomentum"]


def SparseMomentum(
    every: int,
    prune_rate: float | Callable = 0.5,
    alpha: float = 0.9,
    *,
    stop: int | None = None,
    redistribute: bool = True,
    allowed: Any = None,
) -> Rewire:
    """Drop the smallest weights of each layer, grow where the smoothed gradient is largest, in the layers that use it.

    Dettmers & Zettlemoyer (2019), "Sparse networks from scratch: faster training without losing performance", arXiv
    1907.04840. Once an epoch a share `prune_rate` of the weights of each layer is removed, and as many grow: of all
    that were removed each layer gets a part in proportion to the mean absolute momentum of its weights, and what one
    has no room for goes to the others, in the same proportion. Inside a layer they grow where the momentum of absent
    weights is largest, at weight zero. The momentum here is an average of gradients over the last
    mini-batches, see `Momentum`.

    Parameters
    ----------
    every : int
        Steps between two rewirings; the paper takes those of an epoch.
    prune_rate : float or schedule
        Share that is removed, 0 to 1; the paper lets it fall from 0.2 or 0.5 by a cosine, or linearly.
    alpha : float
        Smoothing factor of the momentum, 0 to below 1.
    stop : int, optional
        Step from which on nothing is replaced.
    redistribute : bool
        False: each pair of homes gets back what it lost.
    allowed : optional
        Pairs that may be grown, as in `Rewire`.

    Returns
    -------
    Rewire
        To be handed to the Trainer as `rewire=`. Without a trainer call `before_update` after each backward pass.

    Raises
    ------
    InvalidValueError
        A number is out of range.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([4, 20, 3], density=0.3, seed=0)
    >>> recipe = SparseMomentum(every=1, prune_rate=0.5)
    >>> _ = net.backward([[0.0, 1.0, 2.0, 3.0]], [2], loss="cross_entropy")
    >>> recipe.before_update(net, 1)
    >>> recipe.step(net, 1), net.n_connections
    (Rewired(removed=21, grown=21), 42)
    """
    grower = Momentum(Allowed(allowed), alpha, redistribute)
    return Rewire("magnitude", grower, prune_rate, every, "local", stop=stop)
