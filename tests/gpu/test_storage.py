"""What is stored as tiles or dense blocks: sums, deltas and gradients are, with the rest, those of all connections."""

import numpy as np
import pytest

import neurograph as ng
from neurograph.backends.gpu import storage as storage_module
from neurograph.backends.gpu.costs import Costs
from neurograph.backends.gpu.mirror import mirror_of
from neurograph.backends.gpu.storage import Storage

TILES = Costs(row=1.0, tile=30.0, dense=1e3, copied=0.0, called=0.0)  # from 31 connections on
DENSE = Costs(row=1.0, tile=1e6, dense=0.8, copied=0.0, called=0.0)  # from 0.8 of the pairs on
BOTH = Costs(row=1.0, tile=60.0, dense=0.6, copied=0.0, called=0.0)


LAYERS = (40, 37, 64, 50, 5)
DENSITIES = {(0, 1): 1.0, (1, 2): 0.3, (2, 3): 0.95, (3, 4): 1.0, (0, 3): 0.05, (1, 4): 0.4}


def network(rng):
    """Layers of several densities, one in whole blocks, and connections that skip layers."""
    net = ng.Network(seed=0, dtype="float64")
    layers = [net.add_inputs(LAYERS[0]), *(net.add_neurons(n, activation="tanh") for n in LAYERS[1:-1])]
    layers.append(net.add_outputs(LAYERS[-1]))
    for (a, b), density in DENSITIES.items():
        chosen = rng.random((LAYERS[a], LAYERS[b])) < density
        if (a, b) == (1, 2):
            blocks = rng.random((3, 4)) < density
            blocks[0] = True
            chosen = blocks[np.ix_(np.arange(37) // 16, np.arange(64) // 16)] | (rng.random((37, 64)) < 0.02)
        i, j = np.nonzero(chosen)
        net.add_connections(np.asarray(layers[a].ids)[i], np.asarray(layers[b].ids)[j])
    return net, layers


class Truth:
    """A network's matrix in float64, and what storage makes of it with the rest of the rows."""

    def __init__(self, net, storage, cupy):
        self.graph, self.storage, self.cupy = net.graph, storage, cupy

    def matrix(self):
        """Targets by sources."""
        c, n = self.graph.connections, self.graph.neurons.size
        live = c.live()
        W = np.zeros((n, n))
        W[c["target"][live], c["source"][live]] = c["weight"][live]
        return W

    def check(self, rng, samples, any_=True):
        """All sums of all generations, all deltas, and all gradients."""
        cupy, graph, storage = self.cupy, self.graph, self.storage
        mirror = mirror_of(graph)
        assert storage.refresh(mirror) == any_
        n, ld = graph.neurons.size, -(-samples // 4) * 4
        X, D = rng.normal(size=(n, ld)), rng.normal(size=(n, ld))
        W, weight = self.matrix(), mirror.connections.read("weight")
        stored, plan = storage.start(ld), storage.plan
        grad = cupy.zeros(len(graph.connections["grad"]), np.float64)
        acts, delta = cupy.asarray(X), cupy.asarray(D)
        stored.begin(mirror, weight, acts)
        got = {}
        for g in range(plan.n_generations):
            stored.forward(g, weight, acts)
            own = plan.rows[plan.offsets[g] : plan.offsets[g + 1]]
            seeded = own[storage.seeded_in[own]]
            sums = acts.get()
            rest = self.rest(storage.rest_in, seeded, weight)
            got |= {t: sums[t] + rest[i] @ X for i, t in enumerate(seeded)}
            np.testing.assert_array_equal(np.delete(sums, own, axis=0), np.delete(X, own, axis=0))
            acts = cupy.asarray(X)  # the activations of this generation are any numbers
            stored.finish(g, acts)
        for t, row in got.items():
            np.testing.assert_allclose(row, W[t] @ X, atol=1e-12)
        stored.begin_backward(mirror, weight, acts)
        got = {}
        for g in reversed(range(plan.n_generations)):
            stored.backward(g, weight, delta)
            own = plan.rows[plan.offsets[g] : plan.offsets[g + 1]]
            seeded = own[storage.seeded_out[own]]
            rest, sums = self.rest(storage.rest_out, seeded, weight), delta.get()
            got |= {s: sums[s] + rest[i] @ D for i, s in enumerate(seeded)}
            delta = cupy.asarray(D)
            stored.finish_backward(g, delta)
        for s, row in got.items():
            np.testing.assert_allclose(row, W[:, s] @ D, atol=1e-12)
        stored.gradient(acts, delta, False, grad)
        c, live = graph.connections, graph.connections.live()
        expected = (D[c["target"][live]] * X[c["source"][live]]).sum(axis=1)
        in_rest = self.slots_of_rest(storage.rest_out, storage.seeded_out)
        assert in_rest == self.slots_of_rest(storage.rest_in, storage.seeded_in)
        expected[np.isin(live, list(in_rest))] = 0
        np.testing.assert_allclose(grad.get()[live], expected, atol=1e-12)
        return 1 - len(in_rest) / len(live)

    def slots_of_rest(self, rest, seeded):
        """Connections that the row kernels run."""
        start, length, _, slot = (a.get() for a in rest)
        whole = self.graph.incoming if rest is self.storage.rest_in else self.graph.outgoing
        rows = [slot[start[r] : start[r] + length[r]] for r in np.flatnonzero(seeded)]
        rows += [whole.slot[whole.start[r] : whole.start[r] + whole.length[r]] for r in np.flatnonzero(~seeded)]
        return {int(c) for row in rows for c in row}

    def rest(self, rest, rows, weight):
        """Dense rows of what is in no tile and no block."""
        (start, length, other, slot), weight = (a.get() for a in rest), weight.get()
        out = np.zeros((len(rows), self.graph.neurons.size))
        for i, r in enumerate(rows):
            k = slice(start[r], start[r] + length[r])
            np.add.at(out[i], other[k], weight[slot[k]])
        return out


@pytest.mark.parametrize("costs, low, high", [(TILES, 0.85, 0.99), (DENSE, 0.7, 0.9), (BOTH, 0.85, 0.99)])
def test_storage_and_edits(cupy, rng, costs, low, high):
    """With tiles, with dense blocks and with both, before edits and after each of them."""
    net, layers = network(rng)
    storage = Storage(net.plan, costs)
    truth = Truth(net, storage, cupy)
    assert low <= truth.check(rng, 10) <= high
    assert bool(storage.blocks) == (costs is not TILES) and (storage.tiles is not None) == (costs is not DENSE)
    surveys = storage.surveys
    for count in (1, 20, 150):
        slots = rng.choice(net.graph.connections.live(), count, replace=False)
        ends = {end: net.graph.neurons["id"][net.graph.connections[end][slots]] for end in ("source", "target")}
        for source, target in list(zip(*ends.values(), strict=True)):
            net.prune(net.connection(int(source), int(target)))
        for _ in range(count):
            a, b = list(DENSITIES)[rng.integers(len(DENSITIES))]
            pair = int(rng.choice(layers[a].ids)), int(rng.choice(layers[b].ids))
            if not net.has_connection(*pair):
                net.connect(*pair)
        assert net._lowered() is storage.plan
        truth.check(rng, 3)
    assert storage.surveys == surveys
    net.prune(net.connections)
    storage = Storage(net.plan, costs)
    assert not storage.refresh(mirror_of(net.graph))


def test_counts(cupy, rng, monkeypatch):
    """Connections between groups, counted on the device and on the host."""
    net, _ = network(rng)
    plan, mirror = net._lowered(), mirror_of(net.graph)
    near = storage_module.Neighbours(plan)
    c, live = net.graph.connections, net.graph.connections.live()
    expected = np.zeros((near.count, near.count), int)
    np.add.at(expected, (near.group[c["target"][live]], near.group[c["source"][live]]), 1)
    for room in (storage_module.ROOM, 0):
        monkeypatch.setattr(storage_module, "ROOM", room)
        to, out_of, count = storage_module._count(mirror, plan, near)
        assert (count == expected[to, out_of]).all() and count.sum() == expected.sum() and (count > 0).all()
        assert (np.diff(to * near.count + out_of) > 0).all()


def test_many_edits_are_counted_anew(cupy, rng):
    """A layer that becomes dense is found to be, and one that becomes sparse again too."""
    net, layers = network(rng)
    storage = Storage(net.plan, DENSE)
    truth = Truth(net, storage, cupy)
    truth.check(rng, 3)
    blocks = len(storage.blocks)
    present = {(int(c.source.id), int(c.target.id)) for c in net.connections}
    new = [(s, t) for s in layers[0].ids for t in layers[3].ids if (int(s), int(t)) not in present]
    added = net.add_connections(*(list(end) for end in zip(*new, strict=True)))
    storage.plan = net._lowered()
    truth.check(rng, 3)
    assert len(storage.blocks) == blocks + 1 and storage.surveys == 2
    net.prune(added)
    truth.check(rng, 3)
    assert len(storage.blocks) == blocks
