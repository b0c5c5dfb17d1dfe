"""`cupy.cuda` of the emulation: one device, whose work is done at once."""

from . import cublas, driver, memory, runtime
from .cublas import get_cublas_handle
from .device import Device
from .graph import Graph
from .memory import MemoryPool, OutOfMemoryError
from .stream import Event, Stream, get_current_stream, get_elapsed_time

__all__ = [
    *("Device", "Event", "Graph", "MemoryPool", "OutOfMemoryError", "Stream", "cublas", "driver"),
    *("get_cublas_handle", "get_current_stream", "get_elapsed_time", "is_available", "memory", "runtime"),
]


def is_available() -> bool:
    return True
