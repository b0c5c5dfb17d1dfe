"""What the README shows is true: its Python runs, its commands exist, its files are there."""

import re
import shlex
from pathlib import Path

import pytest

import neurograph as ng
from neurograph import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_python_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)  # the blocks build on one another, as a reader's session does
    accuracy = float(re.search(r"test accuracy ([\d.]+)%", capsys.readouterr().out)[1])
    assert accuracy > 94
    assert (tmp_path / "network.png").stat().st_size > 10_000
    assert names["graph"].number_of_edges() == names["net"].n_connections == names["matrix"].nnz


def test_the_commands_are_known():
    lines = [line.split("#")[0] for block in blocks("sh") for line in block.splitlines()]
    commands = [shlex.split(part) for line in lines for part in line.split("&&")]
    for command in [command for command in commands if command[:1] == ["neurograph"]]:
        cli._parser().parse_args(command[1:])
    assert ["neurograph", "demo"] in commands
    assert ["pytest", "-n", "2"] in commands


@pytest.mark.parametrize("path", ["examples", "notebooks", "tests/benchmarks", ".ci/run"])
def test_the_places_that_it_names_exist(path):
    assert path in README
    assert (ROOT / path).exists()


def test_the_version_is_the_newest_in_the_changelog():
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert versions[0] == ng.__version__
