"""The fake of CuPy: as strict as CuPy, poisoned, counted, captured, and never taken for a GPU."""

import functools
import gc
import inspect
import json
import subprocess
import sys

import numpy as np
import pytest

import neurograph as ng
from neurograph import backends

from .. import device
from .test_emulation import WORKING, kernel

# Each must do what NumPy's function of the same name does, wherever it runs.
CALLS = {
    "abs": lambda xp, a, m: xp.abs(a),
    "all": lambda xp, a, m: xp.all(m, axis=1),
    "any": lambda xp, a, m: xp.any(m, axis=0),
    "arange": lambda xp, a, m: xp.arange(3, 20, 2, dtype=np.int32),
    "arange of one": lambda xp, a, m: xp.arange(7),
    "argmax": lambda xp, a, m: xp.argmax(a, axis=1),
    "argsort": lambda xp, a, m: xp.argsort(a, axis=1),
    "ascontiguousarray": lambda xp, a, m: xp.ascontiguousarray(a.T),
    "bincount": lambda xp, a, m: xp.bincount(xp.asarray([3, 1, 3]), minlength=6),
    "bincount, weights": lambda xp, a, m: xp.bincount(xp.asarray([3, 1, 3]), weights=xp.asarray([0.5, 2.0, 4.0])),
    "clip": lambda xp, a, m: xp.clip(a, -0.5, 0.5),
    "concatenate": lambda xp, a, m: xp.concatenate([a, a[:2]], axis=0),
    "count_nonzero": lambda xp, a, m: xp.count_nonzero(m),
    "cumsum": lambda xp, a, m: xp.cumsum(a, axis=1),
    "diff": lambda xp, a, m: xp.diff(a, axis=0),
    "dot": lambda xp, a, m: xp.dot(a, a.T),
    "flatnonzero": lambda xp, a, m: xp.flatnonzero(m),
    "full": lambda xp, a, m: xp.full((2, 3), 7, dtype=np.int8),
    "full_like": lambda xp, a, m: xp.full_like(a, 7),
    "isin": lambda xp, a, m: xp.isin(xp.arange(5), xp.asarray([1, 3, 9])),
    "isfinite": lambda xp, a, m: xp.isfinite(a / 0),
    "isnan": lambda xp, a, m: xp.isnan(a * np.inf * 0),
    "matmul": lambda xp, a, m: xp.matmul(a.T, a),
    "maximum": lambda xp, a, m: xp.maximum(a, 0.25),
    "mean": lambda xp, a, m: xp.mean(a, axis=0),
    "minimum": lambda xp, a, m: xp.minimum(a, -a),
    "nonzero": lambda xp, a, m: xp.stack(xp.nonzero(m)),
    "ones": lambda xp, a, m: xp.ones(4, dtype=bool),
    "partition": lambda xp, a, m: xp.partition(a.ravel(), 9)[9],
    "argpartition": lambda xp, a, m: xp.sort(a.ravel()[xp.argpartition(a.ravel(), 9)[:10]]),
    "repeat": lambda xp, a, m: xp.repeat(a, 3, axis=1),
    "searchsorted": lambda xp, a, m: xp.searchsorted(xp.arange(9), a.ravel(), side="right"),
    "sort": lambda xp, a, m: xp.sort(a, axis=0),
    "sqrt": lambda xp, a, m: xp.sqrt(xp.abs(a)),
    "stack": lambda xp, a, m: xp.stack([a, -a], axis=2),
    "sum": lambda xp, a, m: xp.sum(a, axis=1, keepdims=True),
    "take": lambda xp, a, m: xp.take(a, xp.asarray([2, 0]), axis=1),
    "unique": lambda xp, a, m: xp.unique(xp.asarray([3, 1, 3])),
    "where": lambda xp, a, m: xp.where(m, a, 0),
    "zeros": lambda xp, a, m: xp.zeros((3, 0)),
    "zeros_like": lambda xp, a, m: xp.zeros_like(a, dtype=np.int16),
    "operators": lambda xp, a, m: (2 - a) * a / 3 + a**2 - a // 0.5,
    "matrix operator": lambda xp, a, m: a @ a.T,
    "comparisons": lambda xp, a, m: (a < 0.5) & (a >= -0.5) | ~m ^ (a == 0),
    "mask": lambda xp, a, m: a[m],
    "rows": lambda xp, a, m: a[xp.asarray([2, 0, 2])],
    "pairs": lambda xp, a, m: a[xp.asarray([2, 0]), xp.asarray([1, 3])],
    "slices": lambda xp, a, m: a[1:, ::-2].T.reshape(-1),
    "one": lambda xp, a, m: a[1, 2],
    "astype": lambda xp, a, m: a.astype(np.int32),
    "view": lambda xp, a, m: a.view(np.uint8),
    "reshape": lambda xp, a, m: a.reshape(2, -1).reshape((5, 4)),
    "swapaxes": lambda xp, a, m: a.swapaxes(0, 1).ravel(),
    "reductions": lambda xp, a, m: xp.stack([a.sum(), a.max(), a.min(), a.mean(), a.prod()]),
}


def changed(xp, a, m):
    """Assignments of all kinds, and operators in place."""
    b = a.copy()
    b[1:3] = 7
    b[:, 0] = a[:, 1]
    b[m] = 0
    b[xp.asarray([0, 3])] += 1
    b *= a
    b -= 2
    b[2, 2] = a[0, 0]
    xp.copyto(b[:2], a[2:4])
    b[3].fill(3)
    b.put(xp.asarray([0, 5]), 9)
    xp.add(b, a, out=b)
    return b


CALLS["changes"] = changed


@pytest.mark.parametrize("name", CALLS)
def test_functions_are_numpys(cupy, rng, name):
    """Same values, types and shapes."""
    a, m = rng.normal(size=(4, 5)), rng.random((4, 5)) < 0.5
    with np.errstate(all="ignore"):
        expected = np.asarray(CALLS[name](np, a.copy(), m))
    result = CALLS[name](cupy, cupy.asarray(a), cupy.asarray(m))
    assert isinstance(result, cupy.ndarray) and result.shape == expected.shape and result.dtype == expected.dtype
    np.testing.assert_allclose(result.get(), expected, rtol=1e-12, atol=1e-14)


REFUSED = {
    "operator": lambda cupy, a, h: a + h,
    "reflected operator": lambda cupy, a, h: h + a,
    "operator in place": lambda cupy, a, h: a.__iadd__(h),
    "comparison": lambda cupy, a, h: a < h,
    "host operator in place": lambda cupy, a, h: h.__iadd__(a),
    "conversion": lambda cupy, a, h: np.asarray(a),
    "array of arrays": lambda cupy, a, h: np.array([a, a]),
    "copy to the host by assignment": lambda cupy, a, h: h.__setitem__(slice(None), a),
    "assignment": lambda cupy, a, h: a.__setitem__(slice(1, 3), h[:2]),
    "host indices": lambda cupy, a, h: a[np.arange(2)],
    "device indices of a host array": lambda cupy, a, h: h[cupy.arange(2)],
    "function": lambda cupy, a, h: cupy.sqrt(h),
    "reduction": lambda cupy, a, h: cupy.sum(h),
    "concatenate": lambda cupy, a, h: cupy.concatenate([a, h]),
    "where": lambda cupy, a, h: cupy.where(a > 0, a, h),
    "maximum": lambda cupy, a, h: cupy.maximum(a, h),
    "strings": lambda cupy, a, h: cupy.asarray(["a"]),
    "type of set": lambda cupy, a, h: a.set(h.astype(np.float32)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_host_and_device_do_not_mix(cupy, name):
    """Nothing crosses unasked."""
    with pytest.raises((TypeError, ValueError, IndexError)):
        REFUSED[name](cupy, cupy.ones(4), np.ones(4))


def test_numpys_functions_are_refused(emulated, cupy):
    """Real CuPy takes some of them over; one that is forgotten there would fail only on a GPU."""
    for function in (np.sum, np.exp, np.concatenate, np.sort, np.allclose):
        with pytest.raises(TypeError):
            function(*([cupy.ones(3)] if function is not np.allclose else [cupy.ones(3)] * 2))


def test_scalars_come_out_when_asked_for(cupy):
    """Each of them waits for the device."""
    a = cupy.asarray([2.5])
    assert (float(a[0]), int(a[0]), a[0].item(), bool(a[0] > 2), a.tolist()) == (2.5, 2, 2.5, True, [2.5])
    assert f"{a[0]:.2f}" == "2.50" and np.float64(a[0].get()) == 2.5
    with pytest.raises((ValueError, TypeError)):
        bool(cupy.ones(2))


def test_views_share_memory_and_copies_do_not(cupy):
    """As in NumPy."""
    a = cupy.zeros((3, 4))
    for view in (a[1], a.T[0], a.reshape(-1), a.ravel(), a[1:, ::2], a.view(np.int64)):
        a[...] = 0
        view[...] = 1
        assert float(a.sum()) != 0
    for copy in (a.copy(), a.astype(np.float64), a[cupy.asarray([1])], a[a == 1], a.flatten()):
        a[...] = 1
        copy[...] = 5
        assert float(a.max()) == 1
    assert a.astype(np.float64, copy=False) is a
    assert a.flags.c_contiguous and not a.T.flags.c_contiguous and a[1].base is a
    assert a[1].data.ptr - a.data.ptr == 32 and a.data.ptr % 256 == 0


def test_traffic_is_counted(emulated, cupy):
    """Uploads, downloads and launches; nothing that stays on the device."""
    a = cupy.asarray(np.zeros(100, np.float32))
    b = (a * 2 + 1)[10:20].copy()
    b.set(np.ones(10, np.float32))
    counters = emulated.counters
    assert (counters.uploads, counters.uploaded, counters.downloads) == (2, 440, 0)
    b.get()
    float(b[0])
    assert (counters.downloads, counters.downloaded, counters.launches) == (2, 44, 0)
    kernel(cupy, WORKING, "row_sums<float, 3>")((1,), (32,), (a, b, np.int32(32)), shared_mem=128)
    assert counters.launches == 1 and counters.kernels == ["row_sums<float, 3>"]
    counters.reset()
    assert counters.launches == counters.uploaded == 0 and counters.kernels == []


def test_memory_is_given_back_and_limited(emulated, cupy):
    """The pool counts what lives; more than the device has raises and changes nothing."""
    pool = cupy.get_default_memory_pool()
    gc.collect()
    before = pool.used_bytes()
    a = cupy.zeros(10_000, np.float64)
    assert pool.used_bytes() - before >= 80_000
    with emulated.memory_limit(before + 100_000):
        assert cupy.cuda.Device(0).mem_info[1] == before + 100_000
        with pytest.raises(cupy.cuda.memory.OutOfMemoryError):
            cupy.empty(10_000)
        with pytest.raises(MemoryError):
            a + 1
    view = a[:10]
    del a
    assert pool.used_bytes() - before >= 80_000
    del view
    assert pool.used_bytes() == before


def test_freed_memory_is_poisoned(emulated, cupy):
    """Who still reads there gets NaN."""
    a = cupy.ones(8)
    left = a._host
    del a
    assert np.isnan(left).all()


def captured(cupy, work):
    """A graph of what `work` does."""
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        assert stream.is_capturing()
        try:
            work()
        finally:
            graph = stream.end_capture()
    assert not stream.is_capturing()
    return graph, stream


def test_capture_and_replay(cupy):
    """Nothing runs while it is recorded; each launch does all of it, on what the arrays hold then."""
    sums = kernel(cupy, WORKING, "row_sums<float, 3>")
    x, y, total, copy = cupy.ones(32, np.float32), cupy.zeros(1, np.float32), cupy.zeros(1, np.float32), cupy.zeros(32)

    def work():
        sums((1,), (32,), (x, y, np.int32(32)), shared_mem=128)
        cupy.add(total, y, out=total)
        cupy.copyto(copy, x)
        x[0] = 9

    graph, stream = captured(cupy, work)
    assert float(y[0]) == float(total[0]) == float(copy.sum()) == 0
    for _ in range(2):
        graph.launch(stream)
    stream.synchronize()
    assert (float(y[0]), float(total[0]), float(copy[0])) == (3 * 40, 3 * 32 + 3 * 40, 9)


def test_what_cannot_be_captured(emulated, cupy):
    """Everything that would wait for the device, or copy from the host."""
    a = cupy.arange(6.0)
    mask = a > 2
    refused = {
        "get": a.get,
        "item": lambda: a[0].item(),
        "float": lambda: float(a[0]),
        "upload": lambda: cupy.asarray(np.ones(3)),
        "set": lambda: a.set(np.ones(6)),
        "masked": lambda: a[mask],
        "nonzero": lambda: cupy.flatnonzero(mask),
        "unique": lambda: cupy.unique(a),
        "synchronize": lambda: cupy.cuda.Device(0).synchronize(),
        "stream": lambda: cupy.cuda.get_current_stream().synchronize(),
    }

    def work():
        for call in refused.values():
            with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="not permitted when stream is capturing"):
                call()

    graph, _ = captured(cupy, work)
    assert float(a.sum()) == 15
    with pytest.raises(RuntimeError):
        cupy.cuda.Stream.null.begin_capture()


def test_a_graph_does_not_outlive_its_memory(emulated, cupy):
    """CUDA would write into what has been given to somebody else."""
    x = cupy.ones(4)
    kept = []

    def work():
        kept.append(x * 2)
        kept.append(x + kept[0])

    graph, _ = captured(cupy, work)
    assert np.isnan(kept[0].get()).all()
    graph.launch()
    assert kept[1].tolist() == [3.0] * 4
    del kept[0]
    with pytest.raises(RuntimeError, match="freed since it was captured"):
        graph.launch()


def test_the_device_is_described(emulated, cupy):
    """As an H100, but under its own name."""
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    assert properties["name"] == b"host emulation, no GPU"
    attributes = cupy.cuda.Device(0).attributes
    assert attributes["MaxSharedMemoryPerBlockOptin"] == 227 << 10 and attributes["WarpSize"] == 32
    assert cupy.cuda.Device().compute_capability == "90"
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError):
        cupy.cuda.Device(1).use()


def test_events_keep_the_time(cupy):
    """Milliseconds between two of them."""
    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    start.record()
    cupy.ones(10)
    end.record()
    end.synchronize()
    assert cupy.cuda.get_elapsed_time(start, end) > 0


def test_it_is_never_called_a_gpu(emulated):
    """Neither listed, nor chosen, nor named in a message; yet it can be asked for."""
    assert backends.resolve(device.EMULATED) == device.EMULATED
    assert device.EMULATED not in ng.available_backends() and "gpu" not in ng.available_backends()
    assert backends.resolve("auto") in ("cpu", "reference")
    with pytest.raises(ng.UnknownNameError) as caught:
        backends.resolve("nothing")
    assert device.EMULATED not in str(caught.value)


# In a process of its own, for here the fake has CuPy's name.
DESCRIBE = """
import inspect, json, sys
import cupy
def parameters(f):
    try:
        return list(inspect.signature(f).parameters)
    except (TypeError, ValueError):
        return None
def describe(thing):
    return {n: parameters(getattr(thing, n, None)) for n in dir(thing) if not n.startswith("_")}
things = {"cupy": cupy, "ndarray": cupy.ndarray, "cuda": cupy.cuda, "Stream": cupy.cuda.Stream}
things |= {"Device": cupy.cuda.Device, "runtime": cupy.cuda.runtime, "Event": cupy.cuda.Event}
things |= {"memory": cupy.cuda.memory, "MemoryPool": cupy.cuda.MemoryPool, "Graph": cupy.cuda.Graph}
json.dump({name: describe(thing) for name, thing in things.items()}, sys.stdout)
"""


@functools.cache
def real_names():
    """What real CuPy offers; no GPU is needed to look."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", DESCRIBE], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"CuPy cannot be imported: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout)


# Modules of the fake that lie where CuPy has none.
OWN = {"cupy": {"annotations", "array", "functions", "module"}, "cuda": {"graph", "limits"}}
OWN |= {"memory": {"annotations", "default_pool", "default_pinned_pool", "gc", "state", "used"}}
OWN |= {"runtime": {"Any", "limits", "state", "used"}}


@pytest.mark.parametrize(
    "name", ["cupy", "ndarray", "cuda", "Device", "Event", "Graph", "MemoryPool", "Stream"] + list(OWN)[2:]
)
def test_every_name_is_cupys(name):
    """What the fake offers CuPy has too, with the same parameters in the same order where they can be seen."""
    from ..emulation import cupy_emulated as fake

    cuda = fake.cuda
    things = {"cupy": fake, "ndarray": fake.ndarray, "cuda": cuda, "memory": cuda.memory, "runtime": cuda.runtime}
    things |= {n: getattr(cuda, n) for n in ("Device", "Event", "Graph", "MemoryPool", "Stream")}
    theirs, thing = real_names()[name], things[name]
    ours = {n for n in dir(thing) if not n.startswith("_")} - OWN.get(name, set())
    assert ours <= set(theirs), f"CuPy has no {sorted(ours - set(theirs))}"
    for member in ours:
        function = getattr(thing, member)
        if not inspect.isfunction(function) or theirs[member] is None:
            continue
        own = list(inspect.signature(function).parameters)
        if not {"args", "kwargs"} & {*own, *theirs[member]}:
            assert own == theirs[member][: len(own)], f"{member}{own}: CuPy has {theirs[member]}"
