"""Many networks in one adjacency, against the networks themselves."""

import numpy as np
import pytest

import neurograph as ng


def small(seed, backend="cpu", dtype="float64", n_inputs=3):
    rng = np.random.default_rng(seed)
    net = ng.Network(seed=seed, dtype=dtype, backend=backend)
    x = net.add_inputs(n_inputs, name="x")
    h = net.add_neurons(int(rng.integers(2, 7)), activation=rng.choice(["tanh", "relu", "sigmoid"]).item())
    y = net.add_outputs(int(rng.integers(1, 3)), bias=0.1, name="y")
    net.connect(x, h, density=0.7)
    net.connect(h, h, density=0.4)
    net.connect(h | x, y, density=0.8)
    net.remove_neurons(h[0])  # slots with holes
    return net


@pytest.mark.nojit
@pytest.mark.parametrize("share_inputs", [False, True])
def test_a_union_computes_and_learns_what_its_parts_do(backend, share_inputs):
    parts = [small(seed, backend) for seed in range(9)]
    rng = np.random.default_rng(0)
    each = [rng.normal(size=(6, 3)) for _ in parts]
    if share_inputs:
        each = each[:1] * len(parts)
    X = each[0] if share_inputs else np.concatenate(each, axis=1)
    Y = [rng.normal(size=(6, part.n_outputs)) for part in parts]
    total = sum(part.n_outputs for part in parts)
    big = ng.union(parts, share_inputs=share_inputs)
    big.graph.check()
    assert big.backend_name == backend and big.schedule.depth == max(part.schedule.depth for part in parts)
    adam = ng.optim.Adam(lr=0.05)
    for _ in range(5):
        # mse averages over the outputs, of which the union has more
        big.backward(X, np.concatenate(Y, axis=1), loss=lambda o, y: (0.0, 2 * (o - y) / len(o)))
        adam.step(big)
        for part, x, y in zip(parts, each, Y, strict=True):
            part.backward(x, y, loss=lambda o, y: (0.0, 2 * (o - y) / len(o)))
            adam.step(part)
    together = np.concatenate([part.predict(x) for part, x in zip(parts, each, strict=True)], axis=1)
    assert together.shape == (6, total)
    np.testing.assert_allclose(big.predict(X), together, rtol=1e-12, atol=1e-14)
    again = ng.union(parts, share_inputs=share_inputs)  # optimizer state comes along
    adam.step(big)
    np.testing.assert_array_equal(again.connections.state("adam_m")[:5], parts[0].connections.state("adam_m")[:5])
    assert again.counters == {"adam": 5}


def test_groups_and_originals():
    parts = [small(0), small(1), small(0)]
    before = parts[0].predict(np.ones((1, 3)))
    big = ng.union(parts)
    assert big.n_neurons == sum(p.n_neurons for p in parts) and big.n_inputs == 9
    assert len(big.groups["part 2"]) == parts[2].n_neurons
    np.testing.assert_array_equal(big.groups["part 1: x"].ids, big.inputs.ids[3:6])
    assert len(big.homes) == sum(len(p.homes) for p in parts)
    big.groups["part 0"].remove()
    np.testing.assert_array_equal(parts[0].predict(np.ones((1, 3))), before)
    np.testing.assert_allclose(big.predict(np.ones((1, 6)))[:, -parts[2].n_outputs :], before)


@pytest.mark.nojit
def test_shared_parameters_add_up_their_gradients(backend):
    """Twice the same network with shared parameters, each on half of a batch, learns as one on the whole batch."""
    net = small(3, backend)
    net.tie(net.connections[:2], ["a", "a"], average=True)
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(8, 3)), rng.normal(size=(8, net.n_outputs))
    twins = ng.union([net, net], share_parameters=True)
    assert twins.n_connections == 2 * net.n_connections and twins.n_parameters == net.n_parameters
    net.backward(X, Y)
    twins.backward(np.concatenate([X[:4], X[4:]], axis=1), np.concatenate([Y[:4], Y[4:]], axis=1))
    np.testing.assert_allclose(twins.connections.grad[: net.n_connections], net.connections.grad, rtol=1e-12)
    sgd = ng.optim.SGD(lr=0.1, momentum=0.9)
    sgd.step(net), sgd.step(twins)
    expected = np.concatenate([net.predict(X[:4]), net.predict(X[4:])], axis=1)
    np.testing.assert_allclose(twins.predict(np.concatenate([X[:4], X[4:]], axis=1)), expected, rtol=1e-12)


def test_recurrent_parts():
    parts = []
    for seed in range(3):
        net = small(seed)
        h = net.neurons - net.inputs
        net.connect(h, h, density=0.3, delay=seed)
        h.time_constant = 1.0 + seed
        parts.append(net)
    big = ng.union(parts, share_inputs=True)
    X = np.random.default_rng(0).normal(size=(4, 5, 3))
    # The first part has no delay: its steps are samples.
    first = parts[0].predict(X.reshape(-1, 3)).reshape(4, 5, -1)
    together = np.concatenate([first, *(part.predict(X) for part in parts[1:])], axis=2)
    np.testing.assert_allclose(big.predict(X), together, rtol=1e-12, atol=1e-14)


def test_bad_input():
    with pytest.raises(ng.InvalidValueError, match="at least one"):
        ng.union([])
    with pytest.raises(ng.InvalidValueError, match="float32 and float64"):
        ng.union([small(0), small(1, dtype="float32")])
    with pytest.raises(ng.InvalidValueError, match="3 to 4 inputs"):
        ng.union([small(0), small(1, n_inputs=4)], share_inputs=True)
    with pytest.raises(ng.InvalidValueError, match="share_parameters"):
        ng.union([small(0), small(1)], share_parameters=True)
    with pytest.raises(ng.InvalidValueError, match="takes networks"):
        ng.union([3])


def test_parts_run_by_themselves_until_an_edit_joins_them():
    """A union of many networks is told apart in its plan; a connection between two of them changes that at once."""
    parts = [ng.topologies.random_dag(3, 40, 2, density=0.4, activation="tanh", seed=k) for k in range(70)]
    big = ng.union(parts, share_inputs=True)
    X = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    together = np.concatenate([part.predict(X) for part in parts], axis=1)
    np.testing.assert_allclose(big.predict(X), together, rtol=1e-5, atol=1e-6)
    plan = big.plan
    work = plan.incoming_work[-1]
    assert work > 20_000 and len(plan.part_bounds) == 65 and plan.part_bounds[-1] == len(plan.part_rows)
    assert (np.sort(plan.part_rows) == np.sort(plan.rows)).all()
    home = big.graph.neurons["home"][plan.part_rows]
    of_part = np.searchsorted(np.cumsum([0, *(len(p.homes) for p in parts)]), home, side="right")
    assert (np.diff(of_part) != 0).sum() == 69  # one part after the other
    assert not set(of_part[: plan.part_bounds[30]]) & set(of_part[plan.part_bounds[30] :])  # and whole ones in a share

    # From an output of the last part into the first hidden neuron of the first: it has to run after it now.
    source, target = big.outputs[-1], big.groups["part 0: hidden"][0]
    big.connect(source, target, weight=1.0)
    state = ng.to_networkx(big)
    inputs, outputs = state.graph["inputs"], state.graph["outputs"]
    one = ng.from_networkx(state, inputs, outputs, backend="reference")
    np.testing.assert_allclose(big.predict(X), one.predict(X), rtol=1e-4, atol=1e-5)
    assert not (big.predict(X) == together).all()
