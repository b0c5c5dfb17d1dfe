"""Bugs that other libraries shipped, each as a test here, in plain words."""

import time

import numpy as np
import pytest

import neurograph as ng
from neurograph.testing import assert_graph_invariants
from tests import naive

pytestmark = pytest.mark.nojit


def small(backend, dtype="float64"):
    """3 inputs, 5 hidden, 2 outputs, fully connected, skip connections included."""
    net = ng.Network(seed=0, dtype=dtype, backend=backend)
    x, h, y = net.add_inputs(3), net.add_neurons(5, activation="tanh"), net.add_outputs(2)
    net.connect(x, h)
    net.connect(x | h, y)
    return net


X = np.random.default_rng(0).normal(size=(6, 3))
Y = np.random.default_rng(1).normal(size=(6, 2))


def test_a_pruned_connection_does_not_keep_transmitting(backend):
    """ANNarchy#12: the inverse view was stale after a prune, forward or backward in time."""
    net = small(backend)
    net.backward(X, Y, loss="mse")
    for source, target in ((0, 3), (0, 8), (5, 9), (2, 9)):
        c = net.connection(source, target)
        c.weight = 10.0
        before = net.predict(X)
        c.remove()
        assert abs(net.predict(X) - before).max() > 0.01
        expected = naive.from_network(net)
        np.testing.assert_allclose(net.predict(X), expected.predict(X.tolist()), rtol=1e-12)
        net.backward(X, Y, loss="mse")
        gradient = 2 * (net.predict(X) - Y) / Y.size
        np.testing.assert_allclose(
            net.connections.grad, expected.backward(X.tolist(), gradient.tolist()).weights, rtol=1e-10, atol=1e-14
        )
        assert source not in [p.id for p in net.neuron(target).predecessors]
        assert target not in [s.id for s in net.neuron(source).successors]


def test_a_pruned_connection_is_not_updated_or_counted(backend):
    """The same bug in the optimizer: nothing that is dead moves, and nothing dead appears in any view."""
    net = small(backend)
    opt = ng.optim.Adam(lr=0.1)
    net.backward(X, Y, loss="mse")
    opt.step(net)
    net.prune(net.connections[::2])
    for _ in range(3):
        net.backward(X, Y, loss="mse")
        opt.step(net)
        assert_graph_invariants(net)
    for block in net.parameters():
        assert np.isfinite(block.value).all()
    dead = np.setdiff1d(np.arange(len(net.parameters()[0].value)), net.connections.slots)
    assert len(dead) and not net.parameters()[0].grad[dead].any()


def test_a_skip_connection_adds_to_the_sum_before_the_activation(backend):
    """deepstruct activated the skip separately from its target's sum: tanh(a) + tanh(b) is not tanh(a + b)."""
    net = ng.Network(seed=0, dtype="float64", backend=backend)
    x, h, y = net.add_inputs(1), net.add_neurons(1, activation="identity"), net.add_outputs(1, activation="tanh")
    net.connect(x[0], h[0], weight=0.7)
    net.connect(h[0], y[0], weight=1.1)
    net.connect(x[0], y[0], weight=-0.4)
    expected = np.tanh(0.7 * 1.1 * 2.0 - 0.4 * 2.0)
    np.testing.assert_allclose(net.predict([[2.0]]), [[expected]], rtol=1e-14)
    assert abs(expected - (np.tanh(0.7 * 1.1 * 2.0) + np.tanh(-0.4 * 2.0))) > 0.1


def test_the_optimizer_follows_the_structure(backend):
    """fasterai#92: after a prune the optimizer still pointed at dead parameters, and the living stood still.

    A network pruned between two updates trains exactly as a twin whose survivors carry the moments over.
    """
    net = small(backend)
    opt = ng.optim.Adam(lr=0.05)
    for _ in range(3):
        net.backward(X, Y, loss="mse")
        opt.step(net)
    moments = {i: (m, v) for i, m, v in zip(net.connections.id, *moment_columns(net), strict=True)}
    net.prune(net.connections[1::3])
    for i, m, v in zip(net.connections.id, *moment_columns(net), strict=True):
        assert moments[i] == (m, v) and v > 0

    # Adam by hand on the survivors, step 4.
    before = net.connections.weight.copy()
    m, v = (column.copy() for column in moment_columns(net))
    net.backward(X, Y, loss="mse")
    g = net.connections.grad.copy()
    opt.step(net)
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    expected = before - 0.05 * (m / (1 - 0.9**4)) / (np.sqrt(v / (1 - 0.999**4)) + 1e-8)
    np.testing.assert_allclose(net.connections.weight, expected, rtol=1e-10)


def moment_columns(net):
    """Adam's two moments of every connection."""
    names = sorted(name for name in net.graph.connections.columns if name not in BASE_COLUMNS)
    assert len(names) == 2, names
    return [net.connections.state(name) for name in names]


BASE_COLUMNS = {"id", "source", "target", "delay", "parameter", "weight", "grad", "source_place", "target_place"}


def test_a_regrown_connection_inherits_nothing(backend):
    """A new connection, in the slot and between the very neurons of a dead one, starts from zero moments."""
    net = small(backend)
    opt = ng.optim.Adam(lr=0.05)
    for _ in range(3):
        net.backward(X, Y, loss="mse")
        opt.step(net)
    old = net.connection(0, 3)
    old_id = old.id
    old.remove()
    new = net.connect(net.neuron(0), net.neuron(3), weight=0.25)
    row = net.connections[net.connections.id == new.id]
    assert new.id != old_id and new.grad == 0.0
    for name in sorted(set(net.graph.connections.columns) - BASE_COLUMNS):
        assert row.state(name).tolist() == [0.0], name
        assert np.count_nonzero(net.connections.state(name)) == net.n_connections - 1


def test_a_bulk_of_regrown_connections_inherits_nothing(backend):
    """The same for many at once, and for new neurons' biases."""
    net = small(backend)
    opt = ng.optim.SGD(lr=0.05, momentum=0.9)
    for _ in range(3):
        net.backward(X, Y, loss="mse")
        opt.step(net)
    survivors = net.connections[net.connections.target > 7]
    net.connections[net.connections.target <= 7].remove()
    net.neuron(4).remove()
    neuron = net.add_neurons(1, activation="tanh")
    new = net.connect(net.inputs, net.groups.get("h") or net.neurons[3:7] | neuron)
    states = sorted(set(net.graph.connections.columns) - BASE_COLUMNS)
    assert states
    for name in states:
        assert not new.state(name).any(), name
        assert survivors[:3].state(name).all()
    for block in net.parameters():
        if block.name == "bias":
            for name in states:
                assert block.state(name)[neuron.slots].tolist() == [0.0]


def test_a_cycle_error_returns_at_once_and_names_one_cycle():
    """Connex enumerated every cycle and never returned: this graph has 2^60 of them."""
    net = ng.Network(seed=0, backend="reference")
    layers = [net.add_neurons(2) for _ in range(60)]
    for a, b in zip(layers, layers[1:], strict=False):
        net.connect(a, b, weight=1.0)
    started = time.perf_counter()
    with pytest.raises(ng.CycleError) as caught:
        net.connect(layers[-1][0], layers[0][0])
    assert time.perf_counter() - started < 20
    message = str(caught.value)
    assert "119" in message or "118" in message
    assert "delay=1" in message and len(message) < 1500
    assert net.n_connections == 59 * 4
    named = cycle_of(message)
    assert len(named) == 60 and named[0] != named[-1] or "more" in message


def cycle_of(message):
    """Neuron ids in the arrow chain of a cycle message."""
    import re

    chain = re.search(r"\d+(?: -> (?:\d+|\.\.\.[^>]*))+", message).group(0)
    return [int(part) for part in chain.split(" -> ") if part.isdigit()]


def test_a_cycle_error_names_a_cycle_that_is_there():
    """Each arrow of the message is a connection, or the one that was refused."""
    net = ng.Network(seed=0, backend="reference")
    net.add_inputs(1)
    h = net.add_neurons(6)
    for u, v in ((0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 3)):
        net.connect(h[u], h[v], weight=1.0)
    with pytest.raises(ng.CycleError) as caught:
        net.connect(h[3], h[4])
    chain = cycle_of(str(caught.value))
    assert chain[0] == chain[-1] and set(chain) == {h[3].id, h[4].id, h[5].id}
    for u, v in zip(chain, chain[1:], strict=False):
        assert net.has_connection(u, v) or (u, v) == (h[3].id, h[4].id)


def test_an_edit_does_not_lower_everything_anew(backend):
    """Connex compiled the whole network again after one removed connection; here the plan is patched."""
    net = small(backend)
    net.backward(X, Y, loss="mse")
    lowered = net.plans_lowered
    net.connection(0, 8).remove()
    net.backward(X, Y, loss="mse")
    net.connect(0, 8, weight=0.5)
    net.backward(X, Y, loss="mse")
    assert net.plans_lowered == lowered


def test_edits_keep_the_weights_of_everyone_else(backend):
    """pykan#399, neat-python#176: structure edits and a save must not shuffle values."""
    net = small(backend)
    values = {(c.source.id, c.target.id): c.weight for c in net.connections}
    net.remove_neurons([4])
    net.prune(net.connections[::4])
    net.add_neurons(3)
    net.connect(0, 10, weight=9.0)
    for c in net.connections:
        pair = (c.source.id, c.target.id)
        assert c.weight == values.get(pair, 9.0)


def test_weights_of_a_connection_between_survivors_keep_their_ids(backend):
    """A view taken before hundreds of edits elsewhere still speaks of its own connection."""
    net = small(backend)
    kept = net.connection(1, 9)
    kept.weight = 0.125
    for k in range(300):
        net.connect(0, net.add_neurons(1)[0], weight=float(k))
        net.connections[0 if net.connections[0].id != kept.id else 1].remove()
    assert kept.weight == 0.125 and (kept.source.id, kept.target.id) == (1, 9)
    assert net.connection(1, 9) == kept


def test_pruning_gives_memory_back(backend):
    """Masks save nothing; here a network pruned to a tenth takes about a tenth, and nothing else notices."""
    net = ng.topologies.layered([60, 80, 10], seed=0, dtype="float64", backend=backend)
    rng, optimizer = np.random.default_rng(0), ng.optim.Adam(lr=1e-3)
    X, Y = rng.normal(size=(20, 60)), rng.normal(size=(20, 10))
    net.backward(X, Y)
    optimizer.step(net)
    before, full = net.nbytes, net.n_connections
    kept = net.connections[rng.permutation(full)[: full // 10]]
    one = kept[3]
    state = {name: kept.state(name) for name in ("adam_m", "adam_v")} | {"weight": kept.weight}
    rest = net.connections[~np.isin(net.connections.id, kept.id)]
    doomed = rest[0]
    net.prune(rest)
    net.graph.check()
    assert net.nbytes < 0.2 * before
    for name, values in state.items():
        np.testing.assert_array_equal(kept.state(name), values)
    assert one.weight == state["weight"][3] and net.connection(one.source, one.target) == one
    for stale in (doomed, rest, rest[:5]):
        with pytest.raises(ng.StaleError):
            _ = stale.weight
    for _ in range(3):
        net.backward(X, Y)
        optimizer.step(net)
    assert len(net.connect(net.inputs, net.homes[1])) == 60 * 80 - int((kept.target < 140).sum())
    net.graph.check()


def test_two_refused_calls_leave_the_last_pass_alone(backend):
    """The first refusal must not make the memory of the last pass the spare one, which the second would overwrite."""
    net = ng.topologies.layered([3, 5, 2], backend=backend)
    net.backward(np.ones((4, 3)), np.zeros((4, 2)))
    before = net.outputs[0].output
    for _ in range(2):
        with pytest.raises(ng.InvalidValueError):
            net.backward(np.full((4, 3), 7.0), [0, 1, 2, 9], loss="cross_entropy")
    np.testing.assert_array_equal(net.outputs[0].output, before)
