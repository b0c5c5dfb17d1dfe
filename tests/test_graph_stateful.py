"""Random edits keep the network equal to a networkx graph, its invariants true and its results right."""

import copy
import pickle
import tempfile
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
SIZE = 40  # neurons, at which growing stops


class GraphMachine(RuleBasedStateMachine):
    """Random edits of a network and of a `networkx.DiGraph` that knows nothing of it."""

    backend = "reference"

    @initialize(n_inputs=st.integers(1, 4), n_outputs=st.integers(1, 3))
    def start(self, n_inputs, n_outputs):
        """Some inputs and outputs, so that every rule can fire soon."""
        self.net = ng.Network(seed=0, dtype="float64", backend=self.backend)
        self.model = nx.DiGraph()
        self.inputs, self.outputs, self.groups, self.dead = [], [], {}, []
        self.dead_views = []
        self.next_id = self.edits = 0
        self.grow("input", n_inputs)
        self.grow("output", n_outputs)

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
                bias=options.get("bias", 0.0),
                activation=options.get("activation", defaults.get(kind, "identity")),
                aggregation=options.get("aggregation", "sum"),
            )
        self.groups[name] = ids
        if kind == "input":
            self.inputs += ids
        if kind == "output":
            self.outputs += ids

    def edges(self):
        return sorted(self.model.edges)

    def nodes(self):
        return sorted(self.model.nodes)

    def legal_pairs(self):
        """New pairs that are neither duplicates nor close a cycle."""
        below = {n: nx.ancestors(self.model, n) | {n} for n in self.model}
        return [
            (u, v)
            for u in self.nodes()
            for v in self.nodes()
            if v not in self.inputs and v not in below[u] and not self.model.has_edge(u, v)
        ]

    def candidates(self, a, b):
        """New pairs that group-to-group `connect` may draw.

        All, where none of them can close a cycle whichever are drawn; else those along schedule order, ties by id,
        inputs first.
        """
        free = not set(a) & set(b) and not any(nx.ancestors(self.model, u) & set(b) for u in a)
        rank = {}
        for g, members in enumerate(nx.topological_generations(self.model)):
            rank.update({n: (n not in self.inputs, g, n) for n in members})
        return [(u, v) for u in a for v in b if not self.model.has_edge(u, v) and (free or rank[u] < rank[v])]

    def forget(self, ids):
        """Remove neurons from the model."""
        self.model.remove_nodes_from(ids)
        self.dead += ids
        self.inputs = [i for i in self.inputs if i not in ids]
        self.outputs = [i for i in self.outputs if i not in ids]
        self.groups = {name: [i for i in members if i not in ids] for name, members in self.groups.items()}

    def learn(self, connections):
        """Write the edges that the network chose by itself into the model."""
        for s, t, w in zip(connections.source.tolist(), connections.target.tolist(), connections.weight, strict=True):
            assert not self.model.has_edge(s, t)
            self.model.add_edge(s, t, weight=w)

    # -- neurons -------------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.model) < SIZE)
    @rule(
        count=st.integers(1, 4),
        kind=st.sampled_from(["hidden", "hidden", "output"]),
        activation=st.sampled_from(MIXED),
        aggregation=st.sampled_from(AGGREGATIONS),
        bias=NUMBERS,
    )
    def add_neurons(self, count, kind, activation, aggregation, bias):
        note(f"add {count} {kind} {activation} {aggregation}")
        self.grow(kind, count, activation=activation, aggregation=aggregation, bias=bias)

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

    @precondition(lambda self: len(self.model) > 0)
    @rule(data=st.data(), activation=st.sampled_from(MIXED), aggregation=st.sampled_from(AGGREGATIONS), bias=NUMBERS)
    def edit_neuron(self, data, activation, aggregation, bias):
        i = data.draw(st.sampled_from(self.nodes()))
        if i in self.inputs:
            return
        note(f"edit neuron {i}: {activation} {aggregation} {bias}")
        n = self.net.neuron(i)
        n.activation, n.aggregation, n.bias = activation, aggregation, bias
        self.model.nodes[i].update(activation=activation, aggregation=aggregation, bias=bias)

    # -- connections ---------------------------------------------------------------------------------------------------

    @rule(data=st.data(), weight=NUMBERS)
    def connect_two(self, data, weight):
        pairs = self.legal_pairs()
        if not pairs:
            return
        u, v = data.draw(st.sampled_from(pairs))
        note(f"connect {u} -> {v}")
        c = self.net.connect(self.net.neuron(u), v, weight=weight)
        assert (c.source.id, c.target.id, c.weight) == (u, v, weight)
        self.model.add_edge(u, v, weight=weight)

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

    @rule(data=st.data(), density=st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0]))
    def connect_groups(self, data, density):
        ids = st.lists(st.sampled_from(self.nodes()), max_size=6, unique=True)
        targets = [n for n in self.nodes() if n not in self.inputs]
        if not targets:
            return
        a = data.draw(ids)
        b = data.draw(st.lists(st.sampled_from(targets), max_size=6, unique=True))
        note(f"connect {a} with {b}, density {density}")
        new = self.net.connect(self.net.group(a), self.net.group(b), density=density, weight=0.5)
        assert set(new.source.tolist()) <= set(a) and set(new.target.tolist()) <= set(b)
        candidates = self.candidates(a, b)
        assert set(zip(new.source.tolist(), new.target.tolist(), strict=True)) <= set(candidates)
        assert len(new) == round(density * len(candidates))
        self.learn(new)

    @precondition(lambda self: self.model.number_of_edges() > 0)
    @rule(data=st.data())
    def remove_connection(self, data):
        u, v = data.draw(st.sampled_from(self.edges()))
        note(f"remove {u} -> {v}")
        c = self.net.connection(u, v)
        c.remove() if data.draw(st.booleans()) else self.net.prune(c)
        self.dead_views.append(c)
        self.model.remove_edge(u, v)

    @precondition(lambda self: self.model.number_of_edges() > 0)
    @rule(data=st.data())
    def prune_mask(self, data):
        conns = self.net.connections
        mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(conns), max_size=len(conns))))
        weak = conns[mask]
        note(f"prune {mask.sum()} of {len(mask)}")
        gone = list(zip(weak.source.tolist(), weak.target.tolist(), strict=True))
        assert self.net.prune(weak) == int(mask.sum())
        self.model.remove_edges_from(gone)

    @precondition(lambda self: self.model.number_of_edges() > 0)
    @rule(data=st.data(), weight=NUMBERS)
    def edit_weight(self, data, weight):
        u, v = data.draw(st.sampled_from(self.edges()))
        self.net.connection(u, v).weight = weight
        self.model.edges[u, v]["weight"] = weight

    @rule()
    def scale_weights(self):
        self.net.connections.weight *= 0.5
        for _, _, attributes in self.model.edges(data=True):
            attributes["weight"] *= 0.5

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
            self.net.add_connections(*zip(*good, (v, u), strict=True))

    @precondition(lambda self: self.model.number_of_edges() > 0)
    @rule(data=st.data())
    def duplicate(self, data):
        u, v = data.draw(st.sampled_from(self.edges()))
        with pytest.raises(ng.DuplicateConnectionError, match=f"{u} -> {v}"):
            self.net.connect(u, v, weight=1.0)
        good = self.legal_pairs()[:2]
        with pytest.raises(ng.DuplicateConnectionError):
            self.net.add_connections(*zip(*good, (u, v), strict=True), weight=1.0)

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
        assert self.net.connections.id.max(initial=-1) == before.connections.id.max(initial=-1)
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
            assert (n.bias, n.activation, n.aggregation) == tuple(
                attributes[name] for name in ("bias", "activation", "aggregation")
            )

    @invariant()
    def same_connections(self):
        conns = self.net.connections
        pairs = zip(conns.source.tolist(), conns.target.tolist(), strict=True)
        found = dict(zip(pairs, conns.weight.tolist(), strict=True))
        assert found == {(u, v): attributes["weight"] for u, v, attributes in self.model.edges(data=True)}

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
        """Forward and backward against naive, on one sample that differs from step to step."""
        if not self.outputs:
            return
        rng = np.random.default_rng(len(self.model) + self.model.number_of_edges())
        X, G = rng.uniform(-1, 1, (2, len(self.inputs))), rng.uniform(-1, 1, (2, len(self.outputs)))
        twin = naive.from_network(self.net)
        expected = twin.backward(X.tolist(), G.tolist())
        assert_near(self.net.predict(X), twin.predict(X.tolist()))
        self.net.backward(X, np.zeros_like(G), loss=lambda outputs, Y: (0.0, G))
        assert_near(self.net.connections.grad, expected.weights)
        assert_near(self.net.neurons.bias_grad, [expected.biases[i] for i in self.nodes()])


def assert_near(actual, expected):
    """Within 1e-10 of the size of the array; cubes of cubes may be large, and overflow alike on both sides."""
    actual, expected = np.asarray(actual), np.asarray(expected, float).reshape(np.shape(actual))
    if np.isfinite(expected).all() and np.abs(expected).max(initial=0.0) < 1e100:
        scale = max(1.0, np.abs(expected).max(initial=0.0))
        assert np.abs(actual - expected).max(initial=0.0) <= 1e-10 * scale


class CpuGraphMachine(GraphMachine):
    """The same on the compiled backend."""

    backend = "cpu"


STEPS = settings(deadline=None, max_examples=50, stateful_step_count=30)
TestGraphReference = GraphMachine.TestCase
TestGraphReference.settings = STEPS
TestGraphCpu = CpuGraphMachine.TestCase
TestGraphCpu.settings = STEPS
