"""Deep rewiring."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import checks
from ...errors import InvalidValueError
from ...functions.schedules import as_schedule
from ..allowed import Allowed
from ..growth import Random
from ..recipe import Recipe, Watch
from ..rewire import Rewire, Rewired

if TYPE_CHECKING:
    from ...network import Network

__all__ = ["DeepR"]


class DeepR(Recipe):
    """Deep rewiring: connections have a sign for life, do a random walk, and are replaced where they would change it.

    Bellec et al. (2018), "Deep rewiring: training very sparse deep networks", arXiv 1711.05136, algorithm 1. A
    connection of sign s has the weight s * theta. Beside the update of the optimizer, with the gradient of the loss,
    each step moves theta by ``-eta * alpha + sqrt(2 * eta * T) * noise``, with normal noise. Where theta falls below 0
    the connection is removed, and as many grow at random, with theta 0 and a random sign: the network always has the
    same number of connections. Frozen connections stay as they are.

    Parameters
    ----------
    eta : float or schedule
        Learning rate, of the regularisation and the noise; best that of the optimizer.
    alpha : float
        L1 regularisation.
    T : float or schedule
        Temperature; a schedule that falls to 0 ends the random walk. 0 leaves only the regularisation.
    scope : {"local", "global"}
        Where new connections grow: "local", between the homes that lost one, or anywhere.
    stop : int, optional
        Step from which on nothing is moved or replaced by this recipe.
    allowed : optional
        Pairs that may be grown, as in `Rewire`.

    Raises
    ------
    InvalidValueError
        A number is out of range; connections share parameters; or they were changed by someone else since the last
        step.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([4, 20, 3], density=0.3, seed=0)
    >>> recipe = DeepR(eta=0.05, alpha=1e-4, T=1e-3)
    >>> trainer = ng.Trainer(net, optimizer=ng.optim.SGD(lr=0.05), rewire=recipe, seed=0)
    >>> _ = trainer.fit(np.eye(4), [0, 1, 2, 0], epochs=20, progress=False)
    >>> net.n_connections, bool((recipe.signs * net.connections.weight >= 0).all())
    (42, True)
    """

    def __init__(
        self,
        eta: float | Callable,
        alpha: float = 1e-4,
        T: float | Callable = 1e-5,
        *,
        scope: str = "local",
        stop: int | None = None,
        allowed: Any = None,
    ):
        for name, value in (("eta", eta), ("alpha", alpha), ("T", T)):
            if not (callable(value) and name != "alpha"):
                _refuse_negative(name, value)
        if stop is not None:
            checks.whole("stop", stop, 0)
        self.eta, self.alpha, self.T, self.stop = as_schedule(eta), float(alpha), as_schedule(T), stop
        self._allowed = Allowed(allowed)
        self._rewire = Rewire(grow=Random(self._allowed), every=1, scope=scope)
        self._watch = Watch("DeepR")
        #: Of each of ``net.connections``, 1 or -1.
        self.signs = np.zeros(0)

    def before_backward(self, net: Network, step: int) -> None:
        """Give the connections the signs that their weights have; zeros get one at random."""
        self._allowed.start(net)
        if not self._watch.first(net):
            return
        conns = net.connections
        if len(np.unique(conns.parameter)) < len(conns):
            self._watch = Watch("DeepR")
            raise InvalidValueError(
                "DeepR gives each connection a sign of its own, but some share their weights; untie them, or leave the "
                "shared ones to another recipe"
            )
        signs = np.sign(conns.weight)
        zero = signs == 0
        signs[zero] = net.rng.choice([-1.0, 1.0], int(zero.sum()))
        self.signs = signs

    def step(self, net: Network, step: int) -> Rewired:
        """Walk, and replace what would change its sign.

        Returns
        -------
        Rewired
            How many connections were removed and grown.
        """
        self.before_backward(net, step)
        if self.stop is not None and step >= self.stop:
            return Rewired(0, 0)
        eta, T = self.eta(step), self.T(step)
        _refuse_negative("eta", eta)
        _refuse_negative("T", T)
        conns = net.connections
        theta = self.signs * conns.weight - eta * self.alpha
        if T:
            theta += np.sqrt(2 * eta * T) * net.rng.standard_normal(len(theta))
        held = conns.frozen
        crossed = (theta < 0) & ~held
        doomed = conns[crossed]
        # Those that go are grown elsewhere first thing, so that a refusal leaves weights and signs alone.
        rewired = self._rewire.replace(net, doomed)
        moved = ~crossed & ~held
        conns[moved].weight = (self.signs * theta)[moved]
        self.signs = np.concatenate([self.signs[~crossed], net.rng.choice([-1.0, 1.0], rewired.grown)])
        self._watch.mark(net)
        return rewired


def _refuse_negative(name: str, value: Any) -> None:
    if not isinstance(value, int | float | np.number) or not 0 <= value < np.inf:
        raise InvalidValueError(f"DeepR: {name} is {value!r}; give a number, 0 or more.")
