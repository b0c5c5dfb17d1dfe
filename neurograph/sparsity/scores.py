"""Scores: how much each connection, or each parameter, matters. Those of the lowest score are removed first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidValueError, UnknownNameError

if TYPE_CHECKING:
    from ..graph import Connections

__all__ = [
    "PARAMETER_SCORES",
    "PER",
    "SCORES",
    "age",
    "evaluate",
    "gradient",
    "magnitude",
    "parameter_gradient",
    "parameter_saliency",
    "random",
    "resolve",
    "saliency",
]

PER = ("connection", "parameter")


def magnitude(conns: Connections, rng: np.random.Generator) -> np.ndarray:
    """Absolute weight of each connection.

    Parameters
    ----------
    conns : Connections
        The connections to score, n of them.
    rng : numpy.random.Generator
        Not used; every score has this signature.

    Returns
    -------
    ndarray, shape (n,)
        The scores.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> magnitude(SimpleNamespace(weight=np.array([0.5, -2.0])), None)
    array([0.5, 2. ])
    """
    return np.abs(conns.weight)


def gradient(conns: Connections, rng: np.random.Generator) -> np.ndarray:
    """Absolute gradient of the loss by each weight, from the last backward pass.

    Of connections that share a parameter each counts with what it alone contributes. Parameters and result are those of
    `magnitude`.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> gradient(SimpleNamespace(own_grad=np.array([-0.1, 0.3])), None)
    array([0.1, 0.3])
    """
    return np.abs(conns.own_grad)


def parameter_gradient(conns: Connections, rng: np.random.Generator) -> np.ndarray:
    """Absolute gradient of the loss by each parameter: the sum over all connections that share it.

    Parameters and result are those of `magnitude`, with one connection for each parameter.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> parameter_gradient(SimpleNamespace(grad=np.array([-0.1, 0.3])), None)
    array([0.1, 0.3])
    """
    return np.abs(conns.grad)


def saliency(conns: Connections, rng: np.random.Generator) -> np.ndarray:
    """Absolute product of weight and gradient: the first-order change of the loss when the connection goes.

    This is the score of Mozer & Smolensky (1988), "Skeletonization", taken for single weights as in Molchanov et al.
    (2017), arXiv 1611.06440, equation 7. Of connections that share a parameter each counts with what it alone
    contributes to the gradient. Parameters and result are those of `magnitude`.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> saliency(SimpleNamespace(weight=np.array([2.0, -1.0]), own_grad=np.array([0.25, 3.0])), None)
    array([0.5, 3. ])
    """
    return np.abs(conns.weight * conns.own_grad)


def parameter_saliency(conns: Connections, rng: np.random.Generator) -> np.ndarray:
    """Absolute product of weight and gradient of each parameter: `saliency` when all that share it go.

    Parameters and result are those of `magnitude`, with one connection for each parameter.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> parameter_saliency(SimpleNamespace(weight=np.array([2.0, -1.0]), grad=np.array([0.25, 3.0])), None)
    array([0.5, 3. ])
    """
    return np.abs(conns.weight * conns.grad)


def random(conns: Connections, rng: np.random.Generator) -> np.ndarray:
    """A uniform random number for each: the baseline that every other score has to beat.

    Parameters and result are those of `magnitude`; `rng` is used.

    Examples
    --------
    >>> random([None, None, None], np.random.default_rng(0)).shape
    (3,)
    """
    return rng.random(len(conns))


def age(conns: Connections, rng: np.random.Generator) -> np.ndarray:
    """How many connections have been made since each of them: the youngest scores 0, so the young go first.

    Ids only grow, so they order connections by age whatever was pruned in between, and connections that one call made
    follow each other. The steps that a connection has lived are not counted; of those that were grown in a rewiring all
    are younger than those of the rewirings before. Parameters and result are those of `magnitude`.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> age(SimpleNamespace(id=np.array([3, 9, 4])), None)
    array([6, 0, 5])
    """
    ids = conns.id
    return ids.max(initial=0) - ids


SCORES: dict[str, Callable] = {
    "magnitude": magnitude,
    "gradient": gradient,
    "saliency": saliency,
    "random": random,
    "age": age,
}

# The same names for parameters, of which each is scored once.
PARAMETER_SCORES: dict[str, Callable] = SCORES | {"gradient": parameter_gradient, "saliency": parameter_saliency}


def resolve(score: Any, per: str = "connection") -> Any:
    """Return the function behind the name of a score; anything but a name is returned as it is.

    Parameters
    ----------
    score : str, function or array
        A name out of `SCORES`, or the score itself.
    per : {"connection", "parameter"}
        What is scored.

    Raises
    ------
    UnknownNameError
        No score has this name; the message lists those that exist.

    Examples
    --------
    >>> resolve("magnitude") is magnitude
    True
    """
    if not isinstance(score, str):
        return score
    if score not in SCORES:
        raise UnknownNameError(f"There is no score {score!r}. Known scores: {', '.join(SCORES)}.")
    return (PARAMETER_SCORES if per == "parameter" else SCORES)[score]


def evaluate(score: Any, conns: Connections, rng: np.random.Generator, per: str = "connection") -> np.ndarray:
    """Score connections by a name, a function or an array.

    Parameters
    ----------
    score : str, function or array of shape (n,)
        A name out of `SCORES`, a function `(conns, rng) -> array`, or the scores in the order of `conns`.
    conns : Connections
        The n connections to score.
    rng : numpy.random.Generator
        Handed to the function.
    per : {"connection", "parameter"}
        "parameter": ``conns`` are one connection for each parameter.

    Returns
    -------
    ndarray of float, shape (n,)
        The scores.

    Raises
    ------
    UnknownNameError
        No score has this name.
    InvalidValueError
        The scores have the wrong shape, are not real numbers, or contain NaN.

    Examples
    --------
    >>> evaluate([3, 1], [None, None], None)
    array([3., 1.])
    """
    score = resolve(score, per)
    values = np.asarray(score(conns, rng) if callable(score) else score)
    if values.shape != (len(conns),):
        raise InvalidValueError(
            f"The scores have shape {values.shape}; give one score for each of the {len(conns)} connections."
        )
    if values.dtype.kind not in "fiub":
        raise InvalidValueError(f"The scores have dtype {values.dtype}; give real numbers.")
    values = values.astype(np.result_type(values, np.float32), copy=False)
    unordered = np.isnan(values)
    if unordered.any():
        raise InvalidValueError(
            f"The score of {unordered.sum()} connections is NaN (first at index {unordered.argmax()}), so they have no "
            "order. Replace the NaN, by 0 to remove these connections first."
        )
    return values
