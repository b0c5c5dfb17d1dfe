// What CUDA offers to a kernel: barriers, warp functions, atomics on integers, vectors, intrinsics.
#pragma once

#define EMULATION_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(EMULATION_HERE) { ::emulation::barrier("__syncthreads", file, line); }

namespace emulation {

template <typename T, typename Source>
inline T shuffle(const char* what, unsigned mask, T value, int width, const char* file, int line, Source source) {
  static_assert(sizeof(T) <= 16 && std::is_trivially_copyable_v<T>, "a shuffle moves plain values");
  if (width < 1 || width > 32 || (width & (width - 1)))
    fail("%s (%s:%d): width %d is no power of two up to 32", what, base_name(file), line, width);
  int lane = current % 32, base = lane / width * width;
  int from = source(lane - base);
  from = from < 0 || from >= width ? lane : base + from;
  if (!(mask >> from & 1))
    fail("%s (%s:%d): lane %d reads lane %d, which the mask %#x does not name", what, base_name(file), line, lane, from, mask);
  T result;
  meet(what, mask, &value, sizeof value, file, line, [](Slots) {}, [&](Slots s) { std::memcpy(&result, s[from], sizeof result); });
  return result;
}

inline unsigned ballot(const char* what, unsigned mask, bool value, const char* file, int line) {
  unsigned result = 0;
  meet(what, mask, &value, 1, file, line, [](Slots) {}, [&](Slots s) {
    for (int i = 0; i < 32; ++i)
      if (mask >> i & 1 && s[i][0]) result |= 1u << i;
  });
  return result;
}

}  // namespace emulation

inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, EMULATION_HERE) {
  ::emulation::meet("__syncwarp", mask, nullptr, 0, file, line, [](::emulation::Slots) {}, [](::emulation::Slots) {});
}
template <typename T>
inline T __shfl_sync(unsigned mask, T value, int lane, int width = 32, EMULATION_HERE) {
  return ::emulation::shuffle("__shfl_sync", mask, value, width, file, line, [&](int) { return lane & (width - 1); });
}
template <typename T>
inline T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, EMULATION_HERE) {
  return ::emulation::shuffle("__shfl_xor_sync", mask, value, width, file, line, [&](int l) { return l ^ lanes; });
}
template <typename T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, EMULATION_HERE) {
  return ::emulation::shuffle("__shfl_down_sync", mask, value, width, file, line, [&](int l) { return l + int(delta); });
}
template <typename T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, EMULATION_HERE) {
  return ::emulation::shuffle("__shfl_up_sync", mask, value, width, file, line, [&](int l) { return l - int(delta); });
}
inline unsigned __ballot_sync(unsigned mask, int predicate, EMULATION_HERE) {
  return ::emulation::ballot("__ballot_sync", mask, predicate != 0, file, line);
}
inline int __any_sync(unsigned mask, int predicate, EMULATION_HERE) {
  return ::emulation::ballot("__any_sync", mask, predicate != 0, file, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, EMULATION_HERE) {
  return ::emulation::ballot("__all_sync", mask, predicate != 0, file, line) == mask;
}
#define EMULATION_REDUCE(name, expression)                                                             \
  template <typename T>                                                                                \
  inline T name(unsigned mask, T value, EMULATION_HERE) {                                              \
    static_assert(std::is_integral_v<T> && sizeof(T) == 4, "reductions of a warp are for 32-bit integers"); \
    T result{};                                                                                        \
    ::emulation::meet(#name, mask, &value, sizeof value, file, line, [](::emulation::Slots) {}, [&](::emulation::Slots s) { \
      bool any = false;                                                                                \
      for (int i = 0; i < 32; ++i)                                                                     \
        if (mask >> i & 1) {                                                                           \
          T a = result, b;                                                                             \
          std::memcpy(&b, s[i], sizeof b);                                                             \
          result = any ? T(expression) : b;                                                            \
          any = true;                                                                                  \
        }                                                                                              \
    });                                                                                                \
    return result;                                                                                     \
  }
EMULATION_REDUCE(__reduce_add_sync, a + b)
EMULATION_REDUCE(__reduce_min_sync, a < b ? a : b)
EMULATION_REDUCE(__reduce_max_sync, a > b ? a : b)
EMULATION_REDUCE(__reduce_or_sync, a | b)
EMULATION_REDUCE(__reduce_and_sync, a & b)
EMULATION_REDUCE(__reduce_xor_sync, a ^ b)

inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}

template <typename T>
inline T __ldg(const T* p) { return *p; }
template <typename T>
inline T __ldcs(const T* p) { return *p; }
template <typename T>
inline T __ldcg(const T* p) { return *p; }
template <typename T>
inline void __stcs(T* p, T value) { *p = value; }
template <typename T>
inline void __stcg(T* p, T value) { *p = value; }

// Only on integers: sums of floats in the order of arrival would not be the same in every run.
#define EMULATION_ATOMIC(name, expression)                                                  \
  template <typename T>                                                                     \
  inline T name(T* address, std::common_type_t<T> value) {                                  \
    static_assert(std::is_integral_v<T> && sizeof(T) >= 4, "atomics only on integers");     \
    T old = *address;                                                                       \
    *address = T(expression);                                                               \
    return old;                                                                             \
  }
EMULATION_ATOMIC(atomicAdd, old + value)
EMULATION_ATOMIC(atomicSub, old - value)
EMULATION_ATOMIC(atomicExch, value)
EMULATION_ATOMIC(atomicMin, value < old ? value : old)
EMULATION_ATOMIC(atomicMax, value > old ? value : old)
EMULATION_ATOMIC(atomicAnd, old & value)
EMULATION_ATOMIC(atomicOr, old | value)
EMULATION_ATOMIC(atomicXor, old ^ value)
EMULATION_ATOMIC(atomicInc, old >= value ? 0 : old + 1)
EMULATION_ATOMIC(atomicDec, old == 0 || old > value ? value : old - 1)
template <typename T>
inline T atomicCAS(T* address, std::common_type_t<T> compare, std::common_type_t<T> value) {
  static_assert(std::is_integral_v<T> && sizeof(T) >= 2, "atomics only on integers");
  T old = *address;
  if (old == compare) *address = value;
  return old;
}

#define EMULATION_VECTOR(T, name, align2, align4)                                   \
  struct alignas(align2) name##2 { T x, y; };                                       \
  struct name##3 { T x, y, z; };                                                    \
  struct alignas(align4) name##4 { T x, y, z, w; };                                 \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; }                        \
  inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMULATION_VECTOR(float, float, 8, 16)
EMULATION_VECTOR(double, double, 16, 16)
EMULATION_VECTOR(int, int, 8, 16)
EMULATION_VECTOR(short, short, 4, 8)
EMULATION_VECTOR(unsigned short, ushort, 4, 8)
EMULATION_VECTOR(signed char, char, 2, 4)
EMULATION_VECTOR(unsigned char, uchar, 2, 4)
EMULATION_VECTOR(long long, longlong, 16, 16)
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)(x)) : 64; }
inline unsigned __brev(unsigned x) {
  unsigned y = 0;
  for (int i = 0; i < 32; ++i) y |= (x >> i & 1u) << (31 - i);
  return y;
}
inline int __mulhi(int a, int b) { return int((long long)a * b >> 32); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((unsigned long long)a * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline unsigned __fns(unsigned mask, unsigned base, int offset) {
  if (offset == 0) return mask >> base & 1 ? base : 0xFFFFFFFFu;
  int step = offset > 0 ? 1 : -1, count = std::abs(offset);
  for (int i = int(base); i >= 0 && i < 32; i += step)
    if (mask >> i & 1 && --count == 0) return unsigned(i);
  return 0xFFFFFFFFu;
}

// Same rules as CUDA's: both sides become their common type.
template <typename A, typename B>
constexpr std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>) return std::fmin(T(a), T(b));
  else return T(b) < T(a) ? T(b) : T(a);
}
template <typename A, typename B>
constexpr std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>) return std::fmax(T(a), T(b));
  else return T(a) < T(b) ? T(b) : T(a);
}

using std::abs;
using std::isfinite;
using std::isinf;
using std::isnan;
using std::signbit;

inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double a) { return std::sqrt(a); }
inline float rsqrtf(float a) { return 1.0f / std::sqrt(a); }
inline double rsqrt(double a) { return 1.0 / std::sqrt(a); }

template <typename To, typename From>
inline To emulation_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}
inline int __float_as_int(float x) { return emulation_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return emulation_bits<unsigned>(x); }
inline float __int_as_float(int x) { return emulation_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return emulation_bits<float>(x); }
inline long long __double_as_longlong(double x) { return emulation_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return emulation_bits<double>(x); }
inline int __float2int_rn(float x) { return int(std::nearbyint(x)); }
inline int __float2int_rz(float x) { return int(x); }
inline int __float2int_rd(float x) { return int(std::floor(x)); }
inline float __int2float_rn(int x) { return float(x); }
inline float __uint2float_rn(unsigned x) { return float(x); }
