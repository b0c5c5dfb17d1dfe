// How the layout of buckets.py keeps the entries of rows: sorted by tile, each (row, tile) a segment of whole groups.
//
//     place 4 q + s of a group  =  step s of quarter q of a warp  =  entry 4 s + q of those that the group holds
//
// An entry names a row of its tile, counted from 1: row 0 of a staged tile is all zeros, for places without an entry.
// (A weight of zero alone would not do, where a row holds infinities.)
#pragma once

constexpr int GROUP = 16;  // entries
constexpr unsigned ALL = 0xFFFFFFFFu;

__device__ __forceinline__ int place_in_group(int entry) { return entry % 4 * 4 + entry % GROUP / 4; }
