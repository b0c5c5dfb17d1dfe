"""Run cases, row after row, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import FileFormatError, InvalidValueError
from . import peers
from .cases import CASES, Case
from .rows import Outcome, Row, Settings

__all__ = ["Results", "measure_apart", "measured"]

# Each library reads another name.
THREADS = (
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "FLYDNET_THREADS",
)
FORMAT = 1


@dataclass(frozen=True)
class Results:
    """What was measured, and on what.

    Attributes
    ----------
    machine : dict
        As `machine.describe` returns it.
    outcomes : list of Outcome
        In the order of the table.
    quick : bool
        Whether these are only a look.

    Examples
    --------
    >>> import tempfile
    >>> results = Results({"cpu": "abacus"}, [Outcome("tiny", "training step", "PyTorch", {"ratio": 4.0})])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     results.save(f"{folder}/results.json")
    ...     Results.load(f"{folder}/results.json") == results
    True
    """

    machine: dict[str, Any]
    outcomes: list[Outcome]
    quick: bool = False

    def save(self, path: str | os.PathLike) -> None:
        """Write the results to a JSON file."""
        whole = {
            "format": FORMAT,
            "quick": self.quick,
            "machine": self.machine,
            "rows": [outcome.to_json() for outcome in self.outcomes],
        }
        Path(path).write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")

    def updated(self, newer: Results) -> Results:
        """These results with newer ones in the place of the same rows, all in the order of the table.

        Raises
        ------
        InvalidValueError
            The newer ones are of another machine, or one of both is only a look: their figures do not go together.

        Examples
        --------
        >>> old = Results({"cpu": "abacus"}, [Outcome("tiny", "step", "PyTorch", error="E")])
        >>> new = Results({"cpu": "abacus"}, [Outcome("tiny", "step", "PyTorch", {"ratio": 4.0})])
        >>> old.updated(new) == new
        True
        """
        for what in ("cpu", "threads", "libraries"):
            mine, other = self.machine.get(what), newer.machine.get(what)
            if mine != other:
                raise InvalidValueError(f"{what} is {other} now and was {mine}; write to another file")
        if self.quick != newer.quick:
            raise InvalidValueError("quick figures and others do not go together; write to another file")
        rows = {(o.case, o.what, o.against): o for o in (*self.outcomes, *newer.outcomes)}
        order = list(CASES)
        return Results(newer.machine, sorted(rows.values(), key=lambda o: order.index(o.case)), self.quick)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Results:
        """Read what `save` wrote.

        Raises
        ------
        FileFormatError
            The file holds something else.
        """
        try:
            whole = json.loads(Path(path).read_text(encoding="utf-8"))
            if whole["format"] != FORMAT:
                raise FileFormatError(
                    f"{path} has format {whole['format']}, not {FORMAT}; run `neurograph bench` again"
                )
            return cls(whole["machine"], [Outcome.from_json(row) for row in whole["rows"]], whole["quick"])
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, FileFormatError):
                raise
            raise FileFormatError(f"{path} holds no results of `neurograph bench` ({error!r})") from error


def measured(
    cases: Iterable[Case], settings: Settings, say: Callable[[str], object] = lambda text: None
) -> Iterator[Outcome]:
    """Measure all rows of some cases, one after the other.

    Parameters
    ----------
    cases : iterable of Case
    settings : Settings
    say : callable
        Told what begins.

    Yields
    ------
    Outcome
        As soon as it is there.
    """
    for case in cases:
        for number, row in enumerate(case.rows()):
            say(f"{case.name}: {row.what}, against {row.against or 'nothing'}")
            why = peers.missing(row.needs)
            yield Outcome.of(case.name, row, skipped=why) if why else measure_apart(case, number, row, settings)


def measure_apart(case: Case, number: int, row: Row, settings: Settings) -> Outcome:
    """Measure a row in a process of its own: its memory is its own, and a crash is no one else's.

    Parameters
    ----------
    case : Case
        One of `CASES`, for the other process finds it by name.
    number : int
        Which of the case's rows.
    row : Row
    settings : Settings

    Returns
    -------
    Outcome
    """
    assert CASES[case.name] == case
    package = str(Path(__file__).parents[2])
    environment = {**os.environ, **dict.fromkeys(THREADS, str(settings.threads))}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory() as folder:
        job, outcome = Path(folder, "job.json"), Path(folder, "outcome.json")
        work = {"case": case.name, "row": number, "settings": asdict(settings), "outcome": str(outcome)}
        job.write_text(json.dumps(work))
        command = [sys.executable, "-m", "neurograph.bench.child", str(job)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if outcome.exists():
            return Outcome.from_json(json.loads(outcome.read_text()))
    return Outcome.of(case.name, row, error=_last_words(done))


def _last_words(done: subprocess.CompletedProcess) -> str:
    if done.returncode < 0:
        return f"the process was ended by signal {-done.returncode}" + (
            ", most likely for memory" * (done.returncode == -9)
        )
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"the process ended with status {done.returncode}"
