"""Passes whose generations run staged, against the reference backend."""

import numpy as np
import pytest

import neurograph as ng
from neurograph.backends import gpu as gpu_backend
from neurograph.backends import reference
from neurograph.backends.gpu import orders, sliced, staged, staging
from neurograph.backends.gpu.mirror import mirror_of

FUNCTIONS = ("relu", "identity", "tanh", "gelu", ("leaky_relu", 0.25), "softplus", "sigmoid")
TOLERANCE = {"rtol": 2e-4, "atol": 2e-5}


@pytest.fixture
def everything_staged(gpu, monkeypatch):
    """Staging pays, and a tile has few rows."""
    monkeypatch.setattr(sliced, "pays", lambda *anything: False)
    monkeypatch.setattr(staging, "pays", lambda rows, entries, *others: entries > 0)
    monkeypatch.setattr(staged, "room", lambda: 26)


def network(rng, sizes, density):
    """Layers of mixed neurons, with connections that jump over layers, and an output in the first one."""
    net = ng.Network(seed=1, dtype="float32", backend="reference")
    layers = [net.add_inputs(sizes[0]).ids]
    for k, size in enumerate(sizes[1:]):
        ids = []
        for _ in range(size):
            add = net.add_outputs if k == len(sizes) - 2 else net.add_neurons
            made = add(
                1,
                activation=FUNCTIONS[rng.integers(len(FUNCTIONS))],
                aggregation=("sum", "mean")[rng.integers(2)],
                bias=rng.normal() / 2,
            )
            ids.append(made.ids[0])
        before = np.concatenate(layers)
        near = (
            rng.random((len(before), size))
            < np.where(np.arange(len(before)) >= len(before) - sizes[k], density, 0.05)[:, None]
        )
        near[-1] = True  # so that a layer is a generation
        source, target = np.nonzero(near)
        net.add_connections(before[source], np.array(ids)[target], weight=rng.normal(size=len(source)) / np.sqrt(size))
        layers.append(np.array(ids))
    net.mark_outputs(layers[1][:1])
    return net


def results(backend, net, X, upstream, add=False):
    """Outputs, deltas and gradients of a pass."""
    plan, graph = net.plan, net.plan.graph
    run = backend.forward(plan, X)
    backend.backward(plan, run, upstream, add)
    live = graph.connections.live()
    gradients = graph.connections.read("grad")[live].copy(), graph.neurons.read("bias_grad")[plan.rows].copy()
    return run.outputs, run.activations(plan.rows), run.errors(plan.rows), *gradients


def agree(net, rng, batch, steps=1, add=False, tolerance=None):
    """Both backends give the same; or about the same, in norm."""
    X = rng.normal(size=(batch, steps, len(net.plan.inputs))).astype(np.float32)
    upstream = rng.normal(size=(batch, steps, len(net.plan.outputs))).astype(np.float32)
    graph = net.plan.graph
    if add:
        graph.connections["grad"][:] = 1
        graph.neurons["bias_grad"][:] = 1
    before = graph.connections["grad"].copy(), graph.neurons["bias_grad"].copy()
    wanted = results(reference, net, X, upstream, add)
    graph.connections["grad"][:], graph.neurons["bias_grad"][:] = before
    for result, truth in zip(results(gpu_backend, net, X, upstream, add), wanted, strict=True):
        if tolerance is None:
            np.testing.assert_allclose(result, truth, **TOLERANCE)
        else:
            assert np.linalg.norm(result - truth) <= tolerance * np.linalg.norm(truth)


@pytest.mark.parametrize("batch", [1, 31, 64, 130])
def test_passes(everything_staged, rng, batch):
    """Mixed neurons, several tiles, every width of batch."""
    net = network(rng, (15, 40, 30, 5), 0.4)
    agree(net, rng, batch)
    kept = net.plan.layouts["gpu staged"]
    assert kept.rebuilds == 3 + 3  # by target each generation, by source the inputs and all but the outputs
    agree(net, rng, batch, steps=2, add=True)
    assert kept.rebuilds == 6 and "by target 0, 1, 2; by source inputs, 0, 1" in str(net.plan)


@pytest.mark.parametrize("batch", [3, 70])
def test_precision(everything_staged, emulated, rng, batch):
    """In bf16 what is staged is rounded, and nothing else: close to the exact pass, but not the same."""
    net = network(rng, (15, 40, 30, 5), 0.4)
    agree(net, rng, batch)
    emulated.counters.reset()
    net.precision = "bf16"
    agree(net, rng, batch, tolerance=0.02)
    launched = emulated.counters.kernels
    assert any(name.startswith("staged_product<__nv_bfloat16") for name in launched)
    assert any(name.startswith("staged_backward<__nv_bfloat16") for name in launched)
    with pytest.raises(AssertionError):
        agree(net, rng, batch, tolerance=1e-5)
    agree(net, rng, batch, steps=2, add=True, tolerance=0.02)
    run = gpu_backend.forward(net.plan, np.zeros((batch, 2, len(net.plan.inputs)), np.float32))
    gpu_backend.backward(net.plan, run, np.zeros((batch, 2, len(net.plan.outputs)), np.float32))
    held = sum(run._buffers[name].nbytes for name in ("acts in halves", "delta in halves", "dots"))
    assert held == net.plan.layouts["gpu staged"].footprint(batch, 2, True)


def test_long_rows_run_beside(everything_staged, rng, monkeypatch):
    """A hub is cut into chunks, which the row kernels run; the other rows of its generation are staged."""
    for module, name, value in (
        (orders, "LONG", 24),
        (orders, "CHUNK", 16),
        (staging, "LONG", 24),
        (staging, "LONGER", 1.5),
    ):
        monkeypatch.setattr(module, name, value)
    net = network(rng, (60, 40, 50, 5), 0.2)
    layer = net.plan.rows[:40]
    ids = net.plan.graph.neurons.read("id")
    for source, target in ((net.plan.inputs, layer[3]), (net.plan.inputs, layer[7])):
        absent = np.setdiff1d(source, net.plan.graph.connections.read("source")[net.plan.graph.incoming.of([target])])
        net.add_connections(ids[absent], np.full(len(absent), ids[target]), weight=0.1)
    agree(net, rng, 33)
    parts = net.plan.layouts["gpu staged"]._parts
    assert parts[0][0].long == 2 and 0 < len(parts[0][0].buckets.rows) < 40
    agree(net, rng, 33, add=True)


def test_edits_between_passes(everything_staged, rng):
    """Single edits patch the buckets; many at once make them anew; the results follow."""
    net = network(rng, (15, 40, 30, 5), 0.4)
    agree(net, rng, 5)
    kept, graph = net.plan.layouts["gpu staged"], net.plan.graph
    made = kept.rebuilds
    for step in range(8):
        for _ in range(2):
            net.connections[int(rng.integers(len(net.connections)))].remove()
        if step == 5:
            net.connections[rng.random(len(net.connections)) < 0.3].remove()
        layer = [net.plan.rows[a:b] for a, b in zip(net.plan.offsets[:-1], net.plan.offsets[1:], strict=True)]
        ids, target = graph.neurons.read("id"), rng.choice(layer[1])
        known = graph.connections.read("source")[graph.incoming.of(np.array([target]))]
        absent = np.setdiff1d(np.concatenate([net.plan.inputs, layer[0]]), known)
        net.add_connections(ids[rng.choice(absent, 1)], ids[[target]], weight=0.3)
        if net.plan.layouts.get("gpu staged") is not kept:
            kept, made = net.plan.layouts.get("gpu staged"), 0  # the edit moved a neuron to another generation
        agree(net, rng, 5, steps=1 + step % 2)
    kept = net.plan.layouts["gpu staged"]
    assert kept.patches > 0 and kept.rebuilds <= made + 6


def test_recordings_follow_edits(everything_staged, emulated, rng):
    """Passes that are replayed as CUDA graphs use the buckets as edits have left them."""
    net = network(rng, (15, 40, 30, 5), 0.4)
    X = rng.normal(size=(9, 1, 15)).astype(np.float32)
    upstream = rng.normal(size=(9, 1, len(net.plan.outputs))).astype(np.float32)
    run, plan = None, net.plan
    for step in range(6):
        if step in (2, 3, 5):
            # Of the last of a row's connections some remain, and no neuron moves to another generation.
            net.connections[int(rng.integers(15 * 10))].remove()
        assert net.plan is plan
        net.connections.weight = rng.normal(size=len(net.connections)) / 5
        wanted = results(reference, net, X, upstream)
        for _ in range(4):  # launched, recorded and replayed
            run = gpu_backend.forward(plan, X, True, run)
            gpu_backend.backward(plan, run, upstream)
        found = run.outputs, run.activations(plan.rows), run.errors(plan.rows)
        found += net.connections.grad.copy(), plan.graph.neurons.read("bias_grad")[plan.rows].copy()
        for result, truth in zip(found, wanted, strict=True):
            np.testing.assert_allclose(result, truth, **TOLERANCE)
    assert emulated.counters.graph_launches >= 8
    assert plan.layouts["gpu staged"].patches and plan.layouts["gpu staged"].rebuilds == 6


def test_what_is_not_staged(everything_staged, rng):
    """Delays, special aggregations and float64 run row by row."""
    for change in ("delay", "special", "float64"):
        net = ng.Network(seed=1, dtype="float64" if change == "float64" else "float32", backend="reference")
        a, b = net.add_inputs(4).ids, net.add_outputs(3, aggregation="max" if change == "special" else "sum").ids
        delay = 1 if change == "delay" else 0
        net.add_connections(np.repeat(a, 3), np.tile(b, 4), weight=rng.normal(size=12), delay=delay)
        plan = net.plan
        assert not staging.staging_of(plan, mirror_of(plan.graph)).allowed


def test_far_ends_are_counted_only_where_they_decide(gpu):
    """A dense layer pays whatever it shares, one of few rows never; between them it depends on that."""
    single, counted = np.dtype(np.float32), []

    def count(others):
        counted.append(others)
        return others

    assert staging.pays(4096, 4096 * 400, 450, 8192, 512, single, lambda: count(4096))
    assert not staging.pays(10, 40_000, 4096, 4096, 512, single, lambda: count(4096))  # blocks for so few rows
    assert not staging.pays(0, 0, 0, 8192, 512, single, lambda: count(0)) and not counted
    shared = [staging.pays(4096, 4096 * 60, 80, 10**7, 512, single, lambda n=n: count(n)) for n in (1000, 200_000)]
    assert shared == [True, False] and counted == [1000, 200_000]
    assert not staging.pays(4096, 4096 * 4, 8, 8192, 512, single, lambda: count(4096))


def test_a_wide_layer_is_found(gpu, rng, monkeypatch):
    """What the counts say decides where nothing is set up for a test."""
    monkeypatch.setattr(sliced, "pays", lambda *anything: False)
    net = ng.topologies.layered([300, 400, 4], density=0.5, seed=0, backend="reference")
    plan = net.plan
    kept = staging.staging_of(plan, mirror_of(plan.graph))
    generations = [plan.rows[a:b] for a, b in zip(plan.offsets[:-1], plan.offsets[1:], strict=True)]
    for batch, expected in ((4, [False, False]), (4096, [True, False])):
        found = [kept.forward(mirror_of(plan.graph), g, slots, batch) for g, slots in enumerate(generations)]
        assert [part is not None for part in found] == expected
