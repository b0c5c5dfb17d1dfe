"""The numba backend: samples in panels, compiled row loops, as many threads as numba is set to."""

from __future__ import annotations

import numba
import numpy as np

from ...plan import MEAN, Plan
from . import kernels
from .updates import adam, one_at_a_time, rmsprop, sgd

__all__ = ["Pass", "adam", "backward", "forward", "rmsprop", "sgd"]


class Pass:
    """Activations of a batch in panels and, once `backward` ran, the gradients by each neuron's input z."""

    def __init__(self, plan: Plan, batch: int, reuse: Pass | None):
        dtype = plan.graph.dtype
        lanes = kernels.lanes_of(dtype, batch)
        panels = -(-batch // lanes)
        n, q = plan.graph.neurons.size, plan.n_special
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("acts", "z", "delta"), (panels, n, lanes))
        shapes |= {"kept": (panels, q, 2, lanes), "delta_special": (panels, q, lanes)}
        old = reuse._buffers if isinstance(reuse, Pass) else {}
        self._shapes, self._dtype = shapes, dtype
        # Fresh pages cost more than the arithmetic of a small batch: take over what fits.
        fits = {name: a for name, a in old.items() if a.shape == shapes[name] and a.dtype == dtype}
        self._buffers: dict[str, np.ndarray] = fits
        self._plan, self._batch = plan, batch
        self._divisor: np.ndarray | None = None
        self.differentiated = False

    def buffer(self, name: str) -> np.ndarray:
        """An array of the pass, made when first asked for."""
        if name not in self._buffers:
            self._buffers[name] = _zeros(self._shapes[name], self._dtype)
        return self._buffers[name]

    @property
    def outputs(self) -> np.ndarray:
        """(batch, n_outputs)."""
        return self.activations(self._plan.outputs)

    def activations(self, slots: np.ndarray) -> np.ndarray:
        """(batch, len(slots))."""
        matrix = np.empty((self._batch, len(slots)), self._dtype)
        kernels.from_panels(self.buffer("acts"), slots.astype(np.int32, copy=False), matrix)
        return matrix

    def output(self, slot: int) -> np.ndarray:
        """(batch,)."""
        return self.buffer("acts")[:, slot].ravel()[: self._batch].copy()

    def error(self, slot: int) -> np.ndarray:
        """(batch,)."""
        q = self._plan.special[slot]
        rows = self.buffer("delta_special")[:, q] if q >= 0 else self.buffer("delta")[:, slot]
        scale = 1 if self._divisor is None else self._divisor[slot]
        return rows.ravel()[: self._batch] * scale


def _zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Zeros that begin on a 2 MiB boundary of an allocation large enough for numpy to ask for huge pages.

    Connections visit the rows of a panel at random; on 4 KiB pages every other visit misses the address cache.
    """
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if size < 2**18:
        return np.zeros(shape, dtype)
    memory = np.empty(size + 2**22, np.uint8)  # what is never touched takes no memory
    begin = -memory.ctypes.data % 2**21
    array = memory[begin : begin + size].view(dtype).reshape(shape)
    array[:] = 0
    return array


def forward(plan: Plan, X: np.ndarray, keep: bool = True, reuse: Pass | None = None) -> Pass:
    """Run a batch X of shape (batch, n_inputs).

    ``keep`` what `backward` needs; ``reuse`` the memory of an older pass.
    """
    run = Pass(plan, len(X), reuse)
    graph, neurons = plan.graph, plan.graph.neurons
    acts, keep_z = run.buffer("acts"), keep and plan.needs_preactivation
    z = run.buffer("z") if keep_z else acts
    with one_at_a_time:
        kernels.to_panels(X, plan.inputs, acts, True)
        kernels.forward(
            plan.rows, plan.offsets, plan.incoming_work, numba.get_num_threads(), *graph.incoming.rows,
            graph.connections["weight"], neurons["activation"], neurons["activation_parameter"], neurons["aggregation"],
            neurons["bias"], plan.special, acts, z, keep_z, run.buffer("kept"),
        )  # fmt: skip
    return run


def backward(plan: Plan, run: Pass, gradient: np.ndarray) -> None:
    """Fill ``grad`` of the connections and ``bias_grad`` of the neurons from ``gradient`` (batch, n_outputs)."""
    graph, neurons = plan.graph, plan.graph.neurons
    acts = run.buffer("acts")
    places = np.arange(len(plan.outputs), dtype=np.int32)
    output = np.full(neurons.size, -1, np.int32)
    output[plan.outputs] = places
    by_output = np.empty((acts.shape[0], len(places), acts.shape[2]), graph.dtype)
    if plan.has_mean:
        fan_in = np.maximum(graph.incoming.length[: neurons.size], 1)
        run._divisor = np.where(neurons["aggregation"] == MEAN, fan_in, 1).astype(graph.dtype)
    z = run.buffer("z") if plan.needs_preactivation else acts
    with one_at_a_time:
        kernels.to_panels(np.ascontiguousarray(gradient), places, by_output, False)
        kernels.backward(
            plan.rows, plan.offsets, plan.outgoing_work, plan.inputs, plan.input_work, numba.get_num_threads(),
            *graph.outgoing.rows, graph.incoming.length, graph.connections["weight"], graph.connections["grad"],
            neurons["activation"], neurons["activation_parameter"], neurons["aggregation"], neurons["bias"],
            neurons["bias_grad"], plan.special, output, by_output, acts, z, run.buffer("kept"), run.buffer("delta"),
            run.buffer("delta_special"),
        )  # fmt: skip
    run.differentiated = True
