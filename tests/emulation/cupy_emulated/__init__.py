# ruff: noqa: F401, F403
"""A strict fake of `cupy` on the host: it refuses what CuPy refuses, and a little more. See `tests.emulation`."""

import numpy as _numpy
from numpy import (
    bool_,
    dtype,
    float16,
    float32,
    float64,
    inf,
    int8,
    int16,
    int32,
    int64,
    nan,
    newaxis,
    uint8,
    uint16,
    uint32,
    uint64,
)

from . import cuda
from .array import ndarray
from .functions import *
from .module import RawModule

pi = _numpy.pi
