"""The choice between rows, tiles and dense blocks: what follows from costs, and where measured ones are kept."""

import functools
import json

import numpy as np
import pytest

import neurograph as ng
from neurograph.backends.gpu import costs, passes, storage
from neurograph.backends.gpu import measure as measure_module
from neurograph.backends.gpu.costs import Costs

FLOAT = np.dtype(np.float32)


def test_choice_is_the_cheapest():
    """Sparse by rows, denser in tiles, densest as a block; and nothing beside rows where there is little to run."""
    some = Costs(row=1.0, tile=20.0, dense=0.15, copied=0.0, called=1e4)
    kinds = [some.choose(density, 2048, 2048, 512) for density in (0.01, 0.05, 0.1, 0.2, 1.0)]
    assert kinds == ["rows", "rows", "tiles", "tiles", "tiles"]
    fast = Costs(row=1.0, tile=60.0, dense=0.15, copied=0.0, called=1e4)
    kinds = [fast.choose(density, 2048, 2048, 512) for density in (0.01, 0.05, 0.1, 0.2, 1.0)]
    assert kinds == ["rows", "rows", "rows", "dense", "dense"]
    assert fast.choose(0.05, 2048, 2048, 512, inside=0.9) == "tiles"
    assert fast.choose(1.0, 8, 8, 64) == "rows"


def test_copies_count_the_less_the_more_samples():
    """What a step costs whatever the batch is weighs on small batches."""
    some = Costs(row=1.0, tile=20.0, dense=1.0, copied=2.0, called=0.0)
    assert some.fill(16) > some.fill(64) > some.fill(4096) > 20.0
    assert some.choose(0.2, 512, 512, 8) == "rows" and some.choose(0.2, 512, 512, 4096) == "tiles"


def test_least_samples_break_even():
    """At so many samples a step costs the same either way."""
    some = Costs(row=1.0, tile=20.0, dense=0.2, copied=2.0, called=1e4)
    least = some.least_samples(50_000.0, 100.0, 100_000.0, 3)
    stored = some.tiles(100, least) + some.block(100_000, least) + 2 * some.called
    assert stored == pytest.approx(some.rows(50_000, least)) and 0 < least < 512
    assert some.least_samples(10.0, 100.0, 0.0, 1) == float("inf")


def test_measured_once_and_kept(gpu, emulated, monkeypatch, tmp_path):
    """The second process reads what the first one measured; what cannot be read is measured anew."""
    monkeypatch.setenv("NEUROGRAPH_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(costs, "given", None)
    monkeypatch.setattr(costs, "_known", {})
    calls = []

    def measure(dtype, precision):
        calls.append((dtype, precision))
        return Costs(row=float(len(calls)), tile=2.0, dense=3.0, copied=4.0, called=5.0)

    monkeypatch.setattr("neurograph.backends.gpu.measure.measure", measure)
    first = costs.of_device(FLOAT, "bf16")
    assert costs.of_device(FLOAT, "bf16") is first and calls == [(FLOAT, "bf16")]
    costs._known.clear()
    assert costs.of_device(FLOAT, "bf16") == first and len(calls) == 1
    assert costs.of_device(FLOAT, "tf32").row == 2.0
    file = tmp_path / costs.FILE
    assert len(json.loads(file.read_text())) == 2
    for text in ("no json", "[]", json.dumps(dict.fromkeys(json.loads(file.read_text()), {"row": "much"}))):
        file.write_text(text)
        costs._known.clear()
        assert costs.of_device(FLOAT, "bf16").row == len(calls) == int(costs.of_device(FLOAT, "bf16").row)
    assert len(calls) == 5


def test_what_cannot_be_measured_runs_by_rows(gpu, monkeypatch, tmp_path):
    """And says so, once; nothing is kept."""
    monkeypatch.setenv("NEUROGRAPH_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(costs, "given", None)
    monkeypatch.setattr(costs, "_known", {})

    def measure(dtype, precision):
        raise RuntimeError("no such product")

    monkeypatch.setattr("neurograph.backends.gpu.measure.measure", measure)
    with pytest.warns(RuntimeWarning, match="could not be measured .no such product."):
        assert costs.of_device(FLOAT, "bf16") == costs.ROWS
    assert costs.of_device(FLOAT, "bf16") == costs.ROWS and not list(tmp_path.iterdir())


def test_the_first_pass_measures(gpu, rng, monkeypatch, tmp_path):
    """Within it other passes run, of networks made for that; small networks do without."""
    monkeypatch.setenv("NEUROGRAPH_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(costs, "given", None)
    monkeypatch.setattr(costs, "_known", {})
    small = functools.partial(measure_module.measure, side=32, samples=(32, 64), repeats=1)
    monkeypatch.setattr(measure_module, "measure", small)
    net = ng.topologies.layered([20, 30, 5], backend=gpu)
    X = rng.normal(size=(40, 20)).astype(np.float32)
    net.predict(X)
    assert not costs._known
    monkeypatch.setattr(storage, "FEWEST", 100)
    monkeypatch.setattr(passes.sliced, "pays", lambda *_: False)
    net = ng.topologies.layered([20, 30, 5], backend=gpu)
    by_reference = ng.topologies.layered([20, 30, 5], backend="reference")
    np.testing.assert_allclose(net.predict(X), by_reference.predict(X), rtol=1e-4, atol=1e-5)
    assert len(costs._known) == 1 and (tmp_path / costs.FILE).exists()


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_measure(gpu, monkeypatch, precision):
    """Every way is run; a small case tells nothing of the costs but that they are numbers."""
    from neurograph.backends.gpu.measure import measure

    found = measure(FLOAT, precision, side=32, samples=(32, 64), repeats=1)
    assert all(0 <= number < 1e12 for number in vars(found).values())
    assert min(found.row, found.tile, found.dense, found.called) > 0
