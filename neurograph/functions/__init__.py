"""The mathematics of a network: NumPy arrays in, NumPy arrays out, nothing here knows what a network is."""

from . import activations, aggregations, initializers, losses, schedules

__all__ = ["activations", "aggregations", "initializers", "losses", "schedules"]
