/* A convolution's call in the words of split.h. Weights lie as [k, c] windows: of the forward pass terms are c, and of the
 * gradient of the input, k. */
#include "conv_split.h"

#include <stdlib.h>

#include "conv.h"
#include "feature.h"
#include "kept.h"

enum { BIAS = 2, RESIDUAL = 3, BLOCK = 16, FAR = 16, FEW_PLACES = 32 };

struct fg_conv_split {
  struct fg_split plan;
  void *weights;
};

static bool has_shape(const struct fg_conv_attrs *a, const struct fg_tensor *w) {
  if (a->spatial != 2 || a->group != 1 || w->rank != 4)
    return false;
  for (int i = 0; i < 2; i++)
    if (w->dim[2 + i] > FG_SPLIT_WINDOW || a->stride[i] > FG_SPLIT_STRIDE || a->dilation[i] > FAR ||
        a->pad_lo[i] < 0 || a->pad_lo[i] > FAR || a->pad_hi[i] < 0)
      return false;
  return true;
}

static struct fg_split_lie lie_of(const struct fg_tensor *t) {
  int64_t area = fg_cpu_span(t, 2, 4), sample = t->dim[1] * area;
  if (t->layout == FG_BLOCKED)
    return (struct fg_split_lie){sample, BLOCK * area, BLOCK, 1};
  return (struct fg_split_lie){sample, BLOCK * area, 1, area};
}

static struct fg_split_shape shape_of(const struct fg_call *call) {
  const struct fg_conv_attrs *a = &call->attrs->conv;
  const struct fg_tensor *x = &call->in[0], *w = &call->in[1], *y = &call->out[0];
  struct fg_split_shape s = {.samples = x->dim[0],
                             .c = x->dim[1],
                             .k = y->dim[1],
                             .turned = fg_conv_is_gradient(call),
                             .x = lie_of(x),
                             .y = lie_of(y)};
  for (int i = 0; i < 2; i++) {
    s.from[i] = x->dim[2 + i];
    s.to[i] = y->dim[2 + i];
    s.window[i] = (int)w->dim[2 + i];
    s.stride[i] = a->stride[i];
    s.dilation[i] = a->dilation[i];
    s.pad[i] = a->pad_lo[i];
  }
  return s;
}

bool fg_conv_split_fits(const struct fg_call *call) {
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  return fg_conv_may_be_fast(call) && has_shape(&call->attrs->conv, &call->in[1]) &&
         x->dim[1] % BLOCK == 0 && y->dim[1] % BLOCK == 0 &&
         y->dim[0] * fg_cpu_span(y, 2, 4) >= FEW_PLACES && fg_split_runs();
}

fgsm_status fg_conv_split_create(struct fg_cpu_device *device, const struct fg_call *call,
                                 struct fg_conv_split **out, size_t *kept_bytes) {
  const struct fg_tensor *w = &call->in[1];
  struct fg_split_shape shape = shape_of(call);
  int64_t taps = fg_cpu_span(w, 2, 4), row = w->dim[1] * taps;
  struct fg_split_weights weights = {w->data, taps, row};
  struct fg_conv_split *s = calloc(1, sizeof *s);
  if (!s)
    return FG_FAIL(MEMORY, "no memory for a convolution's state");
  if (shape.turned)
    weights = (struct fg_split_weights){w->data, row, taps};
  fg_split_cut(&s->plan, &shape, device->base.threads);
  fgsm_status status = fg_split_take(&s->plan, &weights, &s->weights, kept_bytes);
  if (status != FGSM_OK) {
    fg_conv_split_destroy(s);
    return status;
  }
  *out = s;
  return FGSM_OK;
}

size_t fg_conv_split_scratch_bytes(const struct fg_conv_split *s) {
  return fg_split_scratch_bytes(&s->plan);
}

void fg_conv_split_run(const struct fg_conv_split *s, const struct fg_call *call, void *scratch) {
  const struct fg_tensor *third = fg_cpu_optional(call, BIAS),
                         *residual = fg_cpu_optional(call, RESIDUAL);
  bool gradient = fg_conv_is_gradient(call);
  struct fg_split_operands o = {.x = call->in[0].data,
                                .add = residual ? residual->data : NULL,
                                .alpha = 1,
                                .y = call->out[0].data,
                                .act = &call->attrs->conv.act};
  if (third && gradient)
    o.mask = third->data;
  else if (third)
    o.bias = third->data;
  fg_split_run(&s->plan, s->weights, &o, scratch);
}

void fg_conv_split_destroy(struct fg_conv_split *s) {
  if (!s)
    return;
  fg_cpu_kept_give_back(s->weights);
  free(s);
}
