"""Gradual magnitude pruning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ... import checks
from ...errors import InvalidValueError, UnknownNameError
from ...functions.schedules import Cubic
from ..prune import SCOPES, check_per, prune_lowest
from ..scores import resolve

if TYPE_CHECKING:
    from ...network import Network

__all__ = ["GradualMagnitude"]


@dataclass(frozen=True)
class GradualMagnitude:
    """Gradual magnitude pruning: remove ever more of the smallest weights, fast at first and slowly at the end.

    Zhu & Gupta (2017), "To prune, or not to prune", arXiv 1710.01878, equation 1: the sparsity at step t is
    ``sparsity + (initial - sparsity) * (1 - (t - start) / (stop - start)) ** 3``. It counts from the number of
    connections that the network had at the first call of `step`, which is kept in `net.counters` and so is saved with
    the network. Frozen connections are structure: they stay, and are not counted. The paper prunes each layer to the
    same sparsity: that is ``scope="local"``, exact up to one connection a pair of homes; the default ranks the whole
    network and is exact.

    Parameters
    ----------
    sparsity : float
        Share of the connections that is gone in the end, 0 to 1.
    start, stop : int
        First and last step of pruning.
    every : int
        Number of steps between two prunings; the last one is at `stop` in any case.
    initial : float
        Share that is removed at `start`.
    score : str or function
        Score whose lowest connections go.
    scope : {"global", "local", "neuron"}
        Region in which the share is taken, as in `prune_lowest`.
    per : {"connection", "parameter"}
        "parameter": the sparsity is that of parameters, which go with all connections that share them, as in
        `prune_lowest`.

    Raises
    ------
    UnknownNameError
        The score, the scope or `per` is not known.
    InvalidValueError
        A number is out of range, or the scope has no regions of parameters.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([10, 10], seed=0)
    >>> recipe = GradualMagnitude(sparsity=0.8, start=0, stop=100, every=50)
    >>> [recipe.step(net, step) for step in (0, 49, 50, 100)]
    [0, 0, 70, 10]
    """

    sparsity: float
    start: int
    stop: int
    every: int = 100
    initial: float = 0.0
    score: str | Callable = "magnitude"
    scope: str = "global"
    per: str = "connection"

    def __post_init__(self) -> None:
        resolve(self.score)
        if self.scope not in SCOPES or self.scope == "block":
            raise UnknownNameError(f"GradualMagnitude has no scope {self.scope!r}. Known: global, local, neuron.")
        check_per(self.per, self.scope)
        checks.fraction("sparsity", self.sparsity)
        checks.fraction("initial", self.initial)
        if self.initial > self.sparsity:
            raise InvalidValueError(f"initial is {self.initial}, above the final sparsity {self.sparsity}; lower it.")
        checks.whole("start", self.start, 0)
        checks.whole("stop", self.stop, 1)
        if self.start >= self.stop:
            raise InvalidValueError(f"start is {self.start} and stop {self.stop}; start has to come first.")
        checks.whole("every", self.every, 1)

    def target(self, step: int) -> float:
        """Sparsity that the network should have after this step.

        Examples
        --------
        >>> round(GradualMagnitude(sparsity=0.8, start=0, stop=100).target(50), 6)
        0.7
        """
        return Cubic(self.initial, self.sparsity, begin=self.start, steps=self.stop - self.start)(step)

    def step(self, net: Network, step: int) -> int:
        """Prune the network if it is due at this step.

        Parameters
        ----------
        net : Network
            The network to prune.
        step : int
            Number of updates made so far.

        Returns
        -------
        int
            How many connections were removed.
        """
        counter = f"gradual_magnitude.{self.per}s"
        if counter not in net.counters:
            net.counters[counter] = self._loose(net)
        due = (step - self.start) % self.every == 0 or step == self.stop
        if not (self.start <= step <= self.stop and due):
            return 0
        loose, dense = self._loose(net), net.counters[counter]
        excess = loose - (dense - round(self.target(step) * dense))
        if excess <= 0:
            return 0
        if self.scope == "global":
            return prune_lowest(net, self.score, count=excess, per=self.per)
        return prune_lowest(net, self.score, excess / loose, self.scope, per=self.per)

    def _loose(self, net: Network) -> int:
        """Connections, or parameters, that may go."""
        connections = net.connections
        loose = connections[~connections.frozen]
        return len(loose) if self.per == "connection" else len(np.unique(loose.parameter))
