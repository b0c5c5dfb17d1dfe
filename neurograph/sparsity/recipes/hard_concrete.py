"""L0 regularisation by hard concrete gates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import checks
from ...errors import InvalidValueError, UnknownNameError
from ..guard import remove
from ..loose import loose_connections
from ..recipe import Recipe, Watch

if TYPE_CHECKING:
    from ...graph import Connections
    from ...network import Network

__all__ = ["HardConcrete"]

MARGIN = 1e-6  # of the uniform numbers from 0 and 1, as in the authors' code
SPREAD = 0.01  # of the first log alpha


class HardConcrete(Recipe):
    """L0 regularisation: each weight is multiplied by a random gate, and the expected number of open gates is a loss.

    Louizos, Welling & Kingma (2018), "Learning sparse neural networks through L0 regularization", arXiv 1712.01312. A
    gate z (equations 10 and 11) comes from a uniform number u::

        s = sigmoid((log u - log(1 - u) + log_alpha) / beta)
        z = min(1, max(0, s * (zeta - gamma) + gamma))

    and is open with probability ``sigmoid(log_alpha - beta * log(-gamma / zeta))`` (equation 12). To the loss comes
    lambda times the sum of these probabilities, each counted for all connections of its gate. ``log_alpha`` is trained
    by an Adam of its own, the weights ``theta`` behind the gates by the optimizer of the network.

    In a step the network has the weights ``theta * z``, with new gates from ``net.rng``. Between two steps, and so for
    every evaluation, it has those of equation 13, ``theta * min(1, max(0, sigmoid(log_alpha) * (zeta - gamma) +
    gamma))``. A connection whose gate is closed in this sense is removed from the network, for good, every
    ``prune_every`` steps and by `finish`. The paper prunes whole inputs of a layer: ``per="source"`` gives all
    connections from one neuron to one home a common gate. Biases have no gates. Frozen connections are structure: they
    stay as they are, and are not counted.

    A network that is saved has the weights of equation 13; ``theta`` and ``log_alpha`` are not in the file, and a new
    recipe begins with fresh gates on the weights that it finds.

    Parameters
    ----------
    lambda_ : float
        Weight of the penalty.
    beta : float
        Temperature of the gates, above 0.
    gamma, zeta : float
        Ends of the stretched interval, below 0 and above 1.
    per : {"connection", "source"}
        What has a gate of its own.
    droprate_init : float
        Share of the gates that is closed in the beginning, between 0 and 1: ``log_alpha`` begins around
        ``log((1 - droprate_init) / droprate_init)``.
    lr : float
        Learning rate of ``log_alpha``.
    prune_every : int, optional
        Steps between two removals; without it only `finish` removes.
    allow_disconnected : bool
        True prunes also where that cuts an output off from all inputs.

    Raises
    ------
    InvalidValueError, UnknownNameError
        An argument is out of range; in training, connections that share parameters, or connections that were changed by
        someone else.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([20, 30, 5], seed=0)
    >>> gates = ng.sparsity.HardConcrete(lambda_=0.002, lr=0.05)
    >>> trainer = ng.Trainer(net, optimizer=ng.optim.Adam(), rewire=gates)
    >>> X, y = net.rng.normal(size=(64, 20)), net.rng.integers(0, 5, 64)
    >>> history = trainer.fit(X, y, epochs=40, batch_size=16, progress=False)
    >>> removed = gates.finish(net)
    >>> 0 < removed == 750 - net.n_connections
    True
    """

    def __init__(
        self,
        lambda_: float,
        beta: float = 2 / 3,
        gamma: float = -0.1,
        zeta: float = 1.1,
        *,
        per: str = "connection",
        droprate_init: float = 0.5,
        lr: float = 1e-3,
        prune_every: int | None = None,
        allow_disconnected: bool = False,
    ):
        _between("lambda_", lambda_, 0, math.inf, closed=True)
        _between("beta", beta, 0, math.inf)
        _between("gamma", gamma, -math.inf, 0)
        _between("zeta", zeta, 1, math.inf)
        _between("droprate_init", droprate_init, 0, 1)
        _between("lr", lr, 0, math.inf)
        if per not in ("connection", "source"):
            raise UnknownNameError(f"per is {per!r}. Known: connection, source.")
        if prune_every is not None:
            checks.whole("prune_every", prune_every, 1)
        self.lambda_, self.beta, self.gamma, self.zeta = float(lambda_), float(beta), float(gamma), float(zeta)
        self.per, self.droprate_init, self.lr, self.prune_every = per, float(droprate_init), float(lr), prune_every
        self.allow_disconnected = bool(allow_disconnected)
        self.finished = False
        self._watch = Watch("HardConcrete")
        self._connections: Connections | None = None
        self._theta: np.ndarray
        self._gate: np.ndarray  # of each connection
        self._log_alpha: np.ndarray
        self._moments: tuple[np.ndarray, np.ndarray]
        self._grad: np.ndarray | None = None
        self._z: np.ndarray | None = None
        self._slope: np.ndarray
        self._updates = 0

    @property
    def connections(self) -> Connections:
        """The connections that have gates, in the order of `log_alpha`, `probability` and `gates`."""
        return self._begun()

    @property
    def log_alpha(self) -> np.ndarray:
        """log alpha of each connection's gate, shape (n,)."""
        self._begun()
        return self._log_alpha[self._gate]

    @property
    def probability(self) -> np.ndarray:
        """With which each connection's gate is open, shape (n,); their sum is the expected number of connections."""
        self._begun()
        return self._open()[self._gate]

    @property
    def gates(self) -> np.ndarray:
        """The gates of equation 13, shape (n,): 0 where a connection is to be removed."""
        self._begun()
        return self._settled()[self._gate]

    def before_backward(self, net: Network, step: int) -> None:
        """Draw the gates of this step, and let the network have the weights behind them."""
        if self.finished:
            return
        if self._connections is None:
            self._begin(net)
        self._watch.first(net)
        u = net.rng.uniform(MARGIN, 1 - MARGIN, len(self._log_alpha))
        s = _sigmoid((np.log(u) - np.log1p(-u) + self._log_alpha) / self.beta)
        stretched = s * (self.zeta - self.gamma) + self.gamma
        self._z = np.clip(stretched, 0, 1)
        inside = (stretched > 0) & (stretched < 1)
        self._slope = np.where(inside, (self.zeta - self.gamma) * s * (1 - s) / self.beta, 0)
        self._set(self._z)

    def before_update(self, net: Network, step: int) -> None:
        """Turn the gradients into those of theta and of log alpha, and put theta where the optimizer updates it."""
        if self.finished:
            return
        connections = self._begun()
        self._watch.first(net)
        if self._z is None:
            raise InvalidValueError("HardConcrete has drawn no gates for this step; call its before_backward first")
        grad, n = connections.grad, len(self._log_alpha)
        by_gate = np.bincount(self._gate, weights=grad.astype(np.float64) * self._theta, minlength=n)
        probability = self._open()
        size = np.bincount(self._gate, minlength=n)
        self._grad = by_gate * self._slope + self.lambda_ * size * probability * (1 - probability)
        connections.grad = grad * self._z[self._gate].astype(grad.dtype)
        connections.weight = self._theta

    def step(self, net: Network, step: int) -> int:
        """Update log alpha, settle the gates, and remove what is closed if it is due.

        Returns
        -------
        int
            How many connections were removed.
        """
        if self.finished:
            return 0
        connections = self._begun()
        self._watch.first(net)
        if self._grad is None:
            raise InvalidValueError("HardConcrete has no gradient; call its before_update after each backward")
        self._theta = connections.weight
        self._adam(self._grad)
        self._grad = self._z = None
        self._set(self._settled())
        return self._prune(net) if self.prune_every is not None and step % self.prune_every == 0 else 0

    def finish(self, net: Network) -> int:
        """Remove what is closed, and leave the rest with the weights of equation 13; nothing happens from then on.

        Returns
        -------
        int
            How many connections were removed.
        """
        self._begun()
        self._watch.first(net)
        self._set(self._settled())
        removed = self._prune(net)
        self.finished = True
        return removed

    def _begin(self, net: Network) -> None:
        connections = loose_connections(net, "HardConcrete")
        if self.per == "source":
            ends = connections.source * (int(connections.target_home.max(initial=0)) + 1) + connections.target_home
            gates, self._gate = np.unique(ends, return_inverse=True)
            n = len(gates)
        else:
            n = len(connections)
            self._gate = np.arange(n)
        middle = math.log((1 - self.droprate_init) / self.droprate_init)
        self._log_alpha = net.rng.normal(middle, SPREAD, n)
        self._moments = np.zeros(n), np.zeros(n)
        self._theta = connections.weight
        self._connections = connections

    def _prune(self, net: Network) -> int:
        connections, closed = self._begun(), self._settled() == 0
        kept = ~closed[self._gate]
        removed = remove(net, connections[~kept], self.allow_disconnected)
        if removed:
            self._connections, self._theta = connections[kept], self._theta[kept]
            self._gate = (np.cumsum(~closed) - 1)[self._gate[kept]]
            self._log_alpha = self._log_alpha[~closed]
            m, v = self._moments
            self._moments = m[~closed], v[~closed]
            self._watch.mark(net)
        return removed

    def _adam(self, grad: np.ndarray) -> None:
        self._updates += 1
        m, v = self._moments
        m += 0.1 * (grad - m)
        v += 0.001 * (grad * grad - v)
        corrected = m / (1 - 0.9**self._updates), v / (1 - 0.999**self._updates)
        self._log_alpha -= self.lr * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)

    def _open(self) -> np.ndarray:
        return _sigmoid(self._log_alpha - self.beta * math.log(-self.gamma / self.zeta))

    def _settled(self) -> np.ndarray:
        return np.clip(_sigmoid(self._log_alpha) * (self.zeta - self.gamma) + self.gamma, 0, 1)

    def _set(self, gates: np.ndarray) -> None:
        self._begun().weight = self._theta * gates[self._gate].astype(self._theta.dtype)

    def _begun(self) -> Connections:
        if self._connections is None:
            raise InvalidValueError(
                "HardConcrete has no gates yet; call its before_backward before the first backward, or hand it to a "
                "Trainer"
            )
        return self._connections


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(x / 2))  # which does not overflow


def _between(name: str, value: Any, low: float, high: float, closed: bool = False) -> None:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not (low < value < high or (closed and value == low)):
        above = "" if low == -math.inf else f" {'of at least' if closed else 'above'} {low}"
        below = "" if high == math.inf else f"{' and' if above else ''} below {high}"
        raise InvalidValueError(f"{name} is {value!r}; give a finite number{above}{below}.")
