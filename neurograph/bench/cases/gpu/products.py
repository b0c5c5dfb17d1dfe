"""Products of one generation on the GPU, forward and backward, and where dense ones win."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ... import events
from ...harness import require_close
from ...peers import cusparse, torch_cuda
from ...picture import OURS
from ...rows import Bound, Row, Settings
from .generation import Generation

__all__ = ["crossover", "fused_backward", "sparse_product", "tensor_blocks", "tensor_tiles"]

WIDTH, DENSITY = 4096, 0.1
FP32, TF32, BF16 = 1e-4, 5e-3, 3e-2  # what products may differ by, of their largest
MOST = 1 << 24  # connections of a network that the sweep makes: more take the host too long
DENSITIES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
Peer = Callable[[Generation], tuple[str, Callable[[], object]]]


def sparse_product(width: int = WIDTH, density: float = DENSITY, batches: Sequence[int] = (512, 4096)) -> list[Row]:
    """A sparse matrix times a batch, against cuSPARSE, `torch.sparse` and PyTorch's dense products.

    Values are (neurons, batch) on the device; weights stand in each side's own order before the clock starts. Ours is
    the faster of our kernels in float32, or with activations in bfloat16 and sums in float32.
    """
    rows = []
    for batch in batches:
        peers: list[tuple[str, Peer, bool, float | None, tuple[str, ...]]] = [
            ("cuSPARSE through CuPy", _cusparse, False, 3, ()),
            ("PyTorch, dense fp32", _torch("fp32"), False, 2.4, ("torch",)),
            ("PyTorch, dense tf32", _torch("tf32"), False, None, ("torch",)),
            ("PyTorch, dense bf16", _torch("bf16"), False, None, ("torch",)),
            ("torch.sparse CSR", _torch_csr, False, None, ("torch",)),
            ("PyTorch, dense fp32", _torch("fp32"), True, 4, ("torch",)),
            ("PyTorch, dense bf16", _torch("bf16"), True, None, ("torch",)),
        ]
        for against, peer, half, least, needs in peers:
            what = _name(width, density, batch) + (", bf16 activations" if half else "")
            rows.append(
                _row(what, against, (width, density, batch, 1), "staged bf16" if half else "fp32", peer, least, needs)
            )
        rows.append(_own(width, density, batch))
    return rows


def tensor_tiles(
    width: int = WIDTH,
    batch: int = 4096,
    least: Mapping[float, float | None] = {0.2: None, 0.1: 0.9, 0.05: 1.3, 0.02: 1.3},
) -> list[Row]:
    """A sparse matrix times a batch in bfloat16 on tensor cores, against PyTorch's dense products in bfloat16."""
    return [
        _row(
            _name(width, density, batch) + ", bf16",
            "PyTorch, dense bf16",
            (width, density, batch, 1),
            "bf16",
            _torch("bf16"),
            bound,
            ("torch",),
        )
        for density, bound in least.items()
    ]


def tensor_blocks(width: int = WIDTH, density: float = DENSITY, batch: int = 4096, block: int = 16) -> list[Row]:
    """Whole blocks of connections, as block pruning leaves them, against PyTorch's dense products in bfloat16."""
    return [
        _row(
            f"{_name(width, density, batch)} in blocks of {block} x {block}, bf16",
            "PyTorch, dense bf16",
            (width, density, batch, block),
            "bf16",
            _torch("bf16"),
            2,
            ("torch",),
        )
    ]


def fused_backward(
    width: int = WIDTH, density: float = DENSITY, batches: Sequence[int] = (512, 4096), least: float = 1.6
) -> list[Row]:
    """Both gradients of a generation in one pass over the deltas, against our own products, one for each."""

    def row(batch: int) -> Row:
        def measure(settings: Settings) -> dict[str, Any]:
            return events.against(*_backward(Generation(width, density, batch, settings)), settings.quick)

        return Row(
            f"gradients by weights and by sources, {width} x {width}, density {density:g}, batch {batch}, fp32",
            "our transposed product and our sampled product",
            measure,
            ("cupy",),
            (Bound("ratio", least),),
        )

    return [row(batch) for batch in batches]


def crossover(
    widths: Sequence[int] = (1024, 4096, 8192),
    batches: Sequence[int] = (128, 1024, 4096),
    densities: Sequence[float] = DENSITIES,
) -> list[Row]:
    """Products at all densities, widths and batches, and at which density PyTorch's dense ones win.

    A dense product takes as long at every density, so it is measured once a width and batch.
    """

    def row(width: int, batch: int) -> Row:
        def measure(settings: Settings) -> dict[str, Any]:
            points: dict[str, list[list[float]]] = {}
            kept = [density for density in densities if density * width**2 <= MOST]
            for density in kept:
                made, least = Generation(width, density, batch, settings), float("inf")
                # Who may round to bf16 may also round less, or not at all.
                for tool, ways, tolerance in (
                    (OURS, made.single(), FP32),
                    (f"{OURS} tf32", made.rounded(), TF32),
                    (f"{OURS} bf16", made.half(), BF16),
                ):
                    _, step = made.fastest(ways, tolerance)
                    least = min(least, events.alone(step, quick=True))
                    points.setdefault(tool, []).append([density, least])
            rng = np.random.default_rng(0)
            weight = rng.standard_normal((width, width), dtype=np.float32)
            for precision in torch_cuda.PRECISIONS:
                ms = events.alone(_dense(weight, made.inputs, precision)[1], quick=True)
                points[f"PyTorch, dense {precision}"] = [[density, ms] for density in kept]
            return {"points": points}

        return Row(f"product, {width} x {width}, batch {batch}", "", measure, ("cupy", "torch"))

    return [row(width, batch) for width in widths for batch in batches]


def _name(width: int, density: float, batch: int) -> str:
    return f"product, {width} x {width}, density {density:g}, batch {batch}"


def _row(
    what: str,
    against: str,
    size: tuple[int, float, int, int],
    ours: str,
    peer: Peer,
    least: float | None,
    needs: tuple[str, ...],
) -> Row:
    width, density, batch, block = size

    def measure(settings: Settings) -> dict[str, Any]:
        made = Generation(width, density, batch, settings, block)
        ways = made.single() if ours == "fp32" else made.half()
        if ours == "staged bf16":
            ways = {name: way for name, way in ways.items() if name.startswith("staged")}
        way, step = made.fastest(ways, FP32 if ours == "fp32" else BF16)
        peer_way, theirs = peer(made)
        figures = events.against(step, theirs, settings.quick)
        return figures | {
            "ours_way": way,
            "peer_way": peer_way,
            "connections": made.connections,
            "rate_tflops": 2 * made.connections * batch / figures["ours_ms"] / 1e9,
        }

    bounds = () if least is None else (Bound("ratio", least),)
    return Row(what, against, measure, ("cupy", *needs), bounds)


def _own(width: int, density: float, batch: int) -> Row:
    def measure(settings: Settings) -> dict[str, Any]:
        made = Generation(width, density, batch, settings)
        return events.against(made.staged()[0], made.by_rows()[0], settings.quick)

    return Row(f"{_name(width, density, batch)}, staged kernel", "our row kernel", measure, ("cupy",))


def _cusparse(made: Generation) -> tuple[str, Callable[[], object]]:
    ways = cusparse.ways(made.matrix(), made.inputs)
    few = min(made.batch, 64)
    expected = made.matrix() @ made.inputs[0][:, :few]
    right = {}
    for name, step in ways.items():
        result: Any = step()
        # An algorithm that wants more than the call itself, such as an analysis that CuPy does not offer, is left out.
        with contextlib.suppress(AssertionError):
            require_close(name, result[:, :few].get(), expected, FP32)
            right[name] = step
    best = events.fastest(right)
    return best, right[best]


def _torch(precision: str) -> Peer:
    def build(made: Generation) -> tuple[str, Callable[[], object]]:
        return _dense(made.matrix().toarray(), made.inputs, precision)

    return build


def _dense(weight: np.ndarray, inputs: list[np.ndarray], precision: str) -> tuple[str, Callable[[], object]]:
    ways, columns, rows = torch_cuda.dense_products(weight, inputs, precision)
    steps = {"mm": events.rotated(ways["mm"], columns), "linear": events.rotated(ways["linear"], rows)}
    best = events.fastest(steps)
    return best, steps[best]


def _torch_csr(made: Generation) -> tuple[str, Callable[[], object]]:
    multiply, sets = torch_cuda.csr_product(made.matrix(), made.inputs)
    return "", events.rotated(multiply, sets)


def _backward(made: Generation) -> tuple[Callable[[], object], Callable[[], object]]:
    """The fused kernel, and the transposed product with the sampled one."""
    import cupy

    matrix, weights = made.matrix(), made.staged_matrix()
    deltas = [np.random.default_rng(2).standard_normal(x.shape, dtype=np.float32) for x in made.inputs]
    sets = []
    for x, delta in zip(made.inputs, deltas, strict=True):
        padded = [np.pad(a, ((0, 0), (0, -made.batch % 4))) for a in (delta, x)]
        sets.append((cupy.asarray(padded[0]), cupy.asarray(padded[1]), cupy.zeros_like(cupy.asarray(padded[1]))))
    grad = cupy.zeros(matrix.nnz, np.float32)
    scratch = weights.scratch(sets[0][0].shape[1], np.float32)

    def fused(delta: Any, x: Any, out: Any) -> None:
        weights.backward(delta, x, out, grad, scratch)

    def separate(delta: Any, x: Any, out: Any) -> None:
        weights.transposed_product(delta, out)
        weights.sampled_product(delta, x, grad, scratch)

    few = min(made.batch, 64)
    fused(*sets[0])
    require_close("gradients by sources", sets[0][2].get()[:, :few], matrix.T @ deltas[0][:, :few], FP32)
    together = grad.get()
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))[:1000]
    by_hand = (deltas[0][rows] * made.inputs[0][matrix.indices[:1000]]).sum(axis=1)
    require_close("gradients by weights", together[:1000], by_hand, FP32)
    separate(*sets[0])
    require_close("gradients by weights", grad.get(), together, FP32)
    return events.rotated(fused, sets), events.rotated(separate, sets)
