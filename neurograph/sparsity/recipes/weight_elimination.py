"""Weight elimination."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import checks
from ...errors import InvalidValueError
from ...functions import losses
from ..loose import prune_known
from ..recipe import Recipe

if TYPE_CHECKING:
    from ...graph import Connections
    from ...network import Network

__all__ = ["WeightElimination"]


class WeightElimination(Recipe):
    """Weight elimination: a penalty that counts the weights which are large beside ``w0``.

    Weigend, Rumelhart & Huberman (1991), "Generalization by weight-elimination with application to forecasting",
    NIPS 3, 875-882, equation 1: the loss grows by ``lambda * sum (w/w0)**2 / (1 + (w/w0)**2)``. A weight much larger
    than ``w0`` costs lambda, whatever its size, a small one costs what weight decay would; so the sum is the number of
    weights that the network really uses, `effective`. A small ``w0`` prefers few large weights, a large one many small
    weights. What is near zero in the end `eliminate` removes.

    With ``every`` lambda follows their rule, once in so many steps, which should be an epoch. ``E`` is the mean loss
    since the last time, ``A`` its exponentially weighted average ``gamma * A + (1 - gamma) * E``:

    - ``E < D`` or ``E`` lower than last time: lambda grows by ``delta``.
    - Otherwise, ``E < A``: lambda falls by ``delta``, not below 0.
    - Otherwise: lambda is cut to 0.9 of what it was.

    A shared parameter is counted once. Frozen weights are not penalised. The recipe keeps no value for a connection, so
    any other recipe may prune and grow beside it, and on a network that was loaded a new one goes on: hand it
    ``lambda_`` of the old one.

    Parameters
    ----------
    lambda_ : float
        Weight of the penalty; with ``every`` it is where it begins, and 0 is usual.
    w0 : float
        Scale of the weights, above 0.
    biases : bool
        Whether biases are penalised and counted as well.
    every : int, optional
        Steps between two changes of lambda; without it lambda stays.
    D : float
        Desired error, in the units of the loss.
    gamma : float
        How slowly ``A`` forgets, 0 to 1.
    delta : float
        Step of lambda; the paper takes about 5e-6 for a sum of squares over the training set, so that much less of a
        mean.
    loss : str or function
        What measures ``E``, as in the Trainer.

    Attributes
    ----------
    lambda_ : float
        As it is now.

    Raises
    ------
    InvalidValueError, UnknownNameError
        A number is out of range, or the loss is unknown.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([2, 2], weight=np.array([1.0, 3.0, 0.0, -1.0]), dtype="float64")
    >>> elimination = ng.sparsity.WeightElimination(lambda_=0.01, w0=1.0)
    >>> round(elimination.effective(net), 6)                             # 1/2 + 9/10 + 0 + 1/2
    1.9
    >>> net.backward([[0.0, 0.0]], [[0.0, 0.0]])
    0.0
    >>> elimination.before_update(net, 1)
    >>> net.connections.grad.round(6).tolist()                           # 0.01 * 2 w / (1 + w**2)**2
    [0.005, 0.0006, 0.0, -0.005]
    >>> elimination.eliminate(net, below=0.1)
    1
    """

    def __init__(
        self,
        lambda_: float = 0.0,
        w0: float = 1.0,
        *,
        biases: bool = False,
        every: int | None = None,
        D: float = 0.0,
        gamma: float = 0.9,
        delta: float = 5e-6,
        loss: str | Callable[..., Any] = "mse",
    ):
        _at_least_zero("lambda_", lambda_)
        _at_least_zero("w0", w0)
        if w0 == 0:
            raise InvalidValueError("w0 is 0; give the scale that separates small weights from large ones")
        _at_least_zero("D", D)
        _at_least_zero("delta", delta)
        checks.fraction("gamma", gamma)
        if every is not None:
            checks.whole("every", every, 1)
        self.lambda_, self.w0, self.biases = float(lambda_), float(w0), bool(biases)
        self.every, self.D, self.gamma, self.delta = every, float(D), float(gamma), float(delta)
        self._measure = losses.get(loss)
        self._last = self._average = math.nan
        self._sum, self._count = 0.0, 0

    def before_update(self, net: Network, step: int) -> None:
        """Add the gradient of the penalty, and keep account of the error."""
        if self.every is not None and net.last_outputs is not None:
            self._sum += float(self._measure(net.last_outputs, net.last_targets)[0])
            self._count += 1
        if self.lambda_ == 0:
            return
        connections = net.connections_as_stored
        connections.grad = connections.grad + self._slope(connections.weight, connections.frozen)
        if self.biases:
            neurons = net.neurons - net.inputs
            neurons.bias_grad = neurons.bias_grad + self._slope(neurons.bias, neurons.bias_frozen)

    def step(self, net: Network, step: int) -> float:
        """Change lambda if it is due at this step.

        Returns
        -------
        float
            lambda.
        """
        if self.every is not None and step % self.every == 0 and self._count:
            self.adapt(self._sum / self._count)
            self._sum, self._count = 0.0, 0
        return self.lambda_

    def adapt(self, error: float) -> float:
        """Change lambda by their rule; a loop of one's own may call it with the error of an epoch.

        Parameters
        ----------
        error : float
            E, the error on the training set.

        Returns
        -------
        float
            The new lambda.

        Examples
        --------
        >>> elimination = WeightElimination(lambda_=0.01, every=1, D=0.1, gamma=0.5, delta=0.001)
        >>> [round(elimination.adapt(error), 6) for error in (1.0, 0.5, 0.6, 0.9, 0.05)]
        [0.01, 0.011, 0.01, 0.009, 0.01]
        """
        first = math.isnan(self._last)
        average = error if first else self.gamma * self._average + (1 - self.gamma) * error
        if not first:
            if error < self.D or error < self._last:
                self.lambda_ += self.delta
            elif error < average:
                self.lambda_ = max(self.lambda_ - self.delta, 0.0)
            else:
                self.lambda_ *= 0.9
        self._last, self._average = error, average
        return self.lambda_

    def effective(self, net: Network) -> float:
        """Effective number of weights: ``sum (w/w0)**2 / (1 + (w/w0)**2)``, each shared parameter once."""
        connections = net.connections
        _, first = np.unique(connections.parameter, return_index=True)
        total = self._costs(connections[first].weight).sum()
        if self.biases:
            neurons = net.neurons - net.inputs
            _, first = np.unique(neurons.bias_parameter, return_index=True)
            total += self._costs(neurons.bias[first]).sum()
        return float(total)

    def eliminate(self, net: Network, below: float = 0.01) -> int:
        """Remove the connections whose cost ``(w/w0)**2 / (1 + (w/w0)**2)`` is lower than ``below``, but frozen ones.

        Returns
        -------
        int
            How many were removed.
        """
        checks.fraction("below", below)
        connections: Connections = net.connections
        doomed = (self._costs(connections.weight) < below) & ~connections.frozen
        return prune_known(net, connections[doomed], "WeightElimination")

    def _costs(self, weights: np.ndarray) -> np.ndarray:
        squares = (weights.astype(np.float64) / self.w0) ** 2
        return squares / (1 + squares)

    def _slope(self, weights: np.ndarray, frozen: np.ndarray) -> np.ndarray:
        """Gradient of the penalty by each weight."""
        scaled = weights / weights.dtype.type(self.w0)
        slope = (2 * self.lambda_ / self.w0) * scaled / (1 + scaled * scaled) ** 2
        return np.where(frozen, 0, slope).astype(weights.dtype)


def _at_least_zero(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value < math.inf:
        raise InvalidValueError(f"{name} is {value!r}; give a finite number, 0 or more.")
