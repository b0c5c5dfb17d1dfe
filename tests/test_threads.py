"""One network, many Python threads, and how those of the kernels wait for one another."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import neurograph as ng
from neurograph.backends.cpu import threads


def test_eight_threads_predict_on_one_network(backend):
    """Each gets its own answer, although passes share memory."""
    net = ng.topologies.random_dag(20, 150, 5, density=0.3, seed=0, backend=backend)
    batches = [np.random.default_rng(i).normal(size=(10 + 13 * i, 20)) for i in range(8)]
    expected = [net.predict(X) for X in batches]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(net.predict, batches * 20))
    for answer, wanted in zip(answers, expected * 20, strict=True):
        np.testing.assert_array_equal(answer, wanted)


def test_training_in_threads_leaves_predictions_right(backend):
    """One thread fills gradients while others predict; without an update in between nothing may change."""
    net = ng.topologies.layered([20, 60, 5], density=0.5, seed=0, backend=backend)
    X, Y = np.random.default_rng(0).normal(size=(40, 20)), np.zeros((40, 5))
    expected = net.predict(X)
    net.backward(X, Y)
    grad = net.connections.grad
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(net.backward, X, Y) if i % 2 else pool.submit(net.predict, X) for i in range(60)]
        results = [job.result() for job in jobs]
    for prediction in results[::2]:
        np.testing.assert_array_equal(prediction, expected)
    np.testing.assert_array_equal(net.connections.grad, grad)


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("chosen", "rounds"),
    [({}, threads.SPIN), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_threads_that_wait_soon_sleep_unless_the_user_wants_otherwise(chosen, rounds):
    """GNU OpenMP says what it has read. Waiting by spinning costs ten times the work where cores are shared."""
    code = """
import os
before = dict(os.environ)
import neurograph.backends.cpu
assert dict(os.environ) == before
import numba.np.ufunc.omppool
"""
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    rest = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**rest, "OMP_DISPLAY_ENV": "verbose", **chosen},
        capture_output=True,
        text=True,
        check=False,
    )
    if "omppool" in done.stderr or "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("numba runs its threads without GNU OpenMP here")
    assert done.returncode == 0, done.stderr
    if rounds is None:
        assert f"GOMP_SPINCOUNT = '{threads.SPIN}'" not in done.stderr and "OMP_WAIT_POLICY = 'ACTIVE'" in done.stderr
    else:
        assert f"GOMP_SPINCOUNT = '{rounds}'" in done.stderr
