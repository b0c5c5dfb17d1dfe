"""Random edits keep the network equal to a networkx graph and a few dicts, its invariants true, its results right."""

import copy
import pickle
import tempfile
from itertools import count, product
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import neurograph as ng
from neurograph.testing import AGGREGATIONS, MIXED, assert_graph_invariants
from tests import naive

NUMBERS = st.integers(-32, 32).map(lambda n: n / 16)
DELAYS = st.sampled_from([0, 0, 0, 0, 1, 2])
TIMES = st.sampled_from([1.0, 1.0, 1.0, 1.0, 2.0, 4.0])
SIZE = 40  # neurons, at which growing stops
STEPS = 3  # time steps that a network with delays is run for


class Shares:
    """Who shares which parameter: a dict of parameters by user, and what each of them is."""

    def __init__(self):
        self.of, self.value, self.frozen, self.numbers = {}, {}, set(), count()

    def add(self, user, value, frozen=False):
        """A new user with a parameter of its own."""
        self.of[user] = p = next(self.numbers)
        self.value[p] = value
        if frozen:
            self.frozen.add(p)

    def get(self, user):
        """Value of a user's parameter."""
        return self.value[self.of[user]]

    def is_frozen(self, user):
        """Whether a user's parameter is."""
        return self.of[user] in self.frozen

    def forget(self, users):
        """Users leave; a parameter without users is gone."""
        for user in users:
            del self.of[user]
        self.value = {p: v for p, v in self.value.items() if p in self.of.values()}
        self.frozen &= set(self.value)

    def tie(self, users, labels):
        """One new parameter a label, of the mean value; frozen if one of them was."""
        members = {label: [u for u, other in zip(users, labels, strict=True) if other == label] for label in labels}
        new = {}
        for label, group in members.items():
            total = 0.0
            for user in group:
                total += self.get(user)
            alike = len({self.get(user) for user in group}) == 1
            value = self.get(group[0]) if alike else total / len(group)
            new[label] = value, any(self.is_frozen(user) for user in group)
        self.forget(users)
        for label, group in members.items():
            self.add(group[0], *new[label])
            self.of.update(dict.fromkeys(group, self.of[group[0]]))

    def untie(self, users):
        """A copy of its parameter for each."""
        own = [(user, self.get(user), self.is_frozen(user)) for user in users]
        self.forget(users)
        for user, value, frozen in own:
            self.add(user, value, frozen)

    def conflict(self, users, labels):
        """Whether a label stands for different values."""
        values = {}
        return any(values.setdefault(label, self.get(u)) != self.get(u) for u, label in zip(users, labels, strict=True))

    def same_as(self, users, numbers):
        """Whether these numbers of parameters group the users alike."""
        pairs = {(self.of[user], number) for user, number in zip(users, numbers, strict=True)}
        return len(pairs) == len({p for p, _ in pairs}) == len({n for _, n in pairs}) == len(self.value)


class GraphMachine(RuleBasedStateMachine):
    """Random edits of a network, of a `networkx.DiGraph` of its undelayed connections, and of `Shares`."""

    backend = "reference"

    @initialize(
        n_inputs=st.integers(1, 4),
        n_hidden=st.sampled_from([0, 3]),
        n_outputs=st.integers(1, 3),
        loops=st.booleans(),
        share=st.booleans(),
    )
    def start(self, n_inputs, n_hidden, n_outputs, loops, share):
        """Some neurons, and in half of the cases connections, loops and ties, so that every rule can fire soon."""
        self.net = ng.Network(seed=0, dtype="float64", backend=self.backend)
        self.model = nx.DiGraph()
        self.weights, self.biases = Shares(), Shares()  # by (source, target, delay), and by neuron
        self.inputs, self.outputs, self.groups, self.names, self.dead = [], [], {}, {}, []
        self.dead_views = []
        self.next_id = self.edits = 0
        self.grow("input", n_inputs)
        self.grow("output", n_outputs)
        if n_hidden:
            self.grow("hidden", n_hidden, activation="tanh")
            *_, outputs, hidden = self.net.groups.values()
            self.learn(self.net.connect(self.net.inputs, hidden, weight=0.5))
            self.learn(self.net.connect(hidden, outputs, weight=-0.75))
            if loops:
                self.learn(self.net.connect(hidden, hidden, weight=0.25, density=0.5, delay=1))
            if share:
                labels = (self.net.connections.weight > 0).tolist()
                self.net.tie(self.net.connections, labels, average=True)
                self.weights.tie(ends(self.net.connections), labels)

    # -- helpers -------------------------------------------------------------------------------------------------------

    def grow(self, kind, count, **options):
        """Add neurons to both sides."""
        name = f"added{len(self.groups)}"
        add = {"input": self.net.add_inputs, "hidden": self.net.add_neurons, "output": self.net.add_outputs}[kind]
        group = add(count, name=name, **options)
        ids = list(range(self.next_id, self.next_id + count))
        assert group.ids.tolist() == ids
        self.next_id += count
        defaults = {"hidden": "relu"}
        for i in ids:
            self.model.add_node(
                i,
                activation=options.get("activation", defaults.get(kind, "identity")),
                aggregation=options.get("aggregation", "sum"),
                time_constant=options.get("time_constant", 1.0),
            )
            if kind != "input":
                self.biases.add(i, options.get("bias", 0.0))
        self.groups[name] = ids
        if kind == "input":
            self.inputs += ids
        if kind == "output":
            self.outputs += ids

    def edges(self):
        """(source, target, delay) of every connection."""
        return sorted(self.weights.of)

    def nodes(self):
        return sorted(self.model.nodes)

    def movable(self):
        """Neurons that are no inputs."""
        return sorted(self.biases.of)

    def remembers(self):
        """Whether a step depends on earlier ones."""
        slow = any(attributes["time_constant"] > 1 for _, attributes in self.model.nodes(data=True))
        return slow or any(delay for _, _, delay in self.weights.of)

    def legal_pairs(self):
        """New pairs without delay that are neither duplicates nor close a cycle."""
        below = {}
        for n in nx.topological_sort(self.model):
            below[n] = {n}.union(*(below[p] for p in self.model.pred[n]))
        return [
            (u, v)
            for u in self.nodes()
            for v in self.movable()
            if v not in below[u] and (u, v, 0) not in self.weights.of
        ]

    def candidates(self, a, b, delay):
        """New pairs that group-to-group `connect` may draw.

        All, where none of them can close a cycle whichever are drawn; else those along schedule order, ties by id,
        inputs first.
        """
        free = delay or not set(a) & set(b) and not any(nx.ancestors(self.model, u) & set(b) for u in a)
        rank = {}
        for g, members in enumerate(nx.topological_generations(self.model)):
            rank.update({n: (n not in self.inputs, g, n) for n in members})
        return [(u, v) for u in a for v in b if (u, v, delay) not in self.weights.of and (free or rank[u] < rank[v])]

    def forget(self, ids):
        """Remove neurons from the model."""
        self.forget_edges([edge for edge in self.edges() if set(edge[:2]) & set(ids)])
        self.model.remove_nodes_from(ids)
        self.biases.forget([i for i in ids if i not in self.inputs])
        self.names = {i: name for i, name in self.names.items() if i not in ids}
        self.dead += ids
        self.inputs = [i for i in self.inputs if i not in ids]
        self.outputs = [i for i in self.outputs if i not in ids]
        self.groups = {name: [i for i in members if i not in ids] for name, members in self.groups.items()}

    def forget_edges(self, edges):
        """Remove connections from the model."""
        self.weights.forget(edges)
        self.model.remove_edges_from([(u, v) for u, v, delay in edges if not delay])

    def learn(self, connections):
        """Write the edges that the network chose by itself into the model."""
        for edge, weight in zip(ends(connections), connections.weight.tolist(), strict=True):
            assert edge not in self.weights.of
            self.weights.add(edge, weight)
            if not edge[2]:
                self.model.add_edge(*edge[:2])

    def draw_connections(self, data, most=6):
        """Some connections in any order: the view, and their ends."""
        conns = self.net.connections
        place = st.integers(0, len(conns) - 1)
        conns = conns[data.draw(st.lists(place, min_size=1, max_size=most, unique=True))]
        return conns, ends(conns)

    # -- neurons -------------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.model) < SIZE)
    @rule(
        count=st.integers(1, 4),
        kind=st.sampled_from(["hidden", "hidden", "output"]),
        activation=st.sampled_from(MIXED),
        aggregation=st.sampled_from(AGGREGATIONS),
        bias=NUMBERS,
        tau=TIMES,
    )
    def add_neurons(self, count, kind, activation, aggregation, bias, tau):
        note(f"add {count} {kind} {activation} {aggregation} {tau}")
        self.grow(kind, count, activation=activation, aggregation=aggregation, bias=bias, time_constant=tau)

    @precondition(lambda self: len(self.model) < SIZE)
    @rule(count=st.integers(0, 2))
    def add_inputs(self, count):
        note(f"add {count} inputs")
        self.grow("input", count)

    @rule(data=st.data())
    def mark_outputs(self, data):
        ids = data.draw(st.lists(st.sampled_from(self.nodes()), max_size=2, unique=True)) if self.nodes() else []
        note(f"mark {ids}")
        self.net.mark_outputs(ids)
        self.outputs += [i for i in ids if i not in self.outputs]

    @precondition(lambda self: len(self.model) > 6)
    @rule(data=st.data())
    def remove_neurons(self, data):
        ids = data.draw(st.lists(st.sampled_from(self.nodes()), min_size=1, max_size=3, unique=True))
        note(f"remove neurons {ids}")
        views = [self.net.neuron(i) for i in ids]
        if len(ids) == 1 and data.draw(st.booleans()):
            views[0].remove()
        else:
            self.net.remove_neurons(ids)
        self.dead_views += views[:1]
        self.forget(ids)

    @precondition(lambda self: len(self.movable()) > 0)
    @rule(
        data=st.data(),
        activation=st.sampled_from(MIXED),
        aggregation=st.sampled_from(AGGREGATIONS),
        bias=NUMBERS,
        tau=TIMES,
    )
    def edit_neuron(self, data, activation, aggregation, bias, tau):
        i = data.draw(st.sampled_from(self.movable()))
        note(f"edit neuron {i}: {activation} {aggregation} {bias} {tau}")
        n = self.net.neuron(i)
        n.activation, n.aggregation, n.bias, n.time_constant = activation, aggregation, bias, tau
        self.model.nodes[i].update(activation=activation, aggregation=aggregation, time_constant=tau)
        self.biases.value[self.biases.of[i]] = bias

    @precondition(lambda self: len(self.model) > 0)
    @rule(data=st.data(), names=st.lists(st.sampled_from(["AVAL", "AVAR", "x", None]), min_size=1, max_size=2))
    def name_neurons(self, data, names):
        ids = data.draw(st.lists(st.sampled_from(self.nodes()), min_size=len(names), max_size=len(names), unique=True))
        note(f"name {ids} {names}")
        new = {i: name for i, name in self.names.items() if i not in ids}
        new |= {i: name for i, name in zip(ids, names, strict=True) if name}
        if len(set(new.values())) < len(new):
            with pytest.raises(ng.InvalidValueError, match="two neurons would be named"):
                self.net.group(ids).names = names
            return
        self.net.group(ids).names = names
        self.names = new

    # -- connections ---------------------------------------------------------------------------------------------------

    @rule(data=st.data(), weight=NUMBERS, delay=DELAYS)
    def connect_two(self, data, weight, delay):
        pairs = self.candidates(self.nodes(), self.movable(), delay) if delay else self.legal_pairs()
        if not pairs:
            return
        u, v = data.draw(st.sampled_from(pairs))
        note(f"connect {u} -> {v}, delay {delay}")
        c = self.net.connect(self.net.neuron(u), v, weight=weight, delay=delay)
        assert (c.source.id, c.target.id, c.weight, c.delay) == (u, v, weight, delay)
        self.learn(self.net.connections[-1:])

    @rule(data=st.data())
    def add_bulk(self, data):
        """Pairs that are legal one by one may close a cycle together: all or nothing."""
        pairs = self.legal_pairs()
        if not pairs:
            return
        chosen = data.draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=12, unique=True))
        weights = data.draw(st.lists(NUMBERS, min_size=len(chosen), max_size=len(chosen)))
        note(f"bulk {chosen}")
        trial = self.model.copy()
        trial.add_edges_from(chosen)
        source, target = zip(*chosen, strict=True)
        if nx.is_directed_acyclic_graph(trial):
            conns = self.net.add_connections(source, target, weight=np.array(weights))
            assert conns.source.tolist() == list(source) and conns.target.tolist() == list(target)
            assert conns.weight.tolist() == weights
            self.learn(conns)
        else:
            with pytest.raises(ng.CycleError, match="delay=1"):
                self.net.add_connections(source, target, weight=np.array(weights))

    @rule(data=st.data(), density=st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0]), delay=DELAYS)
    def connect_groups(self, data, density, delay):
        ids = st.lists(st.sampled_from(self.nodes()), max_size=6, unique=True)
        if not self.movable():
            return
        a = data.draw(ids)
        b = data.draw(st.lists(st.sampled_from(self.movable()), max_size=6, unique=True))
        note(f"connect {a} with {b}, density {density}, delay {delay}")
        new = self.net.connect(self.net.group(a), self.net.group(b), density=density, weight=0.5, delay=delay)
        assert set(new.source.tolist()) <= set(a) and set(new.target.tolist()) <= set(b)
        candidates = self.candidates(a, b, delay)
        assert set(zip(new.source.tolist(), new.target.tolist(), strict=True)) <= set(candidates)
        assert len(new) == round(density * len(candidates))
        self.learn(new)

    @precondition(lambda self: self.weights.of)
    @rule(data=st.data())
    def remove_connection(self, data):
        u, v, delay = data.draw(st.sampled_from(self.edges()))
        note(f"remove {u} -> {v}, delay {delay}")
        c = self.net.connection(u, v, delay)
        c.remove() if data.draw(st.booleans()) else self.net.prune(c)
        self.dead_views.append(c)
        self.forget_edges([(u, v, delay)])

    @precondition(lambda self: self.weights.of)
    @rule(data=st.data())
    def prune_mask(self, data):
        conns = self.net.connections
        mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(conns), max_size=len(conns))))
        weak = conns[mask]
        note(f"prune {mask.sum()} of {len(mask)}")
        gone = ends(weak)
        assert self.net.prune(weak) == int(mask.sum())
        self.forget_edges(gone)

    @precondition(lambda self: self.weights.of)
    @rule(data=st.data(), weight=NUMBERS)
    def edit_weight(self, data, weight):
        edge = data.draw(st.sampled_from(self.edges()))
        self.net.connection(*edge).weight = weight
        self.weights.value[self.weights.of[edge]] = weight

    @rule()
    def scale_weights(self):
        self.net.connections.weight *= 0.5
        self.weights.value = {p: 0.5 * value for p, value in self.weights.value.items()}

    # -- sharing -------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.weights.of)
    @rule(data=st.data(), average=st.booleans())
    def tie_weights(self, data, average):
        self.tie(data, *self.draw_connections(data), self.weights, average)

    @precondition(lambda self: self.movable())
    @rule(data=st.data(), average=st.booleans())
    def tie_biases(self, data, average):
        ids = data.draw(st.lists(st.sampled_from(self.movable()), min_size=1, max_size=6, unique=True))
        self.tie(data, self.net.group(ids), ids, self.biases, average)

    def tie(self, data, members, users, shares, average):
        """With labels by chance; different values need the average."""
        labels = data.draw(st.lists(st.sampled_from("abc"), min_size=len(users), max_size=len(users)))
        note(f"tie {users} {labels}")
        if not average and shares.conflict(users, labels):
            with pytest.raises(ng.InvalidValueError, match="average"):
                self.net.tie(members, labels)
        else:
            self.net.tie(members, labels, average=average)
            shares.tie(users, labels)

    @precondition(lambda self: self.weights.of)
    @rule(data=st.data())
    def untie(self, data):
        conns, users = self.draw_connections(data, most=12)
        note(f"untie {users}")
        self.net.untie(conns)
        self.weights.untie(users)
        ids = data.draw(st.lists(st.sampled_from(self.movable()), max_size=6, unique=True))
        self.net.untie(self.net.group(ids))
        self.biases.untie(ids)

    @precondition(lambda self: self.weights.of)
    @rule(data=st.data(), delay=DELAYS)
    def join(self, data, delay):
        """New connections with the parameters of others, without delay into neurons that lead nowhere."""
        last = [v for v in self.movable() if delay or not self.model.succ[v]]
        pairs = [(u, v) for u, v in product(self.nodes(), last) if (u, v, delay) not in self.weights.of]
        pairs = [(u, v) for u, v in pairs if delay or u not in last]
        if not pairs:
            return
        chosen = data.draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=3, unique=True))
        others = data.draw(st.lists(st.sampled_from(self.edges()), min_size=len(chosen), max_size=len(chosen)))
        note(f"{chosen}, delay {delay}, join {others}")
        rank = {edge: k for k, edge in enumerate(ends(self.net.connections))}
        conns = self.net.connections[[rank[edge] for edge in others]]
        new = self.net.add_connections(*zip(*chosen, strict=True), delay=delay, parameter=conns)
        self.learn(new)
        users = ends(new)
        self.weights.forget(users)
        self.weights.of.update({user: self.weights.of[other] for user, other in zip(users, others, strict=True)})

    @precondition(lambda self: self.weights.of)
    @rule(data=st.data(), frozen=st.booleans())
    def freeze(self, data, frozen):
        conns, users = self.draw_connections(data)
        conns.frozen = frozen
        of = {self.weights.of[user] for user in users}
        self.weights.frozen = self.weights.frozen | of if frozen else self.weights.frozen - of

    @rule(data=st.data())
    def train(self, data):
        """One update by gradients that are exact in binary, so that the model can follow bit by bit."""
        for shares, columns, users, grad in (
            (self.weights, self.net.connections, ends(self.net.connections), "grad"),
            (self.biases, self.net.neurons - self.net.inputs, self.movable(), "bias_grad"),
        ):
            rng = np.random.default_rng(data.draw(st.integers(0, 99)))
            step = {p: rng.integers(-8, 9) / 16 for p in shares.value}
            setattr(columns, grad, np.array([step[shares.of[user]] for user in users]))
            shares.value = {p: v - (p not in shares.frozen) * 0.5 * step[p] for p, v in shares.value.items()}
        ng.optim.SGD(lr=0.5).step(self.net)

    # -- what must be refused ------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.number_of_edges() > 0)
    @rule(data=st.data())
    def close_a_cycle(self, data):
        """An edge back to an ancestor, alone or among good ones."""
        v = data.draw(st.sampled_from(sorted({t for _, t in self.model.edges})))
        u = data.draw(st.sampled_from(sorted(nx.ancestors(self.model, v) - set(self.inputs) | {v})))
        note(f"cycle {v} -> {u}")
        with pytest.raises(ng.CycleError, match=str(u)) as caught:
            self.net.connect(v, u)
        assert "delay=1" in str(caught.value)
        good = [p for p in self.legal_pairs() if p != (v, u)][:3]
        with pytest.raises(ng.CycleError):
            self.net.add_connections(*zip(*good, (v, u), strict=True), parameter=[0] * len(good) + [1])

    @precondition(lambda self: self.weights.of)
    @rule(data=st.data())
    def duplicate(self, data):
        u, v, delay = data.draw(st.sampled_from(self.edges()))
        with pytest.raises(ng.DuplicateConnectionError, match=f"{u} -> {v} with delay {delay}"):
            self.net.connect(u, v, weight=1.0, delay=delay)
        good = self.legal_pairs()[:2]
        delays = [0] * len(good) + [delay]
        with pytest.raises(ng.DuplicateConnectionError):
            self.net.add_connections(*zip(*good, (u, v), strict=True), weight=1.0, delay=delays, parameter=delays)

    @rule(data=st.data())
    def touch_the_dead(self, data):
        if self.dead:
            i = data.draw(st.sampled_from(self.dead))
            with pytest.raises(ng.StaleError):
                self.net.neuron(i)
        if self.dead_views:
            view = data.draw(st.sampled_from(self.dead_views))
            with pytest.raises(ng.StaleError):
                view.remove()
        with pytest.raises(ng.UnknownNeuronError):
            self.net.neuron(self.next_id)

    # -- groups --------------------------------------------------------------------------------------------------------

    @rule(data=st.data())
    def make_group(self, data):
        ids = data.draw(st.lists(st.sampled_from(self.nodes()), max_size=5, unique=True)) if self.nodes() else []
        name = f"made{len(self.groups)}"
        self.net.group(ids, name=name)
        self.groups[name] = list(ids)

    @rule(data=st.data())
    def change_group(self, data):
        name = data.draw(st.sampled_from(sorted(self.groups)))
        ids = data.draw(st.lists(st.sampled_from(self.nodes()), max_size=4, unique=True)) if self.nodes() else []
        members = self.groups[name]
        if data.draw(st.booleans()):
            self.net.groups[name].add(ids)
            members += [i for i in ids if i not in members]
        else:
            self.net.groups[name].discard(ids)
            self.groups[name] = [i for i in members if i not in ids]

    @rule(data=st.data())
    def group_algebra(self, data):
        names = st.sampled_from(sorted(self.groups))
        a, b = data.draw(names), data.draw(names)
        ga, gb = self.net.groups[a], self.net.groups[b]
        sa, sb = set(self.groups[a]), set(self.groups[b])
        for group, expected in ((ga | gb, sa | sb), (ga & gb, sa & sb), (ga - gb, sa - sb), (ga ^ gb, sa ^ sb)):
            assert set(group.ids.tolist()) == expected and len(group) == len(expected)

    # -- copies --------------------------------------------------------------------------------------------------------

    @rule()
    def save_and_load(self):
        before = self.net
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.ng"
            before.save(path)
            self.net = ng.load(path)
        assert self.net.connections.id.tolist() == before.connections.id.tolist()
        assert self.net.connections.parameter.tolist() == before.connections.parameter.tolist()
        assert self.net.graph.connections.next_id == before.graph.connections.next_id
        assert self.net.rng.bit_generator.state == before.rng.bit_generator.state
        self.dead_views = []

    @rule(how=st.sampled_from([copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))]))
    def copy_network(self, how):
        """A copy is equal and apart: what happens to the original does not happen to it."""
        twin = how(self.net)
        self.net.connections.remove()
        self.net, self.dead_views = twin, []

    # -- invariants ----------------------------------------------------------------------------------------------------

    @invariant()
    def same_neurons(self):
        assert self.net.neurons.ids.tolist() == self.nodes()
        assert self.net.inputs.ids.tolist() == self.inputs and self.net.outputs.ids.tolist() == self.outputs
        for i, attributes in self.model.nodes(data=True):
            n = self.net.neuron(i)
            assert (n.activation, n.aggregation, n.time_constant) == tuple(
                attributes[name] for name in ("activation", "aggregation", "time_constant")
            )
        movable = self.net.neurons - self.net.inputs
        assert movable.bias.tolist() == [self.biases.get(i) for i in self.movable()]
        assert self.biases.same_as(self.movable(), movable.bias_parameter.tolist())
        assert self.net.neurons.names.tolist() == [self.names.get(i) for i in self.nodes()]
        assert all(self.net.neuron(name) == i for i, name in self.names.items())

    @invariant()
    def same_connections(self):
        conns = self.net.connections
        edges = ends(conns)
        assert dict(zip(edges, conns.weight.tolist(), strict=True)) == {e: self.weights.get(e) for e in self.edges()}
        assert self.weights.same_as(edges, conns.parameter.tolist())
        assert conns.frozen.tolist() == [self.weights.is_frozen(edge) for edge in edges]
        assert self.net.n_parameters == len(self.weights.value) + len(self.biases.value)

    @invariant()
    def same_groups(self):
        assert {name: group.ids.tolist() for name, group in self.net.groups.items()} == self.groups

    @invariant()
    def schedule_is_that_of_networkx(self):
        """Looked at after every third edit only: reading it tightens it, and it must serve while loose too."""
        self.edits += 1
        if self.edits % 3 == 0:
            assert_graph_invariants(self.net)
            found = [sorted(g.tolist()) for g in self.net.schedule.generations]
            assert found == [sorted(g) for g in nx.topological_generations(self.model)]
        else:
            self.net.graph.check()

    @invariant()
    def same_results(self):
        """Forward and backward against naive, on samples that differ from step to step.

        Through time after every third edit only, for the unrolled scalars are many.
        """
        assert self.net.remembers == self.remembers()
        if not self.outputs or (self.remembers() and self.edits % 3):
            return
        shape = (1, STEPS) if self.remembers() else (2,)
        rng = np.random.default_rng(len(self.model) + len(self.weights.of))
        X, G = (rng.uniform(-1, 1, (*shape, len(ids))) for ids in (self.inputs, self.outputs))
        try:
            outputs, weights, biases = through_time(self.net, X, G) if self.remembers() else at_once(self.net, X, G)
        except (OverflowError, ValueError):
            return  # cubes of cubes: too large for the scalar functions
        assert_near(self.net.predict(X), outputs)
        flat = G.reshape(-1, len(self.outputs))
        self.net.backward(X, np.zeros_like(G), loss=lambda outputs, Y: (0.0, flat))
        conns, movable, ids = self.net.connections, self.net.neurons - self.net.inputs, self.movable()
        assert_near(conns.own_grad, weights)
        assert_near(conns.grad, summed(weights, [self.weights.of[edge] for edge in ends(conns)]))
        assert_near(movable.bias_grad, summed([biases[i] for i in ids], [self.biases.of[i] for i in ids]))


def ends(conns):
    """(source, target, delay) of each connection."""
    return list(zip(conns.source.tolist(), conns.target.tolist(), conns.delay.tolist(), strict=True))


def summed(values, keys):
    """For each value the sum of all with the same key."""
    total = {}
    for key, value in zip(keys, values, strict=True):
        total[key] = total.get(key, 0.0) + value
    return [total[key] for key in keys]


def at_once(net, X, G):
    """Outputs and gradients by weight and by neuron's bias, from scalars."""
    twin = naive.from_network(net)
    gradients = twin.backward(X.tolist(), G.tolist())
    return twin.predict(X.tolist()), gradients.weights, gradients.biases


def through_time(net, X, G):
    """The same for sequences, from scalars once a step."""
    twin, origin = naive.unroll(net, STEPS)
    column = {i: k for k, i in enumerate(net.inputs.ids.tolist())}
    samples = [[row[t][column[i]] if t >= 0 and i in column else 0.0 for i, t in twin.inputs] for row in X.tolist()]
    gradients = twin.backward(samples, G.reshape(len(G), -1).tolist())
    weights, biases = [0.0] * net.n_connections, dict.fromkeys(net.neurons.ids.tolist(), 0.0)
    for gradient, index in zip(gradients.weights, origin, strict=True):
        if index >= 0:
            weights[index] += gradient
    for key, gradient in gradients.biases.items():
        if key[0] == "z":
            biases[key[1]] += gradient
    return twin.predict(samples), weights, biases


def assert_near(actual, expected):
    """Within 1e-10 of the size of the array; cubes of cubes may be large, and overflow alike on both sides."""
    actual, expected = np.asarray(actual), np.asarray(expected, float).reshape(np.shape(actual))
    if np.isfinite(expected).all() and np.abs(expected).max(initial=0.0) < 1e100:
        scale = max(1.0, np.abs(expected).max(initial=0.0))
        assert np.abs(actual - expected).max(initial=0.0) <= 1e-10 * scale


class CpuGraphMachine(GraphMachine):
    """The same on the compiled backend."""

    backend = "cpu"


STATEFUL = settings(deadline=None, max_examples=50, stateful_step_count=30)
TestGraphReference = GraphMachine.TestCase
TestGraphReference.settings = STATEFUL
TestGraphCpu = CpuGraphMachine.TestCase
TestGraphCpu.settings = STATEFUL
