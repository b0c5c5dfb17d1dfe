"""PyTorch on the GPU in each precision that it has for matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..rows import NotHere

__all__ = ["DEVICE", "PRECISIONS", "csr_product", "dense_products", "library", "recorded"]

DEVICE = "cuda"
# Float32 without and with the tensor cores' 19 bits, and bfloat16; what differs from ours by less is the same function.
PRECISIONS = {"fp32": 1e-4, "tf32": 5e-3, "bf16": 3e-2}


def library(precision: str = "fp32") -> Any:
    """PyTorch, set to a precision of float32 products for the whole process.

    Raises
    ------
    NotHere
        It sees no GPU.
    """
    import torch

    if DEVICE == "cuda" and not torch.cuda.is_available():
        raise NotHere(f"PyTorch {torch.__version__} sees no GPU: install its build for CUDA, see https://pytorch.org")
    # "highest" is tf32 off; "high" is what PyTorch calls tf32.
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    return torch


def placed(array: np.ndarray, precision: str = "fp32") -> Any:
    """A tensor on the device, in bfloat16 where that is the precision."""
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(array)).to(DEVICE)
    return tensor.to(torch.bfloat16) if precision == "bf16" else tensor


def recorded(step: Callable[[], object]) -> Callable[[], object]:
    """A step as a CUDA graph, as PyTorch's notes on CUDA semantics tell to record a whole training step."""
    import torch

    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def dense_products(
    weight: np.ndarray, inputs: list[np.ndarray], precision: str
) -> tuple[dict[str, Callable[..., Any]], list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Ways of multiplying with a dense matrix, and the inputs for each.

    Parameters
    ----------
    weight : ndarray, shape (targets, sources)
    inputs : list of ndarray, shape (sources, batch)
        Rotated, so that the cache does not hold them.
    precision : str
        One of `PRECISIONS`.

    Returns
    -------
    ways : dict
        "mm", of arrays (sources, batch) as a sparse product takes them, and "linear", of arrays (batch, sources) as a
        layer takes them: a comparison takes the faster one.
    columns, rows : list of tuple
        Inputs for "mm" and for "linear".
    """
    torch = library(precision)
    w = placed(weight, precision)
    columns = [(placed(x, precision),) for x in inputs]
    rows = [(x.t().contiguous(),) for (x,) in columns]
    return {"mm": lambda x: torch.mm(w, x), "linear": lambda x: torch.nn.functional.linear(x, w)}, columns, rows


def csr_product(weight: Any, inputs: list[np.ndarray]) -> tuple[Callable[[Any], Any], list[tuple[Any, ...]]]:
    """The product with a ``torch.sparse`` CSR matrix from a SciPy one, and its inputs."""
    torch = library()
    parts = (weight.indptr.astype(np.int32), weight.indices.astype(np.int32), weight.data)
    matrix = torch.sparse_csr_tensor(*map(placed, parts), weight.shape)
    return lambda x: torch.sparse.mm(matrix, x), [(placed(x),) for x in inputs]
