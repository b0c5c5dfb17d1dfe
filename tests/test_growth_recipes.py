"""RigL, sparse momentum, Deep R and SET by sign: what the papers say, counts, state and refusals."""

import numpy as np
import pytest

import neurograph as ng
from tests.test_growth import data, is_acyclic, layers, pairs, skipping

RECIPES = {
    "SET": lambda: ng.sparsity.SET(fraction=0.3, every=2),
    "SET by sign": lambda: ng.sparsity.SET(fraction=0.3, every=2, by_sign=True),
    "RigL": lambda: ng.sparsity.RigL(T_end=100, delta_T=2),
    "SparseMomentum": lambda: ng.sparsity.SparseMomentum(every=2, prune_rate=0.3),
    "DeepR": lambda: ng.sparsity.DeepR(eta=0.05, alpha=1e-3, T=2e-2),
    "DeepR anywhere": lambda: ng.sparsity.DeepR(eta=0.05, alpha=1e-3, T=2e-2, scope="global"),
}


@pytest.mark.parametrize("make", [skipping, layers])
@pytest.mark.parametrize("name", RECIPES)
def test_counts_state_and_frozen_connections(make, name, backend):
    net, recipe = make(backend=backend), RECIPES[name]()
    net.connections[::5].frozen = True
    held = net.connections[::5]
    kept = dict(zip(held.id.tolist(), held.weight.tolist(), strict=True))
    n, before = net.n_connections, pairs(net.connections)
    state = {}

    def remember(step):
        conns = net.connections
        for column in ("sgd_velocity",):
            state[column] = dict(zip(conns.id.tolist(), conns.state(column).tolist(), strict=True))

    changed = 0
    X, Y = data(net, 16)
    optimizer = ng.optim.SGD(lr=0.05, momentum=0.9)
    for step in range(1, 9):
        if hasattr(recipe, "before_backward"):
            recipe.before_backward(net, step)
        net.backward(X, Y)
        recipe.before_update(net, step)
        optimizer.step(net)
        remember(step)
        done = recipe.step(net, step)
        assert done.removed == done.grown and net.n_connections == n == len(pairs(net.connections))
        changed += done.grown
        conns = net.connections
        after = dict(zip(conns.id.tolist(), conns.state("sgd_velocity").tolist(), strict=True))
        old = state["sgd_velocity"]
        assert {i: v for i, v in after.items() if i in old} == {i: old[i] for i in after if i in old}
        assert {v for i, v in after.items() if i not in old} <= {0.0}
    assert changed > 10 and pairs(net.connections) != before and is_acyclic(net)
    weights = dict(zip(net.connections.id.tolist(), net.connections.weight.tolist(), strict=True))
    assert {id: weights[id] for id in kept} == kept
    net.graph.check()


@pytest.mark.parametrize("name", RECIPES)
def test_a_trainer_runs_them_and_repeats_itself(name):
    ends = []
    for _ in range(2):
        net = ng.topologies.layered([8, 20, 12, 4], density=0.4, seed=3)
        rng = np.random.default_rng(0)
        X, y = rng.normal(size=(96, 8)), rng.integers(0, 4, 96)
        trainer = ng.Trainer(net, optimizer=ng.optim.SGD(lr=0.05), rewire=RECIPES[name](), seed=0)
        history = trainer.fit(X, y, epochs=3, batch_size=16, progress=False)
        assert len(set(history["n_connections"])) == 1
        ends.append((net.connections.source, net.connections.target, net.connections.weight))
    assert all((a == b).all() for a, b in zip(*ends, strict=True))


@pytest.mark.nojit
def test_set_by_sign_drops_a_share_of_each_sign():
    net = ng.topologies.layered([10, 12, 5], seed=2)
    net.connections.weight = np.linspace(-1, 3, 180)[np.random.default_rng(0).permutation(180)]
    conns = net.connections
    weights = [conns.weight[conns.target_home == home] for home in (1, 2)]
    done = ng.sparsity.SET(fraction=0.25, every=1, by_sign=True).step(net, 1)
    assert done == (45, 45)
    after = net.connections
    for home, old in zip((1, 2), weights, strict=True):
        left = after.weight[(after.target_home == home) & (after.weight != 0)]
        for sign in (-1, 1):
            was, now = np.sort(np.abs(old[old * sign > 0])), np.sort(np.abs(left[left * sign > 0]))
            assert abs(len(was) - len(now) - 0.25 * len(was)) <= 1
            np.testing.assert_array_equal(now, was[len(was) - len(now) :])  # the largest stay


@pytest.mark.nojit
def test_deep_r_is_algorithm_1():
    """Against loops over theta, with the same noise."""
    net = ng.topologies.layered([5, 8, 3], density=0.5, seed=4, dtype="float64")
    eta, alpha, T = 0.1, 0.02, 3e-3
    recipe = ng.sparsity.DeepR(eta=eta, alpha=alpha, T=T)
    conns = net.connections
    signs = {c.id: 1.0 if c.weight > 0 else -1.0 for c in conns}
    optimizer = ng.optim.SGD(lr=eta)
    X, Y = data(net, 6)
    for step in range(1, 30):
        recipe.before_backward(net, step)
        net.backward(X, Y)
        recipe.before_update(net, step)
        conns = net.connections
        moved = {c.id: c.weight - eta * c.grad for c in conns}
        optimizer.step(net)
        twin = np.random.default_rng()
        twin.bit_generator.state = net.rng.bit_generator.state
        noise = dict(zip(conns.id.tolist(), twin.standard_normal(len(conns)), strict=True))
        theta = {i: signs[i] * w - eta * alpha + np.sqrt(2 * eta * T) * noise[i] for i, w in moved.items()}
        gone = {i for i, value in theta.items() if value < 0}
        homes = np.bincount(conns.target_home)
        done = recipe.step(net, step)
        after = net.connections
        assert done == (len(gone), len(gone)) and (np.bincount(after.target_home) == homes).all()
        weights = dict(zip(after.id.tolist(), after.weight.tolist(), strict=True))
        assert not gone & weights.keys()
        for i, value in theta.items():
            if i not in gone:
                assert weights[i] == pytest.approx(signs[i] * value, rel=1e-12, abs=1e-15)
        new = weights.keys() - theta.keys()
        assert len(new) == len(gone) and {weights[i] for i in new} <= {0.0}
        signs |= dict(zip(after.id.tolist(), recipe.signs.tolist(), strict=True))
        assert set(recipe.signs.tolist()) == {-1.0, 1.0}
    assert max(after.id) > 31 + 5


@pytest.mark.nojit
def test_deep_r_without_temperature_only_regularises():
    net = ng.topologies.layered([4, 5], seed=0, dtype="float64")
    net.connections.weight = np.linspace(-1, 1, 20)
    recipe = ng.sparsity.DeepR(eta=0.1, alpha=0.6, T=0.0, stop=2)
    assert recipe.step(net, 1) == (2, 2)  # -1/19 and 1/19 are nearer to 0 than 0.06
    kept = net.connections[:18].weight
    whole = np.linspace(-1, 1, 20)
    np.testing.assert_allclose(kept, (whole - 0.06 * np.sign(whole))[np.abs(whole) > 0.06], rtol=1e-12)
    assert recipe.step(net, 2) == (0, 0)


@pytest.mark.nojit
def test_deep_r_refuses():
    net = ng.topologies.layered([4, 5], seed=0)
    recipe = ng.sparsity.DeepR(eta=0.1)
    recipe.step(net, 1)
    net.connections[:3].remove()
    with pytest.raises(ng.InvalidValueError, match="changed by someone else"):
        recipe.before_backward(net, 2)
    net.tie(net.connections[:2], [0, 0], average=True)
    shared = ng.sparsity.DeepR(eta=0.1)
    for _ in range(2):
        with pytest.raises(ng.InvalidValueError, match="untie them"):
            shared.before_backward(net, 1)
    for options in ({"eta": -1}, {"eta": 0.1, "T": float("nan")}, {"eta": 0.1, "alpha": "a"}):
        with pytest.raises(ng.InvalidValueError, match="DeepR: "):
            ng.sparsity.DeepR(**options)
    net.untie(net.connections)
    weights = net.connections.weight
    with pytest.raises(ng.InvalidValueError, match="eta is -1"):
        ng.sparsity.DeepR(eta=lambda step: -1).step(net, 1)
    assert (net.connections.weight == weights).all()


@pytest.mark.nojit
def test_rigl_and_sparse_momentum_refuse_numbers_out_of_range():
    for options in (
        {"T_end": 0},
        {"T_end": 10, "delta_T": 0},
        {"T_end": 10, "alpha": 1.5},
        {"T_end": 10, "scope": "x"},
    ):
        with pytest.raises(ng.NeurographError):
            ng.sparsity.RigL(**options)
    for options in ({"every": 0}, {"every": 1, "prune_rate": 2}, {"every": 1, "alpha": 1}, {"every": 1, "allowed": 1}):
        with pytest.raises(ng.InvalidValueError):
            ng.sparsity.SparseMomentum(**options)


def test_rigl_finds_the_pixels_that_matter():
    """Only three of fifty inputs say anything: their neurons' fan-out rises."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(512, 50)).astype(np.float32)
    y = (X[:, :3] > 0) @ np.array([1, 2, 4])
    net = ng.topologies.layered([50, 64, 8], density=[0.1, 0.5], seed=0)
    before = net.inputs.fan_out
    rigl = ng.sparsity.RigL(T_end=300, delta_T=10)
    ng.Trainer(net, optimizer=ng.optim.Adam(lr=3e-3), rewire=rigl, seed=0).fit(X, y, 25, progress=False)
    after = net.inputs.fan_out
    assert after.sum() == before.sum() and after[:3].mean() > 1.5 * before[:3].mean() > after[3:].mean()
