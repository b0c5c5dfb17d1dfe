"""Measure two ways of doing the same work on one GPU, fairly, by the device's own clock.

Every block is many calls between two events; ours and the peer's take turns in one process; clocks, power and
caches are left as they are: what is small enough to stay in the cache is rotated instead (`rotated`).
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["against", "alone", "copies", "fastest", "rotated", "seconds"]

BLOCK = 0.02  # seconds of calls between two events: thousands of times the clock's resolution
BLOCKS, QUICK = 15, 5
WARM = 3
Step = Callable[[], object]


def seconds(step: Step, repeats: int) -> float:
    """Seconds that a call takes on the device, from ``repeats`` calls between two events.

    Raises
    ------
    AssertionError
        The device was busy for longer than the events say: the work runs on a stream that they do not see.
    """
    import cupy

    device, begin, end = cupy.cuda.Device(), cupy.cuda.Event(), cupy.cuda.Event()
    device.synchronize()
    start = time.perf_counter()
    begin.record()
    for _ in range(repeats):
        step()
    end.record()
    device.synchronize()
    wall, measured = time.perf_counter() - start, cupy.cuda.get_elapsed_time(begin, end) / 1e3
    if wall > 1.25 * measured + 1e-3:
        raise AssertionError(f"{repeats} calls took {wall:.3g} s, of which events on the stream saw {measured:.3g} s")
    return measured / repeats


def against(ours: Step, peer: Step, quick: bool = False) -> dict[str, Any]:
    """Time both in alternating blocks on the device.

    Parameters
    ----------
    ours, peer : callable
        Called without arguments. Neither waits for the device.
    quick : bool
        Fewer blocks.

    Returns
    -------
    dict
        "ours_ms" and "peer_ms", medians over the blocks; "ours_least_ms" and "peer_least_ms"; "ratio", the median of
        the blocks' ratios peer / ours, and "ratio_range", the least and the greatest.
    """
    counts = [_repeats(step) for step in (ours, peer)]
    pairs = [(seconds(ours, counts[0]), seconds(peer, counts[1])) for _ in range(QUICK if quick else BLOCKS)]
    ratios = [b / a for a, b in pairs]
    figures: dict[str, Any] = {}
    for side, values in zip(("ours", "peer"), zip(*pairs, strict=True), strict=True):
        figures[f"{side}_ms"], figures[f"{side}_least_ms"] = 1e3 * statistics.median(values), 1e3 * min(values)
    return figures | {"ratio": statistics.median(ratios), "ratio_range": [min(ratios), max(ratios)]}


def alone(step: Step, quick: bool = False) -> float:
    """Median milliseconds of a call."""
    count = _repeats(step)
    return 1e3 * statistics.median(seconds(step, count) for _ in range(QUICK if quick else BLOCKS))


def fastest(steps: Mapping[str, Step]) -> str:
    """Name of the fastest of some ways of doing the same work: the one that a comparison is fair with.

    A way that the library refuses is left out, as long as one is left.
    """
    times, refused = {}, []
    for name, step in steps.items():
        try:
            count = _repeats(step)
            times[name] = min(seconds(step, count) for _ in range(3))
        except Exception as error:  # libraries have errors of their own kinds
            refused.append(f"{name}: {error}")
    if not times:
        raise RuntimeError(f"none of {len(refused)} ways runs: {'; '.join(refused)}")
    return min(times, key=times.__getitem__)


def rotated(step: Callable[..., object], sets: Sequence[Sequence[Any]]) -> Step:
    """A step that takes the next set of arguments at each call.

    Examples
    --------
    >>> seen = []
    >>> step = rotated(seen.append, [("a",), ("b",)])
    >>> step(), step(), step(), seen
    (None, None, None, ['a', 'b', 'a'])
    """
    turns = itertools.cycle(sets)
    return lambda: step(*next(turns))


def copies(nbytes: int, cache: int) -> int:
    """How many sets of so many bytes are together larger than twice a cache, at most 16.

    Examples
    --------
    >>> copies(8 << 20, 50 << 20), copies(1 << 30, 50 << 20), copies(1, 50 << 20)
    (13, 1, 16)
    """
    return 1 if nbytes > 2 * cache else min(16, 2 * cache // max(nbytes, 1) + 1)


def _repeats(step: Step) -> int:
    for _ in range(WARM):
        step()
    return min(max(round(BLOCK / max(seconds(step, 2), 1e-9)), 1), 2000)
