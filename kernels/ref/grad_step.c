/* conv_grad_input_step, gemm_grad_input_step: the gradient of a first layer, then a step along it,
 * each by the kernels of its parts. What lies between the parts has the type that it would have
 * between separate calls, so that a fused call and separate ones agree bit for bit. */
#include "ref.h"

enum { DY, W, X0, X, EPS_MAP, MASK, PARAMS, INDEX };
enum { NEXT, GRADIENT, STATS, BYTES };

/* The calls that a fused one is made of, and what lies between them in scratch. */
struct parts {
  struct fg_call pool, grad, step, quantize;
  union fg_attrs pool_attrs, grad_attrs, step_attrs;
  struct fg_tensor given_dy, w; /* as floats */
  struct fg_tensor dy, dx;      /* what goes into and comes out of the layer's gradient */
  bool pooled, quantized;
  size_t wide_bytes, dy_bytes, dx_bytes;
};

static size_t padded(size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

static struct fg_tensor optional(const struct fg_tensor *t) {
  return t ? *t : (struct fg_tensor){0};
}

/* A bfloat16 operand as the type of x0; others as they are. */
static struct fg_tensor widened(const struct fg_call *call, int i, char *memory) {
  struct fg_tensor t = call->in[i];
  if (t.type == FG_BF16) {
    t.type = call->in[X0].type;
    t.data = memory;
  }
  return t;
}

static size_t widened_bytes(const struct fg_call *call, int i) {
  struct fg_tensor t = widened(call, i, NULL);
  return call->in[i].type == FG_BF16 ? padded(fg_bytes(&t)) : 0;
}

static void widen(const struct fg_call *call, int i, const struct fg_tensor *to) {
  if (call->in[i].type != FG_BF16)
    return;
  for (int64_t e = 0; e < fg_count(to); e++)
    fg_ref_put(to, e, fg_ref_from_bf16(((const uint16_t *)call->in[i].data)[e]));
}

/* The step and what follows it; the gradient is `dx` in x0's shape. */
static void split_step(const struct fg_call *call, const struct fg_step_attrs *a, struct parts *p) {
  struct fg_tensor dx = call->in[X0];
  dx.data = p->dx.data;
  p->step_attrs.step = *a;
  p->step = (struct fg_call){.op = FG_OP_step,
                             .n_in = 7,
                             .n_out = 3,
                             .in = {call->in[X0],
                                    call->in[X],
                                    dx,
                                    {0},
                                    optional(fg_ref_in(call, EPS_MAP)),
                                    optional(fg_ref_in(call, MASK)),
                                    call->in[PARAMS]},
                             .out = {call->out[NEXT], {0}, optional(fg_ref_out(call, STATS))},
                             .attrs = &p->step_attrs};
  p->quantized = fg_ref_out(call, BYTES) != NULL;
  p->quantize = (struct fg_call){.op = FG_OP_quantize,
                                 .n_in = 3,
                                 .n_out = 1,
                                 .in = {call->out[NEXT], call->in[X0], call->in[PARAMS]},
                                 .out = {optional(fg_ref_out(call, BYTES))},
                                 .attrs = &p->step_attrs};
}

/* `scratch` may be NULL: sizes only. */
static void split_conv(const struct fg_call *call, char *scratch, struct parts *p) {
  const struct fg_conv_step_attrs *a = &call->attrs->conv_step;
  p->pooled = fg_ref_in(call, INDEX) != NULL;
  p->dy = p->given_dy;
  if (p->pooled) {
    p->dy.rank = 4;
    memcpy(p->dy.dim, a->pool.dim, sizeof p->dy.dim);
    p->dy.data = scratch;
  }
  p->pool_attrs.pool = a->pool;
  p->pool = (struct fg_call){.op = FG_OP_max_pool_grad,
                             .n_in = 2,
                             .n_out = 1,
                             .in = {p->given_dy, optional(fg_ref_in(call, INDEX))},
                             .out = {p->dy},
                             .attrs = &p->pool_attrs};
  p->dx = call->in[X0];
  p->dx.data = fg_ref_out(call, GRADIENT) ? call->out[GRADIENT].data : NULL;
  p->grad_attrs.conv = a->conv;
}

static void split_gemm(const struct fg_call *call, struct parts *p) {
  p->dx = call->in[X0];
  p->dx.rank = 2;
  p->dx.dim[1] = fg_ref_features(&call->in[X0]);
  p->dx.data = fg_ref_out(call, GRADIENT) ? call->out[GRADIENT].data : NULL;
  p->dy = p->given_dy;
  p->grad_attrs.matmul = call->attrs->gemm_step.matmul;
}

/* Lays out scratch, then completes the calls. Returns what is left of scratch. */
static char *split(const struct fg_call *call, char *scratch, struct parts *p) {
  bool conv = call->op == FG_OP_conv_grad_input_step;
  memset(p, 0, sizeof *p);
  p->given_dy = widened(call, DY, scratch);
  p->wide_bytes = widened_bytes(call, DY);
  p->w = widened(call, W, scratch ? scratch + p->wide_bytes : NULL);
  p->wide_bytes += widened_bytes(call, W);
  scratch = scratch ? scratch + p->wide_bytes : NULL;
  if (conv)
    split_conv(call, scratch, p);
  else
    split_gemm(call, p);
  p->dy_bytes = p->pooled ? padded(fg_bytes(&p->dy)) : 0;
  p->dx_bytes = padded(fg_bytes(&p->dx));
  if (scratch && !fg_ref_out(call, GRADIENT))
    p->dx.data = scratch + p->dy_bytes;
  p->grad = (struct fg_call){.op = conv ? FG_OP_conv_grad_input : FG_OP_matmul,
                             .n_in = 2,
                             .n_out = 1,
                             .in = {p->dy, p->w},
                             .out = {p->dx},
                             .attrs = &p->grad_attrs};
  split_step(call, conv ? &call->attrs->conv_step.step : &call->attrs->gemm_step.step, p);
  return scratch ? scratch + p->dy_bytes + p->dx_bytes : NULL;
}

static size_t larger(size_t a, size_t b) {
  return a > b ? a : b;
}

/* What both have in common, before anything is split. */
static fgsm_status check(struct fg_call *call) {
  FG_TRY(fg_ref_check(call, 1 << DY | 1 << W | 1 << X0 | 1 << X | 1 << PARAMS, 1 << NEXT));
  bool halves = call->in[DY].type == FG_BF16 && call->in[W].type == FG_BF16;
  FG_TRY(fg_ref_check_real(call, (halves ? 0 : 1 << DY | 1 << W) | 1 << X0 | 1 << X,
                           1 << NEXT | 1 << GRADIENT | 1 << STATS));
  FG_REF_NEED(call, !fg_ref_out(call, GRADIENT) || fg_same_shape(&call->out[1], &call->in[X0]),
              "gradient and x0 differ in shape");
  return FGSM_OK;
}

static fgsm_status prepare_conv(struct fg_call *call, struct fg_device *device) {
  struct parts p;
  FG_TRY(check(call));
  split(call, NULL, &p);
  if (p.pooled)
    FG_TRY(fg_ref_max_pool_grad.prepare(&p.pool, device));
  FG_TRY(fg_ref_conv_grad_input.prepare(&p.grad, device));
  FG_TRY(fg_ref_step.prepare(&p.step, device));
  if (p.quantized)
    FG_TRY(fg_ref_quantize.prepare(&p.quantize, device));
  size_t most = larger(larger(p.pool.scratch_bytes, p.grad.scratch_bytes),
                       larger(p.step.scratch_bytes, p.quantize.scratch_bytes));
  call->scratch_bytes = p.wide_bytes + p.dy_bytes + p.dx_bytes + most;
  return FGSM_OK;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  struct parts p;
  char *rest = split(call, scratch, &p);
  widen(call, DY, &p.given_dy);
  widen(call, W, &p.w);
  if (p.pooled)
    FG_TRY(fg_ref_max_pool_grad.run(&p.pool, rest, stream));
  for (int64_t e = 0; p.pooled && call->in[DY].type == FG_BF16 && e < fg_count(&p.dy); e++)
    fg_ref_put(&p.dy, e, fg_ref_round_bf16(fg_ref_get(&p.dy, e)));
  FG_TRY((call->op == FG_OP_conv_grad_input_step ? &fg_ref_conv_grad_input : &fg_ref_matmul)
             ->run(&p.grad, rest, stream));
  FG_TRY(fg_ref_step.run(&p.step, rest, stream));
  return p.quantized ? fg_ref_quantize.run(&p.quantize, rest, stream) : FGSM_OK;
}

const struct fg_kernel fg_ref_conv_grad_input_step = {prepare_conv, run, NULL};

static fgsm_status prepare_gemm(struct fg_call *call, struct fg_device *device) {
  struct parts p;
  const struct fg_matmul_attrs *a = &call->attrs->gemm_step.matmul;
  FG_TRY(check(call));
  FG_REF_NEED(call, call->in[X0].rank >= 1, "x0 has no batch axis");
  FG_REF_NEED(call, call->in[DY].rank == 2 && call->in[W].rank == 2, "dy or w is no matrix");
  FG_REF_NEED(call, !a->trans_a && a->act.kind == FG_UNARY_identity,
              "a transposed dy or an activation");
  split(call, NULL, &p);
  FG_TRY(fg_ref_matmul.prepare(&p.grad, device));
  FG_TRY(fg_ref_step.prepare(&p.step, device));
  call->scratch_bytes =
      p.wide_bytes + p.dx_bytes + larger(p.grad.scratch_bytes, p.step.scratch_bytes);
  return FGSM_OK;
}

const struct fg_kernel fg_ref_gemm_grad_input_step = {prepare_gemm, run, NULL};
