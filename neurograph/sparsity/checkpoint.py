"""A network's parameters and optimizer state at one moment, to go back to after connections were pruned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import require
from ..errors import InvalidValueError
from ..functions import initializers

if TYPE_CHECKING:
    from ..network import Network

__all__ = ["Checkpoint"]


class Checkpoint:
    """Weights, biases, optimizer state and counters of a network, by the ids of connections and neurons.

    It can be restored after pruning: what has survived gets its values back, and nothing else changes. It is no file,
    and it holds neither topology nor random state; `Network.save` does.

    Parameters
    ----------
    net : Network
        The network to remember.

    Raises
    ------
    InvalidValueError
        Weights or biases are not finite, so there is nothing worth going back to.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([4, 5, 3], seed=0)
    >>> before = ng.sparsity.Checkpoint(net)
    >>> old = net.connections.weight
    >>> net.connections.weight *= 2
    >>> ng.sparsity.prune_lowest(net, fraction=0.4)
    14
    >>> before.restore(net)
    >>> bool(np.isin(net.connections.weight, old).all())
    True
    """

    def __init__(self, net: Network):
        conns, neurons = net.connections, net.neurons
        self._ids, self._neurons = conns.id, neurons.ids
        self._wiring = {name: getattr(conns, name) for name in ("source", "target", "delay", "parameter")}
        self._bias_parameter = neurons.bias_parameter
        self._weight, self._bias = conns.weight, neurons.bias
        for values, what in ((self._weight, "weights"), (self._bias, "biases")):
            require(
                bool(np.isfinite(values).all()),
                f"{np.count_nonzero(~np.isfinite(values))} {what} are not finite; make it before training diverges",
            )
        self._state = {name: conns.state(name) for name in conns.states}
        self._bias_state = {name: neurons.state(name) for name in neurons.states}
        self._counters = dict(net.counters)
        self._fan_in = neurons.fan_in[np.searchsorted(self._neurons, self._wiring["target"])]
        self._fan_out = neurons.fan_out[np.searchsorted(self._neurons, self._wiring["source"])]

    def __len__(self) -> int:
        """How many connections it knows."""
        return len(self._ids)

    def check(self, net: Network) -> None:
        """Refuse a network that has connections or neurons that the checkpoint does not know.

        Ids, ends and delays of connections decide, so a copy of the network, pruned or not, is welcome.

        Raises
        ------
        InvalidValueError
            With the first connection or neuron that is not known, and the cure.
        """
        self._places(net)

    def restore(self, net: Network, weights: bool = True) -> None:
        """Give every connection and neuron of the network what it had.

        State that an optimizer has added since becomes zero, as it would be in a network that goes on from there.

        Parameters
        ----------
        net : Network
            The network, which may have lost connections and neurons since.
        weights : bool
            False leaves weights and biases alone and takes back the optimizer's state and counters only, and so the
            learning-rate schedules, which follow the counters.

        Raises
        ------
        InvalidValueError
            The network has connections that the checkpoint does not know. Nothing has changed then.
        """
        at, of = self._places(net)
        self._write(net, at, of, self._weight[at] if weights else None)

    def redraw(self, net: Network, weight: Any = "he") -> None:
        """As `restore`, but with new random weights, by the fan-in and fan-out at the time of the checkpoint.

        This is the control for lottery tickets: the same connections from other initial weights of the same
        distribution. Drawn by the fan-in that pruning has left, the weights would be larger.

        Parameters
        ----------
        net : Network
            As for `restore`.
        weight : str, float, array or function
            Initializer, as in `Network.connect`; the network's random generator draws.

        Raises
        ------
        InvalidValueError
            As for `restore`, or the initializer cannot be used. Nothing has changed then.
        """
        at, of = self._places(net)
        _, first, tied = np.unique(self._wiring["parameter"][at], return_index=True, return_inverse=True)
        random = net.rng.bit_generator.state
        try:
            drawn = initializers.initialize(
                weight, self._fan_in[at][first], self._fan_out[at][first], net.rng, self._weight.dtype
            )
            self._write(net, at, of, np.broadcast_to(drawn, len(first))[tied])
        except BaseException:
            net.rng.bit_generator.state = random
            raise

    def _write(self, net: Network, at: np.ndarray, of: np.ndarray, weight: np.ndarray | None) -> None:
        conns, neurons = net.connections, net.neurons
        if weight is not None:
            conns.weight = weight
            neurons.bias = self._bias[of]
        for members, state, places in ((conns, self._state, at), (neurons, self._bias_state, of)):
            for name in dict.fromkeys((*members.states, *state)):
                members.set_state(name, state[name][places] if name in state else 0.0)
        net.counters.clear()
        net.counters.update(self._counters)

    def _places(self, net: Network) -> tuple[np.ndarray, np.ndarray]:
        """Where the network's connections and neurons are in the checkpoint."""
        require(
            net.dtype == self._weight.dtype,
            f"the checkpoint is of a network of {self._weight.dtype}, not of {net.dtype}; make one of this network",
        )
        conns, neurons = net.connections, net.neurons
        at, known = _find(self._ids, conns.id)
        for name, values in self._wiring.items():
            known &= values[at] == getattr(conns, name) if len(values) else False
        if not known.all():
            stranger = conns[int(known.argmin())]
            raise InvalidValueError(
                f"the checkpoint knows {len(self)} connections, but not {int((~known).sum())} of the {len(conns)} of "
                f"this network, the first of them connection {stranger.id} ({stranger.source.id} -> "
                f"{stranger.target.id}); restore before new ones grow, or make a new checkpoint of this network"
            )
        of, known = _find(self._neurons, neurons.ids)
        known &= self._bias_parameter[of] == neurons.bias_parameter if len(of) else True
        require(
            bool(known.all()),
            f"the checkpoint does not know neuron {neurons.ids[known.argmin()] if len(known) else ''} of this network; "
            "make a new checkpoint of it",
        )
        return at, of


def _find(ids: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place of each of ``wanted`` in the ascending ``ids``, and whether it is there."""
    if not len(ids):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    at = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    return at, ids[at] == wanted
