/* The builds that do not look at each access: the sanitizer does, or nobody. */
#include "simt_internal.h"

namespace simt {
void region_add(void *, size_t, Space) {
}
void region_del(void *) {
}
void access(const char *, unsigned, Access, const void *, Loc) {
}
void atomic_access(void *, size_t, const void *) {
}
} // namespace simt

extern "C" void simt_poison(void *p, size_t bytes) {
  ASAN_POISON_MEMORY_REGION(p, bytes);
}
extern "C" void simt_unpoison(void *p, size_t bytes) {
  ASAN_UNPOISON_MEMORY_REGION(p, bytes);
}
