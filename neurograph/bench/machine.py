"""What the figures were measured on."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from . import device
from .peers import PEERS

__all__ = ["cores", "describe"]

OWN = ("numpy", "scipy", "numba", "llvmlite", "networkx")
VECTORS = ("avx512f", "avx2", "avx", "asimd")  # the widest first, as /proc/cpuinfo calls them


def describe(threads: int, gpu: bool = False) -> dict[str, Any]:
    """The processor, its caches, the memory, the system, the versions of all libraries that are compared, and the day.

    Parameters
    ----------
    threads : int
        How many each side was given.
    gpu : bool
        Whether a GPU is measured, which is then described as well.

    Returns
    -------
    dict
        What could not be found out is None; a library that is not installed is left out.

    Examples
    --------
    >>> machine = describe(threads=2)
    >>> machine["threads"], "numpy" in machine["libraries"], machine["cores"] > 0
    (2, True, True)
    """
    from neurograph import __version__

    libraries = {"neurograph": __version__}
    for name in (*OWN, *(peer.distribution for peer in PEERS.values())):
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            continue
    whole = {
        "cpu": _cpu(),
        "vectors": next((v for v in VECTORS if v in (_cpuinfo("flags") or _cpuinfo("Features") or "").split()), None),
        "cores": cores(),
        "threads": threads,
        "caches": dict(_caches()),
        "memory_gib": _memory(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": libraries,
        "date": datetime.date.today().isoformat(),
    }
    return device.describe() | whole if gpu else whole


def cores() -> int:
    """Cores that this process may use, which a container can make fewer than the machine has.

    Examples
    --------
    >>> cores() > 0
    True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(field: str) -> str | None:
    try:
        with open("/proc/cpuinfo") as file:
            return next((line.split(":", 1)[1].strip() for line in file if line.startswith(field)), None)
    except OSError:
        return None


def _caches() -> Iterator[tuple[str, str]]:
    """("L1d", "32K"), ... of the first core."""
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        if kind != "Instruction":
            yield f"L{level}" + ("d" if kind == "Data" else ""), size


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None
