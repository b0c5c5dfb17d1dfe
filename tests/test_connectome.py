"""The brains in the package, networks wired as they are, and null models."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg

import neurograph as ng
from neurograph.wiring import random_pairs, rewire_degrees

BRAINS = ["celegans", "larva"]
FACTS = {  # neurons, rows, pairs, counted, sensory, output, self loops
    "celegans": (302, 5905, 5146, 32488, 83, 123, 47),
    "larva": (3554, 119010, 119010, 376091, 431, 420, 577),
}


def pairs(brain):
    return set(zip(brain.source.tolist(), brain.target.tolist(), strict=True))


def degrees(brain):
    return [np.bincount(end, minlength=brain.n_neurons) for end in (brain.source, brain.target)]


@pytest.fixture(scope="module", params=BRAINS)
def brain(request):
    return ng.datasets.load_connectome(request.param)


def facts_of(brain):
    return FACTS["celegans" if brain.n_neurons == 302 else "larva"]


def test_the_published_numbers(brain):
    neurons, rows, distinct, counted, sensory, output, loops = facts_of(brain)
    assert (brain.n_neurons, brain.n_connections, int(brain.weight.sum())) == (neurons, rows, counted)
    assert (int(brain.sensory.sum()), int(brain.output.sum())) == (sensory, output)
    assert not (brain.sensory & brain.output).any()
    assert len(set(brain.name.tolist())) == neurons and all(brain.name) and all(brain.group) and all(brain.cell_class)
    assert brain.weight.min() == 1 and brain.source.max() < neurons and brain.target.max() < neurons
    assert len(set(zip(brain.source, brain.target, brain.kind, strict=True))) == rows
    merged = brain.merged()
    assert merged.n_connections == len(pairs(brain)) == distinct and merged.weight.sum() == counted
    assert pairs(merged) == pairs(brain) and (merged.source == merged.target).sum() == loops
    assert set(brain.hemisphere) == {"L", "R", "C"}
    assert f"{neurons:,} neurons" in repr(brain) and "http" in brain.citation and brain.license


def test_the_worm():
    """Cook et al., sheets of July 2020: two kinds of connections; the sums are those of the Connectome Toolbox."""
    worm = ng.datasets.load_connectome("celegans")
    chemical, gap = worm.of_kind("chemical"), worm.of_kind("gap")
    assert (chemical.n_connections, int(chemical.weight.sum())) == (3709, 20965)
    assert (gap.n_connections, int(gap.weight.sum())) == (2196, 11523)
    index = {name: i for i, name in enumerate(worm.name.tolist())}
    found, there = (
        {(u, v): w for u, v, w in zip(part.source.tolist(), part.target.tolist(), part.weight.tolist(), strict=True)}
        for part in (chemical, gap)
    )
    assert all(there[v, u] == w for (u, v), w in there.items())
    # by eye from the sheet: the first row, I1L
    assert [found.get((index["I1L"], index[to])) for to in ("I2L", "I3", "I5", "I1R")] == [10, 3, 2, None]
    assert np.unique(worm.group, return_counts=True)[1].tolist() == [81, 116, 2, 20, 83]
    assert {"AVAL", "DA1", "VD13", "CANR"} <= set(index) and "DA01" not in index
    assert worm.name[worm.output & (worm.group == "pharynx")].tolist() == ["M1", "M2L", "M2R", "M3L", "M3R", "M4", "M5"]
    both = worm.merged()
    assert (both.kind == "both").sum() == 5905 - 5146
    with pytest.raises(ng.InvalidValueError, match="'chemical', 'gap'"):
        worm.of_kind("electric")
    with pytest.raises(ng.InvalidValueError, match="'celegans', 'larva'"):
        ng.datasets.load_connectome("mouse")


def test_the_larva_is_nearly_one_component():
    larva = ng.datasets.load_connectome("larva")
    graph = scipy.sparse.csr_array((np.ones(larva.n_connections), (larva.source, larva.target)), shape=(3554, 3554))
    _, label = scipy.sparse.csgraph.connected_components(graph, connection="strong")
    assert np.bincount(label).max() > 0.8 * 3554


def test_the_shipped_larva_is_the_shared_table(pytestconfig):
    path = pytestconfig.rootpath.parent / "shared" / "data" / "larva_brain.npz"
    if not path.exists():
        pytest.skip("../shared/data/larva_brain.npz is not there")
    larva = ng.datasets.load_connectome("larva")
    with np.load(path) as data:
        order = np.lexsort((data["target"], data["source"]))
        for ours, theirs in (("source", "source"), ("target", "target"), ("weight", "synapses")):
            np.testing.assert_array_equal(getattr(larva, ours), data[theirs][order])
        for name in ("sensory", "output", "group", "cell_class", "hemisphere"):
            np.testing.assert_array_equal(getattr(larva, name), data[name])
        assert (larva.name == data["name"]).mean() > 0.9


def test_a_network_has_the_brain_and_nothing_else(brain):
    neurons, _, distinct, _, sensory, output, _ = facts_of(brain)
    net = ng.topologies.connectome(brain, seed=3)
    own = net.connections[~net.connections.frozen]
    assert len(own) == distinct
    assert set(zip(own.source.tolist(), own.target.tolist(), strict=True)) == pairs(brain)
    assert set(own.delay.tolist()) == {1}
    assert (net.n_inputs, net.n_outputs, net.n_neurons) == (sensory, output, neurons + sensory)
    assert net.neurons.names[:neurons].tolist() == brain.name.tolist()
    feeds = net.connections[net.connections.frozen]
    assert feeds.target.tolist() == np.flatnonzero(brain.sensory).tolist() == net.groups["sensory"].ids.tolist()
    assert (feeds.weight == 1).all() and (feeds.delay == 0).all() and feeds.source.tolist() == net.inputs.ids.tolist()
    assert net.outputs.ids.tolist() == np.flatnonzero(brain.output).tolist()
    assert {*brain.group.tolist(), "inputs", "outputs", "sensory"} <= set(net.groups)
    assert set(net.neurons[:neurons].activation) == {"tanh"}


def test_count_weights_keep_proportions_and_scale(brain):
    net = ng.topologies.connectome(brain, seed=1, dtype="float64")
    own = net.connections[~net.connections.frozen]
    merged = brain.merged()
    W = scipy.sparse.csr_array((own.weight, (own.target, own.source)), shape=(brain.n_neurons,) * 2)
    counts = scipy.sparse.csr_array((merged.weight.astype(float), (merged.target, merged.source)), shape=W.shape)
    lengths = np.sqrt(np.asarray((W * W).sum(axis=1)).ravel())
    np.testing.assert_allclose(lengths[lengths > 0], 1, rtol=1e-9)
    ratio = abs(own.weight) / np.asarray(counts[own.target, own.source]).ravel()
    row = own.target[0]
    np.testing.assert_allclose(ratio[own.target == row], ratio[0], rtol=1e-9)
    assert abs(np.sign(own.weight).mean()) < 0.05
    v0 = np.random.default_rng(0).normal(size=brain.n_neurons)
    radius = abs(scipy.sparse.linalg.eigs(W, k=1, v0=v0, return_eigenvectors=False))[0]
    assert 0.8 < radius < 1.6


def test_brains_run_and_learn_through_time(brain):
    """Activity neither dies out nor explodes, and every connection that can reach an output gets a gradient."""
    net = ng.topologies.connectome(brain, seed=0)
    X = np.random.default_rng(0).normal(size=(8, 30, net.n_inputs))
    spread = net.predict(X).std(axis=(0, 2))
    assert spread[0] == 0 and spread[5:].min() > 0.1 and spread.max() < 0.6
    labels = np.arange(8)
    opt, losses = ng.optim.Adam(lr=1e-2), []
    for _ in range(10):
        losses.append(net.backward(X[:, :10], labels, loss="cross_entropy"))
        opt.step(net)
    assert losses[-1] < 0.8 * losses[0]
    assert (net.connections[~net.connections.frozen].grad != 0).mean() > 0.95
    assert (net.connections[net.connections.frozen].weight == 1).all()
    slow = ng.topologies.connectome(brain, seed=0, time_constant=4.0)
    assert set(slow.groups["sensory"].time_constant) == {4.0}
    assert (slow.predict(X[:, :6]).std(axis=(0, 2))[1:] < spread[1:6]).all()


def test_network_options():
    net = ng.topologies.connectome("celegans", on_cycle="delay", weight="he", output_activation="identity")
    instant = net.connections[net.connections.delay == 0]
    G = nx.DiGraph(zip(instant.source.tolist(), instant.target.tolist(), strict=True))
    assert nx.is_directed_acyclic_graph(G) and 0 < net.connections.delay.sum() < 5146 / 2
    assert set(net.outputs.activation) == {"identity"} and set(net.groups["sensory"].activation) == {"tanh"}
    fan_in = np.repeat(2.0, 5146) / net.neurons.fan_in[net.connections.target[:5146]]
    assert (net.connections.weight[:5146] / np.sqrt(fan_in)).std() == pytest.approx(1, rel=0.1)
    with pytest.raises(ng.CycleError, match="' -> '"):
        ng.topologies.connectome("celegans", on_cycle="error")
    same, other = (ng.topologies.connectome("celegans", seed=seed).connections.weight for seed in (0, 1))
    np.testing.assert_array_equal(same, ng.topologies.connectome("celegans").connections.weight)
    assert (same != other).any()


def test_gap_junctions_share_a_parameter():
    worm = ng.datasets.load_connectome("celegans")
    free, tied = (ng.topologies.connectome(worm, tie_gaps=tie) for tie in (False, True))
    chemical, gap = pairs(worm.of_kind("chemical")), pairs(worm.of_kind("gap"))
    alone = {(u, v) for u, v in gap if u < v and not {(u, v), (v, u)} & chemical}
    assert free.n_parameters - tied.n_parameters == len(alone) > 50
    u, v = next(iter(alone))
    assert tied.connection(u, v, delay=1).parameter == tied.connection(v, u, delay=1).parameter
    only = ng.topologies.connectome(worm.of_kind("chemical"), tie_gaps=True)
    assert (~only.connections.frozen).sum() == 3709


def test_degree_preserving_null_model(brain):
    null = ng.topologies.null_model(brain, "degree_preserving", seed=2)
    merged = brain.merged()
    for ours, theirs in zip(degrees(null), degrees(merged), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(pairs(null)) == null.n_connections == merged.n_connections
    assert not (null.source == null.target).any()
    assert len(pairs(null) & pairs(merged)) < 0.15 * null.n_connections
    # the counts leave with their sources
    np.testing.assert_array_equal(np.bincount(null.source, null.weight), np.bincount(merged.source, merged.weight))


def test_random_and_layered_null_models(brain):
    merged = brain.merged()
    for kind in ("random", "layered"):
        null = ng.topologies.null_model(brain, kind, seed=2)
        assert len(pairs(null)) == merged.n_connections and not (null.source == null.target).any()
        assert np.sort(null.weight).tolist() == np.sort(merged.weight).tolist()
        assert len(pairs(null) & pairs(merged)) < 0.15 * null.n_connections
        assert null.name is merged.name and set(null.kind) == {"null"} and kind in null.title
        net = ng.topologies.connectome(null)
        assert (~net.connections.frozen).sum() == merged.n_connections and net.n_outputs == brain.output.sum()
    G = nx.DiGraph(pairs(null))
    layers = list(nx.topological_generations(G))
    assert len(layers) == 4 and ng.topologies.connectome(null, on_cycle="error").schedule.depth == 5
    assert not degrees(null)[1][brain.sensory].any() and not degrees(null)[0][brain.output].any()


def test_null_models_follow_the_seed():
    for kind in ("degree_preserving", "random", "layered"):
        a, b, c = (ng.topologies.null_model("celegans", kind, seed=seed) for seed in (0, 0, 1))
        assert pairs(a) == pairs(b) != pairs(c)


def test_null_model_errors():
    with pytest.raises(ng.InvalidValueError, match="'degree_preserving', 'random', 'layered'"):
        ng.topologies.null_model("celegans", "shuffled")
    with pytest.raises(ng.InvalidValueError, match="choose fewer layers"):
        ng.topologies.null_model("celegans", "layered", n_layers=30)
    with pytest.raises(ng.InvalidValueError, match="n_layers is 2, but 96 neurons"):
        ng.topologies.null_model("celegans", "layered", n_layers=2)
    with pytest.raises(ng.InvalidValueError, match="seed"):
        ng.topologies.null_model("celegans", seed=-1)


@pytest.mark.parametrize("seed", range(5))
def test_rewiring_small_dense_graphs(seed):
    """Dense ones, where most swaps are refused and the hash table is crowded."""
    rng = np.random.default_rng(seed)
    source, target = random_pairs(12, 12, 90, rng)
    new = rewire_degrees(source, target, 12, rng)
    np.testing.assert_array_equal(np.sort(new), np.sort(target))
    assert len(set(zip(source.tolist(), new.tolist(), strict=True))) == 90
    assert (source == new).sum() <= (source == target).sum()


def test_rewiring_reaches_every_graph_alike():
    """Four neurons with one connection in and one out, and no self loops: nine graphs, each as often."""
    rng = np.random.default_rng(0)
    found = [tuple(rewire_degrees([0, 1, 2, 3], [1, 0, 3, 2], 4, rng).tolist()) for _ in range(3000)]
    kinds, counts = np.unique(found, axis=0, return_counts=True)
    assert len(kinds) == 9  # derangements of four
    assert abs(counts / 3000 - 1 / 9).max() < 0.03


def test_wiring_errors():
    rng = np.random.default_rng(0)
    with pytest.raises(ng.InvalidValueError, match="twice"):
        rewire_degrees([0, 0], [1, 1], 2, rng)
    with pytest.raises(ng.InvalidValueError, match="swaps"):
        rewire_degrees([0], [1], 2, rng, swaps=-1)
    with pytest.raises(ng.InvalidValueError, match="7 different pairs"):
        random_pairs(3, 3, 7, rng, loops=False)
    with pytest.raises(ng.InvalidValueError, match="equal"):
        random_pairs(2, 3, 1, rng, loops=False)
    assert rewire_degrees([], [], 0, rng).tolist() == [] and random_pairs(0, 0, 0, rng)[0].tolist() == []


def test_random_pairs_are_uniform():
    rng = np.random.default_rng(0)
    total = np.zeros((4, 4))
    for _ in range(2000):
        u, v = random_pairs(4, 4, 3, rng, loops=False)
        assert len(set(zip(u, v, strict=True))) == 3
        total[u, v] += 1
    assert not np.diag(total).any()
    assert abs(total[~np.eye(4, dtype=bool)] / 2000 - 3 / 12).max() < 0.04
