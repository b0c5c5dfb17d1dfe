"""Functions that return a Network of a well-known shape, or add well-known parts to one."""

from .fields import fields
from .fully_convolutional import fully_convolutional
from .layered import layered
from .mixed_sizes import SizedNetworks
from .offsets import box, dilated, disk, fovea, ring, subset
from .pooling import adaptive_pool, global_pool, pool
from .random_dag import random_dag

__all__ = [
    "SizedNetworks",
    "adaptive_pool",
    "box",
    "dilated",
    "disk",
    "fields",
    "fovea",
    "fully_convolutional",
    "global_pool",
    "layered",
    "pool",
    "random_dag",
    "ring",
    "subset",
]
