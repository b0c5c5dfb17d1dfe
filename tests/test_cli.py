"""The command, and the demonstration behind it."""

import re
import subprocess
import sys

import numpy as np
import pytest

import neurograph as ng
from neurograph import cli, demo


def test_info_names_versions_cores_and_backends(capsys):
    assert cli.main(["info"]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["neurograph"] == ng.__version__
    assert rows["numpy"] == np.__version__
    assert rows["python"] == ".".join(map(str, sys.version_info[:3]))
    assert int(rows["cores"]) >= 1
    assert rows["backends"] == ", ".join(ng.available_backends())


@pytest.mark.parametrize(
    ("arguments", "text"), [(["--version"], ng.__version__), (["--help"], "demo"), (["demo", "--help"], "--epochs")]
)
def test_version_and_help_end_well(capsys, arguments, text):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 0
    assert text in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["demo", "--backend", "abacus"], ["demo", "--epochs", "many"]])
def test_wrong_usage_ends_with_2_and_says_how(capsys, arguments):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert "usage: neurograph" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--epochs", "0"], "epochs is 0"),
        (["--seed", "-1"], "seed"),
        (["--output", "picture.txt"], ".png"),
        (["--output", "no/such/folder/picture.png"], "no folder"),
    ],
)
def test_an_error_is_one_line_on_stderr(capsys, arguments, text):
    assert cli.main(["demo", *arguments]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("neurograph: ")
    assert err.count("\n") == 1
    assert text in err
    assert "Training" not in out


def test_debug_shows_the_traceback():
    with pytest.raises(ng.InvalidValueError):
        cli.main(["demo", "--epochs", "0", "--debug"])


def test_ctrl_c_says_so(monkeypatch, capsys):
    def interrupted(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", interrupted)
    assert cli.main(["demo"]) == 130
    assert "stopped" in capsys.readouterr().err


def test_the_module_runs_as_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "neurograph.cli", "info"], capture_output=True, text=True, cwd=ng.__path__[0] + "/.."
    )
    assert done.returncode == 0
    assert "backends" in done.stdout


def test_the_demo_prints_a_table_and_draws_a_picture(tmp_path, capsys):
    picture = tmp_path / "demo.png"
    assert cli.main(["demo", "--epochs", "2", "--seed", "3", "--output", str(picture)]) == 0
    out = capsys.readouterr().out
    dense, sparse = re.findall(
        r"^(layered|irregular).*?  +([\d,]+)  +([\d,]+)  +([\d.]+)%  +([\d.]+)$", out, re.MULTILINE
    )
    connections, nbytes = ([int(row[column].replace(",", "")) for row in (dense, sparse)] for column in (1, 2))
    assert connections == [64 * 128 + 128 * 64 + 64 * 10, 3317]
    assert nbytes[0] > 3 * nbytes[1]
    assert float(dense[3]) > 85
    assert float(sparse[3]) > 70
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture) in out


def test_the_demo_is_the_same_for_the_same_seed(tmp_path):
    first, again, other = (
        demo.run(1, seed=seed, output=tmp_path / "demo.svg", progress=False, say=lambda text: None)
        for seed in (5, 5, 6)
    )
    for one, two in zip(first, again, strict=True):
        assert one.history["loss"] == two.history["loss"]
        assert one.accuracy == two.accuracy
        np.testing.assert_array_equal(one.net.connections.weight, two.net.connections.weight)
    assert first[1].history["loss"] != other[1].history["loss"]


def test_the_demos_sparse_network_rewires_and_keeps_its_size(tmp_path):
    _, sparse = demo.run(2, output=tmp_path / "demo.png", progress=False, say=lambda text: None)
    fresh = demo.irregular(seed=0)
    before = set(zip(fresh.connections.source.tolist(), fresh.connections.target.tolist(), strict=True))
    after = set(zip(sparse.net.connections.source.tolist(), sparse.net.connections.target.tolist(), strict=True))
    assert len(before) == len(after) == 3317
    assert len(after - before) > 200
    pixels, digits = set(fresh.inputs.ids.tolist()), set(fresh.outputs.ids.tolist())
    assert any(source in pixels and target in digits for source, target in after)
