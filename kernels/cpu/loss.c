/* loss: per sample, its value, its gradient and the prediction (attrs.h has the formulas). A sample
 * with a NaN logit has a NaN loss, a NaN gradient and prediction -1; a label out of range has NaN
 * loss and a zero gradient. Exponentials are floats, their sums double. */
#include "loss.h"

#include <math.h>

#include "feature.h"

enum { DLOGITS, LOSS, PREDICTION };

struct loss {
  const struct fg_loss_attrs *attrs;
  const float *z, *functional;
  const int32_t *labels;
  float *d, *loss; /* NULL where not wanted */
  int32_t *prediction;
  int64_t k;
};

/* The first largest of z apart from places a and b (-1: none); -1 if there is none. */
static int64_t largest(const float *z, int64_t k, int64_t a, int64_t b) {
  int64_t top = -1;
  for (int64_t j = 0; j < k; j++)
    if (j != a && j != b && (top < 0 || z[j] > z[top]))
      top = j;
  return top;
}

FG_CLONES static bool has_nan(const float *z, int64_t k) {
  int broken = 0;
#pragma omp simd reduction(| : broken)
  for (int64_t j = 0; j < k; j++)
    broken |= z[j] != z[j];
  return broken;
}

FG_CLONES static double sum_exp(const float *z, int64_t k, float top) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < k; j++)
    sum += fg_vexpf(z[j] - top);
  return sum;
}

/* d = exp(z - top - log_sum), rounded after each step as PyTorch's float32 log-softmax is. */
FG_CLONES static void put_exp(const float *z, float *d, int64_t k, float top, float log_sum) {
#pragma omp simd
  for (int64_t j = 0; j < k; j++)
    d[j] = fg_vexpf(z[j] - top - log_sum);
}

FG_CLONES static double sum_of(const float *d, int64_t k) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < k; j++)
    sum += d[j];
  return sum;
}

/* PyTorch's float32 p - onehot, which saturates where the others' share of the sum is rounded away;
 * so the sum is taken as theirs is: eight lanes, then halves onto halves. */
static void parity_slope(const float *z, int64_t k, int64_t y, float top, float *d) {
  float lane[8] = {0};
  for (int64_t j = 0; j < k; j++)
    lane[j % 8] += expf(z[j] - top);
  for (int half = 4; half; half /= 2)
    for (int i = 0; i < half; i++)
      lane[i] += lane[i + half];
  put_exp(z, d, k, top, logf(lane[0]));
  d[y] -= 1;
}

static double cross_entropy(const float *z, int64_t k, int64_t y, bool parity, float *d) {
  int64_t first = largest(z, k, -1, -1);
  double sum = sum_exp(z, k, z[first]);
  if (d && parity) {
    parity_slope(z, k, y, z[first], d);
  } else if (d && k > 1) {
    put_exp(z, d, k, z[largest(z, k, y, -1)], 0.0f);
    d[y] = 0; /* it may be infinite; the sum is of the others */
    d[y] = (float)-sum_of(d, k);
  } else if (d) {
    d[y] = 0;
  }
  return log(sum) + ((double)z[first] - z[y]);
}

static void clear(float *d, int64_t k, float value) {
  for (int64_t j = 0; j < k; j++)
    d[j] = value;
}

static double margin(const float *z, int64_t k, int64_t y, float *d) {
  int64_t other = largest(z, k, y, -1);
  if (d) {
    clear(d, k, 0);
    d[other] = 1;
    d[y] = -1;
  }
  return (double)z[other] - z[y];
}

/* -u / v with u = z_y - z_other and v = z_(1) - z_(3) + 1e-12. Up to four of its terms meet in one
 * place, so they are added up in double before they are rounded. */
static double difference_of_logits_ratio(const float *z, int64_t k, int64_t y, float *d) {
  int64_t other = largest(z, k, y, -1), first = largest(z, k, -1, -1);
  int64_t third = largest(z, k, first, largest(z, k, first, -1));
  double u = (double)z[y] - z[other], v = (double)z[first] - z[third] + 1e-12;
  if (d) {
    const int64_t at[4] = {y, other, first, third};
    const double term[4] = {-1 / v, 1 / v, u / v / v, -(u / v / v)};
    clear(d, k, 0);
    for (int i = 0; i < 4; i++) {
      double sum = 0;
      for (int j = 0; j < 4; j++)
        sum += at[j] == at[i] ? term[j] : 0;
      d[at[i]] = (float)sum;
    }
  }
  return -u / v;
}

static double functional(const float *z, int64_t k, const float *c, float *d) {
  double sum = 0;
  for (int64_t j = 0; j < k; j++)
    sum += (double)c[j] * z[j];
  if (d)
    memcpy(d, c, (size_t)k * sizeof *d);
  return sum;
}

static double sample(const struct fg_loss_attrs *a, const float *c, const float *z, int64_t k,
                     int64_t y, bool broken, float *d) {
  bool aimless = (y < 0 || y >= k) && a->kind != FG_LOSS_linear;
  if (aimless || broken) {
    if (d)
      clear(d, k, aimless ? 0.0f : NAN);
    return NAN;
  }
  double loss = a->kind == FG_LOSS_linear   ? functional(z, k, c, d)
                : a->kind == FG_LOSS_ce     ? cross_entropy(z, k, y, a->parity, d)
                : a->kind == FG_LOSS_margin ? margin(z, k, y, d)
                                            : difference_of_logits_ratio(z, k, y, d);
  for (int64_t j = 0; d && a->targeted && j < k; j++)
    d[j] = -d[j];
  return loss;
}

double fg_cpu_loss_sample(const struct fg_loss_attrs *a, const float *c, const float *z, int64_t k,
                          int64_t label, float *d, int32_t *prediction) {
  bool broken = has_nan(z, k);
  if (prediction)
    *prediction = broken ? -1 : (int32_t)largest(z, k, -1, -1);
  return sample(a, c, z, k, label, broken, d);
}

int64_t fg_cpu_loss_classes(enum fg_loss_kind kind) {
  return kind == FG_LOSS_margin ? 2 : kind == FG_LOSS_dlr ? 3 : 1;
}

fgsm_status fg_cpu_check_functional(const struct fg_call *call, const struct fg_loss_attrs *a,
                                    int i, int64_t classes) {
  const struct fg_tensor *c = fg_cpu_optional(call, i);
  if ((c != NULL) != (a->kind == FG_LOSS_linear) ||
      (c && (c->type != FG_F32 || fg_count(c) != classes)))
    return FG_FAIL(UNSUPPORTED, "cpu: %s: coefficients for a linear loss alone, float32 [%lld]",
                   fg_op_name(call->op), (long long)classes);
  return FGSM_OK;
}

static void samples(const void *ctx, int64_t begin, int64_t end) {
  const struct loss *c = ctx;
  for (int64_t i = begin; i < end; i++) {
    const float *z = c->z + i * c->k;
    double loss =
        fg_cpu_loss_sample(c->attrs, c->functional, z, c->k, c->labels[i],
                           c->d ? c->d + i * c->k : NULL, c->prediction ? c->prediction + i : NULL);
    if (c->loss)
      c->loss[i] = (float)loss;
  }
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  const struct fg_tensor *z = &call->in[0];
  FG_TRY(fg_cpu_need_f32(call, 1, call->n_out < 2 ? call->n_out : 2));
  FG_TRY(fg_cpu_need_plain(call));
  int64_t least = fg_cpu_loss_classes(call->attrs->loss.kind);
  if (z->rank != 2 || call->in[1].type != FG_I32)
    return FG_FAIL(UNSUPPORTED, "cpu: loss takes logits [N, K] and int32 labels");
  if (z->dim[1] < least)
    return FG_FAIL(UNSUPPORTED, "cpu: %lld classes; this loss needs %lld", (long long)z->dim[1],
                   (long long)least);
  return fg_cpu_check_functional(call, &call->attrs->loss, 2, z->dim[1]);
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *z = &call->in[0];
  struct loss c = {.attrs = &call->attrs->loss,
                   .z = z->data,
                   .functional = call->n_in > 2 ? call->in[2].data : NULL,
                   .labels = call->in[1].data,
                   .d = fg_cpu_output(call, DLOGITS),
                   .loss = fg_cpu_output(call, LOSS),
                   .prediction = fg_cpu_output(call, PREDICTION),
                   .k = z->dim[1]};
  fg_cpu_parallel(z->dim[0], 1, 30 + 3 * (double)c.k, samples, &c);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_loss = {prepare, run, NULL};
