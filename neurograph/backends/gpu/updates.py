"""The update rules on the device; names, signatures and results as in `neurograph.backends.updates`.

Each is one kernel that reads and writes every array once. The scalars are combined in double precision first, as
PyTorch does, and rounded to the arrays' dtype. ``frozen``, an array of bools, holds values where they are; their state
moves on.

A recorded CUDA graph repeats a launch with the arguments that it had. So each rule has a second form, ``..._from``,
that reads its scalars from an array of the device; ``..._scalars`` computes what to write there before every step.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .launch import THREADS, blocks_for, unread
from .module import REALS, Family

DESCEND = Family("updates.cu", "descend", REALS)
MOMENTUM = Family("updates.cu", "momentum", REALS)
ADAM = Family("updates.cu", "adam", REALS)
RMSPROP = Family("updates.cu", "rmsprop", REALS)
RMSPROP_MOMENTUM = Family("updates.cu", "rmsprop_momentum", REALS)
N_SCALARS = {"descend": 2, "momentum": 4, "adam": 9, "rmsprop": 5, "rmsprop_momentum": 6}


def sgd(
    value: Any,
    grad: Any,
    velocity: Any | None,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    frozen: Any | None = None,
) -> None:
    """See `neurograph.backends.updates.sgd`."""
    scalars = sgd_scalars(lr, momentum, nesterov, weight_decay)
    if velocity is None:
        _run(DESCEND, (value, grad), frozen, scalars[:2])
    else:
        _run(MOMENTUM, (value, grad, velocity), frozen, scalars)


def sgd_from(value: Any, grad: Any, velocity: Any | None, scalars: Any, frozen: Any | None = None) -> None:
    """`sgd` with the scalars in an array of the device, in the dtype of the values."""
    if velocity is None:
        _run_from(DESCEND, (value, grad), frozen, scalars)
    else:
        _run_from(MOMENTUM, (value, grad, velocity), frozen, scalars)


def sgd_scalars(lr: float, momentum: float, nesterov: bool, weight_decay: float) -> np.ndarray:
    """The scalars that `sgd_from` reads.

    Examples
    --------
    >>> sgd_scalars(0.1, 0.9, True, 0.0).tolist()
    [0.1, 0.0, 0.9, 1.0]
    """
    return np.array([lr, weight_decay, momentum, 1.0 if nesterov else 0.0])


def adam(
    value: Any,
    grad: Any,
    m: Any,
    v: Any,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    frozen: Any | None = None,
) -> None:
    """See `neurograph.backends.updates.adam`."""
    scalars = adam_scalars(step, lr, beta1, beta2, eps, weight_decay, decoupled)
    _run(ADAM, (value, grad, m, v), frozen, scalars)


def adam_from(value: Any, grad: Any, m: Any, v: Any, scalars: Any, frozen: Any | None = None) -> None:
    """`adam` with the scalars in an array of the device, in the dtype of the values."""
    _run_from(ADAM, (value, grad, m, v), frozen, scalars)


def adam_scalars(
    step: int, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool
) -> np.ndarray:
    """The scalars that `adam_from` reads.

    Examples
    --------
    >>> adam_scalars(1, 0.1, 0.5, 0.75, 1e-8, 0.0, decoupled=False).tolist()
    [0.2, 0.5, 0.5, 0.75, 0.25, 2.0, 1e-08, 0.0, 1.0]
    """
    rate, scale = lr / (1.0 - beta1**step), (1.0 - beta2**step) ** -0.5
    decay, shrink = (0.0, 1.0 - lr * weight_decay) if decoupled else (weight_decay, 1.0)
    return np.array([rate, beta1, 1.0 - beta1, beta2, 1.0 - beta2, scale, eps, decay, shrink])


def rmsprop(
    value: Any,
    grad: Any,
    square: Any,
    velocity: Any | None,
    lr: float,
    alpha: float,
    eps: float,
    momentum: float,
    weight_decay: float,
    frozen: Any | None = None,
) -> None:
    """See `neurograph.backends.updates.rmsprop`."""
    scalars = rmsprop_scalars(lr, alpha, eps, momentum, weight_decay)
    if velocity is None:
        _run(RMSPROP, (value, grad, square), frozen, scalars[:5])
    else:
        _run(RMSPROP_MOMENTUM, (value, grad, square, velocity), frozen, scalars)


def rmsprop_from(
    value: Any, grad: Any, square: Any, velocity: Any | None, scalars: Any, frozen: Any | None = None
) -> None:
    """`rmsprop` with the scalars in an array of the device, in the dtype of the values."""
    if velocity is None:
        _run_from(RMSPROP, (value, grad, square), frozen, scalars)
    else:
        _run_from(RMSPROP_MOMENTUM, (value, grad, square, velocity), frozen, scalars)


def rmsprop_scalars(lr: float, alpha: float, eps: float, momentum: float, weight_decay: float) -> np.ndarray:
    """The scalars that `rmsprop_from` reads.

    Examples
    --------
    >>> rmsprop_scalars(0.1, 0.75, 1e-8, 0.9, 0.0).tolist()
    [0.1, 0.75, 0.25, 1e-08, 0.0, 0.9]
    """
    return np.array([lr, alpha, 1.0 - alpha, eps, weight_decay, momentum])


def _run(family: Family, arrays: tuple[Any, ...], frozen: Any | None, scalars: np.ndarray) -> None:
    dtype = arrays[0].dtype
    _launch(family, arrays, frozen, (unread(dtype.type), np.int32(0), *scalars.astype(dtype)))


def _run_from(family: Family, arrays: tuple[Any, ...], frozen: Any | None, scalars: Any) -> None:
    dtype = arrays[0].dtype
    _launch(family, arrays, frozen, (scalars, np.int32(1), *np.zeros(N_SCALARS[family.name], dtype)))


def _launch(family: Family, arrays: tuple[Any, ...], frozen: Any | None, scalars: tuple[Any, ...]) -> None:
    value = arrays[0]
    if not value.size:
        return
    held = (unread(np.bool_), np.int32(0)) if frozen is None else (frozen, np.int32(1))
    blocks = blocks_for(value.size, THREADS * (16 // value.dtype.itemsize))
    family(value.dtype)((blocks,), (THREADS,), (*arrays, *held, np.int64(value.size), *scalars))
