/* Included before tests/harness.c here: the ends of its buffers are nobody's memory for the
 * harness's checks too, not for AddressSanitizer alone. */
#ifndef SIMT_POISON_H
#define SIMT_POISON_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif
void simt_poison(void *p, size_t bytes);
void simt_unpoison(void *p, size_t bytes);
#ifdef __cplusplus
}
#endif
#define ASAN_POISON_MEMORY_REGION(p, bytes) simt_poison((p), (bytes))
#define ASAN_UNPOISON_MEMORY_REGION(p, bytes) simt_unpoison((p), (bytes))

#endif
