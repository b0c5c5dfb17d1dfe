"""Products with staged rows, against SciPy in double precision."""

import numpy as np
import pytest
import scipy.sparse

from neurograph.backends.gpu import buckets as layout
from neurograph.backends.gpu import staged
from neurograph.backends.gpu.mirror import Rows
from neurograph.backends.gpu.staged_matrix import StagedMatrix
from neurograph.functions import activations
from neurograph.graph.adjacency import Adjacency
from neurograph.graph.tables import Table

SINGLE, HALF = np.dtype(np.float32), np.dtype(np.uint16)


class Layer:
    """Connections between two sets of neurons among many, in the host's rows, on the device, and as a matrix."""

    def __init__(self, cupy, rng, targets, sources, density, neurons=None):
        self.cupy, self.rng = cupy, rng
        n = self.n = neurons or targets + sources + 7
        mixed = rng.permutation(n).astype(np.int32)
        self.targets, self.sources = mixed[:targets], mixed[targets : targets + sources]
        self.table = Table({"source": np.int32, "target": np.int32, "weight": np.float32, "grad": np.float32})
        self.incoming, self.outgoing = Adjacency(self.table, "target"), Adjacency(self.table, "source")
        for rows in (self.incoming, self.outgoing):
            rows.add_rows(n)
        pairs = np.argwhere(rng.random((targets, sources)) < density)
        self.connect(self.targets[pairs[:, 0]], self.sources[pairs[:, 1]])

    def connect(self, targets, sources):
        """Add connections."""
        slots = self.table.allocate(len(targets))
        self.table["source"][slots], self.table["target"][slots] = sources, targets
        self.table["weight"][slots] = self.rng.normal(size=len(slots))
        for rows in (self.incoming, self.outgoing):
            rows.append(slots, self.table["source"][slots], self.table["target"][slots])

    def remove(self, slot):
        """Remove a connection."""
        for rows in (self.incoming, self.outgoing):
            rows.take(slot)
        self.table.release(slot)

    def rows(self, host):
        """Rows on the device."""
        return Rows(*(self.cupy.asarray(a) for a in host.rows))

    def buckets(self, host, slots, tile_rows):
        """Buckets of the neurons of a side."""
        return layout.Buckets(self.rows(host), slots, host.length, 2 * (tile_rows + 1))

    @property
    def weight(self):
        """The column on the device."""
        return self.cupy.asarray(self.table["weight"])

    @property
    def matrix(self):
        """Weights, by target slot and source slot."""
        live = self.table.live()
        ends = self.table["target"][live], self.table["source"][live]
        return scipy.sparse.csr_array((self.table["weight"][live].astype(np.float64), ends), shape=(self.n, self.n))

    def values(self, batch, dtype):
        """Random rows of all neurons: as stored on the device, and in double precision as they are stored."""
        x = np.zeros((self.n, staged.lead_of(batch, dtype)), np.float32)
        x[:, :batch] = self.rng.normal(size=(self.n, batch))
        if dtype == SINGLE:
            return self.cupy.asarray(x), x.astype(np.float64)
        stored = staged.rounded(self.cupy.asarray(x[:, :batch].copy()))
        return stored, widened(stored.get())


def widened(half):
    """Numbers of bfloat16 in double precision."""
    return (half.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def close(result, truth, tolerance):
    """Whether a matrix is another one, in norm."""
    scale = np.linalg.norm(truth)
    return result.shape == truth.shape and np.linalg.norm(result - truth) <= tolerance * max(scale, 1e-30)


SHAPES = [  # targets, sources, density, batch, rows of a tile
    (70, 90, 0.3, 1, 16),
    (33, 200, 0.5, 31, 64),
    (150, 40, 0.2, 64, 1000),
    (9, 300, 0.9, 130, 37),
    (5, 3, 0.4, 3, 1),
]


@pytest.mark.parametrize("dtype", [SINGLE, HALF], ids=["float32", "bf16"])
@pytest.mark.parametrize("size", SHAPES)
def test_product(cupy, rng, size, dtype):
    """Sums of every target: ragged sizes, several tiles, empty rows and segments."""
    targets, sources, density, batch, tile_rows = size
    layer = Layer(cupy, rng, targets, sources, density)
    buckets = layer.buckets(layer.incoming, layer.targets, tile_rows)
    assert buckets.tiles == 1 or buckets.tile_rows <= tile_rows
    x, truth = layer.values(batch, dtype)
    out = cupy.full((layer.n, staged.lead_of(batch, SINGLE)), np.nan, np.float32)
    staged.product(buckets, buckets.weights(layer.weight), x, out)
    assert close(out.get()[layer.targets], (layer.matrix @ truth)[layer.targets, : out.shape[1]], 1e-6)
    others = np.setdiff1d(np.arange(layer.n), layer.targets)
    assert np.isnan(out.get()[others]).all()


@pytest.mark.parametrize("dtype", [SINGLE, HALF], ids=["float32", "bf16"])
@pytest.mark.parametrize("size", SHAPES)
def test_backward(cupy, rng, size, dtype):
    """Both gradients at once, and each alone."""
    targets, sources, density, batch, tile_rows = size
    layer = Layer(cupy, rng, targets, sources, density)
    buckets = layer.buckets(layer.outgoing, layer.sources, tile_rows)
    weights = buckets.weights(layer.weight)
    (delta, by_output), (y, own) = layer.values(batch, dtype), layer.values(batch, dtype)
    lead = staged.lead_of(batch, SINGLE)
    wanted = (layer.matrix.T @ by_output)[layer.sources, :lead]
    live = layer.table.live()
    of_weights = np.einsum("cb,cb->c", by_output[layer.table["target"][live]], own[layer.table["source"][live]])
    for product, sampled in ((True, True), (True, False), (False, True)):
        out = cupy.full((layer.n, lead), np.nan, np.float32) if product else None
        grad = cupy.ones(layer.table.size, np.float32) if sampled else None
        for add in (False, True):
            staged.backward(buckets, weights, delta, y, out, grad, add)
            if product:
                assert close(out.get()[layer.sources], wanted, 1e-6)
            if sampled:
                assert close(grad.get()[live], (1 + add) * of_weights, 1e-6)


@pytest.mark.parametrize("sums", [32, 64])
def test_every_size_of_block(cupy, rng, sums):
    """Blocks of more rows do the same."""
    layer = Layer(cupy, rng, 300, 150, 0.2)
    forward = layer.buckets(layer.incoming, layer.targets, 50)
    x, truth = layer.values(40, SINGLE)
    out = cupy.empty(x.shape, np.float32)
    staged.product(forward, forward.weights(layer.weight), x, out, sums=sums)
    assert close(out.get()[layer.targets], (layer.matrix @ truth)[layer.targets], 1e-6)
    if sums in staged.BACKWARD_SUMS:
        backward = layer.buckets(layer.outgoing, layer.sources, 50)
        staged.backward(backward, backward.weights(layer.weight), x, x, out, None, sums=sums)
        assert close(out.get()[layer.sources], (layer.matrix.T @ truth)[layer.sources], 1e-6)


@pytest.mark.parametrize("room, tiles, buffers", [(34, 3, 2), (62, 1, 1), (122, 1, 2)])
def test_a_group_of_several_strips(cupy, rng, monkeypatch, room, tiles, buffers):
    """Few processors: a block runs all strips of columns one after another, and adds up the dots."""
    monkeypatch.setattr(staged, "processors", lambda: 2)
    layer = Layer(cupy, rng, 40, 50, 0.3)
    buckets = layout.Buckets(layer.rows(layer.outgoing), layer.sources, layer.outgoing.length, room)
    (delta, by_output), (y, own) = layer.values(130, SINGLE), layer.values(130, SINGLE)
    assert (buckets.tiles, buckets.buffers) == (tiles, buffers)
    assert staged.backward_shape(buckets, delta.shape[1], SINGLE).groups == 2
    out, grad = cupy.empty(delta.shape, np.float32), cupy.zeros(layer.table.size, np.float32)
    staged.backward(buckets, buckets.weights(layer.weight), delta, y, out, grad, sums=16)
    live = layer.table.live()
    truth = np.einsum("cb,cb->c", by_output[layer.table["target"][live]], own[layer.table["source"][live]])
    assert close(grad.get()[live], truth, 1e-6)
    assert close(out.get()[layer.sources], (layer.matrix.T @ by_output)[layer.sources], 1e-6)
    forward = layout.Buckets(layer.rows(layer.incoming), layer.targets, layer.incoming.length, room)
    staged.product(forward, forward.weights(layer.weight), y, out, sums=16)
    assert close(out.get()[layer.targets], (layer.matrix @ own)[layer.targets], 1e-6)


@pytest.mark.parametrize("dtype", [SINGLE, HALF], ids=["float32", "bf16"])
@pytest.mark.parametrize("keep, processors", [(True, 132), (False, 132), (True, 1)])
def test_neurons(cupy, rng, monkeypatch, dtype, keep, processors):
    """Bias, sum or mean, and activation; zeros behind the batch; strips by several blocks or by one."""
    monkeypatch.setattr(staged, "processors", lambda: processors)
    layer, batch = Layer(cupy, rng, 40, 60, 0.3), 35
    n = layer.n
    code = rng.integers(0, len(activations.ACTIVATIONS), n).astype(np.int8)
    code[code == activations.parse("step")[0]] = 0  # may jump where the sums differ in the last bit
    code[code == activations.parse("inv")[0]] = 0
    mean, bias = rng.random(n) < 0.5, rng.normal(size=n).astype(np.float32)
    parameter = np.full(n, 0.3, np.float32)
    x, before = layer.values(batch, dtype)
    acts = x if dtype == SINGLE else cupy.full((n, 36), np.nan, np.float32)
    z = cupy.full((n, acts.shape[1]), np.nan, np.float32) if keep else None
    buckets = layer.buckets(layer.incoming, layer.targets, 16)
    columns = bias, parameter, code, mean.astype(np.int8), layer.incoming.length[:n].copy()
    given = tuple(cupy.asarray(c) for c in columns)
    staged.forward(buckets, buckets.weights(layer.weight), x, acts, batch, z, given)
    fan_in = np.maximum(layer.incoming.length[:n], 1)
    truth = layer.matrix @ before / np.where(mean, fan_in, 1)[:, None] + bias[:, None]
    after = acts.get()
    for slot in layer.targets:
        y = activations.by_code(int(code[slot])).function(truth[slot, :batch], 0.3)
        np.testing.assert_allclose(after[slot, :batch], y, rtol=1e-5, atol=1e-5)
    assert not after[layer.targets, batch:].any()
    if keep:
        assert close(z.get()[layer.targets, :batch], truth[layer.targets, :batch], 1e-6)
        assert not z.get()[layer.targets, batch:].any()
    if dtype == SINGLE:
        assert (after[layer.sources] == before[layer.sources]).all()


def test_what_has_no_entry_reads_nothing(cupy, rng):
    """An infinite activation that a row does not read is not in its sum, though its places are filled up."""
    layer = Layer(cupy, rng, 20, 40, 0.4)
    reads = layer.matrix[:, [layer.sources[0]]].toarray()[:, 0] != 0
    x, truth = layer.values(5, SINGLE)
    x[int(layer.sources[0])] = np.inf
    out = cupy.empty(x.shape, np.float32)
    buckets = layer.buckets(layer.incoming, layer.targets, 16)
    staged.product(buckets, buckets.weights(layer.weight), x, out)
    finite = np.isfinite(out.get()[layer.targets, :5]).all(axis=1)
    assert (finite == ~reads[layer.targets]).all() and finite.any() and not finite.all()


@pytest.mark.parametrize("side", ["incoming", "outgoing"])
def test_patches(cupy, rng, side):
    """Edits sort the touched rows alone, as long as there is room, and then say so."""
    layer = Layer(cupy, rng, 60, 80, 0.2)
    host = getattr(layer, side)
    slots = layer.targets if side == "incoming" else layer.sources
    buckets, rebuilt = layer.buckets(host, slots, 24), 0
    sorted_rows = []
    for _ in range(60):
        t, s = rng.choice(layer.targets), rng.choice(layer.sources)
        found = np.flatnonzero((layer.table["target"] == t) & (layer.table["source"] == s) & (layer.table["id"] >= 0))
        if len(found):
            layer.remove(int(found[0]))
        else:
            layer.connect(np.array([t]), np.array([s]))
        rows = layer.rows(host)
        before = buckets.n_others
        if not buckets.patch(rows, np.array([t if side == "incoming" else s]), host):
            buckets, rebuilt = layer.buckets(host, slots, 24), rebuilt + 1
        sorted_rows.append(buckets.n_others - before)
        x, truth = layer.values(2, SINGLE)
        out = cupy.empty(x.shape, np.float32)
        staged.product(buckets, buckets.weights(layer.weight), x, out)
        matrix = layer.matrix if side == "incoming" else layer.matrix.T
        assert close(out.get()[slots], (matrix @ truth)[slots], 1e-6)
    assert rebuilt < 10


def test_a_patch_takes_new_sources_while_there_is_room(cupy, rng):
    """A source that no row had read gets the next number; when the tiles are full, nothing changes."""
    layer = Layer(cupy, rng, 6, 200, 0, neurons=300)
    layer.connect(layer.targets.repeat(20), layer.sources[:120])
    buckets = layer.buckets(layer.incoming, layer.targets, 50)
    room = len(buckets.others) - buckets.n_others
    assert room >= 1
    for k in range(room + 1):
        layer.connect(layer.targets[:1], layer.sources[120 + k : 121 + k])
        rows = layer.rows(layer.incoming)
        n_others, counts = buckets.n_others, buckets.counts.get()
        if not buckets.patch(rows, layer.targets[:1], layer.incoming):
            break
        x, truth = layer.values(3, SINGLE)
        out = cupy.empty(x.shape, np.float32)
        staged.product(buckets, buckets.weights(layer.weight), x, out)
        assert close(out.get()[layer.targets], (layer.matrix @ truth)[layer.targets], 1e-6)
    else:
        pytest.fail("the list of sources has no end")
    assert buckets.n_others == n_others and (buckets.counts.get() == counts).all() and n_others > 120


def test_same_bits_in_every_order(cupy, emulated, rng):
    """Neither the layout nor any sum depends on the order of threads and blocks."""
    layer = Layer(cupy, rng, 70, 50, 0.4)
    (delta, _), (y, _) = layer.values(40, SINGLE), layer.values(40, SINGLE)

    def run():
        buckets = layer.buckets(layer.outgoing, layer.sources, 16)
        weights = buckets.weights(layer.weight)
        out, grad = cupy.zeros(delta.shape, np.float32), cupy.zeros(layer.table.size, np.float32)
        staged.backward(buckets, weights, delta, y, out, grad)
        forward = cupy.zeros(delta.shape, np.float32)
        staged.product(buckets, weights, delta, forward)
        return buckets.firsts, buckets.counts, buckets.locals, buckets.slots, weights, out, grad, forward

    emulated.in_orders(run)


def test_nothing_to_do(cupy, rng):
    """No rows, no entries, no samples."""
    layer = Layer(cupy, rng, 4, 5, 0)
    buckets = layer.buckets(layer.incoming, layer.targets, 16)
    x = cupy.ones((layer.n, 4), np.float32)
    out = cupy.ones((layer.n, 4), np.float32)
    staged.product(buckets, buckets.weights(cupy.zeros(1, np.float32)), x, out)
    assert not out.get()[layer.targets].any()
    none = layer.buckets(layer.incoming, layer.targets[:0], 16)
    staged.product(none, none.weights(cupy.zeros(1, np.float32)), x, out)
    staged.product(buckets, buckets.weights(cupy.zeros(1, np.float32)), x[:, :0], out[:, :0])


@pytest.mark.parametrize("shape", [(40, 70), (70, 40)])
def test_matrix(cupy, rng, shape):
    """A matrix by itself: all four products."""
    matrix = scipy.sparse.random_array(shape, density=0.3, format="csr", rng=rng, dtype=np.float32)
    made = StagedMatrix(matrix.indptr, matrix.indices, matrix.data, shape, 16)
    x, delta = (rng.normal(size=(n, 12)).astype(np.float32) for n in shape[::-1])
    there, there_delta = cupy.asarray(x), cupy.asarray(delta)
    exact = matrix.astype(np.float64)
    rows, columns = exact.nonzero()
    of_weights = np.einsum("ek,ek->e", delta[rows].astype(np.float64), x[columns].astype(np.float64))
    assert close(made.product(there).get(), exact @ x, 1e-6)
    assert close(made.transposed_product(there_delta).get(), exact.T @ delta, 1e-6)
    assert close(made.sampled_product(there_delta, there).get(), of_weights, 1e-6)
    out, grad = made.backward(there_delta, there, scratch=made.scratch(12, np.float32))
    assert close(out.get(), exact.T @ delta, 1e-6) and close(grad.get(), of_weights, 1e-6)
    made.data *= np.float32(2)
    made.update()
    assert close(made.product(there).get(), 2 * (exact @ x), 1e-6)
    with pytest.raises(ValueError, match="multiple of 4"):
        made.product(there[:, :10])
    with pytest.raises(TypeError, match="float64"):
        made.product(there.astype(np.float64))
