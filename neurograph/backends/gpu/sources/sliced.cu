// A deep, narrow network in one launch. A block owns COLUMNS samples, a slice of the batch, and walks all time steps and
// generations alone: samples never meet, so that a barrier within the block is all that generations need.
//
// COLUMNS neighbouring threads are a group, one thread a sample, and compute one neuron a turn. Which neuron a group
// computes in which turn stands in a table (-1 for none): turns end where generations end. The walk is bound by the
// latency of loads that depend on one another (turn, row, entry, weight), so each turn loads what later turns need, and
// waits for nothing but what the turn before has computed.
#include "launch.cuh"
#include "neuron.cuh"

constexpr unsigned ALL = 0xffffffffu;
constexpr int CHUNK = 8;  // entries of a row that are in flight together
constexpr int THREADS = 512;

// The connections of a neuron, one way.
struct Rows {
    const long long* start;
    const int* length;
    const int* other;
    const int* slot;
    const short* delay;  // by connection; null where none has one
    long long n;         // rows of one time step
};

// A group's way through the turns, whose loads run ahead: neurons four turns, the ends of their rows three, their first
// entries two, and the weights of these one.
template <typename T, int COLUMNS, int DIRECTION>
struct Walk {
    const Rows& rows;
    const T* weights;
    const int* turns;
    int count, next;
    int neuron[5];  // of this turn and of those that follow
    long long begin[4], end[4];
    int slot[3], other[3];  // this thread's entry
    T weight[2];
    int far[2];

    __device__ Walk(const Rows& rows, const T* weights, const int* turns, int count)
        : rows(rows), weights(weights), turns(turns), count(count), next(0) {
        for (int i = 0; i < 4; ++i) neuron[i] = read();
        for (int i = 0; i < 3; ++i) ends(i);
        for (int i = 0; i < 2; ++i) entry(begin[i], end[i], slot[i], other[i]);
        value(slot[0], other[0], weight[0], far[0]);
    }

    // The group's neuron in the turn after the last one read; after the last turn the first follows, a step later.
    __device__ int read() {
        int r = turns[(long long)next * (blockDim.x / COLUMNS) + threadIdx.x / COLUMNS];
        next = next + 1 == count ? 0 : next + 1;
        return r;
    }

    __device__ void ends(int turn) {
        int r = neuron[turn];
        begin[turn] = r < 0 ? 0 : rows.start[r];
        end[turn] = r < 0 ? 0 : begin[turn] + rows.length[r];
    }

    // This thread's entry of the chunk that begins at k.
    __device__ void entry(long long k, long long end, int& slot, int& other) const {
        k += threadIdx.x % CHUNK;
        slot = k < end ? rows.slot[k] : -1;
        other = k < end ? rows.other[k] : 0;
    }

    // Its weight, and the row of its far end, counted from the first row of the step.
    __device__ void value(int slot, int other, T& weight, int& far) const {
        weight = slot < 0 ? T(0) : weights[slot];
        far = rows.delay == nullptr || slot < 0 ? other : other + DIRECTION * rows.delay[slot] * (int)rows.n;
    }

    // Issue the loads for later turns.
    __device__ void ahead() {
        neuron[4] = read();
        ends(3);
        entry(begin[2], end[2], slot[2], other[2]);
        value(slot[1], other[1], weight[1], far[1]);
    }

    // On to the next turn.
    __device__ void advance() {
        for (int i = 0; i < 4; ++i) neuron[i] = neuron[i + 1];
        for (int i = 0; i < 3; ++i) begin[i] = begin[i + 1], end[i] = end[i + 1];
        for (int i = 0; i < 2; ++i) slot[i] = slot[i + 1], other[i] = other[i + 1];
        weight[0] = weight[1];
        far[0] = far[1];
    }
};

// What a neuron does with its sum; loaded a turn ahead as well.
template <typename T>
struct Neuron {
    int code, kind;
    T parameter, tau;

    __device__ void load(int r, const signed char* activation, const signed char* aggregation, const T* parameters,
                         const T* time_constant, int leaks) {
        code = r < 0 ? IDENTITY : activation[r];
        kind = r < 0 ? SUM : aggregation[r];
        parameter = r < 0 ? T(0) : parameters[r];
        tau = r < 0 || !leaks ? T(1) : time_constant[r];
    }
};

// Sum over the samples of a group, in every one of its threads.
template <int COLUMNS, typename T>
__device__ T over_columns(T value) {
#pragma unroll
    for (int apart = COLUMNS / 2; apart > 0; apart /= 2) value += __shfl_xor_sync(ALL, value, apart);
    return value;
}

// Activations of all steps and generations; those of inputs, and of steps before the first, are there.
template <typename T, int COLUMNS>
__global__ void __launch_bounds__(THREADS, 1) forward_slices(
    const int* __restrict__ turns, int n_turns, int steps, int history, int n, const long long* __restrict__ start,
    const int* __restrict__ length, const int* __restrict__ other, const int* __restrict__ slot,
    const short* __restrict__ delay, int delayed, const T* __restrict__ weight, const T* __restrict__ bias,
    const signed char* __restrict__ activation, const T* __restrict__ parameter,
    const signed char* __restrict__ aggregation, const T* __restrict__ time_constant, int leaks, T* acts, T* z,
    int keep_z, int batch, int ld) {
    const Rows rows = {start, length, other, slot, delayed ? delay : nullptr, n};
    const int column = blockIdx.x * COLUMNS + threadIdx.x % COLUMNS;
    const bool inside = column < ld;
    Walk<T, COLUMNS, -1> walk(rows, weight, turns, n_turns);
    Neuron<T> own, later;
    own.load(walk.neuron[0], activation, aggregation, parameter, time_constant, leaks);
    T shift = walk.neuron[0] < 0 ? T(0) : bias[walk.neuron[0]];
    for (int t = 0; t < steps; ++t) {
        const long long base = (long long)(history + t) * n;
        const T* here = acts + base * ld + column;
        for (int turn = 0; turn < n_turns; ++turn) {
            walk.ahead();
            const int r = walk.neuron[0], follower = walk.neuron[1];
            later.load(follower, activation, aggregation, parameter, time_constant, leaks);
            const T later_shift = follower < 0 ? T(0) : bias[follower];
            T sum = T(0), w = walk.weight[0];
            int far = walk.far[0], s, o;
            const long long end = walk.end[0];
            walk.entry(walk.begin[0] + CHUNK, end, s, o);
            for (long long k = walk.begin[0]; __any_sync(ALL, k < end); k += CHUNK) {
                T x[CHUNK];
#pragma unroll
                for (int j = 0; j < CHUNK; ++j) {
                    const int row = __shfl_sync(ALL, far, j, COLUMNS);
                    x[j] = inside && k + j < end ? here[(long long)row * ld] : T(0);
                }
                T w_next = T(0);
                if (__any_sync(ALL, k + CHUNK < end)) {
                    walk.value(s, o, w_next, far);
                    walk.entry(k + 2 * CHUNK, end, s, o);
                }
#pragma unroll
                for (int j = 0; j < CHUNK; ++j) sum += __shfl_sync(ALL, w, j, COLUMNS) * x[j];
                w = w_next;
            }
            if (r >= 0 && inside) {
                const long long at = (base + r) * ld + column;
                const int fan_in = (int)(end - walk.begin[0]);
                T v = (own.kind == MEAN ? sum / T(fan_in > 0 ? fan_in : 1) : sum) + shift;
                if (own.tau != T(1)) {
                    const T rate = T(1) / own.tau;
                    v = rate * v + (T(1) - rate) * z[at - (long long)n * ld];
                }
                const bool real = column < batch;
                if (keep_z) z[at] = real ? v : T(0);
                acts[at] = real ? activate(own.code, own.parameter, v) : T(0);
            }
            __syncthreads();
            walk.advance();
            own = later;
            shift = later_shift;
        }
    }
}

// Deltas of all steps and generations, last ones first, and what each slice adds to the gradients.
//
// By source, and fused: one load of a target's delta feeds the source's sum and the weight's product. The turns are the
// generations backwards, then the inputs, which have no delta; neither have the steps before the first (t < 0), which
// run where a carried state counts as inputs do. Row (first_delta + t) * n + r of `delta` is that of neuron r at step t;
// the rows of the `history` steps after the last one are there. `partial` has `places` entries a slice for the weights,
// by place in the rows, then n for the biases.
template <typename T, int COLUMNS>
__global__ void __launch_bounds__(THREADS, 1) backward_slices(
    const int* __restrict__ turns, int n_turns, int input_turns, int steps, int before, int history, int first_delta,
    int n, const long long* __restrict__ start, const int* __restrict__ length, const int* __restrict__ other,
    const int* __restrict__ slot, const short* __restrict__ delay, int delayed, const int* __restrict__ fan_in,
    const T* __restrict__ weight, const signed char* __restrict__ activation, const T* __restrict__ parameter,
    const signed char* __restrict__ aggregation, const T* __restrict__ time_constant, int leaks,
    const int* __restrict__ output, int n_outputs, const T* __restrict__ gradient, const T* __restrict__ acts,
    const T* __restrict__ z, int has_z, T* delta, T* partial, long long places, int batch, int ld) {
    const Rows rows = {start, length, other, slot, delayed ? delay : nullptr, n};
    const int lane = threadIdx.x % COLUMNS, column = blockIdx.x * COLUMNS + lane;
    const bool inside = column < ld;
    T* sums = partial + blockIdx.x * (places + n);
    Walk<T, COLUMNS, 1> walk(rows, weight, turns, n_turns);
    Neuron<T> neuron, later;
    neuron.load(walk.neuron[0], activation, aggregation, parameter, time_constant, leaks);
    int of_output = walk.neuron[0] < 0 ? -1 : output[walk.neuron[0]];
    int terms = walk.neuron[0] < 0 ? 1 : fan_in[walk.neuron[0]];
    for (int back = 0; back < steps + before; ++back) {
        const int t = steps - 1 - back;
        const long long base = (long long)(history + t) * n, first = (long long)(first_delta + t) * n;
        const T* here = delta + first * ld + column;
        const long long none = t < 0 ? -(long long)t * n : 0;  // rows of steps before the first have no delta
        for (int turn = 0; turn < n_turns; ++turn) {
            walk.ahead();
            const int r = walk.neuron[0], follower = walk.neuron[1];
            later.load(follower, activation, aggregation, parameter, time_constant, leaks);
            const int later_output = follower < 0 ? -1 : output[follower];
            const int later_terms = follower < 0 ? 1 : fan_in[follower];
            const bool computes = r >= 0 && t >= 0 && turn < n_turns - input_turns;
            const long long at = (base + r) * ld + column;
            const T y = r >= 0 && inside ? acts[at] : T(0);
            const T potential = has_z && computes && inside ? z[at] : T(0);
            const bool given = computes && of_output >= 0 && inside;
            const T from_loss = given ? gradient[((long long)t * n_outputs + of_output) * ld + column] : T(0);
            T own = T(0), w = walk.weight[0];
            int far = walk.far[0], s, o;
            const long long end = walk.end[0];
            walk.entry(walk.begin[0] + CHUNK, end, s, o);
            for (long long k = walk.begin[0]; __any_sync(ALL, k < end); k += CHUNK) {
                T product[CHUNK];
#pragma unroll
                for (int j = 0; j < CHUNK; ++j) {
                    const int row = __shfl_sync(ALL, far, j, COLUMNS);
                    product[j] = inside && k + j < end && row >= none ? here[(long long)row * ld] : T(0);
                }
                T w_next = T(0);
                if (__any_sync(ALL, k + CHUNK < end)) {
                    walk.value(s, o, w_next, far);
                    walk.entry(k + 2 * CHUNK, end, s, o);
                }
#pragma unroll
                for (int j = 0; j < CHUNK; ++j) {
                    own += __shfl_sync(ALL, w, j, COLUMNS) * product[j];
                    product[j] *= y;
                }
                // Each of the eight threads takes over one entry, halving what it holds; the samples add up on the way.
#pragma unroll
                for (int half = CHUNK / 2; half > 0; half /= 2) {
                    const bool upper = lane & half;
#pragma unroll
                    for (int j = 0; j < half; ++j) {
                        const T given_away = upper ? product[j] : product[j + half];
                        const T kept = upper ? product[j + half] : product[j];
                        product[j] = kept + __shfl_xor_sync(ALL, given_away, half);
                    }
                }
#pragma unroll
                for (int apart = CHUNK; apart < COLUMNS; apart *= 2)
                    product[0] += __shfl_xor_sync(ALL, product[0], apart);
                if (lane < CHUNK && k + lane < end) {
                    const long long place = k + lane;
                    sums[place] = back == 0 ? product[0] : sums[place] + product[0];
                }
                w = w_next;
            }
            if (t >= 0 && turn < n_turns - input_turns) {
                own += from_loss;
                if (neuron.code != IDENTITY) own *= slope(neuron.code, neuron.parameter, y, potential);
                // A mean's delta is kept divided by its fan-in, as its sources need it.
                const T scale = neuron.kind == MEAN && terms > 0 ? T(1) / T(terms) : T(1);
                if (computes && neuron.tau != T(1) && inside) {
                    const T rate = T(1) / neuron.tau;
                    own = rate * own + (T(1) - rate) / scale * delta[(first + n + r) * ld + column];
                }
                own = column < batch ? own : T(0);
                const T total = over_columns<COLUMNS>(own);
                if (computes && inside) delta[(first + r) * ld + column] = own * scale;
                if (computes && lane == 0) {
                    const long long place = places + r;
                    sums[place] = back == 0 ? total : sums[place] + total;
                }
            }
            __syncthreads();
            walk.advance();
            neuron = later;
            of_output = later_output;
            terms = later_terms;
        }
    }
}

// Gradients from the sums of the slices, always added up in the same order: CHUNK threads a neuron, its row and its bias.
template <typename T>
__global__ void sum_slices(
    const int* __restrict__ neurons, int count, int constant, const long long* __restrict__ start,
    const int* __restrict__ length, const int* __restrict__ slot, const T* __restrict__ partial, int slices,
    long long places, int n, int add, T* grad, T* bias_grad) {
    const long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    const long long i = thread / CHUNK;
    if (i >= count) return;
    const int lane = thread % CHUNK, r = neurons[i];
    const long long begin = start[r], end = begin + length[r], stride = places + n;
    for (long long k = begin + lane; k < end; k += CHUNK) {
        T sum = T(0);
        for (int s = 0; s < slices; ++s) sum += partial[s * stride + k];
        const int c = slot[k];
        grad[c] = add ? grad[c] + sum : sum;
    }
    // The last `constant` neurons are inputs, which have no bias.
    if (lane == 0 && i < count - constant) {
        T sum = T(0);
        for (int s = 0; s < slices; ++s) sum += partial[s * stride + places + r];
        bias_grad[r] = add ? bias_grad[r] + sum : sum;
    }
}
