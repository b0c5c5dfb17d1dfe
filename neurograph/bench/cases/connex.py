"""One edit and the next training step, against Connex, which compiles again after every edit."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import neurograph as ng

from .. import memory, peers
from ..layers import training_step
from ..rows import Bound, Row, Settings

__all__ = ["connex"]

N_INPUTS, N_OUTPUTS = 32, 10
SCRIPT = Path(peers.__file__).parent / "connex_steps.py"


def connex(n_connections: int = 6_530, n_hidden: int = 200, depth: int = 20, batch: int = 32) -> list[Row]:
    """A connection of a small DAG is removed, and the next training step runs.

    Connex runs in a process of its own right after neurograph, in the Python that ``NEUROGRAPH_CONNEX_PYTHON`` names if
    this one has no Connex.
    """

    def measure(settings: Settings) -> dict[str, Any]:
        rng = np.random.default_rng(0)
        X, Y = rng.random((batch, N_INPUTS), dtype=np.float32), rng.integers(0, N_OUTPUTS, batch)

        def build() -> tuple[ng.Network, Callable[[], object]]:
            net = dag(n_connections, n_hidden, depth)
            step = training_step(net, X, Y)
            step()
            return net, step

        start = time.perf_counter()
        (net, step), peak = memory.grown(build)
        first, graph, spare = time.perf_counter() - start, adjacency(net), removable(net)
        ours: list[float] = []
        plain: list[float] = []
        for pair in spare[:20]:
            for seconds in (plain, ours):
                start = time.perf_counter()
                if seconds is ours:
                    net.connection(*pair).remove()
                step()
                seconds.append(time.perf_counter() - start)
        theirs = run_script(
            {
                "graph": graph,
                "inputs": net.inputs.ids.tolist(),
                "outputs": net.outputs.ids.tolist(),
                "X": X.tolist(),
                "Y": Y.tolist(),
                "edits": spare[: 1 if settings.quick else 3],
            },
            settings.threads,
        )
        ours_s, peer_s = statistics.median(ours), statistics.median(theirs["edits"])
        return {
            "ours_ms": 1e3 * ours_s,
            "peer_ms": 1e3 * peer_s,
            "ratio": peer_s / ours_s,
            "step_ms": 1e3 * statistics.median(plain),
            "peer_step_ms": 1e3 * theirs["step"],
            "first_step_ms": 1e3 * first,
            "peer_first_step_ms": 1e3 * theirs["first"],
            "ours_peak_mib": peak,
            "peer_peak_mib": theirs["peak_mib"],
        }

    return [
        Row(
            f"one edit, then a training step, DAG of {n_connections:,} connections, batch {batch}",
            "Connex",
            measure,
            ("connex",),
            (Bound("ratio", 10_000),),
        )
    ]


def dag(n_connections: int, n_hidden: int, depth: int) -> ng.Network:
    """A random DAG with so many connections.

    Examples
    --------
    >>> dag(500, 40, 5).n_connections
    500
    """
    pairs = n_hidden * (n_hidden - n_hidden // depth) // 2
    candidates = pairs + n_hidden * (N_INPUTS + N_OUTPUTS) + N_INPUTS * N_OUTPUTS
    return ng.topologies.random_dag(N_INPUTS, n_hidden, N_OUTPUTS, n_connections / candidates, depth=depth)


def adjacency(net: ng.Network) -> dict[int, list[int]]:
    """Targets of each neuron that has some."""
    every = net.connections
    order = np.argsort(every.source, kind="stable")
    sources, starts = np.unique(every.source[order], return_index=True)
    parts = np.split(every.target[order], starts[1:])
    return {int(source): part.tolist() for source, part in zip(sources, parts, strict=True)}


def removable(net: ng.Network, seed: int = 0) -> list[tuple[int, int]]:
    """Connections in random order, each from a neuron that feeds others too to one that others feed too."""
    every = net.connections
    ends = np.stack([every.source, every.target], axis=1)
    out, into = np.bincount(every.source), np.bincount(every.target)
    kept = ends[(out[every.source] > 3) & (into[every.target] > 3)]
    return [(int(s), int(t)) for s, t in np.random.default_rng(seed).permutation(kept)]


def run_script(work: dict[str, Any], threads: int) -> dict[str, Any]:
    """What `connex_steps` answers, from the Python that has Connex, on as many cores as we have threads."""
    keep = None
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))[:threads]

        def keep() -> None:
            os.sched_setaffinity(0, cores)

    done = subprocess.run(
        [peers.python_of("connex"), str(SCRIPT)],
        input=json.dumps(work),
        capture_output=True,
        text=True,
        preexec_fn=keep,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise RuntimeError(f"Connex failed: {last[0]}")
    return json.loads(done.stdout)
