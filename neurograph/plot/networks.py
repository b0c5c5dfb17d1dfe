"""The network itself: neurons in columns by generation, connections between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import InvalidValueError
from ..plot.style import BAND, BLUE, GREEN, GREY, INK, ORANGE, VERMILION, axes_or_new

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..network import Network

# Points along each curve; horizontal at both ends, so that skip connections leave their column.
_BEND = np.linspace(0.0, 1.0, 20)
# colour and marker of the neurons, by what they are
_KINDS = {"input": (INK, "s"), "hidden": (GREEN, "o"), "output": (VERMILION, "D")}


def network(net: Network, ax: Axes | None = None, max_connections: int = 2000) -> Axes:
    """Draw a network: a column for each generation, a curve for each connection.

    Neurons of one column do not depend on one another. Blue curves carry positive weights, orange ones negative ones;
    the stronger, the more opaque. Above each column stands the number of its neurons.

    Parameters
    ----------
    net : Network
        The network to draw.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    max_connections : int
        Of a larger network so many connections are drawn, evenly chosen, and the title says so.

    Returns
    -------
    matplotlib Axes
        The axes that were drawn on.

    Raises
    ------
    InvalidValueError
        `max_connections` is negative, or the network has no neurons.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.random_dag(4, 12, 2, density=0.3, seed=0)
    >>> ax = ng.plot.network(net)
    >>> ax.get_xlabel()
    'generation'
    """
    if max_connections < 0:
        raise InvalidValueError(f"max_connections is {max_connections}; give 0 or more.")
    if net.n_neurons == 0:
        raise InvalidValueError("The network has no neurons to draw; add some first.")
    ax = axes_or_new(ax, (9, 5.5))
    generations = net.schedule.generations
    ids, x, y = _places(generations)

    connections = net.connections
    if len(connections) > max_connections:
        # At random, but always the same: a regular stride would leave holes where the wiring itself is regular.
        drawn = np.random.default_rng(0).choice(len(connections), max_connections, replace=False)
        connections = connections[np.sort(drawn)]
    _bands(ax, generations)
    _curves(ax, ids, x, y, connections)
    _dots(ax, net, ids, x, y)
    _decorate(ax, net, generations, len(connections))
    return ax


def _places(generations: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ascending ids, and x and y of each: columns are centred, and narrow generations stand closer together."""
    widths = np.array([len(generation) for generation in generations])
    heights = (widths / widths.max()) ** 0.35
    x = np.repeat(np.arange(len(widths), dtype=float), widths)
    y = np.concatenate(
        [height * (0.5 - (np.arange(width) + 0.5) / width) for width, height in zip(widths, heights, strict=True)]
    )
    ids = np.concatenate(generations)
    order = np.argsort(ids)
    return ids[order], x[order], y[order]


def _bands(ax: Axes, generations: list[np.ndarray]) -> None:
    for number in range(0, len(generations), 2):
        ax.axvspan(number - 0.5, number + 0.5, color=BAND, zorder=0, linewidth=0)


def _curves(ax: Axes, ids, x, y, connections) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgb

    if len(connections) == 0:
        return
    source, target = np.searchsorted(ids, connections.source), np.searchsorted(ids, connections.target)
    weight = connections.weight
    start, stop = np.stack([x[source], y[source]], 1), np.stack([x[target], y[target]], 1)
    reach = np.stack([0.45 * np.maximum(np.abs(x[target] - x[source]), 0.6), np.zeros(len(weight))], 1)
    # A cubic Bezier curve; a connection of a neuron with itself bulges upwards, to be seen at all.
    bulge = np.where((source == target)[:, None], [[0.0, 0.12]], 0.0)
    t = _BEND[:, None, None]
    points = (
        (1 - t) ** 3 * start
        + 3 * (1 - t) ** 2 * t * (start + reach + bulge)
        + 3 * (1 - t) * t**2 * (stop - reach + bulge)
        + t**3 * stop
    )
    scale = np.quantile(np.abs(weight), 0.95) or 1.0
    # many curves need to be fainter than few, or they hide one another
    strongest = np.clip(12 / np.sqrt(len(weight)), 0.22, 0.85)
    colours = np.empty((len(weight), 4))
    colours[:, :3] = np.where((weight >= 0)[:, None], to_rgb(BLUE), to_rgb(ORANGE))
    colours[:, 3] = strongest * np.clip(np.abs(weight) / scale, 0.25, 1.0)
    width = np.clip(30 / np.sqrt(len(weight)), 0.5, 1.6)
    ax.add_collection(LineCollection(list(points.transpose(1, 0, 2)), colors=colours, linewidths=width, zorder=1))


def _dots(ax: Axes, net: Network, ids, x, y) -> None:
    is_input = np.isin(ids, net.inputs.ids)
    is_output = np.isin(ids, net.outputs.ids)
    masks = {"input": is_input & ~is_output, "hidden": ~is_input & ~is_output, "output": is_output}
    tallest = np.unique(x, return_counts=True)[1].max()
    size = float(np.clip(1700 / max(tallest, len(ids) / 12), 7, 90))
    for kind, mask in masks.items():
        colour, marker = _KINDS[kind]
        ax.scatter(x[mask], y[mask], size, colour, marker=marker, edgecolors="white", linewidths=0.5, zorder=2)


def _decorate(ax: Axes, net: Network, generations: list[np.ndarray], n_drawn: int) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    depth = len(generations)
    if depth <= 40:
        for number, members in enumerate(generations):
            ax.text(number, 0.525, f"{len(members)}", ha="center", va="bottom", fontsize=7.5, color=GREY)
    ax.set_xlim(-0.6, depth - 0.4)
    ax.set_ylim(-0.55, 0.58)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, min_n_ticks=1))
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    ax.tick_params(colors=GREY, labelsize=9, length=0)
    ax.set_xlabel("generation", color=INK)
    title = f"{net.n_neurons:,} neurons, {net.n_connections:,} connections, {depth} generations"
    if n_drawn < net.n_connections:
        title += f"\n({n_drawn:,} connections drawn, evenly chosen)"
    ax.set_title(title, fontsize=11, color=INK)
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="", label=kind, markersize=6)
        for kind, (colour, marker) in _KINDS.items()
    ]
    handles.append(Line2D([], [], color=BLUE, linewidth=1.8, label="weight ≥ 0"))
    handles.append(Line2D([], [], color=ORANGE, linewidth=1.8, label="weight < 0"))
    ax.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.11),
        ncols=5,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        handletextpad=0.4,
        columnspacing=1.4,
    )
