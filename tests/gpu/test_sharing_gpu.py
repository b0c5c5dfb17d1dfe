"""Shared parameters on the device, against the host's loops."""

import numpy as np
import pytest

from neurograph.backends import gpu
from neurograph.backends.gpu import sharing
from neurograph.backends.gpu.mirror import columns_of
from neurograph.graph import compiled
from neurograph.graph.sharing import Sharing
from neurograph.graph.tables import Table

KEYS = {
    "one parameter": lambda rng: np.ones(300, np.int32),
    "none shared": lambda rng: np.zeros(50, np.int32),
    "many of few": lambda rng: rng.integers(0, 200, 700).astype(np.int32),
    "few of many": lambda rng: rng.integers(0, 3, 700).astype(np.int32),
    "gaps": lambda rng: 5 * rng.integers(0, 8, 100).astype(np.int32),
    "one tenant": lambda rng: np.array([2], np.int32),
}


@pytest.mark.parametrize(("dtype", "kind"), [*((np.float64, kind) for kind in KEYS), (np.float32, "many of few")])
def test_spread_and_sums(cupy, rng, kind, dtype):
    """Segments shorter and longer than a chunk, and parameters without tenants."""
    key = KEYS[kind](rng)
    count = int(key.max()) + 2
    own, shared = rng.standard_normal(len(key)).astype(dtype), rng.standard_normal(count).astype(dtype)
    there, theirs = cupy.asarray(own), cupy.asarray(shared)
    sharing.spread(cupy.asarray(key), theirs, there)
    wanted = own.copy()
    compiled.spread(key, shared, wanted)
    np.testing.assert_array_equal(there.get(), wanted)
    compiled.collect(key, own, shared)
    for size in (sharing.CHUNK, 37):
        theirs[:] = np.nan
        sharing.collect(sharing.tenants_of(cupy.asarray(key), count, size), cupy.asarray(own), theirs)
        np.testing.assert_allclose(theirs.get(), shared, rtol=1e-6 if dtype == np.float32 else 1e-12, atol=1e-13)


def test_same_bits_in_every_order(cupy, emulated, rng):
    """Sums depend on the slots alone."""
    key, own = rng.integers(0, 4, 500).astype(np.int32), rng.standard_normal(500).astype(np.float32)

    def run():
        shared = cupy.zeros(3, np.float32)
        sharing.collect(sharing.tenants_of(cupy.asarray(key), 3, 32), cupy.asarray(own), shared)
        return shared

    emulated.in_orders(run)


def test_recorded_sums_of_new_gradients(cupy, rng):
    """A CUDA graph may hold both ways, for neither asks for memory."""
    key = cupy.asarray(rng.integers(0, 4, 500).astype(np.int32))
    own, value = cupy.zeros(500, np.float64), cupy.zeros(500, np.float64)
    shared, parameter = cupy.zeros(3, np.float64), cupy.zeros(3, np.float64)
    tenants = sharing.tenants_of(key, 3, 32)

    def both_ways():
        sharing.spread(key, parameter, value)
        sharing.collect(tenants, own, shared)

    both_ways()  # compiled before it is recorded
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        both_ways()
        graph = stream.end_capture()
        for scale in (1.0, 2.0):
            own.fill(scale)
            parameter.fill(scale)
            graph.launch(stream)
            stream.synchronize()
            users = np.bincount(key.get(), minlength=4)
            assert shared.get().tolist() == (scale * users[1:]).tolist()
            assert (value.get() == np.where(key.get() > 0, scale, 0)).all()


def shared_table(rng, dtype):
    """Tenants of which most are tied."""
    tenants = Table({"weight": dtype, "grad": dtype})
    slots = tenants.allocate(60)
    tenants["weight"][:] = rng.standard_normal(60)
    found = Sharing(tenants, "weight", "grad", common_numbers=True)
    found.tie(slots[:50], slots[:50] % 7, average=True)
    return found


def test_sharing_that_is_edited(cupy, rng):
    """The tenants are sorted again when somebody joins or leaves, and only then."""
    here = shared_table(rng, np.float64)
    sorted_again = []
    for step in range(5):
        if step == 2:
            here.untie(np.arange(5))
        elif step == 3:
            here.join(np.arange(52, 55), np.arange(7, 10))
        here.table.put("weight", np.arange(here.table.size), rng.standard_normal(here.table.size))
        here.tenants.put("grad", np.arange(60), rng.standard_normal(60))
        gpu.spread(here)
        gpu.collect(here)
        sorted_again.append(columns_of(here.tenants).derived["tenants"])
        weight, grad = here.tenants.read("weight").copy(), here.table.read("grad").copy()
        here.spread()
        here.collect()
        np.testing.assert_array_equal(weight, here.tenants.read("weight"))
        np.testing.assert_allclose(grad, here.table.read("grad"), rtol=1e-12, atol=1e-14)
    assert [a is b for a, b in zip(sorted_again, sorted_again[1:], strict=False)] == [True, False, False, True]


def test_nothing_shared(cupy):
    """No column of keys, and no work."""
    alone = Sharing(Table({"weight": np.float32, "grad": np.float32}), "weight", "grad", common_numbers=True)
    gpu.spread(alone)
    gpu.collect(alone)
    assert columns_of(alone.tenants).nbytes == 0
