"""Losses and their gradients, averaged as PyTorch averages them.

A loss is a function ``(outputs, Y) -> (value, gradient)``: `outputs` is (batch, n_outputs), `value` a float and
`gradient` the derivative of the value by each output, in the shape and dtype of the outputs. The arithmetic runs in
float64 whatever the dtype of the outputs, so the value of a large batch keeps its digits.
"""

import abc
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidValueError, UnknownNameError
from .arrays import on_device, to_host

FloatArray = NDArray[Any]
Loss = Callable[[FloatArray, ArrayLike], tuple[float, FloatArray]]


def _as_numbers(values: ArrayLike, name: str) -> NDArray[Any]:
    return _require_numbers(to_host(values), name)


def _require_numbers(values: Any, name: str) -> Any:
    try:
        array = values if on_device(values) else np.asarray(values)
    except ValueError as error:
        raise InvalidValueError(f"{name} is not an array of numbers: {error}") from None
    if array.dtype.kind not in "fiub":
        raise InvalidValueError(f"{name} has to hold real numbers, not dtype {array.dtype}")
    return array


def _as_outputs(outputs: ArrayLike) -> FloatArray:
    if type(outputs) is np.ndarray and outputs.dtype.kind == "f" and outputs.ndim == 2 and outputs.size:
        return outputs
    outputs = _as_numbers(outputs, "outputs")
    if outputs.dtype.kind != "f":
        outputs = outputs.astype(np.float64)
    if outputs.ndim != 2:
        raise InvalidValueError(f"outputs have to be (batch, n_outputs), not {outputs.shape}")
    if outputs.shape[0] == 0:
        raise InvalidValueError("the batch is empty: give at least one sample")
    if outputs.shape[1] == 0:
        raise InvalidValueError("there are no outputs to compare with Y: add or mark output neurons")
    return outputs


def _targets(Y: ArrayLike, shape: tuple[int, int]) -> FloatArray:
    """Return Y as a float64 array of the outputs' shape."""
    targets = _as_numbers(Y, "Y")
    if targets.shape != shape:
        # One column may be left out. Everything else is refused, as broadcasting would silently compare all with all.
        if shape[1] != 1 or targets.shape != shape[:1]:
            raise InvalidValueError(f"Y has shape {targets.shape}, but the outputs have {shape}: they have to be equal")
        targets = targets[:, None]
    return targets.astype(np.float64)


def _probabilities(Y: ArrayLike, shape: tuple[int, int]) -> FloatArray:
    targets = _targets(Y, shape)
    if targets.min() < 0 or targets.max() > 1 + 1e-6:  # a float32 softmax exceeds 1 by rounding
        row, column = np.argwhere((targets < 0) | (targets > 1 + 1e-6))[0]
        value = targets[row, column]
        raise InvalidValueError(f"Y is {value} at row {row}, column {column}: probabilities lie between 0 and 1")
    return targets


def _labels(labels: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.intp]:
    """Return class labels as indices that are safe to use."""
    batch, n_outputs = shape
    if labels.shape != (batch,):
        raise InvalidValueError(
            f"Y has shape {labels.shape}, but outputs of shape {shape} need integer labels of shape ({batch},) "
            f"or probabilities of shape {shape}"
        )
    if labels.dtype == np.int64:  # a negative number without its sign is too large: one look instead of two
        known = np.maximum.reduce(labels.view(np.uint64)) < n_outputs
    else:
        known = labels.min() >= 0 and labels.max() < n_outputs
    if not known:  # so that NaN is caught too
        row = int(np.argmin((labels >= 0) & (labels < n_outputs)))
        raise InvalidValueError(
            f"label {labels[row]} at row {row} is out of range: {n_outputs} outputs allow labels 0 to {n_outputs - 1}"
        )
    indices = labels.astype(np.intp, copy=False)
    if labels.dtype.kind == "f" and not (whole := labels == indices).all():
        row = int(np.argmin(whole))
        raise InvalidValueError(f"label {labels[row]} at row {row} is not a whole number; labels are class indices")
    return indices


def _classes(Y: ArrayLike, shape: tuple[int, int]) -> NDArray[Any]:
    """Return labels as an integer array (batch,), probabilities as a float64 array (batch, n_outputs)."""
    classes = _as_numbers(Y, "Y")
    return _probabilities(classes, shape) if classes.shape == shape else _labels(classes, shape)


def _refuse_non_finite(Y: ArrayLike) -> None:
    targets = np.asarray(Y)
    places = np.argwhere(~np.isfinite(targets.reshape(len(targets), -1)))
    if len(places):
        row, column = places[0]
        value = targets.reshape(len(targets), -1)[row, column]
        raise InvalidValueError(f"Y is {value} at row {row}, column {column}: every target has to be a finite number")


def _loss(convert: Callable[[ArrayLike, tuple[int, int]], NDArray[Any]]) -> Callable[[Callable[..., Any]], Loss]:
    """Make a loss of a formula over float64 arrays: check and convert what comes in, round what goes out."""

    def decorate(formula: Callable[..., Any]) -> Loss:
        @functools.wraps(formula)
        def loss(outputs: FloatArray, Y: ArrayLike) -> tuple[float, FloatArray]:
            outputs = _as_outputs(outputs)
            targets = convert(Y, outputs.shape)
            # Outputs that overflowed give a value of inf or NaN, which the trainer reports; a warning adds nothing.
            with np.errstate(over="ignore", invalid="ignore"):
                value, gradient = formula(outputs, targets)
                gradient = gradient.astype(outputs.dtype, order="C")
            value = float(value)
            if not math.isfinite(value):
                _refuse_non_finite(Y)
            return value, gradient

        return loss

    return decorate


@_loss(_targets)
def mse(outputs: FloatArray, Y: FloatArray) -> tuple[float, FloatArray]:
    """Mean squared error over batch and outputs.

    Parameters
    ----------
    outputs : (batch, n_outputs) float array
    Y : (batch, n_outputs) array
        With a single output also (batch,).

    Returns
    -------
    value : float
    gradient : array like `outputs`

    Raises
    ------
    InvalidValueError
        The shapes differ, the batch is empty, or Y holds something other than finite real numbers.

    Examples
    --------
    >>> value, gradient = mse(np.array([[1.0, 2.0]]), [[0.0, 4.0]])
    >>> value, gradient.tolist()
    (2.5, [[1.0, -2.0]])
    """
    error = outputs - Y
    return np.add.reduce(error * error, axis=None) / error.size, error * (2 / error.size)


@_loss(_targets)
def mae(outputs: FloatArray, Y: FloatArray) -> tuple[float, FloatArray]:
    """Mean absolute error over batch and outputs; the gradient at no error is 0.

    Parameters, returns and errors are those of `mse`.

    Examples
    --------
    >>> value, gradient = mae(np.array([[1.0, 2.0]]), [[0.0, 4.0]])
    >>> value, gradient.tolist()
    (1.5, [[0.5, -0.5]])
    """
    error = outputs - Y
    return np.add.reduce(np.abs(error), axis=None) / error.size, np.sign(error) / error.size


@_loss(_targets)
def huber(outputs: FloatArray, Y: FloatArray) -> tuple[float, FloatArray]:
    """Half the squared error up to an error of 1, linear beyond: PyTorch's HuberLoss with delta 1, its SmoothL1Loss.

    Parameters, returns and errors are those of `mse`. Huber 1964, "Robust Estimation of a Location Parameter".

    Examples
    --------
    >>> value, gradient = huber(np.array([[1.0, 2.0]]), [[0.0, 4.0]])
    >>> value, gradient.tolist()
    (1.0, [[0.5, -0.5]])
    """
    error = outputs - Y
    inner = np.clip(error, -1, 1)
    # inner is the error inside, its sign outside
    return np.add.reduce(inner * (error - 0.5 * inner), axis=None) / error.size, inner / error.size


@_loss(_classes)
def cross_entropy(outputs: FloatArray, Y: NDArray[Any]) -> tuple[float, FloatArray]:
    """Cross-entropy of the softmax over the outputs, mean over the batch.

    Parameters
    ----------
    outputs : (batch, n_outputs) float array
        Logits.
    Y : (batch,) integer labels, or (batch, n_outputs) probabilities
        Labels may be floats that are whole numbers.

    Returns
    -------
    value : float
    gradient : array like `outputs`

    Raises
    ------
    InvalidValueError
        The shapes do not fit, the batch is empty, a label is no whole number or out of range, or a probability is not
        between 0 and 1.

    Examples
    --------
    >>> value, gradient = cross_entropy(np.zeros((1, 4)), [2])
    >>> round(value, 4), gradient.tolist()
    (1.3863, [[0.25, 0.25, -0.75, 0.25]])
    """
    # One row a class: NumPy reduces down the columns of a wide array much faster than along rows of ten.
    shifted = outputs.T.astype(np.float64, order="C")
    shifted -= np.maximum.reduce(shifted, axis=0)
    gradient = np.exp(shifted)
    total = np.add.reduce(gradient, axis=0)
    gradient /= total
    batch = len(outputs)
    if Y.ndim == 1:
        places = Y * batch
        places += _counting(batch)
        value = np.add.reduce(np.log(total) - shifted.ravel()[places]) / batch
        gradient.ravel()[places] -= 1
    else:
        value = np.add.reduce(Y.T * (np.log(total) - shifted), axis=None) / batch
        gradient *= np.add.reduce(Y, axis=1)
        gradient -= Y.T
    gradient /= batch
    return value, gradient.T


@_loss(_probabilities)
def binary_cross_entropy(outputs: FloatArray, Y: FloatArray) -> tuple[float, FloatArray]:
    """Cross-entropy of the sigmoid of each output, mean over batch and outputs (PyTorch's BCEWithLogitsLoss).

    Parameters
    ----------
    outputs : (batch, n_outputs) float array
        Logits.
    Y : (batch, n_outputs) array
        Probabilities, so 0 or 1 for plain labels. With a single output also (batch,).

    Returns
    -------
    value : float
    gradient : array like `outputs`

    Raises
    ------
    InvalidValueError
        The shapes differ, the batch is empty, or an entry of Y is not between 0 and 1.

    Examples
    --------
    >>> value, gradient = binary_cross_entropy(np.array([[0.0], [0.0]]), [0, 1])
    >>> round(value, 4), gradient.tolist()
    (0.6931, [[0.25], [-0.25]])
    """
    outputs = outputs.astype(np.float64)
    small = np.exp(-np.abs(outputs))  # at most 1, so nothing overflows
    value = np.add.reduce(np.maximum(outputs, 0) - outputs * Y + np.log1p(small), axis=None) / outputs.size
    sigmoid = np.where(outputs >= 0, 1, small) / (1 + small)
    return value, (sigmoid - Y) / outputs.size


@functools.lru_cache(maxsize=2)
def _counting(count: int) -> NDArray[np.intp]:
    return np.arange(count)


class PreparedLoss(abc.ABC):
    """Base of losses that compare with more than Y, made of X and Y once, before the training.

    The `Trainer` calls `targets` for all samples and hands the loss rows of the result, a structured array. Its field
    "label" is what accuracies are measured against.

    Examples
    --------
    >>> class Weighted(PreparedLoss):
    ...     "Cross-entropy, in which bright images count more."
    ...     def targets(self, X, Y, n_outputs=None):
    ...         kinds = [("label", np.int64), ("weight", float)]
    ...         return np.array(list(zip(Y, X.mean(axis=1))), kinds)
    ...     def __call__(self, outputs, Y):
    ...         value, gradient = cross_entropy(outputs, Y["label"])
    ...         return value, gradient * Y["weight"][:, None]
    >>> Weighted().targets(np.ones((2, 3)), [1, 0])["weight"]
    array([1., 1.])
    """

    @abc.abstractmethod
    def targets(self, X: Any, Y: Any, n_outputs: int | None = None) -> NDArray[Any]:
        """Return a structured array with a row for each sample and a field "label"."""

    @abc.abstractmethod
    def __call__(self, outputs: FloatArray, Y: Any) -> tuple[float, FloatArray]:
        """Return value and gradient, of outputs and rows of targets."""


LOSSES: dict[str, Loss] = {
    "mse": mse,
    "mae": mae,
    "huber": huber,
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
}


def get(loss: str | Loss) -> Loss:
    """Return the loss of that name, or a user's function with its results checked.

    Parameters
    ----------
    loss : str or callable
        A name, or a function ``(outputs, Y) -> (value, gradient)``. The function gets `outputs` and `Y` as they are.

    Returns
    -------
    callable
        ``(outputs, Y) -> (float, array in the shape and dtype of outputs)``

    Raises
    ------
    UnknownNameError
        There is no loss of that name; the message lists those that exist.
    InvalidValueError
        `loss` is neither a name nor callable. The function returned raises it for a result that is not a number and a
        gradient in the shape of the outputs.

    Examples
    --------
    >>> get("mae") is mae
    True
    >>> half = get(lambda outputs, Y: (((outputs - Y) ** 2).sum() / 2, outputs - Y))
    >>> half(np.array([[3.0]]), np.array([[1.0]]))
    (2.0, array([[2.]]))
    """
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise UnknownNameError(f"unknown loss {str(loss)!r}; known are {', '.join(LOSSES)}")
        return LOSSES[loss]
    if not callable(loss):
        raise InvalidValueError(f"loss {loss!r}: write a name such as 'mse', or a function (outputs, Y)")
    return loss if loss in LOSSES.values() else _checked(loss)


def _checked(loss: Loss) -> Loss:
    name = getattr(loss, "__name__", repr(loss))

    @functools.wraps(loss)
    def checked(outputs: FloatArray, Y: ArrayLike) -> tuple[float, FloatArray]:
        result = loss(outputs, Y)
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise InvalidValueError(f"loss {name} has to return a pair (value, gradient), not {type(result).__name__}")
        value = _as_numbers(result[0], f"the value of loss {name}")
        gradient = _require_numbers(result[1], f"the gradient of loss {name}")
        if value.ndim != 0:
            raise InvalidValueError(f"loss {name} has to return one number as its value, not shape {value.shape}")
        if gradient.shape != outputs.shape:
            raise InvalidValueError(
                f"loss {name} returned a gradient of shape {gradient.shape}; the outputs have {outputs.shape}"
            )
        return float(value), gradient.astype(outputs.dtype, copy=False)

    return checked


def takes_labels(loss: Loss) -> bool:
    """Whether a loss compares outputs with integer class labels.

    Examples
    --------
    >>> takes_labels(cross_entropy), takes_labels(mse)
    (True, False)
    """
    return loss is cross_entropy


def accuracy(outputs: ArrayLike, Y: ArrayLike, loss: str | Loss = "cross_entropy") -> float:
    """Return the share of right decisions.

    Parameters
    ----------
    outputs : (batch, n_outputs) float array
    Y : array
        As the loss takes it; of a structured array, its field "label".
    loss : str or callable, optional
        With "binary_cross_entropy", or a single output, every output decides for itself: above 0 means 1. With any
        other the largest output wins, and so does the largest entry of each row of a two-dimensional Y.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    InvalidValueError
        As the loss raises it.

    Examples
    --------
    >>> accuracy([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    0.5
    >>> accuracy([[-2.0], [3.0]], [0, 1], loss="binary_cross_entropy")
    1.0
    """
    outputs = _as_outputs(outputs)
    if isinstance(Y, np.ndarray) and Y.dtype.names is not None:
        Y = Y["label"]
    if outputs.shape[1] == 1 or loss in ("binary_cross_entropy", binary_cross_entropy):
        return float(np.mean((outputs > 0) == (_probabilities(Y, outputs.shape) > 0.5)))
    classes = _classes(Y, outputs.shape)
    if classes.ndim == 2:
        classes = np.argmax(classes, axis=1)
    return float(np.mean(np.argmax(outputs, axis=1) == classes))
