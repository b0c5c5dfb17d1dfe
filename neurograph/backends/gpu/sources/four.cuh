// Four neighbouring samples of a row, what one lane holds: loaded and stored at once.
#pragma once

template <typename T>
struct Four {
    T at[4];
};

__device__ inline Four<float> load(const float* p) {
    float4 v = __ldg(reinterpret_cast<const float4*>(p));
    return {{v.x, v.y, v.z, v.w}};
}

__device__ inline Four<double> load(const double* p) {
    double2 a = __ldg(reinterpret_cast<const double2*>(p));
    double2 b = __ldg(reinterpret_cast<const double2*>(p) + 1);
    return {{a.x, a.y, b.x, b.y}};
}

__device__ inline void store(float* p, const Four<float>& v) {
    *reinterpret_cast<float4*>(p) = make_float4(v.at[0], v.at[1], v.at[2], v.at[3]);
}

__device__ inline void store(double* p, const Four<double>& v) {
    reinterpret_cast<double2*>(p)[0] = make_double2(v.at[0], v.at[1]);
    reinterpret_cast<double2*>(p)[1] = make_double2(v.at[2], v.at[3]);
}

template <typename T>
__device__ inline void add(Four<T>& sum, const Four<T>& v) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sum.at[i] += v.at[i];
}

template <typename T>
__device__ inline void add_scaled(Four<T>& sum, T factor, const Four<T>& v) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sum.at[i] += factor * v.at[i];
}

// Zero the samples that only fill up the row.
template <typename T>
__device__ inline void clear_behind(Four<T>& v, int column, int batch) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
        if (column + i >= batch) v.at[i] = T(0);
}
