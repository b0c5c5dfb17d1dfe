// What forward and backward share: how a warp's lanes are dealt out, and sums over them in a fixed order.
//
// LANES lanes, of four samples each, hold one piece of a row; the 32 / LANES groups of a warp take different connections
// of the same neuron, and their sums are added in the end.
#pragma once

constexpr unsigned ALL = 0xffffffffu;

// The sum over the groups of a warp; every lane gets the same bits.
template <typename T, int LANES>
__device__ inline void add_groups(Four<T>& sum) {
#pragma unroll
    for (int offset = LANES; offset < 32; offset *= 2) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sum.at[i] += __shfl_xor_sync(ALL, sum.at[i], offset);
    }
}

// The sum over the lanes of a group; every lane gets the same bits.
template <typename T, int LANES>
__device__ inline T add_lanes(T value) {
#pragma unroll
    for (int offset = 1; offset < LANES; offset *= 2) value += __shfl_xor_sync(ALL, value, offset);
    return value;
}
