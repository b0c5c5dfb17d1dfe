"""Squares of block pruning, and orders of the neurons that make them fuller."""

import numpy as np
import pytest

import neurograph as ng
from neurograph.sparsity.blocks import squares

# Pruning by blocks may take a small layer whole; these tests are about what is left.
pytestmark = pytest.mark.filterwarnings("ignore::neurograph.EmptyLayerWarning")

ONES = np.ones


def as_naive(net, connections, block):
    """The square of each connection as (home, place // block) of both ends, by looking at each."""
    home = {int(i): number for number, group in enumerate(net.homes) for i in group.ids}
    place = dict(zip(net.neurons.ids.tolist(), net.block_places.tolist(), strict=True))
    ends = zip(connections.source.tolist(), connections.target.tolist(), strict=True)
    return [tuple((home[i], place[i] // block) for i in pair) for pair in ends]


@pytest.mark.nojit
@pytest.mark.parametrize("block", [1, 3, 4, 16, 100])
@pytest.mark.parametrize("density", [1.0, 0.02])
def test_squares(block, density):
    """Alike where they should be, numbered by the sources, then the targets; with gaps, orders and many homes."""
    net = ng.topologies.layered([30, 41, 17, 5], density=density, seed=0)
    net.homes[1][[0, 7]].remove()
    net.order_blocks(np.random.default_rng(0).permutation(net.homes[2].ids))
    found, wanted = squares(net, net.connections, block), as_naive(net, net.connections, block)
    number = {square: i for i, square in enumerate(sorted(set(wanted)))}
    assert found.tolist() == [number[square] for square in wanted]


def shuffled_blocks(n=96, block=8, noise=0.0, seed=0):
    """Blocks of 1's among neurons in no order, some missing, and small weights elsewhere."""
    rng = np.random.default_rng(seed)
    net = ng.Network(seed=seed)
    groups = net.add_inputs(n), net.add_neurons(n), net.add_outputs(n // 2)
    orders = [rng.permutation(group.ids) for group in groups]
    for a, b in zip(orders, orders[1:], strict=False):
        inside = np.repeat(np.repeat(rng.random((len(a) // block, len(b) // block)) < 0.25, block, 0), block, 1)
        inside &= rng.random(inside.shape) >= noise
        i, j = np.nonzero(np.ones_like(inside))
        net.add_connections(a[i], b[j], weight=np.where(inside.ravel(), 1.0, 0.01 * noise))
    return net


def kept(net, block=8, fraction=0.75):
    """Share of the large weights that block pruning keeps."""
    before = (net.connections.weight == 1).sum()
    ng.sparsity.prune_lowest(net, scope="block", block=block, fraction=fraction, allow_disconnected=True)
    return (net.connections.weight == 1).sum() / before


def test_hidden_blocks_are_found():
    net = shuffled_blocks()
    net.connections[net.connections.weight == 0].remove()
    order = ng.sparsity.block_order(net, 8, score=ONES(net.n_connections))
    assert sorted(order.tolist()) == net.neurons.ids.tolist()
    net.order_blocks(order)
    counts = np.bincount(squares(net, net.connections, 8))
    assert (counts == 64).all()


def test_an_order_keeps_more():
    plain, ordered = shuffled_blocks(noise=0.2), shuffled_blocks(noise=0.2)
    ordered.order_blocks(ng.sparsity.block_order(ordered, 8))
    assert kept(plain) < 0.5
    assert kept(ordered) > 0.9


def test_the_same_order_twice_and_nothing_changed():
    net = shuffled_blocks(noise=0.2)
    weights, places = net.connections.weight.copy(), net.block_places
    first, second = (ng.sparsity.block_order(net, 8) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(net.connections.weight, weights)
    np.testing.assert_array_equal(net.block_places, places)


@pytest.mark.nojit
def test_odd_networks_have_orders():
    assert len(ng.sparsity.block_order(ng.Network(seed=0))) == 0
    net = ng.Network(seed=0)
    x, h = net.add_inputs(5), net.add_neurons(40)
    np.testing.assert_array_equal(ng.sparsity.block_order(net, 4)[:5], x.ids)  # nobody is connected
    h[[3, 4]].remove()
    net.connect(x, h, density=0.3)
    order = ng.sparsity.block_order(net, 64, rounds=1)
    np.testing.assert_array_equal(order, net.neurons.ids)  # one group a home, whose members keep their order
    with pytest.raises(ng.errors.InvalidValueError, match="block is 0"):
        ng.sparsity.block_order(net, 0)
    with pytest.raises(ng.errors.InvalidValueError, match="rounds is 0"):
        ng.sparsity.block_order(net, 4, rounds=0)
