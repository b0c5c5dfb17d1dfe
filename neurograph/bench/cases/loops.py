"""Networks in time: random loops, a brain, and what back-propagation through time keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import neurograph as ng

from ..harness import compare
from ..layers import training_step
from ..peers import loops
from ..rows import Bound, Row, Settings
from .start import run

__all__ = ["bptt_memory", "larva", "recurrent"]

CSR, CSR_BY_HAND = "torch.sparse CSR", "torch.sparse CSR, derivative by hand"


def recurrent(
    n_neurons: int = 10_000, n_connections: int = 1_000_000, steps: int = 50, batch: int = 32, few: int = 6
) -> list[Row]:
    """Forward and backward of a loop in which every connection has delay 1, against torch.sparse CSR and flydnet.

    Peers that take a second a step run a ``few`` steps, and their time is multiplied by the number of products.
    """
    scale = (steps - 1) / (few - 1)

    def measure(settings: Settings, peer: Callable[[loops.Loop], Callable], peer_steps: int) -> dict[str, Any]:
        net = ng.Network(seed=0)
        h = net.add_neurons(n_neurons, activation="tanh")
        n_inputs = n_neurons // 100
        x = net.add_inputs(n_inputs)
        net.mark_outputs(h[-10:])
        net.add_connections(x.ids, h[:n_inputs].ids, weight=1.0).frozen = True
        net.connect(h, h, density=n_connections / n_neurons**2, weight="lecun", delay=1)
        rng = np.random.default_rng(0)
        X, Y = rng.normal(size=(batch, steps, n_inputs)).astype(np.float32), rng.integers(0, 10, batch)

        def theirs() -> Callable[[], object]:
            loop = loops.Loop(net, X, Y)
            run = peer(loop)
            loops.agree(net, X, loop, run, min(peer_steps, few))
            return lambda: run(peer_steps)

        def ours() -> Callable[[], object]:
            return lambda: net.backward(X, Y, loss="cross_entropy")

        return compare(ours, theirs, settings, scale=(steps - 1) / (peer_steps - 1))

    name = f"forward and backward, {n_neurons:,} neurons in a loop, {n_connections:,} connections, {steps} steps"
    in_part = f" (over {few} steps, times {scale:g})"

    def row(against: str, needs: str, peer: Callable, peer_steps: int, least: float | None) -> Row:
        return Row(
            f"{name}, batch {batch}",
            against + ("" if peer_steps == steps else in_part),
            lambda settings: measure(settings, peer, peer_steps),
            (needs,),
            () if least is None else (Bound("ratio", least),),
        )

    return [
        row(CSR, "torch", lambda loop: loops.torch_csr(loop, False)[0], few, 3),
        row(CSR_BY_HAND, "torch", lambda loop: loops.torch_csr(loop, True)[0], steps, None),
        row("flydnet", "flydnet", loops.flydnet, few, 1),
    ]


def larva(steps: int = 20, batch: int = 32) -> list[Row]:
    """A training step of the fruit-fly larva's brain, all its connections trainable, against torch.sparse CSR."""

    def measure(settings: Settings, by_hand: bool) -> dict[str, Any]:
        net, rng = ng.topologies.connectome("larva"), np.random.default_rng(0)
        X = rng.normal(size=(batch, steps, net.n_inputs)).astype(np.float32)
        Y = rng.integers(0, net.n_outputs, batch)

        def theirs() -> Callable[[], object]:
            import torch

            loop = loops.Loop(net, X, Y)
            run, trained = loops.torch_csr(loop, by_hand)
            loops.agree(net, X, loop, run, steps)
            adam = torch.optim.Adam(trained, lr=1e-3, fused=True)

            def step() -> None:
                run()
                adam.step()

            return step

        return compare(lambda: training_step(net, X, Y), theirs, settings) | {"connections": net.n_connections}

    def row(against: str, by_hand: bool, least: float | None) -> Row:
        return Row(
            f"training step, the larva's brain, 119,010 connections, {steps} steps, batch {batch}",
            against,
            lambda settings: measure(settings, by_hand),
            ("torch",),
            () if least is None else (Bound("ratio", least),),
        )

    return [row(CSR, False, 5), row(CSR_BY_HAND, True, None)]


def bptt_memory(n_neurons: int = 5_000, batch: int = 64, lengths: tuple[int, ...] = (25, 50, 100, 200)) -> list[Row]:
    """What back-propagation through time adds to a process at its peak, a process for every number of steps.

    The slope is in activations a neuron, sample and step: over one pass, and over three in a row, as in training.
    """

    def added(steps: int, passes: int = 1, recompute: bool = False) -> float:
        """Bytes."""
        code = (
            "import numpy as np, neurograph as ng\n"
            "from neurograph.bench.memory import grown\n"
            "def network(n):\n"
            "    net = ng.Network()\n"
            "    h, x = net.add_neurons(n, activation='tanh'), net.add_inputs(1)\n"
            "    net.connect(x, h), net.connect(h, h, density=3 / n, delay=1), net.mark_outputs(h[:10])\n"
            "    return net\n"
            f"warm, net = network(10), network({n_neurons - 1})\n"
            f"X, Y = np.ones(({batch}, {steps}, 1)), np.zeros(({batch}, 10))\n"
            f"net.plan, warm.backward(X[:1, :4], Y[:1], recompute={recompute})\n"
            f"work = lambda: [net.backward(X, Y, recompute={recompute}) for _ in range({passes})]\n"
            "print(grown(work)[1] * 2**20)"
        )
        return run(code)[0]

    def slopes(settings: Settings) -> dict[str, Any]:
        unit = n_neurons * batch * 4
        grown = {passes: [added(steps, passes) for steps in lengths] for passes in (1, 3)}
        once, training = (float(np.polyfit(lengths, grown[passes], 1)[0]) / unit for passes in (1, 3))
        return {"slope": once, "slope_in_training": training, "ours_peak_mib": grown[3][-1] / 2**20}

    def recomputed(settings: Settings) -> dict[str, Any]:
        few, many = (added(steps, recompute=True) for steps in (lengths[-2], 4 * lengths[-2]))
        return {"growth": many / few, "ours_peak_mib": many / 2**20}

    name = f"memory of back-propagation through time, {n_neurons:,} neurons, batch {batch}"
    both = (Bound("slope", 1.15, at_most=True), Bound("slope_in_training", 1.15, at_most=True))
    return [
        Row(f"{name}, {lengths[0]} to {lengths[-1]} steps", "", slopes, target=both),
        Row(
            f"{name}, recomputed, {4 * lengths[-2]} steps and {lengths[-2]}",
            "",
            recomputed,
            target=(Bound("growth", 2.5, at_most=True),),
        ),
    ]
