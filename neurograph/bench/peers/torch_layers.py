"""Layers in PyTorch: dense, dense with masks, sparse CSR; and SparseLab's, which are trained by PyTorch as well."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["csr", "dense", "masked", "sparselab", "training_step"]

Layers = Sequence[tuple[Any, np.ndarray]]


def dense(layers: Layers, device: str = "cpu") -> Any:
    """Fully connected layers with ReLU between them, that compute what the given ones compute.

    Parameters
    ----------
    layers : sequence of (matrix, bias)
        As `bench.layers.matrices` returns them.
    device : str
        Where PyTorch keeps them.

    Returns
    -------
    torch.nn.Module
    """
    import torch

    modules: list[Any] = []
    for weight, bias in layers:
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight.toarray()))
            linear.bias.copy_(torch.from_numpy(bias))
        modules += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*modules[:-1]).to(device)


def masked(layers: Layers) -> Any:
    """The same with a mask on each weight, by ``torch.nn.utils.prune``."""
    import torch
    from torch.nn.utils import prune

    module = dense(layers)
    for linear, (weight, _) in zip(module[::2], layers, strict=True):
        prune.custom_from_mask(linear, "weight", torch.from_numpy(weight.toarray() != 0))
    return module


def csr(layers: Layers, by_hand: bool, device: str = "cpu") -> Any:
    """The same with ``torch.sparse`` matrices of which only the values are trained.

    PyTorch's derivative of the product sorts the matrix again in each step. ``by_hand`` transposes it by a permutation
    that is found once, and takes PyTorch's sampled product for the weights: the best that PyTorch's operations give.
    """
    import torch

    def placed(array: np.ndarray) -> Any:
        return torch.from_numpy(array).to(device)

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: Any, x: Any, layer: Any) -> Any:
            ctx.save_for_backward(x)
            ctx.layer = layer
            return torch.sparse.mm(layer.matrix, x)

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            (x,), (g,), layer = ctx.saved_tensors, gradients, ctx.layer
            by_values = torch.sparse.sampled_addmm(layer.matrix, g, x.t(), beta=0.0).values()
            by_x = torch.sparse.mm(layer.transposed(), g) if ctx.needs_input_grad[1] else None
            return by_values, by_x, None

    class Layer(torch.nn.Module):
        def __init__(self, weight: Any, bias: np.ndarray):
            super().__init__()
            weight = weight.copy()
            turned = weight.copy()
            turned.data = np.arange(weight.nnz)
            turned = turned.tocsc()
            self.order = placed(turned.data)
            self.turned = [placed(a.astype(np.int32)) for a in (turned.indptr, turned.indices)]
            self.shape = weight.shape
            starts, sources = placed(weight.indptr), placed(weight.indices)
            matrix = torch.sparse_csr_tensor(starts, sources, placed(weight.data), weight.shape)
            self.matrix: Any = matrix if by_hand else matrix.requires_grad_()
            # Adam takes no CSR matrix, but it can train the values that one is made of.
            self.weight = torch.nn.Parameter(matrix.detach().values())
            self.bias = torch.nn.Parameter(placed(bias.copy())[:, None])

        def transposed(self) -> Any:
            values = self.weight.detach()[self.order]
            return torch.sparse_csr_tensor(self.turned[0], self.turned[1], values, self.shape[::-1])

        def forward(self, x: Any) -> Any:
            product = Product.apply(self.weight, x, self) if by_hand else torch.sparse.mm(self.matrix, x)
            return product + self.bias

        def collect(self) -> None:
            if not by_hand:
                self.weight.grad = self.matrix.grad.values()
                self.matrix.grad = None

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers: Any = torch.nn.ModuleList(Layer(*layer) for layer in layers)

        def forward(self, x: Any) -> Any:
            h = x.t()
            for number, layer in enumerate(self.layers):
                h = layer(torch.relu(h) if number else h)
            return h.t()

        def collect(self) -> None:
            for layer in self.layers:
                layer.collect()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that CSR is in beta
        return Network()


def sparselab(sizes: Sequence[int], density: float) -> Any:
    """SparseLab's layers of the same sizes and density, wired by SparseLab, with ReLU between them."""
    import sparselab as package
    import torch

    modules: list[Any] = []
    for n_in, n_out in zip(sizes[:-1], sizes[1:], strict=True):
        modules += [package.SparseLinear(n_in, n_out, sparsity=1 - density), torch.nn.ReLU()]
    return torch.nn.Sequential(*modules[:-1])


def training_step(
    module: Any,
    X: np.ndarray,
    Y: np.ndarray,
    lr: float = 1e-3,
    device: str = "cpu",
    bf16: bool = False,
    capturable: bool = False,
) -> Callable[[], object]:
    """A step of training as a function: forward, cross-entropy, backward, fused Adam.

    With ``bf16`` the products run under ``torch.autocast`` in bfloat16; weights and their updates stay in float32.
    A ``capturable`` step can be recorded as a CUDA graph.
    """
    import torch

    adam = torch.optim.Adam(module.parameters(), lr=lr, fused=True, capturable=capturable)
    x, y = torch.from_numpy(X).to(device), torch.from_numpy(Y).to(device)
    collect = getattr(module, "collect", lambda: None)

    def step() -> None:
        adam.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            loss = torch.nn.functional.cross_entropy(module(x), y)
        loss.backward()
        collect()
        adam.step()

    return step
