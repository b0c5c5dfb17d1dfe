"""Recipes that keep a budget or penalise weights, beside twins in plain NumPy."""

import warnings

import numpy as np
import pytest

import neurograph as ng
from neurograph.sparsity.loose import prune_known
from neurograph.sparsity.pairs import gradients_at


def layered(**options):
    return ng.topologies.layered([6, 9, 4], activation="tanh", seed=3, dtype="float64", **options)


def skipping(**options):
    """A DAG whose inputs reach the outputs directly as well, and hidden neurons each other."""
    return ng.topologies.random_dag(6, 9, 4, density=0.6, activation="tanh", seed=3, dtype="float64", **options)


NETWORKS = pytest.mark.parametrize("make", [layered, skipping])


def samples(seed=0, n=32):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 6)), rng.integers(0, 4, n)


def one_step(net, recipe, optimizer, X, y, step):
    """A training loop's step, by hand."""
    recipe.before_backward(net, step)
    net.backward(X, y, "cross_entropy")
    recipe.before_update(net, step)
    optimizer.step(net)
    return recipe.step(net, step)


def by_pair(net):
    conns = net.connections
    return dict(zip(zip(conns.source.tolist(), conns.target.tolist(), strict=True), conns.weight.tolist(), strict=True))


def pairs(net):
    return set(by_pair(net))


class Twin:
    """The same network as dense matrices over all neurons: forward and backward in plain NumPy, tanh and softmax."""

    def __init__(self, net):
        n = net.n_neurons
        self.W, self.b, self.mask = np.zeros((n, n)), net.neurons.bias, np.zeros((n, n), bool)
        self.inputs, self.outputs = net.inputs.ids, net.outputs.ids
        self.order = [i for level in net.schedule.generations for i in level if i not in set(self.inputs)]
        for (s, t), w in by_pair(net).items():
            self.W[s, t], self.mask[s, t] = w, True

    def gradient(self, X, y, W=None):
        """dL/dW for every pair, dL/db; whether the pair exists or not."""
        W = self.W * self.mask if W is None else W
        out, err = np.zeros((len(X), len(W))), np.zeros((len(X), len(W)))
        out[:, self.inputs] = X
        for i in self.order:
            z = out @ W[:, i] + self.b[i]
            out[:, i] = z if i in self.outputs else np.tanh(z)
        scores = np.exp(out[:, self.outputs] - out[:, self.outputs].max(1, keepdims=True))
        scores /= scores.sum(1, keepdims=True)
        scores[np.arange(len(X)), y] -= 1
        for i in reversed(self.order):
            if i in self.outputs:
                err[:, i] = scores[:, list(self.outputs).index(i)] / len(X)
            else:
                err[:, i] = (err @ W[i]) * (1 - out[:, i] ** 2)
        return out.T @ err, err.sum(0)

    def agrees(self, net):
        assert pairs(net) == {(int(s), int(t)) for s, t in zip(*np.nonzero(self.mask), strict=True)}
        for (s, t), w in by_pair(net).items():
            assert w == pytest.approx(self.W[s, t], rel=1e-9, abs=1e-12), (s, t)
        np.testing.assert_allclose(net.neurons.bias, self.b, rtol=1e-9, atol=1e-12)


# -- the gradient of what is not there ---------------------------------------------------------------------------------


@pytest.mark.nojit
@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
@pytest.mark.parametrize("at_a_time", [2**20, 16, 1])
def test_gradients_at_equal_the_whole_product(share, at_a_time, monkeypatch):
    """By BLAS and pair by pair, in one piece and in many."""
    monkeypatch.setattr("neurograph.sparsity.pairs.AT_A_TIME", at_a_time)
    rng = np.random.default_rng(0)
    outputs, errors = rng.normal(size=(5, 23)), rng.normal(size=(5, 11))
    place = np.flatnonzero(rng.random(23 * 11) < share)
    expected = (outputs.T @ errors).ravel()[place]
    np.testing.assert_allclose(gradients_at(outputs, errors, place), expected, rtol=1e-12)
    assert gradients_at(outputs, errors, place[:0]).shape == (0,)


# -- what recipes may remove -------------------------------------------------------------------------------------------


def test_prune_known_names_what_is_emptied_and_keeps_the_outputs():
    net = ng.topologies.layered([2, 3, 3, 1], seed=0)
    with pytest.warns(UserWarning, match="'inputs' to 'hidden 1'"):
        assert prune_known(net, net.groups["inputs"].outgoing, "X") == 6
    with pytest.raises(ng.InvalidValueError, match="last connections into the outputs"):
        prune_known(net, net.connections, "X")
    assert net.n_connections == 12


# -- DropBack ----------------------------------------------------------------------------------------------------------


@NETWORKS
@pytest.mark.parametrize("biases", [True, False])
def test_dropback_by_hand(make, biases):
    """Only the ``budget`` largest changes survive a step, everything else is where it began; churn is what entered."""
    net, (X, y) = make(), samples()
    twin, optimizer = Twin(net), ng.optim.SGD(lr=0.3)
    W0, b0, budget = twin.W.copy(), twin.b.copy(), 20
    recipe, tracked = ng.sparsity.DropBack(budget, biases=biases), set()
    for step in range(1, 8):
        gW, gb = twin.gradient(X, y)
        twin.W -= 0.3 * gW * twin.mask
        twin.b -= 0.3 * gb
        change = {("w", s, t): abs(twin.W[s, t] - W0[s, t]) for s, t in zip(*np.nonzero(twin.mask), strict=True)}
        if biases:
            change |= {("b", i, 0): abs(twin.b[i] - b0[i]) for i in twin.order}
        now = set(sorted(change, key=lambda key: -change[key])[:budget])
        for kind, i, j in change.keys() - now:
            if kind == "w":
                twin.W[i, j] = W0[i, j]
            else:
                twin.b[i] = b0[i]
        assert one_step(net, recipe, optimizer, X, y, step) == len(now - tracked) == recipe.churn[-1]
        twin.agrees(net)
        assert {("w", s, t) for s, t in zip(recipe.tracked.source, recipe.tracked.target, strict=True)} | {
            ("b", i, 0) for i in recipe.tracked_biases.ids
        } == now
        tracked = now
    assert recipe.churn[0] == recipe.n_tracked == budget and len(recipe.churn) == 7
    assert net.n_connections == twin.mask.sum()


@NETWORKS
def test_dropback_with_decay_removes_what_is_not_tracked(make):
    net, (X, y) = make(), samples()
    n, recipe, optimizer = net.n_connections, ng.sparsity.DropBack(15, decay=0.5, biases=False), ng.optim.Adam(lr=0.01)
    first = by_pair(net)
    vanishing = 53  # steps after which 0.5 ** steps is below the rounding of float64
    for step in range(1, vanishing):
        one_step(net, recipe, optimizer, X, y, step)
        tracked = set(zip(recipe.tracked.source.tolist(), recipe.tracked.target.tolist(), strict=True))
        if step in (1, 3, 52):
            assert all(w == first[pair] * 0.5**step for pair, w in by_pair(net).items() if pair not in tracked)
    assert net.n_connections == n
    kept = by_pair(net)
    one_step(net, recipe, optimizer, X, y, vanishing)
    assert net.n_connections == recipe.n_tracked == 15
    left = pairs(net)
    assert left <= set(kept) and recipe.tracked.state("adam_m").all()
    for step in range(54, 60):
        assert one_step(net, recipe, optimizer, X, y, step) == 0
    assert pairs(net) == left and by_pair(net) != kept


def test_dropback_freezes_its_choice():
    net, (X, y) = layered(), samples()
    recipe, optimizer = ng.sparsity.DropBack(10, freeze=3), ng.optim.SGD(lr=0.5)
    chosen = []
    for step in range(1, 30):
        one_step(net, recipe, optimizer, X, y, step)
        chosen.append((recipe.tracked.id.tolist(), recipe.tracked_biases.ids.tolist()))
    assert all(now == chosen[2] for now in chosen[2:]) and not any(recipe.churn[3:])


def test_dropback_leaves_frozen_connections_out():
    net, (X, y) = layered(), samples()
    net.connections[:50].frozen = True
    recipe, before = ng.sparsity.DropBack(5, biases=False), net.connections.weight
    for step in range(1, 5):
        one_step(net, recipe, ng.optim.SGD(lr=0.5), X, y, step)
    changed = np.flatnonzero(net.connections.weight != before)
    assert len(changed) == 5 and changed.min() >= 50
    with pytest.raises(ng.InvalidValueError, match="budget is 41, but the network has 40 weights"):
        ng.sparsity.DropBack(41, biases=False).before_backward(net, 1)


# -- dynamic network surgery -------------------------------------------------------------------------------------------


@NETWORKS
@pytest.mark.parametrize("probability", [(0.0, 1.0), (0.5, 1.0)])
def test_surgery_equals_masks(make, probability):
    """The paper's masked update on dense matrices: pruned weights learn from the gradient of the pruned network."""
    net, (X, y) = make(), samples()
    twin, homes = Twin(net), {i: h for h, home in enumerate(net.homes) for i in home.ids.tolist()}
    recipe = ng.sparsity.DynamicNetworkSurgery(0.5, -0.2, *probability, margin=0.02, weight_decay=0.01)
    optimizer, exists = ng.optim.SGD(lr=0.5, weight_decay=0.01), twin.mask.copy()
    region = {(s, t): (homes[s], homes[t]) for s, t in by_pair(net)}
    names = sorted(set(region.values()))
    limits = {}
    for name in names:
        sizes = np.abs([w for pair, w in by_pair(net).items() if region[pair] == name])
        middle = max(sizes.mean() - 0.2 * np.sqrt((sizes**2).mean() - sizes.mean() ** 2), 0)
        limits[name] = (0.98 * middle, 1.02 * middle)
    rng, gamma, power = np.random.default_rng(), *probability
    rng.bit_generator.state = net.rng.bit_generator.state
    spliced = 0
    for step in range(1, 41):
        gW, gb = twin.gradient(X, y)
        twin.W -= 0.5 * (gW + 0.01 * twin.W) * exists
        twin.b -= 0.5 * (gb + 0.01 * twin.b)
        drawn = dict(zip(names, rng.random(len(names)) < (1 + gamma * (step - 1)) ** -power, strict=True))
        removed = grown = 0
        for (s, t), name in region.items():
            low, high = limits[name]
            if drawn[name] and twin.mask[s, t] and abs(twin.W[s, t]) <= low:
                twin.mask[s, t], removed = False, removed + 1
            elif drawn[name] and not twin.mask[s, t] and abs(twin.W[s, t]) > high:
                twin.mask[s, t], grown = True, grown + 1
        assert one_step(net, recipe, optimizer, X, y, step) == (removed, grown)
        twin.agrees(net)
        assert net.n_connections + recipe.n_pruned == exists.sum()
        spliced += grown
    assert spliced > 5 and recipe.n_pruned > 5
    assert recipe.thresholds == {name: pytest.approx(limits[name]) for name in names}


def test_surgery_keeps_the_state_of_survivors():
    net, (X, y) = layered(), samples()
    recipe, optimizer = ng.sparsity.DynamicNetworkSurgery(0.5, 0.0, margin=0.02), ng.optim.Adam(lr=0.02)
    grown = 0
    for step in range(1, 40):
        recipe.before_backward(net, step)
        net.backward(X, y, "cross_entropy")
        recipe.before_update(net, step)
        optimizer.step(net)
        conns = net.connections
        columns = conns.id, conns.weight, conns.state("adam_m"), conns.state("adam_v")
        before = {i: state for i, *state in zip(*columns, strict=True)}
        recipe.step(net, step)
        conns = net.connections
        for i, weight, m, v in zip(conns.id, conns.weight, conns.state("adam_m"), conns.state("adam_v"), strict=True):
            assert before[i] == [weight, m, v] if i in before else (m, v) == (0, 0)
            grown += i not in before
    assert grown


def test_surgery_stops():
    net, (X, y) = layered(), samples()
    recipe, optimizer = ng.sparsity.DynamicNetworkSurgery(0.5, 0.0, stop=5), ng.optim.SGD(lr=0.5)
    for step in range(1, 12):
        one_step(net, recipe, optimizer, X, y, step)
        if step == 5:
            left = pairs(net)
            assert recipe.n_pruned == 90 - len(left) > 0
    assert pairs(net) == left and recipe.n_pruned == 0


def test_surgery_takes_a_rate_for_each_pair_of_homes():
    net = layered()
    recipe = ng.sparsity.DynamicNetworkSurgery(lambda i: 0.1, {(0, 1): 100.0, (1, 2): -100.0})
    recipe.before_backward(net, 1)
    assert recipe.thresholds[0, 1][0] > 1 and recipe.thresholds[1, 2] == (0, 0)
    with pytest.raises(ng.InvalidValueError, match="home 1 to home 2"):
        ng.sparsity.DynamicNetworkSurgery(0.1, {(0, 1): 1.0}).before_backward(layered(), 1)


def test_surgery_refuses_networks_it_has_no_gradient_for():
    net = layered()
    net.outputs[:1].aggregation = "max"
    with pytest.raises(ng.InvalidValueError, match="takes the max"):
        ng.sparsity.DynamicNetworkSurgery(0.1).before_backward(net, 1)
    net = layered()
    net.connect(net.outputs, net.outputs, density=0.5, delay=1)
    with pytest.raises(ng.InvalidValueError, match="delays"):
        ng.sparsity.DynamicNetworkSurgery(0.1).before_backward(net, 1)
    net, (X, y) = layered(), samples()
    recipe = ng.sparsity.DynamicNetworkSurgery(0.1, 1000.0)
    with pytest.raises(ng.InvalidValueError, match="last connections into the outputs"):
        one_step(net, recipe, ng.optim.SGD(lr=0.1), X, y, 1)
    assert net.n_connections == 90


# -- ADMM --------------------------------------------------------------------------------------------------------------


def projected(W, mask, region, keep):
    """The largest entries of each region, by a sort."""
    Z = np.zeros_like(W)
    for name, count in keep.items():
        members = [pair for pair in region if region[pair] == name and mask[pair]]
        for pair in sorted(members, key=lambda pair: -abs(W[pair]))[:count]:
            Z[pair] = W[pair]
    return Z


@NETWORKS
def test_admm_by_hand(make):
    net, (X, y) = make(), samples()
    twin, homes = Twin(net), {i: h for h, home in enumerate(net.homes) for i in home.ids.tolist()}
    region = {pair: (homes[pair[0]], homes[pair[1]]) for pair in by_pair(net)}
    keep = {name: round(0.3 * list(region.values()).count(name)) for name in set(region.values())}
    Z, U = projected(twin.W, twin.mask, region, keep), np.zeros_like(twin.W)
    recipe = ng.sparsity.ADMM(alpha=0.3, rho=0.2, every=3, iterations=4)
    optimizer = ng.optim.SGD(lr=0.3)
    for step in range(1, 21):
        gW, gb = twin.gradient(X, y)
        if step <= 12:
            gW = gW + 0.2 * (twin.W - Z + U)
        twin.W -= 0.3 * gW * twin.mask
        twin.b -= 0.3 * gb
        if step == 12:
            twin.mask &= projected(twin.W, twin.mask, region, keep) != 0
            twin.W *= twin.mask
        elif step < 12 and step % 3 == 0:
            Z = projected(twin.W + U, twin.mask, region, keep)
            U = (U + twin.W - Z) * twin.mask
        assert (one_step(net, recipe, optimizer, X, y, step) > 0) == (step == 12)
        twin.agrees(net)
        if step < 12:
            gap = np.linalg.norm((twin.W - Z)[twin.mask]) / np.linalg.norm(twin.W[twin.mask])
            assert recipe.gap == pytest.approx(gap)
    assert recipe.pruned and recipe.gap == 0 and net.n_connections == sum(keep.values())


@NETWORKS
def test_progressive_admm_counts_from_the_first_round(make):
    net, (X, y) = make(), samples()
    sizes = np.bincount(net.connections.regions()[1])
    recipe = ng.sparsity.ProgressiveADMM([0.6, 0.3, 0.2], rho=0.2, every=2, iterations=3, retrain=4)
    optimizer, left = ng.optim.Adam(lr=0.02), {}
    for step in range(1, 32):
        if step in (6, 16, 26):
            state = dict(zip(net.connections.id.tolist(), net.connections.state("adam_v").tolist(), strict=True))
        one_step(net, recipe, optimizer, X, y, step)
        left[step] = np.bincount(net.connections.regions()[1]).tolist()
        assert recipe.round == (step >= 6) + (step >= 16) + (step >= 26)
    share = {5: 1.0, 6: 0.6, 15: 0.6, 16: 0.3, 25: 0.3, 26: 0.2, 31: 0.2}
    assert {step: left[step] for step in share} == {
        step: [round(share[step] * int(n)) for n in sizes] for step in share
    }
    assert set(net.connections.id.tolist()) <= set(state)


def test_admm_keeps_what_it_is_told_for_each_pair_of_homes():
    net, (X, y) = layered(), samples()
    recipe = ng.sparsity.ADMM({(0, 1): 0.1, (1, 2): 0.5}, rho=0.1, every=1, iterations=2)
    trainer = ng.Trainer(net, optimizer=ng.optim.Adam(), rewire=recipe)
    trainer.fit(X, y, epochs=2, batch_size=32, progress=False)
    assert np.bincount(net.connections.regions()[1]).tolist() == [5, 18]
    with pytest.raises(ng.InvalidValueError, match="home 1 to home 2"):
        ng.sparsity.ADMM({(0, 1): 0.1}).before_backward(layered(), 1)


# -- weight elimination ------------------------------------------------------------------------------------------------


@NETWORKS
def test_elimination_penalises_as_its_derivative_says(make):
    """The gradient that it adds is the difference quotient of lambda times the effective number of weights."""
    net, (X, y) = make(), samples()
    recipe = ng.sparsity.WeightElimination(0.02, w0=0.3, biases=True)
    net.outputs.bias = 0.4
    net.backward(X, y, "cross_entropy")
    grads = net.connections.grad, net.outputs.bias_grad
    recipe.before_update(net, 1)
    for i in (0, 7, 20):
        conn, there = net.connections[i], net.connections[i].weight
        values = []
        for weight in (there - 1e-6, there + 1e-6):
            conn.weight = weight
            values.append(0.02 * recipe.effective(net))
        conn.weight = there
        assert conn.grad - grads[0][i] == pytest.approx((values[1] - values[0]) / 2e-6, rel=1e-5, abs=1e-9)
    scaled = 0.4 / 0.3
    slope = 0.02 * 2 * scaled / 0.3 / (1 + scaled**2) ** 2
    np.testing.assert_allclose(net.outputs.bias_grad - grads[1], slope)


def test_elimination_counts_shared_parameters_once_and_frozen_weights_are_left_alone():
    net = layered(weight=0.5)
    net.tie(net.connections[:54], np.arange(54) % 2)
    net.connections[-1:].frozen = True
    recipe = ng.sparsity.WeightElimination(0.1, w0=0.5)
    assert recipe.effective(net) == pytest.approx((2 + 36) / 2)
    X, y = samples()
    net.backward(X, y, "cross_entropy")
    before = net.connections.grad
    recipe.before_update(net, 1)
    added = net.connections.grad - before
    np.testing.assert_allclose(added[:-1], 0.1 * 2 / 0.5 / 4)
    assert added[-1] == 0


def test_elimination_adapts_lambda_once_an_epoch_by_the_mean_loss():
    net, (X, y) = layered(), samples()
    recipe = ng.sparsity.WeightElimination(every=4, delta=1e-3, loss="cross_entropy")
    trainer = ng.Trainer(net, optimizer=ng.optim.SGD(lr=0.1), rewire=recipe)
    history = trainer.fit(X, y, epochs=6, batch_size=8, progress=False)
    twin = ng.sparsity.WeightElimination(every=1, delta=1e-3)
    for loss in history["loss"]:
        expected = twin.adapt(loss)
    assert recipe.lambda_ == pytest.approx(expected) and recipe.lambda_ > 0


def test_elimination_removes_what_costs_little():
    net = layered()
    weight = net.connections.weight
    net.connections[:3].frozen = True
    net.connections[:3].weight = 0.0
    cost = (weight / 0.5) ** 2 / (1 + (weight / 0.5) ** 2)
    expected = int((cost[3:] < 0.2).sum())
    assert ng.sparsity.WeightElimination(w0=0.5).eliminate(net, below=0.2) == expected == 90 - net.n_connections


# -- hard concrete gates -----------------------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@NETWORKS
@pytest.mark.parametrize("per", ["connection", "source"])
def test_gates_by_hand(make, per):
    """Weights, gradients and log alpha after a few steps, beside the equations on arrays; torch's Adam is the rule."""
    net, (X, y) = make(), samples()
    twin, beta, gamma, zeta, lambda_, lr = Twin(net), 2 / 3, -0.1, 1.1, 0.03, 0.05
    rng = np.random.default_rng()
    rng.bit_generator.state = net.rng.bit_generator.state
    recipe = ng.sparsity.HardConcrete(lambda_, per=per, lr=lr, droprate_init=0.4)
    optimizer = ng.optim.SGD(lr=0.2)
    conns = net.connections_as_stored
    s, t = conns.source, conns.target
    homes = np.array([h for i in range(net.n_neurons) for h, home in enumerate(net.homes) if i in home])
    keys = [(int(a), int(homes[b]) if per == "source" else int(b)) for a, b in zip(s, t, strict=True)]
    gates = sorted(set(keys)) if per == "source" else keys
    gate = np.array([gates.index(key) for key in keys])
    log_alpha = rng.normal(np.log(0.6 / 0.4), 0.01, len(gates))
    m, v, size = np.zeros(len(gates)), np.zeros(len(gates)), np.bincount(gate)
    for step in range(1, 6):
        u = rng.uniform(1e-6, 1 - 1e-6, len(gates))
        soft = sigmoid((np.log(u) - np.log(1 - u) + log_alpha) / beta)
        z = np.clip(soft * (zeta - gamma) + gamma, 0, 1)
        effective = np.zeros_like(twin.W)
        effective[s, t] = twin.W[s, t] * z[gate]
        gW, gb = twin.gradient(X, y, effective)
        slope = ((z > 0) & (z < 1)) * (zeta - gamma) * soft * (1 - soft) / beta
        opened = sigmoid(log_alpha - beta * np.log(-gamma / zeta))
        grad = np.bincount(gate, gW[s, t] * twin.W[s, t]) * slope + lambda_ * size * opened * (1 - opened)
        twin.W[s, t] -= 0.2 * gW[s, t] * z[gate]
        twin.b -= 0.2 * gb
        m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
        log_alpha -= lr * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
        assert one_step(net, recipe, optimizer, X, y, step) == 0
        settled = np.clip(sigmoid(log_alpha) * (zeta - gamma) + gamma, 0, 1)
        np.testing.assert_allclose(recipe.log_alpha, log_alpha[gate], rtol=1e-9)
        np.testing.assert_allclose(recipe.gates, settled[gate], rtol=1e-9)
        np.testing.assert_allclose(conns.weight, twin.W[s, t] * settled[gate], rtol=1e-9)
        np.testing.assert_allclose(net.neurons.bias, twin.b, rtol=1e-9)


@NETWORKS
@pytest.mark.parametrize("per", ["connection", "source"])
def test_closed_gates_are_removed_for_good(make, per):
    net, (X, y) = make(), samples()
    n, recipe = net.n_connections, ng.sparsity.HardConcrete(0.004, per=per, lr=0.1, prune_every=10)
    optimizer, removed = ng.optim.Adam(lr=0.02), 0
    for step in range(1, 101):
        recipe.before_backward(net, step)
        net.backward(X, y, "cross_entropy")
        recipe.before_update(net, step)
        optimizer.step(net)
        state = {i: m for i, m in zip(net.connections.id, net.connections.state("adam_m"), strict=True)}
        gone = recipe.step(net, step)
        assert gone == 0 or step % 10 == 0
        conns = net.connections
        assert [state[i] for i in conns.id] == conns.state("adam_m").tolist()
        removed += gone
        if step % 10 == 0:
            assert (recipe.gates > 0).all() and len(recipe.gates) == net.n_connections == n - removed
        if per == "source" and gone:  # a neuron loses all its connections into a home, or none
            conns = net.connections
            full = make().connections
            here = set(zip(conns.source.tolist(), conns.target_home.tolist(), strict=True))
            ends = zip(full.source.tolist(), full.target_home.tolist(), strict=True)
            assert sum(end in here for end in ends) == net.n_connections
    assert 0 < removed < n
    before = net.predict(X)
    recipe.finish(net)
    np.testing.assert_allclose(net.predict(X), before)
    weights = net.connections.weight
    assert one_step(net, recipe, ng.optim.SGD(lr=0.0), X, y, 101) == 0
    assert (net.connections.weight == weights).all() and recipe.finished


def test_evaluation_between_steps_sees_the_settled_gates():
    net, (X, y) = layered(), samples()
    recipe = ng.sparsity.HardConcrete(0.01)
    trainer = ng.Trainer(net, optimizer=ng.optim.Adam(), rewire=recipe)
    trainer.fit(X, y, epochs=3, batch_size=8, progress=False)
    weights = recipe.connections.weight
    assert trainer.evaluate(X, y) == trainer.evaluate(X, y)
    assert (recipe.connections.weight == weights).all()
    expected = recipe.probability.sum()
    assert 0 < expected < net.n_connections


# -- all of them -------------------------------------------------------------------------------------------------------

RECIPES = {
    "DropBack": lambda: ng.sparsity.DropBack(20),
    "DynamicNetworkSurgery": lambda: ng.sparsity.DynamicNetworkSurgery(0.1, 0.0),
    "ADMM": lambda: ng.sparsity.ADMM(0.5, every=2, iterations=2),
    "ProgressiveADMM": lambda: ng.sparsity.ProgressiveADMM([0.5, 0.3], every=2, iterations=2, retrain=2),
    "HardConcrete": lambda: ng.sparsity.HardConcrete(0.01, prune_every=3),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_network_that_someone_else_changed_is_refused(name):
    net, (X, y) = layered(), samples()
    recipe, optimizer = RECIPES[name](), ng.optim.SGD(lr=0.1)
    one_step(net, recipe, optimizer, X, y, 1)
    net.connections[:1].remove()
    weights = net.connections.weight
    for hook in (recipe.before_backward, recipe.step):
        with pytest.raises(ng.InvalidValueError, match=f"{name} knew .* make a new {name}"):
            hook(net, 2)
    with pytest.raises(ng.InvalidValueError, match="another network"):
        recipe.before_backward(layered(), 2)
    assert (net.connections.weight == weights).all()
    one_step(net, RECIPES[name](), optimizer, X, y, 2)


@pytest.mark.parametrize("name", RECIPES)
def test_hooks_in_the_wrong_order_and_shared_parameters_are_refused(name):
    net = layered(weight=0.5)
    with pytest.raises(ng.InvalidValueError, match="before_backward"):
        RECIPES[name]().step(net, 1)
    net.tie(net.connections[:4], [0, 0, 1, 1])
    with pytest.raises(ng.InvalidValueError, match="share parameters"):
        RECIPES[name]().before_backward(net, 1)
    net.untie(net.connections)
    recipe = RECIPES[name]()
    recipe.before_backward(net, 1)


@NETWORKS
@pytest.mark.parametrize("name", RECIPES)
def test_same_seed_same_result_in_the_trainer_and_after_loading(make, name, tmp_path):
    X, y = samples()
    results = []
    for _ in range(2):
        net = make()
        trainer = ng.Trainer(net, optimizer=ng.optim.Adam(lr=0.01), rewire=RECIPES[name]())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(X, y, epochs=4, batch_size=8, progress=False)
        results.append(by_pair(net))
    assert results[0] == results[1]
    net.save(tmp_path / "net.ng")
    again = ng.load(tmp_path / "net.ng")
    assert by_pair(again) == results[0]
    one_step(again, RECIPES[name](), ng.optim.SGD(lr=0.1), X, y, 1)  # a new recipe begins anew


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda s: s.DropBack(0), "budget is 0"),
        (lambda s: s.DropBack(5, decay=1.5), "decay is 1.5"),
        (lambda s: s.DropBack(5, freeze=0), "freeze is 0"),
        (lambda s: s.DynamicNetworkSurgery(-0.1), "beta is -0.1"),
        (lambda s: s.DynamicNetworkSurgery(0.1, {(0, 1): "a"}), "c_rate is 'a'"),
        (lambda s: s.DynamicNetworkSurgery(0.1, float("nan")), "c_rate is nan"),
        (lambda s: s.DynamicNetworkSurgery(0.1, gamma=-1), "gamma is -1"),
        (lambda s: s.DynamicNetworkSurgery(0.1, margin=2), "margin is 2"),
        (lambda s: s.DynamicNetworkSurgery(0.1, stop=-2), "stop is -2"),
        (lambda s: s.ADMM(1.2), "alpha is 1.2"),
        (lambda s: s.ADMM({(0, 1): -1}), "alpha is -1"),
        (lambda s: s.ADMM(0.2, rho=0), "rho is 0"),
        (lambda s: s.ADMM(0.2, every=0), "every is 0"),
        (lambda s: s.ADMM(0.2, iterations=0), "iterations is 0"),
        (lambda s: s.ProgressiveADMM([]), "alphas is"),
        (lambda s: s.ProgressiveADMM([0.2, 0.4]), "alphas rise"),
        (lambda s: s.ProgressiveADMM([0.4], retrain=-1), "retrain is -1"),
        (lambda s: s.WeightElimination(-1), "lambda_ is -1"),
        (lambda s: s.WeightElimination(w0=0), "w0 is 0"),
        (lambda s: s.WeightElimination(every=0), "every is 0"),
        (lambda s: s.WeightElimination(loss="mce"), "mce"),
        (lambda s: s.WeightElimination(gamma=2), "gamma is 2"),
        (lambda s: s.HardConcrete(-1), "lambda_ is -1"),
        (lambda s: s.HardConcrete(1, beta=0), "beta is 0"),
        (lambda s: s.HardConcrete(1, gamma=0.1), "gamma is 0.1"),
        (lambda s: s.HardConcrete(1, zeta=0.9), "zeta is 0.9"),
        (lambda s: s.HardConcrete(1, droprate_init=1), "droprate_init is 1"),
        (lambda s: s.HardConcrete(1, per="neuron"), "connection, source"),
    ],
)
def test_bad_arguments(make, words):
    with pytest.raises(ng.InvalidValueError, match=words):
        make(ng.sparsity)
