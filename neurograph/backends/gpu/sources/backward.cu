// Backward, row by row and by source: each delta of a target is loaded once and feeds both the gradient of the source's
// output, which stays in registers, and that of the weight.
#include "launch.cuh"
#include "four.cuh"
#include "neuron.cuh"
#include "rows.cuh"

// Where the samples of a lane are: PIECES times four, 128 columns apart.
template <int PIECES>
struct Columns {
    int at[PIECES];
    bool mine[PIECES];  // else there are none, and the lane reads those of others, multiplies by zero and writes nothing
};

// The entries that a warp has at hand, one a lane.
struct Entries {
    int row, rest;  // of the target's delta; how many there are in the warp
};

// The gradients of the weights of a group's entries FIRST .. FIRST + COUNT - 1, the i-th of them in its lane
// i % COUNT, and what they add to the source's own gradient.
//
// Halves are joined by one shuffle, which adds the lanes' products of two entries at once: LANES - 1 shuffles add those
// of LANES entries, and never more than log(LANES) sums wait.
template <typename T, int LANES, int PIECES, int FIRST, int COUNT>
__device__ inline T products(const Entries& entries, T w, const T* delta, int ld, const Columns<PIECES>& columns,
                             const Four<T> (&x)[PIECES], Four<T> (&sum)[PIECES]) {
    if constexpr (COUNT == 1) {
        const T* at = delta + (long long)__shfl_sync(ALL, entries.row, FIRST, LANES) * ld;
        const T v = __shfl_sync(ALL, w, FIRST, LANES);
        T product = T(0);
#pragma unroll
        for (int p = 0; p < PIECES; ++p) {
            const Four<T> d = load(at + columns.at[p]);
            add_scaled(sum[p], v, d);
#pragma unroll
            for (int j = 0; j < 4; ++j) product += x[p].at[j] * d.at[j];
        }
        return product;
    } else {
        constexpr int HALF = COUNT / 2;
        if (COUNT >= 4 && FIRST * (32 / LANES) >= entries.rest) return T(0);  // the whole warp
        T low = products<T, LANES, PIECES, FIRST, HALF>(entries, w, delta, ld, columns, x, sum);
        T high = products<T, LANES, PIECES, FIRST + HALF, HALF>(entries, w, delta, ld, columns, x, sum);
        const bool upper = threadIdx.x & HALF;
        return (upper ? high : low) + __shfl_xor_sync(ALL, upper ? low : high, HALF);
    }
}

// Run over entries k0 .. k1 - 1 of a source's row: the gradients of their weights, to `grad` or, where the other warps
// of the block have more columns, by way of `dots`; and this warp's part of the source's own gradient, in each group.
template <typename T, int LANES, int PIECES, bool TOGETHER>
__device__ inline void spread(long long k0, long long k1, int lowest, const int* __restrict__ other,
                              const int* __restrict__ slot, const T* __restrict__ weight, T* __restrict__ grad,
                              int fresh, const T* __restrict__ delta, int ld, const Columns<PIECES>& columns,
                              const Four<T> (&x)[PIECES], Four<T> (&sum)[PIECES], T* dots) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    // Neighbouring entries are for different groups, so that a short row is shared evenly.
    const int own = lane % LANES * (32 / LANES) + lane / LANES;
    int turn = 0;
    for (long long k = k0; k < k1; k += 32, turn ^= 1) {
        const int rest = k1 - k < 32 ? int(k1 - k) : 32;
        const long long e = k + (own < rest ? own : rest - 1);
        const int c = slot[e], row = other[e];
        const bool there = own < rest && row >= lowest;
        const Entries entries = {row < lowest ? lowest : row, rest};
        const T w = there ? weight[c] : T(0);
        T product = products<T, LANES, PIECES, 0, LANES>(entries, w, delta, ld, columns, x, sum);
        if (TOGETHER) {  // two buffers take turns: who is past the barrier may write while warp 0 still reads
            T* of_turn = dots + turn * warps * 32 + lane;
            of_turn[warp * 32] = product;
            __syncthreads();
            if (warp > 0) continue;
            for (int i = 1; i < warps; ++i) product += of_turn[i * 32];
        }
        if (there) grad[c] = fresh ? product : grad[c] + product;
    }
}

// Deltas of `count` neurons from order[first] on at one step, and the gradients of their outgoing weights; or, where
// rows are `cut`, the same of chunks, as in `forward_rows`. Those that are `constant`, inputs or a state that was given,
// have no delta. `other` holds displacements from the first row of the step in `delta`, row `base`; those below
// `lowest` are of steps before the first, which have no deltas. A mean's delta is divided by its fan-in as it is stored;
// that of a special neuron goes to `delta_special`, and its row of `delta` is 0. Rows of `delta` that are `seeded` hold a
// part of what their targets send back already.
template <typename T, int LANES, int PIECES, bool TOGETHER>
__device__ inline void backward_row(
    int task, const int* order, int first, int cut, int longest, int chunk, const int* chunk_row,
    const int* chunk_begin, const int* first_chunk, const long long* start, const int* length, const int* other,
    const int* slot, int seeded, const T* weight, T* grad, T* bias_grad, int fresh, const signed char* activation,
    const T* parameter, const signed char* aggregation, const int* fan_in, const T* time_constant, int leaks,
    const int* special, int n_special, const T* by_special, const int* output, const T* by_output, const T* acts,
    const T* z, T* delta, T* delta_special, T* partial, int constant, int lowest, long long at_acts, long long base,
    long long at_special, long long at_output, int n, int first_column, int batch, int ld, T* dots) {
    const int lane = threadIdx.x % 32, group = lane / LANES;
    const int warp = TOGETHER ? threadIdx.x / 32 : 0;
    const int r = cut ? chunk_row[first + task] : order[first + task];
    const int entries = length[r];
    const bool whole = cut || entries <= longest;
    long long k0 = start[r], k1 = k0 + entries;
    if (cut) {
        k0 += chunk_begin[first + task];
        k1 = k0 + chunk < k1 ? k0 + chunk : k1;
    }
    Columns<PIECES> columns;
    Four<T> x[PIECES], sum[PIECES];
#pragma unroll
    for (int p = 0; p < PIECES; ++p) {
        int column = first_column + ((warp * PIECES + p) * LANES + lane % LANES) * 4;
        columns.mine[p] = column < ld;
        columns.at[p] = column < ld ? column : 0;
        x[p] = sum[p] = {};
        if (column < ld) x[p] = load(acts + (at_acts + r) * ld + column);
    }
    if (whole) {
        spread<T, LANES, PIECES, TOGETHER>(k0, k1, lowest, other, slot, weight, grad, fresh && first_column == 0,
                                           delta + base * ld, ld, columns, x, sum, dots);
        if (constant) return;
#pragma unroll
        for (int p = 0; p < PIECES; ++p) add_groups<T, LANES>(sum[p]);
    } else {
        if (constant) return;
        const T* part = partial + (long long)first_chunk[r] * ld;
        for (int k = 0; k < entries; k += chunk, part += ld) {
#pragma unroll
            for (int p = 0; p < PIECES; ++p) add(sum[p], load(part + columns.at[p]));
        }
    }
    if (cut) {
        T* part = partial + (long long)(first_chunk[r] + chunk_begin[first + task] / chunk) * ld;
#pragma unroll
        for (int p = 0; p < PIECES; ++p)
            if (columns.mine[p] && group == 0) store(part + columns.at[p], sum[p]);
        return;
    }
    const int code = activation[r], column_of = output[r], q = n_special > 0 ? special[r] : -1;
    const T a = parameter[r];
    const T divisor = aggregation[r] == MEAN && fan_in[r] > 0 ? T(fan_in[r]) : T(1);
    const T tau = leaks ? time_constant[r] : T(1);
    T total = T(0);
#pragma unroll
    for (int p = 0; p < PIECES; ++p) {
        if (!columns.mine[p]) continue;
        const int column = columns.at[p];
        const long long own = (base + r) * ld + column;
        if (column_of >= 0) add(sum[p], load(by_output + (at_output + column_of) * ld + column));
        if (seeded) add(sum[p], load(delta + own));
        if (n_special > 0) add(sum[p], load(by_special + (long long)r * ld + column));
        if (code == RELU) {
#pragma unroll
            for (int i = 0; i < 4; ++i) sum[p].at[i] = x[p].at[i] > T(0) ? sum[p].at[i] : T(0);
        } else if (code != IDENTITY) {
            Four<T> inner = slope_reads_z(code) ? load(z + (at_acts + r) * ld + column) : x[p];
#pragma unroll 1
            for (int i = 0; i < 4; ++i) {  // turned round, so that the code of all derivatives is there once
                T d = sum[p].at[0] * slope(code, a, x[p].at[0], inner.at[0]);
#pragma unroll
                for (int j = 0; j < 3; ++j) {
                    sum[p].at[j] = sum[p].at[j + 1];
                    x[p].at[j] = x[p].at[j + 1];
                    inner.at[j] = inner.at[j + 1];
                }
                sum[p].at[3] = d;
            }
        }
        if (tau != T(1)) {
            const T share = T(1) / tau;
            Four<T> later = q < 0 ? load(delta + own + (long long)n * ld)
                                  : load(delta_special + (at_special + n_special + q) * ld + column);
#pragma unroll
            for (int i = 0; i < 4; ++i)
                sum[p].at[i] = share * sum[p].at[i] + (T(1) - share) * (later.at[i] * divisor);
        }
        clear_behind(sum[p], column, batch);
#pragma unroll
        for (int i = 0; i < 4; ++i) total += sum[p].at[i];
        if (group > 0) continue;
        if (q >= 0) {
            store(delta_special + (at_special + q) * ld + column, sum[p]);
            sum[p] = {};
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) sum[p].at[i] /= divisor;
        store(delta + own, sum[p]);
    }
    total = add_lanes<T, LANES>(total);
    if (TOGETHER) {
        __syncthreads();  // warp 0 has read the products
        if (lane == 0) dots[warp] = total;
        __syncthreads();
        total = T(0);
        for (int i = 0; i < int(blockDim.x / 32); ++i) total += dots[i];
    }
    if (threadIdx.x % 32 == 0 && warp == 0)
        bias_grad[r] = fresh && first_column == 0 ? total : bias_grad[r] + total;
}

#define PARAMETERS                                                                                                \
    const int *order, int first, int count, int cut, int longest, int chunk, const int *chunk_row,                \
        const int *chunk_begin, const int *first_chunk, const long long *start, const int *length,                \
        const int *other, const int *slot, int seeded, const T *weight, T *grad, T *bias_grad, int fresh,         \
        const signed char *activation, const T *parameter, const signed char *aggregation, const int *fan_in,     \
        const T *time_constant, int leaks, const int *special, int n_special, const T *by_special,                \
        const int *output, const T *by_output, const T *acts, const T *z, T *delta, T *delta_special, T *partial, \
        int constant, int lowest, long long at_acts, long long base, long long at_special, long long at_output,   \
        int n, int first_column, int batch, int ld

#define ARGUMENTS                                                                                                      \
    order, first, cut, longest, chunk, chunk_row, chunk_begin, first_chunk, start, length, other, slot, seeded,        \
        weight, grad, bias_grad, fresh, activation, parameter, aggregation, fan_in, time_constant, leaks, special, n_special,        \
        by_special, output, by_output, acts, z, delta, delta_special, partial, constant, lowest, at_acts, base,        \
        at_special, at_output, n, first_column, batch, ld

// Up to 4 * LANES columns: a warp for each row.
template <typename T, int LANES>
__global__ void __launch_bounds__(128) backward_rows(PARAMETERS) {
    int task = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (task >= count) return;  // the whole warp
    backward_row<T, LANES, 1, false>(task, ARGUMENTS, (T*)nullptr);
}

// More columns: a block for each row, of which each warp has 128 * PIECES columns.
template <typename T, int PIECES>
__global__ void __launch_bounds__(256, 1) backward_wide_rows(PARAMETERS) {
    DYNAMIC_SHARED(T, dots);
    backward_row<T, 32, PIECES, true>(blockIdx.x, ARGUMENTS, dots);
}
