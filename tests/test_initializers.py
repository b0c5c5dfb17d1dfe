"""Initializers: spread against the formulas, PyTorch's bounds, conversion and refusals."""

import math

import numpy as np
import pytest

from neurograph.errors import InvalidValueError, UnknownNameError
from neurograph.functions.initializers import INITIALIZERS, initialize

N = 20_000
FAN_IN, FAN_OUT = np.full(N, 50), np.full(N, 150)


def draw(spec, dtype=np.float64, seed=0, fan_in=FAN_IN, fan_out=FAN_OUT):
    return initialize(spec, fan_in, fan_out, np.random.default_rng(seed), dtype)


@pytest.mark.parametrize(
    ("name", "std"),
    [("he", math.sqrt(2 / 50)), ("xavier", math.sqrt(2 / 200)), ("lecun", math.sqrt(1 / 50)), ("normal", 1.0)],
)
def test_normal_draws(name, std):
    stats = pytest.importorskip("scipy.stats")
    assert stats.kstest(draw(name), stats.norm(0, std).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("name", "bound"),
    [("he_uniform", math.sqrt(6 / 50)), ("xavier_uniform", math.sqrt(6 / 200)), ("uniform", 1 / math.sqrt(50))],
)
def test_uniform_draws(name, bound):
    stats = pytest.importorskip("scipy.stats")
    assert stats.kstest(draw(name), stats.uniform(-bound, 2 * bound).cdf).pvalue > 1e-3


def test_a_dense_layer_has_the_spread_of_pytorch():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    init = torch.nn.init
    weight = torch.empty(150, 50, dtype=torch.float64)
    for name, fill in {
        "he": lambda w: init.kaiming_normal_(w, nonlinearity="relu"),
        "he_uniform": lambda w: init.kaiming_uniform_(w, nonlinearity="relu"),
        "xavier": init.xavier_normal_,
        "xavier_uniform": init.xavier_uniform_,
        "uniform": lambda w: w.copy_(torch.nn.Linear(50, 150).weight.detach()),
    }.items():
        assert draw(name).std() == pytest.approx(float(fill(weight).std()), rel=0.05), name


@pytest.mark.parametrize("name", ["he", "he_uniform", "lecun", "uniform", "xavier", "xavier_uniform"])
def test_each_connection_has_its_own_fan(name):
    """A wider fan scales the very same draw by the square root of the ratio."""
    fan = np.array([2, 8, 32, 128])
    wide, narrow = (draw(name, fan_in=f, fan_out=f) for f in (fan, np.full(4, 2)))

    np.testing.assert_allclose(wide / narrow, np.sqrt(2 / fan), rtol=1e-12)


@pytest.mark.parametrize("name", ["xavier", "xavier_uniform"])
def test_xavier_reads_the_fan_out_too(name):
    few, many = (draw(name, fan_in=np.full(4, 10), fan_out=np.full(4, f)) for f in (10, 70))
    np.testing.assert_allclose(few / many, 2, rtol=1e-12)


@pytest.mark.parametrize("name", list(INITIALIZERS))
def test_dtype_seed_and_no_connections(name):
    single, double = draw(name, np.float32), draw(name, np.float64)

    assert (single.dtype, double.dtype, single.shape) == (np.float32, np.float64, (N,))
    np.testing.assert_array_equal(single, double.astype(np.float32))
    np.testing.assert_array_equal(single, draw(name, np.float32))
    assert draw(name, fan_in=np.empty(0, int), fan_out=np.empty(0, int)).shape == (0,)
    if name not in ("zeros", "ones"):
        assert not np.array_equal(single, draw(name, np.float32, seed=1))


def test_constants_numbers_and_arrays():
    three = np.full(3, 1)
    given = np.array([1.0, 2.0, 3.0])
    result = draw(given, fan_in=three, fan_out=three)

    assert draw("zeros", fan_in=three, fan_out=three).tolist() == [0, 0, 0]
    assert draw("ones", fan_in=three, fan_out=three).tolist() == [1, 1, 1]
    assert draw(0.5, fan_in=three, fan_out=three).tolist() == [0.5, 0.5, 0.5]
    assert draw([1, 2, 3], np.float32, fan_in=three, fan_out=three).dtype == np.float32
    assert result.tolist() == [1, 2, 3]
    assert not np.shares_memory(result, given)


def test_function_gets_the_fans_and_the_generator():
    fan_in, fan_out = np.array([1, 2]), np.array([3, 4])
    result = draw(lambda i, o, rng: i + 10 * o + rng.random(2), fan_in=fan_in, fan_out=fan_out)

    np.testing.assert_array_equal(result, [31, 42] + np.random.default_rng(0).random(2))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ([1.0, 2.0], r"3 connections need shape \(3,\), not \(2,\)"),
        (np.ones((3, 1)), "need shape"),
        ([1.0, math.nan, 2.0], "entry 1 is nan"),
        (math.inf, "entry 0 is inf, which is not a finite number"),
        ([0, 0, 1e300], "entry 2 is 1e.300, which is too large for float32"),
        ([1j, 0, 0], "complex"),
        (["a", "b", "c"], "real numbers"),
        ([1.0, [2.0], 3.0], "not an array of numbers"),
        (None, "real numbers"),
        (lambda i, o, rng: np.ones(2), "need shape"),
        (lambda i, o, rng: None, "real numbers"),
        (lambda i, o, rng: [1, 2, math.nan], "entry 2 is nan"),
    ],
)
def test_refuses(spec, message):
    with pytest.raises(InvalidValueError, match=message):
        draw(spec, np.float32, fan_in=np.ones(3, int), fan_out=np.ones(3, int))


def test_unknown_name_lists_the_known():
    with pytest.raises(UnknownNameError) as caught:
        draw("kaiming")
    assert all(name in str(caught.value) for name in INITIALIZERS)


def test_fans_of_unequal_length():
    with pytest.raises(InvalidValueError, match="one entry for each connection"):
        draw("he", fan_in=np.ones(3, int), fan_out=np.ones(2, int))
