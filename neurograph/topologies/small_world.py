"""Small worlds: a ring lattice of which some edges were rewired at random."""

from typing import Any

import numpy as np

from .. import checks
from ..network import Network
from .assemble import Edges, assemble
from .ring_lattice import check_lattice, lattice

__all__ = ["small_world"]

ATTEMPTS = 100  # draws of a new end before an edge stays where it is; only nearly complete graphs come near


def small_world(
    n_inputs: int,
    n_hidden: int,
    n_outputs: int,
    k: int = 4,
    p: float = 0.1,
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
    """Make a network whose hidden neurons form a small world.

    The graph of Watts and Strogatz 1998 ("Collective dynamics of 'small-world' networks"), as in
    `networkx.watts_strogatz_graph`: a ring on which every neuron is joined to the ``k`` nearest, and of whose edges
    each keeps one end and gets a new other one with probability ``p``. The number of edges stays exactly
    ``n_hidden * k / 2``; in a nearly complete graph an edge that finds no free place stays. Without delay each is a
    connection from the neuron that comes first to the other.

    Parameters
    ----------
    n_inputs, n_hidden, n_outputs : int
        Number of neurons; the groups are named "inputs", "hidden" and "outputs".
    k : int
        Neighbours of a neuron on the ring: an even number, below ``n_hidden``.
    p : float
        Probability that an edge is rewired, 0 (the `ring_lattice`) to 1.
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
    >>> net = ng.topologies.small_world(4, 100, 2, k=6, p=0.2, seed=0)
    >>> hidden = net.groups["hidden"]
    >>> int(sum(c.target in hidden for c in hidden.outgoing))
    300
    """
    check_lattice(n_hidden, k)
    checks.fraction("p", p)
    return assemble(
        lambda rng: rewired(*lattice(n_hidden, k), n_hidden, p, rng),
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


def rewired(u: np.ndarray, v: np.ndarray, n: int, p: float, rng: np.random.Generator) -> Edges:
    """Give each edge a new second end with probability ``p``, so that the graph stays simple.

    All edges are rewired at once. One whose new place is taken, by another edge or by an earlier one that wants it as
    well, draws again.
    """
    v = v.copy()
    pending = np.flatnonzero(rng.random(len(u)) < p)
    for _ in range(ATTEMPTS):
        if len(pending) == 0:
            break
        end = rng.integers(n, size=len(pending))
        wanted = _codes(u[pending], end, n)
        by_code = np.argsort(wanted, kind="stable")  # sorted questions are answered several times faster
        wanted = wanted[by_code]
        taken = np.sort(_codes(u, v, n))
        place = np.searchsorted(taken, wanted)
        free = taken[np.minimum(place, len(taken) - 1)] != wanted
        free[1:] &= wanted[1:] != wanted[:-1]
        moves = np.zeros(len(pending), bool)
        moves[by_code] = free
        moves &= end != u[pending]
        v[pending[moves]] = end[moves]
        pending = pending[~moves]
    return u, v


def _codes(u: np.ndarray, v: np.ndarray, n: int) -> np.ndarray:
    """One number for each undirected pair."""
    return np.minimum(u, v) * n + np.maximum(u, v)
