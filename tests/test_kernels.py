"""The row loops against their scalar twins, and facts about how the kernels are compiled."""

from itertools import product

import numpy as np
import pytest
from numba import njit

import neurograph as ng
from neurograph.backends.cpu import kernels

pytestmark = pytest.mark.skipif(
    kernels.numba.config.DISABLE_JIT, reason="the twins themselves run without the compiler"
)

ROWS = 12
BASE = 4  # row from which the far ends are counted, some of them backwards


@njit
def run_gather(weight, other, slot, k0, k1, acts, panel, base, row, seed, relu):
    kernels.gather(weight, other, slot, k0, k1, acts, panel, base, row, seed, relu)


@njit
def run_spread(weight, grad, other, slot, k0, k1, acts, delta, panel, row, base, out, first, begun, relu):
    return kernels.spread(weight, grad, other, slot, k0, k1, acts, delta, panel, row, base, out, first, begun, relu)


@njit
def run_grad_only(weight, grad, other, slot, k0, k1, acts, delta, panel, row, base, out, first, begun, relu):
    kernels.grad_only(weight, grad, other, slot, k0, k1, acts, delta, panel, row, base, first)
    return 0


def a_row(dtype, batch, length, neighbours=False):
    rng = np.random.default_rng(length)
    lanes = kernels.lanes_of(np.dtype(dtype), batch, ROWS)
    acts, delta = (rng.normal(size=(2, ROWS, lanes)).astype(dtype) for _ in range(2))
    other = rng.permutation(np.arange(-BASE, ROWS - 1 - BASE))[:length].astype(np.int32)
    slot = (np.arange(5, 5 + length) if neighbours else rng.permutation(30)[:length]).astype(np.int32)
    return rng.normal(size=30).astype(dtype), other, slot, acts, delta


@pytest.mark.parametrize("neighbours", [True, False], ids=["slots in sequence", "slots at random"])
@pytest.mark.parametrize("length", range(12))
@pytest.mark.parametrize("batch", [1, 20, 180, 500], ids=["narrow", "middle", "wide", "widest"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_row_loops_equal_their_twins(dtype, batch, length, neighbours):
    rtol = 1e-5 if dtype == "float32" else 1e-13
    weight, other, slot, acts, delta = a_row(dtype, batch, length, neighbours)
    seed = acts.dtype.type(0.5)
    for relu in (True, False):
        for weights, slots in ((weight, slot), (weight[slot], slot[:0])):
            ours, twin = acts.copy(), acts.copy()
            run_gather(weights, other, slots, 0, length, ours, 1, BASE, ROWS - 1, seed, relu)
            kernels._gather_twin(weights, other, slots, 0, length, twin, 1, BASE, ROWS - 1, seed, relu)
            np.testing.assert_allclose(ours, twin, rtol=rtol, atol=rtol)
    for compiled, python in ((run_grad_only, kernels._grad_twin), (run_spread, kernels._spread_twin)):
        for first, begun, relu in product((True, False), repeat=3):
            results = []
            for run in (compiled, python):
                grad, deltas = np.ones(30, dtype), delta.copy()
                total = run(
                    weight, grad, other, slot, 0, length, acts, deltas, 1, 2, BASE, ROWS - 1, first, begun, relu
                )
                results.append((grad, deltas, 0 if total is None else total))
            for ours, twin in zip(*results, strict=True):
                np.testing.assert_allclose(ours, twin, rtol=rtol, atol=rtol)


def test_nan_survives_the_fused_relu():
    """A diverged sum must reach the loss, as it does in numpy."""
    weight, other, slot, acts, _ = a_row("float32", 500, 3)
    acts[0, BASE + other[1], 5] = np.nan
    run_gather(weight, other, slot, 0, 3, acts, 0, BASE, ROWS - 1, np.float32(0), True)
    assert np.isnan(acts[0, ROWS - 1, 5]) and np.isfinite(acts[0, ROWS - 1, :5]).all()


def test_rows_run_in_vector_registers():
    """On x86 the loop multiplies and adds whole registers; numba's own vectoriser would not keep them over the row."""
    weight, other, slot, acts, _ = a_row("float32", 500, 3)
    run_gather(weight, other, slot, 0, 3, acts, 0, BASE, 0, np.float32(0), False)
    assembly = "\n".join(run_gather.inspect_asm().values())
    if kernels.REGISTER_BYTES < 32:
        pytest.skip("this host has no 256-bit registers")
    assert "vfmadd" in assembly and ("ymm" in assembly or "zmm" in assembly)


def test_one_specialisation_a_dtype():
    """Arguments are fixed at the border, so every kernel is compiled once for each dtype and never again."""
    for dtype in ("float32", "float64"):
        net = ng.Network(dtype=dtype, backend="cpu")
        x, h = (
            net.add_inputs(3),
            net.add_neurons(3, activation=["gelu", "relu", "tanh"], aggregation=["sum", "max", "mean"]),
        )
        net.connect(x, h)
        net.mark_outputs(h)
        for batch in (1, 40, 300):
            net.backward(np.ones((batch, 3)), np.zeros((batch, 3)))
            net.predict(np.ones((batch, 3)))
    for name in ("forward", "backward", "forward_rows", "backward_rows", "_forward_shares", "_backward_shares"):
        assert len(getattr(kernels, name).signatures) <= 2, name


def test_shares_cover_every_row_once():
    work = np.concatenate([[0], np.cumsum(np.random.default_rng(0).integers(1, 50, 37))])
    for shares in (1, 2, 3, 7, 64):
        cuts = [int(kernels.cut(work, 5, 30, share, shares)) for share in range(shares + 1)]
        assert cuts[0] == 5 and cuts[-1] == 30 and cuts == sorted(cuts)


@pytest.mark.parametrize("repeat", [True, False], ids=["repeat", "zeros"])
@pytest.mark.parametrize("columns", [1, 5, 16, 50, 2500])
@pytest.mark.parametrize("batch", [1, 7, 16, 33, 64, 150])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_samples_turn_into_lanes_and_back(dtype, batch, columns, repeat):
    rng, steps, stride = np.random.default_rng(batch), 2, columns + 3
    lanes = kernels.lanes_of(np.dtype(dtype), batch, ROWS)
    X = rng.normal(size=(batch, steps, columns)).astype(dtype)
    slots = rng.permutation(stride)[:columns].astype(np.int32)
    samples = np.arange(-(-batch // lanes) * lanes).reshape(-1, lanes)
    for threads in (1, 2):
        panels = np.full((len(samples), 5 + steps * stride, lanes), 7, dtype)
        expected = panels.copy()
        for t, (j, r) in product(range(steps), enumerate(slots)):
            row = X[np.minimum(samples, batch - 1), t, j]
            expected[:, 5 + t * stride + r] = row if repeat else np.where(samples < batch, row, 0)
        kernels.to_panels(threads, X, slots, panels, 5, stride, repeat)
        np.testing.assert_array_equal(panels, expected)
        back = np.empty_like(X)
        panels = np.concatenate([panels, panels])  # those beyond the samples are nobody's
        kernels.from_panels(threads, panels, slots, 5, stride, back)
        np.testing.assert_array_equal(back, X)


@pytest.mark.parametrize("threads", [1, 2])
def test_columns_come_in_row_order_with_free_slots_between(threads):
    """A free slot has place 0, where a connection lives."""
    net = ng.topologies.layered([40, 50, 30], density=0.7)
    net.prune(net.connections[::3])
    graph = net.graph
    assert graph.connections.n_free
    weight, rows = graph.connections["weight"], graph.incoming
    out = np.full(len(rows.slot), np.nan, np.float32)
    kernels.by_place(threads, rows.place, rows.slot, weight, out)
    for start, length in zip(rows.start, rows.length, strict=True):
        row = slice(start, start + length)
        np.testing.assert_array_equal(out[row], weight[rows.slot[row]])
        assert length == 0 or weight[rows.slot[row]].any()
