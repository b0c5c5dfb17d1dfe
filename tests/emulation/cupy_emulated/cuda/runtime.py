"""The runtime: what devices there are."""

from typing import Any

from ... import state
from ...memory import used
from . import limits


class CUDARuntimeError(RuntimeError):
    def __init__(self, status: int, text: str = ""):
        self.status = status
        super().__init__(f"cudaError {status}: {text}")


def getDeviceCount() -> int:
    return 1


def getDevice() -> int:
    return 0


def setDevice(device: int) -> None:
    if device != 0:
        raise CUDARuntimeError(101, "invalid device ordinal")


def getDeviceProperties(device: int) -> dict[str, Any]:
    setDevice(device)
    return {
        "name": b"host emulation, no GPU",
        "totalGlobalMem": state.memory_limit,
        "multiProcessorCount": limits.MULTIPROCESSORS,
        "major": int(limits.COMPUTE_CAPABILITY[:-1]),
        "minor": int(limits.COMPUTE_CAPABILITY[-1]),
        "sharedMemPerBlock": limits.STATIC_SHARED,
        "sharedMemPerBlockOptin": limits.DYNAMIC_SHARED,
        "sharedMemPerMultiprocessor": 228 << 10,
        "maxThreadsPerBlock": limits.THREADS,
        "maxThreadsPerMultiProcessor": 2048,
        "regsPerBlock": 65536,
        "warpSize": 32,
        "l2CacheSize": 50 << 20,
        "memoryClockRate": 0,
        "memoryBusWidth": 0,
        "clockRate": 0,
    }


def deviceSynchronize() -> None:
    state.refuse_in_capture("deviceSynchronize")


def memGetInfo() -> tuple[int, int]:
    return max(0, state.memory_limit - used()), state.memory_limit


def runtimeGetVersion() -> int:
    return 13000


def driverGetVersion() -> int:
    return 13000
