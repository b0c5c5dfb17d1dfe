"""int8 weights after training: accuracy, bytes and time beside the float32 network (after Jacob et al. 2018)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import optim, topologies
from ...network import Network
from ...sparsity import prune_lowest
from ...train import Trainer
from ..rows import Row, Settings

__all__ = ["ABOUT", "run"]

ABOUT = "int8 weights: at most 0.2 points lost, at least 2.5 times fewer bytes, not slower (LeNet-300-100, MNIST)"
SIZES, KEPT = [784, 300, 100, 10], 0.1
BATCHES = {1: 1000, 2: 1000, 8: 1000, 128: 100, 10_000: 5}  # samples, and how often they are timed


def run(settings: Settings) -> Iterator[Row]:
    """Train, prune to 10% and tune, quantize both networks."""
    X, y, X_test, y_test = settings.mnist()
    epochs = 1 if settings.quick else 6
    lost: dict[str, list[float]] = {"dense": [], "pruned to 10%": []}
    last: dict[str, Network] = {}
    for seed in settings.seeds:
        net = topologies.layered(SIZES, seed=seed)
        fit(net, X, y, epochs, seed, 1e-3)
        for name in lost:
            if name != "dense":
                prune_lowest(net, fraction=1 - KEPT)
                fit(net, X, y, epochs // 2, seed, 1e-3)
                fit(net, X, y, epochs // 2, seed, 1e-4)
            small = net.quantize("int8")
            lost[name].append(100 * (accuracy(net, X_test, y_test) - accuracy(small, X_test, y_test)))
            if seed == settings.seeds[-1]:
                note = f"float32 {100 * accuracy(net, X_test, y_test):.2f}% for seed {seed}"
                yield Row(
                    f"{name}: accuracy lost", float(np.mean(lost[name])), 0.2, False, "points", tuple(lost[name]), note
                )
                yield from bytes_of(name, net, small)
                yield from times_of(name, net, small, X_test)
        last[name] = net


def fit(net: Network, X: np.ndarray, y: np.ndarray, epochs: int, seed: int, lr: float) -> None:
    """Train with Adam."""
    if epochs:
        Trainer(net, "cross_entropy", optim.Adam(lr=lr), seed=seed).fit(
            X, y, epochs=epochs, batch_size=128, progress=False
        )


def accuracy(net: Any, X: np.ndarray, y: np.ndarray) -> float:
    """Share of samples whose largest output is that of their class."""
    return float((net.predict(X).argmax(axis=1) == y).mean())


def bytes_of(name: str, net: Network, small: Any) -> Iterator[Row]:
    """Bytes at rest: beside plain float32 arrays, and beside the network with all it needs to be trained and edited."""
    biases = 4 * (net.n_neurons - net.n_inputs)
    if name == "dense":
        plain, what = 4 * net.n_connections + biases, "a float32 matrix (4 bytes a connection)"
    else:
        plain, what = 8 * net.n_connections + 2 * biases, "float32 compressed rows (8 bytes a connection)"
    note = f"{small.nbytes:,} bytes against {plain:,}"
    yield Row(f"{name}: bytes, times fewer than {what}", plain / small.nbytes, 2.5, note=note)
    note = f"{small.nbytes:,} bytes against {net.nbytes:,}"
    yield Row(f"{name}: bytes, times fewer than the network itself", net.nbytes / small.nbytes, 2.5, note=note)


def times_of(name: str, net: Network, small: Any, X: np.ndarray) -> Iterator[Row]:
    """How many times faster the quantized network predicts: both in turns, the least time of each."""
    for samples, repeats in BATCHES.items():
        part = X[:samples]
        least = [np.inf, np.inf]
        for turn in range(repeats + 2):
            for which, predict in enumerate((net.predict, small.predict)):
                start = time.perf_counter()
                predict(part)
                if turn > 1:  # the first two compile, and make what is made once
                    least[which] = min(least[which], time.perf_counter() - start)
        note = f"{1e6 * least[1]:.0f} us against {1e6 * least[0]:.0f} us"
        yield Row(f"{name}: predictions of {samples:,}, times faster", least[0] / least[1], 1.0, note=note)
