/* Leaf code that everything above stands on: arena, growing arrays, words, logging, interruption.
 * Failures are statuses (see fg_fail in kernel.h); nothing here knows what it is used for. */
#ifndef FG_BASE_H
#define FG_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "half.h"
#include "kernel.h"

/* Bump allocator: freed as a whole. Zero-filled, 64-byte aligned when `bytes` >= 64, else 16. */
struct fg_arena {
  struct fg_arena_block *last;
  size_t total_bytes; /* handed out so far    */
  size_t limit_bytes; /* 0: none; else alloc fails beyond */
  bool refused;       /* it did */
};
/* NULL when memory (or the limit) is exhausted, with the error recorded as FGSM_MEMORY. */
void *fg_arena_alloc(struct fg_arena *arena, size_t bytes);
char *fg_arena_text(struct fg_arena *arena, const char *text);
void fg_arena_free(struct fg_arena *arena);

/* Grows *array (of `size`-byte items, room for *capacity) to hold at least n items. */
fgsm_status fg_grow(void *array, int64_t *capacity, int64_t n, size_t size) FGSM_MUST_USE;

/* A text that grows; `failed` sticks when memory ran out. */
struct fg_text {
  char *data; /* NULL or zero-terminated */
  size_t length, capacity;
  bool failed;
};
void fg_text_add(struct fg_text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void fg_text_free(struct fg_text *text);

/* `text` as a person may see it: UTF-8, whatever is none a question mark, and so every control
 * character unless `controls`; cut between characters to fit. Returns its bytes. */
size_t fg_clean_text(const char *text, bool controls, char *out, size_t size);
/* "3.41 GFLOP" (step 1000), "12.5 MiB" (step 1024). */
const char *fg_scaled(double v, double step, const char *unit, char text[32]);
/* Bytes of the printable UTF-8 character at text (n > 0 bytes are left); 0 if it is none, a control
 * character, or one that reorders text. */
size_t fg_utf8_printable(const char *text, size_t n);
/* Copies text so that it can be shown: what is not printable becomes \xNN; cut to `size`, but not
 * within a character. */
void fg_utf8_clean(char *to, size_t size, const char *from);

void fg_log(fgsm_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

bool fg_interrupted(void);
/* FGSM_INTERRUPTED with the message, if fgsm_interrupt was called. */
fgsm_status fg_check_interrupt(void) FGSM_MUST_USE;

/* The message of fgsm_last_error, to be carried to another thread. */
void fg_error_copy(char *to, size_t size);
fgsm_status fg_error_restore(fgsm_status status, const char *message) FGSM_MUST_USE;

/* a * b and a + b, false on overflow or a negative operand. */
bool fg_mul_ok(int64_t a, int64_t b, int64_t *out);
bool fg_add_ok(int64_t a, int64_t b, int64_t *out);

/* Seconds of a monotonic clock. */
double fg_now(void);

/* Bytes that this process should take at most: three quarters of what the machine has, its cgroup and
 * its own limit allow. */
size_t fg_memory_share(void);
/* Gives back to the system what was freed and malloc still holds, before much more is taken. */
void fg_memory_trim(void);
const char *fg_memory_text(size_t bytes, char text[32]); /* "1.5 GiB" */

/* CPUs this process may use: the least of its affinity, its cgroups' quotas, OMP_NUM_THREADS and
 * OMP_THREAD_LIMIT. At least 1. */
int fg_cpu_count(void);
/* The part of it that can be told apart: threads that a quota of so many CPUs (infinite: none) and an
 * OpenMP variable's text (NULL: unset) allow. At least 1. */
int fg_cpu_limit(double cpus, const char *variable);

/* SHA-256 of a file, of n files as if they were one, or of a buffer, as 64 lower-case hex digits. */
fgsm_status fg_sha256_file(const char *path, char hex[65]) FGSM_MUST_USE;
fgsm_status fg_sha256_files(const char *const *paths, int64_t n, char hex[65]) FGSM_MUST_USE;
fgsm_status fg_sha256(const void *data, size_t bytes, char hex[65]) FGSM_MUST_USE;
/* The same of what an interrupted run leaves behind: an interrupt does not end it. */
fgsm_status fg_sha256_whole(const void *data, size_t bytes, char hex[65]) FGSM_MUST_USE;
/* SHA-256 of a buffer beside what the caller does until the end, which frees; the data lies still as long. hex NULL:
 * nobody wants it any more, and the end cannot fail. */
struct fg_hashing;
fgsm_status fg_hashing_begin(const void *data, size_t bytes, struct fg_hashing **out) FGSM_MUST_USE;
fgsm_status fg_hashing_end(struct fg_hashing *hashing, char hex[65]);

#endif
