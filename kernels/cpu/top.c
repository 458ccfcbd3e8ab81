/* top: where the k best elements of each line lie. A heap of the k best so far, the worst of them
 * at its root, takes each element that is better; then it is sorted. Each line has its own heap in
 * scratch, so that lines are shared by threads. The order is total: positions decide between
 * equals.
 */
#include "cpu.h"

struct top {
  const struct fg_top_attrs *attrs;
  const void *x;
  int64_t *y, *room;
  int64_t n, k, inner;
};

#define LINES(type, is_nan)                                                                        \
  struct line_##type {                                                                             \
    const type *x;                                                                                 \
    int64_t step;                                                                                  \
    bool smallest, last;                                                                           \
  };                                                                                               \
  /* Whether the element at position a comes before that at b. */                                  \
  FG_INLINE bool precedes_##type(const struct line_##type *l, int64_t a, int64_t b) {              \
    type va = l->x[a * l->step], vb = l->x[b * l->step];                                           \
    bool a_nan = is_nan(va), b_nan = is_nan(vb);                                                   \
    if (a_nan != b_nan)                                                                            \
      return a_nan;                                                                                \
    if (a_nan || va == vb)                                                                         \
      return (a < b) != l->last;                                                                   \
    return (va > vb) != l->smallest;                                                               \
  }                                                                                                \
  /* Puts `item` at `at` or below, so that no child comes after its parent. */                     \
  static void sift_##type(const struct line_##type *l, int64_t *heap, int64_t n, int64_t at,       \
                          int64_t item) {                                                          \
    for (int64_t child; (child = 2 * at + 1) < n; at = child) {                                    \
      child += child + 1 < n && precedes_##type(l, heap[child], heap[child + 1]);                  \
      if (!precedes_##type(l, item, heap[child]))                                                  \
        break;                                                                                     \
      heap[at] = heap[child];                                                                      \
    }                                                                                              \
    heap[at] = item;                                                                               \
  }                                                                                                \
  static void lines_##type(const void *ctx, int64_t begin, int64_t end) {                          \
    const struct top *t = ctx;                                                                     \
    for (int64_t i = begin; i < end; i++) {                                                        \
      int64_t o = i / t->inner, j = i % t->inner, *heap = t->room + i * t->k;                      \
      struct line_##type l = {(const type *)t->x + o * t->n * t->inner + j, t->inner,              \
                              t->attrs->smallest, t->attrs->last};                                 \
      for (int64_t p = 0; p < t->k; p++)                                                           \
        heap[p] = p;                                                                               \
      for (int64_t p = t->k / 2 - 1; p >= 0; p--)                                                  \
        sift_##type(&l, heap, t->k, p, heap[p]);                                                   \
      for (int64_t p = t->k; p < t->n; p++)                                                        \
        if (precedes_##type(&l, p, heap[0]))                                                       \
          sift_##type(&l, heap, t->k, 0, p);                                                       \
      for (int64_t m = t->k - 1; m > 0; m--) {                                                     \
        int64_t worst = heap[0];                                                                   \
        sift_##type(&l, heap, m, 0, heap[m]);                                                      \
        heap[m] = worst;                                                                           \
      }                                                                                            \
      for (int64_t m = 0; m < t->k; m++)                                                           \
        t->y[(o * t->k + m) * t->inner + j] = heap[m];                                             \
    }                                                                                              \
  }
#define FLOAT_NAN(v) ((v) != (v))
#define NEVER(v) false
LINES(float, FLOAT_NAN)
LINES(int64_t, NEVER)
LINES(int32_t, NEVER)
LINES(int16_t, NEVER)
LINES(int8_t, NEVER)
LINES(uint8_t, NEVER)

static fg_cpu_body body_of(enum fg_type type) {
  switch (type) {
  case FG_F32:
    return lines_float;
  case FG_I64:
    return lines_int64_t;
  case FG_I32:
    return lines_int32_t;
  case FG_I16:
    return lines_int16_t;
  case FG_I8:
    return lines_int8_t;
  case FG_U8:
  case FG_BOOL:
    return lines_uint8_t;
  default:
    return NULL;
  }
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_cpu_need_plain(call));
  if (!body_of(call->in[0].type) || call->out[0].type != FG_I64)
    return FG_FAIL(UNSUPPORTED, "cpu: top of %s", fg_type_name(call->in[0].type));
  call->scratch_bytes = fg_bytes(&call->out[0]);
  return FGSM_OK;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  const struct fg_top_attrs *a = &call->attrs->top;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  if (fg_count(y) == 0)
    return FGSM_OK;
  struct top t = {.attrs = a,
                  .x = x->data,
                  .y = y->data,
                  .room = scratch,
                  .n = x->dim[a->axis],
                  .k = a->k,
                  .inner = fg_cpu_span(x, a->axis + 1, x->rank)};
  fg_cpu_parallel(fg_count(y) / t.k, 1, 5 + 2 * (double)t.n, body_of(x->type), &t);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_top = {prepare, run, NULL};
