"""Tiles of 16 x 16 connections on the device: filled partly or wholly, run as small matrices.

What block pruning leaves are full tiles (a block of 32 x 32 is four of them); where connections stand close enough, a
tile that is filled partly costs less than its connections one by one do. A mask of 256 bits tells which cells of a tile
are connected: absent ones are exact zeros for the products, and nobody writes gradients for them. Every sum is formed
by one warp in a fixed order, so results do not depend on the launch.
"""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from .mirror import Rows
from .module import REALS, Family

SIDE, CELLS, WORDS = 16, 256, 4
SAMPLES = 64  # samples are padded to a multiple of, where values are packed
PART = 4  # tiles whose gradients one warp computes
WARPS = 4  # of each block
ENOUGH = 1024  # warps from which each has 64 samples and not 16

PACKED = (np.float32, np.uint16)  # tf32, bf16
PLACE = Family("tiles.cu", "place_tiles")
PATCH = Family("tiles.cu", "patch_tiles")
GATHER = Family("tiles.cu", "gather_tiles", REALS)
MULTIPLY = Family("tiles.cu", "multiply_plain", REALS, (False, True))
GRADIENT = Family("tiles.cu", "gradient_plain", REALS)
PACK = Family("tensor.cu", "pack", PACKED)
GATHER_PACKED = Family("tensor.cu", "gather_packed", PACKED)
MULTIPLY_PACKED = Family("tensor.cu", "multiply_packed", PACKED, (1, 4))
GRADIENT_PACKED = Family("tensor.cu", "gradient_packed", PACKED)

# What the products are computed in: None for the type of the network, or the type that values are packed as.
PRECISIONS: dict[str, Any] = {"float32": None, "tf32": np.dtype(np.float32), "bf16": np.dtype(np.uint16)}


def launch(kernel: Any, warps: int, *arguments: Any, parts: int = 1) -> None:
    """Run a kernel on so many warps, four a block, times ``parts`` along y."""
    if warps:
        kernel(((warps + WARPS - 1) // WARPS, parts), (32 * WARPS,), arguments)


class Tiles:
    """Which tiles there are, between which groups of neurons, and which connection is where.

    Parameters
    ----------
    neurons : int
        Neuron slots.
    members : ndarray of int32, shape (groups, 16)
        Neuron slots of each group, -1 behind the last. Nobody is in two groups.
    sources, targets : ndarray
        Groups that each tile joins; no pair comes twice.

    Attributes
    ----------
    seat : device array of int32
        Of each neuron slot, group * 16 + its place in it; -1 for those in no group.
    by_target, by_source : tuple of device arrays
        Where the tiles of each group begin, the groups at their far ends, ascending, and their numbers.
    place : device array of int32
        Of each cell (target * 16 + source) of each tile, the slot of its connection or -1.
    mask : device array of uint64
        The cells that are connected, as four words a tile.
    """

    def __init__(self, neurons: int, members: np.ndarray, sources: np.ndarray, targets: np.ndarray):
        groups = len(members)
        order = np.lexsort((sources, targets))
        source, target = (np.asarray(end)[order].astype(np.int32) for end in (sources, targets))
        self.count, self.groups = len(order), groups
        seats = np.full(neurons, -1, np.int32)
        inside = members.ravel() >= 0
        seats[members.ravel()[inside]] = np.flatnonzero(inside)
        self.seat, self.members = cupy.asarray(seats), cupy.asarray(np.ascontiguousarray(members, np.int32).ravel())
        self.target, self.source = cupy.asarray(target), cupy.asarray(source)
        backward = np.lexsort((target, source)).astype(np.int32)
        self.by_target = _listed(groups, target, source, np.arange(self.count, dtype=np.int32))
        self.by_source = _listed(groups, source[backward], target[backward], backward)
        self.place = cupy.full(self.count * CELLS, -1, np.int32)
        self.mask = cupy.zeros(self.count * WORDS, np.uint64)
        self._parts = cupy.asarray(_parts(target))

    @property
    def parts(self) -> Any:
        """The first tile of each share of up to four with the same targets, and the end."""
        return self._parts

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        lists = (self.seat, self.members, self.target, self.source, *self.by_target, *self.by_source)
        return sum(a.nbytes for a in (*lists, self.place, self.mask, self._parts))

    def enter(self, targets: Any, incoming: Rows) -> None:
        """Look up the connections of some targets, a device array of int32, that are in tiles."""
        given = *incoming, self.seat, *self.by_target, self.place, self.mask
        launch(PLACE(), len(targets), targets, np.int32(len(targets)), *given)

    def patch(self, sources: Any, targets: Any, incoming: Rows) -> None:
        """Look again at pairs of neurons, device arrays of int32, whose connections came, went or moved."""
        given = *incoming, self.seat, *self.by_target, self.place, self.mask
        launch(PATCH(), len(sources), sources, targets, np.int32(len(sources)), *given)


def _listed(groups: int, own: np.ndarray, far: np.ndarray, number: np.ndarray) -> tuple[Any, Any, Any]:
    begin = np.searchsorted(own, np.arange(groups + 1)).astype(np.int64)
    return cupy.asarray(begin), cupy.asarray(np.ascontiguousarray(far)), cupy.asarray(number)


def _parts(target: np.ndarray) -> np.ndarray:
    if not len(target):
        return np.zeros(1, np.int32)
    first = np.flatnonzero(np.diff(target, prepend=-1))  # the first tile of each group
    within = np.arange(len(target)) - np.repeat(first, np.diff(first, append=len(target)))
    return np.append(np.flatnonzero(within % PART == 0), len(target)).astype(np.int32)


def padded(ld: int) -> int:
    """Samples of what is packed, for rows of so many numbers.

    Examples
    --------
    >>> padded(4), padded(64), padded(68)
    (64, 64, 128)
    """
    return -(-ld // SAMPLES) * SAMPLES


class Products:
    """The products of one pass: weights as tiles, and what they multiply in the precision of the pass.

    Parameters
    ----------
    tiles : Tiles
    dtype : dtype
        Of the network.
    ld : int
        Numbers of each row of activations: the samples, and zeros up to a multiple of four.
    precision : {"float32", "tf32", "bf16"}
        float32 is the type of the network, without tensor cores; the others are for networks in float32.
    """

    def __init__(self, tiles: Tiles, dtype: np.dtype, ld: int, precision: str = "float32"):
        self.tiles, self.dtype, self.ld, self.packed = tiles, np.dtype(dtype), ld, PRECISIONS[precision]
        self.padded = padded(ld)
        self.weights = cupy.empty(tiles.count * CELLS, self.packed or self.dtype)
        self._values: Any = None
        self._deltas: Any = None

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return self.weights.nbytes + sum(a.nbytes for a in (self._values, self._deltas) if a is not None)

    def load(self, weight: Any, forward: bool) -> None:
        """Bring the weights, a column, into tiles for `forward` or for `backward`."""
        tiles, turned = self.tiles, forward
        kernel = GATHER(self.dtype)
        if self.packed is not None:  # tensor cores want the terms of a sum side by side, the plain loops the sums
            kernel, turned = GATHER_PACKED(self.packed), not forward
        launch(
            kernel, tiles.count, np.int32(tiles.count), tiles.place, tiles.mask, weight, np.bool_(turned), self.weights
        )

    def pack(self, lo: int, hi: int, rows: Any, delta: bool = False) -> None:
        """Take over the rows of the groups ``lo`` to ``hi``, which are final now: activations, or deltas."""
        if self.packed is None or lo == hi:
            return
        out = self._room(delta)
        grid = hi - lo, self.padded // SAMPLES
        given = np.int32(lo), np.int32(hi), self.tiles.members, rows, np.int32(self.ld), np.int32(self.padded), out
        PACK(self.packed)(grid, (256,), given)

    def _room(self, delta: bool) -> Any:
        held = self._deltas if delta else self._values
        if held is None:
            held = cupy.empty(self.tiles.groups * self.padded * SIDE, self.packed)
            if delta:
                self._deltas = held
            else:
                self._values = held
        return held

    def forward(self, lo: int, hi: int, acts: Any, begun: Any) -> None:
        """Write what groups ``lo`` to ``hi`` get through tiles to their rows, or add where they have ``begun``."""
        self._multiply(lo, hi, self.tiles.by_target, acts, begun, False)

    def backward(self, lo: int, hi: int, delta: Any, begun: Any) -> None:
        """Write what groups ``lo`` to ``hi`` get back through tiles to their rows, or add where they have ``begun``."""
        self._multiply(lo, hi, self.tiles.by_source, delta, begun, True)

    def _multiply(self, lo: int, hi: int, lists: tuple[Any, ...], rows: Any, begun: Any, delta: bool) -> None:
        count, ends = hi - lo, (np.int32(lo), np.int32(hi))
        given = *ends, *lists, self.tiles.members, begun, self.weights
        if self.packed is None:
            wide = self.ld > 32
            columns = 32 * (16 // self.dtype.itemsize if wide else 1)
            kernel, parts = MULTIPLY(self.dtype, wide), -(-self.ld // columns)
            launch(kernel, count, *given, rows, rows, np.int32(self.ld), parts=parts)
            return
        width = 4 if count * (self.padded // SAMPLES) >= ENOUGH else 1
        parts = self.padded // SAMPLES if width == 4 else -(-self.ld // 16)
        tail = self._room(delta), np.int32(self.padded), rows, np.int32(self.ld)
        grid = (count + 2 * WARPS - 1) // (2 * WARPS), parts
        MULTIPLY_PACKED(self.packed, width)(grid, (64 * WARPS,), (*given, *tail))

    def gradient(self, acts: Any, delta: Any, add: bool, grad: Any) -> None:
        """The gradients of all connections in tiles, written to the column or added."""
        tiles = self.tiles
        ends = tiles.target, tiles.source
        if self.packed is None:
            given = np.int32(tiles.count), *ends, tiles.members, tiles.place, tiles.mask, acts, delta
            launch(GRADIENT(self.dtype), tiles.count, *given, np.int32(self.ld), np.bool_(add), grad)
            return
        parts = len(tiles.parts) - 1
        given = np.int32(parts), tiles.parts, *ends, tiles.place, tiles.mask, self._room(False), self._room(True)
        launch(GRADIENT_PACKED(self.packed), parts, *given, np.int32(self.padded), np.bool_(add), grad)
