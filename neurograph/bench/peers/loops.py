"""Networks in time as `torch.sparse` and flydnet run them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import neurograph as ng

from ..harness import require_close

__all__ = ["Loop", "agree", "flydnet", "torch_csr"]


class Loop:
    """What a peer needs to run h_t = tanh(W h_(t-1) + b + d_t), arrays of (neurons, batch), from h = 0.

    Every recurrent connection has delay 1, and d_t is the input, which each input neuron gives to one neuron.

    Parameters
    ----------
    net : Network
        Its inputs were added last.
    X : ndarray, shape (batch, time, n_inputs)
    labels : ndarray, shape (batch,)
    """

    def __init__(self, net: ng.Network, X: np.ndarray, labels: np.ndarray):
        every = net.connections
        loop, feed = every[every.delay == 1], every[every.delay == 0]
        # Sorted by row, as a CSR matrix wants it; inputs were added last, so that ids are rows.
        loop = loop[np.lexsort((loop.source, loop.target))]
        self.connections, self.row, self.column, self.weight = loop, loop.target, loop.source, loop.weight
        self.n = net.n_neurons - net.n_inputs
        self.bias = net.neurons.bias[: self.n, None]
        self.drive = np.zeros((X.shape[1], self.n, len(X)), np.float32)
        self.drive[:, feed.target] = X.transpose(1, 2, 0)[:, np.searchsorted(net.inputs.ids, feed.source)]
        self.outputs, self.labels = net.outputs.ids, labels

    def row_ends(self, rows: np.ndarray) -> np.ndarray:
        """Where each row of a CSR matrix begins, and the last one ends."""
        return np.searchsorted(rows, np.arange(self.n + 1)).astype(np.int32)


def torch_csr(loop: Loop, by_hand: bool) -> tuple[Callable, tuple[Any, Any]]:
    """PyTorch with a sparse CSR matrix: a pass over so many steps, and what an optimizer trains.

    PyTorch's derivative of the product sorts the matrix again at every step. ``by_hand`` transposes it once a pass.
    """
    import torch

    # 32-bit indices are what MKL multiplies with.
    shape, order = (loop.n, loop.n), np.lexsort((loop.row, loop.column))
    ends, columns = map(torch.from_numpy, (loop.row_ends(loop.row), loop.column.astype(np.int32)))
    turned = loop.row_ends(loop.column[order]), loop.row[order].astype(np.int32)
    starts, rows = map(torch.from_numpy, turned)
    drive, labels, outputs, turn = map(torch.from_numpy, (loop.drive, loop.labels, loop.outputs, order))
    bias, weight = torch.tensor(loop.bias, requires_grad=True), torch.tensor(loop.weight)
    # Adam takes no CSR matrix, but it can train the values that one is made of.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that CSR is in beta
        matrix: Any = torch.sparse_csr_tensor(ends, columns, weight, shape).requires_grad_(not by_hand)
    weight = matrix.detach().values().requires_grad_(True)

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, weight: Any, h: Any, transposed: Any) -> Any:
            ctx.save_for_backward(h, transposed)
            return torch.sparse.mm(matrix, h)

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            (h, transposed), (g,) = ctx.saved_tensors, gradients
            by_weight = torch.sparse.sampled_addmm(matrix, g, h.t(), beta=0.0).values()
            return by_weight, torch.sparse.mm(transposed, g), None

    def run(steps: int = len(loop.drive)) -> tuple[np.ndarray, np.ndarray]:
        weight.grad = matrix.grad = bias.grad = None
        transposed = torch.sparse_csr_tensor(starts, rows, weight.detach()[turn], shape) if by_hand else None
        h = torch.tanh(bias + drive[0])
        for d in drive[1:steps]:
            z = Product.apply(weight, h, transposed) if by_hand else torch.sparse.mm(matrix, h)
            h = torch.tanh(z + bias + d)
        read = h[outputs].t()
        torch.nn.functional.cross_entropy(read, labels).backward()
        if not by_hand:
            weight.grad = matrix.grad.values()
        return read.detach().numpy(), weight.grad.numpy()

    return run, (weight, bias)


def flydnet(loop: Loop) -> Callable:
    """flydnet's own engine, as its ConnectomeLayer uses it: one matrix and its transpose a pass."""
    from flydnet import ganglion
    from flydnet.ganglion import kernels

    wiring, _ = ganglion.wiring(loop.row, loop.column, loop.n, loop.n)
    weight, bias = ganglion.Signal(loop.weight, plastic=True), ganglion.Signal(loop.bias, plastic=True)

    def run(steps: int = len(loop.drive)) -> tuple[np.ndarray, np.ndarray]:
        weight.retro = bias.retro = None
        matrix, transposed = kernels.matrices(wiring, weight.data)
        h = (bias + loop.drive[0]).tanh()
        for d in loop.drive[1:steps]:
            h = (kernels.propagate(h, weight, matrix, transposed, wiring) + bias + d).tanh()
        read = h[loop.outputs].T
        ganglion.surprise(read, loop.labels).retrograde()
        return read.data, weight.retro

    return run


def agree(net: ng.Network, X: np.ndarray, loop: Loop, run: Callable, steps: int) -> None:
    """A peer's outputs and gradients over the first steps of X are ours.

    Raises
    ------
    AssertionError
        They are not.
    """
    read, gradient = run(steps)
    net.backward(X[:, :steps], loop.labels, loss="cross_entropy")
    require_close("outputs", read, net.last_outputs, 1e-3)
    require_close("gradients", gradient, loop.connections.grad, 1e-3)
