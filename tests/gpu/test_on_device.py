"""The script for a machine with a GPU: its budget, and what it leaves behind, with parts that need no GPU."""

import json
import sys
import time

import pytest

from . import on_device
from .on_device import Part


def says(text, status=0, seconds=0):
    program = f"import sys, time; print({text!r}, flush=True); time.sleep({seconds}); sys.exit({status})"
    return lambda setting: [sys.executable, "-c", program]


@pytest.fixture
def out(tmp_path, monkeypatch):
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    return tmp_path / "out"


def test_a_part_that_fails_or_hangs_does_not_keep_the_others_from_running(out, monkeypatch, capsys):
    parts = (
        Part("good", 10, says("fine"), ""),
        Part("bad", 10, says("broken", 3), ""),
        Part("slow", 1, says("begun", 0, 60), ""),
        Part("absent", 1, lambda setting: None, ""),
        Part("last", 20, says("at last"), ""),
    )
    monkeypatch.setattr(on_device, "PARTS", parts)
    start = time.monotonic()
    assert on_device.main(["--budget", "22"]) == 1
    assert time.monotonic() - start < 15
    done = json.loads((out / "summary.json").read_text())
    assert [d["verdict"].split(" after")[0] for d in done] == ["ok", "failed with status 3", "stopped", "skipped", "ok"]
    assert [d["said"] for d in done][:3] == ["fine", "broken", "begun"]
    text = (out / "logs.txt").read_text()
    assert "== last: ok" in text and "at last" in text and "its tool is not installed" in text
    assert on_device.main(["good", "last"]) == 0
    assert "bad" not in capsys.readouterr().out.split("good")[-1]


def test_the_parts_are_named_and_their_commands_are_there(out, tmp_path, monkeypatch):
    with pytest.raises(SystemExit):
        on_device.main(["nonsense"])
    setting = on_device.Setting(tmp_path, tmp_path, "some/folder", 100.0)
    commands = {part.name: part.command(setting) for part in on_device.PARTS}
    assert commands["bench"][-2:] == ["--data", "some/folder"] and "90" in commands["bench"]
    for name, command in commands.items():
        assert command is None or command[0] == sys.executable or "sanitizer" in command[0], name
    paths = [word for command in commands.values() if command for word in command if word.startswith("tests/")]
    assert all((on_device.ROOT / path).exists() for path in paths)
    chosen = on_device.environment()
    assert chosen["NEUROGRAPH_TEST_BACKENDS"] == "gpu" and chosen["PYTHONPATH"].startswith(str(on_device.ROOT))
