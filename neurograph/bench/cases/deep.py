"""Very deep and narrow networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import neurograph as ng

from ..harness import compare
from ..layers import training_step
from ..rows import Bound, Row, Settings

__all__ = ["deep"]


def deep(generations: int = 2_000, width: int = 8, shallow: int = 8, batch: int = 128) -> list[Row]:
    """A chain of narrow generations, against the same numbers of neurons and connections in a few wide ones."""

    def measure(settings: Settings) -> dict[str, Any]:
        rng = np.random.default_rng(0)
        wide = generations * width // shallow
        density = (generations - 1) * width**2 / ((shallow - 1) * wide**2)

        def side(net: ng.Network) -> Callable[[], object]:
            X = rng.normal(size=(batch, net.n_inputs)).astype(np.float32)
            # So small a rate that the weights stay what they are: what is timed is not training but its cost.
            return training_step(net, X, rng.integers(0, net.n_outputs, batch), lr=1e-7)

        figures = compare(
            lambda: side(chain(generations, width)),
            lambda: side(ng.topologies.layered([wide] * shallow, density=density, activation="tanh")),
            settings,
        )
        return figures | {"connections": (generations - 1) * width**2}

    return [
        Row(
            f"training step, {generations:,} generations x {width} neurons, batch {batch}",
            f"the same number of connections in {shallow} generations",
            measure,
            target=(Bound("share", 4, at_most=True),),
        )
    ]


def chain(generations: int, width: int, backend: str = "auto") -> ng.Network:
    """Fully connected generations with tanh, whose weights are rotations: values and gradients reach the other end.

    Examples
    --------
    >>> net = chain(5, 3)
    >>> net.n_connections, net.schedule.depth
    (36, 5)
    """
    net = ng.topologies.layered([width] * generations, activation="tanh", backend=backend)
    every = net.connections
    rotations = np.linalg.qr(np.random.default_rng(0).normal(size=(generations - 1, width, width)))[0]
    net.connections.weight = rotations[every.target // width - 1, every.target % width, every.source % width]
    return net
