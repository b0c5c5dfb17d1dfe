"""Prune what scores lowest: connections or parameters, over the network, per pair of layers, neuron or block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks
from ..errors import InvalidValueError, UnknownNameError
from ..sampling import subset, subset_of_each
from .blocks import squares
from .guard import remove
from .scores import PER, evaluate
from .select import lowest, lowest_in_regions

if TYPE_CHECKING:
    from ..graph import Connections
    from ..network import Network

__all__ = ["SCOPES", "candidates", "check_per", "choose", "prune_lowest"]

SCOPES = ("global", "local", "neuron", "block")


def prune_lowest(
    net: Network,
    score: Any = "magnitude",
    fraction: float | Mapping[tuple[int, int], float] = 0.2,
    scope: str = "global",
    *,
    count: int | None = None,
    block: int = 16,
    per: str = "connection",
    frozen: bool = False,
    allow_disconnected: bool = False,
) -> int:
    """Remove the connections of lowest score, exactly as many as asked for.

    In every region of `scope` exactly `round(fraction * n)` of its n connections go (Python's `round`: halves go to
    the even number). Equal scores are decided by the connection's id, the oldest first. All other connections keep
    their weight and their optimizer state. Frozen connections are structure: they stay, and are not counted.

    Parameters
    ----------
    net : Network
        The network to prune.
    score : str, function or array
        "magnitude", "gradient", "saliency", "random" or "age" (see `neurograph.sparsity.SCORES`); a function
        `(connections, rng) -> array`; or an array with one score for each of `net.connections`.
    fraction : float, or dict of (int, int) to float
        Share of every region to remove, 0 to 1. For scope "local" also one for each pair of homes, as in
        ``{(0, 1): 0.2, (1, 2): 0.1}``, by their places in `net.homes`; the pairs that it lacks lose nothing.
    scope : {"global", "local", "neuron", "block"}
        "global": the network is one region. "local": each pair of homes is a region, and each delay between them one of
        its own (a neuron's home is the `add_...` call that made it, so this is a pair of layers in a layered network).
        "neuron": the incoming connections of each neuron are a region. "block": each pair of homes is cut into `block`
        x `block` squares of neighbouring sources and neighbouring targets (by id, or as `Network.order_blocks` says); a
        square scores the sum of its connections, and over the whole network `fraction` of the squares that hold a
        connection is removed, each one whole. Of 4 to 64 neighbours, what is left runs faster than single connections.
    count : int, optional
        Remove this many in every region (of the squares, for "block") instead of a share, or all where there are fewer.
    block : int
        Side of the squares of scope "block".
    per : {"connection", "parameter"}
        "connection": each connection is scored by itself, also where several share a parameter; "gradient" and
        "saliency" then take what it alone contributes to the gradient. "parameter": each parameter is scored once, by
        its weight and its whole gradient, fractions and counts are of parameters, and all connections of those that
        score lowest go. A function gets the oldest connection of each parameter then, an array must score those that
        share one alike; equal scores are decided by the parameter's number, and with scope "local" a parameter belongs
        to the region of its oldest connection.
    frozen : bool
        True removes frozen connections as well, as if they were not.
    allow_disconnected : bool
        True prunes also where that cuts an output off from all inputs.

    Returns
    -------
    int
        How many connections were removed.

    Warns
    -----
    EmptyLayerWarning
        Two homes lose the last connection between them.

    Raises
    ------
    UnknownNameError
        The score, the scope or `per` is not known.
    InvalidValueError
        Fraction, count, block or scores are out of range or of the wrong shape, the scope has no regions of
        parameters, or an output would be cut off from all inputs. Nothing has been removed then.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([4, 5, 3], seed=0)
    >>> net.n_connections
    35
    >>> ng.sparsity.prune_lowest(net, fraction=0.2)
    7
    >>> ng.sparsity.prune_lowest(net, scope="neuron", count=1)
    8
    >>> net.tie(net.connections, np.arange(20) % 4, average=True)
    >>> ng.sparsity.prune_lowest(net, count=1, per="parameter")      # one parameter, with its five connections
    5
    """
    connections, random = candidates(net, score), net.rng.bit_generator.state
    try:
        doomed = choose(net, connections, score, fraction, scope, count=count, block=block, per=per, frozen=frozen)
        return remove(net, connections[doomed], allow_disconnected)
    except BaseException:
        net.rng.bit_generator.state = random
        raise


def choose(
    net: Network,
    connections: Connections,
    score: Any,
    fraction: float | Mapping[tuple[int, int], float],
    scope: str,
    *,
    count: int | None = None,
    block: int = 16,
    per: str = "connection",
    frozen: bool = False,
) -> np.ndarray:
    """Indices of the connections that `prune_lowest` would remove; parameters and errors as there.

    Returns
    -------
    ndarray of int
        Indices into `connections`, ascending.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([2, 2], weight=np.array([0.3, 0.1, 0.4, 0.2]))
    >>> choose(net, net.connections, "magnitude", 0.5, "global")
    array([1, 3])
    """
    if scope not in SCOPES:
        raise UnknownNameError(f"There is no scope {scope!r}. Known scopes: {', '.join(SCOPES)}.")
    check_per(per, scope)
    if isinstance(fraction, Mapping):
        if scope != "local" or count is not None:
            raise InvalidValueError(
                f'fraction has a share for each of {len(fraction)} pairs of homes; give scope="local" and no count.'
            )
        for pair, share in fraction.items():
            checks.fraction(f"fraction[{pair!r}]", share)
    elif count is None:
        checks.fraction("fraction", fraction)
    if count is not None:
        checks.whole("count", count, 0)
    checks.whole("block", block, 1)
    if per == "parameter":
        return _choose_parameters(net, connections, score, fraction, scope, count, frozen)

    loose = _loose(connections, frozen)

    def scores() -> np.ndarray:
        each = evaluate(score, connections, net.rng)
        return each if loose is None else each[loose]

    among = connections if loose is None else connections[loose]
    chosen = _choose_loose(net, among, score, scores, fraction, scope, count, block)
    return chosen if loose is None else loose[chosen]


def candidates(net: Network, score: Any) -> Connections:
    """All connections, in the order in which they are scored: by id if it matters, otherwise as they lie."""
    return net.connections if not isinstance(score, str) else net.connections_as_stored


def _choose_loose(
    net: Network,
    connections: Connections,
    score: Any,
    scores: Callable[[], np.ndarray],
    fraction: Any,
    scope: str,
    count: int | None,
    block: int,
) -> np.ndarray:
    if scope == "block":
        square = squares(net, connections, block)
        sums = np.bincount(square, weights=scores())
        removed = np.zeros(len(sums), bool)
        removed[lowest(sums, np.arange(len(sums)), _count(len(sums), fraction, count))] = True
        return np.flatnonzero(removed[square])
    region, counts = _regions(connections, fraction, scope, count)
    if isinstance(score, str):
        if score == "random" and scope != "neuron":  # takes no scores: the lowest of random numbers are any
            if region is None:
                return subset(len(connections), int(counts[0]), net.rng)
            return subset_of_each(region, counts, net.rng)
        chosen = net.lowest(connections, score, counts, region)
        if chosen is not None:
            return chosen
    if region is None:
        return lowest(scores(), connections.id, int(counts[0]))
    return lowest_in_regions(scores(), connections.id, region, counts)


def _regions(
    connections: Connections, fraction: Any, scope: str, count: int | None
) -> tuple[np.ndarray | None, np.ndarray]:
    """The region of each connection, None where all are in one, and how many go in each."""
    if scope == "global":
        return None, np.array([_count(len(connections), fraction, count)])
    if scope == "neuron":
        _, region = np.unique(connections.target, return_inverse=True)
    else:
        region, fraction = _pairs_of_homes(connections, fraction)
    return region, _counts(region, fraction, count)


def _pairs_of_homes(connections: Connections, fraction: Any) -> tuple[np.ndarray, Any]:
    """The region of scope "local" that each connection is in, and the fraction of all regions, or of each."""
    regions, number = connections.regions()
    if isinstance(fraction, Mapping):
        return number, [fraction.get((source, target), 0.0) for source, target, _ in regions.tolist()]
    return number, fraction


def check_per(per: str, scope: str) -> None:
    """Refuse what cannot be scored, and scopes that cut parameters in pieces."""
    if per not in PER:
        raise UnknownNameError(f"per is {per!r}. Known: {', '.join(PER)}.")
    if per == "parameter" and scope in ("neuron", "block"):
        raise InvalidValueError(
            f"scope {scope!r} counts connections of one {scope}, but a shared parameter has connections at many; use "
            'scope "global" or "local", or per="connection".'
        )


def _choose_parameters(
    net: Network, connections: Connections, score: Any, fraction: Any, scope: str, count: int | None, frozen: bool
) -> np.ndarray:
    numbers, first, parameter = np.unique(connections.parameter, return_index=True, return_inverse=True)
    oldest = connections[first]
    if isinstance(score, str) or callable(score):
        scores = evaluate(score, oldest, net.rng, "parameter")
    else:
        each = evaluate(score, connections, net.rng)
        scores = each[first]
        unequal = np.flatnonzero(each != scores[parameter])
        if len(unequal):
            i = unequal[0]
            raise InvalidValueError(
                f"Parameter {numbers[parameter[i]]} has the scores {scores[parameter[i]]} and {each[i]}; give all "
                'connections of a parameter the same, or use per="connection".'
            )
    loose = _loose(oldest, frozen)
    if loose is None:
        loose = np.arange(len(oldest))
    scores, oldest, ids = scores[loose], oldest[loose], numbers[loose]
    if scope == "global":
        chosen = lowest(scores, ids, _count(len(scores), fraction, count))
    else:
        region, fraction = _pairs_of_homes(oldest, fraction)
        chosen = _lowest_by(region, scores, ids, fraction, count)
    removed = np.zeros(len(numbers), bool)
    removed[loose[chosen]] = True
    return np.flatnonzero(removed[parameter])


def _loose(connections: Connections, frozen: bool) -> np.ndarray | None:
    """Indices of the connections that may go; None if all of them may."""
    if frozen:
        return None
    held = connections.frozen
    return np.flatnonzero(~held) if held.any() else None


def _lowest_by(region: np.ndarray, scores: np.ndarray, ids: np.ndarray, fraction: Any, count: int | None) -> np.ndarray:
    """Indices of the lowest scores of every region."""
    return lowest_in_regions(scores, ids, region, _counts(region, fraction, count))


def _counts(region: np.ndarray, fraction: float | list[float], count: int | None) -> np.ndarray:
    """How many go in each region."""
    sizes = np.bincount(region).tolist()
    fractions = fraction if isinstance(fraction, list) else [fraction] * len(sizes)
    counts = [_count(size, share, count) for size, share in zip(sizes, fractions, strict=True)]
    return np.array(counts, dtype=np.int64)


def _count(size: int, fraction: float, count: int | None) -> int:
    return round(float(fraction) * size) if count is None else min(count, size)
