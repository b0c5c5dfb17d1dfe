"""The one device."""

from __future__ import annotations

from typing import Any

from ... import state
from . import limits, runtime


class Device:
    def __init__(self, device: Any = None):
        self.id = 0 if device is None else int(device)
        if self.id < 0:
            raise ValueError("Device ID must be non-negative")

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"

    def __enter__(self) -> Device:
        runtime.setDevice(self.id)
        return self

    def __exit__(self, *args: Any) -> None:
        pass

    def use(self) -> None:
        runtime.setDevice(self.id)

    def synchronize(self) -> None:
        state.refuse_in_capture("synchronize")

    @property
    def compute_capability(self) -> str:
        return limits.COMPUTE_CAPABILITY

    @property
    def mem_info(self) -> tuple[int, int]:
        return runtime.memGetInfo()

    @property
    def pci_bus_id(self) -> str:
        return "0000:00:00.0"

    @property
    def attributes(self) -> dict[str, int]:
        runtime.setDevice(self.id)
        return {
            "MultiProcessorCount": limits.MULTIPROCESSORS,
            "MaxSharedMemoryPerBlock": limits.STATIC_SHARED,
            "MaxSharedMemoryPerBlockOptin": limits.DYNAMIC_SHARED,
            "MaxSharedMemoryPerMultiprocessor": 228 << 10,
            "ReservedSharedMemoryPerBlock": 1 << 10,
            "MaxThreadsPerBlock": limits.THREADS,
            "MaxThreadsPerMultiProcessor": 2048,
            "MaxBlocksPerMultiprocessor": 32,
            "MaxRegistersPerBlock": 65536,
            "MaxRegistersPerMultiprocessor": 65536,
            "MaxGridDimX": limits.GRID[0],
            "MaxGridDimY": limits.GRID[1],
            "MaxGridDimZ": limits.GRID[2],
            "MaxBlockDimX": limits.BLOCK[0],
            "MaxBlockDimY": limits.BLOCK[1],
            "MaxBlockDimZ": limits.BLOCK[2],
            "WarpSize": 32,
            "L2CacheSize": 50 << 20,
            "ClockRate": 0,
            "MemoryClockRate": 0,
            "GlobalMemoryBusWidth": 0,
            "ComputeCapabilityMajor": 9,
            "ComputeCapabilityMinor": 0,
        }
