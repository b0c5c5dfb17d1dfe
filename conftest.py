"""What holds for tests and for examples in docstrings alike."""

import os
from pathlib import Path

ROOT = Path(__file__).parent
GPU = ROOT / "neurograph" / "backends" / "gpu"

# Workers side by side keep their compiled kernels apart: numba's cache does not expect two processes to write to it.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    kept = Path(os.environ.get("NUMBA_CACHE_DIR", ROOT / ".pytest_cache" / "numba"))
    os.environ["NUMBA_CACHE_DIR"] = str(kept / worker)


def pytest_collect_file(file_path):
    """Modules that import cupy are collected too: where no GPU can be used, put the emulation in its place before."""
    if GPU in file_path.parents:
        from tests import device

        device.name()
