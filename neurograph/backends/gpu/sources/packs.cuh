// Sixteen bytes at a time, where all arrays allow it.
#pragma once

template <typename T>
struct alignas(16) Pack {
    static constexpr int SIZE = 16 / sizeof(T);
    T at[SIZE];
};

template <typename T>
__device__ __forceinline__ bool on_packs(const T* array) {
    return reinterpret_cast<unsigned long long>(array) % 16 == 0;
}

template <typename T>
__device__ __forceinline__ Pack<T> load_pack(const T* array, long long pack) {
    return reinterpret_cast<const Pack<T>*>(array)[pack];
}

template <typename T>
__device__ __forceinline__ void store_pack(T* array, long long pack, const Pack<T>& values) {
    reinterpret_cast<Pack<T>*>(array)[pack] = values;
}

// The first of the things that this thread takes, and how far it is to its next one.
__device__ __forceinline__ long long first_of_thread() {
    return static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__device__ __forceinline__ long long threads_of_grid() { return static_cast<long long>(gridDim.x) * blockDim.x; }
