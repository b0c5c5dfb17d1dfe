"""Measure two ways of doing the same work in one run, fairly."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable

PAUSE = 0.2  # two OpenMP pools in one process spin after their last region and steal each other's cores
THREADS = 2


def set_threads(count: int = THREADS) -> None:
    """Give numba and PyTorch so many threads each."""
    import numba
    import torch

    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
    torch.set_num_threads(count)


def block(work: Callable[[], object], repeats: int, warm: int = 2) -> float:
    """Median seconds of ``repeats`` calls in a row, after a pause and ``warm`` calls that are not counted."""
    time.sleep(PAUSE)
    seconds = []
    for _ in range(warm):
        work()
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def against(
    ours: Callable[[], object],
    peer: Callable[[], object],
    blocks: int = 7,
    repeats: int = 15,
    *,
    peer_repeats: int | None = None,
    peer_warm: int = 2,
    scale: float = 1.0,
) -> dict:
    """Median seconds of both in alternating blocks, and the median of the blocks' ratios peer / ours.

    A slow peer may repeat and warm up less, or do a part of the work: its seconds are then multiplied by ``scale``.
    """
    counts = (repeats if peer_repeats is None else peer_repeats), peer_warm
    pairs = [(block(ours, repeats), scale * block(peer, *counts)) for _ in range(blocks)]
    return {
        "ours_ms": 1e3 * statistics.median(a for a, _ in pairs),
        "peer_ms": 1e3 * statistics.median(b for _, b in pairs),
        "ratio": statistics.median(b / a for a, b in pairs),
        "ratio_range": [min(b / a for a, b in pairs), max(b / a for a, b in pairs)],
    }


def machine() -> dict:
    """What the figures were measured on."""
    import numba
    import numpy

    name = platform.processor()
    try:
        with open("/proc/cpuinfo") as file:
            name = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "cpu": name,
        "threads": numba.get_num_threads(),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "numba": numba.__version__,
    }
