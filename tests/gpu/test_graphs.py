"""Launches replayed as CUDA graphs: the same bits as without, whatever is edited in between."""

import numpy as np
import pytest

import neurograph as ng
from neurograph.backends import get_backend
from neurograph.backends.gpu import costs, graphs, sliced, staged, staging, step
from neurograph.functions import losses

from .test_storage import BOTH, TILES


@pytest.fixture
def plainly(monkeypatch):
    """Run something with every launch made one by one."""

    def run(act):
        with monkeypatch.context() as patched:
            patched.setattr(graphs.Replay, "run", lambda self, key, buffers, launch: launch())
            return act()

    return run


def choose(way, monkeypatch):
    """Have networks run row by row, in slices, staged in shared memory, or in tiles and dense blocks."""
    monkeypatch.setattr(sliced, "pays", lambda *_: way == "slices")
    if way == "staged":
        monkeypatch.setattr(staging, "pays", lambda rows, entries, *others: entries > 0)
        monkeypatch.setattr(staged, "room", lambda: 26)
    if way in ("tiles", "dense"):
        monkeypatch.setattr(costs, "given", TILES if way == "tiles" else BOTH)


@pytest.fixture(params=["rows", "slices"])
def way(request, monkeypatch):
    """How a network runs."""
    choose(request.param, monkeypatch)
    return request.param


def network(gpu, seed=0, **options):
    return ng.topologies.layered([6, 9, 7, 8, 3], 0.6, activation="tanh", seed=seed, backend=gpu, **options)


def batches(net, count, batch=12, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield rng.normal(size=(batch, net.n_inputs)), rng.normal(size=(batch, net.n_outputs))


def everything(net):
    """Weights, gradients and biases, to the bit."""
    connections = net.connections
    return connections.id, connections.weight, connections.grad, net.neurons.bias, net.neurons.bias_grad


def train(net, steps, edit=lambda net, step: None, optimizer=None, batch=lambda step: 12):
    """Losses of some steps, and what came of the network."""
    optimizer = optimizer or ng.optim.Adam(lr=0.01)
    losses = []
    for number in range(steps):
        ((X, Y),) = batches(net, 1, batch(number), seed=number)
        losses.append(net.backward(X, Y))
        optimizer.step(net)
        edit(net, number)
    return losses, everything(net)


def assert_same(a, b):
    assert a[0] == b[0]
    for x, y in zip(a[1], b[1], strict=True):
        assert x.tobytes() == y.tobytes()


def replay(net, name=step.NAME):
    return graphs.replays_of(net.plan)[name]


def test_replayed_as_launched(gpu, plainly, way):
    """Two sets of arrays take turns, so two recordings, and replays from then on."""
    net = network(gpu)
    assert_same(train(net, 20), plainly(lambda: train(network(gpu), 20)))
    assert (replay(net).recorded, replay(net).replayed, replay(net).reason) == (2, 18, None)


def test_edits_within_the_rows_room(gpu, plainly, way):
    """What was recorded is launched once to be compared, and stays."""

    def edit(net, number):
        if number % 3 == 2:
            gone = net.connections[number : number + 4]
            source, target = gone.source[:2], gone.target[:2]
            net.prune(gone)
            net.add_connections(source, target, weight=0.1 * number)

    net = network(gpu)
    assert_same(train(net, 18, edit), plainly(lambda: train(network(gpu), 18, edit)))
    assert (replay(net).recorded, replay(net).confirmed, replay(net).replayed) == (2, 9, 6)


@pytest.mark.parametrize("way", ["rows", "slices", "staged", "tiles"])
def test_anything_in_between(gpu, plainly, monkeypatch, way):
    """Rows are laid out anew in larger arrays, the host sets weights, batches are shorter, the precision changes."""
    choose(way, monkeypatch)

    def edit(net, number):
        if number == 3:
            net.prune(net.connections[5:60:3])
        if number == 7:
            net.connect(net.inputs, net.groups["hidden 2"], 0.5)
            net.connect(net.groups["hidden 1"], net.groups["outputs"], 0.5)
        if number == 11:
            net.connections[number].weight = 0.25
        if number == 14:
            net.connections.weight = 0.5 * net.connections.weight
            net.neurons[8:12].bias = 0.3
        if number == 16:
            net.precision = "bf16"

    def size(number):
        return 33 if number in (5, 13) else 40

    net = network(gpu)
    assert_same(train(net, 20, edit, batch=size), plainly(lambda: train(network(gpu), 20, edit, batch=size)))
    assert replay(net).replayed > 0 and (way in ("rows", "slices") or f"{WORDS[way]}" in str(net.plan))


WORDS = {"staged": "staged in shared memory", "tiles": "tiles of 16 x 16"}


@pytest.mark.parametrize("seed", range(3))
def test_any_sequence_of_edits(gpu, plainly, way, seed):
    """Connections and neurons that come and go, values set, predictions in between: all at random."""

    def edits():
        rng = np.random.default_rng(seed)

        def edit(net, number):
            act = rng.integers(7)
            if act == 0:
                net.prune(net.connections[rng.permutation(net.n_connections)[:3]])
            elif act == 1:
                net.grow(net.inputs, net.groups["hidden 2"], int(rng.integers(1, 4)), rng=rng)
            elif act == 2:
                net.connections[int(rng.integers(net.n_connections))].weight = rng.normal()
            elif act == 3:
                new = net.add_neurons(1, activation="relu")
                net.connect(net.groups["hidden 1"], new, 0.5)
                net.connect(new, net.groups["outputs"])
            elif act == 4:
                net.predict(rng.normal(size=(int(rng.integers(1, 20)), 6)))

        return edit

    assert_same(train(network(gpu), 14, edits()), plainly(lambda: train(network(gpu), 14, edits())))


def test_dense_blocks(gpu, plainly, monkeypatch):
    """CuPy records nothing of cuBLAS."""
    choose("dense", monkeypatch)
    net = network(gpu)
    assert_same(train(net, 5, batch=lambda _: 40), plainly(lambda: train(network(gpu), 5, batch=lambda _: 40)))
    assert "dense block of" in str(net.plan) and "NotImplementedError" in str(net.plan)
    assert replay(net).recorded == 0


@pytest.mark.parametrize("optimizer", [ng.optim.SGD, ng.optim.Adam, ng.optim.RMSprop])
def test_learning_rates(gpu, optimizer):
    """A schedule is followed: the losses are those of the reference backend."""
    schedule = ng.optim.Step(0.1, every=3, factor=0.5)
    expected = train(network("reference", dtype="float64"), 10, optimizer=optimizer(lr=schedule))[0]
    found = train(network(gpu, dtype="float64"), 10, optimizer=optimizer(lr=schedule))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_through_time(gpu, plainly, way):
    """Delays, states and chunks."""

    def run():
        net = network(gpu)
        net.connect(net.groups["hidden 2"], net.groups["hidden 1"], 0.3, delay=1)
        rng = np.random.default_rng(0)
        losses = []
        for _ in range(6):
            X, Y = rng.normal(size=(4, 5, 6)), rng.normal(size=(4, 5, 3))
            losses.append(net.backward(X, Y, truncate=2))
            ng.optim.SGD(lr=0.1).step(net)
        return losses, everything(net)

    assert_same(run(), plainly(run))


def test_loss_in_python(gpu, plainly):
    """A loss of the user's own runs on the host, between the replays of both passes."""

    def loss(outputs, Y):
        return float(((outputs - Y) ** 4).mean()), 4 * (outputs - Y) ** 3 / outputs.size

    def run():
        net = network(gpu)
        losses = []
        for X, Y in batches(net, 8):
            losses.append(net.backward(X, Y, loss))
            ng.optim.SGD(lr=0.1).step(net)
        return losses, everything(net)

    assert_same(run(), plainly(run))


def test_what_cannot_be_recorded(gpu, plainly, monkeypatch, cupy):
    """The launches are made one by one then, and the plan says why."""
    net = network(gpu)

    def refuse(self, mode=None):
        raise RuntimeError("no recording today")

    monkeypatch.setattr(cupy.cuda.Stream, "begin_capture", refuse)
    result = train(net, 20)
    assert replay(net).recorded == replay(net).replayed == 0 and replay(net).failures <= graphs.PATIENCE
    assert "no recording today" in str(net.plan)
    assert_same(result, plainly(lambda: train(network(gpu), 20)))


def test_broken_off_recording(gpu, monkeypatch, cupy):
    """A failure in the middle of the launches leaves nothing half done."""
    replay = graphs.Replay("trial", network(gpu).plan)
    array, done = cupy.zeros(3, np.float32), []

    def launch():
        done.append(None)
        array[:] = 7
        if len(done) == 2:
            raise ValueError("in the middle")

    for _ in range(4):
        array[:] = 0
        replay.run((), BUFFERS, launch)
        assert array.get().tolist() == [7, 7, 7]
    assert replay.reason == "ValueError: in the middle" and replay.recorded == 0


BUFFERS = graphs.Buffers()


def test_recordings_do_not_keep_memory(gpu):
    """Who drops the arrays of a pass drops the recordings over them."""
    net = network(gpu)
    for X, _ in batches(net, 4):
        net.predict(X)
    forward = replay(net, "forward")
    assert len(forward._known) == 1
    for X, _ in batches(net, 2, batch=30):
        net.predict(X)
    assert len(forward._known) == 1


def test_launches_saved(gpu, emulated):
    """A replay is one launch of the host's."""
    net = network(gpu)
    train(net, 6)
    emulated.counters.reset()
    ((X, Y),) = batches(net, 1)
    net.backward(X, Y)
    assert emulated.counters.graph_launches == 1


TARGETS = {
    "mse": lambda rng, shape: rng.normal(size=shape).astype(np.float32),
    "mae": lambda rng, shape: rng.normal(size=shape),
    "huber": lambda rng, shape: rng.normal(size=shape),
    "binary_cross_entropy": lambda rng, shape: rng.random(shape),
    "cross_entropy": lambda rng, shape: rng.integers(0, shape[1], shape[0]),
}


@pytest.mark.parametrize("loss", TARGETS)
def test_step_in_one_graph(cupy, gpu, emulated, loss):
    """Forward, loss and backward as one launch: the bits of three calls."""
    backend, rng = get_backend(gpu), np.random.default_rng(1)
    net, other = network(gpu), network(gpu)
    plan, function, run = net.plan, losses.get(loss), None
    for turn in range(4):
        X = rng.normal(size=(10, 1, 6)).astype(np.float32)
        Y = TARGETS[loss](rng, (10, 3))
        emulated.counters.reset()
        value, run, outputs = step.differentiate(plan, cupy.asarray(X) if turn == 2 else X, function, Y, run)
        assert emulated.counters.graph_launches == (turn > 0)
        again = backend.forward(other.plan, X)
        expected, gradient = backend.LOSSES[function](again.device_outputs[:, 0], Y)
        backend.backward(other.plan, again, gradient[:, None])
        assert value == expected
        assert outputs.get().tobytes() == again.outputs[:, 0].tobytes()
        for a, b in zip(everything(net), everything(other), strict=True):
            assert a.tobytes() == b.tobytes()
        for each in (net, other):
            ng.optim.SGD(lr=0.1).step(each)


def test_step_leaves_to_others(cupy, gpu):
    """What the definition of the loss has to judge, convert or refuse, and what runs in steps of time."""
    net = network(gpu)
    X, labels = np.zeros((4, 1, 6), np.float32), np.array([0, 1, 2, 0])
    for Y in (labels - 1, labels + 1, labels.astype(np.int32), labels[:3], labels.tolist(), np.full((4, 3), 2.0)):
        assert step.differentiate(net.plan, X, losses.cross_entropy, Y, None) is None
    for Y in (np.full((4, 3), np.nan), np.zeros((4, 2)), np.zeros((4, 3), complex), np.full((4, 3), np.inf)):
        assert step.differentiate(net.plan, X, losses.mse, Y, None) is None
    assert step.differentiate(net.plan, X, lambda outputs, Y: (0.0, outputs), labels, None) is None
    assert not net.connections.grad.any()
    net.connect(net.groups["hidden 2"], net.groups["hidden 1"], 0.3, delay=1)
    assert step.differentiate(net.plan, X, losses.cross_entropy, labels, None) is None


def test_step_that_diverges(gpu):
    """The loss that the definition gives."""
    net = network(gpu)
    net.connections.weight = np.float32(3e38)
    done = step.differentiate(net.plan, np.ones((4, 1, 6), np.float32), losses.mse, np.zeros((4, 3)), None)
    assert not np.isfinite(done[0])
