"""Schedules: hand values, PyTorch's schedulers, the paper's formula, refusals."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurograph.errors import InvalidValueError
from neurograph.functions.schedules import Constant, Cosine, Cubic, Exponential, Iterative, Step, WarmUp, as_schedule


def by_pytorch(make_scheduler, lr, n_steps):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler, rates = make_scheduler(torch.optim.lr_scheduler, optimizer), []
    for _ in range(n_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_step_equals_pytorch():
    expected = by_pytorch(lambda module, opt: module.StepLR(opt, 7, gamma=0.3), 0.5, 40)
    np.testing.assert_allclose([Step(0.5, every=7, factor=0.3)(t) for t in range(40)], expected, rtol=1e-12)


def test_cosine_equals_pytorch_and_then_stays():
    expected = by_pytorch(lambda module, opt: module.CosineAnnealingLR(opt, 20, eta_min=0.01), 0.5, 21)
    schedule = Cosine(0.5, steps=20, end=0.01)

    np.testing.assert_allclose([schedule(t) for t in range(21)], expected, rtol=1e-12)
    assert schedule(21) == schedule(10_000) == 0.01


def test_warm_up_equals_pytorch():
    expected = by_pytorch(lambda module, opt: module.LambdaLR(opt, lambda t: min(1, (t + 1) / 5)), 0.4, 9)
    np.testing.assert_allclose([WarmUp(0.4, steps=5)(t) for t in range(9)], expected, rtol=1e-12)


def test_warm_up_scales_the_schedule_inside():
    inner = Step(1.0, every=2, factor=0.5)
    assert [WarmUp(inner, steps=4)(t) for t in range(6)] == [0.25, 0.5, 0.375, 0.5, 0.25, 0.25]


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 50), st.integers(1, 100))
def test_cubic_is_equation_one_and_monotone(start, end, begin, steps):
    schedule = Cubic(start, end, begin=begin, steps=steps)
    ramp = [end + (start - end) * (1 - (t - begin) / steps) ** 3 for t in range(begin, begin + steps + 1)]
    values = [schedule(t) for t in range(begin + steps + 5)]

    np.testing.assert_allclose(values[begin : begin + steps + 1], ramp, atol=1e-12)
    assert set(values[:begin]) <= {start}
    assert values[begin] == start
    assert set(values[begin + steps :]) == {end}
    assert (np.diff(values) * math.copysign(1, end - start) >= -1e-12).all()


@pytest.mark.parametrize(
    "schedule",
    [
        Constant(np.float32(1)),
        Step(1, np.int64(2), 0.5),
        Cosine(1, 5),
        Cubic(0, 1, 0, 10),
        WarmUp(1, 5),
        WarmUp(Cosine(1, 9), 5),
        WarmUp(lambda step: np.float64(step), 5),
    ],
)
def test_result_is_a_plain_float_for_any_integer_step(schedule):
    assert {type(schedule(step)) for step in (0, 3, np.int64(3), np.int32(700))} == {float}


def test_schedules_are_values():
    assert Cosine(1.0, 5) == Cosine(1.0, steps=5, end=0.0)
    assert len({WarmUp(0.1, 5), WarmUp(Constant(0.1), 5), WarmUp(0.1, 6)}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        Constant(1.0).value = 2.0


def test_as_schedule():
    def halves(step):
        return 0.5**step

    assert as_schedule(halves) is halves
    assert as_schedule(np.float32(0.5)) == as_schedule(0.5) == Constant(0.5)
    for bad in ("0.1", None, math.nan, math.inf, True, 1j, [0.1]):
        with pytest.raises(InvalidValueError, match="finite number or a function"):
            as_schedule(bad)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant("0.1"), "Constant: value needs a finite number, not '0.1'"),
        (lambda: Constant(math.nan), "value needs a finite number"),
        (lambda: Step(1.0, every=0, factor=0.5), "Step: every needs a whole number of steps, at least 1, not 0"),
        (lambda: Step(1.0, every=1.5, factor=0.5), "every needs a whole number"),
        (lambda: Step(1.0, every=1, factor=math.inf), "factor needs a finite number"),
        (lambda: Cosine(1.0, steps=-3), "steps needs"),
        (lambda: Cosine(1.0, steps=True), "steps needs"),
        (lambda: Cubic(0.0, 1.0, begin=-1, steps=3), "begin needs a whole number of steps, at least 0"),
        (lambda: Cubic(0.0, None, begin=0, steps=3), "end needs"),
        (lambda: WarmUp(1.0, steps=0), "WarmUp: steps needs"),
        (lambda: WarmUp("cosine", steps=3), "finite number or a function"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(InvalidValueError, match=message):
        make()


def test_exponential_equals_pytorch_where_it_steps():
    expected = by_pytorch(lambda module, opt: module.ExponentialLR(opt, 0.9), 0.5, 30)
    np.testing.assert_allclose([Exponential(0.5, steps=5, factor=0.9**5)(t) for t in range(30)], expected, rtol=1e-12)
    assert Exponential(0.5, steps=5, factor=0.5, end=0.1)(1000) == 0.1
    assert Exponential(0.5, steps=5, factor=2.0, end=3.0)(1000) == 3.0  # upwards, too
    for factor in (0.0, -1.0, math.nan):
        with pytest.raises(InvalidValueError, match="factor"):
            Exponential(0.5, steps=5, factor=factor)


@given(st.floats(0, 0.999), st.integers(1, 20), st.integers(1, 50), st.integers(0, 30))
def test_iterative_takes_the_same_share_of_what_is_left_in_each_round(end, rounds, every, begin):
    schedule = Iterative(end, rounds, every, begin)
    left = [1 - schedule(t) for t in range(begin + rounds * every + 2)]
    assert set(left[:begin]) <= {1.0}
    levels = [left[begin + i * every] for i in range(rounds)]
    shares = np.array(levels) / np.array([1.0, *levels[:-1]])
    np.testing.assert_allclose(shares, (1 - end) ** (1 / rounds), rtol=1e-9)
    for i, level in enumerate(levels):
        assert set(left[begin + i * every : begin + (i + 1) * every]) == {level}
    assert left[-1] == levels[-1] == pytest.approx(1 - end)


def test_iterative_refuses_a_sparsity_of_one():
    for end in (1.0, -0.1):
        with pytest.raises(InvalidValueError, match="sparsity"):
            Iterative(end, 3, 10)
