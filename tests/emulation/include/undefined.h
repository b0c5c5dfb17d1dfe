// What the compiler's checks call: accesses out of a static array, misaligned ones, and shifts by too much.
#pragma once

namespace emulation {

struct SourceLocation {
  const char* file;
  uint32_t line, column;
};

}  // namespace emulation

extern "C" {
inline __attribute__((used)) void __ubsan_handle_type_mismatch_v1(void* data, uintptr_t address) {
  struct Data {
    ::emulation::SourceLocation at;
    const void* type;
    unsigned char log_alignment;
  }& d = *static_cast<Data*>(data);
  ::emulation::fail("misaligned access (%s:%u): the address is no multiple of %u bytes", ::emulation::base_name(d.at.file),
                    d.at.line, address ? 1u << d.log_alignment : 0u);
}
inline __attribute__((used)) void __ubsan_handle_out_of_bounds(void* data, uintptr_t index) {
  auto& at = *static_cast<::emulation::SourceLocation*>(data);
  ::emulation::fail("out of bounds of an array (%s:%u): index %lld", ::emulation::base_name(at.file), at.line, (long long)index);
}
inline __attribute__((used)) void __ubsan_handle_shift_out_of_bounds(void* data, uintptr_t, uintptr_t by) {
  auto& at = *static_cast<::emulation::SourceLocation*>(data);
  ::emulation::fail("shift by %lld bits (%s:%u)", (long long)by, ::emulation::base_name(at.file), at.line);
}
}
