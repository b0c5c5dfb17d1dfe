"""Scale-free networks: few hubs, many neurons with few connections."""

from typing import Any

import numpy as np

from .. import checks
from ..checks import require
from ..network import Network
from .assemble import Edges, assemble

__all__ = ["scale_free"]


def scale_free(
    n_inputs: int,
    n_hidden: int,
    n_outputs: int,
    m: int = 2,
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
    """Make a network whose hidden neurons grew by preferential attachment.

    The graph of Barabasi and Albert 1999 ("Emergence of scaling in random networks"), as in
    `networkx.barabasi_albert_graph`: it starts from a star of ``m + 1`` neurons, and every further one is joined to
    ``m`` that are there, drawn with probability proportional to their degree. Degrees follow a power law of exponent 3.
    Exactly ``m * (n_hidden - m)`` edges. Without delay each is a connection from the older neuron to the younger one
    in the given order, so the hubs stand at the beginning.

    Parameters
    ----------
    n_inputs, n_hidden, n_outputs : int
        Number of neurons; the groups are named "inputs", "hidden" and "outputs".
    m : int
        Edges that each new neuron brings, below ``n_hidden``.
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
    >>> net = ng.topologies.scale_free(1, 50, 1, m=3, seed=0)
    >>> net.groups["hidden"][4:].fan_in.tolist() == [3] * 46
    True
    """
    checks.whole("m", m, 1)
    checks.whole("n_hidden", n_hidden, 2)
    require(m < n_hidden, f"m is {m}, and {n_hidden} hidden neurons have {n_hidden - 1} others; give a smaller m.")
    return assemble(
        lambda rng: preferential_attachment(n_hidden, m, rng),
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


def preferential_attachment(n: int, m: int, rng: np.random.Generator) -> Edges:
    """Edges (older, younger) of a Barabasi-Albert graph.

    Batagelj and Brandes 2005 ("Efficient generation of large random networks", algorithm 5): a list of the ends of all
    edges holds every neuron as often as its degree, so a uniform draw from it is a draw by degree. Here the draws for
    many new neurons are made at once; one that hits an end which was drawn at the same time is followed to the end
    that that one copies. A neuron that would get one neighbour twice draws again.
    """
    younger = np.concatenate([np.arange(1, m + 1), np.repeat(np.arange(m + 1, n), m)])
    older = np.zeros(len(younger), np.int64)  # the star: its centre is neuron 0
    start = m + 1
    # The first few have hardly more candidates than draws: each by exponential keys, exactly, without drawing again
    # (Efraimidis and Spirakis 2006, "Weighted random sampling with a reservoir").
    degree = np.concatenate([[m], np.ones(m, np.int64), np.zeros(3 * m, np.int64)])
    while start < min(n, 4 * m):
        keys = rng.exponential(size=start) / degree[:start]
        chosen = np.sort(np.argpartition(keys, m - 1)[:m])
        older[m * (start - m) : m * (start + 1 - m)] = chosen
        degree[chosen] += 1
        degree[start] = m
        start += 1
    while start < n:
        stop = min(n, 2 * start)
        _attach(older, younger, start, stop, m, rng)
        start = stop
    return older, younger


def _attach(older: np.ndarray, younger: np.ndarray, start: int, stop: int, m: int, rng: np.random.Generator) -> None:
    """Draw the edges of the neurons ``start .. stop - 1``; those of the neurons before them are final.

    End 2 e is the younger neuron of edge e, end 2 e + 1 the older one.
    """
    settled = m * (start - m)
    new = slice(settled, m * (stop - m))
    ends_before = np.repeat(2 * m * np.arange(start - m, stop - m), m)
    drawn = rng.integers(ends_before)
    while True:
        end = drawn.copy()
        open = np.flatnonzero((end & 1 == 1) & (end >= 2 * settled))
        while len(open):
            end[open] = drawn[end[open] // 2 - settled]
            open = open[(end[open] & 1 == 1) & (end[open] >= 2 * settled)]
        older[new] = np.where(end & 1, older[end >> 1], younger[end >> 1])
        again = _repeated(older[new].reshape(-1, m))
        if len(again) == 0:
            return
        drawn[again] = rng.integers(ends_before[again])


def _repeated(rows: np.ndarray) -> np.ndarray:
    """Flat places of the entries that stood in their row before.

    Examples
    --------
    >>> _repeated(np.array([[5, 7, 5], [1, 2, 3]])).tolist()
    [2]
    """
    by_value = np.argsort(rows, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, by_value, axis=1)
    row, place = np.nonzero(ordered[:, 1:] == ordered[:, :-1])
    return row * rows.shape[1] + by_value[row, place + 1]
