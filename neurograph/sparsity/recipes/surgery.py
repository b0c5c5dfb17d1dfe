"""Dynamic network surgery."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import checks
from ...errors import InvalidValueError
from ..loose import loose_connections, prune_known
from ..pairs import gradients_at
from ..recipe import Recipe, Watch
from ..rewire import Rewired

if TYPE_CHECKING:
    from ...graph import Connections, Group
    from ...network import Network

__all__ = ["DynamicNetworkSurgery"]


class DynamicNetworkSurgery(Recipe):
    """Dynamic network surgery: prune what is small, go on training it, and splice it back once it has grown.

    Guo, Yao & Chen (2016), "Dynamic network surgery for efficient DNNs", arXiv 1608.04493. Each pair of homes k (a pair
    of layers) has two thresholds (equation 3) from the mean and the standard deviation of its absolute weights when the
    surgery begins, as in the authors' code::

        a_k = (1 - margin) * max(mean + c_rate * std, 0)
        b_k = (1 + margin) * max(mean + c_rate * std, 0)

    A connection with ``|w| <= a_k`` is pruned, a pruned one with ``|w| > b_k`` is spliced back, and between the two
    nothing happens. Each pair of homes is operated on at each step with probability ``(1 + gamma * iter) ** -power``,
    iter being 0 at the first. Pruned weights go on learning (equation 2): ``w <- w - beta * dL/dw``, where the loss is
    that of the pruned network.

    The paper multiplies by masks; here what is pruned is removed from the network. Its weights are kept by the recipe,
    outside of the network, and the gradient by a connection that is not there is the product of its source's output and
    its target's error, summed over the batch by BLAS. What is spliced back begins with its weight and without optimizer
    state. So an Adam or a momentum of the network is not theirs: give ``beta`` the size of step that the optimizer
    takes. Begin with a network that is trained. Biases are not pruned. Frozen connections are structure: they stay, and
    are not counted.

    A new recipe on a network that was loaded begins with the connections that it finds and thresholds of their weights;
    what the old one had pruned is not in the file.

    Parameters
    ----------
    beta : float or schedule
        Learning rate of the pruned weights; a schedule is called with iter.
    c_rate : float, or mapping
        How far above the mean the thresholds are, in standard deviations. A number for each pair of homes:
        ``{(0, 1): 3.0, (1, 2): 2.5}``, homes being numbered in the order of the ``add_...`` calls.
    gamma, power : float
        How fast surgery becomes rare.
    stop : int, optional
        Step of the last surgery (the authors' iter_stop). After it pruned weights are forgotten, and the network trains
        on as it is.
    margin : float
        Half of the gap between the thresholds, as a share of them, 0 to 1.
    weight_decay : float
        Adds ``weight_decay * w`` to the gradient of the pruned weights, as an optimizer may for the others.

    Attributes
    ----------
    thresholds : dict
        ``(source home, target home) -> (a_k, b_k)``.

    Raises
    ------
    InvalidValueError
        A number is out of range; in training, a pair of homes without a c_rate, connections with delays or with shared
        parameters, targets that do not sum, or connections that were changed by someone else.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([20, 30, 5], seed=0)
    >>> surgery = ng.sparsity.DynamicNetworkSurgery(beta=0.1, c_rate=1.0, stop=50)
    >>> trainer = ng.Trainer(net, optimizer=ng.optim.SGD(lr=0.1), rewire=surgery)
    >>> X, y = net.rng.normal(size=(64, 20)), net.rng.integers(0, 5, 64)
    >>> history = trainer.fit(X, y, epochs=10, batch_size=16, progress=False)
    >>> net.n_connections < 250, net.n_connections + surgery.n_pruned
    (True, 750)
    """

    def __init__(
        self,
        beta: float | Callable[[int], float],
        c_rate: float | Mapping[tuple[int, int], float] = 1.0,
        gamma: float = 1e-4,
        power: float = 1.0,
        *,
        stop: int | None = None,
        margin: float = 0.1,
        weight_decay: float = 0.0,
    ):
        if not callable(beta):
            _number("beta", beta, 0)
        for rate in c_rate.values() if isinstance(c_rate, Mapping) else [c_rate]:
            _number("c_rate", rate, -math.inf)
        _number("gamma", gamma, 0)
        _number("power", power, 0)
        _number("weight_decay", weight_decay, 0)
        checks.fraction("margin", margin)
        if stop is not None:
            checks.whole("stop", stop, 0)
        self.beta, self.c_rate, self.gamma, self.power = beta, c_rate, float(gamma), float(power)
        self.stop, self.margin, self.weight_decay = stop, float(margin), float(weight_decay)
        self.thresholds: dict[tuple[int, int], tuple[float, float]] = {}
        self._watch = Watch("DynamicNetworkSurgery")
        self._connections: Connections | None = None
        self._region: np.ndarray
        self._regions: list[_Region] = []

    @property
    def n_pruned(self) -> int:
        """How many weights are pruned and may come back."""
        return sum(len(region.weight) for region in self._regions)

    def probability(self, iter: int) -> float:
        """That a pair of homes is operated on: ``(1 + gamma * iter) ** -power``.

        Examples
        --------
        >>> DynamicNetworkSurgery(beta=0.1, gamma=0.01, power=2.0).probability(100)
        0.25
        """
        return (1 + self.gamma * iter) ** -self.power

    def before_backward(self, net: Network, step: int) -> None:
        """Take the thresholds from the weights, at the first step."""
        if self._connections is None:
            self._begin(net)
        self._watch.first(net)

    def before_update(self, net: Network, step: int) -> None:
        """Update the pruned weights by the gradient of the pass."""
        self._begun()
        self._watch.first(net)
        if not self.n_pruned:
            return
        beta = self.beta(step - 1) if callable(self.beta) else self.beta
        _number("beta", beta, 0)
        outputs: dict[int, np.ndarray] = {}
        errors: dict[int, np.ndarray] = {}
        for region in self._regions:
            if not len(region.weight):
                continue
            source, target = region.homes
            if source not in outputs:
                outputs[source] = region.sources.output
            if target not in errors:
                errors[target] = region.targets.error
            gradient = gradients_at(outputs[source], errors[target], region.place)
            if self.weight_decay:
                gradient += region.weight.dtype.type(self.weight_decay) * region.weight
            region.weight -= region.weight.dtype.type(beta) * gradient

    def step(self, net: Network, step: int) -> Rewired:
        """Prune and splice the pairs of homes that are drawn at this step.

        Parameters
        ----------
        net : Network
        step : int
            1 for the first.

        Returns
        -------
        Rewired
            How many were pruned, and how many spliced back.

        Raises
        ------
        InvalidValueError
            No output would have a connection left, or the network was changed by someone else.
        """
        connections = self._begun()
        self._watch.first(net)
        if self.stop is not None and step > self.stop:
            for region in self._regions:
                region.keep(np.zeros(len(region.weight), bool))
            return Rewired(0, 0)
        drawn = net.rng.random(len(self._regions)) < self.probability(step - 1)
        weight = connections.weight
        lowest = np.array([low for low, _ in self.thresholds.values()])
        cut = drawn[self._region] & (np.abs(weight) <= lowest[self._region])
        back = [(np.abs(region.weight) > region.high) & drawn[i] for i, region in enumerate(self._regions)]
        spliced = [region.pairs(chosen) for region, chosen in zip(self._regions, back, strict=True)]
        doomed = connections[cut]
        source, target, number = doomed.source, doomed.target, self._region[cut]
        removed = prune_known(net, doomed, "DynamicNetworkSurgery")
        grown = sum(map(np.count_nonzero, back))
        if grown:
            columns = [np.concatenate(column) for column in zip(*spliced, strict=True)]
            net.add_connections(columns[0], columns[1], weight=columns[2])
        if not (removed or grown):
            return Rewired(0, 0)
        for i, region in enumerate(self._regions):
            here = number == i
            region.keep(~back[i])
            region.take(source[here], target[here], weight[cut][here])
        self._see(net)
        return Rewired(removed, grown)

    def _begin(self, net: Network) -> None:
        connections = loose_connections(net, "DynamicNetworkSurgery")
        if net.remembers:
            raise InvalidValueError(
                "DynamicNetworkSurgery needs the errors of each pass, which are not kept through time; use another "
                "recipe for networks with delays or time constants"
            )
        targets = net.group(np.unique(connections.target))
        other = targets.aggregation != "sum"
        if other.any():
            raise InvalidValueError(
                f"DynamicNetworkSurgery needs targets that sum, but neuron {targets.ids[other][0]} takes the "
                f"{targets.aggregation[other][0]} of its inputs; freeze its connections, or use another recipe"
            )
        found, number = connections.regions()
        homes, weight = net.homes, np.abs(connections.weight.astype(np.float64))
        regions, thresholds = [], {}
        for i, (source, target, _) in enumerate(found.tolist()):
            here = weight[number == i]
            middle = max(here.mean() + self._rate(source, target) * here.std(), 0.0)
            thresholds[source, target] = (1 - self.margin) * middle, (1 + self.margin) * middle
            regions.append(_Region((source, target), homes[source], homes[target], thresholds[source, target][1]))
        self._regions, self.thresholds = regions, thresholds
        self._connections, self._region = connections, number

    def _rate(self, source: int, target: int) -> float:
        if not isinstance(self.c_rate, Mapping):
            return float(self.c_rate)
        if (source, target) not in self.c_rate:
            raise InvalidValueError(
                f"c_rate has no number for the connections from home {source} to home {target}; give one for "
                f"({source}, {target})"
            )
        return float(self.c_rate[source, target])

    def _see(self, net: Network) -> None:
        """Take the network as it is now."""
        connections = loose_connections(net, "DynamicNetworkSurgery")
        found, number = connections.regions()
        known = {homes: i for i, homes in enumerate(self.thresholds)}
        place = np.array([known[source, target] for source, target, _ in found.tolist()], np.int64)
        self._connections, self._region = connections, place[number]
        self._watch.mark(net)

    def _begun(self) -> Connections:
        if self._connections is None:
            raise InvalidValueError(
                "DynamicNetworkSurgery has no thresholds yet; call its before_backward before the first backward, or "
                "hand it to a Trainer"
            )
        return self._connections


class _Region:
    """The pruned weights from one home to another, ascending by source and then by target."""

    def __init__(self, homes: tuple[int, int], sources: Group, targets: Group, high: float):
        self.homes, self.sources, self.targets, self.high = homes, sources, targets, high
        self._source_ids, self._target_ids = sources.ids, targets.ids
        self.place = np.zeros(0, np.int64)  # of the source in its home, times the targets, plus that of the target
        self.weight = np.zeros(0)

    def pairs(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Source ids, target ids and weights of some."""
        row, column = np.divmod(self.place[chosen], len(self._target_ids))
        return self._source_ids[row], self._target_ids[column], self.weight[chosen]

    def keep(self, kept: np.ndarray) -> None:
        """Forget all others."""
        if not kept.all():
            self.place, self.weight = self.place[kept], self.weight[kept]

    def take(self, source: np.ndarray, target: np.ndarray, weight: np.ndarray) -> None:
        """Take in pairs of ids with their weights."""
        if not len(source):
            return
        row, column = np.searchsorted(self._source_ids, source), np.searchsorted(self._target_ids, target)
        place = row * len(self._target_ids) + column
        order = np.argsort(place, kind="stable")
        where = np.searchsorted(self.place, place[order])
        self.place = np.insert(self.place, where, place[order])
        self.weight = np.insert(self.weight.astype(weight.dtype, copy=False), where, weight[order])


def _number(name: str, value: Any, lowest: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not lowest <= value < math.inf:
        at_least = "" if lowest == -math.inf else f", {lowest} or more"
        raise InvalidValueError(f"{name} is {value!r}; give a finite number{at_least}.")
