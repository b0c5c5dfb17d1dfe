"""Fixtures of the tests of the GPU's kernels, which run on a GPU or emulated on the host."""

import pytest

from .. import device

# Modules of the backend import cupy at their top, and so do tests: it has to be there before they are collected.
device.name()


@pytest.fixture(scope="session")
def gpu():
    """Name of the backend under test: "gpu", or "emulated" where there is none."""
    if device.name() == device.EMULATED:
        device.need_compiler()
    return device.name()


@pytest.fixture
def cupy(gpu):
    """The module cupy, or what stands for it."""
    import cupy

    return cupy


@pytest.fixture
def emulated(gpu):
    """The emulation; a test that needs its checks is skipped on a GPU."""
    if gpu != device.EMULATED:
        pytest.skip("only the emulation can tell")
    from .. import emulation

    emulation.counters.reset()
    return emulation
