"""Live views: what users hold instead of data. A view remembers (slot, id) and reads the tables when asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidValueError, StaleError
from ..functions import activations, aggregations

if TYPE_CHECKING:
    from ..network import Network

MANY_REGIONS = 2**20  # numbers that are counted rather than sorted


class Neuron:
    """Live view of one neuron; it holds no data of its own and compares equal to its id.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.Network()
    >>> neuron = net.add_neurons(1, activation="tanh")[0]
    >>> neuron.bias = 0.5
    >>> neuron.bias, neuron.activation, neuron.fan_in, neuron == neuron.id
    (0.5, 'tanh', 0, True)
    """

    __slots__ = ("_network", "_slot", "id")

    def __init__(self, network: Network, slot: int, id: int):
        self._network = network
        self._slot = int(slot)
        self.id = int(id)

    @property
    def slot(self) -> int:
        """Row of the neuron in the tables; raises `StaleError` once the neuron is removed."""
        if self._network.graph.neurons["id"].item(self._slot) != self.id:
            raise StaleError(f"neuron {self.id} was removed from the network; drop this view of it")
        return self._slot

    def _column(self, name: str) -> Any:
        return self._network.graph.neurons.read(name)[self.slot].item()

    def _slots(self) -> np.ndarray:
        return np.array([self.slot])

    @property
    def name(self) -> str | None:
        """What the neuron is called, None if it has no name; no two neurons of a network share one."""
        _ = self.slot
        return self._network.names.of(self.id)

    @name.setter
    def name(self, value: str | None) -> None:
        _ = self.slot
        self._network.names.set([self.id], [value])

    @property
    def bias(self) -> float:
        """Added to the aggregated inputs before the activation."""
        return self._network.graph.biases.read("bias", self._slots())[0].item()

    @bias.setter
    def bias(self, value: float) -> None:
        self._network.set_bias(self._slots(), value)

    @property
    def bias_grad(self) -> float:
        """Gradient of the last loss with respect to the bias, or to the parameter that it shares."""
        return self._network.graph.biases.read("bias_grad", self._slots())[0].item()

    @property
    def bias_frozen(self) -> bool:
        """Whether optimizers leave the bias alone."""
        return bool(self._network.graph.biases.read("frozen", self._slots())[0])

    @bias_frozen.setter
    def bias_frozen(self, value: bool) -> None:
        self._network.freeze_bias(self._slots(), value)

    @property
    def activation(self) -> str | tuple[str, float]:
        """Name of the activation, or a pair (name, parameter)."""
        parameter = self._network.graph.neurons.read("activation_parameter")[self.slot]
        return activations.spec(self._column("activation"), parameter)

    @activation.setter
    def activation(self, value: str | tuple[str, float]) -> None:
        self._network.set_activation(self._slots(), value)

    @property
    def aggregation(self) -> str:
        """How the weighted inputs become one value: sum, mean, product, max or min."""
        return aggregations.name(self._column("aggregation"))

    @aggregation.setter
    def aggregation(self, value: str) -> None:
        self._network.set_aggregation(self._slots(), value)

    @property
    def time_constant(self) -> float:
        """Steps in which the potential follows its input; 1 follows at once. See `Network.add_neurons`."""
        return self._column("time_constant")

    @time_constant.setter
    def time_constant(self, value: float) -> None:
        self._network.set_time_constant(self._slots(), value)

    @property
    def fan_in(self) -> int:
        """Number of connections into the neuron."""
        return int(self._network.graph.incoming.length[self.slot])

    @property
    def fan_out(self) -> int:
        """Number of connections out of the neuron."""
        return int(self._network.graph.outgoing.length[self.slot])

    @property
    def inputs(self) -> Connections:
        """The connections into the neuron."""
        return Connections(self._network, np.sort(self._network.graph.incoming.of(self._slots())))

    @property
    def outputs(self) -> Connections:
        """The connections out of the neuron."""
        return Connections(self._network, np.sort(self._network.graph.outgoing.of(self._slots())))

    @property
    def predecessors(self) -> Group:
        """The neurons that feed this one."""
        return Group(self._network, np.unique(self.inputs.source))

    @property
    def successors(self) -> Group:
        """The neurons that this one feeds."""
        return Group(self._network, np.unique(self.outputs.target))

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups that the neuron belongs to."""
        _ = self.slot
        return tuple(name for name, group in self._network.groups.items() if self.id in group)

    @property
    def output(self) -> np.ndarray:
        """Output in the last pass, shape (batch,)."""
        return self._network.read_last_pass("output", self._slots())[..., 0]

    @property
    def error(self) -> np.ndarray:
        """Gradient of the loss with respect to the neuron's input (before the activation) in the last backward pass.

        Shape (batch,); the losses average over the batch, so these entries sum to the bias gradient. Zero for inputs:
        the gradient of X is not computed.
        """
        return self._network.read_last_pass("error", self._slots())[..., 0]

    def remove(self) -> None:
        """Remove the neuron and every connection at it."""
        self._network.remove_neurons(self)

    def __index__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Neuron):
            return self.id == other.id and self._network is other._network
        return isinstance(other, int | np.integer) and self.id == int(other)

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        try:
            return f"<Neuron {self.id}: {self.activation}, fan-in {self.fan_in}, fan-out {self.fan_out}>"
        except StaleError:
            return f"<Neuron {self.id}: removed>"


class Group:
    """An ordered set of neurons, of any shape; groups may overlap and change at any time.

    A neuron that is removed from the network leaves every group. Set algebra makes new groups; indexing with an int
    gives a `Neuron`, with a slice, mask or index array a group.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.Network()
    >>> a = net.add_neurons(4, name="a")
    >>> odd = net.group([1, 3], name="odd")
    >>> (a - odd).ids.tolist(), len(a | odd), 1 in odd
    ([0, 2], 4, True)
    >>> odd.add(a[0]); odd.discard(3); odd.ids.tolist()
    [1, 0]
    """

    __slots__ = ("_ids", "_network", "_removals", "_shape", "name")

    def __init__(
        self, network: Network, ids: np.ndarray, name: str | None = None, shape: tuple[int, ...] | None = None
    ):
        self._network = network
        self._ids = np.asarray(ids, np.int64)
        self._removals = network.graph.removals
        self._shape = shape
        self.name = name

    # -- the set -------------------------------------------------------------------------------------------------------

    @property
    def ids(self) -> np.ndarray:
        """Ids of the members, in the group's order, shape (n,)."""
        graph = self._network.graph
        if self._removals != graph.removals:
            alive = graph.slots_of(self._ids) >= 0
            if not alive.all():
                self._ids = self._ids[alive]
                self._shape = None
            self._removals = graph.removals
        return self._ids.copy()

    @property
    def slots(self) -> np.ndarray:
        """Rows of the members in the tables, shape (n,)."""
        return self._network.graph.slots_of(self.ids)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape given when the group was added (C order), (n,) otherwise and after it lost or gained members."""
        n = len(self.ids)
        return self._shape if self._shape is not None else (n,)

    def add(self, members: Any) -> None:
        """Add neurons; those that are members already stay where they are."""
        new = self._network.ids_of(members)
        grown = _ordered_unique(np.concatenate([self.ids, new]))
        if len(grown) > len(self._ids):
            self._ids, self._shape = grown, None

    def discard(self, members: Any) -> None:
        """Take neurons out of the group; those that are no members are ignored."""
        kept = self.ids
        kept = kept[~np.isin(kept, self._network.ids_of(members))]
        if len(kept) < len(self._ids):
            self._ids, self._shape = kept, None

    def __or__(self, other: Any) -> Group:
        return Group(self._network, _ordered_unique(np.concatenate([self.ids, self._network.ids_of(other)])))

    def __and__(self, other: Any) -> Group:
        ids = self.ids
        return Group(self._network, ids[np.isin(ids, self._network.ids_of(other))])

    def __sub__(self, other: Any) -> Group:
        ids = self.ids
        return Group(self._network, ids[~np.isin(ids, self._network.ids_of(other))])

    def __xor__(self, other: Any) -> Group:
        return (self - other) | (self._network.group(other) - self)

    def __contains__(self, member: object) -> bool:
        if not isinstance(member, Neuron | int | np.integer):
            return False
        if isinstance(member, Neuron) and member._network is not self._network:
            return False
        return bool((self.ids == int(member)).any())

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Neuron]:
        slots = self.slots
        return (Neuron(self._network, slot, id) for slot, id in zip(slots, self._ids.copy(), strict=True))

    def __getitem__(self, key: Any) -> Any:
        ids = self.ids
        if isinstance(key, tuple):
            ids = ids.reshape(self.shape)
        try:
            picked = ids[key]
        except IndexError as error:
            raise IndexError(f"group {self.name or ''} of shape {self.shape}: {error}") from None
        if np.ndim(picked) == 0:
            return Neuron(self._network, self._network.graph.slots_of(np.array([picked]))[0], picked)
        picked = picked.ravel()
        return Group(self._network, _ordered_unique(picked))

    # -- columns -------------------------------------------------------------------------------------------------------

    def _column(self, name: str) -> np.ndarray:
        return self._network.graph.neurons.read(name)[self.slots]

    @property
    def names(self) -> np.ndarray:
        """Names of the members, an object array with None where there is none; assign one string or None for each."""
        return _objects([self._network.names.of(id) for id in self.ids.tolist()])

    @names.setter
    def names(self, value: Any) -> None:
        ids, names = self.ids.tolist(), list(value)
        if len(names) != len(ids):
            raise InvalidValueError(f"{len(names)} names for {len(ids)} neurons; give one name or None for each")
        self._network.names.set(ids, names)

    @property
    def bias(self) -> np.ndarray:
        """Biases of the members, a copy of shape (n,); assign a number or an array, as in ``group[:3].bias = 0``."""
        return self._network.graph.biases.read("bias", self.slots)

    @bias.setter
    def bias(self, value: Any) -> None:
        self._network.set_bias(self.slots, value)

    @property
    def bias_grad(self) -> np.ndarray:
        """Gradients of the last loss with respect to the biases, or to the parameters that they share, shape (n,).

        Assign a number or an array to clip or to mask them.
        """
        return self._network.graph.biases.read("bias_grad", self.slots)

    @bias_grad.setter
    def bias_grad(self, value: Any) -> None:
        self._network.set_bias(self.slots, value, column="bias_grad")

    @property
    def bias_parameter(self) -> np.ndarray:
        """Number of the parameter of each member's bias, shape (n,): the neuron's id where it is its own."""
        return self._network.graph.biases.numbers(self.slots)

    @property
    def bias_frozen(self) -> np.ndarray:
        """Which biases optimizers leave alone, bools of shape (n,); assign one or one each."""
        return self._network.graph.biases.read("frozen", self.slots).astype(bool)

    @bias_frozen.setter
    def bias_frozen(self, value: Any) -> None:
        self._network.freeze_bias(self.slots, value)

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the state columns of biases that optimizers have added so far."""
        return self._network.graph.biases.states

    def state(self, name: str) -> np.ndarray:
        """A copy of an optimizer's column for the biases, such as "adam_m"; zeros where there is none yet."""
        return self._network.graph.biases.read(name, self.slots)

    def set_state(self, name: str, value: Any) -> None:
        """Set a state column of the biases: a number, or one each."""
        self._network.set_state("bias", self.slots, name, value)

    @property
    def activation(self) -> np.ndarray:
        """Activations of the members, an object array of names or (name, parameter); assign one or one per neuron."""
        columns = self._column("activation").tolist(), self._column("activation_parameter")
        return _objects([activations.spec(code, parameter) for code, parameter in zip(*columns, strict=True)])

    @activation.setter
    def activation(self, value: Any) -> None:
        self._network.set_activation(self.slots, value)

    @property
    def aggregation(self) -> np.ndarray:
        """Aggregations of the members, an object array of names; assign one or one per neuron."""
        return _objects([aggregations.name(code) for code in self._column("aggregation").tolist()])

    @aggregation.setter
    def aggregation(self, value: Any) -> None:
        self._network.set_aggregation(self.slots, value)

    @property
    def time_constant(self) -> np.ndarray:
        """Time constants of the members in steps, shape (n,); assign a number or an array."""
        return self._column("time_constant")

    @time_constant.setter
    def time_constant(self, value: Any) -> None:
        self._network.set_time_constant(self.slots, value)

    @property
    def fan_in(self) -> np.ndarray:
        """Connections into each member, shape (n,)."""
        return self._network.graph.incoming.length[self.slots].astype(np.int64)

    @property
    def fan_out(self) -> np.ndarray:
        """Connections out of each member, shape (n,)."""
        return self._network.graph.outgoing.length[self.slots].astype(np.int64)

    @property
    def output(self) -> np.ndarray:
        """Outputs of the members in the last pass, shape (batch, n), or (batch, time, n) for sequences."""
        return self._network.read_last_pass("output", self.slots)

    @property
    def error(self) -> np.ndarray:
        """Gradients of the loss with respect to the members' inputs, shape (batch, n); see `Neuron.error`."""
        return self._network.read_last_pass("error", self.slots)

    @property
    def incoming(self) -> Connections:
        """All connections into members."""
        return Connections(self._network, np.sort(self._network.graph.incoming.of(self.slots)))

    @property
    def outgoing(self) -> Connections:
        """All connections out of members."""
        return Connections(self._network, np.sort(self._network.graph.outgoing.of(self.slots)))

    def remove(self) -> None:
        """Remove the members, and every connection at them, from the network."""
        self._network.remove_neurons(self)

    def __repr__(self) -> str:
        ids = self.ids
        shown = ", ".join(map(str, ids[:6])) + (", ..." if len(ids) > 6 else "")
        return f"<Group{' ' + repr(self.name) if self.name else ''} of {len(ids)} neurons: {shown}>"


class Connection:
    """Live view of one connection.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.Network()
    >>> a, b = net.add_neurons(2)
    >>> c = net.connect(a, b, weight=0.5)
    >>> c.weight += 1
    >>> c.source == a, c.target.id, c.weight
    (True, 1, 1.5)
    """

    __slots__ = ("_network", "_slot", "id")

    def __init__(self, network: Network, slot: int, id: int):
        self._network = network
        self._slot = int(slot)
        self.id = int(id)

    @property
    def slot(self) -> int:
        """Row of the connection in the tables; raises `StaleError` once the connection is removed."""
        table = self._network.graph.connections
        if self._slot >= table.size or table.read("id").item(self._slot) != self.id:
            self._slot = int(table.find(np.array([self.id]))[0])
            if self._slot < 0:
                raise StaleError(f"connection {self.id} was removed from the network; drop this view of it")
        return self._slot

    def _column(self, name: str) -> Any:
        return self._network.graph.connections.read(name)[self.slot].item()

    def _end(self, name: str) -> Neuron:
        slot = self._column(name)
        return Neuron(self._network, slot, self._network.graph.neurons["id"][slot])

    @property
    def source(self) -> Neuron:
        """The neuron that the connection reads."""
        return self._end("source")

    @property
    def target(self) -> Neuron:
        """The neuron that the connection feeds."""
        return self._end("target")

    @property
    def delay(self) -> int:
        """0 reads the source in the same step, d the source d time steps ago."""
        return self._column("delay")

    def _read(self, column: str) -> Any:
        return self._network.graph.weights.read(column, np.array([self.slot]))[0].item()

    @property
    def parameter(self) -> int:
        """Number of the connection's parameter: its own id, until it is tied to others."""
        return int(self._network.graph.weights.numbers(np.array([self.slot]))[0])

    @property
    def weight(self) -> float:
        """Factor on the source's output; all connections of one parameter have the same."""
        return self._read("weight")

    @weight.setter
    def weight(self, value: float) -> None:
        self._network.set_weight(np.array([self.slot]), value)

    @property
    def grad(self) -> float:
        """Gradient of the last loss with respect to the weight, or to the parameter that it shares."""
        return self._read("grad")

    @property
    def own_grad(self) -> float:
        """What this connection alone contributes to the gradient of its parameter."""
        return self._column("grad")

    @property
    def frozen(self) -> bool:
        """Whether optimizers leave the weight alone."""
        return bool(self._read("frozen"))

    @frozen.setter
    def frozen(self, value: bool) -> None:
        self._network.freeze(np.array([self.slot]), value)

    def state(self, name: str) -> float:
        """An optimizer's number for this connection, such as "adam_m"; 0 where no optimizer has used it yet."""
        return self._read(name)

    def remove(self) -> None:
        """Remove the connection."""
        self._network.prune(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Connection) and self.id == other.id and self._network is other._network

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        try:
            return f"<Connection {self.id}: {self.source.id} -> {self.target.id}, weight {self.weight:.6g}>"
        except StaleError:
            return f"<Connection {self.id}: removed>"


class Connections:
    """Live view of many connections: columns are arrays, and it indexes like an array.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.Network()
    >>> a, b = net.add_neurons(2), net.add_neurons(2)
    >>> conns = net.connect(a, b, weight=[0.1, 0.2, 0.3, 0.4])
    >>> conns.weight *= 10
    >>> strong = conns[conns.weight > 2.5]
    >>> strong.weight.tolist(), strong.remove(), net.n_connections
    ([3.0, 4.0], 2, 2)
    """

    __slots__ = ("_edits", "_ids", "_network", "_slots")

    def __init__(self, network: Network, slots: np.ndarray, ids: np.ndarray | None = None, edits: int | None = None):
        self._network = network
        self._slots = np.asarray(slots, np.int64)
        self._ids = network.graph.connections.read("id")[self._slots] if ids is None else ids
        self._edits = network.graph.edits if edits is None else edits  # at which the slots were right

    @property
    def slots(self) -> np.ndarray:
        """Rows in the connection table; raises `StaleError` when any of them was removed."""
        table, edits = self._network.graph.connections, self._network.graph.edits
        if len(self._slots) == 0 or self._edits == edits:
            return self._slots
        if self._slots.max() < table.size and (table.read("id")[self._slots] == self._ids).all():
            self._edits = edits
            return self._slots
        slots = table.find(self._ids)
        stale = slots < 0
        if stale.any():
            raise StaleError(
                f"{int(stale.sum())} of these {len(self._slots)} connections were removed from the network, the first "
                f"is connection {self._ids[stale][0]}; ask the network for its connections again"
            )
        self._slots, self._edits = slots, edits
        return slots

    def _column(self, name: str) -> np.ndarray:
        return self._network.graph.connections.read(name)[self.slots]

    def _neuron_column(self, end: str, name: str) -> np.ndarray:
        return self._network.graph.neurons.read(name)[self._column(end)]

    @property
    def id(self) -> np.ndarray:
        """Ids of the connections, shape (n,)."""
        _ = self.slots
        return self._ids.copy()

    @property
    def source(self) -> np.ndarray:
        """Ids of the source neurons, shape (n,)."""
        return self._neuron_column("source", "id")

    @property
    def target(self) -> np.ndarray:
        """Ids of the target neurons, shape (n,)."""
        return self._neuron_column("target", "id")

    @property
    def source_home(self) -> np.ndarray:
        """Home of each source: the number of the ``add_...`` call that made it, shape (n,)."""
        return self._neuron_column("source", "home").astype(np.int64)

    @property
    def target_home(self) -> np.ndarray:
        """Home of each target, shape (n,)."""
        return self._neuron_column("target", "home").astype(np.int64)

    def regions(self) -> tuple[np.ndarray, np.ndarray]:
        """The connected pairs of homes, each delay between them apart: the pairs of layers of a layered network.

        Returns
        -------
        regions : ndarray of int64, shape (r, 3)
            Home of the sources, home of the targets and delay; ascending.
        number : ndarray of int, shape (n,)
            Row of ``regions`` in which each connection is.

        Examples
        --------
        >>> import neurograph as ng
        >>> regions, number = ng.topologies.layered([1, 2, 1]).connections.regions()
        >>> regions.tolist(), number.tolist()
        ([[0, 1, 0], [1, 2, 0]], [0, 0, 1, 1])
        """
        from .compiled import number_codes, region_codes

        graph = self._network.graph
        columns = (graph.connections.read(name) for name in ("source", "target", "delay"))
        delays = int(graph.connections.read("delay").max(initial=0)) + 1 if graph.delayed else 1
        codes = region_codes(self.slots, *columns, graph.neurons["home"], graph.n_homes, delays)
        size = graph.n_homes**2 * delays
        codes, number = number_codes(codes, size) if size <= MANY_REGIONS else np.unique(codes, return_inverse=True)
        pairs, delay = np.divmod(codes, delays)
        return np.stack([*np.divmod(pairs, max(graph.n_homes, 1)), delay], axis=1), number

    @property
    def delay(self) -> np.ndarray:
        """Delays in time steps, shape (n,)."""
        return self._column("delay").astype(np.int64)

    def _read(self, column: str) -> np.ndarray:
        return self._network.graph.weights.read(column, self.slots)

    @property
    def parameter(self) -> np.ndarray:
        """Number of each connection's parameter, shape (n,): the connection's id, until it is tied to others.

        The parameters that one call made are numbered consecutively, so ``parameter - parameter.min()`` indexes them.
        """
        return self._network.graph.weights.numbers(self.slots)

    @property
    def weight(self) -> np.ndarray:
        """Weights, a copy of shape (n,); assign a number or an array, as in ``conns[mask].weight = 0``."""
        return self._read("weight")

    @weight.setter
    def weight(self, value: Any) -> None:
        self._network.set_weight(self.slots, value)

    @property
    def grad(self) -> np.ndarray:
        """Gradients of the last loss with respect to the weights, shape (n,); assign to clip or to mask them.

        Where connections share a parameter it is the parameter's gradient, the sum of `own_grad`, and assigning it
        leaves `own_grad` alone.
        """
        return self._read("grad")

    @grad.setter
    def grad(self, value: Any) -> None:
        self._network.set_weight(self.slots, value, column="grad")

    @property
    def own_grad(self) -> np.ndarray:
        """What each connection alone contributes to the gradient of its parameter, shape (n,)."""
        return self._column("grad")

    @property
    def frozen(self) -> np.ndarray:
        """Which weights optimizers leave alone, bools of shape (n,); assign one or one each."""
        sharing = self._network.graph.weights
        if "frozen" not in sharing.tenants and "frozen" not in sharing.table:
            return np.zeros(len(self.slots), bool)
        return self._read("frozen").astype(bool)

    @frozen.setter
    def frozen(self, value: Any) -> None:
        self._network.freeze(self.slots, value)

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the state columns that optimizers and recipes have added so far."""
        return self._network.graph.weights.states

    def state(self, name: str) -> np.ndarray:
        """A copy of an optimizer's column, such as "adam_m"; zeros where no optimizer has used it yet."""
        return self._read(name)

    def set_state(self, name: str, value: Any) -> None:
        """Set a state column: a number, or one each. It is added where there is none yet, zero for all others."""
        self._network.set_state("weight", self.slots, name, value)

    def initialize(self, weight: Any = "he") -> None:
        """Draw the weights anew, by the fan-in and fan-out that the graph has now.

        Parameters
        ----------
        weight : str, float, array or callable
            As in `Network.connect`.
        """
        self._network.initialize(self, weight)

    def remove(self) -> int:
        """Remove these connections; returns how many."""
        return self._network.prune(self)

    def __getitem__(self, key: Any) -> Any:
        slots, ids = self._slots[key], self._ids[key]
        if np.ndim(slots) == 0:
            return Connection(self._network, slots, ids)
        return Connections(self._network, slots, ids, self._edits)

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[Connection]:
        return (Connection(self._network, s, i) for s, i in zip(self._slots, self._ids, strict=True))

    def __contains__(self, connection: object) -> bool:
        if not isinstance(connection, Connection) or connection._network is not self._network:
            return False
        return bool((self._ids == connection.id).any())

    def __repr__(self) -> str:
        return f"<{len(self)} connections of {self._network!r}>"


def column_of(value: Any, count: int, parse: Any, what: str) -> list:
    """Parse one specification for all, or one per neuron, into a list of length ``count``."""
    one = isinstance(value, str) or (
        isinstance(value, tuple) and len(value) == 2 and not isinstance(value[1], str | tuple)
    )
    if one:
        return [parse(value)] * count
    values = list(value) if isinstance(value, list | tuple | np.ndarray) else None
    if values is None or len(values) != count:
        got = type(value).__name__ if values is None else f"{len(values)} of them"
        raise InvalidValueError(f"{what} must be one name or one per neuron ({count} here), not {got}")
    known: dict = {}
    for item in values:
        if item not in known:
            known[item] = parse(item)
    return [known[item] for item in values]


def _ordered_unique(ids: np.ndarray) -> np.ndarray:
    _, first = np.unique(ids, return_index=True)
    return ids[np.sort(first)]


def _objects(values: list) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array
