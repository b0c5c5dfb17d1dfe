"""How many connections the neurons have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import InvalidValueError
from ..plot.style import BLUE, VERMILION, axes_or_new, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..network import Network

_MOST_BINS = 60


def degrees(net: Network, ax: Axes | None = None) -> Axes:
    """Draw how fan-in and fan-out are distributed over the neurons.

    Inputs, which take no connections, are left out of the fan-in; outputs that lead nowhere out of the fan-out.

    Parameters
    ----------
    net : Network
        The network to look at.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes
        The axes that were drawn on.

    Raises
    ------
    InvalidValueError
        The network has no neurons.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([4, 3, 2], seed=0)
    >>> ax = degrees(net)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['fan-in, mean 3.6', 'fan-out, mean 2.6']
    """
    from matplotlib.ticker import MaxNLocator

    if net.n_neurons == 0:
        raise InvalidValueError("The network has no neurons to look at; add some first.")
    fan_in = (net.neurons - net.inputs).fan_in
    fan_out = np.concatenate([(net.neurons - net.outputs).fan_out, net.outputs.fan_out[net.outputs.fan_out > 0]])
    ax = axes_or_new(ax, (6, 4))
    edges = _edges(max(fan_in.max(initial=0), fan_out.max(initial=0)))
    for name, counts, colour, style in (("fan-in", fan_in, BLUE, "-"), ("fan-out", fan_out, VERMILION, "--")):
        if len(counts) == 0:
            continue
        height, _ = np.histogram(counts, edges)
        label = f"{name}, mean {counts.mean():.1f}"
        ax.stairs(height, edges, fill=True, color=colour, alpha=0.18)
        ax.stairs(height, edges, color=colour, linestyle=style, linewidth=1.8, label=label)
    plain(ax)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("connections of one neuron")
    ax.set_ylabel("neurons")
    ax.legend(frameon=False, fontsize=9)
    return ax


def _edges(largest: int) -> np.ndarray:
    """Bins of one whole number each, or of several where there would be too many; the edges lie between numbers."""
    step = -(-(int(largest) + 1) // _MOST_BINS)
    return np.arange(-0.5, largest + step + 0.5, step)
