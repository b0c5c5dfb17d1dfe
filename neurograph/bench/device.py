"""The GPU that is measured: whether it is a real one, and what it is."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

__all__ = ["cache", "describe", "problem"]


def problem() -> str | None:
    """Why nothing can be measured on a GPU here, and the cure; None where it can.

    A stand-in for CuPy, such as the one that the tests emulate a device with, is refused like a missing one.
    """
    from ..backends import device

    return device.problem()


def describe() -> dict[str, Any]:
    """Name, size and versions of the current device and of what drives it, for the head of a file of results.

    Returns
    -------
    dict
        "gpu", "gpu_memory_gib", "multiprocessors", "l2_mib", "capability", "driver" (None where the system does not
        say), "cuda_driver", "cuda_runtime" and "cupy".
    """
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    name = properties["name"]
    return {
        "gpu": name.decode() if isinstance(name, bytes) else str(name),
        "gpu_memory_gib": round(properties["totalGlobalMem"] / 2**30, 1),
        "multiprocessors": int(properties["multiProcessorCount"]),
        "l2_mib": round(properties["l2CacheSize"] / 2**20, 1),
        "capability": f"{properties['major']}.{properties['minor']}",
        "driver": driver(),
        "cuda_driver": version(cupy.cuda.runtime.driverGetVersion()),
        "cuda_runtime": version(cupy.cuda.runtime.runtimeGetVersion()),
        "cupy": cupy.__version__,
    }


def cache() -> int:
    """Bytes of the device's L2 cache."""
    import cupy

    return int(cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["l2CacheSize"])


def version(number: int) -> str:
    """What CUDA calls a version that it counts.

    Examples
    --------
    >>> version(12090), version(13000)
    ('12.9', '13.0')
    """
    return f"{number // 1000}.{number % 1000 // 10}"


def driver() -> str | None:
    """Version of the driver, which only its own tool names."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    lines = done.stdout.split()
    return lines[0] if done.returncode == 0 and lines else None
