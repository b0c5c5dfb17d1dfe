"""How soon a process can begin."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

from ..rows import Bound, Row, Settings

__all__ = ["first_use", "import_time"]

STEP = (
    "import time; t = time.perf_counter()\n"
    "import numpy as np, neurograph as ng\n"
    "net = ng.topologies.layered([20, 30, 5])\n"
    "net.backward(np.ones((64, 20)), np.zeros((64, 5))); ng.optim.Adam().step(net)\n"
    "seconds = time.perf_counter() - t\n"
    "from neurograph.bench import memory\n"
    "print(seconds, (memory.peak() or 0) / 2**20)"
)


def import_time(repeats: int = 9) -> list[Row]:
    """Seconds of ``import neurograph`` beyond numpy's own, and which heavy libraries it loads."""

    def measure(settings: Settings) -> dict[str, Any]:
        def seconds(modules: str) -> float:
            return run(f"import time; t = time.perf_counter(); import {modules}; print(time.perf_counter() - t)")[0]

        seconds("numpy, neurograph")
        beyond = [seconds("numpy, neurograph") - seconds("numpy") for _ in range(3 if settings.quick else repeats)]
        heavy = "('numba', 'cupy', 'networkx', 'matplotlib')"
        count, peak = run(
            f"import neurograph, sys; from neurograph.bench import memory\n"
            f"print(sum(m in sys.modules for m in {heavy}), (memory.peak() or 0) / 2**20)"
        )
        return {"beyond_numpy_s": float(np.median(beyond)), "heavy_libraries_loaded": int(count), "ours_peak_mib": peak}

    target = (Bound("beyond_numpy_s", 0.3, at_most=True), Bound("heavy_libraries_loaded", 0, at_most=True))
    return [Row("import neurograph", "", measure, target=target)]


def first_use() -> list[Row]:
    """Seconds until the first training step has run: kernels compiled, and in the next process from the cache."""

    def measure(settings: Settings) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            compiling, cached = (run(STEP, NUMBA_CACHE_DIR=folder) for _ in range(2))
        return {"compiling_s": compiling[0], "next_process_s": cached[0], "ours_peak_mib": cached[1]}

    return [Row("first training step on a machine, imports included", "", measure)]


def run(code: str, **environment: str) -> list[float]:
    """The numbers that some Python code prints in a process of its own.

    Examples
    --------
    >>> run("print(1, 2.5)")
    [1.0, 2.5]
    """
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={**os.environ, **environment}
    )
    return [float(number) for number in done.stdout.split()]
