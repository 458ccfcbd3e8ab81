/* Counts allocations of the whole process, libraries included, by standing in front of the C
 * library's allocator; off under sanitizers, which stand there themselves. */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>

long test_allocations(void);

#ifndef FG_SANITIZED
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t n, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);
void *malloc(size_t bytes);
void *calloc(size_t n, size_t bytes);
void *realloc(void *old, size_t bytes);
void *aligned_alloc(size_t alignment, size_t bytes);
int posix_memalign(void **out, size_t alignment, size_t bytes);

static atomic_long allocations;

void *malloc(size_t bytes) {
  atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
  return __libc_malloc(bytes);
}

void *calloc(size_t n, size_t bytes) {
  atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
  return __libc_calloc(n, bytes);
}

void *realloc(void *old, size_t bytes) {
  atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
  return __libc_realloc(old, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes) {
  atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
  return __libc_memalign(alignment, bytes);
}

int posix_memalign(void **out, size_t alignment, size_t bytes) {
  atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
  *out = __libc_memalign(alignment, bytes);
  return *out ? 0 : 12; /* ENOMEM */
}

long test_allocations(void) {
  return atomic_load(&allocations);
}
#else
long test_allocations(void) {
  return -1;
}
#endif
