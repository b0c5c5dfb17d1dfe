// The threads of a block: fibers, the places where they wait, and who runs next.
#pragma once

#if !defined(__x86_64__) && !defined(__aarch64__)
#include <ucontext.h>
#endif

namespace emulation {

// Saves the registers that a call must keep, changes the stack, and goes on where that one had stopped.
#if defined(__x86_64__)
extern "C" void emulation_switch(void** from, void* to);
asm(R"(
.text
.local emulation_switch
.type emulation_switch, @function
emulation_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emulation_switch, .-emulation_switch
)");
inline void* first_frame(char* top, void (*entry)()) {
  void** p = reinterpret_cast<void**>(top);
  *--p = nullptr;  // the entry never returns; keeps the stack aligned as after a call
  *--p = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--p = nullptr;
  return p;
}
#elif defined(__aarch64__)
extern "C" void emulation_switch(void** from, void* to);
asm(R"(
.text
.local emulation_switch
.type emulation_switch, %function
emulation_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
.size emulation_switch, .-emulation_switch
)");
inline void* first_frame(char* top, void (*entry)()) {
  void** p = reinterpret_cast<void**>(top) - 20;
  for (int i = 0; i < 20; ++i) p[i] = nullptr;
  p[11] = reinterpret_cast<void*>(entry);  // x30, where `ret` goes
  return p;
}
#else
struct Context {
  ucontext_t of;
};
inline void emulation_switch(void** from, void* to) {
  Context here;
  *from = &here;
  swapcontext(&here.of, &static_cast<Context*>(to)->of);
}
inline void* first_frame(char* top, void (*entry)());
#endif

constexpr int MAX_THREADS = 1024, MAX_WARPS = MAX_THREADS / 32;
constexpr size_t STACK = 256 << 10;
constexpr size_t DYNAMIC_LIMIT = 227 << 10, CANARY = 64 << 10;
constexpr unsigned char POISON = 0xFF;  // NaN in every floating type, as is what stands behind dynamic shared memory

struct Guard {
  unsigned char bytes[CANARY];
  Guard() {
    for (size_t i = 0; i < CANARY; ++i) bytes[i] = i & 1 ? 0xFF : 0xF0 | (i / 2 * 5 % 13 + 1);
  }
};
inline const Guard guard;

enum State : unsigned char { UNSTARTED, RUNNABLE, RUNNING, AT_BARRIER, AT_WARP, EXITED };

struct Place {
  const char* what;
  const char* file;
  int line;
};

struct Thread {
  State state;
  Place place;
  void* stack;  // where it goes on
};

using Slots = unsigned char (*)[16];

// A call of a warp function: who has come, who has still to read what the others posted.
struct Meeting {
  unsigned mask, arrived, readers;
  Place place;
  alignas(16) unsigned char values[32][16];
};

struct Warp {
  uint64_t waiting, reading;  // which meetings; each lane is in at most one, so there is always a free one
  Meeting meetings[33];
};

inline uint3 thread_index, block_index;
inline dim3 block_dimensions, grid_dimensions;
inline Thread threads[MAX_THREADS];
inline uint3 indices[MAX_THREADS];
inline Warp warps[MAX_WARPS];
inline Place barrier_place;
inline bool descending;
inline int n_threads, n_exited, n_at_barrier, n_unstarted, current;
inline int order[MAX_THREADS];   // of the threads, in which they start and go on
inline int queue[MAX_THREADS], n_queue, queue_head;
inline char* stacks[MAX_THREADS];
inline int n_stacks_used;
inline void* main_stack;
inline void (*body)();
inline char message[2048];
inline bool failed;
inline uint64_t random_state;   // 0: no shuffling
alignas(128) inline unsigned char dynamic_memory[DYNAMIC_LIMIT + CANARY];
inline size_t dynamic_size;

inline unsigned char* dynamic_shared() { return dynamic_memory; }

inline uint64_t random_below(uint64_t n) {  // xorshift64*
  random_state ^= random_state >> 12;
  random_state ^= random_state << 25;
  random_state ^= random_state >> 27;
  return (random_state * 0x2545F4914F6CDD1Dull >> 33) % n;
}

[[noreturn]] inline void give_up() {
  void* nowhere;
  emulation_switch(&nowhere, main_stack);
  __builtin_unreachable();
}

inline const char* base_name(const char* path) {
  const char* slash = std::strrchr(path, '/');
  return slash ? slash + 1 : path;
}

[[noreturn]] inline void fail(const char* format, ...) {
  int n = std::snprintf(message, sizeof message, "block (%u, %u, %u), thread (%u, %u, %u): ", block_index.x,
                        block_index.y, block_index.z, thread_index.x, thread_index.y, thread_index.z);
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message + n, sizeof message - n, format, arguments);
  va_end(arguments);
  failed = true;
  give_up();
}

inline void set_thread(int t) {
  current = t;
  threads[t].state = RUNNING;
  thread_index = indices[t];
}

inline int next_unstarted() { return order[n_threads - n_unstarted--]; }

inline int next_queued() {
  if (random_state) std::swap(queue[queue_head], queue[queue_head + random_below(n_queue - queue_head)]);
  return queue[queue_head++];
}

inline void enqueue(int t) {
  threads[t].state = RUNNABLE;
  if (queue_head == n_queue) queue_head = n_queue = 0;
  if (n_queue == MAX_THREADS) {
    std::memmove(queue, queue + queue_head, (n_queue - queue_head) * sizeof(int));
    n_queue -= queue_head;
    queue_head = 0;
  }
  queue[n_queue++] = t;
}

// Nobody can go on: say who waits where.
[[noreturn]] inline void report_stuck() {
  char text[1500];
  int n = 0, groups = 0;
  for (int t = 0; t < n_threads && n < 1300;) {
    int end = t + 1;
    const Thread& a = threads[t];
    auto same = [&](const Thread& b) {
      return a.state == b.state && (a.state == EXITED || (a.place.line == b.place.line && a.place.what == b.place.what));
    };
    while (end < n_threads && same(threads[end])) ++end;
    n += std::snprintf(text + n, sizeof text - n, "%sthread%s %d", groups++ ? "; " : "", end > t + 1 ? "s" : "", t);
    if (end > t + 1) n += std::snprintf(text + n, sizeof text - n, "-%d", end - 1);
    if (a.state == EXITED) n += std::snprintf(text + n, sizeof text - n, " exited");
    else n += std::snprintf(text + n, sizeof text - n, " wait at %s (%s:%d)", a.place.what, base_name(a.place.file), a.place.line);
    t = end;
  }
  const char* what = "barrier that not all threads of the block reach";
  for (int t = 0; t < n_threads; ++t)
    if (threads[t].state == AT_WARP) what = "warp function whose mask names lanes that have exited or diverged";
  std::snprintf(message, sizeof message, "block (%u, %u, %u): %s: %s", block_index.x, block_index.y, block_index.z, what, text);
  failed = true;
  give_up();
}

inline void fiber_entry();

inline void* new_stack() {
  char*& stack = stacks[n_stacks_used];
  if (!stack) {
    void* memory = mmap(nullptr, STACK + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    mprotect(memory, 4096, PROT_NONE);  // too deep a stack faults and overwrites nothing
    stack = static_cast<char*>(memory) + 4096;
  }
  // Not all at the same offset in a page: their frames would compete for the same few lines of the cache.
  return first_frame(stack + STACK - n_stacks_used++ % 61 * 192, fiber_entry);
}

// Leaves the running thread where it is and goes on with another.
inline void wait() {
  int self = current;
  void* to;
  int next = -1;
  if (queue_head < n_queue && !(random_state && n_unstarted && random_below(2))) {
    next = next_queued();
    if (next == self) {
      set_thread(self);
      return;
    }
    to = threads[next].stack;
  } else if (n_unstarted) {
    to = new_stack();
  } else {
    report_stuck();
  }
  if (next >= 0) set_thread(next);
  emulation_switch(&threads[self].stack, to);
}

// What runs on each new stack: threads that have not begun, then those that can go on; the last one ends the block.
inline void fiber_entry() {
  while (true) {
    while (n_unstarted && !(random_state && queue_head < n_queue && random_below(2))) {
      set_thread(next_unstarted());
      body();
      threads[current].state = EXITED;
      ++n_exited;
    }
    if (queue_head < n_queue) {
      int next = next_queued();
      void* nowhere;
      set_thread(next);
      emulation_switch(&nowhere, threads[next].stack);
    } else if (n_exited == n_threads) {
      give_up();
    } else {
      report_stuck();
    }
  }
}

inline void barrier(const char* what, const char* file, int line) {
  Thread& self = threads[current];
  self.place = {what, file, line};
  self.state = AT_BARRIER;
  if (n_at_barrier == 0) barrier_place = self.place;
  if (barrier_place.line != line || std::strcmp(barrier_place.file, file))
    fail("divergent barrier: this thread is at %s:%d, another at %s:%d", base_name(file), line,
         base_name(barrier_place.file), barrier_place.line);
  if (++n_at_barrier == n_threads) {
    n_at_barrier = 0;
    for (int i = 0; i < n_threads; ++i) enqueue(order[i]);
  }
  wait();
}

// Waits for the lanes of the mask; the last to arrive does `finish`, each does `read` with what all have posted.
template <typename Finish, typename Read>
inline void meet(const char* what, unsigned mask, const void* value, size_t size, const char* file, int line,
                 Finish finish, Read read) {
  int first = current / 32 * 32, lane = current % 32;
  Warp& warp = warps[current / 32];
  int lanes = n_threads - first < 32 ? n_threads - first : 32;
  unsigned exist = lanes == 32 ? 0xFFFFFFFFu : (1u << lanes) - 1;
  if (!(mask >> lane & 1))
    fail("%s (%s:%d): the mask %#x does not name the calling lane %d", what, base_name(file), line, mask, lane);
  if (mask & ~exist)
    fail("%s (%s:%d): the mask %#x names lanes that do not exist, this warp has %d", what, base_name(file), line, mask,
         lanes);
  int m = -1;
  for (uint64_t rest = warp.waiting; rest; rest &= rest - 1) {
    int other = __builtin_ctzll(rest);
    const Meeting& there = warp.meetings[other];
    if (there.mask == mask && there.place.line == line && there.place.what == what) {
      m = other;
      break;
    }
    // Lanes may come here later, after another call; but not those that wait for this one there.
    if (there.mask >> lane & 1 && there.arrived & mask)
      fail("diverged warp: lane %d calls %s (%s:%d) with mask %#x, another one %s (%s:%d) with mask %#x", lane, what,
           base_name(file), line, mask, there.place.what, base_name(there.place.file), there.place.line, there.mask);
  }
  if (m < 0) {
    m = __builtin_ctzll(~(warp.waiting | warp.reading));
    warp.meetings[m].mask = mask;
    warp.meetings[m].arrived = 0;
    warp.meetings[m].place = {what, file, line};
    warp.waiting |= 1ull << m;
  }
  Meeting& meeting = warp.meetings[m];
  if (size) std::memcpy(meeting.values[lane], value, size);
  meeting.arrived |= 1u << lane;
  threads[current].place = {what, file, line};
  threads[current].state = AT_WARP;
  if (meeting.arrived == mask) {
    finish(meeting.values);
    warp.waiting &= ~(1ull << m);
    warp.reading |= 1ull << m;
    meeting.readers = mask;
    for (int i = 0; i < 32; ++i) {
      int other = descending ? 31 - i : i;
      if (mask >> other & 1) enqueue(first + other);
    }
  }
  wait();
  read(meeting.values);
  meeting.readers &= ~(1u << lane);
  if (!meeting.readers) warp.reading &= ~(1ull << m);
}

inline void run_block() {
  n_exited = n_at_barrier = n_queue = queue_head = n_stacks_used = 0;
  n_unstarted = n_threads;
  for (int t = 0; t < n_threads; ++t) threads[t].state = UNSTARTED;
  for (int w = 0; w < (n_threads + 31) / 32; ++w) warps[w].waiting = warps[w].reading = 0;
  emulation_switch(&main_stack, new_stack());
}

#if !defined(__x86_64__) && !defined(__aarch64__)
inline void* first_frame(char* top, void (*entry)()) {
  auto* context = reinterpret_cast<Context*>(top - sizeof(Context) - 64);
  getcontext(&context->of);
  context->of.uc_stack.ss_sp = top - STACK;
  context->of.uc_stack.ss_size = STACK - sizeof(Context) - 128;
  context->of.uc_link = nullptr;
  makecontext(&context->of, entry, 0);
  return context;
}
#endif

}  // namespace emulation
