"""Connections exchanged for others between the same homes, all at once: against sets, SciPy and what prune does."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import neurograph as ng
from neurograph import sampling
from neurograph.graph import compiled, side_by_side
from neurograph.sparsity.prune import choose
from neurograph.sparsity.select import lowest_in_regions


def pairs(net):
    conns = net.connections
    return Counter(zip(conns.source.tolist(), conns.target.tolist(), strict=True))


def by_home(conns):
    return Counter(zip(conns.source_home.tolist(), conns.target_home.tolist(), strict=True))


def skipping(seed, density=0.4):
    """Layers of which each feeds all that follow, with Adam's state."""
    net = ng.Network(seed=seed, dtype="float64")
    layers = [net.add_inputs(6), net.add_neurons(9), net.add_neurons(7, activation="tanh"), net.add_outputs(3)]
    for i, targets in enumerate(layers[1:], 1):
        for sources in layers[:i]:
            net.connect(sources, targets, density=density)
    net.backward(np.ones((4, 6)), np.zeros((4, 3)))
    ng.optim.Adam().step(net)
    return net


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.floats(0, 1), min_size=1, max_size=6), st.sampled_from([0.1, 0.5, 0.9]))
def test_exchanged_connections_are_new_distinct_and_between_the_same_homes(seed, shares, density):
    net = skipping(seed, density)
    rng = np.random.default_rng(seed)
    for k, share in enumerate(shares):
        before = net.connections
        doomed = before[rng.random(len(before)) < share] if k % 2 else share
        homes, old = by_home(before), dict(zip(before.id.tolist(), before.weight.tolist(), strict=True))
        state = dict(zip(before.id.tolist(), before.state("adam_m").tolist(), strict=True))
        gone = set(doomed.id.tolist()) if k % 2 else None
        new = net.exchange(doomed)
        net.graph.check()
        after = net.connections
        assert by_home(after) == homes and max(pairs(net).values()) == 1
        assert (new.weight == 0).all() and (new.state("adam_v") == 0).all()
        assert new.id.tolist() == after.id.tolist()[len(after) - len(new) :] and (new.id > max(old)).all()
        kept = {id: w for id, w in zip(after.id.tolist(), after.weight.tolist(), strict=True) if id in old}
        assert all(old[id] == w for id, w in kept.items()) and len(kept) == len(old) - len(new)
        assert all(state[c.id] == c.state("adam_m") for c in after[: len(kept)])
        assert gone is None or set(old) - set(kept) == gone
        generation = net.schedule.generation
        slots = net.graph.connections
        live = slots.live()
        assert (generation[slots["source"][live]] < generation[slots["target"][live]]).all()
        X = rng.normal(size=(3, 6))
        other = ng.Network(dtype="float64", backend="reference")  # the same network, built anew
        other.add_inputs(6), other.add_neurons(9), other.add_neurons(7, activation="tanh"), other.add_outputs(3)
        other.add_connections(after.source, after.target, weight=after.weight)
        other.neurons[6:].bias = net.neurons[6:].bias
        np.testing.assert_allclose(net.predict(X), other.predict(X), rtol=1e-9, atol=1e-12)


def test_every_free_pair_is_as_likely():
    """Four pairs of twelve, two of which go: of the ten free ones each is drawn as often, also those just given up."""
    seen = Counter()
    for seed in range(600):
        net = ng.Network(seed=seed)
        x, y = net.add_inputs(4), net.add_outputs(3)
        conns = net.add_connections(x.ids[[0, 1, 2, 0]], y.ids[[0, 0, 1, 2]])
        new = net.exchange(conns[:2])
        seen.update(zip(new.source.tolist(), new.target.tolist(), strict=True))
    assert len(seen) == 10
    assert stats.chisquare(list(seen.values())).pvalue > 1e-4


def test_every_connection_is_as_likely_to_go():
    gone = Counter()
    for seed in range(400):
        net = ng.topologies.layered([3, 4, 2], density=0.75, seed=seed)
        before = net.connections.id.tolist()
        net.exchange(1 / 3)
        gone.update(set(before) - set(net.connections.id.tolist()))
    counts = [gone[id] for id in range(min(gone), max(gone) + 1)]
    assert sum(counts[:9]) == 400 * 3 and sum(counts[9:]) == 400 * 2
    assert stats.chisquare(counts[:9]).pvalue > 1e-4 and stats.chisquare(counts[9:]).pvalue > 1e-4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("steps", [None, 3, 1])
def test_the_smallest_go_as_prune_would_choose_them(dtype, steps):
    net = ng.topologies.layered([12, 30, 20, 5], density=0.5, seed=3, dtype=dtype)
    net.connections[::5].remove()
    if steps:  # many equal weights
        net.connections.weight = np.round(net.connections.weight * steps) / steps
    for share in (0.0, 0.25, 0.3, 1.0):
        conns = net.connections_as_stored
        expected = set(conns.id[choose(net, conns, "magnitude", share, "local")].tolist())
        before = set(conns.id.tolist())
        net.exchange(share, smallest=True)
        assert before - set(net.connections.id.tolist()) == expected
        net.graph.check()
        net.connections.weight = np.round(np.random.default_rng(0).normal(size=net.n_connections), 2)


def test_the_result_does_not_depend_on_threads(monkeypatch):
    def rewired(limit):
        monkeypatch.setattr(side_by_side, "TWO_THREADS_FROM", limit)
        net = skipping(1)
        for share in (0.3, 0.5):
            net.exchange(share)
            net.exchange(share, smallest=True)
        conns = net.connections_as_stored
        return [a.tolist() for a in (conns.id, conns.source, conns.target, net.graph.incoming.slot[:50])]

    assert rewired(0) == rewired(10**9)


def test_rows_that_overflow_are_laid_out_anew():
    net = ng.topologies.layered([60, 80, 5], density=0.05, seed=0)
    rebuilds = net.graph.incoming.rebuilds
    for _ in range(5):
        net.exchange(0.9)
        net.graph.check()
    assert net.graph.incoming.rebuilds > rebuilds
    assert len(net.graph.incoming.other) < 2 * (net.n_connections + net.n_neurons) + 64


def test_what_cannot_be_done_at_once_changes_nothing():
    def refused(net, *arguments, **options):
        before, random = pairs(net), net.rng.bit_generator.state
        assert net.exchange(*arguments, **options) is None
        assert pairs(net) == before and net.rng.bit_generator.state == random

    delayed = skipping(0)
    delayed.connect(delayed.homes[1], delayed.homes[1], density=0.2, delay=1)
    refused(delayed, 0.3)
    inside = skipping(0)
    inside.connect(inside.homes[1], inside.homes[1], density=0.2)
    refused(inside, 0.3)
    frozen = skipping(0)
    frozen.connections[3].frozen = True
    refused(frozen, 0.3)
    assert frozen.exchange(frozen.connections[5:9]) is not None
    wrong = skipping(0)
    wrong.connections[3].weight = 1.0
    wrong.graph.connections["weight"][wrong.connections[3].slot] = np.nan
    refused(wrong, 0.3, smallest=True)
    assert ng.Network().exchange(0.5) is None
    many = ng.Network()
    x = many.add_inputs(1)
    for _ in range(sampling.MANY_HOMES):
        many.connect(x, many.add_neurons(1))
    refused(many, 0.3)
    with pytest.raises(ng.NeurographError, match="fraction|connections"):
        skipping(0).exchange(1.5)
    stale = skipping(0)
    conns = stale.connections[:3]
    conns[1].remove()
    with pytest.raises(ng.StaleError):
        stale.exchange(conns)


@pytest.mark.parametrize("inside", [False, True])
def test_rewiring_in_a_circle_of_homes_still_closes_no_cycle(inside):
    """Two homes that feed each other, neuron by neuron without a cycle: pairs of homes have to wait for one another."""
    net = ng.Network(seed=0)
    x, a, b, y = net.add_inputs(3), net.add_neurons(8), net.add_neurons(8), net.add_outputs(2)
    net.connect(x, a | b, density=0.7), net.connect(a | b, y)
    net.add_connections(a.ids[:4], b.ids[:4]), net.add_connections(b.ids[4:], a.ids[4:])
    if inside:
        net.connect(a, a, density=0.2)
    n = net.n_connections
    for _ in range(10):
        done = ng.sparsity.Rewire("random", "random", 0.5, every=1).step(net, 0)
        assert done.removed >= done.grown > 0
        net.graph.check()
        net.schedule.sort()  # raises where there is a cycle
    assert net.n_connections <= n


@given(st.integers(1, 400), st.integers(0, 10**6), st.integers(1, 10**7))
def test_uniform_numbers_are_sorted_and_different(count, seed, n):
    numbers = np.random.default_rng(seed).integers(0, n, count)
    assert compiled.sort_uniform(numbers, n).tolist() == sorted(set(numbers.tolist()))


def test_many_numbers_are_drawn_part_by_part(monkeypatch):
    monkeypatch.setattr(sampling, "AT_A_TIME", 16)
    drawn = np.concatenate([sampling.subset(2000, 100, np.random.default_rng(seed)) for seed in range(400)])
    assert (np.diff(drawn.reshape(400, 100), axis=1) > 0).all() and drawn.min() >= 0 and drawn.max() < 2000
    assert stats.chisquare(np.bincount(drawn // 20, minlength=100)).pvalue > 1e-4


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 300))
def test_the_lowest_of_many_regions(seed, n_regions, n):
    rng = np.random.default_rng(seed)
    regions, scores, ids = rng.integers(0, n_regions, n), rng.integers(0, 6, n).astype(float), rng.permutation(n)
    counts = rng.integers(0, 9, n_regions)
    expected = []
    for r in range(n_regions):
        members = sorted((scores[i], ids[i], i) for i in range(n) if regions[i] == r)
        expected += [i for *_, i in members[: counts[r]]]
    assert lowest_in_regions(scores, ids, regions, counts).tolist() == sorted(expected)


def test_a_new_layer_sinks_below_those_that_feed_it():
    rng = np.random.default_rng(0)
    net = ng.Network(seed=0)
    x, h = net.add_inputs(80), net.add_neurons(90)
    net.connect(x, h, density=0.9), net.connect(h, h, density=0.1)
    y = net.add_neurons(100)
    source = rng.permutation(len(h) * len(y))[:6000]
    net.add_connections(h.ids[source // len(y)], y.ids[source % len(y)])
    found = net.schedule.generation.copy()
    net.schedule.sort()
    assert (found == net.schedule.generation).all()
