/* The scheduler: runs the blocks of a launch one after another, the threads of a block as fibers.
 *
 * A thread runs until it meets a barrier, a warp collective or its end. When no thread can run, the
 * collectives whose lanes have all come are resolved; when none is left, the barrier opens; when
 * neither can, the block is dead and says where. Not compiled with -fsanitize=thread. */
#include "simt_internal.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <vector>
#include <sys/mman.h>

#if !defined(__x86_64__) || defined(SIMT_UCONTEXT)
#define SIMT_USES_UCONTEXT 1
#include <ucontext.h>
#else
#define SIMT_USES_UCONTEXT 0
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace simt {
State S;

namespace {
enum { MAX_THREADS = 1024, GUARD_BYTES = 4096 };
constexpr size_t STACK_BYTES = 128 * 1024;
enum Status { READY, AT_BARRIER, AT_WARP, DONE };

#if SIMT_USES_UCONTEXT
typedef ucontext_t Context;
#else
typedef void *Context; /* the stack pointer; the rest lies on the stack */
#endif

struct AsyncCopy {
  void *to;
  const void *from;
  unsigned bytes, group;
  Loc loc;
};
struct Fiber {
  Context context;
  char *stack = nullptr;
  void *fake_stack = nullptr;
  Status status = DONE;
  uint3 index{};
  Loc loc{"", 0, 0};
  unsigned mask = 0;
  void *record = nullptr;
  void (*resolve)(void **, unsigned) = nullptr;
  std::vector<AsyncCopy> copies;
  unsigned copy_group = 0;
};
std::vector<Fiber> fibers;
Fiber *current;
Context scheduler;
unsigned n_threads;
void (*body)(void *);
void *body_args;
int votes[2], vote_result[2]; /* true, false */
#if SIMT_ASAN
const void *main_stack;
size_t main_stack_bytes;
void *main_fake_stack;
#endif

enum Schedule { FORWARD, REVERSE, RANDOM } schedule;
uint64_t random_state = 88172645463325252u;
unsigned next_random() {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return (unsigned)(random_state >> 32);
}

/* ---- switching */

#if SIMT_USES_UCONTEXT
void switch_context(Context *from, Context *to) {
  swapcontext(from, to);
}
#else
extern "C" void simt_switch(void **save, void *to);
__asm__(".text\n.globl simt_switch\n.hidden simt_switch\n.type simt_switch,@function\n"
        "simt_switch:\n"
        "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
        "movq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
        "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n"
        ".size simt_switch,.-simt_switch\n");
void switch_context(Context *from, Context *to) {
  simt_switch(from, *to);
}
#endif

__attribute__((noinline)) void to_scheduler() {
#if SIMT_ASAN
  __sanitizer_start_switch_fiber(&current->fake_stack, main_stack, main_stack_bytes);
#endif
  switch_context(&current->context, &scheduler);
#if SIMT_ASAN
  __sanitizer_finish_switch_fiber(current->fake_stack, nullptr, nullptr);
#endif
}

__attribute__((noinline)) void to_fiber(Fiber *f) {
  current = f;
  threadIdx = f->index;
  S.thread = (unsigned)(f - fibers.data());
#if SIMT_ASAN
  __sanitizer_start_switch_fiber(&main_fake_stack, f->stack, STACK_BYTES);
#endif
  switch_context(&scheduler, &f->context);
#if SIMT_ASAN
  __sanitizer_finish_switch_fiber(main_fake_stack, nullptr, nullptr);
#endif
}

void fiber_main() {
#if SIMT_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &main_stack, &main_stack_bytes);
#endif
  for (;;) {
    body(body_args);
    if (!current->copies.empty()) {
      error("thread exits with %zu cp.async not waited for", current->copies.size());
      current->copies.clear();
    }
    current->status = DONE;
    to_scheduler();
  }
}

/* Sets a fiber to the start of fiber_main. */
void reset(Fiber &f, size_t i) {
  ASAN_UNPOISON_MEMORY_REGION(f.stack, STACK_BYTES);
  f.status = DONE;
  f.fake_stack = nullptr;
  f.copies.clear();
#if SIMT_USES_UCONTEXT
  (void)i;
  getcontext(&f.context);
  f.context.uc_stack.ss_sp = f.stack;
  f.context.uc_stack.ss_size = STACK_BYTES;
  f.context.uc_link = nullptr;
  makecontext(&f.context, fiber_main, 0);
#else
  /* Staggered: stacks at one offset of their pages would fight for the same cache lines. */
  void **top = (void **)(f.stack + STACK_BYTES - i % 32 * 64);
  *--top = nullptr;
  *--top = (void *)fiber_main;
  for (int r = 0; r < 6; r++)
    *--top = nullptr;
  f.context = top;
#endif
}

void grow(unsigned n) {
  const size_t each = STACK_BYTES + GUARD_BYTES;
  if (!S.stacks) {
    void *m = mmap(nullptr, MAX_THREADS * each, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m == MAP_FAILED) {
      std::perror("simt: stacks");
      std::exit(3);
    }
    S.stacks = (char *)m;
    S.stacks_end = S.stacks + MAX_THREADS * each;
    fibers.reserve(MAX_THREADS);
  }
  while (fibers.size() < n) {
    char *m = S.stacks + fibers.size() * each;
    mprotect(m, GUARD_BYTES, PROT_NONE);
    fibers.emplace_back();
    fibers.back().stack = m + GUARD_BYTES;
    reset(fibers.back(), fibers.size());
  }
}

/* ---- one block */

bool resolve_warp(unsigned w) {
  unsigned first = w * 32, last = std::min(n_threads, first + 32);
  bool any = false;
  for (unsigned i = first; i < last; i++) {
    Fiber &f = fibers[i];
    if (f.status != AT_WARP)
      continue;
    unsigned arrived = 0;
    bool elsewhere = false;
    void *records[32] = {};
    for (unsigned j = first; j < first + 32; j++) {
      unsigned bit = 1u << (j - first);
      if (j >= last || fibers[j].status == DONE) { /* lanes that are gone hold nobody back */
        arrived |= bit;
        continue;
      }
      Fiber &o = fibers[j];
      if (!(f.mask & bit) || o.status != AT_WARP || o.mask != f.mask || o.resolve != f.resolve)
        continue;
      arrived |= bit;
      records[j - first] = o.record;
      elsewhere |= !(o.loc == f.loc);
    }
    if ((arrived & f.mask) != f.mask)
      continue;
    threadIdx = f.index;
    if (elsewhere)
      error("lanes of one warp collective (mask %08x) arrive from different lines, one is %s:%d",
            f.mask, f.loc.file, f.loc.line);
    S.thread = i;
    f.resolve(records, f.mask);
    if (f.resolve == &order_memory)
      S.warp_epoch[w]++;
    for (unsigned j = first; j < last; j++)
      if (records[j - first])
        fibers[j].status = READY;
    any = true;
  }
  S.thread = NO_THREAD;
  return any;
}

/* No thread can run: opens the barrier. False where the block cannot go on, or has ended. */
bool open_barrier(bool *ok) {
  unsigned done = 0, waiting = 0;
  Fiber *at = nullptr, *apart = nullptr, *stuck = nullptr;
  for (unsigned i = 0; i < n_threads; i++) {
    Fiber &f = fibers[i];
    if (f.status == DONE) {
      done++;
    } else if (f.status == AT_BARRIER) {
      waiting++;
      if (at && !(at->loc == f.loc))
        apart = &f;
      at = at ? at : &f;
    } else {
      stuck = &f;
    }
  }
  *ok = !stuck;
  if (done == n_threads)
    return false;
  if (stuck) {
    threadIdx = stuck->index;
    error("deadlock: warp collective at %s:%d, mask %08x, waits for lanes that never come",
          stuck->loc.file, stuck->loc.line, stuck->mask);
    for (unsigned i = 0; i < n_threads; i++)
      if (fibers[i].status != DONE)
        reset(fibers[i], i);
    return false;
  }
  if (done)
    error("__syncthreads() at %s:%d reached by %u of %u threads, %u have exited", at->loc.file,
          at->loc.line, waiting, n_threads, done);
  if (apart) {
    threadIdx = apart->index;
    error("divergent __syncthreads(): %s:%d and %s:%d", at->loc.file, at->loc.line, apart->loc.file,
          apart->loc.line);
  }
  std::copy(votes, votes + 2, vote_result);
  votes[0] = votes[1] = 0;
  S.block_epoch++;
  for (unsigned i = 0; i < n_threads; i++)
    if (fibers[i].status == AT_BARRIER)
      fibers[i].status = READY;
  return true;
}

bool run_block() {
  static std::vector<unsigned> order;
  const unsigned warps = (n_threads + 31) / 32;
  bool ok = true;
  order.resize(n_threads);
  for (unsigned i = 0; i < n_threads; i++) {
    fibers[i].status = READY;
    order[i] = schedule == REVERSE ? n_threads - 1 - i : i;
  }
  S.block_epoch = 1;
  std::fill(S.warp_epoch, S.warp_epoch + 32, 1u);
  votes[0] = votes[1] = 0;
  do {
    for (bool ready = true; ready;) {
      if (schedule == RANDOM)
        for (unsigned i = n_threads; i > 1; i--)
          std::swap(order[i - 1], order[next_random() % i]);
      for (unsigned i : order)
        if (fibers[i].status == READY)
          to_fiber(&fibers[i]);
      S.thread = NO_THREAD;
      ready = false;
      for (unsigned w = 0; w < warps; w++)
        ready |= resolve_warp(w);
    }
  } while (open_barrier(&ok));
  return ok;
}

void read_environment() {
  static bool done;
  if (done)
    return;
  done = true;
  const char *e = std::getenv("SIMT_SCHED");
  if (!e || !*e || !std::strcmp(e, "fwd"))
    return;
  if (!std::strcmp(e, "rev")) {
    schedule = REVERSE;
  } else if (!std::strncmp(e, "rand:", 5)) {
    schedule = RANDOM;
    random_state += std::strtoull(e + 5, nullptr, 10) * 2654435761u;
  } else {
    std::fprintf(stderr, "SIMT_SCHED is fwd, rev or rand:SEED, not '%s'\n", e);
    std::exit(3);
  }
}

bool is_launchable(const LaunchConfig &c) {
  size_t n = (size_t)c.block.x * c.block.y * c.block.z;
  return n > 0 && n <= MAX_THREADS && c.block.z <= 64 && c.grid.x > 0 && c.grid.x <= 0x7FFFFFFFu &&
         c.grid.y > 0 && c.grid.y <= 65535 && c.grid.z > 0 && c.grid.z <= 65535;
}
} // namespace

void error(const char *format, ...) {
  va_list args;
  va_start(args, format);
  std::fprintf(stderr, "SIMT ERROR: kernel %s block (%u,%u,%u) thread (%u,%u,%u): ", S.kernel,
               blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
  std::vfprintf(stderr, format, args);
  std::fputc('\n', stderr);
  va_end(args);
  S.errors++;
}

unsigned lane() {
  return S.thread & 31;
}

void barrier(Loc loc) {
  current->status = AT_BARRIER;
  current->loc = loc;
  to_scheduler();
}

int barrier_vote(int predicate, Vote vote, Loc loc) {
  votes[predicate ? 0 : 1]++;
  barrier(loc);
  return vote == COUNT ? vote_result[0] : vote == AND ? vote_result[1] == 0 : vote_result[0] != 0;
}

void order_memory(void **, unsigned) {
}

void warp_exchange(unsigned mask, void *mine, void (*resolve)(void **, unsigned), Loc loc) {
  if (!(mask >> lane() & 1)) {
    error("lane %u calls a warp collective at %s:%d with mask %08x that does not name it", lane(),
          loc.file, loc.line, mask);
    mask |= 1u << lane();
  }
  current->status = AT_WARP;
  current->mask = mask;
  current->record = mine;
  current->resolve = resolve;
  current->loc = loc;
  to_scheduler();
}

void vector_copy(void *to, const void *from, unsigned bytes, bool write, Loc loc) {
  const void *p = write ? to : from;
  if ((uintptr_t)p & (bytes - 1))
    error("misaligned %u-byte vector %s at %s:%d (%p)", bytes, write ? "store" : "load", loc.file,
          loc.line, p);
  access((const char *)p, bytes, write ? WRITE : READ, nullptr, loc);
  std::memcpy(to, from, bytes);
}

/* Nothing lands before the wait; until then the destination is poison. */
void cp_async(void *to, const void *from, unsigned bytes, Loc loc) {
  if (((uintptr_t)to | (uintptr_t)from) & (bytes - 1))
    error("cp.async of %u bytes at %s:%d, misaligned %p <- %p", bytes, loc.file, loc.line, to,
          from);
  std::memset(to, 0xFF, bytes);
  current->copies.push_back({to, from, bytes, current->copy_group, loc});
}
void cp_commit() {
  current->copy_group++;
}
void cp_wait(unsigned keep) {
  auto &copies = current->copies;
  size_t kept = 0;
  for (auto &c : copies) {
    if (c.group + keep >= current->copy_group) {
      copies[kept++] = c;
      continue;
    }
    access((const char *)c.from, c.bytes, READ, nullptr, c.loc);
    access((const char *)c.to, c.bytes, WRITE, nullptr, c.loc);
    std::memcpy(c.to, c.from, c.bytes);
  }
  copies.resize(kept);
}

static unsigned long n_launches;

cudaError_t run(const LaunchConfig &c, const void *kernel, const char *name, void (*thunk)(void *),
                void *args, size_t args_bytes) {
  read_environment();
  n_launches++;
  S.kernel = name;
  if (!is_launchable(c))
    return fail(cudaErrorInvalidConfiguration);
  if (c.shared_bytes > dynamic_limit(kernel))
    return fail(cudaErrorInvalidValue);
  n_threads = c.block.x * c.block.y * c.block.z;
  grow(n_threads);
  body = thunk;
  body_args = args;
  S.args = (char *)args;
  S.args_end = S.args + args_bytes;
  blockDim = c.block;
  gridDim = c.grid;
  S.first_block = S.block + 1;
  for (unsigned i = 0; i < n_threads; i++)
    fibers[i].index = uint3{i % c.block.x, i / c.block.x % c.block.y, i / c.block.x / c.block.y};
  device_access(true);
  S.in_kernel = true;
  bool ok = true;
  for (unsigned z = 0; z < c.grid.z && ok; z++)
    for (unsigned y = 0; y < c.grid.y && ok; y++)
      for (unsigned x = 0; x < c.grid.x && ok; x++) {
        blockIdx = uint3{x, y, z};
        S.block++;
        shared_begin(c.shared_bytes);
        ok = run_block();
        shared_end();
      }
  S.in_kernel = false;
  device_access(false);
  return ok ? cudaSuccess : fail(cudaErrorLaunchFailure);
}
} // namespace simt

extern "C" unsigned long simt_launch_count(void) {
  return simt::n_launches;
}

extern "C" unsigned long simt_error_count(void) {
  return simt::S.errors;
}
