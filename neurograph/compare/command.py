"""The command `neurograph sparsity`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ..datasets import Split
from ..errors import InvalidValueError
from .data import load
from .measure import Row, Setting, run, table, write
from .methods import METHODS, find
from .picture import draw

__all__ = ["main"]

DENSITIES = (0.02, 0.05, 0.1, 0.2, 0.5)
# (epochs, samples of a step, learning rate) unless they are given
BUDGETS = {"digits": (40, 32, 5e-3), "MNIST": (10, 128, 2e-3)}
QUICK_EPOCHS, QUICK_SAMPLES, QUICK_DENSITIES, QUICK_SEEDS = 4, 1000, (0.1, 0.5), 1


def main(options: argparse.Namespace) -> int:
    """Compare the methods, write a CSV and a picture.

    Returns
    -------
    int
        0; 1 if a method could not do what was asked, 130 after Ctrl-C, which keeps what was measured before.
    """
    if options.list:
        width = max(map(len, METHODS))
        for method in METHODS.values():
            print(f"{method.name:<{width}}  {method.about}")
        return 0
    names = list(dict.fromkeys(find(name).name for name in options.methods)) or list(METHODS)
    densities = options.densities or (QUICK_DENSITIES if options.quick else DENSITIES)
    seeds = _or(options.seeds, QUICK_SEEDS if options.quick else 3)
    if seeds < 1:
        raise InvalidValueError(f"--seeds is {seeds}; give 1 or more")
    files = Path(f"{options.output}.csv"), Path(f"{options.output}.png")
    if not files[0].absolute().parent.is_dir():
        raise InvalidValueError(f"there is no folder {files[0].absolute().parent}; make it first")
    setting = _setting(options)
    todo = run(setting, names, sorted(set(densities), reverse=True), range(seeds))
    of_one_density = sum(not METHODS[name].any_density for name in names)
    total = seeds * (of_one_density + (len(names) - of_one_density) * len(set(densities)))
    data, sizes = setting.data, "-".join(map(str, setting.task(1.0, 0).sizes))
    print(
        f"{setting.name}: {len(data.x_train):,} images to learn from, {len(data.x_test):,} to be tested on; "
        f"{sizes}, {setting.epochs} epochs of {setting.batch_size} images a step; {total} runs"
    )
    rows: list[Row] = []
    interrupted = False
    try:
        for row in todo:
            rows.append(row)
            write(rows, files[0])  # row by row, for it takes long
            print(line(row, len(rows), total), flush=True)
    except KeyboardInterrupt:
        interrupted = True
        if rows:
            write(rows, files[0])  # which may have been under way
        print(f"neurograph: stopped after {len(rows)} of {total} runs", file=sys.stderr)
    written = list(files[:1] if rows else ())
    if not all(row.failed for row in rows):
        draw(rows, files[1])
        print(f"\n{table(rows)}")
        written = list(files)
    if written:
        print(f"\nWritten: {', '.join(map(str, written))}")
    return 130 if interrupted else int(any(row.failed for row in rows))


def line(row: Row, number: int, total: int) -> str:
    """One line for one run.

    Examples
    --------
    >>> print(line(Row("digits", "64-10", "SET", 0.1, 0, 0.8, 0.1, 64, 74, 3000, 1.0, 46), 3, 12))
     3/12  SET at 0.1, seed 0: 80.00% right, 64 connections (0.1), 3,000 bytes, 46 steps in 1.0 s
    """
    head = f"{number:>{len(str(total))}}/{total}  {row.method} at {row.density:g}, seed {row.seed}"
    if row.failed:
        return f"{head}: not possible: {row.note}"
    note = f"; {row.note}" if row.note else ""
    return (
        f"{head}: {row.accuracy:.2%} right, {row.connections:,} connections ({row.reached:.3g}), {row.bytes:,} bytes, "
        f"{row.steps:,} steps in {row.seconds:.1f} s{note}"
    )


def _setting(options: argparse.Namespace) -> Setting:
    name, data = load(options.data, options.openml)
    samples = _or(options.samples, QUICK_SAMPLES if options.quick else len(data.x_train))
    if samples < 1:
        raise InvalidValueError(f"--samples is {samples}; give 1 or more")
    data = Split(data.x_train[:samples], data.y_train[:samples], data.x_test, data.y_test)
    epochs, batch_size, lr = BUDGETS[name]
    epochs = _or(options.epochs, QUICK_EPOCHS if options.quick else epochs)
    return Setting(name, data, tuple(options.hidden), epochs, _or(options.batch_size, batch_size), _or(options.lr, lr))


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
