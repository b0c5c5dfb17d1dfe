"""Network = graph + schedule + plan + backend: build it, edit it, run it, differentiate it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np

from . import backends, checks, sequences
from .backends import device, host
from .checks import require
from .errors import (
    CycleError,
    FileFormatError,
    InvalidValueError,
    NotSettledError,
    StaleError,
    UnknownNeuronError,
)
from .functions import activations, aggregations, arrays, initializers, losses
from .graph.graph import HIDDEN, INPUT, Graph
from .graph.sharing import Sharing, distinct
from .graph.views import Connection, Connections, Group, Neuron, column_of
from .locks import ALONE, alone
from .names import Names
from .parameters import Parameters
from .plan import Plan, lower
from .quantized import KIND, QuantizedNetwork
from .samples import DeviceRows, SparseSamples, inputs, one_step, unwrapped
from .sampling import FreePairs, draw_pairs, draw_successors, free_pairs
from .schedule import Schedule
from .sequences import State

LONGEST_DELAY = 2**15 - 1
PRECISIONS = ("float32", "tf32", "bf16")


class Network:
    """Neurons and connections in any shape, trainable, and editable between any two updates.

    Parameters
    ----------
    seed : int
        Seeds every random choice of this network.
    dtype : {"float32", "float64"}
    backend : {"auto", "cpu", "gpu", "reference"}
        What runs the network. "gpu" needs an NVIDIA GPU and CuPy, and says what is missing; "auto" takes it for large
        networks where there is one, and the CPU otherwise (see `runs_on`).
    precision : {"float32", "tf32", "bf16"}
        See the property.

    Attributes
    ----------
    backend_name : str
        As given; another one may be set at any time.
    last_outputs, last_targets : array
        What the loss of the last `backward` compared.

    Raises
    ------
    NotSupportedError, UnknownNameError
        For a backend that cannot run here, or that there is none of.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.Network(seed=0)
    >>> x = net.add_inputs(2, name="x")
    >>> h = net.add_neurons(3, activation="tanh")
    >>> y = net.add_outputs(1)
    >>> _ = net.connect(x, h)
    >>> _ = net.connect(x | h, y)
    >>> net.predict([[0.0, 1.0]]).shape, net.schedule.depth, net
    ((1, 1), 3, <Network: 6 neurons, 11 connections, 2 inputs, 1 outputs>)
    """

    def __init__(self, seed: int = 0, dtype: Any = "float32", backend: str = "auto", precision: str = "float32"):
        try:
            self.dtype = np.dtype(dtype)
        except TypeError:
            self.dtype = None
        require(self.dtype in (np.float32, np.float64), f"dtype must be float32 or float64, not {dtype!r}")
        require(isinstance(seed, int | np.integer) and seed >= 0, f"seed must be a non-negative integer, not {seed!r}")
        backends.resolve(backend)
        self.backend_name = backend
        self._auto = "cpu"  # what "auto" stood for when the plan was lowered
        self.seed = int(seed)
        self.rng = np.random.default_rng(seed)
        self.graph = Graph(self.dtype)
        self.counters: dict[str, int] = {}
        self.names = Names()
        self.last_targets: Any = None
        self._last_outputs: Any = None
        self._follow: Callable[[Any], Any] = arrays.to_host  # brings an array to where X was
        self.plans_lowered = 0
        self._groups: dict[str, Group] = {}
        self._schedule: Schedule | None = None
        self._plan: Plan | None = None
        self.precision = precision
        self._planned = -1
        self._pass: Any = None
        self._spare: Any = None  # the pass before: its memory serves the next one
        self._pass_whole = True  # False when it was the last piece of a large prediction
        self._pass_knows = 0  # ids below this one existed at the last pass
        self._pass_flat = True  # False when X had a time axis

    # -- build ---------------------------------------------------------------------------------------------------------

    def add_inputs(self, shape: int | tuple[int, ...], name: str | None = None) -> Group:
        """Add input neurons: they hold the columns of X, in the order in which they were added.

        Parameters
        ----------
        shape : int or tuple of int
            How many, or a shape in C order, such as (1, 28, 28).
        name : str, optional
            Name of the group in `groups`.

        Returns
        -------
        Group
        """
        return self._add(shape, name, INPUT, "identity", "sum", 0.0)

    def add_neurons(
        self,
        shape: int | tuple[int, ...],
        activation: Any = "relu",
        aggregation: Any = "sum",
        bias: Any = 0.0,
        name: str | None = None,
        time_constant: Any = 1.0,
    ) -> Group:
        """Add neurons.

        Parameters
        ----------
        shape : int or tuple of int
            How many, or a shape.
        activation, aggregation, bias : optional
            One value for all or one per neuron. An activation is a name or a pair such as ``("leaky_relu", 0.01)``.
        name : str, optional
            Name of the group in `groups`.
        time_constant : float or array
            In time steps, at least 1, one for all or one per neuron. A neuron's potential moves by 1 / time_constant of
            the way to what arrives at each step, ``v = (1 - 1/tau) * v + z / tau``, and its output is
            ``activation(v)``. 1, the default, forgets at once.

        Returns
        -------
        Group
        """
        return self._add(shape, name, HIDDEN, activation, aggregation, bias, time_constant)

    def add_outputs(
        self,
        shape: int | tuple[int, ...],
        activation: Any = "identity",
        aggregation: Any = "sum",
        bias: Any = 0.0,
        name: str | None = None,
        time_constant: Any = 1.0,
    ) -> Group:
        """Add neurons whose values are columns of the prediction; parameters as in `add_neurons`."""
        group = self._add(shape, name, HIDDEN, activation, aggregation, bias, time_constant)
        self.mark_outputs(group)
        return group

    @alone
    def mark_outputs(self, neurons: Any) -> None:
        """Make existing neurons (inputs as well) outputs too: their columns follow those that are there."""
        slots = self._slots(neurons)
        self.graph.mark_outputs(slots)
        self._changed_neurons()

    @alone
    def connect(
        self, sources: Any, targets: Any, density: float = 1.0, weight: Any = "he", delay: int = 0
    ) -> Connections | Connection:
        """Connect two groups, or two neurons.

        Between groups, pairs that exist are skipped, and ``density`` below 1 takes exactly
        ``round(density * number of possible new pairs)`` of the others, drawn uniformly. A pair that could close a
        cycle is no candidate: as soon as a target reaches a source, or a neuron is in both groups, the source must
        stand before the target in schedule order (ties by id), so ``net.connect(hidden, hidden, density=0.1)`` makes a
        random DAG. Between two single neurons the call is literal: a duplicate or a cycle is an error.

        Parameters
        ----------
        sources, targets : Group, Neuron, int or sequence of them
        density : float
            Share of the possible new pairs, 0 to 1.
        weight : str, float, array or callable
            An initializer by the fan-in that the graph has after the call; a number; one value per new connection
            (targets in the group's order, and for each its sources); or a function ``(fan_in, fan_out, rng) -> array``.
        delay : int
            0 reads the sources in the same time step, d the value d steps ago.

        Returns
        -------
        Connections, or a Connection between two single neurons
            The new ones.

        Raises
        ------
        InvalidValueError
            If a target is an input, the density lies outside 0..1, or the weights do not fit.
        CycleError, DuplicateConnectionError
            Between two single neurons.
        """
        checks.fraction("density", density)
        if _is_single(sources) and _is_single(targets):
            return self._add_pair(self._slot(sources), self._slot(targets), delay, weight)
        source, target = self._slots(sources), self._slots(targets)
        return self._draw(source, target, lambda absent: round(density * absent), weight, delay, self.rng)

    @alone
    def grow(
        self,
        sources: Any,
        targets: Any,
        count: int,
        weight: Any = "he",
        rng: np.random.Generator | None = None,
        delay: int = 0,
    ) -> Connections:
        """Draw ``count`` new connections between two groups, or all that are possible if they are fewer.

        Parameters
        ----------
        sources, targets : Group, Neuron, int or sequence of them
        count : int
        weight : optional
            As in `connect`.
        rng : numpy.random.Generator, optional
            The network's own by default.
        delay : int
            As in `connect`.

        Returns
        -------
        Connections
        """
        checks.whole("count", count, 0)
        source, target = self._slots(sources), self._slots(targets)
        return self._draw(source, target, lambda absent: min(int(count), absent), weight, delay, rng or self.rng)

    @alone
    def free_pairs(self, sources: Any, targets: Any, delay: int = 0) -> FreePairs:
        """Pairs that `connect` would draw from: not connected with this delay, and closing no cycle.

        Parameters
        ----------
        sources, targets : Group, Neuron, int or sequence of them
        delay : int

        Returns
        -------
        FreePairs
            As of now: ids, and the pairs in compressed rows.

        Raises
        ------
        InvalidValueError
            If a target is an input.
        """
        source, target = self._slots(sources), self._slots(targets)
        self._refuse_inputs(target, "connections")
        checks.whole("delay", delay, 0)
        return free_pairs(self.graph, self._scheduled(), source, target, int(delay))

    @alone
    def add_connections(
        self, source_ids: Any, target_ids: Any, weight: Any = "he", delay: Any = 0, parameter: Any = None
    ) -> Connections:
        """Add explicit pairs in one call; ten million take about a second.

        Parameters
        ----------
        source_ids, target_ids : array of int, or sequence of neurons, shape (n,)
        weight : str, float, array or callable
            As in `connect`.
        delay : int or array of int
        parameter : array of shape (n,), or Connections, optional
            Connections of one label share a parameter, as `tie` makes it; an initializer draws one value for each.
            Instead of labels: n existing connections, whose parameters the new ones join (weights are then theirs).

        Returns
        -------
        Connections
            In the order given.

        Raises
        ------
        CycleError, DuplicateConnectionError, UnknownNeuronError, StaleError, InvalidValueError
            Nothing has changed then.
        """
        source, target = self._slots(source_ids, unique=False), self._slots(target_ids, unique=False)
        require(
            len(source) == len(target),
            f"source_ids and target_ids must be of equal length, not {len(source)} and {len(target)}",
        )
        delays = checks.integers(delay, "delay")
        require(len(delays) in (1, len(source)), f"delay has {len(delays)} entries for {len(source)} connections")
        if isinstance(parameter, Connections):
            require(parameter._network is self, "the connections in `parameter` belong to another network")
            others = parameter.slots
            require(len(others) == len(source), f"parameter has {len(others)} connections for {len(source)} new ones")
            new = self._add_pairs(source, target, delays, self.graph.weights.read("weight", others))
            self.graph.weights.join(new.slots, parameter.slots)
            return new
        labels = None if parameter is None else checks.labels(parameter, len(source), "parameter")
        return self._add_pairs(source, target, delays, weight, labels)

    # -- look up -------------------------------------------------------------------------------------------------------

    @property
    @alone
    def neurons(self) -> Group:
        """All neurons, by ascending id."""
        return Group(self, self.graph.neurons["id"][self.graph.neurons.live_by_id()])

    @property
    def inputs(self) -> Group:
        """The input neurons, in the order of X's columns."""
        return Group(self, self.graph.neurons["id"][self.graph.inputs])

    @property
    def outputs(self) -> Group:
        """The output neurons, in the order of the prediction's columns."""
        return Group(self, self.graph.neurons["id"][self.graph.outputs])

    @property
    @alone
    def connections(self) -> Connections:
        """All connections, by ascending id."""
        return Connections(self, self.graph.connections.live_by_id())

    @property
    def connections_as_stored(self) -> Connections:
        """All connections in the order of their slots, which costs less than that of their ids."""
        return Connections(self, self.graph.connections.live())

    @property
    def groups(self) -> Mapping[str, Group]:
        """The named groups."""
        return MappingProxyType(self._groups)

    @property
    @alone
    def homes(self) -> list[Group]:
        """The neurons of each ``add_...`` call that are still there: the layers of a layered network."""
        order = self.graph.neurons.live_by_id()
        home, ids = self.graph.neurons["home"][order], self.graph.neurons["id"][order]
        in_order = (home[1:] >= home[:-1]).all()  # unless networks were joined
        by_home = slice(None) if in_order else np.argsort(home, kind="stable")
        cuts = np.searchsorted(home[by_home], np.arange(1, self.graph.n_homes))
        return [Group(self, part) for part in np.split(ids[by_home], cuts)] if self.graph.n_homes else []

    def neuron(self, id: int | str) -> Neuron:
        """The neuron with an id, or with a name.

        Raises
        ------
        UnknownNeuronError, StaleError
            If there is none, or no more.
        """
        if isinstance(id, str):
            found = self.names.find(id)
            if found is None:
                raise UnknownNeuronError(f"no neuron is named {id!r}; this network names {len(self.names)} neurons")
            id = found
        slot = self._slots(id)[0]
        return Neuron(self, slot, self.graph.neurons["id"][slot])

    @alone
    def connection(self, source: Any, target: Any, delay: int = 0) -> Connection:
        """The connection between two neurons.

        Raises
        ------
        InvalidValueError
            If there is none; `has_connection` asks without raising.
        """
        slot = self._find(source, target, delay)
        if slot < 0:
            raise _NoConnectionError(
                f"there is no connection {int(source)} -> {int(target)} with delay {delay}; `has_connection` asks first"
            )
        return Connection(self, slot, self.graph.connections.read("id")[slot])

    @alone
    def has_connection(self, source: Any, target: Any, delay: int = 0) -> bool:
        """Whether two neurons are connected."""
        return self._find(source, target, delay) >= 0

    @alone
    def group(self, members: Any, name: str | None = None) -> Group:
        """Make a group of neurons, ids or groups; with a name it is kept in `groups`."""
        ids = self.ids_of(members)
        _, first = np.unique(ids, return_index=True)
        return self.keep_group(Group(self, ids[np.sort(first)], self._fresh_name(name)))

    def ids_of(self, members: Any) -> np.ndarray:
        """Ids of anything that names neurons: a neuron, an id, a group, or a sequence of them."""
        if isinstance(members, Group):
            require(members._network is self, "the group belongs to another network")
            return members.ids
        return self.graph.neurons["id"][self._slots(members, unique=False)]

    @property
    def n_neurons(self) -> int:
        """Number of neurons, inputs included."""
        return len(self.graph.neurons)

    @property
    def n_inputs(self) -> int:
        """Columns of X."""
        return len(self.graph.inputs)

    @property
    def n_outputs(self) -> int:
        """Columns of the prediction."""
        return len(self.graph.outputs)

    @property
    def n_connections(self) -> int:
        """Number of connections."""
        return len(self.graph.connections)

    @property
    def n_parameters(self) -> int:
        """Weights and biases: what is shared counts once, frozen ones count."""
        return self.graph.weights.n_parameters + self.graph.biases.n_parameters - self.n_inputs

    @property
    def nbytes(self) -> int:
        """Bytes of the network at rest: tables with optimizer state, rows and plan, without the last pass."""
        own = self._plan.nbytes - self.graph.incoming.nbytes - self.graph.outgoing.nbytes if self._plan else 0
        return self.graph.nbytes + own

    @property
    def version(self) -> int:
        """Grows with every structural edit."""
        return self.graph.version

    # -- edit ----------------------------------------------------------------------------------------------------------

    @alone
    def prune(self, connections: Connections | Connection) -> int:
        """Remove connections; returns how many.

        Raises
        ------
        StaleError
            If any of them was removed already; nothing has changed then.
        """
        require(
            isinstance(connections, (Connections, Connection)),
            f"prune takes Connections, such as net.connections[mask], not {type(connections).__name__}",
        )
        require(connections._network is self, "the connections belong to another network")
        slots = connections.slot if isinstance(connections, Connection) else _distinct(connections.slots)
        count = 1 if isinstance(slots, int) else len(slots)
        self.graph.disconnect(slots)
        if self._schedule is not None and count:
            self._schedule.remove_connections()
        return count

    @alone
    def exchange(
        self, connections: Connections | float, rng: np.random.Generator | None = None, smallest: bool = False
    ) -> Connections | None:
        """Remove connections, and grow as many between the same homes, drawn uniformly, with weight zero.

        The same as `prune`, and then `grow` for each pair of homes, in one go. A new connection may be where one was
        that has just been removed.

        Parameters
        ----------
        connections : Connections or float
            Different ones; or the share of the connections between each two homes that are drawn and removed.
        rng : numpy.random.Generator, optional
            The network's own by default.
        smallest : bool
            Of a share take the smallest absolute weights, the oldest of equal ones, instead of any.

        Returns
        -------
        Connections or None
            The new ones. None, and nothing has changed, where pairs of homes have to be looked at one after another: if
            there are delays, more than 256 homes, connections in a circle from home to home, or too few free pairs; and
            for a share also where connections are frozen, which must not go, or weights are not numbers.

        Raises
        ------
        StaleError
            If any of them was removed already; nothing has changed then.

        Examples
        --------
        >>> import neurograph as ng
        >>> net = ng.topologies.layered([4, 5, 3], density=0.4, seed=0)
        >>> len(net.exchange(net.connections[:6])), len(net.exchange(0.5)), net.n_connections
        (6, 7, 14)
        """
        if isinstance(connections, Connections):
            require(connections._network is self, "the connections belong to another network")
            doomed: np.ndarray | float = _distinct(connections.slots)
        else:
            checks.fraction("connections", connections)
            sharing = self.graph.weights
            if any("frozen" in table and table.read("frozen").any() for table in (sharing.tenants, sharing.table)):
                return None
            if smallest and (sharing.n_tied or self._some_weight_is_nan()):
                return None
            doomed = float(connections)
        rng = rng or self.rng
        random = rng.bit_generator.state
        try:
            drawn = draw_successors(self.graph, doomed, rng, self._smallest if smallest else False)
        except BaseException:
            rng.bit_generator.state = random
            raise
        if drawn is None:
            return None
        slots, source, target = drawn
        schedule, first = self._scheduled(), self.graph.connections.next_id
        new = self.graph.exchange(slots, source, target)
        schedule.remove_connections()
        schedule.add_connections(source, target, np.zeros(1, np.int16))
        return Connections(self, new, np.arange(first, first + len(new)))

    def _some_weight_is_nan(self) -> bool:
        weight = self.backend.column(self.graph.connections, "weight", False)
        return bool((weight != weight).any())

    @property
    def _smallest(self) -> bool | Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """How `draw_successors` finds the smallest weights: by itself, or where the backend has them."""
        if "magnitude" not in self.backend.SCORES:
            return True
        slots = self.graph.connections.live()
        return lambda code, counts: self.backend.lowest(self.graph.connections, "magnitude", slots, counts, code[slots])

    @alone
    def lowest(self, connections: Connections, score: str, counts: Any, regions: Any = None) -> np.ndarray | None:
        """Choose the connections of lowest score where a device has what the score is made of.

        Parameters
        ----------
        connections : Connections
            Different ones to choose from.
        score : str
            "magnitude", "gradient" or "saliency", as `neurograph.sparsity.SCORES` define them.
        counts : array of int, shape (n_regions,)
            How many to choose in each region; all of it where it has fewer.
        regions : array of int, optional
            Region of each connection; by default they are one.

        Returns
        -------
        ndarray of int, or None
            Indices into `connections`, ascending; of equal scores those of the oldest. None where the backend computes
            on the host, knows no such score, or a score is no number: then the caller computes the scores.

        Raises
        ------
        StaleError
            If any of them was removed already.

        Examples
        --------
        >>> net = Network(seed=0, backend="cpu")
        >>> connections = net.connect(net.add_inputs(4), net.add_outputs(2))
        >>> net.lowest(connections, "magnitude", [3]) is None
        True
        """
        require(connections._network is self, "the connections belong to another network")
        if score not in self.backend.SCORES:
            return None
        slots = connections.slots
        self._spread()
        chosen = self.backend.lowest(self.graph.connections, score, slots, np.asarray(counts), regions)
        if chosen is None:
            return None
        taken = np.zeros(self.graph.connections.size, bool)
        taken[chosen] = True
        return np.flatnonzero(taken[slots])

    @alone
    def order_inputs(self, neurons: Any) -> None:
        """Say which input holds which column of X: all inputs, in the new order."""
        slots = self._slots(neurons)
        require(
            len(slots) == self.n_inputs and np.isin(slots, self.graph.inputs).all(),
            f"order_inputs takes each of the {self.n_inputs} inputs once",
        )
        self.graph.inputs = slots
        self._changed_neurons()

    @alone
    def order_blocks(self, neurons: Any) -> None:
        """Say which neurons are neighbours where blocks are meant: by `prune_lowest` of scope "block", and the plan.

        Parameters
        ----------
        neurons : Group, sequence of neurons or ids
            All neurons of one or several homes (a home is what one ``add_...`` call made), those of each in their new
            order; see `neurograph.sparsity.block_order`. Nothing else depends on it: ids and columns of X stay.

        Raises
        ------
        InvalidValueError
            A home is there in part only.

        Examples
        --------
        >>> net = Network(seed=0)
        >>> x = net.add_inputs(4)
        >>> net.order_blocks([2, 0, 3, 1])
        >>> net.block_places
        array([1, 3, 0, 2])
        """
        slots = self._slots(neurons)
        home = self.graph.neurons["home"]
        given, there = np.bincount(home[slots]), np.bincount(home[self.graph.neurons.live()])
        homes = np.flatnonzero(given)
        if (part := homes[given[homes] != there[homes]]).size:
            raise InvalidValueError(
                f"order_blocks takes all neurons of a home or none, but {given[part[0]]} of the {there[part[0]]} of "
                f"home {part[0]}; give each of net.homes[{part[0]}] once"
            )
        self.graph.order(slots)
        self._changed_neurons()

    @property
    @alone
    def block_places(self) -> np.ndarray:
        """Where each neuron stands among those of its home, in the order of ``net.neurons.ids``; see `order_blocks`."""
        return self.graph.places()[self.graph.neurons.live_by_id()]

    @alone
    def remove_neurons(self, neurons: Any) -> int:
        """Remove neurons with all their connections; they leave every group. Returns how many."""
        slots = self._slots(neurons)
        if len(slots):
            self.names.discard(self.graph.neurons["id"][slots].tolist())
            self.graph.remove_neurons(slots)
            if self._schedule is not None:
                self._schedule.remove_neurons(slots)
            self._changed_neurons()
        return len(slots)

    @alone
    def tie(self, members: Connections | Group, labels: Any, average: bool = False) -> None:
        """Let the weights of connections, or the biases of neurons, share parameters.

        All with the same label have the same parameter from now on: one value, one gradient (the sum of theirs), one
        optimizer state. Whatever they shared before they leave. New parameters are numbered consecutively in ascending
        order of the labels; see `Connections.parameter`. A convolution is connections and biases that share.

        Parameters
        ----------
        members : Connections or Group
            Connections, or neurons whose biases are meant.
        labels : array, shape (len(members),)
            Integers or strings.
        average : bool
            Give each parameter the mean of the values that it replaces; without it they must be equal.

        Raises
        ------
        InvalidValueError
            If values under one label differ, or labels and members do not match. Nothing has changed then.

        Examples
        --------
        >>> import neurograph as ng
        >>> net = ng.Network()
        >>> conns = net.connect(net.add_inputs(2), net.add_outputs(2), weight=0.5)
        >>> net.tie(conns, [0, 1, 1, 0])
        >>> conns[0].weight = 2.0
        >>> conns.weight.tolist(), net.n_parameters
        ([2.0, 0.5, 0.5, 2.0], 4)
        """
        sharing, slots = self._sharing_of(members, "tie")
        labels = checks.labels(labels, len(slots), "labels")
        if _repeat(slots):
            distinct, first, place = np.unique(slots, return_index=True, return_inverse=True)
            twice = np.flatnonzero(labels[first][place] != labels)
            require(
                not len(twice),
                f"connection {members[twice[0] if len(twice) else 0].id} occurs with several labels; it has one "
                "parameter, so give it one label",
            )
            slots, labels = distinct, labels[first]
        sharing.tie(slots, labels, bool(average))

    @alone
    def untie(self, members: Connections | Group) -> None:
        """Give connections, or the biases of neurons, parameters of their own, with the values that they shared.

        Optimizer state is copied as well; the gradient of each is what it contributed to the shared one.
        """
        sharing, slots = self._sharing_of(members, "untie")
        sharing.untie(_distinct(slots))

    @alone
    def set_weight(self, slots: np.ndarray, value: Any, column: str = "weight") -> None:
        """Set the weights (or another column) of connection slots, through their parameters: a number, or one each."""
        self.graph.weights.write(column, slots, checks.column(value, len(slots), self.dtype, column))

    @alone
    def set_state(self, of: str, slots: np.ndarray, name: str, value: Any) -> None:
        """Set an optimizer's column of connection slots (of "weight") or neuron slots (of "bias"): a number, or each.

        What an optimizer keeps is taken as it is, also where it is not finite.
        """
        sharing = self.graph.weights if of == "weight" else self.graph.biases
        taken = {*sharing.structure, sharing.value, sharing.grad, "frozen", "parameter", "users"}
        require(
            isinstance(name, str) and name not in taken,
            f"{name!r} is no state of an optimizer; those here are: {', '.join(sharing.states) or 'none'}",
        )
        values = checks.reals(value, self.dtype, name)
        require(
            values.ndim == 0 or values.shape == (len(slots),),
            f"{name} has shape {values.shape}; give one value or {len(slots)}",
        )
        sharing.write(name, slots, values)

    @alone
    def freeze(self, slots: np.ndarray, value: Any) -> None:
        """Say which connection slots keep their weights whatever an optimizer does: a bool, or one each."""
        self.graph.weights.write("frozen", slots, checks.flags(value, len(slots), "frozen"))

    @alone
    def freeze_bias(self, slots: np.ndarray, value: Any) -> None:
        """Say which neuron slots keep their biases whatever an optimizer does: a bool, or one each."""
        self.graph.biases.write("frozen", slots, checks.flags(value, len(slots), "bias_frozen"))

    @alone
    def set_bias(self, slots: np.ndarray, value: Any, column: str = "bias") -> None:
        """Set the biases of neuron slots (or their gradients), through their parameters: a number, or one each."""
        values = checks.column(value, len(slots), self.dtype, column)
        require(
            not ((self.graph.neurons["kind"][slots] == INPUT) & (values != 0)).any(),
            "input neurons hold X and have no bias; give the bias to the neurons that they feed",
        )
        self.graph.biases.write(column, slots, values)

    @alone
    def set_activation(self, slots: np.ndarray, value: Any) -> None:
        """Set the activations of neuron slots: one, or one each."""
        self._refuse_inputs(slots, "an activation")
        parsed = column_of(value, len(slots), activations.parse, "activation")
        self._set_activation(slots, parsed)
        self._changed_neurons()

    @alone
    def set_aggregation(self, slots: np.ndarray, value: Any) -> None:
        """Set the aggregations of neuron slots: one, or one each."""
        self._refuse_inputs(slots, "an aggregation")
        self.graph.neurons["aggregation"][slots] = column_of(value, len(slots), aggregations.parse, "aggregation")
        self._changed_neurons()

    @alone
    def set_time_constant(self, slots: np.ndarray, value: Any) -> None:
        """Set the time constants of neuron slots: one, or one each."""
        self._refuse_inputs(slots, "a time_constant")
        self.graph.neurons["time_constant"][slots] = checks.time_constants(value, len(slots), self.dtype)
        self._changed_neurons()

    @alone
    def initialize(self, connections: Connections | None = None, weight: Any = "he") -> None:
        """Draw weights anew, by the fan-in and fan-out that the graph has now; of all connections by default."""
        slots = (self.connections if connections is None else connections).slots
        table, sharing = self.graph.connections, self.graph.weights
        numbers = sharing.numbers(slots) if sharing.n_tied else None
        ends, random = (table["source"][slots], table["target"][slots]), self.rng.bit_generator.state
        try:
            self.graph.weights.write("weight", slots, self._initial(*ends, weight, self.rng, numbers))
        except BaseException:
            self.rng.bit_generator.state = random
            raise

    # -- run -----------------------------------------------------------------------------------------------------------

    @property
    def backend(self) -> ModuleType:
        """The backend's module."""
        return backends.get_backend(self.runs_on)

    @property
    def runs_on(self) -> str:
        """Name of the backend that runs the network: `backend_name`, or what "auto" stands for with its present size.

        "auto" is decided anew whenever the plan is lowered anew; see `plan`.
        """
        if self.backend_name != "auto":
            return self.backend_name
        if self._plan is None:
            with ALONE:
                self._lowered()
        return self._auto

    @property
    def precision(self) -> str:
        """What a GPU may round weights and activations to before it multiplies them; to be set at any time.

        "float32" is exact. "tf32" keeps 11 bits of each number, "bf16" 8 and stores activations in half the bytes;
        sums, weights and the optimizer's state stay in float32 (Micikevicius et al. 2018, "Mixed precision training",
        section 3.1: master weights). Other backends always compute exactly.

        Examples
        --------
        >>> net = Network()
        >>> net.precision = "bf16"
        >>> net.precision
        'bf16'
        """
        return self.graph.precision

    @precision.setter
    @alone
    def precision(self, value: str) -> None:
        require(value in PRECISIONS, f"precision must be one of {', '.join(PRECISIONS)}, not {value!r}")
        require(
            value == "float32" or self.dtype == np.float32,
            f"precision {value!r} is for networks of dtype float32, not {self.dtype}; make one of float32, or leave it",
        )
        self.graph.precision = value
        self._changed_neurons()

    @property
    @alone
    def schedule(self) -> Schedule:
        """The dependency-free batches, as tight as the graph allows."""
        return self._scheduled().tighten()

    @property
    @alone
    def plan(self) -> Plan:
        """What a backend runs; print it to see generations, widths, dense blocks and bytes."""
        plan = self._lowered()
        self.backend.prepare(plan)
        return plan

    def _lowered(self) -> Plan:
        schedule = self._scheduled()
        if self._plan is None or self._planned != schedule.version or self._plan.stale:
            self._plan = lower(self.graph, schedule)
            self._planned = schedule.version
            self.plans_lowered += 1
            if self.backend_name == "auto":
                self._auto = backends.resolve("auto", self.n_connections, self._plan.n_generations, self._auto)
        return self._plan

    @property
    def remembers(self) -> bool:
        """Whether a step depends on earlier ones, through delays or time constants: X then needs a time axis."""
        return self._history() > 0

    @alone
    def _history(self) -> int:
        return self._lowered().history

    def predict(
        self, X: Any, batch_size: int | None = None, *, state: State | None = None, return_state: bool = False
    ) -> Any:
        """Outputs for X.

        Parameters
        ----------
        X : array, shape (batch, n_inputs) or (batch, time, n_inputs), or SciPy sparse matrix (batch, n_inputs)
            Of NumPy, or of CuPy, and then so are the outputs: on the backend "gpu" they stay on the device. With a time
            axis if the network `remembers`. Of a sparse matrix only the active inputs run, if all that read
            inputs read nothing else and sum or average; else it is made dense piece by piece.
        batch_size : int, optional
            Samples that run together; by default as many as keep the activations small.
        state : State, optional
            Go on from here; without it every output and potential before the first step is zero.
        return_state : bool
            Return the state after the last step as well.

        Returns
        -------
        ndarray, shape (batch, n_outputs) or (batch, time, n_outputs), or a pair of it and a State

        Raises
        ------
        InvalidValueError
            If X has the wrong shape, no samples, or entries that are not finite; if there are no outputs; or if the
            state is of another number of samples.
        OutOfMemoryError
            If there is no room for a single sample.
        """
        self._require_outputs()
        if batch_size is not None:
            checks.whole("batch_size", batch_size, 1)
        result, after = self._run(X, batch_size, state, None, return_state)
        return (result, after) if return_state else result

    __call__ = predict

    def activations(self, X: Any) -> np.ndarray:
        """Outputs of all neurons, (batch, n_neurons) or (batch, time, n_neurons), by ``net.neurons.ids``."""
        slots = self.neurons.slots
        return self._run(X, None, None, lambda run: run.activations(slots))[0]

    def settle(self, X: Any, steps: int | None = None, *, tolerance: float = 1e-5, max_steps: int = 1000) -> np.ndarray:
        """Hold X constant and iterate the network to a fixed point, or for a number of steps.

        Parameters
        ----------
        X : array, shape (batch, n_inputs)
        steps : int, optional
            Take exactly so many. Without it go on until no neuron of any sample changes its output by more than
            ``tolerance`` in as many steps as the longest delay reaches back.
        tolerance : float
        max_steps : int

        Returns
        -------
        ndarray, shape (batch, n_outputs)
            Outputs in the last step.

        Raises
        ------
        NotSettledError
            If the network still changes after ``max_steps``.

        Examples
        --------
        >>> import neurograph as ng
        >>> net = ng.Network()
        >>> x, y = net.add_inputs(1), net.add_outputs(1)
        >>> _ = net.connect(x, y, weight=1.0), net.connect(y[0], y[0], weight=0.5, delay=1)
        >>> net.settle([[1.0]]).round(3).tolist()      # y = x + y / 2
        [[2.0]]
        """
        if steps is not None:
            checks.whole("steps", steps, 1)
        checks.whole("max_steps", max_steps, 1)
        X, follow = self._accepted(inputs(X, self.n_inputs, self.dtype))
        X = X.dense() if isinstance(X, SparseSamples) else X
        self._require_outputs()
        with ALONE:
            self._spread()
            run, taken, change = sequences.settle(self.backend, self.plan, X, steps, tolerance, max_steps)
            self._passed(run, False)
            if steps is None and not change <= tolerance:
                raise NotSettledError(
                    f"after {taken} steps some neuron still changes by {change:.3g} a step, more than {tolerance:g}; "
                    "give more max_steps, a larger tolerance, a number of steps, or weaker loops"
                )
            return follow(run.outputs[:, -1])

    def backward(
        self,
        X: Any,
        Y: Any,
        loss: Any = "mse",
        *,
        mask: Any = None,
        truncate: int | None = None,
        recompute: bool | int = False,
        state: State | None = None,
    ) -> float:
        """Run X, compare with Y, and fill ``connections.grad`` and ``neurons.bias_grad``.

        Through time this is back-propagation through time; memory grows by one activation a neuron, sample and step
        (two where a derivative needs the potential). A batch whose activations would take more than half of the memory
        that is free runs in pieces, each of them forward twice, with the gradients of the whole to rounding.

        Parameters
        ----------
        X : array, shape (batch, n_inputs) or (batch, time, n_inputs), or SciPy sparse matrix (batch, n_inputs)
            Of NumPy or CuPy.
        Y : array
            (batch, n_outputs), or integer labels (batch,) for "cross_entropy". With a time axis after the batch it is
            compared at every step, without one at the last step.
        loss : str or callable
            "mse", "mae", "huber", "cross_entropy", "binary_cross_entropy", or a function
            ``(outputs, Y) -> (value, gradient)`` over rows of outputs, which are the steps that count. It is given
            arrays of the kind of X, NumPy's or CuPy's.
        mask : array of bool, shape (batch, time), optional
            True for the steps that count: sequences of several lengths, padded to one. Without a time axis in Y the
            last of them is compared.
        truncate : int, optional
            No gradient flows back across the ends of stretches of so many steps.
        recompute : bool or int
            Keep only the states at every so many steps (the square root of all for True) and run each stretch again
            when its gradient is due: less memory for one more forward pass.
        state : State, optional
            Go on from here, as a constant.

        Returns
        -------
        float
            The loss, a mean over the batch and over the steps that count.

        Raises
        ------
        InvalidValueError
            If X, Y or the mask does not fit, or there are no outputs. Nothing has changed then.
        OutOfMemoryError
            If there is no room for a single sample.
        """
        measure = definition = losses.get(loss)
        named = measure in losses.LOSSES.values()
        rows = targets = Y = unwrapped(Y)
        compared: Any = None
        follow: Callable[[Any], Any] = arrays.to_host

        def measured(outputs: Any) -> tuple[float, Any]:
            nonlocal rows
            rows = outputs[:, 0] if compared is None else outputs[compared.sample, compared.step]
            on_device = arrays.on_device(rows)
            if named:
                value, gradient = measure(rows, targets if on_device else arrays.to_host(targets))
            else:
                rows = follow(rows)
                with np.errstate(all="ignore"):  # a diverged network is reported by its loss, not by warnings
                    value, gradient = measure(rows, follow(targets))
                gradient = gradient if on_device else np.asarray(arrays.to_host(gradient), self.dtype)
            if compared is None:
                return value, gradient[:, None]
            everywhere = np.zeros(outputs.shape, self.dtype)
            everywhere[compared.sample, compared.step] = gradient
            return value, everywhere

        def took(outputs: Any) -> None:
            nonlocal rows
            rows = outputs

        with ALONE:
            plan = self._lowered()
            flat = plan.history == 0
            X = inputs(X, len(plan.inputs), self.dtype, not flat)
            if type(X) is not np.ndarray:
                X, follow = self._accepted(X)
            self._require_outputs()
            for name, number in (("truncate", truncate), ("recompute", recompute)):
                if number is not None and not isinstance(number, bool):
                    checks.whole(name, number, 1)
            if flat:
                require(mask is None, "a mask is for sequences; give X a time axis, or leave the mask out")
                X = one_step(X)
            else:
                shape = len(X), X.shape[1], len(plan.outputs)
                compared = sequences.compared(shape, Y, mask, losses.takes_labels(measure))
                targets = compared.targets
            raw = None if state is None else state.to_slots(self.graph, len(X), plan)
            backend = self.backend
            measure = backend.LOSSES.get(measure, measure)
            samples, large = sequences.fitting(backend, plan, X, truncate, recompute, self._pass)
            reuse = self._spare  # if the loss refuses Y, the last pass is still what it was
            if large or not flat:
                # Two long sequences, or large batches, would take twice the memory: run in that of the last pass. So
                # what the loss may refuse is refused before; a loss by name may be tried on zeros.
                if named:
                    count = len(X) if compared is None else len(compared.sample)
                    measure(np.zeros((count, len(plan.outputs)), self.dtype), arrays.to_host(targets))
                reuse, self._spare, self._pass = self._pass, None, None
            self._spread()

            def attempt() -> tuple[float, Any, bool]:
                options = truncate, recompute, reuse, samples
                known = sequences.Known(definition, targets, took) if named and flat else None
                return sequences.backward(backend, plan, X, raw, measured, *options, known)

            try:
                value, run, whole = attempt()
            except MemoryError as error:
                reuse = None
                value, run, whole = self._once_more(attempt, error)
            self._spare = self._pass
            self._passed(run, whole, flat)
            self._last_outputs, self._follow, self.last_targets = rows, follow, targets
            for sharing in (self.graph.weights, self.graph.biases):
                backend.collect(sharing)
        return float(value)

    @property
    def last_outputs(self) -> Any:
        """Outputs that the last `backward` compared, of NumPy or CuPy as its X was; None before."""
        self._last_outputs = self._follow(self._last_outputs)
        return self._last_outputs

    def compile(self) -> None:
        """Compile the kernels of the backend now, rather than at first use; they are cached on disk."""
        tiny = Network(dtype=self.dtype, backend=self.runs_on)
        x, y = tiny.add_inputs(2), tiny.add_outputs(1)
        tiny.connect(x, y)
        tiny.predict(np.zeros((1, 2)))
        tiny.backward(np.zeros((1, 2)), np.zeros(1, np.int64), "cross_entropy")
        for block in tiny.parameters(native=True):
            state = block.state("m"), block.state("v")
            tiny.backend.adam(block.value, block.grad, *state, 1, 0.0, 0.9, 0.999, 1e-8, 0.0, False)

    def parameters(self, native: bool = False) -> list[Parameters]:
        """The blocks that an optimizer updates: weights, and biases.

        Parameters
        ----------
        native : bool
            Arrays of the backend where it has them, for the backend's own update rules, rather than of NumPy.
        """
        column = self.backend.column if native else host.column
        return [block for s in (self.graph.weights, self.graph.biases) for block in Parameters.of(s, column)]

    @property
    def last_pass(self) -> Any:
        """The backend's record of the last pass, or None."""
        return self._pass

    @alone
    def read_last_pass(self, what: str, slots: np.ndarray) -> np.ndarray:
        """``output`` or ``error`` of slots in the last pass, (batch, n); outputs of sequences (batch, time, n)."""
        require(self._pass is not None, "no pass was made yet; call predict or backward first")
        require(
            self._pass_whole,
            "the last pass was too large to keep; run fewer samples, or call net.activations(X)",
        )
        ids = self.graph.neurons["id"][slots]
        late = ids >= self._pass_knows
        if late.any():
            raise InvalidValueError(
                f"neuron {ids[late.argmax()]} was added after the last pass; call predict or backward again"
            )
        if what == "output":
            outputs = self._pass.activations(slots)
            return outputs[:, 0] if self._pass_flat else outputs
        require(
            self._pass.differentiated,
            "the last pass was a prediction, which has no errors; call backward",
        )
        require(
            self._pass.steps == 1,
            "errors are not kept through time; compare bias_grad, or give backward a sequence of one step",
        )
        errors = self._pass.errors(slots)
        errors[:, self.graph.neurons["kind"][slots] == INPUT] = 0
        return errors

    @alone
    def first_nonfinite(self) -> tuple[int, str] | None:
        """The first neuron, in schedule order, whose last output is not finite: (id, name of a group of it or "")."""
        if self._pass is None:
            return None
        for slot in self._scheduled().order:
            if not np.isfinite(self._pass.output(slot)).all():
                id = int(self.graph.neurons["id"][slot])
                return id, next((name for name, group in self._groups.items() if id in group), "")
        return None

    # -- keep ----------------------------------------------------------------------------------------------------------

    @alone
    def quantize(self, format: str = "int8", per: str = "neuron") -> QuantizedNetwork:
        """A frozen copy for predictions, in few bytes; this network stays what it is.

        Weights take one byte or two. A source takes one byte, its distance from the one before it in the row, or two
        where that is less; where most pairs of two layers are connected it takes none. Arithmetic is in float32.

        Parameters
        ----------
        format : {"int8", "bf16", "fp16"}
            "int8": multiples, -127 to 127, of ``scale = max |w| / 127`` (symmetric quantization: Jacob et al. 2018,
            "Quantization and training of neural networks for efficient integer-arithmetic-only inference", equation 1
            with zero-point 0, of the weights alone). "bf16" keeps float32's range and 8 bits of the mantissa, "fp16"
            11 bits of numbers up to 65504.
        per : {"neuron", "network"}
            One scale for the weights into each neuron, or one in all. Without effect on the other formats.

        Returns
        -------
        QuantizedNetwork

        Raises
        ------
        UnknownNameError
            For another format or another choice of scales.
        InvalidValueError
            If a weight or a bias is not finite, or too large for the format.

        Examples
        --------
        >>> import neurograph as ng
        >>> net = ng.topologies.layered([64, 200, 10], density=0.1, seed=0)
        >>> small = net.quantize("int8")
        >>> small.n_connections == net.n_connections, small.nbytes < net.nbytes / 10
        (True, True)
        """
        self._spread()
        return QuantizedNetwork.of(self.graph, self._lowered(), format, per, self.backend_name, Network)

    @alone
    def save(self, path: str | os.PathLike) -> None:
        """Write the network with topology, weights, optimizer state, groups and random state to one file.

        The format is safetensors, without pickle; the file is replaced atomically.
        """
        from . import io, state

        io.save(path, *state.to_arrays(self))

    def __repr__(self) -> str:
        return (
            f"<Network: {self.n_neurons} neurons, {self.n_connections} connections, "
            f"{self.n_inputs} inputs, {self.n_outputs} outputs>"
        )

    # -- inside --------------------------------------------------------------------------------------------------------

    @alone
    def _add(
        self,
        shape: Any,
        name: str | None,
        kind: int,
        activation: Any,
        aggregation: Any,
        bias: Any,
        time_constant: Any = 1.0,
    ) -> Group:
        count, shaped = checks.count_of(shape, "the number of neurons")
        codes = column_of(activation, count, activations.parse, "activation")
        kinds = column_of(aggregation, count, aggregations.parse, "aggregation")
        biases = checks.column(bias, count, self.dtype, "bias")
        name = self._fresh_name(name)
        taus = checks.time_constants(time_constant, count, self.dtype)
        slots = self.graph.add_neurons(count, kind, aggregation=kinds, bias=biases, time_constant=taus)
        self._set_activation(slots, codes)
        if self._schedule is not None:
            self._schedule.add_neurons()
        self._changed_neurons()
        return self.keep_group(Group(self, self.graph.neurons["id"][slots], name, shaped))

    def _set_activation(self, slots: np.ndarray, parsed: list[tuple[int, float]]) -> None:
        self.graph.neurons["activation"][slots] = [code for code, _ in parsed]
        self.graph.neurons["activation_parameter"][slots] = [parameter for _, parameter in parsed]

    def _fresh_name(self, name: str | None) -> str | None:
        require(name is None or isinstance(name, str), f"a group's name must be a string, not {name!r}")
        require(name not in self._groups, f"there is a group named {name!r} already; choose another name")
        return name

    def keep_group(self, group: Group) -> Group:
        """Enter a group under its name, if it has one."""
        if group.name is not None:
            self._groups[group.name] = group
        return group

    def _spread(self) -> None:
        """Bring shared parameters to where the kernels read them."""
        for sharing in (self.graph.weights, self.graph.biases):
            if len(sharing.table):
                self.backend.spread(sharing)

    def _changed_neurons(self) -> None:
        self._plan = None

    def _slots(self, members: Any, unique: bool = True) -> np.ndarray:
        """Slots of anything that names neurons, each of them live."""
        if _is_single(members):
            return np.array([self._slot(members)])
        if isinstance(members, Group):
            return self.graph.slots_of(self.ids_of(members))
        if isinstance(members, list | tuple) and any(isinstance(m, Group | Neuron) for m in members):
            parts = [self._slots(member, unique) for member in members]
            slots = np.concatenate(parts)
        else:
            slots = self._slots_of_ids(checks.integers(members, "neuron ids"))
        if unique and len(slots) > 1:
            _, first = np.unique(slots, return_index=True)
            slots = slots[np.sort(first)]
        return slots

    def _slot(self, member: Neuron | int) -> int:
        """Slot of one live neuron, or of one id."""
        if isinstance(member, Neuron):
            require(member._network is self, f"neuron {member.id} belongs to another network")
            return member.slot
        if 0 <= member < self.graph.neurons.next_id:
            slot = self.graph.slot_of(member)
            if slot >= 0:
                return slot
        return self._slots_of_ids(checks.integers(member, "neuron ids")).item()  # which refuses it

    def _slots_of_ids(self, ids: np.ndarray) -> np.ndarray:
        if len(ids) == 0:
            return ids
        known = self.graph.neurons.next_id
        if ids.min() < 0 or ids.max() >= known:
            unknown = ids[(ids < 0) | (ids >= known)][0]
            raise UnknownNeuronError(f"there is no neuron {unknown}; ids here go from 0 to {known - 1}")
        slots = self.graph.slots_of(ids)
        if slots.min() < 0:
            raise StaleError(f"neuron {ids[slots < 0][0]} was removed from the network; leave it out")
        return slots

    def _find(self, source: Any, target: Any, delay: int) -> int:
        if _is_single(source) and _is_single(target):
            return self.graph.find(self._slot(source), self._slot(target), int(delay))
        u, v = self._slots(source), self._slots(target)
        require(len(u) == 1 and len(v) == 1, "a connection has one source and one target; give two single neurons")
        return self.graph.find(int(u[0]), int(v[0]), int(delay))

    def _refuse_inputs(self, slots: np.ndarray, what: str) -> None:
        inputs = slots[self.graph.neurons["kind"][slots] == INPUT]
        if len(inputs):
            raise InvalidValueError(
                f"neuron {self.graph.neurons['id'][inputs[0]]} is an input: it holds a column of X and takes no "
                f"{what.split()[-1]}; use neurons made by add_neurons or add_outputs"
            )

    def _sharing_of(self, members: Any, verb: str) -> tuple[Sharing, np.ndarray]:
        """Which table of parameters is meant, and the slots of its tenants."""
        require(
            isinstance(members, Connections | Group),
            f"{verb} takes Connections, or a Group for the biases of its neurons, not {type(members).__name__}",
        )
        require(members._network is self, "the members belong to another network")
        if isinstance(members, Group):
            self._refuse_inputs(members.slots, "a bias")
            return self.graph.biases, members.slots
        return self.graph.weights, members.slots

    def _refuse_impossible(self, source: np.ndarray, target: np.ndarray, delay: np.ndarray) -> None:
        """Refuse connections into inputs, and from a neuron to itself in the same step."""
        from .graph.compiled import first_impossible

        neurons = self.graph.neurons
        i = first_impossible(source, target, delay, neurons["kind"], INPUT)
        if i >= 0:
            self._refuse_inputs(target[i : i + 1], "connections")
            self._raise_loop(source[i])

    def _raise_loop(self, slot: int) -> None:
        raise CycleError(
            f"neuron {self.graph.neurons['id'][slot]} would feed itself in the same step; give the connection delay=1, "
            "or leave it out"
        )

    def _add_pair(self, source: int, target: int, delay: Any, weight: Any) -> Connection:
        """Add one connection between two slots, or nothing: `_add_pairs` in fewer and shorter steps."""
        if type(delay) is not int:
            delay = checks.integers(delay, "delay")
            require(len(delay) == 1, "delay must be one number of time steps between two neurons")
            delay = delay.item()
        _refuse_delays(delay, delay)
        graph, table, schedule = self.graph, self.graph.connections, self._scheduled()
        if graph.neurons["kind"].item(target) == INPUT:
            self._refuse_inputs(np.array([target]), "connections")
        if source == target and delay == 0:
            self._raise_loop(source)
        checkpoint = table.checkpoint()
        random = None if isinstance(weight, str) else self.rng.bit_generator.state
        slot = graph.connect_one(source, target, delay)
        try:
            schedule.add_connection(source, target, delay)
            fans = graph.incoming.length.item(target), graph.outgoing.length.item(source)
            table.put("weight", slot, initializers.initialize_one(weight, *fans, self.rng, self.dtype))
        except BaseException:
            graph.undo_connect(slot, checkpoint)
            schedule.remove_connections()  # it may have sunk neurons for the connection
            if random is not None:
                self.rng.bit_generator.state = random
            raise
        return Connection(self, slot, table.next_id - 1)

    def _add_pairs(
        self,
        source: np.ndarray,
        target: np.ndarray,
        delay: np.ndarray,
        weight: Any,
        labels: np.ndarray | None = None,
        absent: bool = False,
    ) -> Connections:
        """Add connections between slots, all or none; those of one label share a parameter.

        ``absent``: the caller knows that there are none of them yet, and that no two are the same.
        """
        _refuse_delays(delay.min(initial=0), delay.max(initial=0))
        if len(delay) != len(source):
            delay = np.full(len(source), delay[0])
        delay = delay.astype(np.int16)
        self._refuse_impossible(source, target, delay)
        if len(source) == 0:
            # A wrong weight is refused whether or not there is a connection.
            self._initial(source, target, weight, self.rng)
            return Connections(self, np.zeros(0, np.int64))
        table, schedule = self.graph.connections, self._scheduled()
        checkpoint, random = table.checkpoint(), self.rng.bit_generator.state
        # Parameters are numbered before the connections, from 0 in a fresh network.
        table.next_id += 0 if labels is None else len(distinct(labels)[0])
        slots = None
        try:
            slots = self.graph.connect(source, target, delay, absent)
            table.put("weight", slots, self._initial(source, target, weight, self.rng, labels))
            schedule.add_connections(source, target, delay)
            ids = np.arange(table.next_id - len(slots), table.next_id)
            if labels is not None:
                self.graph.weights.tie(slots, labels, first_number=checkpoint[1])
        except BaseException:
            if slots is not None:
                self.graph.undo_connect(slots, checkpoint)
                if labels is not None:
                    schedule.remove_connections()  # it has sunk neurons for them where only the labels were refused
            table.next_id = checkpoint[1]
            self.rng.bit_generator.state = random
            raise
        return Connections(self, slots, ids)

    def _draw(
        self,
        source: np.ndarray,
        target: np.ndarray,
        choose: Callable[[int], int],
        weight: Any,
        delay: Any,
        rng: np.random.Generator,
    ) -> Connections:
        """Draw new pairs between two sets of slots and connect them."""
        self._refuse_inputs(target, "connections")
        delays = checks.integers(delay, "delay")
        require(len(delays) == 1, "delay must be one number of time steps between groups")
        random = rng.bit_generator.state
        try:
            pairs = draw_pairs(self.graph, self._scheduled(), source, target, int(delays[0]), choose, rng)
            return self._add_pairs(*pairs, delays, weight, absent=True)
        except BaseException:
            rng.bit_generator.state = random
            raise

    def _initial(
        self,
        source: np.ndarray,
        target: np.ndarray,
        weight: Any,
        rng: np.random.Generator,
        labels: np.ndarray | None = None,
    ) -> np.ndarray:
        """First weights of connections between neuron slots, in their order; one draw for each label."""
        given = isinstance(weight, list | tuple | np.ndarray)
        if given:
            weight = np.ravel(weight)
        fan_in, fan_out = self.graph.incoming.length[target], self.graph.outgoing.length[source]
        if labels is None or given or len(labels) == 0:
            return initializers.initialize(weight, fan_in, fan_out, rng, self.dtype)
        # Fan-ins differ at the edges of an image; the widest counts, as in the middle of it.
        names, group = distinct(labels)
        widest_in, widest_out = np.zeros(len(names), fan_in.dtype), np.zeros(len(names), fan_out.dtype)
        np.maximum.at(widest_in, group, fan_in)
        np.maximum.at(widest_out, group, fan_out)
        return initializers.initialize(weight, widest_in, widest_out, rng, self.dtype)[group]

    def _scheduled(self) -> Schedule:
        if self._schedule is None:
            self._schedule = Schedule(self.graph)
        return self._schedule

    def _run(
        self,
        X: Any,
        batch_size: int | None,
        state: State | None,
        read: Callable[[Any], np.ndarray] | None,
        want_state: bool = False,
    ) -> tuple[np.ndarray, State | None]:
        """Run X forward; what ``read`` takes from the passes, and the state after the last step if it is wanted."""
        with ALONE:
            plan = self._lowered()
            remembers = plan.history > 0
            X = inputs(X, len(plan.inputs), self.dtype, remembers)
            X, follow = (X, None) if type(X) is np.ndarray else self._accepted(X)
            self._spread()
            raw = None if state is None else state.to_slots(self.graph, len(X), plan)
            steps = X if remembers else one_step(X)
            of_pass, how = (self.backend, plan, steps, raw, batch_size), (read, want_state)
            try:
                result, raw, run, whole = sequences.predict(*of_pass, self._pass, *how)
            except MemoryError as error:
                done = self._once_more(lambda: sequences.predict(*of_pass, None, *how), error)
                result, raw, run, whole = done
            self._passed(run, whole, not remembers)
            result = result if follow is None else follow(result)
        after = State.of(self.graph, raw) if want_state and raw is not None else None
        return result if remembers else result[:, 0], after

    def _accepted(self, X: Any) -> tuple[Any, Callable[[Any], Any]]:
        """X for the backend, and what brings results to where it was."""
        if isinstance(X, DeviceRows):
            return self.backend.accept(X.array), arrays.to_device
        return X, arrays.to_host

    def _once_more(self, attempt: Callable[[], Any], error: MemoryError) -> Any:
        """A pass again, without what older ones hold, if it was the device's memory that ran out."""
        if not device.ran_out(error):
            raise error
        error.__traceback__ = None  # its frames hold the arrays of the pass that failed
        self._pass = self._spare = None
        device.release()
        try:
            return attempt()
        except MemoryError as again:
            if not device.ran_out(again):
                raise
            raise device.too_small(again) from None

    def _passed(self, run: Any, whole: bool, flat: bool = True) -> None:
        self._pass, self._pass_whole, self._pass_flat = run, whole, flat
        self._pass_knows = self.graph.neurons.next_id

    def check_inputs(self, X: Any) -> Any:
        """X as the array, `SparseSamples` or `DeviceRows` that the network runs on; refuses what `predict` refuses."""
        X = inputs(X, self.n_inputs, self.dtype, self.remembers)
        if isinstance(X, DeviceRows):
            taken = self.backend.accept(X.array)
            return X if arrays.on_device(taken) else taken
        return X

    def _require_outputs(self) -> None:
        require(
            self.n_outputs > 0, "the network has no outputs; add_outputs, or mark_outputs of neurons that are there"
        )


def _refuse_delays(lowest: int, highest: int) -> None:
    if lowest < 0 or highest > LONGEST_DELAY:
        raise InvalidValueError(f"delay must be between 0 and {LONGEST_DELAY} time steps, not {lowest}..{highest}")


class _NoConnectionError(InvalidValueError, KeyError):
    """A pair of neurons is not connected."""


def _distinct(slots: np.ndarray) -> np.ndarray:
    # np.unique hashes integers, which is several times slower than sorting a million of them.
    if (slots[1:] > slots[:-1]).all():
        return slots
    ordered = np.sort(slots)
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])]


def _repeat(slots: np.ndarray) -> bool:
    return len(slots) > 1 and bool(np.bincount(slots).max() > 1)


def _is_single(member: Any) -> bool:
    return isinstance(member, (Neuron, int, np.integer)) and not isinstance(member, bool)


def load(path: str | os.PathLike) -> Any:
    """Read a network that `Network.save`, or `QuantizedNetwork.save`, wrote.

    Returns
    -------
    Network or QuantizedNetwork

    Raises
    ------
    FileNotFoundError, FileFormatError
        If the file is missing, truncated, altered or no network.

    Notes
    -----
    A network that was saved with backend "gpu" is loaded with "auto" where there is no GPU, and the logger "neurograph"
    says why.

    Examples
    --------
    >>> import tempfile, neurograph as ng
    >>> net = ng.topologies.layered([2, 3, 1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     net.save(f"{folder}/model.ng")
    ...     again = ng.load(f"{folder}/model.ng")
    >>> bool((again.predict([[1, 2]]) == net.predict([[1, 2]])).all())
    True
    """
    from . import io, state

    arrays, meta = io.load(path)
    try:
        if meta.get("kind") == KIND:
            return QuantizedNetwork.restore(arrays, meta, Network)
        net = Network(seed=meta["seed"], dtype=meta["dtype"], backend=backends.elsewhere(meta["backend"]))
        net.precision = meta.get("precision", "float32")
        state.fill(net, arrays, meta)
    except (KeyError, IndexError, TypeError) as error:
        raise FileFormatError(f"{path} does not hold a whole network ({error!r}); save it again") from error
    return net
