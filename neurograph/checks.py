"""Arguments at the border: converted where nothing is lost, refused with the cure where something would be."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np

from .errors import InvalidValueError
from .functions.arrays import module_of, to_host

SMALL = 8192  # entries of an array whose sum of squares BLAS takes in one thread


def require(condition: Any, message: str) -> None:
    """Raise `InvalidValueError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise InvalidValueError(message)


def reals(value: Any, dtype: np.dtype, what: str, cure: str = "give rows of equal length") -> np.ndarray:
    """An array of real numbers as ``dtype``; text, objects and complex numbers are refused."""
    return as_reals(regular(value, what, cure), dtype, what)


def as_reals(array: Any, dtype: np.dtype, what: str) -> Any:
    """An array as ``dtype``, where it is; see `reals`."""
    require(array.dtype.kind in "fiub", f"{what} must be real numbers, not {array.dtype}; convert it first")
    with np.errstate(over="ignore"):  # too large for the dtype: infinite, and found by the caller's finiteness check
        converted = array.astype(dtype, copy=False)
    if array.dtype.kind in "iu" and array.dtype.itemsize * 8 > np.finfo(dtype).nmant:
        lost = converted.astype(array.dtype) != array
        require(
            not lost.any(),
            f"{what} holds the integer {array[lost][:1]}, which {dtype} cannot represent; scale it, or use float64",
        )
    return converted


def regular(value: Any, what: str, cure: str = "give rows of equal length") -> np.ndarray:
    """Anything array-like as an array of NumPy; ragged rows are refused."""
    try:
        return np.asarray(to_host(value))
    except ValueError as error:
        raise InvalidValueError(f"{what} is not a regular array ({error}); {cure}") from None


def finite(array: np.ndarray, what: str) -> np.ndarray:
    """Refuse NaN and infinity, named by their place."""
    # A finite sum proves every entry finite, and only otherwise is it worth looking where. So does the sum of squares,
    # which costs a small array a third of the time; BLAS would bring in threads for a large one.
    if array.size <= SMALL and array.flags.c_contiguous and array.dtype.kind == "f":
        total = np.vdot(array, array)
    else:
        with np.errstate(all="ignore"):
            total = array.sum()
    if not isfinite(total):
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            axes = ("row", "column") if array.ndim <= 2 else ("row", "step", "column")
            place = ", ".join(f"{axis} {i}" for axis, i in zip(axes, bad[0], strict=False)) or "the value itself"
            raise InvalidValueError(
                f"{what} is {array[tuple(bad[0])]} at {place} ({len(bad)} such entries); replace or leave out what is "
                f"not a finite number of {array.dtype}"
            )
    return array


def column(value: Any, count: int, dtype: np.dtype, what: str) -> np.ndarray | float:
    """One finite number for all, or one for each of ``count``."""
    array = finite(reals(value, dtype, what), what)
    require(array.ndim == 0 or array.shape == (count,), f"{what} has shape {array.shape}; give one value or {count}")
    return array


def integers(value: Any, what: str) -> np.ndarray:
    """A one-dimensional int64 array; whole floats are converted, fractions refused."""
    array = regular(value, what)
    if array.size == 0:
        array = array.astype(np.int64)
    # Every edit passes here, so messages are formatted only when they are needed.
    if array.dtype.kind not in "iuf":
        raise InvalidValueError(f"{what} must be integers, not {array.dtype}")
    if array.ndim > 1:
        raise InvalidValueError(f"{what} must be one-dimensional, not of shape {array.shape}")
    array = np.atleast_1d(array)
    if array.dtype.kind == "f":
        whole = np.isfinite(array) & (array == np.round(array))
        require(bool(whole.all()), f"{what} must be integers, not {array[~whole][:1]}")
    return array.astype(np.int64, copy=False)


def time_constants(value: Any, count: int, dtype: np.dtype) -> np.ndarray | float:
    """One time constant for all, or one for each of ``count``, in steps."""
    taus = column(value, count, dtype, "time_constant")
    shortest = np.min(taus, initial=1.0)
    require(shortest >= 1, f"time_constant is {shortest}; it counts steps, at least 1, which forgets at once")
    return taus


def labels(value: Any, count: int, what: str) -> np.ndarray:
    """One label (an integer or a string) for each of ``count``."""
    array = regular(value, what)
    require(
        array.shape == (count,) and (array.dtype.kind in "iuUSb" or count == 0),
        f"{what} must be {count} integers or strings, not an array of {array.dtype} of shape {array.shape}",
    )
    return array


def flags(value: Any, count: int, what: str) -> np.ndarray:
    """True or False, one for all or one for each of ``count``."""
    values = regular(value, what)
    require(
        values.dtype == bool and values.shape in ((), (count,)),
        f"{what} must be True or False, one for all or one for each of {count}, not {value!r}",
    )
    return values


def fraction(name: str, value: Any) -> None:
    """Refuse a value that is not a number from 0 to 1."""
    if not isinstance(value, int | float | np.number) or not 0 <= value <= 1:
        raise InvalidValueError(f"{name} is {value!r}; give a number from 0 to 1.")


def whole(name: str, value: Any, lowest: int) -> None:
    """Refuse a value that is not a whole number of at least ``lowest``."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < lowest:
        raise InvalidValueError(f"{name} is {value!r}; give a whole number, {lowest} or more.")


def count_of(shape: Any, what: str) -> tuple[int, tuple[int, ...] | None]:
    """A count, or a shape whose product is the count: ``(count, shape or None)``."""
    sizes = shape if isinstance(shape, tuple | list) else (shape,)
    for size in sizes:
        require(
            isinstance(size, int | np.integer) and not isinstance(size, bool) and size >= 0,
            f"{what} must be a count or a shape of non-negative integers, not {shape!r}",
        )
    count = int(np.prod([int(size) for size in sizes], dtype=np.int64))
    return count, tuple(int(size) for size in sizes) if isinstance(shape, tuple | list) else None


def inputs(X: Any, n_inputs: int, dtype: np.dtype, remembers: bool = False) -> np.ndarray:
    """X as a finite, C-contiguous array (batch, n_inputs), or (batch, time, n_inputs) if the network ``remembers``."""
    as_wanted = type(X) is np.ndarray and X.dtype == dtype
    if not (as_wanted and X.ndim == 2 + remembers and X.shape[-1] == n_inputs and X.size):
        X = reals(X, dtype, "X", "pad the sequences to one length and say by `mask` which steps count")
        require_shape(X, n_inputs, remembers)
    finite(X, "X")
    # Numba types read-only arrays apart, which would compile every kernel again.
    return X if X.flags.carray else np.array(X, order="C")


def device_inputs(X: Any, n_inputs: int, dtype: np.dtype, remembers: bool = False) -> Any:
    """The same for an array on a device, which stays there."""
    X = as_reals(X, dtype, "X")
    require_shape(X, n_inputs, remembers)
    if not isfinite(float(X.sum())):
        finite(X.get(), "X")  # which knows the place
    return module_of(X).ascontiguousarray(X)


def require_shape(X: Any, n_inputs: int, remembers: bool) -> None:
    """Refuse X that is not (batch, n_inputs), or (batch, time, n_inputs) if the network ``remembers``."""
    if X.ndim != 2 + remembers:
        shape = f"(batch, time, {n_inputs})" if remembers else f"(batch, {n_inputs})"
        hint = ""
        if remembers and X.ndim == 2:
            hint = ", for the network has delays or time constants; X[:, None] is one step, `settle` holds X constant"
        elif not remembers and X.ndim == 1:
            hint = "; one sample is X[None]"
        elif not remembers and X.ndim == 3:
            hint = ", for the network has no delays; each step is a sample of its own, X.reshape(-1, X.shape[-1])"
        raise InvalidValueError(f"X has shape {X.shape}; it must be {shape}{hint}")
    require(X.shape[0] > 0, f"X is an empty batch of shape {X.shape}; give at least one sample")
    require(X.shape[-1] == n_inputs, f"X has {X.shape[-1]} columns, but the network has {n_inputs} inputs")
    require(X.shape[1] > 0 or X.ndim == 2, f"X has no time steps (shape {X.shape}); give at least one")
