"""Predictions of deep networks in memory that neurons take over from one another, without samples that died out."""

from __future__ import annotations

import numpy as np

from ...locks import ALONE
from ...plan import Plan
from . import kernels, threads
from .blocks import blocks_of
from .buffers import zeros

DEEP = 8  # generations from which a look at who reads whom last is worth it
NARROW = 4  # times fewer rows than neurons, from which the kept rows are too many to stay in cache
STREAM_BYTES = 2**25  # activations that run at once


class Stream:
    """What a network needs to run without keeping what nobody reads any more.

    A neuron's row is taken over by others once the last generation that reads it is over, so the memory is that of the
    widest cut through the network, and a panel stays in cache. The outputs alone are known afterwards.
    """

    def __init__(self, plan: Plan):
        graph, n = plan.graph, plan.graph.neurons.size
        self.plan, self.version = plan, graph.version
        self.place, self.last = np.zeros(n, np.int32), np.zeros(n, np.int32)
        rows = graph.incoming
        self.rows = kernels.places(
            plan.rows, plan.offsets, rows.start, rows.length, rows.other, plan.inputs, plan.outputs, self.place,
            self.last,
        )  # fmt: skip
        self._other: np.ndarray | None = None
        self.acts = np.zeros((0, 0, 0), graph.dtype)
        self.n_lanes = 0  # samples that the last generation still told apart

    @property
    def other(self) -> np.ndarray:
        """The row of each connection's source."""
        if self._other is None:
            self._other = self.place.take(self.plan.graph.incoming.other, mode="clip")  # slack holds anything
        return self._other

    @property
    def nbytes(self) -> int:
        """Bytes of what is held for the next prediction."""
        own = (self.place, self.last, self.acts)
        return sum(a.nbytes for a in own) + (0 if self._other is None else self._other.nbytes)

    def output(self, slot: int) -> np.ndarray:
        """(0, 1): no sample's output is kept."""
        return np.zeros((0, 1), self.plan.graph.dtype)

    def run(self, X: np.ndarray, out: np.ndarray, lanes: int) -> None:
        """Fill ``out`` (batch, 1, n_outputs) from X (batch, 1, n_inputs), in panels of ``lanes`` samples."""
        plan, graph, neurons = self.plan, self.plan.graph, self.plan.graph.neurons
        panels = -(-len(X) // lanes)
        if len(self.acts) < panels or self.acts.shape[2] != lanes:
            self.acts = zeros((panels, self.rows, lanes), graph.dtype)
        acts = self.acts[:panels]
        lane_of = np.empty(len(X), np.int64)
        nowhere = np.zeros(0, graph.dtype)
        with ALONE:
            kernels.to_panels(
                1 if X.size < kernels.SERIAL_COPY else threads.count(), X, self.place[plan.inputs], acts, 0, 0, True
            )
            self.n_lanes = kernels.narrow_forward(
                plan.rows, plan.offsets, plan.incoming_work, threads.count(), plan.inputs, graph.incoming.start,
                graph.incoming.length, self.other, graph.incoming.slot, graph.connections["delay"],
                graph.connections["weight"], neurons["activation"], neurons["activation_parameter"],
                neurons["aggregation"], neurons["bias"], nowhere, plan.special, self.place, self.last, acts,
                lane_of,
            )  # fmt: skip
            by_lane = np.empty((self.n_lanes, *out.shape[1:]), graph.dtype)
            kernels.from_panels(1, acts, self.place[plan.outputs], 0, 0, by_lane)
        by_lane.take(lane_of, axis=0, out=out)


def stream(plan: Plan, X: np.ndarray, batch_size: int | None, reuse: object) -> tuple[np.ndarray, Stream] | None:
    """The outputs for X (batch, 1, n_inputs), if nothing else is wanted; None where a whole pass is as good.

    It pays where neurons are read for a few generations only and many generations follow. A sample whose activations
    are all zero goes on like any other such sample, so one is computed for all of them.
    """
    if plan.history or plan.n_special or plan.n_generations < DEEP:
        return None
    if (blocks := blocks_of(plan)).refresh() and blocks.run_most:  # BLAS is faster still
        return None
    held = reuse if isinstance(reuse, Stream) else None
    if held is None or held.plan is not plan or held.version != plan.graph.version:
        held = Stream(plan)
    if NARROW * held.rows > plan.graph.neurons.size:
        return None
    lanes = kernels.lanes_of(plan.graph.dtype, min(batch_size or len(X), len(X)), held.rows)
    fitting = STREAM_BYTES // (held.rows * plan.graph.dtype.itemsize) // lanes * lanes
    size = batch_size or max(fitting, lanes)
    out = np.empty((len(X), 1, len(plan.outputs)), plan.graph.dtype)
    for first in range(0, len(X), size):
        held.run(np.ascontiguousarray(X[first : first + size]), out[first : first + size], lanes)
    return out, held
