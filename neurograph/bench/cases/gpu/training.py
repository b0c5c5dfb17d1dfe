"""Training steps on the GPU: against PyTorch in every precision it has, and against the processor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

import neurograph as ng

from ... import events, harness
from ...layers import label, matrices, training_step
from ...peers import torch_cuda, torch_layers
from ...picture import OURS
from ...rows import Bound, Row, Settings
from .networks import layered, samples, step_on_device, synchronized

__all__ = ["against_cpu", "gpu_training"]

SIZES = (4096, 4096, 4096, 10)
LAYERS = 3  # whose differences add up
OWN = {"fp32": "float32", "tf32": "tf32", "bf16": "bf16"}  # what our precisions are called
# Times as fast as dense float32 that were promised, by density; the others show where dense layers win.
FP32 = {1.0: None, 0.5: None, 0.2: None, 0.1: 2, 0.05: 3.5, 0.02: 7, 0.01: None}


def gpu_training(
    sizes: Sequence[int] = SIZES, batch: int = 1024, dense: Mapping[float, float | None] = FP32, sparse: float = 0.1
) -> list[Row]:
    """Forward, backward and Adam on the GPU, against PyTorch dense in fp32, tf32 and bf16, and its sparse CSR.

    Both sides have the same precision. PyTorch's bf16 is ``torch.autocast``: products in bfloat16, weights and Adam in
    float32, as ours; its dense steps are launched or recorded as a CUDA graph, whichever is faster. Inputs and labels
    are on the GPU.

    Parameters
    ----------
    sizes : sequence of int
    batch : int
    dense : mapping
        Times as fast as dense float32 that were promised, by density, None where nothing was.
    sparse : float
        Density at which PyTorch's sparse layers are compared.
    """
    rows = []
    for density, least in dense.items():
        for precision in torch_cuda.PRECISIONS:
            target = () if least is None or precision != "fp32" else (Bound("ratio", least),)
            rows.append(
                _row(sizes, batch, density, f"PyTorch, dense {precision}", _dense(precision), target, OWN[precision])
            )
    for by_hand, name in ((False, "torch.sparse CSR"), (True, "torch.sparse CSR, derivative by hand")):
        rows.append(_row(sizes, batch, sparse, name, _csr(by_hand)))
    return rows


def against_cpu(
    sizes: Sequence[int] = SIZES,
    batch: int = 1024,
    densities: Sequence[float] = (1.0, 0.5, 0.1, 0.02),
    least: float = 10,
) -> list[Row]:
    """The same training step on the GPU and on all cores of the processor beside it.

    Both by the host's clock, each step to its end.
    """

    def row(density: float) -> Row:
        def measure(settings: Settings) -> dict[str, Any]:
            X, Y = samples(sizes, batch)
            net = layered(sizes, density, settings)
            twin = ng.topologies.layered(sizes, density=density, backend="cpu")  # the same seed: the same network
            harness.require_close("outputs", net.predict(X[:8]), twin.predict(X[:8]), 1e-3)
            ours, theirs = synchronized(step_on_device(net, X, Y)), training_step(twin, X, Y)
            for step in (ours, theirs):
                step(), step()
            return harness.against(ours, theirs, settings.quick) | {
                "connections": net.n_connections,
                "threads": settings.threads,
            }

        return Row(
            f"training step, {label(sizes)}, batch {batch}, density {density:g}",
            "our CPU backend on all cores",
            measure,
            ("cupy",),
            (Bound("ratio", least),),
            (_panel(sizes, batch), density),
        )

    return [row(density) for density in densities]


def _panel(sizes: Sequence[int], batch: int) -> str:
    return f"training step, {label(sizes)}, batch {batch}"


# Returns what the peer's way is called, where it has several, and its step.
Builder = Callable[[ng.Network, Any, np.ndarray, np.ndarray], tuple[str, Callable[[], object]]]


def _row(
    sizes: Sequence[int],
    batch: int,
    density: float,
    against: str,
    peer: Builder,
    target: tuple[Bound, ...] = (),
    precision: str = "float32",
) -> Row:
    exact = precision == "float32"

    def measure(settings: Settings) -> dict[str, Any]:
        X, Y = samples(sizes, batch)
        net, layers = _start(tuple(sizes), density, settings.backend)
        way, theirs = peer(net, layers, X, Y)
        net.precision = precision
        figures = events.against(step_on_device(net, X, Y), theirs, settings.quick)
        tool = OURS if exact else f"{OURS} {precision}"
        return figures | {"connections": net.n_connections, "ours_tool": tool, "peer_way": way}

    return Row(
        f"training step, {label(sizes)}, batch {batch}, density {density:g}{'' if exact else f', {precision}'}",
        against,
        measure,
        ("cupy", "torch"),
        target,
        (_panel(sizes, batch), density),
    )


@lru_cache(maxsize=1)
def _made(sizes: tuple[int, ...], density: float, backend: str) -> tuple[ng.Network, list[Any], Any, Any]:
    net = ng.topologies.layered(sizes, density=density, backend=backend)
    return net, matrices(net), net.connections.weight.copy(), net.neurons.bias.copy()


def _start(sizes: tuple[int, ...], density: float, backend: str) -> tuple[ng.Network, list[Any]]:
    """A network before training and its matrices; one is made for all rows of a density, for that takes the longest."""
    net, layers, weight, bias = _made(sizes, density, backend)
    net.precision = "float32"
    net.connections.weight, net.neurons.bias = weight, bias
    return net, layers


def _dense(precision: str) -> Builder:
    def build(net: ng.Network, layers: Any, X: np.ndarray, Y: np.ndarray) -> tuple[str, Callable[[], object]]:
        torch_cuda.library(precision)
        module, bf16 = torch_layers.dense(layers, torch_cuda.DEVICE), precision == "bf16"
        _require_same(net, module, X[:16], precision)
        ways = {"": torch_layers.training_step(module, X, Y, device=torch_cuda.DEVICE, bf16=bf16)}
        if torch_cuda.DEVICE == "cuda":  # small steps wait for their launches, which a graph saves
            step = torch_layers.training_step(module, X, Y, device="cuda", bf16=bf16, capturable=True)
            ways["CUDA graph"] = torch_cuda.recorded(step)
        best = events.fastest(ways)
        return best, ways[best]

    return build


def _csr(by_hand: bool) -> Builder:
    def build(net: ng.Network, layers: Any, X: np.ndarray, Y: np.ndarray) -> tuple[str, Callable[[], object]]:
        torch_cuda.library()
        module = torch_layers.csr(layers, by_hand, torch_cuda.DEVICE)
        _require_same(net, module, X[:16], "fp32")
        return "", torch_layers.training_step(module, X, Y, device=torch_cuda.DEVICE)

    return build


def _require_same(net: ng.Network, module: Any, few: np.ndarray, precision: str) -> None:
    """A PyTorch module computes what our network computes."""
    torch = torch_cuda.library(precision)
    with torch.no_grad(), torch.autocast(torch_cuda.DEVICE, torch.bfloat16, enabled=precision == "bf16"):
        outputs = module(torch_cuda.placed(few)).float().cpu().numpy()
    harness.require_close("outputs", outputs, net.predict(few), LAYERS * torch_cuda.PRECISIONS[precision])
