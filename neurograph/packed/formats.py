"""Weights in one or two bytes: rounded, and back.

======  =====  ================================================================================================
format  bytes  a weight w becomes
======  =====  ================================================================================================
int8    1      ``rint(w / scale)``, -127..127, with ``scale = max |w| / 127`` over the neuron's row or the network
bf16    2      its upper 16 bits as float32, rounded to nearest even: 8 bits of mantissa, the whole range
fp16    2      the IEEE half: 11 bits of mantissa, at most 65504
======  =====  ================================================================================================

One pattern of each format, which no weight has, marks a *hole*: a pair in a dense block that is not connected.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..errors import InvalidValueError, UnknownNameError

INT8, BF16, FP16 = range(3)
PER = ("neuron", "network")
HALF_MAX = 65504.0
# float32 bits of a half, shifted to their places, stand for a number that is smaller by this power of two.
HALF_FACTOR = 2.0**112


class Format(NamedTuple):
    """How a weight is stored.

    Attributes
    ----------
    name : str
    code : int
        What the kernels know it by.
    dtype : numpy.dtype
    hole : int
        The pattern of a pair that is not connected.
    """

    name: str
    code: int
    dtype: np.dtype
    hole: int

    @property
    def scaled(self) -> bool:
        """Whether weights are multiples of a scale."""
        return self.code == INT8


FORMATS = {
    "bf16": Format("bf16", BF16, np.dtype(np.uint16), 0x7FFF),
    "fp16": Format("fp16", FP16, np.dtype(np.uint16), 0x7FFF),
    "int8": Format("int8", INT8, np.dtype(np.int8), -128),
}


def parse(name: str, per: str) -> Format:
    """The format of a name, with the choice of scales checked too.

    Raises
    ------
    UnknownNameError
        If there is no such format, or no such choice.

    Examples
    --------
    >>> parse("int8", "neuron").dtype
    dtype('int8')
    """
    if not isinstance(name, str) or name not in FORMATS:
        raise UnknownNameError(f"unknown format {name!r} of weights; known: {', '.join(FORMATS)}")
    if per not in PER:
        raise UnknownNameError(f"unknown choice {per!r} of scales; known: per={' or '.join(map(repr, PER))}")
    return FORMATS[name]


def scales(weight: np.ndarray, length: np.ndarray, per: str) -> np.ndarray:
    """Scales of int8 weights, row after row of so many: one a row, or one in all; 1 where all weights are zero.

    Examples
    --------
    >>> scales(np.float32([-31.75, 63.5, 0]), np.array([2, 1]), "neuron").tolist()
    [0.5, 1.0]
    """
    size = np.abs(weight)
    if per == "network":
        largest = np.array([size.max(initial=0)], np.float32)
    else:
        largest = np.zeros(len(length), np.float32)
        filled = np.flatnonzero(length)
        if len(filled):
            largest[filled] = np.maximum.reduceat(size, (np.cumsum(length) - length)[filled])
    # Of a row of subnormal weights the largest, divided by 127, would be zero.
    return np.where(largest > 0, np.maximum(largest / np.float32(127), np.finfo(np.float32).tiny), 1).astype(np.float32)


def narrow(weight: np.ndarray, format: Format, scale: Any = None) -> np.ndarray:
    """Finite float32 weights in fewer bytes; ``scale`` broadcasts against them.

    Raises
    ------
    InvalidValueError
        If a weight is too large for the format.

    Examples
    --------
    >>> narrow(np.float32([0.5, -1.0]), FORMATS["int8"], np.float32(1 / 127)).tolist()
    [64, -127]
    >>> [hex(code) for code in narrow(np.float32([1.0, -2.0]), FORMATS["bf16"]).tolist()]
    ['0x3f80', '0xc000']
    """
    if format.code == INT8:
        return np.clip(np.rint(weight / scale), -127, 127).astype(np.int8)
    if format.code == FP16:
        return weight.astype(np.float16).view(np.uint16)
    bits = np.ascontiguousarray(weight, np.float32).view(np.uint32)
    return ((bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(16)).astype(np.uint16)


def too_large(weight: np.ndarray, format: Format) -> np.ndarray:
    """Which finite float32 weights the format cannot hold.

    Examples
    --------
    >>> too_large(np.float32([65504, -65505]), FORMATS["fp16"]).tolist()
    [False, True]
    """
    if format.code == FP16:
        return np.abs(weight) > HALF_MAX
    if format.code == BF16:  # the largest of them would round up to infinity
        return np.abs(weight) >= np.uint32(0x7F7F8000).view(np.float32)
    return np.zeros(weight.shape, bool)


def widen(stored: np.ndarray, format: Format, scale: Any = None) -> np.ndarray:
    """The float32 numbers that narrow weights stand for; holes are zero.

    Examples
    --------
    >>> halves = narrow(np.float32([0.1, -65504.0]), FORMATS["fp16"])
    >>> widen(halves, FORMATS["fp16"]).tolist()
    [0.0999755859375, -65504.0]
    """
    hole = stored == format.hole
    if format.code == INT8:
        values: np.ndarray = stored.astype(np.float32) * scale
    elif format.code == FP16:
        values = stored.view(np.float16).astype(np.float32)
    else:
        values = (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return np.where(hole, np.float32(0), values)


def refuse(format: Format, value: float, what: str) -> None:
    """Say that a weight does not fit."""
    largest = "65504" if format.code == FP16 else "3.39e38"
    raise InvalidValueError(
        f"{what} is {value:.6g}, but {format.name} ends at {largest}; clip the weight, or choose another format"
    )
