"""Compiling for this machine, with a cache on disk where there is a place for one."""

import sys

import numba
from numba.core import event

CURE = "set NUMBA_CACHE_DIR to a folder that can be written"


class _Announcement(event.Listener):
    """Says, once a process, why the first call takes so long; numba reports compiling, not loading from disk."""

    def __init__(self):
        self.said = False
        self.kept = True

    def on_start(self, event):
        if self.said:
            return
        compiled = getattr(event.data.get("dispatcher"), "py_func", None)
        if str(getattr(compiled, "__module__", None)).startswith("neurograph."):  # a function may have no module
            self.said = True
            future = "they are kept on disk for the next time"
            if not self.kept:
                future = f"no cache folder can be written, so every process has to: {CURE}"
            _say(f"compiling kernels for this machine; {future}")

    def on_end(self, event):
        pass

    def not_kept(self, error):
        """Say once that what was compiled is lost with the process."""
        if self.kept:
            _say(f"compiled kernels could not be kept on disk ({error}); {CURE}")
        self.kept = False


def _say(message):
    print(f"neurograph: {message}", file=sys.stderr)


announcement = _Announcement()
event.register("numba:compile", announcement)


def njit(function, **options):
    """``numba.njit`` that keeps its work on disk if it can, and works if it cannot.

    Numba itself refuses to define a function when neither the package's folder, nor the user's, nor NUMBA_CACHE_DIR can
    be written, and gives up a call when the disk is full.
    """
    try:
        compiled = numba.njit(function, cache=True, **options)
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        announcement.kept = False
        return numba.njit(function, **options)
    cache = getattr(compiled, "_cache", None)  # a plain function where the compiler is switched off
    if cache is not None:
        save = cache.save_overload

        def save_if_possible(signature, data):
            try:
                save(signature, data)
            except OSError as error:
                announcement.not_kept(error)

        cache.save_overload = save_if_possible
    return compiled
