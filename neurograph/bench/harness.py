"""Measure two ways of doing the same work in one process, fairly."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from . import memory
from .rows import Settings

__all__ = ["Plan", "against", "block", "compare", "plan_blocks", "require_close"]

PAUSE = 0.2  # two OpenMP pools in one process spin after their last region and steal each other's cores
Step = Callable[[], object]


class Plan:
    """How often a step is called in each block.

    Parameters
    ----------
    seconds : float
        About how long one call takes.
    quick : bool
        Shorter blocks.

    Examples
    --------
    >>> Plan(0.01).repeats, Plan(0.2).repeats, Plan(30).repeats, Plan(30).warm
    (40, 3, 1, 0)
    """

    def __init__(self, seconds: float, quick: bool = False):
        fill = 0.15 if quick else 0.4
        least = 1 if seconds > 1 else 3
        self.repeats = min(max(round(fill / max(seconds, 1e-9)), least), 50)
        self.warm = 0 if seconds > 1 else 1 if seconds > 0.1 else 2


def plan_blocks(ours: float, peer: float, quick: bool = False) -> int:
    """How many pairs of blocks: fewer where a call takes seconds.

    Examples
    --------
    >>> plan_blocks(0.01, 0.02), plan_blocks(0.5, 3.0), plan_blocks(0.01, 0.02, quick=True)
    (7, 3, 3)
    """
    return 3 if quick or ours + peer > 1 else 7


def block(step: Step, plan: Plan) -> float:
    """Median seconds of calls in a row, after a pause and some calls that are not counted."""
    time.sleep(PAUSE)
    for _ in range(plan.warm):
        step()
    seconds = []
    for _ in range(plan.repeats):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def against(ours: Step, peer: Step, quick: bool = False, *, scale: float = 1.0) -> dict[str, Any]:
    """Time both in alternating blocks.

    Parameters
    ----------
    ours, peer : callable
        Called without arguments; both ran before, so that nothing is compiled any more.
    quick : bool
        Fewer and shorter blocks.
    scale : float
        A slow peer may do a part of the work: its seconds are multiplied by this.

    Returns
    -------
    dict
        "ours_ms" and "peer_ms", medians over the blocks; "ratio", the median of the blocks' ratios peer / ours, and
        "ratio_range", the least and the greatest.

    Examples
    --------
    >>> import time
    >>> figures = against(lambda: time.sleep(0.001), lambda: time.sleep(0.01), quick=True)
    >>> figures["ratio"] > 2
    True
    """
    once = [_seconds(step) for step in (ours, peer)]
    ours_plan, peer_plan = (Plan(seconds, quick) for seconds in once)
    pairs = [
        (block(ours, ours_plan), scale * block(peer, peer_plan)) for _ in range(plan_blocks(once[0], once[1], quick))
    ]
    ratios = [b / a for a, b in pairs]
    return {
        "ours_ms": 1e3 * statistics.median(a for a, _ in pairs),
        "peer_ms": 1e3 * statistics.median(b for _, b in pairs),
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
    }


def compare(
    ours: Callable[[], Step],
    peer: Callable[[], Step],
    settings: Settings,
    *,
    between: Callable[[], object] = lambda: None,
    scale: float = 1.0,
) -> dict[str, Any]:
    """Build both sides, see how the process grows with each, and time them.

    Parameters
    ----------
    ours, peer : callable
        Build the work and return the step that is timed. Ours is built first; the peer may read what it made, and may
        check that it computes the same.
    settings : Settings
    between : callable
        Called when our side is there: makes what the peer starts from, whose memory is neither's.
    scale : float
        As in `against`.

    Returns
    -------
    dict
        What `against` returns; "ours_peak_mib" and "peer_peak_mib", by how many MiB the process grew at its highest
        while a side was built and ran twice.
    """
    our_step, our_peak = memory.grown(lambda: _built(ours))
    between()
    peer_step, peer_peak = memory.grown(lambda: _built(peer))
    figures = against(our_step, peer_step, settings.quick, scale=scale)
    return figures | {"ours_peak_mib": our_peak, "peer_peak_mib": peer_peak}


def _built(build: Callable[[], Step]) -> Step:
    step = build()
    step(), step()  # two passes take turns with their memory
    return step


def _seconds(step: Step) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def require_close(what: str, got: Any, expected: Any, tolerance: float) -> None:
    """Both are the same function: by the largest difference in units of the largest value.

    Raises
    ------
    AssertionError
        They are not, so the row would compare different work.

    Examples
    --------
    >>> require_close("outputs", [1.0, 2.0], [1.0, 2.00001], 1e-4)
    """
    got, expected = np.asarray(got), np.asarray(expected)
    off = float(np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-30))
    if not off <= tolerance:
        raise AssertionError(f"{what} differ by {off:.2g} of the largest, more than {tolerance:g}")
