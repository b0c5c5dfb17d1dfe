"""A network frozen into few bytes: narrow numbers, and rows of connections that need no index of four bytes each."""

from .formats import FORMATS, PER, narrow, widen
from .layout import Packed, pack

__all__ = ["FORMATS", "PER", "Packed", "narrow", "pack", "widen"]
