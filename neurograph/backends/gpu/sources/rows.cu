// Forward, row by row: a warp holds the sums of one target and up to 128 samples in registers for its whole row.
#include "four.cuh"
#include "neuron.cuh"
#include "rows.cuh"

// The weighted sum of a row's entries k0 .. k1 - 1; every group has a part of it.
template <typename T, int LANES>
__device__ inline Four<T> gather(long long k0, long long k1, int group, const int* __restrict__ other,
                                 const int* __restrict__ slot, const T* __restrict__ weight, int by_slot,
                                 const T* __restrict__ x, int ld) {
    constexpr int GROUPS = 32 / LANES;
    constexpr int EACH = LANES < 4 ? 1 : 4;  // entries that a group reads at a time; many groups leave few to each
    Four<T> sum = {};
    // Begun at a multiple of four, all entries but those at the ends come in one load, the same for a whole group.
    for (long long k = k0 / EACH * EACH + EACH * group; k < k1; k += EACH * GROUPS) {
        if (EACH == 4 && k >= k0 && k + 4 <= k1) {
            int4 source = __ldg(reinterpret_cast<const int4*>(other + k));
            Four<T> w;
            if (by_slot) {
                int4 c = __ldg(reinterpret_cast<const int4*>(slot + k));
                w = {{weight[c.x], weight[c.y], weight[c.z], weight[c.w]}};
            } else {
                w = load(weight + k);
            }
            Four<T> a = load(x + (long long)source.x * ld), b = load(x + (long long)source.y * ld);
            Four<T> c = load(x + (long long)source.z * ld), d = load(x + (long long)source.w * ld);
            add_scaled(sum, w.at[0], a);
            add_scaled(sum, w.at[1], b);
            add_scaled(sum, w.at[2], c);
            add_scaled(sum, w.at[3], d);
        } else {
            for (long long e = k; e < k + EACH; ++e)
                if (e >= k0 && e < k1)
                    add_scaled(sum, weight[by_slot ? slot[e] : e], load(x + (long long)other[e] * ld));
        }
    }
    return sum;
}

// One step of `count` neurons from order[first] on, or, where rows are `cut`, the sums of `count` chunks from chunk
// `first` on. Rows longer than `longest` are the sums of their chunks, which ran before. `other` holds displacements
// from the first row of the step, which is row `base`. Targets that are `seeded` hold a part of their sum already.
template <typename T, int LANES>
__global__ void __launch_bounds__(128, sizeof(T) == 4 ? 8 : 5)
    forward_rows(const int* order, int first, int count, int cut, int longest, int chunk,
                             const int* chunk_row, const int* chunk_begin, const int* first_chunk,
                             const long long* start, const int* length, const int* __restrict__ other,
                             const int* __restrict__ slot, const T* __restrict__ weight, int by_slot, int seeded,
                             const T* bias, const signed char* activation, const T* parameter, const signed char* aggregation,
                             const T* time_constant, int leaks, T* acts, T* z, int keep_z, T* partial, long long base,
                             int n, int batch, int ld) {
    int task = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (task >= count) return;  // the whole warp
    int lane = threadIdx.x % 32, group = lane / LANES;
    int r = cut ? chunk_row[first + task] : order[first + task];
    long long k0 = start[r];
    int entries = length[r];
    bool whole = cut || entries <= longest;
    long long k1 = k0 + entries;
    if (cut) {
        k0 += chunk_begin[first + task];
        k1 = k0 + chunk < k1 ? k0 + chunk : k1;
    }
    for (int tile = blockIdx.y; tile * LANES * 4 < ld; tile += gridDim.y) {
        int column = (tile * LANES + lane % LANES) * 4;
        bool mine = column < ld;
        if (!mine) column = 0;  // lanes without samples read those of others, and write nothing
        Four<T> sum = {};
        if (whole) {
            sum = gather<T, LANES>(k0, k1, group, other, slot, weight, by_slot, acts + base * ld + column, ld);
            add_groups<T, LANES>(sum);
        } else {
            const T* part = partial + (long long)first_chunk[r] * ld + column;
            for (int k = 0; k < entries; k += chunk, part += ld) add(sum, load(part));
        }
        if (!mine || group > 0) continue;
        if (cut) {
            store(partial + (long long)(first_chunk[r] + chunk_begin[first + task] / chunk) * ld + column, sum);
            continue;
        }
        long long own = (base + r) * ld + column;
        if (seeded) add(sum, load(acts + own));
        T divisor = aggregation[r] == MEAN && entries > 0 ? T(entries) : T(1);
        T tau = leaks ? time_constant[r] : T(1);
#pragma unroll
        for (int i = 0; i < 4; ++i) sum.at[i] = sum.at[i] / divisor + bias[r];
        if (tau != T(1)) {
            T fresh = T(1) / tau;
            Four<T> old = load(z + own - (long long)n * ld);
#pragma unroll
            for (int i = 0; i < 4; ++i) sum.at[i] = fresh * sum.at[i] + (T(1) - fresh) * old.at[i];
        }
        clear_behind(sum, column, batch);
        if (keep_z) store(z + own, sum);
        int code = activation[r];
        if (code == RELU) {
#pragma unroll
            for (int i = 0; i < 4; ++i) sum.at[i] = sum.at[i] < T(0) ? T(0) : sum.at[i];
        } else if (code != IDENTITY) {
            T a = parameter[r];
#pragma unroll 1
            for (int i = 0; i < 4; ++i) {  // turned round, so that the code of all activations is there once
                T y = activate(code, a, sum.at[0]);
                sum.at[0] = sum.at[1];
                sum.at[1] = sum.at[2];
                sum.at[2] = sum.at[3];
                sum.at[3] = y;
            }
            clear_behind(sum, column, batch);
        }
        store(acts + own, sum);
    }
}
