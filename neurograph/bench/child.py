"""Rows in a process of their own: ``python -m neurograph.bench.child JOB``; `runner.measure_apart` writes JOB."""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

import numpy as np

import neurograph as ng

from .cases import CASES
from .layers import training_step
from .peers import load
from .rows import NotHere, Outcome, Row, Settings

__all__ = ["AGAIN", "main", "measure"]

AGAIN = 75  # status of a process that measures nothing more: after a fault in a kernel, all that follows would fail


def measure(case: str, row: Row, settings: Settings) -> Outcome:
    """Measure a row here and now; what it cannot do is said in the outcome.

    Examples
    --------
    >>> row = Row("addition", "itself", lambda settings: {"ratio": 1 / 0})
    >>> measure("sums", row, Settings()).error
    'ZeroDivisionError: division by zero'
    """
    try:
        load(row.needs)
        return Outcome.of(case, row, row.measure(settings))
    except NotHere as why:
        return Outcome.of(case, row, skipped=str(why))
    except Exception as error:  # whatever went wrong, the other rows go on
        return Outcome.of(case, row, error=" ".join(f"{type(error).__name__}: {error}".split()))


def warm_up() -> None:
    """Load or compile the usual kernels, whose memory is no row's own."""
    net = ng.topologies.layered([8, 8, 4])
    X = np.ones((64, 8), np.float32)
    training_step(net, X, np.zeros(64, np.int64))()
    net.predict(X[:1])


def settle() -> None:
    """Give the device's memory back between two rows; the libraries keep it, each for itself."""
    gc.collect()
    if "cupy" in sys.modules:
        sys.modules["cupy"].get_default_memory_pool().free_all_blocks()
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        sys.modules["torch"].cuda.empty_cache()


def main(job: str) -> None:
    """Measure the rows that the file names, and write each outcome as a line of another file as soon as it is there."""
    work = json.loads(Path(job).read_text())
    settings, case = Settings(**work["settings"]), CASES[work["case"]]
    rows = case.rows()
    if case.backend == "cpu":
        warm_up()
    with open(work["outcomes"], "a", encoding="utf-8") as file:
        for number in work["rows"]:
            outcome = measure(case.name, rows[number], settings)
            file.write(json.dumps(outcome.to_json()) + "\n")
            file.flush()
            if outcome.error:
                sys.exit(AGAIN)
            settle()


if __name__ == "__main__":
    main(sys.argv[1])
