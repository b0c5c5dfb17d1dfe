"""Graph families against networkx's generators, explicit matrices and counts made by hand."""

import math
from itertools import pairwise
from pathlib import Path

import hypothesis.strategies as st
import networkx as nx
import numpy as np
import pytest
import scipy.stats
from hypothesis import given

import neurograph as ng
from neurograph.topologies.assemble import covering_pairs
from neurograph.topologies.scale_free import preferential_attachment
from neurograph.topologies.small_world import rewired

T = ng.topologies
CHALLENGE = Path(__file__).parents[2] / "shared" / "data" / "graph_challenge_1024x120.npz"

# Every family around 60 hidden neurons, with what is common to all.
FAMILIES = {
    "ring_lattice": lambda n_inputs, n_outputs, **options: T.ring_lattice(n_inputs, 60, n_outputs, k=4, **options),
    "torus_lattice": lambda n_inputs, n_outputs, **options: T.torus_lattice(n_inputs, (6, 10), n_outputs, **options),
    "small_world": lambda n_inputs, n_outputs, **options: T.small_world(n_inputs, 60, n_outputs, k=4, p=0.3, **options),
    "scale_free": lambda n_inputs, n_outputs, **options: T.scale_free(n_inputs, 60, n_outputs, m=2, **options),
    "random_geometric": lambda n_inputs, n_outputs, **options: T.random_geometric(
        n_inputs, 60, n_outputs, radius=0.2, length=0.2, **options
    ),
    "stochastic_block": lambda n_inputs, n_outputs, **options: T.stochastic_block(
        n_inputs, [20, 30, 10], n_outputs, [[0.2, 0.02, 0], [0.02, 0.1, 0.05], [0, 0.05, 0.3]], **options
    ),
    "from_graph": lambda n_inputs, n_outputs, **options: T.from_graph(
        nx.gnm_random_graph(60, 80, seed=1), n_inputs, n_outputs, **options
    ),
}
UNDIRECTED = sorted(set(FAMILIES) - {"stochastic_block"})
RANDOM = ["random_geometric", "scale_free", "small_world", "stochastic_block"]


def pairs(net):
    """All connections as (source id, target id)."""
    return list(zip(net.connections.source.tolist(), net.connections.target.tolist(), strict=True))


def hidden_graph(net):
    """The hidden neurons' own connections, numbered from 0."""
    place = {id: i for i, id in enumerate(net.groups["hidden"].ids.ravel().tolist())}
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(place)))
    graph.add_edges_from((place[u], place[v]) for u, v in pairs(net) if u in place and v in place)
    return graph


def undirected(graph):
    """Edges of a graph without their direction."""
    return {frozenset(edge) for edge in graph.edges}


def degrees(graph):
    return np.array([degree for _, degree in graph.degree])


# -- what all families share -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("delay", [0, 2])
@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
def test_nobody_is_left_out(family, delay, density):
    net = FAMILIES[family](5, 3, delay=delay, input_density=density, output_density=density, seed=1)
    graph = nx.DiGraph(pairs(net))
    assert (net.inputs.fan_out > 0).all() and (net.outputs.fan_in > 0).all()
    assert (net.inputs.fan_in == 0).all() and (net.outputs.fan_out == 0).all()
    fed = set().union(*(nx.descendants(graph, id) for id in net.inputs.ids.tolist()))
    heard = set().union(*(nx.ancestors(graph, id) for id in net.outputs.ids.tolist()))
    assert set(net.groups["hidden"].ids.ravel().tolist()) <= fed & heard
    assert nx.is_directed_acyclic_graph(graph) == (delay == 0)
    inside = np.isin(net.connections.source, net.groups["hidden"].ids) & np.isin(
        net.connections.target, net.groups["hidden"].ids
    )
    assert (net.connections.delay == np.where(inside, delay, 0)).all() and 0 < inside.sum() < net.n_connections


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("n_inputs", "n_outputs"), [(1, 1), (5, 3), (40, 35), (100, 90)])
def test_inputs_feed_entries_and_outputs_read_exits(family, n_inputs, n_outputs):
    net = FAMILIES[family](n_inputs, n_outputs)
    graph, hidden = hidden_graph(net), net.groups["hidden"].ids.ravel()
    order = list(range(60))
    assert all(u < v for u, v in graph.edges)

    def expected(degree, order, count):
        free = [i for i in order if degree[i] == 0]
        return set(free + [i for i in order if degree[i] > 0][: max(0, count - len(free))])

    entries, exits = expected(graph.in_degree, order, n_inputs), expected(graph.out_degree, order[::-1], n_outputs)
    between = set(pairs(net))
    assert {(u, v) for u, v in between if u < n_inputs} == {(u, hidden[i]) for u in range(n_inputs) for i in entries}
    outputs = set(net.outputs.ids.tolist())
    assert {(u, v) for u, v in between if v in outputs} == {(hidden[i], v) for v in outputs for i in exits}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_recurrent_network_reads_everything(family):
    net = FAMILIES[family](7, 4, delay=1, input_density=0.5, output_density=0.25)
    assert len(net.inputs.outgoing) == 7 * 60 // 2 and len(net.outputs.incoming) == 60
    feed_forward = hidden_graph(FAMILIES[family](7, 4))
    if family in UNDIRECTED:
        assert set(hidden_graph(net).edges) == set(feed_forward.edges) | {(v, u) for u, v in feed_forward.edges}


@pytest.mark.parametrize("family", FAMILIES)
def test_options_are_passed_on(family):
    net = FAMILIES[family](
        3, 2, activation="tanh", output_activation="sigmoid", weight=0.5, dtype="float64", backend="reference", seed=3
    )
    assert list(net.groups)[:3] == ["inputs", "hidden", "outputs"]
    assert set(net.groups["hidden"].activation.ravel()) == {"tanh"} and set(net.outputs.activation) == {"sigmoid"}
    assert (net.connections.weight == 0.5).all() and net.dtype == np.float64
    assert net.backend_name == "reference" and net.seed == 3
    assert np.isfinite(net.predict(np.ones((2, 3)))).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_he_uses_the_real_fan_in(family):
    net = FAMILIES[family](3, 2, weight=lambda fan_in, fan_out, rng: fan_in, dtype="float64")
    fan_in = dict(zip(net.neurons.ids.tolist(), net.neurons.fan_in.tolist(), strict=True))
    assert net.connections.weight.tolist() == [fan_in[target] for target in net.connections.target.tolist()]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_seed_decides(family):
    nets = [FAMILIES[family](6, 4, input_density=0.4, seed=seed) for seed in (0, 0, 1)]
    weights = [net.connections.weight.tolist() for net in nets]
    assert pairs(nets[0]) == pairs(nets[1]) != pairs(nets[2]) and weights[0] == weights[1] != weights[2]
    assert (set(hidden_graph(nets[0]).edges) != set(hidden_graph(nets[2]).edges)) == (family in RANDOM)


@pytest.mark.parametrize("family", UNDIRECTED)
def test_an_ordering_turns_edges_and_keeps_them(family):
    given_order = hidden_graph(FAMILIES[family](2, 2, seed=5))
    if family != "random_geometric":  # whose places are drawn after the order
        randomly = hidden_graph(FAMILIES[family](2, 2, seed=5, ordering="random"))
        assert nx.is_directed_acyclic_graph(randomly) and set(randomly.edges) != set(given_order.edges)
        if family not in RANDOM:
            assert undirected(randomly) == undirected(given_order)
    numbers = np.arange(60)[::-1] // 7
    turned = hidden_graph(FAMILIES[family](2, 2, seed=5, ordering=numbers))
    assert undirected(turned) == undirected(given_order)
    assert all((numbers[u], u) < (numbers[v], v) for u, v in turned.edges)


@given(st.integers(1, 12), st.integers(1, 12), st.floats(0, 1), st.integers(0, 5))
def test_covering_pairs_are_exact_distinct_and_cover(n_sources, n_targets, density, seed):
    source, target = covering_pairs(n_sources, n_targets, density, np.random.default_rng(seed))
    count = max(round(density * n_sources * n_targets), n_sources, n_targets)
    assert len(set(zip(source.tolist(), target.tolist(), strict=True))) == len(source) == count
    assert set(source.tolist()) == set(range(n_sources)) and set(target.tolist()) == set(range(n_targets))


# -- random DAGs of a given depth --------------------------------------------------------------------------------------


@given(st.integers(1, 6), st.integers(1, 15), st.integers(0, 4), st.integers(1, 15), st.floats(0, 1), st.integers(0, 3))
def test_random_dag_has_the_depth_and_the_exact_count(n_inputs, n_hidden, n_outputs, depth, density, seed):
    depth = min(depth, n_hidden)
    sizes = [len(part) for part in np.array_split(np.arange(n_hidden), depth)]
    generations = [n_inputs, *sizes, n_outputs]
    candidates = sum(a * b for i, a in enumerate(generations) for b in generations[i + 1 :])
    count = round(density * candidates)
    if count < n_hidden + n_outputs:
        with pytest.raises(ng.InvalidValueError, match="or more"):
            T.random_dag(n_inputs, n_hidden, n_outputs, density, depth=depth, seed=seed)
        return
    net = T.random_dag(n_inputs, n_hidden, n_outputs, density, depth=depth, seed=seed)
    graph = nx.DiGraph(pairs(net))
    assert graph.number_of_edges() == net.n_connections == count
    assert [len(g) for g in nx.topological_generations(graph.subgraph([*graph]))][1:] == [
        size for size in generations[1:] if size
    ]
    hidden = hidden_graph(net)
    assert nx.dag_longest_path_length(hidden) == depth - 1
    place = np.repeat(np.arange(depth + 2), generations)
    assert all(place[u] < place[v] for u, v in graph.edges)


def test_random_dag_draws_every_candidate_of_a_depth():
    drawn = [set(pairs(T.random_dag(2, 4, 2, 0.6, depth=2, seed=seed))) for seed in range(300)]
    often = {pair: sum(pair in one for one in drawn) / 300 for pair in set.union(*drawn)}
    # 2 inputs, then {2, 3}, {4, 5}, then the outputs {6, 7}: 4 + 8 + 12 pairs, of which 14 are drawn
    assert set(often) == {(u, v) for u in range(6) for v in range(2, 8) if u // 2 < v // 2}
    assert sum(often.values()) == pytest.approx(14) and len({len(one) for one in drawn}) == 1
    chain = {pair: share for pair, share in often.items() if pair[1] // 2 - pair[0] // 2 == 1}
    skip = {pair: share for pair, share in often.items() if pair not in chain}
    # A backbone of 6 pairs out of 12, then 8 of the other 18, each as likely as any.
    assert np.ptp(list(skip.values())) < 0.2 and np.mean(list(skip.values())) == pytest.approx(8 / 18, abs=0.03)
    assert np.ptp(list(chain.values())) < 0.2 and np.mean(list(chain.values())) == pytest.approx(
        0.5 + 0.5 * 8 / 18, abs=0.03
    )


def test_random_dag_without_a_depth_is_what_it_was():
    """The draws of a seed did not change when `depth` came."""
    net = T.random_dag(3, 5, 2, density=0.3, seed=7)
    again = ng.Network(seed=7)
    inputs, hidden, outputs = again.add_inputs(3), again.add_neurons(5), again.add_outputs(2)
    again.connect(inputs | hidden, hidden | outputs, density=0.3)
    assert pairs(net) == pairs(again) and (net.connections.weight == again.connections.weight).all()


# -- lattices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "k"), [(3, 2), (8, 2), (9, 4), (9, 8), (30, 6)])
def test_ring_is_a_circulant_graph(n, k):
    graph = hidden_graph(T.ring_lattice(2, n, 2, k=k))
    assert undirected(graph) == undirected(nx.circulant_graph(n, range(1, k // 2 + 1)))
    assert graph.number_of_edges() == n * k // 2


@pytest.mark.parametrize("shape", [(7,), (4, 5), (3, 3), (2, 6), (1, 5), (2, 2), (1, 1), (3, 4, 5), (2, 1, 4)])
def test_torus_is_a_periodic_grid(shape):
    net = T.torus_lattice(2, shape, 2)
    grid = nx.grid_graph(shape[::-1], periodic=True)
    place = {tuple(np.atleast_1d(node).tolist()): i for i, node in enumerate(np.ndindex(*shape))}
    expected = {frozenset(place[tuple(np.atleast_1d(node).tolist())] for node in edge) for edge in grid.edges}
    assert undirected(hidden_graph(net)) == {edge for edge in expected if len(edge) == 2}
    assert net.groups["hidden"].shape == shape


@pytest.mark.parametrize(("shape", "radius"), [((6, 7), 1.5), ((6, 7), 2), ((5, 4), 2.9), ((9,), 3), ((3, 4, 5), 1.8)])
def test_torus_joins_all_within_the_radius(shape, radius):
    graph = hidden_graph(T.torus_lattice(2, shape, 2, radius=radius))
    places = list(np.ndindex(*shape))
    for i, a in enumerate(places):
        for j, b in enumerate(places[:i]):
            gap = [min(abs(x - y), size - abs(x - y)) for x, y, size in zip(a, b, shape, strict=True)]
            assert graph.has_edge(j, i) == (math.hypot(*gap) <= radius)


# -- small worlds ------------------------------------------------------------------------------------------------------


@given(st.integers(3, 25), st.integers(1, 12), st.floats(0, 1), st.integers(0, 5))
def test_small_world_is_simple_and_exact(n, half, p, seed):
    k = 2 * min(half, (n - 1) // 2)
    graph = hidden_graph(T.small_world(1, n, 1, k=k, p=p, seed=seed))
    assert graph.number_of_edges() == n * k // 2 and len(undirected(graph)) == n * k // 2
    assert nx.number_of_selfloops(graph) == 0


def test_small_world_without_rewiring_is_a_ring():
    assert pairs(T.small_world(3, 40, 2, k=6, p=0)) == pairs(T.ring_lattice(3, 40, 2, k=6))


@pytest.mark.parametrize("p", [0.05, 0.3, 1.0])
def test_small_world_resembles_networkx(p):
    n, k = 600, 10
    ours = [hidden_graph(T.small_world(1, n, 1, k=k, p=p, seed=seed)).to_undirected() for seed in range(4)]
    theirs = [nx.watts_strogatz_graph(n, k, p, seed=seed) for seed in range(4)]
    for measure, tolerance in [(nx.average_clustering, 0.08), (lambda g: degrees(g).std(), 0.08)]:
        a, b = (np.mean([measure(graph) for graph in graphs]) for graphs in (ours, theirs))
        assert a == pytest.approx(b, rel=tolerance, abs=0.01)
    a, b = (np.mean([nx.average_shortest_path_length(graphs[i]) for i in (0, 1)]) for graphs in (ours, theirs))
    assert a == pytest.approx(b, rel=0.05)


def test_rewired_edges_keep_one_end_and_land_anywhere():
    n, k = 400, 6
    u, v = np.repeat(np.arange(n), k // 2), (np.repeat(np.arange(n), k // 2) + np.tile([1, 2, 3], n)) % n
    kept, moved = rewired(u, v, n, 0.5, np.random.default_rng(0))
    assert (kept == u).all()
    share = (moved != v).mean()
    assert share == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / len(u)))
    far = (moved - u)[moved != v] % n
    # Uniform over all distances, but for the few places that are taken.
    assert scipy.stats.kstest(far, "uniform", args=(0, n)).pvalue > 0.01


# -- scale-free networks -----------------------------------------------------------------------------------------------


@given(st.integers(2, 60), st.integers(1, 59), st.integers(0, 5))
def test_scale_free_counts(n, m, seed):
    m = min(m, n - 1)
    graph = hidden_graph(T.scale_free(1, n, 1, m=m, seed=seed))
    assert graph.number_of_edges() == m * (n - m)
    assert [graph.in_degree(i) for i in range(n)] == [0] + [1] * m + [m] * (n - m - 1)
    assert all(u < v for u, v in graph.edges)


def test_scale_free_degrees_are_those_of_networkx():
    ours = [degrees(hidden_graph(T.scale_free(1, 3000, 1, m=3, seed=seed))) for seed in range(3)]
    theirs = [degrees(nx.barabasi_albert_graph(3000, 3, seed=seed)) for seed in range(3)]
    assert scipy.stats.ks_2samp(np.concatenate(ours), np.concatenate(theirs)).pvalue > 0.01
    hubs = [np.mean([np.sort(one)[-20:].mean() for one in some]) for some in (ours, theirs)]
    assert hubs[0] == pytest.approx(hubs[1], rel=0.15)


def test_scale_free_has_a_power_law_tail():
    n, m = 100_000, 4
    older, younger = preferential_attachment(n, m, np.random.default_rng(0))
    degree = np.bincount(np.concatenate([older, younger]), minlength=n)
    # P(k) = 2 m (m + 1) / (k (k + 1) (k + 2)), Dorogovtsev et al. 2000; its tail falls like k ** -3
    for k in range(m, 12):
        expected = 2 * m * (m + 1) / (k * (k + 1) * (k + 2))
        assert (degree == k).mean() == pytest.approx(expected, abs=5 * math.sqrt(expected / n))
    tail = degree[degree >= 30]
    assert 1 + 1 / np.log(tail / 29.5).mean() == pytest.approx(3, abs=0.15)


def test_scale_free_expected_degrees_are_exact():
    """With m = 1 an expected degree grows by the factor 1 + 1 / (2 edges) with each new neuron."""
    n, runs = 12, 6000
    rng, degree = np.random.default_rng(0), np.zeros((runs, n))
    for run in range(runs):
        degree[run] = np.bincount(np.concatenate(preferential_attachment(n, 1, rng)), minlength=n)
    for i in range(n):
        expected = 1.0
        for edges in range(max(i, 1), n - 1):
            expected *= 1 + 1 / (2 * edges)
        assert degree[:, i].mean() == pytest.approx(expected, abs=4 * max(degree[:, i].std(), 0.1) / math.sqrt(runs))


@pytest.mark.parametrize("m", [3, 5])
def test_scale_free_hubs_do_not_depend_on_the_way_of_drawing(m):
    """Mean degree of the first neurons, drawn by exponential keys and by copying, against networkx's one by one."""
    n, runs = 60, 300
    rng = np.random.default_rng(0)
    ours = [np.bincount(np.concatenate(preferential_attachment(n, m, rng)), minlength=n) for _ in range(runs)]
    theirs = [degrees(nx.barabasi_albert_graph(n, m, seed=seed)) for seed in range(runs)]
    difference = np.mean(ours, axis=0) - np.mean(theirs, axis=0)
    error = np.sqrt((np.var(ours, axis=0) + np.var(theirs, axis=0)) / runs)
    assert (abs(difference) < 4.5 * error + 1e-9).all()


# -- RadiX-Nets --------------------------------------------------------------------------------------------------------


def layer_matrices(net):
    """Each layer as a 0/1 matrix [target, source]."""
    names = ["inputs", *(name for name in net.groups if name.startswith("hidden")), "outputs"]
    groups = [net.groups[name].ids for name in names]
    matrices = [np.zeros((len(after), len(before)), int) for before, after in pairwise(groups)]
    first = {int(id): (number, id - ids[0]) for number, ids in enumerate(groups) for id in ids}
    for u, v in pairs(net):
        (layer, source), (after, target) = first[u], first[v]
        assert after == layer + 1
        matrices[layer][target, source] += 1
    return matrices


def kronecker_layers(systems, widths):
    """The definition, with a cyclic permutation matrix, its powers and Kronecker products."""
    n = math.prod(systems[0])
    shift, layers = np.roll(np.eye(n, dtype=int), 1, axis=1), []
    for system in systems:
        place = 1
        for radix in system:
            W = sum(np.linalg.matrix_power(shift, j * place) for j in range(radix))
            ones = np.ones((widths[len(layers) + 1], widths[len(layers)]), int)
            layers.append(np.kron(ones, W))
            place *= radix
    return layers


@pytest.mark.parametrize(
    ("systems", "widths"),
    [
        ([[2, 2, 2]], [1, 1, 1, 1]),
        ([[3, 2], [2, 3]], [1, 2, 3, 1, 2]),
        ([[4, 3], [12], [6]], [2, 1, 1, 3, 1]),
        ([[2, 5], [5]], [1, 1, 1, 4]),
    ],
)
def test_radix_net_equals_kronecker_products(systems, widths):
    matrices = layer_matrices(T.radix_net(systems, widths))
    for ours, expected in zip(matrices, kronecker_layers(systems, widths), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_radix_net_has_equally_many_paths():
    """Theorem 1 of Robinett and Kepner 2019: every output hears every input along the same number of paths."""
    systems, widths = [[2, 3, 2], [3, 4], [6]], [1, 2, 1, 3, 2, 1, 2]
    paths = np.linalg.multi_dot(layer_matrices(T.radix_net(systems, widths))[::-1])
    # One path between any two numbers in a whole system, so 12 * 6 through all three, times the widths in between.
    assert np.unique(paths).tolist() == [12 * 6 * (2 * 1 * 3 * 2 * 1)]


def test_radix_net_flat_arguments():
    assert pairs(T.radix_net([2, 3], 2)) == pairs(T.radix_net([[2, 3]], [2, 2, 2]))
    assert pairs(T.radix_net([2, 3], 2, seed=1, shuffle=True)) == pairs(T.radix_net([2, 3], 2))


def class_of(matrix):
    """For each row the number of its pattern."""
    return np.unique(matrix, axis=0, return_inverse=True)[1].ravel()


def loops(matrix):
    """Sizes of the parts into which a layer falls when neurons with equal connections count once."""
    rows, columns = class_of(matrix), class_of(matrix.T)
    graph = nx.Graph((("target", rows[t]), ("source", columns[s])) for t, s in np.argwhere(matrix))
    return sorted(len(part) for part in nx.connected_components(graph))


def test_radix_net_is_the_generator_of_the_graph_challenge():
    if not CHALLENGE.exists():
        pytest.skip("needs ../shared/data/graph_challenge_1024x120.npz beside the checkout")
    sources = np.load(CHALLENGE)["sources"].astype(int)
    theirs = np.zeros((12, 1024, 1024), int)
    for layer in range(12):
        np.put_along_axis(theirs[layer], sources[layer], 1, axis=1)
    ours = layer_matrices(T.radix_net([[2] * 6] * 2, 16, shuffle=True, seed=0))
    np.testing.assert_array_equal(ours[:6], theirs[:6])
    for layer in range(6, 12):
        assert loops(ours[layer]) == loops(theirs[layer]) == loops(theirs[layer - 6])
        assert (ours[layer].sum(0) == 32).all() and (theirs[layer].sum(0) == 32).all()
    for block in (ours, theirs):
        # One numbering of the targets and one of the sources for the whole system, but not the same one.
        for side in (lambda m: m, lambda m: m.T):
            patterns = [class_of(side(block[layer])) for layer in range(6, 11)]
            assert len({tuple(np.unique(list(zip(patterns[0], p, strict=True)), axis=0).shape) for p in patterns}) == 1
        assert len(np.unique(list(zip(class_of(block[6]), class_of(block[7].T), strict=True)), axis=0)) > 64


# -- random geometric networks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_geometric_with_given_places_is_that_of_networkx(dimension, rng):
    places, radius = rng.random((150, dimension)), 0.08 * dimension**1.5
    graph = hidden_graph(T.random_geometric(2, 150, 2, radius=radius, positions=places))
    expected = nx.random_geometric_graph(150, radius, pos={i: place.tolist() for i, place in enumerate(places)})
    assert undirected(graph) == undirected(expected) and graph.number_of_edges() > 100
    assert all(places[u, 0] < places[v, 0] for u, v in graph.edges)


def test_geometric_probability_falls_with_distance(rng):
    places, radius, length = rng.random((400, 2)), 0.3, 0.1
    distance = np.sqrt(((places[:, None] - places) ** 2).sum(-1))
    distance, near = distance[np.triu_indices(400, 1)], np.triu_indices(400, 1)
    graph = hidden_graph(T.random_geometric(2, 400, 2, radius=radius, length=length, positions=places, seed=3))
    joined = np.array([graph.has_edge(u, v) or graph.has_edge(v, u) for u, v in zip(*near, strict=True)])
    assert not joined[distance > radius].any()
    for low, high in pairwise(np.linspace(0, radius, 7)):
        inside = (distance > low) & (distance <= high)
        p = np.exp(-distance[inside] / length)
        assert joined[inside].sum() == pytest.approx(p.sum(), abs=4 * math.sqrt((p * (1 - p)).sum()))


def test_geometric_edge_lengths_are_those_of_networkx():
    def lengths(graph, places):
        return [math.dist(places[u], places[v]) for u, v in graph.edges]

    ours, theirs, counts = [], [], []
    for seed in range(3):
        places = np.random.default_rng(seed).random((500, 2))
        net = T.random_geometric(1, 500, 1, radius=0.2, length=0.05, positions=places, seed=seed)
        other = nx.soft_random_geometric_graph(500, 0.2, seed=seed, p_dist=lambda d: math.exp(-d / 0.05))
        ours += lengths(hidden_graph(net), places)
        theirs += lengths(other, nx.get_node_attributes(other, "pos"))
        counts.append(hidden_graph(T.random_geometric(1, 500, 1, radius=0.2, length=0.05, seed=seed)).number_of_edges())
    assert scipy.stats.ks_2samp(ours, theirs).pvalue > 0.01
    assert len(ours) == pytest.approx(len(theirs), rel=0.08) and sum(counts) == pytest.approx(len(theirs), rel=0.08)


# -- stochastic block models -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0, 1])
def test_blocks_have_exact_densities(delay):
    sizes, density = (
        [12, 30, 1, 20],
        np.array([[0.5, 0.1, 1, 0.02], [0.1, 0.33, 0, 0.7], [1, 0, 0.9, 0.3], [0.02, 0.7, 0.3, 0.05]]),
    )
    if delay:
        density[2, 3], density[1, 0] = 0.45, 0.9
    net = T.stochastic_block(2, sizes, 2, density, delay=delay, seed=1)
    graph = hidden_graph(net)
    block = np.repeat(np.arange(4), sizes)
    count = np.zeros((4, 4), int)
    for u, v in graph.edges:
        count[block[u], block[v]] += 1
        assert u != v and (delay or u < v)
    possible = np.outer(sizes, sizes) - np.diag(sizes)
    if not delay:
        possible = np.triu(possible - np.diag(np.diag(possible) // 2))
    expected = [round(share * n) for share, n in zip(density.flat, possible.flat, strict=True)]
    assert count.ravel().tolist() == expected
    assert [len(net.groups[f"block {i}"]) for i in (1, 2, 3, 4)] == sizes
    assert net.groups["block 2"].ids.tolist() == net.groups["hidden"].ids[12:42].tolist()


def test_blocks_agree_with_networkx_on_average():
    sizes, density = [40, 60], [[0.3, 0.05], [0.05, 0.15]]
    theirs = [nx.stochastic_block_model(sizes, density, seed=seed) for seed in range(40)]
    ours = hidden_graph(T.stochastic_block(1, sizes, 1, density))
    for a, b in [(0, 0), (0, 1), (1, 1)]:
        within = [set(range(40)), set(range(40, 100))]

        def between(graph, a=within[a], b=within[b]):
            return sum((u in a and v in b) or (v in a and u in b) for u, v in graph.edges)

        counts = [between(graph) for graph in theirs]
        assert between(ours) == pytest.approx(np.mean(counts), abs=4 * np.std(counts) / math.sqrt(40) + 0.5)


@pytest.mark.parametrize("delay", [0, 1])
def test_blocks_draw_every_pair_equally_often(delay):
    often = np.zeros((5, 5))
    for seed in range(600):
        for u, v in hidden_graph(T.stochastic_block(1, [3, 2], 1, [[1 / 3, 0.5], [0.5, 0.5]], delay, seed=seed)).edges:
            often[u, v] += 1 / 600
    expected = np.full((5, 5), 0.5)
    expected[:3, :3] = 1 / 3
    expected[3:, 3:] = 0.0 if not delay else 0.5  # round(0.5) of one pair is none
    expected = np.triu(expected, 1) if not delay else expected * (1 - np.eye(5))
    np.testing.assert_allclose(often, expected, atol=0.1)


# -- any graph of networkx ---------------------------------------------------------------------------------------------

GENERATORS = {
    "karate": nx.karate_club_graph,
    "hypercube": lambda: nx.hypercube_graph(4),
    "tree": lambda: nx.balanced_tree(2, 4),
    "regular": lambda: nx.random_regular_graph(3, 20, seed=0),
    "configuration": lambda: nx.configuration_model([3, 3, 2, 2, 1, 1, 4, 4], seed=1),
    "lollipop": lambda: nx.lollipop_graph(5, 4),
    "empty": lambda: nx.empty_graph(4),
    "letters": lambda: nx.Graph(["ab", "bc", "ca", "cd"]),
    "shuffled": lambda: nx.Graph([(3, 0), (0, 2), (2, 1)]),
}


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("ordering", ["given", "random", "numbers", "mapping"])
def test_from_graph_orients_every_edge_once(generator, ordering):
    G = GENERATORS[generator]()
    nodes = list(G)
    numbers = {node: (7 * i) % 5 for i, node in enumerate(nodes)}
    value = {"numbers": [numbers[node] for node in nodes], "mapping": numbers}.get(ordering, ordering)
    graph = hidden_graph(T.from_graph(G, 2, 3, ordering=value, seed=1))
    edges = {frozenset(nodes.index(node) for node in edge[:2]) for edge in G.edges}
    assert undirected(graph) == {edge for edge in edges if len(edge) == 2}
    assert nx.is_directed_acyclic_graph(graph) and graph.number_of_nodes() == len(nodes)
    if ordering == "given":
        assert all(u < v for u, v in graph.edges)
    elif ordering != "random":
        assert all((numbers[nodes[u]], u) < (numbers[nodes[v]], v) for u, v in graph.edges)


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: T.ring_lattice(0, 9, 1), "n_inputs is 0; give a whole number, 1"),
        (lambda: T.ring_lattice(1, 9, 0), "n_outputs is 0"),
        (lambda: T.ring_lattice(1, 9, 1, k=3), "even"),
        (lambda: T.ring_lattice(1, 9, 1, k=10), "smaller k"),
        (lambda: T.ring_lattice(1, 2, 1), "n_hidden is 2"),
        (lambda: T.ring_lattice(1, 9, 1, delay=-1), "delay is -1"),
        (lambda: T.ring_lattice(1, 9, 1, input_density=1.5), "input_density is 1.5"),
        (lambda: T.ring_lattice(1, 9, 1, output_density="all"), "output_density is 'all'"),
        (lambda: T.ring_lattice(1, 9, 1, ordering="reverse"), "ordering is 'reverse'"),
        (lambda: T.ring_lattice(1, 9, 1, ordering=[1, 2]), "each of the 9"),
        (lambda: T.ring_lattice(1, 3, 1, ordering=[1, 2, math.nan]), "ordering is nan"),
        (lambda: T.small_world(1, 9, 1, p=1.1), "p is 1.1"),
        (lambda: T.small_world(1, 9.5, 1), "n_hidden is 9.5"),
        (lambda: T.scale_free(1, 9, 1, m=9), "smaller m"),
        (lambda: T.scale_free(1, 9, 1, m=0), "m is 0"),
        (lambda: T.torus_lattice(1, 9, 1), "shape is 9"),
        (lambda: T.torus_lattice(1, (3, 0), 1), "shape is"),
        (lambda: T.torus_lattice(1, (3, 3), 1, radius=0.5), "radius is 0.5"),
        (lambda: T.torus_lattice(1, (3, 3), 1, radius=math.inf), "radius is inf"),
        (lambda: T.random_geometric(1, 9, 1, radius=0), "radius is 0"),
        (lambda: T.random_geometric(1, 9, 1, radius=0.1, length=-1), "length is -1"),
        (lambda: T.random_geometric(1, 9, 1, radius=0.1, positions=0), "positions is 0"),
        (lambda: T.random_geometric(1, 9, 1, radius=0.1, positions=np.zeros((8, 2))), "each of the 9"),
        (lambda: T.random_geometric(1, 1, 1, radius=0.1, positions=[[math.nan]]), "positions is nan"),
        (lambda: T.stochastic_block(1, [], 1, []), "sizes is empty"),
        (lambda: T.stochastic_block(1, [3, 0], 1, np.eye(2)), "one neuron or more"),
        (lambda: T.stochastic_block(1, [3, 2], 1, [0.1, 0.2]), "a row and a column for each of the 2"),
        (lambda: T.stochastic_block(1, [3, 2], 1, [[0.1, 1.2], [0, 0]]), r"densities\[0\]\[1\] is 1.2"),
        (lambda: T.stochastic_block(1, [3, 2], 1, [[0.1, math.nan], [0, 0]]), r"densities\[0\]\[1\] is nan"),
        (lambda: T.stochastic_block(1, [3, 2], 1, [[0.1, 0.2], [0.3, 0]]), "delay=1"),
        (lambda: T.from_graph(nx.DiGraph([(0, 1)]), 1, 1), "from_networkx"),
        (lambda: T.from_graph(nx.Graph(), 1, 1), "no nodes"),
        (lambda: T.from_graph(np.eye(3), 1, 1), "G is of type ndarray"),
        (lambda: T.from_graph(nx.path_graph(3), 1, 1, ordering={0: 1, 1: 2}), r"node \[2\]"),
        (lambda: T.radix_net([]), "radices"),
        (lambda: T.radix_net(6), "radices"),
        (lambda: T.radix_net([2, [3]]), "mixes"),
        (lambda: T.radix_net([[2], []]), "without a radix"),
        (lambda: T.radix_net([2, 1]), "a radix is 1"),
        (lambda: T.radix_net([[2, 3], [5], [6]]), "product 5"),
        (lambda: T.radix_net([[2, 3], [4]]), "divide 6"),
        (lambda: T.radix_net([2, 3], [1, 1]), "one more than radices"),
        (lambda: T.radix_net([2, 3], [1, 0, 1]), "widths"),
        (lambda: T.random_dag(2, 5, 1, 0.5, depth=0), "depth is 0"),
        (lambda: T.random_dag(2, 5, 1, 0.5, depth=6), "depth is 6"),
        (lambda: T.random_dag(0, 5, 1, 0.5, depth=2), "n_inputs is 0"),
        (lambda: T.random_dag(2, 5, 1, 1.5, depth=2), "density is 1.5"),
    ],
)
def test_bad_input_is_refused_with_the_cure(call, message):
    with pytest.raises(ng.InvalidValueError, match=message):
        call()
