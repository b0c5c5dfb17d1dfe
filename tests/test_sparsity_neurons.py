"""Whole neurons: their scores by hand, exact counts, and the learned pruner."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import neurograph as ng

from .pruning import batch, chain, everything, network

KINDS = ("layered", "dag")


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        # incoming of 2: 0.1 0.1, of 3: 0.2 0.8, of 4: 0.9 0.7; outgoing: 2 3, 0.5 4, 0.05 5
        ("fan_in", [0.2, 1.0, 1.6]),
        ("fan_out", [5.0, 4.5, 5.05]),
        # relu of (0.1, -0.1), (-0.2, 1.4), (0.9, 2.3)
        ("activation", [0.05, 0.7, 1.6]),
        ("active", [0.5, 0.5, 1.0]),
        (ng.sparsity.fan_in_sum("age"), [5 + 2, 4 + 1, 3 + 0]),  # of what comes in 1>4 is the newest
        (ng.sparsity.fan_out_sum(lambda conns, rng: conns.weight), [5.0, 3.5, 5.05]),
    ],
)
def test_scores_by_hand(score, expected):
    net = chain()
    net.predict([[1.0, 0.0], [1.0, 2.0]])
    function = ng.sparsity.NEURON_SCORES[score] if isinstance(score, str) else score
    np.testing.assert_allclose(function(net.groups["hidden"], net.rng), expected)
    assert ng.sparsity.prune_neurons(net, score, count=1) == 1
    gone = int(np.argmin(expected))
    assert len(net.groups["hidden"]) == 2 and 2 + gone not in net.groups["hidden"] and net.n_connections == 8


def test_a_group_in_any_order_is_scored_in_its_order():
    net = chain()
    group = net.group([4, 2, 3])
    assert ng.sparsity.fan_out_sum()(group, None).tolist() == pytest.approx([5.05, 5.0, 4.5])
    assert ng.sparsity.fan_in_sum()(group, None).tolist() == pytest.approx([1.6, 0.2, 1.0])


def test_saliency_of_neurons():
    net = network("dag")
    net.backward(*batch(), "cross_entropy")
    hidden = net.groups["hidden"]
    found = ng.sparsity.fan_in_sum("saliency")(hidden, net.rng)
    expected = [sum(abs(c.weight * c.grad) for c in neuron.inputs) for neuron in hidden]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.filterwarnings("ignore::neurograph.EmptyLayerWarning")
@given(
    st.sampled_from(KINDS),
    st.floats(0, 1),
    st.sampled_from(["global", "local"]),
    st.sampled_from(sorted(ng.sparsity.NEURON_SCORES)),
)
def test_counts_are_exact(kind, fraction, scope, score):
    net = network(kind)
    net.predict(batch()[0])
    ends, weights = (net.inputs | net.outputs).ids, net.connections
    kept = {int(id): w for id, w in zip(weights.id, weights.weight, strict=True)}
    sizes = [12, 8] if kind == "layered" else [14]
    expected = sum(round(fraction * size) for size in (sizes if scope == "local" else [sum(sizes)]))
    n = net.n_neurons
    assert ng.sparsity.prune_neurons(net, score, fraction, scope, allow_disconnected=True) == expected
    assert net.n_neurons == n - expected
    assert np.isin(ends, net.neurons.ids).all()
    assert all(kept[int(id)] == w for id, w in zip(net.connections.id, net.connections.weight, strict=True))


def test_ties_go_to_the_oldest():
    net = ng.topologies.layered([3, 10, 2], weight=1.0)
    assert ng.sparsity.prune_neurons(net, fraction=0.4) == 4
    assert net.groups["hidden 1"].ids.tolist() == [7, 8, 9, 10, 11, 12]


def test_hidden_outputs_are_no_candidates():
    net = ng.topologies.layered([3, 4, 2], weight=1.0)
    net.mark_outputs(net.groups["hidden 1"][:2])
    assert ng.sparsity.prune_neurons(net, np.array([5.0, 1.0]), count=1) == 1
    assert net.groups["hidden 1"].ids.tolist() == [3, 4, 5]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"score": "magnitude"}, ng.UnknownNameError, "fan_in, fan_out"),
        ({"scope": "neuron"}, ng.UnknownNameError, "global, local"),
        ({"fraction": 2}, ng.InvalidValueError, "fraction is 2"),
        ({"count": -1}, ng.InvalidValueError, "count is -1"),
        ({"score": [1.0]}, ng.InvalidValueError, "each of the 3 hidden"),
        ({"score": [1.0, np.nan, 2.0]}, ng.InvalidValueError, "NaN"),
        ({"score": "activation"}, ng.InvalidValueError, "no pass"),
        ({"fraction": 1.0}, ng.InvalidValueError, "allow_disconnected"),
    ],
)
def test_prune_neurons_refuses(options, error, words):
    net = chain()
    before = everything(net)
    with pytest.raises(error, match=words):
        ng.sparsity.prune_neurons(net, **options)
    assert everything(net) == before


def test_network_without_hidden_neurons():
    net = ng.topologies.layered([3, 2])
    assert ng.sparsity.prune_neurons(net, fraction=1.0) == 0


# -- the learned pruner ------------------------------------------------------------------------------------------------


def digits(hidden, seed):
    X, y, *_ = ng.datasets.load_digits()
    net = ng.topologies.layered([64, *hidden, 10], seed=seed)
    ng.Trainer(net, optimizer=ng.optim.Adam(lr=3e-3)).fit(X, y, epochs=15, progress=False)
    return net, X, y


def test_learned_scores_on_a_network_it_has_never_seen():
    """Far better than any connections, and not worse than magnitude, of another depth and width."""
    net, X, y = digits([40], 0)
    before = everything(net)
    pruner = ng.sparsity.LearnedPruner().fit(net, X, y)
    assert everything(net) == before
    assert pruner.losses[-1] < 0.3 * pruner.losses[0]
    loss = {}
    for score in ("learned", "magnitude", "random"):
        other, X, y = digits([60, 30], 1)
        other.backward(X, y, "cross_entropy")
        ng.sparsity.prune_lowest(other, pruner.score if score == "learned" else score, fraction=0.7)
        loss[score] = other.backward(X, y, "cross_entropy")
    assert loss["learned"] < loss["magnitude"] < loss["random"]


def test_learned_scores_follow_the_seed_and_do_not_depend_on_the_scale():
    net, X, y = digits([20], 0)
    scores = []
    for _ in range(2):
        pruner = ng.sparsity.LearnedPruner(groups=30, epochs=3).fit(net, X, y)
        net.backward(X, y, "cross_entropy")
        scores.append(pruner.score(net.connections, net.rng))
    np.testing.assert_array_equal(*scores)
    conns = net.connections
    conns.weight *= 4  # powers of two are exact
    conns.grad = conns.grad * 2
    np.testing.assert_allclose(pruner.score(conns, net.rng), scores[0], rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_learned_pruner_takes_any_topology(kind):
    net, (X, y) = network(kind), batch()
    ng.Trainer(net).fit(X, y, epochs=20, progress=False)
    pruner = ng.sparsity.LearnedPruner(groups=20, epochs=2).fit(net, X, y)
    n = net.n_connections
    assert ng.sparsity.prune_lowest(net, pruner.score, 0.3) == round(0.3 * n)


def test_gradient_of_the_pruners_loss():
    from neurograph.sparsity.learned import _SquaredLog

    rng = np.random.default_rng(0)
    loss, outputs = _SquaredLog(np.array([3, 1, 4]), rng.normal(size=3)), rng.normal(size=(8, 1))
    _, gradient = loss(outputs, None)
    for i in range(8):
        moved = outputs.copy()
        moved[i] += 1e-6
        assert (loss(moved, None)[0] - loss(outputs, None)[0]) / 1e-6 == pytest.approx(gradient[i, 0], abs=1e-5)


def test_the_learned_pruner_refuses():
    net, (X, y) = network("layered"), batch()
    with pytest.raises(ng.InvalidValueError, match="not been trained"):
        ng.sparsity.prune_lowest(net, ng.sparsity.LearnedPruner().score)
    with pytest.raises(ng.InvalidValueError, match="12 connections"):
        ng.sparsity.LearnedPruner().fit(chain(), [[1.0, 2.0]], [0])
    before = everything(net)
    with pytest.raises(ng.InvalidValueError, match="2 columns"):
        ng.sparsity.LearnedPruner().fit(net, X[:, :2], y)
    assert everything(net) == before
    net.connections.weight = 0.0
    with pytest.raises(ng.InvalidValueError, match="train the network first"):
        ng.sparsity.LearnedPruner(groups=5).fit(net, X, y)
    net.tie(net.connections[:2], [0, 0])
    with pytest.raises(ng.InvalidValueError, match="untie"):
        ng.sparsity.LearnedPruner(groups=5).fit(net, X, y)
    for name in ("hidden", "groups", "epochs"):
        with pytest.raises(ng.InvalidValueError, match=f"{name} is 0"):
            ng.sparsity.LearnedPruner(**{name: 0})
