"""The one lock of the process: passes reuse memory and edits move it, so threads take turns at both."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

# One Python thread at a time, as often as it likes. Numba's simplest threading layer aborts the process when two are in
# parallel regions, and compiled code does not notice when another thread replaces an array that it walks.
ALONE = threading.RLock()


def alone(function: Callable[P, R]) -> Callable[P, R]:
    """Let one thread at a time into any of the functions that are so decorated.

    Examples
    --------
    >>> @alone
    ... def edit(x):
    ...     return x + 1
    >>> edit(1)
    2
    """

    @functools.wraps(function)
    def in_turn(*arguments: P.args, **options: P.kwargs) -> R:
        with ALONE:
            return function(*arguments, **options)

    return in_turn


def _reopen() -> None:
    """Fork copies memory, but only the thread that called it: what another one held would stay shut in the child."""
    if not ALONE._is_owned():  # type: ignore[attr-defined]
        ALONE._at_fork_reinit()  # type: ignore[attr-defined]


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_reopen)
