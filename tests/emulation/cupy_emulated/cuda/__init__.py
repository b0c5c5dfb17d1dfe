# ruff: noqa: F401
"""`cupy.cuda` of the emulation: one device, whose work is done at once."""

from . import cublas, driver, memory, runtime
from .cublas import get_cublas_handle
from .device import Device
from .graph import Graph
from .memory import MemoryPool, using_allocator
from .stream import Event, Stream, get_current_stream, get_elapsed_time


def is_available() -> bool:
    return True
