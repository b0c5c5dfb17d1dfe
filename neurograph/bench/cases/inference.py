"""One sample at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import neurograph as ng

from ..harness import compare, require_close
from ..layers import label, matrices
from ..peers import torch_layers
from ..rows import Bound, Row, Settings
from .training import NETWORKS

__all__ = ["inference"]


def inference(networks: Sequence[Sequence[int]] = NETWORKS, density: float = 0.1, batch: int = 1) -> list[Row]:
    """The prediction for one sample, against PyTorch dense, SciPy CSR and MKL's CSR."""
    peers: list[tuple[str, tuple[str, ...], Builder, float | None]] = [
        ("PyTorch, dense", ("torch",), _torch, 5),
        ("SciPy CSR", (), _scipy, 3),
        ("sparse-dot-mkl CSR", ("sparse_dot_mkl",), _mkl, None),
    ]
    return [_row(sizes, density, batch, *peer) for sizes in networks for peer in peers]


Layer = tuple[Any, np.ndarray]
Builder = Callable[[Sequence[Layer], np.ndarray], Callable[[], Any]]


def _row(
    sizes: Sequence[int],
    density: float,
    batch: int,
    against: str,
    needs: tuple[str, ...],
    peer: Builder,
    least: float | None,
) -> Row:
    def measure(settings: Settings) -> dict[str, Any]:
        X = np.random.default_rng(0).random((batch, sizes[0]), dtype=np.float32)
        nets: list[ng.Network] = []
        layers: list[Layer] = []

        def ours() -> Callable[[], object]:
            net = ng.topologies.layered(sizes, density=density)
            nets.append(net)
            return lambda: net.predict(X)

        def theirs() -> Callable[[], object]:
            step = peer(layers, X)
            require_close("outputs", step(), nets[0].predict(X), 1e-4)
            return step

        figures = compare(ours, theirs, settings, between=lambda: layers.extend(matrices(nets[0])))
        return figures | {"connections": nets[0].n_connections}

    return Row(
        f"inference, {label(sizes)}, batch {batch}, density {density:g}",
        against,
        measure,
        needs,
        () if least is None else (Bound("ratio", least),),
    )


def _torch(layers: Sequence[Layer], X: np.ndarray) -> Callable[[], Any]:
    import torch

    module, x = torch_layers.dense(layers).eval(), torch.from_numpy(X)

    def step() -> Any:
        with torch.inference_mode():
            return module(x).numpy()

    return step


def _scipy(layers: Sequence[Layer], X: np.ndarray) -> Callable[[], Any]:
    return _products(layers, X, lambda weight, h: weight @ h)


def _mkl(layers: Sequence[Layer], X: np.ndarray) -> Callable[[], Any]:
    from sparse_dot_mkl import dot_product_mkl

    return _products(layers, X, dot_product_mkl)


def _products(
    layers: Sequence[Layer], X: np.ndarray, multiply: Callable[[Any, np.ndarray], np.ndarray]
) -> Callable[[], Any]:
    """A matrix times a vector, or times a matrix (neurons, batch), layer by layer."""
    one = len(X) == 1
    # Copied, so that the matrices count as memory of the peer.
    layers = [(weight.copy(), bias if one else bias[:, None]) for weight, bias in layers]
    x = X[0] if one else np.ascontiguousarray(X.T)

    def step() -> np.ndarray:
        h = x
        for number, (weight, bias) in enumerate(layers):
            h = multiply(weight, np.maximum(h, 0) if number else h) + bias
        return h[None] if one else h.T

    return step
