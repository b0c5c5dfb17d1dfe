"""Dense blocks: what BLAS runs is what the row loops, the reference backend and PyTorch compute, through all edits."""

import json
import multiprocessing
import os
import threading

import numba
import numpy as np
import pytest

import neurograph as ng
from neurograph.backends.cpu import blas, blocked, blocks, costs, dense
from neurograph.backends.cpu.costs import Costs

SIZES = [90, 128, 100, 70, 10]
CROSSOVER = 0.6


@pytest.fixture(autouse=True)
def fixed_costs(monkeypatch):
    """The same choice on every machine: dense from a density of 0.6 on."""
    sparse = 0.1
    fixed = Costs(sparse=sparse, dense=sparse * CROSSOVER, copied=1e-9, called=1e-9)
    monkeypatch.setattr(costs, "costs", lambda dtype: fixed)


def data(net, batch, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((batch, net.n_inputs)).astype(net.dtype), rng.integers(0, net.n_outputs, batch)


def gradients(net, X, Y):
    loss = net.backward(X, Y, "cross_entropy")
    return loss, net.predict(X), net.connections.grad.copy(), net.neurons.bias_grad.copy()


def assert_like_reference(net, batch=100, seed=0):
    """Loss, outputs and gradients of both backends agree; the tables are whole."""
    X, Y = data(net, batch, seed)
    ours = gradients(net, X, Y)
    net.graph.check()
    net.backend_name = "reference"
    theirs = gradients(net, X, Y)
    net.backend_name = "cpu"
    net.predict(X[:1])  # forget the reference's pass
    tolerance = 2e-5 if net.dtype == np.float32 else 1e-12
    for a, b in zip(ours, theirs, strict=True):
        assert np.abs(a - b).max() <= tolerance * max(np.abs(b).max(), 1e-3)
    return ours


def kinds(net):
    """How each pair of layers runs, as the printed plan tells."""
    text = str(net.plan)
    return [text.count(what) for what in ("dense block, in place", "dense block, copied", "sparse rows")]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("density", [1.0, 0.95, 0.7, 0.5])
@pytest.mark.parametrize("batch", [1, 40, 64, 150, 700])
def test_as_reference(density, dtype, batch):
    net = ng.topologies.layered(SIZES, density=density, seed=3, dtype=dtype)
    assert_like_reference(net, batch)
    assert kinds(net) == {1.0: [3, 0, 0], 0.95: [0, 3, 0], 0.7: [0, 3, 0], 0.5: [0, 0, 3]}[density]


@pytest.mark.nojit
@pytest.mark.parametrize("density", [1.0, 0.8])
def test_without_the_compiler_too(density):
    net = ng.topologies.layered([64, 66, 3], density=density, seed=3, dtype="float64")
    assert_like_reference(net, 64)
    net.connections[::500].remove()
    net.grow(net.groups["inputs"], net.groups["outputs"], 3)
    assert_like_reference(net, 64)
    assert net.last_pass.blocks is None and len(net.plan.layouts["cpu"].found) == 1


def matrix_of(net, sources, targets, values):
    """Values of all connections as a matrix of two layers, targets by sources."""
    source, target, matrix = net.connections.source, net.connections.target, np.zeros((len(targets), len(sources)))
    inside = np.isin(source, sources.ids) & np.isin(target, targets.ids)
    assert inside.sum() == matrix.size
    matrix[target[inside] - targets.ids[0], source[inside] - sources.ids[0]] = values[inside]
    return matrix


def test_as_torch():
    torch = pytest.importorskip("torch")
    net = ng.topologies.layered(SIZES, seed=1, dtype="float64", activation="tanh")
    X, Y = data(net, 128)
    loss, outputs, grad, bias_grad = gradients(net, X, Y)
    layers = []
    for sources, targets in zip(net.homes, net.homes[1:], strict=False):
        linear = torch.nn.Linear(len(sources), len(targets), dtype=torch.float64)
        with torch.no_grad():
            linear.weight[:] = torch.from_numpy(matrix_of(net, sources, targets, net.connections.weight))
            linear.bias[:] = 0
        layers += [linear, torch.nn.Tanh()]
    model = torch.nn.Sequential(*layers[:-1])
    out = model(torch.from_numpy(X))
    value = torch.nn.functional.cross_entropy(out, torch.from_numpy(Y))
    value.backward()
    np.testing.assert_allclose(loss, value.item(), rtol=1e-12)
    np.testing.assert_allclose(outputs, out.detach().numpy(), rtol=1e-10, atol=1e-12)
    biases = np.concatenate([linear.bias.grad.numpy() for linear in model if isinstance(linear, torch.nn.Linear)])
    np.testing.assert_allclose(bias_grad[net.n_inputs :], biases, rtol=1e-9, atol=1e-14)
    for number, (sources, targets) in enumerate(zip(net.homes, net.homes[1:], strict=False)):
        theirs = model[2 * number].weight.grad.numpy()
        np.testing.assert_allclose(matrix_of(net, sources, targets, grad), theirs, rtol=1e-9, atol=1e-14)


def test_a_matrix_target_after_target():
    """Few connections beside those that are there get their slots in the order of the call."""
    net = ng.Network(seed=0)
    x = net.add_inputs(160)
    a, b = net.add_neurons(300), net.add_neurons(70, activation="tanh")
    y = net.add_outputs(5)
    net.connect(x, a)
    net.connect(a, y)
    net.connect(x, b, density=0.9)
    net.connect(b, y)
    net.connect(a, b, density=0.02)
    assert_like_reference(net)
    more = net.add_neurons(64)
    net.connect(a, y, density=0.5)
    few = net.add_neurons(64, activation="tanh")
    net.connect(more, few)
    net.connect(x, more)
    net.connect(few, y)
    assert_like_reference(net, 130)
    assert {(block.base >= 0, block.by_source) for block in net.plan.layouts["cpu"].found} >= {
        (True, True),
        (True, False),
    }
    net.connections[np.arange(0, net.n_connections, 997)].remove()
    assert_like_reference(net, 130)


def test_a_deep_dense_network_predicts_by_blocks():
    net = ng.topologies.layered([64] * 12 + [3], seed=0, dtype="float64")
    X, _ = data(net, 3000)
    expected = np.concatenate([net.predict(X[i : i + 50]) for i in range(0, 3000, 50)])
    np.testing.assert_allclose(net.predict(X), expected, rtol=1e-9, atol=1e-12)


def thin(net, density, seed=0):
    """Prune to a density between all layers."""
    rng = np.random.default_rng(seed)
    gone = rng.random(net.n_connections) >= density
    net.connections[np.flatnonzero(gone)].remove()


def test_a_block_turns_sparse_and_dense_again():
    net = ng.topologies.layered(SIZES, seed=0)
    for density, expected in ((0.99, [3, 0, 0]), (0.9, [0, 3, 0]), (0.7, [0, 3, 0]), (0.6, [0, 0, 3])):
        thin(net, density)
        assert_like_reference(net)
        assert kinds(net) == expected
    for sources, targets in zip(net.homes[:-2], net.homes[1:-1], strict=True):
        net.connect(sources, targets, density=0.9)
        assert_like_reference(net)
    assert kinds(net) == [0, 3, 0]


def test_a_block_does_not_flicker():
    """Between two thresholds it stays what it is."""
    net = ng.topologies.layered([100, 100, 10], density=0.62, seed=0)
    assert kinds(net) == [0, 1, 0]
    thin(net, 0.94)  # 0.58
    assert kinds(net) == [0, 1, 0]
    again = ng.topologies.layered([100, 100, 10], density=0.58, seed=0)
    assert kinds(again) == [0, 0, 1]


@pytest.mark.parametrize("density", [1.0, 0.8])
@pytest.mark.parametrize("seed", range(4))
def test_edits_between_steps(density, seed):
    """Pruned and grown anywhere, slots of a matrix taken over by others, neurons added and removed."""
    rng = np.random.default_rng(seed)
    net = ng.topologies.layered(SIZES, density=density, seed=seed, dtype="float64")
    optimizer = ng.optim.Adam(1e-3)
    groups = [net.groups[name] for name in ("inputs", "hidden 1", "hidden 2", "hidden 3", "outputs")]
    for _ in range(12):
        for _ in range(int(rng.integers(1, 4))):
            a, b = sorted(rng.choice(5, 2, replace=False))
            edit = rng.integers(5)
            if edit == 0:
                net.connections[np.unique(rng.integers(0, net.n_connections, 5))].remove()
            elif edit == 1:
                net.grow(groups[a], groups[b], int(rng.integers(1, 6)))
            elif edit == 2:
                net.connections[int(rng.integers(net.n_connections))].remove()
            elif edit == 3 and rng.random() < 0.3:
                new = net.add_neurons(3)
                net.connect(groups[0], new)
                net.connect(new, groups[4])
            elif edit == 4 and rng.random() < 0.3:
                groups[2][int(rng.integers(len(groups[2])))].remove()
        assert_like_reference(net, int(rng.choice([64, 100, 130])), seed)
        optimizer.step(net)


def test_a_few_edits_are_patched():
    """Looking at all connections again would cost more than a step's share."""
    net = ng.topologies.layered([200, 200, 200, 10], seed=0)
    net.predict(np.zeros((64, 200)))
    found = net.plan.layouts["cpu"].found
    for _ in range(20):
        net.connections[5].remove()
        net.grow(net.groups["inputs"], net.groups["hidden 2"], 1)
        assert_like_reference(net)
    assert net.plan.layouts["cpu"].found is found


def mixed(dtype="float64"):
    """Sources of two blocks, targets of two blocks, and neurons that BLAS cannot run, or not alone."""
    rng = np.random.default_rng(0)
    net = ng.Network(seed=0, dtype=dtype)
    x = net.add_inputs(80)
    a = net.add_neurons(96, activation="gelu", aggregation="mean")
    b = net.add_neurons(90, activation="relu", aggregation=["max" if i % 9 == 0 else "sum" for i in range(90)])
    c = net.add_neurons(70, activation=["tanh", "silu"] * 35, bias=rng.standard_normal(70))
    y = net.add_outputs(5)
    for sources, targets in ((x, a), (x, b), (a, c), (b, c), (c, y)):
        net.connect(sources, targets)
    net.connect(a, b, density=0.9)
    net.connect(x, c, density=0.05)
    net.connect(a, y, density=0.2)
    net.mark_outputs(b[:3])
    return net


@pytest.mark.parametrize("batch", [64, 150, 600])
def test_odd_neurons_among_them(batch):
    net = mixed()
    assert_like_reference(net, batch)
    assert kinds(net)[:2] != [0, 0] and len(net.plan.layouts["cpu"].found) >= 4


def test_through_time_the_row_loops_run():
    net = mixed()
    net.connect(net.outputs[0], net.neurons[100], delay=1)
    X = np.random.default_rng(0).standard_normal((64, 3, 80))
    Y = net.predict(X)
    net.backend_name = "reference"
    np.testing.assert_allclose(Y, net.predict(X), rtol=1e-9, atol=1e-12)
    net.backend_name = "cpu"
    net.connection(net.outputs[0], net.neurons[100], delay=1).remove()
    assert_like_reference(net)
    assert net.plan.layouts["cpu"].found


def test_errors_and_activations_of_the_last_pass():
    net = mixed()
    X, _ = data(net, 100)
    Y = np.random.default_rng(1).standard_normal((100, net.n_outputs))
    seen = []
    for name in ("cpu", "reference"):
        net.backend_name = name
        outputs = net.activations(X)
        net.backward(X, Y)
        seen.append((outputs, np.stack([net.neuron(int(i)).error for i in net.neurons.ids[80:]])))
    np.testing.assert_allclose(seen[0][0], seen[1][0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(seen[0][1], seen[1][1], rtol=1e-9, atol=1e-12)


def train(density=1.0, steps=5, seed=0):
    """Weights after some steps with an edit between."""
    net = ng.topologies.layered([120, 200, 150, 10], density=density, seed=seed)
    optimizer = ng.optim.Adam(1e-3)
    X, Y = data(net, 256, seed)
    for step in range(steps):
        net.backward(X, Y, "cross_entropy")
        optimizer.step(net)
        net.connections[step].remove()
    return net.connections.weight.copy()


@pytest.mark.parametrize("density", [1.0, 0.8])
def test_the_number_of_threads_changes_no_bit(density):
    most = numba.get_num_threads()
    if most < 2:
        pytest.skip("one thread only")
    several = train(density)
    numba.set_num_threads(1)
    try:
        one = train(density)
    finally:
        numba.set_num_threads(most)
    assert several.tobytes() == one.tobytes()


def test_several_python_threads_train_at_once():
    alone, found = [train(seed=seed) for seed in range(4)], {}

    def work(seed):
        found[seed] = train(seed=seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[seed].tobytes() for seed in range(4)] == [weights.tobytes() for weights in alone]


def _in_child(pipe):
    pipe.send(train().tobytes())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_trains():
    here = train()
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=_in_child, args=(theirs,))
    child.start()
    assert ours.poll(120)
    assert ours.recv() == here.tobytes()
    child.join()
    assert child.exitcode == 0


def test_blas_has_its_threads_back():
    libraries = blas._libraries()
    if not libraries:
        pytest.skip("the threads of this BLAS cannot be counted")
    before = [library.num_threads for library in libraries]
    try:
        for library in libraries:
            library.set_num_threads(2)
        train(steps=1)
        with pytest.raises(KeyError), blas.one_thread():
            assert [library.num_threads for library in libraries] == [1] * len(libraries)
            raise KeyError
        assert [library.num_threads for library in libraries] == [2] * len(libraries)
    finally:
        for library, number in zip(libraries, before, strict=True):
            library.set_num_threads(number)


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("add", [False, True])
def test_products_of_matrices(dtype, add):
    """Column by column, from places inside arrays, with either factor flipped."""
    rng = np.random.default_rng(0)
    m, n, k = 7, 5, 11
    for flip_a in (False, True):
        for flip_b in (False, True):
            A, B, C = (rng.standard_normal(200).astype(dtype) for _ in range(3))
            lda, ldb, ldc = (k if flip_a else m) + 2, (n if flip_b else k) + 1, m + 3
            a = A[4 : 4 + lda * (m if flip_a else k)].reshape(-1, lda).T
            b = B[3 : 3 + ldb * (k if flip_b else n)].reshape(-1, ldb).T
            a, b = (a[:k].T if flip_a else a[:m]), (b[:n].T if flip_b else b[:k])
            before = C[2 : 2 + ldc * n].reshape(-1, ldc).T[:m].copy()
            address = blas.address(np.dtype(dtype))
            dense.gemm(address, flip_a, flip_b, m, n, k, A, 4, lda, B, 3, ldb, add, C, 2, ldc)
            after = C[2 : 2 + ldc * n].reshape(-1, ldc).T[:m]
            np.testing.assert_allclose(after, a @ b + (before if add else 0), rtol=1e-4)


def test_the_footprint_counts_what_blocks_hold():
    for density in (1.0, 0.9):
        net = ng.topologies.layered([300, 300, 300, 10], density=density, seed=0)
        X, Y = data(net, 200)
        net.backward(X, Y, "cross_entropy")
        plan = net.plan
        held = net.last_pass.nbytes + plan.layouts["cpu"].nbytes
        counted = net.backend.footprint(plan, 200, 1, True)
        assert plan.layouts["cpu"].nbytes > 0
        assert 0.7 * held <= counted <= 1.5 * held


def test_small_batches_and_small_blocks_stay_with_the_row_loops():
    net = ng.topologies.layered([blocks.SIDE - 1, blocks.SIDE, 10], seed=0)
    assert kinds(net) == [0, 0, 0]
    net = ng.topologies.layered([blocks.SIDE, blocks.SIDE, 10], seed=0)
    assert kinds(net) == [1, 0, 0]
    net.predict(np.zeros((16, blocks.SIDE)))
    assert net.last_pass.blocks is None
    net.predict(np.zeros((blocked.SAMPLES, blocks.SIDE)))
    assert net.last_pass.blocks is not None


# -- the costs of the machine ------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A place for the costs, and how often they were measured."""
    monkeypatch.undo()  # the fixed costs
    monkeypatch.setenv("NEUROGRAPH_CACHE_DIR", str(tmp_path / "new"))
    measured = []

    def measure(dtype):
        measured.append(dtype)
        return Costs(0.1, 0.05, 3.0, 1000.0)

    monkeypatch.setattr(costs, "measure", measure)
    costs.costs.cache_clear()
    yield tmp_path / "new", measured
    costs.costs.cache_clear()


def test_costs_are_kept(folder):
    place, measured = folder
    first = costs.costs(np.dtype(np.float32))
    costs.costs(np.dtype(np.float64))
    costs.costs.cache_clear()
    assert costs.costs(np.dtype(np.float32)) == first and len(measured) == 2
    assert len(json.loads((place / "neurograph_costs.json").read_text())) == 2
    assert [file.name for file in place.iterdir()] == ["neurograph_costs.json"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', "null"])
def test_a_broken_file_is_replaced(folder, text):
    place, measured = folder
    place.mkdir()
    (place / "neurograph_costs.json").write_text(text)
    costs.costs(np.dtype(np.float32))
    costs.costs.cache_clear()
    costs.costs(np.dtype(np.float32))
    assert len(measured) == 1


@pytest.mark.parametrize("wrong", [-1.0, 0.0, float("nan"), "1", None])
def test_costs_that_cannot_be_are_measured_anew(folder, wrong):
    place, measured = folder
    place.mkdir()
    key = costs._key(np.dtype(np.float32))
    entry = {"sparse": wrong, "dense": 1.0, "copied": 1.0, "called": 1.0}
    (place / "neurograph_costs.json").write_text(json.dumps({key: entry}))
    assert costs.costs(np.dtype(np.float32)).sparse == 0.1 and len(measured) == 1


def test_no_place_for_the_costs(folder, monkeypatch, tmp_path):
    _, measured = folder
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NEUROGRAPH_CACHE_DIR", str(tmp_path / "file" / "below"))
    costs.costs(np.dtype(np.float32))
    costs.costs.cache_clear()
    costs.costs(np.dtype(np.float32))
    assert len(measured) == 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_measured_costs_are_numbers_of_nanoseconds(monkeypatch, dtype):
    found = costs.measure(np.dtype(dtype))
    assert 0 < found.dense < 100 and 0 < found.sparse < 100 and 0 < found.copied < 10_000 and 0 < found.called < 1e8
    assert found.crossover(4096, 4096) <= found.crossover(64, 64)
