"""Functions that return a Network of a well-known shape, or add well-known parts to one."""

from .fields import fields
from .layered import layered
from .offsets import box, dilated, disk, fovea, ring, subset
from .pooling import adaptive_pool, global_pool, pool
from .random_dag import random_dag

__all__ = [
    "adaptive_pool",
    "box",
    "dilated",
    "disk",
    "fields",
    "fovea",
    "global_pool",
    "layered",
    "pool",
    "random_dag",
    "ring",
    "subset",
]
