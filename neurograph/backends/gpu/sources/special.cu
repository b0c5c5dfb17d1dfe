// Aggregations whose terms do not add up: product, max, min, maxabs and median, one sample of one neuron a thread.
#include "neuron.cuh"
#include "four.cuh"
#include "rows.cuh"

// A number whose bits are in the order of the values.
__device__ inline unsigned ordered_bits(float v) {
    unsigned u = __float_as_uint(v);
    return u >> 31 ? ~u : u | 0x80000000u;
}

__device__ inline unsigned long long ordered_bits(double v) {
    unsigned long long u = __double_as_longlong(v);
    return u >> 63 ? ~u : u | 0x8000000000000000ull;
}

__device__ inline float value_of(unsigned u) { return __uint_as_float(u >> 31 ? u & 0x7fffffffu : ~u); }

__device__ inline double value_of(unsigned long long u) {
    return __longlong_as_double(u >> 63 ? u & 0x7fffffffffffffffull : ~u);
}

// The terms of one neuron and sample.
template <typename T>
struct Terms {
    const int *other, *slot;
    const T *weight, *x;
    int count, ld;

    __device__ T operator()(int k) const { return weight[slot[k]] * x[(long long)other[k] * ld]; }

    // The term that sorting would put at `rank`: the largest number below which at most so many terms are, bit by bit.
    __device__ T ranked(int rank) const {
        auto found = ordered_bits(T(0));
        found = 0;
        for (int bit = int(sizeof found) * 8 - 1; bit >= 0; --bit) {
            auto tried = found;
            tried |= decltype(found)(1) << bit;
            int below = 0;
            for (int k = 0; k < count; ++k) below += ordered_bits((*this)(k)) < tried;
            if (below <= rank) found = tried;
        }
        return value_of(found);
    }

    __device__ int equal_to(T value) const {
        int equal = 0;
        for (int k = 0; k < count; ++k) equal += (*this)(k) == value;
        return equal;
    }
};

// One step of `count` neurons from order[first] on. `kept` gets, in four rows a neuron, what the gradient needs.
// Product: the product of the terms that are not zero, and how many are zero. Max, min and maxabs: the value, and how
// many terms reach it. Median: the two middle terms (one, if their number is odd), and how many terms equal each.
template <typename T>
__global__ void aggregate_special(const int* order, int first, int count, const int* special, int n_special,
                                  const long long* start, const int* length, const int* other, const int* slot,
                                  const T* weight, const T* bias, const signed char* activation, const T* parameter,
                                  const signed char* aggregation, const T* time_constant, int leaks, T* acts, T* z,
                                  int keep_z, T* kept, int step, long long base, int n, int batch, int ld) {
    long long task = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (task >= (long long)count * ld) return;
    int column = task % ld, r = order[first + task / ld], kind = aggregation[r];
    Terms<T> term = {other + start[r], slot + start[r], weight, acts + base * ld + column, length[r], ld};
    T best = kind == PRODUCT ? T(1) : T(0), ties = T(0), value = T(0);
    T* keep = kept + ((long long)step * n_special + special[r]) * 4 * ld + column;
    if (kind == MEDIAN) {
        if (term.count > 0) {
            best = term.ranked((term.count - 1) / 2);
            ties = term.ranked(term.count / 2);
            value = (best + ties) / T(2);
            keep[2 * ld] = T(term.equal_to(best));
            keep[3 * ld] = T(term.equal_to(ties));
        }
    } else {
        for (int k = 0; k < term.count; ++k) {
            T t = term(k);
            if (kind == PRODUCT) {
                if (t == T(0))
                    ties += T(1);
                else
                    best *= t;
            } else if (k == 0 || (kind == MAX && t > best) || (kind == MIN && t < best) ||
                       (kind == MAXABS && fabs(t) > fabs(best))) {
                best = t;
                ties = T(1);
            } else if (t == best) {
                ties += T(1);
            }
        }
        value = kind == PRODUCT && ties > T(0) ? T(0) : best;
    }
    keep[0] = best;
    keep[ld] = ties;
    long long own = (base + r) * ld + column;
    T v = value + bias[r];
    if (leaks && time_constant[r] != T(1)) {
        T fresh = T(1) / time_constant[r];
        v = fresh * v + (T(1) - fresh) * z[own - (long long)n * ld];
    }
    bool filling = column >= batch;
    if (keep_z) z[own] = filling ? T(0) : v;
    acts[own] = filling ? T(0) : activate<T>(activation[r], parameter[r], v);
}

// Derivative of an aggregation by one of its terms, from what was kept.
template <typename T>
__device__ inline T share_of(int kind, T term, const T* keep, int ld) {
    T best = keep[0], ties = keep[ld];
    if (kind == PRODUCT) {
        if (ties == T(0)) return best / term;
        return ties == T(1) && term == T(0) ? best : T(0);
    }
    if (kind != MEDIAN) return term == best ? T(1) / ties : T(0);
    T share = T(0);
    if (term == best) share += T(0.5) / keep[2 * ld];
    if (term == ties) share += T(0.5) / keep[3 * ld];
    return share;
}

// What `count` sources from order[first] on, a warp each, get from special targets: added to the gradients of the
// weights, and, unless they are `constant`, left in `by_special` for `backward_rows`.
template <typename T>
__global__ void __launch_bounds__(128)
    spread_special(const int* order, int first, int count, int constant, const int* special, int n_special,
                               const long long* start, const int* length, const int* other, const int* slot,
                               const T* weight, T* grad, const signed char* aggregation, const T* acts, const T* kept,
                               const T* delta_special, T* by_special, int step, int steps, long long at_acts, int n,
                               int batch, int ld) {
    int task = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (task >= count) return;  // the whole warp
    int r = order[first + task], lane = threadIdx.x % 32;
    const T* x = acts + (at_acts + r) * ld;
    T* sum = by_special + (long long)r * ld;
    if (!constant)
        for (int column = lane; column < ld; column += 32) sum[column] = T(0);
    for (long long k = start[r]; k < start[r] + length[r]; ++k) {
        int target = other[k] % n, at = step + other[k] / n, q = special[target];
        if (q < 0 || at < 0 || at >= steps) continue;
        long long row = (long long)at * n_special + q;
        T w = weight[slot[k]], gradient = T(0);
        for (int column = lane; column < batch; column += 32) {
            T share = share_of(aggregation[target], w * x[column], kept + row * 4 * ld + column, ld);
            T by_term = share * delta_special[row * ld + column];
            if (!constant) sum[column] += w * by_term;
            gradient += x[column] * by_term;
        }
        gradient = add_lanes<T, 32>(gradient);
        if (lane == 0) grad[slot[k]] += gradient;
    }
}
