"""Tiles of 16 x 16 against products of sparse matrices by SciPy in float64, for patterns and sizes of every kind."""

import numpy as np
import pytest
import scipy.sparse as sp

from neurograph.backends.gpu import tiles
from neurograph.backends.gpu.mirror import Rows

TOLERANCE = {"float64": 1e-13, "float32": 1e-6, "tf32": 1e-3, "bf16": 1e-2}


class Case:
    """Groups of neurons of ragged sizes at random slots, tiles between some of them, connections in and out of them.

    The first ``n_sources`` groups lead to the others. Rows have slack with stale entries, and slots have gaps.
    """

    def __init__(self, rng, n_sources, n_targets, open_share=0.5, fills=(0.0, 0.1, 0.6, 1.0), dtype=np.float32):
        self.rng, self.n_sources, self.groups = rng, n_sources, n_sources + n_targets
        sizes = rng.choice([16, 16, 16, 1, 7], self.groups)
        self.n = int(sizes.sum()) + 9
        slots = rng.permutation(self.n).astype(np.int32)
        self.members = np.full((self.groups, 16), -1, np.int32)
        self.of = np.full(self.n, -1)
        begin = 0
        for group, size in enumerate(sizes):
            self.members[group, :size] = slots[begin : begin + size]
            self.of[slots[begin : begin + size]] = group
            begin += size
        opened = rng.random((n_sources, n_targets)) < open_share
        opened[:, -1] = n_targets == 1  # one group of targets has no tiles
        self.open = np.zeros((self.groups, self.groups), bool)
        self.open[:n_sources, n_sources:] = opened
        pairs = []
        for source in range(n_sources):
            for target in range(n_sources, self.groups):
                a, b = self.members[source], self.members[target]
                cells = np.array([(s, t) for s in a[a >= 0] for t in b[b >= 0]])
                fill = rng.choice(fills) if self.open[source, target] else 0.03
                pairs.append(cells[rng.random(len(cells)) < fill])
        pairs = rng.permutation(np.concatenate(pairs))
        self.connections = {
            tuple(pair): slot for pair, slot in zip(pairs.tolist(), self._slots(len(pairs)), strict=True)
        }
        self.weight = rng.normal(size=self.column).astype(dtype)

    def _slots(self, count):
        self.column = 2 * count + 5
        return self.rng.permutation(self.column)[:count].tolist()

    def inside(self):
        """(source, target, slot) of the connections in tiles."""
        kept = [(s, t, c) for (s, t), c in self.connections.items() if self.open[self.of[s], self.of[t]]]
        return np.array(kept, np.int64).reshape(-1, 3).T

    def rows(self, cupy):
        """By target, with slack."""
        entries = [[] for _ in range(self.n)]
        for (s, t), c in self.connections.items():
            entries[t].append((s, c))
        start = np.cumsum([0, *(len(row) + 3 for row in entries)])[:-1]
        pool = np.zeros((int(start[-1]) + len(entries[-1]) + 3, 2), np.int32)
        pool[:] = self.rng.integers(0, min(self.n, self.column), pool.shape)
        for row, begin in zip(entries, start, strict=True):
            pool[begin : begin + len(row)] = np.array(row, np.int32).reshape(-1, 2)
        length = np.array([len(row) for row in entries], np.int32)
        other, slot = (np.ascontiguousarray(part) for part in pool.T)
        return Rows(*(cupy.asarray(a) for a in (start.astype(np.int64), length, other, slot)))

    def matrix(self):
        """Targets by sources, what stands in tiles, in float64."""
        s, t, c = self.inside()
        return sp.csr_matrix((self.weight[c].astype(np.float64), (t, s)), shape=(self.n, self.n))

    def tiles(self, cupy):
        """Them on the device."""
        made = tiles.Tiles(self.n, self.members, *np.nonzero(self.open))
        made.enter(cupy.arange(self.n, dtype=np.int32), self.rows(cupy))
        return made

    def values(self, samples):
        """Rows of activations, zeros behind the last sample."""
        ld = -(-samples // 4) * 4
        rows = self.rng.normal(size=(self.n, ld)).astype(self.weight.dtype)
        rows[:, samples:] = 0
        return rows


def near(result, truth, precision):
    """As near as the precision allows, by norms."""
    assert np.linalg.norm(result - truth) <= TOLERANCE[precision] * np.linalg.norm(truth), precision


def run(cupy, case, made, samples, precision, begun=0, add=False):
    """Forward, backward and gradients on the device: (rows, rows, column), and what they began from."""
    acts, delta = case.values(samples), case.values(samples)
    grad = case.rng.normal(size=case.column).astype(acts.dtype)
    before = acts.copy(), delta.copy(), grad.copy()
    flags = cupy.full(case.groups, begun, np.int8)
    products = tiles.Products(made, acts.dtype, acts.shape[1], "float32" if precision == "float64" else precision)
    weight, a, d, g = (cupy.asarray(array) for array in (case.weight, acts, delta, grad))
    middle, end = case.n_sources, case.groups
    products.load(weight, True)
    products.pack(0, middle, a)
    products.forward(middle, end, a, flags)
    products.load(weight, False)
    products.pack(middle, end, d, delta=True)
    products.backward(0, middle, d, flags)
    products.gradient(a, d, add, g)
    return (a.get(), d.get(), g.get()), before


CASES = [
    ("float32", 1, np.float32),
    ("float32", 33, np.float32),
    ("float32", 130, np.float32),
    ("float64", 70, np.float64),
    ("tf32", 16, np.float32),
    ("tf32", 130, np.float32),
    ("bf16", 1, np.float32),
    ("bf16", 33, np.float32),
    ("bf16", 130, np.float32),
]


@pytest.mark.parametrize("precision, samples, dtype", CASES)
@pytest.mark.parametrize("begun", [0, 1])
def test_products(cupy, rng, precision, samples, dtype, begun):
    """Sums, deltas and gradients, written or added to what was there."""
    case = Case(rng, 5, 6, dtype=dtype)
    made = case.tiles(cupy)
    (acts, delta, grad), before = run(cupy, case, made, samples, precision, begun, bool(begun))
    W, (s, t, c) = case.matrix(), case.inside()
    X, D, G = (array.astype(np.float64) for array in before)
    reached, sending = (np.isin(case.of, np.flatnonzero(case.open.any(axis=axis))) for axis in (0, 1))
    near(acts[reached], (W @ X)[reached] + begun * X[reached], precision)
    assert (acts[~reached] == before[0][~reached]).all()
    near(delta[sending], (W.T @ D)[sending] + begun * D[sending], precision)
    assert (delta[~sending] == before[1][~sending]).all()
    near(grad[c], (D[t] * X[s]).sum(axis=1) + begun * G[c], precision)
    untouched = np.delete(np.arange(case.column), c)
    assert (grad[untouched] == before[2][untouched]).all()
    assert (acts[:, samples:] == 0).all() and (delta[:, samples:] == 0).all()


def test_mask_and_places(cupy, rng):
    """Every connection in a tile has its bit and its place there, and no other cell has any."""
    case = Case(rng, 4, 4)
    made = case.tiles(cupy)
    place, mask = made.place.get().reshape(-1, 16, 16), made.mask.get().reshape(-1, 4)
    source, target = made.source.get(), made.target.get()
    bits = np.unpackbits(mask.view(np.uint8), axis=1, bitorder="little").reshape(-1, 16, 16).astype(bool)
    assert ((place >= 0) == bits).all()
    assert made.count == case.open.sum()
    found = {}
    for tile, row, column in zip(*np.nonzero(bits), strict=True):
        pair = case.members[source[tile], column], case.members[target[tile], row]
        found[tuple(int(end) for end in pair)] = int(place[tile, row, column])
    s, t, c = case.inside().tolist()
    assert found == dict(zip(zip(s, t, strict=True), c, strict=True))


def test_edits_patch_places(cupy, rng):
    """Connections that go, come, and move to other slots: tiles as if they were made anew."""
    case = Case(rng, 4, 4)
    made = case.tiles(cupy)
    pairs = list(case.connections)
    touched = [pairs[i] for i in rng.choice(len(pairs), 40, replace=False)]
    free = np.setdiff1d(np.arange(case.column), list(case.connections.values()))
    for i, pair in enumerate(touched):
        if i % 2:
            del case.connections[pair]
        else:
            case.connections[pair] = int(free[i])
    for _ in range(30):
        pair = (int(rng.integers(case.n)), int(rng.integers(case.n)))
        group = case.of[list(pair)]
        if 0 <= group[0] < case.n_sources <= group[1] and pair not in case.connections:
            case.connections[pair] = int(free[40 + len(touched)])
            touched.append(pair)
    ends = np.array(touched, np.int32).T
    made.patch(*(cupy.asarray(np.ascontiguousarray(end)) for end in ends), case.rows(cupy))
    anew = case.tiles(cupy)
    assert (made.place.get() == anew.place.get()).all() and (made.mask.get() == anew.mask.get()).all()


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_same_bits_in_any_order(cupy, emulated, rng, monkeypatch, precision):
    """Neither the order of blocks and threads nor the width that a warp has changes a bit."""
    case = Case(rng, 3, 3, open_share=0.9)
    made, state = case.tiles(cupy), rng.bit_generator.state

    def results():
        rng.bit_generator.state = state
        return run(cupy, case, made, 70, precision)[0]

    narrow = emulated.in_orders(results)
    monkeypatch.setattr(tiles, "ENOUGH", 1)
    for one, other in zip(narrow, emulated.in_orders(results), strict=True):
        assert one.tobytes() == other.tobytes()
