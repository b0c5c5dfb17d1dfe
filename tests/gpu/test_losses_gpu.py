"""Losses on the device, against their definition."""

import numpy as np
import pytest

from neurograph.backends.gpu import losses as on_device
from neurograph.errors import InvalidValueError
from neurograph.functions import losses

EACH = [losses.mse, losses.mae, losses.huber, losses.binary_cross_entropy]
SHAPES = [(1, 1), (3, 10), (33, 40), (1500, 1)]


def targets_for(loss, outputs, rng):
    """Valid targets, some of them exactly met."""
    if loss is losses.binary_cross_entropy:
        return rng.random(outputs.shape).round(1)
    targets = outputs + 2 * rng.standard_normal(outputs.shape)
    targets.flat[::3] = outputs.flat[::3]
    return targets


def layouts(cupy, outputs):
    """The same outputs as rows, as columns, and as every other row of something larger."""
    yield cupy.asarray(outputs)
    yield cupy.asarray(np.ascontiguousarray(outputs.T)).T
    wide = np.full((2 * len(outputs), outputs.shape[1] + 3), np.nan, outputs.dtype)
    wide[::2, 1:-2] = outputs
    yield cupy.asarray(wide)[::2, 1:-2]


def require_equal(result, wanted):
    """Value and gradient are those of the definition, to rounding."""
    value, gradient = result
    assert type(value) is float
    assert value == pytest.approx(wanted[0], rel=1e-12)
    assert gradient.dtype == wanted[1].dtype
    assert gradient.shape == wanted[1].shape
    close = dict(rtol=1e-6, atol=1e-12) if gradient.dtype == np.float32 else dict(rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(gradient.get(), wanted[1], **close)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("loss", EACH)
def test_losses_of_each_output(cupy, rng, loss, shape):
    """In every layout, with targets of both precisions, here and there."""
    outputs = rng.normal(size=shape, scale=3).astype(np.float32)
    targets = targets_for(loss, outputs, rng).astype(np.float32)
    wanted = loss(outputs, targets)
    for there in layouts(cupy, outputs):
        require_equal(on_device.LOSSES[loss](there, targets), wanted)
    require_equal(on_device.LOSSES[loss](there, cupy.asarray(targets)), wanted)
    require_equal(on_device.LOSSES[loss](there, np.asfortranarray(targets)), wanted)
    if shape[1] == 1:
        require_equal(on_device.LOSSES[loss](there, targets[:, 0]), wanted)


@pytest.mark.parametrize("loss", EACH)
def test_double_precision_and_whole_numbers(cupy, rng, loss):
    """Targets that are integers or bools are compared in float64, as float64 outputs are."""
    outputs, whole = rng.normal(size=(5, 7)), rng.integers(0, 2, (5, 7))
    for targets in (whole, whole.astype(bool), whole.astype(np.uint8)):
        require_equal(on_device.LOSSES[loss](cupy.asarray(outputs), targets), loss(outputs, targets))
        require_equal(on_device.LOSSES[loss](cupy.asarray(outputs), cupy.asarray(targets)), loss(outputs, targets))


@pytest.mark.parametrize("shape", [(1, 1), (3, 10), (33, 40), (70, 3)], ids=str)
def test_cross_entropy(cupy, rng, shape):
    """Labels of several kinds, and probabilities."""
    compare = on_device.LOSSES[losses.cross_entropy]
    outputs = rng.normal(size=shape, scale=5).astype(np.float32)
    labels = rng.integers(0, shape[1], shape[0])
    wanted = losses.cross_entropy(outputs, labels)
    for there in layouts(cupy, outputs):
        require_equal(compare(there, labels), wanted)
    for kind in (np.int32, np.uint8, np.float32):
        require_equal(compare(there, labels.astype(kind)), wanted)
    require_equal(compare(there, labels.tolist()), wanted)
    require_equal(compare(there, cupy.asarray(labels)), wanted)
    require_equal(compare(there, cupy.asarray(np.repeat(labels, 2))[::2]), wanted)
    require_equal(compare(there, cupy.asarray(labels.astype(np.float32))), wanted)
    shares = rng.dirichlet(np.ones(shape[1]), shape[0]).astype(np.float32)
    for targets in (shares, cupy.asarray(shares), np.asfortranarray(shares)):
        for there in layouts(cupy, outputs):
            require_equal(compare(there, targets), losses.cross_entropy(outputs, shares))


def test_cross_entropy_of_huge_outputs(cupy):
    """Nothing overflows on the way."""
    outputs = np.array([[1000.0, 0.0, -1000.0], [-np.inf, 3.0, 2.0]])
    labels = np.array([0, 1])
    result = on_device.LOSSES[losses.cross_entropy](cupy.asarray(outputs), labels)
    require_equal(result, losses.cross_entropy(outputs, labels))


BAD = [
    (losses.mse, [[0.0, np.nan]]),
    (losses.mae, [[np.inf, 0.0]]),
    (losses.huber, np.zeros((2, 1))),
    (losses.mse, np.zeros((1, 3))),
    (losses.mse, np.zeros((1, 2), complex)),
    (losses.binary_cross_entropy, [[0.0, 1.1]]),
    (losses.binary_cross_entropy, [[-0.1, 1.0]]),
    (losses.cross_entropy, [2]),
    (losses.cross_entropy, [-1]),
    (losses.cross_entropy, np.array([2**63], np.uint64)),
    (losses.cross_entropy, [0.5]),
    (losses.cross_entropy, [np.nan]),
    (losses.cross_entropy, [0, 1]),
    (losses.cross_entropy, [[0.5, 1.5]]),
    (losses.cross_entropy, [[0.5, np.nan]]),
]


@pytest.mark.parametrize(("loss", "targets"), BAD, ids=lambda v: getattr(v, "__name__", str(v)))
@pytest.mark.parametrize("place", ["host", "device"])
def test_targets_that_the_definition_refuses(cupy, loss, targets, place):
    """The same error, whatever found it."""
    outputs = np.zeros((1, 2), np.float32)
    with pytest.raises(InvalidValueError) as wanted:
        loss(outputs, targets)
    if place == "device":
        targets = cupy.asarray(np.asarray(targets))
    with pytest.raises(InvalidValueError) as got:
        on_device.LOSSES[loss](cupy.asarray(outputs), targets)
    assert str(got.value) == str(wanted.value)


@pytest.mark.parametrize("targets", [[["a", "b"]], [[1.0], [1.0, 2.0]]], ids=str)
def test_targets_that_are_no_array_of_numbers(cupy, targets):
    """They never get to the device."""
    with pytest.raises(InvalidValueError, match="numbers"):
        on_device.LOSSES[losses.mse](cupy.zeros((1, 2), np.float32), targets)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("loss", list(on_device.LOSSES))
def test_outputs_that_diverged(cupy, loss, bad):
    """The value says so, as on the host; it is not for a loss to refuse them."""
    outputs = np.array([[1.0, bad], [0.0, 2.0]], np.float32)
    targets = np.array([0, 1]) if loss is losses.cross_entropy else np.zeros((2, 2), np.float32)
    with np.errstate(all="ignore"):
        wanted = loss(outputs, targets)
    value, gradient = on_device.LOSSES[loss](cupy.asarray(outputs), targets)
    np.testing.assert_equal(value, wanted[0])
    np.testing.assert_allclose(gradient.get(), wanted[1])


def test_outputs_of_the_host(cupy):
    """They get the definition, and a gradient on the host."""
    value, gradient = on_device.LOSSES[losses.mse](np.ones((1, 1)), cupy.zeros((1, 1)))
    assert value == 1
    assert type(gradient) is np.ndarray


@pytest.mark.parametrize(("loss", "shape"), [(losses.mse, (60, 40)), (losses.cross_entropy, (60, 40))])
def test_same_bits_in_every_order(cupy, emulated, rng, monkeypatch, loss, shape):
    """Whatever order blocks and threads run in, and however many blocks there are."""
    from neurograph.backends.gpu import launch

    outputs = cupy.asarray(rng.normal(size=shape).astype(np.float32))
    targets = rng.integers(0, shape[1], shape[0]) if loss is losses.cross_entropy else rng.normal(size=shape)

    def run():
        value, gradient = on_device.LOSSES[loss](outputs, targets)
        return np.array(value), gradient

    value, _ = emulated.in_orders(run)
    monkeypatch.setattr(launch, "MOST_BLOCKS", 1)
    assert run()[0] == value


def test_loss_left_on_the_device(cupy, rng):
    """Nothing is read back and nothing checked: what is wrong makes the loss NaN."""
    outputs = rng.normal(size=(20, 3)).astype(np.float32)
    labels = rng.integers(0, 3, 20)
    there = cupy.asarray(outputs)
    gradient, value = on_device.like(there), cupy.zeros(1, np.float64)
    partials = cupy.zeros(on_device.n_partials(losses.cross_entropy, outputs.shape), np.float64)
    wanted = losses.cross_entropy(outputs, labels)
    on_device.measure(losses.cross_entropy, there, cupy.asarray(labels), gradient, value, partials)
    require_equal((value.item(), gradient), wanted)
    labels[7] = 3
    on_device.measure(losses.cross_entropy, there, cupy.asarray(labels), gradient, value, partials)
    assert np.isnan(value.item())


def test_recorded_loss_of_new_outputs(cupy, rng):
    """A CUDA graph computes the loss of what lies in the arrays by then."""
    there, labels = cupy.zeros((20, 3), np.float32), cupy.zeros(20, np.int64)
    gradient, value = on_device.like(there), cupy.zeros(1, np.float64)
    room = (gradient, value, cupy.zeros(on_device.n_partials(losses.cross_entropy, (20, 3)), np.float64))
    on_device.measure(losses.cross_entropy, there, labels, *room)  # compiled before it is recorded
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        on_device.measure(losses.cross_entropy, there, labels, *room)
        graph = stream.end_capture()
        for _ in range(2):
            outputs, classes = rng.normal(size=(20, 3)).astype(np.float32), rng.integers(0, 3, 20)
            there.set(outputs, stream=stream)
            labels.set(classes, stream=stream)
            graph.launch(stream)
            stream.synchronize()
            require_equal((value.item(), gradient), losses.cross_entropy(outputs, classes))
