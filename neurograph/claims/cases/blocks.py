"""Block pruning: how much faster whole blocks run than single connections of the same number."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

import neurograph as ng

from ..rows import Row, Settings

__all__ = ["ABOUT", "measure_blocks", "run"]

ABOUT = "K x K block pruning at 10% density: a training step and a prediction against unstructured pruning"

SIZES = (4096, 4096, 4096, 10)
SMALL = (784, 1024, 1024, 10)
SIDES = (4, 8, 16, 32, 64)
DENSITY, BATCH, TARGET = 0.1, 128, 1.5


def run(settings: Settings) -> Iterator[Row]:
    """Ratios of times, in one run and in turns: those of unstructured pruning over those of blocks."""
    plans = [(SMALL, (16,))] if settings.quick else [(SMALL, (16,)), (SIZES, SIDES)]
    for sizes, sides in plans:
        measured = measure_blocks(sizes, sides, repeats=3 if settings.quick else 25)
        for side in sides:
            step, forward = (measured[0][i] / measured[side][i] for i in range(2))
            name = f"{'-'.join(map(str, sizes))}, blocks of {side} x {side}"
            note = f"unstructured {1e3 * measured[0][0]:.2f} ms, blocks {1e3 * measured[side][0]:.2f} ms"
            goal = TARGET if side == 16 else 1.0
            yield Row(f"{name}: training step", round(step, 2), goal, unit="times as fast", note=note)
            note = f"unstructured {1e3 * measured[0][1]:.2f} ms, blocks {1e3 * measured[side][1]:.2f} ms"
            yield Row(f"{name}: forward", round(forward, 2), 1.0, unit="times as fast", note=note)
    kept = order_keeps(256 if settings.quick else 1024)
    note = (
        f"made weights: blocks of shuffled neurons, 30% of each missing; kept {kept[0]:.3f} without, {kept[1]:.3f} with"
    )
    yield Row("block_order: magnitude kept at 10% density, over none", round(kept[1] / kept[0], 2), 1.5, note=note)


def measure_blocks(
    sizes: Sequence[int], sides: Sequence[int], density: float = DENSITY, batch: int = BATCH, repeats: int = 25
) -> dict[int, tuple[float, float]]:
    """Seconds of a training step with Adam and of a forward pass, the least of some, for each side; 0 is unstructured.

    All networks are pruned layer by layer to the same number of connections, up to a block.

    Examples
    --------
    >>> sorted(measure_blocks((64, 64, 4), (8,), repeats=1))
    [0, 8]
    """
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((batch, sizes[0])).astype(np.float32), rng.integers(0, sizes[-1], batch)
    work: dict[int, tuple[Callable[[], object], Callable[[], object]]] = {}
    for side in (0, *sides):
        net, optimizer = _pruned(sizes, side, density), ng.optim.Adam(1e-4)

        def step(net: ng.Network = net, optimizer: ng.optim.Adam = optimizer) -> None:
            net.backward(X, Y, "cross_entropy")
            optimizer.step(net)

        def forward(net: ng.Network = net) -> object:
            return net.predict(X)

        work[side] = step, forward
    least = {side: [float("inf")] * 2 for side in work}
    for turn in range(repeats + 1):
        for side, both in work.items():
            for i, function in enumerate(both):
                for _ in range(2):  # the first finds what the network before left in the caches
                    start = time.perf_counter()
                    function()
                    seconds = time.perf_counter() - start
                if turn:
                    least[side][i] = min(least[side][i], seconds)
    return {side: (times[0], times[1]) for side, times in least.items()}


def _pruned(sizes: Sequence[int], side: int, density: float) -> ng.Network:
    """A layered network in which this share of the squares of each pair of layers, at least one, is left."""
    net, rng = ng.Network(seed=0), np.random.default_rng(side)
    homes = [net.add_inputs(sizes[0]), *(net.add_neurons(n, activation="relu") for n in sizes[1:-1])]
    homes.append(net.add_outputs(sizes[-1]))
    for sources, targets in zip(homes, homes[1:], strict=False):
        block = max(side, 1)
        shape = -(-len(sources) // block), -(-len(targets) // block)
        kept = np.zeros(shape[0] * shape[1], bool)
        kept[rng.choice(len(kept), max(1, round(density * len(kept))), replace=False)] = True
        pairs = np.repeat(np.repeat(kept.reshape(shape), block, 0), block, 1)[: len(sources), : len(targets)]
        i, j = np.nonzero(pairs)
        net.add_connections(sources.ids[i], targets.ids[j], weight="he")
    return net


def order_keeps(n: int, block: int = 16, noise: float = 0.3) -> tuple[float, float]:
    """Share of the magnitude that block pruning to 10% keeps, without an order of the neurons and with one.

    The large weights of a full layer are in blocks of neurons whose numbers are shuffled, but for some, and all others
    are small.

    Examples
    --------
    >>> without, ordered = order_keeps(64)
    >>> ordered > without
    True
    """
    rng, kept = np.random.default_rng(0), []
    large = np.repeat(np.repeat(rng.random((n // block, n // block)) < DENSITY, block, 0), block, 1)
    large ^= (rng.random((n, n)) < noise) & large
    shuffled = large[rng.permutation(n)][:, rng.permutation(n)]
    weights = np.abs(rng.standard_normal((n, n))) * np.where(shuffled, 1.0, 0.05)
    for ordered in (False, True):
        net = ng.Network(seed=0)
        net.connect(net.add_inputs(n), net.add_outputs(n), weight=weights.T.ravel())
        if ordered:
            net.order_blocks(ng.sparsity.block_order(net, block))
        before = float(np.abs(net.connections.weight).sum())
        ng.sparsity.prune_lowest(net, scope="block", block=block, fraction=1 - DENSITY, allow_disconnected=True)
        kept.append(float(np.abs(net.connections.weight).sum()) / before)
    return kept[0], kept[1]
