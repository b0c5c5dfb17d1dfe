"""The emulation of CUDA itself: what runs as on a GPU, and what it refuses with a reason."""

import numpy as np
import pytest

from neurograph.backends.gpu.module import SOURCES

from ..emulation.compiler import CompileError

WORKING = """
#include "launch.cuh"
#include <cuda_bf16.h>

// Sums of rows by shared memory, dynamic and static, barriers and shuffles.
template <typename T, int N> __global__ void row_sums(const T* __restrict__ x, T* __restrict__ y, int n) {
  __shared__ T part[32];
  DYNAMIC_SHARED(T, row);
  int t = threadIdx.x;
  row[t] = t < n ? x[blockIdx.x * n + t] : T(0);
  __syncthreads();
  T v = row[blockDim.x - 1 - t] * N;
  for (int d = 16; d; d >>= 1) v += __shfl_xor_sync(0xffffffffu, v, d);
  if (t % 32 == 0) part[t / 32] = v;
  __syncthreads();
  if (t == 0) {
    T sum = 0;
    for (int i = 0; i < int(blockDim.x) / 32; ++i) sum += part[i];
    y[blockIdx.x] = sum;
  }
}

// Each warp function on each lane's value; two halves of a warp also on their own.
__global__ void warp_functions(const int* x, int* y) {
  int t = blockIdx.x * blockDim.x + threadIdx.x, n = gridDim.x * blockDim.x, v = x[t];
  y[t] = __shfl_sync(0xffffffffu, v, 5);
  y[n + t] = __shfl_sync(0xffffffffu, v, 2, 8);
  y[2 * n + t] = __shfl_xor_sync(0xffffffffu, v, 3);
  y[3 * n + t] = __shfl_down_sync(0xffffffffu, v, 4u);
  y[4 * n + t] = __shfl_up_sync(0xffffffffu, v, 4u);
  y[5 * n + t] = int(__ballot_sync(0xffffffffu, v & 1));
  y[6 * n + t] = __any_sync(0xffffffffu, v > 900) + 2 * __all_sync(0xffffffffu, v > 10);
  y[7 * n + t] = threadIdx.x % 32 < 16 ? __shfl_sync(0x0000ffffu, v, 3) : __shfl_sync(0xffff0000u, v, 20);
  y[8 * n + t] = __reduce_add_sync(0xffffffffu, v);
}

// A counter that all threads raise, and a maximum; where each thread was, in three dimensions.
__global__ void geometry(unsigned* count, int* most, int* where) {
  unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  unsigned t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  unsigned i = block * (blockDim.x * blockDim.y * blockDim.z) + t;
  where[i] = int(threadIdx.z * 10000 + threadIdx.y * 100 + threadIdx.x + blockIdx.z * 1000000);
  atomicAdd(count, 1u);
  atomicMax(most, int(i));
}

__global__ void rounded(const float* x, __nv_bfloat16* y, float* z, int n) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    y[i] = __float2bfloat16(x[i]);
    z[i] = __bfloat162float(y[i]);
  }
}

__global__ void bits(const int* x, int* y, int n) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    y[i] = __popc(x[i]);
    y[n + i] = __clz(x[i]);
    y[2 * n + i] = __ffs(x[i]);
  }
}

__global__ void read_uninitialised(float* y, double* z) {
  __shared__ float fixed[32];
  DYNAMIC_SHARED(double, free);
  y[threadIdx.x] = fixed[threadIdx.x];
  z[threadIdx.x] = free[threadIdx.x];
  __syncthreads();
  fixed[threadIdx.x] = 1;
  free[threadIdx.x] = 1;
}
"""

TENSOR = """
#include <mma.h>
#include <cuda_bf16.h>
using namespace nvcuda;

// 2 a b + 1 of bfloat16 matrices, a by rows and b by columns.
template <int M, int N> __global__ void product(const __nv_bfloat16* a, const __nv_bfloat16* b, float* c, int k) {
  wmma::fragment<wmma::matrix_a, M, N, 16, __nv_bfloat16, wmma::row_major> left;
  wmma::fragment<wmma::matrix_b, M, N, 16, __nv_bfloat16, wmma::col_major> right;
  wmma::fragment<wmma::accumulator, M, N, 16, float> sum;
  wmma::fill_fragment(sum, 0.0f);
  for (int j = 0; j < k; j += 16) {
    wmma::load_matrix_sync(left, a + j, k);
    wmma::load_matrix_sync(right, b + j, k);
    wmma::mma_sync(sum, left, right, sum);
  }
  for (int i = 0; i < sum.num_elements; ++i) sum.x[i] = 2 * sum.x[i] + 1;
  wmma::store_matrix_sync(c, sum, N, wmma::mem_row_major);
}

// c += a b in tf32; a, b and c by rows.
template <bool ROUND> __global__ void product_tf32(const float* a, const float* b, float* c) {
  wmma::fragment<wmma::matrix_a, 16, 16, 8, wmma::precision::tf32, wmma::row_major> left;
  wmma::fragment<wmma::matrix_b, 16, 16, 8, wmma::precision::tf32, wmma::row_major> right;
  wmma::fragment<wmma::accumulator, 16, 16, 8, float> sum;
  wmma::load_matrix_sync(sum, c, 16, wmma::mem_row_major);
  wmma::load_matrix_sync(left, a, 8);
  wmma::load_matrix_sync(right, b, 16);
  if (ROUND) {
    for (int i = 0; i < left.num_elements; ++i) left.x[i] = wmma::__float_to_tf32(left.x[i]);
    for (int i = 0; i < right.num_elements; ++i) right.x[i] = wmma::__float_to_tf32(right.x[i]);
  }
  wmma::mma_sync(sum, left, right, sum);
  wmma::store_matrix_sync(c, sum, 16, wmma::mem_row_major);
}
"""

# One mistake each.
WRONG = """
#include "launch.cuh"
__global__ void wrong(float* x, int n, int which) {
  __shared__ float fixed[16];
  DYNAMIC_SHARED(float, free);
  int t = threadIdx.x;
  if (which == 0) { if (t < 16) __syncthreads(); }
  if (which == 1) {
    if (t < 16) __syncthreads();
    else
      __syncthreads();
  }
  if (which == 2) { if (t >= 16) x[t] = __shfl_sync(0xffffffffu, x[t], 20); }
  if (which == 3) {
    if (t < 16) __syncwarp();
    else __shfl_sync(0xffffffffu, x[t], 0);
  }
  if (which == 4) { if (t > 0) x[t] = __shfl_sync(0xfffffffeu, x[t], 0); }
  if (which == 5) x[t + n] = 1;
  if (which == 6) x[t - 1] = 1;
  if (which == 7) free[t] = 1;
  if (which == 8) fixed[t] = 1;
  if (which == 9) x[t] = reinterpret_cast<float4*>(x + 1)[t / 16].x;
  if (which == 10) x[t] = float(t / (n - n));
  if (which == 11) x[t + (1ll << 45)] = 1;
  if (which == 12) { if (t % 2 == 0) __syncwarp(0x55555555u); else __syncthreads(); }
  if (which == 13) x[t] = float(1 << (n + t));
  if (which == 14) x[t] = __shfl_sync(0xffffffffu, x[t], 0);
}
__global__ void too_large(float* x) {
  __shared__ float many[13 << 10];
  many[threadIdx.x] = 1;
  __syncthreads();
  x[threadIdx.x] = many[threadIdx.x + 1];
}
"""

# These say which thread it was, and that depends on the order.
BY_ORDER = (1, 3, 4, 8, 13)

BOUNDS = """
template <typename T, int N> constexpr int THREADS = 32 * (N < 4 ? N : 4);
template <typename T, int N>
__global__ void __launch_bounds__(THREADS<T, N>, sizeof(T) == 4 ? 8 : 4)
    bounded(T* x) { x[threadIdx.x] = 1; }
__global__ void __launch_bounds__(32) narrow(float* x) { x[threadIdx.x] = 1; }
__global__ void any_number(float* x) { x[threadIdx.x] = 1; }
"""

# Neighbours are read as soon as they are written: right only if everybody waits in between.
SHIFT = """
template <bool WAIT> __global__ void shift(const int* x, int* y) {
  __shared__ int seen[256];
  seen[threadIdx.x] = x[threadIdx.x];
  if (WAIT) __syncthreads();
  y[threadIdx.x] = seen[(threadIdx.x + 1) % blockDim.x];
}
// The block that comes last wins.
__global__ void last(int* y) { if (threadIdx.x == 0) y[0] = blockIdx.x; }
"""


def kernel(cupy, code, expression):
    """One kernel of a source."""
    module = cupy.RawModule(code=code, options=("-std=c++17", f"-I{SOURCES}"), name_expressions=(expression,))
    return module.get_function(expression)


def bfloat16(x):
    """Bits of the nearest bfloat16 numbers, of two that are as near the even one."""
    bits = x.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def wide(bits):
    """float32 of bfloat16 bits."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threads", [32, 128, 1024])
def test_barriers_shuffles_and_shared_memory(cupy, rng, dtype, threads):
    """Sums of rows across a block."""
    name = {np.float32: "float", np.float64: "double"}[dtype]
    sums = kernel(cupy, WORKING, f"row_sums<{name}, 3>")
    n = threads - 3
    x = rng.normal(size=(7, n)).astype(dtype)
    y = cupy.empty(7, dtype)
    sums((7,), (threads,), (cupy.asarray(x), y, np.int32(n)), shared_mem=threads * y.itemsize)
    np.testing.assert_allclose(y.get(), 3 * x.sum(axis=1), rtol=1e-5, atol=1e-3)


def test_warp_functions(cupy, rng):
    """Shuffles and votes against their definition, of several warps."""
    x = rng.integers(0, 1000, size=128).astype(np.int32)
    y = cupy.empty((9, 128), np.int32)
    kernel(cupy, WORKING, "warp_functions")((2,), (64,), (cupy.asarray(x), y))
    lanes = np.arange(32)
    for warp, got in zip(x.reshape(4, 32), y.get().reshape(9, 4, 32).transpose(1, 0, 2), strict=True):
        down, up = lanes + 4, lanes - 4
        odd = np.uint32((warp & 1) @ (np.uint64(1) << lanes.astype(np.uint64)).astype(np.uint64)).astype(np.int32)
        expected = [
            np.full(32, warp[5]),
            warp[lanes // 8 * 8 + 2],
            warp[lanes ^ 3],
            warp[np.where(down < 32, down, lanes)],
            warp[np.where(up >= 0, up, lanes)],
            np.full(32, odd),
            np.full(32, (warp > 900).any() + 2 * (warp > 10).all()),
            np.where(lanes < 16, warp[3], warp[20]),
            np.full(32, warp.sum()),
        ]
        np.testing.assert_array_equal(got, expected)


def test_geometry_and_atomics(cupy):
    """Three dimensions of blocks and of threads; every thread runs once."""
    grid, block = (3, 2, 2), (4, 3, 2)
    n = 12 * 24
    count, most, where = cupy.zeros(1, np.uint32), cupy.zeros(1, np.int32), cupy.full(n, -1, np.int32)
    kernel(cupy, WORKING, "geometry")(grid, block, (count, most, where))
    assert (int(count[0]), int(most[0])) == (n, n - 1)
    z, y, x = np.meshgrid(range(2), range(3), range(4), indexing="ij")
    threads = (10000 * z + 100 * y + x).ravel()
    expected = [threads + 1_000_000 * (b // 6) for b in range(12)]
    np.testing.assert_array_equal(where.get().reshape(12, 24), expected)


def test_bfloat16_rounds_to_nearest_even(cupy, rng):
    """Ties, subnormals, overflow to infinity, infinity and NaN among random numbers of every size."""
    bits = rng.integers(0, 2**32, size=3000, dtype=np.uint32)
    bits[:1000] = bits[:1000] & 0xFFFF0000 | 0x8000
    x = bits.view(np.float32)
    x[-4:] = np.inf, -np.inf, np.nan, np.finfo(np.float32).max
    y, z = cupy.empty(3000, np.uint16), cupy.empty(3000, np.float32)
    kernel(cupy, WORKING, "rounded")((1,), (64,), (cupy.asarray(x), y, z, np.int32(3000)))
    number = ~np.isnan(x)
    np.testing.assert_array_equal(y.get()[number], bfloat16(x)[number])
    np.testing.assert_array_equal(z.get()[number], wide(bfloat16(x))[number])
    assert np.isnan(z.get()[~number]).all()


def test_counting_bits(cupy, rng):
    """Population, leading zeros and the first set bit."""
    x = np.r_[0, -1, 1, np.iinfo(np.int32).min, rng.integers(-(2**31), 2**31, size=60)].astype(np.int32)
    y = cupy.empty((3, 64), np.int32)
    kernel(cupy, WORKING, "bits")((1,), (32,), (cupy.asarray(x), y, np.int32(64)))
    text = [f"{v & 0xFFFFFFFF:032b}" for v in x.tolist()]
    np.testing.assert_array_equal(y.get()[0], [s.count("1") for s in text])
    np.testing.assert_array_equal(y.get()[1], [(s + "1").index("1") for s in text])
    np.testing.assert_array_equal(y.get()[2], [(s[::-1].find("1")) + 1 for s in text])


@pytest.mark.parametrize("shape", [(16, 16), (32, 8), (8, 32)])
def test_tensor_cores(cupy, rng, shape):
    """Products of bfloat16 matrices against NumPy's."""
    a, b = (bfloat16(rng.normal(size=(m, 48)).astype(np.float32)) for m in shape)
    c = cupy.empty(shape, np.float32)
    product = kernel(cupy, TENSOR, f"product<{shape[0]}, {shape[1]}>")
    product((1,), (32,), (cupy.asarray(a), cupy.asarray(b), c, np.int32(48)))
    np.testing.assert_allclose(c.get(), 2 * wide(a) @ wide(b).T + 1, rtol=1e-4, atol=1e-4)


def test_tensor_cores_of_tf32(cupy, rng):
    """Factors have ten bits after the point: integers up to 2048 are exact, 2049 is not."""
    a, b = rng.integers(-2000, 2000, size=(16, 8)).astype(np.float32), np.eye(8, 16, dtype=np.float32)
    a[0, 0] = 2049
    c = cupy.ones((16, 16), np.float32)
    kernel(cupy, TENSOR, "product_tf32<true>")((1,), (32,), (cupy.asarray(a), cupy.asarray(b), c))
    a[0, 0] = 2050
    np.testing.assert_array_equal(c.get(), a @ b + 1)


def test_factors_that_were_not_rounded_are_refused(emulated, cupy):
    """A GPU would take what its bits happen to be."""
    a, b, c = (cupy.full(shape, 1.0001, np.float32) for shape in ((16, 8), (8, 16), (16, 16)))
    with pytest.raises(RuntimeError, match="has not been rounded by __float_to_tf32"):
        kernel(cupy, TENSOR, "product_tf32<false>")((1,), (32,), (a, b, c))


def test_uninitialised_memory_is_poisoned(emulated, cupy):
    """In every block again, and in new arrays."""
    y, z = cupy.zeros(32, np.float32), cupy.zeros(32, np.float64)
    kernel(cupy, WORKING, "read_uninitialised")((3,), (32,), (y, z), shared_mem=256)
    assert np.isnan(y.get()).all() and np.isnan(z.get()).all()
    assert np.isnan(cupy.empty((3, 4), np.float32).get()).all()
    assert (cupy.empty(5, np.int64).get() == -1).all()


@pytest.mark.parametrize(
    "which, message",
    [
        (
            0,
            r"barrier that not all threads of the block reach: threads 0-15 wait at __syncthreads .*; threads 16-31 ex",
        ),
        (1, r"divergent barrier: this thread is at .*:11, another at .*:9"),
        (2, r"lanes that have exited or diverged: threads 0-15 exited; threads 16-31 wait at __shfl_sync"),
        (3, r"diverged warp: lane 16 calls __shfl_sync .* another one __syncwarp"),
        (4, r"lane 1 reads lane 0, which the mask 0xfffffffe does not name"),
        (5, r"out of bounds of argument 0 \(float32 \(32,\)\): 0 bytes behind its end"),
        (6, r"out of bounds of argument 0 \(float32 \(32,\)\): [1-4] bytes before its start"),
        (7, r"a write 0 bytes behind the 64 bytes of dynamic shared memory"),
        (8, r"out of bounds of an array \(kernel.cu:22\): index 16"),
        (9, r"misaligned access \(kernel.cu:23\)"),
        (10, r"integer division by zero"),
        (11, r"access to memory that is not the device's"),
        (12, r"barrier that not all threads of the block reach: .*thread 1 wait"),
        (13, r"shift by 32 bits \(kernel.cu:27\)"),
    ],
)
def test_mistakes_are_reported(emulated, cupy, which, message):
    """Each by name, and the next launch works."""
    wrong = kernel(cupy, WRONG, "wrong")
    x = cupy.zeros(32, np.float32)
    for order in ("ascending", "descending") if which not in BY_ORDER else ("ascending", "ascending"):
        with emulated.order(order), pytest.raises(RuntimeError, match=message):
            wrong((1,), (32,), (x, np.int32(32), np.int32(which)), shared_mem=64)
    y = cupy.empty(1, np.float32)
    kernel(cupy, WORKING, "row_sums<float, 3>")(
        (1,), (32,), (cupy.ones(32, np.float32), y, np.int32(32)), shared_mem=128
    )
    assert float(y[0]) == 96


def test_lanes_that_do_not_exist(emulated, cupy):
    """A full mask needs full warps."""
    x = cupy.zeros(40, np.float32)
    with pytest.raises(RuntimeError, match="names lanes that do not exist, this warp has 8"):
        kernel(cupy, WRONG, "wrong")((1,), (40,), (x, np.int32(40), np.int32(14)), shared_mem=64)


def test_too_much_static_shared_memory(emulated, cupy):
    """48 KB and no more."""
    with pytest.raises(RuntimeError, match="53248 bytes of static shared memory, at most 49152"):
        kernel(cupy, WRONG, "too_large")((1,), (32,), (cupy.zeros(32, np.float32),))


def test_races_are_found_by_the_order(emulated, cupy):
    """Without the barrier a thread may read before its neighbour has written."""
    x = cupy.arange(256, dtype=np.int32)

    def run(wait):
        y = cupy.empty(256, np.int32)
        kernel(cupy, SHIFT, f"shift<{wait}>")((1,), (256,), (x, y))
        return y

    np.testing.assert_array_equal(emulated.in_orders(lambda: run("true")).get(), np.roll(np.arange(256), -1))
    with pytest.raises(AssertionError, match="race: result 0 differs"):
        emulated.in_orders(lambda: run("false"))


def test_races_between_blocks(emulated, cupy):
    """Blocks change places as well."""

    def run():
        y = cupy.empty(1, np.int32)
        kernel(cupy, SHIFT, "last")((50,), (32,), (y,))
        return y

    with pytest.raises(AssertionError, match="race"):
        emulated.in_orders(run)
    seen = []
    for order in ("ascending", "descending", 1, 2, 3):
        with emulated.order(order):
            seen.append(int(run()[0]))
    assert seen[:2] == [49, 0] and len(set(seen)) > 2


def test_arguments_are_checked(emulated, cupy):
    """Position, expected and given; a GPU would run with what the bytes happen to be."""
    sums = kernel(cupy, WORKING, "row_sums<float, 3>")
    x, y, n = cupy.zeros(32, np.float32), cupy.zeros(1, np.float32), np.int32(32)
    wrong = {
        r"argument 0 must be const\*float32, not an array of float64": (x.astype(np.float64), y, n),
        r"argument 1 must be \*float32, not a scalar of float32": (x, np.float32(1), n),
        r"argument 2 must be int32, not a int": (x, y, 32),
        r"argument 2 must be int32, not a scalar of int64": (x, y, np.int64(32)),
        r"argument 1 must be \*float32, not a ndarray": (x, np.zeros(1, np.float32), n),
        r"3 arguments expected \(const\*float32, \*float32, int32\), 2 given": (x, y),
    }
    for message, arguments in wrong.items():
        with pytest.raises(TypeError, match=rf"row_sums<float, 3>: {message}"):
            sums((1,), (32,), arguments, shared_mem=128)
    assert emulated.counters.launches == 0


@pytest.mark.parametrize(
    "grid, block, shared",
    [((0,), (32,), 128), ((1,), (0,), 128), ((1,), (1025,), 128), ((1,), (32, 33), 128), ((1,), (1, 1, 65), 128)]
    + [((1, 70000), (32,), 128), ((1,), (32,), 49153), ((1,), (32,), 230_000)],
)
def test_impossible_launches(emulated, cupy, grid, block, shared):
    """As the driver refuses them."""
    arguments = (cupy.zeros(32, np.float32), cupy.zeros(1, np.float32), np.int32(32))
    with pytest.raises(
        RuntimeError, match=r"row_sums<float, 3>: .*(not within|threads, at most|more than max_dynamic)"
    ):
        kernel(cupy, WORKING, "row_sums<float, 3>")(grid, block, arguments, shared_mem=shared)


@pytest.mark.parametrize(
    "expression, most", [("bounded<float, 2>", 64), ("bounded<double, 8>", 128), ("narrow", 32), ("any_number", 1024)]
)
def test_launch_bounds_are_kept(emulated, cupy, expression, most):
    """The compiler has counted on them."""
    bounded = kernel(cupy, BOUNDS, expression)
    assert bounded.max_threads_per_block == most
    x = cupy.zeros(1024, np.float64 if "double" in expression else np.float32)
    bounded((1,), (most,), (x,))
    assert int((x == 1).sum()) == most
    with pytest.raises(RuntimeError, match="more threads than its __launch_bounds__|not within 1 to 1024"):
        bounded((1,), (most + 32,), (x,))


def test_more_shared_memory_is_asked_for_first(emulated, cupy):
    """Up to 227 KB, after the kernel has been told."""
    sums = kernel(cupy, WORKING, "row_sums<float, 3>")
    arguments = (cupy.ones(32, np.float32), cupy.zeros(1, np.float32), np.int32(32))
    sums.max_dynamic_shared_size_bytes = 200_000
    sums((1,), (32,), arguments, shared_mem=200_000)
    assert float(arguments[1][0]) == 96
    with pytest.raises(RuntimeError, match="the device has 232448"):
        sums.max_dynamic_shared_size_bytes = 232_448


def test_atomics_on_floats_do_not_compile(emulated, cupy):
    """Their sums would depend on the order of the threads."""
    code = "__global__ void add(float* x) { atomicAdd(x, 1.0f); }"
    with pytest.raises(CompileError, match="atomics only on integers"):
        kernel(cupy, code, "add")


def test_compiled_kernels_are_kept(emulated, cupy, monkeypatch, tmp_path):
    """On disk, by what they are made of: header, source, options and instance."""
    from ..emulation import compiler

    monkeypatch.setenv("NEUROGRAPH_EMULATION_CACHE", str(tmp_path / "kept"))
    header = tmp_path / "value.cuh"
    code = '#include "value.cuh"\n__global__ void give(int* y) { y[0] = VALUE; }'
    values = []
    for text in ("#define VALUE 1", "#define VALUE 1", "#define VALUE 2"):
        header.write_text(text)
        compiler.build.cache_clear()
        module = cupy.RawModule(code=code, options=(f"-I{tmp_path}",), name_expressions=("give",))
        y = cupy.zeros(1, np.int32)
        module.get_function("give")((1,), (1,), (y,))
        values.append((int(y[0]), len(list((tmp_path / "kept").glob("*.so")))))
    compiler.build.cache_clear()
    assert values == [(1, 1), (1, 1), (2, 2)]


def test_halves_of_a_warp_may_run_apart(emulated, cupy, rng):
    """One half may be at the next call, of all lanes, while the other is still at one of its own."""
    x = cupy.asarray(rng.integers(0, 1000, size=64).astype(np.int32))

    def run():
        y = cupy.empty((9, 64), np.int32)
        kernel(cupy, WORKING, "warp_functions")((1,), (64,), (x, y))
        return y

    emulated.in_orders(run, ("ascending", "descending", *range(1, 20)))
