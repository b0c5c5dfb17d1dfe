"""The update rules on the device, against their definition in NumPy."""

import numpy as np
import pytest

from neurograph.backends import updates as truth
from neurograph.backends.gpu import updates

RULES = [
    ("sgd", dict(lr=0.1, momentum=0.0, nesterov=False, weight_decay=0.05)),
    *[("sgd", dict(lr=0.1, momentum=0.9, nesterov=ahead, weight_decay=0.05)) for ahead in (False, True)],
    ("adam", dict(lr=0.02, beta1=0.8, beta2=0.95, eps=1e-4, weight_decay=0.05, decoupled=False)),
    ("adam", dict(lr=0.02, beta1=0.8, beta2=0.95, eps=1e-4, weight_decay=0.05, decoupled=True)),
    *[("rmsprop", dict(lr=0.01, alpha=0.9, eps=1e-5, momentum=m, weight_decay=0.05)) for m in (0.0, 0.8)],
]
CASES = [(np.float32, *rule) for rule in RULES] + [(np.float64, *RULES[3])]
N_STATES = {"sgd": 1, "adam": 2, "rmsprop": 2}


def states(name, options, size, dtype):
    """The arrays that a rule keeps beside the values; None where it keeps none."""
    kept = [np.zeros(size, dtype) for _ in range(N_STATES[name])]
    if name != "adam" and options["momentum"] == 0:
        kept[-1] = None
    return kept


def upload(cupy, arrays, shift):
    """Copies on the device that begin ``shift`` entries after an aligned address."""
    there = []
    for array in arrays:
        if array is not None:
            room = cupy.zeros(len(array) + shift, array.dtype)
            room[shift:] = cupy.asarray(array)
            array = room[shift:]
        there.append(array)
    return there


def steps(name, options, count):
    """Arguments of so many steps, the learning rate falling."""
    for step in range(1, count + 1):
        counted = {"step": step} if name == "adam" else {}
        yield counted | options | {"lr": options["lr"] / step}


@pytest.mark.parametrize(("size", "shift"), [(1, 0), (3, 0), (1027, 0), (1027, 1)])
@pytest.mark.parametrize(("dtype", "name", "options"), CASES, ids=str)
def test_rules_equal_the_definition(cupy, rng, dtype, name, options, size, shift):
    """Also where arrays begin at odd addresses, and where the scalars are on the device."""
    here = [rng.standard_normal(size).astype(dtype), None, *states(name, options, size, dtype)]
    direct, indirect = upload(cupy, here, shift), upload(cupy, here, shift)
    for arguments in steps(name, options, 4):
        grad = rng.standard_normal(size).astype(dtype)
        here[1] = grad
        direct[1], indirect[1] = upload(cupy, [grad, grad], shift)
        getattr(truth, name)(*here, **arguments)
        getattr(updates, name)(*direct, **arguments)
        scalars = getattr(updates, f"{name}_scalars")(**arguments).astype(dtype)
        getattr(updates, f"{name}_from")(*indirect, cupy.asarray(scalars))
    close = dict(rtol=2e-5, atol=1e-6) if dtype == np.float32 else dict(rtol=1e-12, atol=1e-13)
    for wanted, there, later in zip(here, direct, indirect, strict=True):
        if wanted is not None:
            np.testing.assert_allclose(there.get(), wanted, **close)
            np.testing.assert_array_equal(later.get(), there.get())


@pytest.mark.parametrize("shift", [0, 1])
def test_frozen_values_stay_and_their_state_moves_on(cupy, rng, shift):
    """As on the host, where the values are put back after the update."""
    size = 1027
    value, grad = rng.standard_normal((2, size)).astype(np.float32)
    frozen = rng.random(size) < 0.3
    free, held = (upload(cupy, [value, grad, *np.zeros((2, size), np.float32)], shift) for _ in range(2))
    scalars = dict(step=1, lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.1, decoupled=True)
    updates.adam(*free, **scalars)
    updates.adam(*held, **scalars, frozen=cupy.asarray(frozen))
    np.testing.assert_array_equal(held[0].get(), np.where(frozen, value, free[0].get()))
    for i in (2, 3):
        np.testing.assert_array_equal(held[i].get(), free[i].get())
    assert (free[0].get() != value).all()


@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop"])
def test_running_means_end_at_zero(cupy, name):
    """A mean whose gradient is gone would stay denormal, and slow, for ever."""
    tiny = np.finfo(np.float32).tiny
    mean = np.array([1.05 * tiny, -1.05 * tiny, 1.0], np.float32)
    zeros = np.zeros(3, np.float32)
    options = next(options for rule, options in RULES if rule == name and options.get("momentum", 1) > 0)
    kept = {"sgd": [mean], "adam": [mean, zeros], "rmsprop": [zeros, mean]}[name]
    there = upload(cupy, [zeros, zeros, *kept], 0)
    getattr(updates, name)(*there, **next(steps(name, options | {"weight_decay": 0.0}, 1)))
    after = there[3 if name == "rmsprop" else 2].get()
    assert after[:2].tolist() == [0, 0]
    assert after[2] > 0.5


def test_more_parameters_than_threads(cupy, rng, monkeypatch):
    """Threads that take several packs each, and the rest behind the last pack."""
    from neurograph.backends.gpu import launch

    monkeypatch.setattr(launch, "MOST_BLOCKS", 2)
    value, grad = rng.standard_normal((2, 7003)).astype(np.float32)
    there = cupy.asarray(value)
    updates.sgd(there, cupy.asarray(grad), None, 0.5, 0.0, False, 0.0)
    np.testing.assert_array_equal(there.get(), value - np.float32(0.5) * grad)


def test_nothing_to_update(cupy):
    """An empty block of parameters is none."""
    nothing = cupy.zeros(0, np.float32)
    updates.sgd(nothing, nothing, None, 0.5, 0.0, False, 0.0)


def test_recorded_step_with_new_scalars(cupy, rng):
    """A CUDA graph repeats the launch; learning rate and bias correction are those that lie in the array by then."""
    dtype, options = np.float32, RULES[4][1]
    here = [rng.standard_normal(50).astype(dtype), rng.standard_normal(50).astype(dtype), *np.zeros((2, 50), dtype)]
    there = upload(cupy, here, 0)
    scalars = cupy.zeros(9, dtype)
    updates.adam_from(*upload(cupy, here, 0), scalars)  # compiled before it is recorded
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        updates.adam_from(*there, scalars)
        graph = stream.end_capture()
        for arguments in steps("adam", options, 3):
            scalars.set(updates.adam_scalars(**arguments).astype(dtype), stream=stream)
            graph.launch(stream)
            truth.adam(*here, **arguments)
        stream.synchronize()
    for wanted, got in zip(here, there, strict=True):
        np.testing.assert_allclose(got.get(), wanted, rtol=2e-5, atol=1e-6)
