/* What the scheduler, the memory and the checker share. */
#ifndef SIMT_INTERNAL_H
#define SIMT_INTERNAL_H

#include "simt.h"

#if defined(__SANITIZE_ADDRESS__)
#define SIMT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIMT_ASAN 1
#endif
#endif
#ifndef SIMT_ASAN
#define SIMT_ASAN 0
#endif
#if SIMT_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

namespace simt {

enum Space { GLOBAL, SHARED };
enum Access { READ, WRITE, ATOMIC };
constexpr unsigned NO_THREAD = ~0u;

/* Where the launch stands. Epochs count barriers of the block and __syncwarps of each warp; block
 * numbers never repeat, so that a record of an earlier launch is known by its number. */
struct State {
  const char *kernel = "";
  unsigned thread = NO_THREAD, block_epoch = 1, warp_epoch[32] = {};
  uint32_t block = 0, first_block = 0;
  bool in_kernel = false;
  unsigned long errors = 0;
  char *stacks = nullptr, *stacks_end = nullptr, *args = nullptr, *args_end = nullptr;
};
extern State S;

/* simt_check.cpp in the race-check build, simt_nocheck.cpp (which does nothing) in the others. */
void region_add(void *p, size_t bytes, Space space);
void region_del(void *p);
/* The site is the return address pc, or where that is NULL the line loc. */
void access(const char *p, unsigned bytes, Access kind, const void *pc, Loc loc);

/* Device memory is poisoned for host code while no kernel and no copy runs. */
void device_access(bool on);
cudaError_t fail(cudaError_t error);
/* Bytes of dynamic shared memory that the kernel may be launched with. */
size_t dynamic_limit(const void *kernel);

/* Shared memory of one block. */
void shared_begin(size_t dynamic_bytes);
void shared_end();
} // namespace simt

/* For the case harness: these bytes are nobody's, until they are given back. */
extern "C" void simt_poison(void *p, size_t bytes);
extern "C" void simt_unpoison(void *p, size_t bytes);

#endif
