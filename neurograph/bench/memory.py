"""What this process has in memory, and the most that it ever had."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Callable
from typing import TypeVar

__all__ = ["grown", "peak", "resident", "settle"]

MIB = 1 << 20
T = TypeVar("T")


def resident() -> int | None:
    """Bytes in memory now; None where only the system knows.

    Examples
    --------
    >>> import sys
    >>> sys.platform != "linux" or resident() > 1 << 20
    True
    """
    return _status("VmRSS")


def peak() -> int | None:
    """The most bytes that were in memory since the process began, or since the last `grown` on Linux; None on Windows.

    Examples
    --------
    >>> peak() is None or peak() > 1 << 20
    True
    """
    on_linux = _status("VmHWM")
    if on_linux is not None:
        return on_linux
    try:
        import resource
    except ImportError:
        return None
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else 1024 * used


def grown(work: Callable[[], T]) -> tuple[T, float | None]:
    """Do some work, and see by how many MiB the process grew at its highest; None where the system does not say.

    Where the high-water mark cannot be set back (outside Linux), what was used before counts as a part of the mark, so
    that work which stays below it seems to need nothing.

    Examples
    --------
    >>> import numpy as np
    >>> result, mib = grown(lambda: np.ones(1 << 23).sum())
    >>> mib is None or mib > 50
    True
    """
    settle()
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # proc(5): sets the high-water mark back to what is resident now
    except OSError:
        pass
    before = peak()
    result = work()
    after = peak()
    return result, None if before is None or after is None else max(after - before, 0) / MIB


def settle() -> None:
    """Give back to the system what was freed, where the C library can: else the next work would live in it unseen."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _status(field: str) -> int | None:
    try:
        with open("/proc/self/status") as file:
            return next((1024 * int(line.split()[1]) for line in file if line.startswith(field + ":")), None)
    except OSError:
        return None
