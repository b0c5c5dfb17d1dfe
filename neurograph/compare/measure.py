"""Run methods and measure what they return."""

from __future__ import annotations

import contextlib
import csv
import math
import os
import statistics
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from typing import Any

import numpy as np

from .. import checks
from ..datasets import Split
from ..errors import InvalidValueError, NeurographError
from .methods import Method, find
from .task import Task

__all__ = ["COLUMNS", "Row", "Setting", "Summary", "run", "summary", "table", "write"]


@dataclass(frozen=True)
class Setting:
    """What all methods share: data, sizes and budget; see `Task`.

    Examples
    --------
    >>> from neurograph.datasets import load_digits
    >>> setting = Setting("digits", load_digits(), hidden=(20,), epochs=1)
    >>> setting.task(density=0.5, seed=0).n_connections
    740
    """

    name: str
    data: Split
    hidden: tuple[int, ...] = (300, 100)
    epochs: int = 40
    batch_size: int = 32
    lr: float = 5e-3

    def __post_init__(self) -> None:
        for size in self.hidden:
            checks.whole("a hidden size", size, 1)
        checks.whole("epochs", self.epochs, 1)
        checks.whole("batch_size", self.batch_size, 1)
        if not self.lr > 0:
            raise InvalidValueError(f"lr is {self.lr}; give a number above 0")

    def task(self, density: float, seed: int) -> Task:
        """One run within it."""
        return Task(self.data, density, seed, self.hidden, self.epochs, self.batch_size, self.lr)

    def tiny(self, density: float) -> Task:
        """A run that takes next to no time."""
        few = Split(*(part[:64] for part in self.data))
        return Task(few, density, 0, self.hidden, 4, 8, self.lr)


@dataclass(frozen=True)
class Row:
    """One run; the fields are the columns of the CSV, in this order.

    Attributes
    ----------
    data, network : str
        Name of the data, and sizes of the layers, as in 64-300-100-10.
    method : str
    density : float
        What was asked for: connections as a share of those of the dense network.
    seed : int
    accuracy : float
        Share of the test images that the network gets right in the end, 0 to 1.
    reached : float
        Density that the network has.
    connections, parameters, bytes : int
        Of the network: `n_connections`, `n_parameters` (biases included) and `nbytes` (weights, gradients, optimizer
        state, indices).
    seconds : float
        Of everything that the method did, teachers and other preparations included; evaluation is not.
    steps : int
        Training steps that it took.
    note : str
        What the method warned of, or why there are no figures.

    Examples
    --------
    >>> Row("digits", "64-10", "SET", 0.1, 0).accuracy
    nan
    """

    data: str
    network: str
    method: str
    density: float
    seed: int
    accuracy: float = float("nan")
    reached: float = float("nan")
    connections: int = 0
    parameters: int = 0
    bytes: int = 0
    seconds: float = float("nan")
    steps: int = 0
    note: str = ""

    @property
    def failed(self) -> bool:
        """Whether the method could not do what was asked, and there are no figures."""
        return math.isnan(self.accuracy)


COLUMNS = tuple(field.name for field in fields(Row))


def run(setting: Setting, methods: Iterable[str], densities: Iterable[float], seeds: Iterable[int]) -> Iterator[Row]:
    """Run every method at every density with every seed, and measure the networks.

    Methods take turns within a density and a seed, so that a machine that is slower for a while slows all of them. One
    that cannot do what is asked yields a row with a note; the others go on. Before the first row each method makes a
    few steps, so that no kernel compiles on the clock.

    Parameters
    ----------
    setting : Setting
        Data, sizes and budget.
    methods : iterable of str
        Names out of `METHODS`.
    densities : iterable of float
        Above 0, up to 1.
    seeds : iterable of int

    Yields
    ------
    Row
        As soon as it is measured.

    Raises
    ------
    UnknownNameError, InvalidValueError
        A method is not known, or a density or seed out of range; nothing has run then.

    Examples
    --------
    >>> from neurograph.datasets import load_digits
    >>> setting = Setting("digits", load_digits(), hidden=(20,), epochs=1)
    >>> [row.connections for row in run(setting, ["dense", "SET"], densities=[0.1, 0.2], seeds=[0])]
    [1480, 148, 296]
    """
    chosen, densities, seeds = [find(name) for name in methods], list(densities), list(seeds)
    for density in densities:
        number = isinstance(density, int | float | np.number) and not isinstance(density, bool)
        if not number or not 0 < density <= 1:
            raise InvalidValueError(f"density {density!r} is out of range; give a number above 0, up to 1")
    for seed in seeds:
        checks.whole("seed", seed, 0)
    return _run(setting, chosen, densities, seeds)


def _run(
    setting: Setting, methods: Sequence[Method], densities: Sequence[float], seeds: Sequence[int]
) -> Iterator[Row]:
    for method in methods:
        with contextlib.suppress(NeurographError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            method.run(setting.tiny(max(densities)))
    for seed in seeds:
        yield from (_measured(setting, method, 1.0, seed) for method in methods if not method.any_density)
        for density in densities:
            yield from (_measured(setting, method, density, seed) for method in methods if method.any_density)


def _measured(setting: Setting, method: Method, density: float, seed: int) -> Row:
    task = setting.task(density, seed)
    known = (setting.name, "-".join(map(str, task.sizes)), method.name, density, seed)
    start = time.perf_counter()
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            net = method.run(task)
    except NeurographError as error:
        return Row(*known, steps=task.steps_made, note=" ".join(str(error).split()))
    seconds = time.perf_counter() - start
    right = net.predict(setting.data.x_test).argmax(axis=1) == setting.data.y_test
    return Row(
        *known,
        accuracy=float(np.mean(right)),
        reached=net.n_connections / task.dense_connections,
        connections=net.n_connections,
        parameters=net.n_parameters,
        bytes=net.nbytes,
        seconds=seconds,
        steps=task.steps_made,
        note="; ".join(dict.fromkeys(" ".join(str(warning.message).split()) for warning in said)),
    )


def write(rows: Iterable[Row], path: str | os.PathLike) -> None:
    """Write rows as CSV, with `COLUMNS` as the first line; figures that are missing are left empty.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "rows.csv"
    ...     write([Row("digits", "64-10", "SET", 0.1, 0, accuracy=0.875)], path)
    ...     path.read_text().splitlines()[1]
    'digits,64-10,SET,0.1,0,0.875,,0,0,0,,0,'
    """
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([_cell(value) for value in astuple(row)] for row in rows)


def _cell(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if value != value else f"{value:.6g}"


@dataclass(frozen=True)
class Summary:
    """Means over the seeds of one method at one density, and the standard deviation of the accuracy.

    Attributes
    ----------
    method : str
    density : float
        What was asked for.
    runs : int
        How many it is a mean over; the standard deviation of one is 0.
    accuracy, spread, reached, seconds, bytes, steps : float

    Examples
    --------
    >>> Summary("SET", 0.1, 3, 0.95, 0.004, 0.1, 1.5, 2e5, 1380).spread
    0.004
    """

    method: str
    density: float
    runs: int
    accuracy: float
    spread: float
    reached: float
    seconds: float
    bytes: float
    steps: float


def summary(rows: Iterable[Row]) -> list[Summary]:
    """Sum the seeds up: methods in the order of their first row, densities ascending, rows without figures left out.

    Examples
    --------
    >>> rows = [Row("digits", "64-10", "SET", 0.1, seed, accuracy, 0.1, 64, 74, 3000, 1.0, 46)
    ...         for seed, accuracy in enumerate([0.8, 0.9])]
    >>> [(s.method, round(s.accuracy, 3), round(s.spread, 3), s.runs) for s in summary(rows)]
    [('SET', 0.85, 0.071, 2)]
    """
    groups: dict[str, dict[float, list[Row]]] = {}
    for row in rows:
        if not row.failed:
            groups.setdefault(row.method, {}).setdefault(row.density, []).append(row)
    return [
        Summary(
            method,
            density,
            len(runs),
            spread=statistics.stdev([row.accuracy for row in runs]) if len(runs) > 1 else 0.0,
            **{
                name: statistics.fmean(asdict(row)[name] for row in runs)
                for name in ("accuracy", "reached", "seconds", "bytes", "steps")
            },
        )
        for method, by_density in groups.items()
        for density, runs in sorted(by_density.items())
    ]


def table(rows: Iterable[Row]) -> str:
    """Lay `summary` out as text.

    Examples
    --------
    >>> print(table([Row("digits", "64-10", "SET", 0.1, 0, 0.8, 0.1, 64, 74, 3000, 1.0, 46)]))
    method  density  runs  reached     accuracy  seconds  bytes  steps
    ------  -------  ----  -------  -----------  -------  -----  -----
    SET         0.1     1      0.1  80.0 +- 0.0     1.00  3,000     46
    """
    heads = ("method", "density", "runs", "reached", "accuracy", "seconds", "bytes", "steps")
    lines: list[tuple[str, ...]] = [heads]
    lines += [
        (
            s.method,
            f"{s.density:g}",
            str(s.runs),
            f"{s.reached:.3g}",
            f"{100 * s.accuracy:.1f} +- {100 * s.spread:.1f}",
            f"{s.seconds:.2f}",
            f"{s.bytes:,.0f}",
            f"{s.steps:.0f}",
        )
        for s in summary(rows)
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )
