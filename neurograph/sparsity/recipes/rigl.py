"""The rigged lottery."""

from __future__ import annotations

from typing import Any

from ... import checks
from ...functions.schedules import Cosine
from ..rewire import Rewire

__all__ = ["RigL"]


def RigL(
    T_end: int,
    delta_T: int = 100,
    alpha: float = 0.3,
    *,
    scope: str = "local",
    allowed: Any = None,
) -> Rewire:
    """Drop the smallest weights, grow where the gradient of absent connections is largest, less and less of them.

    Evci et al. (2020), "Rigging the lottery: making all tickets winners", arXiv 1911.11134, algorithm 1: every
    `delta_T` steps a share ``alpha / 2 * (1 + cos(t pi / T_end))`` of each layer is replaced, until `T_end`. The new
    weights are zero; what was dropped may grow again. The gradient is that
    of the mini-batch of the step, at the weights before its update; the paper skips the update in the steps that
    rewire. Its densities of layers are made by `erk`.

    Parameters
    ----------
    T_end : int
        Step from which on nothing is replaced; the paper takes three quarters of the training.
    delta_T : int
        Steps between two rewirings.
    alpha : float
        Share that is replaced in the beginning, 0 to 1.
    scope : {"local", "global"}
        As in `Rewire`: the paper's layers are the pairs of homes.
    allowed : optional
        Pairs that may be grown, as in `Rewire`.

    Returns
    -------
    Rewire
        To be handed to the Trainer as `rewire=`.

    Raises
    ------
    InvalidValueError
        A number is out of range.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([4, 20, 3], density=0.3, seed=0)
    >>> recipe = RigL(T_end=1000, delta_T=100, alpha=0.5)
    >>> _ = net.backward([[0.0, 1.0, 2.0, 3.0]], [2], loss="cross_entropy")
    >>> recipe.step(net, 500)           # a quarter of 24 and of 18
    Rewired(removed=10, grown=10)
    """
    checks.whole("T_end", T_end, 1)
    checks.fraction("alpha", alpha)
    return Rewire("magnitude", "gradient", Cosine(alpha, T_end), delta_T, scope, stop=T_end, allowed=allowed)
