"""Whom neurograph is compared with: what they are called, and whether they are here."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..rows import NotHere

__all__ = ["PEERS", "Peer", "load", "missing", "python_of"]


@dataclass(frozen=True)
class Peer:
    """A library that is compared with.

    Attributes
    ----------
    module, distribution : str
        What it is called by ``import`` and by pip.
    install : str
        How to install it.
    elsewhere : bool
        Whether it may live in another Python, which the environment variable ``NEUROGRAPH_<MODULE>_PYTHON`` names.
    """

    module: str
    distribution: str
    install: str
    elsewhere: bool = False


PEERS = {
    peer.module: peer
    for peer in (
        Peer("torch", "torch", "pip install torch"),
        Peer("sklearn", "scikit-learn", "pip install scikit-learn"),
        Peer("sparse_dot_mkl", "sparse-dot-mkl", "pip install sparse-dot-mkl mkl"),
        Peer("sparselab", "sparselab", "pip install sparselab==0.2.2"),
        Peer("flydnet", "flydnet", "pip install flydnet"),
        Peer("neat", "neat-python", "pip install neat-python"),
        Peer("cupy", "cupy", 'pip install "neurograph[gpu]"'),
        Peer("connex", "connex", "pip install connex optax (Python 3.12 or later)", elsewhere=True),
    )
}


def missing(needs: Iterable[str]) -> str | None:
    """Why a row cannot run here: the first peer that is not installed, and how to install it.

    Examples
    --------
    >>> missing([]) is None
    True
    """
    for name in needs:
        peer = PEERS[name]
        if importlib.util.find_spec(peer.module) is None and not (peer.elsewhere and os.environ.get(_variable(peer))):
            return f"{peer.distribution} not installed: {peer.install}"
    return None


def load(needs: Iterable[str]) -> None:
    """Import peers, so that what they load does not count as memory of the work.

    Raises
    ------
    NotHere
        One is installed but cannot be imported.
    """
    for name in needs:
        peer = PEERS[name]
        if peer.elsewhere:
            continue
        if name == "sparse_dot_mkl":
            _point_to_mkl()
        try:
            importlib.import_module(name)
        except (ImportError, OSError) as error:
            raise NotHere(f"{peer.distribution} cannot be imported ({error}); {peer.install}") from error


def python_of(name: str) -> str:
    """The Python that a peer lives in, which need not be this one."""
    return os.environ.get(_variable(PEERS[name])) or sys.executable


def _variable(peer: Peer) -> str:
    return f"NEUROGRAPH_{peer.module.upper()}_PYTHON"


def _point_to_mkl() -> None:
    # pip puts MKL where the loader does not look in a virtual environment.
    found = sorted(Path(sys.prefix, "lib").glob("libmkl_rt.so*"))
    if found:
        os.environ.setdefault("MKL_RT", str(found[-1]))
