"""Accuracy, time and bytes against density."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InvalidValueError
from ..plot.style import CYCLE, GREY, INK, plain
from .measure import Row, Summary, summary
from .methods import METHODS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw"]

MARKERS = "osD^vP*X"
COLOURS = (*CYCLE, INK)  # seven colours and eight markers: no two of 56 methods look alike
STYLES = ("-", "--", ":", "-.")  # one for each seven


def draw(rows: Iterable[Row], path: str | os.PathLike | None = None) -> Figure:
    """Draw means over seeds; bars show one standard deviation of the accuracy.

    Methods of one density, as the dense network, are horizontal lines. Points are where the network ended, not at what
    was asked for.

    Parameters
    ----------
    rows : iterable of Row
    path : path, optional
        Where to save it; the ending names the format.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    InvalidValueError
        No row has figures.

    Examples
    --------
    >>> figure = draw([Row("digits", "64-10", "SET", d, 0, 0.8 + d, d, 64, 74, 3000, 1.0, 46) for d in (0.05, 0.1)])
    >>> [ax.get_ylabel() for ax in figure.axes]
    ['test accuracy', 'seconds', 'bytes']
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter, PercentFormatter

    rows = list(rows)
    sums = summary(rows)
    if not sums:
        raise InvalidValueError("no row has figures, so there is nothing to draw")
    methods = list(dict.fromkeys(s.method for s in sums))
    figure = Figure(figsize=(12.5, 6.4 + 0.2 * (-(-len(methods) // 6))), layout="constrained")
    big, seconds, size = figure.subplot_mosaic([["a", "s"], ["a", "b"]], width_ratios=(1.9, 1)).values()
    for ax, quantity, label in (
        (big, "accuracy", "test accuracy"),
        (seconds, "seconds", "seconds"),
        (size, "bytes", "bytes"),
    ):
        for number, name in enumerate(methods):
            _curve(ax, [s for s in sums if s.method == name], quantity, number, len(methods))
        _axis(ax, sums, label)
    big.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    _zoom(big, sums)
    for ax, shown in ((seconds, FuncFormatter(lambda x, _: f"{x:g}")), (size, EngFormatter(unit="B"))):
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(shown)
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.minorticks_off()
    seconds.set_title("time of the training", fontsize=11, loc="left")
    size.set_title("bytes of the network", fontsize=11, loc="left")
    runs = max(s.runs for s in sums)
    over = f"mean over {runs} seeds, bars one standard deviation" if runs > 1 else "one seed"
    big.set_title(f"{rows[0].data}, {rows[0].network}: {over}", fontsize=11, loc="left")
    handles, labels = big.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False, fontsize=9)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _curve(ax: Axes, sums: Sequence[Summary], quantity: str, number: int, n_methods: int) -> None:
    """One method; neighbours are moved apart by a few hundredths, or their bars would hide one another."""
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    name, values = sums[0].method, [getattr(s, quantity) for s in sums]
    if name in METHODS and not METHODS[name].any_density:
        ax.axhline(values[0], color=GREY, linewidth=2.4, alpha=0.6, label=name, zorder=1)
        if quantity == "accuracy" and sums[0].spread:
            ax.axhspan(values[0] - sums[0].spread, values[0] + sums[0].spread, color=GREY, alpha=0.15, zorder=0)
        return
    shift = 1.06 ** ((number - (n_methods - 1) / 2) / max(n_methods - 1, 1))
    options: Any = (
        {"yerr": [s.spread for s in sums], "capsize": 2.5, "elinewidth": 1.0} if quantity == "accuracy" else {}
    )
    ax.errorbar(
        [s.reached * shift for s in sums],
        values,
        label=name,
        color=colour,
        marker=marker,
        linestyle=STYLES[number // len(COLOURS) % len(STYLES)],
        linewidth=1.4,
        markersize=5.5,
        **options,
    )


def _axis(ax: Axes, sums: Sequence[Summary], label: str) -> None:
    ax.set_xscale("log")
    asked = sorted({s.density for s in sums if s.method not in METHODS or METHODS[s.method].any_density} or {1.0})
    apart = [d for i, d in enumerate(asked) if i == 0 or d / asked[i - 1] > 1.25]
    ax.set_xticks(apart, [f"{100 * d:g}%" for d in apart])
    ax.minorticks_off()
    ax.set_xlabel("connections that remain")
    ax.set_ylabel(label)
    plain(ax)
    ax.tick_params(axis="x", colors=GREY)


def _zoom(ax: Axes, sums: Sequence[Summary]) -> None:
    """Show what matters: a method that learned nothing must not squeeze the others into a line."""
    best = max(s.accuracy + s.spread for s in sums)
    shown = sorted(s.accuracy - s.spread for s in sums)
    floor = shown[len(shown) // 8]  # an eighth of the points may lie below
    room = max(0.05 * (best - floor), 0.002)
    low = shown[0] if best - shown[0] < 2.5 * (best - floor) else floor
    ax.set_ylim(low - room, min(best + room, 1.005))
    below = sum(s.accuracy < low - room for s in sums)
    if below:
        text = f"{below} more below {low - room:.0%}"
        ax.text(0.99, 0.01, text, transform=ax.transAxes, ha="right", color=GREY, fontsize=9)
