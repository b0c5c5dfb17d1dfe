// What one neuron computes: the activations and their derivatives, as functions/activations.py defines them.
//
// stack frame <= 48 bytes: CUDA's sin and cos keep the digits of 2 / pi there, read for arguments above 1e5 only.
#pragma once

// In the order of the table there: the codes are positions.
enum Activation {
    IDENTITY,
    RELU,
    LEAKY_RELU,
    CLIPPED_RELU,
    ELU,
    GELU,
    SILU,
    SIGMOID,
    TANH,
    SOFTPLUS,
    SIN,
    GAUSS,
    STEP,
    ABS,
    SQUARE,
    CLAMPED,
    HAT,
    SELU,
    LELU,
    INV,
    LOG,
    EXP,
    CUBE
};

// In the order of functions/aggregations.py.
enum Aggregation { SUM, MEAN, PRODUCT, MAX, MIN, MAXABS, MEDIAN };

constexpr double SELU_SCALE = 1.0507009873554804934193349852946;
constexpr double SELU_ALPHA = 1.6732632423543772848170429916717;
constexpr double LELU_SLOPE = 0.005;
constexpr double LOG_FLOOR = 1e-7;
constexpr double EXP_LIMIT = 60.0;
constexpr double EXP_HIGH = 1.142007389815684284e26;  // exp of it
constexpr double ROOT_HALF = 0.70710678118654752440;
constexpr double ROOT_TWO_PI = 2.50662827463100050242;

// Distance from 1 to the next number.
__device__ inline float spacing(float) { return 1.1920928955078125e-7f; }
__device__ inline double spacing(double) { return 2.220446049250313e-16; }

// Logistic function without overflow.
template <typename T>
__device__ inline T sigmoid(T z) {
    T small = exp(-fabs(z));
    return (z >= T(0) ? T(1) : small) / (T(1) + small);
}

// Distribution function of the normal distribution, without cancellation where it is small.
template <typename T>
__device__ inline T normal_cdf(T z) {
    return T(0.5) * erfc(-z * T(ROOT_HALF));
}

template <typename T>
__device__ inline T clip(T z, T low, T high) {
    return z < low ? low : (z > high ? high : z);  // NaN stays NaN
}

// An activation at z.
template <typename T>
__device__ inline T activate(int code, T parameter, T z) {
    switch (code) {
        case RELU:
            return z < T(0) ? T(0) : z;
        case LEAKY_RELU:
            return z > T(0) ? z : parameter * z;
        case CLIPPED_RELU:
            return clip(z, T(0), parameter);
        case ELU:
            return z > T(0) ? z : parameter * expm1(z);
        case GELU:
            return z * normal_cdf(z);
        case SILU:
            return z * sigmoid(z);
        case SIGMOID:
            return sigmoid(z);
        case TANH:
            return tanh(z);
        case SOFTPLUS:
            return (z < T(0) ? T(0) : z) + log1p(exp(-fabs(z)));
        case SIN:
            return sin(z);
        case GAUSS:
            return exp(-(z * z));
        case STEP:
            return z > T(0) ? T(1) : T(0);
        case ABS:
            return fabs(z);
        case SQUARE:
            return z * z;
        case CLAMPED:
            return clip(z, T(-1), T(1));
        case HAT: {
            T below = T(1) - fabs(z);
            return below < T(0) ? T(0) : below;
        }
        case SELU:
            return T(SELU_SCALE) * (z > T(0) ? z : T(SELU_ALPHA) * expm1(z));
        case LELU:
            return z > T(0) ? z : T(LELU_SLOPE) * z;
        case INV:
            return z != T(0) ? T(1) / z : T(0);
        case LOG:
            return log(z < T(LOG_FLOOR) ? T(LOG_FLOOR) : z);
        case EXP:
            return exp(clip(z, T(-EXP_LIMIT), T(EXP_LIMIT)));
        case CUBE:
            return z * z * z;
        default:
            return z;
    }
}

// Whether `slope` reads z; the others need y alone.
__device__ inline bool slope_reads_z(int code) {
    switch (code) {
        case GELU:
        case SILU:
        case SOFTPLUS:
        case SIN:
        case GAUSS:
        case STEP:
        case ABS:
        case SQUARE:
        case HAT:
        case INV:
        case LOG:
        case CUBE:
            return true;
        default:
            return false;
    }
}

// Derivative of an activation at input z and output y; z counts only where `slope_reads_z`.
template <typename T>
__device__ inline T slope(int code, T parameter, T y, T z) {
    switch (code) {
        case RELU:
            return y > T(0) ? T(1) : T(0);
        case LEAKY_RELU:
            return y > T(0) ? T(1) : parameter;
        case CLIPPED_RELU:
            return y > T(0) && y < parameter ? T(1) : T(0);
        case ELU:
            return y > T(0) ? T(1) : y + parameter;
        case GELU: {
            T near = clip(z, T(-40), T(40));  // beyond, the density is 0, and the square of a large z is not finite
            return normal_cdf(z) + near * exp(T(-0.5) * near * near) / T(ROOT_TWO_PI);
        }
        case SILU: {
            T s = sigmoid(z);
            return s * (T(1) + z * (T(1) - s));
        }
        case SIGMOID:
            return y * (T(1) - y);
        case TANH:
            return T(1) - y * y;
        case SOFTPLUS:
            return sigmoid(z);
        case SIN:
            return cos(z);
        case GAUSS:
            return T(-2) * z * y;
        case STEP:
            return T(0);
        case ABS:
            return z > T(0) ? T(1) : (z < T(0) ? T(-1) : T(0));
        case SQUARE:
            return z + z;
        case CLAMPED:
            return fabs(y) < T(1) ? T(1) : T(0);
        case HAT:
            return fabs(z) < T(1) ? (z > T(0) ? T(-1) : (z < T(0) ? T(1) : T(0))) : T(0);
        case SELU:
            return y > T(0) ? T(SELU_SCALE) : y + T(SELU_SCALE * SELU_ALPHA);
        case LELU:
            return y > T(0) ? T(1) : T(LELU_SLOPE);
        case INV:
            return -y * y;
        case LOG:
            return z > T(LOG_FLOOR) ? T(1) / z : T(0);
        case EXP: {
            T high = T(EXP_HIGH) / (T(1) + T(4) * spacing(y));  // implementations of exp differ in the last bit
            return y > T(1) / high && y < high ? y : T(0);
        }
        case CUBE:
            return T(3) * z * z;
        default:
            return T(1);
    }
}
