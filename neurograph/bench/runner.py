"""Run cases in processes of their own: on the CPU a row each, for memory is the process's; on a GPU a case each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import FileFormatError, InvalidValueError
from . import peers
from .cases import CASES, Case
from .rows import Outcome, Row, Settings

__all__ = ["Results", "measure_apart", "measure_together", "measured"]

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
AGAIN = 75  # as in `child`, which no other module imports
ROW_LIMIT = 150.0  # seconds for one row of a GPU's case: a kernel that hangs must not take the others with it


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
        for what in ("cpu", "threads", "libraries", "gpu", "driver", "cuda_runtime", "cupy"):
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
    cases: Iterable[Case],
    settings: Settings,
    say: Callable[[str], object] = lambda text: None,
    limit: float | None = None,
) -> Iterator[Outcome]:
    """Measure all rows of some cases, one after the other.

    Parameters
    ----------
    cases : iterable of Case
    settings : Settings
    say : callable
        Told what begins.
    limit : float, optional
        Seconds for all of them: what has not begun by then is skipped, and what has not ended is stopped.

    Yields
    ------
    Outcome
        As soon as it is there.
    """
    end = None if limit is None else time.monotonic() + limit
    for case in cases:
        rows = list(enumerate(case.rows()))
        if case.backend != "cpu":
            say(f"{case.name}: {len(rows)} rows")
            yield from measure_together(case, rows, settings, end)
            continue
        for number, row in rows:
            say(f"{case.name}: {row.what}, against {row.against or 'nothing'}")
            why = peers.missing(row.needs) or late(end)
            yield Outcome.of(case.name, row, skipped=why) if why else measure_apart(case, number, row, settings)


def late(end: float | None) -> str | None:
    """Why a row is not begun, where the time for all of them is over."""
    return None if end is None or time.monotonic() < end else "the time limit of the whole run was over"


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
    with tempfile.TemporaryDirectory() as folder:
        command, outcomes = _job(case, [number], settings, Path(folder))
        done = subprocess.run(command, env=_environment(settings), capture_output=True, text=True)
        for outcome in _written(outcomes):
            return outcome
    return Outcome.of(case.name, row, error=_last_words(done.returncode, done.stderr))


def measure_together(
    case: Case, rows: Sequence[tuple[int, Row]], settings: Settings, end: float | None = None
) -> Iterator[Outcome]:
    """Measure rows one after the other in one process, and go on in a new one where it dies or hangs.

    A process that has used a GPU takes seconds to start, and after a fault in a kernel it can only end.

    Parameters
    ----------
    case : Case
    rows : sequence of (int, Row)
        With their numbers in the case.
    settings : Settings
    end : float, optional
        By `time.monotonic`, when no row begins any more.

    Yields
    ------
    Outcome
    """
    left = []
    for number, row in rows:
        why = peers.missing(row.needs)
        if why:
            yield Outcome.of(case.name, row, skipped=why)
        else:
            left.append((number, row))
    while left:
        if (reason := late(end)) is not None:
            for _, row in left:
                yield Outcome.of(case.name, row, skipped=reason)
            return
        done = 0
        with tempfile.TemporaryDirectory() as folder:
            command, outcomes = _job(case, [number for number, _ in left], settings, Path(folder))
            with open(Path(folder, "words"), "w+b") as words:
                process = subprocess.Popen(command, env=_environment(settings), stdout=subprocess.DEVNULL, stderr=words)
                why = None
                begun = time.monotonic()
                try:
                    while True:
                        ended = process.poll() is not None
                        for outcome in _written(outcomes)[done:]:
                            done, begun = done + 1, time.monotonic()
                            yield outcome
                        if ended or done == len(left):
                            break
                        now = time.monotonic()
                        if now - begun > ROW_LIMIT or (end is not None and now > end):
                            why = f"stopped after {now - begun:.0f} s"
                            break
                        time.sleep(0.02)
                finally:
                    if why or done < len(left):
                        process.kill()
                    process.wait()
                words.seek(0)
                if done < len(left) and (why or process.returncode != AGAIN or not done):
                    why = why or _last_words(process.returncode, words.read().decode(errors="replace"))
                    yield Outcome.of(case.name, left[done][1], error=why)
                    done += 1
        left = left[done:]


def _job(case: Case, rows: Sequence[int], settings: Settings, folder: Path) -> tuple[list[str], Path]:
    """The command that measures rows elsewhere, and the file that it writes them to."""
    assert CASES[case.name] == case
    job, outcomes = folder / "job.json", folder / "outcomes"
    work = {"case": case.name, "rows": list(rows), "settings": asdict(settings), "outcomes": str(outcomes)}
    job.write_text(json.dumps(work))
    return [sys.executable, "-m", "neurograph.bench.child", str(job)], outcomes


def _environment(settings: Settings) -> dict[str, str]:
    package = str(Path(__file__).parents[2])
    environment = {**os.environ, **dict.fromkeys(THREADS, str(settings.threads))}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    return environment


def _written(outcomes: Path) -> list[Outcome]:
    """What is whole in the file so far."""
    if not outcomes.exists():
        return []
    lines = outcomes.read_text(encoding="utf-8").split("\n")
    return [Outcome.from_json(json.loads(line)) for line in lines[:-1]]


def _last_words(status: int, words: str) -> str:
    if status < 0:
        return f"the process was ended by signal {-status}" + (", most likely for memory" * (status == -9))
    lines = words.strip().splitlines()
    return lines[-1] if lines else f"the process ended with status {status}"
