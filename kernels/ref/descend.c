/* descend, average: what writes weights in place. attrs.h has the formulas. */
#include <math.h>

#include "ref.h"

enum { W, G, M, V, RATES, FACTOR };

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 1 << W | 1 << G | 1 << RATES, 0));
  FG_TRY(fg_ref_check_real(call, 1 << W | 1 << G | 1 << M | 1 << V | 1 << FACTOR, 0));
  const struct fg_tensor *w = &call->in[W], *rates = &call->in[RATES];
  bool adam = call->attrs->descend.kind != FG_DESCEND_sgd;
  for (int i = G; i <= V; i++)
    FG_REF_NEED(call, !fg_ref_in(call, i) || fg_same_shape(w, &call->in[i]), "shapes differ");
  FG_REF_NEED(call, !adam || (fg_ref_in(call, M) && fg_ref_in(call, V)), "a moment is missing");
  FG_REF_NEED(call, rates->type == FG_F64 && fg_count(rates) == FG_RATE_COUNT,
              "the rates are %d doubles", FG_RATE_COUNT);
  return FGSM_OK;
}

static void sgd(const struct fg_call *call, const double *r, int64_t i, double g) {
  const struct fg_tensor *w = &call->in[W], *m = fg_ref_in(call, M);
  double was = fg_ref_get(w, i), along = g;
  if (m) {
    along = r[FG_RATE_step] > 1 ? r[FG_RATE_momentum] * fg_ref_get(m, i) + g : g;
    fg_ref_put(m, i, along);
    if (call->attrs->descend.nesterov)
      along = g + r[FG_RATE_momentum] * along;
  }
  fg_ref_put(w, i, was - r[FG_RATE_rate] * along);
}

static void adam(const struct fg_call *call, const double *r, int64_t i, double g) {
  const struct fg_tensor *w = &call->in[W];
  double beta1 = r[FG_RATE_momentum], beta2 = r[FG_RATE_beta2];
  double m = fg_ref_get(&call->in[M], i), v = fg_ref_get(&call->in[V], i);
  m += (1 - beta1) * (g - m);
  v += (1 - beta2) * (g * g - v);
  fg_ref_put(&call->in[M], i, m);
  fg_ref_put(&call->in[V], i, v);
  m /= 1 - pow(beta1, r[FG_RATE_step]);
  v /= 1 - pow(beta2, r[FG_RATE_step]);
  fg_ref_put(w, i, fg_ref_get(w, i) - r[FG_RATE_rate] * m / (sqrt(v) + r[FG_RATE_epsilon]));
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_descend_attrs *a = &call->attrs->descend;
  const struct fg_tensor *w = &call->in[W];
  const double *r = call->in[RATES].data;
  double factor = fg_ref_in(call, FACTOR) ? fg_ref_get(&call->in[FACTOR], 0) : 1;
  double decay = a->decays ? r[FG_RATE_decay] : 0;
  if (!isfinite(factor))
    return FGSM_OK;
  for (int64_t i = 0; i < fg_count(w); i++) {
    double g = fg_ref_get(&call->in[G], i) * factor;
    if (a->kind == FG_DESCEND_adamw)
      fg_ref_put(w, i, fg_ref_get(w, i) * (1 - r[FG_RATE_rate] * decay));
    else
      g += decay * fg_ref_get(w, i);
    if (a->kind == FG_DESCEND_sgd)
      sgd(call, r, i, g);
    else
      adam(call, r, i, g);
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_descend = {prepare, run, NULL};

static fgsm_status prepare_average(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 3, 0));
  FG_TRY(fg_ref_check_real(call, 3, 0));
  FG_REF_NEED(call, fg_same_shape(&call->in[0], &call->in[1]), "shapes differ");
  return FGSM_OK;
}

static fgsm_status run_average(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_average_attrs *o = &call->attrs->average;
  const struct fg_tensor *a = &call->in[0], *b = &call->in[1];
  for (int64_t i = 0; i < fg_count(a); i++) {
    double was = fg_ref_get(a, i);
    fg_ref_put(a, i, was + o->rate * (o->gain * fg_ref_get(b, i) - was));
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_average = {prepare_average, run_average, NULL};
