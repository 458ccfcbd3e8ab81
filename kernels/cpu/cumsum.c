/* cumsum: running sums along an axis, a tile of neighbouring lines at a time. Floats are summed in
 * double, integers wrap. */
#include "cpu.h"

#define TILE 256

struct cumsum {
  const struct fg_cumsum_attrs *attrs;
  const void *x;
  void *y;
  int64_t n, inner, across; /* tiles of the inner axis */
};

/* Items: tiles, for each outer index. */
#define TILES(type, sum_type, wide)                                                                \
  FG_CLONES static void cumsum_row_##type(sum_type *restrict sum, const type *restrict x,          \
                                          type *restrict y, bool exclusive, int64_t w) {           \
    if (exclusive)                                                                                 \
      for (int64_t i = 0; i < w; i++) {                                                            \
        y[i] = (type)sum[i];                                                                       \
        sum[i] += (wide)x[i];                                                                      \
      }                                                                                            \
    else                                                                                           \
      for (int64_t i = 0; i < w; i++) {                                                            \
        sum[i] += (wide)x[i];                                                                      \
        y[i] = (type)sum[i];                                                                       \
      }                                                                                            \
  }                                                                                                \
  static void tiles_##type(const void *ctx, int64_t begin, int64_t end) {                          \
    const struct cumsum *c = ctx;                                                                  \
    for (int64_t item = begin; item < end; item++) {                                               \
      int64_t from = item % c->across * TILE, w = c->inner - from < TILE ? c->inner - from : TILE; \
      int64_t start = item / c->across * c->n * c->inner + from;                                   \
      sum_type sum[TILE] = {0};                                                                    \
      for (int64_t k = 0; k < c->n; k++) {                                                         \
        int64_t at = start + (c->attrs->reverse ? c->n - 1 - k : k) * c->inner;                    \
        cumsum_row_##type(sum, (const type *)c->x + at, (type *)c->y + at, c->attrs->exclusive,    \
                          w);                                                                      \
      }                                                                                            \
    }                                                                                              \
  }
TILES(float, double, double)
TILES(int64_t, uint64_t, uint64_t)
TILES(int32_t, uint32_t, uint32_t)

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  enum fg_type type = call->in[0].type;
  FG_TRY(fg_cpu_need_plain(call));
  if (type != call->out[0].type || (type != FG_F32 && type != FG_I64 && type != FG_I32))
    return FG_FAIL(UNSUPPORTED, "cpu: cumsum of %s", fg_type_name(type));
  return FGSM_OK;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x = &call->in[0];
  int axis = call->attrs->cumsum.axis;
  if (fg_count(x) == 0)
    return FGSM_OK;
  struct cumsum c = {.attrs = &call->attrs->cumsum,
                     .x = x->data,
                     .y = call->out[0].data,
                     .n = x->dim[axis],
                     .inner = fg_cpu_span(x, axis + 1, x->rank)};
  c.across = (c.inner + TILE - 1) / TILE;
  fg_cpu_body body = x->type == FG_F32   ? tiles_float
                     : x->type == FG_I64 ? tiles_int64_t
                                         : tiles_int32_t;
  fg_cpu_parallel(fg_cpu_span(x, 0, axis) * c.across, 1,
                  (double)c.n * (3 + 0.5 * (double)(c.inner < TILE ? c.inner : TILE)), body, &c);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_cumsum = {prepare, run, NULL};
