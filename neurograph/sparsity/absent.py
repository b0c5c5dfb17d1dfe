"""Gradients of connections that do not exist, from outputs and errors of the pass that was: what growing goes by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import require
from ..errors import InvalidValueError
from .pairs import gradients_at

if TYPE_CHECKING:
    from ..graph import Group
    from ..network import Network

__all__ = ["Signals", "differentiable", "pair_gradients", "shares"]

# Aggregations for which an absent connection has a gradient that its own source and target give.
LINEAR = ("sum", "mean")


def pair_gradients(net: Network, sources: Any, targets: Any) -> np.ndarray:
    """Gradients of the last loss with respect to the weights that absent connections would have, at weight zero.

    The gradient of s -> t is the sum over the mini-batch of the output of s times the error of t (`Group.output` and
    `Group.error` of the last ``net.backward``). Where a target averages, its connections are divided by the fan-in that
    it would have, one more than it has. A pair that is connected, to a target that sums, gets the gradient of its
    connection.

    Parameters
    ----------
    net : Network
        Without delays and time constants; it may have been edited since its last backward pass.
    sources, targets : array of int, or sequence of neurons, shape (n,)
        Pairs of neurons. They are not looked at for cycles.

    Returns
    -------
    ndarray, shape (n,)
        Of the network's dtype.

    Raises
    ------
    InvalidValueError
        The arrays differ in length; a target is an input or aggregates other than by sum or mean; the network depends
        on earlier time steps; or there was no backward pass, or one that was too large to keep.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.Network()
    >>> x, y = net.add_inputs(2), net.add_outputs(1)
    >>> _ = net.connect(x[0], y[0], weight=1.0)
    >>> net.backward([[1.0, 2.0]], [[3.0]], loss="mse")     # y is 1, so the error is 2 * (1 - 3)
    4.0
    >>> pair_gradients(net, [0, 1], [2, 2]).tolist(), net.connections.grad.tolist()
    ([-4.0, -8.0], [-4.0])
    """
    source, target = net.ids_of(sources), net.ids_of(targets)
    require(
        len(source) == len(target),
        f"sources and targets must be of equal length, not {len(source)} and {len(target)}",
    )
    ends, place = np.unique(target, return_inverse=True)
    group = net.group(ends)
    barred = ends[np.isin(ends, net.inputs.ids)]
    if len(barred):
        raise InvalidValueError(f"neuron {barred[0]} is an input, which takes no connections; leave such pairs out")
    kept = differentiable(group)
    if len(kept) < len(ends):
        odd = (group - kept)[0]
        raise InvalidValueError(
            f"neuron {odd.id} aggregates by {odd.aggregation!r}: only connections into neurons that aggregate by "
            f"{' or '.join(LINEAR)} have a gradient before they exist; leave such pairs out"
        )
    signals = Signals.of(net, np.unique(np.concatenate([source, ends])))
    return signals.at_pairs(source, target) * shares(group).astype(net.dtype)[place]


@dataclass(frozen=True)
class Signals:
    """Outputs and errors of neurons in one pass, which give the gradient of any connection between them.

    Parameters
    ----------
    ids : ndarray of int64, shape (n,)
        Of the neurons, ascending.
    outputs, errors : ndarray, shape (batch, n)
    """

    ids: np.ndarray
    outputs: np.ndarray
    errors: np.ndarray

    @classmethod
    def of(cls, net: Network, ids: np.ndarray | None = None) -> Signals:
        """Of neurons with these ascending ids, or of all, in the network's last backward pass.

        Raises
        ------
        InvalidValueError
            There is none that could be used, or not all numbers in it are finite.
        """
        if net.remembers:
            raise InvalidValueError(
                "the gradient of absent connections needs the errors of every time step, which are not kept for a "
                'network with delays or time constants; use grow="random"'
            )
        neurons = net.neurons if ids is None else net.group(ids)
        try:
            signals = cls(neurons.ids, neurons.output, neurons.error)
        except InvalidValueError as error:
            raise InvalidValueError(
                f"absent connections have no gradient: {error}; the outputs and errors of a whole mini-batch are needed"
            ) from None
        for name, values in (("output", signals.outputs), ("error", signals.errors)):
            bad = signals.ids[~np.isfinite(values).all(axis=0)]
            if len(bad):
                raise InvalidValueError(
                    f"the {name} of neuron {bad[0]} in the last pass is not finite, so absent connections have "
                    "no gradient; lower the learning rate"
                )
        return signals

    def at_pairs(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Sum over the batch of output times error, for pairs of ids."""
        place = self._columns(source) * len(self.ids) + self._columns(target)
        distinct, back = np.unique(place, return_inverse=True)
        return gradients_at(self.outputs, self.errors, distinct)[back]

    def add_block(self, source: np.ndarray, target: np.ndarray, block: np.ndarray, factor: float = 1.0) -> None:
        """Add the same, times a factor, to ``block[i, j]`` for every target i and source j."""
        from ..graph import compiled

        # `take` returns rows that lie together, which an index of columns does not; the loops need them so.
        outputs, errors = self.outputs.take(self._columns(source), 1), self.errors.take(self._columns(target), 1)
        errors *= errors.dtype.type(factor)
        compiled.add_outer(errors, outputs, block)

    def _columns(self, ids: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.ids, ids)


def differentiable(targets: Group) -> Group:
    """Those that sum or average, so that a connection that they do not have has a gradient all the same."""
    return targets[np.isin(targets.aggregation, LINEAR)]


def shares(targets: Group, more: int = 1) -> np.ndarray:
    """By what the source's output is multiplied in each target: 1, or 1 / (fan-in + more) where it averages."""
    return np.where(targets.aggregation == "mean", 1 / np.maximum(targets.fan_in + more, 1), 1.0)
