"""What several cases of the GPU share: networks on it, and steps of training there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import neurograph as ng

from ...layers import training_step
from ...rows import Settings

__all__ = ["layered", "on_device", "samples", "step_on_device", "synchronized"]


def layered(sizes: Sequence[int], density: float, settings: Settings, **how: Any) -> ng.Network:
    """A layered network that the GPU runs."""
    return ng.topologies.layered(sizes, density=density, backend=settings.backend, **how)


def samples(sizes: Sequence[int], batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Random inputs (batch, sizes[0]) in float32, and labels."""
    rng = np.random.default_rng(0)
    return rng.random((batch, sizes[0]), dtype=np.float32), rng.integers(0, sizes[-1], batch)


def on_device(array: np.ndarray) -> Any:
    """A copy of an array on the GPU."""
    import cupy

    return cupy.asarray(array)


def step_on_device(net: ng.Network, X: np.ndarray, Y: np.ndarray, lr: float = 1e-3) -> Callable[[], object]:
    """A step of training whose inputs and labels are on the GPU before it begins, as a peer's are."""
    return training_step(net, on_device(X), on_device(Y), lr)


def synchronized(step: Callable[[], object]) -> Callable[[], object]:
    """The step, and a wait for the GPU: for what is timed by the host's clock."""
    import cupy

    def whole() -> None:
        step()
        cupy.cuda.Device().synchronize()

    return whole
