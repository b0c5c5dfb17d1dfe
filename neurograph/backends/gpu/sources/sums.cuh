// Sums whose order is fixed, so that they are the same in every run.
#pragma once

constexpr unsigned ALL_LANES = 0xffffffffu;

// The sum over a warp, in every lane.
__device__ __forceinline__ double warp_sum(double x) {
#pragma unroll
    for (int apart = 16; apart > 0; apart /= 2) x += __shfl_xor_sync(ALL_LANES, x, apart);
    return x;
}

__device__ __forceinline__ double warp_max(double x) {
#pragma unroll
    for (int apart = 16; apart > 0; apart /= 2) x = fmax(x, __shfl_xor_sync(ALL_LANES, x, apart));
    return x;
}

// The sum over a block of THREADS, in every thread. All of them have to come here.
template <int THREADS>
__device__ double block_sum(double x) {
    __shared__ double sums[THREADS / 32];
    x = warp_sum(x);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = x;
    __syncthreads();
    double total = 0;
#pragma unroll
    for (int warp = 0; warp < THREADS / 32; ++warp) total += sums[warp];
    __syncthreads();  // nobody writes the sums of the next call before all have read these
    return total;
}
