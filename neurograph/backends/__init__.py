"""RUN: the backends. Each is a module with the same few functions over a `Plan`.

``forward(plan, X, keep, reuse, state) -> Pass`` runs a batch (batch, steps, n_inputs), an array or something that numpy
makes one of and that has ``rows``, a SciPy matrix, ``backward(plan, run, gradient, add, later, constant_state)`` fills
the gradients of the graph's tables and returns what the pass over earlier steps needs as ``later``,
``stream(plan, X, batch_size, reuse)`` may compute the outputs without keeping a pass,
``footprint(plan, batch, steps, keep)`` counts the bytes of a pass, ``prepare(plan)`` decides what the first pass would,
``predict_packed(packed, X, batch_size)`` runs a frozen network, ``all_finite(X)`` looks for what is not a number,
``column(table, name, write)`` hands out a column of a table where the backend has it, ``spread(sharing)`` and
``collect(sharing)`` bring shared parameters to their tenants and their gradients back,
and ``sgd``, ``adam`` and ``rmsprop`` update parameters in place. A `Pass` offers ``outputs``,
``activations(slots, first)``, ``output(slot)``, ``error(slot)``, ``state()`` and ``nbytes``. ``LOSSES`` are functions
that stand for some of the losses by name.
"""

from __future__ import annotations

import importlib
from functools import cache
from types import ModuleType

from ..errors import NotSupportedError, UnknownNameError
from .state import State

__all__ = ["EXTRA", "NAMES", "State", "available_backends", "get_backend", "resolve"]

NAMES = ("reference", "cpu")
#: Modules of backends that tests add by name: they can be asked for, and are shown nowhere.
EXTRA: dict[str, str] = {}


def available_backends() -> tuple[str, ...]:
    """Names of the backends that can run here.

    Examples
    --------
    >>> available_backends()
    ('reference', 'cpu')
    """
    return NAMES


def resolve(name: str) -> str:
    """The backend that a name stands for: "auto" is the fastest one that can run here.

    Raises
    ------
    NotSupportedError
        For "gpu", which this version does not have.
    UnknownNameError
        For any other name; the known ones are listed.
    """
    if name == "auto":
        return "cpu"
    if name == "gpu":
        raise NotSupportedError('backend "gpu" is not part of this version; use backend="cpu" or "auto"')
    if name not in NAMES and name not in EXTRA:
        raise UnknownNameError(f"unknown backend {name!r}; known: auto, {', '.join(NAMES)}")
    return name


@cache
def get_backend(name: str) -> ModuleType:
    """Import and return the module of a backend."""
    name = resolve(name)
    return importlib.import_module(EXTRA.get(name, f"{__name__}.{name}"))
