"""Training steps of layered networks, at every density."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import neurograph as ng

from ..harness import compare, require_close
from ..layers import label, matrices, training_step
from ..peers import torch_layers
from ..rows import Bound, Row, Settings

__all__ = ["tiny", "training", "training_512"]

NETWORKS = ((784, 1024, 1024, 10), (4096, 4096, 4096, 10))
DENSE = {1.0: 0.9, 0.5: 1.4, 0.2: 3.5, 0.1: 6, 0.02: 20}
DENSE_512 = {1.0: 0.9, 0.5: 1.1, 0.2: 2.5, 0.1: 4.5, 0.02: 18}
SPARSELAB = {0.5: 2.5, 0.1: 2.5, 0.02: 3}


def training(
    networks: Sequence[Sequence[int]] = NETWORKS,
    batch: int = 128,
    dense: Mapping[float, float] = DENSE,
    sparselab: Mapping[float, float] = SPARSELAB,
    others: float | None = 0.1,
) -> list[Row]:
    """Forward, backward and Adam, against PyTorch dense, masked and CSR, SparseLab and scikit-learn.

    Parameters
    ----------
    networks : sequence of sizes
    batch : int
    dense, sparselab : mapping
        Times as fast as each that were promised, by density.
    others : float, optional
        Density at which the first network is compared with the other peers.

    Returns
    -------
    list of Row
    """
    rows = []
    for sizes in networks:
        for density, least in dense.items():
            rows.append(_row(sizes, batch, density, "PyTorch, dense", "torch", _torch(torch_layers.dense), least))
        if others is not None and sizes == networks[0]:
            for against, needs, build in (
                ("PyTorch, dense with masks", "torch", _torch(torch_layers.masked)),
                ("torch.sparse CSR", "torch", _torch(lambda layers: torch_layers.csr(layers, by_hand=False))),
                (
                    "torch.sparse CSR, derivative by hand",
                    "torch",
                    _torch(lambda layers: torch_layers.csr(layers, by_hand=True)),
                ),
                ("scikit-learn's MLP, dense", "sklearn", _sklearn),
            ):
                rows.append(_row(sizes, batch, others, against, needs, build))
        for density, least in sparselab.items():
            rows.append(_row(sizes, batch, density, "SparseLab", "sparselab", _sparselab, least))
    return rows


def training_512() -> list[Row]:
    """The same against PyTorch dense in batches of 512."""
    return training(batch=512, dense=DENSE_512, sparselab={}, others=None)


def tiny(sizes: Sequence[int] = (64, 200, 10), density: float = 0.2, batch: int = 32) -> list[Row]:
    """A network so small that the calls around the arithmetic count."""
    return training([sizes], batch, dense={density: 3}, sparselab={}, others=None)


@dataclass(frozen=True)
class Work:
    """What a peer starts from: our network, its matrices when it is their turn, its density, the batch."""

    net: ng.Network
    layers: list[tuple[Any, np.ndarray]]
    density: float
    X: np.ndarray
    Y: np.ndarray


Builder = Callable[[Work], Callable[[], object]]


def _row(
    sizes: Sequence[int],
    batch: int,
    density: float,
    against: str,
    needs: str,
    peer: Builder,
    least: float | None = None,
) -> Row:
    def measure(settings: Settings) -> dict[str, Any]:
        rng = np.random.default_rng(0)
        X, Y = rng.random((batch, sizes[0]), dtype=np.float32), rng.integers(0, sizes[-1], batch)
        nets: list[ng.Network] = []
        works: list[Work] = []

        def ours() -> Callable[[], object]:
            nets.append(ng.topologies.layered(sizes, density=density))
            return training_step(nets[0], X, Y)

        def between() -> None:
            works.append(Work(nets[0], matrices(nets[0]), density, X, Y))

        figures = compare(ours, lambda: peer(works[0]), settings, between=between)
        return figures | {"connections": nets[0].n_connections}

    return Row(
        f"training step, {label(sizes)}, batch {batch}, density {density:g}",
        against,
        measure,
        (needs,),
        () if least is None else (Bound("ratio", least),),
        (f"{label(sizes)}, batch {batch}", density),
    )


def _torch(make: Callable[[Any], Any]) -> Builder:
    def build(work: Work) -> Callable[[], object]:
        import torch

        module, few = make(work.layers), work.X[:8]
        with torch.no_grad():
            require_close("outputs", module(torch.from_numpy(few)).numpy(), work.net.predict(few), 1e-3)
        return torch_layers.training_step(module, work.X, work.Y)

    return build


def _sparselab(work: Work) -> Callable[[], object]:
    sizes = [len(home) for home in work.net.homes]
    return torch_layers.training_step(torch_layers.sparselab(sizes, work.density), work.X, work.Y)


def _sklearn(work: Work) -> Callable[[], object]:
    """One mini-batch of ``partial_fit`` with Adam; it has dense layers only."""
    from sklearn.neural_network import MLPClassifier

    hidden = [len(home) for home in work.net.homes][1:-1]
    classes = np.arange(work.net.n_outputs)
    model = MLPClassifier(hidden, alpha=0.0, batch_size=len(work.X), random_state=0)
    return lambda: model.partial_fit(work.X, work.Y, classes=classes)
