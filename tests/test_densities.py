"""Densities of pairs of layers, against the code of the paper, and networks that are pruned to them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import neurograph as ng

pytestmark = pytest.mark.nojit


def reference(shapes, sparsity, include_kernel):
    """The published code's search for epsilon, with shapes in place of masks."""
    dense_layers = set()
    while True:
        divisor = rhs = 0
        raw_probabilities = {}
        for name, shape in enumerate(shapes):
            n_param = np.prod(shape)
            n_zeros = np.floor(sparsity * n_param)
            if name in dense_layers:
                rhs -= n_zeros
            else:
                rhs += n_param - n_zeros
                if include_kernel:
                    raw_probabilities[name] = np.sum(shape) / np.prod(shape)
                else:
                    n_in, n_out = shape[-2:]
                    raw_probabilities[name] = (n_in + n_out) / (n_in * n_out)
                divisor += raw_probabilities[name] * n_param
        if not raw_probabilities:
            return [1.0] * len(shapes)
        eps = rhs / divisor
        max_prob = max(raw_probabilities.values())
        if max_prob * eps <= 1:
            return [1.0 if name in dense_layers else eps * raw_probabilities[name] for name in range(len(shapes))]
        dense_layers |= {name for name, raw in raw_probabilities.items() if raw == max_prob}


layers = st.lists(st.integers(1, 400), min_size=2, max_size=5).map(lambda s: list(zip(s, s[1:], strict=False)))
kernels = st.lists(st.tuples(*[st.integers(1, 7)] * 2, *[st.integers(1, 64)] * 2), min_size=1, max_size=5)


@given(layers | kernels, st.floats(0.3, 1))
def test_the_surplus_goes_to_the_others_as_in_the_published_code(shapes, density):
    for function, include_kernel in ((ng.sparsity.erdos_renyi, False), (ng.sparsity.erk, True)):
        found = function(shapes, density)
        expected = np.maximum(reference(shapes, 1 - density, include_kernel), 0)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        sizes = [np.prod(shape) for shape in shapes]
        if found.min() > 0 and found.max() <= 1:
            assert abs((found * sizes).sum() - density * sum(sizes)) < len(shapes) + 1


def test_by_hand():
    # 4 * (8 + 2) / 16 = 2.5, so dense; 4 * (2 + 10) / 20 = 2.4, dense; 4 * 20 / 100 = 0.8
    assert ng.sparsity.erdos_renyi([(8, 2), (2, 10), (10, 10)], epsilon=4).tolist() == [1.0, 1.0, 0.8]
    # Half of 136 is 68. epsilon * (10 + 12 + 20) = 68 gives 1.62, by which (8, 2) would have 1.01, so it is dense:
    # epsilon * (12 + 20) = 68 - 16 gives 1.625 * 0.6 and 1.625 * 0.2
    np.testing.assert_allclose(ng.sparsity.erdos_renyi([(8, 2), (2, 10), (10, 10)], 0.5), [1, 0.975, 0.325])
    assert ng.sparsity.uniform([3, 4, 5], 0.25).tolist() == [0.25, 0.25]
    assert ng.sparsity.erk([3, 4, 5], 0.25).tolist() == ng.sparsity.erdos_renyi([3, 4, 5], 0.25).tolist()
    assert ng.sparsity.erk([(3, 3, 2, 4)], epsilon=1.5).tolist() == [1.5 * 12 / 72]


def test_a_layered_network_is_built_to_densities():
    sizes = [784, 100, 50, 10]
    shares = ng.sparsity.erdos_renyi(sizes, epsilon=3)
    net = ng.topologies.layered(sizes, density=shares, seed=0)
    counts = np.bincount(net.connections.target_home)[1:].tolist()
    assert counts == [round(d * a * b) for d, a, b in zip(shares, sizes, sizes[1:], strict=False)]
    assert counts == [3 * 884, 3 * 150, 3 * 60]
    with pytest.raises(ng.InvalidValueError, match="2 entries for 4 layers"):
        ng.topologies.layered(sizes, density=[0.1, 0.2])
    with pytest.raises(ng.InvalidValueError, match=r"1\.5"):
        ng.topologies.layered(sizes, density=[0.1, 0.2, 1.5])


def skipping():
    net = ng.Network(seed=0)
    layers = [net.add_inputs(6), net.add_neurons(9), net.add_neurons(7), net.add_outputs(3)]
    for i, targets in enumerate(layers[1:], 1):
        for sources in layers[:i]:
            net.connect(sources, targets)
    return net


@pytest.mark.parametrize("kind", ["uniform", "erdos_renyi", "erk"])
@pytest.mark.parametrize("score", ["random", "magnitude"])
@pytest.mark.parametrize("make", [skipping, lambda: ng.topologies.layered([30, 20, 10], seed=0)])
def test_prune_to(kind, score, make):
    net = make()
    n, before = net.n_connections, net.connections
    ids, weights = before.id, np.abs(before.weight)
    before_ends = np.stack([before.source_home, before.target_home], axis=1)
    wanted = ng.sparsity.densities(net, kind, density=0.4)
    assert list(wanted) == sorted({(s, t) for s, t, _ in before.regions()[0].tolist()})
    removed = ng.sparsity.prune_to(net, wanted, score)
    after = net.connections
    assert removed == n - len(after) and abs(len(after) - 0.4 * n) < len(wanted) + 1
    homes = [len(home) for home in net.homes]
    for (source, target), density in wanted.items():
        part = after[(after.source_home == source) & (after.target_home == target)]
        assert len(part) == round(density * homes[source] * homes[target])
        if score == "magnitude":
            here = (before_ends == (source, target)).all(axis=1)
            gone = weights[here & ~np.isin(ids, part.id)]
            assert len(gone) == 0 or np.abs(part.weight).min() >= gone.max()


def test_kernels_are_counted_by_parameters():
    net = ng.Network(seed=0)
    image = net.add_inputs((2, 8, 8))
    maps = ng.topologies.fields(net, image, channels=4, offsets=ng.topologies.box(3, 3), share=True)
    net.connect(maps, net.add_outputs(5))
    shapes = {(0, 1): (3, 3, 2, 4)}
    n, shared = net.n_connections, len(np.unique(maps.incoming.parameter))
    assert shared == 72
    wanted = ng.sparsity.densities(net, "erk", epsilon=2.0, shapes=shapes)
    assert wanted == {(0, 1): pytest.approx(2 * 12 / 72), (1, 2): pytest.approx(2 * (len(maps) + 5) / (len(maps) * 5))}
    ng.sparsity.prune_to(net, wanted, "magnitude", shapes)
    assert len(np.unique(maps.incoming.parameter)) == 24 and len(maps.incoming) == 24 * 36
    assert n > net.n_connections and len(net.outputs.incoming) == 2 * (len(maps) + 5)


def test_refusals():
    net = skipping()
    n = net.n_connections
    for call, words in (
        (lambda: ng.sparsity.prune_to(net, {(0, 1): 1.5}), "1.5"),
        (lambda: ng.sparsity.prune_to(net, {(1, 0): 0.5}), "no connection goes from home 1 to home 0"),
        (lambda: ng.sparsity.prune_to(net, {(0, 1): 0.5, (0, 2): -1}), "-1"),
        (lambda: ng.sparsity.prune_to(net, [0.5, 0.5]), "2 densities for 6"),
        (lambda: ng.sparsity.densities(net, "erdos", density=0.5), "uniform, erdos_renyi, erk"),
        (lambda: ng.sparsity.densities(net, "uniform", epsilon=5), "take a density"),
        (lambda: ng.sparsity.densities(net, density=0.5, shapes={(3, 0): (1, 2)}), "not connected"),
        (lambda: ng.sparsity.erdos_renyi([3, 4]), "either"),
        (lambda: ng.sparsity.erdos_renyi([3, 4], 0.5, 20), "either"),
        (lambda: ng.sparsity.erdos_renyi([3, 4], epsilon=-1), "-1"),
        (lambda: ng.sparsity.erk([3, 4], 1.2), "1.2"),
        (lambda: ng.sparsity.erk([(3,)], 0.2), "no shape"),
        (lambda: ng.sparsity.uniform([(3, 0)], 0.2), "no shape"),
    ):
        with pytest.raises(ng.NeurographError, match=words):
            call()
    assert net.n_connections == n
    ng.sparsity.prune_to(net, {(0, 1): 0.2})
    left = net.n_connections
    with pytest.raises(ng.InvalidValueError, match="27 connections, but there are 11"):
        ng.sparsity.prune_to(net, {(0, 2): 0.1, (0, 1): 0.5})
    assert net.n_connections == left
