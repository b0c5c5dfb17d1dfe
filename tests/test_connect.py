"""Drawing connections: exact counts, uniform choice, no cycles."""

import hypothesis.strategies as st
import networkx as nx
import numpy as np
import pytest
from hypothesis import given

import neurograph as ng
from neurograph.sampling import absent_pairs


@given(st.data())
def test_absent_pairs_are_the_complement(data):
    """Taking all of them gives exactly the pairs that are allowed and do not exist, in order."""
    n = data.draw(st.integers(1, 6))
    allowed = np.array(data.draw(st.lists(st.integers(0, n), min_size=1, max_size=6)))
    every = [(t, s) for t in range(len(allowed)) for s in range(n)]
    existing = sorted(data.draw(st.sets(st.sampled_from(every))))
    t, s = np.array(existing, np.int64).reshape(-1, 2).T
    target, source = absent_pairs(n, allowed, t, s, lambda absent: absent, np.random.default_rng(0))
    expected = [(t, s) for t, s in every if s < allowed[t] and (t, s) not in existing]
    assert list(zip(target.tolist(), source.tolist(), strict=True)) == expected


def test_the_choice_is_uniform():
    """Each of the 7 absent pairs is drawn about equally often: a chi-square bound at one in a million."""
    counts = {}
    rng = np.random.default_rng(0)
    allowed, existing = np.array([4, 2, 4]), (np.array([0, 0, 2]), np.array([1, 3, 0]))
    draws = 7000
    for _ in range(draws):
        for pair in zip(*absent_pairs(4, allowed, *existing, lambda _: 3, rng), strict=True):
            counts[pair] = counts.get(pair, 0) + 1
    assert len(counts) == 7
    expected = draws * 3 / 7
    assert sum((c - expected) ** 2 / expected for c in counts.values()) < 38.3


@pytest.mark.parametrize("density", [0.0, 0.01, 0.1, 0.5, 0.999, 1.0])
def test_density_is_exact(density):
    net = ng.Network(seed=3)
    x, h, y = net.add_inputs(17), net.add_neurons(23), net.add_outputs(5)
    assert len(net.connect(x, h, density=density)) == round(density * 17 * 23)
    assert len(net.connect(h, h, density=density)) == round(density * 23 * 22 / 2)
    existing = net.n_connections
    assert len(net.connect(x | h, h | y, density=density)) == round(density * possible(net, x | h, h | y, existing))
    assert nx.is_directed_acyclic_graph(ng.to_networkx(net))
    net.graph.check()


def possible(net: ng.Network, sources: ng.Group, targets: ng.Group, connections: int) -> int:
    """Pairs in schedule order (ties by id) that did not exist among the first ``connections``."""
    before = net.connections[:connections]
    G = nx.DiGraph()
    G.add_nodes_from(net.neurons.ids.tolist())
    G.add_edges_from(zip(before.source.tolist(), before.target.tolist(), strict=True))
    rank = {}
    for g, generation in enumerate(nx.topological_generations(G)):
        rank |= dict.fromkeys(generation, g)
    inputs = set(net.inputs.ids.tolist())
    key = {i: (-1 if i in inputs else rank[i], i) for i in G}
    pairs = [(s, t) for s in sources.ids.tolist() for t in targets.ids.tolist() if key[s] < key[t]]
    return sum(not G.has_edge(s, t) for s, t in pairs)


def test_a_group_with_itself_makes_a_random_dag():
    net = ng.Network()
    hidden = net.add_neurons(50)
    conns = net.connect(hidden, hidden, density=0.2)
    assert len(conns) == round(0.2 * 50 * 49 / 2) and (conns.source < conns.target).all()


def test_disjoint_groups_connect_whatever_their_ids():
    """Targets that were added first are no obstacle as long as none of them reaches a source."""
    net = ng.Network()
    y, h, x = net.add_outputs(3), net.add_neurons(4), net.add_inputs(2)
    assert len(net.connect(h, y)) == 12 and len(net.connect(x, h)) == 8
    assert len(net.connect(y, h)) == 0, "every pair would close a cycle"
    net.predict(np.ones((1, 2)))


def test_single_pairs_are_literal():
    net = ng.Network()
    a, b = net.add_neurons(2)
    assert net.connect(a, b, weight=0.5).weight == 0.5
    with pytest.raises(ng.DuplicateConnectionError):
        net.connect(a.id, b.id)
    with pytest.raises(ng.CycleError):
        net.connect(b, a)
    assert net.connect(b, a, delay=1).delay == 1


def test_delayed_groups_may_loop():
    net = ng.Network()
    h = net.add_neurons(6)
    assert len(net.connect(h, h, delay=1)) == 36
    assert len(net.connect(h, h, delay=1)) == 0 and len(net.connect(h, h)) == 15


def test_weights_are_in_the_order_of_the_groups():
    net = ng.Network()
    x, y = net.add_inputs(3), net.add_outputs(2)
    W = np.arange(6.0).reshape(2, 3)
    net.connect(x[[2, 0, 1]], y, weight=W)
    np.testing.assert_array_equal(net.predict(np.eye(3)).T, W[:, [1, 2, 0]])


def test_he_uses_the_fan_in_that_the_graph_has():
    net = ng.Network(seed=0)
    x, y = net.add_inputs(2000), net.add_outputs(2)
    conns = net.connect(x, y, density=0.1)
    for neuron in y:
        assert neuron.inputs.weight.std() == pytest.approx(np.sqrt(2 / neuron.fan_in), rel=0.2)
    net.connect(x, y)
    conns.initialize("he")
    assert conns.weight.std() == pytest.approx(np.sqrt(2 / 2000), rel=0.2)


def test_grow_takes_what_there_is():
    net = ng.Network()
    x, y = net.add_inputs(3), net.add_outputs(3)
    assert len(net.grow(x, y, 4)) == 4 and len(net.grow(x, y, 100)) == 5 and len(net.grow(x, y, 1)) == 0


def test_same_seed_same_network():
    a, b, c = (ng.topologies.random_dag(5, 20, 3, density=0.3, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a.connections.weight, b.connections.weight)
    np.testing.assert_array_equal(a.connections.source, b.connections.source)
    assert not np.array_equal(a.connections.source, c.connections.source)


def test_millions_are_array_calls():
    """A bulk call of a million takes array time; a Python loop would take minutes."""
    rng = np.random.default_rng(0)
    pairs = np.unique(rng.integers(0, 5000, 1_200_000) * 5000 + rng.integers(5000, 10_000, 1_200_000))
    net = ng.Network()
    net.add_neurons(10_000)
    net.add_connections(pairs // 5000 % 5000, 5000 + pairs % 5000, weight="zeros")
    assert net.n_connections == len(pairs) and net.schedule.depth == 2
    net.graph.check()
