"""Host and device agree after every edit, whoever has the newest values, and small edits send little."""

import numpy as np
import pytest

import neurograph as ng

NAMES = ("weight", "grad", "adam_m")


def twins(seed=0):
    """Two equal networks: one to be mirrored, one to be edited on the host alone."""
    return [ng.topologies.random_dag(5, 40, 3, density=0.2, seed=seed, backend="cpu") for _ in range(2)]


def check(net, host, mirror, cupy):
    """The device has the newest of every column and of the rows, and the host's tables are the twin's."""
    graph = net.graph
    for columns, table, twin in ((mirror.connections, graph.connections, host.graph.connections),):
        for name in ("id", *NAMES):
            on_device = cupy.asnumpy(columns.read(name))
            assert len(on_device) == table.capacity
            np.testing.assert_array_equal(on_device[: table.size], twin[name], err_msg=name)
            assert name == "id" or not on_device[table.size :].any()
    for rows, adjacency in ((mirror.incoming, graph.incoming), (mirror.outgoing, graph.outgoing)):
        np.testing.assert_array_equal(cupy.asnumpy(rows.length), adjacency.length)
        for row in np.flatnonzero(adjacency.length):
            entries = slice(adjacency.start[row], adjacency.start[row] + adjacency.length[row])
            assert cupy.asnumpy(rows.start)[row] == entries.start
            np.testing.assert_array_equal(cupy.asnumpy(rows.other[entries]), adjacency.other[entries])
            np.testing.assert_array_equal(cupy.asnumpy(rows.slot[entries]), adjacency.slot[entries])
        assert cupy.asnumpy(rows.other).min() >= 0 and cupy.asnumpy(rows.slot).min() >= 0
    graph.check()


def edit(net, action, seed):
    """One edit, the same on both networks."""
    rng = np.random.default_rng(seed)
    conns = net.connections
    if action == "prune one" and len(conns):
        conns[int(rng.integers(len(conns)))].remove()
    elif action == "prune few":
        conns[rng.random(len(conns)) < 0.03].remove()
    elif action == "prune half":
        conns[rng.random(len(conns)) < 0.5].remove()
    elif action == "prune nearly all":
        conns[rng.random(len(conns)) < 0.9].remove()
    elif action == "grow one":
        net.grow(net.neurons, net.neurons[net.neurons.fan_in > 0], 1, weight=0.25)
    elif action == "grow many":
        net.grow(net.neurons, net.neurons[5:], 150, weight=0.5)
    elif action == "set weights":
        chosen = conns[rng.random(len(conns)) < 0.2]
        chosen.weight = rng.normal(size=len(chosen))
    elif action == "exchange" and len(conns) > 10:
        net.exchange(0.3, smallest=False)
    elif action == "add neurons":
        new = net.add_neurons(3)
        net.connect(net.inputs, new, weight=0.1)
    elif action == "remove a neuron":
        hidden = net.neurons[5:]
        net.remove_neurons(hidden[int(rng.integers(len(hidden) - 3))])


ACTIONS = (
    "prune one", "prune few", "prune half", "prune nearly all", "grow one", "grow many", "set weights", "exchange",
    "add neurons", "remove a neuron", "device", "device", "device and half of it read", "nothing",
)  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
def test_host_and_device_agree_through_random_edits(cupy, seed):
    """Against a twin that lives on the host alone."""
    from neurograph.backends.gpu.mirror import mirror_of

    net, host = twins(seed)
    for table in (net.graph.connections, host.graph.connections):
        table.ensure_column("adam_m", np.float32)
    rng = np.random.default_rng(seed)
    for step in range(40):
        action = ACTIONS[rng.integers(len(ACTIONS))]
        mirror = mirror_of(net.graph)
        if action.startswith("device"):  # live slots only: what is free stays zero
            live = host.graph.connections.live()
            for name in NAMES[: 1 + int(rng.integers(3))]:
                mirror.connections.write(name)[cupy.asarray(live)] += np.float32(step)
                host.graph.connections[name][live] += np.float32(step)
            if action != "device":
                np.testing.assert_array_equal(net.connections.weight, host.connections.weight)
        else:
            edit(net, action, 100 * seed + step)
            edit(host, action, 100 * seed + step)
        if rng.random() < 0.6:
            check(net, host, mirror_of(net.graph), cupy)
    check(net, host, mirror_of(net.graph), cupy)
    for name in NAMES:
        np.testing.assert_array_equal(net.graph.connections[name], host.graph.connections[name])


def test_a_small_edit_sends_little(emulated, cupy):
    """One connection removed and one added: a few hundred bytes, whatever the network's size."""
    from neurograph.backends.gpu.mirror import mirror_of

    net = ng.topologies.layered([300, 400, 10], density=0.3, seed=0, backend="cpu")
    mirror = mirror_of(net.graph)
    for name in ("weight", "grad"):
        mirror.connections.write(name)
    source, target = net.connections[7].source.id, net.connections[7].target.id
    net.connections[7].remove()
    net.connect(source, target, weight=1.0)
    sent = emulated.counters.uploaded
    mirror = mirror_of(net.graph)
    mirror.connections.read("weight"), mirror.connections.read("grad")
    assert 0 < emulated.counters.uploaded - sent <= 16 * 32
    assert [rows.uploads for rows in mirror.mirrored] == [1, 1]
    assert float(mirror.connections.read("weight")[net.graph.find(source, target)]) == 1.0


def test_reading_does_not_send_columns_back(emulated, cupy):
    """Looking at weights between two passes costs a download, not an upload."""
    from neurograph.backends.gpu.mirror import mirror_of

    net = ng.topologies.layered([30, 40, 10], density=0.3, seed=0, backend="cpu")
    mirror_of(net.graph).connections.write("weight")[:] = np.float32(2)
    assert (net.connections.weight == 2).all()
    sent = emulated.counters.uploaded
    mirror_of(net.graph).connections.read("weight")
    assert emulated.counters.uploaded == sent
