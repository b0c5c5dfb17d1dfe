"""Locks of the whole process, which a forked child does not find shut by a thread that it does not have."""

from __future__ import annotations

import os
import threading


def process_lock() -> threading.RLock:
    """A lock that one thread at a time holds, as often as it likes; open in a child made by fork.

    Fork copies memory but only the thread that called it, so what another thread held would stay shut in the child.

    Examples
    --------
    >>> lock = process_lock()
    >>> with lock, lock:
    ...     pass
    """
    lock = threading.RLock()

    def reopen() -> None:
        if not lock._is_owned():  # type: ignore[attr-defined]
            lock._at_fork_reinit()  # type: ignore[attr-defined]

    if hasattr(os, "register_at_fork"):  # Windows has no fork
        os.register_at_fork(after_in_child=reopen)
    return lock
