"""Pruning by the alternating direction method of multipliers, in one round or in several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ... import checks
from ...errors import InvalidValueError
from ..loose import loose_connections, prune_known
from ..recipe import Recipe, Watch
from ..select import lowest_in_regions

if TYPE_CHECKING:
    from ...graph import Connections
    from ...network import Network

__all__ = ["ADMM", "ProgressiveADMM"]

Shares = float | Mapping[tuple[int, int], float]


class ADMM(Recipe):
    """ADMM pruning: pull the weights towards the nearest network that is sparse enough, then prune, then retrain.

    Zhang et al. (2018), "A systematic DNN weight pruning framework using alternating direction methods of multipliers",
    arXiv 1804.03294. For each pair of homes i (a pair of layers) at most a share ``alpha`` of the weights ``W_i`` may
    stay. The loss is minimised together with ``rho / 2 * ||W_i - Z_i + U_i||**2`` (equation 7), whose gradient
    `before_update` adds, and every so many steps, one ADMM iteration,

    - ``Z_i`` becomes the projection of ``W_i + U_i``: its largest entries, the others zero (equation 9);
    - ``U_i`` grows by ``W_i - Z_i`` (equation 5).

    After the last iteration the smallest weights are removed from the network, exactly ``round(alpha * n)`` of n stay,
    and what goes on then is what the paper calls masked retraining, at the speed of the pruned network. Equal weights
    are decided by the connection's id: the oldest go. Biases are not pruned. Frozen connections are structure: they
    stay, and are not counted.

    ``Z`` and ``U`` are not in the file of a network: on one that was loaded a new ADMM begins with the connections that
    it finds, and its shares are shares of these.

    Parameters
    ----------
    alpha : float, or mapping
        Share of the connections of each pair of homes that stays, 0 to 1; or one for each pair,
        ``{(0, 1): 0.05, (1, 2): 0.1}``, homes being numbered in the order of the ``add_...`` calls.
    rho : float
        Weight of the penalty, above 0.
    every : int
        Steps of one ADMM iteration.
    iterations : int
        ADMM iterations before the pruning.

    Raises
    ------
    InvalidValueError
        A number is out of range; in training, a pair of homes without an alpha, connections that share parameters, or
        connections that were changed by someone else.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([20, 30, 5], seed=0)
    >>> admm = ng.sparsity.ADMM(alpha=0.2, rho=0.1, every=10, iterations=4)
    >>> trainer = ng.Trainer(net, optimizer=ng.optim.SGD(lr=0.1), rewire=admm)
    >>> X, y = net.rng.normal(size=(64, 20)), net.rng.integers(0, 5, 64)
    >>> history = trainer.fit(X, y, epochs=10, batch_size=16, progress=False)    # 40 steps
    >>> history["n_connections"][-2:], admm.pruned
    ([750, 150], True)
    """

    _name = "ADMM"

    def __init__(self, alpha: Shares, rho: float = 1.5e-3, every: int = 500, iterations: int = 10):
        _check_shares(alpha)
        if isinstance(rho, bool) or not isinstance(rho, int | float | np.number) or not 0 < rho < math.inf:
            raise InvalidValueError(f"rho is {rho!r}; give a finite number above 0.")
        checks.whole("every", every, 1)
        checks.whole("iterations", iterations, 1)
        self.alpha, self.rho, self.every, self.iterations = alpha, float(rho), every, iterations
        self.round = 0
        self._rounds: list[Shares] = [alpha]
        self._between = 0  # steps between two rounds
        self._watch = Watch(self._name)
        self._taken = 0  # steps of this round; below 0 what is left before it
        self._sizes: dict[tuple[int, ...], int] = {}  # connections of each region before the first round
        self._connections: Connections | None = None
        self._regions: list[tuple[int, ...]]
        self._region: np.ndarray
        self._drop: np.ndarray  # how many go in each region
        self._Z: np.ndarray
        self._U: np.ndarray

    @property
    def pruned(self) -> bool:
        """Whether the last round is over."""
        return self.round == len(self._rounds)

    @property
    def gap(self) -> float:
        """``||W - Z|| / ||W||``: how far the weights are from a network that is sparse enough; 0 once it is pruned."""
        if self._connections is None:
            return math.nan
        if self._retraining:
            return 0.0
        weight = self._connections.weight
        return float(np.linalg.norm(weight - self._Z) / max(np.linalg.norm(weight), np.finfo(weight.dtype).tiny))

    @property
    def _retraining(self) -> bool:
        return self.pruned or self._taken < 0

    def before_backward(self, net: Network, step: int) -> None:
        """Take the first projection, at the first step of a round."""
        if self._connections is None:
            self._begin(net)
        self._watch.first(net)

    def before_update(self, net: Network, step: int) -> None:
        """Add the gradient of the penalty, ``rho * (W - Z + U)``."""
        connections = self._begun()
        self._watch.first(net)
        if not self._retraining:
            weight = connections.weight
            connections.grad = connections.grad + weight.dtype.type(self.rho) * (weight - self._Z + self._U)

    def step(self, net: Network, step: int) -> int:
        """Make an ADMM iteration if it is due, and prune after the last.

        Returns
        -------
        int
            How many connections were removed.

        Raises
        ------
        InvalidValueError
            No output would have a connection left, or the network was changed by someone else.
        """
        connections = self._begun()
        self._watch.first(net)
        if self.pruned:
            return 0
        self._taken += 1
        if self._taken == 0:  # retrained; the next round
            self._project(connections)
            return 0
        if self._taken < 0 or self._taken % self.every:
            return 0
        if self._taken < self.every * self.iterations:
            weight = connections.weight
            self._Z = self._projection(weight + self._U)
            self._U += weight - self._Z
            return 0
        return self._prune(net, connections)

    def _begin(self, net: Network) -> None:
        connections = loose_connections(net, self._name)
        regions, number = connections.regions()
        counts = np.bincount(number, minlength=len(regions)).tolist()
        sizes = dict(zip(map(tuple, regions.tolist()), counts, strict=True))
        for share in self._rounds:
            if isinstance(share, Mapping):
                missing = [region[:2] for region in sizes if region[:2] not in share]
                if missing:
                    source, target = missing[0]
                    raise InvalidValueError(
                        f"alpha has no number for the connections from home {source} to home {target}; give one for "
                        f"({source}, {target})"
                    )
        self._sizes = sizes
        self._see(connections)
        self._project(connections)

    def _see(self, connections: Connections) -> None:
        regions, self._region = connections.regions()
        self._regions = list(map(tuple, regions.tolist()))
        self._connections = connections

    def _project(self, connections: Connections) -> None:
        """Z of a new round, and U zero."""
        share, present = self._rounds[self.round], np.bincount(self._region, minlength=len(self._regions))
        kept = []
        for region in self._regions:
            source, target, _ = region
            here = share[source, target] if isinstance(share, Mapping) else share
            kept.append(round(here * self._sizes[region]))
        self._drop = np.maximum(present - np.array(kept, np.int64), 0)
        weight = connections.weight
        self._Z, self._U = self._projection(weight), np.zeros_like(weight)

    def _smallest(self, values: np.ndarray) -> np.ndarray:
        connections = self._begun()
        return lowest_in_regions(np.abs(values), connections.id, self._region, self._drop)

    def _projection(self, values: np.ndarray) -> np.ndarray:
        projection = values.copy()
        projection[self._smallest(values)] = 0
        return projection

    def _prune(self, net: Network, connections: Connections) -> int:
        stays = np.ones(len(connections), bool)
        stays[self._smallest(connections.weight)] = False
        removed = prune_known(net, connections[~stays], self._name)
        self._see(connections[stays])
        self.round += 1
        self._taken = -self._between
        if not self.pruned and not self._between:
            self._project(self._begun())
        self._watch.mark(net)
        return removed

    def _begun(self) -> Connections:
        if self._connections is None:
            raise InvalidValueError(
                f"{self._name} has not begun; call its before_backward before the first backward, or hand it to a "
                "Trainer"
            )
        return self._connections


class ProgressiveADMM(ADMM):
    """Progressive ADMM pruning: rounds of `ADMM`, each from the network that the one before has left.

    Ye et al. (2018), "Progressive weight pruning of deep neural networks using ADMM", arXiv 1810.07378. A moderate
    share is reached first, the pruned network is retrained, and the next round prunes it further: each round begins
    with fewer connections and nearer to its goal than a single one could.

    Parameters
    ----------
    alphas : sequence of float, or of mappings
        Shares that stay after each round, falling; shares of the connections before the first round.
    rho, every, iterations
        Of each round, as in `ADMM`.
    retrain : int
        Steps between two rounds.

    Attributes
    ----------
    round : int
        How many rounds are over.

    Raises
    ------
    InvalidValueError
        As in `ADMM`; or there is no alpha, or one is larger than that of the round before.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([20, 30, 5], seed=0)
    >>> admm = ng.sparsity.ProgressiveADMM([0.4, 0.2], rho=0.1, every=4, iterations=4, retrain=8)
    >>> trainer = ng.Trainer(net, optimizer=ng.optim.SGD(lr=0.1), rewire=admm)
    >>> X, y = net.rng.normal(size=(64, 20)), net.rng.integers(0, 5, 64)
    >>> history = trainer.fit(X, y, epochs=10, batch_size=16, progress=False)    # 16 + 8 + 16 steps
    >>> history["n_connections"][3], history["n_connections"][-1], admm.round
    (300, 150, 2)
    """

    _name = "ProgressiveADMM"

    def __init__(
        self,
        alphas: Sequence[Shares],
        rho: float = 1.5e-3,
        every: int = 500,
        iterations: int = 10,
        retrain: int = 5000,
    ):
        if not isinstance(alphas, list | tuple) or not alphas:
            raise InvalidValueError(f"alphas is {alphas!r}; give a list with the share that stays after each round.")
        super().__init__(alphas[0], rho, every, iterations)
        checks.whole("retrain", retrain, 0)
        for alpha in alphas:
            _check_shares(alpha)
        for before, after in zip(alphas, alphas[1:], strict=False):
            if not isinstance(before, Mapping) and not isinstance(after, Mapping) and after > before:
                raise InvalidValueError(f"alphas rise from {before} to {after}, but what is pruned does not come back.")
        self.alphas, self.retrain = alphas, retrain
        self._rounds, self._between = list(alphas), retrain


def _check_shares(alpha: Shares) -> None:
    for share in alpha.values() if isinstance(alpha, Mapping) else [alpha]:
        checks.fraction("alpha", share)
