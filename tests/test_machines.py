"""Machines and processes that are not as one would wish: forked, with one core, without AVX, with nowhere to write."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import neurograph

ROOT = Path(__file__).parents[1]

# Wide and deep enough for parallel regions in the passes and in the update.
NETWORK = """
import hashlib, numpy as np, neurograph as ng
net = ng.topologies.layered([300, 400, 400, 10], density=0.5, seed=0)
X, Y = np.random.default_rng(0).normal(size=(256, 300)).astype(np.float32), np.arange(256) % 10

def digest():
    parts = [net.predict(X)]
    for _ in range(2):
        net.backward(X, Y, "cross_entropy")
        ng.optim.Adam().step(net)
        parts += [net.connections.grad, net.connections.weight, net.predict(X[:3])]
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
"""

ONE_CORE = """
import os
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
"""

FORK = """
import multiprocessing, os, threading, numba

def answer(i):
    return net.predict(X).tobytes()

if __name__ == "__main__":
    expected = net.predict(X).tobytes()
    net.backward(X, Y, "cross_entropy")
    assert numba.get_num_threads() == 2, "the parent must have started threads"
    inside, leave = threading.Event(), threading.Event()

    def waits(outputs, Y):
        inside.set()
        leave.wait(60)
        return 0.0, np.zeros_like(outputs)

    other = ng.topologies.layered([2, 1])
    busy = threading.Thread(target=other.backward, args=(np.ones((1, 2)), [[0.0]], waits))
    busy.start()
    inside.wait(60)  # another thread is in the middle of a pass when the process forks
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=lambda: results.put(digest()))
    child.start()
    leave.set()
    print(results.get(timeout=60))
    child.join(60)
    busy.join(60)
    with context.Pool(2) as pool:
        assert set(pool.map_async(answer, range(4)).get(60)) == {expected}
    print(digest(), child.exitcode)
"""

THREADS = """
import sys, threading, time
sys.setswitchinterval(1e-5)
failures, others = [], [ng.topologies.layered([300, 40 + i, 10], seed=i) for i in range(4)]
expected = [n.predict(X) for n in (net, *others)]

def guarded(job):
    def run():
        try:
            job()
        except Exception as error:
            failures.append(repr(error))
    return run

def reads(i):
    which = i % 5
    for _ in range(30):
        assert ((net, *others)[which].predict(X) == expected[which]).all()

def together(jobs):
    threads = [threading.Thread(target=guarded(job)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

together([lambda i=i: reads(i) for i in range(8)])
assert not failures, failures

def trains():
    for _ in range(25):
        net.backward(X, Y, "cross_entropy")
        ng.optim.SGD(lr=0.01).step(net)

def predicts():
    for _ in range(40):
        assert np.isfinite(net.predict(X)).all()

def edits(seed):
    rng = np.random.default_rng(seed)
    for _ in range(40):
        try:
            everything = net.connections
            net.prune(everything[rng.integers(0, len(everything), 2000)])
        except ng.errors.StaleError:
            pass  # the other editor was faster
        net.grow(net.inputs, net.outputs, 500)
        net.grow(net.inputs, net.add_neurons(5), 1500)

together([predicts, predicts, predicts, predicts, trains, trains, lambda: edits(1), lambda: edits(2)])
assert not failures, failures
net.graph.check()
print("done")
"""


def run(code, tmp_path, cwd=ROOT, **environment):
    """Output of a script in a process of its own."""
    script = tmp_path / "script.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(cwd), **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stdout}{done.stderr}"
    return done


def test_one_core_and_one_thread_give_the_same_bits(tmp_path):
    alone = run(NETWORK + "print(digest())", tmp_path, NUMBA_NUM_THREADS="1")
    squeezed = run(ONE_CORE + NETWORK + "print(digest())", tmp_path, NUMBA_NUM_THREADS="2")
    assert len(alone.stdout.strip()) == 64 and alone.stdout == squeezed.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_children_made_by_fork_train_and_predict(tmp_path):
    """GNU OpenMP ends a child that enters a parallel region, and what other threads hold stays shut in it."""
    child, parent, code = run(NETWORK + FORK, tmp_path, NUMBA_NUM_THREADS="2").stdout.split()
    assert child == parent and len(child) == 64 and code == "0"


@pytest.mark.parametrize("layer", ["default", "workqueue"])
def test_eight_threads_predict_train_and_edit(tmp_path, layer):
    """In a process of its own: the workqueue layer aborts it when two threads are in parallel regions."""
    done = run(NETWORK + THREADS, tmp_path, NUMBA_NUM_THREADS="2", NUMBA_THREADING_LAYER=layer)
    assert done.stdout.strip() == "done"


def test_no_avx(tmp_path):
    """The row loops for registers of 16 bytes agree with their twins."""
    code = """
import sys, pytest
from neurograph.backends.cpu import kernels
assert kernels.REGISTER_BYTES == 16
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "tests/test_kernels.py", "-k", "row_loops and float32"]))
"""
    done = run(code, tmp_path, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="", NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert "passed" in done.stdout and "skipped" not in done.stdout


def test_nowhere_to_keep_kernels(tmp_path):
    """A package that nobody may write to, and no home: compiled all the same, and the cure is said once."""
    package = Path(neurograph.__file__).parent
    copy = tmp_path / "neurograph"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__", "data"))
    for folder in {path.parent for path in copy.rglob("*.py")}:
        (folder / "__pycache__").touch()  # a file where the folder should be, for root may write anywhere
    code = """
import numpy as np
from neurograph.backends.cpu import updates
from neurograph.graph import compiled
value = np.ones(3)
updates.sgd(value, np.ones(3), None, 0.25, 0.0, False, 0.0)
print(value.tolist(), compiled.stable_order(np.array([2, 0, 1]), 3).tolist())
"""
    nowhere = {"HOME": os.devnull, "XDG_CACHE_HOME": os.devnull, "LOCALAPPDATA": os.devnull, "NUMBA_CACHE_DIR": ""}
    done = run(code, tmp_path, cwd=tmp_path, **nowhere)
    assert done.stdout.strip() == "[0.75, 0.75, 0.75] [1, 2, 0]"
    assert done.stderr.count("NUMBA_CACHE_DIR") == 1


def test_a_full_disk_loses_only_the_cache(tmp_path):
    code = """
import errno, numpy as np
from numba.core import caching

def full(self, signature, data):
    raise OSError(errno.ENOSPC, "No space left on device")

caching.Cache.save_overload = full
from neurograph.graph import compiled
print(compiled.stable_order(np.array([2, 0, 1]), 3).tolist())
print(compiled.first_duplicate(*[np.zeros(0, np.int32)] * 5))
"""
    done = run(code, tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert done.stdout.split("\n")[0] == "[1, 2, 0]"
    assert done.stderr.count("NUMBA_CACHE_DIR") == 1 and "No space left" in done.stderr
