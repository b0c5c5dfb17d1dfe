"""The GPU's cases at toy size, on a GPU or on the emulation: that they run and compare equal work. No time is kept."""

import numpy as np
import pytest

import neurograph as ng
from neurograph import cli
from neurograph.backends import device as backends_device
from neurograph.bench import device, events, harness
from neurograph.bench.cases import CASES
from neurograph.bench.cases.gpu import deep, generation
from neurograph.bench.cases.gpu.networks import step_on_device
from neurograph.bench.child import measure
from neurograph.bench.peers import cusparse, torch_cuda
from neurograph.bench.rows import Settings

from ..device import EMULATED

TINY = (24, 32, 10)
TOYS = {
    "ceilings": {"size": 16, "copied": 1 << 16, "cached": 1 << 14, "launches": 3},
    "sparse_product": {"width": 32, "density": 0.3, "batches": (5,)},
    "fused_backward": {"width": 32, "density": 0.3, "batches": (5,)},
    "gpu_training": {"sizes": TINY, "batch": 6, "dense": {0.3: 2}, "sparse": 0.3},
    "tensor_tiles": {"width": 32, "batch": 5, "least": {0.4: 0.9}},
    "tensor_blocks": {"width": 32, "density": 0.5, "batch": 5},
    "gpu_deep": {"generations": 6, "width": 4, "batch": 5, "sizes": TINY},
    "gpu_challenge": {"layers": 3, "images": 30},
    "device_edit": {"n_connections": 3000, "width": 20, "batches": (8,), "rounds": 50},
    "bulk_edits": {"n_connections": 3000, "width": 20, "edits": 200, "batch": 8},
    "against_cpu": {"sizes": TINY, "batch": 6, "densities": (0.4,)},
    "crossover": {"widths": (32,), "batches": (5,), "densities": (0.2, 0.5)},
}


@pytest.fixture
def hurried(monkeypatch, gpu):
    """One short block a side, one set of inputs, and PyTorch wherever it runs."""
    monkeypatch.setattr(events, "BLOCKS", 1)
    monkeypatch.setattr(events, "QUICK", 1)
    monkeypatch.setattr(events, "WARM", 1)
    monkeypatch.setattr(events, "BLOCK", 0)
    monkeypatch.setattr(device, "cache", lambda: 0)
    monkeypatch.setattr(harness, "PAUSE", 0)
    monkeypatch.setattr(harness, "plan_blocks", lambda ours, peer, quick=False: 1)
    if gpu == EMULATED:
        monkeypatch.setattr(torch_cuda, "DEVICE", "cpu")
        monkeypatch.setattr(cusparse, "ways", by_scipy)
    for kept in (generation.network, generation.weights, generation.staged_weights, generation.tiled_weights):
        kept.cache_clear()


def by_scipy(weight, inputs):
    """What stands for cuSPARSE where there is none."""
    import cupy

    return {"SciPy": lambda: cupy.asarray(weight @ inputs[0])}


def test_every_case_of_the_gpu_is_known_here():
    assert set(TOYS) == {name for name, case in CASES.items() if case.backend == "gpu"}


@pytest.mark.parametrize(
    ("name", "row"),
    [
        pytest.param(name, row, id=f"{name}-{row.what}-{row.against}")
        for name, sizes in TOYS.items()
        for row in CASES[name].rows(**sizes)
    ],
)
@pytest.mark.filterwarnings("ignore")  # those of peers are not ours
def test_case(name, row, gpu, hurried):
    if "torch" in row.needs:
        pytest.importorskip("torch")
    outcome = measure(name, row, Settings(threads=1, quick=True, backend=gpu))
    if outcome.skipped:
        pytest.skip(outcome.skipped)
    assert outcome.error is None
    if row.against:
        assert outcome.figures["ours_ms"] > 0 and outcome.figures["ratio"] > 0
    assert outcome.met is not None or not row.target


def test_the_emulation_is_no_gpu(emulated, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    backends_device._look.cache_clear()  # it may have looked before the emulation was there
    assert "emulates" in device.problem()
    assert cli.main(["bench", "--backend", "gpu", "--list"]) == 0
    assert cli.main(["bench", "--backend", "gpu"]) == 2
    assert "emulates" in capsys.readouterr().err and not list(tmp_path.iterdir())
    backends_device._look.cache_clear()


def test_steps_run_with_and_without_graphs_as_they_are_called(emulated, hurried):
    def step(record, slices):
        net = ng.topologies.layered([4] * 8, activation="tanh", backend=EMULATED)
        whole = step_on_device(net, np.ones((5, 4), np.float32), np.zeros(5, np.int64))
        run = whole if record and slices else deep._launched(whole, record, slices)
        for _ in range(4):
            run()
        emulated.counters.reset()
        run()
        return emulated.counters.graph_launches, emulated.counters.launches

    (recorded, own), (rows, _), (none, plain) = step(True, True), step(True, False), step(False, False)
    assert recorded and rows and not none
    assert plain > own and plain > 2 * 7  # forward and backward, a launch for each generation


def test_generations_have_the_connections_that_they_say(gpu):
    made = generation.network(64, 0.25, 16, "cpu")
    every = made.connections
    blocks = {(int(s) // 16, (int(t) - 64) // 16) for s, t in zip(every.source, every.target, strict=True)}
    assert len(blocks) == 4 and made.n_connections == 4 * 256


@pytest.mark.filterwarnings("ignore")
def test_a_way_that_computes_something_else_is_refused(gpu, hurried):
    made = generation.Generation(32, 0.3, 5, Settings(backend=gpu))
    step, _ = made.by_rows()
    wrong = {"wrong": lambda: (step, lambda: np.zeros((32, 5)))}
    with pytest.raises(AssertionError, match="wrong differ by"):
        made.fastest(wrong, 1e-3)
