"""How many threads a kernel may use."""

from __future__ import annotations

import importlib
import os
from contextlib import suppress

import numba

# Rounds for which GNU OpenMP's threads ask whether there is work before they sleep. By default these are 300,000,
# milliseconds: where other processes hold the cores, a thread spins that long at the end of every parallel region, for
# the one it waits for was not given a core, and training takes ten times the time. With 1,000 on free cores, threads
# fall asleep between two predictions of one sample, which then take a quarter longer; with so many they do not.
SPIN = "30000"

_orphaned = False


def count() -> int:
    """Threads for the next kernel: as many as numba is set to, one where a parallel region would end the process.

    GNU OpenMP does not survive a fork: numba kills a child that enters a parallel region if the parent had started its
    threads. Such a child runs everything in its one thread. A kernel told to use one never enters such a region.

    Examples
    --------
    >>> count() >= 1
    True
    """
    return 1 if _orphaned else numba.get_num_threads()


def _load_openmp() -> None:
    """Load GNU OpenMP, which reads its settings only then; what the user has set stays, and so does the environment."""
    if "GOMP_SPINCOUNT" in os.environ or "OMP_WAIT_POLICY" in os.environ:
        return
    os.environ["GOMP_SPINCOUNT"] = SPIN
    try:
        with suppress(ImportError):  # numba was built without it
            importlib.import_module("numba.np.ufunc.omppool")
    finally:
        del os.environ["GOMP_SPINCOUNT"]


_load_openmp()


def _after_fork() -> None:
    global _orphaned
    with suppress(ValueError):  # no threads were started
        _orphaned = _orphaned or numba.threading_layer() == "omp"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
