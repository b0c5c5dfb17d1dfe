"""What edits between two training steps cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import neurograph as ng

from .. import memory
from ..layers import training_step
from ..rows import Bound, Row, Settings

__all__ = ["edit", "rewire"]


def million(n_connections: int, width: int = 1000, backend: str = "auto") -> ng.Network:
    """A random DAG with skip connections: ten groups of hidden neurons, each fed by everything before it.

    Examples
    --------
    >>> million(5_000, width=20)
    <Network: 994 neurons, 4999 connections, 784 inputs, 10 outputs>
    """
    net = ng.Network(seed=0, backend=backend)
    before = net.add_inputs(784)
    groups = [net.add_neurons(width) for _ in range(10)]
    groups.append(net.add_outputs(10))
    possible = 784 * 10 * width + width * width * 45 + (784 + 10 * width) * 10
    for group in groups:
        net.connect(before, group, density=n_connections / possible)
        before = before | group
    return net


def edit(n_connections: int = 1_000_000, width: int = 1000, batch: int = 128, rounds: int = 300) -> list[Row]:
    """One connection removed and one added, then a training step, in turns with the same step without edits."""

    def measure(settings: Settings) -> dict[str, Any]:
        (net, step), peak = memory.grown(lambda: _stepping(n_connections, width, batch))
        rng, count = np.random.default_rng(1), rounds // 10 if settings.quick else rounds
        pool = net.connections[rng.permutation(net.n_connections)[: count + 1]]
        ends = [(int(s), int(t)) for s, t in zip(pool.source, pool.target, strict=True)]
        plain, edited, edits = [], [], []
        for k in range(count):
            start = time.perf_counter()
            step()
            plain.append(time.perf_counter() - start)
            start = time.perf_counter()
            # Remove one connection, and put back the one that the edit before removed.
            net.connection(*ends[k + 1]).remove()
            if k:
                net.connect(*ends[k])
            made = time.perf_counter()
            step()
            edited.append(time.perf_counter() - start)
            edits.append(made - start)
        usual, extra = float(np.median(plain)), float(np.median(np.array(edited) - plain))
        return {
            "ours_ms": 1e3 * (usual + extra),
            "peer_ms": 1e3 * usual,
            "ratio": usual / (usual + extra),
            "extra_ms": 1e3 * extra,
            "edit_calls_ms": 1e3 * float(np.median(edits)),
            "rebuilds": net.graph.incoming.rebuilds,
            "plans_lowered": net.plans_lowered,
            "ours_peak_mib": peak,
        }

    return [
        Row(
            f"one connection removed and one added, then a training step, {n_connections:,} connections, batch {batch}",
            "the step without edits",
            measure,
            target=(Bound("share", 1.01, at_most=True),),
        )
    ]


def rewire(n_connections: int = 1_000_000, width: int = 1000, batch: int = 128, fraction: float = 0.3) -> list[Row]:
    """A share of all connections pruned and regrown at random, with what that adds to the next step."""

    def measure(settings: Settings) -> dict[str, Any]:
        (net, step), peak = memory.grown(lambda: _stepping(n_connections, width, batch))
        recipe = ng.sparsity.Rewire("random", "random", fraction, every=1)
        recipe.step(net, 0)
        step()
        plain, rewired, calls = [], [], []
        for _ in range(3 if settings.quick else 11):
            for _ in range(2):
                step()
            start = time.perf_counter()
            step()
            plain.append(time.perf_counter() - start)
            start = time.perf_counter()
            recipe.step(net, 0)
            calls.append(time.perf_counter() - start)
            step()
            rewired.append(time.perf_counter() - start - plain[-1])
        ratios = [a / b for a, b in zip(plain, rewired, strict=True)]
        return {
            "ours_ms": 1e3 * float(np.median(rewired)),
            "peer_ms": 1e3 * float(np.median(plain)),
            "ratio": float(np.median(ratios)),
            "ratio_range": [min(ratios), max(ratios)],
            "call_ms": 1e3 * float(np.median(calls)),
            "ours_peak_mib": peak,
        }

    return [
        Row(
            f"{fraction:.0%} of {n_connections:,} connections pruned and regrown at random",
            f"one training step, batch {batch}",
            measure,
            target=(Bound("share", 2, at_most=True),),
        )
    ]


def _stepping(n_connections: int, width: int, batch: int) -> tuple[ng.Network, Callable[[], object]]:
    net, rng = million(n_connections, width), np.random.default_rng(0)
    X = rng.random((batch, net.n_inputs), dtype=np.float32)
    step = training_step(net, X, rng.integers(0, net.n_outputs, batch))
    step(), step()
    return net, step
