"""Making large networks, and what they weigh."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import neurograph as ng

from .. import memory
from ..rows import Bound, Row, Settings

__all__ = ["at_rest", "construction"]


def construction(n_neurons: int = 1_000_000, n_connections: int = 10_000_000, repeats: int = 3) -> list[Row]:
    """Random connections added by one call, scheduled and lowered, against sorting the same pairs."""

    def measure(settings: Settings) -> dict[str, Any]:
        rng = np.random.default_rng(0)
        source, target = forward_pairs(n_neurons, n_connections, rng)
        seconds: dict[str, list[float]] = {name: [] for name in ("add", "schedule", "lower", "all", "sort")}

        def once() -> int:
            net = ng.Network()
            net.add_neurons(n_neurons)
            start = time.perf_counter()
            net.add_connections(source, target, weight="he")
            added = time.perf_counter()
            depth = net.schedule.depth
            scheduled = time.perf_counter()
            _ = net.plan
            end = time.perf_counter()
            for name, value in zip(
                seconds, (added - start, scheduled - added, end - scheduled, end - start), strict=False
            ):
                seconds[name].append(value)
            return depth

        peaks = []
        for _ in range(1 if settings.quick else repeats):
            depth, peak = memory.grown(once)
            peaks.append(peak)
            start = time.perf_counter()
            np.lexsort((source, target))
            seconds["sort"].append(time.perf_counter() - start)
        ratios = [b / a for a, b in zip(seconds["all"], seconds["sort"], strict=True)]
        median = {name: float(np.median(values)) for name, values in seconds.items()}
        return {
            "ours_ms": 1e3 * median["all"],
            "peer_ms": 1e3 * median["sort"],
            "ratio": float(np.median(ratios)),
            "ratio_range": [min(ratios), max(ratios)],
            "add_s": median["add"],
            "schedule_s": median["schedule"],
            "lower_s": median["lower"],
            "generations": depth,
            "ours_peak_mib": peaks[0],
        }

    return [
        Row(
            f"{n_connections:,} connections added, scheduled, lowered",
            "numpy.lexsort of the same arrays",
            measure,
            target=(Bound("share", 2, at_most=True),),
        )
    ]


def forward_pairs(n_neurons: int, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Distinct random pairs of ids in random order, each from a lower to a higher id.

    Examples
    --------
    >>> source, target = forward_pairs(50, 200, np.random.default_rng(0))
    >>> len(source), bool((source < target).all())
    (200, True)
    """
    pairs = np.zeros(0, np.int64)
    while len(pairs) < count:
        a, b = rng.integers(0, n_neurons, (2, count))
        drawn = np.minimum(a, b) * n_neurons + np.maximum(a, b)
        pairs = np.unique(np.concatenate([pairs, drawn[a != b]]))
    return np.divmod(rng.permutation(pairs)[:count], n_neurons)


def at_rest(n_connections: int = 10_000_000, width: int = 4000) -> list[Row]:
    """Bytes a connection with Adam's state at rest, as the network counts them and as the process grows."""

    def measure(settings: Settings) -> dict[str, Any]:
        def trained() -> ng.Network:
            net = ng.Network()
            x, h = net.add_inputs(width), net.add_neurons(width)
            net.mark_outputs(h[:10])
            net.connect(x, h, density=n_connections / width**2)
            net.backward(np.ones((8, width)), np.zeros((8, 10)))
            ng.optim.Adam().step(net)
            net._pass = net._spare = None
            return net

        memory.settle()
        before = memory.resident()
        net, peak = memory.grown(trained)
        memory.settle()
        after = memory.resident()
        figures: dict[str, Any] = {"bytes_a_connection": net.nbytes / net.n_connections, "ours_peak_mib": peak}
        if before is not None and after is not None:
            figures["process_bytes_a_connection"] = (after - before) / net.n_connections
        return figures

    return [
        Row(
            f"memory at rest with Adam's state, {n_connections:,} connections",
            "",
            measure,
            target=(Bound("bytes_a_connection", 72, at_most=True),),
        )
    ]
