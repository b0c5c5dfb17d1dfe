// Asynchronous copies to shared memory for the emulation: done only when their thread waits for them, so that a kernel
// which reads too early finds what was there before.
#pragma once

#include <vector>

namespace emulation {

struct Copy {
  void* to;
  const void* from;
  size_t copied, cleared;
  unsigned batch;
};
struct Copies {
  std::vector<Copy> pending;
  unsigned batch = 0;
};

inline Copies& copies_of_thread() {
  static Copies copies[1024];
  return copies[thread_index.x + block_dimensions.x * (thread_index.y + block_dimensions.y * thread_index.z)];
}

}  // namespace emulation

inline void __pipeline_memcpy_async(void* to, const void* from, size_t size, size_t zfill = 0) {
  if ((size != 4 && size != 8 && size != 16) || uintptr_t(to) % size || uintptr_t(from) % size || zfill > size)
    ::emulation::fail("__pipeline_memcpy_async: %zu bytes, %zu of them cleared, from %p to %p", size, zfill, from, to);
  ::emulation::Copies& own = ::emulation::copies_of_thread();
  own.pending.push_back({to, from, size - zfill, zfill, own.batch});
}

inline void __pipeline_commit() { ++::emulation::copies_of_thread().batch; }

// Wait for all batches but the last ones, `prior` of them.
inline void __pipeline_wait_prior(size_t prior) {
  ::emulation::Copies& own = ::emulation::copies_of_thread();
  size_t kept = 0;
  for (const ::emulation::Copy& copy : own.pending) {
    if (own.batch - copy.batch > prior) {
      std::memcpy(copy.to, copy.from, copy.copied);
      std::memset(static_cast<char*>(copy.to) + copy.copied, 0, copy.cleared);
    } else {
      own.pending[kept++] = copy;
    }
  }
  own.pending.resize(kept);
}
