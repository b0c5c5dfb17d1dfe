"""Prune and grow: a network that keeps its number of connections and changes where they are."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import checks
from ..errors import InvalidValueError, UnknownNameError
from .allowed import Allowed
from .growth import Gradient, Grower, Momentum, Place, Random, split
from .prune import candidates, choose
from .scores import resolve

if TYPE_CHECKING:
    from ..graph import Connections, Group
    from ..network import Network

__all__ = ["GROWERS", "Rewire", "Rewired", "grow_gradient", "grow_random"]


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


def grow_gradient(
    net: Network, sources: Group, targets: Group, count: int, rng: np.random.Generator | None = None, delay: int = 0
) -> Connections:
    """Grow connections where the gradient of the last mini-batch is largest; parameters as in `grow_random`.

    Exactly the free pairs of largest absolute gradient (`pair_gradients`); of equal ones the smallest target id, and of
    these the smallest source id. `rng` is not used. Targets that neither sum nor average get none.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([3, 2], density=0.0)
    >>> _ = net.backward([[1.0, 3.0, 2.0]], [[1.0, 4.0]])
    >>> new = grow_gradient(net, net.inputs, net.outputs, 2)
    >>> new.source.tolist(), new.target.tolist()
    ([1, 2], [4, 4])
    """
    grower, place = Gradient(), Place(sources, targets, count, delay)
    grower.prepare(net, [place])
    return grower.grow(net, sources, targets, count, rng or net.rng, delay)


GROWERS: dict[str, Callable] = {"random": Random, "gradient": Gradient, "momentum": Momentum}


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
    grow : str, Grower or function
        Where new connections appear. "random": anywhere, uniformly. "gradient": where the gradient of the last
        mini-batch is largest. "momentum": where its running average is, see `Momentum`; needs the calls of
        `before_update` that a Trainer makes. Or a function `(net, sources, targets, count, rng) -> Connections`; for
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
    allowed : list of (sources, targets), function or "initial", optional
        Pairs that may be grown, all others never: between groups, by a rule `(source_ids, target_ids) -> bools`, or
        those that were connected when the network was first seen. For the names of `grow`.

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
    grow: str | Grower | Callable = "random"
    fraction: float | Callable = 0.3
    every: int = 200
    scope: str = "local"
    start: int = 0
    stop: int | None = None
    weight: Any = "zeros"
    allowed: Any = None
    _grower: Any = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        resolve(self.drop)
        if isinstance(self.grow, str) and self.grow in GROWERS:
            grower = GROWERS[self.grow](Allowed(self.allowed))
        elif isinstance(self.grow, Grower) or callable(self.grow):
            if self.allowed is not None:
                raise InvalidValueError("allowed is for the names of grow; let your own way to grow keep to it")
            grower = self.grow if isinstance(self.grow, Grower) else _Function(self.grow)
        else:
            raise UnknownNameError(f"There is no way to grow {self.grow!r}. Known: {', '.join(GROWERS)}.")
        object.__setattr__(self, "_grower", grower)
        if self.scope not in ("local", "global"):
            raise UnknownNameError(f"Rewire has no scope {self.scope!r}. Known scopes: local, global.")
        if not callable(self.fraction):
            checks.fraction("fraction", self.fraction)
        checks.whole("every", self.every, 1)
        checks.whole("start", self.start, 0)
        if self.stop is not None:
            checks.whole("stop", self.stop, 0)

    def before_backward(self, net: Network, step: int) -> None:
        """Look at a network that was never seen; as `Recipe.before_backward`."""
        self._grower.start(net)

    def before_update(self, net: Network, step: int) -> None:
        """Let the way to grow see the gradients; as `Recipe.before_update`."""
        due = max(-(-step // self.every), -(-self.start // self.every)) * self.every
        if self.stop is None or due < self.stop:
            self._grower.record(net, step, due - step)

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
        if self._at_once and self.drop in ("random", "magnitude"):
            checks.fraction("fraction", fraction)
            rewired = self._exchange(net, fraction, self.drop == "magnitude")
            if rewired is not None:
                return rewired
        self._grower.start(net)
        connections = candidates(net, self.drop)
        doomed = connections[choose(net, connections, self.drop, fraction, self.scope)]
        return self.replace(net, doomed)

    def replace(self, net: Network, doomed: Connections) -> Rewired:
        """Remove connections, and grow as many others, as a step does with those that it drops.

        Examples
        --------
        >>> import neurograph as ng
        >>> net = ng.topologies.layered([4, 5, 3], density=0.4, seed=0)
        >>> Rewire().replace(net, net.connections[:3])
        Rewired(removed=3, grown=3)
        """
        rewired = self._exchange(net, doomed) if self._at_once else None
        if rewired is not None:
            return rewired
        places, grower = self._places(net, doomed), self._grower
        grower.prepare(net, places)
        homes = self._homes(net) if isinstance(grower, Momentum) and grower.redistribute else None
        if homes is not None:
            grower.allowed.check(net, homes[0])  # also those that lose none
        removed = net.prune(doomed)
        if homes is not None:
            return Rewired(removed, self._share_out(net, removed, *homes))
        return Rewired(removed, sum(self._grow(net, place) for place in places))

    def _grow(self, net: Network, place: Place) -> int:
        """Grow connections at one place; returns how many."""
        new = self._grower.grow(net, place.sources, place.targets, place.count, net.rng, place.delay)
        if self.weight != "zeros" or isinstance(self._grower, _Function):  # the others grow zeros
            new.initialize(self.weight)
        return len(new)

    def _homes(self, net: Network) -> tuple[list[tuple[Group, Group]], np.ndarray]:
        """The connected pairs of homes, and what share of all that is grown each should get."""
        regions, means = self._grower.means(net)
        homes = net.homes
        return [(homes[source], homes[target]) for source, target, _ in regions.tolist()], means

    def _share_out(self, net: Network, count: int, homes: list[tuple[Group, Group]], weights: np.ndarray) -> int:
        """Grow between pairs of homes, as many as wanted in all: what one has no room for the others get."""
        left = count
        while left and len(homes):
            wanted = split(left, weights)
            places = [Place(*pair, n, 0) for pair, n in zip(homes, wanted.tolist(), strict=True)]
            grown = np.array([self._grow(net, place) for place in places])
            left -= int(grown.sum())
            roomy = grown == wanted
            if roomy.all():
                break
            homes, weights = [pair for pair, room in zip(homes, roomy, strict=True) if room], weights[roomy]
        return count - left

    @property
    def _at_once(self) -> bool:
        """Whether all pairs of homes are rewired the same way, uniformly."""
        plain = isinstance(self._grower, Random) and self._grower.allowed.pairs is None
        return (plain or self.grow is grow_random) and self.scope == "local"

    def _exchange(self, net: Network, doomed: Connections | float, smallest: bool = False) -> Rewired | None:
        """Rewire all pairs of homes at once; None, and nothing is done, where they wait for one another."""
        new = net.exchange(doomed, smallest=smallest)
        if new is not None and self.weight != "zeros":
            new.initialize(self.weight)
        return None if new is None else Rewired(len(new), len(new))

    def _places(self, net: Network, doomed: Connections) -> list[Place]:
        """Every region that gets new connections."""
        if self.scope == "global":
            anywhere = net.neurons, net.neurons - net.inputs
            delays, counts = np.unique(doomed.delay, return_counts=True)
            return [Place(*anywhere, count, d) for d, count in zip(delays.tolist(), counts.tolist(), strict=True)]
        regions, number = doomed.regions()
        homes, counts = net.homes, np.bincount(number, minlength=len(regions)).tolist()
        by_delay = np.argsort(regions[:, 2], kind="stable").tolist()
        places = [(*regions[i].tolist(), counts[i]) for i in by_delay]
        return [Place(homes[source], homes[target], count, delay) for source, target, delay, count in places]


class _Function(Grower):
    """A function that grows."""

    def __init__(self, function: Callable):
        super().__init__()
        self._function = function

    def prepare(self, net: Network, places: list[Place]) -> None:
        if any(place.delay for place in places) and not _takes_delay(self._function):
            raise InvalidValueError(
                f"{getattr(self._function, '__name__', self._function)!r} has to grow connections with a delay; let it "
                "take an argument `delay=0` and hand it to net.connect or net.add_connections"
            )

    def grow(
        self, net: Network, sources: Group, targets: Group, count: int, rng: np.random.Generator, delay: int = 0
    ) -> Connections:
        return self._function(net, sources, targets, count, rng, **({"delay": delay} if delay else {}))


def _takes_delay(grow: Callable) -> bool:
    parameters = inspect.signature(grow).parameters.values()
    return any(p.name == "delay" or p.kind is p.VAR_KEYWORD for p in parameters)
