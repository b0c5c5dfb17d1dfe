"""A strict fake of `cupy` on the host: what real CuPy refuses is refused here, and a little more. See `tests.emulation`."""

import numpy as _numpy
from numpy import bool_, float16, float32, float64, inf, int8, int16, int32, int64, nan, newaxis, uint8, uint16, uint32
from numpy import dtype, uint64

from . import cuda
from .array import ndarray
from .functions import *  # noqa: F403
from .module import RawModule

pi = _numpy.pi
