"""Looking for what is not a number on the device."""

import numpy as np
import pytest

from neurograph.backends.gpu.finite import all_finite


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(1,), (3, 5), (33, 4, 9)])
def test_one_bad_entry_is_found_anywhere(cupy, rng, shape, bad):
    """In a pack, behind the last one, and in the middle of a view with gaps."""
    x = rng.standard_normal(shape).astype(np.float32)
    assert all_finite(cupy.asarray(x))
    for place in {0, x.size // 2, x.size - 1}:
        broken = x.copy()
        broken.flat[place] = bad
        assert not all_finite(cupy.asarray(broken))
        assert not all_finite(cupy.asarray(broken).T)


def test_views_and_nothing(cupy):
    """What lies between the entries of a view is not looked at."""
    x = np.ones((4, 4))
    x[:, 1] = np.nan
    there = cupy.asarray(x)
    assert all_finite(there[:, 2:]) and not all_finite(there[:, 1:])
    assert all_finite(there[:0])


def test_arrays_of_the_host(gpu):
    """They are looked at where they are."""
    assert all_finite(np.ones(3, np.float32)) and not all_finite(np.array([1.0, np.inf]))
