"""Algorithms on bare edge lists: two arrays of ends in, masks and edge lists out; they know no network."""

from .cycles import feedback_connections, find_cycle
from .rewire import random_pairs, rewire_degrees

__all__ = ["feedback_connections", "find_cycle", "random_pairs", "rewire_degrees"]
