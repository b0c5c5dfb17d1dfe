"""The command `neurograph bench`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ..errors import InvalidValueError
from . import machine, picture, report
from .cases import CASES, choose
from .rows import Settings
from .runner import run

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
    threads = min(2, os.cpu_count() or 1) if options.threads is None else options.threads
    if threads < 1:
        raise InvalidValueError(f"--threads is {threads}; give a whole number above 0")
    cases = choose(options.cases, options.all)
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    settings = Settings(threads, options.quick, options.data)
    print(f"{report.machine_line(machine.describe(threads))}\n\n{report.header()}", flush=True)
    results = run(
        cases,
        settings,
        measured=lambda outcome: print(report.line(outcome), flush=True),
        starting=lambda case, row: _progress(f"{case.name}: {row.what}, against {row.against}"),
    )
    _progress("")
    written = [Path(options.json) if options.json else folder / "results.json", folder / "table.md"]
    results.save(written[0])
    text = f"{report.machine_line(results.machine)}\n\n{report.tables(results.outcomes)}\n"
    written[1].write_text(text, encoding="utf-8")
    if any(len(points[picture.OURS]) > 1 for points in picture.networks(results.outcomes).values()):
        written.append(folder / "time_against_density.png")
        picture.draw(results.outcomes, written[-1])
    print(f"\nWritten: {', '.join(map(str, written))}")
    return 0


def _progress(text: str) -> None:
    """One line that changes, for a person who waits."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text[:110]}", end="\r", file=sys.stderr, flush=True)
