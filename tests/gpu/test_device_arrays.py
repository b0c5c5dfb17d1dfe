"""Arrays of CuPy: outputs are where X was, and what is on the device stays there if the network runs on it."""

import numpy as np
import pytest

import neurograph as ng
from neurograph import backends
from neurograph.backends import device as gpus
from neurograph.errors import OutOfMemoryError
from neurograph.functions import losses

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(params=["gpu", "cpu", "reference"])
def place(request, gpu):
    """Name of the backend that runs the network; the arrays are on the device."""
    return gpu if request.param == "gpu" else request.param


def wired(backend, dtype="float32", **options):
    """A network with skip connections and several activations, and the same on the reference backend."""
    nets = []
    for name in (backend, "reference"):
        net = ng.Network(seed=3, dtype=dtype, backend=name)
        x = net.add_inputs(5)
        h = net.add_neurons(7, activation=["tanh", "relu", "sigmoid", "gelu", "sin", "identity", "silu"])
        y = net.add_outputs(3)
        net.connect(x, h, density=0.7)
        net.connect(h, h, density=0.5)
        net.connect(x | h, y, density=0.8)
        nets.append(net)
    return nets


def looping(backend):
    """A network with delays, and the same on the reference backend."""
    nets = []
    for name in (backend, "reference"):
        net = ng.Network(seed=3, backend=name)
        x, h, y = net.add_inputs(2), net.add_neurons(4, activation="tanh"), net.add_outputs(2)
        net.connect(x, h)
        net.connect(h, h, density=0.5, delay=1)
        net.connect(h, y)
        nets.append(net)
    return nets


def on_host(array, cupy):
    """An array that has to be of the device, for comparison."""
    assert isinstance(array, cupy.ndarray)
    return cupy.asnumpy(array)


def test_outputs_follow_the_input(place, cupy, rng):
    net, truth = wired(place)
    X = rng.standard_normal((9, 5)).astype(np.float32)
    there = cupy.asarray(X)
    np.testing.assert_allclose(on_host(net.predict(there), cupy), truth.predict(X), **TOLERANCE)
    np.testing.assert_allclose(on_host(net.predict(there, batch_size=4), cupy), truth.predict(X), **TOLERANCE)
    np.testing.assert_allclose(on_host(net.activations(there), cupy), truth.activations(X), **TOLERANCE)
    assert type(net.predict(X)) is np.ndarray
    np.testing.assert_array_equal(cupy.asnumpy(there), X)


def test_anything_real_is_converted_there_as_it_is_here(place, cupy, rng):
    net, truth = wired(place)
    for X in (
        rng.standard_normal((4, 5)),
        rng.integers(-3, 3, (4, 5)),
        rng.random((4, 5)) < 0.5,
        np.asfortranarray(rng.standard_normal((4, 5)).astype(np.float32)),
        rng.standard_normal((8, 5)).astype(np.float32)[::2],
    ):
        np.testing.assert_allclose(on_host(net.predict(cupy.asarray(X)), cupy), truth.predict(X), **TOLERANCE)


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.ones((2, 4), np.float32), "4 columns"),
        (np.ones(5, np.float32), "one sample is X"),
        (np.ones((0, 5), np.float32), "empty batch"),
        (np.ones((2, 5), complex), "real numbers"),
        (np.array([[0, 0, 0, 0, 0], [0, 0, np.nan, 0, 0]], np.float32), "nan at row 1, column 2"),
        (np.full((2, 5), 1e300), "inf at row 0, column 0"),
        (np.full((2, 5), 2**24 + 1), "16777217"),
    ],
    ids=["columns", "flat", "empty", "complex", "NaN", "too large", "an integer that is no float32"],
)
def test_what_is_refused_here_is_refused_there_in_the_same_words(place, cupy, X, words):
    net, _ = wired(place)
    with pytest.raises(ng.InvalidValueError) as here:
        net.predict(X)
    for call in (net.predict, lambda X: net.backward(X, np.zeros(len(X), int), "cross_entropy")):
        with pytest.raises(ng.InvalidValueError, match=words) as there:
            call(cupy.asarray(X))
        assert str(there.value).replace("array(", "").replace(")", "") == str(here.value).replace("array(", "").replace(
            ")", ""
        )


def test_large_values_are_no_infinities(place, cupy):
    """Their sum is, which only shortens the check."""
    net, _ = wired(place)
    assert net.check_inputs(cupy.full((4, 5), 3e38, dtype=np.float32)).shape == (4, 5)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "mae", "huber", "binary_cross_entropy"])
@pytest.mark.parametrize("of_targets", ["host", "device"])
def test_gradients_are_the_same_from_everywhere(place, cupy, rng, loss, of_targets):
    net, truth = wired(place)
    X = rng.standard_normal((6, 5)).astype(np.float32)
    Y = rng.integers(0, 3, 6) if loss == "cross_entropy" else rng.random((6, 3))
    value = net.backward(cupy.asarray(X), Y if of_targets == "host" else cupy.asarray(Y), loss)
    assert value == pytest.approx(truth.backward(X, Y, loss), rel=1e-5)
    np.testing.assert_allclose(net.connections.grad, truth.connections.grad, **TOLERANCE)
    np.testing.assert_allclose(net.neurons.bias_grad, truth.neurons.bias_grad, **TOLERANCE)
    np.testing.assert_allclose(on_host(net.last_outputs, cupy), truth.last_outputs, **TOLERANCE)
    assert losses.accuracy(net.last_outputs, net.last_targets, losses.get(loss)) == losses.accuracy(
        truth.last_outputs, Y, losses.get(loss)
    )
    net.backward(X, Y, loss)
    assert type(net.last_outputs) is np.ndarray


def test_a_loss_of_ones_own_gets_arrays_of_the_kind_of_x(place, cupy, rng):
    net, truth = wired(place)
    X, Y = rng.standard_normal((6, 5)).astype(np.float32), rng.standard_normal((6, 3)).astype(np.float32)
    kinds = []

    def halves(outputs, targets):
        kinds.append((type(outputs), type(targets)))
        error = outputs - targets
        return float((error * error).sum()) / 2, error

    for there in (True, False):
        x, y = (cupy.asarray(X), cupy.asarray(Y)) if there else (X, Y)
        value = net.backward(x, y, halves)
        assert value == pytest.approx(truth.backward(X, Y, halves), rel=1e-5)
        np.testing.assert_allclose(net.connections.grad, truth.connections.grad, **TOLERANCE)
    array = cupy.ndarray
    assert kinds[::2] == [(array, array), (np.ndarray, np.ndarray)]


def test_sequences_and_states(place, cupy, rng):
    net, truth = looping(place)
    X, Y = rng.standard_normal((3, 7, 2)).astype(np.float32), rng.standard_normal((3, 7, 2))
    there = cupy.asarray(X)
    np.testing.assert_allclose(on_host(net.predict(there), cupy), truth.predict(X), **TOLERANCE)
    first, state = net.predict(there[:, :4], return_state=True)
    rest = net.predict(there[:, 4:], state=state)
    both = np.concatenate([on_host(first, cupy), on_host(rest, cupy)], axis=1)
    np.testing.assert_allclose(both, truth.predict(X), **TOLERANCE)
    mask = np.arange(7) < [[3], [7], [5]]
    for options in ({}, {"truncate": 3}, {"recompute": 2}):
        value = net.backward(there, cupy.asarray(Y), "mse", mask=cupy.asarray(mask), **options)
        assert value == pytest.approx(truth.backward(X, Y, "mse", mask=mask, **options), rel=1e-5)
        np.testing.assert_allclose(net.connections.grad, truth.connections.grad, **TOLERANCE)
    np.testing.assert_allclose(on_host(net.settle(there[:, 0], 4), cupy), truth.settle(X[:, 0], 4), **TOLERANCE)


@pytest.mark.parametrize("shape", ["flat", "sequences"])
def test_training_takes_mini_batches_on_the_device(place, cupy, rng, shape):
    """The same history, whether the samples are here or there."""
    make = wired if shape == "flat" else looping
    X = rng.standard_normal((20, 5) if shape == "flat" else (20, 4, 2)).astype(np.float32)
    labels = rng.integers(0, 2, 20)
    histories = []
    for there in (True, False):
        net, _ = make(place)
        x, y = (cupy.asarray(X), cupy.asarray(labels)) if there else (X, labels)
        trainer = ng.Trainer(net, optimizer=ng.optim.Adam(lr=0.01), seed=0)
        history = trainer.fit(x, y, epochs=3, batch_size=8, progress=False, validation_data=(x[:6], y[:6]))
        histories.append((history, net.connections.weight.copy()))
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(histories[0][0][name], histories[1][0][name], rtol=1e-5)
    np.testing.assert_allclose(histories[0][1], histories[1][1], rtol=1e-5, atol=1e-7)


def test_mini_batches_do_not_cross_the_bus(gpu, cupy, rng, emulated):
    """Of samples that are on the device nothing goes there in a step: their order does, once an epoch."""
    net, _ = wired(gpu)
    X, labels = cupy.asarray(rng.standard_normal((64, 5)).astype(np.float32)), cupy.asarray(rng.integers(0, 3, 64))
    trainer = ng.Trainer(net, seed=0)
    trainer.fit(X, labels, epochs=1, batch_size=16, progress=False)
    seen = []

    class Look(ng.callbacks.Callback):
        def on_step_end(self, trainer, step, loss):
            seen.append(emulated.counters.uploaded)

    trainer.callbacks.append(Look())
    trainer.fit(X, labels, epochs=1, batch_size=16, progress=False)
    assert max(np.diff(seen)) <= 64  # scalars of the update


def test_a_teacher_and_a_frozen_network_take_them_too(place, cupy, rng):
    net, _ = wired(place)
    X, labels = rng.standard_normal((12, 5)).astype(np.float32), rng.integers(0, 3, 12)
    teacher, _ = wired("reference")
    for x, y in ((X, labels), (cupy.asarray(X), cupy.asarray(labels))):
        student, _ = wired(place)
        history = ng.Trainer(student, loss=ng.Distillation(teacher), seed=1).fit(x, y, epochs=2, progress=False)
        losses_there = history["loss"]
        if x is X:
            losses_here = losses_there
    np.testing.assert_allclose(losses_there, losses_here, rtol=1e-5)
    small = net.quantize("int8")
    np.testing.assert_array_equal(on_host(small.predict(cupy.asarray(X)), cupy), small.predict(X))


def test_an_array_of_another_gpu_is_refused(gpu, cupy, rng, monkeypatch):
    net, _ = wired(gpu)
    X = cupy.asarray(rng.standard_normal((2, 5)).astype(np.float32))
    before = net.predict(X)
    monkeypatch.setattr(gpus, "number", lambda: X.device.id + 1)
    for call in (
        net.predict,
        net.activations,
        net.check_inputs,
        net.settle,
        lambda X: net.backward(X, [[0, 0, 0]] * 2),
    ):
        with pytest.raises(ng.InvalidValueError, match=r"X is on GPU 0, but the network runs on GPU 1; move it by"):
            call(X)
    monkeypatch.undo()
    np.testing.assert_array_equal(cupy.asnumpy(net.predict(X)), cupy.asnumpy(before))


def test_a_batch_is_cut_to_what_the_device_has_room_for(gpu, cupy, rng, emulated, monkeypatch):
    """Not to what the host has."""
    monkeypatch.setattr(ng.sequences, "FREELY", 0)
    monkeypatch.setattr(ng.sequences, "LEAST", 4)
    net, truth = wired(gpu, dtype="float64")
    X, Y = rng.standard_normal((64, 5)), rng.standard_normal((64, 3))
    net.predict(X[:1])
    backend, plan = net.backend, net.plan
    room = int(2.5 * backend.footprint(plan, 16, 1, True) / ng.sequences.SHARE) // 2
    monkeypatch.setattr(backend, "available", lambda: room)
    assert 0 < ng.sequences.samples_at_once(backend, plan, 64, 1, True) < 64
    assert net.backward(X, Y) == pytest.approx(truth.backward(X, Y))
    np.testing.assert_allclose(net.connections.grad, truth.connections.grad, atol=1e-12)
    monkeypatch.setattr(backend, "available", lambda: 1)
    fresh, _ = wired(gpu)
    with pytest.raises(OutOfMemoryError, match="one sample over 1 time steps needs"):
        fresh.backward(X, Y)


def test_free_memory_is_the_devices(gpu, cupy, emulated):
    with emulated.memory_limit(10**7):
        before = backends.get_backend(gpu).available()
        kept = cupy.zeros(10**5)
        assert 0 <= before - backends.get_backend(gpu).available() - kept.nbytes < 512


def test_running_out_in_the_midst_of_a_pass(gpu, cupy, rng, emulated, monkeypatch):
    """What older passes hold is let go; then it works, or the error has both numbers, and nothing has changed."""
    net, truth = wired(gpu)
    releases, release = [], gpus.release
    monkeypatch.setattr(gpus, "release", lambda: releases.append(release()))
    X, Y = rng.standard_normal((512, 5)).astype(np.float32), rng.integers(0, 3, 512)
    net.backward(X[:8], Y[:8], "cross_entropy")
    before = taken(cupy)
    net.backward(X[:256], Y[:256], "cross_entropy")
    half = taken(cupy) - before
    with emulated.memory_limit(taken(cupy) + half + half // 2):  # for all, beside one of the two passes that are kept
        assert net.backward(X, Y, "cross_entropy") == pytest.approx(truth.backward(X, Y, "cross_entropy"), rel=1e-5)
    assert len(releases) == 1
    np.testing.assert_allclose(net.connections.grad, truth.connections.grad, **TOLERANCE)
    weights = net.connections.weight.copy()
    for call in (lambda: net.predict(np.repeat(X, 64, axis=0)), lambda: net.backward(np.repeat(X, 64, axis=0), None)):
        limit = taken(cupy) + 1000
        with emulated.memory_limit(limit), pytest.raises(OutOfMemoryError) as refused:
            call()
        assert f"of {limit:,} bytes are free" in str(refused.value) and "needed" in str(refused.value)
    np.testing.assert_array_equal(net.connections.weight, weights)
    with emulated.memory_limit(taken(cupy)), pytest.raises(OutOfMemoryError, match="bytes more of the GPU's memory"):
        ng.optim.Adam().step(net)  # no room for its moments
    np.testing.assert_array_equal(net.connections.weight, weights)
    np.testing.assert_allclose(net.predict(X), truth.predict(X), **TOLERANCE)


def taken(cupy):
    """Bytes that are taken on the device."""
    return cupy.get_default_memory_pool().used_bytes()
