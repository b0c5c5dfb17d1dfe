"""Selection by digits on the device, against sorting."""

import numpy as np
import pytest

import neurograph as ng
from neurograph.backends.gpu import select
from neurograph.backends.gpu.mirror import Rows, columns_of
from neurograph.errors import InvalidValueError
from neurograph.graph.tables import Table

SCORES = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "repeated": lambda rng, n: rng.integers(-2, 3, n) / 2,
    "equal": lambda rng, n: np.full(n, 0.25),
    "zeros of both signs": lambda rng, n: rng.choice([0.0, -0.0, 1.0, -1.0], n),
    "close": lambda rng, n: 1 + rng.integers(0, 50, n) * np.finfo(np.float32).eps,
    "extreme": lambda rng, n: rng.choice([np.inf, -np.inf, 1e-45, 3e38, 0.0, 1.0], n),
}


def first(scores, ids, count, largest=False):
    """Indices of the lowest, ascending, by a sort of all; negative ids are nobody."""
    order = np.lexsort((ids, -scores if largest else scores))
    return np.sort(order[ids[order] >= 0][: max(count, 0)])


def shuffled(rng, n):
    """Different ids, large ones among them, in no order."""
    return rng.permutation(np.concatenate([rng.permutation(n // 2), 2**33 + rng.permutation(n - n // 2)]))


@pytest.mark.parametrize(("dtype", "kind"), [*((np.float32, kind) for kind in SCORES), (np.float64, "repeated")])
def test_exactly_as_many_as_wanted(cupy, rng, kind, dtype):
    """Ties go by id, whatever the count."""
    n = 300 if dtype == np.float32 else 90
    scores, ids = SCORES[kind](rng, n).astype(dtype), shuffled(rng, n)
    for largest in (False, True):
        there = select.entries(cupy.asarray(scores), cupy.asarray(ids), 2**34, largest)
        for count in (0, 1, n // 3, n - 1, n + 5):
            got = select.lowest(there, count)
            np.testing.assert_array_equal(got.get(), first(scores, ids, count, largest))
        assert got.dtype == np.int64


def test_indices_decide_where_there_are_no_ids(cupy):
    """As a stable sort does."""
    scores = cupy.asarray(np.array([2.0, 1.0, 1.0, 0.0, 1.0]))
    assert select.lowest(select.entries(scores), 3).get().tolist() == [1, 2, 3]
    assert select.lowest(select.entries(scores, largest=True), 2).get().tolist() == [0, 1]
    assert select.lowest(select.entries(scores[:0]), 2).size == 0


@pytest.mark.parametrize("n", [1, 256, 4097])
def test_more_than_a_block_counts(cupy, rng, n):
    """Several chunks, the last of them not full."""
    scores = rng.integers(0, n // 2 + 1, n).astype(np.float32)
    ids = rng.permutation(n)
    there = select.entries(cupy.asarray(scores), cupy.asarray(ids), n)
    np.testing.assert_array_equal(select.lowest(there, n // 3).get(), first(scores, ids, n // 3))


def lowest_of_each(scores, ids, regions, counts):
    """By a sort in every region."""
    chosen = []
    for r, count in enumerate(counts):
        members = np.flatnonzero((regions == r) & (ids >= 0))
        chosen.extend(members[first(scores[members], ids[members], count)])
    return np.sort(np.array(chosen, np.int64))


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("sorted_regions", [False, True])
def test_regions(cupy, rng, monkeypatch, many, sorted_regions):
    """A histogram each, or a block each; regions of all kinds, and entries that are nobody."""
    if many:
        monkeypatch.setattr(select, "MANY_REGIONS", 3)
    n, n_regions = 4500, 9
    regions = np.minimum(rng.geometric(0.3, n) - 1, n_regions - 2).astype(np.int32)  # the last has none
    if sorted_regions:
        regions.sort()
    scores, ids = rng.integers(0, 40, n).astype(np.float32), rng.permutation(n)
    ids[rng.random(n) < 0.1] = -1
    regions[(ids < 0) & (rng.random(n) < 0.5)] = -7
    sizes = np.bincount(regions[ids >= 0], minlength=n_regions)
    counts = np.array([sizes[0] // 2, 0, sizes[2], sizes[3] + 4, 1, sizes[5] // 3, 0, -2, 5], np.int32)
    there = select.entries(cupy.asarray(scores), cupy.asarray(ids), n)
    got = select.lowest_in_regions(there, cupy.asarray(regions), cupy.asarray(counts))
    np.testing.assert_array_equal(got.get(), lowest_of_each(scores, ids, regions, counts))
    none = select.lowest_in_regions(there, cupy.asarray(regions), cupy.zeros(0, np.int32))
    assert none.size == 0


def test_rows_with_slack_between_them(cupy, rng):
    """Rows as a graph has them: of all lengths, in any order, with stale entries behind."""
    length = np.array([0, 1, 5, 300, 31, 600], np.int32)
    n = int(length.sum()) + 20
    room = length + 3
    start = np.cumsum(room).astype(np.int64) - room
    slots = rng.permutation(n)[: length.sum()]
    slot = rng.integers(0, n, int(room.sum())).astype(np.int32)  # what is stale names entries of other rows
    row_of, begin = np.full(n, -1), 0
    for r in range(len(length)):
        mine = slots[begin : begin + length[r]]
        slot[start[r] : start[r] + length[r]], row_of[mine], begin = mine, r, begin + length[r]
    scores, ids = rng.integers(0, 30, n).astype(np.float32), rng.permutation(n)
    ids[row_of < 0] = -1
    counts = np.array([2, 1, 2, 100, 0, 599], np.int32)
    rows = Rows(*(cupy.asarray(a) for a in (start, length, slot, slot)))
    got = select.lowest_in_rows(select.entries(cupy.asarray(scores), cupy.asarray(ids), n), rows, cupy.asarray(counts))
    np.testing.assert_array_equal(got.get(), lowest_of_each(scores, ids, row_of, counts))


@pytest.mark.parametrize("score", ["magnitude", "gradient", "saliency", "adam_m"])
def test_scores_out_of_columns(cupy, rng, score):
    """Free slots and unused room are no candidates, frozen connections neither where it is asked for."""
    table = Table({"weight": np.float32, "grad": np.float32, "frozen": np.bool_})
    table.allocate(100)
    for name in ("weight", "grad", "adam_m"):
        table.add_column(name, np.float32)[:] = rng.standard_normal(100)
    table["frozen"][::4] = True
    table.release(np.arange(0, 100, 7))
    table.allocate(3)  # young ones in old slots, of weight zero
    weight, grad, momentum = (table.read(name) for name in ("weight", "grad", "adam_m"))
    truth = dict(magnitude=weight, gradient=grad, saliency=weight * grad, adam_m=momentum)
    wanted = np.abs(truth[score])
    there = select.candidates(score, table)
    np.testing.assert_array_equal(select.lowest(there, 30).get(), first(wanted, table.read("id"), 30))
    loose = np.where(table.read("frozen"), -1, table.read("id"))
    there = select.candidates(score, table, frozen=columns_of(table).read("frozen"), largest=True)
    np.testing.assert_array_equal(select.lowest(there, 30).get(), first(wanted, loose, 30, largest=True))


def test_nan_comes_last(cupy):
    """So that it is there to be seen, or to be chosen when all are."""
    scores = cupy.asarray(np.array([np.nan, 3.0, -np.nan, np.inf], np.float32))
    for largest in (False, True):
        there = select.entries(scores, largest=largest)
        assert select.lowest(there, 2).get().tolist() == [1, 3]
        assert select.lowest(there, 3).get().tolist() == [0, 1, 3]


def test_same_bits_in_every_order(cupy, emulated, rng):
    """Histograms of integers come out the same however they are added up."""
    scores = cupy.asarray(rng.integers(0, 9, 500).astype(np.float32))
    regions = cupy.asarray(rng.integers(0, 3, 500).astype(np.int32))
    counts = cupy.asarray(np.array([40, 50, 0], np.int32))
    emulated.in_orders(lambda: select.lowest_in_regions(select.entries(scores), regions, counts))


def twins(gpu, seed=3, dtype="float64"):
    """The same network on the device and on the CPU, some weights equal, with gradients."""
    nets = []
    for backend in (gpu, "cpu"):
        net = ng.topologies.layered([6, 9, 7, 4], density=0.6, seed=seed, dtype=dtype, backend=backend)
        conns = net.connections
        conns.weight = np.round(2 * conns.weight) / 2 + 0.25 * (conns.id % 3 == 0)
        net.prune(conns[::5])
        net.connect(net.groups["inputs"], net.groups["outputs"], density=0.5, weight=0.25)
        X = np.random.default_rng(seed).normal(size=(8, 6))
        net.backward(X, np.arange(8) % 4, "cross_entropy")
        nets.append(net)
    return nets


def alike(net, other):
    """Whether two networks have the same connections, in the same slots."""
    mine, theirs = net.connections, other.connections
    for name in ("id", "slots", "source", "target"):
        np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name))
    np.testing.assert_allclose(mine.weight, theirs.weight, rtol=1e-9)


@pytest.mark.filterwarnings("ignore::neurograph.errors.EmptyLayerWarning")
@pytest.mark.parametrize("scope", ["global", "local", "neuron"])
@pytest.mark.parametrize("score", ["magnitude", "saliency"])
def test_pruning_takes_the_same_connections(gpu, score, scope):
    """As on the CPU, whatever is held, twice over."""
    nets = twins(gpu)
    for net in nets:
        net.connections[:10].frozen = True
        removed = [ng.sparsity.prune_lowest(net, score, 0.3, scope, allow_disconnected=True) for _ in range(2)]
        removed.append(ng.sparsity.prune_lowest(net, score, count=1, scope=scope, frozen=True, allow_disconnected=True))
        assert min(removed) > 0
    alike(*nets)


def test_weights_stay_on_the_device(gpu, emulated):
    """What goes down is what was chosen, not what it was chosen from."""
    net = ng.topologies.layered([40, 200, 10], seed=0, backend=gpu)
    net.backward(np.ones((2, 40)), np.zeros((2, 10)))
    ng.optim.SGD(lr=0.1).step(net)
    emulated.counters.reset()
    chosen = net.lowest(net.connections_as_stored, "magnitude", [5])
    assert len(chosen) == 5
    assert emulated.counters.downloaded < 8 * 5 + 64
    weight = np.abs(net.connections_as_stored.weight)
    assert weight[chosen].max() <= np.delete(weight, chosen).min()


def test_rewiring_replaces_the_same_connections(gpu):
    """Magnitude and chance between the same homes, in one go."""
    nets = twins(gpu)
    for net in nets:
        for step in (100, 200):
            rewired = ng.sparsity.Rewire(fraction=0.4, every=100).step(net, step)
            assert rewired.removed > 10
            ng.optim.SGD(lr=0.1).step(net)
    alike(*nets)


def test_scores_that_are_no_numbers(gpu):
    """The error of the host."""
    net = ng.topologies.layered([3, 2], seed=0, backend=gpu)
    net.graph.connections.put("weight", 1, np.nan)
    assert net.lowest(net.connections, "magnitude", [2]) is None
    with pytest.raises(InvalidValueError, match="NaN"):
        ng.sparsity.prune_lowest(net)


def test_connections_in_any_order(gpu):
    """Indices are into what was given; shared weights are those of their parameter."""
    net = ng.topologies.layered([3, 4], weight=np.arange(12.0), backend=gpu)
    net.tie(net.connections[[0, 11]], [0, 0], average=True)
    shuffled = net.connections[[7, 11, 2, 0, 9]]
    assert net.lowest(shuffled, "magnitude", [2]).tolist() == [2, 3]
    assert net.lowest(shuffled, "magnitude", [1, 1], [0, 1, 1, 0, 1]).tolist() == [2, 3]
    assert net.lowest(shuffled, "age", [2]) is None
