/* A matmul's call in the words of product.h: all leading axes of a are rows. */
#include "matmul_packed.h"

#include <math.h>
#include <stdlib.h>

#include "feature.h"
#include "kept.h"
#include "product.h"
#include "split.h"

enum { BIAS = 2, RESIDUAL = 3 };

/* dnnl_sgemm puts b in order in each call, unless rows are so few that it does without. Of more rows that
 * is little of the work, and it keeps no second b; but of vectors of 8 our tiles are as fast or faster then, and end
 * in registers where it goes over the result once more. The processor's tiles, where it has them, are faster from the
 * first whole group of rows on. */
enum {
  FEW_ROWS = 16,
  MANY_ROWS = 112,
  ROWS_OF_TILES = 32,
  FEW_COLUMNS = 32,
  FEW_TERMS = 32,
  FEW_NUMBERS = 1 << 13, /* of b */
};

struct fg_matmul_packed {
  bool splits, finite; /* all of b */
  struct fg_product plan;
  struct fg_split split;
  void *weights;
};

static struct fg_product_shape shape_of(const struct fg_call *call) {
  const struct fg_tensor *a = &call->in[0], *y = &call->out[0];
  return (struct fg_product_shape){
      .rows = fg_cpu_span(y, 0, y->rank - 1), .k = a->dim[a->rank - 1], .n = y->dim[y->rank - 1]};
}

static bool splits(const struct fg_cpu_device *device, const struct fg_product_shape *s) {
  int64_t times = device->base.chosen_for ? device->base.chosen_for : 1;
  return s->rows * times >= ROWS_OF_TILES && device->base.convolutions != FG_CONV_DIRECT &&
         fg_split_runs();
}

/* Of vectors of 8, all but small b go by product.h whatever the rows. */
static bool few_enough(const struct fg_product_shape *s) {
  return s->rows <= MANY_ROWS || (fg_cpu_block() == 8 && s->k * s->n >= FEW_NUMBERS);
}

bool fg_matmul_packed_fits(const struct fg_cpu_device *device, const struct fg_call *call) {
  const struct fg_tensor *a = &call->in[0], *b = &call->in[1], *y = &call->out[0];
  if (!fg_product_runs() || call->attrs->matmul.trans_a || !(call->constant >> 1 & 1) || !b->data ||
      fg_cpu_span(b, 0, b->rank - 2) != 1 ||
      fg_cpu_span(a, 0, a->rank - 1) != fg_cpu_span(y, 0, y->rank - 1))
    return false;
  struct fg_product_shape s = shape_of(call);
  return s.rows >= FEW_ROWS && (few_enough(&s) || splits(device, &s)) && s.n >= FEW_COLUMNS &&
         s.k >= FEW_TERMS;
}

static bool is_finite(const struct fg_tensor *b) {
  const float *at = b->data;
  int64_t n = fg_cpu_span(b, 0, b->rank);
  bool finite = true;
  for (int64_t i = 0; i < n; i++)
    finite &= fabsf(at[i]) < INFINITY;
  return finite;
}

fgsm_status fg_matmul_packed_create(struct fg_cpu_device *device, struct fg_call *call,
                                    struct fg_matmul_packed **out) {
  const struct fg_tensor *b = &call->in[1];
  struct fg_product_shape shape = shape_of(call);
  struct fg_matmul_packed *p = calloc(1, sizeof *p);
  if (!p)
    return FG_FAIL(MEMORY, "no memory for a product's state");
  p->splits = splits(device, &shape);
  int64_t ldb = b->dim[b->rank - 1];
  bool turned = call->attrs->matmul.trans_b;
  fgsm_status status;
  if (p->splits) {
    const struct fg_split_shape product = fg_split_product(shape.rows, shape.k, shape.n);
    struct fg_split_weights weights = {b->data, turned ? 1 : ldb, turned ? ldb : 1};
    fg_split_cut(&p->split, &product, device->base.threads);
    status = fg_split_take(&p->split, &weights, &p->weights, &call->state_bytes);
    call->scratch_bytes = fg_split_scratch_bytes(&p->split);
    call->fast = "three bfloat16s";
  } else {
    float *panels = NULL;
    fg_product_cut(&p->plan, &shape, device->base.threads);
    status = fg_product_take(&p->plan, b->data, ldb, turned, &panels, &call->state_bytes);
    call->scratch_bytes = fg_product_scratch_bytes(&p->plan);
    p->weights = panels;
    p->finite = is_finite(b);
  }
  if (status != FGSM_OK) {
    fg_matmul_packed_destroy(p);
    return status;
  }
  *out = p;
  return FGSM_OK;
}

void fg_matmul_packed_run(const struct fg_matmul_packed *p, const struct fg_call *call,
                          void *scratch) {
  const struct fg_tensor *bias = fg_cpu_optional(call, BIAS),
                         *residual = fg_cpu_optional(call, RESIDUAL);
  struct fg_product_operands o = {.a = call->in[0].data,
                                  .alpha = (float)call->attrs->matmul.alpha,
                                  .bias = bias ? bias->data : NULL,
                                  .add = residual ? residual->data : NULL,
                                  .y = call->out[0].data,
                                  .act = &call->attrs->matmul.act,
                                  .finite = p->finite};
  const struct fg_split_operands parts = {
      .x = o.a, .bias = o.bias, .add = o.add, .alpha = o.alpha, .y = o.y, .act = o.act};
  if (p->splits)
    fg_split_run(&p->split, p->weights, &parts, scratch);
  else
    fg_product_run(&p->plan, p->weights, &o, scratch);
}

void fg_matmul_packed_destroy(struct fg_matmul_packed *p) {
  if (!p)
    return;
  fg_cpu_kept_give_back(p->weights);
  free(p);
}
