// The launcher of one kernel, with the types of its parameters as text for those who check the arguments.
#pragma once

struct __nv_bfloat16;
struct __half;

namespace emulation {

template <typename T>
constexpr const char* type_name() {
  if constexpr (std::is_same_v<T, bool>) return "bool";
  else if constexpr (std::is_same_v<T, float> || std::is_same_v<T, float2> || std::is_same_v<T, float4>) return "float32";
  else if constexpr (std::is_same_v<T, double> || std::is_same_v<T, double2>) return "float64";
  else if constexpr (std::is_same_v<T, int2> || std::is_same_v<T, int4>) return "int32";
  else if constexpr (std::is_same_v<T, uint2> || std::is_same_v<T, uint4>) return "uint32";
  else if constexpr (std::is_same_v<T, __nv_bfloat16>) return "uint16";
  else if constexpr (std::is_same_v<T, __half>) return "float16";
  else if constexpr (std::is_same_v<T, void>) return "void";
  else if constexpr (std::is_integral_v<T> && std::is_signed_v<T>)
    return sizeof(T) == 1 ? "int8" : sizeof(T) == 2 ? "int16" : sizeof(T) == 4 ? "int32" : "int64";
  else if constexpr (std::is_integral_v<T>)
    return sizeof(T) == 1 ? "uint8" : sizeof(T) == 2 ? "uint16" : sizeof(T) == 4 ? "uint32" : "uint64";
  else return "unknown";
}

template <typename A>
struct Parameter {
  static_assert(std::is_arithmetic_v<A>, "parameters of kernels are scalars and pointers to scalars");
  static const char* name() { return type_name<A>(); }
  static const char* kind() { return ""; }
};
template <typename A>
struct Parameter<A*> {
  static const char* name() { return type_name<std::remove_cv_t<A>>(); }
  static const char* kind() { return std::is_const_v<A> ? "const*" : "*"; }
};

inline void** call_arguments;

template <auto F>
struct Kernel;
template <typename... A, void (*F)(A...)>
struct Kernel<F> {
  template <size_t... I>
  static void call_with(std::index_sequence<I...>) {
    void** p = call_arguments;
    (void)p;
    F(*static_cast<std::remove_const_t<A>*>(p[I])...);
  }
  static void call() { call_with(std::index_sequence_for<A...>{}); }
  static const char* signature() {
    static char text[4096];
    text[0] = 0;
    ((std::strcat(text, Parameter<std::remove_const_t<A>>::kind()), std::strcat(text, Parameter<std::remove_const_t<A>>::name()), std::strcat(text, ",")), ...);
    return text;
  }
};

inline sigjmp_buf crash;
inline void on_signal(int signal) { siglongjmp(crash, signal); }

// Static variables of the kernel's functions, which the symbols of the library tell: the static shared memory.
struct Region {
  unsigned char* start;
  size_t size;
};
inline Region regions[64];
inline int n_regions;

inline void check_behind(size_t length) {
  if (!std::memcmp(dynamic_memory + dynamic_size, guard.bytes, length)) return;
  for (size_t i = 0; i < length; ++i)
    if (dynamic_memory[dynamic_size + i] != guard.bytes[i]) {
      std::snprintf(message, sizeof message,
                    "block (%u, %u, %u): a write %zu bytes behind the %zu bytes of dynamic shared memory", block_index.x,
                    block_index.y, block_index.z, i, dynamic_size);
      failed = true;
      return;
    }
}

// Returns null, or what went wrong. `mode`: 0 ascending, 1 descending, other: the seed of a shuffle of blocks and threads.
inline const char* launch(void (*call)(), const unsigned* grid, const unsigned* block, void** arguments, size_t dynamic,
                          uint64_t mode) {
  grid_dimensions = {grid[0], grid[1], grid[2]};
  block_dimensions = {block[0], block[1], block[2]};
  n_threads = int(block[0] * block[1] * block[2]);
  dynamic_size = dynamic;
  body = call;
  call_arguments = arguments;
  failed = false;
  descending = mode == 1;
  random_state = mode > 1 ? mode * 0x9E3779B97F4A7C15ull | 1 : 0;
  long long n_blocks = (long long)grid[0] * grid[1] * grid[2];
  int* blocks = static_cast<int*>(std::malloc(sizeof(int) * n_blocks));
  for (long long i = 0; i < n_blocks; ++i) blocks[i] = int(descending ? n_blocks - 1 - i : i);
  for (int i = 0; i < n_threads; ++i) order[i] = descending ? n_threads - 1 - i : i;
  if (random_state)
    for (long long i = n_blocks - 1; i > 0; --i) std::swap(blocks[i], blocks[random_below(i + 1)]);
  std::memcpy(dynamic_memory + dynamic, guard.bytes, CANARY);
  for (unsigned t = 0, x = block[0], y = block[1]; t < unsigned(n_threads); ++t)
    indices[t] = {t % x, t / x % y, t / (x * y)};

  struct sigaction action {}, old_segv, old_bus, old_fpe;
  stack_t own{}, old_stack;
  static char signal_stack[64 << 10];
  own.ss_sp = signal_stack;
  own.ss_size = sizeof signal_stack;
  sigaltstack(&own, &old_stack);
  action.sa_handler = on_signal;
  action.sa_flags = SA_ONSTACK | SA_NODEFER;
  sigaction(SIGSEGV, &action, &old_segv);
  sigaction(SIGBUS, &action, &old_bus);
  sigaction(SIGFPE, &action, &old_fpe);
  int signal = sigsetjmp(crash, 1);
  if (signal == 0) {
    for (long long i = 0; i < n_blocks && !failed; ++i) {
      unsigned b = unsigned(blocks[i]);
      block_index = {b % grid[0], b / grid[0] % grid[1], b / (grid[0] * grid[1])};
      for (int r = 0; r < n_regions; ++r) std::memset(regions[r].start, POISON, regions[r].size);
      if (dynamic) std::memset(dynamic_memory, POISON, dynamic);
      if (random_state)
        for (int j = n_threads - 1; j > 0; --j) std::swap(order[j], order[random_below(j + 1)]);
      run_block();
      if (!failed) check_behind(256);
    }
    if (!failed) check_behind(CANARY);
  } else {
    std::snprintf(message, sizeof message, "block (%u, %u, %u), thread (%u, %u, %u): %s", block_index.x, block_index.y,
                  block_index.z, thread_index.x, thread_index.y, thread_index.z,
                  signal == SIGFPE ? "integer division by zero" : "access to memory that is not the device's (or too deep a stack)");
    failed = true;
  }
  sigaction(SIGSEGV, &old_segv, nullptr);
  sigaction(SIGBUS, &old_bus, nullptr);
  sigaction(SIGFPE, &old_fpe, nullptr);
  sigaltstack(&old_stack, nullptr);
  std::free(blocks);
  return failed ? message : nullptr;
}

}  // namespace emulation

// Asked for with (...), for names of templates contain commas.
#define EMULATION_EXPORT(...)                                                                                       \
  extern "C" __attribute__((visibility("default"))) const char* emulation_signature() {                            \
    return ::emulation::Kernel<&__VA_ARGS__>::signature();                                                         \
  }                                                                                                                 \
  extern "C" __attribute__((visibility("default"))) void emulation_static_shared(void* start, size_t size) {        \
    if (::emulation::n_regions == 64) std::abort();                                                                 \
    ::emulation::regions[::emulation::n_regions++] = {static_cast<unsigned char*>(start), size};                    \
  }                                                                                                                 \
  extern "C" __attribute__((visibility("default"))) const char* emulation_launch(                                  \
      const unsigned* grid, const unsigned* block, void** arguments, size_t dynamic, uint64_t mode) {              \
    return ::emulation::launch(&::emulation::Kernel<&__VA_ARGS__>::call, grid, block, arguments, dynamic, mode);   \
  }

// With the body of a function that returns the threads of the kernel's __launch_bounds__.
#define EMULATION_BOUND(...) extern "C" __attribute__((visibility("default"))) int emulation_bound() __VA_ARGS__
