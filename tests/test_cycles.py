"""Feedback connections and cycles of edge lists, against networkx and a naive greedy order."""

import hypothesis.strategies as st
import networkx as nx
import numpy as np
import pytest
from hypothesis import given

import neurograph as ng
from neurograph.wiring import feedback_connections, find_cycle


def naive_feedback(edges, n):
    """Eades, Lin and Smyth's greedy order over a networkx graph, component by component; how many run against it."""
    G = nx.MultiDiGraph()
    G.add_nodes_from(range(n))
    G.add_edges_from(edges)
    count = nx.number_of_selfloops(G)
    G.remove_edges_from(list(nx.selfloop_edges(G, keys=True)))
    for component in nx.strongly_connected_components(G):
        H = nx.MultiDiGraph(G.subgraph(component))
        front, back = [], []
        while len(H):
            sinks = [v for v in H if H.out_degree(v) == 0]
            sources = [v for v in H if H.in_degree(v) == 0]
            if sinks:
                back.append(sinks[0])
            elif sources:
                front.append(sources[0])
            else:
                front.append(max(H, key=lambda v: (H.out_degree(v) - H.in_degree(v), -v)))
            H.remove_node((back if sinks else front)[-1])
        position = {v: i for i, v in enumerate(front + back[::-1])}
        count += sum(position[u] > position[v] for u, v in G.subgraph(component).edges())
    return count


def digraph(edges, n):
    G = nx.MultiDiGraph()
    G.add_nodes_from(range(n))
    G.add_edges_from(edges)
    return G


graphs = st.integers(1, 9).flatmap(
    lambda n: st.tuples(
        st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), min_size=0, max_size=40)
    )
)


@given(graphs)
def test_feedback_is_minimal_and_deterministic(graph):
    n, edges = graph
    source, target = np.array(edges, int).reshape(-1, 2).T
    mask = feedback_connections(source, target, n)
    rest = [edge for edge, back in zip(edges, mask, strict=True) if not back]
    assert nx.is_directed_acyclic_graph(digraph(rest, n))
    for edge, back in zip(edges, mask, strict=True):
        assert not back or not nx.is_directed_acyclic_graph(digraph([*rest, edge], n))
    assert (mask == feedback_connections(source, target, n)).all()


@pytest.mark.parametrize(("n", "m"), [(30, 120), (60, 900), (200, 700)])
def test_feedback_is_as_small_as_the_naive_greedy(n, m):
    """Not always smaller (ties are broken differently), so the sum over ten graphs counts."""
    rng = np.random.default_rng(n)
    ours = naive = 0
    for _ in range(10):
        source, target = rng.integers(0, n, (2, m))
        ours += feedback_connections(source, target, n).sum()
        naive += naive_feedback(list(zip(source.tolist(), target.tolist(), strict=True)), n)
    assert 0 < ours <= naive


def test_feedback_of_two_rings_and_a_bridge():
    """Each ring needs one, the bridge none, whatever the size."""
    ring = np.arange(50)
    source = np.concatenate([ring, ring + 50, [3]])
    target = np.concatenate([(ring + 1) % 50, (ring + 1) % 50 + 50, [70]])
    mask = feedback_connections(source, target, 100)
    assert mask[:50].sum() == mask[50:100].sum() == 1 and not mask[100]


def test_feedback_without_effort_still_opens_every_cycle():
    source, target = np.random.default_rng(0).integers(0, 300, (2, 5000))
    quick, thorough = (feedback_connections(source, target, 300, effort=effort) for effort in (0, 10**8))
    assert nx.is_directed_acyclic_graph(nx.DiGraph(zip(source[~quick], target[~quick], strict=True)))
    assert (quick >= thorough).all() and quick.sum() > thorough.sum()


@given(graphs)
def test_find_cycle(graph):
    n, edges = graph
    source, target = np.array(edges, int).reshape(-1, 2).T
    cycle = find_cycle(source, target, n)
    assert bool(cycle) is not nx.is_directed_acyclic_graph(digraph(edges, n))
    assert len(set(cycle)) == len(cycle)
    assert all(edge in edges for edge in zip(cycle, cycle[1:] + cycle[:1], strict=True))


@pytest.mark.parametrize("function", [feedback_connections, find_cycle])
def test_bad_ends(function):
    with pytest.raises(ng.InvalidValueError, match="equal length"):
        function([0, 1], [1], 2)
    with pytest.raises(ng.InvalidValueError, match="between 0 and 1"):
        function([0, 2], [1, 0], 2)
