"""One row in a process of its own: ``python -m neurograph.bench.child JOB``; `runner.measure_apart` writes JOB."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

import neurograph as ng

from .cases import CASES
from .layers import training_step
from .peers import load
from .rows import NotHere, Outcome, Row, Settings

__all__ = ["main", "measure"]


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


def main(job: str) -> None:
    """Measure the row that the file names, and write the outcome beside it."""
    work = json.loads(Path(job).read_text())
    settings = Settings(**work["settings"])
    row = CASES[work["case"]].rows()[work["row"]]
    warm_up()
    Path(work["outcome"]).write_text(json.dumps(measure(work["case"], row, settings).to_json()))


if __name__ == "__main__":
    main(sys.argv[1])
