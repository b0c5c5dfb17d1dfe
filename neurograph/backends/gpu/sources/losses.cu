// Losses and their gradients, in double precision. Formulas: neurograph/functions/losses.py.
//
// Arrays are given with the distances between their rows and between their columns, counted in elements. Blocks take
// chunks of fixed size and leave the sum of each in `partials`; `finish` adds these up. What is no valid target makes
// the loss NaN, and nothing is read out of bounds for it.
#include "sums.cuh"

constexpr int BLOCK = 256;
constexpr int ROWS_A_CHUNK = BLOCK / 32;    // a warp for each sample
constexpr int PAIRS_A_CHUNK = 4 * BLOCK;    // outputs, where each is compared by itself

enum Kind { MSE = 0, MAE = 1, HUBER = 2, BINARY_CROSS_ENTROPY = 3 };

__device__ __forceinline__ double not_a_number() { return nan(""); }

// The exact bound of the definition: a float32 softmax exceeds 1 by rounding.
__device__ __forceinline__ bool is_probability(double y) { return y >= 0 && y <= 1 + 1e-6; }

// The loss of one output; `slope` becomes its derivative. Both are still to be divided by the number of outputs.
__device__ __forceinline__ double compare(int kind, double output, double target, double& slope) {
    const double error = output - target;
    if (kind == MSE) {
        slope = 2 * error;
        return error * error;
    }
    if (kind == MAE) {
        slope = error > 0 ? 1 : error < 0 ? -1 : error;  // of NaN NaN
        return fabs(error);
    }
    if (kind == HUBER) {
        slope = error < -1 ? -1 : error > 1 ? 1 : error;
        return slope * (error - 0.5 * slope);
    }
    const double small = exp(-fabs(output));  // at most 1, so nothing overflows
    slope = (output >= 0 ? 1 : small) / (1 + small) - target;
    if (!is_probability(target)) return not_a_number();
    return (output > 0 ? output : 0) - output * target + log1p(small);
}

template <typename T, typename U>
__global__ void compare_each(int kind, const T* outputs, long long o_row, long long o_column, const U* targets,
                             long long t_row, long long t_column, long long rows, long long columns, T* gradient,
                             long long g_row, long long g_column, double* partials) {
    const long long count = rows * columns, chunks = (count + PAIRS_A_CHUNK - 1) / PAIRS_A_CHUNK;
    for (long long chunk = blockIdx.x; chunk < chunks; chunk += gridDim.x) {
        double sum = 0;
#pragma unroll
        for (int i = 0; i < PAIRS_A_CHUNK / BLOCK; ++i) {
            const long long k = chunk * PAIRS_A_CHUNK + i * BLOCK + threadIdx.x;
            if (k < count) {
                const long long row = rows == 1 ? 0 : k / columns, column = k - row * columns;
                const double target = targets[row * t_row + column * t_column];
                double slope;
                sum += compare(kind, outputs[row * o_row + column * o_column], target, slope);
                gradient[row * g_row + column * g_column] = static_cast<T>(slope / count);
            }
        }
        sum = block_sum<BLOCK>(sum);
        if (threadIdx.x == 0) partials[chunk] = sum;
    }
}

// What a sample's softmax needs: its largest output, and the sum of the exponentials above that.
template <typename T>
__device__ __forceinline__ void softmax(const T* outputs, long long apart, long long columns, double& top,
                                        double& total) {
    top = outputs[0];
    for (long long j = threadIdx.x % 32; j < columns; j += 32) top = fmax(top, static_cast<double>(outputs[j * apart]));
    top = warp_max(top);
    total = 0;
    for (long long j = threadIdx.x % 32; j < columns; j += 32) total += exp(outputs[j * apart] - top);
    total = warp_sum(total);
}

template <typename T>
__global__ void cross_entropy(const T* outputs, long long o_row, long long o_column, const long long* labels,
                              long long rows, long long columns, T* gradient, long long g_row, long long g_column,
                              double* partials) {
    const long long chunks = (rows + ROWS_A_CHUNK - 1) / ROWS_A_CHUNK;
    for (long long chunk = blockIdx.x; chunk < chunks; chunk += gridDim.x) {
        const long long row = chunk * ROWS_A_CHUNK + threadIdx.x / 32;
        double loss = 0;
        if (row < rows) {
            const T* sample = outputs + row * o_row;
            double top, total;
            softmax(sample, o_column, columns, top, total);
            const long long label = labels[row];
            const bool known = label >= 0 && label < columns;
            loss = known ? log(total) - (sample[label * o_column] - top) : not_a_number();
            for (long long j = threadIdx.x % 32; j < columns; j += 32) {
                const double share = exp(sample[j * o_column] - top) / total;
                gradient[row * g_row + j * g_column] = static_cast<T>((j == label ? share - 1 : share) / rows);
            }
        }
        loss = block_sum<BLOCK>(threadIdx.x % 32 == 0 ? loss : 0);
        if (threadIdx.x == 0) partials[chunk] = loss;
    }
}

template <typename T, typename U>
__global__ void cross_entropy_of_shares(const T* outputs, long long o_row, long long o_column, const U* targets,
                                        long long t_row, long long t_column, long long rows, long long columns,
                                        T* gradient, long long g_row, long long g_column, double* partials) {
    const long long chunks = (rows + ROWS_A_CHUNK - 1) / ROWS_A_CHUNK;
    for (long long chunk = blockIdx.x; chunk < chunks; chunk += gridDim.x) {
        const long long row = chunk * ROWS_A_CHUNK + threadIdx.x / 32;
        double loss = 0;
        if (row < rows) {
            const T* sample = outputs + row * o_row;
            const U* wanted = targets + row * t_row;
            double top, total, all = 0;
            softmax(sample, o_column, columns, top, total);
            const double log_total = log(total);
            for (long long j = threadIdx.x % 32; j < columns; j += 32) {
                const double target = wanted[j * t_column];
                all += target;
                loss += is_probability(target) ? target * (log_total - (sample[j * o_column] - top)) : not_a_number();
            }
            all = warp_sum(all);
            for (long long j = threadIdx.x % 32; j < columns; j += 32) {
                const double share = exp(sample[j * o_column] - top) / total;
                gradient[row * g_row + j * g_column] = static_cast<T>((share * all - wanted[j * t_column]) / rows);
            }
        }
        loss = block_sum<BLOCK>(loss);
        if (threadIdx.x == 0) partials[chunk] = loss;
    }
}

// The mean loss, by one block.
template <int THREADS>
__global__ void finish(const double* partials, long long n, double count, double* value) {
    double sum = 0;
    for (long long i = threadIdx.x; i < n; i += THREADS) sum += partials[i];
    sum = block_sum<THREADS>(sum);
    if (threadIdx.x == 0) *value = sum / count;
}
