"""Tiles: whole blocks of neighbours run as what the row loops and the reference backend compute, through all edits."""

import numba
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import neurograph as ng
from neurograph.backends.cpu import costs, tiles
from neurograph.backends.cpu.costs import Costs

# Pruning by blocks may take a small layer whole; these tests are about what is left.
pytestmark = pytest.mark.filterwarnings("ignore::neurograph.EmptyLayerWarning")


@pytest.fixture(autouse=True)
def fixed_choice(monkeypatch):
    """The same choice on every machine, in small networks too."""
    fixed = Costs(sparse=0.1, dense=0.06, copied=1e-9, called=1e-9)
    monkeypatch.setattr(costs, "costs", lambda dtype: fixed)
    monkeypatch.setattr(tiles, "FEWEST", 0)
    monkeypatch.setattr(tiles, "INSIDE", 0.5)
    monkeypatch.setattr(tiles, "SMALL", 0.6)


def squares(net, sources, targets, side, density, rng):
    """Connect random whole squares of two layers."""
    S, T = len(sources), len(targets)
    kept = rng.random((-(-S // side), -(-T // side))) < density
    i, j = np.nonzero(np.repeat(np.repeat(kept, side, 0), side, 1)[:S, :T])
    return net.add_connections(sources.ids[i], targets.ids[j], weight=rng.standard_normal(len(i)) / side)


def blocky(sizes=(96, 80, 75, 10), side=8, density=0.25, seed=0, dtype="float64", **columns):
    """A layered network of whole squares."""
    rng = np.random.default_rng(seed)
    net = ng.Network(seed=seed, dtype=dtype)
    homes = [
        net.add_inputs(sizes[0]),
        *(net.add_neurons(n, **columns) for n in sizes[1:-1]),
        net.add_outputs(sizes[-1]),
    ]
    for sources, targets in zip(homes, homes[1:], strict=False):
        squares(net, sources, targets, side, density, rng)
    return net


def gradients(net, X, Y):
    loss = net.backward(X, Y, "cross_entropy")
    errors = np.stack([neuron.error for neuron in net.outputs])
    return loss, net.predict(X), net.connections.grad.copy(), net.neurons.bias_grad.copy(), errors


def assert_like_reference(net, batch=64, seed=0):
    """Loss, outputs, gradients and errors of both backends agree; each connection runs once."""
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((batch, net.n_inputs)).astype(net.dtype), rng.integers(0, net.n_outputs, batch)
    ours = gradients(net, X, Y)
    assert_each_runs_once(net)
    net.backend_name = "reference"
    theirs = gradients(net, X, Y)
    net.backend_name = "cpu"
    net.predict(X[:1])  # forget the reference's pass
    tolerance = 3e-5 if net.dtype == np.float32 else 1e-11
    for a, b in zip(ours, theirs, strict=True):
        assert np.abs(a - b).max(initial=0) <= tolerance * max(np.abs(b).max(initial=0), 1e-3)


def found(net):
    """The tiles that run."""
    return net.plan.layouts["cpu"].tiles


def assert_each_runs_once(net):
    """Both lists of tiles hold the same connections, all of them; the rest of the rows holds the others."""
    blocks = net.plan.layouts["cpu"]
    if blocks.tiles is None:
        return
    graph, groups, seen = net.graph, blocks.tiles.groups, []
    for lists, by_target in ((blocks.tiles.into, True), (blocks.tiles.out_of, False)):
        inside = []
        begin, far, base = lists
        for own in range(blocks.tiles.count):
            for t in range(begin[own], begin[own + 1]):
                s, d = (far[t], own) if by_target else (own, far[t])
                source = groups.members[groups.first[s] : groups.first[s + 1]]
                target = groups.members[groups.first[d] : groups.first[d + 1]]
                cells = blocks.tiles.slots[base[t] :][: groups.side**2].reshape(groups.side, groups.side)
                cells = cells[: len(source), : len(target)]
                assert (graph.connections["source"][cells] == source[:, None]).all()
                assert (graph.connections["target"][cells] == target).all()
                inside.append(cells.ravel())
        seen.append(np.sort(np.concatenate([*inside, np.zeros(0, int)])))
    np.testing.assert_array_equal(*seen)
    assert len(np.unique(seen[0])) == len(seen[0]) == blocks.tiles.connections
    for rest, end, has in (
        (blocks.incoming, "target", blocks.has_sources),
        (blocks.outgoing, "source", blocks.has_targets),
    ):
        rows = np.flatnonzero(has)
        left = np.concatenate(
            [rest.slot[rest.start[r] : rest.start[r] + rest.length[r]] for r in rows] or [seen[0][:0]]
        )
        live = graph.connections.live()
        expected = np.setdiff1d(live[has[graph.connections[end][live]]], seen[0])
        if not blocks.found:  # what a dense block runs is in neither
            np.testing.assert_array_equal(np.sort(left), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("side", [4, 5, 8, 10, 16, 32, 64])
@pytest.mark.parametrize("batch", [16, 64, 200])
def test_as_reference(side, dtype, batch):
    net = blocky((2 * side + 33, 3 * side, 130, 10), side, 0.4, dtype=dtype, activation="tanh", bias=0.3)
    assert_like_reference(net, batch)
    net.predict(np.zeros((64, net.n_inputs)))
    assert found(net).side == side
    assert f"blocks of {side} x {side}" in str(net.plan)


@pytest.mark.nojit
def test_without_the_compiler_too():
    net = blocky((16, 20, 6), 4, 0.5)
    assert_like_reference(net, 64)
    assert found(net).side == 4
    net.connections[5].remove()
    assert_like_reference(net, 64)


def test_pruned_by_blocks():
    net = ng.topologies.layered([100, 128, 130, 10], seed=0)
    ng.sparsity.prune_lowest(net, scope="block", block=16, fraction=0.8, allow_disconnected=True)
    assert_like_reference(net)
    tiled = found(net)
    assert tiled.side == 16
    # At the ends of the layers the squares are smaller: 100 = 6 * 16 + 4. Those of under 16 pairs run as rows.
    size = tiled.groups.size
    assert tiled.connections == net.n_connections and set(size) == {16, 4, 2, 10}
    lines = [line for line in str(net.plan).splitlines() if "blocks of 16 x 16" in line]
    assert sum(int(line.split()[-2]) for line in lines) == net.n_connections


def test_unstructured_networks_have_none():
    for net in (
        ng.topologies.layered([100, 128, 130, 10], density=0.2, seed=0),
        ng.topologies.random_dag(20, 150, 5, 0.2, seed=0),
        ng.topologies.layered([40] * 5, density=0.05, seed=1),
    ):
        assert_like_reference(net)
        assert found(net) is None


def test_single_neurons_are_no_neighbours():
    """Each in a home of its own: every connection would be a block."""
    net = ng.Network(seed=0)
    x = net.add_inputs(4)
    for _ in range(40):
        net.connect(x, net.add_neurons(1), density=0.5)
    net.connect(net.neurons[4:], net.add_outputs(3))
    assert_like_reference(net)
    assert found(net) is None


def test_a_broken_block_and_a_complete_one():
    net = blocky()
    assert_like_reference(net)
    tiled, before = found(net), found(net).connections
    c = net.connections[1000]
    source, target = c.source, c.target
    c.remove()
    assert_like_reference(net)
    assert found(net) is tiled and tiled.connections == before - 64
    net.connect(source, target, weight=0.7)
    assert_like_reference(net)
    assert found(net) is tiled and tiled.connections == before


def test_a_connection_moves_to_another_slot():
    """Removed and added again between two passes, after another one took its slot."""
    net = blocky()
    assert_like_reference(net)
    tiled, before = found(net), found(net).connections
    c = net.connections[777]
    source, target, weight = c.source, c.target, c.weight
    c.remove()
    net.grow(net.homes[0], net.homes[2], 1)
    net.connect(source, target, weight=weight)
    assert_like_reference(net)
    assert found(net) is tiled and tiled.connections == before


def test_new_blocks():
    net = blocky(density=0.2)
    assert_like_reference(net)
    tiled, before = found(net), len(found(net).out_of[1])
    sources, targets = net.homes[1], net.homes[2]
    for i in range(0, 80, 8):
        for j in range(0, 72, 8):
            if not any(net.has_connection(sources[i + a], targets[j + b]) for a in range(8) for b in range(8)):
                for a in range(8):
                    for b in range(8):
                        net.connect(sources[i + a], targets[j + b], weight=0.1)
                assert_like_reference(net)
                grown = net.plan.layouts["cpu"].tiles
                assert grown is not tiled or len(grown.out_of[1]) == before + 1
                return
    raise AssertionError("no square was empty")


def test_many_edits_turn_it_sparse_and_pruning_makes_blocks_again():
    net = blocky((128, 128, 128, 10), 8, 0.5, dtype="float32")
    assert_like_reference(net)
    assert found(net).side == 8
    net.connections[np.random.default_rng(0).random(net.n_connections) < 0.2].remove()
    assert_like_reference(net)
    assert found(net) is None
    ng.sparsity.prune_lowest(net, scope="block", block=8, fraction=0.5, allow_disconnected=True)
    for sources, targets in zip(net.homes, net.homes[1:], strict=False):
        for i in range(0, len(sources), 8):
            for j in range(0, len(targets), 8):
                square = sources[i : i + 8], targets[j : j + 8]
                if any(net.has_connection(a, b) for a in square[0] for b in square[1]):
                    net.connect(*square)
    assert_like_reference(net)
    assert found(net) is not None and found(net).side == 8


KINDS = "remove one", "remove some", "grow", "restore", "neuron", "square", "batch"
EDITS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 10**6)), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    side=st.sampled_from([4, 5, 6, 8, 12, 16]),
    sizes=st.lists(st.integers(20, 60), min_size=2, max_size=4),
    density=st.floats(0.2, 0.9),
    seed=st.integers(0, 10**6),
    edits=EDITS,
)
def test_edits_in_any_order(side, sizes, density, seed, edits):
    """Whatever comes and goes, all passes agree with the reference backend."""
    net = blocky((*sizes, 9), side, density, seed)
    rng, lost = np.random.default_rng(seed), []
    assert_like_reference(net)
    for kind, number in edits:
        if net.n_connections < 50:
            break
        if kind == "remove one":
            c = net.connections[number % net.n_connections]
            lost.append((c.source.id, c.target.id))
            c.remove()
        elif kind == "remove some":
            net.connections[np.unique(rng.integers(0, net.n_connections, 7))].remove()
        elif kind == "grow":
            net.grow(net.homes[number % (len(net.homes) - 1)], net.homes[-1], 3)
        elif kind == "restore":
            for source, target in lost:
                if not net.has_connection(source, target):
                    net.connect(source, target, weight=0.5)
            lost = []
        elif kind == "neuron":
            layer = net.homes[1]
            if len(layer) > 5:
                gone = layer[number % len(layer)]
                lost = [pair for pair in lost if gone.id not in pair]
                gone.remove()
        elif kind == "square":
            ng.sparsity.prune_lowest(net, scope="block", block=side, count=1, allow_disconnected=True)
        assert_like_reference(net, 100 if kind == "batch" else 64)


def mixed(dtype="float64"):
    """Dense layers and tiles that share sources and targets, and neurons that tiles cannot run, or not alone."""
    rng = np.random.default_rng(0)
    net = ng.Network(seed=0, dtype=dtype)
    x = net.add_inputs(80)
    a = net.add_neurons(96, activation="gelu", aggregation="mean")
    b = net.add_neurons(96, activation="relu", aggregation=["max" if i % 19 == 0 else "sum" for i in range(96)])
    c = net.add_neurons(72, activation=["tanh", "silu"] * 36, bias=rng.standard_normal(72))
    d = net.add_neurons(80)
    y = net.add_outputs(5)
    net.connect(x, a)
    net.connect(x, c)
    net.connect(d, y)
    for sources, targets in ((x, b), (a, b), (a, c), (b, c), (c, d), (x, d), (b, y)):
        squares(net, sources, targets, 8, 0.3, rng)
    net.mark_outputs(b[:3])
    return net


@pytest.mark.parametrize("batch", [64, 150, 600])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_among_dense_blocks_and_odd_neurons(batch, dtype):
    net = mixed(dtype)
    assert_like_reference(net, batch)
    blocks = net.plan.layouts["cpu"]
    assert blocks.found and blocks.tiles.side == 8
    for number in (3, 2000, 5000):
        net.connections[number].remove()
        assert_like_reference(net, batch)
    assert net.plan.layouts["cpu"].tiles is blocks.tiles


def test_through_time_the_row_loops_run():
    net = blocky()
    net.connect(net.outputs[0], net.homes[1][0], delay=1)
    X = np.random.default_rng(0).standard_normal((64, 3, 96))
    Y = net.predict(X)
    net.backend_name = "reference"
    np.testing.assert_allclose(Y, net.predict(X), rtol=1e-9, atol=1e-12)
    net.backend_name = "cpu"
    assert found(net) is None
    net.connection(net.outputs[0], net.homes[1][0], delay=1).remove()
    assert_like_reference(net)
    assert found(net) is not None


def test_time_constants_and_means_stay_with_the_row_loops():
    net = blocky(aggregation="mean")
    assert_like_reference(net)
    into = {generation for generation, *_ in found(net).pairs()} if found(net) else set()
    assert into <= {2}  # the outputs, which sum


def test_shared_and_frozen_weights():
    net, rng = blocky(), np.random.default_rng(0)
    net.tie(net.connections, rng.integers(0, 50, net.n_connections), average=True)
    assert_like_reference(net)
    assert found(net) is not None
    net = blocky()
    net.connections[::3].frozen = True
    before = net.connections.weight.copy()
    X, Y = rng.standard_normal((64, 96)), rng.integers(0, 10, 64)
    net.backward(X, Y, "cross_entropy")
    ng.optim.Adam(1e-2).step(net)
    moved = net.connections.weight != before
    assert not moved[::3].any() and moved.any()
    assert_like_reference(net)


def test_gradients_of_pieces_add_up(monkeypatch):
    """A batch in two pieces, whose gradients are added to what is there."""
    net = blocky()
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((256, 96)), rng.standard_normal((256, 10))
    net.backward(X, Y, "mse")
    whole = net.connections.grad.copy()
    backend, plan = net.backend, net.plan
    for first in (0, 128):
        run = backend.forward(plan, X[first : first + 128, None])
        out = run.outputs
        backend.backward(plan, run, 2 * (out - Y[first : first + 128, None]) / Y.size, add=first > 0)
    np.testing.assert_allclose(net.connections.grad, whole, rtol=1e-9, atol=1e-13)


def test_saved_and_loaded(tmp_path):
    net = blocky(dtype="float32")
    rng = np.random.default_rng(0)
    net.order_blocks(rng.permutation(net.homes[1].ids))
    net.connections[np.arange(0, net.n_connections, 500)].remove()
    X, Y = rng.standard_normal((64, 96)).astype(np.float32), rng.integers(0, 10, 64)
    net.save(tmp_path / "net.ng")
    again = ng.load(tmp_path / "net.ng")
    np.testing.assert_array_equal(again.block_places, net.block_places)
    for loaded in (net, again):
        loaded.backward(X, Y, "cross_entropy")
    assert str(again.plan).splitlines()[-2:] == str(net.plan).splitlines()[-2:]
    np.testing.assert_array_equal(net.connections.grad, again.connections.grad)
    np.testing.assert_array_equal(net.predict(X), again.predict(X))


def train(threads, batch, dtype="float32"):
    """Weights after some steps with edits between, and a prediction."""
    most = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        net = blocky((200, 256, 256, 10), 16, 0.2, dtype=dtype, activation="relu")
        rng = np.random.default_rng(0)
        X, Y = rng.standard_normal((batch, 200)).astype(dtype), rng.integers(0, 10, batch)
        optimizer = ng.optim.Adam(1e-3)
        for step in range(4):
            net.backward(X, Y, "cross_entropy")
            optimizer.step(net)
            net.connections[100 * step].remove()
        assert found(net).side == 16
        return net.connections.weight.tobytes() + net.predict(X).tobytes()
    finally:
        numba.set_num_threads(most)


@pytest.mark.parametrize("batch", [64, 128, 600])
def test_the_number_of_threads_changes_no_bit(batch):
    if numba.get_num_threads() < 2:
        pytest.skip("one thread only")
    assert train(1, batch) == train(2, batch)


def test_the_footprint_counts_tiles():
    net = blocky((300, 320, 320, 10), 16, 0.3, dtype="float32")
    rng = np.random.default_rng(0)
    net.backward(rng.standard_normal((200, 300)), rng.integers(0, 10, 200), "cross_entropy")
    layout = net.plan.layouts["cpu"]
    scratch = sum(a.nbytes for a in layout._scratch.values())
    counted = net.backend.footprint(net.plan, 200, 1, True)
    assert layout.tiles.nbytes > 4 * layout.tiles.connections
    assert 0.7 * (net.last_pass.nbytes + scratch) <= counted <= 1.5 * (net.last_pass.nbytes + scratch)
    assert net.nbytes > layout.tiles.nbytes


# -- who are neighbours ------------------------------------------------------------------------------------------------


@pytest.mark.nojit
def test_places():
    net = ng.Network(seed=0)
    x, h = net.add_inputs(3), net.add_neurons(5)
    np.testing.assert_array_equal(net.block_places, [0, 1, 2, 0, 1, 2, 3, 4])
    h[1].remove()
    np.testing.assert_array_equal(net.block_places, [0, 1, 2, 0, 2, 3, 4])
    net.order_blocks(h.ids[::-1])
    np.testing.assert_array_equal(net.block_places, [0, 1, 2, 3, 2, 1, 0])
    net.order_blocks(x.ids[[1, 2, 0]])
    np.testing.assert_array_equal(net.block_places, [2, 0, 1, 3, 2, 1, 0])
    h[3].remove()
    np.testing.assert_array_equal(net.block_places, [2, 0, 1, 3, 2, 1])
    with pytest.raises(ng.errors.InvalidValueError, match="all neurons of a home or none"):
        net.order_blocks(x.ids[:2])
    np.testing.assert_array_equal(net.block_places, [2, 0, 1, 3, 2, 1])


def test_blocks_of_neurons_that_are_no_neighbours_by_id():
    """The same network with its neurons shuffled runs as tiles once it is told the order."""
    rng = np.random.default_rng(0)
    net = ng.Network(seed=0, dtype="float64")
    x, h, y = net.add_inputs(64), net.add_neurons(96), net.add_outputs(16)
    shuffled = [group[rng.permutation(len(group))] for group in (x, h, y)]
    for sources, targets in zip(shuffled, shuffled[1:], strict=False):
        squares(net, sources, targets, 8, 0.3, rng)
    assert_like_reference(net)
    assert found(net) is None
    for group in shuffled:
        net.order_blocks(group)
    assert_like_reference(net)
    assert found(net).side == 8 and found(net).connections == net.n_connections
    net.connections[100].remove()
    assert_like_reference(net)
    assert found(net).connections == net.n_connections - 63
