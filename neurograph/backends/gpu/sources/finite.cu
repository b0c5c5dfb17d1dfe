// Whether an array holds infinity or what is not a number.
#include "packs.cuh"

template <typename T>
__device__ __forceinline__ bool is_finite(T x) {
    return x - x == T(0);
}

template <typename T>
__global__ void find_non_finite(const T* x, long long n, int* found) {
    constexpr int SIZE = Pack<T>::SIZE;
    const long long n_packs = on_packs(x) ? n / SIZE : 0;
    bool finite = true;
    for (long long p = first_of_thread(); p < n_packs; p += threads_of_grid()) {
        const Pack<T> values = load_pack(x, p);
#pragma unroll
        for (int i = 0; i < SIZE; ++i) finite = finite && is_finite(values.at[i]);
    }
    for (long long i = n_packs * SIZE + first_of_thread(); i < n; i += threads_of_grid()) {
        finite = finite && is_finite(x[i]);
    }
    if (!finite) *found = 1;  // whoever writes writes the same
}
