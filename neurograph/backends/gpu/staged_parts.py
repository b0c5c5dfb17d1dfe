"""The parts of a pass that run staged, and the rows that are rounded for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...plan import Plan
from . import staged
from .layout import layout_of
from .mirror import Mirror
from .staging import Part, Staging

if TYPE_CHECKING:
    from .passes import Pass


class Rounded:
    """Rows of a pass as bfloat16, rounded as they are computed: those that are staged where the precision is bf16."""

    def __init__(self, run: Pass, name: str):
        self._rows, self._n, self._batch = run.buffer(name), run.n, run.batch
        lead, count = staged.lead_of(run.batch, staged.HALF), run.steps * run.n
        self._halves = run.scratch(f"{name} in halves", count * lead, staged.HALF)[: count * lead].reshape(count, lead)

    def step(self, t: int) -> Any:
        """The rows of a step, of all neurons."""
        return self._halves[t * self._n : (t + 1) * self._n]

    def follow(self, t: int, slots: Any) -> None:
        """Round the rows of some neurons anew."""
        staged.round_rows(self._rows[t * self._n : (t + 1) * self._n], slots, self._batch, self.step(t))


def rounded_acts(run: Pass, staging: Staging, parts: list[Part | None]) -> Rounded | None:
    """The activations rounded, where that is what is staged."""
    return Rounded(run, "acts") if staging.rounds and any(parts) else None


def rounded_both(run: Pass, staging: Staging, parts: list[Part | None]) -> tuple[Rounded, Rounded] | None:
    """The same, with what the pass has computed, and the deltas."""
    acts = rounded_acts(run, staging, parts)
    if acts is None:
        return None
    for t in range(run.steps):  # the pass itself may have rounded none of them, or fewer
        acts.follow(t, staging.everybody)
    return acts, Rounded(run, "delta")


def backward_part(
    plan: Plan, run: Pass, mirror: Mirror, part: Part, weights: Any, halves: tuple[Rounded, Rounded] | None, t: int,
    constant: bool, add: bool,
) -> None:  # fmt: skip
    """Deltas of a step, and the gradients of the outgoing weights, of the sources that run staged."""
    layout, n = layout_of(plan), run.n
    own = slice(t * n, (t + 1) * n)  # without history, the same rows everywhere
    acts, delta = run.buffer("acts")[own], run.buffer("delta")[own]
    y, by_target = (acts, delta) if halves is None else (halves[0].step(t), halves[1].step(t))
    buckets, grad = part.buckets, mirror.connections.write("grad")
    groups = staged.backward_shape(buckets, y.shape[1], y.dtype).groups
    dots = run.scratch("dots", groups * buckets.places, np.float32)[: groups * buckets.places]
    scratch = dots.reshape(groups, buckets.places)
    staged.backward(buckets, weights, by_target, y, None if constant else delta, grad, add, scratch)
    if constant:
        return
    neurons = mirror.neurons
    columns = (*(neurons.read(name) for name in ("activation", "activation_parameter", "aggregation")),)
    columns += (mirror.incoming.length,)
    outputs = len(plan.outputs)
    by_output = run.buffer("by_output")[t * outputs : (t + 1) * outputs]
    z = run.buffer("z")[own] if plan.needs_preactivation else None
    staged.finish(
        buckets, delta, layout.output_columns, by_output, acts, run.batch, z, columns, delta,
        neurons.write("bias_grad"), add,
    )  # fmt: skip
