"""The command `neurograph bench`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..errors import InvalidValueError, NotSupportedError
from . import crossovers, device, machine, picture, report
from .cases import choose
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
    own = choose(everything=True, backend=options.backend)
    if options.list:
        width = max(len(case.name) for case in own)
        for case in own:
            print(f"{case.name:<{width}}  {case.about}{' (only by name, or with --all)' if case.long else ''}")
        return 0
    gpu = options.backend == "gpu"
    usual = machine.cores() if gpu else min(2, machine.cores())  # beside a GPU stands all that the processor can do
    threads = usual if options.threads is None else options.threads
    if threads < 1:
        raise InvalidValueError(f"--threads is {threads}; give a whole number above 0")
    if options.limit is not None and not options.limit > 0:
        raise InvalidValueError(f"--limit is {options.limit}; give seconds above 0")
    cases = choose(options.cases, options.all, options.backend)
    settings = Settings(threads, options.quick, options.data, options.backend)
    why = device.problem() if gpu else None
    if why:
        raise NotSupportedError(why)
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    file = Path(options.json) if options.json else folder / "results.json"
    results = Results(machine.describe(threads, gpu), [], options.quick)
    earlier = Results.load(file) if options.update and file.exists() else results
    earlier.updated(results)  # refused now rather than after the first row
    print(f"{report.machine_line(results.machine)}\n\n{report.header()}", flush=True)
    for outcome in measured(cases, settings, _progress, options.limit):
        results.outcomes.append(outcome)
        print(report.line(outcome), flush=True)
        earlier.updated(results).save(file)  # row by row, for a run may be stopped
    _progress("")
    whole = earlier.updated(results)
    written = [file, folder / "table.md"]
    text = f"{report.machine_line(whole.machine)}\n\n{report.tables(whole.outcomes)}\n"
    written[1].write_text(text, encoding="utf-8")
    artist = crossovers if gpu else picture
    if artist.drawable(whole.outcomes):
        written.append(file.with_suffix(".png"))
        artist.draw(whole.outcomes, written[-1])
    print(f"\nWritten: {', '.join(map(str, written))}")
    return 0


def _progress(text: str) -> None:
    """One line that changes, for a person who waits."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text[:110]}", end="\r", file=sys.stderr, flush=True)
