"""Every example runs, and its own check holds; long ones run shortened, against a lower bar."""

import importlib.util
import io
import math
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"

# name: (arguments of main, what its result must be)
CHECKS = {
    "mazur": ({"steps": 1000}, lambda error: error < 0.002),
    "irregular_topology": ({}, lambda right: right == 16),
    "prune_and_grow": ({"epochs": 10}, lambda accuracy: accuracy > 0.85),
    "overlapping_groups": ({}, lambda accuracy: accuracy > 0.93),
    "fovea": ({"epochs": 1, "n_samples": 8_000}, lambda accuracy: accuracy > 0.8),
    "mixed_sizes": ({"epochs": 4}, lambda accuracy: accuracy > 0.7),
    "mnist_set": ({"epochs": 2, "n_samples": 12_000}, lambda accuracy: accuracy > 0.9),
    "compare_pruning": (
        {"densities": (0.05,), "seeds": 1, "epochs": 5, "picture": io.BytesIO()},
        lambda gain: gain > -0.2,
    ),
    "connectome": (
        {"brains": {"celegans": (1, 4, 0.01, 6, 0.9)}, "picture": io.BytesIO()},
        lambda margin: margin > 0,
    ),
    "random_graphs": ({"seeds": 1, "epochs": 10, "picture": io.BytesIO()}, lambda accuracy: accuracy > 0.88),
}


def load(name):
    """The module of an example."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_run_here():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_example(name, capsys):
    example = load(name)
    if hasattr(example, "DATA") and not example.DATA.exists():
        pytest.skip(f"{example.DATA.name} is not in ../shared/data")
    arguments, check = CHECKS[name]
    result = example.main(**arguments)
    assert math.isfinite(result) and check(result), result
    assert capsys.readouterr().out


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_example_is_short_and_ends_with_a_check(path):
    lines = path.read_text().splitlines()
    assert len(lines) < 80 and lines[-1].strip().startswith("assert ")
    assert 'if __name__ == "__main__":' in lines
