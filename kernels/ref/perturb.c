/* perturb: the random start. A feature's noise depends only on seed, sample number, stream and the
 * feature's place, never on the batch. */
#include "ref.h"

#include "philox.h"

enum { X0, INDEX, EPS_MAP, MASK, PARAMS };

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 1 << X0 | 1 << INDEX | 1 << PARAMS, 1));
  FG_TRY(fg_ref_check_real(call, 1 << X0, 1));
  const struct fg_perturb_attrs *a = &call->attrs->perturb;
  const struct fg_tensor *x0 = &call->in[X0], *index = &call->in[INDEX];
  FG_REF_NEED(call, x0->rank >= 1, "x0 has no batch axis");
  FG_REF_NEED(call, index->type == FG_I64 && index->rank == 1 && index->dim[0] == x0->dim[0],
              "index is not int64 [N]");
  FG_REF_NEED(call, fg_same_shape(x0, &call->out[0]), "shapes differ");
  FG_REF_NEED(call,
              fg_ref_is_feature(fg_ref_in(call, EPS_MAP), x0) &&
                  fg_ref_is_feature(fg_ref_in(call, MASK), x0),
              "eps_map or mask has another shape than a sample");
  FG_REF_NEED(call, fg_ref_is_params(&call->in[PARAMS]), "params are not float64 [%d]",
              (int)FG_PARAM_COUNT);
  FG_REF_NEED(call, a->kind >= FG_START_none && a->kind <= FG_START_sign, "unknown kind");
  FG_REF_NEED(call, fg_ref_features(x0) / 4 < FG_PHILOX_LENGTH_BLOCK, "too many features");
  call->scratch_bytes = (size_t)fg_ref_features(x0) * sizeof(double);
  return FGSM_OK;
}

struct noise {
  uint64_t seed;
  uint32_t stream;
  int64_t sample;
};

static struct fg_philox block(const struct noise *z, uint32_t i) {
  return fg_philox_sample(z->seed, z->sample, z->stream, i);
}

/* Four elements' noise for a radius of 1: uniform, sign, or normal. */
static void draw(const struct fg_perturb_attrs *a, struct fg_philox r, double unit[4]) {
  if (a->kind == FG_START_uniform && a->norm == FG_NORM_l2) {
    fg_philox_normal(r.word[0], r.word[1], &unit[0], &unit[1]);
    fg_philox_normal(r.word[2], r.word[3], &unit[2], &unit[3]);
    return;
  }
  for (int i = 0; i < 4; i++)
    unit[i] = a->kind == FG_START_none   ? 0
              : a->kind == FG_START_sign ? fg_philox_sign(r.word[i])
                                         : fg_philox_symmetric(r.word[i]);
}

/* One sample's noise for a radius of 1; an L2 start's is a vector of length U(0, 1). */
static void fill(const struct fg_call *call, const struct noise *z, double *unit, int64_t n) {
  const struct fg_perturb_attrs *a = &call->attrs->perturb;
  const struct fg_tensor *mask = fg_ref_in(call, MASK);
  double squares = 0, four[4];
  for (int64_t i = 0; i < n; i++) {
    if (i % 4 == 0)
      draw(a, block(z, (uint32_t)(i / 4)), four);
    unit[i] = mask && fg_ref_get(mask, i) == 0 ? 0 : four[i % 4];
    squares += unit[i] * unit[i];
  }
  if (a->kind != FG_START_uniform || a->norm != FG_NORM_l2 || squares == 0)
    return;
  double length = fg_philox_unit(block(z, FG_PHILOX_LENGTH_BLOCK).word[0]) / sqrt(squares);
  for (int64_t i = 0; i < n; i++)
    unit[i] *= length;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  const struct fg_perturb_attrs *a = &call->attrs->perturb;
  const struct fg_tensor *x0 = &call->in[X0], *mask = fg_ref_in(call, MASK);
  const double *p = call->in[PARAMS].data;
  if (!(p[FG_PARAM_seed] >= 0 && p[FG_PARAM_seed] < 0x1p53 && p[FG_PARAM_stream] >= 0 &&
        p[FG_PARAM_stream] < 0x1p32))
    return FG_FAIL(USAGE, "ref: perturb: the seed must be in 0..2^53-1, the stream in 0..2^32-1");
  struct noise z = {(uint64_t)p[FG_PARAM_seed], (uint32_t)p[FG_PARAM_stream], 0};
  double lo = a->box ? p[FG_PARAM_lo] : -INFINITY, hi = a->box ? p[FG_PARAM_hi] : INFINITY;
  double *unit = scratch;
  int64_t features = fg_ref_features(x0);
  for (int64_t s = 0; s < x0->dim[0]; s++) {
    z.sample = fg_ref_get_int(&call->in[INDEX], s);
    fill(call, &z, unit, features);
    for (int64_t i = 0; i < features; i++) {
      double x = fg_ref_get(x0, s * features + i);
      double radius =
          fg_ref_scale(p[FG_PARAM_radius], p[FG_PARAM_eps], fg_ref_in(call, EPS_MAP), i);
      if (!mask || fg_ref_get(mask, i) != 0)
        x = fg_ref_into_box(x0->type, unit[i] == 0 ? x : x + radius * unit[i], lo, hi);
      fg_ref_put(&call->out[0], s * features + i, x);
    }
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_perturb = {prepare, run, NULL};
