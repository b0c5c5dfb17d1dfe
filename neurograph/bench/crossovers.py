"""Time against density on a GPU: where a pruned network is faster than dense layers, in a table and a picture."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InvalidValueError
from ..plot.style import plain
from . import picture
from .picture import COLOURS, MARKERS, OURS, Points
from .report import number
from .rows import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["curves", "draw", "drawable", "meeting", "table"]

DENSE = "PyTorch, dense fp32"  # whose rows our own times are read from
PREFIX = "PyTorch, dense "
COLUMNS = 3
EXTREMES = ("always", "never")
PLACES = {"fp32": 0, "tf32": 1, "bf16": 2}  # among the colours and markers


def curves(outcomes: Sequence[Outcome]) -> dict[str, Points]:
    """Points (density, milliseconds) of every tool, panel by panel.

    A row brings one point of its panel, or in its figures whole lines as "points".

    Examples
    --------
    >>> row = Outcome("t", "step", DENSE, {"ours_ms": 1.0, "peer_ms": 3.0}, curve=("step, 64-10", 0.2))
    >>> many = Outcome("c", "product, 64 x 64", "", {"points": {OURS: [[0.2, 1.0]], DENSE: [[0.2, 2.0]]}})
    >>> curves([row, many])["step, 64-10"]
    {'neurograph': [(0.2, 1.0)], 'PyTorch, dense fp32': [(0.2, 3.0)]}
    >>> list(curves([row, many]))
    ['step, 64-10', 'product, 64 x 64']
    """
    found = picture.networks(outcomes, DENSE)
    for outcome in outcomes:
        tool = outcome.figures.get("ours_tool", OURS)
        if outcome.curve and outcome.curve[0] in found and tool != OURS:
            found[outcome.curve[0]].setdefault(tool, []).append((outcome.curve[1], outcome.figures["ours_ms"]))
        for tool, points in (outcome.figures.get("points") or {}).items():
            lines = found.setdefault(outcome.what, {})
            lines[tool] = [(density, ms) for density, ms in points]
    return {name: {tool: sorted(points) for tool, points in lines.items()} for name, lines in found.items()}


def drawable(outcomes: Sequence[Outcome]) -> dict[str, Points]:
    """The panels with two points or more of ours."""
    return {name: points for name, points in curves(outcomes).items() if len(points.get(OURS, ())) > 1}


def meeting(ours: Sequence[tuple[float, float]], dense: Sequence[tuple[float, float]]) -> str:
    """In words, up to which density ours is faster.

    Examples
    --------
    >>> dense = [(0.1, 4.0), (1.0, 4.0)]
    >>> meeting([(0.1, 1.0), (1.0, 16.0)], dense), meeting([(0.1, 1.0), (1.0, 2.0)], dense)
    ('0.32', 'always')
    >>> meeting([(0.1, 5.0), (1.0, 9.0)], dense), meeting([(0.1, 5.0)], [])
    ('never', '–')
    """
    times = dict(dense)
    common = [(density, ms) for density, ms in ours if density in times]
    if not common:
        return "–"
    other = [(density, times[density]) for density, _ in common]
    at = picture.crossover(common, other)
    if at is not None:
        return number(at, 2)
    return "always" if all(a < b for (_, a), (_, b) in zip(common, other, strict=True)) else "never"


def own(points: Mapping[str, Sequence[tuple[float, float]]]) -> list[str]:
    """Our lines in a panel, one a precision, float32 first.

    Examples
    --------
    >>> own({"neurograph bf16": [], "PyTorch, dense fp32": [], "neurograph": []})
    ['neurograph', 'neurograph bf16']
    """
    return sorted(tool for tool in points if tool.startswith(OURS))


def table(outcomes: Sequence[Outcome]) -> str:
    """Markdown: panel by panel and for each of our precisions, below which density we are faster than dense layers.

    Examples
    --------
    >>> lines = {OURS: [[0.1, 1.0], [1.0, 9.0]], DENSE: [[0.1, 3.0], [1.0, 3.0]]}
    >>> print(table([Outcome("c", "product, 64 x 64", "", {"points": lines})]))
    | what | ours in | densities measured | faster than dense fp32 below |
    |---|---|---|---|
    | product, 64 x 64 | fp32 | 0.1 to 1 | 0.32 |
    """
    panels = drawable(outcomes)
    rivals = list(dict.fromkeys(tool for points in panels.values() for tool in points if tool.startswith(PREFIX)))
    if not rivals:
        return ""
    head = [
        "what",
        "ours in",
        "densities measured",
        *(f"faster than {rival.removeprefix('PyTorch, ')} below" for rival in rivals),
    ]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name, points in panels.items():
        for tool in own(points):
            ours = points[tool]
            met = [meeting(ours, points.get(rival, [])) for rival in rivals]
            precision = tool.removeprefix(OURS).strip() or "fp32"
            cells = [name, precision, f"{ours[0][0]:g} to {ours[-1][0]:g}", *met]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(outcomes: Sequence[Outcome], path: str | os.PathLike | None = None) -> Figure:
    """Draw one panel for each network or product, both axes logarithmic, with the crossovers marked.

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
        Nothing was measured at two densities.
    """
    from matplotlib.figure import Figure

    panels = drawable(outcomes)
    if not panels:
        raise InvalidValueError("nothing was measured at two densities; run the cases `crossover` or `gpu_training`")
    tools = list(dict.fromkeys(tool for points in panels.values() for tool in points))
    panels = dict(sorted(panels.items(), key=lambda panel: not panel[0].startswith("product")))  # a grid of their own
    columns = min(len(panels), COLUMNS)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5.2 * columns, 3.9 * rows + 0.7), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, (name, points) in zip(axes, panels.items(), strict=False):
        panel(name, points, ax, tools)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    lines = {str(line.get_label()): line for ax in figure.axes for line in ax.lines if line.get_label() in tools}
    ordered = {tool: lines[tool] for tool in tools}
    figure.legend(list(ordered.values()), list(ordered), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    if path is not None:
        figure.savefig(path, dpi=110)
    return figure


def panel(name: str, points: Mapping[str, Sequence[tuple[float, float]]], ax: Axes, tools: Sequence[str]) -> None:
    """One panel; below which density we are faster in the same precision stands in its title."""
    ours = points[OURS]
    for tool, values in points.items():
        ax.plot(*zip(*values, strict=True), label=tool, **_style(tool, tools))
    ax.set_xscale("log")
    ax.set_yscale("log")
    ticks = [density for density, _ in ours]
    ax.set_xticks(ticks, [f"{density:g}" for density in ticks], fontsize=8, rotation=45 if len(ticks) > 7 else 0)
    ax.minorticks_off()
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set_xlabel("density")
    ax.set_ylabel("ms")
    plain(ax)
    said = []
    for rival in (tool for tool in points if tool.startswith(PREFIX)):
        precision = rival.removeprefix(PREFIX)
        same = points.get(f"{OURS} {precision}", ours)  # in that precision, where we have it
        at = meeting(same, points[rival])
        said.append(f"{precision} {at}")
        if at not in (*EXTREMES, "–"):
            ax.axvline(float(at), color=_style(rival, tools)["color"], linestyle=":", linewidth=1.1, zorder=1)
    ax.set_title(f"{name}\nfaster than dense below: {', '.join(said)}" if said else name, fontsize=9, loc="left")


def _style(tool: str, tools: Sequence[str]) -> dict[str, Any]:
    """A precision has a colour; ours is the thick line, the dense one is dashed; others have what is left."""
    mine = tool.startswith(OURS)
    if mine or tool.startswith(PREFIX):
        precision = tool.removeprefix(OURS if mine else PREFIX).strip() or "fp32"
        place = PLACES.get(precision, 0)
        shape = {"linewidth": 2.4, "markersize": 6, "zorder": 3} if mine else {"linewidth": 1.4, "linestyle": "--"}
        return {"color": COLOURS[place], "marker": MARKERS[place], "markersize": 4, **shape}
    others = [other for other in tools if not other.startswith((OURS, PREFIX))]
    place = len(PLACES) + others.index(tool)
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[place % len(MARKERS)],
        "linewidth": 1.2,
        "markersize": 4,
    }
