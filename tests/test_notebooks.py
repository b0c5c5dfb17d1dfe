"""Every notebook runs on few epochs, has a script as its twin, and is committed as one full run left it."""

import json
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
#: What a notebook needs beyond the package itself.
NEEDS = {"01_first_network": (), "02_irregular_against_layered": ("sklearn", "torch")}
EXTRAS = 'install the extras: pip install ".[test]"'
# Paths that begin at the root of a file system or at a drive, as they show up in warnings and tracebacks.
ABSOLUTE = re.compile(r"""(?<![\w.:/])/(home|root|tmp|usr|opt|var|mnt|work|Users)/|\b[A-Z]:\\\\""")

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def content(notebook):
    """What both twins hold: the cells, and what the tests shorten in them."""
    return [(cell.cell_type, cell.source, cell.metadata.get("nbmake")) for cell in notebook.cells]


def test_every_notebook_is_tested_here():
    assert [path.stem for path in NOTEBOOKS] == sorted(NEEDS)
    assert {path.stem for path in (ROOT / "notebooks").glob("*.py")} == set(NEEDS)


@every_notebook
def test_script_is_in_sync(path):
    jupytext = pytest.importorskip("jupytext", reason=EXTRAS)
    script = path.with_suffix(".py")
    same = content(jupytext.read(path)) == content(jupytext.read(script, fmt="py:percent"))
    assert same, f"{path.name} and {script.name} differ; run: jupytext --sync notebooks/{path.name}"


@every_notebook
def test_committed_as_one_full_run_left_it(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert all(output["output_type"] != "error" and output.get("name") != "stderr" for output in outputs)
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert path.stat().st_size < 1_000_000


@every_notebook
def test_depends_on_no_machine(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    for cell in notebook["cells"]:
        texts = ["".join(cell["source"])]
        for output in cell.get("outputs", ()):
            texts += ["".join(output.get("text", "")), "".join(output.get("data", {}).get("text/plain", ""))]
        for text in texts:
            assert not ABSOLUTE.search(text), text


@pytest.mark.slow
@every_notebook
def test_runs_on_few_epochs(path, tmp_path, monkeypatch):
    run = pytest.importorskip("nbmake.nb_run", reason=EXTRAS)
    for module in ("ipykernel", *NEEDS[path.stem]):
        pytest.importorskip(module, reason=EXTRAS)
    copy = Path(shutil.copy(path, tmp_path))
    # The kernel is a process of its own: it, too, shall import the checkout, and leave no history behind.
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    cells = json.loads(copy.read_text(encoding="utf-8"))["cells"]
    assert any("mock" in cell["metadata"].get("nbmake", {}) for cell in cells), "nothing would make this run short"
    result = run.NotebookRun(copy, default_timeout=300).execute()
    assert result.error is None, result.error.trace
    outputs = [output for cell in result.nb.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    said = [output.text for output in outputs if output.get("name") == "stderr"]
    assert not [text for text in said if not text.startswith("neurograph: compiling kernels")]
