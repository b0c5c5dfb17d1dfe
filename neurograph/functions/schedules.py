"""Values that change over the steps of a training run: learning rates, sparsities, fractions.

A schedule is any function of the 0-based step. Those here are frozen dataclasses: they compare, print and hash by
value.
"""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

from ..errors import InvalidValueError

Schedule = Callable[[int], float]


def as_schedule(value: float | Schedule) -> Schedule:
    """Return a function of the step: a number becomes `Constant`, a callable is returned as it is.

    Raises
    ------
    InvalidValueError
        `value` is neither a finite number nor callable.

    Examples
    --------
    >>> as_schedule(0.1)
    Constant(value=0.1)
    """
    if callable(value):
        return value
    if not _is_finite_number(value):
        raise InvalidValueError(f"a schedule is a finite number or a function of the step, not {value!r}")
    return Constant(value)


def _is_finite_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)


class _Checked:
    """Checks the fields when the object is made: ints have to be whole, at least 1, floats finite."""

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.type is int:
                value = self._whole(field.name, value)
            elif field.type is float:
                value = self._finite(field.name, value)
            object.__setattr__(self, field.name, value)  # the dataclasses are frozen

    def _whole(self, name: str, value: Any) -> int:
        lowest = 0 if name == "begin" else 1
        try:
            whole = operator.index(value)
        except TypeError:
            whole = -1
        if whole < lowest or isinstance(value, bool):
            raise InvalidValueError(
                f"{type(self).__name__}: {name} needs a whole number of steps, at least {lowest}, not {value!r}"
            )
        return whole

    def _finite(self, name: str, value: Any) -> float:
        if not _is_finite_number(value):
            raise InvalidValueError(f"{type(self).__name__}: {name} needs a finite number, not {value!r}")
        return float(value)


@dataclass(frozen=True)
class Constant(_Checked):
    """The same value at every step.

    Parameters
    ----------
    value : float

    Examples
    --------
    >>> Constant(0.1)(1000)
    0.1
    """

    value: float

    def __call__(self, step: int) -> float:
        return self.value


@dataclass(frozen=True)
class Step(_Checked):
    """`value`, multiplied by `factor` again after each `every` steps (PyTorch's StepLR).

    Parameters
    ----------
    value : float
    every : int
        Steps between two changes, at least 1.
    factor : float

    Examples
    --------
    >>> [Step(1.0, every=2, factor=0.5)(step) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    value: float
    every: int
    factor: float

    def __call__(self, step: int) -> float:
        return self.value * self.factor ** (int(step) // self.every)


@dataclass(frozen=True)
class Cosine(_Checked):
    """Half a cosine wave from `start` at step 0 to `end` at step `steps`, and `end` from then on.

    Loshchilov and Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts", eq. 5, without the restarts.

    Parameters
    ----------
    start : float
    steps : int
        At least 1.
    end : float, optional

    Examples
    --------
    >>> [round(Cosine(1.0, steps=4)(step), 3) for step in range(6)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """

    start: float
    steps: int
    end: float = 0.0

    def __call__(self, step: int) -> float:
        if step >= self.steps:
            return self.end
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * step / self.steps)) / 2


@dataclass(frozen=True)
class Cubic(_Checked):
    """From `start` to `end`, fast at first and slower and slower: how gradual pruning raises the sparsity.

    Zhu and Gupta 2017, "To prune, or not to prune: exploring the efficacy of pruning for model compression", eq. 1:
    ``s_t = s_f + (s_i - s_f) * (1 - (t - t0) / (n dt)) ** 3``. `steps` is n dt, the length of the whole ramp.

    Parameters
    ----------
    start, end : float
        The value until step `begin`, and from step `begin + steps` on.
    begin : int
        At least 0.
    steps : int
        At least 1.

    Examples
    --------
    >>> [round(Cubic(0.0, 0.8, begin=1, steps=2)(step), 3) for step in range(5)]
    [0.0, 0.0, 0.7, 0.8, 0.8]
    """

    start: float
    end: float
    begin: int
    steps: int

    def __call__(self, step: int) -> float:
        if step <= self.begin:
            return self.start
        if step >= self.begin + self.steps:
            return self.end
        return self.end + (self.start - self.end) * (1 - (int(step) - self.begin) / self.steps) ** 3


@dataclass(frozen=True)
class Exponential(_Checked):
    """`value`, multiplied by `factor` every `steps` steps, smoothly (TensorFlow's ExponentialDecay), down to `end`.

    Parameters
    ----------
    value : float
    steps : int
        Steps in which the value becomes `factor` times as large, at least 1.
    factor : float
    end : float, optional
        The value never crosses it.

    Examples
    --------
    >>> [Exponential(1.0, steps=2, factor=0.25, end=0.1)(step) for step in range(5)]
    [1.0, 0.5, 0.25, 0.125, 0.1]
    """

    value: float
    steps: int
    factor: float
    end: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.factor <= 0:
            raise InvalidValueError(f"Exponential: factor needs a number above 0, not {self.factor!r}")

    def __call__(self, step: int) -> float:
        value = self.value * self.factor ** (step / self.steps)
        bound = max if self.value >= self.end else min
        return bound(value, self.end)


@dataclass(frozen=True)
class Iterative(_Checked):
    """A sparsity that rises in `rounds`, each of which takes the same share of what is left, up to `end`.

    Frankle and Carbin 2019, "The lottery ticket hypothesis", section 2: after round i of n a share
    ``(1 - end) ** (i / n)`` of the connections remains. The first round is at step `begin`, the last, and all after it,
    at ``begin + (rounds - 1) * every``.

    Parameters
    ----------
    end : float
        Sparsity after the last round, 0 to below 1.
    rounds : int
        At least 1.
    every : int
        Steps between two rounds, at least 1.
    begin : int, optional
        At least 0.

    Examples
    --------
    >>> [round(Iterative(0.75, rounds=2, every=10, begin=5)(step), 3) for step in (4, 5, 14, 15, 99)]
    [0.0, 0.5, 0.5, 0.75, 0.75]
    """

    end: float
    rounds: int
    every: int
    begin: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.end < 1:
            raise InvalidValueError(f"Iterative: end needs a sparsity from 0 to below 1, not {self.end!r}")

    def __call__(self, step: int) -> float:
        if step < self.begin:
            return 0.0
        done = min((int(step) - self.begin) // self.every + 1, self.rounds)
        return 1 - (1 - self.end) ** (done / self.rounds)


@dataclass(frozen=True)
class WarmUp(_Checked):
    """Another schedule, scaled by ``(step + 1) / steps`` during the first `steps` steps.

    The other schedule sees the same step, it is not shifted: its first `steps` steps are those that are scaled.
    Goyal et al. 2017, "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour", section 2.2.

    Parameters
    ----------
    schedule : float or callable
    steps : int
        At least 1.

    Examples
    --------
    >>> [WarmUp(1.0, steps=4)(step) for step in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """

    schedule: float | Schedule
    steps: int

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "schedule", as_schedule(self.schedule))

    def __call__(self, step: int) -> float:
        value = float(self.schedule(step))  # type: ignore[operator]
        return value if step >= self.steps else value * (int(step) + 1) / self.steps
