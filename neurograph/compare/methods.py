"""The methods that are compared, a short function each; a new one is a new function here, or anywhere with `method`.

Each gets a `Task` and returns a trained network of ``task.n_connections`` connections, or as near as the method comes.
All of ``task.epochs`` is spent, and no more; where a paper's method needs more its line says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .. import sparsity
from ..distillation import Distillation
from ..errors import InvalidValueError, UnknownNameError
from ..functions.schedules import Cosine
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


def rounds(steps: int, count: int = 20) -> int:
    """Steps between two edits, when there are to be `count` of them.

    Examples
    --------
    >>> rounds(1380), rounds(5)
    (69, 1)
    """
    return max(1, steps // count)


# -- what others are measured by ---------------------------------------------------------------------------------------


@method("dense", "every connection, none pruned", any_density=False)
def dense(task: Task) -> Network:
    """All connections from the first step to the last."""
    net = task.network()
    task.train(net)
    return net


@method("static", "a random mask that stays as it is")
def static(task: Task) -> Network:
    """Connections drawn once."""
    net = task.network(task.density)
    task.train(net)
    return net


# -- dense first, then pruned ------------------------------------------------------------------------------------------


@method("one-shot", "dense for half of the steps, smallest weights removed at once, trained on for the other half")
def one_shot(task: Task) -> Network:
    """`prune_lowest` and the rest of the training."""
    net, first = task.network(), task.epochs // 2
    task.train(net, epochs=first)
    sparsity.prune_lowest(net, "magnitude", count=net.n_connections - task.n_connections)
    task.train(net, epochs=task.epochs - first)
    return net


@method("GradualMagnitude", "smallest weights removed little by little, over the middle half of the steps")
def gradual_magnitude(task: Task) -> Network:
    """Zhu & Gupta (2017)."""
    net, begin, end = task.network(), task.steps // 4, 3 * task.steps // 4
    sparsity_ = 1 - task.n_connections / task.dense_connections
    task.train(net, sparsity.GradualMagnitude(sparsity_, begin, max(end, begin + 1), rounds(end - begin)))
    return net


# -- sparse from the first step ----------------------------------------------------------------------------------------


@method("SET", "smallest weights replaced by random new ones, as many, in the first three quarters")
def set_(task: Task) -> Network:
    """Mocanu et al. (2018)."""
    net, last = task.network(task.density), 3 * task.steps // 4
    task.train(net, sparsity.SET(Cosine(0.3, max(last, 1)), rounds(last), stop=last))
    return net


@method("distilled", "static, taught by a dense network, whose training is as long again")
def distilled(task: Task) -> Network:
    """Hinton, Vinyals & Dean (2015), with a random mask as the student."""
    teacher, net = task.network(), task.network(task.density)
    task.train(teacher)
    task.train(net, loss=Distillation(teacher, temperature=2.0, alpha=0.5))
    return net
