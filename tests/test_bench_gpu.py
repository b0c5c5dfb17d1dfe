"""The GPU's benchmarks where there is no GPU: their arithmetic, processes, picture and README, and who is refused.

Every figure in here is invented, and none of it is ever written among the results.
"""

import json
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import neurograph as ng
from neurograph import cli
from neurograph.bench import child, crossovers, device, events, readme, report, runner
from neurograph.bench.cases import CASES, Case, choose
from neurograph.bench.layers import matrices
from neurograph.bench.peers import torch_cuda, torch_layers
from neurograph.bench.picture import OURS
from neurograph.bench.rows import Bound, Outcome, Row, Settings

ROOT = Path(__file__).parents[1]
QUICK = Settings(threads=1, quick=True, backend="gpu")
INVENTED = {
    "gpu": "an invented GPU", "gpu_memory_gib": 1.5, "multiprocessors": 3, "l2_mib": 0.5, "driver": "1.2",
    "cuda_runtime": "99.0", "cupy": "0.0", "cpu": "abacus", "threads": 2, "libraries": {}, "date": "2026-01-01",
}  # fmt: skip


def crossing(panel="training step, 64-10, batch 8", ours=(8.0, 3.0, 1.0), fp32=6.0, bf16=2.0):
    return [
        Outcome(
            "gpu_training", f"{panel}, density {density}", f"PyTorch, dense {name}", figures, curve=(panel, density)
        )
        for name, dense in (("fp32", fp32), ("bf16", bf16))
        for density, ms in zip((1.0, 0.5, 0.1), ours, strict=True)
        for figures in ({"ours_ms": ms, "peer_ms": dense, "ratio": dense / ms},)
    ]


# -- the clock XX


@pytest.fixture
def scripted(monkeypatch):
    """A device clock that is read from a list."""

    def script(*values):
        times = iter(values)
        monkeypatch.setattr(events, "_repeats", lambda step: 7)
        monkeypatch.setattr(events, "seconds", lambda step, repeats: step() or next(times))

    return script


def test_blocks_take_turns_and_ratios_are_taken_pair_by_pair(scripted, monkeypatch):
    monkeypatch.setattr(events, "QUICK", 3)
    scripted(1.0, 4.0, 2.0, 4.0, 4.0, 40.0)
    order = []
    figures = events.against(lambda: order.append("o"), lambda: order.append("p"), quick=True)
    assert "".join(order) == "opopop"
    assert figures == {
        "ours_ms": 2000.0, "ours_least_ms": 1000.0, "peer_ms": 4000.0, "peer_least_ms": 4000.0, "ratio": 4.0,
        "ratio_range": [2.0, 10.0],
    }  # fmt: skip


def test_the_fastest_way_is_the_peer_and_a_refused_one_is_left_out(monkeypatch):
    def refuse():
        raise RuntimeError("not for this order")

    cost = {"a": 3.0, "b": 1.0}
    clock = {"now": 0.0}
    monkeypatch.setattr(events, "_repeats", lambda step: step() or 1)
    monkeypatch.setattr(events, "seconds", lambda step, repeats: step() or clock["now"])
    ways = {name: (lambda name=name: clock.update(now=cost[name])) for name in cost}
    assert events.fastest(ways | {"c": refuse}) == "b"
    with pytest.raises(RuntimeError, match="none of 1 ways runs: c: not for this order"):
        events.fastest({"c": refuse})


# -- processes XX


def outcomes_of(program, rows, monkeypatch, settings=QUICK, **how):
    """What the runner makes of a child that is this program; OUT is the file that it writes lines to."""

    def job(case, numbers, settings, folder):
        text = f"NUMBERS, OUT = {list(numbers)}, {str(folder / 'outcomes')!r}\n{program}"
        return [sys.executable, "-c", text], folder / "outcomes"

    monkeypatch.setattr(runner, "_job", job)
    case = Case(lambda: rows, backend="gpu")
    return list(runner.measure_together(case, list(enumerate(rows)), settings, **how))


def row(name, needs=()):
    return Row(name, "x", lambda settings: {}, needs)


LINE = json.dumps(Outcome("c", "W", "x", {"ratio": 2.0}).to_json())
PROGRAM = f"""
import os, sys, time
def say(number, **how):
    with open(OUT, "a") as file:
        file.write({LINE!r}.replace("W", str(number)) + "\\n")
"""


def test_rows_share_a_process_and_a_new_one_goes_on_where_it_dies(monkeypatch):
    program = PROGRAM + "for n in NUMBERS:\n    if n == 1: os.kill(os.getpid(), 9)\n    say(n)"
    got = outcomes_of(program, [row("a"), row("b"), row("c"), row("d", ("flydnet",))], monkeypatch)
    by_name = {outcome.what: outcome for outcome in got}
    assert by_name["0"].figures and by_name["2"].figures
    assert "signal 9" in by_name["b"].error


def test_a_process_that_ends_itself_after_an_error_blames_nobody_else(monkeypatch):
    program = PROGRAM + f"for n in NUMBERS:\n    say(n)\n    if n == 0: sys.exit({child.AGAIN})"
    got = outcomes_of(program, [row("a"), row("b"), row("c")], monkeypatch)
    assert [outcome.what for outcome in got] == ["0", "1", "2"] and not any(outcome.error for outcome in got)
    assert runner.AGAIN == child.AGAIN
    got = outcomes_of(f"import sys; sys.exit({child.AGAIN})", [row("a")], monkeypatch)
    assert got[0].error  # it has measured nothing


def test_a_row_that_hangs_is_stopped_and_the_others_go_on(monkeypatch):
    monkeypatch.setattr(runner, "ROW_LIMIT", 0.6)
    program = PROGRAM + "for n in NUMBERS:\n    if n == 0: time.sleep(60)\n    say(n)"
    got = outcomes_of(program, [row("a"), row("b")], monkeypatch)
    assert [outcome.what for outcome in got] == ["a", "1"] and "stopped after" in got[0].error


def test_nothing_begins_after_the_limit(monkeypatch):
    got = outcomes_of("raise SystemExit", [row("a"), row("b")], monkeypatch, end=time.monotonic() - 1)
    assert [outcome.skipped for outcome in got] == ["the time limit of the whole run was over"] * 2
    (tiny,) = [case for case in CASES.values() if case.name == "tiny"]
    (late,) = runner.measured([tiny], QUICK, limit=-1.0)
    assert late.skipped


def test_the_child_measures_rows_and_stops_after_an_error(tmp_path, monkeypatch):
    def bad(settings):
        raise RuntimeError("an illegal memory access was encountered")

    rows = [Row("a", "x", lambda settings: {"ratio": 1.0}), Row("b", "x", bad), row("c")]
    monkeypatch.setitem(child.CASES, "mine", Case(lambda: rows, backend="gpu"))
    job, out = tmp_path / "job", tmp_path / "out"
    settings = {"threads": 1, "quick": True, "data": None, "backend": "gpu"}
    job.write_text(json.dumps({"case": "mine", "rows": [0, 1, 2], "settings": settings, "outcomes": str(out)}))
    with pytest.raises(SystemExit) as ended:
        child.main(str(job))
    assert ended.value.code == child.AGAIN
    first, second = runner._written(out)
    assert first.figures == {"ratio": 1.0} and "illegal memory access" in second.error


# -- the command XX


def test_the_command_refuses_without_a_gpu(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(device, "problem", lambda: "no driver was found; install it")
    assert cli.main(["bench", "--backend", "gpu"]) == 2
    assert "no driver was found; install it" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_each_backend_has_cases_of_its_own(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", "--backend", "gpu", "--list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == [name for name, case in CASES.items() if case.backend == "gpu"] and listed[0] == "ceilings"
    assert cli.main(["bench", "ceilings"]) == 2
    assert "ceilings is one of --backend gpu" in capsys.readouterr().err
    assert cli.main(["bench", "--backend", "gpu", "tiny"]) == 2
    assert cli.main(["bench", "--backend", "gpu", "--limit", "0"]) == 2
    assert "--limit is 0" in capsys.readouterr().err
    assert not {case.name for case in choose(everything=True)} & set(listed)


def test_the_command_writes_the_devices_name_and_a_picture(tmp_path, capsys, monkeypatch):
    """With an invented device and invented figures: what is written where, not what it says."""
    monkeypatch.setattr(device, "problem", lambda: None)
    monkeypatch.setattr(device, "describe", lambda: {"gpu": INVENTED["gpu"], "cuda_runtime": "99.0"})
    monkeypatch.setattr(runner, "measure_together", lambda case, rows, settings, end: crossing())
    where = ["--json", str(tmp_path / "invented-gpu.json"), "--output", str(tmp_path)]
    assert cli.main(["bench", "--backend", "gpu", "gpu_training", "--limit", "1000", *where]) == 0
    assert "an invented GPU (CUDA 99.0)" in capsys.readouterr().out
    results = runner.Results.load(tmp_path / "invented-gpu.json")
    assert results.machine["gpu"] == INVENTED["gpu"] and len(results.outcomes) == 6
    assert (tmp_path / "invented-gpu.png").stat().st_size > 10_000
    assert "no memory" not in (tmp_path / "table.md").read_text(encoding="utf-8")


# -- words and pictures XX


def test_the_machine_begins_with_its_gpu():
    line = report.machine_line(INVENTED)
    assert line.startswith(
        "an invented GPU (1.5 GiB; 3 multiprocessors; L2 0.5 MiB; driver 1.2; CUDA 99.0; CuPy 0.0), abacus, "
    )
    with pytest.raises(ng.InvalidValueError, match="gpu is"):
        runner.Results(INVENTED, []).updated(runner.Results(INVENTED | {"gpu": "another"}, []))


def test_the_table_names_the_way_and_leaves_out_memory_that_nobody_measured():
    figures = {"ours_ms": 1.0, "peer_ms": 3.0, "ratio": 3.0, "ours_way": "staged", "peer_way": "CSR_ALG2, row-major"}
    lines = report.tables([Outcome("c", "product", "cuSPARSE", figures, (Bound("ratio", 3),))]).splitlines()
    assert lines[-1] == "| product (staged) | cuSPARSE (CSR_ALG2, row-major) | 1.00 | 3.00 | 3.0 | ≥ 3 | yes |"
    assert {line.count("|") for line in lines} == {len(report.COLUMNS)}


def test_crossovers_are_found_for_each_precision():
    whole = crossing()
    name, points = next(iter(crossovers.curves(whole).items()))
    assert name == "training step, 64-10, batch 8"
    assert points[OURS] == [(0.1, 1.0), (0.5, 3.0), (1.0, 8.0)]
    assert points["PyTorch, dense bf16"] == [(0.1, 2.0), (0.5, 2.0), (1.0, 2.0)]
    ours = {"ours_ms": 1.0, "peer_ms": 2.0, "ours_tool": "neurograph bf16"}
    half = [Outcome("gpu_training", "w, bf16", "PyTorch, dense bf16", ours, curve=(name, d)) for d in (0.5, 0.1)]
    assert crossovers.curves([*whole, *half])[name]["neurograph bf16"] == [(0.1, 1.0), (0.5, 1.0)]
    assert "| bf16 | 0.1 to 0.5 | always | always |" in crossovers.table([*whole, *half])
    last = crossovers.table(whole).splitlines()[-1]
    assert last == "| training step, 64-10, batch 8 | fp32 | 0.1 to 1 | 0.82 | 0.28 |"


def test_the_picture_has_a_panel_for_each_network_and_marks_what_is_crossed(tmp_path):
    swept = Outcome(
        "crossover", "product, 8 x 8, batch 4", "",
        {"points": {OURS: [[0.1, 1.0], [0.2, 1.5]], "PyTorch, dense fp32": [[0.1, 2.0], [0.2, 2.0]]}},
    )  # fmt: skip
    failed = Outcome("crossover", "product, 9 x 9", "", error="E")
    figure = crossovers.draw([*crossing(), swept, failed], tmp_path / "picture.png")
    second, first = (ax for ax in figure.axes if ax.get_visible())  # products come first
    assert first.get_title(loc="left") == (
        "training step, 64-10, batch 8\nfaster than dense below: fp32 0.82, bf16 0.28"
    )
    assert second.get_title(loc="left") == "product, 8 x 8, batch 4\nfaster than dense below: fp32 always"
    assert len([line for line in first.lines if line.get_linestyle() == ":"]) == 2
    (legend,) = figure.legends
    tools = [text.get_text() for text in legend.get_texts()]
    assert sorted(tools) == ["PyTorch, dense bf16", "PyTorch, dense fp32", OURS]
    assert first.get_xscale() == first.get_yscale() == "log"
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    with pytest.raises(ng.InvalidValueError, match="crossover"):
        crossovers.draw([failed])


def test_the_readme_answers_only_from_results_of_a_gpu(tmp_path):
    begin, cpu = readme.ON_GPU.begin, readme.MEASURED
    path = tmp_path / "README.md"
    runner.Results({"cpu": "abacus", "threads": 1, "libraries": {}}, []).save(tmp_path / "cpu.json")
    path.write_text(
        f"{cpu.begin.format('cpu.json')}\n{cpu.end}\n{begin.format(readme.NOTHING)}\nold\n{readme.ON_GPU.end}\nafter\n"
    )
    readme.main([str(path)])
    text = path.read_text()
    assert "Nothing has been measured on a GPU yet" in text and "old" not in text and "| what |" not in text
    runner.Results(INVENTED, crossing()).save(tmp_path / "gpu.json")
    (tmp_path / "gpu.png").touch()
    readme.main([str(path), "gpu.json"])
    text = path.read_text()
    assert begin.format("gpu.json") in text and cpu.begin.format("cpu.json") in text and text.endswith("\nafter\n")
    for shown in (
        "Measured on an invented GPU",
        "below these densities",
        "| fp32 | 0.1 to 1 | 0.82 | 0.28 |",
        "](gpu.png)",
    ):
        assert shown in text
    runner.Results(INVENTED, crossing(), quick=True).save(tmp_path / "gpu.json")
    with pytest.raises(ng.FileFormatError, match="quick"):
        readme.main([str(path)])


def test_the_readme_that_is_here_says_what_was_measured():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    path = readme.ON_GPU.pattern.search(text)["path"]
    assert "## Does a GPU run a pruned network slower?" in text
    if path == readme.NOTHING:
        assert "Nothing has been measured on a GPU yet" in text
        assert not list((ROOT / "tests/benchmarks/results").glob("*-gpu.json"))
    else:
        machine = runner.Results.load(ROOT / path).machine
        assert machine["gpu"] in text and re.search(r"\d{4}-\d\d-\d\d-gpu\.json$", path)


# -- peers XX


@pytest.mark.filterwarnings("ignore")  # PyTorch's CSR is in beta
def test_pytorchs_products_are_the_product(monkeypatch):
    pytest.importorskip("torch")
    from scipy import sparse

    monkeypatch.setattr(torch_cuda, "DEVICE", "cpu")
    rng = np.random.default_rng(0)
    weight = sparse.random_array((12, 20), density=0.3, format="csr", dtype=np.float32, rng=rng)
    inputs = [rng.standard_normal((20, 5), dtype=np.float32) for _ in range(2)]
    for precision, tolerance in torch_cuda.PRECISIONS.items():
        ways, columns, rows = torch_cuda.dense_products(weight.toarray(), inputs, precision)
        for x, (column,), (row,) in zip(inputs, columns, rows, strict=True):
            expected = weight @ x
            for got in (ways["mm"](column), ways["linear"](row).t()):
                off = np.abs(got.float().numpy() - expected).max() / np.abs(expected).max()
                assert off < tolerance
    multiply, sets = torch_cuda.csr_product(weight, inputs)
    np.testing.assert_allclose(multiply(*sets[1]).numpy(), weight @ inputs[1], rtol=1e-5, atol=1e-5)


def test_pytorch_without_cuda_is_skipped_by_name():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("it has CUDA here")
    (first, *_) = CASES["gpu_training"].rows()
    outcome = child.measure("gpu_training", Row("w", "a", lambda settings: torch_cuda.library()), QUICK)
    assert re.fullmatch(r"PyTorch \S+ sees no GPU: install its build for CUDA, see \S+", outcome.skipped)
    assert "torch" in first.needs


def test_steps_in_bf16_keep_their_weights_in_float32():
    torch = pytest.importorskip("torch")
    net = ng.topologies.layered([6, 8, 3], density=0.5)
    module = torch_layers.dense(matrices(net))
    before = module[0].weight.detach().clone()
    torch_layers.training_step(module, np.ones((4, 6), np.float32), np.zeros(4, np.int64), bf16=True)()
    assert module[0].weight.dtype == torch.float32 and not torch.equal(before, module[0].weight)
