"""What a recipe is: up to three things that happen in every training step, around the update of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InvalidValueError

if TYPE_CHECKING:
    from ..network import Network

__all__ = ["Recipe", "Watch"]


class Recipe:
    """Base of methods that change a network while it trains; a subclass fills the methods that it needs.

    A `Trainer` calls them in this order, several recipes one after another: `before_backward`, then the network runs
    forward and backward, `before_update`, the optimizer moves the weights, `step`. Without a trainer call them
    yourself. The number of the step is the same in all three, 1 for the first.

    Examples
    --------
    >>> import neurograph as ng
    >>> class WeightDecay(ng.sparsity.Recipe):
    ...     def before_update(self, net, step):
    ...         net.connections.grad += 1e-4 * net.connections.weight
    >>> net = ng.topologies.layered([2, 4, 1], seed=0)
    >>> trainer = ng.Trainer(net, loss="mse", rewire=[WeightDecay(), ng.sparsity.SET(every=10)])
    """

    def before_backward(self, net: Network, step: int) -> None:
        """Before the network runs: what the weights are in this step, such as weights times gates."""

    def before_update(self, net: Network, step: int) -> None:
        """The gradients are there; add to them, as a regulariser does."""

    def step(self, net: Network, step: int) -> Any:
        """The weights have moved; prune and grow."""


class Watch:
    """Remembers how a recipe left a network, and refuses to go on when its connections have changed since.

    A recipe that keeps a value for each connection is of no use once someone else has pruned or grown.

    Parameters
    ----------
    name : str
        Of the recipe, for the message.

    Examples
    --------
    >>> import neurograph as ng
    >>> net, watch = ng.topologies.layered([2, 2], seed=0), Watch("ADMM")
    >>> watch.first(net), watch.first(net)
    (True, False)
    >>> net.connections[:2].remove()
    2
    >>> watch.first(net)
    Traceback (most recent call last):
    neurograph.errors.InvalidValueError: ADMM knew 4 connections, but the network was changed by someone else and has
    2 now; make a new ADMM for it
    """

    def __init__(self, name: str):
        self._name = name
        self._net: Network | None = None
        self._version = self._count = -1

    def first(self, net: Network) -> bool:
        """Whether the network is seen for the first time.

        Raises
        ------
        InvalidValueError
            It is another network than before, or its connections have changed.
        """
        if self._net is None:
            self.mark(net)
            return True
        if net is not self._net:
            raise InvalidValueError(f"{self._name} belongs to another network; make a new {self._name} for this one")
        if net.version != self._version:
            raise InvalidValueError(
                f"{self._name} knew {self._count} connections, but the network was changed by someone else and has "
                f"{net.n_connections} now; make a new {self._name} for it"
            )
        return False

    def mark(self, net: Network) -> None:
        """The network is as the recipe wants it."""
        self._net, self._version, self._count = net, net.version, net.n_connections
