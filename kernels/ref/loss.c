/* loss: per sample, its value, its gradient and the prediction (attrs.h has the formulas).
 *
 * A sample with a NaN logit has a NaN loss, a NaN gradient and prediction -1, whatever the kind, so
 * that whoever steps along it sees it; a label out of range has NaN loss and a zero gradient. */
#include "ref.h"

enum { DLOGITS, LOSS, PREDICTION };

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 3, 0));
  FG_TRY(fg_ref_check_real(call, 1, 1 << DLOGITS | 1 << LOSS));
  const struct fg_loss_attrs *a = &call->attrs->loss;
  const struct fg_tensor *z = &call->in[0], *labels = &call->in[1];
  const struct fg_tensor *loss = fg_ref_out(call, LOSS), *prediction = fg_ref_out(call, PREDICTION);
  FG_REF_NEED(call, z->rank == 2, "logits of rank %d", z->rank);
  FG_REF_NEED(call, labels->type == FG_I32 && labels->rank == 1 && labels->dim[0] == z->dim[0],
              "labels are not int32 [%lld]", (long long)z->dim[0]);
  FG_REF_NEED(call, a->kind >= FG_LOSS_ce && a->kind <= FG_LOSS_linear, "unknown kind");
  const struct fg_tensor *c = fg_ref_in(call, 2);
  FG_REF_NEED(call, (c != NULL) == (a->kind == FG_LOSS_linear),
              "a linear loss, and no other, has coefficients");
  FG_REF_NEED(call, !c || (c->type == z->type && c->rank == 1 && c->dim[0] == z->dim[1]),
              "coefficients are not [K]");
  int64_t least = a->kind == FG_LOSS_margin ? 2 : a->kind == FG_LOSS_dlr ? 3 : 1;
  FG_REF_NEED(call, z->dim[1] >= least, "%lld classes; this loss needs %lld", (long long)z->dim[1],
              (long long)least);
  for (int i = DLOGITS; i <= LOSS; i++)
    FG_REF_NEED(call, !fg_ref_out(call, i) || call->out[i].type == z->type, "types differ");
  FG_REF_NEED(call, !fg_ref_out(call, DLOGITS) || fg_same_shape(z, &call->out[DLOGITS]),
              "logits and gradient differ in shape");
  FG_REF_NEED(call, !loss || (loss->rank == 1 && loss->dim[0] == z->dim[0]), "loss is not [N]");
  FG_REF_NEED(call,
              !prediction || (prediction->type == FG_I32 && prediction->rank == 1 &&
                              prediction->dim[0] == z->dim[0]),
              "prediction is not int32 [N]");
  call->scratch_bytes = 2 * (size_t)z->dim[1] * sizeof(double);
  return FGSM_OK;
}

/* The first largest of z apart from places a and b (-1: none); -1 if there is none. */
static int64_t largest(const double *z, int64_t k, int64_t a, int64_t b) {
  int64_t top = -1;
  for (int64_t j = 0; j < k; j++)
    if (j != a && j != b && (top < 0 || z[j] > z[top]))
      top = j;
  return top;
}

static double cross_entropy(const double *z, int64_t k, int64_t y, bool parity, double *d) {
  int64_t first = largest(z, k, -1, -1), other = largest(z, k, y, -1);
  double sum = 0, others = 0;
  for (int64_t j = 0; j < k; j++)
    sum += exp(z[j] - z[first]);
  for (int64_t j = 0; j < k; j++) {
    if (parity) {
      d[j] = exp(z[j] - z[first]) / sum - (j == y);
    } else if (j != y) {
      d[j] = exp(z[j] - z[other]);
      others += d[j];
    }
  }
  if (!parity)
    d[y] = -others;
  return log(sum) + z[first] - z[y];
}

static double margin(const double *z, int64_t k, int64_t y, double *d) {
  int64_t other = largest(z, k, y, -1);
  d[other] = 1;
  d[y] = -1;
  return z[other] - z[y];
}

/* -u / v with u = z_y - z_other and v = z_(1) - z_(3) + 1e-12. */
static double difference_of_logits_ratio(const double *z, int64_t k, int64_t y, double *d) {
  int64_t other = largest(z, k, y, -1), first = largest(z, k, -1, -1);
  int64_t third = largest(z, k, first, largest(z, k, first, -1));
  double u = z[y] - z[other], v = z[first] - z[third] + 1e-12;
  d[y] -= 1 / v;
  d[other] += 1 / v;
  d[first] += u / v / v;
  d[third] -= u / v / v;
  return -u / v;
}

static double functional(const double *z, int64_t k, const struct fg_tensor *c, double *d) {
  double sum = 0;
  for (int64_t j = 0; j < k; j++) {
    d[j] = fg_ref_get(c, j);
    sum += d[j] * z[j];
  }
  return sum;
}

static double sample(const struct fg_loss_attrs *a, const double *z, int64_t k, int64_t y,
                     const struct fg_tensor *c, double *d) {
  bool broken = false;
  for (int64_t j = 0; j < k; j++) {
    broken |= isnan(z[j]);
    d[j] = 0;
  }
  if ((y < 0 || y >= k) && a->kind != FG_LOSS_linear)
    return NAN;
  double loss = NAN;
  if (broken)
    for (int64_t j = 0; j < k; j++)
      d[j] = NAN;
  else if (a->kind == FG_LOSS_linear)
    loss = functional(z, k, c, d);
  else if (a->kind == FG_LOSS_ce)
    loss = cross_entropy(z, k, y, a->parity, d);
  else if (a->kind == FG_LOSS_margin)
    loss = margin(z, k, y, d);
  else
    loss = difference_of_logits_ratio(z, k, y, d);
  for (int64_t j = 0; a->targeted && j < k; j++)
    d[j] = -d[j];
  return loss;
}

static int64_t predict(const double *z, int64_t k) {
  for (int64_t j = 0; j < k; j++)
    if (isnan(z[j]))
      return -1;
  return largest(z, k, -1, -1);
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  const struct fg_tensor *logits = &call->in[0];
  int64_t n = logits->dim[0], k = logits->dim[1];
  double *z = scratch, *d = z + k;
  for (int64_t i = 0; i < n; i++) {
    fg_ref_load(logits, i * k, k, z);
    double loss =
        sample(&call->attrs->loss, z, k, fg_ref_get_int(&call->in[1], i), fg_ref_in(call, 2), d);
    if (fg_ref_out(call, DLOGITS))
      fg_ref_store(&call->out[DLOGITS], i * k, k, d);
    if (fg_ref_out(call, LOSS))
      fg_ref_put(&call->out[LOSS], i, loss);
    if (fg_ref_out(call, PREDICTION))
      fg_ref_put_int(&call->out[PREDICTION], i, predict(z, k));
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_loss = {prepare, run, NULL};
