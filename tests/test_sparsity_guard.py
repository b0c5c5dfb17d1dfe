"""What pruning warns of and refuses, against networkx's reachability."""

import warnings

import hypothesis.strategies as st
import networkx
import numpy as np
import pytest
from hypothesis import given

import neurograph as ng

from .pruning import chain, everything, network, pairs


def reachable(net, edges=None):
    """Outputs that have a path from an input over the edges, or over all, in networkx."""
    graph = networkx.DiGraph()
    graph.add_nodes_from(net.neurons.ids.tolist())
    graph.add_edges_from(pairs(net) if edges is None else edges)
    inputs = set(net.inputs.ids.tolist())
    found = inputs.union(*(networkx.descendants(graph, id) for id in inputs))
    return found & set(net.outputs.ids.tolist())


@given(st.integers(0, 60), st.sampled_from(["layered", "dag", "loops", "from nowhere"]), st.floats(0.3, 1.0))
def test_outputs_stay_reachable(seed, kind, fraction):
    net = network("dag" if kind in ("loops", "from nowhere") else kind, seed=seed % 3)
    if kind == "loops":  # neurons that keep each other fed, once no input does
        net.connect(net.groups["hidden"], net.groups["hidden"], density=0.2, delay=1)
    if kind == "from nowhere":  # a neuron without inputs feeds outputs
        net.connect(net.add_neurons(2), net.outputs)
    goes = np.random.default_rng(seed).random(net.n_connections) < fraction
    doomed, kept = net.connections[goes], net.connections[~goes]
    before, wanted = everything(net), reachable(net)
    lost = sorted(wanted - reachable(net, zip(kept.source.tolist(), kept.target.tolist(), strict=True)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ng.EmptyLayerWarning)
        if lost:
            message = f"{len(lost)} outputs? off.*neurons? {lost[0]}.*allow_disconnected"
            with pytest.raises(ng.InvalidValueError, match=message):
                ng.sparsity.remove(net, doomed)
            assert everything(net) == before
        assert ng.sparsity.remove(net, doomed, allow_disconnected=bool(lost)) == len(doomed)
    assert reachable(net) == wanted - set(lost)


def test_output_that_was_never_reached_is_nobodys_loss():
    net = chain()
    net.add_outputs(1)
    net.connect(net.add_neurons(1), net.outputs[2], weight=9.0)
    assert ng.sparsity.prune_lowest(net, fraction=0.3) == 4


def test_an_output_that_is_an_input_is_reached():
    net = ng.Network()
    x = net.add_inputs(2)
    net.mark_outputs(x[0])
    y = net.add_outputs(1)
    net.connect(x, y, weight=1.0)
    with pytest.raises(ng.InvalidValueError, match="1 output off from all inputs: neuron 2"):
        ng.sparsity.prune_lowest(net, fraction=1.0)


def test_the_last_connection_of_two_homes():
    net = ng.topologies.layered([3, 4, 2], seed=0)
    net.connect(net.groups["inputs"], net.groups["outputs"], weight=1e-6)
    before = everything(net)
    with pytest.warns(ng.EmptyLayerWarning, match="the last connections of 'inputs' -> 'outputs'$"):
        assert ng.sparsity.prune_lowest(net, count=6) == 6
    net.connect(net.groups["inputs"], net.groups["outputs"], weight=1e-6)
    before = everything(net)
    with pytest.raises(ng.EmptyLayerWarning):  # where warnings are errors nothing has gone
        ng.sparsity.prune_lowest(net, count=6)
    assert everything(net) == before
    with pytest.warns(ng.EmptyLayerWarning, match="'hidden 1' -> 'outputs'"):
        ng.sparsity.prune_lowest(net, score=lambda conns, rng: conns.source_home != 1, count=8)
    assert reachable(net) == set(net.outputs.ids.tolist())


def test_homes_without_a_name_are_named_by_their_neurons():
    net = ng.Network()
    x, h, y = net.add_inputs(2), net.add_neurons(1), net.add_outputs(1, name="out")
    net.connect(x, h, weight=1.0), net.connect(x | h, y, weight=5.0)
    with pytest.warns(ng.EmptyLayerWarning, match="of neurons 0 to 1 -> neuron 2$"):
        ng.sparsity.prune_lowest(net, count=2)


def test_two_delays_of_a_pair_are_one_pair():
    net = ng.topologies.layered([3, 4, 2], seed=0)
    net.connect(net.groups["inputs"], net.groups["hidden 1"], delay=1, weight=1e-6)
    assert ng.sparsity.prune_lowest(net, count=12) == 12  # those of delay 0 are left


@pytest.mark.parametrize(
    "prune",
    [
        lambda net, **allow: ng.sparsity.prune_lowest(net, fraction=1.0, **allow),
        lambda net, **allow: ng.sparsity.prune_lowest(net, lambda conns, rng: rng.random(len(conns)), 1.0, **allow),
        lambda net, **allow: ng.sparsity.GradualMagnitude(1.0, 0, 10, initial=1.0, **allow).step(net, 0),
        lambda net, **allow: ng.sparsity.prune_neurons(net, "random", fraction=1.0, **allow),
        lambda net, **allow: ng.sparsity.prune_before_training(net, fraction=1.0, **allow),
    ],
)
def test_every_way_to_prune_is_guarded(prune):
    net = ng.topologies.layered([3, 4, 2], seed=0)
    net.counters["gradual_magnitude.connections"] = net.n_connections
    before = everything(net)
    with pytest.raises(ng.InvalidValueError, match="2 outputs off from all inputs: neurons 7, 8. Prune less"):
        prune(net)
    assert everything(net) == before
    with pytest.warns(ng.EmptyLayerWarning, match="'inputs' -> 'hidden 1'; 'hidden 1' -> 'outputs'"):
        prune(net, allow_disconnected=True)
    assert net.n_connections == 0


def test_shares_for_pairs_of_homes():
    net = ng.topologies.layered([10, 20, 5], seed=0)
    assert ng.sparsity.prune_lowest(net, fraction={(0, 1): 0.5, (1, 2): 0.1}, scope="local") == 110
    assert np.bincount(net.connections.target_home).tolist() == [0, 100, 90]
    assert ng.sparsity.prune_lowest(net, "random", fraction={(0, 1): 0.5}, scope="local") == 50
    assert np.bincount(net.connections.target_home).tolist() == [0, 50, 90]
    net.tie(net.connections, np.arange(140) // 2, average=True)
    ng.sparsity.prune_lowest(net, fraction={(1, 2): 0.2}, scope="local", per="parameter")
    assert np.bincount(net.connections.target_home).tolist() == [0, 50, 72]
    for options, words in (({"scope": "global"}, "local"), ({"scope": "local", "count": 3}, "no count")):
        with pytest.raises(ng.InvalidValueError, match=words):
            ng.sparsity.prune_lowest(net, fraction={(0, 1): 0.5}, **options)
    with pytest.raises(ng.InvalidValueError, match="1.5"):
        ng.sparsity.prune_lowest(net, fraction={(0, 1): 1.5}, scope="local")
