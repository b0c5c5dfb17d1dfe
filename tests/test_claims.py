"""Claims about pruning: that each runs and tells what it should, not that it holds, which takes too long for a test."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import neurograph as ng
from neurograph import claims, cli
from neurograph.claims import cases, command, readme
from neurograph.claims.rows import Row, Settings, mean_over

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a file like MNIST's, of few noisy images: each class has a bright row of its own."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("data")
    arrays = {}
    for part, count in (("train", 500), ("test", 200)):
        labels = np.arange(count) % 10
        images = rng.integers(0, 200, (count, 28, 28))
        images[np.arange(count), 2 * labels + 4] = 255
        arrays |= {f"x_{part}": images.astype(np.uint8), f"y_{part}": labels.astype(np.uint8)}
    np.savez(path / "mnist.npz", **arrays)
    return path


@pytest.mark.filterwarnings("ignore:.*every connection", "ignore::neurograph.EmptyLayerWarning")  # so few samples
@pytest.mark.parametrize("name", cases.CLAIMS)
def test_every_claim_runs_and_tells(name, folder):
    module = command.importlib.import_module(f"neurograph.claims.cases.{name}")
    assert module.ABOUT and "\n" not in module.ABOUT
    try:
        rows = list(module.run(Settings(folder, seeds=(0,), quick=True)))
    except ng.MissingDependencyError as error:
        pytest.skip(str(error))
    assert rows and len({row.name for row in rows}) == len(rows)
    for row in rows:
        assert isinstance(row, Row) and math.isfinite(row.measured) and math.isfinite(row.target)
        assert len(row.seeds) <= 1 and all(math.isfinite(value) for value in row.seeds)
        json.dumps(command.asdict(row))  # a NumPy number would not do
        assert command.line(name, row).startswith(("met ", "MISSED "))


def test_the_readme_shows_what_was_found():
    """Its table is that of the file it names: a whole run, of three seeds where there are seeds."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.rewritten(text, ROOT) == text
    record = json.loads((ROOT / readme.CLAIMED.pattern.search(text)["path"]).read_text(encoding="utf-8"))
    assert record and set(record) <= set(cases.CLAIMS)
    for name, claim in record.items():
        assert not claim["quick"] and claim["seeds"] == 3, name
        for row in claim["rows"]:
            told = Row(**{key: value for key, value in row.items() if key != "holds"})
            assert told.holds == row["holds"] and len(told.seeds) in (0, 3)


# -- the command, on claims made here ----------------------------------------------------------------------------------


@pytest.fixture
def made(monkeypatch):
    """Two claims: one holds, one does not, and what they were told."""
    told = []

    def claim(*rows):
        def run(settings):
            told.append(settings)
            yield from rows

        return SimpleNamespace(ABOUT=f"{len(rows)} rows", run=run)

    modules = {
        "good": claim(Row("gap", 0.1, 0.2, at_least=False, unit="points", seeds=(0.0, 0.2), note="fast")),
        "bad": claim(Row("accuracy", 97.0, 96.0), Row("gain", 0.1, 0.3)),
    }
    monkeypatch.setattr(command, "CLAIMS", tuple(modules))
    monkeypatch.setattr(command, "importlib", SimpleNamespace(import_module=lambda n: modules[n.rsplit(".", 1)[1]]))
    return told


def test_a_claim_that_holds_ends_with_0_and_is_written(made, tmp_path, capsys):
    file = tmp_path / "claims.json"
    assert cli.main(["claims", "good", "--seeds", "2", "--data", "somewhere", "--output", str(file)]) == 0
    assert "met    good: gap 0.1 points (at most 0.2) [0, 0.2]; fast" in capsys.readouterr().out
    (settings,) = made
    assert settings.seeds == (0, 1) and str(settings.data) == "somewhere" and not settings.quick
    record = json.loads(file.read_text())
    assert list(record) == ["good"] and record["good"]["seeds"] == 2 and record["good"]["quick"] is False
    assert record["good"]["rows"] == [
        {"name": "gap", "measured": 0.1, "target": 0.2, "at_least": False, "unit": "points", "seeds": [0.0, 0.2],
         "note": "fast", "holds": True}
    ]  # fmt: skip


def test_a_missed_target_ends_with_1_and_earlier_results_stay(made, tmp_path, capsys):
    file = tmp_path / "claims.json"
    file.write_text('{"good": {"rows": []}, "older": {}}')
    assert cli.main(["claims", "bad", "--quick", "--output", str(file)]) == 1
    out = capsys.readouterr().out
    assert "met    bad: accuracy 97 (at least 96)" in out and "MISSED bad: gain 0.1 (at least 0.3)" in out
    record = json.loads(file.read_text())
    assert set(record) == {"good", "older", "bad"} and record["bad"]["quick"] is True
    assert [row["holds"] for row in record["bad"]["rows"]] == [True, False]


def test_all_claims_run_when_none_is_named(made, tmp_path):
    assert cli.main(["claims", "--output", str(tmp_path / "claims.json")]) == 1
    assert len(made) == 2 and made[0].seeds == (0, 1, 2) and made[0].data is None


def test_the_list_trains_nothing(made, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["claims", "--list"]) == 0
    assert capsys.readouterr().out.splitlines() == ["good  1 rows", "bad   2 rows"]
    assert not made and not list(tmp_path.iterdir())


def test_unknown_claims_are_refused_before_any_runs(made, capsys, tmp_path):
    assert cli.main(["claims", "good", "nonsense", "--output", str(tmp_path / "claims.json")]) == 2
    assert "There is no claim 'nonsense'. Known claims: good, bad." in capsys.readouterr().err
    assert not made and not list(tmp_path.iterdir())


def test_no_seed_is_no_mean(made, capsys, tmp_path):
    assert cli.main(["claims", "good", "--seeds", "0", "--output", str(tmp_path / "claims.json")]) == 2
    assert "--seeds is 0" in capsys.readouterr().err and not made


def test_the_list_names_every_case(capsys):
    assert cli.main(["claims", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(cases.CLAIMS)


# -- settings and rows -------------------------------------------------------------------------------------------------


def test_mnist_is_cut_when_it_is_to_be_quick(folder):
    X, y, X_test, y_test = Settings(folder).mnist()
    assert X.shape == (500, 784) and y_test.shape == (200,)
    assert len(Settings(folder, quick=True).mnist()[0]) == 500  # fewer than 2,000 as it is
    with pytest.raises(ng.InvalidValueError, match="--data FOLDER"):
        Settings().mnist()


@pytest.mark.parametrize(
    ("measured", "at_least", "holds"),
    [(0.3, True, True), (0.29, True, False), (0.3, False, True), (0.31, False, False), (math.nan, True, False)],
)
def test_a_row_holds_at_its_target(measured, at_least, holds):
    assert Row("x", measured, 0.3, at_least).holds is holds


def test_means_keep_each_seed():
    assert claims.mean_over((1, 2), lambda seed: np.float32(seed)) == mean_over((1, 2), float) == (1.5, (1.0, 2.0))
