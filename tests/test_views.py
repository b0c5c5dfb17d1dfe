"""Neuron, Connection, Group and Connections: live, ordered, stale when they should be."""

import numpy as np
import pytest

import neurograph as ng

pytestmark = pytest.mark.nojit


@pytest.fixture
def net():
    """Inputs 0..3, hidden 4..9, outputs 10..11; a full layer, then a full layer, and one skip connection."""
    net = ng.Network(seed=0, dtype="float64", backend="reference")
    x = net.add_inputs(4, name="x")
    h = net.add_neurons(6, activation="relu", name="h")
    y = net.add_outputs(2, name="y")
    net.connect(x, h)
    net.connect(h, y)
    net.connect(x[0], y[1], weight=0.5)
    return net


# -- Neuron -----------------------------------------------------------------------------------------------------------


def test_neuron_reads_its_attributes(net):
    """Everything that section 2 of the contract lists."""
    h, n = net.groups["h"], net.groups["h"][5]
    assert n.id == 9 and n.bias == 0.0 and n.activation == "relu" and n.aggregation == "sum"
    assert (n.fan_in, n.fan_out) == (4, 2)
    assert sorted(n.inputs.source) == [0, 1, 2, 3] and set(n.inputs.target) == {9}
    assert sorted(n.outputs.target) == [10, 11] and set(n.outputs.source) == {9}
    assert sorted(p.id for p in n.predecessors) == [0, 1, 2, 3]
    assert sorted(s.id for s in n.successors) == [10, 11]
    assert list(n.groups) == ["h"]
    net.group([n, 0], name="odd")
    assert set(n.groups) == {"h", "odd"} and set(h[0].groups) == {"h"}


def test_neuron_writes_its_attributes(net):
    """bias, activation, aggregation; a pair is an activation with a parameter."""
    n = net.neuron(5)
    n.bias, n.activation, n.aggregation = 0.25, ("leaky_relu", 0.125), "max"
    again = net.neuron(5)
    assert (again.bias, again.activation, again.aggregation) == (0.25, ("leaky_relu", 0.125), "max")
    n.activation = "tanh"
    assert again.activation == "tanh"
    assert net.neuron(4).activation == "relu" and net.neuron(4).bias == 0.0
    n.bias += 1
    assert again.bias == 1.25


def test_neuron_output_and_error_of_the_last_pass(net):
    """One value a sample, from predict or backward, whichever was last; nothing before any pass."""
    n = net.groups["y"][0]
    with pytest.raises(ng.NeurographError, match=r"pass|predict|backward"):
        _ = n.output
    X = np.arange(12.0).reshape(3, 4)
    out = net.predict(X)
    np.testing.assert_array_equal(n.output, out[:, 0])
    np.testing.assert_array_equal(net.neuron(2).output, X[:, 2])
    with pytest.raises(ng.NeurographError, match="backward"):
        _ = n.error
    net.backward(X, np.zeros((3, 2)), loss="mse")
    np.testing.assert_allclose(n.error, out[:, 0] * 2 / 6)
    assert n.output.shape == n.error.shape == (3,)


def test_predictions_are_the_callers(net):
    """What predict and activations hand out is not overwritten by the next pass, nor does writing to it matter."""
    first, second = np.ones((3, 4)), np.full((3, 4), -2.0)
    outputs, activations = net.predict(first), net.activations(first)
    neuron_output = net.neuron(5).output
    kept = outputs.copy(), activations.copy(), neuron_output.copy()
    net.predict(second)
    net.activations(second)
    net.backward(second, np.zeros((3, 2)), loss="mse")
    for array, copy in zip((outputs, activations, neuron_output), kept, strict=True):
        np.testing.assert_array_equal(array, copy)
    outputs[:] = 7
    assert not (net.outputs[0].output == 7).any()
    net.backward(second, np.zeros((3, 2)), loss=lambda o, t: (0.0, o))
    grad = net.connections.grad
    net.backward(second, np.zeros((3, 2)), loss=lambda o, t: (o.fill(0), o + 1)[0] or (0.0, np.zeros_like(o)))
    assert not net.connections.grad.any() and grad.any()


def test_output_of_a_large_prediction(net):
    """One value a sample also where predict runs in pieces; or a refusal, but never a part without a word."""
    net.predict(np.ones((5000, 4)))
    try:
        output = net.neuron(5).output
    except ng.NeurographError:
        return
    assert output.shape == (5000,)


def test_a_new_neuron_has_no_output_of_a_dead_one(net):
    """The last pass does not know neurons that came later, whatever slot they took."""
    net.predict(np.ones((3, 4)))
    net.neuron(5).remove()
    new = net.add_neurons(1)[0]
    with pytest.raises(ng.NeurographError):
        _ = new.output
    net.predict(np.ones((2, 4)))
    assert new.output.tolist() == [0.0, 0.0]
    more = net.add_neurons(50)[49]
    with pytest.raises(ng.NeurographError):
        _ = more.output


def test_neuron_by_id_wherever_a_neuron_is_taken(net):
    """An id, a NumPy integer or a view: the same."""
    x, y = net.groups["x"], net.groups["y"]
    for u in (0, np.int64(0), np.int32(0), x[0], net.neuron(0)):
        assert net.has_connection(u, y[1]) and net.connection(u, 11).weight == 0.5
    assert not net.has_connection(0, 1)
    net.connect(1, 10, weight=0.75)
    assert net.connection(x[1], y[0]).weight == 0.75
    assert net.group([3, np.int64(5), y[0]]).ids.tolist() == [3, 5, 10]


def test_neurons_compare_by_network_and_id(net):
    """Two views of one neuron are equal and hash alike; views of other neurons or networks are not."""
    assert net.neuron(4) == net.groups["h"][0] and hash(net.neuron(4)) == hash(net.groups["h"][0])
    assert net.neuron(4) != net.neuron(5)
    other = ng.Network(seed=0)
    other.add_neurons(6)
    assert net.neuron(4) != other.neuron(4)
    assert len({net.neuron(4), net.neuron(4), net.neuron(5)}) == 2


def test_membership_is_of_the_network(net):
    """A neuron or connection of a twin is no member, though its id is."""
    import copy

    twin = copy.deepcopy(net)
    assert net.neuron(4) in net.groups["h"] and net.connections[0] in net.connections
    assert twin.neuron(4) not in net.groups["h"] and twin.connections[0] not in net.connections
    assert 4 in net.groups["h"] and 0 not in net.groups["h"]


def test_a_weight_for_each_new_pair(net):
    """Targets in the group's order, and for each its sources in theirs."""
    sources, targets = net.group([2, 0, 1]), net.add_neurons(2)
    new = net.connect(sources, targets, weight=np.arange(6.0).reshape(2, 3))
    for i, t in enumerate(targets):
        for j, s in enumerate(sources):
            assert net.connection(s, t).weight == 3 * i + j
    assert new.weight.tolist() == [0, 1, 2, 3, 4, 5]


def test_ids_are_never_reused(net):
    """A new neuron or connection in an old slot has a new id; old views stay dead."""
    old, old_conn = net.neuron(9), net.connection(9, 10)
    conn_ids = set(net.connections.id.tolist())
    old.remove()
    new = net.add_neurons(1)[0]
    assert new.id == 12
    fresh = net.connect(new, net.groups["y"][0], weight=1.0)
    assert fresh.id not in conn_ids
    with pytest.raises(ng.StaleError):
        _ = old.bias
    with pytest.raises(ng.StaleError):
        _ = old_conn.weight
    net.remove_neurons(net.groups["y"])
    assert net.add_outputs(2).ids.tolist() == [13, 14]


def stale_reads(neuron, connection):
    """Every use of a dead view."""
    for name in ("bias", "activation", "aggregation", "fan_in", "fan_out", "inputs", "outputs", "predecessors"):
        yield lambda name=name: getattr(neuron, name)
    for name in ("successors", "groups", "output", "error"):
        yield lambda name=name: getattr(neuron, name)
    for name in ("source", "target", "weight", "grad", "delay", "parameter"):
        yield lambda name=name: getattr(connection, name)
    yield lambda: setattr(neuron, "bias", 1.0)
    yield lambda: setattr(neuron, "activation", "tanh")
    yield lambda: setattr(neuron, "aggregation", "max")
    yield lambda: setattr(connection, "weight", 1.0)
    yield neuron.remove
    yield connection.remove


@pytest.mark.parametrize("tenant", [False, True], ids=["slot free", "slot taken again"])
def test_stale_views_raise_on_every_use(net, tenant):
    """StaleError, which is a KeyError and a NeurographError, and nothing changes."""
    net.predict(np.ones((2, 4)))
    neuron, connection = net.neuron(7), net.connection(0, 11)
    neuron.remove()
    connection.remove()
    if tenant:
        new = net.add_neurons(1)
        net.connect(net.inputs, new)
    weights = net.connections.weight
    for use in stale_reads(neuron, connection):
        with pytest.raises(ng.StaleError) as caught:
            use()
        assert isinstance(caught.value, KeyError) and isinstance(caught.value, ng.NeurographError)
        assert "removed" in str(caught.value)
    np.testing.assert_array_equal(net.connections.weight, weights)
    assert "removed" in repr(neuron) and "removed" in repr(connection)


def test_stale_views_are_refused_as_arguments(net):
    """A dead neuron or connection as the argument of an edit."""
    dead = net.neuron(7)
    dead.remove()
    for use in (
        lambda: net.connect(dead, net.neuron(10)),
        lambda: net.has_connection(dead, 10),
        lambda: net.connection(dead, 10),
        lambda: net.group([dead]),
        lambda: net.group([7]),
        lambda: net.neuron(7),
        lambda: net.mark_outputs([dead]),
        lambda: net.remove_neurons([dead]),
        lambda: net.groups["h"].add(dead),
        lambda: net.add_connections([7], [10]),
    ):
        with pytest.raises(ng.StaleError, match="7"):
            use()


def test_stale_bulk_view(net):
    """Connections of which one was removed raise, also when the slot has a new tenant."""
    conns = net.connections
    conns[3].remove()
    for read in (lambda: conns.weight, lambda: conns.id, lambda: conns.source, conns.remove, lambda: net.prune(conns)):
        with pytest.raises(ng.StaleError, match="1 of"):
            read()
    net.connect(1, 10, weight=1.0)
    with pytest.raises(ng.StaleError):
        conns.weight = 0.0
    assert len(net.connections) == 24 + 12 + 1
    assert len(conns[:3].weight) == 3


def test_removing_a_neuron_kills_its_connections(net):
    """Views of the neuron and of each connection at it; others survive."""
    dying = [net.connection(0, 4), net.connection(4, 10)]
    survivor = net.connection(0, 5)
    net.neuron(4).remove()
    for c in dying:
        with pytest.raises(ng.StaleError):
            _ = c.weight
    assert survivor.source == 0 and survivor.target == 5
    assert net.n_connections == 24 + 12 + 1 - 6


# -- Connection and Connections ------------------------------------------------------------------------------------


def test_connection_reads_and_writes(net):
    """source and target are neurons, weight and grad numbers."""
    c = net.connection(0, 11)
    assert (c.source, c.target) == (net.neuron(0), net.neuron(11))
    assert (c.source.id, c.target.id, c.weight, c.delay) == (0, 11, 0.5, 0)
    assert isinstance(c.parameter, int) and isinstance(c.id, int) and isinstance(c.weight, float)
    c.weight = 0.3
    assert net.connection(0, 11).weight == 0.3 and net.connections[net.connections.id == c.id].weight[0] == 0.3
    c.remove()
    assert not net.has_connection(0, 11) and net.n_connections == 36


def test_connections_columns_align(net):
    """The arrays speak of the same connection at the same place, in the order of ids."""
    conns = net.connections
    assert len(conns) == net.n_connections == 37
    for c, i, s, t, w in zip(conns, conns.id, conns.source, conns.target, conns.weight, strict=True):
        assert (c.id, c.source.id, c.target.id, c.weight) == (i, s, t, w)
    assert conns.grad.shape == conns.delay.shape == conns.parameter.shape == (37,)


def test_connections_index_like_arrays(net):
    """Int, negative int, slice, mask, index array; the result is a Connection or Connections."""
    conns = net.connections
    assert isinstance(conns[0], ng.Connection) and conns[-1].id == conns.id[-1]
    assert isinstance(conns[:3], ng.Connections) and conns[::2].id.tolist() == conns.id[::2].tolist()
    mask = conns.target == 11
    assert conns[mask].id.tolist() == conns.id[mask].tolist() and len(conns[mask]) == 7
    assert conns[np.array([5, 2])].id.tolist() == conns.id[[5, 2]].tolist()
    assert conns[[5, 2]].source.tolist() == conns.source[[5, 2]].tolist()
    assert len(conns[np.zeros(len(conns), bool)]) == 0
    with pytest.raises(IndexError):
        conns[len(conns)]
    with pytest.raises(IndexError):
        conns[np.ones(3, bool)]


def test_weights_in_place(net):
    """`conns.weight *= 0.9`, an array, a number, and a part."""
    conns = net.connections
    before = conns.weight.copy()
    conns.weight *= 0.9
    np.testing.assert_allclose(net.connections.weight, before * 0.9)
    conns.weight = np.arange(37.0)
    assert conns[5].weight == 5.0
    conns[conns.weight > 30].weight = -1.0
    assert (net.connections.weight == -1).sum() == 6
    conns[:2].weight += 10
    assert net.connections.weight[:3].tolist() == [10, 11, 2]


def test_reading_a_column_does_not_alias_the_network(net):
    """An array taken out is a copy: changing it changes nothing, an edit does not change it."""
    conns, h = net.connections, net.groups["h"]
    taken = [conns.weight, conns.grad, conns.id, conns.source, conns.target, conns.delay, h.ids, h.bias, h.fan_in]
    kept = [a.copy() for a in taken]
    conns.weight = 7.0
    h.bias = 7.0
    for a, b in zip(taken, kept, strict=True):
        np.testing.assert_array_equal(a, b)
    for a in taken:
        a[...] = 3
    assert conns.id.tolist() == kept[2].tolist() and conns.source.tolist() == kept[3].tolist()
    assert (conns.weight == 7).all() and (h.bias == 7).all() and h.ids.tolist() == kept[6].tolist()


def test_connect_returns_what_it_made(net):
    """One pair: a Connection. Groups: the new Connections only."""
    assert isinstance(net.connect(1, 10, weight=0.5), ng.Connection)
    new = net.connect(net.groups["x"], net.groups["y"])
    assert isinstance(new, ng.Connections) and len(new) == 8 - 2
    assert len(net.connect(net.groups["x"], net.groups["y"])) == 0
    pairs = net.add_connections([4, 5], [6, 7], weight=np.array([1.0, 2.0]))
    assert isinstance(pairs, ng.Connections) and pairs.weight.tolist() == [1.0, 2.0]
    assert pairs.source.tolist() == [4, 5] and pairs.target.tolist() == [6, 7]


def test_prune_counts_what_it_removes(net):
    """`prune`, `remove` of many, of one, of none, and of a view that names a connection twice."""
    conns = net.connections
    weak = conns[np.abs(conns.weight) < np.median(np.abs(conns.weight))]
    n = len(weak)
    assert net.prune(weak) == n and net.n_connections == 37 - n
    assert net.prune(net.connections[:0]) == 0
    assert net.connections[:2].remove() == 2
    assert net.prune(net.connections[0]) == 1
    assert net.n_connections == 37 - n - 3
    twice = net.connections[[0, 0, 1]]
    assert net.prune(twice) == 2
    assert net.prune(net.connections) == 37 - n - 5 and net.n_connections == 0
    assert net.connections.weight.shape == (0,)


def test_homes_are_the_calls_that_made_the_neurons(net):
    """source_home and target_home number the add_... calls."""
    conns = net.connections
    home = {**dict.fromkeys(range(4), 0), **dict.fromkeys(range(4, 10), 1), 10: 2, 11: 2}
    assert conns.source_home.tolist() == [home[i] for i in conns.source.tolist()]
    assert conns.target_home.tolist() == [home[i] for i in conns.target.tolist()]


# -- Group ---------------------------------------------------------------------------------------------------------


def test_group_algebra(net):
    """| & - ^ with groups, keeping the order of the left side, then of the right."""
    h = net.groups["h"]
    a, b = net.group([5, 4, 8]), net.group([8, 9, 5])
    assert (a | b).ids.tolist() == [5, 4, 8, 9]
    assert (a & b).ids.tolist() == [5, 8]
    assert (a - b).ids.tolist() == [4]
    assert (a ^ b).ids.tolist() == [4, 9]
    assert (h & a).ids.tolist() == [4, 5, 8] and len(h - h) == 0
    assert a.ids.tolist() == [5, 4, 8] and h.ids.tolist() == [4, 5, 6, 7, 8, 9]


def test_group_indexing(net):
    """Int gives a Neuron; slice, mask and array give groups; order is kept."""
    h = net.groups["h"]
    assert isinstance(h[5], ng.Neuron) and h[5].id == 9 and h[-1].id == 9
    assert isinstance(h[:3], ng.Group) and h[:3].ids.tolist() == [4, 5, 6] and h[::-2].ids.tolist() == [9, 7, 5]
    h[0].inputs.remove()
    assert h[h.fan_in == 0].ids.tolist() == [4]
    assert h[[3, 1]].ids.tolist() == [7, 5]
    assert [n.id for n in h] == [4, 5, 6, 7, 8, 9] and len(h) == 6
    assert net.neuron(4) in h and net.neuron(0) not in h
    with pytest.raises(IndexError):
        h[6]


def test_groups_grow_and_shrink(net):
    """add, discard, overlap; adding twice changes nothing, discarding a stranger neither."""
    h = net.groups["h"]
    g = net.group([3, 5, h[5]], name="odd corner")
    g.add(h[:3])
    assert g.ids.tolist() == [3, 5, 9, 4, 6]
    g.add(5)
    g.add([9, 10])
    assert g.ids.tolist() == [3, 5, 9, 4, 6, 10]
    g.discard(h[5])
    g.discard([0, 1])
    assert net.groups["odd corner"].ids.tolist() == [3, 5, 4, 6, 10]
    assert h.ids.tolist() == [4, 5, 6, 7, 8, 9]


def test_named_group_is_one_group(net):
    """net.groups holds the very group: a change through one name is seen through the other."""
    g = net.group([3], name="odd")
    net.groups["odd"].add(4)
    assert g.ids.tolist() == [3, 4] and set(net.groups) == {"x", "h", "y", "odd"}


def test_a_removed_neuron_leaves_every_group(net):
    """Named, anonymous and algebra's results shrink by themselves."""
    h = net.groups["h"]
    named, anonymous, union = net.group([4, 5], name="pair"), net.group([5, 6]), h | net.groups["y"]
    net.neuron(5).remove()
    assert named.ids.tolist() == [4] and anonymous.ids.tolist() == [6]
    assert union.ids.tolist() == [4, 6, 7, 8, 9, 10, 11] and h.ids.tolist() == [4, 6, 7, 8, 9]
    assert net.neurons.ids.tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    net.add_neurons(1)
    assert h.ids.tolist() == [4, 6, 7, 8, 9] and len(named) == 1


def test_removed_inputs_and_outputs_leave_their_columns(net):
    """The other columns close ranks in their old order."""
    X = np.arange(1.0, 5.0)[None]
    net.connect(3, 10, weight=2.0)
    net.remove_neurons([1, 10])
    assert net.inputs.ids.tolist() == [0, 2, 3] and net.outputs.ids.tolist() == [11]
    assert net.predict(X[:, [0, 2, 3]]).shape == (1, 1)


def test_group_columns(net):
    """ids, bias, activation, aggregation, fan_in, fan_out read as arrays and take a value or one per neuron."""
    h = net.groups["h"]
    h.bias = np.arange(6.0)
    assert h.bias.tolist() == [0, 1, 2, 3, 4, 5] and net.neuron(6).bias == 2
    h.bias += 1
    assert h[:2].bias.tolist() == [1, 2]
    h.activation = "tanh"
    assert list(h.activation) == ["tanh"] * 6
    h[:2].activation = ["sin", ("leaky_relu", 0.25)]
    assert list(h.activation[:3]) == ["sin", ("leaky_relu", 0.25), "tanh"]
    h[2:4].aggregation = ["max", "product"]
    assert list(h.aggregation) == ["sum", "sum", "max", "product", "sum", "sum"]
    assert h.fan_in.tolist() == [4] * 6 and h.fan_out.tolist() == [2] * 6
    y = net.groups["y"]
    assert y.fan_in.tolist() == [6, 7]


def test_group_connections(net):
    """incoming and outgoing, each connection once."""
    h, y = net.groups["h"], net.groups["y"]
    assert len(h.incoming) == 24 and len(h.outgoing) == 12 and len(y.incoming) == 13 and len(y.outgoing) == 0
    assert set(h.incoming.target) == set(range(4, 10))
    both = net.group([0, 11])
    assert len(both.incoming) == 7 and len(both.outgoing) == 7
    assert len(np.unique(both.incoming.id)) == 7


def test_neuron_attributes_one_per_neuron_at_creation(net):
    """activation, aggregation and bias may be one value or one per neuron."""
    g = net.add_neurons(
        3, activation=["sin", ("clipped_relu", 32.0), "abs"], aggregation=["sum", "max", "min"], bias=[1, 2, 3]
    )
    assert list(g.activation) == ["sin", ("clipped_relu", 32.0), "abs"]
    assert list(g.aggregation) == ["sum", "max", "min"] and g.bias.tolist() == [1, 2, 3]
    pair = net.add_neurons(2, activation=("leaky_relu", 0.25), aggregation="mean", bias=-1)
    assert list(pair.activation) == [("leaky_relu", 0.25)] * 2 and pair.bias.tolist() == [-1, -1]
    assert list(net.add_outputs(1).activation) == ["identity"]


def test_shapes(net):
    """A shape instead of a count: flat order is C order, and indexing follows the shape."""
    img = ng.Network().add_inputs((2, 3))
    assert img.shape == (2, 3) and len(img) == 6 and img[1, 2].id == 5
    assert img[0, :].ids.tolist() == [0, 1, 2] and net.groups["h"].shape == (6,)


def test_counts(net):
    """n_neurons, n_inputs, n_outputs, n_connections, n_parameters, nbytes."""
    assert (net.n_neurons, net.n_inputs, net.n_outputs, net.n_connections) == (12, 4, 2, 37)
    assert net.n_parameters == 37 + 8
    assert net.nbytes >= 37 * 8
    net.mark_outputs(net.groups["h"][:3])
    assert net.n_outputs == 5 and net.outputs.ids.tolist() == [10, 11, 4, 5, 6]
    net.mark_outputs(net.groups["h"][:1])
    assert net.n_outputs == 5


def test_density_draws_the_exact_count(net):
    """round(density * possible new pairs), no pair twice, none that existed."""
    x, fresh = net.groups["x"], net.add_neurons(50)
    for density in (0.0, 0.13, 0.5, 1.0):
        target = net.add_neurons(50)
        new = net.connect(fresh, target, density=density)
        assert len(new) == round(density * 2500)
        assert len(set(zip(new.source.tolist(), new.target.tolist(), strict=True))) == len(new)
    net.connect(x, fresh, density=0.5)
    more = net.connect(x, fresh, density=0.5)
    assert len(more) == 50 and len(net.connections[np.isin(net.connections.target, fresh.ids)]) == 150


def test_connecting_a_group_with_itself_makes_a_dag(net):
    """Candidates stand before their target in schedule order, ties by id."""
    g = net.add_neurons(20)
    new = net.connect(g, g)
    assert len(new) == 190 and (new.source < new.target).all()
    h = net.add_neurons(20)
    net.connect(h[10], h[2], weight=1.0)
    new = net.connect(h, h, density=0.4)
    assert len(new) == round(0.4 * (190 - 1))
    import networkx as nx

    assert nx.is_directed_acyclic_graph(nx.DiGraph(zip(net.connections.source, net.connections.target, strict=True)))


@pytest.mark.parametrize("act", ["look at the schedule", "print the plan", "predict", "save and load", "read views"])
def test_looking_does_not_change_what_is_drawn(tmp_path, act):
    """Same seed, same edits, same connections, whatever was read, run or saved in between."""

    def drawn(act):
        net = ng.Network(seed=0, backend="reference")
        net.add_inputs(2)
        h = net.add_neurons(8, name="h")
        net.add_outputs(1)
        net.connect(h[6], h[0], weight=1.0)
        net.connect(h[0], h[3], weight=1.0)
        net.predict(np.ones((1, 2)))
        net.connection(h[6], h[0]).remove()
        if act == "look at the schedule":
            assert net.schedule.depth == 2
        elif act == "print the plan":
            str(net.plan)
        elif act == "predict":
            net.predict(np.ones((1, 2)))
        elif act == "save and load":
            net.save(tmp_path / "model.ng")
            net = ng.load(tmp_path / "model.ng")
        elif act == "read views":
            assert net.neurons.fan_in.sum() == len(net.connections.weight)
        h = net.groups["h"]
        net.connect(h, h, density=0.4)
        return sorted(zip(net.connections.source.tolist(), net.connections.target.tolist(), strict=True))

    assert drawn(act) == drawn(None)


def test_connect_draws_each_pair_alike():
    """1000 draws of 3 of 12 pairs: each pair is taken about 250 times (five standard deviations are 69)."""
    counts = np.zeros((3, 4))
    net = ng.Network(seed=3)
    a, b = net.add_neurons(3), net.add_neurons(4)
    for _ in range(1000):
        new = net.connect(a, b, density=0.25, weight=1.0)
        assert len(new) == 3
        np.add.at(counts, (new.source, new.target - 3), 1)
        new.remove()
    assert abs(counts - 250).max() < 69


def test_weights_by_the_real_fan_in():
    """The initializer he draws with variance 2 / fan_in of the graph after the call."""
    net = ng.Network(seed=0, dtype="float64")
    x, y = net.add_inputs(400), net.add_neurons(200)
    conns = net.connect(x, y, density=0.1, weight="he")
    assert conns.weight.std() == pytest.approx(np.sqrt(2 / 40), rel=0.05)
    z = net.add_neurons(1)
    assert (net.connect(x, z, weight="zeros").weight == 0).all()
    assert (net.connect(y, z, weight=0.5).weight == 0.5).all()


def test_delay_is_part_of_the_data_model(net):
    """A delayed loop is legal, counts as its own connection, and leaves the schedule alone."""
    depth = net.schedule.depth
    c = net.connect(11, 4, weight=0.25, delay=1)
    assert c.delay == 1 and net.schedule.depth == depth
    loop = net.connect(4, 4, weight=0.5, delay=2)
    assert loop.delay == 2 and (loop.source, loop.target) == (4, 4)
    net.add_connections([0], [11], weight=1.0, delay=1)
    assert net.connection(0, 11).weight == 0.5
    with pytest.raises(ng.InvalidValueError, match="delay"):
        net.predict(np.ones((1, 4)))
    assert net.predict(np.ones((1, 3, 4))).shape == (1, 3, 2)
    net.connections[net.connections.delay > 0].remove()
    assert net.predict(np.ones((1, 4))).shape == (1, 2)
