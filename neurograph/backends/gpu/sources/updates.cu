// The update rules of optimizers, each in one pass over the parameters. Formulas: neurograph/backends/updates.py.
//
// A rule takes its scalars as arguments, or reads them from an array, so that a recorded launch can be repeated with
// new ones. The launcher combines them in double precision.
#include "packs.cuh"

// A running mean whose gradient has become zero would stay at a denormal number for ever.
__device__ __forceinline__ float normal(float x) { return fabsf(x) < 1.17549435e-38f ? 0.0f : x; }
__device__ __forceinline__ double normal(double x) { return fabs(x) < 2.2250738585072014e-308 ? 0.0 : x; }

__device__ __forceinline__ float root(float x) { return sqrtf(x); }
__device__ __forceinline__ double root(double x) { return sqrt(x); }

// Rules with the number of arrays that they keep; `value` and these change.

template <typename T>
struct Descend {
    static constexpr int STATES = 0;
    T lr, weight_decay;
    __device__ __forceinline__ void operator()(T& value, T grad, T&, T&) const {
        value -= lr * (grad + weight_decay * value);
    }
};

template <typename T>
struct Momentum {
    static constexpr int STATES = 1;
    T lr, weight_decay, momentum, ahead;  // ahead: 1 for Nesterov's, otherwise 0
    __device__ __forceinline__ void operator()(T& value, T grad, T& velocity, T&) const {
        const T g = grad + weight_decay * value;
        const T u = momentum * velocity + g;
        velocity = normal(u);
        value -= lr * (ahead != T(0) ? g + momentum * u : u);
    }
};

template <typename T>
struct Adam {
    static constexpr int STATES = 2;
    T rate, beta1, rest1, beta2, rest2, scale, eps, decay, shrink;
    __device__ __forceinline__ void operator()(T& value, T grad, T& m, T& v) const {
        const T x = value * shrink;
        const T g = grad + decay * x;
        const T mean = beta1 * m + rest1 * g;
        const T square = beta2 * v + rest2 * g * g;
        m = normal(mean);
        v = square;
        value = x - rate * mean / (root(square) * scale + eps);
    }
};

template <typename T>
struct RMSprop {
    static constexpr int STATES = 1;
    T lr, alpha, rest, eps, weight_decay;
    __device__ __forceinline__ void operator()(T& value, T grad, T& square, T&) const {
        const T g = grad + weight_decay * value;
        square = alpha * square + rest * g * g;
        value -= lr * g / (root(square) + eps);
    }
};

template <typename T>
struct RMSpropMomentum {
    static constexpr int STATES = 2;
    T lr, alpha, rest, eps, weight_decay, momentum;
    __device__ __forceinline__ void operator()(T& value, T grad, T& square, T& velocity) const {
        const T g = grad + weight_decay * value;
        square = alpha * square + rest * g * g;
        const T u = momentum * velocity + g / (root(square) + eps);
        velocity = normal(u);
        value -= lr * u;
    }
};

// Apply a rule to all parameters. Of a frozen one the state moves on and the value stays.
template <typename T, typename Rule>
__device__ void update(const Rule& rule, T* value, const T* grad, T* first, T* second, const bool* frozen, int held,
                       long long n) {
    constexpr int SIZE = Pack<T>::SIZE;
    bool packs = on_packs(value) && on_packs(grad);
    if (Rule::STATES > 0) packs = packs && on_packs(first);
    if (Rule::STATES > 1) packs = packs && on_packs(second);
    const long long n_packs = packs ? n / SIZE : 0;
    for (long long p = first_of_thread(); p < n_packs; p += threads_of_grid()) {
        Pack<T> values = load_pack(value, p), firsts = {}, seconds = {};
        const Pack<T> grads = load_pack(grad, p);
        if (Rule::STATES > 0) firsts = load_pack(first, p);
        if (Rule::STATES > 1) seconds = load_pack(second, p);
#pragma unroll
        for (int i = 0; i < SIZE; ++i) {
            const T before = values.at[i];
            rule(values.at[i], grads.at[i], firsts.at[i], seconds.at[i]);
            if (held && frozen[p * SIZE + i]) values.at[i] = before;
        }
        store_pack(value, p, values);
        if (Rule::STATES > 0) store_pack(first, p, firsts);
        if (Rule::STATES > 1) store_pack(second, p, seconds);
    }
    for (long long i = n_packs * SIZE + first_of_thread(); i < n; i += threads_of_grid()) {
        const T before = value[i];
        T x = before, a = Rule::STATES > 0 ? first[i] : T(0), b = Rule::STATES > 1 ? second[i] : T(0);
        rule(x, grad[i], a, b);
        value[i] = held && frozen[i] ? before : x;
        if (Rule::STATES > 0) first[i] = a;
        if (Rule::STATES > 1) second[i] = b;
    }
}

// In the kernels, `later` says that the scalars are read from the array `s`.

template <typename T>
__global__ void descend(T* value, const T* grad, const bool* frozen, int held, long long n, const T* s, int later,
                        T lr, T weight_decay) {
    const auto rule = later ? Descend<T>{s[0], s[1]} : Descend<T>{lr, weight_decay};
    update(rule, value, grad, value, value, frozen, held, n);
}

template <typename T>
__global__ void momentum(T* value, const T* grad, T* velocity, const bool* frozen, int held, long long n, const T* s,
                         int later, T lr, T weight_decay, T momentum, T ahead) {
    const auto rule = later ? Momentum<T>{s[0], s[1], s[2], s[3]} : Momentum<T>{lr, weight_decay, momentum, ahead};
    update(rule, value, grad, velocity, value, frozen, held, n);
}

template <typename T>
__global__ void adam(T* value, const T* grad, T* m, T* v, const bool* frozen, int held, long long n, const T* s,
                     int later, T rate, T beta1, T rest1, T beta2, T rest2, T scale, T eps, T decay, T shrink) {
    const auto rule = later ? Adam<T>{s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8]}
                            : Adam<T>{rate, beta1, rest1, beta2, rest2, scale, eps, decay, shrink};
    update(rule, value, grad, m, v, frozen, held, n);
}

template <typename T>
__global__ void rmsprop(T* value, const T* grad, T* square, const bool* frozen, int held, long long n, const T* s,
                        int later, T lr, T alpha, T rest, T eps, T weight_decay) {
    const auto rule = later ? RMSprop<T>{s[0], s[1], s[2], s[3], s[4]} : RMSprop<T>{lr, alpha, rest, eps, weight_decay};
    update(rule, value, grad, square, value, frozen, held, n);
}

template <typename T>
__global__ void rmsprop_momentum(T* value, const T* grad, T* square, T* velocity, const bool* frozen, int held,
                                 long long n, const T* s, int later, T lr, T alpha, T rest, T eps, T weight_decay,
                                 T momentum) {
    const auto rule = later ? RMSpropMomentum<T>{s[0], s[1], s[2], s[3], s[4], s[5]}
                            : RMSpropMomentum<T>{lr, alpha, rest, eps, weight_decay, momentum};
    update(rule, value, grad, square, velocity, frozen, held, n);
}
