"""Fixtures and profiles that every test shares."""

import os

import hypothesis
import numpy as np
import pytest

from . import device

# Kernels compile during the first examples, so no example has a deadline.
hypothesis.settings.register_profile("default", deadline=None, max_examples=50)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True)
hypothesis.settings.register_profile("nightly", deadline=None, max_examples=1000, stateful_step_count=100)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))


@pytest.fixture(params=device.backends_to_test())
def backend(request):
    """Name of each backend that can run here, or of those in NEUROGRAPH_TEST_BACKENDS."""
    if request.param == device.EMULATED:
        device.need_compiler()
    return request.param


@pytest.fixture
def rng():
    """A random generator with a fixed seed."""
    return np.random.default_rng(20260601)
