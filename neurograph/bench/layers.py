"""A layered network as its peers see it: one matrix and one vector of biases a layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

import neurograph as ng

__all__ = ["label", "matrices", "training_step"]


def matrices(net: ng.Network) -> list[tuple[Any, np.ndarray]]:
    """(weights, biases) of each layer: a SciPy CSR array (targets, sources) in float32, and (targets,).

    Examples
    --------
    >>> import neurograph as ng
    >>> [(weight.shape, bias.shape) for weight, bias in matrices(ng.topologies.layered([4, 3, 2]))]
    [((3, 4), (3,)), ((2, 3), (2,))]
    """
    whole = ng.to_scipy(net).tocsr()
    homes = [group.ids for group in net.homes]
    layers = []
    for sources, targets in pairwise(homes):
        weight = whole[targets[0] : targets[-1] + 1, sources[0] : sources[-1] + 1].astype(np.float32)
        weight.sort_indices()
        # 32-bit indices are what MKL multiplies with.
        weight.indices, weight.indptr = weight.indices.astype(np.int32), weight.indptr.astype(np.int32)
        layers.append((weight, np.asarray(net.group(targets).bias, np.float32)))
    return layers


def training_step(net: ng.Network, X: np.ndarray, Y: np.ndarray, lr: float = 1e-3) -> Callable[[], object]:
    """A step of training as a function: forward, backward, Adam.

    Examples
    --------
    >>> import neurograph as ng, numpy as np
    >>> step = training_step(ng.topologies.layered([2, 3, 2]), np.ones((4, 2)), np.array([0, 1, 1, 0]))
    >>> step()
    """
    optimizer = ng.optim.Adam(lr=lr)

    def step() -> None:
        net.backward(X, Y, loss="cross_entropy")
        optimizer.step(net)

    return step


def label(sizes: Sequence[int]) -> str:
    """How a layered network is called in the table.

    Examples
    --------
    >>> label((784, 1024, 10))
    '784-1024-10'
    """
    return "-".join(map(str, sizes))
