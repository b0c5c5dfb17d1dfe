"""First values of weights, drawn by the fan-in that the graph really has.

In a sparse, irregular network every connection has a fan-in of its own (that of its target) and a fan-out of its own
(that of its source), so the spread of the draw differs from connection to connection. In a dense layer these are the
layer's numbers, and the names mean what they mean in PyTorch.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..errors import InvalidValueError, UnknownNameError

AT_A_TIME = 2**16  # values whose intermediate results stay in cache

Initializer = Callable[[NDArray[Any], NDArray[Any], np.random.Generator], ArrayLike]
WeightSpec = str | float | ArrayLike | Initializer


def _normal(rng: np.random.Generator, variance: Any) -> Any:
    if isinstance(variance, float):
        return math.sqrt(variance) * rng.standard_normal()
    values = np.sqrt(variance, out=variance)
    values *= rng.standard_normal(values.size)
    return values


def _uniform(rng: np.random.Generator, square: Any) -> Any:
    """Draw uniformly between -sqrt(square) and +sqrt(square)."""
    if isinstance(square, float):
        return math.sqrt(square) * (rng.random() * 2 - 1)
    values = np.sqrt(square, out=square)
    draw = rng.random(values.size)
    draw *= 2
    draw -= 1
    values *= draw
    return values


# Of fans that are arrays they make an array, of two numbers a number.
INITIALIZERS: dict[str, Callable[[Any, Any, np.random.Generator], Any]] = {
    # He et al. 2015, "Delving Deep into Rectifiers"
    "he": lambda fan_in, fan_out, rng: _normal(rng, 2 / fan_in),
    "he_uniform": lambda fan_in, fan_out, rng: _uniform(rng, 6 / fan_in),
    # Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks"
    "xavier": lambda fan_in, fan_out, rng: _normal(rng, 2 / (fan_in + fan_out)),
    "xavier_uniform": lambda fan_in, fan_out, rng: _uniform(rng, 6 / (fan_in + fan_out)),
    # LeCun et al. 1998, "Efficient BackProp"
    "lecun": lambda fan_in, fan_out, rng: _normal(rng, 1 / fan_in),
    # the default of torch.nn.Linear
    "uniform": lambda fan_in, fan_out, rng: _uniform(rng, 1 / fan_in),
    "normal": lambda fan_in, fan_out, rng: _normal(rng, fan_in / fan_in),
    "zeros": lambda fan_in, fan_out, rng: fan_in * 0.0,
    "ones": lambda fan_in, fan_out, rng: fan_in / fan_in,
}


def initialize(
    spec: WeightSpec,
    fan_in: ArrayLike,
    fan_out: ArrayLike,
    rng: np.random.Generator,
    dtype: DTypeLike = np.float32,
) -> NDArray[Any]:
    """Return one value for every connection.

    The draws are made in float64 and then rounded, so one seed gives the same network in both precisions.

    Parameters
    ----------
    spec : str, number, array or callable
        The name of an initializer; one number for all; one number each; or a function
        ``(fan_in, fan_out, rng) -> array`` of one number each.
    fan_in, fan_out : (n,) integer arrays
        For each connection the fan-in of its target and the fan-out of its source, itself included.
    rng : numpy.random.Generator
        Where random numbers come from.
    dtype : dtype, optional
        float32 or float64.

    Returns
    -------
    (n,) array of `dtype`
        A new array, all finite.

    Raises
    ------
    UnknownNameError
        There is no initializer of that name; the message lists those that exist.
    InvalidValueError
        The values are not real numbers, not finite in `dtype`, or not as many as connections.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> initialize("he", [2, 2, 8], [1, 1, 1], rng).dtype
    dtype('float32')
    >>> initialize(0.5, [2, 2], [1, 1], rng).tolist()
    [0.5, 0.5]
    """
    fan_in, fan_out = np.asarray(fan_in), np.asarray(fan_out)
    if fan_in.ndim != 1 or fan_in.shape != fan_out.shape:
        raise InvalidValueError(
            f"fan_in and fan_out need one entry for each connection, but have shapes {fan_in.shape} and {fan_out.shape}"
        )
    if isinstance(spec, str):
        if spec not in INITIALIZERS:
            raise UnknownNameError(f"unknown initializer {str(spec)!r}; known are {', '.join(INITIALIZERS)}")
        values = np.empty(fan_in.size, dtype)
        for begin in range(0, fan_in.size, AT_A_TIME):  # the draws are those of one large one
            part = slice(begin, begin + AT_A_TIME)
            values[part] = INITIALIZERS[spec](fan_in[part], fan_out[part], rng)
        return values
    if callable(spec):
        origin = f"the weights from {getattr(spec, '__name__', spec)!r}"
        return _convert(spec(fan_in, fan_out, rng), fan_in.size, dtype, origin)
    return _convert(spec, fan_in.size, dtype, "weight")


def initialize_one(
    spec: WeightSpec, fan_in: int, fan_out: int, rng: np.random.Generator, dtype: DTypeLike = np.float32
) -> float:
    """Return the value for one connection: what `initialize` draws first, without the cost of arrays.

    Parameters, errors and result are those of `initialize`, with numbers for arrays.

    Examples
    --------
    >>> initialize_one("he", 2, 1, np.random.default_rng(0)) == np.random.default_rng(0).standard_normal()
    True
    """
    if isinstance(spec, str) and spec in INITIALIZERS:
        return INITIALIZERS[spec](fan_in, fan_out, rng)
    return initialize(spec, np.array([fan_in]), np.array([fan_out]), rng, dtype)[0]


def _convert(values: ArrayLike, count: int, dtype: DTypeLike, origin: str) -> NDArray[Any]:
    try:
        given = np.asarray(values)
    except ValueError as error:
        raise InvalidValueError(f"{origin}: not an array of numbers ({error})") from None
    if given.dtype.kind not in "fiub":
        raise InvalidValueError(
            f"{origin}: real numbers, the name of an initializer or a function are needed, not {_shorten(values)} "
            f"(dtype {given.dtype})"
        )
    if given.ndim != 0 and given.shape != (count,):
        raise InvalidValueError(f"{origin}: {count} connections need shape ({count},), not {given.shape}")
    with np.errstate(over="ignore"):  # looked for below
        result = np.full(count, given, dtype=dtype) if given.ndim == 0 else given.astype(dtype)
    finite = np.isfinite(result)
    if not finite.all():
        row = int(np.argmin(finite))
        value = float(given) if given.ndim == 0 else float(given[row])
        reason = f"is too large for {result.dtype}" if math.isfinite(value) else "is not a finite number"
        raise InvalidValueError(f"{origin}: entry {row} is {value}, which {reason}")
    return result


def _shorten(values: object) -> str:
    text = repr(values)
    return text if len(text) <= 60 else text[:57] + "..."
