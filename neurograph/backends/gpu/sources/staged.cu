// Products of the weights between one generation and the neurons it shares, with the shared rows in shared memory.
//
// A row gathered from the L2 cache costs four bytes for two operations, and that cache gives too few of them. Where
// many rows read the same ones (targets the sources of a layer, sources its targets), a block copies a tile of those,
// 128 bytes of each, into its shared memory, and runs its share of the rows over the tile before it copies the next.
//
// The eight lanes of a quarter warp hold the 128 bytes of one entry's row, so a warp runs four entries at a time, and
// four times as many a group, of which each quarter reads its four as one vector (buckets.cuh). The sums of a warp's
// rows stay in registers from tile to tile. There are two buffers: while one tile is run over, the next one is copied.
#include <cuda_bf16.h>
#include <cuda_pipeline_primitives.h>

#include "buckets.cuh"
#include "launch.cuh"
#include "neuron.cuh"

constexpr int LANES = 8;  // for one entry

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

// The `left` columns of a row from here on, or all that the lane has: multiples of four.
__device__ __forceinline__ void store(float* row, const float (&value)[4], long long left) {
    if (left > 0) *reinterpret_cast<float4*>(row) = make_float4(value[0], value[1], value[2], value[3]);
}

__device__ __forceinline__ void store(float* row, const float (&value)[8], long long left) {
    if (left > 0) reinterpret_cast<float4*>(row)[0] = make_float4(value[0], value[1], value[2], value[3]);
    if (left > 4) reinterpret_cast<float4*>(row)[1] = make_float4(value[4], value[5], value[6], value[7]);
}

// Begin to copy a tile's rows, the block's strip of their columns, behind the row of zeros: one of so many shares.
template <typename T>
__device__ __forceinline__ void copy_rows(const T* __restrict__ x, long long ld, const int* __restrict__ others,
                                          int tile_rows, int column, uint4* tile, int share, int shares) {
    const int at = column + threadIdx.x % LANES * Piece<T>::COLUMNS;
#pragma unroll 1
    for (int i = share * blockDim.x + threadIdx.x; i < tile_rows * LANES; i += shares * blockDim.x) {
        if (at < ld) {
            __pipeline_memcpy_async(tile + LANES + i, x + __ldg(others + i / LANES) * ld + at, 16);
        } else {
            tile[LANES + i] = make_uint4(0, 0, 0, 0);
        }
    }
}

// A row's part of one tile. Kept in shared memory, for registers are few, and copied there with the tile.
struct Segment {
    int group, count;
};

// Lane i begins to copy the segment of the warp's i-th row.
__device__ __forceinline__ void copy_segment(Segment* segment, const int* __restrict__ firsts,
                                             const int* __restrict__ counts, int row, int n_rows, int tiles, int tile) {
    const int at = row * tiles + tile;
    if (row < n_rows) {
        __pipeline_memcpy_async(&segment->group, firsts + at, 4);
        __pipeline_memcpy_async(&segment->count, counts + at, 4);
    } else {
        *segment = {0, 0};
    }
}

// What a block has beside its tiles: for each warp the slots of its rows (-1: there is no such row) and, in turns,
// their segments in two tiles.
template <int WARPS, int ROWS>
struct Rows {
    int slots[WARPS][ROWS];
    Segment segments[2][WARPS][ROWS];
};

// The four entries of a group that a quarter runs.
struct Entries {
    uint2 locals;  // two rows of the tile a word
    float4 weight;

    __device__ __forceinline__ void read(const unsigned short* __restrict__ locals_of,
                                         const float* __restrict__ weights, int group, int quarter) {
        const int at = group * 4 + quarter;
        locals = __ldg(reinterpret_cast<const uint2*>(locals_of) + at);
        weight = __ldg(reinterpret_cast<const float4*>(weights) + at);
    }
};

// The lane's piece of the row that the lower or the upper half of a word names.
__device__ __forceinline__ const uint4& lower(const uint4* tile, unsigned word) {
    return tile[(word & 0xFFFF) * LANES];
}

__device__ __forceinline__ const uint4& upper(const uint4* tile, unsigned word) {
    return tile[(word >> 16) * LANES];
}

template <int COLUMNS>
__device__ __forceinline__ void add_product(float (&sum)[COLUMNS], float weight, const uint4& bits) {
    float value[COLUMNS];
    widen(bits, value);
#pragma unroll
    for (int c = 0; c < COLUMNS; ++c) sum[c] += weight * value[c];
}

// Call run(entries, group, left) for each group of a segment, of which `left` entries are left. The entries of the next
// two are on their way meanwhile, in turns in the same registers; this reads up to two groups beyond the segment.
template <typename Run>
__device__ __forceinline__ void run_groups(const Segment& segment, const unsigned short* __restrict__ locals,
                                           const float* __restrict__ weights, int quarter, Run run) {
    int group = segment.group, left = segment.count;
    Entries a, b;
    a.read(locals, weights, group, quarter);
    b.read(locals, weights, group + 1, quarter);
    while (left > 0) {
        run(a, group, left);
        if (left > 2 * GROUP) a.read(locals, weights, group + 2, quarter);
        left -= GROUP;
        if (left <= 0) break;
        run(b, group + 1, left);
        if (left > 2 * GROUP) b.read(locals, weights, group + 3, quarter);
        left -= GROUP;
        group += 2;
    }
}

// Add a group's products to the sums of its row.
template <int COLUMNS>
__device__ __forceinline__ void add_group(float (&sum)[COLUMNS], const uint4* tile, const Entries& entries, int left) {
    if (left > 12) {
        const uint4 a = lower(tile, entries.locals.x), b = upper(tile, entries.locals.x);
        const uint4 c = lower(tile, entries.locals.y), d = upper(tile, entries.locals.y);
        add_product(sum, entries.weight.x, a);
        add_product(sum, entries.weight.y, b);
        add_product(sum, entries.weight.z, c);
        add_product(sum, entries.weight.w, d);
    } else {  // the last group runs as many steps as it needs
        add_product(sum, entries.weight.x, lower(tile, entries.locals.x));
        if (left > 4) add_product(sum, entries.weight.y, upper(tile, entries.locals.x));
        if (left > 8) add_product(sum, entries.weight.z, lower(tile, entries.locals.y));
    }
}

// Threads of a block that keep so many sums each: with 32 they are as many as a block can have; 64 are a full block's
// sums on half the threads, which have more registers each; 16 are for generations of few rows.
template <int SUMS>
constexpr int THREADS = SUMS == 32 ? 1024 : 512;

// The number of a block's row: neighbours in the list, which is sorted by length, go to different blocks and warps.
__device__ __forceinline__ int row_number(int i) {
    return (i * gridDim.x + blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
}

// Note the slots of the warp's rows, and begin every tile with its row of zeros.
template <int WARPS, int ROWS>
__device__ __forceinline__ void begin_block(Rows<WARPS, ROWS>& of_block, uint4* shared, int size, int buffers,
                                            const int* __restrict__ rows, int n_rows) {
    const int lane = threadIdx.x % 32, row = row_number(lane);
    if (lane < ROWS) of_block.slots[threadIdx.x / 32][lane] = row < n_rows ? __ldg(rows + row) : -1;
    for (int i = threadIdx.x; i < buffers * LANES; i += blockDim.x)
        shared[i / LANES * size + i % LANES] = make_uint4(0, 0, 0, 0);
}

// Rows i to i + 3: the sums of all quarters; quarter q gets those of row i + q.
template <int ROWS, int COLUMNS>
__device__ __forceinline__ void gather_quarters(const float (&sums)[ROWS][COLUMNS], int i, int quarter,
                                                float (&sum)[COLUMNS]) {
#pragma unroll
    for (int c = 0; c < COLUMNS; ++c) {
        sum[c] = 0;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            if (i + j >= ROWS) continue;
            float whole = sums[i + j][c];
            whole += __shfl_xor_sync(ALL, whole, 8);
            whole += __shfl_xor_sync(ALL, whole, 16);
            if (quarter == j) sum[c] = whole;
        }
    }
}

// Rows times staged rows, for every gridDim.y-th strip of columns, 8 lanes' pieces each. NEURONS: write what neurons of
// a sum or a mean give, of `out_ld` columns, no more than `ld`; otherwise the sums alone, to `z`. A lane has SUMS
// accumulators: SUMS / COLUMNS rows a warp.
template <typename T, int SUMS, bool NEURONS>
__global__ void __launch_bounds__(THREADS<SUMS>, 1)
    staged_product(const T* __restrict__ x, long long ld, int batch, const int* __restrict__ others, int tiles,
                   int tile_rows, int buffers, const int* __restrict__ rows, int n_rows,
                   const int* __restrict__ firsts, const int* __restrict__ counts,
                   const unsigned short* __restrict__ locals, const float* __restrict__ weights, float* y, float* z,
                   long long out_ld, bool keep_z, const float* __restrict__ bias, const float* __restrict__ parameter,
                   const signed char* __restrict__ activation, const signed char* __restrict__ aggregation,
                   const int* __restrict__ length) {
    constexpr int COLUMNS = Piece<T>::COLUMNS, ROWS = SUMS / COLUMNS, STRIP = LANES * COLUMNS;
    DYNAMIC_SHARED(uint4, shared);
    const int lane = threadIdx.x % 32, quarter = lane / LANES;
    constexpr int WARPS = THREADS<SUMS> / 32, SHARES = ROWS < 4 ? ROWS : 4;  // in which a tile is copied, between rows
    __shared__ Rows<WARPS, ROWS> of_block;
    const int warp = threadIdx.x / 32, size = (tile_rows + 1) * LANES;

    begin_block(of_block, shared, size, buffers, rows, n_rows);
    copy_rows(x, ld, others, tile_rows, blockIdx.y * STRIP, shared, 0, 1);
    if (lane < ROWS)
        copy_segment(&of_block.segments[0][warp][lane], firsts, counts, row_number(lane), n_rows, tiles, 0);
    __pipeline_commit();
    int turn = 0;  // of the segments; tiles have as many buffers as fit
    for (int column = blockIdx.y * STRIP; column < ld; column += gridDim.y * STRIP) {
        float sums[ROWS][COLUMNS];
#pragma unroll
        for (int i = 0; i < ROWS; ++i)
#pragma unroll
            for (int c = 0; c < COLUMNS; ++c) sums[i][c] = 0;
        for (int t = 0; t < tiles; ++t, turn ^= 1) {
            __pipeline_wait_prior(0);
            __syncthreads();  // this tile is here, and nobody reads the one before any more
            // The tile after this one, maybe of the next strip.
            const int next_tile = t + 1 < tiles ? t + 1 : 0;
            const int next_column = next_tile > 0 ? column : column + gridDim.y * STRIP;
            const bool more = next_column < ld, early = more && buffers == 2;
            uint4* const next = shared + (buffers == 2 && turn == 0 ? size : 0);
            const uint4* tile = shared + (buffers == 2 && turn == 1 ? size : 0) + lane % LANES;
            if (more && lane < ROWS)
                copy_segment(&of_block.segments[1 - turn][warp][lane], firsts, counts, row_number(lane), n_rows, tiles,
                             next_tile);
#pragma unroll
            for (int i = 0; i < ROWS; ++i) {
                if (early && i % (ROWS / SHARES) == 0)
                    copy_rows(x, ld, others + next_tile * tile_rows, tile_rows, next_column, next,
                              i / (ROWS / SHARES), SHARES);
                run_groups(of_block.segments[turn][warp][i], locals, weights, quarter,
                           [&](const Entries& entries, int, int left) { add_group(sums[i], tile, entries, left); });
            }
            if (more && !early) {
                __syncthreads();
                copy_rows(x, ld, others + next_tile * tile_rows, tile_rows, next_column, shared, 0, 1);
            }
            __pipeline_commit();
        }

        // The four quarters of a row's sums come together, and each quarter goes on with every fourth row.
#pragma unroll
        for (int i = 0; i < ROWS; i += 4) {
            float sum[COLUMNS];
            gather_quarters<ROWS, COLUMNS>(sums, i, quarter, sum);
            const int at = column + lane % LANES * COLUMNS;
            const int slot = i + quarter < ROWS ? of_block.slots[warp][i + quarter] : -1;
            if (slot < 0) continue;
            if (NEURONS) {
                const int code = activation[slot];
                const float shift = bias[slot], own = parameter[slot];
                const float divisor = aggregation[slot] == MEAN ? static_cast<float>(max(length[slot], 1)) : 1.0f;
                float out[COLUMNS];
#pragma unroll
                for (int c = 0; c < COLUMNS; ++c) {
                    sum[c] = at + c < batch ? sum[c] / divisor + shift : 0.0f;
                    out[c] = code == RELU && sum[c] < 0.0f ? 0.0f : sum[c];
                }
                if (code != RELU && code != IDENTITY) {
#pragma unroll 1
                    for (int turn = 0; turn < COLUMNS; ++turn) {  // so that the code of all activations is there once
                        const float value = at + turn < batch ? activate(code, own, out[0]) : 0.0f;
#pragma unroll
                        for (int c = 1; c < COLUMNS; ++c) out[c - 1] = out[c];
                        out[COLUMNS - 1] = value;
                    }
                }
                store(y + slot * out_ld + at, out, out_ld - at);
            }
            if (!NEURONS || keep_z) store(z + slot * out_ld + at, sum, out_ld - at);
        }
    }
}

// The dots of a group's entries, each summed over the eight lanes of its quarter: of every pair of lanes the first
// returns that of step (lane / 2) % 4. Four exchanges for sixteen sums of eight numbers.
__device__ __forceinline__ float sum_dots(const float (&dot)[4], int lane) {
    const bool third = lane & 4, second = lane & 2;
    float a = third ? dot[2] : dot[0], b = third ? dot[3] : dot[1];
    a += __shfl_xor_sync(ALL, third ? dot[0] : dot[2], 4);
    b += __shfl_xor_sync(ALL, third ? dot[1] : dot[3], 4);
    float sum = second ? b : a;
    sum += __shfl_xor_sync(ALL, second ? a : b, 2);
    return sum + __shfl_xor_sync(ALL, sum, 1);
}

// One entry backward: what its target's delta gives to the source, and to the weight.
template <bool PRODUCT, bool SAMPLED, int COLUMNS>
__device__ __forceinline__ void add_both(float (&sum)[COLUMNS], float& dot, const float (&own)[COLUMNS], float weight,
                                         const uint4& bits) {
    float value[COLUMNS];
    widen(bits, value);
#pragma unroll
    for (int c = 0; c < COLUMNS; ++c) {
        if (PRODUCT) sum[c] += weight * value[c];
        if (SAMPLED) dot += own[c] * value[c];
    }
}

// Backward by source: each staged delta is read once for the product with the weight (the gradients of the sources'
// outputs, to `z`) and for the one with the source's own output (the gradients of the weights, by place, to `dots`, a
// row of them for each blockIdx.y, which runs every gridDim.y-th strip of columns). WHAT: 1, 2, or 3 for both.
template <typename T, int SUMS, int WHAT>
__global__ void __launch_bounds__(THREADS<SUMS>, 1)
    staged_backward(const T* __restrict__ delta, const T* __restrict__ y, long long ld, const int* __restrict__ others,
                    int tiles, int tile_rows, int buffers, const int* __restrict__ rows, int n_rows,
                    const int* __restrict__ firsts, const int* __restrict__ counts,
                    const unsigned short* __restrict__ locals, const float* __restrict__ weights, float* z,
                    long long z_ld, float* dots, int places) {
    constexpr int COLUMNS = Piece<T>::COLUMNS, ROWS = SUMS / COLUMNS, STRIP = LANES * COLUMNS;
    constexpr bool PRODUCT = WHAT & 1, SAMPLED = WHAT & 2;
    DYNAMIC_SHARED(uint4, shared);
    const int lane = threadIdx.x % 32, quarter = lane / LANES;
    constexpr int WARPS = THREADS<SUMS> / 32, SHARES = ROWS < 4 ? ROWS : 4;  // in which a tile is copied, between rows
    __shared__ Rows<WARPS, ROWS> of_block;
    const int warp = threadIdx.x / 32, size = (tile_rows + 1) * LANES;

    begin_block(of_block, shared, size, buffers, rows, n_rows);
    copy_rows(delta, ld, others, tile_rows, blockIdx.y * STRIP, shared, 0, 1);
    if (lane < ROWS)
        copy_segment(&of_block.segments[0][warp][lane], firsts, counts, row_number(lane), n_rows, tiles, 0);
    __pipeline_commit();
    int turn = 0;  // of the segments; tiles have as many buffers as fit
    for (int column = blockIdx.y * STRIP; column < ld; column += gridDim.y * STRIP) {
        const int at = column + lane % LANES * COLUMNS;
        float sums[ROWS][COLUMNS];
#pragma unroll
        for (int i = 0; i < ROWS; ++i)
#pragma unroll
            for (int c = 0; c < COLUMNS; ++c) sums[i][c] = 0;
        for (int t = 0; t < tiles; ++t, turn ^= 1) {
            __pipeline_wait_prior(0);
            __syncthreads();
            // The tile after this one, maybe of the next strip.
            const int next_tile = t + 1 < tiles ? t + 1 : 0;
            const int next_column = next_tile > 0 ? column : column + gridDim.y * STRIP;
            const bool more = next_column < ld, early = more && buffers == 2;
            uint4* const next = shared + (buffers == 2 && turn == 0 ? size : 0);
            const uint4* tile = shared + (buffers == 2 && turn == 1 ? size : 0) + lane % LANES;
            if (more && lane < ROWS)
                copy_segment(&of_block.segments[1 - turn][warp][lane], firsts, counts, row_number(lane), n_rows, tiles,
                             next_tile);
#pragma unroll
            for (int i = 0; i < ROWS; ++i) {
                if (early && i % (ROWS / SHARES) == 0)
                    copy_rows(delta, ld, others + next_tile * tile_rows, tile_rows, next_column, next,
                              i / (ROWS / SHARES), SHARES);
                const int source = of_block.slots[warp][i];
                const Segment& segment = of_block.segments[turn][warp][i];
                float own[COLUMNS];
                if (SAMPLED) {
                    uint4 bits = make_uint4(0, 0, 0, 0);
                    if (source >= 0 && at < ld) bits = __ldg(reinterpret_cast<const uint4*>(y + source * ld + at));
                    widen(bits, own);
                }
                // Of the sums of a group's dots this lane keeps one, if any.
                float* const kept = dots + (blockIdx.y * places + quarter * 4 + lane / 2 % 4);
                const bool first = column == blockIdx.y * STRIP;
                run_groups(segment, locals, weights, quarter, [&](const Entries& now, int group, int left) {
                    float before = 0;
                    if (SAMPLED && !first) before = kept[group * GROUP];
                    float dot[4] = {0, 0, 0, 0};
                    add_both<PRODUCT, SAMPLED>(sums[i], dot[0], own, now.weight.x, lower(tile, now.locals.x));
                    add_both<PRODUCT, SAMPLED>(sums[i], dot[1], own, now.weight.y, upper(tile, now.locals.x));
                    if (left > 8) {  // the last group may have no more
                        add_both<PRODUCT, SAMPLED>(sums[i], dot[2], own, now.weight.z, lower(tile, now.locals.y));
                        add_both<PRODUCT, SAMPLED>(sums[i], dot[3], own, now.weight.w, upper(tile, now.locals.y));
                    }
                    if (SAMPLED) {
                        const float sum = sum_dots(dot, lane);
                        if (lane % 2 == 0) kept[group * GROUP] = before + sum;
                    }
                });
            }
            if (more && !early) {
                __syncthreads();
                copy_rows(delta, ld, others + next_tile * tile_rows, tile_rows, next_column, shared, 0, 1);
            }
            __pipeline_commit();
        }
#pragma unroll
        for (int i = 0; PRODUCT && i < ROWS; i += 4) {
            float sum[COLUMNS];
            gather_quarters<ROWS, COLUMNS>(sums, i, quarter, sum);
            const int source = i + quarter < ROWS ? of_block.slots[warp][i + quarter] : -1;
            if (source >= 0) store(z + source * z_ld + at, sum, z_ld - at);
        }
    }
}
