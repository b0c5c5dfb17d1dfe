// What the kernels of all sources need, here and where the tests compile them for the host.
#pragma once

#ifndef DYNAMIC_SHARED
// The block's dynamic shared memory as an array of T; a kernel that holds several arrays divides it itself.
#define DYNAMIC_SHARED(T, name)                                              \
  extern __shared__ __align__(16) unsigned char neurograph_dynamic_shared[]; \
  T* const name = reinterpret_cast<T*>(neurograph_dynamic_shared)
#endif
