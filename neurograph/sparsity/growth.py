"""Where new connections grow: at random, or where the gradient of what is absent is largest, now or on average."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..checks import require
from ..errors import InvalidValueError
from ..sampling import subset
from .absent import LINEAR, Signals, differentiable, shares
from .allowed import Allowed, blocks
from .select import lowest

if TYPE_CHECKING:
    from ..graph import Connections, Group
    from ..network import Network

__all__ = ["Gradient", "Grower", "Momentum", "Place", "Random", "largest_absent", "split"]

NEGLIGIBLE = 0.01  # part of its weight in the average at which a mini-batch is forgotten


@dataclass(frozen=True)
class Place:
    """So many connections to be grown, with a delay, between two groups.

    Examples
    --------
    >>> Place(sources=None, targets=None, count=3, delay=0).count
    3
    """

    sources: Group
    targets: Group
    count: int
    delay: int


class Grower(ABC):
    """Base of the ways to grow; `Rewire` calls these methods, all but `grow` at every step.

    Parameters
    ----------
    allowed : Allowed, optional

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([4, 5, 3], density=0.5, seed=0)
    >>> len(Random().grow(net, net.inputs, net.groups["hidden 1"], 3, net.rng))
    3
    """

    def __init__(self, allowed: Allowed | None = None):
        self.allowed = allowed or Allowed()

    def start(self, net: Network) -> None:
        """A network, perhaps one that was never seen."""
        self.allowed.start(net)

    def record(self, net: Network, step: int, left: int) -> None:  # noqa: B027 - most ways need no gradients
        """The gradients of a step are there, so many steps before the next rewiring."""

    def prepare(self, net: Network, places: list[Place]) -> None:
        """Before anything is removed: refuse what could not be grown."""
        self.allowed.check(net, [(place.sources, place.targets) for place in places])

    @abstractmethod
    def grow(
        self, net: Network, sources: Group, targets: Group, count: int, rng: np.random.Generator, delay: int = 0
    ) -> Connections:
        """Grow connections of weight zero: ``count``, or as many as there are free and allowed pairs."""


class Random(Grower):
    """Uniformly among the free and allowed pairs; parameters as in `Grower`.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([4, 5], density=0.5, seed=0)
    >>> grower = Random(Allowed([(net.inputs[:2], net.outputs)]))
    >>> set(grower.grow(net, net.inputs, net.outputs, 3, net.rng).source.tolist()) <= {0, 1}
    True
    """

    def grow(
        self, net: Network, sources: Group, targets: Group, count: int, rng: np.random.Generator, delay: int = 0
    ) -> Connections:
        """Grow connections; see `Grower.grow`."""
        if self.allowed.pairs is None:
            return net.grow(sources, targets, count, weight="zeros", rng=rng, delay=delay)
        # Twice through all pairs instead of once and keeping them.
        sizes = [np.count_nonzero(mask) for *_, mask in blocks(net, sources, targets, self.allowed, delay)]
        ends = np.cumsum([0, *sizes])
        drawn = subset(int(ends[-1]), min(count, int(ends[-1])), rng)
        cuts = np.searchsorted(drawn, ends)
        chosen: list[tuple[np.ndarray, np.ndarray]] = []
        for i, (source, target, mask) in enumerate(blocks(net, sources, targets, self.allowed, delay)):
            if cuts[i] < cuts[i + 1]:
                t, s = np.divmod(np.flatnonzero(mask)[drawn[cuts[i] : cuts[i + 1]] - ends[i]], len(source))
                chosen.append((source[s], target[t]))
        return _connect(net, chosen, delay)


class Gradient(Grower):
    """Where the gradient of the last mini-batch is largest in absolute value; parameters as in `Grower`.

    Evci et al. (2020), "Rigging the lottery: making all tickets winners", arXiv 1911.11134.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([3, 2], density=0.5, seed=0)
    >>> _ = net.backward([[0.0, 1.0, 2.0]], [[1.0, 1.0]])
    >>> grower = Gradient()
    >>> grower.prepare(net, [])
    >>> len(grower.grow(net, net.inputs, net.outputs, 2, net.rng)), net.n_connections
    (2, 5)
    """

    def __init__(self, allowed: Allowed | None = None):
        super().__init__(allowed)
        self._signals: list[tuple[float, Signals]] = []

    def prepare(self, net: Network, places: list[Place]) -> None:
        """Read the last pass; `Grower.prepare`."""
        super().prepare(net, places)
        _require_differentiable(places)
        self._signals = [(1.0, Signals.of(net))]

    def grow(
        self, net: Network, sources: Group, targets: Group, count: int, rng: np.random.Generator, delay: int = 0
    ) -> Connections:
        """Grow connections; see `Grower.grow`."""
        pair = largest_absent(net, sources, targets, count, self._signals, self.allowed)
        return _connect(net, [pair], delay)


class Momentum(Gradient):
    """Where the exponentially smoothed gradient is largest in absolute value.

    Dettmers & Zettlemoyer (2019), "Sparse networks from scratch: faster training without losing performance", arXiv
    1907.04840: M = alpha M + (1 - alpha) gradient, also of weights that are not there. That average over mini-batches
    is a sum of products of outputs and errors, so those of the last ones are kept instead of it, until their factor
    is below 1% of the latest one's: 44 mini-batches for alpha = 0.9, of (batch, n_neurons) numbers twice.

    Parameters
    ----------
    allowed : Allowed, optional
    alpha : float
        In [0, 1).
    redistribute : bool
        The pairs of homes share what is grown in proportion to the mean absolute momentum of their connections,
        before any is removed. Without it each gets what it lost.

    Examples
    --------
    >>> Momentum(alpha=0.9).window
    44
    """

    def __init__(self, allowed: Allowed | None = None, alpha: float = 0.9, redistribute: bool = False):
        super().__init__(allowed)
        require(
            isinstance(alpha, int | float | np.number) and 0 <= alpha < 1,
            f"alpha is {alpha!r}; give a number from 0 to below 1",
        )
        self.alpha, self.redistribute = float(alpha), bool(redistribute)
        self.window = 1 if alpha == 0 else math.floor(math.log(NEGLIGIBLE) / math.log(alpha)) + 1
        self._kept: deque[Signals] = deque(maxlen=self.window)
        self._last = 0
        self._shares: dict[tuple[int, int], float] = {}

    def record(self, net: Network, step: int, left: int) -> None:
        """Keep outputs and errors of this mini-batch if they will still matter at the next rewiring."""
        if left >= self.window:
            return
        if step != self._last + 1:
            self._kept.clear()
        self._kept.append(Signals.of(net))
        self._last = step

    def prepare(self, net: Network, places: list[Place]) -> None:
        """Weigh what was recorded; `Grower.prepare`."""
        Grower.prepare(self, net, places)
        _require_differentiable(places)
        ids = net.neurons.ids
        while self._kept and not np.array_equal(self._kept[0].ids, ids):  # neurons came or went since
            self._kept.popleft()
        if not self._kept:
            raise InvalidValueError(
                'grow="momentum" has seen no mini-batch of this network; train by a Trainer, or call `before_update` '
                "after each backward pass"
            )
        newest = len(self._kept) - 1
        factors = [(1 - self.alpha) * self.alpha ** (newest - i) for i in range(len(self._kept))]
        self._signals = list(zip(factors, self._kept, strict=True))

    def means(self, net: Network) -> tuple[np.ndarray, np.ndarray]:
        """Regions of the network, as of `Connections.regions`, and the mean absolute momentum of their connections."""
        conns = net.connections
        regions, number = conns.regions()
        source, target = conns.source, conns.target
        momentum = np.zeros(len(conns), net.dtype)
        for factor, signals in self._signals:
            momentum += net.dtype.type(factor) * signals.at_pairs(source, target)
        ends, place = np.unique(target, return_inverse=True)
        group = net.group(ends)
        counted = np.isin(group.aggregation, LINEAR)[place]
        momentum = np.abs(momentum * shares(group, 0).astype(net.dtype)[place])
        sums = np.bincount(number[counted], weights=momentum[counted], minlength=len(regions))
        sizes = np.bincount(number[counted], minlength=len(regions))
        return regions[sizes > 0], sums[sizes > 0] / sizes[sizes > 0]


def largest_absent(
    net: Network,
    sources: Group,
    targets: Group,
    count: int,
    signals: Iterable[tuple[float, Signals]],
    allowed: Allowed | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The free and allowed pairs of largest absolute gradient, exactly ``count`` where there are as many.

    Of equal ones the smallest target id is taken, and of these the smallest source id. Goes through the pairs some
    targets at a time and keeps the best so far, so memory does not grow with the number of pairs.

    Parameters
    ----------
    net : Network
    sources, targets : Group
        Targets that neither sum nor average are passed over.
    count : int
    signals : iterable of (float, Signals)
        What the gradient is a weighted sum of.
    allowed : Allowed, optional

    Returns
    -------
    source, target : ndarray of int64
        Ids, by ascending target, then source.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([3, 2], density=0.0)
    >>> _ = net.backward([[1.0, 3.0, 2.0]], [[1.0, 4.0]])
    >>> source, target = largest_absent(net, net.inputs, net.outputs, 2, [(1.0, Signals.of(net))])
    >>> source.tolist(), target.tolist()
    ([1, 2], [4, 4])
    """
    signals, targets = list(signals), differentiable(targets)
    best, at = np.zeros(0, net.dtype), np.zeros(0, np.int64)
    radix = int(net.neurons.ids.max(initial=0)) + 1
    share = np.zeros(radix, net.dtype)
    share[targets.ids] = shares(targets)
    for source, target, mask in blocks(net, sources, targets, allowed) if count > 0 else ():
        products = np.zeros(mask.shape, net.dtype)
        for factor, signal in signals:
            signal.add_block(source, target, products, factor)
        products *= share[target][:, None]
        np.abs(products, out=products)
        if len(best) == count:
            mask &= products >= best.min()
        t, s = np.nonzero(mask)
        best = np.concatenate([best, products[t, s]])
        at = np.concatenate([at, target[t] * radix + source[s]])
        kept = lowest(-best, at, count)
        best, at = best[kept], at[kept]
    target, source = np.divmod(np.sort(at), radix)
    return source, target


def _require_differentiable(places: list[Place]) -> None:
    for place in places:
        if len(place.targets) and not len(differentiable(place.targets)):
            neuron = place.targets[0]
            raise InvalidValueError(
                f"no connection into neurons {place.targets.ids[:3].tolist()}... has a gradient before it exists, for "
                f"they aggregate by {neuron.aggregation!r}; freeze their connections, or use grow='random'"
            )


def _connect(net: Network, pairs: list[tuple[np.ndarray, np.ndarray]], delay: int) -> Connections:
    """Connect pairs of ids."""
    source, target = (np.concatenate([np.zeros(0, np.int64), *(pair[i] for pair in pairs)]) for i in (0, 1))
    return net.add_connections(source, target, weight="zeros", delay=delay)


def split(total: int, weights: np.ndarray) -> np.ndarray:
    """Whole numbers of a given sum, in proportion to weights: what is left after rounding down by largest remainder.

    Parameters
    ----------
    total : int
    weights : ndarray of float
        At least 0; all alike if none is above 0.

    Returns
    -------
    ndarray of int64

    Examples
    --------
    >>> split(10, np.array([1.0, 1.0, 2.0])).tolist()
    [3, 2, 5]
    """
    if not len(weights):
        return np.zeros(0, np.int64)
    weights = weights if weights.sum() > 0 else np.ones(len(weights))
    exact = total * (weights / weights.sum())
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: max(total - int(counts.sum()), 0)]] += 1
    return counts
