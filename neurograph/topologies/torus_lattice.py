"""Torus lattices: a grid of any number of dimensions whose edges are glued together."""

import itertools
import math
from typing import Any

import numpy as np

from ..checks import require
from ..network import Network
from .assemble import Edges, assemble

__all__ = ["torus_lattice"]


def torus_lattice(
    n_inputs: int,
    shape: tuple[int, ...],
    n_outputs: int,
    radius: float = 1,
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
    """Make a network whose hidden neurons lie on a torus, each joined to those around it.

    With radius 1 the graph is `networkx.grid_graph` with ``periodic=True``. Without delay each edge is a connection
    from the neuron that comes first to the other, in C order unless ``ordering`` says otherwise.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Number of neurons; the groups are named "inputs", "hidden" and "outputs".
    shape : tuple of int
        Size of the torus along each axis: (n,) is a ring, (h, w) a torus, and so on. The group "hidden" has this shape.
    radius : float
        Neurons up to this Euclidean distance are joined, in steps of the grid: 1 gives 4 neighbours in two dimensions,
        1.5 gives 8, 2 gives 12.
    ordering, delay, input_density, output_density : optional
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
        A number is out of range.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.torus_lattice(2, (5, 6), 3, delay=1)
    >>> net.groups["hidden"].shape, int((net.connections.delay == 1).sum())
    ((5, 6), 120)
    """
    require(
        isinstance(shape, tuple | list)
        and len(shape) > 0
        and all(isinstance(size, int | np.integer) and not isinstance(size, bool) and size > 0 for size in shape),
        f"shape is {shape!r}; give the size of the torus along each axis, such as (20, 30).",
    )
    require(
        isinstance(radius, int | float | np.number) and 1 <= radius < math.inf,
        f"radius is {radius!r}; give a distance of 1 or more.",
    )
    sizes = tuple(int(size) for size in shape)
    return assemble(
        lambda rng: periodic_lattice(sizes, radius),
        n_inputs,
        sizes,
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


def periodic_lattice(shape: tuple[int, ...], radius: float) -> Edges:
    """Edges between places of a periodic grid, numbered in C order, whose distance is at most ``radius``.

    Examples
    --------
    >>> u, v = periodic_lattice((2, 3), 1)
    >>> len(u)
    9
    """
    reach = math.floor(radius)
    zero = (0,) * len(shape)
    # Of an offset and its opposite, which are the same edges, one is enough.
    offsets = [
        offset
        for offset in itertools.product(range(-reach, reach + 1), repeat=len(shape))
        if offset > zero and math.hypot(*offset) <= radius
    ]
    place = np.arange(math.prod(shape)).reshape(shape)
    axes = tuple(range(len(shape)))
    u = np.tile(place.ravel(), len(offsets))
    v = np.concatenate([np.roll(place, [-step for step in offset], axes).ravel() for offset in offsets])
    if min(shape) > 2 * reach:
        return u, v
    # On a short axis two ways around lead to one neighbour, or back to the start.
    codes = np.unique((np.minimum(u, v) * place.size + np.maximum(u, v))[u != v])
    return np.divmod(codes, place.size)
