// What one device can do at best: bytes a second out of its L2 cache, and launches of a kernel that does nothing.
#include "launch.cuh"

__global__ void nothing() {}

// Every thread reads the whole array, 16 bytes at a time and past L1, in as many rounds; count is a power of two.
// The sum is only written where it is a number that does not occur, so that no read can be left out.
__global__ void read_often(const float4 *x, int count, int rounds, float *never)
{
    const int mask = count - 1, stride = gridDim.x * blockDim.x, first = blockIdx.x * blockDim.x + threadIdx.x;
    float sum = 0.0f;
    for (int round = 0; round < rounds; ++round) {
#pragma unroll 4
        for (int k = 0; k < count; k += stride) {
            const float4 v = __ldcg(x + ((first + k + round * 4128) & mask));
            sum += (v.x + v.y) + (v.z + v.w);
        }
    }
    if (sum == -1.0f)
        never[0] = sum;
}
