// Products of tiles on the tensor cores, in bf16 or tf32, added up in float32.
//
// What tiles multiply is packed before: values[(group * padded + sample) * 16 + member], in the type of tensor cores,
// zeros where a group has fewer than 16 members and behind the last sample, so that the 16 members of a group at 16
// samples are one piece of memory. `padded` is a multiple of 64 samples.
#include <cuda_bf16.h>
#include <mma.h>

#include "tiles.cuh"

using namespace nvcuda;

template <typename E>
struct Core;  // the type as tensor cores see it, and how many terms they add at once
template <>
struct Core<__nv_bfloat16> {
    using type = __nv_bfloat16;
    static constexpr int TERMS = 16;
    __device__ static __nv_bfloat16 of(float x) { return __float2bfloat16(x); }
};
template <>
struct Core<float> {
    using type = wmma::precision::tf32;
    static constexpr int TERMS = 8;
    __device__ static float of(float x) { return wmma::__float_to_tf32(x); }
};

template <typename E, typename Layout>
using Left = wmma::fragment<wmma::matrix_a, 16, 16, Core<E>::TERMS, typename Core<E>::type, Layout>;
template <typename E, typename Layout>
using Right = wmma::fragment<wmma::matrix_b, 16, 16, Core<E>::TERMS, typename Core<E>::type, Layout>;
template <typename E>
using Sum = wmma::fragment<wmma::accumulator, 16, 16, Core<E>::TERMS, float>;

// Pack the rows of groups lo .. hi - 1; a block has one group and 64 samples.
template <typename E>
__global__ void pack(int lo, int hi, const int* members, const float* rows, int ld, int padded, E* out) {
    __shared__ float piece[SIDE][64 + 1];
    int group = lo + blockIdx.x, first = blockIdx.y * 64;
    for (int i = threadIdx.x; i < SIDE * 64; i += blockDim.x) {
        int row = members[group * SIDE + i / 64], sample = first + i % 64;
        piece[i / 64][i % 64] = row >= 0 && sample < ld ? rows[row * (long long)ld + sample] : 0.0f;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < SIDE * 64; i += blockDim.x)
        out[((long long)group * padded + first) * SIDE + i] = Core<E>::of(piece[i % SIDE][i / SIDE]);
}

// The weights of tiles in the type of the tensor cores; see `gather_tiles`.
template <typename E>
__global__ void gather_packed(int count, const int* place, const unsigned long long* mask, const float* weight,
                              bool turned, E* out) {
    int tile = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
    if (tile >= count) return;
    for (int at = lane; at < CELLS; at += 32) {
        int cell = turned ? at % SIDE * SIDE + at / SIDE : at;
        float value = is_set(mask, tile, cell) ? weight[place[tile * (long long)CELLS + cell]] : 0.0f;
        out[tile * (long long)CELLS + at] = Core<E>::of(value);
    }
}

// out[row of own member, sample] = (or +=, where a group has `begun`) the sum over tiles of weight * value. A warp has
// one group and WIDTH x 16 samples; the weights of a tile go own member after own member.
template <typename E, int WIDTH>
__global__ void multiply_packed(int lo, int hi, const long long* begin, const int* far, const int* tile,
                                const int* members, const signed char* begun, const E* weights, const E* values,
                                int padded, float* out, int ld) {
    constexpr int WARPS = 8, TERMS = Core<E>::TERMS;  // groups beside each other often read the same values
    __align__(32) __shared__ float pieces[WARPS][CELLS];
    int number = threadIdx.x / 32, lane = threadIdx.x % 32, group = lo + blockIdx.x * WARPS + number;
    if (group >= hi || begin[group] == begin[group + 1]) return;  // whole warps, and none of them waits for another
    int first = blockIdx.y * WIDTH * 16;
    Sum<E> sum[WIDTH];
#pragma unroll
    for (int j = 0; j < WIDTH; j++) wmma::fill_fragment(sum[j], 0.0f);
    for (long long e = begin[group]; e < begin[group + 1]; e++) {
        const E* w = weights + tile[e] * (long long)CELLS;
        const E* x = values + ((long long)far[e] * padded + first) * SIDE;
#pragma unroll
        for (int k = 0; k < SIDE; k += TERMS) {
            Left<E, wmma::row_major> a;
            wmma::load_matrix_sync(a, w + k, SIDE);
#pragma unroll
            for (int j = 0; j < WIDTH; j++) {
                Right<E, wmma::col_major> b;
                wmma::load_matrix_sync(b, x + j * 16 * SIDE + k, SIDE);
                wmma::mma_sync(sum[j], a, b, sum[j]);
            }
        }
    }
    float* piece = pieces[number];
    bool add = begun[group];
    int row = members[group * SIDE + lane / 2];
#pragma unroll
    for (int j = 0; j < WIDTH; j++) {
        wmma::store_matrix_sync(piece, sum[j], 16, wmma::mem_row_major);
        __syncwarp();
        for (int i = 0; i < 8; i += 4) {
            int part = lane % 2 * 8 + i, column = first + j * 16 + part;
            if (row >= 0 && column < ld) {
                float4 value = *reinterpret_cast<const float4*>(piece + lane / 2 * 16 + part);
                float4* at = reinterpret_cast<float4*>(out + row * (long long)ld + column);
                if (add) {
                    float4 before = *at;
                    value.x += before.x, value.y += before.y, value.z += before.z, value.w += before.w;
                }
                *at = value;
            }
        }
        __syncwarp();
    }
}

// grad[slot] = (or +=) the sum over samples of delta * value, for the cells of tiles that are connected. A warp has the
// tiles part[i] .. part[i + 1] - 1, at most 4, which lead to the same targets.
template <typename E>
__global__ void __launch_bounds__(128)
    gradient_packed(int parts, const int* part, const int* tile_target, const int* tile_source,
                                const int* place, const unsigned long long* mask, const E* values, const E* deltas,
                                int padded, bool add, float* grad) {
    constexpr int WARPS = 4, MOST = 4, TERMS = Core<E>::TERMS;
    __align__(32) __shared__ float pieces[WARPS][CELLS];
    int number = threadIdx.x / 32, lane = threadIdx.x % 32, own = blockIdx.x * WARPS + number;
    if (own >= parts) return;  // whole warps, and none of them waits for another
    int tile = part[own], count = part[own + 1] - tile;
    const E* d = deltas + (long long)tile_target[tile] * padded * SIDE;
    const E* x[MOST];
    Sum<E> sum[MOST];
#pragma unroll
    for (int j = 0; j < MOST; j++) {
        x[j] = values + (long long)tile_source[tile + min(j, count - 1)] * padded * SIDE;
        wmma::fill_fragment(sum[j], 0.0f);
    }
    for (int sample = 0; sample < padded; sample += TERMS) {
        Left<E, wmma::col_major> a;
        wmma::load_matrix_sync(a, d + sample * SIDE, SIDE);
#pragma unroll
        for (int j = 0; j < MOST; j++)
            if (j < count) {
                Right<E, wmma::row_major> b;
                wmma::load_matrix_sync(b, x[j] + sample * SIDE, SIDE);
                wmma::mma_sync(sum[j], a, b, sum[j]);
            }
    }
    float* piece = pieces[number];
#pragma unroll
    for (int j = 0; j < MOST; j++) {
        if (j >= count) break;
        wmma::store_matrix_sync(piece, sum[j], 16, wmma::mem_row_major);
        __syncwarp();
        for (int cell = lane; cell < CELLS; cell += 32)
            if (is_set(mask, tile + j, cell)) {
                int slot = place[(tile + j) * (long long)CELLS + cell];
                grad[slot] = add ? grad[slot] + piece[cell] : piece[cell];
            }
        __syncwarp();
    }
}
