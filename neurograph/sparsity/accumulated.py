"""Scores that add up over the steps of a training: recipes that watch, whose `score` is then handed to a method.

What they add up is a state column of the weights. So it is kept through any edit, starts from zero for a new
connection, and is saved with the network. Connections that share a parameter have the score of the parameter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks
from ..checks import require
from .recipe import Recipe

if TYPE_CHECKING:
    from ..graph import Connections
    from ..network import Network

__all__ = ["Fisher", "Movement", "Taylor", "fisher", "taylor"]


class Accumulated(Recipe, ABC):
    """Adds something to a state column of the weights in every step, between gradient and update.

    Parameters
    ----------
    start, stop : int, int or None
        Watch the steps from `start` on and before `stop`; None never stops.
    """

    #: Name of the state column.
    column: str

    def __init__(self, start: int = 0, stop: int | None = None):
        checks.whole("start", start, 0)
        if stop is not None:
            checks.whole("stop", stop, 0)
        self.start, self.stop = start, stop

    def before_update(self, net: Network, step: int) -> None:
        """Add what the last backward pass says."""
        if step < self.start or (self.stop is not None and step >= self.stop):
            return
        for block in net.parameters():
            if block.name.endswith("weight"):
                total = block.state(self.column)
                total += self._increment(block.value, block.grad)

    @abstractmethod
    def _increment(self, weight: np.ndarray, grad: np.ndarray) -> np.ndarray:
        """What a step adds to the score of each weight."""

    def reset(self, net: Network) -> None:
        """Begin again from zero."""
        net.connections.set_state(self.column, 0.0)

    def score(self, conns: Connections, rng: np.random.Generator) -> np.ndarray:
        """The score of each connection, for `prune_lowest` and the recipes."""
        return conns.state(self.column)


class Movement(Accumulated):
    """Movement pruning: how far each weight has moved away from zero, to first order.

    Sanh, Wolf & Rush (2020), "Movement pruning: adaptive sparsity by fine-tuning", arXiv 2005.07683, section 3:
    ``S = -sum over the steps of w * dL/dw``. Weights that training shrinks score below zero and go first, however
    large they are. The paper's scores learn through a mask and so also while masked; here a pruned connection is gone.

    Parameters
    ----------
    start, stop : int, int or None
        Watch the steps from `start` on and before `stop`; None never stops.

    Examples
    --------
    >>> import neurograph as ng
    >>> X, y, *_ = ng.datasets.load_digits()
    >>> net, movement = ng.topologies.layered([64, 20, 10], seed=0), ng.sparsity.Movement()
    >>> _ = ng.Trainer(net, rewire=movement).fit(X, y, progress=False)
    >>> ng.sparsity.prune_lowest(net, score=movement.score, fraction=0.5)
    740
    """

    column = "movement"

    def _increment(self, weight: np.ndarray, grad: np.ndarray) -> np.ndarray:
        return -weight * grad


class Fisher(Accumulated):
    """Fisher pruning: what the loss rises by when a weight goes, by the diagonal of the empirical Fisher information.

    Theis, Korshunova, Tejani & Huszar (2018), "Faster gaze prediction with dense networks and Fisher pruning", arXiv
    1801.05787, for single weights: ``w ** 2 / 2 * mean of g ** 2``, which is optimal brain damage (LeCun,
    Denker & Solla 1990) with the Fisher information for the Hessian. As a recipe it takes the gradients of
    mini-batches as they come, whose mean square is lower than that of single samples by up to the batch size; `fisher`
    takes single samples. The score is up to the number of steps, which is the same for all.

    Parameters
    ----------
    start, stop : int, int or None
        Watch the steps from `start` on and before `stop`; None never stops.

    Examples
    --------
    >>> import neurograph as ng
    >>> X, y, *_ = ng.datasets.load_digits()
    >>> net, fisher = ng.topologies.layered([64, 20, 10], seed=0), ng.sparsity.Fisher()
    >>> _ = ng.Trainer(net, rewire=fisher).fit(X, y, progress=False)
    >>> ng.sparsity.prune_lowest(net, score=fisher.score, fraction=0.5)
    740
    """

    column = "fisher"

    def _increment(self, weight: np.ndarray, grad: np.ndarray) -> np.ndarray:
        return grad * grad

    def score(self, conns: Connections, rng: np.random.Generator) -> np.ndarray:
        """The score of each connection, with its weight of now."""
        return conns.weight**2 / 2 * conns.state(self.column)


class Taylor(Accumulated):
    """Taylor pruning: the squared change of the loss when a weight goes, to first order, summed over mini-batches.

    Molchanov, Mallya, Tyree, Frosio & Kautz (2019), "Importance estimation for neural network pruning", arXiv
    1906.10771, equation 8: ``(w * g) ** 2``, with each mini-batch's gradient. The earlier criterion of arXiv
    1611.06440, ``|w * g|``, is the score "saliency". `taylor` computes it from data without training.

    Parameters
    ----------
    start, stop : int, int or None
        Watch the steps from `start` on and before `stop`; None never stops.

    Examples
    --------
    >>> import neurograph as ng
    >>> X, y, *_ = ng.datasets.load_digits()
    >>> net, taylor = ng.topologies.layered([64, 20, 10], seed=0), ng.sparsity.Taylor()
    >>> _ = ng.Trainer(net, rewire=taylor).fit(X, y, progress=False)
    >>> ng.sparsity.prune_lowest(net, score=taylor.score, fraction=0.5)
    740
    """

    column = "taylor"

    def _increment(self, weight: np.ndarray, grad: np.ndarray) -> np.ndarray:
        return (weight * grad) ** 2


def fisher(net: Network, X: Any, Y: Any, loss: Any = "cross_entropy", batch_size: int = 1) -> np.ndarray:
    """Score each connection by the empirical Fisher information: ``w ** 2 / 2 * mean of g ** 2``, as `Fisher`.

    Parameters
    ----------
    net : Network
        Its weights stay; the gradients are those of the last batch then.
    X, Y, loss
        As in `Network.backward`.
    batch_size : int
        Samples of each gradient: 1 is the empirical Fisher information, one backward pass a sample; more is faster and
        rougher.

    Returns
    -------
    ndarray of float64, shape (n_connections,)
        For `prune_lowest` as its `score`, in the order of ``net.connections``.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.Network(dtype="float64")
    >>> _ = net.connect(net.add_inputs(1), net.add_outputs(1, bias=0.0), weight=2.0)
    >>> ng.sparsity.fisher(net, [[1.0], [2.0]], [[0.0], [0.0]], loss="mse")   # g: 2 w x ** 2 = 4 and 16
    array([272.])
    """
    return net.connections.weight.astype(np.float64) ** 2 / 2 * _mean(net, X, Y, loss, batch_size, lambda w, g: g**2)


def taylor(net: Network, X: Any, Y: Any, loss: Any = "cross_entropy", batch_size: int = 32) -> np.ndarray:
    """Score each connection by the mean over batches of ``(w * g) ** 2``, as `Taylor`; arguments as `fisher`.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.Network(dtype="float64")
    >>> _ = net.connect(net.add_inputs(1), net.add_outputs(1, bias=0.0), weight=2.0)
    >>> ng.sparsity.taylor(net, [[1.0], [2.0]], [[0.0], [0.0]], loss="mse", batch_size=1)
    array([544.])
    """
    return _mean(net, X, Y, loss, batch_size, lambda w, g: (w * g) ** 2)


def _mean(net: Network, X: Any, Y: Any, loss: Any, batch_size: int, of: Any) -> np.ndarray:
    """Mean over batches, each by its number of samples, of a function of weights and own gradients."""
    checks.whole("batch_size", batch_size, 1)
    X, Y = net.check_inputs(X), np.asarray(Y)
    require(
        Y.ndim > 0 and len(Y) == len(X), f"X has {len(X)} rows and Y has shape {Y.shape}; give one of each a sample"
    )
    conns = net.connections
    weight, total = conns.weight.astype(np.float64), np.zeros(len(conns))
    for start in range(0, len(X), batch_size):
        rows = slice(start, start + batch_size)
        net.backward(X[rows], Y[rows], loss)
        total += len(Y[rows]) * of(weight, conns.own_grad.astype(np.float64))
    return total / len(X)
