"""What each way to run connections costs on a device: measured once for a device, and kept on disk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIDE = 16  # of a tile
TILED = SIDE * SIDE


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

    def rows(self, connections: float, samples: int) -> float:
        """Connections in the row kernels."""
        return self.row * connections * samples

    def tiles(self, count: float, samples: int) -> float:
        """So many tiles, whatever they hold."""
        return count * (self.tile * samples + self.copied * TILED)

    def block(self, pairs: float, samples: int) -> float:
        """A dense block of so many pairs of neurons."""
        return pairs * (self.dense * samples + self.copied) + self.called

    def fill(self, samples: int) -> float:
        """Connections from which a tile costs less than they do one by one."""
        return self.tiles(1, samples) / self.rows(1, samples)

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


ROWS = Costs(row=1.0, tile=1e9, dense=1e9, copied=0.0, called=0.0)  # with which everything runs by rows
given: Costs | None = None  # if not None these hold on whatever device; an emulated one is not measured


def of_device(dtype: np.dtype, precision: str) -> Costs:
    """The costs of networks of a dtype on the present device."""
    return ROWS if given is None else given
