"""Activation functions and their derivatives: the definition that every backend reproduces.

The codes are what the neuron tables and the files store, so the order of `ACTIVATIONS` never changes; new ones go last.
Those from ``selu`` on complete the set of neat-python 2.0, without the input scalings that it applies to some of them.
"""

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidValueError, UnknownNameError

FloatArray = NDArray[Any]
ActivationSpec = str | tuple[str, float]

# Klambauer et al. 2017, "Self-Normalizing Neural Networks".
SELU_SCALE = 1.0507009873554804934193349852946
SELU_ALPHA = 1.6732632423543772848170429916717
LELU_SLOPE = 0.005
LOG_FLOOR = 1e-7
EXP_LIMIT = 60.0
# exp(-z * z) is 0 in float64 beyond this; clipping there keeps the square of a huge float32 from overflowing.
GAUSS_LIMIT = 40.0


class Activation(NamedTuple):
    """One activation function.

    Attributes
    ----------
    name : str
    code : int
        What the neuron tables store.
    function : callable
        ``function(z, parameter) -> y``. `z` is a float array of any shape, `parameter` a number or an array that
        broadcasts against it (ignored where `default` is None). The result has the shape and dtype of `z`.
    derivative : callable
        ``derivative(z, y, parameter) -> dy/dz``. Where the function has a kink, it is PyTorch's choice if PyTorch has
        the function, and 0 otherwise.
    default : float or None
        The parameter when none is given; None if the activation takes none.
    from_output : bool
        True if `derivative` reads `y` alone, so that `z` need not be kept and may be None.

    Examples
    --------
    >>> tanh = ACTIVATIONS["tanh"]
    >>> y = tanh.function(np.array([0.0, 1.0]), 0.0)
    >>> tanh.derivative(None, y, 0.0).round(4).tolist()
    [1.0, 0.42]
    """

    name: str
    code: int
    function: Callable[[FloatArray, Any], FloatArray]
    derivative: Callable[[Any, FloatArray, Any], FloatArray]
    default: float | None
    from_output: bool


def _like(parameter: Any, array: FloatArray) -> FloatArray:
    """Give `parameter` the dtype of `array`: a float64 parameter must not turn float32 into float64."""
    return np.asarray(parameter, dtype=array.dtype)


def _where_one(condition: Any, array: FloatArray) -> FloatArray:
    return np.asarray(condition).astype(array.dtype)


def _sigmoid(z: FloatArray, _: Any = None) -> FloatArray:
    small = np.exp(-np.abs(z))  # at most 1, so nothing overflows
    return np.where(z >= 0, 1, small) / (1 + small)


def _normal_cdf(z: FloatArray) -> FloatArray:
    from scipy.special import ndtr  # 0.5 * (1 + erf(z / sqrt(2))) without cancellation; SciPy is slow to import

    return ndtr(z)


def _gelu_derivative(z: FloatArray, y: FloatArray, _: Any) -> FloatArray:
    near = np.clip(z, -GAUSS_LIMIT, GAUSS_LIMIT)
    return _normal_cdf(z) + near * np.exp(-0.5 * near * near) / math.sqrt(2 * math.pi)


def _silu_derivative(z: FloatArray, y: FloatArray, _: Any) -> FloatArray:
    s = _sigmoid(z)
    return s * (1 + z * (1 - s))


def _gauss(z: FloatArray, _: Any = None) -> FloatArray:
    near = np.clip(z, -GAUSS_LIMIT, GAUSS_LIMIT)
    return np.exp(-near * near)


def _clipped_relu(z: FloatArray, bound: Any) -> FloatArray:
    return np.minimum(np.maximum(z, 0), _like(bound, z))


def _clipped_relu_derivative(z: Any, y: FloatArray, bound: Any) -> FloatArray:
    return _where_one((y > 0) & (y < _like(bound, y)), y)


def _leaky(z: FloatArray, slope: Any) -> FloatArray:
    return np.where(z > 0, z, _like(slope, z) * z)


def _leaky_derivative(z: Any, y: FloatArray, slope: Any) -> FloatArray:
    return np.where(y > 0, _like(1, y), _like(slope, y))


def _elu(z: FloatArray, alpha: Any) -> FloatArray:
    return np.where(z > 0, z, _like(alpha, z) * np.expm1(np.minimum(z, 0)))


def _elu_derivative(z: Any, y: FloatArray, alpha: Any) -> FloatArray:
    return np.where(y > 0, _like(1, y), y + _like(alpha, y))


def _inverse(z: FloatArray, _: Any = None) -> FloatArray:
    return np.divide(1, z, out=np.zeros_like(z), where=z != 0)


def _log_derivative(z: FloatArray, y: FloatArray, _: Any) -> FloatArray:
    return np.divide(1, z, out=np.zeros_like(z), where=z > LOG_FLOOR)


def _exp_derivative(z: Any, y: FloatArray, _: Any) -> FloatArray:
    # Two implementations of exp may differ in the last bit, hence the margin.
    margin = 1 + 4 * float(np.finfo(y.dtype).eps)
    high = math.exp(EXP_LIMIT) / margin
    return np.where((y > 1 / high) & (y < high), y, _like(0, y))


def _hat_derivative(z: FloatArray, y: FloatArray, _: Any) -> FloatArray:
    return np.where(np.abs(z) < 1, -np.sign(z), _like(0, z))


# name, function(z, parameter), derivative(z, y, parameter), default parameter, from_output
_TABLE: tuple[tuple[str, Callable[..., FloatArray], Callable[..., FloatArray], float | None, bool], ...] = (
    ("identity", lambda z, p: z + 0, lambda z, y, p: np.ones_like(y), None, True),
    ("relu", lambda z, p: np.maximum(z, 0), lambda z, y, p: _where_one(y > 0, y), None, True),
    ("leaky_relu", _leaky, _leaky_derivative, 0.01, True),
    ("clipped_relu", _clipped_relu, _clipped_relu_derivative, 6.0, True),
    ("elu", _elu, _elu_derivative, 1.0, True),
    ("gelu", lambda z, p: z * _normal_cdf(z), _gelu_derivative, None, False),
    ("silu", lambda z, p: z * _sigmoid(z), _silu_derivative, None, False),
    ("sigmoid", _sigmoid, lambda z, y, p: y * (1 - y), None, True),
    ("tanh", lambda z, p: np.tanh(z), lambda z, y, p: 1 - y * y, None, True),
    (
        "softplus",
        lambda z, p: np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))),
        lambda z, y, p: _sigmoid(z),
        None,
        False,
    ),
    ("sin", lambda z, p: np.sin(z), lambda z, y, p: np.cos(z), None, False),
    ("gauss", _gauss, lambda z, y, p: -2 * z * y, None, False),
    ("step", lambda z, p: _where_one(z > 0, z), lambda z, y, p: np.zeros_like(z), None, False),
    ("abs", lambda z, p: np.abs(z), lambda z, y, p: np.sign(z), None, False),
    ("square", lambda z, p: z * z, lambda z, y, p: 2 * z, None, False),
    ("clamped", lambda z, p: np.clip(z, -1, 1), lambda z, y, p: _where_one(np.abs(y) < 1, y), None, True),
    ("hat", lambda z, p: np.maximum(1 - np.abs(z), 0), _hat_derivative, None, False),
    (
        "selu",
        lambda z, p: SELU_SCALE * _elu(z, SELU_ALPHA),
        lambda z, y, p: np.where(y > 0, _like(SELU_SCALE, y), y + SELU_SCALE * SELU_ALPHA),
        None,
        True,
    ),
    (
        "lelu",
        lambda z, p: _leaky(z, LELU_SLOPE),
        lambda z, y, p: _leaky_derivative(z, y, LELU_SLOPE),
        None,
        True,
    ),
    ("inv", _inverse, lambda z, y, p: -y * y, None, False),
    ("log", lambda z, p: np.log(np.maximum(z, LOG_FLOOR)), _log_derivative, None, False),
    ("exp", lambda z, p: np.exp(np.clip(z, -EXP_LIMIT, EXP_LIMIT)), _exp_derivative, None, True),
    ("cube", lambda z, p: z * z * z, lambda z, y, p: 3 * z * z, None, False),
)

ACTIVATIONS: dict[str, Activation] = {
    name: Activation(name, code, function, derivative, default, from_output)
    for code, (name, function, derivative, default, from_output) in enumerate(_TABLE)
}
_BY_CODE = tuple(ACTIVATIONS.values())
# What a parameter has to be. The derivatives tell the two sides of the kink apart by the sign of the output.
_LIMITS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "leaky_relu": ("slope of at least 0", lambda p: p >= 0),
    "clipped_relu": ("upper bound above 0", lambda p: p > 0),
    "elu": ("alpha above 0", lambda p: p > 0),
}


def parse(spec: ActivationSpec) -> tuple[int, float]:
    """Turn what a user writes into the code and the parameter that the tables store.

    Parameters
    ----------
    spec : str or (str, float)
        A name, or a name and its parameter. A name that takes a parameter may stand alone and gets its default.

    Returns
    -------
    code : int
    parameter : float
        0.0 for an activation that takes none.

    Raises
    ------
    UnknownNameError
        There is no activation of that name; the message lists those that exist.
    InvalidValueError
        `spec` is neither a name nor a pair, the activation takes no parameter, or the parameter is not a number that
        this activation can use.

    Examples
    --------
    >>> parse("relu"), parse("leaky_relu"), parse(("clipped_relu", 32))
    ((1, 0.0), (2, 0.01), (3, 32.0))
    """
    name: Any = spec
    given: Any = None
    if isinstance(spec, tuple | list):
        if len(spec) != 2:
            raise InvalidValueError(f"activation {spec!r}: write a name, or a pair (name, parameter)")
        name, given = spec
    if not isinstance(name, str):
        raise InvalidValueError(f"activation {spec!r}: write a name such as 'relu', or a pair ('leaky_relu', 0.01)")
    activation = ACTIVATIONS.get(name)
    if activation is None:
        raise UnknownNameError(f"unknown activation {str(name)!r}; known are {', '.join(ACTIVATIONS)}")
    if name is spec:
        return activation.code, 0.0 if activation.default is None else activation.default
    if activation.default is None:
        raise InvalidValueError(
            f"activation {name!r} takes no parameter, but {given!r} was given; write {name!r} alone"
        )
    meaning, allowed = _LIMITS[name]
    # numpy.bool_ is no Real, but bool is.
    if isinstance(given, bool) or not isinstance(given, Real):
        raise InvalidValueError(f"activation {name!r} takes a number as its parameter, not {given!r}")
    parameter = float(given)
    if not (math.isfinite(parameter) and allowed(parameter)):
        raise InvalidValueError(f"activation {name!r} needs a finite {meaning}, not {given!r}")
    return activation.code, parameter


def spec(code: int, parameter: float) -> ActivationSpec:
    """Turn a code and a parameter back into what a user writes: the inverse of `parse`.

    A float32 `parameter` (a NumPy scalar, as a table holds it) is read with the digits that float32 has.

    Examples
    --------
    >>> spec(1, 0.0), spec(2, 0.01)
    ('relu', ('leaky_relu', 0.01))
    """
    activation = by_code(code)
    # By way of its digits, a 0.01 that was stored as float32 comes back as 0.01 and not as 0.009999999776.
    return activation.name if activation.default is None else (activation.name, float(str(parameter)))


def by_code(code: int) -> Activation:
    """Return the activation with this code.

    Raises
    ------
    InvalidValueError
        No activation has that code.

    Examples
    --------
    >>> by_code(8).name
    'tanh'
    """
    if not 0 <= code < len(_BY_CODE):
        raise InvalidValueError(f"no activation has the code {code}; codes run from 0 to {len(_BY_CODE) - 1}")
    return _BY_CODE[code]
