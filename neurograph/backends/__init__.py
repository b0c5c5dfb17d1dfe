"""RUN: the backends. Each is a module with the same few functions over a `Plan`.

``forward(plan, X, keep, reuse, state) -> Pass`` runs a batch (batch, steps, n_inputs), an array or something that numpy
makes one of and that has ``rows``, a SciPy matrix, ``backward(plan, run, gradient, add, later, constant_state)`` fills
the gradients of the graph's tables and returns what the pass over earlier steps needs as ``later``,
``differentiate(plan, X, loss, Y, reuse)`` may do all of that at once, and else returns None,
``stream(plan, X, batch_size, reuse)`` may compute the outputs without keeping a pass,
``footprint(plan, batch, steps, keep)`` counts the bytes of a pass, ``prepare(plan)`` decides what the first pass would,
``predict_packed(packed, X, batch_size)`` runs a frozen network, ``all_finite(X)`` looks for what is not a number,
``column(table, name, write)`` hands out a column of a table where the backend has it, ``spread(sharing)`` and
``collect(sharing)`` bring shared parameters to their tenants and their gradients back,
``lowest(table, score, slots, counts, regions)`` chooses the slots that score lowest by one of the ``SCORES``,
``accept(X)`` takes an X that is on a GPU to where the backend reads it, ``available()`` says how many bytes are free
for passes, and ``sgd``, ``adam`` and ``rmsprop`` update parameters in place. A `Pass` offers ``outputs``, of NumPy, and
``device_outputs``, where the backend has them, ``activations(slots, first)``, ``output(slot)``, ``error(slot)``,
``state()`` and ``nbytes``. ``LOSSES`` are functions that stand for some of the losses by name.
"""

from __future__ import annotations

import importlib
from functools import cache
from types import ModuleType

from ..errors import UnknownNameError
from . import device
from .state import State

__all__ = ["EXTRA", "NAMES", "State", "available_backends", "elsewhere", "get_backend", "resolve"]

NAMES = ("reference", "cpu", "gpu")
#: Modules of backends that tests add by name: they can be asked for, and are shown nowhere.
EXTRA: dict[str, str] = {}
# Connections a generation from which "auto" takes a GPU. Launching the kernels of a generation costs some 20 us, in
# which two cores get through about a million products: 10,000 connections, 100 samples. An estimate, not yet measured.
PAYS = 10_000


def available_backends() -> tuple[str, ...]:
    """Names of the backends that can run here.

    Examples
    --------
    >>> available_backends()[:2]
    ('reference', 'cpu')
    """
    return tuple(name for name in NAMES if name != "gpu" or device.problem() is None)


def resolve(name: str, connections: int = 0, generations: int = 1, now: str = "cpu") -> str:
    """The backend that a name stands for; "auto" is the one that should be the fastest for a network.

    Large networks are faster on a GPU, but each generation costs it the launch of a few kernels, however small. So
    "auto" takes the GPU from `PAYS` connections a generation on, and leaves it again below half of that. Where that
    many are there and no GPU can be used, it says once, through the logger "neurograph", what is missing, unless there
    is neither an NVIDIA GPU nor CuPy.

    Parameters
    ----------
    name : str
    connections, generations : int
        Size of the network, for "auto".
    now : str
        What "auto" stood for last.

    Raises
    ------
    NotSupportedError
        For "gpu" where none can be used; the message says what is missing.
    UnknownNameError
        For a name that is none; those that are known are listed.

    Examples
    --------
    >>> resolve("auto"), resolve("reference")
    ('cpu', 'reference')
    """
    if name == "auto":
        if connections < PAYS * max(generations, 1) / (2 if now == "gpu" else 1):
            return "cpu"
        if (missing := device.problem()) is None:
            return "gpu"
        if device.worth_telling():
            _tell(f'backend "auto" runs on the CPU, for no GPU can be used: {missing}')
        return "cpu"
    if name not in NAMES and name not in EXTRA:
        raise UnknownNameError(f"unknown backend {name!r}; known: auto, {', '.join(NAMES)}")
    if name == "gpu":
        device.require()
    return name


def elsewhere(name: str) -> str:
    """What the backend of a network saved elsewhere stands for here: "auto", with a warning, for a "gpu" not there."""
    if name == "gpu" and (missing := device.problem()) is not None:
        _tell(f'a network saved with backend "gpu" is loaded with backend "auto", for no GPU can be used: {missing}')
        return "auto"
    return name


@cache
def get_backend(name: str) -> ModuleType:
    """Import and return the module of a backend."""
    name = resolve(name)
    return importlib.import_module(EXTRA.get(name, f"{__name__}.{name}"))


@cache
def _tell(message: str) -> None:
    """Log a message, the first time only."""
    import logging

    logging.getLogger("neurograph").warning(message)
