"""Slot tables, rows and groups of edits at the level of slots."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import neurograph as ng
from neurograph.graph import Graph, Table


@pytest.mark.nojit
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9)), max_size=30))
def test_table_is_a_dictionary_by_id(edits):
    """Values follow their tenants through any sequence of moves in and out; every new tenant finds zeros."""
    table = Table({"value": np.float64})
    model = {}
    for add, count in edits:
        if add:
            slots = table.allocate(count)
            assert not table["value"][slots].any()
            ids = table["id"][slots]
            assert not set(ids.tolist()) & set(model), "ids are never reused"
            table["value"][slots] = ids + 0.5
            model.update({int(i): i + 0.5 for i in ids})
        else:
            gone = table.live()[:count]
            for i in table["id"][gone]:
                del model[int(i)]
            table.release(gone)
        assert len(table) == len(model)
        live = table.live()
        assert dict(zip(table["id"][live].tolist(), table["value"][live].tolist(), strict=True)) == model


def test_slots_are_reused_before_the_table_grows():
    table = Table({})
    table.allocate(10)
    table.release(np.array([2, 5]))
    assert sorted(table.allocate(3).tolist()) == [2, 5, 10]


def test_rollback_restores_ids_and_free_slots():
    table = Table({"value": np.float32})
    table.allocate(5)
    table.release(np.array([3, 1]))
    checkpoint = table.checkpoint()
    slots = table.allocate(4)
    table["value"][slots] = 7
    table.rollback(checkpoint, slots)
    assert (table.size, table.next_id, table.n_free) == checkpoint
    again = table.allocate(4)
    assert again.tolist() == slots.tolist() and not table["value"][again].any()


def graph_of(n_neurons: int, pairs: list[tuple[int, int]]) -> Graph:
    graph = Graph(np.float32)
    graph.add_neurons(n_neurons)
    if pairs:
        source, target = np.array(pairs, np.int64).T
        graph.connect(source, target, np.zeros(len(pairs), np.int64))
    return graph


@pytest.mark.nojit
@given(st.data())
def test_rows_follow_every_edit(data):
    """Both directions agree with a plain set of pairs, whether edits are patched or sorted."""
    n = data.draw(st.integers(2, 12))
    graph, model = graph_of(n, []), set()
    for _ in range(data.draw(st.integers(1, 12))):
        pairs = data.draw(st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=40)) - model
        if pairs and data.draw(st.booleans()):
            source, target = np.array(sorted(pairs), np.int64).T
            graph.connect(source, target, np.zeros(len(pairs), np.int64))
            model |= pairs
        elif model:
            gone = data.draw(st.sets(st.sampled_from(sorted(model))))
            graph.disconnect(np.array([graph.find(u, v) for u, v in sorted(gone)], np.int64))
            model -= gone
        graph.check()
        table, live = graph.connections, graph.connections.live()
        assert set(zip(table["source"][live].tolist(), table["target"][live].tolist(), strict=True)) == model
        for v in range(n):
            into = table["source"][graph.incoming.of(np.array([v]))]
            assert sorted(into.tolist()) == sorted(u for u, w in model if w == v)
            out = table["target"][graph.outgoing.of(np.array([v]))]
            assert sorted(out.tolist()) == sorted(w for u, w in model if u == v)


def test_small_edits_patch_and_large_ones_sort():
    """Rebuilds are counted: one connection more or less never sorts a thousand."""
    graph = graph_of(80, [(u, v) for u in range(40) for v in range(40, 80) if (u + v) % 2])
    before = graph.incoming.rebuilds, graph.outgoing.rebuilds
    for k in range(40):
        slot = graph.find(k, 40 + (k + 1) % 2)
        graph.disconnect(np.array([slot]))
        graph.connect(np.array([k]), np.array([40 + k % 2]), np.zeros(1, np.int64))
    graph.check()
    assert (graph.incoming.rebuilds, graph.outgoing.rebuilds) == before
    everything = graph.connections.live()
    graph.disconnect(everything[: len(everything) * 3 // 4])
    graph.check()
    assert (graph.incoming.rebuilds, graph.outgoing.rebuilds) == (before[0] + 1, before[1] + 1)


def test_a_row_that_outgrows_its_slack_moves():
    graph = graph_of(300, [(0, 1)])
    for v in range(2, 300):
        graph.connect(np.array([0]), np.array([v]), np.zeros(1, np.int64))
    graph.check()
    assert graph.outgoing.length[0] == 299


@pytest.mark.parametrize("share", [0.01, 1.0], ids=["patched", "sorted"])
def test_refused_duplicates_leave_nothing_behind(share):
    """The check before small edits and the one after large ones refuse the same, and undo the same."""
    n = 40
    pairs = [(u, v) for u in range(n) for v in range(n) if u != v]
    graph = graph_of(n, pairs[: len(pairs) // 2])
    new = pairs[len(pairs) // 2 :][: max(1, int(share * len(pairs)))] + [pairs[3]]
    before = len(graph.connections), graph.connections.next_id, graph.version
    source, target = np.array(new, np.int64).T
    with pytest.raises(ng.DuplicateConnectionError, match=f"{pairs[3][0]} -> {pairs[3][1]}"):
        graph.connect(source, target, np.zeros(len(new), np.int64))
    assert (len(graph.connections), graph.connections.next_id, graph.version) == before
    graph.check()


def test_delays_tell_parallel_connections_apart():
    net = ng.Network()
    a, b = net.add_neurons(2)
    net.add_connections([a, a, a], [b, b, b], weight=[1, 2, 3], delay=[0, 1, 2])
    assert [net.connection(a, b, delay=d).weight for d in range(3)] == [1, 2, 3]
    with pytest.raises(ng.DuplicateConnectionError, match="delay 1"):
        net.connect(a, b, delay=1)
    net.connection(a, b, delay=1).remove()
    net.graph.check()
    assert net.has_connection(a, b) and not net.has_connection(a, b, delay=1)


def test_removing_neurons_removes_their_connections_once():
    net = ng.topologies.layered([4, 5, 3])
    middle = net.homes[1]
    net.remove_neurons(middle)
    assert (net.n_connections, net.n_neurons) == (0, 7)
    net.graph.check()
