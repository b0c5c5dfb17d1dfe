"""The adjacency matrix: who feeds whom, of networks too large for single neurons to be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InvalidValueError
from ..plot.style import BLUE, GREY, INK, axes_or_new

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..graph import Group
    from ..network import Network

# A name needs about this share of the side, or it would run into its neighbours.
_LEAST_NAMED = 0.022


def adjacency(net: Network, groups: Sequence[Group] | None = None, ax: Axes | None = None, cells: int = 360) -> Axes:
    """Draw the adjacency matrix: a row for each source, a column for each target, sorted into groups.

    A large network has several neurons to a cell; the more of their pairs are connected, the darker the cell. Lines
    part the groups, and those that are wide enough show their names.

    Parameters
    ----------
    net : Network
        The network to draw.
    groups : sequence of Group, optional
        Neurons to draw, in this order; no neuron may be in two of them. The groups that were added, by default: the
        layers of a layered network.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    cells : int
        The most cells on a side.

    Returns
    -------
    matplotlib Axes
        The axes that were drawn on.

    Raises
    ------
    InvalidValueError
        The groups share a neuron or have none, or `cells` is below 1.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([4, 3, 2], seed=0)
    >>> ax = adjacency(net)
    >>> ax.images[0].get_array().shape, [label.get_text() for label in ax.get_yticklabels()]
    ((9, 9), ['inputs', 'hidden 1', 'outputs'])
    """
    from matplotlib.colors import LinearSegmentedColormap

    if cells < 1:
        raise InvalidValueError(f"cells is {cells}; give 1 or more.")
    groups = [group for group in (_layers(net) if groups is None else groups) if len(group)]
    if not groups:
        raise InvalidValueError("There are no neurons to draw; give groups that have some.")
    ids = np.concatenate([group.ids for group in groups])
    distinct, counts = np.unique(ids, return_counts=True)
    if len(distinct) < len(ids):
        raise InvalidValueError(f"Neuron {distinct[counts > 1][0]} is in several of the groups; leave it in one.")
    ax = axes_or_new(ax, (6, 6))
    shown = LinearSegmentedColormap.from_list("wiring", ["white", BLUE, INK])
    share = _connected(net, ids, min(cells, len(ids)))
    # The square root, as one connected pair among many must still be seen.
    most = np.quantile(share[share > 0], 0.99) if share.any() else 1.0
    edge = len(ids) - 0.5
    ax.imshow(np.sqrt(share / most), shown, vmin=0, vmax=1, extent=(-0.5, edge, edge, -0.5), interpolation="nearest")
    _mark_groups(ax, groups)
    return ax


def _layers(net: Network) -> list[Group]:
    """Homes, which know no names, as the named groups of the same neurons where there are such."""
    named = {group.ids.tobytes(): group for group in net.groups.values()}
    return [named.get(home.ids.tobytes(), home) for home in net.homes]


def _connected(net: Network, ids: np.ndarray, side: int) -> np.ndarray:
    """Share of the pairs of each cell that are connected."""
    cell = np.full(ids.max() + 1, -1)
    cell[ids] = np.arange(len(ids)) * side // len(ids)
    source, target = net.connections.source, net.connections.target
    drawn = np.isin(source, ids) & np.isin(target, ids)
    width = np.bincount(cell[ids], minlength=side)
    pairs = np.bincount(cell[source[drawn]] * side + cell[target[drawn]], minlength=side * side)
    return pairs.reshape(side, side) / np.outer(width, width)


def _mark_groups(ax: Axes, groups: list[Group]) -> None:
    ends = np.cumsum([len(group) for group in groups])
    starts = np.concatenate([[0], ends[:-1]])
    for place in ends[:-1] - 0.5:
        ax.axhline(place, color=GREY, linewidth=0.4, alpha=0.6)
        ax.axvline(place, color=GREY, linewidth=0.4, alpha=0.6)
    named = [
        ((start + end - 1) / 2, group.name)
        for start, end, group in zip(starts, ends, groups, strict=True)
        if group.name and end - start >= _LEAST_NAMED * ends[-1]
    ]
    centres, names = [centre for centre, _ in named], [name for _, name in named]
    ax.set_xticks(centres, names, rotation=90)
    ax.set_yticks(centres, names)
    ax.tick_params(length=0, labelsize=7, colors=GREY)
    ax.spines[:].set_color(GREY)
    ax.set_xlabel("to", color=INK)
    ax.set_ylabel("from", color=INK)
