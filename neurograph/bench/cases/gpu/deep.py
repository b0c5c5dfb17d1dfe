"""Networks of many launches on the GPU: what slices of the batch and CUDA graphs are worth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

import neurograph as ng

from ... import events
from ...layers import label
from ...rows import Bound, Row, Settings
from ..deep import chain
from .networks import layered, samples, step_on_device

__all__ = ["gpu_deep"]

SMALL = (784, 1024, 1024, 10)
Build = Callable[[Settings], tuple[ng.Network, np.ndarray, np.ndarray]]


def gpu_deep(
    generations: int = 2_000, width: int = 8, batch: int = 1024, sizes: Sequence[int] = SMALL, least: float = 5
) -> list[Row]:
    """Training steps as they run, and without CUDA graphs: a launch for each generation, one after the other."""

    def deep(settings: Settings) -> tuple[ng.Network, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        X = rng.normal(size=(batch, width)).astype(np.float32)
        return chain(generations, width, settings.backend), X, rng.integers(0, width, batch)

    def small(settings: Settings) -> tuple[ng.Network, np.ndarray, np.ndarray]:
        return layered(sizes, 0.1, settings), *samples(sizes, 128)

    what = f"training step, {generations:,} generations x {width} neurons, batch {batch}"
    plain = "without CUDA graphs, a launch for each generation"
    return [
        Row(what, plain, _measure(deep, slices=True), ("cupy",), (Bound("ratio", least),)),
        Row(f"{what}, recorded launches without slices", plain, _measure(deep, slices=False), ("cupy",)),
        Row(f"training step, {label(sizes)}, batch 128, density 0.1", plain, _measure(small, slices=True), ("cupy",)),
    ]


def _measure(build: Build, slices: bool) -> Callable[[Settings], dict[str, Any]]:
    def measure(settings: Settings) -> dict[str, Any]:
        steps = []
        for record in (True, False):
            net, X, Y = build(settings)
            # So small a rate that the weights stay what they are: what is timed is not training but its cost.
            step = step_on_device(net, X, Y, lr=1e-7)
            steps.append(step if record and slices else _launched(step, record, slices=record and slices))
        for step in steps:
            for _ in range(4):  # the first passes are launched one by one and recorded, two in turns
                step()
        return events.against(steps[0], steps[1], settings.quick)

    return measure


def _launched(step: Callable[[], object], record: bool, slices: bool) -> Callable[[], object]:
    """The step with launches that are or are not recorded, and with or without slices that walk all generations."""

    def restricted() -> None:
        with _restricted(record, slices):
            step()

    return restricted


@contextmanager
def _restricted(record: bool, slices: bool) -> Iterator[None]:
    from ....backends.gpu import graphs, sliced

    most, pays = graphs.MOST, sliced.pays
    graphs.MOST = most if record else 0
    sliced.pays = pays if slices else lambda plan, batch: False
    try:
        yield
    finally:
        graphs.MOST, sliced.pays = most, pays
