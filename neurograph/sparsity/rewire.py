"""Prune and grow: a network that keeps its number of connections and changes where they are."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import checks
from ..errors import InvalidValueError, UnknownNameError
from .prune import candidates, choose
from .scores import resolve

if TYPE_CHECKING:
    from ..graph import Connections, Group
    from ..network import Network

__all__ = ["GROWERS", "Rewire", "Rewired", "grow_random"]


class Rewired(NamedTuple):
    """What one rewiring did.

    Attributes
    ----------
    removed : int
        Number of connections that were removed.
    grown : int
        Number of connections that were grown; fewer than `removed` only where no free pair was left.

    Examples
    --------
    >>> Rewired(removed=30, grown=30).grown
    30
    """

    removed: int
    grown: int


def grow_random(
    net: Network, sources: Group, targets: Group, count: int, rng: np.random.Generator, delay: int = 0
) -> Connections:
    """Grow connections at places drawn uniformly from the free pairs that close no cycle.

    Parameters
    ----------
    net : Network
        The network to change.
    sources, targets : Group
        Where new connections may start and end.
    count : int
        How many to grow.
    rng : numpy.random.Generator
        Draws the places.
    delay : int
        Of the new connections, in time steps.

    Returns
    -------
    Connections
        The new ones, `count` or as many as there were free pairs.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([4, 5, 3], density=0.5, seed=0)
    >>> len(grow_random(net, net.groups["inputs"], net.groups["hidden 1"], 3, net.rng))
    3
    """
    return net.grow(sources, targets, count, weight="zeros", rng=rng, delay=delay)


GROWERS: dict[str, Callable] = {"random": grow_random}


@dataclass(frozen=True)
class Rewire:
    """Every so many steps, remove the connections of lowest score and grow as many new ones.

    Hand it to the Trainer as `rewire=`, or call `step` after every update. A connection with a delay is replaced by one
    with the same delay, so a recurrent network keeps its numbers of both. A new connection may take the place of one
    that has just been removed, as in SET; it starts with fresh optimizer state all the same, and with a parameter of
    its own, also where the removed one shared one. Frozen connections are structure: they stay, and are not counted.

    Parameters
    ----------
    drop : str or function
        Score whose lowest connections go: a name out of `SCORES`, or a function `(connections, rng) -> array`.
    grow : str or function
        Where new connections appear: "random", or a function `(net, sources, targets, count, rng) -> Connections`. For
        connections with a delay it is called with `delay=...` as well.
    fraction : float or schedule
        Share of the connections to replace, 0 to 1; a schedule is called with the step.
    every : int
        Number of steps between two rewirings.
    scope : {"local", "global"}
        "local": each pair of homes, and each delay between them, loses `fraction` of its connections and gets exactly
        as many new ones, so the density of every pair of layers stays. "global": the lowest scores of the whole network
        go, and the new connections, as many with each delay as went, may appear between any two neurons.
    start, stop : int, int or None
        Rewire at steps from `start` on and before `stop`; None never stops.
    weight : str, number or function
        Initializer of new connections. With "zeros" the network computes the same function after growing.

    Raises
    ------
    UnknownNameError
        The score, the way to grow or the scope is not known.
    InvalidValueError
        A number is out of range.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([4, 5, 3], density=0.4, seed=0)
    >>> ng.sparsity.Rewire(fraction=0.5, every=100).step(net, 100)
    Rewired(removed=7, grown=7)
    >>> net.n_connections
    14
    """

    drop: str | Callable = "magnitude"
    grow: str | Callable = "random"
    fraction: float | Callable = 0.3
    every: int = 200
    scope: str = "local"
    start: int = 0
    stop: int | None = None
    weight: Any = "zeros"

    def __post_init__(self) -> None:
        resolve(self.drop)
        if not callable(self.grow) and self.grow not in GROWERS:
            raise UnknownNameError(f"There is no way to grow {self.grow!r}. Known: {', '.join(GROWERS)}.")
        if self.scope not in ("local", "global"):
            raise UnknownNameError(f"Rewire has no scope {self.scope!r}. Known scopes: local, global.")
        if not callable(self.fraction):
            checks.fraction("fraction", self.fraction)
        checks.whole("every", self.every, 1)
        checks.whole("start", self.start, 0)
        if self.stop is not None:
            checks.whole("stop", self.stop, 0)

    def step(self, net: Network, step: int) -> Rewired:
        """Rewire the network if it is due at this step.

        Parameters
        ----------
        net : Network
            The network to change.
        step : int
            Number of updates made so far.

        Returns
        -------
        Rewired
            How many connections were removed and grown; zeros when nothing was due.

        Raises
        ------
        InvalidValueError
            The schedule or the score gave unusable values, or `grow` takes no delay where one is needed; the network is
            as it was.
        """
        if step % self.every or step < self.start or (self.stop is not None and step >= self.stop):
            return Rewired(0, 0)
        fraction = self.fraction(step) if callable(self.fraction) else self.fraction
        at_once = self.grow in ("random", grow_random) and self.scope == "local"
        if at_once and self.drop in ("random", "magnitude"):
            checks.fraction("fraction", fraction)
            rewired = self._exchange(net, fraction, self.drop == "magnitude")
            if rewired is not None:
                return rewired
        connections = candidates(net, self.drop)
        doomed = connections[choose(net, connections, self.drop, fraction, self.scope)]
        rewired = self._exchange(net, doomed) if at_once else None
        if rewired is not None:
            return rewired
        places = self._places(net, doomed)
        grow = GROWERS[self.grow] if isinstance(self.grow, str) else self.grow
        if any(delay for *_, delay in places) and not _takes_delay(grow):
            raise InvalidValueError(
                f"{getattr(grow, '__name__', grow)!r} has to grow connections with a delay; let it take an argument "
                "`delay=0` and hand it to net.connect or net.add_connections"
            )
        removed = net.prune(doomed)
        grown = 0
        for sources, targets, count, delay in places:
            new = grow(net, sources, targets, count, net.rng, **({"delay": delay} if delay else {}))
            if grow is not grow_random or self.weight != "zeros":  # which is what it grows
                new.initialize(self.weight)
            grown += len(new)
        return Rewired(removed, grown)

    def _exchange(self, net: Network, doomed: Connections | float, smallest: bool = False) -> Rewired | None:
        """Rewire all pairs of homes at once; None, and nothing is done, where they wait for one another."""
        new = net.exchange(doomed, smallest=smallest)
        if new is not None and self.weight != "zeros":
            new.initialize(self.weight)
        return None if new is None else Rewired(len(new), len(new))

    def _places(self, net: Network, doomed: Connections) -> list[tuple[Group, Group, int, int]]:
        """(sources, targets, count, delay) of every region that gets new connections."""
        if self.scope == "global":
            anywhere = net.neurons, net.neurons - net.inputs
            delays, counts = np.unique(doomed.delay, return_counts=True)
            return [(*anywhere, count, d) for d, count in zip(delays.tolist(), counts.tolist(), strict=True)]
        regions, number = doomed.regions()
        homes, counts = net.homes, np.bincount(number, minlength=len(regions)).tolist()
        by_delay = np.argsort(regions[:, 2], kind="stable").tolist()
        places = [(*regions[i].tolist(), counts[i]) for i in by_delay]
        return [(homes[source], homes[target], count, delay) for source, target, delay, count in places]


def _takes_delay(grow: Callable) -> bool:
    parameters = inspect.signature(grow).parameters.values()
    return any(p.name == "delay" or p.kind is p.VAR_KEYWORD for p in parameters)
