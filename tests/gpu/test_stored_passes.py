"""Whole passes with tiles and dense blocks among the rows, against the reference backend."""

import dataclasses

import numpy as np
import pytest

import neurograph as ng
from neurograph import backends
from neurograph.backends import reference
from neurograph.backends.gpu import costs, passes, rows
from neurograph.backends.gpu.graphs import replays_of
from neurograph.backends.gpu.storage import storage_of

from .test_rows import assert_equal, everything
from .test_storage import BOTH, DENSE, TILES

SIZES = (33, 40, 35, 20, 6)
AGGREGATIONS = ("sum", "mean", "product")


@pytest.fixture(autouse=True)
def not_sliced(monkeypatch):
    """Networks as small as these would run in slices."""
    monkeypatch.setattr(passes.sliced, "pays", lambda *_: False)


def network(rng, dtype, functions=True):
    """Layers joined densely, half and in blocks, with connections across, and in one layer other aggregations."""
    net = ng.Network(seed=1, dtype=dtype, backend="reference")
    layers = [net.add_inputs(SIZES[0])]
    for i, size in enumerate(SIZES[1:]):
        make = net.add_outputs if i == len(SIZES) - 2 else net.add_neurons
        layers.append(make(size, activation=("relu", "tanh", "gelu", "identity")[i], bias=0.1))
    if functions:
        for k, neuron in enumerate(layers[3]):
            neuron.aggregation = AGGREGATIONS[k % 3]
    for a, b, density in ((0, 1, 1.0), (1, 2, 0.5), (0, 2, 0.2), (2, 3, 0.2), (2, 4, 0.9), (3, 4, 0.9), (1, 4, 1.0)):
        chosen = rng.random((SIZES[a], SIZES[b])) < density
        i, j = np.nonzero(chosen)
        weight = rng.normal(size=len(i)) / np.sqrt(SIZES[a])
        net.add_connections(np.asarray(layers[a].ids)[i], np.asarray(layers[b].ids)[j], weight=weight)
    net.mark_outputs(layers[1][:3])
    return net


def both(gpu, net, batch, rng, add=False):
    """What the backend under test and the reference make of a batch."""
    X = rng.normal(size=(batch, 1, net.n_inputs)).astype(net.graph.dtype)
    upstream = rng.normal(size=(batch, 1, net.n_outputs)).astype(net.graph.dtype)
    found, held = everything(backends.get_backend(gpu), net, X, upstream, add=add)
    expected, _ = everything(reference, net, X, upstream, add=add)
    return found, expected, held


@pytest.mark.parametrize("given", [TILES, DENSE, BOTH])
@pytest.mark.parametrize("dtype, batch", [("float64", 33), ("float32", 130)])
def test_passes(gpu, rng, monkeypatch, given, dtype, batch):
    """Outputs, activations, deltas and gradients, also after edits."""
    monkeypatch.setattr(costs, "given", given)
    net = network(rng, dtype)
    found, expected, held = both(gpu, net, batch, rng)
    assert held.run.stored is not None
    assert_equal(found, expected, dtype)
    storage, surveys = storage_of(net.plan), storage_of(net.plan).surveys
    assert bool(storage.blocks) == (given is not TILES) and (storage.tiles is not None) == (given is not DENSE)
    text = str(net.plan)
    assert ("dense block of" in text) == bool(storage.blocks) and ("tiles of 16 x 16" in text) == (given is not DENSE)
    taken, counted = held.run.stored.nbytes, storage.footprint(held.run.ld, True)
    assert storage.nbytes > 0 and 0 < taken < held.run.nbytes and taken == counted
    assert passes.footprint(net.plan, batch, 1, True) > counted
    for _ in range(2):
        for slot in rng.choice(net.graph.connections.live(), 20, replace=False):
            ends = (int(net.graph.neurons["id"][net.graph.connections[end][slot]]) for end in ("source", "target"))
            net.prune(net.connection(*ends))
        net.connect(net.inputs, net.homes[2], density=0.05)
        found, expected, held = both(gpu, net, batch, rng, add=False)
        assert_equal(found, expected, dtype)
    assert held.run.stored.storage is storage and storage.surveys == surveys


@pytest.mark.parametrize("given, precision", [(TILES, "float32"), (TILES, "bf16"), (BOTH, "float32"), (DENSE, "bf16")])
def test_replays_and_edits(gpu, rng, monkeypatch, given, precision):
    """Passes that repeat are replayed, with weights that change in between, and follow edits.

    Not those over dense blocks: CuPy records nothing of cuBLAS.
    """
    monkeypatch.setattr(costs, "given", given)
    net, twin = (network(np.random.default_rng(7), "float32", functions=False) for _ in range(2))
    net.graph.precision = precision
    module, run, stored = backends.get_backend(gpu), None, 0
    for i in range(12):
        X, upstream = (rng.normal(size=(40, 1, n)).astype(np.float32) for n in (net.n_inputs, net.n_outputs))
        results = []
        for backend, of in ((module, net), (reference, twin)):
            ends = int(of.inputs.ids[3]), int(of.homes[1].ids[7])
            if i == 5:  # a block that stands in the column has a hole from now on
                of.prune(of.connection(*ends))
            elif i == 8:
                of.connect(*ends, weight=0.7)
            weight = backend.column(of.graph.connections, "weight", True)
            weight[...] *= np.float32((0.7, 1.4)[i % 2])
            taken = backend.forward(of.plan, X, True, run if of is net else None)
            backend.backward(of.plan, taken, upstream)
            results.append((taken.outputs, np.array(of.connections.grad)))
            if of is net:
                run, stored = taken, stored + (taken.stored is not None)
        for found, expected in zip(*results, strict=True):
            far = np.linalg.norm(found - expected) / np.linalg.norm(expected)
            assert far < (1e-5 if precision == "float32" else 0.1), i  # rounded, some outputs of ReLUs are not 0
    replays = replays_of(net.plan)
    assert stored == 12
    for name in ("forward", "backward"):
        if given is TILES:
            assert replays[name].replayed >= 3 and replays[name].reason is None
        else:
            assert replays[name].replayed == 0 and "cuBLAS" in replays[name].reason


def test_an_edit_between_forward_and_backward(gpu, rng, monkeypatch):
    """A survey in between finds other tiles: what they multiply is looked up again."""
    monkeypatch.setattr(costs, "given", TILES)
    monkeypatch.setattr(rows, "FEWEST", 1)
    net = network(rng, "float32", functions=False)
    X, upstream = rng.normal(size=(5, 1, net.n_inputs)), rng.normal(size=(5, 1, net.n_outputs))
    results = []
    for backend in (backends.get_backend(gpu), reference):
        run = backend.forward(net.plan, X.astype(np.float32), True)
        storage = storage_of(net.plan)
        monkeypatch.setattr(storage, "_known", False)
        monkeypatch.setattr(costs, "given", BOTH)
        backend.backward(net.plan, run, upstream.astype(np.float32))
        results.append(net.connections.grad.copy())
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_weights_that_change_between_forward_and_backward(gpu, rng, monkeypatch, precision):
    """Deltas are sent back through the weights as they are then, whoever changed them."""
    monkeypatch.setattr(costs, "given", DENSE)
    net = network(rng, "float32", functions=False)
    net.graph.precision = precision
    X = rng.normal(size=(40, 1, net.n_inputs)).astype(np.float32)
    upstream = np.ones((40, 1, net.n_outputs), np.float32)
    first, results = net.connections.weight.copy(), []
    for module in (backends.get_backend(gpu), reference):
        net.connections.weight = first
        for by_host in (False, True, False):
            run = module.forward(net.plan, X, True)
            if by_host:
                net.connections.weight = -net.connections.weight
            else:
                module.column(net.graph.connections, "weight", True)[...] *= np.float32(1.5)
            module.backward(net.plan, run, upstream)
            results.append(net.connections.grad.copy())
    tolerance = 1e-5 if precision == "float32" else 3e-2
    for found, expected in zip(results[:3], results[3:], strict=True):
        assert np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected)
    assert np.linalg.norm(results[4] - results[3]) > 0.1 * np.linalg.norm(results[3])


def test_few_samples_run_by_rows(gpu, rng, monkeypatch):
    """Where copies of weights cost more than tiles and blocks save."""
    monkeypatch.setattr(costs, "given", dataclasses.replace(BOTH, copied=20.0))
    net = network(rng, "float32", functions=False)
    used = []
    for batch in (36, 128):
        found, expected, held = both(gpu, net, batch, rng)
        assert_equal(found, expected, "float32")
        used.append(held.run.stored is not None)
    assert 36 < storage_of(net.plan).least <= 128 and used == [False, True]


@pytest.mark.parametrize("precision, tolerance", [("tf32", 3e-3), ("bf16", 3e-2)])
def test_mixed_precision(gpu, rng, monkeypatch, precision, tolerance):
    """Factors in few bits, sums in float32: as near as that allows, and not nearer."""
    monkeypatch.setattr(costs, "given", BOTH)
    net = network(rng, "float32", functions=False)
    net.precision = precision
    found, expected, _ = both(gpu, net, 40, rng)
    for name in ("outputs", "grad", "bias_grad"):
        far = np.linalg.norm(found[name] - expected[name]) / np.linalg.norm(expected[name])
        assert tolerance / 1000 < far < tolerance, name
