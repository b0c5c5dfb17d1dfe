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
CONNECTIONS = 89_797  # of 2,794,000; Erdos-Renyi densities scaled to that sum, the last layer dense
BATCH = 128
EPOCHS = 10
OPTIMIZERS = {
    "AdamW": "AdamW, lr 2e-3, weight decay 0.1; 30% replaced at first, every 100 steps, until 3/4",
    "SGD": "SGD, lr 0.1, momentum 0.9, weight decay 5e-4; 50% replaced at first, every 50 steps, until 4/5",
}
NOTE = (
    "{optimizer}; lr falls to 0 by a cosine, batch {batch}, {epochs} epochs, test accuracy after the last; "
    "{connections:,} connections"
)


def recipe(arm: str, steps: int, optimizer: str) -> Any:
    """What rewires the network in training: nothing for "dense" and "fixed"."""
    share, fraction, every = (0.75, 0.3, 100) if optimizer == "AdamW" else (0.8, 0.5, 50)
    end = round(share * steps)
    every = max(1, min(every, end // 4))
    if arm == "SET":
        return sparsity.SET(fraction=optim.Cosine(fraction, end), every=every, stop=end)
    return sparsity.RigL(T_end=end, delta_T=every, alpha=fraction) if arm == "RigL" else None


def accuracy(
    arm: str, seed: int, data: tuple[np.ndarray, ...], epochs: int = EPOCHS, optimizer: str = "AdamW"
) -> float:
    """Test accuracy in percent after training one arm: the same budget, optimizer, seeds and start for all."""
    X, y, X_test, y_test = data
    total = sum(a * b for a, b in zip(SIZES, SIZES[1:], strict=False))
    density = sparsity.uniform(SIZES, 1.0) if arm == "dense" else sparsity.erdos_renyi(SIZES, CONNECTIONS / total)
    net = layered(SIZES, density=density, seed=seed)
    steps = epochs * -(-len(X) // BATCH)
    rule: optim.Optimizer = optim.AdamW(lr=optim.Cosine(2e-3, steps), weight_decay=0.1)
    if optimizer == "SGD":
        rule = optim.SGD(lr=optim.Cosine(0.1, steps), momentum=0.9, weight_decay=5e-4)
    trainer = Trainer(net, optimizer=rule, rewire=recipe(arm, steps, optimizer), seed=seed)
    trainer.fit(X, y, epochs=epochs, batch_size=BATCH, progress=False)
    return 100 * trainer.evaluate(X_test, y_test)["accuracy"]


def run(settings: Settings) -> Iterator[Row]:
    """Yield the figures."""
    data = tuple(part.astype(np.float32) if part.dtype.kind == "f" else part for part in settings.mnist())
    epochs = 1 if settings.quick else EPOCHS

    @cache
    def measured(arm: str, seed: int, optimizer: str) -> float:
        return accuracy(arm, seed, data, epochs, optimizer)

    def gain(arm: str, other: str, target: float, optimizer: str = "AdamW") -> Row:
        def of(which: str) -> list[float]:
            return [measured(which, seed, optimizer) for seed in settings.seeds]

        value, each = mean_over(
            settings.seeds, lambda seed: measured(arm, seed, optimizer) - measured(other, seed, optimizer)
        )
        note = f"{arm} {np.mean(of(arm)):.2f}%, {other} {np.mean(of(other)):.2f}%; "
        note += NOTE.format(optimizer=OPTIMIZERS[optimizer], batch=BATCH, epochs=epochs, connections=CONNECTIONS)
        return Row(f"{arm} above {other}, {optimizer}", value, target, unit="points", seeds=each, note=note)

    yield gain("SET", "fixed", 0.5, "SGD")
    yield gain("SET", "fixed", 0.5)
    yield gain("RigL", "SET", 0.0)
    yield gain("SET", "dense", -0.3)
