"""Growing while training beats a fixed sparse network of the same size: SET and RigL on MNIST."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from ... import optim, sparsity
from ...topologies import layered
from ...train import Trainer
from ..rows import Row, Settings, mean_over

ABOUT = "SET and RigL at 3.2% of 784-1000-1000-1000-10 against a fixed random mask and the dense network on MNIST"

SIZES = (784, 1000, 1000, 1000, 10)
CONNECTIONS = 89_797  # of 2,794,000; Erdos-Renyi like densities, the last layer dense
BATCH = 128
EPOCHS = 10
NOTE = (
    "AdamW, lr 2e-3 falling to 0 by a cosine, weight decay 0.1, batch 128, {epochs} epochs, test accuracy after the "
    "last; {connections:,} connections"
)


def recipe(arm: str, steps: int) -> Any:
    """What rewires the network in training: nothing for "dense" and "fixed"."""
    end = round(0.75 * steps)
    every = max(1, min(100, end // 4))
    if arm == "SET":
        return sparsity.SET(fraction=optim.Cosine(0.3, end), every=every, stop=end)
    return sparsity.RigL(T_end=end, delta_T=every, alpha=0.3) if arm == "RigL" else None


def accuracy(arm: str, seed: int, data: tuple[np.ndarray, ...], epochs: int = EPOCHS) -> float:
    """Test accuracy in percent after training one arm: the same budget, optimizer, seeds and start for all."""
    X, y, X_test, y_test = data
    total = sum(a * b for a, b in zip(SIZES, SIZES[1:], strict=False))
    density = sparsity.uniform(SIZES, 1.0) if arm == "dense" else sparsity.erdos_renyi(SIZES, CONNECTIONS / total)
    net = layered(SIZES, density=density, seed=seed)
    steps = epochs * -(-len(X) // BATCH)
    optimizer = optim.AdamW(lr=optim.Cosine(2e-3, steps), weight_decay=0.1)
    trainer = Trainer(net, optimizer=optimizer, rewire=recipe(arm, steps), seed=seed)
    trainer.fit(X, y, epochs=epochs, batch_size=BATCH, progress=False)
    return 100 * trainer.evaluate(X_test, y_test)["accuracy"]


def run(settings: Settings) -> Iterator[Row]:
    """Yield the figures."""
    data = tuple(part.astype(np.float32) if part.dtype.kind == "f" else part for part in settings.mnist())
    epochs = 1 if settings.quick else EPOCHS

    @cache
    def measured(arm: str, seed: int) -> float:
        return accuracy(arm, seed, data, epochs)

    def mean(arm: str) -> float:
        return mean_over(settings.seeds, lambda seed: measured(arm, seed))[0]

    def gain(name: str, arm: str, other: str, target: float) -> Row:
        value, each = mean_over(settings.seeds, lambda seed: measured(arm, seed) - measured(other, seed))
        note = f"{arm} {mean(arm):.2f}%, {other} {mean(other):.2f}%; "
        note += NOTE.format(epochs=epochs, connections=CONNECTIONS)
        return Row(name, value, target, unit="points", seeds=each, note=note)

    yield gain("SET above a fixed mask", "SET", "fixed", 0.5)
    yield gain("RigL above SET", "RigL", "SET", 0.0)
    yield gain("SET above the dense network", "SET", "dense", -0.3)
