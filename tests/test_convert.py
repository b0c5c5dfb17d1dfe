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


def ring(n, **attributes):
    """x -> 0 -> 1 -> ... -> n-1 -> 0, and n-1 -> y."""
    G = nx.DiGraph([("x", "0"), (str(n - 1), "y")])
    G.add_edges_from((str(i), str((i + 1) % n)) for i in range(n))
    nx.set_edge_attributes(G, 0.5, "weight")
    return G


def delays(net):
    """{(name, name): delay}"""
    columns = net.connections.source, net.connections.target, net.connections.delay
    return {(net.neuron(u).name, net.neuron(v).name): d for u, v, d in zip(*(c.tolist() for c in columns), strict=True)}


def test_loops_are_refused_by_name_delayed_or_made_a_brain():
    G = ring(3)
    with pytest.raises(ng.CycleError, match=r"'0' -> '1' -> '2' -> '0'.*on_cycle"):
        ng.from_networkx(G, ["x"], ["y"])
    found = delays(ng.from_networkx(G, ["x"], ["y"], on_cycle="delay"))
    assert sorted(found.values()) == [0, 0, 0, 0, 1] and set(found) == set(G.edges)
    assert nx.is_directed_acyclic_graph(nx.DiGraph([edge for edge, delay in found.items() if delay == 0]))
    assert set(delays(ng.from_networkx(G, ["x"], ["y"], on_cycle="all")).values()) == {1}
    G.edges["0", "1"]["delay"] = 3
    assert delays(ng.from_networkx(G, ["x"], ["y"], on_cycle="all"))["0", "1"] == 3
    assert set(delays(ng.from_networkx(G, ["x"], ["y"], on_cycle="delay")).values()) == {0, 3}
    with pytest.raises(ng.InvalidValueError, match="'error', 'delay', 'all'"):
        ng.from_networkx(G, ["x"], ["y"], on_cycle="ignore")


def test_long_cycles_are_shortened_in_the_message():
    with pytest.raises(ng.CycleError, match=r"'7' -> \.\.\.;"):
        ng.from_networkx(ring(30), ["x"], ["y"])


def test_inputs_that_the_graph_feeds():
    G = ring(3)
    with pytest.raises(ng.InvalidValueError, match=r"input '0' has incoming connections \(2 .*'x'\).*\"feed\""):
        ng.from_networkx(G, ["0"], ["y"], on_cycle="delay")
    dropped = ng.from_networkx(G, ["0"], ["y"], on_input="drop", weight=2.0)
    assert set(delays(dropped)) == set(G.edges) - {("x", "0"), ("2", "0")}
    np.testing.assert_allclose(dropped.predict([[3.0]]), [[3 * 0.5**3]])
    fed = ng.from_networkx(G, ["0", "1"], ["y"], on_cycle="delay", on_input="feed", activation="tanh")
    assert fed.n_neurons == 7 and fed.n_connections == G.number_of_edges() + 2
    assert fed.groups["fed"].names.tolist() == ["0", "1"] and fed.groups["inputs"].names.tolist() == [None, None]
    assert fed.groups["inputs"].ids.tolist() == fed.inputs.ids.tolist()
    feeds = fed.groups["inputs"].outgoing
    assert feeds.frozen.all() and (feeds.weight == 1).all() and (feeds.delay == 0).all()
    assert feeds.target.tolist() == fed.groups["fed"].ids.tolist()
    assert fed.connections.frozen.sum() == 2 and fed.neuron("0").activation == "tanh"


def test_names_and_frozen_weights_come_back():
    net = ng.from_networkx(ring(4), ["x"], ["y"], on_cycle="all")
    net.connections[2].frozen = True
    G = ng.to_networkx(net)
    again = ng.from_networkx(G, G.graph["inputs"], G.graph["outputs"])
    assert again.neurons.names.tolist() == net.neurons.names.tolist() == ["x", "0", "3", "y", "1", "2"]
    assert delays(again) == delays(net) and again.connections.frozen.sum() == 1
    assert again.neuron("3").fan_out == 2


def test_undirected_graphs():
    G = nx.petersen_graph()
    with pytest.raises(ng.InvalidValueError, match='undirected="order"'):
        ng.from_networkx(G, [0, 1], [2])
    net = ng.from_networkx(G, [0, 1], [2], undirected="order", on_input="drop")
    assert net.n_connections == 14  # 15 edges less the one between the two inputs
    assert net.neurons.fan_out[net.neurons.ids == net.outputs.ids[0]] == 0
    both = ng.from_networkx(G, [0, 1], [2], undirected="both", on_input="feed", on_cycle="delay")
    assert both.n_connections == 30 + 2 and (both.groups["fed"].fan_in == 4).all()
    multi = nx.MultiGraph([("a", "b", {"delay": 0}), ("a", "b", {"delay": 2}), ("b", "b", {"delay": 1})])
    net = ng.from_networkx(multi, ["a"], ["b"], undirected="both", on_input="feed", on_cycle="delay")
    assert net.n_connections == 5 + 1


@pytest.mark.parametrize("attribute", ["weight", "delay"])
@pytest.mark.parametrize("value", ["0.5", None, float("nan"), [1.0]])
def test_edge_attributes_must_be_numbers(attribute, value):
    G = ring(3)
    G.edges["1", "2"][attribute] = value
    with pytest.raises(ng.InvalidValueError, match=f"{attribute} of edge '1' -> '2'"):
        ng.from_networkx(G, ["x"], ["y"], on_cycle="delay")


def test_networkx_refuses_repeated_columns_and_duplicates_by_name():
    G = nx.MultiDiGraph([("a", "b"), ("a", "b"), ("a", "c")])
    with pytest.raises(ng.DuplicateConnectionError, match="'a' -> 'b'"):
        ng.from_networkx(G, ["a"], ["c"])
    with pytest.raises(ng.InvalidValueError, match="'c' occurs twice in outputs"):
        ng.from_networkx(nx.DiGraph(G), ["a"], ["c", "c"])
    with pytest.raises(ng.InvalidValueError, match="'a' occurs twice in inputs"):
        ng.from_networkx(nx.DiGraph(G), ["a", "a"], ["c"])
    back = nx.MultiDiGraph([("x", "a"), ("a", "b"), ("b", "a")])
    back.add_edge("b", "a", delay=1)
    with pytest.raises(ng.DuplicateConnectionError, match="'b' -> 'a'.*delay 1"):
        ng.from_networkx(back, ["x"], ["b"], on_cycle="all")


def test_loops_run_through_time_as_by_hand(backend):
    """Every neuron by itself: x_t = X, others f(sum of w * source at t - delay), leaky ones by their potential."""
    rng = np.random.default_rng(3)
    G = nx.gnp_random_graph(9, 0.3, seed=2, directed=True)
    for _, _, data in G.edges(data=True):
        data["weight"] = rng.normal()
    for node in G:
        G.nodes[node].update(bias=rng.normal(), time_constant=1 + node % 3)
    X = rng.normal(size=(2, 6, 3))
    for on_cycle in ("delay", "all"):
        net = ng.from_networkx(
            G,
            [0, 4, 2],
            [5, 1],
            activation="tanh",
            output_activation="tanh",
            on_cycle=on_cycle,
            on_input="feed",
            dtype="float64",
            backend=backend,
        )
        step = delays_by_id(net)
        assert [net.neuron(i).id for i in net.groups["fed"].ids] == [0, 1, 2]
        node_of = [0, 4, 2, *(node for node in G if node not in (0, 4, 2))]
        instant = nx.DiGraph([edge for edge, delay in step.items() if delay == 0])
        instant.add_nodes_from(range(9))
        value, potential = np.zeros((2, 7, 9)), np.zeros((2, 9))  # value[:, 0] is the time before
        for t in range(6):
            for i in nx.topological_sort(instant):
                node = node_of[i]
                z = G.nodes[node]["bias"] + (X[:, t, i] if i < 3 else 0)
                for pre, _, data in G.in_edges(node, data=True):
                    j = node_of.index(pre)
                    z = z + data["weight"] * value[:, t + 1 - step[j, i], j]
                tau = G.nodes[node]["time_constant"]
                potential[:, i] = (1 - 1 / tau) * potential[:, i] + z / tau
                value[:, t + 1, i] = np.tanh(potential[:, i])
        expected = value[:, 1:, [node_of.index(5), node_of.index(1)]]
        np.testing.assert_allclose(net.predict(X), expected, atol=1e-12)
        back = ng.to_networkx(net)
        again = ng.from_networkx(back, net.inputs.ids.tolist(), net.outputs.ids.tolist(), dtype="float64")
        np.testing.assert_allclose(again.predict(X), expected, atol=1e-12)


def delays_by_id(net):
    columns = net.connections.source, net.connections.target, net.connections.delay
    return {(u, v): d for u, v, d in zip(*(c.tolist() for c in columns), strict=True) if u < 9}


def test_scipy_loops():
    matrix = scipy.sparse.csr_array([[0, 0, 4], [2, 0, 3], [0, 1, 5]])
    with pytest.raises(ng.InvalidValueError, match="input 0"):
        ng.from_scipy(matrix, [0], [2])
    with pytest.raises(ng.CycleError, match="2 -> 2"):
        ng.from_scipy(matrix, [0], [2], on_input="drop")
    net = ng.from_scipy(matrix, [0], [2], on_cycle="delay", on_input="drop")
    assert net.n_connections == 4 and net.connections.delay.sum() == 2 and net.inputs.ids.tolist() == [0]
    net = ng.from_scipy(matrix, [0], [2], on_cycle="all", on_input="feed")
    ends = net.connections.target[:5], net.connections.source[:5]
    assert (scipy.sparse.csr_array((net.connections.weight[:5], ends), shape=(3, 3)) != matrix).nnz == 0
    assert net.n_connections == 6 and net.connections.delay.tolist() == [1] * 5 + [0]
