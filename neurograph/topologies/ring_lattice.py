"""Ring lattice: every neuron is joined to its nearest neighbours on a circle."""

from typing import Any

import numpy as np

from .. import checks
from ..checks import require
from ..network import Network
from .assemble import Edges, assemble

__all__ = ["ring_lattice"]


def ring_lattice(
    n_inputs: int,
    n_hidden: int,
    n_outputs: int,
    k: int = 2,
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
    """Make a network whose hidden neurons lie on a ring, each joined to the ``k`` nearest.

    The graph is `networkx.circulant_graph` with the steps 1 .. k / 2: exactly ``n_hidden * k / 2`` edges. Without delay
    each is a connection from the neuron that comes first to the other. In the given order that is a chain as deep as
    the ring is long, and the edges that close it skip to the end; a random order is far shallower.

    Parameters
    ----------
    n_inputs, n_hidden, n_outputs : int
        Number of neurons; the groups are named "inputs", "hidden" and "outputs".
    k : int
        Neighbours of a neuron: an even number, below ``n_hidden``.
    ordering : {"given", "random"} or array of float, shape (n_hidden,)
        The order along which connections run without delay: by index, at random, or by these numbers, from the lower to
        the higher; among equal ones by index. With a delay it plays no part.
    delay : int
        0 makes a DAG. With d of 1 or more every edge becomes two connections of delay d, one in each direction.
    input_density, output_density : float
        Share of the pairs between the inputs and the first hidden neurons, and between the last ones and the outputs,
        that is connected. Without delay, inputs feed the hidden neurons without a predecessor and, while there are
        fewer of them than inputs, the first of the others; outputs read those without a successor and, while there are
        fewer than outputs, the last of the others. With a delay, inputs feed and outputs read every hidden neuron. A
        density too low to leave nobody without a connection is raised to one each.
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
    >>> net = ng.topologies.ring_lattice(1, 8, 1, k=2)
    >>> [(c.source.id, c.target.id) for c in net.neuron(1).outputs], net.n_connections
    ([(1, 2), (1, 8)], 10)
    """
    check_lattice(n_hidden, k)
    return assemble(
        lambda rng: lattice(n_hidden, k),
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


def check_lattice(n_hidden: int, k: int) -> None:
    """Refuse a number of neighbours that a ring of that size cannot have."""
    checks.whole("n_hidden", n_hidden, 3)
    checks.whole("k", k, 2)
    require(k % 2 == 0, f"k is {k}; give an even number, for half of the neighbours lie on either side.")
    require(k < n_hidden, f"k is {k}, and {n_hidden} hidden neurons have {n_hidden - 1} others; give a smaller k.")


def lattice(n: int, k: int) -> Edges:
    """Edges of the ring: neuron i to i + 1 .. i + k / 2, around the end.

    Examples
    --------
    >>> u, v = lattice(4, 2)
    >>> v.tolist()
    [1, 2, 3, 0]
    """
    u = np.repeat(np.arange(n), k // 2)
    return u, (u + np.tile(np.arange(1, k // 2 + 1), n)) % n
