"""Stochastic block models: modules of neurons, each pair of modules with a density of its own."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from .. import checks
from ..checks import require
from ..errors import InvalidValueError
from ..network import Network
from ..sampling import absent_pairs
from .assemble import Edges, assemble

__all__ = ["stochastic_block"]


def stochastic_block(
    n_inputs: int,
    sizes: Sequence[int],
    n_outputs: int,
    densities: Any,
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
    """Make a network whose hidden neurons form blocks, with a given density inside and between them.

    Counts are exact, where `networkx.stochastic_block_model` tosses a coin for every pair: between two blocks
    ``round(density * pairs)`` connections, drawn uniformly. Without delay the pairs are those along the order of the
    neurons: from a block to a later one, and inside a block from a neuron to a later one. With a delay they are all
    ordered pairs of two different neurons, and both directions have their own density.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Number of neurons; the groups are named "inputs", "hidden" and "outputs".
    sizes : sequence of int
        Number of hidden neurons of each block; their groups are named "block 1", "block 2", ...
    densities : array of float, shape (n_blocks, n_blocks)
        ``densities[a][b]`` is the density from block a to block b. Without delay nothing runs backwards: the entries
        below the diagonal must be 0, or mirror those above.
    delay : int
        0 makes a DAG; with d of 1 or more every hidden connection has delay d.
    input_density, output_density : optional
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
        A number is out of range, or a density runs backwards without a delay.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.stochastic_block(4, [20, 30], 2, [[0.5, 0.1], [0.1, 0.2]], seed=0)
    >>> first, second = net.groups["block 1"], net.groups["block 2"]
    >>> sum(c.target in second for c in first.outgoing)     # a tenth of 20 * 30
    60
    """
    counts = checks.integers(sizes, "sizes")
    require(len(counts) > 0, "sizes is empty; give the number of neurons of one block or more.")
    require((counts > 0).all(), f"sizes is {counts.tolist()}; give every block one neuron or more.")
    density = checks.reals(densities, np.dtype("float64"), "densities")
    require(
        density.shape == (len(counts), len(counts)),
        f"densities has shape {density.shape}; give a row and a column for each of the {len(counts)} blocks.",
    )
    wrong = np.argwhere(~((density >= 0) & (density <= 1)))
    if len(wrong):
        a, b = wrong[0]
        raise InvalidValueError(f"densities[{a}][{b}] is {density[a, b]}; give numbers from 0 to 1.")
    if delay == 0:
        backwards = np.argwhere(np.tril((density != 0) & (density != density.T), -1))
        if len(backwards):
            a, b = backwards[0]
            raise InvalidValueError(
                f"densities[{a}][{b}] is {density[a, b]}, from a block to an earlier one, and differs from "
                f"densities[{b}][{a}]; give 0 or the same number there, or delay=1 to have connections both ways."
            )
    net = assemble(
        lambda rng: block_pairs(counts, density, delay == 0, rng),
        n_inputs,
        int(counts.sum()),
        n_outputs,
        directed=True,
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
    ids = np.split(net.groups["hidden"].ids, np.cumsum(counts)[:-1])
    for number, members in enumerate(ids, start=1):
        net.group(members, name=f"block {number}")
    return net


def block_pairs(sizes: np.ndarray, density: np.ndarray, acyclic: bool, rng: np.random.Generator) -> Edges:
    """Draw ordered pairs, an exact number for each pair of blocks; only along the order if ``acyclic``."""
    first = np.cumsum(sizes) - sizes
    nothing = np.zeros(0, np.int64)
    sources, targets = [nothing], [nothing]
    for a, b in np.argwhere(np.triu(density) if acyclic else density):
        allowed = np.full(sizes[b], sizes[a])
        if a == b:
            allowed = np.arange(sizes[b]) if acyclic else allowed - 1
        t, s = absent_pairs(sizes[a], allowed, nothing, nothing, partial(_share, density[a, b]), rng)
        if a == b and not acyclic:
            s = s + (s >= t)  # a neuron is not its own source
        sources.append(first[a] + s)
        targets.append(first[b] + t)
    return np.concatenate(sources), np.concatenate(targets)


def _share(density: float, pairs: int) -> int:
    return round(density * pairs)
