"""Learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..errors import InvalidValueError
from ..plot.style import CYCLE, axes_or_new, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LABELS = {
    "loss": "training loss",
    "val_loss": "validation loss",
    "accuracy": "training accuracy",
    "val_accuracy": "validation accuracy",
    "n_connections": "connections",
    "seconds": "seconds",
}
_MARKERS = "osD^vP"
_STYLES = ("-", "--", "-.", ":")


def history(
    histories: Mapping[str, Mapping[str, Sequence[float]]], ax: Axes | None = None, key: str = "val_accuracy"
) -> Axes:
    """Draw one learning curve for each training run.

    Parameters
    ----------
    histories : mapping of name to history
        Histories as `Trainer.fit` returns them, or any mapping of names to lists with one number an epoch.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    key : str
        What to draw: "loss", "val_loss", "val_accuracy", "n_connections", "seconds", ...

    Returns
    -------
    matplotlib Axes
        The axes that were drawn on.

    Raises
    ------
    InvalidValueError
        A history has nothing under `key`; the message lists what it has.

    Examples
    --------
    >>> ax = history({"dense": {"loss": [2.3, 0.9, 0.4]}, "sparse": {"loss": [2.3, 1.1, 0.5]}}, key="loss")
    >>> [line.get_label() for line in ax.lines]
    ['dense', 'sparse']
    """
    for name, record in histories.items():
        if not isinstance(record, Mapping):
            raise InvalidValueError(f"Give a mapping of names to histories; {name!r} holds a {type(record).__name__}.")
        if key not in record:
            raise InvalidValueError(f"The history of {name!r} has no {key!r}; it has {', '.join(record)}.")
    ax = axes_or_new(ax, (6, 4))
    for number, (name, record) in enumerate(histories.items()):
        values = list(record[key])
        ax.plot(
            range(1, len(values) + 1),
            values,
            _STYLES[number // len(CYCLE) % len(_STYLES)],
            color=CYCLE[number % len(CYCLE)],
            marker=_MARKERS[number % len(_MARKERS)],
            markevery=max(1, len(values) // 12),
            markersize=4.5,
            linewidth=1.8,
            label=name,
        )
    _decorate(ax, key)
    return ax


def _decorate(ax: Axes, key: str) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    plain(ax)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if key.endswith("accuracy"):
        ax.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    ax.set_xlabel("epoch")
    ax.set_ylabel(_LABELS.get(key, key))
    if ax.lines:
        ax.legend(frameon=False, fontsize=9)
