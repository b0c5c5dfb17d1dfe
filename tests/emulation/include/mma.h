// Tensor cores for the emulation: nvcuda::wmma for bfloat16, tf32 and double.
//
// Each lane holds its share of a matrix, as on a GPU, in an order that no kernel may rely on (and that is none a GPU
// has), so elementwise work on `x` is right and anything that takes positions for granted fails.
#pragma once

#include "cuda_bf16.h"

namespace nvcuda::wmma {

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
namespace precision {
struct tf32;
}
enum layout_t { mem_row_major, mem_col_major };

template <typename T>
struct Stored {
  using type = T;
};
template <>
struct Stored<precision::tf32> {
  using type = float;
};

template <typename Use, int m, int n, int k, typename T>
constexpr int elements() {
  constexpr bool a = std::is_same_v<Use, matrix_a>, b = std::is_same_v<Use, matrix_b>;
  constexpr bool bf16 = std::is_same_v<T, __nv_bfloat16> && k == 16 && m * n == 256 && m >= 8 && n >= 8;
  constexpr bool tf32 = std::is_same_v<T, precision::tf32> && m == 16 && n == 16 && k == 8;
  constexpr bool sum = std::is_same_v<T, float> && m * n == 256 && m >= 8 && n >= 8 && (k == 16 || (k == 8 && m == 16));
  constexpr bool f64 = std::is_same_v<T, double> && m == 8 && n == 8 && k == 4;
  static_assert(a || b ? bf16 || tf32 || f64 : sum || f64, "a shape that the emulation does not have");
  return a ? m * k : b ? k * n : m * n;
}

template <typename Use, int m, int n, int k, typename T, typename Layout = void>
struct fragment {
  using element_type = T;
  using storage_element_type = typename Stored<T>::type;
  static constexpr int size = elements<Use, m, n, k, T>();
  static constexpr int rows = std::is_same_v<Use, matrix_b> ? k : m, columns = std::is_same_v<Use, matrix_a> ? k : n;
  enum { num_elements = size / 32, num_storage_elements = num_elements };
  storage_element_type x[num_elements];

  fragment() { std::memset(static_cast<void*>(x), ::emulation::POISON, sizeof x); }
  // Which element of the matrix, counted row by row.
  static int position(int lane, int i) { return (i * 32 + lane) * 77 % size; }
};

inline float __float_to_tf32(float value) {  // to nearest, ties away from zero
  unsigned bits = __float_as_uint(value);
  return value != value ? value : __uint_as_float((bits + 0x1000u) & ~0x1FFFu);
}

template <typename Use, int m, int n, int k, typename T, typename Layout>
inline void fill_fragment(fragment<Use, m, n, k, T, Layout>& f, const typename Stored<T>::type& value) {
  for (auto& x : f.x) x = value;
}

struct Access {
  const void* memory;
  unsigned ldm;
  bool by_columns;
};

// All lanes name the same matrix, aligned as the hardware needs it.
template <typename Fragment>
inline void agree(const char* what, const Fragment&, Access access, EMULATION_HERE) {
  constexpr size_t item = sizeof(typename Fragment::storage_element_type);
  int lines = access.by_columns ? Fragment::rows : Fragment::columns;
  if (reinterpret_cast<uintptr_t>(access.memory) % 32)
    ::emulation::fail("%s (%s:%d): the matrix does not begin at a multiple of 32 bytes", what, ::emulation::base_name(file), line);
  if (access.ldm * item % 16 || int(access.ldm) < lines)
    ::emulation::fail("%s (%s:%d): leading dimension %u of %zu-byte elements: must be a multiple of 16 bytes and at least %d",
                      what, ::emulation::base_name(file), line, access.ldm, item, lines);
  const Access* mine = &access;
  ::emulation::meet(what, 0xFFFFFFFFu, &mine, sizeof mine, file, line, [&](::emulation::Slots slots) {
    for (int lane = 0; lane < 32; ++lane) {
      const Access* other;
      std::memcpy(&other, slots[lane], sizeof other);
      if (other->memory != access.memory || other->ldm != access.ldm || other->by_columns != access.by_columns)
        ::emulation::fail("%s (%s:%d): the lanes of a warp name different matrices", what, ::emulation::base_name(file), line);
    }
  }, [](::emulation::Slots) {});
}

template <typename Fragment>
inline size_t offset(const Access& access, int lane, int i) {
  int at = Fragment::position(lane, i), row = at / Fragment::columns, column = at % Fragment::columns;
  return access.by_columns ? size_t(column) * access.ldm + row : size_t(row) * access.ldm + column;
}

template <typename Use, int m, int n, int k, typename T, typename Layout>
inline void load_matrix_sync(fragment<Use, m, n, k, T, Layout>& f, const typename Stored<T>::type* memory, unsigned ldm,
                             EMULATION_HERE) {
  static_assert(!std::is_void_v<Layout>, "an accumulator is loaded with its layout as the last argument");
  Access access{memory, ldm, std::is_same_v<Layout, col_major>};
  agree("load_matrix_sync", f, access, file, line);
  for (int i = 0; i < f.num_elements; ++i) f.x[i] = memory[offset<fragment<Use, m, n, k, T, Layout>>(access, ::emulation::current % 32, i)];
}
template <int m, int n, int k, typename T>
inline void load_matrix_sync(fragment<accumulator, m, n, k, T>& f, const T* memory, unsigned ldm, layout_t layout, EMULATION_HERE) {
  Access access{memory, ldm, layout == mem_col_major};
  agree("load_matrix_sync", f, access, file, line);
  for (int i = 0; i < f.num_elements; ++i) f.x[i] = memory[offset<fragment<accumulator, m, n, k, T>>(access, ::emulation::current % 32, i)];
}
template <int m, int n, int k, typename T>
inline void store_matrix_sync(T* memory, const fragment<accumulator, m, n, k, T>& f, unsigned ldm, layout_t layout, EMULATION_HERE) {
  Access access{memory, ldm, layout == mem_col_major};
  agree("store_matrix_sync", f, access, file, line);
  for (int i = 0; i < f.num_elements; ++i) memory[offset<fragment<accumulator, m, n, k, T>>(access, ::emulation::current % 32, i)] = f.x[i];
}

// d = a b + c, the products of one element in ascending order.
template <int m, int n, int k, typename T, typename S, typename LayoutA, typename LayoutB>
inline void mma_sync(fragment<accumulator, m, n, k, S>& d, const fragment<matrix_a, m, n, k, T, LayoutA>& a,
                     const fragment<matrix_b, m, n, k, T, LayoutB>& b, const fragment<accumulator, m, n, k, S>& c, EMULATION_HERE) {
  if constexpr (std::is_same_v<T, precision::tf32>) {
    auto check = [&](float x) {
      if (x == x && __float_as_uint(x) & 0x1FFFu)
        ::emulation::fail("mma_sync (%s:%d): %g has not been rounded by __float_to_tf32", ::emulation::base_name(file), line, x);
    };
    for (float x : a.x) check(x);
    for (float x : b.x) check(x);
  }
  using A = std::remove_reference_t<decltype(a)>;
  using B = std::remove_reference_t<decltype(b)>;
  using C = std::remove_reference_t<decltype(c)>;
  struct Call {
    A* a;
    B* b;
    C* c;
    fragment<accumulator, m, n, k, S>* d;
  } call{&a, &b, &c, &d};
  const Call* mine = &call;
  ::emulation::meet("mma_sync", 0xFFFFFFFFu, &mine, sizeof mine, file, line, [](::emulation::Slots slots) {
    static S left[m * k], right[k * n], sum[m * n];
    const Call* calls[32];
    for (int lane = 0; lane < 32; ++lane) {
      std::memcpy(&calls[lane], slots[lane], sizeof calls[lane]);
      for (int i = 0; i < A::num_elements; ++i) left[A::position(lane, i)] = S(calls[lane]->a->x[i]);
      for (int i = 0; i < B::num_elements; ++i) right[B::position(lane, i)] = S(calls[lane]->b->x[i]);
      for (int i = 0; i < C::num_elements; ++i) sum[C::position(lane, i)] = calls[lane]->c->x[i];
    }
    for (int row = 0; row < m; ++row)
      for (int j = 0; j < k; ++j)
        for (int column = 0; column < n; ++column) sum[row * n + column] += left[row * k + j] * right[j * n + column];
    for (int lane = 0; lane < 32; ++lane)
      for (int i = 0; i < C::num_elements; ++i) calls[lane]->d->x[i] = sum[C::position(lane, i)];
  }, [](::emulation::Slots) {});
}

}  // namespace nvcuda::wmma
