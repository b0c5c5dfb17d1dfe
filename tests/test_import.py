"""Importing neurograph is light: the heavy libraries come when they are used."""

import subprocess
import sys

import pytest

HEAVY = ("numba", "cupy", "networkx", "matplotlib", "torch", "sklearn", "scipy", "tqdm", "safetensors", "hypothesis")


def fresh(code):
    """Standard output of `code` in a new interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_loads_nothing_heavy():
    """The promise is numba, cupy, networkx and matplotlib; the others cost start-up time too."""
    assert fresh(f"import sys, neurograph; print([m for m in {HEAVY} if m in sys.modules])") == "[]"


@pytest.mark.parametrize("module", ["optim", "sparsity", "topologies", "errors"])
def test_public_modules_come_with_the_package(module):
    """`import neurograph as ng; ng.optim...` works without a second import."""
    assert fresh(f"import neurograph as ng; print(ng.{module}.__name__)") == f"neurograph.{module}"


def test_reference_backend_does_not_need_numba():
    """A network can be built, run and trained on the reference backend without the CPU kernels being loaded."""
    code = """
import sys, numpy as np, neurograph as ng
net = ng.Network(seed=0, backend="reference")
net.connect(net.add_inputs(3), net.add_outputs(2))
net.predict(np.ones((2, 3)))
net.backward(np.ones((2, 3)), np.zeros((2, 2)), loss="mse")
ng.optim.Adam().step(net)
print([m for m in sys.modules if m.startswith("neurograph.backends.cpu")])
"""
    assert fresh(code) == "[]"


def test_predict_does_not_load_other_libraries():
    """Running a network needs neither networkx nor matplotlib."""
    code = """
import sys, numpy as np, neurograph as ng
net = ng.Network(seed=0, backend="cpu")
net.connect(net.add_inputs(3), net.add_outputs(2))
net.predict(np.ones((2, 3)))
print([m for m in ("networkx", "matplotlib", "torch", "cupy") if m in sys.modules])
"""
    assert fresh(code) == "[]"
