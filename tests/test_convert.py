"""Bridges: the converted network computes what the original does, and converts back."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse

import neurograph as ng


@pytest.fixture
def net():
    net = ng.topologies.random_dag(4, 20, 3, density=0.3, activation="tanh", seed=5, dtype="float64")
    net.neurons[6:12].aggregation = "mean"
    net.neurons[5].activation = ("leaky_relu", 0.2)
    hidden = net.neurons - net.inputs
    hidden.bias = np.random.default_rng(1).normal(size=len(hidden))
    return net


def test_networkx_round_trip(net):
    G = ng.to_networkx(net)
    assert (G.number_of_nodes(), G.number_of_edges()) == (net.n_neurons, net.n_connections)
    again = ng.from_networkx(G, G.graph["inputs"], G.graph["outputs"], dtype="float64")
    X = np.random.default_rng(0).normal(size=(7, 4))
    np.testing.assert_allclose(again.predict(X), net.predict(X), rtol=1e-13)


def test_from_networkx_by_hand():
    """z = max(0, 2 * 3 + 1) * 0.5 + 3 * 4, one node at a time."""
    G = nx.DiGraph()
    G.add_node("h", bias=1.0, activation="relu")
    G.add_edge("x", "h", weight=2.0)
    G.add_edge("h", "y", weight=0.5)
    G.add_edge("x", "y", weight=4.0)
    net = ng.from_networkx(G, inputs=["x"], outputs=["y", "h"])
    np.testing.assert_allclose(net.predict([[3.0]]), [[15.5, 7.0]])


def test_from_networkx_draws_missing_weights():
    G = nx.DiGraph([(i, 100) for i in range(50)])
    G.edges[3, 100]["weight"] = 0.125
    net = ng.from_networkx(G, inputs=range(50), outputs=[100], weight="he", seed=1)
    drawn = net.connections.weight
    assert drawn[3] == 0.125 and drawn.std() == pytest.approx(np.sqrt(2 / 50), rel=0.4)


def test_networkx_delays_and_errors():
    G = nx.MultiDiGraph()
    G.add_edge(0, 1, weight=1.0)
    G.add_edge(0, 1, weight=2.0, delay=1)
    G.add_edge(1, 1, delay=1)
    net = ng.from_networkx(G, inputs=[0], outputs=[1])
    back = ng.to_networkx(net)
    assert back.is_multigraph() and sorted(d for *_, d in back.edges(data="delay")) == [0, 1, 1]
    with pytest.raises(ng.CycleError):
        ng.from_networkx(nx.DiGraph([(0, 1), (1, 2), (2, 1)]), inputs=[0], outputs=[2])
    with pytest.raises(ng.InvalidValueError, match="undirected"):
        ng.from_networkx(nx.path_graph(3), inputs=[0], outputs=[2])
    with pytest.raises(ng.InvalidValueError, match="7"):
        ng.from_networkx(nx.DiGraph([(0, 1)]), inputs=[7], outputs=[1])
    with pytest.raises(ng.InvalidValueError, match="input"):
        ng.from_networkx(nx.DiGraph([(0, 1)]), inputs=[0, 1], outputs=[1])


def test_scipy_round_trip():
    rng = np.random.default_rng(0)
    dense = np.tril(rng.normal(size=(15, 15)), -1) * (rng.random((15, 15)) < 0.5)
    dense[:4] = 0
    matrix = scipy.sparse.csr_array(dense)
    net = ng.from_scipy(matrix, inputs=[2, 0, 1, 3], outputs=[14, 10], activation="tanh", dtype="float64")
    assert (abs(ng.to_scipy(net) - matrix)).max() == 0
    X = rng.normal(size=(5, 4))
    y = np.zeros((15, 5))
    y[[2, 0, 1, 3]] = X.T
    for i in range(4, 15):
        z = matrix[[i]] @ y
        y[i] = z if i in (14, 10) else np.tanh(z)
    np.testing.assert_allclose(net.predict(X), y[[14, 10]].T, rtol=1e-12)


def test_scipy_errors():
    with pytest.raises(ng.InvalidValueError, match="square"):
        ng.from_scipy(scipy.sparse.csr_array((2, 3)), inputs=[0], outputs=[1])
    with pytest.raises(ng.InvalidValueError, match="rows"):
        ng.from_scipy(scipy.sparse.csr_array((2, 2)), inputs=[0], outputs=[2])
    with pytest.raises(ng.CycleError):
        ng.from_scipy(scipy.sparse.csr_array([[0, 0, 0], [1, 0, 1], [0, 1, 0]]), inputs=[0], outputs=[2])
    net = ng.Network()
    a, b = net.add_neurons(2)
    net.connect(a, b, delay=1)
    with pytest.raises(ng.InvalidValueError, match="delay"):
        ng.to_scipy(net)
