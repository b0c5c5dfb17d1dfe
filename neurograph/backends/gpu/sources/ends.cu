// What is left to do for sources whose gradients by output were summed elsewhere: deltas, and gradients of biases.
#include "buckets.cuh"
#include "neuron.cuh"

__device__ __forceinline__ void load_four(const float* at, float (&value)[4]) {
    const float4 v = *reinterpret_cast<const float4*>(at);
    value[0] = v.x;
    value[1] = v.y;
    value[2] = v.z;
    value[3] = v.w;
}

__device__ __forceinline__ void store_four(float* at, const float (&value)[4]) {
    *reinterpret_cast<float4*>(at) = make_float4(value[0], value[1], value[2], value[3]);
}

// `sums` and `delta`, which may be the same, `y` and `z` have a row for each slot, all of `ld` columns, `by_output` one
// for each output (-1 in `output`: the neuron is none). A mean's delta is divided by its fan-in as it is stored. One
// warp a row.
__global__ void finish_sources(const int* __restrict__ rows, int n_rows, const float* sums,
                               const int* __restrict__ output, const float* __restrict__ by_output,
                               const float* __restrict__ y, const float* __restrict__ z,
                               const signed char* __restrict__ activation, const float* __restrict__ parameter,
                               const signed char* __restrict__ aggregation, const int* __restrict__ fan_in, float* delta,
                               float* bias_grad, bool add, int batch, int ld) {
    const int lane = threadIdx.x % 32, row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (row >= n_rows) return;
    const int slot = rows[row], code = activation[slot], column_of = output[slot];
    const float own = parameter[slot];
    const float divisor = aggregation[slot] == MEAN && fan_in[slot] > 0 ? static_cast<float>(fan_in[slot]) : 1.0f;
    const bool reads_z = slope_reads_z(code);
    float total = 0;
    for (int column = lane * 4; column < ld; column += 128) {
        const long long at = static_cast<long long>(slot) * ld + column;
        float sum[4], out[4], inner[4];
        load_four(sums + at, sum);
        load_four(y + at, out);
        if (reads_z) {
            load_four(z + at, inner);
        } else {
            load_four(y + at, inner);
        }
        if (column_of >= 0) {
            float given[4];
            load_four(by_output + static_cast<long long>(column_of) * ld + column, given);
#pragma unroll
            for (int i = 0; i < 4; ++i) sum[i] += given[i];
        }
#pragma unroll 1
        for (int turn = 0; turn < 4; ++turn) {  // turned round, so that the code of all derivatives is there once
            const float d = column + turn < batch ? sum[0] * slope(code, own, out[0], inner[0]) : 0.0f;
            total += d;
#pragma unroll
            for (int i = 0; i < 3; ++i) {
                sum[i] = sum[i + 1];
                out[i] = out[i + 1];
                inner[i] = inner[i + 1];
            }
            sum[3] = d / divisor;
        }
        store_four(delta + at, sum);
    }
#pragma unroll
    for (int offset = 1; offset < 32; offset *= 2) total += __shfl_xor_sync(ALL, total, offset);
    if (lane == 0) bias_grad[slot] = add ? bias_grad[slot] + total : total;
}
