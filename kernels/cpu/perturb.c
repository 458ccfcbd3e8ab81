/* perturb: the random start. A feature's noise depends only on seed, sample number, stream and the
 * feature's place (philox.h), never on the batch. An L2 start draws its normals twice: once for
 * their length, once to use them. */
#include "feature.h"

#include <math.h>

#include "philox.h"

enum { X0, INDEX, EPS_MAP, MASK, PARAMS };

struct perturb {
  const struct fg_tensor *eps_map, *mask;
  const double *params;
  const float *x0;
  const int64_t *index;
  float *out;
  int64_t n; /* features */
  struct fg_perturb_attrs attrs;
  uint64_t seed;
  uint32_t stream;
};

struct tile {
  float free[FG_CPU_TILE];
  double unit[FG_CPU_TILE + 4], eps[FG_CPU_TILE];
};

/* Noise for a radius of 1 of features [from, from + n); from is a multiple of 4. */
static void draw(const struct perturb *c, int64_t sample, int64_t from, int64_t n, double *unit) {
  for (int64_t i = 0; i < n; i += 4) {
    struct fg_philox r = fg_philox_sample(c->seed, sample, c->stream, (uint32_t)((from + i) / 4));
    if (c->attrs.kind == FG_START_uniform && c->attrs.norm == FG_NORM_l2) {
      fg_philox_normal(r.word[0], r.word[1], &unit[i], &unit[i + 1]);
      fg_philox_normal(r.word[2], r.word[3], &unit[i + 2], &unit[i + 3]);
    } else {
      for (int k = 0; k < 4; k++)
        unit[i + k] = c->attrs.kind == FG_START_sign ? fg_philox_sign(r.word[k])
                                                     : fg_philox_symmetric(r.word[k]);
    }
  }
}

/* What an L2 start's normals are multiplied by: U(0, 1) over their length. */
static double scale_of(const struct perturb *c, int64_t sample, struct tile *t) {
  if (c->attrs.kind != FG_START_uniform || c->attrs.norm != FG_NORM_l2)
    return 1;
  double squares = 0;
  for (int64_t from = 0; from < c->n; from += FG_CPU_TILE) {
    int64_t n = c->n - from < FG_CPU_TILE ? c->n - from : FG_CPU_TILE;
    draw(c, sample, from, n, t->unit);
    fg_cpu_load_mask(c->mask, from, n, t->free);
    for (int64_t i = 0; i < n; i++)
      squares += t->free[i] != 0 ? t->unit[i] * t->unit[i] : 0;
  }
  uint32_t word = fg_philox_sample(c->seed, sample, c->stream, FG_PHILOX_LENGTH_BLOCK).word[0];
  return squares > 0 ? fg_philox_unit(word) / sqrt(squares) : 1;
}

FG_CLONES static void shift(const float *x0, const struct tile *t, const double *radius,
                            double scale, double lo, double hi, float *to, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    double unit = t->unit[i] * scale;
    double v = unit == 0 ? (double)x0[i] : x0[i] + radius[i] * unit;
    float y = fg_cpu_into_box(v, lo, hi);
    to[i] = t->free[i] != 0 ? y : x0[i];
  }
}

static void one_sample(const struct perturb *c, int64_t s) {
  struct tile t;
  double eps = c->params[FG_PARAM_eps], radius = c->params[FG_PARAM_radius];
  double lo = c->attrs.box ? c->params[FG_PARAM_lo] : -INFINITY;
  double hi = c->attrs.box ? c->params[FG_PARAM_hi] : INFINITY;
  double scale = scale_of(c, c->index[s], &t);
  for (int64_t from = 0; from < c->n; from += FG_CPU_TILE) {
    int64_t n = c->n - from < FG_CPU_TILE ? c->n - from : FG_CPU_TILE, at = s * c->n + from;
    fg_cpu_load_mask(c->mask, from, n, t.free);
    fg_cpu_load_eps(c->eps_map, eps, from, n, t.eps);
    for (int64_t i = 0; i < n; i++)
      t.eps[i] = !c->eps_map ? radius : eps > 0 ? radius * (t.eps[i] / eps) : 0;
    if (c->attrs.kind == FG_START_none)
      for (int64_t i = 0; i < n; i++)
        t.unit[i] = 0;
    else
      draw(c, c->index[s], from, n, t.unit);
    shift(c->x0 + at, &t, t.eps, scale, lo, hi, c->out + at, n);
  }
}

static void samples(const void *ctx, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++)
    one_sample(ctx, i);
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  const struct fg_tensor *x0 = &call->in[X0], *index = &call->in[INDEX];
  FG_TRY(fg_cpu_need_f32(call, 1, 1));
  FG_TRY(fg_cpu_check_features(call, x0, EPS_MAP, MASK));
  FG_TRY(fg_cpu_check_params(call, PARAMS, 0));
  if (index->type != FG_I64 || fg_count(index) != x0->dim[0])
    return FG_FAIL(UNSUPPORTED, "cpu: perturb: index is not int64 [N]");
  if (fg_cpu_features(x0) / 4 >= (int64_t)FG_PHILOX_LENGTH_BLOCK)
    return FG_FAIL(UNSUPPORTED, "cpu: perturb: too many features");
  return FGSM_OK;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x0 = &call->in[X0];
  const double *p = call->in[PARAMS].data;
  if (!(p[FG_PARAM_seed] >= 0 && p[FG_PARAM_seed] < 0x1p53 && p[FG_PARAM_stream] >= 0 &&
        p[FG_PARAM_stream] < 0x1p32))
    return FG_FAIL(USAGE, "cpu: perturb: the seed must be in 0..2^53-1, the stream in 0..2^32-1");
  struct perturb c = {.eps_map = fg_cpu_optional(call, EPS_MAP),
                      .mask = fg_cpu_optional(call, MASK),
                      .params = p,
                      .x0 = x0->data,
                      .index = call->in[INDEX].data,
                      .out = call->out[0].data,
                      .n = fg_cpu_features(x0),
                      .attrs = call->attrs->perturb,
                      .seed = (uint64_t)p[FG_PARAM_seed],
                      .stream = (uint32_t)p[FG_PARAM_stream]};
  double each = c.attrs.norm == FG_NORM_l2 ? 60 : 8;
  fg_cpu_parallel(x0->dim[0], 1, 50 + each * (double)c.n, samples, &c);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_perturb = {prepare, run, NULL};
