"""The largest networks: SET's of 1.8 million neurons, and one of 50 million."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

import neurograph as ng

from .. import memory
from ..rows import Bound, Row, Settings

__all__ = ["fifty_million", "set_network"]

# Minutes an epoch that the README of "Truly sparse neural networks at scale" reports for this network on a laptop.
PUBLISHED_MINUTES = 112


def set_network(
    sizes: Sequence[int] = (3312, 600_000, 600_000, 600_000, 5),
    epsilon: float = 20,
    batch: int = 2,
    steps: int = 68,
    published: float | None = PUBLISHED_MINUTES,
    peak_gib: float = 12,
) -> list[Row]:
    """Construct a SET network, train an epoch of momentum, rewire at its end.

    The samples are random, which costs as much as real ones of the same number do.
    Mocanu et al. (2018): the density between two layers is ``epsilon * (n_in + n_out) / (n_in * n_out)``, at most 1.
    """
    count = f"{sum(sizes):,} neurons"

    def measure(settings: Settings) -> dict[str, Any]:
        rng = np.random.default_rng(0)
        X, Y = rng.random((batch * steps, sizes[0]), dtype=np.float32), rng.integers(0, sizes[-1], batch * steps)

        def epoch() -> dict[str, Any]:
            start = time.perf_counter()
            net = build(sizes, epsilon)
            _ = net.plan
            built = time.perf_counter() - start
            optimizer, recipe = ng.optim.SGD(lr=0.01, momentum=0.9), ng.sparsity.SET(0.3, every=steps)
            start, first = time.perf_counter(), 0.0
            for k in range(steps):
                part = slice(batch * k, batch * (k + 1))
                net.backward(X[part], Y[part], loss="cross_entropy")
                optimizer.step(net)
                first = first or time.perf_counter() - start
            trained = time.perf_counter()
            changed = recipe.step(net, steps)
            # Until the network has run again, some of a rewiring's cost may be put off.
            net.predict(X[:batch])
            end = time.perf_counter()
            return {
                "ours_ms": 1e3 * (end - start),
                "construct_s": built,
                "first_step_s": first,
                "steps_s": trained - start,
                "rewire_s": end - trained,
                "rewired": changed.grown,
                "connections": net.n_connections,
            }

        figures, peak = memory.grown(epoch)
        figures |= {"epoch_s": figures["ours_ms"] / 1e3, "ours_peak_mib": peak}
        if peak is not None:
            figures["peak_gib"] = peak / 1024
        if published is None:
            return figures
        return figures | {"peer_ms": 60e3 * published, "ratio": 60e3 * published / figures["ours_ms"]}

    name = "-".join(map(str, sizes))
    epoch_bound = () if published is None else (Bound("epoch_s", 60, at_most=True),)
    return [
        Row(
            f"SET network {name} ({count}), batch {batch}, epoch of {steps} steps with momentum, rewired",
            "-" if published is None else "SET in SciPy, published minutes on a laptop",
            measure,
            target=(*epoch_bound, Bound("peak_gib", peak_gib, at_most=True)),
        )
    ]


def fifty_million() -> list[Row]:
    """The same with 50 million neurons, each fed by two or so."""
    third = 16_666_666
    return set_network((3312, third, third, third, 5), epsilon=1, steps=2, published=None, peak_gib=24)


def build(sizes: Sequence[int], epsilon: float) -> ng.Network:
    """A layered network with SET's densities.

    Examples
    --------
    >>> build((10, 40, 3), 2).n_connections
    186
    """
    net = ng.Network(seed=0)
    layers = [net.add_inputs(sizes[0]), *(net.add_neurons(n) for n in sizes[1:-1]), net.add_outputs(sizes[-1])]
    for sources, targets in pairwise(layers):
        net.connect(sources, targets, density=min(1.0, epsilon * (1 / len(sources) + 1 / len(targets))))
    return net
