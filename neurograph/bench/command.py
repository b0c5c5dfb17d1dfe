"""The command `neurograph bench`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..errors import InvalidValueError
from . import machine, picture, report
from .cases import CASES, choose
from .rows import Settings
from .runner import Results, measured

__all__ = ["main"]


def main(options: argparse.Namespace) -> int:
    """Measure, print the table, write results, table and picture.

    Returns
    -------
    int
        0, also where rows were skipped or failed: the table says so.
    """
    if options.list:
        width = max(map(len, CASES))
        for case in CASES.values():
            print(f"{case.name:<{width}}  {case.about}{' (only by name, or with --all)' if case.long else ''}")
        return 0
    threads = min(2, machine.cores()) if options.threads is None else options.threads
    if threads < 1:
        raise InvalidValueError(f"--threads is {threads}; give a whole number above 0")
    cases, settings = choose(options.cases, options.all), Settings(threads, options.quick, options.data)
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    file = Path(options.json) if options.json else folder / "results.json"
    results = Results(machine.describe(threads), [], options.quick)
    earlier = Results.load(file) if options.update and file.exists() else results
    earlier.updated(results)  # refused now rather than after the first row
    print(f"{report.machine_line(results.machine)}\n\n{report.header()}", flush=True)
    for outcome in measured(cases, settings, _progress):
        results.outcomes.append(outcome)
        print(report.line(outcome), flush=True)
        earlier.updated(results).save(file)  # row by row, for a run may be stopped
    _progress("")
    whole = earlier.updated(results)
    written = [file, folder / "table.md"]
    text = f"{report.machine_line(whole.machine)}\n\n{report.tables(whole.outcomes)}\n"
    written[1].write_text(text, encoding="utf-8")
    if any(len(points[picture.OURS]) > 1 for points in picture.networks(whole.outcomes).values()):
        written.append(file.with_suffix(".png"))
        picture.draw(whole.outcomes, written[-1])
    print(f"\nWritten: {', '.join(map(str, written))}")
    return 0


def _progress(text: str) -> None:
    """One line that changes, for a person who waits."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text[:110]}", end="\r", file=sys.stderr, flush=True)
