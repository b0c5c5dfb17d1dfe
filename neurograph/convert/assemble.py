"""The last step of every import: arrays of neurons and connections become a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..checks import require
from ..errors import CycleError, DuplicateConnectionError, InvalidValueError
from ..network import Network
from ..wiring import feedback_connections, find_cycle

ON_CYCLE = ("error", "delay", "all")
ON_INPUT = ("error", "feed", "drop")


def assemble(
    n_neurons: int,
    source: np.ndarray,
    target: np.ndarray,
    inputs: np.ndarray,
    outputs: np.ndarray,
    weight: np.ndarray | None = None,
    drawn: np.ndarray | None = None,
    delay: np.ndarray | int = 0,
    frozen: np.ndarray | None = None,
    initializer: Any = "he",
    columns: Mapping[str, Any] | None = None,
    labels: Sequence[Any] | None = None,
    names: Sequence[str | None] | None = None,
    on_cycle: str = "error",
    on_input: str = "error",
    seed: int = 0,
    dtype: Any = "float32",
    backend: str = "auto",
) -> Network:
    """Make a network of arrays; neuron i gets id i.

    Parameters
    ----------
    n_neurons : int
    source, target : array of int, shape (n,)
        Ends of the connections, 0 to ``n_neurons - 1``.
    inputs, outputs : array of int
        Neurons of X's columns and of the prediction's, in this order. Groups "inputs" and "outputs" keep them.
    weight : array, shape (n,), optional
        Weights; without it all are drawn.
    drawn : array of bool, shape (n,), optional
        Where weights are drawn although ``weight`` is given.
    delay : int or array of int, shape (n,)
    frozen : array of bool, shape (n,), optional
        Weights that training leaves alone.
    initializer : optional
        Draws weights, as in `Network.connect`.
    columns : mapping, optional
        Keyword arguments of `Network.add_neurons`, one value for each neuron.
    labels, names : sequence, optional
        What the user calls the neurons, for messages; and their names in the network.
    on_cycle : {"error", "delay", "all"}
        Connections without delay that close cycles: refuse and name one cycle, give a small set of them
        (`feedback_connections`) delay 1, or give every connection delay 1.
    on_input : {"error", "feed", "drop"}
        An input neuron holds X and takes no connections. Where the graph feeds one all the same: refuse; give every
        input a neuron of its own that feeds it through a frozen connection of weight 1 without delay, so that the
        neurons keep all their connections (group "fed"); or leave those connections out.
    seed, dtype, backend : optional
        As in `Network`.

    Raises
    ------
    CycleError, DuplicateConnectionError, InvalidValueError
        Each names the neurons as the user does.
    """
    one_of("on_cycle", on_cycle, ON_CYCLE)
    one_of("on_input", on_input, ON_INPUT)
    call = (lambda i: repr(labels[i])) if labels is not None else str
    for what, chosen in (("inputs", inputs), ("outputs", outputs)):
        values, counts = np.unique(chosen, return_counts=True)
        if len(values) < len(chosen):
            raise InvalidValueError(f"{call(values[counts.argmax()])} occurs twice in {what}; name each neuron once")
    delays = np.broadcast_to(np.asarray(delay, np.int64), source.shape).copy()
    is_input = np.zeros(n_neurons, bool)
    is_input[inputs] = True
    fed = is_input[target]
    if fed.any() and on_input == "error":
        first = np.flatnonzero(fed)[0]
        raise InvalidValueError(
            f"input {call(target[first])} has incoming connections ({fed.sum()} go into inputs, the first from "
            f'{call(source[first])}), but an input neuron only holds its column of X; say on_input="feed" to give each '
            f'input a neuron of its own that feeds it, or on_input="drop" to leave these connections out'
        )
    if fed.any() and on_input == "drop":
        source, target, delays = source[~fed], target[~fed], delays[~fed]
        weight = weight if weight is None else weight[~fed]
        drawn = drawn if drawn is None else drawn[~fed]
        frozen = frozen if frozen is None else frozen[~fed]
    if on_cycle == "all":
        delays = np.maximum(delays, 1)
    elif on_cycle == "delay":
        instant = np.flatnonzero(delays == 0)
        delays[instant[feedback_connections(source[instant], target[instant], n_neurons)]] = 1

    net = Network(seed=seed, dtype=dtype, backend=backend)
    given = dict(columns or {})
    # Runs of neurons of the same kind are added together, so that ids ascend as the neurons do.
    separate = is_input if on_input != "feed" else np.zeros(n_neurons, bool)
    for run in np.split(np.arange(n_neurons), np.flatnonzero(np.diff(separate)) + 1):
        if len(run) and separate[run[0]]:
            net.add_inputs(len(run))
        elif len(run):
            part: dict[str, Any] = {name: [values[i] for i in run] for name, values in given.items()}
            net.add_neurons(len(run), **part)
    if names is not None:
        net.neurons.names = names
    if weight is None:
        weight, drawn = np.zeros(len(source)), np.ones(len(source), bool)
    try:
        conns = net.add_connections(source, target, weight=weight, delay=delays)
    except CycleError:
        instant = np.flatnonzero(delays == 0)
        cycle = find_cycle(source[instant], target[instant], n_neurons)
        shown = " -> ".join(call(i) for i in [*cycle[:8], *(cycle[:1] if len(cycle) <= 8 else [])])
        raise CycleError(
            f"connections without delay close a cycle: {shown}{' -> ...' if len(cycle) > 8 else ''}; say "
            'on_cycle="delay" to give a small set of feedback connections delay 1, or on_cycle="all" to give it to all'
        ) from None
    except DuplicateConnectionError:
        u, v, d = first_duplicate(source, target, delays)
        raise DuplicateConnectionError(
            f"{call(u)} -> {call(v)} occurs more than once with delay {d}; merge such connections first, or give "
            "them different delays"
        ) from None
    if drawn is not None and drawn.any():
        conns[drawn].initialize(initializer)
    if frozen is not None and frozen.any():
        conns[frozen].frozen = True
    if on_input == "feed" and len(inputs):
        feed = net.add_inputs(len(inputs), name="inputs")
        net.add_connections(feed.ids, inputs, weight=1.0).frozen = True
        net.group(inputs, name="fed")
    elif len(inputs):
        net.order_inputs(inputs)
        net.group(inputs, name="inputs")
    if len(outputs):
        net.mark_outputs(outputs)
        net.group(outputs, name="outputs")
    return net


def first_duplicate(source: np.ndarray, target: np.ndarray, delay: np.ndarray) -> tuple[int, int, int]:
    """Source, target and delay of a connection that occurs more than once."""
    order, fresh = _grouped(source, target, delay)
    again = order[np.flatnonzero(~fresh)[0]]
    return int(source[again]), int(target[again]), int(delay[again])


def merge_duplicates(
    source: np.ndarray, target: np.ndarray, delay: np.ndarray, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Each (source, target, delay) once, where it occurs first, with the sum of the weights."""
    order, fresh = _grouped(source, target, delay)
    if fresh.all():
        return source, target, delay, weight
    starts = np.flatnonzero(fresh)
    first = order[starts]  # the sort is stable
    back = np.argsort(first, kind="stable")
    summed = None if weight is None else np.add.reduceat(weight[order], starts)[back]
    kept = first[back]
    return source[kept], target[kept], delay[kept], summed


def _grouped(source: np.ndarray, target: np.ndarray, delay: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An order in which equal (source, target, delay) stand together, and where in it each begins."""
    if len(source) == 0:
        return np.zeros(0, np.int64), np.zeros(0, bool)
    width, depth = int(target.max()) + 1, int(delay.max()) + 1
    if delay.min() >= 0 and (int(source.max()) + 1) * width * depth < 2**63:  # one key sorts much faster than three
        key = (source * width + target) * depth + delay
        order = np.argsort(key, kind="stable")
        key = key[order]
        return order, np.append(True, key[1:] != key[:-1])
    order = np.lexsort((delay, target, source))
    rows = np.stack([source, target, delay])[:, order]
    return order, np.append(True, (rows[:, 1:] != rows[:, :-1]).any(axis=0))


def one_of(what: str, value: Any, known: tuple[str, ...]) -> None:
    """Refuse a choice that does not exist."""
    require(value in known, f"{what} is {value!r}; known are {', '.join(map(repr, known))}")


def places(members: Iterable[Any], index: Mapping[Any, int], what: str, where: str) -> np.ndarray:
    """Indices of the neurons that a user names."""
    require(
        not isinstance(members, str | bytes), f"{what} is {members!r}; give a list, such as [{members!r}], not one name"
    )
    chosen = list(members)
    for member in chosen:
        require(member in index, f"{what} names {member!r}, which is not in {where}")
    return np.array([index[member] for member in chosen], np.int64)


def numbers(values: Sequence[Any] | np.ndarray, what: str, at: Callable[[int], str]) -> np.ndarray:
    """A float64 array of values that are numbers; ``at(i)`` says where the i-th stands."""
    if not (isinstance(values, np.ndarray) and values.dtype.kind in "fiub"):
        for i, value in enumerate(values.tolist() if isinstance(values, np.ndarray) else values):
            if not isinstance(value, int | float | np.number | np.bool_):
                raise InvalidValueError(
                    f"{what} of {at(i)} is {value!r}, which is no number; convert it first, or leave it out"
                )
    array = np.asarray(values, np.float64)
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise InvalidValueError(f"{what} of {at(bad[0])} is {array[bad[0]]}; give a finite number, or leave it out")
    return array
