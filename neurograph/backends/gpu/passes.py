"""Passes: memory on the device, and what runs there: row by row or in slices of the batch, replayed if repeated."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import cupy
import numpy as np

from ...locks import ALONE
from ...plan import MEAN, Plan
from ..state import State
from . import rows, sliced
from .graphs import Buffers, replays_of
from .launch import LAST_GRID
from .layout import layout_of
from .mirror import columns_of, mirror_of
from .module import REALS, Family
from .staging import NAME as STAGED
from .staging import staging_of
from .storage import Stored, storage_of

__all__ = ["Pass", "backward", "footprint", "forward", "prepare", "stream"]

TO_ROWS = Family("moves.cu", "to_rows", REALS)
FROM_ROWS = Family("moves.cu", "from_rows", REALS)


def prepare(plan: Plan) -> None:
    """Upload now what the first pass would."""
    with ALONE:
        layout_of(plan)
        storage_of(plan).refresh(mirror_of(plan.graph))


def width(batch: int) -> int:
    """Columns of a row: the samples, and what fills it up to 16 bytes."""
    return -(-batch // 4) * 4


@lru_cache(maxsize=64)
def _shapes(n: int, n_special: int, batch: int, steps: int, history: int, columns: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the buffers of a pass."""
    ld, all_steps = width(batch), history + steps
    return {
        "acts": (all_steps * n, ld),
        "z": (all_steps * n, ld),
        "kept": (4 * steps * n_special, ld),
        "delta": (all_steps * n, ld),
        "delta_special": (all_steps * n_special, ld),
        "by_special": (n if n_special else 0, ld),
        "by_output": (steps * columns, ld),
    }


def _shapes_of(plan: Plan, batch: int, steps: int) -> dict[str, tuple[int, ...]]:
    return _shapes(plan.graph.neurons.size, plan.n_special, batch, steps, plan.history, len(plan.outputs))


def footprint(plan: Plan, batch: int, steps: int, keep: bool) -> int:
    """Bytes that a pass takes on the device, with its gradients if they are to ``keep``."""
    shapes, names = _shapes_of(plan, batch, steps), ["acts", "kept"]
    if plan.leaks or (keep and plan.needs_preactivation):
        names.append("z")
    if keep:
        names += ["delta", "delta_special", "by_special", "by_output"]
    numbers = sum(shapes[name][0] * shapes[name][1] for name in names)
    storage = storage_of(plan)
    stored = steps == 1 and batch >= max(rows.FEWEST, storage.least)
    beside = storage.footprint(width(batch), keep) if stored else 0
    staging: Any = plan.layouts.get(STAGED)
    beside += 0 if staging is None else staging.footprint(batch, steps, keep)
    return beside + numbers * plan.graph.dtype.itemsize


def stream(plan: Plan, X: Any, batch_size: int | None, reuse: Any) -> None:
    """No outputs without a whole pass."""


class Pass:
    """Activations of a batch on the device and, once `backward` ran, the gradients by each neuron's input z.

    Step t of a pass has the rows ``(history + t) * n`` and on; the ``history`` steps before are the state that the pass
    began with. The deltas begin with step 0, and end with those of as many steps after the last.
    """

    def __init__(self, plan: Plan, batch: int, steps: int, reuse: Any = None):
        self._plan, self.batch, self.n = plan, batch, plan.graph.neurons.size
        self.dtype = plan.graph.dtype
        self.steps, self.history, self.ld = steps, plan.history, width(batch)
        self._shapes = _shapes_of(plan, batch, steps)
        self._buffers = Buffers()
        if isinstance(reuse, Pass) and reuse.dtype == self.dtype:
            if reuse._shapes is self._shapes:
                self._buffers = reuse._buffers
            else:
                same = {name: a for name, a in reuse._buffers.items() if a.shape == self._shapes.get(name)}
                self._buffers.update(same)
        self._divisor: np.ndarray | None = None
        self.stored: Stored | None = reuse.stored if isinstance(reuse, Pass) and reuse.ld == self.ld else None
        self.differentiated = False

    def buffer(self, name: str) -> Any:
        """An array of the pass on the device, made when first asked for."""
        if name not in self._buffers:
            self._buffers[name] = cupy.zeros(self._shapes[name], self.dtype)
        return self._buffers[name]

    def scratch(self, name: str, count: int, dtype: Any) -> Any:
        """An array of at least so many numbers, for use within one call."""
        if name not in self._buffers or self._buffers[name].size < count:
            self._buffers[name] = cupy.empty((count,), dtype)
        return self._buffers[name]

    def replay(self, name: str, flags: tuple[bool, ...], launch: Callable[[], None]) -> None:
        """Launch what runs on the arrays of this pass, as one CUDA graph where it has been launched before."""
        replays_of(self._plan)[name].run((self.batch, self.steps, flags), self._buffers, launch)

    @property
    def nbytes(self) -> int:
        """Bytes of what the pass holds."""
        stored = self.stored.nbytes if self.stored is not None else 0
        return stored + sum(array.nbytes for array in self._buffers.values())

    @property
    def outputs(self) -> np.ndarray:
        """(batch, steps, n_outputs)."""
        return cupy.asnumpy(self.device_outputs)

    @property
    def device_outputs(self) -> Any:
        """The same, on the device."""
        return self.read_outputs(cupy.empty((self.batch, self.steps, len(self._plan.outputs)), self.dtype))

    def read_outputs(self, into: Any) -> Any:
        """The same, in an array of the caller's."""
        return self.read("acts", layout_of(self._plan).output_slots, self.history, self.steps, into)

    def activations(self, slots: np.ndarray, first: int = 0) -> np.ndarray:
        """(batch, steps - first, len(slots)); a negative ``first`` begins in the state."""
        return self._fetch("acts", slots, self.history + first, self.steps - first)

    def output(self, slot: int) -> np.ndarray:
        """(batch, steps)."""
        return self.activations(np.array([slot]))[:, :, 0]

    def state(self) -> State:
        """What a pass over the following steps needs of this one."""
        slots, history = np.arange(self.n), self.history
        outputs = self._fetch("acts", slots, self.steps, history)
        last = self.history + self.steps - 1
        potentials = self._fetch("z", slots, last, 1)[:, 0] if self._plan.leaks else None
        return State(outputs, potentials)

    def errors(self, slots: np.ndarray) -> np.ndarray:
        """(batch, len(slots)), at the first step."""
        array = np.empty((self.batch, len(slots)), self.dtype)
        special = self._plan.special[slots]
        for chosen, name, of in ((special < 0, "delta", slots), (special >= 0, "delta_special", special)):
            if chosen.any():
                array[:, chosen] = self._fetch(name, of[chosen], 0, 1)[:, 0]
        return array if self._divisor is None else array * self._divisor[slots]

    def _fetch(self, name: str, slots: np.ndarray, first: int, steps: int) -> np.ndarray:
        return cupy.asnumpy(self.read(name, cupy.asarray(np.ascontiguousarray(slots, np.int32)), first, steps))

    def read(self, name: str, slots: Any, first: int, steps: int, into: Any = None) -> Any:
        """Some rows of ``steps`` steps from the ``first`` one in the buffer, as (batch, steps, len(slots))."""
        n = self._plan.n_special if name == "delta_special" else self.n
        array = cupy.empty((self.batch, steps, len(slots)), self.dtype) if into is None else into
        if array.size:
            FROM_ROWS(self.dtype)(
                _tiles(len(slots), self.batch, steps),
                (32, 8),
                (
                    array, slots, np.int32(len(slots)), np.int32(steps), np.int32(self.batch), self.buffer(name),
                    np.int64(first * n), np.int32(n), np.int32(self.ld),
                ),
            )  # fmt: skip
        return array

    def write(self, name: str, slots: Any, array: Any, first: int, n: int) -> None:
        """Set some rows of the steps from the ``first`` one on from an array (batch, steps, len(slots))."""
        array = cupy.ascontiguousarray(cupy.asarray(array, self.dtype))
        steps, columns = array.shape[1:]
        if array.size:
            TO_ROWS(self.dtype)(
                _tiles(columns, self.ld, steps),
                (32, 8),
                (
                    array, slots, np.int32(columns), np.int32(steps), np.int32(self.batch), self.buffer(name),
                    np.int64(first * n), np.int32(n), np.int32(self.ld),
                ),
            )  # fmt: skip


def _tiles(columns: int, samples: int, steps: int) -> tuple[int, int, int]:
    return -(-columns // 32), -(-samples // 32), min(steps, LAST_GRID)


def forward(plan: Plan, X: Any, keep: bool = True, reuse: Pass | None = None, state: State | None = None) -> Pass:
    """Run a batch X of shape (batch, steps, n_inputs).

    ``keep`` what `backward` needs; ``reuse`` the memory of an older pass; begin with a ``state``, or with zeros.
    """
    if not isinstance(X, cupy.ndarray):
        X = np.asarray(X)
    with ALONE:
        run = Pass(plan, len(X), X.shape[1], reuse)
        begin(plan, run, X, state)
        follow_edits(plan, run)
        run.replay("forward", (keep,), lambda: launch_forward(plan, run, keep))
        if run.stored is not None:
            run.stored.taken = _version(plan)
    return run


def follow_edits(plan: Plan, run: Pass) -> None:
    """Let tiles and blocks follow the edits now: what that launches is no part of what is replayed."""
    if not _runs_sliced(plan, run):
        rows.stored_for(plan, mirror_of(plan.graph), run)


def _version(plan: Plan) -> Any:
    """The same as long as the weights are, and stand where they did."""
    return plan.graph.edits, columns_of(plan.graph.connections).version("weight")


def begin(plan: Plan, run: Pass, X: Any, state: State | None = None) -> None:
    """Fill the rows of the inputs and of the state."""
    layout, n = layout_of(plan), run.n
    acts = run.buffer("acts")
    if run.history:
        if state is None:
            acts[: run.history * n].fill(0)
            if plan.leaks:
                run.buffer("z")[: run.history * n].fill(0)
        else:
            everybody = cupy.arange(n, dtype=np.int32)
            run.write("acts", everybody, state.outputs, 0, n)
            if plan.leaks:
                assert state.potentials is not None
                run.write("z", everybody, state.potentials[:, None], run.history - 1, n)
    run.write("acts", layout.input_slots, X, run.history, n)
    staging_of(plan, mirror_of(plan.graph))  # follows edits here, for what is launched next may be recorded


def launch_forward(plan: Plan, run: Pass, keep: bool) -> None:
    """Compute all rows that are not there yet."""
    keep_z = plan.leaks or (keep and plan.needs_preactivation)
    acts = run.buffer("acts")
    z = run.buffer("z") if keep_z else acts
    if sliced.pays(plan, run.batch):
        sliced.forward(plan, acts, z, keep_z, run.batch, run.steps)
    else:
        rows.forward(plan, run, acts, z, keep_z)


def backward(
    plan: Plan,
    run: Pass,
    gradient: Any,
    add: bool = False,
    later: tuple[Any, Any] | None = None,
    constant_state: bool = False,
) -> tuple[Any, Any] | None:
    """Fill ``grad`` of the connections and ``bias_grad`` of the neurons from ``gradient`` (batch, steps, n_outputs).

    ``add`` to what they hold; go on from the deltas of the ``later`` steps, which the pass over those returned; the
    weights that read a ``constant_state`` have gradients from there too.
    """
    with ALONE:
        history, n, n_special = run.history, run.n, plan.n_special
        delta, special = run.buffer("delta"), run.buffer("delta_special")
        if history:
            ends, special_ends = delta[run.steps * n :], special[run.steps * n_special :]
            if later is None:
                ends.fill(0)
                special_ends.fill(0)
            else:
                ends[:], special_ends[:] = later
        run.write("by_output", layout_of(plan).output_numbers, gradient, 0, len(plan.outputs))
        follow_edits(plan, run)
        changed = run.stored is None or run.stored.taken != _version(plan)
        run.replay(
            "backward", (add, constant_state, changed), lambda: _backward(plan, run, add, constant_state, changed)
        )
        finish(plan, run)
        return (delta[: history * n].copy(), special[: history * n_special].copy()) if history else None


def launch_backward(plan: Plan, run: Pass, gradient: Any) -> None:
    """Go back from ``gradient`` (batch, 1, n_outputs), an array of the device, right after `launch_forward`."""
    run.write("by_output", layout_of(plan).output_numbers, gradient, 0, len(plan.outputs))
    _backward(plan, run, False, False, False)


def finish(plan: Plan, run: Pass) -> None:
    """Remember what is to be known of a pass that has gone back."""
    if plan.has_mean:
        fan_in = np.maximum(plan.graph.incoming.length[: run.n], 1)
        run._divisor = np.where(plan.graph.neurons.read("aggregation") == MEAN, fan_in, 1).astype(run.dtype)
    run.differentiated = True


def _runs_sliced(plan: Plan, run: Pass) -> bool:
    """Whether backward passes do; then forward passes do too."""
    return sliced.pays(plan, run.batch) and sliced.has_room(plan, run.batch, run.steps)


def _backward(plan: Plan, run: Pass, add: bool, constant_state: bool, changed: bool) -> None:
    if _runs_sliced(plan, run):
        z = run.buffer("z") if plan.needs_preactivation or plan.leaks else None
        sliced.backward(
            plan, run.buffer("acts"), z, run.buffer("by_output"), layout_of(plan).output_columns, run.buffer("delta"),
            run.batch, run.steps, 0, add, constant_state,
        )  # fmt: skip
    else:
        rows.backward(plan, run, add, constant_state, changed)
