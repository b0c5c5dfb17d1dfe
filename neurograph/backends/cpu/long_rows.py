"""Which rows are so long that one thread should not run them alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...plan import Plan
from . import kernels

NO_ROWS = np.zeros(0, np.int32)


class LongRows(NamedTuple):
    """The chunks of the long rows of some neurons in one direction; see `kernels.Long`."""

    first: np.ndarray = NO_ROWS
    row: np.ndarray = NO_ROWS
    place: np.ndarray = np.zeros(0, np.int64)

    def behind(self, done: int) -> LongRows:
        """The same for the neurons without the first ``done`` of them."""
        return self._replace(place=self.place - done) if len(self.row) else self


class AllLongRows(NamedTuple):
    """Long rows by target, by source, and by source of the inputs."""

    incoming: LongRows = LongRows()
    outgoing: LongRows = LongRows()
    inputs: LongRows = LongRows()


def find(plan: Plan) -> AllLongRows:
    """The long rows that the graph has now."""
    graph, n = plan.graph, plan.graph.neurons.size
    fan_in, fan_out = graph.incoming.length[:n], graph.outgoing.length[:n]
    if max(fan_in.max(initial=0), fan_out.max(initial=0)) <= kernels.LONG:
        return NONE
    adds_up = plan.special[plan.rows] < 0
    return AllLongRows(
        _chunks(plan.rows, np.where(adds_up, fan_in[plan.rows], 0), n),
        _chunks(plan.rows, fan_out[plan.rows], n),
        _chunks(plan.inputs, fan_out[plan.inputs], n),
    )


def _chunks(order: np.ndarray, length: np.ndarray, n: int) -> LongRows:
    long = np.flatnonzero(length > kernels.LONG)
    if not len(long):
        return LongRows()
    counts = -(-length[long] // kernels.CHUNK)
    first = np.full(n, -1, np.int32)
    first[order[long]] = np.cumsum(counts) - counts
    return LongRows(first, np.repeat(order[long], counts), np.repeat(long, counts))


NONE = AllLongRows()
