"""The methods that are compared, by name: those of `published`, and any other function that `method` adds.

Each gets a `Task` and returns a trained network of ``task.n_connections`` connections, or as near as the method comes.
All of ``task.epochs`` is spent, and no more; where a paper's method needs more its line says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import InvalidValueError, UnknownNameError
from ..network import Network
from .task import Task

__all__ = ["METHODS", "Method", "find", "method"]

Run = Callable[[Task], Network]


@dataclass(frozen=True)
class Method:
    """A method by its name.

    Parameters
    ----------
    name : str
    about : str
        One line.
    run : function
        Takes a `Task`, returns the trained network.
    any_density : bool
        False where the method has one density of its own, and is measured once a seed.

    Examples
    --------
    >>> METHODS["dense"].any_density
    False
    """

    name: str
    about: str
    run: Run
    any_density: bool = True


METHODS: dict[str, Method] = {}


def method(name: str, about: str, any_density: bool = True) -> Callable[[Run], Run]:
    """Add the function below to `METHODS`.

    Parameters
    ----------
    name, about, any_density
        As in `Method`.

    Raises
    ------
    InvalidValueError
        The name is taken.

    Examples
    --------
    >>> @method("half", "dense, for half of the steps", any_density=False)
    ... def half(task):
    ...     net = task.network()
    ...     task.train(net, epochs=task.epochs // 2)
    ...     return net
    >>> METHODS.pop("half").about
    'dense, for half of the steps'
    """
    if name.lower() in (known.lower() for known in METHODS):
        raise InvalidValueError(f"there is a method {name!r} already; take another name")

    def add(run: Run) -> Run:
        METHODS[name] = Method(name, about, run, any_density)
        return run

    return add


def find(name: str) -> Method:
    """The method of a name, in capitals or not.

    Examples
    --------
    >>> find("set").name
    'SET'
    """
    for known in METHODS.values():
        if known.name.lower() == name.lower():
            return known
    raise UnknownNameError(f"There is no method {name!r}. Known methods: {', '.join(METHODS)}.")
