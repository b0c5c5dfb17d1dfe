"""What edits between two training steps cost where the step runs on the GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import neurograph as ng

from ...rows import Bound, Row, Settings
from ..edits import million
from .networks import step_on_device, synchronized

__all__ = ["bulk_edits", "device_edit"]

MANY = 10_000_000


def device_edit(
    n_connections: int = MANY, width: int = 1000, batches: Sequence[int] = (1024, 128), rounds: int = 150
) -> list[Row]:
    """One connection removed and one added, then a training step on the GPU, in turns with the step without edits."""

    def row(batch: int) -> Row:
        def measure(settings: Settings) -> dict[str, Any]:
            net, step = _stepping(n_connections, width, batch, settings)
            rng, count = np.random.default_rng(1), max(rounds // 10, 5) if settings.quick else rounds
            pool = net.connections[rng.permutation(net.n_connections)[: count + 1]]
            ends = [(int(s), int(t)) for s, t in zip(pool.source, pool.target, strict=True)]
            plain, edited, edits = [], [], []
            for k in range(count):
                plain.append(_seconds(step))
                start = time.perf_counter()
                # Remove one connection, and put back the one that the edit before removed.
                net.connection(*ends[k + 1]).remove()
                if k:
                    net.connect(*ends[k])
                edits.append(time.perf_counter() - start)
                step()
                edited.append(time.perf_counter() - start)
            usual, extra = float(np.median(plain)), float(np.median(np.array(edited) - plain))
            return {
                "ours_ms": 1e3 * (usual + extra),
                "peer_ms": 1e3 * usual,
                "ratio": usual / (usual + extra),
                "extra_ms": 1e3 * extra,
                "edit_calls_ms": 1e3 * float(np.median(edits)),
                "connections": net.n_connections,
            }

        return Row(
            f"one connection removed and one added, then a training step, {n_connections:,} connections, batch {batch}",
            "the step without edits",
            measure,
            ("cupy",),
            (Bound("share", 1.02, at_most=True),),
        )

    return [row(batch) for batch in batches]


def bulk_edits(
    n_connections: int = MANY, width: int = 1000, edits: int = 1_000_000, batch: int = 128, least: float = 10
) -> list[Row]:
    """Many connections removed and as many added at once, with what the next training step has to do for it."""

    def measure(settings: Settings) -> dict[str, Any]:
        net, step = _stepping(n_connections, width, batch, settings)
        rng = np.random.default_rng(1)
        times, calls = [], []
        for _ in range(3 if settings.quick else 7):
            plain = _seconds(step)
            chosen = net.connections[np.sort(rng.choice(net.n_connections, edits // 2, replace=False))]
            source, target = chosen.source.copy(), chosen.target.copy()
            weight = rng.normal(scale=0.01, size=len(source)).astype(np.float32)
            start = time.perf_counter()
            chosen.remove()
            net.add_connections(source, target, weight=weight)
            calls.append(time.perf_counter() - start)
            step()
            times.append(time.perf_counter() - start - plain)
        seconds = float(np.median(times))
        return {
            "edits_ms": 1e3 * seconds,
            "of_which_on_the_host_ms": 1e3 * float(np.median(calls)),
            "edits": edits,
            "million_edits_a_second": edits / seconds / 1e6,
        }

    return [
        Row(
            f"{edits // 2:,} connections removed and as many added, with what that adds to the next training step, "
            f"{n_connections:,} connections",
            "",
            measure,
            ("cupy",),
            (Bound("million_edits_a_second", least),),
        )
    ]


def _seconds(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def _stepping(
    n_connections: int, width: int, batch: int, settings: Settings
) -> tuple[ng.Network, Callable[[], object]]:
    net, rng = million(n_connections, width, settings.backend), np.random.default_rng(0)
    X = rng.random((batch, net.n_inputs), dtype=np.float32)
    step = synchronized(step_on_device(net, X, rng.integers(0, net.n_outputs, batch)))
    step(), step(), step()
    return net, step
