"""Random geometric networks: neurons have places in space, and near ones are connected."""

import math
from typing import Any

import numpy as np

from .. import checks
from ..checks import require
from ..network import Network
from .assemble import Edges, assemble

__all__ = ["random_geometric"]


def random_geometric(
    n_inputs: int,
    n_hidden: int,
    n_outputs: int,
    radius: float,
    length: float | None = None,
    positions: Any = 2,
    ordering: Any = "given",
    delay: int = 0,
    input_density: float = 1.0,
    output_density: float = 1.0,
    activation: Any = "relu",
    output_activation: Any = "identity",
    weight: Any = "he",
    seed: int = 0,
    dtype: Any = "float32",
    backend: str = "auto",
) -> Network:
    """Make a network whose hidden neurons lie in space and are joined when they are near.

    Two neurons at distance d, at most ``radius``, are joined with probability ``exp(-d / length)``, or always without
    ``length``: the graphs of `networkx.soft_random_geometric_graph` and `networkx.random_geometric_graph`. Without
    delay each edge is a connection from the neuron with the smaller first coordinate to the other, so signals cross
    space along the first axis.

    Parameters
    ----------
    n_inputs, n_hidden, n_outputs : int
        Number of neurons; the groups are named "inputs", "hidden" and "outputs".
    radius : float
        Largest distance of two neurons that may be joined, in the units of the positions.
    length : float, optional
        Distance over which the probability falls by a factor of e.
    positions : int or array of float, shape (n_hidden, n_dimensions)
        Where the hidden neurons are; or the number of dimensions of a unit cube in which to draw their places
        uniformly. Drawn neurons are numbered along the first axis; give an array to keep the places.
    ordering : {"given", "random"} or array of float, shape (n_hidden,)
        As in `ring_lattice`, but "given" is the order along the first axis.
    delay, input_density, output_density : optional
        As in `ring_lattice`.
    activation, output_activation, weight, seed, dtype, backend : optional
        As in `random_dag`.

    Returns
    -------
    Network
        The network, with biases 0.

    Raises
    ------
    InvalidValueError
        A number is out of range, or the positions are not one row for each hidden neuron.

    Examples
    --------
    >>> import neurograph as ng
    >>> line = [[0.0], [0.3], [0.5], [2.0]]
    >>> net = ng.topologies.random_geometric(1, 4, 1, radius=0.4, positions=line)
    >>> [(c.source.id, c.target.id) for c in net.groups["hidden"][:2].outgoing]
    [(1, 2), (2, 3)]
    """
    checks.whole("n_hidden", n_hidden, 1)
    _check_distance("radius", radius)
    if length is not None:
        _check_distance("length", length)
    places: np.ndarray | None = None
    if isinstance(positions, int | np.integer):
        checks.whole("positions", positions, 1)
    else:
        places = checks.finite(checks.reals(positions, np.dtype("float64"), "positions"), "positions")
        require(
            places.ndim == 2 and len(places) == n_hidden and places.shape[1] > 0,
            f"positions has shape {places.shape}; give one row for each of the {n_hidden} hidden neurons, with one "
            "column for each dimension.",
        )

        if isinstance(ordering, str) and ordering == "given":
            ordering = places[:, 0]

    def draw(rng: np.random.Generator) -> Edges:
        where = places
        if where is None:
            where = rng.random((n_hidden, positions))
            where = where[np.argsort(where[:, 0], kind="stable")]
        return near_pairs(where, radius, length, rng)

    return assemble(
        draw,
        n_inputs,
        n_hidden,
        n_outputs,
        ordering=ordering,
        delay=delay,
        input_density=input_density,
        output_density=output_density,
        activation=activation,
        output_activation=output_activation,
        weight=weight,
        seed=seed,
        dtype=dtype,
        backend=backend,
    )


def near_pairs(places: np.ndarray, radius: float, length: float | None, rng: np.random.Generator) -> Edges:
    """Pairs of rows at most ``radius`` apart, each kept with probability ``exp(-distance / length)``."""
    from scipy.spatial import cKDTree

    pairs = cKDTree(places).query_pairs(radius, output_type="ndarray")
    # The tree's order depends on how it was cut; sorted, the draws depend on the places and the seed only.
    u, v = np.divmod(np.sort(pairs[:, 0] * len(places) + pairs[:, 1]), len(places))
    if length is None:
        return u, v
    distance = np.sqrt(np.square(places[u] - places[v]).sum(axis=1))
    kept = rng.random(len(u)) < np.exp(-distance / length)
    return u[kept], v[kept]


def _check_distance(name: str, value: Any) -> None:
    require(
        isinstance(value, int | float | np.number) and not isinstance(value, bool) and 0 < value < math.inf,
        f"{name} is {value!r}; give a distance above 0.",
    )
