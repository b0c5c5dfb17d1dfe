"""Checkpoints, lottery tickets and sleep: what goes back, what stays, exact counts, and refusals."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import neurograph as ng

from .pruning import batch, chain, everything, network, pairs

KINDS = ("layered", "dag")
OPTIMIZERS = (ng.optim.Adam(lr=0.01), ng.optim.SGD(lr=0.1, momentum=0.9), ng.optim.RMSprop(lr=0.01))


def train(net, steps, optimizer=OPTIMIZERS[0]):
    X, y = batch()
    for _ in range(steps):
        net.backward(X, y, "cross_entropy")
        optimizer.step(net)


def values(net):
    """Weight and state of every connection, bias and state of every neuron, by id."""
    conns, neurons = net.connections, net.neurons
    of_connections = np.column_stack([conns.weight, *(conns.state(name) for name in sorted(conns.states))])
    of_neurons = np.column_stack([neurons.bias, *(neurons.state(name) for name in sorted(neurons.states))])
    return (
        dict(zip(conns.id.tolist(), of_connections.tolist(), strict=True)),
        dict(zip(neurons.ids.tolist(), of_neurons.tolist(), strict=True)),
    )


def columns(net):
    """Weights, biases and each column of state, as a dictionary by id each."""
    conns, neurons = net.connections, net.neurons
    found = {("weight", "weight"): (conns.id, conns.weight), ("bias", "bias"): (neurons.ids, neurons.bias)}
    found |= {("weight", name): (conns.id, conns.state(name)) for name in conns.states}
    found |= {("bias", name): (neurons.ids, neurons.state(name)) for name in neurons.states}
    return {name: dict(zip(ids.tolist(), column.tolist(), strict=True)) for name, (ids, column) in found.items()}


# -- checkpoints -------------------------------------------------------------------------------------------------------


@given(
    st.sampled_from(KINDS),
    st.integers(0, 2),
    st.integers(0, 3),
    st.lists(st.sampled_from(["train", "prune", "neuron", "tie"]), max_size=5),
    st.integers(0, 10**6),
)
def test_survivors_get_back_what_they_had(kind, which, steps, edits, seed):
    """Whatever is trained and pruned after the checkpoint, in any order."""
    net, optimizer, rng = network(kind, seed=seed % 5), OPTIMIZERS[which], np.random.default_rng(seed)
    if "tie" in edits:  # shared parameters, before the checkpoint
        some = net.connections[rng.random(net.n_connections) < 0.5]
        net.tie(some, rng.integers(0, 5, len(some)), average=True)
    train(net, steps, optimizer)
    checkpoint, before, counters = ng.sparsity.Checkpoint(net), columns(net), dict(net.counters)
    for edit in edits:
        if edit == "train":
            train(net, 2, optimizer)
        elif edit == "prune":
            net.prune(net.connections[rng.random(net.n_connections) < 0.3])
        elif edit == "neuron":
            hidden = net.neurons - net.inputs - net.outputs
            net.remove_neurons(hidden[int(rng.integers(len(hidden)))])
    checkpoint.restore(net)
    assert net.counters == counters
    for name, column in columns(net).items():  # what optimizers added later is zero
        assert column == {id: before[name][id] if name in before else 0.0 for id in column}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_restored_network_trains_as_it_did(kind, optimizer):
    net = network(kind)
    train(net, 3, optimizer)
    checkpoint = ng.sparsity.Checkpoint(net)
    train(net, 4, optimizer)
    first = everything(net)
    checkpoint.restore(net)
    train(net, 4, optimizer)
    assert everything(net) == first


def test_learning_rate_only():
    net = network("layered")
    train(net, 3)
    checkpoint, (before, _), counters = ng.sparsity.Checkpoint(net), values(net), dict(net.counters)
    train(net, 4)
    net.prune(net.connections[::2])
    weight, bias = net.connections.weight, net.neurons.bias
    checkpoint.restore(net, weights=False)
    np.testing.assert_array_equal(net.connections.weight, weight)
    np.testing.assert_array_equal(net.neurons.bias, bias)
    assert net.counters == counters
    assert all(row[1:] == before[id][1:] for id, row in values(net)[0].items())


def test_a_copy_may_be_restored(tmp_path):
    net = network("dag")
    checkpoint, weight = ng.sparsity.Checkpoint(net), net.connections.weight
    train(net, 3)
    net.save(tmp_path / "net.ng")
    copy = ng.load(tmp_path / "net.ng")
    checkpoint.restore(copy)
    np.testing.assert_array_equal(copy.connections.weight, weight)


def grown(net):
    net.prune(net.connection(0, 6))
    net.connect(net.neuron(0), net.neuron(6))


def with_a_neuron(net):
    net.add_neurons(1)


def tied(net):
    net.tie(net.connections[:2], [0, 0], average=True)


def tied_biases(net):
    net.tie(net.groups["hidden 1"], np.zeros(12, int), average=True)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (grown, r"not 1 of the .*connection \d+ \(0 -> 6\)"),
        (with_a_neuron, "does not know neuron 30"),
        (tied, "not 2 of"),
        (tied_biases, "does not know neuron 6"),
    ],
)
def test_a_changed_network_is_refused(make, words):
    net = network("layered")
    checkpoint = ng.sparsity.Checkpoint(net)
    train(net, 2)
    make(net)
    before = everything(net)
    random = net.rng.bit_generator.state
    for attempt in (checkpoint.restore, checkpoint.redraw, checkpoint.check):
        with pytest.raises(ng.InvalidValueError, match=words):
            attempt(net)
    assert everything(net) == before and net.rng.bit_generator.state == random


def test_another_network_is_refused():
    checkpoint = ng.sparsity.Checkpoint(network("layered"))
    for other in (network("dag"), ng.topologies.layered([6, 12, 9, 4], dtype="float64")):
        before = everything(other)
        with pytest.raises(ng.InvalidValueError, match="the checkpoint knows"):
            checkpoint.restore(other)
        assert everything(other) == before
    with pytest.raises(ng.InvalidValueError, match="float64, not of float32"):
        checkpoint.restore(network("layered", dtype="float32"))
    with pytest.raises(ng.InvalidValueError, match="no initializer|unknown|bad"):
        checkpoint.redraw(network("layered"), "bad")


def test_a_diverged_network_makes_no_checkpoint():
    net = network("layered")
    for block in net.parameters():
        block.value[0] = np.inf if block.name == "weight" else 0.0
    with pytest.raises(ng.InvalidValueError, match="1 weights are not finite"):
        ng.sparsity.Checkpoint(net)


def test_redrawn_weights_have_the_spread_of_the_dense_network():
    net = ng.topologies.layered([100, 200, 50], weight="xavier", seed=0, dtype="float64")
    checkpoint, before = ng.sparsity.Checkpoint(net), net.connections.weight
    train_free = net.neurons - net.inputs
    train_free.bias = 0.5
    ng.sparsity.prune_lowest(net, "random", fraction=0.8, scope="local")
    kept = pairs(net)
    checkpoint.redraw(net, "xavier")
    assert pairs(net) == kept and not net.neurons.bias.any()
    assert not np.isin(net.connections.weight, before).any()
    for home, fans in ((1, 300), (2, 250)):
        weight = net.connections.weight[net.connections.target_home == home]
        assert weight.std() == pytest.approx(np.sqrt(2 / fans), rel=0.06)


def test_redrawn_shared_parameters_stay_shared():
    net = network("layered")
    net.tie(net.connections, np.arange(net.n_connections) % 7, average=True)
    checkpoint = ng.sparsity.Checkpoint(net)
    ng.sparsity.prune_lowest(net, "random", fraction=0.3)
    checkpoint.redraw(net)
    conns = net.connections
    assert len(np.unique(conns.parameter)) == len(np.unique(conns.weight)) == 7


def test_state_by_name():
    net = network("layered")
    train(net, 1)
    conns, hidden = net.connections, net.groups["hidden 1"]
    assert set(conns.states) == set(hidden.states) == {"adam_m", "adam_v"}
    conns[:3].set_state("adam_m", [1.0, 2.0, 3.0])
    hidden.set_state("adam_v", 0.25)
    assert conns.state("adam_m")[:3].tolist() == [1.0, 2.0, 3.0] and (hidden.state("adam_v") == 0.25).all()
    conns.set_state("mine", 2.0)
    assert "mine" in conns.states and (conns.state("mine") == 2).all()
    for name in ("weight", "grad", "source", "id", "parameter", "frozen"):
        with pytest.raises(ng.InvalidValueError, match="no state"):
            conns.set_state(name, 1.0)
    with pytest.raises(ng.InvalidValueError, match=r"shape \(2,\)"):
        conns.set_state("mine", [1.0, 2.0])


# -- lottery tickets ---------------------------------------------------------------------------------------------------


class Spy:
    """A way to train that remembers what it found."""

    def __init__(self):
        self.found, self.left, self.lengths = [], [], []

    def __call__(self, net, length):
        self.found.append((*values(net), dict(net.counters)))
        self.lengths.append(length)
        train(net, length)
        self.left.append((*values(net), dict(net.counters)))
        return len(self.found) / 100


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rewind", ["weights", "learning_rate", None])
@pytest.mark.parametrize("rewind_to", [0, 2])
def test_what_each_round_starts_from(kind, rewind, rewind_to):
    net, spy = network(kind), Spy()
    tickets = ng.sparsity.LotteryTickets(rewind, fraction=0.3, rounds=2, length=5, rewind_to=rewind_to, scope="global")
    records = list(tickets.run(net, spy))
    early = bool(rewind_to)
    assert spy.lengths == [rewind_to] * early + [5 - rewind_to] * 3
    found, left = spy.found[early:], spy.left[early:]
    start = found[0]
    for number in (1, 2):
        (weights, biases, counters), before = found[number], left[number - 1]
        assert counters == (before if rewind is None else start)[2]
        for now, then, trained in ((weights, start[0], before[0]), (biases, start[1], before[1])):
            for id, (value, *state) in now.items():
                assert value == (then if rewind == "weights" else trained)[id][0]
                if rewind is None:
                    assert state == trained[id][1:]
                elif early:
                    assert state == then[id][1:]
                else:
                    assert not any(state)  # Adam had not begun
    n = len(start[0])
    sizes = [n]
    for _ in range(2):
        sizes.append(sizes[-1] - round(0.3 * sizes[-1]))
    assert [r.n_connections for r in records] == sizes == [len(w) for w, *_ in found]
    assert [r.density for r in records] == [size / n for size in sizes]
    assert [r.accuracy for r in records] == [(early + 1 + i) / 100 for i in range(3)]
    assert [r.round for r in records] == [0, 1, 2] and all(r.seconds > 0 for r in records)


def test_the_smallest_trained_weights_go():
    net, spy = network("layered"), Spy()
    list(ng.sparsity.LotteryTickets(fraction=0.25, rounds=1, length=4, scope="global").run(net, spy))
    trained = {id: abs(row[0]) for id, row in spy.left[0][0].items()}
    kept = set(spy.found[1][0])
    assert max(trained[id] for id in trained.keys() - kept) <= min(trained[id] for id in kept)


def test_the_output_layer_is_pruned_at_its_own_rate():
    """The sizes of LeNet-300-100 in the paper, with 20% and 10%."""
    net = ng.topologies.layered([20, 30, 10, 10], seed=0)
    tickets = ng.sparsity.LotteryTickets(fraction=0.2, output_fraction=0.1, rounds=2, length=0)
    list(tickets.run(net, lambda net, length: None))
    assert np.bincount(net.connections.target_home).tolist() == [0, 384, 192, 81]
    net = ng.topologies.layered([20, 30, 10, 10], seed=0)
    tickets = ng.sparsity.LotteryTickets(fraction=0.2, fractions={(0, 1): 0.5}, rounds=1, length=0)
    list(tickets.run(net, lambda net, length: None))
    assert np.bincount(net.connections.target_home).tolist() == [0, 300, 240, 80]


@pytest.mark.parametrize("kind", KINDS)
def test_reinitialized_rounds(kind):
    net, spy = network(kind), Spy()
    tickets = ng.sparsity.LotteryTickets(fraction=0.3, rounds=2, length=3, reinitialize=True, scope="global")
    list(tickets.run(net, spy))
    for number in (1, 2):
        weights, biases, counters = spy.found[number]
        assert not {row[0] for row in weights.values()} & {row[0] for row in spy.found[number - 1][0].values()}
        assert biases == {id: [row[0], 0.0, 0.0] for id, row in spy.found[0][1].items()}
        assert counters == spy.found[0][2]


def test_the_control_of_a_ticket():
    net = network("layered")
    *_, last = ng.sparsity.LotteryTickets(fraction=0.3, rounds=2, length=3, scope="global").run(net, train)
    kept, weight = pairs(net), net.connections.weight
    last.checkpoint.redraw(net, "he")
    assert pairs(net) == kept and not np.isin(net.connections.weight, weight).any()
    assert net.counters == {} and not net.connections.state("adam_m").any()


def test_the_same_seed_finds_the_same_ticket():
    found = []
    for _ in range(2):
        net = network("dag")
        list(ng.sparsity.LotteryTickets(fraction=0.3, rounds=2, length=3, scope="global").run(net, train))
        found.append(everything(net))
    assert found[0] == found[1]


def test_accuracy_is_read_from_a_history():
    X, y, *_ = ng.datasets.load_digits()
    net = ng.topologies.layered([64, 20, 10], seed=0)

    def fit(net, epochs):
        return ng.Trainer(net).fit(X, y, epochs=epochs, validation_data=(X[:100], y[:100]), progress=False)

    (first, second) = ng.sparsity.LotteryTickets(rounds=1, length=1).run(net, fit)
    assert first.accuracy == first.result["val_accuracy"][-1] != second.accuracy
    (only,) = ng.sparsity.LotteryTickets(rounds=0, length=1).run(net, lambda net, length: "nothing")
    assert np.isnan(only.accuracy) and only.result == "nothing"


def test_growing_between_rounds_is_refused():
    net = network("layered")
    rounds = ng.sparsity.LotteryTickets(fraction=0.3, rounds=2, length=3, scope="global").run(net, train)
    next(rounds)
    net.connect(net.inputs[0], net.outputs[0])
    before = everything(net)
    with pytest.raises(ng.InvalidValueError, match="the checkpoint knows"):
        next(rounds)
    assert everything(net) == before


def test_a_round_that_would_cut_outputs_off_is_refused():
    net = network("layered")
    rounds = ng.sparsity.LotteryTickets(fraction=1.0, rounds=1, length=3).run(net, train)
    next(rounds)
    before = everything(net)
    with pytest.raises(ng.InvalidValueError, match="allow_disconnected"):
        next(rounds)
    assert everything(net) == before


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"rewind": "rate"}, ng.UnknownNameError, "learning_rate"),
        ({"scope": "block"}, ng.UnknownNameError, "local, global"),
        ({"score": "size"}, ng.UnknownNameError, "magnitude"),
        ({"fraction": 2}, ng.InvalidValueError, "fraction is 2"),
        ({"output_fraction": -1}, ng.InvalidValueError, "output_fraction is -1"),
        ({"fractions": {(0, 1): 3}}, ng.InvalidValueError, "3"),
        ({"output_fraction": 0.1, "scope": "global"}, ng.InvalidValueError, "local"),
        ({"rounds": -1}, ng.InvalidValueError, "rounds is -1"),
        ({"length": 0.5}, ng.InvalidValueError, "length is 0.5"),
        ({"length": 3, "rewind_to": 4}, ng.InvalidValueError, "rewind_to is 4"),
        ({"reinitialize": True, "rewind": None}, ng.InvalidValueError, "reinitialize"),
    ],
)
def test_lottery_tickets_refuse_bad_arguments(options, error, words):
    with pytest.raises(error, match=words):
        ng.sparsity.LotteryTickets(**options)


def test_training_must_be_a_function():
    with pytest.raises(ng.InvalidValueError, match="train is 3"):
        ng.sparsity.LotteryTickets().run(network("layered"), 3)


# -- sleep -------------------------------------------------------------------------------------------------------------


def test_a_night_by_hand():
    net, X = chain(), [[1.0, 0.0], [1.0, 2.0]]
    weight = {(c.source.id, c.target.id): c.weight for c in net.connections}
    # mean |output|: inputs 1 and 1; hidden relu: 2 (0.1, -0.1) -> 0.05; 3 (-0.2, 1.4) -> 0.7; 4 (0.9, 2.3) -> 1.6
    use = [0.1, 0.2, 0.9, 0.1, 0.8, 0.7, 0.1, 0.15, 0.35, 2.8, 0.08, 8.0]
    sleep = ng.sparsity.Sleep(every=2, factor=0.5, fraction=0.1, watch=2)
    net.backward(X, [0, 1], "cross_entropy")
    assert sleep.step(net, 1) == 0
    np.testing.assert_allclose(sleep.use(net.connections, None), use)
    assert sleep.step(net, 2) == 1
    assert not net.has_connection(4, 5)
    assert {(c.source.id, c.target.id): 2 * c.weight for c in net.connections} == {
        pair: w for pair, w in weight.items() if pair != (4, 5)
    }
    assert not sleep.use(net.connections, None).any()  # a new day


def test_use_is_a_mean_over_the_steps_that_are_watched():
    net, sleep = network("dag"), ng.sparsity.Sleep(every=4, factor=1.0, fraction=0.0, watch=2)
    seen = []
    for step in range(1, 4):
        net.backward(*batch(step), "cross_entropy")
        sleep.step(net, step)
        seen.append(np.abs(net.neurons.output).mean(0))
    conns = net.connections  # of the steps 1 to 3 the third alone is one of the last two before the night at 4
    np.testing.assert_allclose(sleep.use(conns, None), abs(conns.weight) * seen[2][conns.source], rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_sleep_while_training(kind):
    net, (X, y) = network(kind, "relu"), batch()
    net.connections[:4].frozen = True
    frozen = net.connections[:4].weight
    n = net.n_connections
    sleep = ng.sparsity.Sleep(every=6, factor=0.8, fraction=0.1, watch=3, start=6, stop=20, scope="local")
    trainer = ng.Trainer(net, rewire=sleep, optimizer=ng.optim.Adam(lr=0.01))
    trainer.fit(X, y, epochs=10, batch_size=8, progress=False)  # 30 steps: nights at 6, 12 and 18
    regions = network(kind).connections
    regions = regions[4:]
    sizes = np.bincount(regions.regions()[1]).tolist()
    for _ in range(3):
        sizes = [size - round(0.1 * size) for size in sizes]
    assert net.n_connections == 4 + sum(sizes) < n
    np.testing.assert_array_equal(net.connections[:4].weight, frozen)


def test_a_refused_night_changes_nothing():
    net, sleep = network("layered"), ng.sparsity.Sleep(every=1, fraction=1.0)
    net.backward(*batch(), "cross_entropy")
    before = everything(net)
    with pytest.raises(ng.InvalidValueError, match="allow_disconnected"):
        sleep.step(net, 1)
    assert everything(net) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"every": 0}, "every is 0"),
        ({"factor": 0}, "factor is 0"),
        ({"factor": 1.1}, "factor is 1.1"),
        ({"fraction": -0.1}, "fraction is -0.1"),
        ({"watch": 0}, "watch is 0"),
        ({"scope": "block"}, "global, local, neuron"),
    ],
)
def test_sleep_refuses_bad_arguments(options, words):
    with pytest.raises(ng.InvalidValueError, match=words):
        ng.sparsity.Sleep(**options)
