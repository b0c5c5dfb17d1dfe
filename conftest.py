"""Modules that import cupy are collected like all others, for their doctests: something has to stand for it."""

from pathlib import Path

GPU = Path(__file__).parent / "neurograph" / "backends" / "gpu"


def pytest_collect_file(file_path):
    """Before the first of them is imported, put the emulation where no GPU can be used."""
    if GPU in file_path.parents:
        from tests import device

        device.name()
