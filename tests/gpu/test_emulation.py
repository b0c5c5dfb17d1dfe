"""The emulation itself: what it runs as a GPU would, and what it refuses."""

import numpy as np
import pytest

from neurograph.backends.gpu.module import SOURCES

CODE = """
#include "launch.cuh"
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
"""


def kernel(cupy, code, expression):
    """One kernel of a source."""
    module = cupy.RawModule(code=code, options=("-std=c++17", f"-I{SOURCES}"), name_expressions=(expression,))
    return module.get_function(expression)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_barriers_shuffles_and_shared_memory(cupy, rng, dtype):
    """Sums of rows across a block."""
    name = {np.float32: "float", np.float64: "double"}[dtype]
    sums = kernel(cupy, CODE, f"row_sums<{name}, 3>")
    x = rng.normal(size=(7, 100)).astype(dtype)
    y = cupy.empty(7, dtype)
    sums((7,), (128,), (cupy.asarray(x), y, np.int32(100)), shared_mem=128 * y.itemsize)
    np.testing.assert_allclose(y.get(), 3 * x.sum(axis=1), rtol=1e-5, atol=1e-4)
