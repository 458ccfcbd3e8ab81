/* Arena, growing arrays and text, checked arithmetic. An arena is a list of blocks, newest first; it
 * is freed as a whole, so nothing allocated from it needs a destructor. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"

struct fg_arena_block {
  struct fg_arena_block *before;
  size_t used, size;
  _Alignas(64) unsigned char data[];
};

enum { BLOCK_BYTES = 64 << 10 };

void *fg_arena_alloc(struct fg_arena *arena, size_t bytes) {
  size_t align = bytes >= 64 ? 64 : 16;
  if (bytes > SIZE_MAX / 2)
    goto refuse;
  struct fg_arena_block *block = arena->last;
  size_t at = block ? (block->used + align - 1) / align * align : 0;
  if (arena->limit_bytes && (arena->total_bytes > arena->limit_bytes ||
                             bytes > arena->limit_bytes - arena->total_bytes)) {
    arena->refused = true;
    goto refuse;
  }
  if (!block || at > block->size || bytes > block->size - at) {
    size_t size = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
    size_t whole = (sizeof *block + size + 63) / 64 * 64;
    block = aligned_alloc(64, whole);
    if (!block)
      goto refuse;
    memset(block, 0, whole);
    block->size = size;
    block->before = arena->last;
    arena->last = block;
    at = 0;
  }
  block->used = at + bytes;
  arena->total_bytes += bytes;
  return block->data + at;
refuse:
  (void)!FG_FAIL(MEMORY, "no memory for %zu bytes", bytes);
  return NULL;
}

char *fg_arena_text(struct fg_arena *arena, const char *text) {
  size_t n = strlen(text) + 1;
  char *copy = fg_arena_alloc(arena, n);
  if (copy)
    memcpy(copy, text, n);
  return copy;
}

void fg_arena_free(struct fg_arena *arena) {
  for (struct fg_arena_block *block = arena->last, *before; block; block = before) {
    before = block->before;
    free(block);
  }
  *arena = (struct fg_arena){.limit_bytes = arena->limit_bytes};
}

fgsm_status fg_grow(void *array, int64_t *capacity, int64_t n, size_t size) {
  if (n <= *capacity)
    return FGSM_OK;
  int64_t more = *capacity ? *capacity * 2 : 16;
  if (more < n)
    more = n;
  void *old = NULL;
  memcpy(&old, array, sizeof old);
  void *new = (uint64_t)more < SIZE_MAX / 2 / size ? realloc(old, (size_t)more * size) : NULL;
  if (!new)
    return FG_FAIL(MEMORY, "no memory for %lld items of %zu bytes", (long long)more, size);
  memcpy(array, &new, sizeof new);
  *capacity = more;
  return FGSM_OK;
}

void fg_text_add(struct fg_text *text, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int n = vsnprintf(NULL, 0, format, args);
  va_end(args);
  if (n < 0 || text->failed)
    return;
  size_t need = text->length + (size_t)n + 1;
  if (need > text->capacity) {
    size_t capacity = need * 2;
    char *data = realloc(text->data, capacity);
    if (!data) {
      text->failed = true;
      return;
    }
    text->data = data;
    text->capacity = capacity;
  }
  va_start(args, format);
  vsnprintf(text->data + text->length, (size_t)n + 1, format, args);
  va_end(args);
  text->length += (size_t)n;
}

void fg_text_free(struct fg_text *text) {
  free(text->data);
  *text = (struct fg_text){0};
}

bool fg_mul_ok(int64_t a, int64_t b, int64_t *out) {
  return a >= 0 && b >= 0 && !__builtin_mul_overflow(a, b, out);
}

bool fg_add_ok(int64_t a, int64_t b, int64_t *out) {
  return a >= 0 && b >= 0 && !__builtin_add_overflow(a, b, out);
}
