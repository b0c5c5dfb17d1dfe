"""Optimizers and update rules, against PyTorch."""

import contextlib
import dataclasses
import inspect
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numba
import numpy as np
import pytest

import neurograph as ng
from neurograph import optim
from neurograph.backends import updates as numpy_updates
from neurograph.backends.cpu import updates as numba_updates
from neurograph.errors import InvalidValueError
from neurograph.functions import schedules

BACKENDS = pytest.mark.parametrize("backend", [numpy_updates, numba_updates], ids=["numpy", "numba"])
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])

# What PyTorch and neurograph both are called with.
OPTIONS = [
    *[
        ("SGD", dict(lr=0.1, momentum=momentum, nesterov=nesterov, weight_decay=decay))
        for momentum, nesterov in [(0.0, False), (0.9, False), (0.9, True)]
        for decay in (0.0, 0.05)
    ],
    ("Adam", dict()),
    ("Adam", dict(lr=0.02, betas=(0.8, 0.95), eps=1e-4)),
    ("Adam", dict(lr=0.02, weight_decay=0.05)),
    ("AdamW", dict()),
    ("AdamW", dict(lr=0.02, betas=(0.0, 0.5), weight_decay=0.3)),
    *[
        ("RMSprop", dict(lr=0.01, alpha=alpha, momentum=momentum, weight_decay=decay))
        for alpha in (0.99, 0.5)
        for momentum in (0.0, 0.8)
        for decay in (0.0, 0.05)
    ],
    ("RMSprop", dict()),
]


class Block:
    """One block of parameters, with its state columns."""

    def __init__(self, value):
        self.value = value.copy()
        self.grad = np.zeros_like(value)
        self.columns = {}

    def state(self, name):
        return self.columns.setdefault(name, np.zeros_like(self.value))

    def holding_frozen(self):
        return contextlib.nullcontext()


def fake_net(backend, *values):
    """The part of a network that an optimizer sees."""
    blocks = [Block(value) for value in values]
    return SimpleNamespace(backend=backend, blocks=blocks, counters={}, parameters=lambda native=False: blocks)


@pytest.mark.nojit
@BACKENDS
@DTYPES
@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_fifty_steps_equal_pytorch(backend, dtype, name, options, rng):
    torch = pytest.importorskip("torch")
    start = [rng.standard_normal(37).astype(dtype), rng.standard_normal(5).astype(dtype)]
    net = fake_net(backend, *start)
    twins = [torch.nn.Parameter(torch.tensor(value)) for value in start]
    ours = getattr(optim, name)(**options)
    theirs = getattr(torch.optim, name)(twins, **options)
    for _ in range(50):
        for block, twin in zip(net.blocks, twins, strict=True):
            block.grad[:] = rng.standard_normal(block.grad.size) * rng.choice([1e-3, 1.0, 10.0], block.grad.size)
            block.grad[0] = 0.0
            twin.grad = torch.tensor(block.grad)
        ours.step(net)
        theirs.step()

    tolerance = dict(rtol=1e-11, atol=1e-12) if dtype == np.float64 else dict(rtol=1e-4, atol=1e-5)
    for block, twin, first in zip(net.blocks, twins, start, strict=True):
        assert block.value.dtype == dtype
        assert all(column.dtype == dtype for column in block.columns.values())
        np.testing.assert_allclose(block.value, twin.detach().numpy(), **tolerance)
        assert (block.value[1:] != first[1:]).all()
    assert net.counters == {"adam" if name == "AdamW" else name.lower(): 50}


@DTYPES
@pytest.mark.parametrize(
    "length", [0, 1, 7, numba_updates.SERIAL_BELOW - 1, numba_updates.SERIAL_BELOW, 5 * numba_updates.CHUNK + 5]
)
@pytest.mark.parametrize(("name", "options"), OPTIONS[3:8:2] + OPTIONS[-2:], ids=str)
def test_numba_equals_numpy_at_every_length(dtype, length, name, options, rng):
    value, grad = rng.standard_normal((2, length)).astype(dtype)
    nets = [fake_net(backend, value) for backend in (numpy_updates, numba_updates)]
    for net in nets:
        net.blocks[0].grad[:] = grad
        for _ in range(3):
            getattr(optim, name)(**options).step(net)

    expected, actual = (net.blocks[0] for net in nets)
    tolerance = dict(rtol=1e-12, atol=1e-13) if dtype == np.float64 else dict(rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(actual.value, expected.value, **tolerance)
    assert actual.columns.keys() == expected.columns.keys()
    for column, values in expected.columns.items():
        np.testing.assert_allclose(actual.columns[column], values, **tolerance)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")
@DTYPES
@pytest.mark.parametrize(("name", "options"), OPTIONS[:1] + OPTIONS[5:6] + OPTIONS[8:9] + OPTIONS[-3:], ids=str)
def test_thread_count_changes_no_bit(dtype, name, options, rng):
    value, grad = rng.standard_normal((2, 2 * numba_updates.SERIAL_BELOW + 3)).astype(dtype)
    results = []
    before = numba.get_num_threads()
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            net = fake_net(numba_updates, value)
            net.blocks[0].grad[:] = grad
            for _ in range(3):
                getattr(optim, name)(**options).step(net)
            results.append(net.blocks[0])
    finally:
        numba.set_num_threads(before)

    one, two = results
    assert not np.array_equal(one.value, value)
    np.testing.assert_array_equal(one.value, two.value)
    for column, values in one.columns.items():
        np.testing.assert_array_equal(values, two.columns[column])


TWO_THREADS = """
import threading, numpy as np
from neurograph.backends.cpu import updates

def work(done):
    arrays = np.ones((4, 3 * updates.SERIAL_BELOW))
    for step in range(300):
        updates.adam(*arrays, step + 1, 1e-3, 0.9, 0.999, 1e-8, 0.0, False)
    done.append(arrays)

done = []
threads = [threading.Thread(target=work, args=(done,)) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert np.array_equal(*done)
"""


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="plain Python has no parallel regions")
def test_two_python_threads_may_update_at_once():
    """The workqueue threading layer aborts the process if they enter parallel regions together."""
    result = subprocess.run(
        [sys.executable, "-c", TWO_THREADS],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"NUMBA_THREADING_LAYER": "workqueue"},
        capture_output=True,
        text=True,
    )

    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="plain Python has no signatures")
def test_numba_has_one_specialisation_a_dtype(rng):
    """Python scalars, NumPy scalars and whole numbers as hyper-parameters all reach the same compiled code."""
    for dtype in (np.float32, np.float64):
        for scalar in (float, np.float64, np.float32, int):
            value, grad, m, v = rng.random((4, 8)).astype(dtype)
            numba_updates.adam(value, grad, m, v, 3, scalar(1), 0.9, 0.999, 1e-8, scalar(0), False)
            numba_updates.sgd(value, grad, m, scalar(1), 0.9, True, scalar(0))
    for kernel in (numba_updates._adam, numba_updates._momentum):
        assert len(kernel.signatures) == 2


def test_numba_kernels_are_vectorised():
    if numba.config.DISABLE_JIT:
        pytest.skip("plain Python")
    # A function that came from the cache on disk has no assembly to look at, so compile it once more.
    kernel = numba.njit(**numba_updates._jit.keywords | {"cache": False})(numba_updates._adam.py_func)
    kernel(*np.ones((4, 8), np.float32), *np.ones(9, np.float32))
    assembly = next(iter(kernel.inspect_asm().values()))
    if not any(name in assembly for name in ("%xmm", "%ymm", "%zmm")):
        pytest.skip("not an x86 machine")

    assert "sqrtps" in assembly or "rsqrtps" in assembly or "rsqrt14ps" in assembly


@BACKENDS
def test_backends_have_the_same_signatures(backend):
    for rule in ("sgd", "adam", "rmsprop"):
        names = list(inspect.signature(getattr(numpy_updates, rule)).parameters)

        assert list(inspect.signature(getattr(backend, rule)).parameters) == names


@pytest.mark.parametrize("name", ["_adam", "_momentum", "_rmsprop_momentum"])
def test_forgotten_moments_end_at_zero_not_at_denormals(name):
    """0.9 times a denormal number can round to itself; the mean of a gradient that vanished must not stick there."""
    net = fake_net(numba_updates, np.ones(4, np.float32))
    optimizer, column = {
        "_adam": (optim.Adam(), "adam_m"),
        "_momentum": (optim.SGD(lr=0.1, momentum=0.9), "sgd_velocity"),
        "_rmsprop_momentum": (optim.RMSprop(momentum=0.9), "rmsprop_velocity"),
    }[name]
    net.blocks[0].grad[:] = 1.0
    optimizer.step(net)
    assert net.blocks[0].columns[column].all()
    net.blocks[0].grad[:] = 0.0
    for _ in range(1000):
        optimizer.step(net)

    assert not net.blocks[0].columns[column].any()


@BACKENDS
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nonfinite_gradients_stay_visible(backend, bad):
    for optimizer in (optim.SGD(lr=0.1, momentum=0.9), optim.Adam(), optim.RMSprop(momentum=0.9)):
        net = fake_net(backend, np.ones(3))
        net.blocks[0].grad[1] = bad
        with np.errstate(invalid="ignore"):
            optimizer.step(net)

        assert not np.isfinite(net.blocks[0].value[1])
        assert np.isfinite(net.blocks[0].value[[0, 2]]).all()


@BACKENDS
def test_schedule_gets_the_zero_based_step_of_the_network(backend):
    seen = []

    def schedule(step):
        seen.append(step)
        return 0.5**step

    net = fake_net(backend, np.zeros(2))
    net.blocks[0].grad[:] = 1.0
    for _ in range(2):
        optim.SGD(lr=schedule).step(net)  # a fresh object goes on where the network is
    optim.SGD(lr=schedule).step(net)

    assert seen == [0, 1, 2]
    np.testing.assert_allclose(net.blocks[0].value, -1.75)


@BACKENDS
def test_adamw_goes_on_with_the_state_of_adam(backend):
    net = fake_net(backend, np.ones(2))
    net.blocks[0].grad[:] = 1.0
    optim.Adam().step(net)
    optim.AdamW().step(net)

    assert net.counters == {"adam": 2}
    assert net.blocks[0].columns.keys() == {"adam_m", "adam_v"}


@BACKENDS
def test_zero_gradients_move_nothing(backend):
    for optimizer in (optim.SGD(lr=0.1, momentum=0.9, nesterov=True), optim.Adam(), optim.RMSprop(momentum=0.5)):
        net = fake_net(backend, np.ones(3))
        optimizer.step(net)

        np.testing.assert_array_equal(net.blocks[0].value, 1.0)


@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf, "fast", None, True])
def test_schedule_with_a_bad_value_changes_nothing(value):
    net = fake_net(numpy_updates, np.ones(2))
    net.blocks[0].grad[:] = 1.0
    with pytest.raises(InvalidValueError, match="step 0"):
        optim.Adam(lr=lambda step: value).step(net)

    assert net.counters == {}
    assert net.blocks[0].columns == {}
    np.testing.assert_array_equal(net.blocks[0].value, 1.0)


BAD = [
    *[("SGD", dict(lr=lr), "lr") for lr in (-1, np.nan, np.inf, "0.1", None, True)],
    ("SGD", dict(lr=0.1, momentum=1.0), "momentum"),
    ("SGD", dict(lr=0.1, momentum=-0.1), "momentum"),
    ("SGD", dict(lr=0.1, nesterov=True), "momentum"),
    ("SGD", dict(lr=0.1, momentum=0.9, nesterov="yes"), "nesterov"),
    ("SGD", dict(lr=0.1, weight_decay=-1e-3), "weight_decay"),
    *[("Adam", dict(betas=betas), "betas") for betas in (0.9, (0.9,), (0.9, 1.0), (-0.1, 0.9), (0.9, "0.999"))],
    ("Adam", dict(eps=0), "eps"),
    ("Adam", dict(weight_decay=np.inf), "weight_decay"),
    ("AdamW", dict(weight_decay=-1), "AdamW: weight_decay"),
    ("RMSprop", dict(alpha=1), "alpha"),
    ("RMSprop", dict(eps=-1e-8), "eps"),
    ("RMSprop", dict(momentum=[0.9]), "momentum"),
]


@pytest.mark.parametrize(("name", "options", "word"), BAD, ids=str)
def test_bad_hyper_parameters_are_named(name, options, word):
    with pytest.raises(InvalidValueError, match=word) as caught:
        getattr(optim, name)(**options)
    assert name in str(caught.value)


@pytest.mark.parametrize("optimizer", [optim.SGD(lr=1), optim.Adam(), optim.AdamW(), optim.RMSprop()])
def test_optimizers_are_values(optimizer):
    assert optimizer == dataclasses.replace(optimizer)
    assert isinstance(optimizer, optim.Optimizer)
    with pytest.raises(dataclasses.FrozenInstanceError):
        optimizer.lr = 0.5


def test_schedules_are_reached_through_optim():
    for name in ("Constant", "Cosine", "Step", "WarmUp"):
        assert getattr(optim, name) is getattr(schedules, name)


@pytest.mark.parametrize("optimizer", [optim.SGD(lr=0.1, momentum=0.9), optim.AdamW(lr=0.1)], ids=str)
def test_frozen_biases_stay(optimizer, rng):
    """Alone, and shared: a frozen parameter is frozen for all that share it."""
    net = ng.topologies.layered([3, 4, 2], seed=0)
    hidden = net.groups["hidden 1"]
    hidden.bias = [1.0, 2.0, 3.0, 3.0]
    net.tie(hidden[2:], [0, 0])
    hidden[:3].bias_frozen = True
    assert hidden.bias_frozen.tolist() == [True, True, True, True]
    hidden[1].bias_frozen = False
    for _ in range(3):
        net.backward(rng.normal(size=(5, 3)), rng.normal(size=(5, 2)), loss="mse")
        optimizer.step(net)
    assert hidden.bias[[0, 2, 3]].tolist() == [1.0, 3.0, 3.0] and hidden.bias[1] != 2.0
    assert not net.groups["outputs"].bias_frozen.any()
    with pytest.raises(InvalidValueError, match="bias_frozen must be True or False"):
        hidden.bias_frozen = [1, 0, 1, 0]
