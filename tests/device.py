"""What stands for the GPU in tests: a GPU where one can be used, else the emulation, which is never called one."""

import functools
import os
import sys

import pytest

import neurograph as ng
from neurograph import backends
from neurograph.backends import device as gpu_here

from . import emulation

EMULATED = "emulated"


@functools.cache
def name():
    """Name of the backend that tests of the GPU's kernels run on: "gpu", or "emulated" from now on."""
    if _usable():
        return "gpu"
    emulation.install()
    backends.EXTRA[EMULATED] = "neurograph.backends.gpu"
    from neurograph.backends.gpu import costs

    costs.given = costs.ROWS  # the time that an emulation takes tells nothing
    return EMULATED


def need_compiler():
    """Skip a test of emulated kernels where they cannot be compiled."""
    if not emulation.can_compile():
        pytest.skip("CUDA is emulated by means of g++, which is not installed")


def backends_to_test():
    """Names that the fixture `backend` takes."""
    chosen = os.environ.get("NEUROGRAPH_TEST_BACKENDS")
    names = tuple(n.strip() for n in chosen.split(",") if n.strip()) if chosen else ng.available_backends()
    if EMULATED in names and name() != EMULATED:
        raise pytest.UsageError("there is a GPU: nothing is emulated here")
    return names


def _usable():
    if gpu_here.problem() is None:
        return True
    # A CuPy that finds no GPU makes room for what stands for it.
    for module in [m for m in sys.modules if m.split(".")[0] == "cupy"]:
        del sys.modules[module]
    return False
