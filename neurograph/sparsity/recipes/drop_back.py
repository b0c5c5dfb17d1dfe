"""DropBack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ... import checks
from ...errors import InvalidValueError
from ..loose import loose_connections, prune_known
from ..recipe import Recipe, Watch
from ..select import lowest

if TYPE_CHECKING:
    from ...graph import Connections, Group
    from ...network import Network

__all__ = ["DropBack"]


class DropBack(Recipe):
    """DropBack: a budget of weights that may differ from their initial values, from the first step on.

    Golub, Lemieux & Lis (2018), "Full deep neural network training on a pruned weight budget", arXiv 1806.06949,
    algorithm 1. After every update the ``budget`` weights with the largest accumulated change ``|w - w0|`` are tracked;
    every other one is set back to its initial value ``w0``, which the paper regenerates from the seed instead of
    storing it. Weights and biases compete for one budget, as in the paper, whose 784-100-100-10 network has 89,610 of
    both. With ``decay`` below 1 the initial values are multiplied by it before each comparison (0.9 in the paper), so
    that untracked weights go to zero. Once the factor is below the rounding of the network's dtype they are zero, their
    connections are removed, and the tracked ones stay the same from then on.

    The paper trains with plain SGD, for which ``w - w0`` is the sum of the gradients; other optimizers work, but the
    moments of untracked weights stay in their state. Frozen connections and biases are structure: they stay, and are
    not counted. `before_backward` has to be called before the first update, for it notes the initial values. A new
    DropBack on a network that was loaded counts from the weights that it finds; the initial ones are not in the file.

    Parameters
    ----------
    budget : int
        Number of weights and biases that may differ from their initial values.
    decay : float
        Factor of the initial values at each step, 0 to 1; 1 keeps them.
    freeze : int, optional
        Step after which the tracked set stays the same.
    biases : bool
        Whether biases are in the budget; if not, they are trained as usual.

    Attributes
    ----------
    churn : list of int
        How many weights and biases entered the tracked set at each step; the first entry is the budget.

    Raises
    ------
    InvalidValueError
        A number is out of range; in training, a budget larger than the network, connections that share parameters, or
        connections that were changed by someone else.

    Examples
    --------
    >>> import neurograph as ng
    >>> X, Y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [[0.0], [1.0], [1.0], [0.0]]
    >>> net = ng.topologies.layered([2, 8, 1], activation="tanh", seed=0)
    >>> before = net.connections.weight
    >>> dropback = ng.sparsity.DropBack(budget=10)
    >>> trainer = ng.Trainer(net, loss="mse", optimizer=ng.optim.SGD(lr=0.5), rewire=dropback)
    >>> history = trainer.fit(X, Y, epochs=5, progress=False)
    >>> dropback.n_tracked, len(dropback.churn)
    (10, 5)
    >>> int((net.connections.weight != before).sum() + (net.neurons.bias != 0).sum()) <= 10
    True
    """

    def __init__(self, budget: int, decay: float = 1.0, freeze: int | None = None, biases: bool = True):
        checks.whole("budget", budget, 1)
        checks.fraction("decay", decay)
        if freeze is not None:
            checks.whole("freeze", freeze, 1)
        self.budget, self.decay, self.freeze, self.biases = budget, float(decay), freeze, bool(biases)
        self.churn: list[int] = []
        self._watch = Watch("DropBack")
        self._factor = 1.0
        self._chosen = self._settled = False
        self._connections: Connections | None = None
        self._neurons: Group
        self._initial: np.ndarray
        self._ids: np.ndarray
        self._tracked: np.ndarray

    @property
    def n_tracked(self) -> int:
        """How many weights and biases are tracked; 0 before the first step."""
        return 0 if self._connections is None else int(np.count_nonzero(self._tracked))

    @property
    def tracked(self) -> Connections:
        """The connections that are tracked."""
        connections = self._begun()
        return connections[self._tracked[: len(connections)]]

    @property
    def tracked_biases(self) -> Group:
        """The neurons whose biases are tracked."""
        return self._neurons[self._tracked[len(self._begun()) :]]

    def before_backward(self, net: Network, step: int) -> None:
        """Note the initial values, at the first step."""
        if self._connections is None:
            self._begin(net)
        self._watch.first(net)

    def step(self, net: Network, step: int) -> int:
        """Choose what is tracked, and set everything else back.

        Parameters
        ----------
        net : Network
        step : int
            1 for the first.

        Returns
        -------
        int
            How many weights and biases entered the tracked set.

        Raises
        ------
        InvalidValueError
            `before_backward` was never called, or the network was changed by someone else.
        """
        connections = self._begun()
        self._watch.first(net)
        n = len(connections)
        values = np.concatenate([connections.weight, self._neurons.bias])
        self._factor *= self.decay
        vanished = self._factor < np.finfo(values.dtype).eps
        base = self._initial * values.dtype.type(0 if vanished else self._factor)
        entered = 0
        if not self._chosen or not (self._settled or (self.freeze is not None and step > self.freeze)):
            tracked = np.zeros(len(values), bool)
            # Negative, so that of equal changes the oldest ones are tracked.
            tracked[lowest(-np.abs(values - base), self._ids, self.budget)] = True
            entered = int(np.count_nonzero(tracked & ~self._tracked))
            self._tracked, self._chosen = tracked, True
        values = np.where(self._tracked, values, base)
        connections.weight, self._neurons.bias = values[:n], values[n:]
        self.churn.append(entered)
        if vanished and not self._settled:
            self._settle(net, connections)
        return entered

    def _begin(self, net: Network) -> None:
        connections = loose_connections(net, "DropBack")
        neurons = net.neurons - net.inputs
        neurons = neurons[~neurons.bias_frozen] if self.biases else neurons[:0]
        if len(np.unique(neurons.bias_parameter)) < len(neurons):
            raise InvalidValueError("DropBack keeps a value for each bias, but biases are shared; `net.untie` them")
        size = len(connections) + len(neurons)
        if self.budget > size:
            what = "weights and biases" if self.biases else "weights"
            raise InvalidValueError(
                f"budget is {self.budget}, but the network has {size} {what} that are not frozen; give at most so many"
            )
        self._initial = np.concatenate([connections.weight, neurons.bias])
        first = connections.id.max(initial=-1) + 1
        self._ids = np.concatenate([connections.id, first + neurons.ids])
        self._tracked = np.zeros(size, bool)
        self._connections, self._neurons = connections, neurons

    def _settle(self, net: Network, connections: Connections) -> None:
        """What is not tracked is zero for good: remove those connections."""
        n = len(connections)
        kept = self._tracked.copy()
        kept[n:] = True
        prune_known(net, connections[~kept[:n]], "DropBack")
        self._connections = connections[kept[:n]]
        self._initial, self._ids, self._tracked = self._initial[kept], self._ids[kept], self._tracked[kept]
        self._settled = True
        self._watch.mark(net)

    def _begun(self) -> Connections:
        if self._connections is None:
            raise InvalidValueError(
                "DropBack does not know the initial weights; call its before_backward before the first backward, "
                "or hand it to a Trainer"
            )
        return self._connections
