"""The product with one large irregular matrix, such as a brain's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import neurograph as ng

from ..harness import compare, require_close
from ..rows import Bound, Row, Settings

__all__ = ["irregular_product"]

# Neurons and connections of the whole brain of a fruit fly, as flydnet's own benchmark takes them.
FLY = (138_639, 4_290_000)
TAIL = 0.6  # of the degrees: the r-th neuron has r ** -TAIL times the connections of the first, which has 15,000


def irregular_product(
    n_neurons: int = FLY[0], n_connections: int = FLY[1], batch: int = 32, products: int = 10
) -> list[Row]:
    """A random graph with uniform and one with heavy-tailed degrees, against flydnet's C kernel.

    "one product": all neurons are inputs, and the product is a prediction, copies in and out included. "in a row": the
    graph is a network in time, and the product is one time step, as a simulation of the brain takes them.
    """
    rows = []
    for heavy, least in ((False, 4), (True, 2.5)):
        degrees = "heavy-tailed" if heavy else "uniform"
        for in_a_row in (False, True):
            kind = f"{products} products in a row" if in_a_row else "one product"
            rows.append(
                Row(
                    f"{kind}, irregular graph of {n_connections:,} connections, {degrees} degrees, batch {batch}",
                    "flydnet's C kernel",
                    _measure(n_neurons, n_connections, batch, heavy, products if in_a_row else 0),
                    ("flydnet",),
                    (Bound("ratio", least),),
                )
            )
    return rows


def draw_graph(n_neurons: int, n_connections: int, heavy: bool, rng: np.random.Generator) -> tuple[Any, Any]:
    """Sources and targets of distinct random pairs, sorted by target and then by source.

    Examples
    --------
    >>> source, target = draw_graph(1000, 5000, True, np.random.default_rng(0))
    >>> len(source), bool(np.bincount(target).max() > 50 > np.bincount(target).mean())
    (5000, True)
    """
    share = np.cumsum(np.arange(1, n_neurons + 1) ** -TAIL) if heavy else None
    pairs = np.zeros(0, np.int64)
    while len(pairs) < n_connections:
        ends = []
        for _ in range(2):
            if share is None:
                ends.append(rng.integers(0, n_neurons, n_connections))
            else:
                ranks = np.searchsorted(share, rng.random(n_connections) * share[-1])
                ends.append(np.random.default_rng(len(ends)).permutation(n_neurons)[ranks])
        pairs = np.unique(np.concatenate([pairs, ends[0] * n_neurons + ends[1]]))
    chosen = np.sort(rng.choice(pairs, n_connections, replace=False))
    target, source = np.divmod(chosen, n_neurons)
    return source, target


def _measure(n: int, n_connections: int, batch: int, heavy: bool, products: int) -> Callable[[Settings], dict]:
    def measure(settings: Settings) -> dict[str, Any]:
        rng = np.random.default_rng(0)
        source, target = draw_graph(n, n_connections, heavy, rng)
        weight = rng.normal(size=n_connections).astype(np.float32)
        # Every row's weights have length 1, so that values neither die out nor grow, and a bias keeps each from 0.
        fan_in = np.bincount(target, minlength=n)
        weight /= np.sqrt(fan_in, dtype=np.float32)[target]
        X = rng.random((batch, n), dtype=np.float32)
        results: list[np.ndarray] = []

        def one_product() -> Callable[[], object]:
            net = ng.Network(seed=0)
            x, y = net.add_inputs(n), net.add_outputs(n, bias=1.0)
            net.add_connections(x.ids[source], y.ids[target], weight=weight)
            results.append(net.predict(X))
            return lambda: net.predict(X)

        def in_a_row() -> Callable[[], object]:
            net = ng.Network(seed=0)
            x, h = net.add_inputs(1), net.add_neurons(n, activation="identity", bias=1.0)
            net.add_connections(h.ids[source], h.ids[target], weight=weight, delay=1)
            net.mark_outputs(h[:10])
            nothing = np.zeros((batch, products + 1, len(x)), np.float32)
            results.append(net.predict(nothing)[:, -1])
            return lambda: net.predict(nothing)

        def flydnet() -> Callable[[], object]:
            from flydnet.ganglion import csr

            if csr.backend() != "c":
                raise RuntimeError(f"flydnet multiplies by {csr.backend()} here, not by its C kernel")
            starts = np.searchsorted(target, np.arange(n + 1)).astype(np.int64)
            matrix = csr.CSR(weight.copy(), source.astype(np.int32), starts, (n, n))
            x = np.ascontiguousarray(X.T)

            def step() -> np.ndarray:
                if not products:
                    return matrix @ x + np.float32(1)
                h = np.ones((n, batch), np.float32)
                for _ in range(products):
                    h = matrix @ h
                    h += np.float32(1)
                return h

            got = step().T if not products else step().T[:, :10]
            require_close("products", got, results[0], 1e-3)
            return step

        return compare(in_a_row if products else one_product, flydnet, settings)

    return measure
