// CUDA C++ for the host: a kernel runs as a plain function, its threads as fibers that change places where they wait.
//
// The blocks run one after another, and all in one thread of the operating system, so shared memory is plain static
// memory and atomics are plain operations. A thread runs until it first waits (at a barrier or a warp function); one
// that never waits leaves its stack to the next, so a kernel without barriers costs about what a loop does. What a GPU
// leaves undefined is an error here, with the names of kernel, file, line, block and threads.
#pragma once

#define NEUROGRAPH_EMULATION 1

#include <cmath>
#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include <sys/mman.h>

#define __global__ inline  // so that the shared memory of kernels that nobody asked for does not count
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __shared__ static
#define DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(::emulation::dynamic_shared())

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct uint3 {
  unsigned x, y, z;
};

constexpr int warpSize = 32;

#include "fibers.h"
#include "undefined.h"

#define threadIdx (::emulation::thread_index)
#define blockIdx (::emulation::block_index)
#define blockDim (::emulation::block_dimensions)
#define gridDim (::emulation::grid_dimensions)

#include "device_functions.h"
#include "launch.h"
