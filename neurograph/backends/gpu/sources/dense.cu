// Dense blocks: their weights as a matrix, target after target, their gradients back, and rows side by side.
#include <cuda_bf16.h>

// The type of a matrix: that of the network, or bf16.
template <typename T, bool NARROW>
struct Number {
    using type = T;
    __device__ static T of(T x) { return x; }
};
template <typename T>
struct Number<T, true> {
    using type = __nv_bfloat16;
    __device__ static __nv_bfloat16 of(T x) { return __float2bfloat16((float)x); }
};

// matrix[i * width + position[source]] = weight of the connection into targets[i], of those sources that are in a
// cluster; zero elsewhere. One block a target.
template <typename T, bool NARROW>
__global__ void fill_block(const int* targets, const long long* start, const int* length, const int* other,
                           const int* slot, const int* cluster, const int* position, int of, const T* weight, int width,
                           typename Number<T, NARROW>::type* matrix) {
    int target = targets[blockIdx.x];
    auto* row = matrix + blockIdx.x * (long long)width;
    for (int i = threadIdx.x; i < width; i += blockDim.x) row[i] = Number<T, NARROW>::of(T(0));
    __syncthreads();
    long long first = start[target];
    for (int k = threadIdx.x; k < length[target]; k += blockDim.x) {
        int source = other[first + k];
        if (cluster[source] == of) row[position[source]] = Number<T, NARROW>::of(weight[slot[first + k]]);
    }
}

// The gradients of a block's connections out of such a matrix, written or added. One block a target.
template <typename T>
__global__ void collect_block(const int* targets, const long long* start, const int* length, const int* other,
                              const int* slot, const int* cluster, const int* position, int of, const T* matrix,
                              int width, bool add, T* grad) {
    int target = targets[blockIdx.x];
    const T* row = matrix + blockIdx.x * (long long)width;
    long long first = start[target];
    for (int k = threadIdx.x; k < length[target]; k += blockDim.x) {
        int source = other[first + k];
        if (cluster[source] != of) continue;
        int at = slot[first + k];
        T value = row[position[source]];
        grad[at] = add ? grad[at] + value : value;
    }
}

// out[i * width + sample] = rows[slots[i] * ld + sample], and zeros from column ld on.
template <typename T, bool NARROW>
__global__ void take_rows(const int* slots, const T* rows, int ld, int width, typename Number<T, NARROW>::type* out) {
    const T* row = rows + slots[blockIdx.x] * (long long)ld;
    for (int i = threadIdx.x; i < width; i += blockDim.x)
        out[blockIdx.x * (long long)width + i] = Number<T, NARROW>::of(i < ld ? row[i] : T(0));
}

// rows[slots[i] * ld + sample] = (or +=) sums[i * ld + sample]
template <typename T>
__global__ void put_rows(const int* slots, const T* sums, int ld, bool add, T* rows) {
    T* row = rows + slots[blockIdx.x] * (long long)ld;
    for (int i = threadIdx.x; i < ld; i += blockDim.x) {
        T value = sums[blockIdx.x * (long long)ld + i];
        row[i] = add ? row[i] + value : value;
    }
}
