"""The benchmarks: their arithmetic, their table, whoever is absent, and every case once at toy size."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import neurograph as ng
from neurograph import cli
from neurograph.bench import cases, harness, memory, peers, picture, readme, report, runner
from neurograph.bench.cases import CASES, challenge, connex, deep, edits, products, set_network
from neurograph.bench.child import measure
from neurograph.bench.layers import matrices, training_step
from neurograph.bench.peers import torch_layers
from neurograph.bench.rows import Bound, Outcome, Row, Settings

ROOT = Path(__file__).parents[1]
QUICK = Settings(threads=1, quick=True)
FIGURES = {"ours_ms": 2.0, "peer_ms": 8.0, "ratio": 4.0, "ratio_range": [3.0, 5.0], "ours_peak_mib": 3.0}
MACHINE = {"cpu": "abacus", "cores": 2, "threads": 2, "libraries": {"numpy": "2.0"}, "date": "2026-01-01"}


@pytest.fixture
def hurried(monkeypatch):
    """Blocks of two calls, without a pause: for what runs, not for how long."""
    monkeypatch.setattr(harness, "PAUSE", 0)
    monkeypatch.setattr(harness, "plan_blocks", lambda ours, peer, quick=False: 2)
    monkeypatch.setattr(
        harness.Plan, "__init__", lambda self, seconds, quick=False: self.__dict__.update(warm=0, repeats=1)
    )


# -- arithmetic XX


def test_times_are_medians_and_ratios_are_taken_block_by_block(monkeypatch):
    blocks = iter([1.0, 4.0, 2.0, 4.0, 4.0, 40.0])  # ours, peer, ours, peer, ...
    monkeypatch.setattr(harness, "block", lambda step, plan: next(blocks))
    figures = harness.against(lambda: None, lambda: None, quick=True, scale=2)
    assert figures == {"ours_ms": 2000.0, "peer_ms": 8000.0, "ratio": 8.0, "ratio_range": [4.0, 20.0]}


def test_a_block_is_the_median_of_its_calls_without_the_warm_ones(monkeypatch):
    plan = harness.Plan(0.4)
    assert (plan.warm, plan.repeats) == (1, 3)
    seconds = iter([9.0, 1.0, 5.0, 2.0])
    now = [0.0]

    def step():
        now[0] += next(seconds)

    monkeypatch.setattr(harness.time, "sleep", lambda pause: None)
    monkeypatch.setattr(harness.time, "perf_counter", lambda: now[0])
    assert harness.block(step, plan) == 2.0


def test_the_peer_runs_after_ours_and_reads_what_is_made_between(hurried):
    order = []

    def side(name):
        order.append(name)
        return lambda: order.append(name.lower())

    figures = harness.compare(lambda: side("O"), lambda: side("P"), QUICK, between=lambda: order.append("|"))
    assert "".join(order).startswith("Ooo|Ppp")
    assert set(figures) == {"ours_ms", "peer_ms", "ratio", "ratio_range", "ours_peak_mib", "peer_peak_mib"}


def test_work_that_differs_is_no_comparison():
    harness.require_close("outputs", [1.0, -10.0], [1.0001, -10.0], 1e-4)
    with pytest.raises(AssertionError, match="outputs differ by 0.1 of the largest"):
        harness.require_close("outputs", [1.0, -10.0], [2.0, -10.0], 1e-4)
    with pytest.raises(AssertionError):
        harness.require_close("outputs", [np.nan], [1.0], 1e-4)


@pytest.mark.skipif(memory.resident() is None, reason="only Linux says what is resident")
def test_memory_is_what_the_work_needed_at_its_highest():
    _, before = memory.grown(lambda: [np.ones(1 << 17) for _ in range(64)])
    _, after = memory.grown(lambda: [np.ones(1 << 17) for _ in range(32)])  # what the first freed is not there for it
    assert 60 < before < 70 and 30 < after < 38


def test_bounds_and_whether_a_target_is_met():
    assert Bound("ratio", 4).holds(FIGURES) and not Bound("ratio", 4.1).holds(FIGURES)
    assert Bound("share", 0.25, at_most=True).holds(FIGURES) and not Bound("share", 0.24, at_most=True).holds(FIGURES)
    assert Bound("epoch_s", 60, at_most=True).holds(FIGURES) is None
    met = [Outcome("c", "w", "a", FIGURES, target).met for target in ((), (Bound("ratio", 4),), (Bound("ratio", 5),))]
    assert met == [None, True, False]
    assert Outcome("c", "w", "a", FIGURES, (Bound("ratio", 4), Bound("epoch_s", 60, True))).met is None


# -- the table XX


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_of_the_table():
    target = (Bound("ratio", 4), Bound("epoch_s", 60, at_most=True))
    outcome = Outcome("c", "step", "PyTorch", FIGURES | {"epoch_s": 61.0, "peer_peak_mib": 1234.5}, target)
    assert cells(report.line(outcome)) == [
        "step", "PyTorch", "2.00", "8.00", "4.0", "≥ 4, epoch ≤ 60 s", "no: 61.0 s", "3 / 1,234"
    ]  # fmt: skip
    assert len(cells(report.header().splitlines()[0])) == len(report.COLUMNS)
    share = Outcome("c", "edit", "step", FIGURES, (Bound("share", 1.01, at_most=True),))
    assert cells(report.line(share))[5:7] == ["≤ 1.01 of its time", "yes: 0.2500 of its time"]


def test_rows_that_count_stand_in_a_table_of_their_own():
    counted = Outcome(
        "c", "at rest", "", {"bytes_a_connection": 60.93, "n": 3}, (Bound("bytes_a_connection", 72, True),)
    )
    first, second = report.tables([counted, Outcome("c", "step", "PyTorch", FIGURES)]).split("\n\n")
    assert first.startswith("| what | against |") and "step" in first
    assert cells(second.splitlines()[-1]) == [
        "at rest", "bytes a connection 60.9, n 3", "bytes a connection ≤ 72", "yes", "–"
    ]  # fmt: skip


def test_every_line_of_the_table_has_the_same_columns():
    odd = [
        Outcome("c", "a|b", "x", skipped="no | here"),
        Outcome("c", "w", "x", error="E: bad"),
        Outcome("c", "w", "x"),
    ]
    lines = report.tables([*odd, Outcome("c", "w", "x", FIGURES)]).splitlines()
    assert {line.count("|") for line in lines} == {len(report.COLUMNS) + 1}
    assert "skipped: no / here" in lines[2] and "error: E: bad" in lines[3]


def test_results_come_back_as_they_were(tmp_path):
    outcomes = [
        Outcome("a", "w", "x", FIGURES, (Bound("ratio", 4),), ("64-10", 0.5)),
        Outcome("b", "w", "x", skipped="not installed"),
        Outcome("c", "w", "x", error="E: bad"),
    ]
    results = runner.Results(MACHINE, outcomes, quick=True)
    results.save(tmp_path / "results.json")
    assert runner.Results.load(tmp_path / "results.json") == results
    assert json.loads((tmp_path / "results.json").read_text())["format"] == runner.FORMAT


def test_rows_measured_again_take_the_place_of_the_old_ones():
    def results(machine, *outcomes, quick=False):
        return runner.Results(machine, list(outcomes), quick)

    tiny, edit = Outcome("tiny", "w", "x", error="E"), Outcome("edit", "w", "x", FIGURES)
    again = Outcome("tiny", "w", "x", FIGURES)
    assert results(MACHINE, tiny).updated(results(MACHINE, again, edit)).outcomes == [edit, again]
    for other in (results(MACHINE | {"cpu": "another"}, again), results(MACHINE, again, quick=True)):
        with pytest.raises(ng.InvalidValueError, match="another file"):
            results(MACHINE, tiny).updated(other)


@pytest.mark.parametrize(
    "text", ["{}", "[1]", "no json", '{"format": 99}', '{"format": 1, "quick": false, "rows": []}']
)
def test_a_file_that_holds_no_results_is_refused(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ng.FileFormatError, match="results.json"):
        runner.Results.load(tmp_path / "results.json")


# -- the README XX


def test_the_readme_shows_what_was_measured():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.rewritten(text, ROOT) == text
    path = readme.MEASURED.pattern.search(text)["path"]
    results = runner.Results.load(ROOT / path)
    assert not results.quick and len(results.outcomes) > 10
    assert results.machine["cpu"] in text


def test_the_section_is_written_between_its_comments(tmp_path, capsys):
    runner.Results(MACHINE, [Outcome("c", "step", "PyTorch", FIGURES)]).save(tmp_path / "new.json")
    path = tmp_path / "README.md"
    path.write_text(f"before\n{readme.MEASURED.begin.format('old.json')}\nstale\n{readme.MEASURED.end}\nafter\n")
    readme.main([str(path), "new.json"])
    text = path.read_text()
    assert text.startswith(f"before\n{readme.MEASURED.begin.format('new.json')}\nMeasured on abacus") and text.endswith(
        "\nafter\n"
    )
    assert "stale" not in text and "| step | PyTorch | 2.00 |" in text and "![" not in text
    (tmp_path / "new.png").touch()
    readme.main([str(path)])
    assert "](new.png)" in path.read_text()
    path.write_text("no comments")
    with pytest.raises(ng.FileFormatError, match="no lines"):
        readme.main([str(path)])


# -- the picture XX


def steps(ours, dense):
    return [
        Outcome("training", "step", picture.DENSE, {"ours_ms": a, "peer_ms": b}, curve=("784-10", density))
        for density, a, b in zip((1.0, 0.5, 0.1), ours, dense, strict=True)
    ]


def test_the_crossover_is_where_the_lines_meet():
    lines = picture.networks(steps((8.0, 4.0, 1.0), (4.0, 4.0, 4.0)))["784-10"]
    assert picture.crossover(lines[picture.OURS], lines[picture.DENSE]) == pytest.approx(0.5)
    assert picture.crossover([(0.1, 1.0), (1.0, 2.0)], [(0.1, 3.0), (1.0, 3.0)]) is None


def test_the_picture_has_a_line_for_each_tool_and_marks_the_crossover(tmp_path):
    outcomes = steps((8.0, 3.0, 1.0), (4.0, 4.0, 4.0))
    outcomes.append(Outcome("training", "step", "SparseLab", {"ours_ms": 1.0, "peer_ms": 3.0}, curve=("784-10", 0.1)))
    outcomes.append(Outcome("training", "step", "absent", skipped="not installed", curve=("784-10", 0.1)))
    figure = picture.draw(outcomes, tmp_path / "picture.png")
    (ax,) = figure.axes
    assert [line.get_label() for line in ax.lines[:3]] == [picture.OURS, picture.DENSE, "SparseLab"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [picture.OURS, picture.DENSE, "SparseLab"]
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert [text.get_text() for text in ax.texts] == ["crossover at 0.61"]
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    (ax,) = picture.draw(steps((3.0, 2.0, 1.0), (4.0, 4.0, 4.0))).axes
    assert [text.get_text() for text in ax.texts] == ["no crossover: faster at every density"]
    with pytest.raises(ng.InvalidValueError, match="training"):
        picture.draw(outcomes[:1])


# -- who is not there XX


def test_a_peer_that_is_not_installed_is_skipped_by_name(monkeypatch, hurried):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.delenv("NEUROGRAPH_CONNEX_PYTHON", raising=False)
    apart = []
    monkeypatch.setattr(runner, "measure_apart", lambda *row: apart.append(row) or Outcome("c", "w", "a", FIGURES))
    chosen = [case for case in CASES.values() if case.name in ("training", "inference", "connex")]
    outcomes = list(runner.measured(chosen, QUICK))
    skipped = [outcome for outcome in outcomes if outcome.skipped]
    assert len(skipped) == len(outcomes) - len(apart) and len(apart) == 2  # only SciPy needs nothing more
    for outcome in skipped:
        assert re.search(r"not installed: pip install \S+", report.line(outcome)), outcome
    assert {outcome.skipped.split()[0] for outcome in skipped} == {
        "torch", "scikit-learn", "sparselab", "sparse-dot-mkl", "connex"
    }  # fmt: skip


def test_a_peer_may_live_in_another_python(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("NEUROGRAPH_CONNEX_PYTHON", "/another/python")
    assert peers.missing(["connex"]) is None and peers.python_of("connex") == "/another/python"
    assert peers.missing(["torch"])


def test_a_peer_that_does_not_load_is_skipped(monkeypatch):
    def broken(name):
        raise OSError("libmkl_rt.so not found")

    monkeypatch.setattr(peers.importlib, "import_module", broken)
    outcome = measure("inference", Row("w", "MKL", lambda settings: FIGURES, ("sparse_dot_mkl",)), QUICK)
    assert "sparse-dot-mkl cannot be imported (libmkl_rt.so not found)" in outcome.skipped


def test_data_that_is_not_there_is_asked_for(tmp_path):
    (row,) = challenge.challenge()
    outcome = measure("challenge", row, Settings(data=str(tmp_path)))
    assert outcome.skipped == f"{challenge.FILE} not found: give its folder with --data"


def test_a_row_that_fails_says_so_and_the_others_go_on(monkeypatch, tmp_path, capsys):
    def bad(settings):
        raise AssertionError("outputs\ndiffer")

    case = cases.Case(lambda: [Row("bad", "x", bad), Row("good", "x", lambda settings: FIGURES)])
    monkeypatch.setattr(runner, "measure_apart", lambda case, number, row, settings: measure("two", row, settings))
    outcomes = list(runner.measured([case], QUICK))
    assert outcomes[0].error == "AssertionError: outputs differ" and outcomes[1].figures == FIGURES


def test_a_process_that_dies_is_one_error(monkeypatch):
    case = CASES["tiny"]
    (row,) = case.rows()
    for code, text in (("import os; os.kill(os.getpid(), 9)", "signal 9"), ("raise SystemExit('no way')", "no way")):
        command = [sys.executable, "-c", code]
        real = subprocess.run
        monkeypatch.setattr(runner.subprocess, "run", lambda _, command=command, real=real, **how: real(command, **how))
        assert text in runner.measure_apart(case, 0, row, QUICK).error
        monkeypatch.undo()


# -- every case XX

TINY = (20, 30, 10)
TOYS = {
    "training": {"networks": [TINY], "batch": 8, "dense": {1.0: 1, 0.2: 1}, "sparselab": {0.5: 1}, "others": 0.5},
    "training_512": None,  # `training` in another batch
    "inference": {"networks": [TINY], "density": 0.5},
    "irregular_product": {"n_neurons": 300, "n_connections": 3000, "batch": 4, "products": 3},
    "edit": {"n_connections": 5000, "width": 20, "batch": 8, "rounds": 20},
    "rewire": {"n_connections": 5000, "width": 20, "batch": 8},
    "connex": {"n_connections": 500, "n_hidden": 40, "depth": 5, "batch": 4},
    "tiny": {"sizes": TINY, "batch": 4},
    "deep": {"generations": 20, "width": 4, "shallow": 4, "batch": 8},
    "challenge": {"layers": 10, "images": 60},
    "set_network": {"sizes": (30, 50, 40, 5), "epsilon": 5, "steps": 4},
    "fifty_million": None,  # `set_network` with other sizes
    "construction": {"n_neurons": 500, "n_connections": 3000, "repeats": 1},
    "at_rest": {"n_connections": 5000, "width": 100},
    "import_time": None,  # the test below: processes of their own
    "first_use": None,  # compiles everything
    "shared_parameters": {"channels": (2, 3), "batch": 4, "side": 12},
    "growing_circles": {"channels": 2, "batch": 4, "side": 8, "growth": 0.2},
    "union": {"n_networks": 4, "n_neurons": 12, "batch": 3, "share": 2},
    "recurrent": {"n_neurons": 200, "n_connections": 2000, "steps": 6, "batch": 4, "few": 3},
    "larva": {"steps": 3, "batch": 2},
    "bptt_memory": None,  # the test below
}


def test_every_case_is_known_here_and_says_what_it_measures():
    assert set(TOYS) == {name for name, case in CASES.items() if case.backend == "cpu"}
    for name, case in CASES.items():
        assert case.name == name and case.about.endswith(".")
        assert case.rows(), name


@pytest.mark.parametrize(
    ("name", "row"),
    [
        pytest.param(name, row, id=f"{name}-{row.against or row.what}")
        for name, sizes in TOYS.items()
        if sizes
        for row in CASES[name].rows(**sizes)
    ],
)
@pytest.mark.filterwarnings("ignore")  # those of peers are not ours
def test_case(name, row, hurried, monkeypatch):
    monkeypatch.delenv("NEUROGRAPH_CONNEX_PYTHON", raising=False)  # Connex takes half a minute for the smallest graph
    why = peers.missing(row.needs)
    outcome = Outcome.of(name, row, skipped=why) if why else measure(name, row, QUICK)
    if outcome.skipped:
        pytest.skip(outcome.skipped)
    assert outcome.error is None
    assert outcome.figures["ours_peak_mib"] is None or outcome.figures["ours_peak_mib"] >= 0
    assert not row.against or (outcome.figures["ours_ms"] > 0 and outcome.figures["ratio"] > 0)
    assert outcome.met is not None or not row.target


@pytest.mark.filterwarnings("ignore")
def test_pytorchs_sparse_layers_learn_what_ours_learn():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    X, Y = rng.random((8, 20), dtype=np.float32), rng.integers(0, 10, 8)
    start = ng.topologies.layered(TINY, density=0.4)
    modules = [
        torch_layers.masked(matrices(start)),
        torch_layers.csr(matrices(start), by_hand=False),
        torch_layers.csr(matrices(start), by_hand=True),
    ]
    ours, theirs = training_step(start, X, Y), [torch_layers.training_step(module, X, Y) for module in modules]
    for _ in range(5):
        ours()
        for step in theirs:
            step()
    for module in modules:
        np.testing.assert_allclose(module(torch.from_numpy(X)).detach().numpy(), start.predict(X), atol=1e-4)


def test_graphs_are_what_their_rows_say():
    source, target = products.draw_graph(500, 4000, True, np.random.default_rng(0))
    assert len(set(zip(source.tolist(), target.tolist(), strict=True))) == 4000
    assert (np.lexsort((source, target)) == np.arange(4000)).all()
    assert np.bincount(source).max() > 5 * 4000 / 500
    sizes = (30, 50, 40, 5)
    net = set_network.build(sizes, 3)
    assert net.n_connections == 3 * (30 + 50) + 3 * (50 + 40) + 3 * (40 + 5)
    narrow = deep.chain(30, 4)
    assert narrow.schedule.depth == 30 and narrow.n_connections == 29 * 16
    last = narrow.predict(np.random.default_rng(0).normal(size=(50, 4)))
    assert 0.05 < np.abs(last).mean() < 1  # what goes in comes out, neither dead nor grown
    small = connex.dag(500, 40, 5)
    pairs = {(s, t) for s, targets in connex.adjacency(small).items() for t in targets}
    every = small.connections
    assert pairs == set(zip(every.source.tolist(), every.target.tolist(), strict=True)) and len(pairs) == 500
    assert set(connex.removable(small)) < pairs
    assert edits.million(5000, width=20).n_connections == pytest.approx(5000, abs=10)


def test_processes_of_their_own_bring_figures():
    imported = CASES["import_time"].rows(repeats=1)[0].measure(QUICK)
    assert imported["heavy_libraries_loaded"] == 0 and imported["ours_peak_mib"] > 10


@pytest.mark.filterwarnings("ignore")
def test_the_command_measures_prints_and_writes(tmp_path, capsys):
    """A whole run of one row, in a process of its own."""
    pytest.importorskip("torch")
    assert cli.main(["bench", "tiny", "--quick", "--threads", "1", "--output", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    (row,) = [line for line in out.splitlines() if line.startswith("| training step, 64-200-10")]
    assert cells(row)[1] == "PyTorch, dense" and float(cells(row)[4]) > 0
    results = runner.Results.load(tmp_path / "out" / "results.json")
    assert results.quick and results.outcomes[0].case == "tiny" and results.machine["threads"] == 1
    assert row in (tmp_path / "out" / "table.md").read_text(encoding="utf-8")


def test_results_are_kept_row_by_row_and_updated(tmp_path, capsys, monkeypatch):
    figures = iter([FIGURES, FIGURES | {"ratio": 3.0}, FIGURES])

    def measure_apart(case, number, row, settings):
        got = next(figures, None)
        if got is None:
            raise KeyboardInterrupt
        return Outcome.of(case.name, row, got)

    monkeypatch.setattr(runner, "measure_apart", measure_apart)
    where = ["--json", str(tmp_path / "all.json"), "--output", str(tmp_path)]
    assert cli.main(["bench", "rewire", "edit", "deep", "construction", *where]) == 130
    kept = runner.Results.load(tmp_path / "all.json").outcomes
    assert [outcome.case for outcome in kept] == ["edit", "rewire", "deep"]
    figures = iter([FIGURES | {"ratio": 9.0}])
    assert cli.main(["bench", "rewire", "--update", *where]) == 0
    kept = runner.Results.load(tmp_path / "all.json").outcomes
    assert [(outcome.case, outcome.figures["ratio"]) for outcome in kept] == [("edit", 4), ("rewire", 9), ("deep", 4)]
    assert cli.main(["bench", "rewire", "--update", "--quick", *where]) == 2
    assert "another file" in capsys.readouterr().err


def test_the_command_lists_and_refuses(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(TOYS)
    assert cli.main(["bench", "nonsense"]) == 2
    assert "no case 'nonsense'" in capsys.readouterr().err
    assert cli.main(["bench", "tiny", "--threads", "0"]) == 2
    assert "--threads is 0" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
