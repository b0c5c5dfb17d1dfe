"""Index arrays of sliding windows, for any number of spatial axes: convolution and pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..checks import require

OUTSIDE = -1


class Taps(NamedTuple):
    """Every place that a window reads: at output position ``out``, tap ``tap`` of the window reads input ``into``.

    All three are flat positions in C order, of shape (n,). Taps in the padding are left out.
    """

    out: np.ndarray
    into: np.ndarray
    tap: np.ndarray
    out_shape: tuple[int, ...]


def sliding(
    size: int, kernel: int, stride: int = 1, before: int = 0, after: int = 0, dilation: int = 1, ceil: bool = False
) -> np.ndarray:
    """What each window reads along one axis, as PyTorch counts.

    Parameters
    ----------
    size, kernel, stride, dilation : int
    before, after : int
        Padding.
    ceil : bool
        Round the number of windows up, as ``ceil_mode`` does; the last one still starts inside the input or the padding
        before it.

    Returns
    -------
    ndarray of int, shape (n_windows, kernel)
        Positions; `OUTSIDE` in the padding.

    Examples
    --------
    >>> sliding(4, kernel=3, stride=2, before=1).tolist()
    [[-1, 0, 1], [1, 2, 3]]
    """
    room = size + before + after - dilation * (kernel - 1) - 1
    count = (-(-room // stride) if ceil else room // stride) + 1
    if ceil and (count - 1) * stride >= size + before:
        count -= 1
    require(
        count > 0,
        f"a window of {dilation * (kernel - 1) + 1} does not fit into {size} positions with {before + after} of "
        "padding; give larger inputs",
    )
    places = np.arange(count)[:, None] * stride - before + np.arange(kernel) * dilation
    return np.where((places >= 0) & (places < size), places, OUTSIDE)


def adaptive(size: int, count: int) -> np.ndarray:
    """What each of ``count`` windows reads along one axis in PyTorch's adaptive pooling, shape (count, longest).

    Examples
    --------
    >>> adaptive(5, 2).tolist()
    [[0, 1, 2], [2, 3, 4]]
    """
    number = np.arange(count)
    start, end = number * size // count, -(-(number + 1) * size // count)
    places = start[:, None] + np.arange((end - start).max())
    return np.where(places < end[:, None], places, OUTSIDE)


def taps(shape: Sequence[int], axes: Sequence[np.ndarray]) -> Taps:
    """Join the windows of all axes.

    Parameters
    ----------
    shape : sequence of int
        Of the input, spatial axes only.
    axes : sequence of ndarray, each of shape (n_windows, kernel)

    Examples
    --------
    >>> found = taps((2, 3), [sliding(2, 2), sliding(3, 2)])
    >>> found.out.tolist(), found.into.tolist(), found.out_shape
    ([0, 0, 0, 0, 1, 1, 1, 1], [0, 1, 3, 4, 1, 2, 4, 5], (1, 2))
    """
    n = len(axes)
    out_shape = tuple(len(axis) for axis in axes)
    into, inside = np.zeros((1,) * (2 * n), np.int64), np.ones((1,) * (2 * n), bool)
    for i, (axis, size) in enumerate(zip(axes, shape, strict=True)):
        # Windows on axis i, taps on axis n + i.
        places = axis.reshape([axis.shape[0] if k == i else axis.shape[1] if k == n + i else 1 for k in range(2 * n)])
        into = into * size + places
        inside = inside & (places != OUTSIDE)
    reach = int(np.prod([axis.shape[1] for axis in axes]))
    out, tap = np.divmod(np.flatnonzero(inside.ravel()), reach)
    return Taps(out, into.ravel()[inside.ravel()], tap, out_shape)


def convolution(shape: Sequence[int], kernel: Sequence[int], axes: Sequence[np.ndarray], groups: int = 1) -> Taps:
    """Every pair of positions that a convolution connects, channels included.

    Parameters
    ----------
    shape : sequence of int
        Of the input: channels first.
    kernel : sequence of int
        Of the weights: channels out, channels in of a group, and the window's sizes.
    axes : sequence of ndarray
        The windows of each spatial axis.
    groups : int

    Returns
    -------
    Taps
        ``tap`` is the flat position of the weight; ``out_shape`` begins with the channels out.

    Examples
    --------
    >>> found = convolution((1, 3), (2, 1, 2), [sliding(3, 2)])
    >>> found.out.tolist(), found.into.tolist(), found.tap.tolist()
    ([0, 0, 1, 1, 2, 2, 3, 3], [0, 1, 1, 2, 0, 1, 1, 2], [0, 1, 0, 1, 2, 3, 2, 3])
    """
    n_out, n_in, *window = kernel
    require(
        len(shape) == len(window) + 1 and shape[0] == n_in * groups and n_out % groups == 0,
        f"a convolution with weights {tuple(kernel)} takes {n_in * groups} channels and {len(window)} axes, "
        f"but what arrives has the shape {tuple(shape)}",
    )
    found = taps(shape[1:], axes)
    # Axes: channel out, channel in of its group, tap.
    out, own = np.arange(n_out)[:, None, None], np.arange(n_in)[:, None]
    into = (out // (n_out // groups) * n_in + own) * int(np.prod(shape[1:])) + found.into
    weight = (out * n_in + own) * int(np.prod(window)) + found.tap
    place = np.broadcast_to(out * int(np.prod(found.out_shape)) + found.out, into.shape)
    return Taps(place.ravel(), into.ravel(), weight.ravel(), (n_out, *found.out_shape))
