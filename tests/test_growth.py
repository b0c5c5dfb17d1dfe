"""Where connections grow: against the dense gradient, a dense momentum, and what was allowed."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neurograph as ng
from neurograph.sparsity.absent import Signals
from neurograph.sparsity.allowed import Allowed, blocks
from neurograph.sparsity.growth import largest_absent, split
from neurograph.sparsity.rewire import grow_gradient

GROW = ("random", "gradient", "momentum")


def skipping(seed=0, density=0.4, mean=False, **options):
    """Layers of which each feeds all that follow; random DAGs inside the hidden ones."""
    net = ng.Network(seed=seed, **{"dtype": "float64", **options})
    hidden = {"aggregation": ["sum", "mean", "sum"] * 3} if mean else {}
    layers = [net.add_inputs(6, name="x"), net.add_neurons(9, name="h", **hidden)]
    layers += [net.add_neurons(7, activation="tanh", name="g"), net.add_outputs(3, name="y")]
    for i, targets in enumerate(layers[1:], 1):
        for sources in layers[: i + 1]:
            net.connect(sources, targets, density=density)
    return net


def layers(seed=0, **options):
    return ng.topologies.layered([8, 20, 12, 4], density=0.4, seed=seed, **{"dtype": "float64", **options})


def data(net, batch=12, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(batch, net.n_inputs)), rng.normal(size=(batch, net.n_outputs))


def pairs(conns):
    return set(zip(conns.source.tolist(), conns.target.tolist(), strict=True))


def dense_gradient(net):
    """Of all pairs of ids, by NumPy; what averages is divided by the fan-in that it would have."""
    neurons = net.neurons
    gradient = neurons.output.astype(np.float64).T @ neurons.error.astype(np.float64)
    return gradient / np.where(neurons.aggregation == "mean", neurons.fan_in + 1, 1)


def closes_no_cycle(net, source, target):
    """By search: whether the source cannot be reached from the target."""
    reached, left = set(), [target]
    while left:
        neuron = left.pop()
        if neuron == source:
            return False
        if neuron not in reached:
            reached.add(neuron)
            left += net.neuron(neuron).successors.ids.tolist()
    return True


def is_acyclic(net):
    position = {id: i for i, ids in enumerate(net.schedule.generations) for id in ids.tolist()}
    return all(position[s] < position[t] for s, t in pairs(net.connections))


def best(gradient, candidates, count):
    """The truth: Python's sort by gradient, then target id, then source id."""
    order = sorted(candidates, key=lambda pair: (-abs(gradient[pair]), pair[1], pair[0]))
    return set(order[:count])


# -- which pairs -------------------------------------------------------------------------------------------------------


@pytest.mark.nojit
@pytest.mark.parametrize("seed", range(4))
def test_free_pairs_are_those_that_connect_takes(seed):
    net = skipping(seed)
    h, g = net.groups["h"], net.groups["g"]
    for sources, targets in ((net.neurons, net.neurons - net.inputs), (h, g), (g, h), (h, h), (net.inputs, h | g)):
        found = net.free_pairs(sources, targets)
        mask = found.mask(0, len(found.targets))
        t, s = np.nonzero(mask)
        free = set(zip(found.sources[s].tolist(), found.targets[t].tolist(), strict=True))
        twin = skipping(seed)
        new = twin.connect(sources.ids, targets.ids, density=1.0)
        assert free == pairs(new) and len(found) == len(free)
        assert all(closes_no_cycle(net, *pair) for pair in free)
        parts = [found.mask(i, i + 1)[0] for i in range(len(found.targets))]
        assert (np.array(parts).reshape(mask.shape) == mask).all()
    with pytest.raises(ng.InvalidValueError, match="is an input"):
        net.free_pairs(h, net.inputs)
    with pytest.raises(ng.InvalidValueError, match="delay is -1"):
        net.free_pairs(h, g, delay=-1)


@pytest.mark.nojit
def test_free_pairs_with_a_delay_are_all_that_have_none():
    net = skipping(1)
    h = net.groups["h"]
    some = net.connect(h, h, density=0.5, delay=2)
    found = net.free_pairs(h, h, delay=2)
    assert len(found) == 81 - len(some)
    assert len(net.free_pairs(h, h, delay=1)) == 81


RULES = {
    "groups": lambda net: [(net.groups["x"][:4], net.groups["h"]), (net.groups["h"], [20, 21])],
    "rule": lambda net: lambda source, target: (source + target) % 3 != 0,
    "initial": lambda net: "initial",
}


def permitted(net, name, before):
    """Whether a pair is allowed, said in another way."""
    if name == "groups":
        return lambda s, t: (s < 4 and 6 <= t < 15) or (6 <= s < 15 and t in (20, 21))
    if name == "rule":
        return lambda s, t: (s + t) % 3 != 0
    return lambda s, t: (s, t) in before


@pytest.mark.nojit
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("size", [1, 50, 2**18])
def test_blocks_hold_what_is_free_and_allowed(name, size, monkeypatch):
    monkeypatch.setattr("neurograph.sparsity.allowed.BLOCK", size)
    net = skipping(2)
    before = pairs(net.connections)
    allowed = Allowed(RULES[name](net))
    allowed.start(net)
    net.connections[::3].remove()
    says = permitted(net, name, before)
    everywhere = net.neurons, net.neurons - net.inputs
    free = {
        (int(source[s]), int(target[t]))
        for source, target, mask in blocks(net, *everywhere)
        for t, s in np.argwhere(mask)
    }
    found = [
        (int(source[s]), int(target[t]))
        for source, target, mask in blocks(net, *everywhere, allowed)
        for t, s in np.argwhere(mask)
    ]
    assert len(found) == len(set(found)) and set(found) == {pair for pair in free if says(*pair)}
    assert found


# -- the gradient of what is absent ------------------------------------------------------------------------------------


@pytest.mark.nojit
@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(0, 90), st.sampled_from([1, 30, 2**18]), st.booleans())
def test_gradient_growth_is_the_top_of_the_dense_gradient(seed, count, size, whole):
    """Whole numbers make many equal gradients, which the ids decide."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("neurograph.sparsity.allowed.BLOCK", size)
        net = skipping(seed % 7, mean=True, density=0.3)
        rng = np.random.default_rng(seed)
        X, Y = data(net, 5, seed)
        if whole:
            X, net.connections.weight = np.rint(X), np.rint(net.connections.weight)
        net.backward(X, Y)
        gradient = dense_gradient(net)
        if whole:
            gradient = gradient.astype(np.float64)
        h = net.neurons[rng.random(net.n_neurons) < 0.7]
        targets = h - net.inputs
        found = net.free_pairs(h, targets)
        free = [(int(found.sources[s]), int(found.targets[t])) for t, s in np.argwhere(found.mask(0, len(targets)))]
        source, target = largest_absent(net, h, targets, count, [(1.0, Signals.of(net))])
        chosen = list(zip(source.tolist(), target.tolist(), strict=True))
        assert len(chosen) == len(set(chosen)) == min(count, len(free)) and set(chosen) <= set(free)
        assert [(t, s) for s, t in chosen] == sorted((t, s) for s, t in chosen)
        left = set(free) - set(chosen)
        if chosen and left:  # to rounding
            lowest = min(abs(gradient[pair]) for pair in chosen)
            assert max(abs(gradient[pair]) for pair in left) <= lowest * (1 + 1e-12) + 1e-14
        if not whole:
            assert set(chosen) == best(np.where(np.abs(gradient) < 1e-14, 0, gradient), free, count)


@pytest.mark.nojit
def test_equal_gradients_are_decided_by_ids():
    net = ng.topologies.layered([4, 3], density=0.0)
    net.backward([[1.0, 2.0, 2.0, 2.0]], [[1.0, 1.0, 5.0]])
    # |gradient|: source 0 half of the others; target 6 five times targets 4 and 5
    new = grow_gradient(net, net.inputs, net.outputs, 6)
    assert list(zip(new.source.tolist(), new.target.tolist(), strict=True)) == [
        (1, 4), (2, 4), (0, 6), (1, 6), (2, 6), (3, 6),
    ]  # fmt: skip
    assert (new.weight == 0).all()


def test_gradient_growth_agrees_with_torch():
    torch = pytest.importorskip("torch")
    net = ng.topologies.layered([12, 16, 5], density=0.3, seed=3, activation="tanh", dtype="float64")
    X, Y = data(net, 20, 4)
    net.backward(X, Y)
    matrices = []
    for sources, targets in ((net.inputs, net.groups["hidden 1"]), (net.groups["hidden 1"], net.outputs)):
        matrix = np.zeros((len(sources), len(targets)))
        conns = targets.incoming
        matrix[conns.source - sources.ids[0], conns.target - targets.ids[0]] = conns.weight
        matrices.append(torch.tensor(matrix, requires_grad=True))
    hidden = torch.tanh(torch.tensor(X) @ matrices[0])
    torch.nn.functional.mse_loss(hidden @ matrices[1], torch.tensor(Y)).backward()
    for matrix, sources, targets, count in (
        (matrices[0], net.inputs, net.groups["hidden 1"], 40),
        (matrices[1], net.groups["hidden 1"], net.outputs, 25),
    ):
        score = np.where(matrix.detach().numpy() == 0, np.abs(matrix.grad.numpy()), -1).ravel()
        top = np.argsort(-score, kind="stable")[:count]
        expected = set(
            zip(sources.ids[top // len(targets)].tolist(), targets.ids[top % len(targets)].tolist(), strict=True)
        )
        source, target = largest_absent(net, sources, targets, count, [(1.0, Signals.of(net))])
        assert set(zip(source.tolist(), target.tolist(), strict=True)) == expected


def test_memory_does_not_grow_with_the_pairs():
    net = ng.Network(seed=0)
    x, y = net.add_inputs(4000), net.add_outputs(4000)
    net.connect(x, y, density=0.001)
    rng = np.random.default_rng(0)
    net.backward(rng.random((8, 4000), np.float32), rng.random((8, 4000), np.float32))
    signals = [(1.0, Signals.of(net))]
    largest_absent(net, x[:2], y[:2], 1, signals)  # compiled before memory is counted
    for allowed in (None, Allowed(lambda source, target: (source + target) % 2 == 0)):
        tracemalloc.start()
        source, target = largest_absent(net, x, y, 10_000, signals, allowed)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(source) == 10_000 and peak < 64e6 / 2  # all of them are 64 MB of floats
    score = np.abs(net.inputs.output.T @ net.outputs.error)
    assert np.abs(score[source, target - 4000]).min() >= np.quantile(score[:100], 0.9)


# -- rewiring by it ----------------------------------------------------------------------------------------------------


def train(net, rewire, steps, check=lambda step: None, optimizer=None):
    X, Y = data(net, 16)
    optimizer = optimizer or ng.optim.Adam(lr=0.01)
    done = []
    for step in range(1, steps + 1):
        rewire.before_backward(net, step)
        net.backward(X + 0.1 * step, Y)
        rewire.before_update(net, step)
        optimizer.step(net)
        check(step)
        done.append(rewire.step(net, step))
    return done


@pytest.mark.parametrize("make", [skipping, layers])
@pytest.mark.parametrize("grow", GROW)
@pytest.mark.parametrize("scope", ["local", "global"])
def test_counts_are_exact_and_survivors_keep_their_state(make, grow, scope, backend):
    net = make(backend=backend)
    n, homes = net.n_connections, np.bincount(net.connections.target_home * 8 + net.connections.source_home)
    rewire = ng.sparsity.Rewire(grow=grow, fraction=0.3, every=2, scope=scope)
    states = {}

    def remember(step):
        conns = net.connections
        states.update(
            (name, dict(zip(conns.id.tolist(), values.tolist(), strict=True)))
            for name, values in [("weight", conns.weight), *((m, conns.state(m)) for m in ("adam_m", "adam_v"))]
        )

    for _ in range(3):
        done = train(net, rewire, 2, remember)
        assert done[0] == (0, 0) and done[1].removed == done[1].grown > n // 4
        assert net.n_connections == n == len(pairs(net.connections)) and is_acyclic(net)
        if scope == "local":
            assert np.bincount(net.connections.target_home * 8 + net.connections.source_home).tolist() == homes.tolist()
        net.graph.check()
        conns = net.connections
        for name, old in states.items():
            values = conns.weight if name == "weight" else conns.state(name)
            new = dict(zip(conns.id.tolist(), values.tolist(), strict=True))
            assert {i: v for i, v in new.items() if i in old} == {i: old[i] for i in new if i in old}
            assert {v for i, v in new.items() if i not in old} == {0.0}
        assert any(states["adam_m"].values())


@pytest.mark.parametrize("seed", range(3))
def test_rigl_grows_the_top_of_the_dense_gradient(seed):
    """Layer by layer, what was dropped among them."""
    net = layers(seed)
    X, Y = data(net)
    rigl = ng.sparsity.RigL(T_end=100, delta_T=10, alpha=0.4)
    net.backward(X, Y)
    ng.optim.SGD(lr=0.01).step(net)
    gradient, conns = dense_gradient(net), net.connections
    fraction = 0.2 * (1 + np.cos(np.pi * 0.3))
    expected = set()
    for home in range(3):
        part = conns[conns.source_home == home]
        k = round(fraction * len(part))
        kept = pairs(part[np.argsort(np.abs(part.weight), kind="stable")[k:]])
        sources, targets = net.homes[home].ids.tolist(), net.homes[home + 1].ids.tolist()
        free = [(s, t) for s in sources for t in targets if (s, t) not in kept]
        expected |= kept | best(gradient, free, k)
    lost = sum(round(fraction * n) for n in np.bincount(conns.target_home)[1:].tolist())
    done = rigl.step(net, 30)
    assert done == (lost, lost)
    assert pairs(net.connections) == expected
    assert rigl.step(net, 35) == rigl.step(net, 100) == (0, 0)


@pytest.mark.parametrize("make", [skipping, layers])
@pytest.mark.parametrize("grow", GROW)
@pytest.mark.parametrize("name", RULES)
def test_only_allowed_pairs_grow(make, grow, name):
    net = make()
    if make is layers and name == "groups":
        allowed, says = [(net.inputs[:4], net.homes[1])], lambda s, t: s < 4 and 8 <= t < 28
    else:
        allowed, says = RULES[name](net), permitted(net, name, pairs(net.connections))
    rewire = ng.sparsity.Rewire(grow=grow, fraction=0.4, every=1, allowed=allowed)
    n = net.n_connections
    for _ in range(4):
        ids = net.connections.id
        done = train(net, rewire, 1)[0]
        new = net.connections[~np.isin(net.connections.id, ids)]
        assert len(new) == done.grown > 0 and all(says(*pair) for pair in pairs(new))
        assert is_acyclic(net)
        # Few pairs are allowed by groups; and what began inside one home may stand the other way round by now.
        few = name == "groups" or (make is skipping and name == "initial")
        assert net.n_connections <= n and (few or done.grown == done.removed)


def test_random_growth_among_allowed_pairs_is_uniform():
    seen = np.zeros((4, 4))
    for seed in range(400):
        net = ng.Network(seed=seed)
        x, y = net.add_inputs(4), net.add_outputs(4)
        net.connect(x[0], y[0])
        allowed = Allowed(lambda source, target: source != target - 4)
        new = ng.sparsity.Random(allowed).grow(net, x, y, 3, net.rng)
        assert len(new) == 3
        np.add.at(seen, (new.source, new.target - 4), 1)
    assert (np.diag(seen) == 0).all()
    counts = seen[~np.eye(4, dtype=bool)]
    assert counts.sum() == 1200 and (np.abs(counts - 100) < 5 * 100**0.5).all()


def test_the_initial_pairs_are_those_of_the_first_sight():
    net = layers()
    first = pairs(net.connections)
    rewire = ng.sparsity.Rewire(grow="random", fraction=0.5, every=5, allowed="initial")
    rewire.before_backward(net, 1)
    net.connections[::2].remove()
    n = net.n_connections
    assert rewire.step(net, 5).grown == round(0.5 * n) or net.n_connections == n
    assert net.n_connections == n and pairs(net.connections) <= first


# -- momentum ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [skipping, layers])
@pytest.mark.parametrize("redistribute", [False, True])
def test_momentum_growth_is_the_top_of_a_dense_momentum(make, redistribute):
    """A matrix of all pairs, averaged step by step; what each region gets, by its mean over the old connections."""
    alpha, net = 0.7, make(seed=5)
    grower = ng.sparsity.Momentum(alpha=alpha, redistribute=redistribute)
    rewire = ng.sparsity.Rewire(grow=grower, fraction=0.25, every=6)
    dense = np.zeros((net.n_neurons, net.n_neurons))
    truth = {}

    def average(step):
        nonlocal dense
        dense = alpha * dense + (1 - alpha) * dense_gradient(net)
        if step == 6:
            truth["connections"] = net.connections
            truth["rows"] = list(zip(*(getattr(net.connections, name).tolist() for name in (
                "source", "target", "weight", "source_home", "target_home")), strict=True))  # fmt: skip

    optimizer = ng.optim.SGD(lr=0.05, momentum=0.9)
    X, Y = data(net, 16)
    for step in range(1, 7):
        net.backward(X + 0.1 * step, Y)
        rewire.before_update(net, step)
        optimizer.step(net)
        average(step)
    rows = truth["rows"]
    regions = sorted({row[3:] for row in rows})
    means = np.array([np.mean([abs(dense[r[0], r[1]]) for r in rows if r[3:] == region]) for region in regions])
    lost = np.array([round(0.25 * sum(r[3:] == region for r in rows)) for region in regions])
    before = {row[:2] for row in rows}
    done = rewire.step(net, 6)
    assert done.removed == done.grown == lost.sum()
    now = net.connections
    homes = list(zip(now.source_home.tolist(), now.target_home.tolist(), strict=True))
    new = now.id > truth_last_id(rows, now)
    got = np.array([sum(n for h, n in zip(homes, new, strict=True) if h == region) for region in regions])
    if not redistribute:
        assert got.tolist() == lost.tolist()
    else:
        exact = lost.sum() * means / means.sum()
        assert got.sum() == lost.sum() and (make is skipping or np.abs(got - exact).max() < 1)
    for region in regions if make is layers else ():  # the layers do not stand in each other's way
        sources, targets = (net.homes[h].ids.tolist() for h in region)
        there = pairs(now)
        ends = zip(now.source.tolist(), now.target.tolist(), strict=True)
        grown = {pair for pair, h, is_new in zip(ends, homes, new, strict=True) if is_new and h == region}
        free = [(s, t) for s in sources for t in targets if (s, t) not in there or (s, t) in grown]
        assert grown == best(dense, free, len(grown))
    assert before != pairs(now)


def truth_last_id(rows, now):
    """Ids ascend, so the new ones are the last ones; weights are zero there."""
    ids = now.id
    return ids[np.flatnonzero(now.weight != 0)[-1]]


def test_momentum_forgets_what_weighs_less_than_a_hundredth():
    grower = ng.sparsity.Momentum(alpha=0.5)
    assert grower.window == 7 and 0.5**6 >= 0.01 > 0.5**7
    net = layers()
    X, Y = data(net)
    for step in range(1, 30):
        net.backward(X + step, Y)
        grower.record(net, step, 0)
    grower.prepare(net, [])
    recorded = Signals.of(net)
    net.backward(X + 30, Y)
    grower.record(net, 31, 0)  # a step was left out, so what came before belongs to another run
    grower.prepare(net, [])
    fresh, _ = largest_absent(net, net.homes[0], net.homes[1], 5, [(1.0, Signals.of(net))])
    assert recorded.errors.shape == (12, 44)
    assert grower.grow(net, net.homes[0], net.homes[1], 5, net.rng).source.tolist() == fresh.tolist()


def test_momentum_records_only_what_will_count():
    net = layers()
    recorded = []

    class Seen(ng.sparsity.Momentum):
        def record(self, net, step, left):
            recorded.append((step, left))

    rewire = ng.sparsity.Rewire(grow=Seen(), every=100, start=150, stop=300)
    for step in (1, 149, 200, 201, 250):
        rewire.before_update(net, step)
    assert recorded == [(1, 199), (149, 51), (200, 0)]


@pytest.mark.nojit
def test_what_a_full_pair_of_homes_cannot_take_goes_to_the_others():
    net = ng.Network(seed=0, dtype="float64")
    x, h, y = net.add_inputs(5), net.add_neurons(20, activation="tanh"), net.add_outputs(2)
    net.connect(x, h, density=0.2), net.connect(h, y, density=0.9)
    n = net.n_connections
    net.connections[net.connections.target_home == 1].weight = 0.001  # errors of hidden neurons are small then
    net.connections[net.connections.target_home == 2].weight = 1e-4
    recipe = ng.sparsity.SparseMomentum(every=1, prune_rate=0.5, alpha=0.0)
    done = train(net, recipe, 1)[0]
    assert done.removed == done.grown == 10 + 18 and net.n_connections == n
    into = np.bincount(net.connections.target_home)
    assert into[2] == 40 and into[1] == n - 40


@pytest.mark.nojit
@given(st.integers(0, 1000), st.lists(st.floats(0, 1e6), min_size=1, max_size=9))
def test_split_gives_whole_numbers_that_sum(total, weights):
    counts = split(total, np.array(weights))
    assert counts.sum() == total and (counts >= 0).all()
    if sum(weights) > 0:
        assert (np.abs(counts - total * np.array(weights) / sum(weights)) < 1 + 1e-6).all()


# -- refusals ----------------------------------------------------------------------------------------------------------


def recurrent():
    net = layers()
    net.connect(net.homes[1], net.homes[1], density=0.1, delay=1)
    net.backward(np.zeros((2, 1, 8)), np.zeros((2, 1, 4)))
    return net


@pytest.mark.nojit
@pytest.mark.parametrize("grow", ["gradient", "momentum"])
@pytest.mark.parametrize(
    ("net", "words"),
    [
        (recurrent, 'grow="random"'),
        (layers, "no pass was made yet"),
        (lambda: predicted(), "call backward"),
    ],
)
def test_refused_growth_leaves_the_network(grow, net, words):
    net = net()
    before = pairs(net.connections)
    rewire = ng.sparsity.Rewire(grow=grow, fraction=0.5, every=1)
    with pytest.raises(ng.InvalidValueError, match=words):
        rewire.before_update(net, 1)
        rewire.step(net, 1)
    assert pairs(net.connections) == before


@pytest.mark.nojit
@pytest.mark.parametrize("make", [skipping, layers])
@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("grow", GROW)
def test_a_rule_that_fails_on_the_last_pairs_is_refused_before_anything_is_removed(make, scope, grow, monkeypatch):
    monkeypatch.setattr("neurograph.sparsity.allowed.BLOCK", 50)
    net = make()
    last = net.outputs.ids.max()

    def rule(source, target):
        if last in target:
            raise ZeroDivisionError
        return np.ones(len(source), bool)

    net.backward(*data(net))
    before = net.connections.id.tolist()
    rewire = ng.sparsity.Rewire(grow=grow, fraction=0.5, every=1, scope=scope, allowed=rule)
    rewire.before_update(net, 1)
    with pytest.raises(ZeroDivisionError):
        rewire.step(net, 1)
    assert net.connections.id.tolist() == before


@pytest.mark.nojit
def test_a_rule_is_asked_also_for_layers_that_would_only_gain():
    net = ng.topologies.layered([6, 8, 3], density=[0.5, 0.0], seed=0, dtype="float64")
    net.connect(net.homes[1][0], net.homes[2][0])  # a third of it is none
    net.backward(*data(net))
    before = net.connections.id.tolist()

    def rule(source, target):
        allowed = np.ones(len(source), bool)
        return allowed if (source < 6).all() else allowed.astype(int)

    recipe = ng.sparsity.SparseMomentum(every=1, prune_rate=1 / 3, redistribute=True, allowed=rule)
    recipe.before_update(net, 1)
    with pytest.raises(ng.InvalidValueError, match="one bool for each"):
        recipe.step(net, 1)
    assert net.connections.id.tolist() == before


def predicted():
    net = layers()
    net.predict(np.zeros((2, 8)))
    return net


@pytest.mark.nojit
def test_other_refusals():
    net = layers()
    net.backward(*data(net))
    before = pairs(net.connections)
    step = ng.sparsity.Rewire(grow="momentum", every=1).step
    with pytest.raises(ng.InvalidValueError, match="has seen no mini-batch"):
        step(net, 1)
    other = layers(1)
    for allowed, words in (
        (lambda source, target: source, "one bool for each"),
        ([(other.inputs, net.outputs)], "another network"),
    ):
        for grow in ("random", "gradient"):
            with pytest.raises(ng.InvalidValueError, match=words):
                ng.sparsity.Rewire(grow=grow, every=1, allowed=allowed).step(net, 1)
    assert pairs(net.connections) == before
    for options, error, words in (
        ({"allowed": "first"}, ng.UnknownNameError, "initial"),
        ({"allowed": 3}, ng.InvalidValueError, "list of"),
        ({"allowed": [(1, 2, 3)]}, ng.InvalidValueError, "sources, targets"),
        ({"grow": lambda *_: None, "allowed": "initial"}, ng.InvalidValueError, "your own way"),
        ({"grow": "gradients"}, ng.UnknownNameError, "random, gradient, momentum"),
    ):
        with pytest.raises(error, match=words):
            ng.sparsity.Rewire(**options)
    for alpha in (1.0, -0.1, "half", float("nan")):
        with pytest.raises(ng.InvalidValueError, match="alpha is"):
            ng.sparsity.Momentum(alpha=alpha)


def test_targets_that_have_no_gradient():
    net = ng.Network(seed=0)
    x, h, y = net.add_inputs(4), net.add_neurons(6, aggregation="max"), net.add_outputs(3)
    net.connect(x, h, density=0.5), net.connect(h, y, density=0.5)
    net.backward(np.ones((2, 4)), np.zeros((2, 3)))
    before = pairs(net.connections)
    with pytest.raises(ng.InvalidValueError, match="aggregate by 'max'"):
        ng.sparsity.Rewire(grow="gradient", fraction=0.5, every=1).step(net, 1)
    assert pairs(net.connections) == before
    h.incoming.frozen = True
    assert ng.sparsity.Rewire(grow="gradient", fraction=0.5, every=1).step(net, 1) == (4, 4)
    h[0].aggregation = "sum"
    h.incoming.frozen = False
    net.backward(np.ones((2, 4)), np.zeros((2, 3)))
    old = net.connections.id
    ng.sparsity.Rewire(grow="gradient", fraction=0.1, every=1).step(net, 1)
    new = net.connections[~np.isin(net.connections.id, old)]
    assert len(new) and set(new.target.tolist()) <= {4, *y.ids.tolist()}


def test_a_pass_in_pieces_is_refused(monkeypatch):
    net = layers()
    monkeypatch.setattr("neurograph.sequences.fitting", lambda backend, plan, X, *_: (5, True))
    net.backward(*data(net))
    with pytest.raises(ng.InvalidValueError, match="too large to keep"):
        ng.sparsity.Rewire(grow="gradient", every=1).step(net, 1)


def test_results_do_not_depend_on_the_number_of_threads(monkeypatch):
    ends = []
    for threads in (1, 2, 5):
        monkeypatch.setattr("neurograph.backends.cpu.threads.count", lambda threads=threads: threads)
        net = ng.topologies.layered([40, 60, 50, 10], density=0.2, seed=1)
        for grow in ("gradient", "momentum"):
            train(net, ng.sparsity.Rewire(grow=grow, fraction=0.3, every=2), 6)
        ends.append((net.connections.source, net.connections.target, net.connections.weight))
    for other in ends[1:]:
        assert all((a == b).all() for a, b in zip(ends[0], other, strict=True))
