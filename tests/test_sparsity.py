"""Pruning, rewiring and recipes: worked examples, exact counts, and what must stay as it was."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import neurograph as ng
from neurograph.sparsity.select import lowest, lowest_in_regions


def chain(weights, **options):
    """A 2-3-2 network with 12 connections of the given weights, inputs first; ids 0 to 6."""
    net = ng.Network(seed=0, **options)
    net.add_inputs(2, name="inputs")
    net.add_neurons(3, name="hidden")
    net.add_outputs(2, name="outputs")
    net.add_connections([0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4], [2, 3, 4, 2, 3, 4, 5, 6, 5, 6, 5, 6], weight=weights)
    return net


def pairs(net):
    return set(zip(net.connections.source.tolist(), net.connections.target.tolist(), strict=True))


# -- exact top-k -------------------------------------------------------------------------------------------------------


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("scores", "ids", "count", "expected"),
    [
        # score 5 2 9 1, two lowest: 1 (index 3) and 2 (index 1)
        ([5, 2, 9, 1], [0, 1, 2, 3], 2, [1, 3]),
        # five scores of 1, ids 8 3 5 1 9: the two smallest ids are 1 (index 3) and 3 (index 1)
        ([1, 1, 1, 1, 1], [8, 3, 5, 1, 9], 2, [1, 3]),
        # 0 is taken first (index 2), then of the three 4s the one with id 2 (index 4)
        ([4, 7, 0, 4, 4], [6, 5, 4, 3, 2], 2, [2, 4]),
        # -0.0 and 0.0 are equal, so the id decides
        ([0.0, -0.0], [1, 2], 1, [0]),
        ([3, 1], [0, 1], 0, []),
        ([3, 1], [0, 1], 7, [0, 1]),
        ([], [], 3, []),
    ],
)
def test_lowest_by_hand(scores, ids, count, expected):
    assert lowest(np.array(scores, float), np.array(ids, int), count).tolist() == expected


@pytest.mark.nojit
def test_lowest_in_regions_by_hand():
    # region 0 holds 5 3 3 (ids 2 7 4), take 2: 3 with id 4, 3 with id 7; region 1 holds 0 1, take 1: 0;
    # region 2 holds -8, take 0; region 3 is empty, take 2: nothing.
    scores = np.array([5.0, 0.0, 3.0, -8.0, 3.0, 1.0])
    regions = np.array([0, 1, 0, 2, 0, 1])
    ids = np.array([2, 3, 7, 5, 4, 6])
    assert lowest_in_regions(scores, ids, regions, np.array([2, 1, 0, 2])).tolist() == [1, 2, 4]


scored = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=40)


@pytest.mark.nojit
@given(scored, st.lists(st.integers(0, 12), min_size=4, max_size=4), st.randoms(use_true_random=False))
def test_selection_equals_sorting(rows, counts, random):
    """Few distinct scores, so ties are everywhere; the truth is Python's sort by (score, id)."""
    scores, regions = (np.array([row[i] for row in rows], dtype) for i, dtype in ((0, float), (1, int)))
    ids = np.array(random.sample(range(100), len(rows)), int)
    expected = [
        index
        for region, count in enumerate(counts)
        for _, _, index in sorted((scores[i], ids[i], i) for i in range(len(rows)) if regions[i] == region)[:count]
    ]
    assert lowest_in_regions(scores, ids, regions, np.array(counts)).tolist() == sorted(expected)
    everywhere = sorted((scores[i], ids[i], i) for i in range(len(rows)))[: counts[0]]
    assert lowest(scores, ids, counts[0]).tolist() == sorted(index for _, _, index in everywhere)


# -- prune_lowest ------------------------------------------------------------------------------------------------------

#           0>2   0>3  0>4   1>2  1>3  1>4  2>5  2>6   3>5  3>6   4>5  4>6
WEIGHTS = [0.1, -0.2, 0.9, -0.1, 0.8, 0.7, 2.0, 3.0, -0.5, 4.0, 0.05, 5.0]


@pytest.mark.filterwarnings("ignore::neurograph.EmptyLayerWarning")
@pytest.mark.parametrize(
    ("options", "gone"),
    [
        # 3 of 12: 0.05, then 0.1 and -0.1
        ({"fraction": 0.25}, {(4, 5), (0, 2), (1, 2)}),
        # 1 of 12, and without 0.05 the oldest of the two 0.1
        ({"count": 2}, {(4, 5), (0, 2)}),
        # 2 of 6 in each pair of layers: 0.1 and -0.1, 0.05 and -0.5
        ({"fraction": 1 / 3, "scope": "local"}, {(0, 2), (1, 2), (4, 5), (3, 5)}),
        # 1 of each fan-in: 2 has 0.1 -0.1 (the older goes), 3 -0.2 0.8, 4 0.9 0.7, 5 2 -0.5 0.05, 6 3 4 5
        ({"count": 1, "scope": "neuron"}, {(0, 2), (0, 3), (1, 4), (4, 5), (2, 6)}),
        # round(0.3 * 2) = 1 of each fan-in of two, round(0.3 * 3) = 1 of each fan-in of three
        ({"fraction": 0.3, "scope": "neuron"}, {(0, 2), (0, 3), (1, 4), (4, 5), (2, 6)}),
        # squares of side 2. Inputs to hidden: {0,1} x {2,3} sums to 0.1+0.2+0.1+0.8 = 1.2, {0,1} x {4} to 1.6.
        # Hidden to outputs: {2,3} x {5,6} sums to 9.5, {4} x {5,6} to 5.05. Half of the 4 squares: the first two.
        ({"fraction": 0.5, "scope": "block", "block": 2}, {(s, t) for s in (0, 1) for t in (2, 3, 4)}),
        # by an array: the scores count down, so the last three ids go
        ({"score": np.arange(12)[::-1], "count": 3}, {(3, 6), (4, 5), (4, 6)}),
        # by a function: the largest weights first
        ({"score": lambda conns, rng: -conns.weight, "count": 2}, {(4, 6), (3, 6)}),
        ({"fraction": 0}, set()),
    ],
)
def test_prune_lowest_by_hand(options, gone):
    net = chain(WEIGHTS)
    before = pairs(net)
    assert ng.sparsity.prune_lowest(net, **options, allow_disconnected=True) == len(gone)
    assert before - pairs(net) == gone


def test_gradient_and_saliency_by_hand():
    net = chain(WEIGHTS)
    # |g| is smallest at 4>6; |w g| at 4>5: 0.05 * 0.5 = 0.025 against 0.1 * 1 and 5 * 0.1 = 0.5
    net.connections.grad = np.array([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -0.5, -0.1])
    conns = net.connections
    assert ng.sparsity.SCORES["gradient"](conns, None).argmin() == 11
    assert ng.sparsity.SCORES["saliency"](conns, None).argmin() == 10
    ng.sparsity.prune_lowest(net, "gradient", count=1)
    ng.sparsity.prune_lowest(net, "saliency", count=1)
    assert not net.has_connection(4, 6) and not net.has_connection(4, 5)


@pytest.mark.filterwarnings("ignore::neurograph.EmptyLayerWarning")
@given(st.floats(0, 1), st.sampled_from(["global", "local", "neuron"]), st.sampled_from(["magnitude", "random"]))
def test_counts_are_exact(fraction, scope, score):
    net = ng.topologies.layered([7, 11, 5], density=0.7, seed=3)
    conns = net.connections
    key = {
        "global": np.zeros(len(conns)),
        "local": conns.target_home,
        "neuron": conns.target,
    }[scope]
    sizes = np.unique(key, return_counts=True)[1].tolist()
    expected = sum(round(fraction * size) for size in sizes)
    n = net.n_connections
    assert ng.sparsity.prune_lowest(net, score, fraction, scope, allow_disconnected=True) == expected
    assert net.n_connections == n - expected


def test_repeated_scores_do_not_change_the_count():
    net = ng.topologies.layered([20, 30, 10], weight=0.5)
    ids = net.connections.id
    assert ng.sparsity.prune_lowest(net, fraction=0.3) == 270
    assert net.connections.id.tolist() == ids[270:].tolist()


def test_random_score_follows_the_seed():
    survivors = []
    for seed in (1, 1, 2):
        net = ng.topologies.layered([10, 10], seed=seed, weight=1.0)
        ng.sparsity.prune_lowest(net, "random", 0.5)
        survivors.append(pairs(net))
    assert survivors[0] == survivors[1] != survivors[2]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"score": "magnitud"}, ng.UnknownNameError, "magnitude, gradient, saliency, random"),
        ({"scope": "layer"}, ng.UnknownNameError, "global, local, neuron, block"),
        ({"fraction": 1.5}, ng.InvalidValueError, "1.5"),
        ({"fraction": float("nan")}, ng.InvalidValueError, "nan"),
        ({"fraction": "half"}, ng.InvalidValueError, "half"),
        ({"count": -1}, ng.InvalidValueError, "-1"),
        ({"scope": "block", "block": 0}, ng.InvalidValueError, "block is 0"),
        ({"score": [1.0, 2.0]}, ng.InvalidValueError, r"\(2,\)"),
        ({"score": [1.0] * 11 + [np.nan]}, ng.InvalidValueError, "index 11"),
        ({"score": ["a"] * 12}, ng.InvalidValueError, "real numbers"),
    ],
)
def test_bad_arguments_change_nothing(options, error, words):
    net = chain(WEIGHTS)
    with pytest.raises(error, match=words):
        ng.sparsity.prune_lowest(net, **options)
    assert net.n_connections == 12


def test_network_without_connections():
    net = ng.Network()
    net.add_inputs(2)
    net.add_outputs(2)
    for scope in ng.sparsity.SCOPES:
        assert ng.sparsity.prune_lowest(net, scope=scope) == 0
    assert ng.sparsity.SET(every=1).step(net, 1) == (0, 0)


# -- rewiring ----------------------------------------------------------------------------------------------------------


def trained(optimizer=None, steps=3, **options):
    """A sparse network after a few updates, with the data."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(32, 8)), rng.integers(0, 4, 32)
    net = ng.topologies.layered([8, 20, 12, 4], density=0.4, seed=1, dtype="float64", **options)
    optimizer = optimizer or ng.optim.Adam(lr=0.01)
    for _ in range(steps):
        net.backward(X, Y, loss="cross_entropy")
        optimizer.step(net)
    return net, X, Y


def by_id(net, name):
    values = net.connections.weight if name == "weight" else net.connections.state(name)
    return dict(zip(net.connections.id.tolist(), values.tolist(), strict=True))


@pytest.mark.parametrize("scope", ["local", "global"])
def test_rewiring_keeps_the_number_of_connections(scope):
    net, X, Y = trained()
    before, n = pairs(net), net.n_connections
    rewire = ng.sparsity.Rewire(fraction=0.3, every=10, scope=scope)
    optimizer = ng.optim.Adam(lr=0.01)
    for step in range(1, 51):
        net.backward(X, Y, loss="cross_entropy")
        optimizer.step(net)
        rewired = rewire.step(net, step)
        assert rewired == ((0, 0) if step % 10 else (rewired.removed, rewired.removed))
        assert net.n_connections == n
    assert len(before - pairs(net)) > n // 4


def test_set_keeps_the_density_of_every_pair_of_layers():
    net, _, _ = trained()

    def densities():
        return np.bincount(net.connections.target_home)

    before = densities()
    expected = sum(round(0.3 * size) for size in before[before > 0].tolist())
    assert ng.sparsity.SET(fraction=0.3, every=5).step(net, 5) == (expected, expected)
    assert densities().tolist() == before.tolist()


def test_rewiring_drops_the_smallest_weights():
    net = chain(WEIGHTS)
    before = by_id(net, "weight")
    ng.sparsity.Rewire(fraction=0.25, every=1, scope="global").step(net, 1)
    gone = before.keys() - by_id(net, "weight").keys()
    assert sorted(before[i] for i in gone) == pytest.approx([-0.1, 0.05, 0.1])


def test_survivors_keep_weights_and_optimizer_state_and_new_ones_start_from_zero():
    net, _, _ = trained()
    names = ("adam_m", "adam_v")
    before = {name: by_id(net, name) for name in ("weight", *names)}
    ng.sparsity.SET(fraction=0.5, every=1).step(net, 1)
    survivors = before["weight"].keys() & by_id(net, "weight").keys()
    grown = by_id(net, "weight").keys() - survivors
    assert survivors and grown
    for name, old in before.items():
        assert any(old.values())
        new = by_id(net, name)
        assert {i: new[i] for i in survivors} == {i: old[i] for i in survivors}
        assert {new[i] for i in grown} == {0.0}


def test_growing_zero_weights_changes_no_output():
    net, X, _ = trained()
    doomed = ng.sparsity.prune.choose(net, net.connections, "magnitude", 0.5, "local")
    twin, _, _ = trained()
    twin.prune(twin.connections[doomed])
    ng.sparsity.SET(fraction=0.5, every=1).step(net, 1)
    np.testing.assert_allclose(net.predict(X), twin.predict(X), rtol=1e-12, atol=1e-14)


def test_new_weights_by_an_initializer():
    net, _, _ = trained()
    before = net.connections.id
    ng.sparsity.SET(fraction=0.5, every=1, weight="he").step(net, 1)
    grown = net.connections[~np.isin(net.connections.id, before)]
    assert len(grown) and (grown.weight != 0).all()


def test_fraction_may_be_a_schedule_and_start_and_stop_bound_it():
    net, _, _ = trained()
    seen = []

    def fraction(step):
        seen.append(step)
        return 0.1

    rewire = ng.sparsity.SET(fraction=fraction, every=10, start=20, stop=50)
    for step in range(61):
        rewire.step(net, step)
    assert seen == [20, 30, 40]


def test_rewiring_is_reproducible():
    def run():
        net, _, _ = trained()
        ng.sparsity.SET(every=1).step(net, 1)
        return pairs(net)

    assert run() == run()


def test_growing_by_a_function():
    net = chain(WEIGHTS)
    net.prune(net.connection(0, 2))

    def first_free(net, sources, targets, count, rng):
        free = [(s, t) for s in sources.ids for t in targets.ids if not net.has_connection(s, t)]
        return net.add_connections(*zip(*free[:count], strict=True), weight=1.0)

    rewired = ng.sparsity.Rewire(grow=first_free, fraction=0.2, every=1, weight=0.25).step(net, 1)
    # 1 of 5 and 1 of 6 connections go: 1>2 (0.1) and 4>5 (0.05); free then are 0>2, the first, and 4>5
    assert rewired == (2, 2)
    assert net.connection(0, 2).weight == net.connection(4, 5).weight == 0.25
    assert not net.has_connection(1, 2)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"drop": "size"}, ng.UnknownNameError, "magnitude"),
        ({"grow": "gradiant"}, ng.UnknownNameError, "random"),
        ({"scope": "neuron"}, ng.UnknownNameError, "local, global"),
        ({"fraction": -0.1}, ng.InvalidValueError, "-0.1"),
        ({"every": 0}, ng.InvalidValueError, "every is 0"),
        ({"stop": 1.5}, ng.InvalidValueError, "stop is 1.5"),
    ],
)
def test_rewire_refuses_bad_arguments(options, error, words):
    with pytest.raises(error, match=words):
        ng.sparsity.Rewire(**options)


def test_a_schedule_out_of_range_changes_nothing():
    net = chain(WEIGHTS)
    with pytest.raises(ng.InvalidValueError, match="1.2"):
        ng.sparsity.SET(fraction=lambda step: 1.2, every=1).step(net, 1)
    assert pairs(net) == pairs(chain(WEIGHTS))


# -- gradual magnitude -------------------------------------------------------------------------------------------------


def test_cubic_schedule_by_hand():
    # s_t = s_f + (s_i - s_f) (1 - (t - t0) / (n dt))^3 with s_i 0.1, s_f 0.9, t0 100, n dt 400:
    # t 100: 0.1;  t 200: 0.9 - 0.8 * 0.75^3 = 0.5625;  t 300: 0.9 - 0.8 / 8 = 0.8;  t 400: 0.9 - 0.8 / 64 = 0.8875
    recipe = ng.sparsity.GradualMagnitude(sparsity=0.9, start=100, stop=500, initial=0.1)
    expected = [0.1, 0.5625, 0.8, 0.8875, 0.9]
    assert [recipe.target(step) for step in (100, 200, 300, 400, 500)] == pytest.approx(expected)


def test_gradual_magnitude_is_exact():
    net = ng.topologies.layered([40, 50], seed=0)  # 2000 connections
    recipe = ng.sparsity.GradualMagnitude(
        sparsity=0.9, start=100, stop=500, every=100, initial=0.1, allow_disconnected=True
    )
    left = {}
    for step in range(601):
        recipe.step(net, step)
        left[step] = net.n_connections
    # 2000 (1 - s) at the steps of the test above
    assert [left[s] for s in (0, 99, 100, 199, 200, 300, 400, 499, 500, 600)] == [
        2000, 2000, 1800, 1800, 875, 400, 225, 225, 200, 200,
    ]  # fmt: skip


def test_gradual_magnitude_keeps_the_largest_weights():
    net = ng.topologies.layered([20, 20], seed=0)
    largest = np.sort(abs(net.connections.weight))[-80:]
    recipe = ng.sparsity.GradualMagnitude(sparsity=0.8, start=0, stop=9, every=2)
    for step in range(10):  # 9 is no multiple of 2: the last pruning takes place all the same
        recipe.step(net, step)
    assert np.sort(abs(net.connections.weight)).tolist() == largest.tolist()


def test_gradual_magnitude_local_prunes_each_pair_of_layers_alike():
    net = ng.topologies.layered([20, 30, 10], seed=0)
    net.groups["outputs"].incoming.weight *= 100
    recipe = ng.sparsity.GradualMagnitude(sparsity=0.5, start=0, stop=40, every=10, scope="local")
    for step in range(41):
        recipe.step(net, step)
    _, sizes = np.unique(net.connections.target_home, return_counts=True)
    assert np.abs(sizes - [300, 150]).max() <= 1


def test_gradual_magnitude_counts_from_the_beginning_after_loading(tmp_path):
    net = ng.topologies.layered([20, 20], seed=0)
    recipe = ng.sparsity.GradualMagnitude(sparsity=0.8, start=0, stop=10, every=5)
    for step in range(6):
        recipe.step(net, step)
    net.save(tmp_path / "half.ng")
    net = ng.load(tmp_path / "half.ng")
    recipe.step(net, 10)
    assert net.n_connections == 80


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sparsity": 1.1}, "sparsity is 1.1"),
        ({"initial": 0.95}, "initial"),
        ({"start": 10, "stop": 10}, "start has to come first"),
        ({"start": -1}, "start is -1"),
        ({"every": 0}, "every"),
        ({"scope": "block"}, "global, local, neuron"),
        ({"score": "size"}, "magnitude"),
    ],
)
def test_gradual_magnitude_refuses_bad_arguments(options, words):
    with pytest.raises(ng.InvalidValueError, match=words):
        ng.sparsity.GradualMagnitude(**{"sparsity": 0.9, "start": 0, "stop": 100} | options)


# -- in the Trainer ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rewire", "left"),
    [
        (ng.sparsity.SET(every=4), 1.0),
        (ng.sparsity.GradualMagnitude(sparsity=0.75, start=4, stop=20, every=4, allow_disconnected=True), 0.25),
    ],
)
def test_trainer_rewires(rewire, left):
    net, X, Y = trained(steps=0)
    n, before = net.n_connections, pairs(net)
    trainer = ng.Trainer(net, loss="cross_entropy", optimizer=ng.optim.Adam(lr=0.01), rewire=rewire)
    history = trainer.fit(X, Y, epochs=6, batch_size=8, progress=False)  # 24 steps
    assert net.n_connections == n - round((1 - left) * n) == history["n_connections"][-1]
    assert pairs(net) != before
