/* descend, average: one pass over the weights and their moments. An element is computed from its own
 * numbers only, so that nothing depends on how the work was cut. */
#include "cpu.h"

#include <math.h>

enum { W, G, M, V, RATES, FACTOR };

struct descent {
  const struct fg_descend_attrs *attrs;
  float *w, *m, *v;
  const float *g;
  float factor, rate, momentum, decay, keep, beta2, epsilon, by_m, by_v;
  bool first;
};

FG_CLONES static void descend_sgd(const struct descent *d, int64_t begin, int64_t end) {
  float *w = d->w, *m = d->m;
  float factor = d->factor, decay = d->decay, mu = d->momentum, rate = d->rate;
  bool nesterov = d->attrs->nesterov, first = d->first;
#pragma omp simd
  for (int64_t i = begin; i < end; i++) {
    float g = d->g[i] * factor + decay * w[i], along = g;
    if (m) {
      along = first ? g : mu * m[i] + g;
      m[i] = along;
      along = nesterov ? g + mu * along : along;
    }
    w[i] -= rate * along;
  }
}

FG_CLONES static void descend_adam(const struct descent *d, int64_t begin, int64_t end) {
  float *w = d->w, *m = d->m, *v = d->v;
  float factor = d->factor, decay = d->decay, keep = d->keep, rate = d->rate;
  float to_m = 1 - d->momentum, to_v = 1 - d->beta2;
#pragma omp simd
  for (int64_t i = begin; i < end; i++) {
    float g = d->g[i] * factor + decay * w[i];
    m[i] += to_m * (g - m[i]);
    v[i] += to_v * (g * g - v[i]);
    w[i] = w[i] * keep - rate * (m[i] * d->by_m) / (sqrtf(v[i] * d->by_v) + d->epsilon);
  }
}

static void body(const void *ctx, int64_t begin, int64_t end) {
  const struct descent *d = ctx;
  if (d->attrs->kind == FG_DESCEND_sgd)
    descend_sgd(d, begin, end);
  else
    descend_adam(d, begin, end);
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_cpu_need_plain(call));
  for (int i = 0; i < call->n_in; i++)
    if (i != RATES && call->in[i].type != FG_NONE && call->in[i].type != FG_F32)
      return FG_FAIL(UNSUPPORTED, "cpu: descend works in float32, not %s",
                     fg_type_name(call->in[i].type));
  return FGSM_OK;
}

static float *floats(const struct fg_call *call, int i) {
  return i < call->n_in && fg_cpu_present(&call->in[i]) ? call->in[i].data : NULL;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_descend_attrs *a = &call->attrs->descend;
  const double *r = call->in[RATES].data;
  const float *factor = floats(call, FACTOR);
  double n = r[FG_RATE_step], decay = a->decays ? r[FG_RATE_decay] : 0;
  if (factor && !isfinite(*factor))
    return FGSM_OK;
  bool apart = a->kind == FG_DESCEND_adamw;
  struct descent d = {.attrs = a,
                      .w = floats(call, W),
                      .g = floats(call, G),
                      .m = floats(call, M),
                      .v = floats(call, V),
                      .factor = factor ? *factor : 1,
                      .rate = (float)r[FG_RATE_rate],
                      .momentum = (float)r[FG_RATE_momentum],
                      .decay = apart ? 0 : (float)decay,
                      .keep = apart ? (float)(1 - r[FG_RATE_rate] * decay) : 1,
                      .beta2 = (float)r[FG_RATE_beta2],
                      .epsilon = (float)r[FG_RATE_epsilon],
                      .first = n <= 1};
  if (a->kind != FG_DESCEND_sgd) {
    d.by_m = (float)(1 / (1 - pow(r[FG_RATE_momentum], n)));
    d.by_v = (float)(1 / (1 - pow(r[FG_RATE_beta2], n)));
  }
  fg_cpu_flat(fg_count(&call->in[W]), 1, body, &d);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_descend = {prepare, run, NULL};

struct average {
  float *a;
  const float *b;
  float rate, gain;
};

FG_CLONES static void average_floats(const struct average *c, int64_t begin, int64_t end) {
  float *a = c->a, rate = c->rate, gain = c->gain;
  const float *b = c->b;
#pragma omp simd
  for (int64_t i = begin; i < end; i++)
    a[i] += rate * (gain * b[i] - a[i]);
}

static void average_body(const void *ctx, int64_t begin, int64_t end) {
  average_floats(ctx, begin, end);
}

static fgsm_status prepare_average(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_cpu_need_f32(call, 2, 0));
  return fg_cpu_need_plain(call);
}

static fgsm_status run_average(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_average_attrs *o = &call->attrs->average;
  struct average c = {call->in[0].data, call->in[1].data, (float)o->rate, (float)o->gain};
  fg_cpu_flat(fg_count(&call->in[0]), 0.5, average_body, &c);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_average = {prepare_average, run_average, NULL};
