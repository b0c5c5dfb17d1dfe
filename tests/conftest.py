"""Fixtures and profiles that every test shares."""

import importlib.util
import os

import hypothesis
import numpy as np
import pytest

# Kernels compile during the first examples, so no example has a deadline.
hypothesis.settings.register_profile("default", deadline=None, max_examples=50)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True)
hypothesis.settings.register_profile("nightly", deadline=None, max_examples=1000, stateful_step_count=100)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))


def pytest_configure(config):
    config.addinivalue_line("markers", "nojit: fast and telling; also run with NUMBA_DISABLE_JIT=1")
    config.addinivalue_line("markers", "gpu: needs a CUDA device")


@pytest.fixture(params=["reference", "cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def backend(request):
    """Name of each backend that can run here."""
    if request.param == "gpu" and importlib.util.find_spec("neurograph.backends.gpu") is None:
        pytest.skip("this version has no GPU backend")
    if request.param == "gpu" and importlib.util.find_spec("cupy") is None:
        pytest.skip("cupy is not installed")
    return request.param


@pytest.fixture
def rng():
    """A random generator with a fixed seed."""
    return np.random.default_rng(20260601)
