"""What the kernels need of a plan beside the graph."""

from __future__ import annotations

import cupy
import numpy as np

from ...plan import Plan
from .orders import Order

NAME = "gpu rows"  # among the layouts of a plan


class Layout:
    """What the kernels need of a plan beside the graph: uploaded once, kept with the plan."""

    def __init__(self, plan: Plan):
        graph = plan.graph
        fan_in, fan_out = graph.incoming.length, graph.outgoing.length
        adds_up = plan.special[plan.rows] < 0
        before = np.concatenate([[0], np.cumsum(adds_up)])[plan.offsets]
        self.targets = Order(plan.rows[adds_up], before, fan_in)
        self.special_targets = Order(plan.rows[~adds_up], plan.offsets - before, fan_in)
        self.sources = Order(plan.rows, plan.offsets, fan_out)
        self.inputs = Order(plan.inputs, np.array([0, len(plan.inputs)]), fan_out)
        self.special = cupy.asarray(plan.special)
        self.input_slots = cupy.asarray(plan.inputs)
        self.output_slots = cupy.asarray(plan.outputs)
        columns, numbers = plan.output_columns
        self.output_columns, self.output_numbers = cupy.asarray(columns), cupy.asarray(numbers)

    @property
    def nbytes(self) -> int:
        """Bytes of what it holds."""
        orders = (self.targets, self.special_targets, self.sources, self.inputs)
        arrays = (self.special, self.input_slots, self.output_slots, self.output_columns, self.output_numbers)
        return sum(order.nbytes for order in orders) + sum(array.nbytes for array in arrays)

    def __str__(self) -> str:
        return ""


def layout_of(plan: Plan) -> Layout:
    """The layout of a plan; the same one as long as the plan lives."""
    if NAME not in plan.layouts:
        plan.layouts[NAME] = Layout(plan)
    return plan.layouts[NAME]
