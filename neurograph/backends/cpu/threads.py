"""How many threads a kernel may use."""

from __future__ import annotations

import os
from contextlib import suppress

import numba

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


def _after_fork() -> None:
    global _orphaned
    with suppress(ValueError):  # no threads were started
        _orphaned = _orphaned or numba.threading_layer() == "omp"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
