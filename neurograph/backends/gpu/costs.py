"""What each way to run connections costs on a device: measured once for a device, and kept on disk."""

from __future__ import annotations

import os
import warnings
import zlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from .. import kept

SIDE = 16  # of a tile
TILED = SIDE * SIDE
FILE = "neurograph_gpu_costs.json"


@dataclass(frozen=True)
class Costs:
    """What a training step takes a device, in nanoseconds.

    Attributes
    ----------
    row : float
        The row kernels, a connection and sample.
    tile : float
        A tile of 16 x 16, a tile and sample.
    dense : float
        cuBLAS, a pair of neurons and sample.
    copied : float
        Bringing weights and gradients to and from tiles or matrices, a pair of neurons.
    called : float
        Whatever two layers joined by tiles or by a dense block cost beside.
    library : float
        cuSPARSE's product, forward alone, a connection and sample: for comparison, nothing runs on it. 0 if unknown.

    Examples
    --------
    >>> costs = Costs(row=1e-3, tile=0.03, dense=1e-4, copied=1e-3, called=20_000)
    >>> [costs.choose(density, 4096, 4096, 512) for density in (0.01, 0.05, 0.11, 1.0)]
    ['rows', 'rows', 'dense', 'dense']
    >>> costs.choose(0.1, 4096, 4096, 512, inside=1.0), costs.choose(1.0, 16, 16, 512)
    ('tiles', 'rows')
    """

    row: float
    tile: float
    dense: float
    copied: float
    called: float
    library: float = 0.0

    def rows(self, connections: Any, samples: int) -> Any:
        """So many connections in the row kernels; a number, or an array of them."""
        return self.row * connections * samples

    def tiles(self, count: Any, samples: int) -> Any:
        """So many tiles, whatever they hold."""
        return count * (self.tile * samples + self.copied * TILED)

    def block(self, pairs: Any, samples: int) -> Any:
        """A dense block of so many pairs of neurons."""
        return pairs * (self.dense * samples + self.copied) + self.called

    def fill(self, samples: int) -> float:
        """Connections from which a tile costs less than they do one by one."""
        return self.tiles(1, samples) / self.rows(1, samples)

    def least_samples(self, connections: float, tiles: float, pairs: float, calls: int) -> float:
        """Samples from which tiles and blocks are faster than rows with what they cost a step, whatever its batch.

        Parameters
        ----------
        connections : float
            How many run in tiles and blocks.
        tiles, pairs : float
            Tiles, and pairs of neurons in blocks.
        calls : int
            Pairs of layers that either join.
        """
        saved = self.row * connections - self.tile * tiles - self.dense * pairs
        beside = self.copied * (tiles * TILED + pairs) + self.called * calls
        return beside / saved if saved > 0 else float("inf")

    def choose(self, density: float, sources: int, targets: int, samples: int, inside: float = 0.0) -> str:
        """How connections between two layers are run: "rows", "tiles" or "dense".

        Parameters
        ----------
        density : float
            Share of the pairs that are connected.
        sources, targets : int
        samples : int
        inside : float
            Share of the connections that stand in full tiles of 16 x 16; the others are anywhere.
        """
        pairs = sources * targets
        connections = pairs * density
        full = connections * inside / TILED
        elsewhere = pairs / TILED - full
        scattered = connections * (1 - inside)
        each = scattered / elsewhere if elsewhere > 0 else 0.0
        left = self.tiles(elsewhere, samples) if each > self.fill(samples) else self.rows(scattered, samples)
        by = {
            "rows": self.rows(connections, samples),
            "tiles": self.tiles(full, samples) + left + self.called,
            "dense": self.block(pairs, samples),
        }
        return min(by, key=by.__getitem__)


ROWS = Costs(row=1.0, tile=1e9, dense=1e9, copied=0.0, called=0.0)  # with these everything runs by rows
given: Costs | None = None  # if not None these hold on whatever device: measuring an emulated one would tell nothing
_known: dict[str, Costs] = {}


def of_device(dtype: np.dtype, precision: str) -> Costs:
    """The costs of networks of a dtype on the present device: those on disk, or else measured and put there."""
    if given is not None:
        return given
    key = _key(dtype, precision)
    if key not in _known:
        _known[key] = _on_disk(key) or _measured(key, dtype, precision)
    return _known[key]


def _key(dtype: np.dtype, precision: str) -> str:
    """What the costs depend on."""
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())
    code = 0
    for source in sorted((Path(__file__).parent / "sources").glob("*.cu*")):
        code = zlib.crc32(source.read_bytes(), code)
    versions = cupy.cuda.runtime.runtimeGetVersion(), cupy.cuda.runtime.driverGetVersion()
    return " ".join(map(str, (properties["name"].decode(), *versions, code, np.dtype(dtype), precision)))


def _on_disk(key: str) -> Costs | None:
    found = kept.read(_folders(), FILE, key, [field.name for field in fields(Costs)], 1e12)
    return None if found is None else Costs(**found)


def _measured(key: str, dtype: np.dtype, precision: str) -> Costs:
    from .measure import measure

    try:
        costs = measure(dtype, precision)
    except Exception as error:  # rows run everywhere: what else fails must not keep networks from running
        warnings.warn(
            f"tiles and dense blocks are not used, for what they cost could not be measured ({error})",
            RuntimeWarning,
            stacklevel=2,
        )
        return ROWS
    kept.keep(_folders(), FILE, key, asdict(costs))
    return costs


def _folders() -> list[Path]:
    """Where the costs may be kept: where CuPy keeps what it compiled, for one."""
    return kept.folders(Path(os.environ.get("CUPY_CACHE_DIR") or Path("~/.cupy/kernel_cache").expanduser()))
