"""Launches replayed as CUDA graphs: the same bits as without, whatever is edited in between."""

import numpy as np
import pytest

import neurograph as ng
from neurograph.backends import get_backend
from neurograph.backends.gpu import graphs, sliced, step
from neurograph.functions import losses


@pytest.fixture
def plainly(monkeypatch):
    """Run something with every launch made one by one."""

    def run(act):
        with monkeypatch.context() as patched:
            patched.setattr(graphs.Replay, "run", lambda self, key, buffers, launch: launch())
            return act()

    return run


@pytest.fixture(params=["rows", "slices"])
def way(request, monkeypatch):
    """How a network runs."""
    monkeypatch.setattr(sliced, "pays", lambda *_: request.param == "slices")
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
    """Twenty steps: two sets of arrays take turns, so two recordings of each pass, and replays from then on."""
    net = network(gpu)
    assert_same(train(net, 20), plainly(lambda: train(network(gpu), 20)))
    assert (replay(net).recorded, replay(net).replayed, replay(net).reason) == (2, 18, None)


def test_edits_in_between(gpu, plainly, way):
    """Connections come and go within the rows' room: what was recorded is launched once to be compared, and stays."""

    def edit(net, step):
        if step % 3 == 2:
            gone = net.connections[step : step + 4]
            source, target = gone.source[:2], gone.target[:2]
            net.prune(gone)
            net.add_connections(source, target, weight=0.1 * step)

    net = network(gpu)
    assert_same(train(net, 18, edit), plainly(lambda: train(network(gpu), 18, edit)))
    assert (replay(net).recorded, replay(net).confirmed, replay(net).replayed) == (2, 9, 6)


def test_rows_that_move(gpu, plainly, way):
    """Many new connections: rows are laid out anew, in larger arrays. What was recorded is not run on the old ones."""

    def edit(net, step):
        if step % 4 == 3:
            net.connect(net.inputs, net.groups["hidden 2"], 0.5)
            net.connect(net.groups["hidden 1"], net.groups["outputs"], 0.5)

    assert_same(train(network(gpu), 16, edit), plainly(lambda: train(network(gpu), 16, edit)))


def test_weights_set_by_hand(gpu, plainly, way):
    """What the host writes is brought to the device before a replay."""

    def edit(net, step):
        if step % 2:
            net.connections[step].weight = 0.25
        if step == 5:
            net.connections.weight = 0.5 * net.connections.weight
        if step == 7:
            net.neurons[8:12].bias = 0.3

    assert_same(train(network(gpu), 12, edit), plainly(lambda: train(network(gpu), 12, edit)))


def test_another_batch_size(gpu, plainly, way):
    """The last batch of an epoch is shorter, and replaces one of the two sets of arrays that take turns."""
    net = network(gpu)

    def size(step):
        return 5 if step % 4 == 3 else 12

    assert_same(train(net, 24, batch=size), plainly(lambda: train(network(gpu), 24, batch=size)))
    assert replay(net).replayed > 0


@pytest.mark.parametrize("optimizer", [ng.optim.SGD, ng.optim.Adam, ng.optim.RMSprop])
def test_learning_rates(gpu, plainly, optimizer):
    """A schedule is followed."""
    schedule = ng.optim.Step(0.1, every=3, factor=0.5)
    result = train(network(gpu), 10, optimizer=optimizer(lr=schedule))
    assert_same(result, plainly(lambda: train(network(gpu), 10, optimizer=optimizer(lr=schedule))))
    cpu = train(network("reference", dtype="float64"), 10, optimizer=optimizer(lr=schedule))
    again = train(network(gpu, dtype="float64"), 10, optimizer=optimizer(lr=schedule))
    np.testing.assert_allclose(again[0], cpu[0], rtol=1e-9)


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


def test_recordings_do_not_keep_memory(gpu, way):
    """Who drops the arrays of a pass drops the recordings over them."""
    net = network(gpu)
    for X, _ in batches(net, 4):
        net.predict(X)
    forward = replay(net, "forward")
    assert len(forward._known) == 1
    for X, _ in batches(net, 2, batch=30):
        net.predict(X)
    assert len(forward._known) == 1


def test_launches_saved(gpu, emulated, way):
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
def test_step_in_one_graph(cupy, gpu, emulated, loss, way):
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
