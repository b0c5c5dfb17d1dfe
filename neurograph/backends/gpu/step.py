"""Forward, loss and backward as one CUDA graph: a step of training but for the update."""

from __future__ import annotations

import math
from typing import Any

import cupy
import numpy as np

from ...functions import losses as defined
from ...locks import ALONE
from ...plan import Plan
from . import passes
from .losses import KINDS, measure, n_partials

NAME = "forward, loss and backward"  # of the replayed sequence


def differentiate(plan: Plan, X: Any, loss: Any, Y: Any, reuse: Any) -> tuple[float, passes.Pass, Any] | None:
    """Run X (batch, 1, n_inputs), compare with Y by one of the losses that have kernels, and fill the gradients.

    Returns
    -------
    value : float
    run : Pass
    outputs : cupy array (batch, n_outputs)

    or None where the definition of the loss has to look at Y first, or something in between runs on the host.
    """
    if plan.history or (loss not in KINDS and loss is not defined.cross_entropy):
        return None
    if not isinstance(X, np.ndarray | cupy.ndarray) or not isinstance(Y, np.ndarray | cupy.ndarray):
        return None
    batch, columns = len(X), len(plan.outputs)
    if not batch or not columns or (targets := _targets(loss, Y, (batch, columns))) is None:
        return None
    with ALONE:
        run = passes.Pass(plan, batch, 1, reuse)
        given, wanted = _put(run, "X", X, plan.graph.dtype), _put(run, "Y", targets, targets.dtype)
        outputs = _room(run, "outputs", (batch, 1, columns), plan.graph.dtype)
        gradient = _room(run, "gradient", (batch, 1, columns), plan.graph.dtype)
        value = _room(run, "loss", (1,), np.float64)
        partials = _room(run, "partial losses", (n_partials(loss, (batch, columns)),), np.float64)

        def launch() -> None:
            passes.begin(plan, run, given)
            passes.launch_forward(plan, run, True)
            run.read_outputs(outputs)
            measure(loss, outputs[:, 0], wanted, gradient[:, 0], value, partials)
            passes.launch_backward(plan, run, gradient)

        passes.follow_edits(plan, run)
        run.replay(NAME, (loss.__name__, wanted.dtype.name, wanted.ndim), launch)
        passes.finish(plan, run)
        of_outputs = outputs[:, 0].copy()  # the next step will write here
        number = float(value.item())
    if not math.isfinite(number):  # the network has diverged: the definition says to what
        number = loss(cupy.asnumpy(of_outputs), cupy.asnumpy(Y))[0]
    return number, run, of_outputs


def _targets(loss: Any, Y: Any, shape: tuple[int, int]) -> Any | None:
    """Targets as the kernels take them, and all of them valid; None if the definition has to convert or refuse them."""
    if loss is defined.cross_entropy and Y.shape == shape[:1] and Y.dtype == np.int64:
        # A negative number without its sign is too large.
        return Y if int(Y.view(np.uint64).max()) < shape[1] else None
    if Y.shape == (shape[0],) and shape[1] == 1:
        Y = Y[:, None]
    if Y.shape != shape or Y.dtype not in (np.float32, np.float64):
        return None
    if loss in (defined.cross_entropy, defined.binary_cross_entropy):
        return Y if float(Y.min()) >= 0 and float(Y.max()) <= 1 else None
    total = float(abs(Y).max())  # NaN if one is
    return Y if math.isfinite(total) else None


def _room(run: passes.Pass, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
    """An array that belongs to the pass."""
    count = math.prod(shape)
    return run.scratch(f"{name} {np.dtype(dtype).name}", count, dtype)[:count].reshape(shape)


def _put(run: passes.Pass, name: str, array: Any, dtype: Any) -> Any:
    """A copy where the recorded launches read it."""
    there = _room(run, name, array.shape, dtype)
    if isinstance(array, np.ndarray):
        there.set(np.ascontiguousarray(array, dtype))
    else:
        there[...] = array
    return there
