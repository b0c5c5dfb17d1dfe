"""The figures that the project promises, each measured by one function that returns a dictionary of numbers."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

import numpy as np

import neurograph as ng

from .harness import against, set_threads


def training_step(sizes=(784, 1024, 1024, 10), batch=128, densities=(1.0, 0.5, 0.2, 0.1, 0.02)) -> list[dict]:
    """Forward, backward and Adam against the same dense network in PyTorch, two threads each."""
    import torch

    set_threads()
    rng = np.random.default_rng(0)
    X, Y = rng.random((batch, sizes[0]), dtype=np.float32), rng.integers(0, sizes[-1], batch)
    layers = []
    for n_in, n_out in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    module = torch.nn.Sequential(*layers[:-1])
    adam = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)
    x, y = torch.from_numpy(X), torch.from_numpy(Y)

    def dense():
        adam.zero_grad()
        torch.nn.functional.cross_entropy(module(x), y).backward()
        adam.step()

    rows = []
    for density in densities:
        net, optimizer = ng.topologies.layered(sizes, density=density), ng.optim.Adam(lr=1e-3)

        def sparse(net=net, optimizer=optimizer):
            net.backward(X, Y, loss="cross_entropy")
            optimizer.step(net)

        name = f"training step {'-'.join(map(str, sizes))}, batch {batch}, density {density}"
        row = {"name": name, "connections": net.n_connections, **against(sparse, dense)}
        rows.append(row | ({"target": "ratio >= 3"} if density == 0.1 else {}))
    return rows


def construction(n_neurons=1_000_000, n_connections=10_000_000) -> list[dict]:
    """Ten million random connections added by one call, scheduled and lowered; kernels are compiled before."""
    ng.topologies.random_dag(5, 20, 3, density=0.5).predict(np.ones((1, 5)))
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, n_neurons, (2, n_connections))
    source, target = np.minimum(a, b), np.maximum(a, b) + 1
    pairs = np.unique(source * (n_neurons + 1) + target)
    source, target = np.divmod(pairs, n_neurons + 1)
    order = rng.permutation(len(pairs))
    source, target = source[order], target[order]
    net = ng.Network()
    net.add_neurons(n_neurons + 1)
    start = time.perf_counter()
    net.add_connections(source, target, weight="he")
    added = time.perf_counter()
    depth = net.schedule.depth
    scheduled = time.perf_counter()
    _ = net.plan
    lowered = time.perf_counter()
    sort = time.perf_counter()
    np.lexsort((source, target))
    sort = time.perf_counter() - sort
    return [
        {
            "name": f"{len(pairs):,} connections added, scheduled, lowered",
            "add_s": added - start,
            "schedule_s": scheduled - added,
            "lower_s": lowered - scheduled,
            "total_s": lowered - start,
            "lexsort_s": sort,
            "generations": depth,
            "target": "total_s <= 5",
        }
    ]


def single_edit(n_connections=1_000_000, batch=128) -> list[dict]:
    """One connection removed and one added, and what that adds to the next training step of a million connections."""
    net = _million(n_connections)
    rng, optimizer = np.random.default_rng(0), ng.optim.Adam()
    X, Y = rng.random((batch, net.n_inputs), dtype=np.float32), rng.integers(0, net.n_outputs, batch)

    def step():
        net.backward(X, Y, loss="cross_entropy")
        optimizer.step(net)

    pool = net.connections[rng.permutation(net.n_connections)[:4000]]
    ends = [(int(s), int(t)) for s, t in zip(pool.source, pool.target, strict=True)]
    step()
    plain, edited, edits = [], [], []
    for k in range(300):
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
    return [
        {
            "name": f"one connection removed and one added, {net.n_connections:,} connections",
            "step_ms": 1e3 * float(np.median(plain)),
            "edit_and_step_ms": 1e3 * float(np.median(edited)),
            "extra_ms": 1e3 * float(np.median(np.array(edited) - plain)),
            "edit_calls_ms": 1e3 * float(np.median(edits)),
            "rebuilds": net.graph.incoming.rebuilds,
            "plans_lowered": net.plans_lowered,
            "target": "extra_ms < 1",
        }
    ]


def _million(n_connections: int) -> ng.Network:
    """A random DAG with skip connections: 10,000 hidden neurons in ten groups, each fed by everything before it."""
    net = ng.Network(seed=0)
    before = net.add_inputs(784)
    hidden = [net.add_neurons(1000) for _ in range(10)]
    y = net.add_outputs(10)
    possible = 784 * 10_000 + 1000 * 1000 * 45 + 10_784 * 10
    for group in (*hidden, y):
        net.connect(before, group, density=n_connections / possible)
        before = before | group
    return net


def memory(n_connections=10_000_000) -> list[dict]:
    """Bytes a connection with Adam's state at rest, as the network counts them and as the process grows."""
    code = (
        "import gc, psutil, numpy as np, neurograph as ng\n"
        "def used(): gc.collect(); return psutil.Process().memory_info().rss\n"
        "warm = ng.topologies.layered([4, 4, 4]); warm.backward(np.ones((2, 4)), np.zeros((2, 4)))\n"
        "ng.optim.Adam().step(warm)\n"
        "before = used()\n"
        "net = ng.Network()\n"
        "x, h = net.add_inputs(4000), net.add_neurons(4000)\n"
        "net.mark_outputs(h[:10])\n"
        f"net.connect(x, h, density={n_connections / 16e6})\n"
        "net.backward(np.ones((8, 4000)), np.zeros((8, 10)))\n"
        "ng.optim.Adam().step(net)\n"
        "net._pass = net._spare = None\n"
        "print(net.n_connections, net.nbytes, used() - before)"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    count, counted, resident = map(int, output.split())
    return [
        {
            "name": f"memory at rest with Adam's state, {count:,} connections",
            "nbytes_per_connection": counted / count,
            "process_bytes_per_connection": resident / count,
            "target": "<= 72",
        }
    ]


def import_time(repeats=9) -> list[dict]:
    """Seconds of ``import neurograph`` beyond numpy's own, and what it loads."""

    def seconds(modules: str) -> float:
        code = f"import time; t = time.perf_counter(); import {modules}; print(time.perf_counter() - t)"
        run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        return float(run.stdout)

    seconds("numpy, neurograph")
    beyond = [seconds("numpy, neurograph") - seconds("numpy") for _ in range(repeats)]
    code = "import neurograph, sys; print([m for m in ('numba', 'cupy', 'networkx', 'matplotlib') if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    return [
        {
            "name": "import beyond numpy",
            "seconds": float(np.median(beyond)),
            "loads": loaded,
            "target": "<= 0.3, loads []",
        }
    ]


def first_use() -> list[dict]:
    """Seconds until the first training step has run: kernels compiled, and in the next process from the cache."""
    code = (
        "import time; t = time.perf_counter()\n"
        "import numpy as np, neurograph as ng\n"
        "net = ng.topologies.layered([20, 30, 5])\n"
        "net.backward(np.ones((64, 20)), np.zeros((64, 5))); ng.optim.Adam().step(net)\n"
        "print(time.perf_counter() - t)"
    )
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        runs = [
            float(
                subprocess.run(
                    [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment
                ).stdout
            )
            for _ in range(2)
        ]
    return [{"name": "first training step", "compiling_s": runs[0], "cached_s": runs[1]}]


CASES = {f.__name__: f for f in (import_time, first_use, training_step, construction, single_edit, memory)}
