// What goes between callers' arrays and rows of samples, and what is brought into the order of the rows once a pass.

// Callers' arrays are (batch, steps, columns), rows lie step after step: a block turns tiles of 32 columns and samples.
template <typename T>
__global__ void to_rows(const T* array, const int* slots, int columns, int steps, int batch, T* rows, long long base,
                        int n, int ld) {
    __shared__ T tile[32][33];
    int column = blockIdx.x * 32, sample = blockIdx.y * 32;
    for (int step = blockIdx.z; step < steps; step += gridDim.z) {
        for (int i = threadIdx.y; i < 32; i += blockDim.y) {
            int b = sample + i, c = column + threadIdx.x;
            if (c < columns) tile[i][threadIdx.x] = b < batch ? array[((long long)b * steps + step) * columns + c] : T(0);
        }
        __syncthreads();
        for (int i = threadIdx.y; i < 32; i += blockDim.y) {
            int b = sample + threadIdx.x, c = column + i;
            if (c < columns && b < ld) rows[(base + (long long)step * n + slots[c]) * ld + b] = tile[threadIdx.x][i];
        }
        __syncthreads();
    }
}

template <typename T>
__global__ void from_rows(T* array, const int* slots, int columns, int steps, int batch, const T* rows, long long base,
                          int n, int ld) {
    __shared__ T tile[32][33];
    int column = blockIdx.x * 32, sample = blockIdx.y * 32;
    for (int step = blockIdx.z; step < steps; step += gridDim.z) {
        for (int i = threadIdx.y; i < 32; i += blockDim.y) {
            int b = sample + threadIdx.x, c = column + i;
            if (c < columns && b < batch) tile[threadIdx.x][i] = rows[(base + (long long)step * n + slots[c]) * ld + b];
        }
        __syncthreads();
        for (int i = threadIdx.y; i < 32; i += blockDim.y) {
            int b = sample + i, c = column + threadIdx.x;
            if (c < columns && b < batch) array[((long long)b * steps + step) * columns + c] = tile[i][threadIdx.x];
        }
        __syncthreads();
    }
}

// A column of the connections, entry after entry of the rows (their slack too, which names connections as well).
template <typename T>
__global__ void in_order(const T* column, const int* slot, long long count, T* ordered) {
    long long k = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (k < count) ordered[k] = column[slot[k]];
}

// The far end of every entry as a displacement from the first row of the step, `rows` further for each step of delay.
__global__ void displace(const int* other, const int* slot, const short* delay, long long count, int rows,
                         int* displaced) {
    long long k = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (k < count) displaced[k] = other[k] + delay[slot[k]] * rows;
}
