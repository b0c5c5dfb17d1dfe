"""Dense blocks on cuBLAS against products in float64: in place by source and by target, copied, bf16 and tf32."""

import numpy as np
import pytest

from neurograph.backends.gpu.dense import COPIED, Block, Dense
from neurograph.backends.gpu.mirror import Rows

from .test_tiles import near

S, T, N = 21, 18, 60


def in_rows(source, target, slot):
    """By target: start, length, other, slot."""
    order = np.argsort(target, kind="stable")
    length = np.bincount(target, minlength=N)
    start = np.cumsum(length) - length
    return start, length.astype(np.int32), source[order].astype(np.int32), slot[order].astype(np.int32)


@pytest.mark.parametrize(
    "precision, dtype", [("float64", np.float64), ("float32", np.float32), ("tf32", np.float32), ("bf16", np.float32)]
)
@pytest.mark.parametrize("stands", ["by source", "by target", "anyhow", "with gaps"])
@pytest.mark.parametrize("add", [False, True])
def test_block(cupy, rng, precision, dtype, stands, add):
    """Sums, deltas and gradients, with connections from elsewhere around."""
    neighbours = stands.startswith("by")
    sources, targets = np.arange(3, 3 + S), np.arange(30, 30 + T)
    if not neighbours:
        sources, targets = np.sort(rng.permutation(N)[: S + T].reshape(-1)[:S]), None
        targets = np.sort(rng.permutation(np.setdiff1d(np.arange(N), sources))[:T])
    s, t = (grid.ravel() for grid in np.meshgrid(sources, targets, indexing="ij" if stands == "by source" else "xy"))
    if stands == "by target":
        s, t = s.reshape(T, S).ravel(), t.reshape(T, S).ravel()
    if stands == "with gaps":
        kept = rng.random(len(s)) < 0.9
        s, t = s[kept], t[kept]
    slot = 7 + np.arange(len(s))
    if not neighbours:
        slot = rng.permutation(slot)
    elsewhere = np.setdiff1d(np.arange(N), sources)[:5]  # these lead to the same targets
    s, t = np.append(s, np.repeat(elsewhere, T)), np.append(t, np.tile(targets, 5))
    slot = np.append(slot, slot.max() + 1 + np.arange(5 * T))
    column = int(slot.max()) + 4
    source, target = np.full(column, -1), np.full(column, -1)
    source[slot], target[slot] = s, t
    weight = rng.normal(size=column).astype(dtype)
    rows = in_rows(s, t, slot)
    block = Block(sources.astype(np.int32), targets.astype(np.int32), 0, 1)
    block.find_base(rows, source, target)
    assert (block.base == 7) == neighbours and (block.base == COPIED) != neighbours
    assert not neighbours or block.by_source == (stands == "by source")

    elsewhere_edited = np.array([elsewhere[0]]), np.array([targets[0]])
    block.check(*elsewhere_edited, source, target)
    assert (block.base == 7) == neighbours
    if neighbours:  # a connection that moved to another slot
        moved, other = Block(block.sources, block.targets, 0, 1, block.base, block.by_source), target.copy()
        other[slot[5]] = 0
        moved.check(s[4:5], t[4:5], source, other)
        assert moved.base == 7
        moved.check(s[4:6], t[4:6], source, other)
        assert moved.base == COPIED

    cluster, position = np.full(N, -1, np.int32), np.zeros(N, np.int32)
    cluster[sources], position[sources] = 0, np.arange(S)
    ld = 12
    acts, delta = (np.concatenate([rng.normal(size=(N, 10)), np.zeros((N, 2))], axis=1).astype(dtype) for _ in range(2))
    grad = rng.normal(size=column).astype(dtype)
    a, d, g, w = (cupy.asarray(array) for array in (acts, delta, grad, weight))
    ends = (cupy.asarray(array) for array in (cluster, position))
    dense = Dense(*ends, dtype, ld, "float32" if precision == "float64" else precision)
    dense.begin(Rows(*(cupy.asarray(r) for r in rows)))
    dense.forward(block, w, a, add)
    dense.backward(block, w, d, add)
    assert (w.get() == weight).all()
    dense.gradient(block, cupy.asarray(acts), cupy.asarray(delta), add, g)

    inside = np.isin(s, sources)
    W = np.zeros((N, N))
    W[t[inside], s[inside]] = weight[slot[inside]]
    X, D = acts.astype(float), delta.astype(float)
    near(a.get()[targets], (W @ X + add * X)[targets], precision)
    near(d.get()[sources], (W.T @ D + add * D)[sources], precision)
    c = slot[inside]
    near(g.get()[c], (D[t[inside]] * X[s[inside]]).sum(axis=1) + add * grad[c], precision)
    others = [
        np.setdiff1d(np.arange(N), targets),
        np.setdiff1d(np.arange(N), sources),
        np.setdiff1d(np.arange(column), c),
    ]
    for after, before, rest in zip((a, d, g), (acts, delta, grad), others, strict=True):
        assert (after.get()[rest] == before[rest]).all()
