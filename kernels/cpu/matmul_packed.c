/* A matmul's call in the words of product.h: all leading axes of a are rows. */
#include "matmul_packed.h"

#include <stdlib.h>

#include "feature.h"
#include "kept.h"
#include "product.h"

enum { BIAS = 2, RESIDUAL = 3 };

/* dnnl_sgemm puts b in order in each call, unless rows are so few that it does without. Of more rows that
 * is little of the work, and it keeps no second b. */
enum { FEW_ROWS = 16, MANY_ROWS = 112, FEW_COLUMNS = 32, FEW_TERMS = 32 };

struct fg_matmul_packed {
  struct fg_product plan;
  float *panels;
};

static struct fg_product_shape shape_of(const struct fg_call *call) {
  const struct fg_tensor *a = &call->in[0], *y = &call->out[0];
  return (struct fg_product_shape){
      .rows = fg_cpu_span(y, 0, y->rank - 1), .k = a->dim[a->rank - 1], .n = y->dim[y->rank - 1]};
}

bool fg_matmul_packed_fits(const struct fg_call *call) {
  const struct fg_tensor *a = &call->in[0], *b = &call->in[1], *y = &call->out[0];
  if (!fg_product_runs() || call->attrs->matmul.trans_a || !(call->constant >> 1 & 1) || !b->data ||
      fg_cpu_span(b, 0, b->rank - 2) != 1 ||
      fg_cpu_span(a, 0, a->rank - 1) != fg_cpu_span(y, 0, y->rank - 1))
    return false;
  struct fg_product_shape s = shape_of(call);
  return s.rows >= FEW_ROWS && s.rows <= MANY_ROWS && s.n >= FEW_COLUMNS && s.k >= FEW_TERMS;
}

fgsm_status fg_matmul_packed_create(struct fg_cpu_device *device, struct fg_call *call,
                                    struct fg_matmul_packed **out) {
  const struct fg_tensor *b = &call->in[1];
  struct fg_product_shape shape = shape_of(call);
  struct fg_matmul_packed *p = calloc(1, sizeof *p);
  if (!p)
    return FG_FAIL(MEMORY, "no memory for a product's state");
  fg_product_cut(&p->plan, &shape, device->base.threads);
  fgsm_status status = fg_product_take(&p->plan, b->data, b->dim[b->rank - 1],
                                       call->attrs->matmul.trans_b, &p->panels, &call->state_bytes);
  if (status != FGSM_OK) {
    fg_matmul_packed_destroy(p);
    return status;
  }
  call->scratch_bytes = fg_product_scratch_bytes(&p->plan);
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
                                  .act = &call->attrs->matmul.act};
  fg_product_run(&p->plan, p->panels, &o, scratch);
}

void fg_matmul_packed_destroy(struct fg_matmul_packed *p) {
  if (!p)
    return;
  fg_cpu_kept_give_back(p->panels);
  free(p);
}
