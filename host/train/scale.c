/* Dynamic loss scaling, where activations and their gradients are stored in fp16 and the smallest of
 * these would vanish (Micikevicius et al. 2018, section 3.2): the loss's gradient is multiplied by a
 * power of two, and the weights' gradients, which are float32 like the weights, are divided by it. Where
 * one of them is not finite the step is left out and the scale halved; after so many steps without that
 * it is doubled. The numbers are those of torch.amp.GradScaler. bfloat16 reaches as far as float32 and
 * has no use for it. */
#include "engine.h"

static const double FIRST = 0x1p16, LEAST = 0x1p-14, MOST = 0x1p24;
enum { PATIENCE = 2000 };

bool fg_train_halves(const struct fg_engine *e) {
  enum fg_precision precision = e->device->precision;
  return e->device->backend->takes_half &&
         (precision == FG_PRECISION_bf16 || precision == FG_PRECISION_fp16);
}

void fg_scale_begin(struct fg_engine *e) {
  bool scales = fg_train_halves(e) && e->device->precision == FG_PRECISION_fp16;
  e->scale = (struct fg_loss_scale){.scale = scales ? FIRST : 0};
}

const struct fg_loss_scale *fg_engine_scale(const struct fg_engine *e) {
  return e->scale.scale > 0 ? &e->scale : NULL;
}

fgsm_status fg_scale_send(struct fg_engine *e) {
  const float narrow = (float)e->scale.scale;
  return fg_train_upload(e, FG_TRAIN_scale,
                         e->real == FG_F32 ? (const void *)&narrow : &e->scale.scale);
}

fgsm_status fg_scale_follow(struct fg_engine *e) {
  static const enum fg_train_wire wires[] = {FG_TRAIN_overflow};
  struct fg_loss_scale *s = &e->scale;
  if (!fg_engine_scale(e))
    return FGSM_OK;
  FG_TRY(fg_train_bring(e, 1, wires));
  bool finite = isfinite(fg_train_mean(e, FG_TRAIN_overflow, 0));
  s->skipped += !finite;
  s->since = finite ? s->since + 1 : 0;
  if (!finite && s->scale <= LEAST)
    return FG_FAIL(
        CHECK,
        "the weights' gradients are not finite even where the loss is scaled by %g: they "
        "are too large for --precision fp16; bf16, a lower --lr or --lr-warmup may help",
        LEAST);
  if (!finite)
    s->scale /= 2;
  if (s->since >= PATIENCE && s->scale < MOST) {
    s->scale *= 2;
    s->since = 0;
  }
  return FGSM_OK;
}

/* ---- in the graph */

fgsm_status fg_scale_up(struct fg_train_builder *b, fg_id slope, fg_id *out) {
  fg_id scale;
  *out = slope;
  if (!fg_engine_scale(b->e))
    return FGSM_OK;
  FG_TRY(fg_train_take(b, FG_TRAIN_scale, &scale));
  return fg_binary(b->g, FG_BINARY_mul, slope, scale, out);
}

/* [1]: 0 where all of the value is finite, else NaN. */
static fgsm_status add_look(struct fg_graph *g, fg_id value, fg_id *out) {
  uint32_t axes = (1u << fg_value(g, value)->rank) - 1;
  fg_id zero;
  FG_TRY(fg_graph_scalar(g, 0, &zero));
  FG_TRY(fg_binary(g, FG_BINARY_mul, value, zero, out));
  FG_TRY(fg_reduce(g, FG_REDUCE_sum, *out, axes, false, out));
  return fg_reshape(g, *out, 1, (int64_t[]){1}, out);
}

fgsm_status fg_scale_down(struct fg_train_builder *b, int n, const fg_id *grads, fg_id *factor) {
  struct fg_graph *g = b->g;
  fg_id overflow = FG_ABSENT, one, scale;
  if (!fg_engine_scale(b->e))
    return FGSM_OK;
  for (int i = 0; i < n; i++) {
    fg_id look;
    FG_TRY(add_look(g, grads[i], &look));
    if (overflow == FG_ABSENT)
      overflow = look;
    else
      FG_TRY(fg_binary(g, FG_BINARY_add, overflow, look, &overflow));
  }
  FG_TRY(fg_train_give(b, FG_TRAIN_overflow, overflow));
  FG_TRY(fg_graph_scalar(g, 1, &one));
  FG_TRY(fg_binary(g, FG_BINARY_add, overflow, one, &overflow));
  FG_TRY(fg_binary(g, FG_BINARY_mul, *factor, overflow, factor));
  FG_TRY(fg_train_take(b, FG_TRAIN_scale, &scale));
  return fg_binary(g, FG_BINARY_div, *factor, scale, factor);
}
