"""Functions that return a Network of a well-known shape."""

from .layered import layered
from .random_dag import random_dag

__all__ = ["layered", "random_dag"]
