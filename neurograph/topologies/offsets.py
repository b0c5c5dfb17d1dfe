"""Offsets: the positions that a receptive field reads, relative to the place where it stands.

Every maker returns an int64 array of shape (k, n): one row an offset, one column a dimension, (dy, dx) for images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import checks
from ..checks import require
from ..errors import InvalidValueError

__all__ = ["box", "dilated", "disk", "fovea", "offset_array", "ring", "subset"]


def box(*sizes: int) -> np.ndarray:
    """A rectangle around the place: ``box(3, 5)`` is three high and five wide.

    An even size reaches one further down or right than up or left, as ``torch.nn.Conv2d(padding="same")`` lays it.

    Parameters
    ----------
    *sizes : int
        One for each dimension: ``box(3)`` for sequences, ``box(3, 3)`` for images, ``box(3, 3, 3)`` for volumes.

    Returns
    -------
    ndarray of int64, shape (product of sizes, number of sizes)

    Raises
    ------
    InvalidValueError
        No size, or one that is no whole number above 0.

    Examples
    --------
    >>> box(2, 3).tolist()
    [[0, -1], [0, 0], [0, 1], [1, -1], [1, 0], [1, 1]]
    """
    require(sizes, "box takes a size for each dimension, such as box(3, 3)")
    for size in sizes:
        checks.whole("a size of the box", size, 1)
    axes = [np.arange(size) - (size - 1) // 2 for size in sizes]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(sizes))


def disk(radius: float) -> np.ndarray:
    """All positions at most ``radius`` pixels away.

    Parameters
    ----------
    radius : float
        In pixels, at least 0; need not be whole.

    Returns
    -------
    ndarray of int64, shape (k, 2)

    Raises
    ------
    InvalidValueError
        The radius is negative or no finite number.

    Examples
    --------
    >>> disk(1).tolist(), len(disk(2)), len(disk(2.3))
    ([[-1, 0], [0, -1], [0, 0], [0, 1], [1, 0]], 13, 21)
    """
    return ring(0, radius)


def ring(inner: float, outer: float) -> np.ndarray:
    """All positions from ``inner`` to ``outer`` pixels away, both included.

    Parameters
    ----------
    inner, outer : float
        Radii in pixels, 0 <= inner <= outer.

    Returns
    -------
    ndarray of int64, shape (k, 2)

    Raises
    ------
    InvalidValueError
        The radii are in the wrong order, negative or not finite, or no pixel lies between them.

    Examples
    --------
    >>> ring(1, 1).tolist()
    [[-1, 0], [0, -1], [0, 1], [1, 0]]
    """
    require(
        _is_number(inner) and _is_number(outer) and 0 <= inner <= outer < 2**15,
        f"radii must be numbers of pixels with 0 <= inner <= outer, not {inner!r} and {outer!r}",
    )
    reach = int(np.floor(outer))
    square = box(2 * reach + 1, 2 * reach + 1)
    # A radius that was computed, such as sqrt(2), counts what lies on it.
    distance = np.hypot(square[:, 0], square[:, 1])
    inside = square[(distance >= inner - 1e-9) & (distance <= outer + 1e-9)]
    require(len(inside), f"no pixel is between {inner} and {outer} pixels away; widen the ring")
    return inside


def dilated(offsets: Any, factor: int | tuple[int, ...]) -> np.ndarray:
    """Offsets pulled apart: every one times ``factor``.

    Parameters
    ----------
    offsets : array of int, shape (k, n)
    factor : int or tuple of n int

    Returns
    -------
    ndarray of int64, shape (k, n)

    Raises
    ------
    InvalidValueError
        A factor that is no whole number above 0, or offsets that are none.

    Examples
    --------
    >>> dilated(box(1, 3), 2).tolist()
    [[0, -2], [0, 0], [0, 2]]
    """
    array = offset_array(offsets)
    return array * per_dimension(factor, array.shape[1], "the dilation", 1)


def subset(offsets: Any, count: int, seed: int | np.random.Generator = 0) -> np.ndarray:
    """Some of the offsets, drawn without replacement: an irregular field.

    Parameters
    ----------
    offsets : array of int, shape (k, n)
    count : int
        How many, at most k.
    seed : int or numpy.random.Generator

    Returns
    -------
    ndarray of int64, shape (count, n)

    Raises
    ------
    InvalidValueError
        There are not as many.

    Examples
    --------
    >>> shapes = [subset(box(5, 5), 9, seed=channel) for channel in range(8)]      # eight different fields
    >>> shapes[0].shape
    (9, 2)
    """
    array = offset_array(offsets)
    checks.whole("count", count, 1)
    require(count <= len(array), f"count is {count}, but there are only {len(array)} offsets to draw from")
    return array[np.sort(np.random.default_rng(seed).choice(len(array), count, replace=False))]


def fovea(centre: tuple[float, float], radius: float = 1.0, growth: float = 0.1) -> Callable[[int, int], np.ndarray]:
    """Disks that grow with the distance from a centre of attention, as receptive fields in the retina do.

    At a place d pixels away from the centre the field is ``disk(radius + growth * d)``. For a source of that density
    see Curcio & Allen 1990, "Topography of ganglion cells in human retina".

    Parameters
    ----------
    centre : (float, float)
        Row and column of the centre of attention.
    radius : float
        Of the disk at the centre, in pixels.
    growth : float
        Pixels of radius for each pixel of distance, at least 0.

    Returns
    -------
    callable
        ``(y, x) -> offsets``, for `fields`.

    Raises
    ------
    InvalidValueError
        A number that is none, or is negative.

    Examples
    --------
    >>> field = fovea(centre=(13.5, 13.5), radius=1, growth=0.2)
    >>> len(field(13, 13)), len(field(0, 0))
    (5, 69)
    """
    require(
        isinstance(centre, tuple | list | np.ndarray) and len(centre) == 2 and all(map(_is_number, centre)),
        f"centre must be a pair (y, x), not {centre!r}",
    )
    require(_is_number(radius) and radius >= 0, f"radius must be a number of pixels, at least 0, not {radius!r}")
    require(_is_number(growth) and growth >= 0, f"growth must be a number, at least 0, not {growth!r}")
    row, column = (float(value) for value in centre)
    known: dict[float, np.ndarray] = {}

    def field(y: int, x: int) -> np.ndarray:
        # Places at the same distance share a field; a place's own arithmetic is one look-up then.
        squared = (y - row) ** 2 + (x - column) ** 2
        if squared not in known:
            known[squared] = disk(radius + growth * np.sqrt(squared))
        return known[squared]

    return field


def offset_array(offsets: Any, what: str = "offsets") -> np.ndarray:
    """Offsets as a distinct int64 array of shape (k, n) in ascending order; one-dimensional ones get a column.

    Raises
    ------
    InvalidValueError
        They are no whole numbers, none at all, or an offset occurs twice.

    Examples
    --------
    >>> offset_array([1, 0, -1]).tolist()
    [[-1], [0], [1]]
    """
    array = as_rows(offsets, what)
    require(len(array), f"{what} is empty; a field reads at least one position")
    distinct, count = np.unique(array, axis=0, return_counts=True)
    require(
        len(distinct) == len(array),
        f"{what} holds {tuple(distinct[count > 1][:1].ravel().tolist())} more than once; leave out the duplicates",
    )
    return distinct


def as_rows(offsets: Any, what: str) -> np.ndarray:
    """Offsets as an int64 array of shape (k, n), however many and in whatever order."""
    try:
        array = np.asarray(offsets)
    except ValueError as error:
        raise InvalidValueError(
            f"{what} is not a regular array ({error}); give a row (dy, dx) for each position"
        ) from None
    if array.ndim == 1 and array.size:
        array = array[:, None]
    require(
        array.ndim == 2 and array.shape[1] > 0 and array.dtype.kind in "iuf",
        f"{what} must be an array of whole numbers of shape (k, 2), one row (dy, dx) for each position, not an array "
        f"of {array.dtype} of shape {array.shape}",
    )
    whole = array.astype(np.int64) if np.isfinite(array).all() else np.zeros_like(array)
    require((whole == array).all(), f"{what} must be whole numbers of pixels, not {array[whole != array][:1]}")
    require(not whole.size or np.abs(whole).max() < 2**31, f"{what} reach further than any image")
    return whole


def per_dimension(value: Any, n_dims: int, what: str, lowest: int) -> np.ndarray:
    """One whole number for each dimension, from one for all or a tuple."""
    values = list(value) if isinstance(value, tuple | list | np.ndarray) else [value] * n_dims
    require(len(values) == n_dims, f"{what} is {value!r}; give one number, or one for each of {n_dims} dimensions")
    for one in values:
        checks.whole(what, one, lowest)
    return np.array(values, np.int64)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and bool(np.isfinite(value))
