// Tiles of 16 x 16: the weights between 16 sources and 16 targets, of which some or all are connected.
//
// A neuron's seat is group * 16 + its place in the group. Cell t * 16 + s of a tile belongs to target t and source s:
// `place` has the connection's slot, or -1, and one of the tile's 256 bits of `mask` is set where there is one.
// Tiles are listed twice, by the group at either end: entries begin[g] .. begin[g + 1] - 1 name the group at the far
// end, ascending, and the number of the tile.
#pragma once

constexpr int SIDE = 16, CELLS = 256, WORDS = 4;

// Tile between a group and the one at the far end, -1 if there is none.
__device__ inline int find_tile(const long long* begin, const int* far, const int* tile, int own, int other) {
    long long low = begin[own], high = begin[own + 1], end = high;
    while (low < high) {
        long long middle = (low + high) / 2;
        if (far[middle] < other)
            low = middle + 1;
        else
            high = middle;
    }
    return low < end && far[low] == other ? tile[low] : -1;
}

__device__ inline bool is_set(const unsigned long long* mask, int tile, int cell) {
    return mask[tile * (long long)WORDS + cell / 64] >> (cell % 64) & 1;
}
