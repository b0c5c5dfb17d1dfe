"""Generations, their repair after edits, and cycles."""

import hypothesis.strategies as st
import networkx as nx
import numpy as np
import pytest
from hypothesis import given

import neurograph as ng
from neurograph import schedule as scheduling
from neurograph.schedule import Schedule, generations, sequential

PLANNERS = [generations, sequential]


def network(n: int, pairs) -> ng.Network:
    net = ng.Network()
    net.add_neurons(n)
    if pairs:
        source, target = np.array(list(pairs)).T
        net.add_connections(source, target, weight=1.0)
    return net


def dags(n: int = 12):
    """Pairs (u, v) with u before v in a hidden order of the ids, so that id order helps nobody."""
    order = st.permutations(range(n))
    pairs = st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda p: p[0] < p[1]), max_size=30)
    return st.tuples(order, pairs).map(lambda x: sorted((x[0][u], x[0][v]) for u, v in x[1]))


def by_networkx(net: ng.Network) -> list[list[int]]:
    G = nx.DiGraph()
    G.add_nodes_from(net.neurons.ids.tolist())
    conns = net.connections
    now = conns.delay == 0
    G.add_edges_from(zip(conns.source[now].tolist(), conns.target[now].tolist(), strict=True))
    return [sorted(generation) for generation in nx.topological_generations(G)]


def as_lists(schedule: Schedule) -> list[list[int]]:
    return [ids.tolist() for ids in schedule.generations]


@pytest.mark.nojit
@pytest.mark.parametrize("planner", PLANNERS)
@pytest.mark.parametrize(
    "pairs", [[], [(0, 1), (1, 2)], [(0, 1), (0, 2), (1, 3), (2, 3)], [(3, 0), (0, 2)]],
    ids=["disconnected", "chain", "diamond", "backwards"],
)  # fmt: skip
def test_sources_come_first(planner, pairs):
    net = network(4, pairs)
    generation = planner(net.graph)
    assert all(generation[u] < generation[v] for u, v in pairs)


@pytest.mark.nojit
@given(dags())
def test_generations_are_those_of_networkx(pairs):
    net = network(12, pairs)
    assert as_lists(net.schedule) == by_networkx(net)


@pytest.mark.nojit
@given(dags(), st.data())
def test_repair_equals_sorting(pairs, data):
    """Connections one at a time, in any order, with removals between: always the generations of networkx."""
    net = network(12, [])
    _ = net.schedule
    for u, v in data.draw(st.permutations(pairs)):
        net.connect(u, v)
        assert (net._schedule.generation[u] < net._schedule.generation[v]) and not net._schedule.loose
        assert as_lists(net.schedule) == by_networkx(net)
    for _ in range(data.draw(st.integers(0, 5))):
        if net.n_connections:
            net.connections[data.draw(st.integers(0, net.n_connections - 1))].remove()
            loose = net._schedule.generation
            conns = net.connections
            assert (loose[conns.source] < loose[conns.target]).all(), "a removal never invalidates a schedule"
    assert as_lists(net.schedule) == by_networkx(net)


@pytest.mark.nojit
@given(dags(8), st.data())
def test_a_cycle_is_refused_and_named(pairs, data):
    net = network(8, pairs)
    G = nx.DiGraph(pairs)
    back = [(v, u) for u in G for v in nx.descendants(G, u)]
    if not back:
        return
    v, u = data.draw(st.sampled_from(sorted(back)))
    before = as_lists(net.schedule), net.connections.id.tolist(), net.version
    with pytest.raises(ng.CycleError, match=r"delay=1") as caught:
        net.connect(v, u)
    named = [int(word) for word in str(caught.value).split(" would")[0].removeprefix("neurons ").split(" -> ")]
    assert named[0] == named[-1] and len(set(named)) == len(named) - 1
    edges = {*pairs, (v, u)}
    assert all(step in edges for step in zip(named[:-1], named[1:], strict=True)), "the named path is a real cycle"
    assert (as_lists(net.schedule), net.connections.id.tolist(), net.version) == before
    net.graph.check()


def test_a_bulk_call_with_a_cycle_changes_nothing():
    net = network(200, [(i, i + 1) for i in range(199)])
    before = net.connections.id.tolist(), net.connections.weight.tolist()
    with pytest.raises(ng.CycleError):
        net.add_connections(np.arange(0, 190, 2), (np.arange(0, 190, 2) + 5) % 7, weight=2.0)
    assert (net.connections.id.tolist(), net.connections.weight.tolist()) == before
    net.graph.check()
    assert net.schedule.depth == 200


def test_dense_cycles_are_found_in_linear_time():
    """A complete graph has more cycles than could ever be listed; one is enough."""
    n = 60
    net = network(n, [(u, v) for u in range(n) for v in range(u + 1, n)])
    with pytest.raises(ng.CycleError, match="59 -> "):
        net.connect(n - 1, 0)


def test_delayed_connections_do_not_count():
    net = network(3, [(0, 1), (1, 2)])
    net.connect(2, 0, delay=1)
    net.connect(1, 1, delay=2)
    assert net.schedule.depth == 3
    with pytest.raises(ng.CycleError, match="0"):
        net.connect(0, 0)


def test_a_long_repair_falls_back_to_sorting(monkeypatch):
    """Past its limit a repair undoes what it did and sorts; the result is the same."""
    monkeypatch.setattr(scheduling, "REPAIR_LIMIT", 5)
    net = network(60, [(i, i + 1) for i in range(1, 59)])
    _ = net.schedule
    net.connect(0, 1)
    assert as_lists(net.schedule) == by_networkx(net)


def test_planner_does_not_change_result(backend):
    """One neuron at a time or a whole generation at once: the same outputs and gradients."""
    from neurograph.plan import lower

    net = ng.topologies.random_dag(5, 40, 3, density=0.3, seed=1, dtype="float64", backend=backend)
    X, g = np.random.default_rng(0).normal(size=(9, 1, 5)), np.random.default_rng(1).normal(size=(9, 1, 3))
    results = []
    for planner in PLANNERS:
        plan = lower(net.graph, Schedule(net.graph, planner))
        run = net.backend.forward(plan, X)
        net.backend.backward(plan, run, g)
        results.append((run.outputs, net.connections.grad, net.neurons.bias_grad))
    assert plan.n_generations == 43 > net.schedule.depth
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
