"""Figures that were measured once, for a machine or a device, and are kept as JSON."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any


def folders(*beside: Path) -> list[Path]:
    """Where figures may be kept, the best place first: where someone says, ``beside`` what is compiled, or at home."""
    if chosen := os.environ.get("NEUROGRAPH_CACHE_DIR"):
        return [Path(chosen)]
    return [*beside, Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "neurograph"]


def read(places: Sequence[Path], file: str, key: str, names: Sequence[str], most: float) -> dict[str, float] | None:
    """The figures under a key, if any file has them whole: of these names, and from 0 to ``most``."""
    for folder in places:
        with suppress(OSError, ValueError, KeyError, TypeError):
            found = json.loads((folder / file).read_text())[key]
            if found.keys() == set(names) and all(isinstance(x, float) and 0 <= x < most for x in found.values()):
                return found
    return None


def keep(places: Sequence[Path], file: str, key: str, figures: dict[str, float]) -> None:
    """Put figures into the first place that can be written, beside those of other keys; if none can, nowhere."""
    for folder in places:
        with suppress(OSError):
            _write(folder / file, key, figures)
            return


def _write(file: Path, key: str, figures: dict[str, float]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    known: Any = {}
    with suppress(OSError, ValueError):
        known = json.loads(file.read_text())
    if not isinstance(known, dict):
        known = {}
    # Another process may read at any time: the file is replaced whole.
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=file.name)
    try:
        with os.fdopen(descriptor, "w") as out:
            json.dump(known | {key: figures}, out, indent=1)
        os.replace(name, file)
    except OSError:
        with suppress(OSError):
            os.unlink(name)
        raise
