/* scatter: a copy of x, into whose rows those of u are put in the order of the index. Threads share
 * the columns, never the index, so that repeated indices combine in the same order every time. An
 * index out of range is bad data, found before anything is written. */
#include "copy.h"

#include <string.h>

#define TILE 1024

struct scatter {
  enum fg_scatter_kind kind;
  enum fg_type type;
  const void *u;
  void *y;
  const struct fg_tensor *index;
  int64_t rows, n, inner;
};

FG_INLINE int64_t row_of(const struct fg_tensor *index, int64_t i, int64_t rows) {
  int64_t r =
      index->type == FG_I64 ? ((const int64_t *)index->data)[i] : ((const int32_t *)index->data)[i];
  return r < 0 ? r + rows : r;
}

#define COMBINE(type, word, is_nan)                                                                \
  FG_CLONES static void combine_##type(enum fg_scatter_kind kind, type *restrict y,                \
                                       const type *restrict u, int64_t n) {                        \
    switch (kind) {                                                                                \
    case FG_SCATTER_add:                                                                           \
      for (int64_t i = 0; i < n; i++)                                                              \
        y[i] = (type)((word)y[i] + (word)u[i]);                                                    \
      break;                                                                                       \
    case FG_SCATTER_mul:                                                                           \
      for (int64_t i = 0; i < n; i++)                                                              \
        y[i] = (type)((word)y[i] * (word)u[i]);                                                    \
      break;                                                                                       \
    case FG_SCATTER_max:                                                                           \
      for (int64_t i = 0; i < n; i++)                                                              \
        y[i] = is_nan(y[i]) || y[i] > u[i] ? y[i] : u[i];                                          \
      break;                                                                                       \
    default:                                                                                       \
      for (int64_t i = 0; i < n; i++)                                                              \
        y[i] = is_nan(y[i]) || y[i] < u[i] ? y[i] : u[i];                                          \
    }                                                                                              \
  }
#define FLOAT_NAN(v) ((v) != (v))
#define NEVER(v) false
COMBINE(float, float, FLOAT_NAN)
COMBINE(int64_t, uint64_t, NEVER)
COMBINE(int32_t, uint32_t, NEVER)

/* Items: tiles of a row, each for the whole index. */
static void put(const void *ctx, int64_t begin, int64_t end) {
  const struct scatter *s = ctx;
  int64_t size = (int64_t)fg_type_size(s->type);
  for (int64_t tile = begin; tile < end; tile++) {
    int64_t at = tile * TILE, w = s->inner - at < TILE ? s->inner - at : TILE;
    for (int64_t m = 0; m < s->n; m++) {
      char *y = (char *)s->y + (row_of(s->index, m, s->rows) * s->inner + at) * size;
      const char *u = (const char *)s->u + (m * s->inner + at) * size;
      if (s->kind == FG_SCATTER_none)
        memcpy(y, u, (size_t)(w * size));
      else if (s->type == FG_F32)
        combine_float(s->kind, (float *)y, (const float *)u, w);
      else if (s->type == FG_I64)
        combine_int64_t(s->kind, (int64_t *)y, (const int64_t *)u, w);
      else
        combine_int32_t(s->kind, (int32_t *)y, (const int32_t *)u, w);
    }
  }
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  enum fg_type type = call->in[0].type, index = call->in[1].type;
  FG_TRY(fg_cpu_need_plain(call));
  if (index != FG_I64 && index != FG_I32)
    return FG_FAIL(UNSUPPORTED, "cpu: an index of %s", fg_type_name(index));
  if (type != call->in[2].type || type != call->out[0].type ||
      (call->attrs->scatter.kind != FG_SCATTER_none && type != FG_F32 && type != FG_I64 &&
       type != FG_I32))
    return FG_FAIL(UNSUPPORTED, "cpu: scatter of %s", fg_type_name(type));
  return FGSM_OK;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x = &call->in[0], *index = &call->in[1], *y = &call->out[0];
  struct scatter s = {.kind = call->attrs->scatter.kind,
                      .type = x->type,
                      .u = call->in[2].data,
                      .y = y->data,
                      .index = index,
                      .rows = x->dim[0],
                      .n = fg_count(index),
                      .inner = fg_cpu_span(x, 1, x->rank)};
  for (int64_t i = 0; i < s.n; i++) {
    int64_t r = row_of(index, i, s.rows);
    if (r < 0 || r >= s.rows)
      return FG_FAIL(DATA, "cpu: scatter: index %lld is none of %lld rows",
                     (long long)(r < 0 ? r - s.rows : r), (long long)s.rows);
  }
  int64_t count = fg_count(x), one = 1;
  fg_cpu_copy(fg_type_size(x->type), 1, &count, y->data, &one, x->data, &one);
  int64_t tiles = (s.inner + TILE - 1) / TILE, w = s.inner < TILE ? s.inner : TILE;
  fg_cpu_parallel(tiles, 1, (double)s.n * (4 + 0.2 * (double)w), put, &s);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_scatter = {prepare, run, NULL};
