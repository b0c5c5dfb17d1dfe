// Products of the weights between one generation and the neurons it shares, with the shared rows in shared memory.
//
// A row gathered from the L2 cache costs four bytes for two operations, and that cache gives too few of them. Where many
// rows read the same ones (targets the sources of a layer, sources its targets), a block copies a tile of those, 128
// bytes of each, into its shared memory, and runs its share of the rows over the tile before it copies the next.
//
// The layout ("buckets", see staged.py): the entries of each row sorted by tile, each (row, tile) a segment of whole
// groups of 16. The eight lanes of a quarter warp hold the 128 bytes of one entry's row, so a warp runs four entries at
// a time, four times a group; quarter q reads its four of a group as one vector:
//     memory 4 q + s  =  step s of quarter q  =  entry 4 s + q of the group.
// An entry names a row of the tile, counted from 1: row 0 is all zeros, for places without an entry (a weight of zero
// alone would not do, where a row holds infinities). The sums of a warp's rows stay in registers from tile to tile.
#include <cuda_bf16.h>

#include "launch.cuh"
#include "neuron.cuh"

constexpr int LANES = 8;   // for one entry
constexpr int GROUP = 16;  // entries
constexpr unsigned ALL = 0xFFFFFFFFu;

// What a lane holds of a row: sixteen bytes.
template <typename T>
struct Piece {
    static constexpr int COLUMNS = 16 / sizeof(T);
};

__device__ __forceinline__ void widen(const uint4& bits, float (&value)[4]) {
    value[0] = __uint_as_float(bits.x);
    value[1] = __uint_as_float(bits.y);
    value[2] = __uint_as_float(bits.z);
    value[3] = __uint_as_float(bits.w);
}

// A bfloat16 is the upper half of a float.
__device__ __forceinline__ void widen(const uint4& bits, float (&value)[8]) {
    const unsigned words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        value[2 * i] = __uint_as_float(words[i] << 16);
        value[2 * i + 1] = __uint_as_float(words[i] & 0xFFFF0000u);
    }
}

__device__ __forceinline__ void store(float* row, const float (&value)[4]) {
    *reinterpret_cast<float4*>(row) = make_float4(value[0], value[1], value[2], value[3]);
}

__device__ __forceinline__ void store(float* row, const float (&value)[8]) {
    reinterpret_cast<float4*>(row)[0] = make_float4(value[0], value[1], value[2], value[3]);
    reinterpret_cast<float4*>(row)[1] = make_float4(value[4], value[5], value[6], value[7]);
}

__device__ __forceinline__ unsigned halves(float low, float high) {
    return static_cast<unsigned>(__bfloat16_as_ushort(__float2bfloat16(low))) |
           static_cast<unsigned>(__bfloat16_as_ushort(__float2bfloat16(high))) << 16;
}

__device__ __forceinline__ void store(__nv_bfloat16* row, const float (&value)[8]) {
    *reinterpret_cast<uint4*>(row) = make_uint4(halves(value[0], value[1]), halves(value[2], value[3]),
                                                halves(value[4], value[5]), halves(value[6], value[7]));
}

// Copy a tile's rows, the block's columns of them, behind the row of zeros.
template <typename T>
__device__ __forceinline__ void stage(const T* __restrict__ x, long long ld, const int* __restrict__ others, int count,
                                      int column, uint4* tile) {
    constexpr int COLUMNS = Piece<T>::COLUMNS;
    if (threadIdx.x < LANES) tile[threadIdx.x] = make_uint4(0, 0, 0, 0);
#pragma unroll 2
    for (int i = threadIdx.x; i < count * LANES; i += blockDim.x) {
        const int at = column + i % LANES * COLUMNS;
        uint4 bits = make_uint4(0, 0, 0, 0);
        if (at < ld) bits = __ldg(reinterpret_cast<const uint4*>(x + __ldg(others + i / LANES) * ld + at));
        tile[LANES + i] = bits;
    }
}

// Where the segments of a warp's rows begin in one tile, and how many entries they have: one row a lane.
struct Segments {
    int first, count;

    __device__ __forceinline__ void read(const int* __restrict__ firsts, const int* __restrict__ counts, int row,
                                         bool exists, int tiles, int tile) {
        const long long at = static_cast<long long>(row) * tiles + tile;
        first = exists ? __ldg(firsts + at) : 0;
        count = exists ? __ldg(counts + at) : 0;
    }
};

// The four entries of a group that a quarter runs.
struct Entries {
    uint2 locals;  // two rows of the tile a word
    float4 weight;

    __device__ __forceinline__ void read(const unsigned short* __restrict__ locals_of, const float* __restrict__ weights,
                                         int group, int quarter) {
        const long long at = static_cast<long long>(group) * 4 + quarter;
        locals = __ldg(reinterpret_cast<const uint2*>(locals_of) + at);
        weight = __ldg(reinterpret_cast<const float4*>(weights) + at);
    }
};

// The lane's piece of the row that the lower or the upper half of a word names.
__device__ __forceinline__ const uint4& lower(const uint4* tile, unsigned word) { return tile[(word & 0xFFFF) * LANES]; }
__device__ __forceinline__ const uint4& upper(const uint4* tile, unsigned word) { return tile[(word >> 16) * LANES]; }

template <int COLUMNS>
__device__ __forceinline__ void add_product(float (&sum)[COLUMNS], float weight, const uint4& bits) {
    float value[COLUMNS];
    widen(bits, value);
#pragma unroll
    for (int c = 0; c < COLUMNS; ++c) sum[c] += weight * value[c];
}

// Add one segment's products to the sums of its row. Reads one group beyond it, so that none waits for its entries.
template <int COLUMNS>
__device__ __forceinline__ void add_segment(float (&sum)[COLUMNS], const uint4* tile, int group, int count,
                                            const unsigned short* __restrict__ locals,
                                            const float* __restrict__ weights, int quarter) {
    Entries next;
    next.read(locals, weights, group, quarter);
    for (int left = count; left > 0; left -= GROUP) {
        const Entries now = next;
        next.read(locals, weights, ++group, quarter);
        if (left > 12) {
            const uint4 a = lower(tile, now.locals.x), b = upper(tile, now.locals.x);
            const uint4 c = lower(tile, now.locals.y), d = upper(tile, now.locals.y);
            add_product(sum, now.weight.x, a);
            add_product(sum, now.weight.y, b);
            add_product(sum, now.weight.z, c);
            add_product(sum, now.weight.w, d);
        } else {  // the last group runs as many steps as it needs
            add_product(sum, now.weight.x, lower(tile, now.locals.x));
            if (left > 4) add_product(sum, now.weight.y, upper(tile, now.locals.x));
            if (left > 8) add_product(sum, now.weight.z, lower(tile, now.locals.y));
        }
    }
}

// The number of a block's row: neighbours in the list, which is sorted by length, go to different blocks and warps.
__device__ __forceinline__ int row_number(int i) {
    return (i * gridDim.x + blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
}

// Rows times staged columns, for all columns of a slab of 8 lanes' pieces (blockIdx.y). NEURONS: write what neurons of
// a sum or a mean give; otherwise the sums alone, to `z`. A lane has SUMS accumulators: SUMS / COLUMNS rows a warp.
template <typename T, int SUMS, bool NEURONS>
__global__ void __launch_bounds__(1024)
    staged_product(const T* __restrict__ x, long long ld, int batch, const int* __restrict__ others, int n_others,
                   int tiles, int tile_rows, const int* __restrict__ rows, int n_rows, const int* __restrict__ firsts,
                   const int* __restrict__ counts, const unsigned short* __restrict__ locals,
                   const float* __restrict__ weights, T* y, float* z, long long z_ld, bool keep_z,
                   const float* __restrict__ bias, const float* __restrict__ parameter,
                   const signed char* __restrict__ activation, const signed char* __restrict__ aggregation,
                   const int* __restrict__ length) {
    constexpr int COLUMNS = Piece<T>::COLUMNS, ROWS = SUMS / COLUMNS;
    DYNAMIC_SHARED(uint4, shared);
    const int lane = threadIdx.x % 32, quarter = lane / LANES;
    const int column = blockIdx.y * LANES * COLUMNS;
    const uint4* tile = shared + lane % LANES;
    float sums[ROWS][COLUMNS];
#pragma unroll
    for (int i = 0; i < ROWS; ++i)
#pragma unroll
        for (int c = 0; c < COLUMNS; ++c) sums[i][c] = 0;

    const int mine = row_number(lane);
    for (int t = 0; t < tiles; ++t) {
        Segments segments;
        segments.read(firsts, counts, mine, lane < ROWS && mine < n_rows, tiles, t);
        __syncthreads();
        stage(x, ld, others + t * tile_rows, min(tile_rows, n_others - t * tile_rows), column, shared);
        __syncthreads();
#pragma unroll
        for (int i = 0; i < ROWS; ++i) {
            const int first = __shfl_sync(ALL, segments.first, i), count = __shfl_sync(ALL, segments.count, i);
            add_segment(sums[i], tile, first, count, locals, weights, quarter);
        }
    }

    // The four quarters of a row's sums come together, and each quarter goes on with every fourth row.
#pragma unroll
    for (int i = 0; i < ROWS; i += 4) {
        float sum[COLUMNS];
#pragma unroll
        for (int c = 0; c < COLUMNS; ++c) {
#pragma unroll
            for (int j = i; j < i + 4 && j < ROWS; ++j) {
                float whole = sums[j][c];
                whole += __shfl_xor_sync(ALL, whole, 8);
                whole += __shfl_xor_sync(ALL, whole, 16);
                if (quarter == j - i) sum[c] = whole;
            }
        }
        const int row = row_number(i + quarter), at = column + lane % LANES * COLUMNS;
        if (i + quarter >= ROWS || row >= n_rows || at >= ld) continue;
        const int slot = __ldg(rows + row);
        if (NEURONS) {
            const int code = activation[slot];
            const float shift = bias[slot], own = parameter[slot];
            const float divisor = aggregation[slot] == MEAN ? static_cast<float>(max(length[slot], 1)) : 1.0f;
            float out[COLUMNS];
#pragma unroll
            for (int c = 0; c < COLUMNS; ++c) {
                sum[c] = at + c < batch ? sum[c] / divisor + shift : 0.0f;
                out[c] = at + c < batch ? activate(code, own, sum[c]) : 0.0f;
            }
            store(y + slot * ld + at, out);
        }
        if (!NEURONS || keep_z) store(z + slot * z_ld + at, sum);
    }
}
