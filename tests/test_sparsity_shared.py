"""Pruning and growing where connections share parameters, are frozen, or have a delay: exact counts by hand."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import neurograph as ng

from .test_time import naive_truth


def chain(weights, **options):
    """A 2-3-2 network with 12 connections, ids 0 to 11: 0>2 0>3 0>4 1>2 1>3 1>4 2>5 2>6 3>5 3>6 4>5 4>6."""
    net = ng.Network(seed=0, dtype="float64", **options)
    net.add_inputs(2)
    net.add_neurons(3)
    net.add_outputs(2)
    net.add_connections([0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4], [2, 3, 4, 2, 3, 4, 5, 6, 5, 6, 5, 6], weight=weights)
    return net


def shared():
    """Weights a a b b 3 -3 | c d c d 6 7, where a=1, b=-2, c=4, d=5: eight parameters."""
    net = chain([1, 1, -2, -2, 3, -3, 4, 5, 4, 5, 6, 7])
    conns = net.connections
    net.tie(conns[[0, 1, 2, 3]], ["a", "a", "b", "b"])
    net.tie(conns[[6, 7, 8, 9]], ["c", "d", "c", "d"])
    return net


def removed(net, **options):
    """Ids that a call of `prune_lowest` removes; the call says how many they are."""
    before = net.connections.id
    count = ng.sparsity.prune_lowest(net, **options, allow_disconnected=True)
    gone = np.setdiff1d(before, net.connections.id)
    assert count == len(gone)
    net.graph.check()
    return set(gone.tolist())


def ends(net):
    """(source, target, delay) of every connection."""
    conns = net.connections
    return set(zip(conns.source.tolist(), conns.target.tolist(), conns.delay.tolist(), strict=True))


# -- per parameter -----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::neurograph.EmptyLayerWarning")
@pytest.mark.parametrize(
    ("options", "gone"),
    [
        # 2 of 8 parameters: a and b
        ({"fraction": 0.25}, {0, 1, 2, 3}),
        ({"count": 1}, {0, 1}),
        # a, b, and of 3 and -3 the one of the lower number, which is the id of a connection that does not share
        ({"count": 3}, {0, 1, 2, 3, 4}),
        # of each pair of layers with four parameters two: a b, c d
        ({"fraction": 0.5, "scope": "local"}, {0, 1, 2, 3, 6, 7, 8, 9}),
        ({"count": 1, "scope": "local"}, {0, 1, 6, 8}),
        ({"count": 100}, set(range(12))),
        ({"fraction": 0.0}, set()),
        # a function sees one connection for each parameter, the oldest, by ascending numbers
        ({"score": lambda conns, rng: -np.abs(conns.weight), "count": 3}, {10, 11, 7, 9}),
        # an array has a score for each connection, alike where they share
        ({"score": [9, 9, 8, 8, 7, 6, 5, 4, 5, 4, 3, 2], "count": 3}, {10, 11, 7, 9}),
    ],
)
def test_per_parameter_by_hand(options, gone):
    assert removed(shared(), per="parameter", **options) == gone


def test_a_parameter_belongs_to_the_pair_of_homes_of_its_oldest_connection():
    net = shared()
    net.tie(net.connections[[5, 10]], ["e", "e"], average=True)  # 1.5, between inputs and hidden since 5 is there
    # Regions: a 1, b 2, 3, e 1.5 and c 4, d 5, 7. Two of each.
    assert removed(net, per="parameter", scope="local", count=2) == {0, 1, 5, 10, 6, 7, 8, 9}


def test_per_connection_counts_each_by_itself():
    """The same network: 3 of 12 connections are both of a and the older of b."""
    net = shared()
    assert removed(net, fraction=0.25) == {0, 1, 2}
    assert net.n_parameters == 7 + 5 and net.connections.weight[0] == -2


def test_own_contributions_and_sums_rank_differently():
    """Two connections of a parameter whose gradients cancel: the parameter hardly matters, each connection does."""
    for score in ("gradient", "saliency"):
        for per, gone in (("connection", {2}), ("parameter", {0, 1})):
            net = ng.Network(dtype="float64")
            conns = net.connect(net.add_inputs(3), net.add_outputs(1), weight=0.5)
            net.tie(conns[:2], [0, 0])
            net.backward([[1.0, -0.9, 0.2]], [[1.0]])
            own = conns.own_grad
            np.testing.assert_allclose(conns.grad, [own[0] + own[1]] * 2 + [own[2]])
            # |own| 1 : 0.9 : 0.2, and 0.1 for the first two together
            assert removed(net, score=score, count=1, per=per) == gone


def test_random_draws_one_number_for_a_parameter():
    net, rng = shared(), np.random.default_rng(0)
    net.rng = np.random.default_rng(0)
    ng.sparsity.prune_lowest(net, "random", count=1, per="parameter")
    draws = rng.random(8)  # by the number of the parameter: 3, -3, 6, 7, a, b, c, d
    groups = [{4}, {5}, {10}, {11}, {0, 1}, {2, 3}, {6, 8}, {7, 9}]
    assert set(range(12)) - set(net.connections.id.tolist()) == groups[draws.argmin()]
    assert net.rng.random() == rng.random()


@given(
    st.floats(0, 1),
    st.sampled_from(["global", "local"]),
    st.sampled_from(["magnitude", "random"]),
    st.integers(1, 30),
    st.integers(0, 4),
)
def test_counts_of_parameters_are_exact(fraction, scope, score, labels, seed):
    net = ng.topologies.layered([6, 8, 5], density=0.7, seed=3)
    rng = np.random.default_rng(seed)
    conns = net.connections
    some = conns[rng.random(len(conns)) < 0.7]
    net.tie(some, rng.integers(0, labels, len(some)), average=True)
    conns[rng.random(len(conns)) < 0.2].frozen = True
    oldest = {}
    for number, home, frozen in zip(conns.parameter.tolist(), conns.target_home.tolist(), conns.frozen, strict=True):
        if not frozen:
            oldest.setdefault(number, home if scope == "local" else 0)
    homes = list(oldest.values())
    expected = sum(round(fraction * homes.count(home)) for home in set(homes))
    ids, before, weights = conns.id, conns.parameter, conns.weight
    ng.sparsity.prune_lowest(net, score, fraction, scope, per="parameter", allow_disconnected=True)
    left = np.isin(ids, net.connections.id)
    assert len(np.unique(before)) - len(np.unique(before[left])) == expected
    assert not np.isin(before[~left], before[left]).any()  # all connections of a parameter or none
    np.testing.assert_array_equal(net.connections.weight, weights[left])


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"per": "neuron"}, ng.UnknownNameError, "connection, parameter"),
        (
            {"per": "parameter", "scope": "neuron"},
            ng.InvalidValueError,
            'scope "global" or "local", or per="connection"',
        ),
        (
            {"per": "parameter", "scope": "block"},
            ng.InvalidValueError,
            'scope "global" or "local", or per="connection"',
        ),
        ({"per": "parameter", "score": np.arange(12)}, ng.InvalidValueError, r"has the scores 0.0 and 1.0"),
        ({"per": "parameter", "score": np.arange(8)}, ng.InvalidValueError, r"\(8,\)"),
        ({"per": "parameter", "score": lambda conns, rng: np.ones(12)}, ng.InvalidValueError, r"\(12,\).*8 conn"),
        ({"per": "parameter", "fraction": 2}, ng.InvalidValueError, "fraction is 2"),
        ({"per": "parameter", "score": "magnitud"}, ng.UnknownNameError, "magnitude, gradient"),
    ],
)
def test_bad_arguments_change_nothing(options, error, words):
    net = shared()
    with pytest.raises(error, match=words):
        ng.sparsity.prune_lowest(net, **options)
    assert net.n_connections == 12


def test_gradual_magnitude_counts_parameters(tmp_path):
    net = ng.topologies.layered([20, 30], seed=0)
    net.tie(net.connections, np.arange(600) % 200, average=True)
    net.connections[:10].frozen = True  # ten parameters, of thirty connections, that neither go nor count
    largest = np.sort(np.unique(np.abs(net.connections.weight[10:200])))[-19:]
    recipe = ng.sparsity.GradualMagnitude(
        sparsity=0.9, start=0, stop=10, every=5, per="parameter", allow_disconnected=True
    )
    for step in range(6):
        recipe.step(net, step)
    net.save(tmp_path / "half.ng")
    net = ng.load(tmp_path / "half.ng")
    recipe.step(net, 10)
    # 190 - round(0.9 * 190) = 19 parameters are left, of three connections each, and the frozen ones
    assert net.n_connections == 19 * 3 + 30 and net.n_parameters == 19 + 10 + 30
    loose = net.connections[~net.connections.frozen]
    assert np.sort(np.unique(np.abs(loose.weight))).tolist() == largest.tolist()


def test_gradual_magnitude_refuses_regions_without_parameters():
    with pytest.raises(ng.InvalidValueError, match='per="connection"'):
        ng.sparsity.GradualMagnitude(sparsity=0.5, start=0, stop=10, scope="neuron", per="parameter")
    with pytest.raises(ng.UnknownNameError, match="connection, parameter"):
        ng.sparsity.GradualMagnitude(sparsity=0.5, start=0, stop=10, per="weight")


def test_gradual_magnitude_of_parameters_layer_by_layer():
    net = ng.topologies.layered([20, 30, 10], seed=0)
    net.tie(net.connections, np.concatenate([np.arange(600) % 100, 100 + np.arange(300) % 60]), average=True)
    net.groups["outputs"].incoming.weight *= 100
    recipe = ng.sparsity.GradualMagnitude(sparsity=0.5, start=0, stop=40, every=10, scope="local", per="parameter")
    for step in range(41):
        recipe.step(net, step)
    conns = net.connections
    left = [len(np.unique(conns.parameter[conns.target_home == home])) for home in (1, 2)]
    assert np.abs(np.array(left) - [50, 30]).max() <= 1 and sum(left) == 80


# -- frozen connections ------------------------------------------------------------------------------------------------

#           0>2   0>3  0>4   1>2  1>3  1>4  2>5  2>6   3>5  3>6   4>5  4>6
WEIGHTS = [0.1, -0.2, 0.9, -0.1, 0.8, 0.7, 2.0, 3.0, -0.5, 4.0, 0.05, 5.0]


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        # 0.05 and 0.1 are frozen. 3 of the 10 others: -0.1, -0.2, -0.5
        ({"fraction": 0.3}, {3, 1, 8}),
        ({"count": 1}, {3}),
        # 5 in each pair of layers: round(0.4 * 5) = 2
        ({"fraction": 0.4, "scope": "local"}, {3, 1, 8, 6}),
        # 2: -0.1, 3: -0.2, 4: 0.7, 5: -0.5, 6: 3
        ({"count": 1, "scope": "neuron"}, {3, 1, 5, 8, 7}),
        # {0,1}x{2,3}: 0.2+0.1+0.8; {0,1}x{4}: 1.6; {2,3}x{5,6}: 9.5; {4}x{5,6}: 5
        ({"count": 1, "scope": "block", "block": 2}, {1, 3, 4}),
        # as if they were not frozen: 0.05, 0.1 and the older -0.1
        ({"count": 3, "frozen": True}, {10, 0, 3}),
        ({"count": 2, "frozen": True, "per": "parameter"}, {10, 0}),
        ({"count": 1, "per": "parameter"}, {3}),
        ({"fraction": 1.0}, set(range(12)) - {0, 10}),
        ({"score": [0] + [1] * 10 + [0.5], "count": 1}, {11}),
    ],
)
def test_frozen_connections_stay_and_are_not_counted(options, gone):
    net = chain(WEIGHTS)
    net.connections[[0, 10]].frozen = True
    assert removed(net, **options) == gone


def test_nothing_but_frozen_connections():
    net = chain(WEIGHTS)
    net.connections.frozen = True
    for scope in ng.sparsity.SCOPES:
        assert removed(net, fraction=1.0, scope=scope) == set()
    assert removed(net, fraction=1.0, per="parameter") == set()
    assert ng.sparsity.SET(fraction=1.0, every=1).step(net, 1) == (0, 0)
    assert net.prune(net.connections) == 12  # asked for by itself


def test_recipes_leave_frozen_connections():
    net = ng.topologies.layered([20, 30], seed=0)
    conns = net.connections
    conns[::3].frozen = True  # 200 of 600
    frozen = set(conns[::3].id.tolist())
    assert ng.sparsity.SET(fraction=0.5, every=1).step(net, 1) == (200, 200)
    assert frozen <= set(net.connections.id.tolist()) and net.connections.frozen.sum() == 200
    assert ng.sparsity.Rewire(fraction=1.0, every=1, scope="global").step(net, 1).removed == 400
    recipe = ng.sparsity.GradualMagnitude(sparsity=0.75, start=0, stop=10, every=5)
    for step in range(11):
        recipe.step(net, step)
    assert net.n_connections == 200 + 100 and frozen <= set(net.connections.id.tolist())


# -- delays ------------------------------------------------------------------------------------------------------------


def recurrent(seed=0, backend="cpu", dtype="float64"):
    """4 inputs, 12 tanh neurons and 2 outputs; loops with delays 1 and 2 beside a DAG among the hidden."""
    net = ng.Network(seed=seed, dtype=dtype, backend=backend)
    x, h, y = net.add_inputs(4), net.add_neurons(12, activation="tanh"), net.add_outputs(2)
    net.connect(x, h, density=0.5)
    net.connect(h, y, density=0.5)
    for delay in (0, 1, 2):
        net.connect(h, h, density=0.3, delay=delay)
    net.connect(y, h, density=0.25, delay=1)
    net.connect(x, h, density=0.25, delay=3)
    return net


def counts(net):
    """Connections by (source home, target home, delay)."""
    conns = net.connections
    keys = zip(conns.source_home.tolist(), conns.target_home.tolist(), conns.delay.tolist(), strict=True)
    found = {}
    for key in keys:
        found[key] = found.get(key, 0) + 1
    return found


def test_growing_with_a_delay():
    net = ng.Network(seed=0)
    x, h = net.add_inputs(3), net.add_neurons(4)
    first = net.grow(h, h, 6, delay=1)
    assert len(first) == 6 and set(first.delay.tolist()) == {1}
    assert len(net.grow(h, h, 100, delay=1)) == 10 and len(ends(net)) == 16  # all pairs, self loops among them
    assert len(net.grow(h, h, 100)) == 6  # without delay only a DAG
    assert len(net.grow(x | h, h, 5, delay=2, weight=0.5)) == 5
    assert net.grow(x, h, 0, delay=1).id.tolist() == []
    for delay in (-1, 2**15, 1.5, [1, 2]):
        with pytest.raises(ng.InvalidValueError, match="delay"):
            net.grow(x, h, 1, delay=delay)
    assert net.n_connections == 16 + 6 + 5
    net.graph.check()


@pytest.mark.parametrize("seed", range(3))
def test_rewiring_keeps_counts_by_homes_and_delay(seed, backend):
    net = recurrent(seed, backend)
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(4, 5, 4)), rng.normal(size=(4, 5, 2))
    before, start = counts(net), ends(net)
    assert {key[2] for key in before} == {0, 1, 2, 3}
    expected = sum(round(0.4 * n) for n in before.values())
    rewire, optimizer = ng.sparsity.SET(fraction=0.4, every=2), ng.optim.Adam(lr=0.01)
    for step in range(1, 13):
        net.backward(X, Y)
        optimizer.step(net)
        states = {name: by_id(net, name) for name in ("adam_m", "adam_v")} | {"weight": by_id(net, "weight")}
        done = rewire.step(net, step)
        assert done == ((0, 0) if step % 2 else (expected, expected))
        assert counts(net) == before and len(ends(net)) == net.n_connections
        net.graph.check()
        for name, old in states.items():
            new = by_id(net, name)
            assert {i: new[i] for i in new if i in old} == {i: old[i] for i in new if i in old}
            assert {new[i] for i in new if i not in old} <= {0.0}
    assert len(start - ends(net)) > len(start) // 5  # the same few go again and again: a new weight is small
    assert {delay for *_, delay in start - ends(net)} == {0, 1, 2, 3}
    outputs, weights, _ = naive_truth(net, X, Y)
    np.testing.assert_allclose(net.predict(X), outputs, rtol=1e-10, atol=1e-12)
    net.backward(X, Y, loss=lambda outputs, _: (0.0, Y.reshape(-1, 2)))
    np.testing.assert_allclose(net.connections.grad, weights, rtol=1e-9, atol=1e-11)


def by_id(net, name):
    """Weights, or a column of the optimizer, by the connection's id."""
    values = net.connections.weight if name == "weight" else net.connections.state(name)
    return dict(zip(net.connections.id.tolist(), values.tolist(), strict=True))


def test_rewiring_everywhere_keeps_counts_by_delay():
    net = recurrent(1)
    rewire = ng.sparsity.Rewire(fraction=0.5, every=1, scope="global")
    before, homes, n = np.bincount(net.connections.delay), counts(net), net.n_connections
    for step in range(1, 6):
        assert rewire.step(net, step) == (round(0.5 * n), round(0.5 * n))
        assert np.bincount(net.connections.delay).tolist() == before.tolist()
        assert len(ends(net)) == n
    assert counts(net) != homes
    net.graph.check()


def test_local_pruning_takes_its_share_of_every_delay():
    net = recurrent(2)
    before = counts(net)
    ng.sparsity.prune_lowest(net, fraction=0.5, scope="local")
    assert counts(net) == {key: n - round(0.5 * n) for key, n in before.items() if n > round(0.5 * n)}


def test_a_grown_connection_has_a_parameter_of_its_own():
    net = recurrent(3)
    net.tie(net.connections, np.arange(net.n_connections) % 5, average=True)
    net.tie(net.connections[:7], [0] * 7, average=True)
    shared_by = net.connections.parameter
    n, count = net.n_connections, len(np.unique(shared_by))
    done = ng.sparsity.SET(fraction=0.2, every=1).step(net, 1)
    grown = net.connections[-done.grown :]
    assert done.grown > 0 and net.n_connections == n
    assert grown.parameter.tolist() == grown.id.tolist() and not np.isin(grown.parameter, shared_by).any()
    assert len(np.unique(net.connections.parameter)) == count + done.grown
    net.graph.check()


def test_growing_by_a_function_that_takes_a_delay():
    net, seen = recurrent(4), []

    def backwards(net, sources, targets, count, rng, delay=0):
        seen.append(delay)
        free = [(s, t) for t in targets.ids for s in sources.ids[::-1] if s < t and not net.has_connection(s, t, delay)]
        return net.add_connections(*zip(*free[:count], strict=True), delay=delay)

    def without(net, sources, targets, count, rng):
        return net.grow(sources, targets, count, rng=rng)

    net.prune(net.connections[net.connections.source > net.connections.target])
    before = counts(net)
    ng.sparsity.Rewire(grow=backwards, fraction=0.3, every=1).step(net, 1)
    assert counts(net) == before and set(seen) == {0, 1, 2, 3}
    start = ends(net)
    with pytest.raises(ng.InvalidValueError, match="'without' has to grow connections with a delay"):
        ng.sparsity.Rewire(grow=without, fraction=0.3, every=1).step(net, 1)
    assert ends(net) == start
    net.prune(net.connections[net.connections.delay > 0])
    assert ng.sparsity.Rewire(grow=without, fraction=0.3, every=1).step(net, 1).grown > 0


def test_a_recurrent_network_learns_while_it_is_rewired():
    """It has to say which symbol it saw first, six steps ago, and a third of its loops is replaced every 25 updates."""
    net = ng.Network(seed=0)
    x, h = net.add_inputs(3), net.add_neurons(30, activation="tanh")
    y = net.add_outputs(3)
    net.connect(x, h)
    net.connect(h, h, density=0.3, delay=1)
    net.connect(h, y)
    start = ends(net)
    rng = np.random.default_rng(0)
    symbols = rng.integers(0, 3, (500, 6))
    X = np.eye(3, dtype=np.float32)[symbols]
    rewire = ng.sparsity.SET(fraction=0.3, every=25, stop=200)
    trainer = ng.Trainer(net, optimizer=ng.optim.Adam(lr=5e-3), rewire=rewire, seed=0)
    validation = X[400:], symbols[400:, 0]
    history = trainer.fit(X[:400], symbols[:400, 0], epochs=25, progress=False, validation_data=validation)
    assert history["n_connections"] == [len(start)] * 25
    gone = [delay for *_, delay in start - ends(net)]
    assert gone.count(1) > 0.25 * 270
    assert history["val_accuracy"][-1] > 0.95
