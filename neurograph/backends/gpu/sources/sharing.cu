// Parameters that several tenants share. key[i] is the row of tenant i's parameter plus one, 0 for a value of its own.
#include "packs.cuh"
#include "sums.cuh"

template <typename T>
__global__ void spread(const int* key, const T* shared, T* own, long long n) {
    for (long long i = first_of_thread(); i < n; i += threads_of_grid()) {
        const int k = key[i];
        if (k > 0) own[i] = shared[k - 1];
    }
}

// The gradients of up to `size` tenants of one parameter, added up by a warp. Parameters whose tenants fill more than
// one chunk are left to add_chunks.
template <typename T>
__global__ void add_tenants(const int* tenant, const long long* start, const int* first_chunk,
                            const int* parameter_of_chunk, int n_chunks, int size, const T* own, double* partials,
                            T* shared) {
    const long long warps = threads_of_grid() / 32;
    for (long long chunk = first_of_thread() / 32; chunk < n_chunks; chunk += warps) {
        const int parameter = parameter_of_chunk[chunk], number = chunk - first_chunk[parameter];
        const long long end = start[parameter + 1], begin = start[parameter] + static_cast<long long>(number) * size;
        const long long stop = begin + size < end ? begin + size : end;
        double sum = 0;
        for (long long k = begin + threadIdx.x % 32; k < stop; k += 32) sum += own[tenant[k]];
        sum = warp_sum(sum);
        if (threadIdx.x % 32 == 0) {
            if (first_chunk[parameter + 1] - first_chunk[parameter] == 1) {
                shared[parameter] = static_cast<T>(sum);
            } else {
                partials[chunk] = sum;
            }
        }
    }
}

// A warp for each parameter that has no chunk, and gets zero, or several.
template <typename T>
__global__ void add_chunks(const int* first_chunk, int n_parameters, const double* partials, T* shared) {
    const long long warps = threads_of_grid() / 32;
    for (long long parameter = first_of_thread() / 32; parameter < n_parameters; parameter += warps) {
        const int begin = first_chunk[parameter], end = first_chunk[parameter + 1];
        if (end - begin == 1) continue;
        double sum = 0;
        for (int chunk = begin + threadIdx.x % 32; chunk < end; chunk += 32) sum += partials[chunk];
        sum = warp_sum(sum);
        if (threadIdx.x % 32 == 0) shared[parameter] = static_cast<T>(sum);
    }
}
