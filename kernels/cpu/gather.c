/* gather, gather_grad: rows of x by index along one axis. An index out of range is bad data, found
 * before anything is written. The gradient adds rows in the order of the index, so repeated indices
 * sum the same way every time. */
#include <string.h>

#include "unary.h"

struct gather {
  const char *from;
  char *to;
  const struct fg_tensor *index;
  int64_t rows, n; /* of the indexed axis; indices */
  int64_t run;     /* gather: bytes a row; gather_grad: floats a row */
};

FG_INLINE int64_t load(const struct fg_tensor *index, int64_t i, int64_t rows) {
  int64_t r =
      index->type == FG_I64 ? ((const int64_t *)index->data)[i] : ((const int32_t *)index->data)[i];
  return r < 0 ? r + rows : r;
}

static fgsm_status check_range(const struct fg_call *call, int64_t rows) {
  const struct fg_tensor *index = &call->in[1];
  int64_t n = fg_count(index);
  for (int64_t i = 0; i < n; i++) {
    int64_t r = load(index, i, rows);
    if (r < 0 || r >= rows)
      return FG_FAIL(DATA, "cpu: %s: index %lld is none of %lld rows", fg_op_name(call->op),
                     (long long)(r < 0 ? r - rows : r), (long long)rows);
  }
  return FGSM_OK;
}

/* Items: rows of the result. */
static void take(const void *ctx, int64_t begin, int64_t end) {
  const struct gather *g = ctx;
  for (int64_t i = begin; i < end; i++) {
    int64_t r = load(g->index, i % g->n, g->rows);
    memcpy(g->to + i * g->run, g->from + (i / g->n * g->rows + r) * g->run, (size_t)g->run);
  }
}

/* Items: outer indices, each with all of its rows. */
static void give(const void *ctx, int64_t begin, int64_t end) {
  const struct gather *g = ctx;
  for (int64_t o = begin; o < end; o++) {
    float *dx = (float *)g->to + o * g->rows * g->run;
    const float *dy = (const float *)g->from + o * g->n * g->run;
    memset(dx, 0, (size_t)(g->rows * g->run) * sizeof *dx);
    for (int64_t i = 0; i < g->n; i++)
      fg_cpu_add(dx + load(g->index, i, g->rows) * g->run, dy + i * g->run, g->run);
  }
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  const struct fg_tensor *index = &call->in[1];
  FG_TRY(fg_cpu_need_plain(call));
  if (index->type != FG_I64 && index->type != FG_I32)
    return FG_FAIL(UNSUPPORTED, "cpu: an index of %s", fg_type_name(index->type));
  if (call->in[0].type != call->out[0].type ||
      (call->op == FG_OP_gather_grad && call->out[0].type != FG_F32))
    return FG_FAIL(UNSUPPORTED, "cpu: %s of %s", fg_op_name(call->op),
                   fg_type_name(call->in[0].type));
  return FGSM_OK;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  int axis = call->attrs->axis.axis;
  FG_TRY(check_range(call, x->dim[axis]));
  if (fg_count(y) == 0)
    return FGSM_OK;
  struct gather g = {.from = x->data,
                     .to = y->data,
                     .index = &call->in[1],
                     .rows = x->dim[axis],
                     .n = fg_count(&call->in[1]),
                     .run = fg_cpu_span(x, axis + 1, x->rank) * (int64_t)fg_type_size(x->type)};
  fg_cpu_parallel(fg_cpu_span(x, 0, axis) * g.n, 1, 4 + 0.05 * (double)g.run, take, &g);
  return FGSM_OK;
}

static fgsm_status run_grad(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *dy = &call->in[0], *dx = &call->out[0];
  int axis = call->attrs->axis.axis;
  FG_TRY(check_range(call, dx->dim[axis]));
  if (fg_count(dx) == 0)
    return FGSM_OK;
  struct gather g = {.from = dy->data,
                     .to = dx->data,
                     .index = &call->in[1],
                     .rows = dx->dim[axis],
                     .n = fg_count(&call->in[1]),
                     .run = fg_cpu_span(dx, axis + 1, dx->rank)};
  fg_cpu_parallel(fg_cpu_span(dx, 0, axis), 1, 0.3 * (double)((g.rows + g.n) * g.run), give, &g);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_gather = {prepare, run, NULL};
const struct fg_kernel fg_cpu_gather_grad = {prepare, run_grad, NULL};
