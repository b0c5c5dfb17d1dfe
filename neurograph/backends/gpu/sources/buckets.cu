// Entries of rows sorted by tile, and the columns of the connections in their order.
#include <cuda_bf16.h>

#include "buckets.cuh"

// Gradients of the weights: the sums of their dots over all slabs, always in the same order.
__global__ void bucket_gradients(const float* __restrict__ dots, long long places, int slabs,
                                 const int* __restrict__ slots, float* grad, bool add) {
    const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
    for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < places; i += stride) {
        const int slot = slots[i];
        if (slot < 0) continue;
        float sum = add ? grad[slot] : 0.0f;
        for (int s = 0; s < slabs; ++s) sum += dots[s * places + i];
        grad[slot] = sum;
    }
}

// The weights by place; zero where no entry is.
__global__ void bucket_weights(const int* __restrict__ slots, const float* __restrict__ weight, long long places,
                               float* weights) {
    const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
    for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < places; i += stride)
        weights[i] = slots[i] < 0 ? 0.0f : weight[slots[i]];
}

// Some rows of float as rows of bfloat16, rounded to nearest, with zeros behind the `batch`. One warp for each row.
__global__ void round_rows(const float* __restrict__ x, long long ld, const int* __restrict__ slots, int n_slots,
                           int batch, __nv_bfloat16* out, long long out_ld) {
    const int lane = threadIdx.x % 32, row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (row >= n_slots) return;
    const float* from = x + slots[row] * ld;
    __nv_bfloat162* to = reinterpret_cast<__nv_bfloat162*>(out + slots[row] * out_ld);
    for (int column = 2 * lane; column < out_ld; column += 64)
        to[column / 2] = __floats2bfloat162_rn(column < batch ? from[column] : 0.0f,
                                               column + 1 < batch ? from[column + 1] : 0.0f);
}

// Which neurons some rows name: 1 in `used`. One warp a row.
__global__ void mark_others(const long long* __restrict__ start, const int* __restrict__ length,
                            const int* __restrict__ other, const int* __restrict__ rows, int n_rows, int* used) {
    const int lane = threadIdx.x % 32, row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (row >= n_rows) return;
    const int slot = rows[row];
    for (int k = lane; k < length[slot]; k += 32) used[other[start[slot] + k]] = 1;
}

// The lanes whose value, of so many bits, is this lane's.
__device__ __forceinline__ unsigned lanes_alike(int value, int bits) {
    unsigned alike = ALL;
    for (int b = 0; b < bits; ++b) {
        const unsigned ones = __ballot_sync(ALL, value >> b & 1);
        alike &= value >> b & 1 ? ones : ~ones;
    }
    return alike;
}

// Sort the entries of some rows (`which` of them) into their segments, each row within its own groups, which are
// groups[row] .. groups[row + 1] - 1; entries of a segment stand in the order in which the row has them. One warp for
// each row.
__global__ void sort_rows(const long long* __restrict__ start, const int* __restrict__ length,
                            const int* __restrict__ other, const int* __restrict__ slot,
                            const int* __restrict__ rows, const int* __restrict__ which, int n_which,
                            const int* __restrict__ number, const int* __restrict__ groups, int tiles, int tile_rows,
                            int* firsts, int* counts, unsigned short* locals, int* slots) {
    const int lane = threadIdx.x % 32, k = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (k >= n_which) return;
    const int row = which[k], neuron = rows[row], entries = length[neuron];
    const long long begin = start[neuron], segments = static_cast<long long>(row) * tiles;
    const long long end = static_cast<long long>(groups[row + 1]) * GROUP;
    for (int t = lane; t < tiles; t += 32) counts[segments + t] = 0;
    for (long long i = static_cast<long long>(groups[row]) * GROUP + lane; i < end; i += 32) {
        locals[i] = 0;
        slots[i] = -1;
    }
    __syncwarp();
    for (int e = lane; e < entries; e += 32) atomicAdd(counts + segments + number[other[begin + e]] / tile_rows, 1);
    __syncwarp();
    if (lane == 0) {
        int group = groups[row];
        for (int t = 0; t < tiles; ++t) {
            firsts[segments + t] = group;
            group += (counts[segments + t] + GROUP - 1) / GROUP;
            counts[segments + t] = 0;
        }
    }
    __syncwarp();
    const int bits = 32 - __clz(tiles);
    for (int e = lane; e - lane < entries; e += 32) {
        const int at = e < entries ? number[other[begin + e]] : tiles * tile_rows;
        const int tile = at / tile_rows;
        const unsigned alike = lanes_alike(tile, bits), before = alike & ((1u << lane) - 1);
        const int placed = tile < tiles ? counts[segments + tile] : 0;
        __syncwarp();
        if (tile < tiles) {
            if (before == 0) counts[segments + tile] = placed + __popc(alike);
            const int i = placed + __popc(before);
            const long long place =
                static_cast<long long>(firsts[segments + tile] + i / GROUP) * GROUP + place_in_group(i);
            locals[place] = static_cast<unsigned short>(at % tile_rows + 1);
            slots[place] = slot[begin + e];
        }
        __syncwarp();
    }
}
