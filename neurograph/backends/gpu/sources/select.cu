// The entries of lowest score, exactly as many as wanted, of equal ones those of smallest id: without a sort, digit by
// digit of the scores' bits, and of the ids' where scores are equal. All atomics are on integers: every run is the same.
//
// For each region `threshold` and `until` grow from the highest digit down; in the end an entry is taken if its key is
// below the threshold, or equal to it and its id below `until`. `left` counts what is still to be taken among those that
// agree with the digits found; a region is `open` until these are exactly all that is left.
#include "packs.cuh"

constexpr unsigned ALL_LANES = 0xffffffffu;
constexpr int DIGITS = 256;        // and as many threads in a block
constexpr int CHUNK = 16 * DIGITS;  // entries that a block counts at a time

typedef unsigned long long Wide;
constexpr Wide EVERYTHING = ~0ull;

template <typename T>
struct Bits;

template <>
struct Bits<float> {
    typedef unsigned type;
};

template <>
struct Bits<double> {
    typedef unsigned long long type;
};

template <typename T>
using Key = typename Bits<T>::type;

// No score has this key, so it is that of entries that are no candidates.
template <typename T>
__device__ __forceinline__ Key<T> nobody() {
    return ~Key<T>(0);
}

__device__ __forceinline__ unsigned bits_of(float x) { return __float_as_uint(x); }
__device__ __forceinline__ Wide bits_of(double x) { return static_cast<Wide>(__double_as_longlong(x)); }

// A number that orders as the score does, the other way round for the largest; NaN comes last.
template <typename T>
__device__ __forceinline__ Key<T> key_of(T score, int largest) {
    if (score != score) return nobody<T>() - 1;
    if (score == T(0)) score = T(0);  // no negative zero
    Key<T> bits = bits_of(score);
    const Key<T> sign = Key<T>(1) << (8 * sizeof(T) - 1);
    bits = bits & sign ? ~bits : bits | sign;
    return largest ? ~bits : bits;
}

// Scores out of columns: as they are (0), the absolute value (1), or that of the product of two columns (2). Entries
// with a negative id are nobody, and frozen ones stay out.
template <typename T>
__global__ void rank_entries(int how, const T* first, const T* second, const long long* ids, const bool* frozen,
                             int held, long long n, int largest, Key<T>* keys) {
    for (long long i = first_of_thread(); i < n; i += threads_of_grid()) {
        T score = first[i];
        if (how == 2) score *= second[i];
        if (how != 0 && score < T(0)) score = -score;
        keys[i] = ids[i] < 0 || (held && frozen[i]) ? nobody<T>() : key_of(score, largest);
    }
}

// Whether an entry agrees with the digits found so far, and its next digit: of the key, or of the id where keys agree.
__device__ __forceinline__ bool next_digit(Wide key, long long id, int shift, int of_ids, Wide threshold, Wide until,
                                           int& digit) {
    const Wide number = of_ids ? static_cast<Wide>(id) : key, found = of_ids ? until : threshold;
    digit = static_cast<int>(number >> shift & (DIGITS - 1));
    return (!of_ids || key == threshold) && ((number ^ found) >> shift) / DIGITS == 0;
}

// Add one to the bin of every lane that counts. Most scores begin alike: lanes that agree with the first of them add
// together. All lanes of the warp come here.
__device__ __forceinline__ void add_to_bins(int* bins, bool counts, int digit) {
    const unsigned counting = __ballot_sync(ALL_LANES, counts);
    if (counting == 0) return;
    const int leader = __ffs(counting) - 1, common = __shfl_sync(ALL_LANES, digit, leader);
    const unsigned alike = __ballot_sync(ALL_LANES, counts && digit == common);
    if (static_cast<int>(threadIdx.x % 32) == leader) {
        atomicAdd(&bins[common], __popc(alike));
    } else if (counts && digit != common) {
        atomicAdd(&bins[digit], 1);
    }
}

// Find a digit from how many entries have each; by a whole block. The bins are empty again afterwards.
__device__ void narrow(int* bins, int shift, int of_ids, Wide* threshold, Wide* until, int* left, int* open) {
    __shared__ int running[DIGITS];
    const int t = threadIdx.x, count = bins[t], wanted = *left;
    running[t] = count;
    __syncthreads();
    for (int apart = 1; apart < DIGITS; apart *= 2) {
        const int others = t >= apart ? running[t - apart] : 0;
        __syncthreads();
        running[t] += others;
        __syncthreads();
    }
    bins[t] = 0;
    const int through = running[t], before = through - count;
    if (wanted <= 0) {
        if (t == 0) *threshold = *until = *open = 0;
    } else if (before < wanted && wanted <= through) {
        Wide* number = of_ids ? until : threshold;
        *number |= static_cast<Wide>(t) << shift;
        *left = wanted - before;
        if (wanted == through) {  // all that agree are taken, whatever follows
            *number |= (Wide(1) << shift) - 1;
            *until = of_ids ? *until + 1 : EVERYTHING;
            *open = 0;
        }
    } else if (t == DIGITS - 1 && through < wanted) {
        *threshold = *until = EVERYTHING;
        *open = 0;
    }
    __syncthreads();
}

template <typename T>
__global__ void count_digits(const Key<T>* keys, const long long* ids, const int* regions, long long n, int n_regions,
                             int shift, int of_ids, const Wide* threshold, const Wide* until, const int* open,
                             int* histogram) {
    __shared__ int bins[DIGITS];
    if (n_regions == 1 && !open[0]) return;
    const long long chunks = (n + CHUNK - 1) / CHUNK;
    for (long long chunk = blockIdx.x; chunk < chunks; chunk += gridDim.x) {
        const long long begin = chunk * CHUNK;
        // Entries of a region are neighbours, mostly: those of the first one's are counted in shared memory.
        const int home = n_regions > 1 ? regions[begin] : 0;
        bins[threadIdx.x] = 0;
        __syncthreads();
        for (int k = 0; k < CHUNK; k += DIGITS) {
            const long long i = begin + k + threadIdx.x;
            bool counts = false;
            int digit = 0, region = 0;
            if (i < n && keys[i] != nobody<T>()) {
                if (n_regions > 1) region = regions[i];
                counts = open[region] && next_digit(keys[i], of_ids ? ids[i] : 0, shift, of_ids, threshold[region],
                                                    until[region], digit);
            }
            add_to_bins(bins, counts && region == home, digit);
            if (counts && region != home) atomicAdd(&histogram[static_cast<long long>(region) * DIGITS + digit], 1);
        }
        __syncthreads();
        const int counted = bins[threadIdx.x];
        if (counted) atomicAdd(&histogram[static_cast<long long>(home) * DIGITS + threadIdx.x], counted);
        __syncthreads();
    }
}

__global__ void narrow_regions(int* histogram, int n_regions, int shift, int of_ids, Wide* threshold, Wide* until,
                               int* left, int* open) {
    for (int r = blockIdx.x; r < n_regions; r += gridDim.x) {
        if (open[r]) {
            narrow(histogram + static_cast<long long>(r) * DIGITS, shift, of_ids, threshold + r, until + r, left + r,
                   open + r);
        }
    }
}

template <typename T>
__global__ void mark(const Key<T>* keys, const long long* ids, const int* regions, long long n, int n_regions,
                     const Wide* threshold, const Wide* until, bool* taken) {
    for (long long i = first_of_thread(); i < n; i += threads_of_grid()) {
        const Key<T> key = keys[i];
        bool take = false;
        if (key != nobody<T>()) {
            const int region = n_regions > 1 ? regions[i] : 0;
            const Wide bound = threshold[region];
            take = key < bound || (key == bound && static_cast<Wide>(ids[i]) < until[region]);
        }
        taken[i] = take;
    }
}

// The same where regions are many: a block finds all digits of a row of entries. `taken` is false before.
template <typename T>
__global__ void select_rows(const Key<T>* keys, const long long* ids, const long long* start, const int* length,
                            const int* slot, const int* counts, int n_rows, int id_bits, bool* taken) {
    __shared__ int bins[DIGITS];
    __shared__ Wide threshold, until;
    __shared__ int left, open;
    for (int row = blockIdx.x; row < n_rows; row += gridDim.x) {
        const int* entries = slot + start[row];
        const int n = length[row];
        bins[threadIdx.x] = 0;
        if (threadIdx.x == 0) {
            threshold = until = 0;
            left = counts[row];
            open = 1;
        }
        __syncthreads();
        for (int pass = 0; pass < 2; ++pass) {
            for (int shift = (pass ? id_bits : 8 * static_cast<int>(sizeof(T))) - 8; shift >= 0 && open; shift -= 8) {
                for (int k = 0; k < n; k += DIGITS) {
                    bool counts_here = false;
                    int digit = 0;
                    if (k + static_cast<int>(threadIdx.x) < n) {
                        const int i = entries[k + threadIdx.x];
                        const Key<T> key = keys[i];
                        counts_here = key != nobody<T>() &&
                                      next_digit(key, pass ? ids[i] : 0, shift, pass, threshold, until, digit);
                    }
                    add_to_bins(bins, counts_here, digit);
                }
                __syncthreads();
                narrow(bins, shift, pass, &threshold, &until, &left, &open);
            }
        }
        for (int k = threadIdx.x; k < n; k += DIGITS) {
            const int i = entries[k];
            const Key<T> key = keys[i];
            if (key != nobody<T>() && (key < threshold || (key == threshold && static_cast<Wide>(ids[i]) < until))) {
                taken[i] = true;
            }
        }
        __syncthreads();  // the next row starts when all have read what was found
    }
}
