"""Topologies against networkx, a dense NumPy network and counts made by hand."""

import hypothesis.strategies as st
import networkx as nx
import numpy as np
import pytest
from hypothesis import given

import neurograph as ng


def as_networkx(net):
    graph = nx.DiGraph()
    graph.add_nodes_from(net.neurons.ids.tolist())
    graph.add_edges_from(zip(net.connections.source.tolist(), net.connections.target.tolist(), strict=True))
    return graph


def test_layered_equals_a_dense_numpy_network(backend, rng):
    sizes = [5, 9, 7, 3]
    net = ng.topologies.layered(sizes, activation="tanh", seed=4, dtype="float64", backend=backend)
    net.neurons.bias = np.concatenate([np.zeros(5), rng.normal(size=19)])
    X = rng.normal(size=(33, 5))
    values, first = X, 0
    for fan_in, fan_out in zip(sizes, sizes[1:], strict=False):
        W, bias = np.zeros((fan_in, fan_out)), np.array([net.neuron(first + fan_in + j).bias for j in range(fan_out)])
        for c in net.groups[f"hidden {sizes.index(fan_out)}" if fan_out != 3 else "outputs"].incoming:
            W[c.source.id - first, c.target.id - first - fan_in] = c.weight
        values = values @ W + bias
        values = np.tanh(values) if fan_out != 3 else values
        first += fan_in
    np.testing.assert_allclose(net.predict(X), values, rtol=1e-10)


def test_layered_groups_and_options():
    net = ng.topologies.layered(
        [4, 6, 5, 2], activation="tanh", output_activation="sigmoid", weight=0.25, dtype="float64"
    )
    assert list(net.groups) == ["inputs", "hidden 1", "hidden 2", "outputs"]
    assert set(net.groups["hidden 2"].activation) == {"tanh"} and set(net.outputs.activation) == {"sigmoid"}
    assert net.dtype == np.float64 and (net.connections.weight == 0.25).all()
    assert [len(generation) for generation in net.schedule.generations] == [4, 6, 5, 2]


@given(st.lists(st.integers(1, 12), min_size=2, max_size=5), st.floats(0, 1))
def test_layered_density_is_exact(sizes, density):
    net = ng.topologies.layered(sizes, density=density)
    assert net.n_connections == sum(round(density * a * b) for a, b in zip(sizes, sizes[1:], strict=False))


def test_layered_he_uses_the_real_fan_in():
    net = ng.topologies.layered([1000, 400], density=0.05, seed=0)
    # fan-in is 50 on average, so the weights have variance 2 / 50
    assert net.connections.weight.std() == pytest.approx(np.sqrt(2 / 50), rel=0.05)


@pytest.mark.parametrize("sizes", [[3], [3, 0, 2], [3, 2.5], []])
def test_layered_refuses_bad_sizes(sizes):
    with pytest.raises(ng.InvalidValueError, match="sizes"):
        ng.topologies.layered(sizes)


@given(st.integers(1, 6), st.integers(1, 12), st.integers(1, 4), st.floats(0, 1), st.integers(0, 3))
def test_random_dag_is_acyclic_with_an_exact_count(n_inputs, n_hidden, n_outputs, density, seed):
    net = ng.topologies.random_dag(n_inputs, n_hidden, n_outputs, density, seed=seed)
    graph = as_networkx(net)
    candidates = n_inputs * n_hidden + n_hidden * (n_hidden - 1) // 2 + n_hidden * n_outputs + n_inputs * n_outputs
    assert nx.is_directed_acyclic_graph(graph)
    assert graph.number_of_edges() == net.n_connections == round(density * candidates)
    assert all(graph.in_degree(i) == 0 for i in net.inputs.ids)
    assert all(graph.out_degree(i) == 0 for i in net.outputs.ids)


def test_random_dag_draws_every_kind_of_pair():
    net = ng.topologies.random_dag(20, 40, 10, density=0.5, seed=0)
    ends = set(zip(net.connections.source_home.tolist(), net.connections.target_home.tolist(), strict=True))
    assert ends == {(0, 1), (0, 2), (1, 1), (1, 2)}
    assert net.schedule.depth == nx.dag_longest_path_length(as_networkx(net)) + 1


def test_random_dag_follows_the_seed():
    graphs = [set(as_networkx(ng.topologies.random_dag(5, 20, 3, 0.3, seed=seed)).edges) for seed in (0, 0, 1)]
    assert graphs[0] == graphs[1] != graphs[2]


def test_random_dag_he_uses_the_real_fan_in():
    net = ng.topologies.random_dag(200, 300, 10, density=0.3, seed=0)
    fan_in = dict(zip(net.neurons.ids.tolist(), net.neurons.fan_in.tolist(), strict=True))
    scaled = net.connections.weight * np.sqrt([fan_in[t] / 2 for t in net.connections.target.tolist()])
    assert scaled.std() == pytest.approx(1, rel=0.03)


@pytest.mark.parametrize("density", [-0.1, 1.1])
def test_density_out_of_range(density):
    with pytest.raises(ng.InvalidValueError, match="density"):
        ng.topologies.random_dag(2, 2, 2, density)
