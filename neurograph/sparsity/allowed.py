"""Which pairs of neurons may be connected, whatever a method would like: by groups, by a rule, or as it began."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidValueError, UnknownNameError

if TYPE_CHECKING:
    from ..graph import Group
    from ..network import Network

__all__ = ["Allowed", "blocks"]

# Pairs that are looked at together, whole targets with all their sources: all that is ever in memory at once.
BLOCK = 2**18


class Allowed:
    """Pairs that may be connected, on top of what every network asks for: no duplicates, no cycles.

    Parameters
    ----------
    pairs : None, "initial", function or list of pairs
        None: all. "initial": those that are connected when the network is first seen by `start`. A function
        ``(source_ids, target_ids) -> bools`` over pairs, which gives the same answer every time. A list of
        ``(sources, targets)``, each a group, ids or neurons: what lies between any two of one pair.

    Raises
    ------
    InvalidValueError, UnknownNameError
        It is none of these.

    Examples
    --------
    >>> Allowed(lambda source, target: abs(source - target) < 3).mask(np.arange(4), np.array([5])).tolist()
    [[False, False, False, True]]
    """

    def __init__(self, pairs: Any = None):
        if isinstance(pairs, str):
            if pairs != "initial":
                raise UnknownNameError(
                    f'allowed is {pairs!r}. Known: "initial", a function of ids, a list of (sources, targets).'
                )
        elif not (pairs is None or callable(pairs)):
            if not isinstance(pairs, list | tuple):
                raise InvalidValueError(
                    f'allowed is {pairs!r}; give "initial", a function (source_ids, target_ids) -> bools, or a list of '
                    "pairs (sources, targets)"
                )
            for pair in pairs:
                if not isinstance(pair, list | tuple) or len(pair) != 2:
                    raise InvalidValueError(f"allowed has {pair!r} among its pairs; each is (sources, targets)")
        self.pairs = pairs
        self._initial: weakref.WeakKeyDictionary[Network, tuple[np.ndarray, np.ndarray]] = weakref.WeakKeyDictionary()

    def start(self, net: Network) -> None:
        """Remember the connections of a network that was never seen."""
        if self.pairs == "initial" and net not in self._initial:
            conns = net.connections
            by_target = np.argsort(conns.target, kind="stable")
            self._initial[net] = conns.source[by_target], conns.target[by_target]

    def on(self, net: Network) -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
        """The function `mask` for the neurons of a network; None where all pairs are allowed."""
        if self.pairs is None:
            return None
        if self.pairs == "initial":
            self.start(net)
            return _Connected(*self._initial[net])
        if callable(self.pairs):
            return self.mask
        return _Between([(net.ids_of(sources), net.ids_of(targets)) for sources, targets in self.pairs])

    def check(self, net: Network, regions: Iterable[tuple[Group, Group]]) -> None:
        """Ask for all pairs between groups before anything is changed, so that what cannot be answered is refused.

        Raises
        ------
        InvalidValueError
            A group is of another network, or a function returned something else than one bool for each pair.
        """
        rule = self.on(net)
        if rule is None or not callable(self.pairs):  # the others answer for any pairs, once their groups were found
            return
        for sources, targets in regions:
            source, target = sources.ids, targets.ids
            rows = max(1, BLOCK // max(len(source), 1))
            for begin in range(0, len(target), rows):
                rule(source, target[begin : begin + rows])

    def mask(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """What the function says of all pairs of some ids, bools (n_targets, n_sources).

        Raises
        ------
        InvalidValueError
            It returned something else than one bool for each pair.
        """
        shape = len(target), len(source)
        allowed = np.asarray(self.pairs(np.tile(source, shape[0]), np.repeat(target, shape[1])))
        if allowed.dtype != bool or allowed.shape != (shape[0] * shape[1],):
            raise InvalidValueError(
                f"the rule `allowed` returned {allowed.dtype} of shape {allowed.shape} for {shape[0] * shape[1]} "
                "pairs; it has to return one bool for each"
            )
        return allowed.reshape(shape)


class _Between:
    """Pairs of groups."""

    def __init__(self, pairs: list[tuple[np.ndarray, np.ndarray]]):
        self._pairs = pairs

    def __call__(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        allowed = np.zeros((len(target), len(source)), bool)
        for sources, targets in self._pairs:
            allowed |= np.isin(target, targets)[:, None] & np.isin(source, sources)
        return allowed


class _Connected:
    """Pairs in order of their targets."""

    def __init__(self, source: np.ndarray, target: np.ndarray):
        self._source, self._target = source, target

    def __call__(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        column = np.full(1 + max(source.max(initial=0), self._source.max(initial=0)), -1)
        column[source] = np.arange(len(source))
        first, last = (np.searchsorted(self._target, target, side) for side in ("left", "right"))
        length = last - first
        row = np.repeat(np.arange(len(target)), length)
        place = column[self._source[np.arange(len(row)) + np.repeat(first - np.cumsum(length) + length, length)]]
        allowed = np.zeros((len(target), len(source)), bool)
        allowed[row[place >= 0], place[place >= 0]] = True
        return allowed


def blocks(
    net: Network, sources: Any, targets: Any, allowed: Allowed | None = None, delay: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Free and allowed pairs between two groups, some targets with all sources at a time.

    Parameters
    ----------
    net : Network
        Not to be edited before the last block.
    sources, targets : Group
    allowed : Allowed, optional
    delay : int

    Yields
    ------
    source, target : ndarray of int64
        Ids of all sources, and of the targets of this block.
    mask : ndarray of bool, shape (len(target), len(source))
        Which pairs could be connected.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([3, 2], density=0.5, seed=0)
    >>> [mask.sum().item() for source, target, mask in blocks(net, net.inputs, net.outputs)]
    [3]
    """
    pairs = net.free_pairs(sources, targets, delay)
    rule = None if allowed is None else allowed.on(net)
    rows = max(1, BLOCK // max(len(pairs.sources), 1))
    for begin in range(0, len(pairs.targets), rows):
        target = pairs.targets[begin : begin + rows]
        mask = pairs.mask(begin, begin + len(target))
        if rule is not None:
            mask &= rule(pairs.sources, target)
        yield pairs.sources, target, mask
