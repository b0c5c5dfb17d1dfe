"""Shared parameters on the device: what `neurograph.graph.sharing.Sharing` does before and after a pass.

The gradients of a parameter's tenants are added up in double precision, in an order that only the tenants' slots
decide: by a warp for each `CHUNK` of them, and then chunk by chunk. So every run gives the same bits, with no atomics.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cupy
import numpy as np

from .launch import THREADS, blocks_for
from .module import REALS, Family

SPREAD = Family("sharing.cu", "spread", REALS)
ADD_TENANTS = Family("sharing.cu", "add_tenants", REALS)
ADD_CHUNKS = Family("sharing.cu", "add_chunks", REALS)
CHUNK = 1024
WARPS = THREADS // 32


class Tenants(NamedTuple):
    """Who shares which parameter, sorted by parameter and then by slot; to be made anew when the key column changes."""

    slot: Any  # int32, one a tenant
    start: Any  # int64, one a parameter and one more: where its tenants begin
    first_chunk: Any  # int32, likewise: its tenants in chunks of `size`
    parameter_of_chunk: Any  # int32
    n_chunks: int
    n_parameters: int
    size: int
    each_one: bool  # whether every parameter has one chunk
    partials: Any  # float64, room for the sum of each chunk


def spread(key: Any, shared: Any, own: Any) -> None:
    """``own[i] = shared[key[i] - 1]`` wherever ``key[i]`` is not 0."""
    if key.size:
        SPREAD(own.dtype)((blocks_for(key.size),), (THREADS,), (key, shared, own, np.int64(key.size)))


def tenants_of(key: Any, n_parameters: int, size: int = CHUNK) -> Tenants:
    """Sort the tenants of ``n_parameters`` parameters; ``key`` is the int32 column of the device."""
    numbers = cupy.arange(key.size, dtype=np.int64)
    sorted_keys = cupy.sort((key.astype(np.int64) << 32) | numbers)  # all different: any way of sorting gives the same
    start = cupy.searchsorted(sorted_keys, cupy.arange(1, n_parameters + 2, dtype=np.int64) << 32)
    own = int(start[0])  # so many have a value of their own
    slot = (sorted_keys[own:] & 0xFFFFFFFF).astype(np.int32)
    start = start.astype(np.int64) - own
    chunks = (start[1:] - start[:-1] + (size - 1)) // size
    first_chunk = cupy.zeros(n_parameters + 1, np.int64)
    first_chunk[1:] = cupy.cumsum(chunks)
    n_chunks = int(first_chunk[-1])
    of_chunk = cupy.searchsorted(first_chunk, cupy.arange(n_chunks, dtype=np.int64), side="right") - 1
    each_one = n_chunks == n_parameters and bool((chunks == 1).all())
    first_chunk, of_chunk = first_chunk.astype(np.int32), of_chunk.astype(np.int32)
    return Tenants(slot, start, first_chunk, of_chunk, n_chunks, n_parameters, size, each_one, cupy.empty(n_chunks))


def collect(tenants: Tenants, own: Any, shared: Any) -> None:
    """``shared[r]`` becomes the sum of ``own`` over the tenants of row r, 0 where it has none."""
    if tenants.n_chunks:
        of_tenants = (
            tenants.slot, tenants.start, tenants.first_chunk, tenants.parameter_of_chunk, np.int32(tenants.n_chunks),
            np.int32(tenants.size), own, tenants.partials, shared,
        )  # fmt: skip
        ADD_TENANTS(own.dtype)((blocks_for(tenants.n_chunks, WARPS),), (THREADS,), of_tenants)
    if tenants.n_parameters and not tenants.each_one:
        of_chunks = tenants.first_chunk, np.int32(tenants.n_parameters), tenants.partials, shared
        ADD_CHUNKS(own.dtype)((blocks_for(tenants.n_parameters, WARPS),), (THREADS,), of_chunks)
