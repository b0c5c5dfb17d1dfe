"""Time against density, with the crossover marked."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import InvalidValueError
from ..plot.style import CYCLE, GREY, INK, plain
from .rows import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["crossover", "draw", "drawable", "networks"]

OURS, DENSE = "neurograph", "PyTorch, dense"
MARKERS = "osD^vP*X"
COLOURS = (*CYCLE, INK)  # one for each tool of the widest comparison
Points = dict[str, list[tuple[float, float]]]


def networks(outcomes: Sequence[Outcome], dense: str = DENSE) -> dict[str, Points]:
    """Points (density, milliseconds) of every tool, network by network; ours from the rows against dense layers.

    Examples
    --------
    >>> row = Outcome("tiny", "step", "PyTorch, dense", {"ours_ms": 1.0, "peer_ms": 3.0}, curve=("64-10", 0.2))
    >>> networks([row])
    {'64-10': {'neurograph': [(0.2, 1.0)], 'PyTorch, dense': [(0.2, 3.0)]}}
    """
    found: dict[str, Points] = {}
    for outcome in outcomes:
        if outcome.curve is None or "peer_ms" not in outcome.figures:
            continue
        name, density = outcome.curve
        points = found.setdefault(name, {OURS: [], dense: []})
        points.setdefault(outcome.against, []).append((density, outcome.figures["peer_ms"]))
        if outcome.against == dense:
            points[OURS].append((density, outcome.figures["ours_ms"]))
    return {
        name: {tool: sorted(values) for tool, values in points.items()}
        for name, points in found.items()
        if points[OURS]
    }


def crossover(ours: Sequence[tuple[float, float]], dense: Sequence[tuple[float, float]]) -> float | None:
    """Density at which both take the same time, on straight lines between the logarithms; None where they never do.

    Parameters
    ----------
    ours, dense : sequence of (density, milliseconds)
        At the same densities, ascending.

    Examples
    --------
    >>> round(crossover([(0.1, 1.0), (1.0, 10.0)], [(0.1, 5.0), (1.0, 5.0)]), 3)
    0.5
    """
    gaps = [(math.log(d), math.log(a / b)) for (d, a), (_, b) in zip(ours, dense, strict=True)]
    for (x0, y0), (x1, y1) in zip(gaps[:-1], gaps[1:], strict=True):
        if y0 < 0 <= y1:
            return math.exp(x0 + (x1 - x0) * -y0 / (y1 - y0))
    return None


def drawable(outcomes: Sequence[Outcome]) -> dict[str, Points]:
    """The networks that were measured at two densities or more."""
    return {name: points for name, points in networks(outcomes).items() if len(points[OURS]) > 1}


def draw(outcomes: Sequence[Outcome], path: str | os.PathLike | None = None) -> Figure:
    """Draw one panel a network, both axes logarithmic.

    Parameters
    ----------
    outcomes : sequence of Outcome
    path : path, optional
        Where to save it; the ending names the format.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    InvalidValueError
        No network was measured at two densities.
    """
    from matplotlib.figure import Figure

    panels = drawable(outcomes)
    if not panels:
        raise InvalidValueError(
            "no network was measured at two densities, so there is no curve; run the case `training`"
        )
    tools = list(dict.fromkeys(tool for points in panels.values() for tool in points))
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(6.2 * columns, 4.6 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, (name, points) in zip(axes, panels.items(), strict=False):
        panel(name, points, ax, tools)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    lines = {str(line.get_label()): line for ax in figure.axes for line in ax.lines if line.get_label() in tools}
    figure.legend(list(lines.values()), list(lines), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def panel(name: str, points: Points, ax: Axes, tools: Sequence[str]) -> None:
    """Time against density of one network; a tool's colour and marker are its place among all tools."""
    for tool, values in points.items():
        number = tools.index(tool)
        densities, milliseconds = zip(*values, strict=True)
        own = tool == OURS
        ax.plot(
            densities,
            milliseconds,
            label=tool,
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
            linewidth=2.4 if own else 1.4,
            markersize=7 if own else 5,
            zorder=3 if own else 2,
        )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ticks = [density for density, _ in points[OURS]]
    ax.set_xticks(ticks, [f"{density:g}" for density in ticks])
    ax.minorticks_off()
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set_xlabel("density")
    ax.set_ylabel("one training step, ms")
    ax.set_title(f"training step, {name}", fontsize=11, loc="left")
    plain(ax)
    meeting = crossover(points[OURS], points[DENSE])
    if meeting is not None:
        ax.axvline(meeting, color=GREY, linestyle=":", linewidth=1.2, zorder=1)
    faster = all(a < b for (_, a), (_, b) in zip(points[OURS], points[DENSE], strict=True))
    if meeting is not None or faster:
        ax.annotate(
            f"crossover at {meeting:.2g}" if meeting is not None else "no crossover: faster at every density",
            (meeting or max(ticks), 0.02),
            xycoords=("data", "axes fraction"),
            xytext=(-4, 0),
            textcoords="offset points",
            ha="right",
            color=INK,
            fontsize=9,
        )
