"""How many connections each pair of layers gets: uniform, Erdos-Renyi, and with the kernels of fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks
from ..errors import InvalidValueError, UnknownNameError
from .guard import remove
from .scores import evaluate
from .select import lowest

if TYPE_CHECKING:
    from ..network import Network

__all__ = ["KINDS", "densities", "erdos_renyi", "erk", "prune_to", "uniform"]


def uniform(shapes: Sequence, density: float) -> np.ndarray:
    """The same density for each pair of layers.

    Parameters
    ----------
    shapes : sequence of int, or of tuples
        Sizes of layers of which each feeds the next; or one shape for each pair of layers, (n_in, n_out) or that of a
        kernel, such as (height, width, channels in, channels out).
    density : float
        0 to 1.

    Returns
    -------
    ndarray, one for each pair of layers

    Examples
    --------
    >>> uniform([784, 300, 10], 0.1).tolist()
    [0.1, 0.1]
    """
    checks.fraction("density", density)
    return np.full(len(_shapes(shapes)), float(density))


def erdos_renyi(shapes: Sequence, density: float | None = None, epsilon: float | None = None) -> np.ndarray:
    """Densities in proportion to ``(n_in + n_out) / (n_in * n_out)``: large layers are sparser.

    Mocanu et al. (2018), "Scalable training of artificial neural networks with adaptive sparse connectivity inspired by
    network science", equation 1: the density is `epsilon` times that, at most 1. With a total `density` instead epsilon
    is found such that so many connections remain in all, as in the code of Evci et al. (2020), arXiv 1911.11134: the
    layer of the largest density is made dense while that would be above 1, and epsilon found anew for the others.

    Parameters
    ----------
    shapes : sequence of int, or of tuples
        As in `uniform`; of a kernel the last two count, channels in and out.
    density, epsilon : float
        One of them: the share of all connections, 0 to 1, or the factor.

    Returns
    -------
    ndarray, one for each pair of layers

    Raises
    ------
    InvalidValueError
        Neither or both are given, or one is out of range; or the shapes cannot be used.

    Examples
    --------
    >>> erdos_renyi([784, 1000, 1000, 10], epsilon=20).round(4).tolist()
    [0.0455, 0.04, 1.0]
    >>> erdos_renyi([784, 1000, 1000, 10], density=0.05).round(4).tolist()
    [0.0479, 0.0421, 1.0]
    """
    shapes = _shapes(shapes)
    return _scaled(shapes, np.array([(n_in + n_out) / (n_in * n_out) for *_, n_in, n_out in shapes]), density, epsilon)


def erk(shapes: Sequence, density: float | None = None, epsilon: float | None = None) -> np.ndarray:
    """Erdos-Renyi with kernels: densities in proportion to the sum of all dimensions over their product.

    Evci et al. (2020), "Rigging the lottery: making all tickets winners", arXiv 1911.11134, section 3. For a pair of
    layers without a kernel it is `erdos_renyi`. Parameters and errors as there.

    Examples
    --------
    >>> erk([(3, 3, 1, 32), (3, 3, 32, 64), (1024, 10)], density=0.2).round(4).tolist()
    [0.6676, 0.0273, 0.4978]
    """
    shapes = _shapes(shapes)
    return _scaled(shapes, np.array([sum(shape) / float(np.prod(shape)) for shape in shapes]), density, epsilon)


KINDS = {"uniform": uniform, "erdos_renyi": erdos_renyi, "erk": erk}


def densities(
    net: Network,
    kind: str = "erk",
    density: float | None = None,
    epsilon: float | None = None,
    shapes: Mapping[tuple[int, int], Sequence[int]] | None = None,
) -> dict[tuple[int, int], float]:
    """Densities of the connected pairs of homes of a network.

    Parameters
    ----------
    net : Network
    kind : {"uniform", "erdos_renyi", "erk"}
    density, epsilon : float
        As in `erdos_renyi`; `uniform` takes a density.
    shapes : dict from (source home, target home) to a shape, optional
        Of kernels that are shared, such as (3, 3, 16, 32): homes are counted in the order of `Network.homes`. A pair of
        homes that is not named has the shape (n_in, n_out).

    Returns
    -------
    dict from (source home, target home) to float
        To be handed to `prune_to`.

    Raises
    ------
    UnknownNameError, InvalidValueError
        The kind is not known; or a shape is of a pair that is not connected, or cannot be used.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([784, 300, 100, 10])
    >>> {pair: round(d, 3) for pair, d in densities(net, "erdos_renyi", density=0.1).items()}
    {(0, 1): 0.08, (1, 2): 0.23, (2, 3): 1.0}
    """
    if kind not in KINDS:
        raise UnknownNameError(f"There is no kind of densities {kind!r}. Known: {', '.join(KINDS)}.")
    own = _shapes_of(net, shapes)
    if kind == "uniform":
        if density is None or epsilon is not None:
            raise InvalidValueError("uniform densities take a density, no epsilon")
        values = uniform(list(own.values()), density)
    else:
        values = (erk if kind == "erk" else erdos_renyi)(list(own.values()), density, epsilon)
    return dict(zip(own, values.tolist(), strict=True))


def prune_to(
    net: Network,
    densities: Mapping[tuple[int, int], float] | Sequence[float],
    score: Any = "random",
    shapes: Mapping[tuple[int, int], Sequence[int]] | None = None,
    *,
    allow_disconnected: bool = False,
) -> int:
    """Remove connections until each pair of homes has a density: exactly ``round(density * pairs)`` remain.

    Parameters
    ----------
    net : Network
    densities : dict from (source home, target home) to float, or sequence of float
        A sequence has one for each connected pair of homes, ascending. Pairs that a dict leaves out stay as they
        are.
    score : str, function or array
        The lowest go, as in `prune_lowest`.
    shapes : dict from (source home, target home) to a shape, optional
        Where it names a pair of homes, the parameters that its connections share are counted, against the product of
        the shape, and go with all of their connections.
    allow_disconnected : bool
        True prunes also where that cuts an output off from all inputs.

    Returns
    -------
    int
        How many connections were removed.

    Raises
    ------
    InvalidValueError
        A density is not from 0 to 1, or larger than what is there; or it is of a pair that is not connected. The
        network is as it was then.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([784, 300, 100, 10], seed=0)
    >>> prune_to(net, ng.sparsity.densities(net, "erdos_renyi", density=0.1), "magnitude"), net.n_connections
    (239580, 26620)
    """
    own = _shapes_of(net, shapes)
    if not isinstance(densities, Mapping):
        densities = list(densities)
        if len(densities) != len(own):
            raise InvalidValueError(f"there are {len(densities)} densities for {len(own)} connected pairs of homes")
        densities = dict(zip(own, densities, strict=True))
    conns = net.connections
    regions, number = conns.regions()
    of_pair = np.array([list(own).index((source, target)) for source, target, _ in regions.tolist()], np.int64)
    number = of_pair[number] if len(regions) else number
    scores = evaluate(score, conns, net.rng)
    kernels = set(shapes or ())
    doomed: list[np.ndarray] = []
    for pair, density in densities.items():
        if pair not in own:
            raise InvalidValueError(f"no connection goes from home {pair[0]} to home {pair[1]}; known: {list(own)}")
        checks.fraction(f"the density of {pair}", density)
        members = np.flatnonzero(number == list(own).index(pair))
        ids = conns[members].parameter if pair in kernels else conns[members].id
        names, first, place = np.unique(ids, return_index=True, return_inverse=True)
        wanted = round(float(density) * int(np.prod(own[pair])))
        if wanted > len(names):
            raise InvalidValueError(
                f"density {density:g} of homes {pair} is {wanted} connections, but there are {len(names)}; grow some, "
                "or ask for less"
            )
        gone = np.zeros(len(names), bool)
        gone[lowest(scores[members[first]], names, len(names) - wanted)] = True
        doomed.append(members[gone[place]])
    return remove(net, conns[np.sort(np.concatenate([np.zeros(0, np.int64), *doomed]))], allow_disconnected)


def _shapes_of(
    net: Network, shapes: Mapping[tuple[int, int], Sequence[int]] | None
) -> dict[tuple[int, int], tuple[int, ...]]:
    """Shape of each connected pair of homes, ascending."""
    homes = net.homes
    own: dict[tuple[int, int], tuple[int, ...]] = {
        (source, target): (len(homes[source]), len(homes[target]))
        for source, target, _ in net.connections.regions()[0].tolist()
    }
    for pair, shape in (shapes or {}).items():
        if pair not in own:
            raise InvalidValueError(f"shapes names homes {pair}, which are not connected; known: {list(own)}")
        own[pair] = tuple(shape)
    return own


def _shapes(shapes: Sequence) -> list[tuple[int, ...]]:
    """One shape a pair of layers; sizes are those of layers that each feed the next."""
    given = list(shapes)
    if all(isinstance(shape, int | np.integer) for shape in given):
        given = list(zip(given[:-1], given[1:], strict=True))
    for shape in given:
        if (
            not isinstance(shape, tuple | list)
            or len(shape) < 2
            or not all(isinstance(n, int | np.integer) and n > 0 for n in shape)
        ):
            raise InvalidValueError(
                f"{shape!r} is no shape of a pair of layers; give sizes of layers, or tuples such as (n_in, n_out)"
            )
    return [tuple(int(n) for n in shape) for shape in given]


def _scaled(shapes: list[tuple[int, ...]], raw: np.ndarray, density: float | None, epsilon: float | None) -> np.ndarray:
    """``epsilon * raw``, at most 1, for an epsilon, or for the one that gives a density in all."""
    if (density is None) == (epsilon is None):
        raise InvalidValueError("give either a density or an epsilon")
    if epsilon is not None:
        if not isinstance(epsilon, int | float | np.number) or not 0 <= epsilon < np.inf:
            raise InvalidValueError(f"epsilon is {epsilon!r}; give a number, 0 or more")
        return np.minimum(epsilon * raw, 1.0)
    checks.fraction("density", density)
    size = np.array([np.prod(shape, dtype=float) for shape in shapes])
    zeros = np.floor((1 - float(density or 0)) * size)
    dense = np.zeros(len(size), bool)
    while not dense.all():
        ones = (size - zeros)[~dense].sum() - zeros[dense].sum()
        found = ones / (raw * size)[~dense].sum() * raw
        largest = raw[~dense].max()
        if found[~dense].max() <= 1:
            return np.where(dense, 1.0, np.maximum(found, 0.0))
        dense |= raw == largest
    return np.ones(len(size))
