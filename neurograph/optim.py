"""Optimizers: SGD, Adam, AdamW, RMSprop, with PyTorch's formulas, names and defaults.

An optimizer here is only its hyper-parameters. What it has learned, moments and step number, lives in the network, in
columns over the same slots as the weights. So a saved network continues where it stopped, an edit between two steps
costs a surviving connection nothing of its state, and a new connection starts from zero.

Adam's bias correction counts the steps of the network, ``net.counters["adam"]``, not the age of each connection: the
zero moments of a connection grown late are not corrected for. Under Adam's defaults and a steady gradient it moves 3 to
7 times as far as the older ones at each of its first hundred steps or so.

Before the first ``net.backward`` all gradients are zero. A step is legal then; it counts, and moves what momentum or
weight decay move.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

from .errors import InvalidValueError
from .functions.schedules import Constant, Cosine, Cubic, Exponential, Iterative, Step, WarmUp
from .locks import alone

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Constant",
    "Cosine",
    "Cubic",
    "Exponential",
    "Iterative",
    "Optimizer",
    "RMSprop",
    "Step",
    "WarmUp",
]


class Optimizer(ABC):
    """What all optimizers share: a learning rate that may follow a schedule, and the step.

    Examples
    --------
    >>> isinstance(Adam(), Optimizer)
    True
    """

    lr: float | Callable[[int], float]
    #: Key of the step number in ``net.counters`` and prefix of the state columns.
    _name: ClassVar[str]

    @alone
    def step(self, net: Any) -> None:
        """Move every weight and bias of `net` along its gradient, in place.

        Parameters
        ----------
        net : Network
            ``net.backward`` has filled the gradients.

        Raises
        ------
        InvalidValueError
            The schedule returned something that is no learning rate. Nothing has changed then.
        """
        done = net.counters.get(self._name, 0)
        lr = self._learning_rate(done)
        backend = net.backend
        for block in net.parameters(native=True):
            with block.holding_frozen():
                self._update(backend, block, done + 1, lr)
        net.counters[self._name] = done + 1

    @abstractmethod
    def _update(self, backend: Any, block: Any, step: int, lr: float) -> None:
        """Update one block of parameters; `step` is 1 for the first."""

    def _learning_rate(self, step: int) -> float:
        if not callable(self.lr):
            return self.lr
        lr = self.lr(step)
        if not _is_number(lr) or not 0 <= lr < math.inf:
            raise InvalidValueError(
                f"the learning-rate schedule returned {lr!r} at step {step}; it must return a finite number, at least 0"
            )
        return float(lr)

    def _state(self, block: Any, column: str) -> Any:
        return block.state(f"{self._name}_{column}")


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum and Nesterov momentum if wanted (as ``torch.optim.SGD``).

    Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning".

    Parameters
    ----------
    lr : float or callable
        Learning rate, or a schedule: a function of the 0-based step.
    momentum : float
        In [0, 1). State: one column, ``sgd_velocity``, only with momentum.
    nesterov : bool
        Look ahead along the velocity; needs momentum.
    weight_decay : float
        Adds ``weight_decay * value`` to the gradient, of biases too.

    Raises
    ------
    InvalidValueError
        A value outside its range.

    Examples
    --------
    >>> SGD(lr=0.1, momentum=0.9, nesterov=True)
    SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.0)
    >>> SGD(lr=Step(0.1, every=1000, factor=0.5)).lr(2500)
    0.025
    """

    lr: float | Callable[[int], float]
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    _name = "sgd"

    def __post_init__(self) -> None:
        _check(self, "lr", "momentum", "weight_decay", below_one=("momentum",))
        if self.nesterov not in (True, False):
            raise InvalidValueError(f"SGD: nesterov must be True or False, not {self.nesterov!r}")
        if self.nesterov and self.momentum == 0:
            raise InvalidValueError("SGD: nesterov=True needs a momentum above 0, such as momentum=0.9")

    def _update(self, backend: Any, block: Any, step: int, lr: float) -> None:
        velocity = self._state(block, "velocity") if self.momentum else None
        backend.sgd(block.value, block.grad, velocity, lr, self.momentum, self.nesterov, self.weight_decay)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, "Adam: a method for stochastic optimization", as ``torch.optim.Adam``).

    State: two columns, ``adam_m`` and ``adam_v``, and the counter ``adam``; `AdamW` goes on with the same ones.

    Parameters
    ----------
    lr : float or callable
        Learning rate, or a schedule: a function of the 0-based step.
    betas : (float, float)
        Decay of the running means of the gradient and of its square, each in [0, 1).
    eps : float
        Added to the root of the second, above 0.
    weight_decay : float
        Adds ``weight_decay * value`` to the gradient, of biases too.

    Raises
    ------
    InvalidValueError
        A value outside its range.

    Examples
    --------
    >>> Adam(lr=WarmUp(1e-3, steps=100)).lr(49)
    0.0005
    >>> Adam(betas=(0.9, 1.0))
    Traceback (most recent call last):
    neurograph.errors.InvalidValueError: Adam: betas[1] must be at least 0 and below 1, not 1.0
    """

    lr: float | Callable[[int], float] = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    _name = "adam"
    _decoupled: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check(self, "lr", "eps", "weight_decay", above_zero=("eps",))
        name = type(self).__name__
        try:
            betas = tuple(self.betas)
        except TypeError:
            betas = ()
        if len(betas) != 2:
            raise InvalidValueError(f"{name}: betas must be a pair such as (0.9, 0.999), not {self.betas!r}")
        for i, beta in enumerate(betas):
            if not _is_number(beta) or not 0 <= beta < 1:
                raise InvalidValueError(f"{name}: betas[{i}] must be at least 0 and below 1, not {beta!r}")
        object.__setattr__(self, "betas", (float(betas[0]), float(betas[1])))

    def _update(self, backend: Any, block: Any, step: int, lr: float) -> None:
        backend.adam(
            block.value, block.grad, self._state(block, "m"), self._state(block, "v"), step, lr, *self.betas, self.eps,
            self.weight_decay, self._decoupled,
        )  # fmt: skip


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, as ``torch.optim.AdamW``).

    Parameters
    ----------
    lr, betas, eps
        As in `Adam`, whose state columns and step counter it shares.
    weight_decay : float
        Every step multiplies the values, biases too, by ``1 - lr * weight_decay``.

    Examples
    --------
    >>> AdamW(lr=3e-4)
    AdamW(lr=0.0003, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01)
    """

    weight_decay: float = 1e-2

    _decoupled = True


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """RMSprop (Tieleman & Hinton 2012, lecture 6.5 of "Neural networks for machine learning").

    As ``torch.optim.RMSprop``. State: the column ``rmsprop_square``, and with momentum ``rmsprop_velocity``.

    Parameters
    ----------
    lr : float or callable
        Learning rate, or a schedule: a function of the 0-based step.
    alpha : float
        Decay of the running mean of the squared gradient, in [0, 1).
    eps : float
        Added to its root, above 0.
    weight_decay : float
        Adds ``weight_decay * value`` to the gradient, of biases too.
    momentum : float
        In [0, 1).

    Raises
    ------
    InvalidValueError
        A value outside its range.

    Examples
    --------
    >>> RMSprop(alpha=0.9).alpha
    0.9
    """

    lr: float | Callable[[int], float] = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0

    _name = "rmsprop"

    def __post_init__(self) -> None:
        _check(
            self, "lr", "alpha", "eps", "weight_decay", "momentum", below_one=("alpha", "momentum"), above_zero=("eps",)
        )

    def _update(self, backend: Any, block: Any, step: int, lr: float) -> None:
        velocity = self._state(block, "velocity") if self.momentum else None
        backend.rmsprop(
            block.value, block.grad, self._state(block, "square"), velocity, lr, self.alpha, self.eps, self.momentum,
            self.weight_decay,
        )  # fmt: skip


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _check(
    optimizer: Optimizer, *names: str, below_one: tuple[str, ...] = (), above_zero: tuple[str, ...] = ()
) -> None:
    """Require finite numbers of at least 0 (or above 0, or below 1) and store floats; `lr` may be a schedule."""
    for name in names:
        value = getattr(optimizer, name)
        if name == "lr" and callable(value):
            continue
        upper = 1.0 if name in below_one else math.inf
        if not _is_number(value) or not 0 <= value < upper or (name in above_zero and value == 0):
            lower = "above 0" if name in above_zero else "at least 0"
            wanted = f"{lower} and below 1" if name in below_one else f"a finite number {lower}"
            hint = ", or a schedule" if name == "lr" else ""
            raise InvalidValueError(f"{type(optimizer).__name__}: {name} must be {wanted}{hint}, not {value!r}")
        object.__setattr__(optimizer, name, float(value))
