"""Put a hidden graph between inputs and outputs: the one rule that all graph families share.

The hidden neurons stand in an order. Without delay every edge of the hidden graph runs from the earlier neuron to the
later one, so any graph becomes a DAG. Inputs then feed the *entries*: the hidden neurons without a predecessor and, as
long as there are fewer of them than inputs, the first of the others. Outputs read the *exits*: the neurons without a
successor and, as long as there are fewer of them than outputs, the last of the others. With a delay every edge exists
in both directions, nothing is first or last, and all hidden neurons are entries and exits, as in a recurrent layer.

Inputs and entries, exits and outputs are connected with a density of their own, 1 unless given: exactly
``round(density * pairs)`` connections, or as many as it takes to leave nobody out if that is more. So no input is
unused, every hidden neuron lies on a path from an input to an output, and every output reads something.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import checks
from ..checks import require
from ..network import Network
from ..sampling import absent_pairs

Edges = tuple[np.ndarray, np.ndarray]


def assemble(
    draw: Callable[[np.random.Generator], Edges],
    n_inputs: int,
    hidden: int | tuple[int, ...],
    n_outputs: int,
    *,
    ordering: Any = "given",
    directed: bool = False,
    delay: int,
    input_density: float,
    output_density: float,
    activation: Any,
    output_activation: Any,
    weight: Any,
    seed: int,
    dtype: Any,
    backend: str,
) -> Network:
    """Make a network around a hidden graph.

    Parameters
    ----------
    draw : callable
        ``draw(rng) -> (source, target)``: the edges as two arrays of hidden neurons, counted from 0. No pair may occur
        twice, in either direction unless ``directed``.
    n_inputs, n_outputs : int
        At least 1.
    hidden : int or tuple of int
        Number or shape of the hidden neurons.
    ordering : {"given", "random"} or array of float, shape (n_hidden,)
        The order of the hidden neurons: by index; at random; or by these numbers, of which equal ones stand by index.
    directed : bool
        Take the edges as drawn. Without delay each must run along the order already.
    delay : int
        0 makes a DAG; d gives every edge of the hidden graph delay d.
    input_density, output_density : float
        Share of the pairs input -> entry and exit -> output.
    activation, output_activation, weight, seed, dtype, backend
        As in `random_dag`.

    Returns
    -------
    Network
        With the groups "inputs", "hidden" and "outputs".
    """
    n_hidden, _ = checks.count_of(hidden, "the number of hidden neurons")
    checks.whole("n_inputs", n_inputs, 1)
    checks.whole("the number of hidden neurons", n_hidden, 1)
    checks.whole("n_outputs", n_outputs, 1)
    checks.whole("delay", delay, 0)
    checks.fraction("input_density", input_density)
    checks.fraction("output_density", output_density)
    net = Network(seed=seed, dtype=dtype, backend=backend)
    inputs = net.add_inputs(n_inputs, name="inputs")
    middle = net.add_neurons(hidden, activation=activation, name="hidden")
    outputs = net.add_outputs(n_outputs, activation=output_activation, name="outputs")
    line = ordered(ordering, n_hidden, net.rng)
    u, v = draw(net.rng)
    if delay and not directed:
        u, v = np.concatenate([u, v]), np.concatenate([v, u])
    elif not directed:
        u, v = oriented(u, v, line)
    entries, exits = (line, line) if delay else ends(u, v, line, n_inputs, n_outputs)
    feed_source, feed_target = covering_pairs(n_inputs, len(entries), input_density, net.rng)
    read_source, read_target = covering_pairs(len(exits), n_outputs, output_density, net.rng)
    ids = middle.ids.ravel()
    delays = np.zeros(len(feed_source) + len(u) + len(read_source), np.int64)
    delays[len(feed_source) : len(feed_source) + len(u)] = delay
    net.add_connections(
        np.concatenate([inputs.ids[feed_source], ids[u], ids[exits[read_source]]]),
        np.concatenate([ids[entries[feed_target]], ids[v], outputs.ids[read_target]]),
        weight=weight,
        delay=delays,
    )
    return net


def ordered(ordering: Any, n: int, rng: np.random.Generator) -> np.ndarray:
    """The hidden neurons from first to last.

    Examples
    --------
    >>> ordered([0.5, 0.1, 0.5], 3, np.random.default_rng(0)).tolist()
    [1, 0, 2]
    """
    if isinstance(ordering, str):
        require(ordering in ("given", "random"), f'ordering is {ordering!r}; give "given", "random" or numbers.')
        return np.arange(n) if ordering == "given" else rng.permutation(n)
    rank = checks.finite(checks.reals(ordering, np.dtype("float64"), "ordering"), "ordering")
    require(rank.shape == (n,), f"ordering has shape {rank.shape}; give one number for each of the {n} hidden neurons.")
    return np.argsort(rank, kind="stable")


def oriented(u: np.ndarray, v: np.ndarray, order: np.ndarray) -> Edges:
    """Turn every edge so that it runs from the earlier neuron to the later one.

    Examples
    --------
    >>> source, target = oriented(np.array([0, 1]), np.array([1, 2]), np.array([1, 2, 0]))
    >>> source.tolist(), target.tolist()
    ([1, 1], [0, 2])
    """
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    turned = rank[u] > rank[v]
    return np.where(turned, v, u), np.where(turned, u, v)


def ends(u: np.ndarray, v: np.ndarray, order: np.ndarray, n_inputs: int, n_outputs: int) -> Edges:
    """Entries and exits of a DAG, each in the order of the neurons.

    Examples
    --------
    >>> entries, exits = ends(np.array([0, 1]), np.array([2, 2]), np.arange(3), 1, 2)
    >>> entries.tolist(), exits.tolist()
    ([0, 1], [1, 2])
    """
    first = _filled(np.bincount(v, minlength=len(order))[order] == 0, n_inputs)
    last = _filled(np.bincount(u, minlength=len(order))[order[::-1]] == 0, n_outputs)[::-1]
    return order[first], order[last]


def _filled(chosen: np.ndarray, count: int) -> np.ndarray:
    """Choose the first of the others as well, until ``count`` are chosen or all."""
    others = np.flatnonzero(~chosen)
    chosen[others[: max(0, count - np.count_nonzero(chosen))]] = True
    return chosen


def covering_pairs(n_sources: int, n_targets: int, density: float, rng: np.random.Generator) -> Edges:
    """Draw pairs of which everybody has at least one.

    Exactly ``round(density * n_sources * n_targets)`` pairs, but never fewer than the larger of the two numbers: the
    members of the larger side get one partner each, dealt evenly at random, and the rest is drawn uniformly from all
    other pairs.

    Examples
    --------
    >>> source, target = covering_pairs(3, 2, 0.0, np.random.default_rng(0))
    >>> sorted(source.tolist()), len(set(target.tolist()))
    ([0, 1, 2], 2)
    """
    count, larger = round(density * n_sources * n_targets), max(n_sources, n_targets)
    if count >= n_sources * n_targets:
        target, source = np.divmod(np.arange(n_sources * n_targets), n_sources)
        return source, target
    source = target = np.arange(larger)
    if n_sources < n_targets:
        source = rng.permutation(larger) % n_sources
    else:
        target = rng.permutation(larger) % n_targets
    extra = max(0, count - larger)
    allowed = np.full(n_targets, n_sources)
    more_targets, more_sources = absent_pairs(n_sources, allowed, target, source, lambda absent: extra, rng)
    return np.concatenate([source, more_sources]), np.concatenate([target, more_targets])
