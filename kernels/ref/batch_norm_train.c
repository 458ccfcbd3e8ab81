/* batch_norm_train, batch_norm_train_grad: normalisation by the batch's own statistics, channel by
 * channel. attrs.h has the formulas. */
#include "ranks.h"
#include "ref.h"

/* x as [outer, channels, inner]. */
struct planes {
  int64_t outer, channels, inner;
};

static struct planes planes_of(const struct fg_tensor *x) {
  return (struct planes){x->dim[0], x->dim[1], fg_ref_span(x, 2, x->rank)};
}

/* The j-th of a channel's outer * inner places. */
static int64_t place(const struct planes *p, int64_t c, int64_t j) {
  return (j / p->inner * p->channels + c) * p->inner + j % p->inner;
}

static bool is_channel(const struct fg_tensor *t, const struct fg_tensor *x) {
  return !t || (t->rank == 1 && t->dim[0] == x->dim[1]);
}

/* Where statistics are taken over ranks, they are the state; else this one alone. */
static void choose_ranks(struct fg_call *call, const struct fg_device *device) {
  call->state = call->attrs->batch_norm.across ? device->ranks : NULL;
}

/* The sum of v over the ranks. */
static fgsm_status all(const struct fg_call *call, double *v) {
  return fg_ranks_sum(call->state, FG_F64, 1, v);
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  choose_ranks(call, device);
  FG_TRY(fg_ref_check(call, 1, 1));
  FG_TRY(fg_ref_check_real(call, 7, 7));
  const struct fg_tensor *x = &call->in[0];
  FG_REF_NEED(call, x->rank >= 2, "x of rank %d", x->rank);
  FG_REF_NEED(call, fg_same_shape(x, &call->out[0]), "shapes differ");
  for (int i = 1; i < 3; i++)
    FG_REF_NEED(call, is_channel(fg_ref_in(call, i), x) && is_channel(fg_ref_out(call, i), x),
                "input or output %d is not one number per channel", i);
  return FGSM_OK;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x = &call->in[0], *scale = fg_ref_in(call, 1), *bias = fg_ref_in(call, 2);
  struct planes p = planes_of(x);
  int64_t n = p.outer * p.inner;
  double total = (double)(n * fg_ranks_size(call->state));
  for (int64_t c = 0; c < p.channels; c++) {
    double mean = 0, var = 0;
    for (int64_t j = 0; j < n; j++)
      mean += fg_ref_get(x, place(&p, c, j)) / total;
    FG_TRY(all(call, &mean));
    for (int64_t j = 0; j < n; j++) {
      double d = fg_ref_get(x, place(&p, c, j)) - mean;
      var += d * d / total;
    }
    FG_TRY(all(call, &var));
    double gain = (scale ? fg_ref_get(scale, c) : 1) / sqrt(var + call->attrs->batch_norm.epsilon);
    for (int64_t j = 0; j < n; j++)
      fg_ref_put(&call->out[0], place(&p, c, j),
                 (fg_ref_get(x, place(&p, c, j)) - mean) * gain + (bias ? fg_ref_get(bias, c) : 0));
    if (fg_ref_out(call, 1))
      fg_ref_put(&call->out[1], c, mean);
    if (fg_ref_out(call, 2))
      fg_ref_put(&call->out[2], c, var);
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_batch_norm_train = {prepare, run, NULL};

enum { DY, X, SCALE, MEAN, VAR };
enum { DX, DSCALE, DBIAS };

static fgsm_status prepare_grad(struct fg_call *call, struct fg_device *device) {
  choose_ranks(call, device);
  FG_TRY(fg_ref_check(call, 1 << DY | 1 << X | 1 << MEAN | 1 << VAR, 0));
  FG_TRY(fg_ref_check_real(call, 31, 7));
  const struct fg_tensor *x = &call->in[X], *dx = fg_ref_out(call, DX);
  FG_REF_NEED(call, x->rank >= 2, "x of rank %d", x->rank);
  FG_REF_NEED(call, fg_same_shape(x, &call->in[DY]) && (!dx || fg_same_shape(x, dx)),
              "shapes differ");
  for (int i = SCALE; i <= VAR; i++)
    FG_REF_NEED(call, is_channel(fg_ref_in(call, i), x), "input %d is not one number per channel",
                i);
  FG_REF_NEED(call,
              is_channel(fg_ref_out(call, DSCALE), x) && is_channel(fg_ref_out(call, DBIAS), x),
              "dscale or dbias is not one number per channel");
  return FGSM_OK;
}

static fgsm_status run_grad(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x = &call->in[X], *dy = &call->in[DY], *scale = fg_ref_in(call, SCALE);
  struct planes p = planes_of(x);
  int64_t n = p.outer * p.inner;
  double total = (double)(n * fg_ranks_size(call->state));
  for (int64_t c = 0; c < p.channels; c++) {
    double mean = fg_ref_get(&call->in[MEAN], c), s = scale ? fg_ref_get(scale, c) : 1;
    double rstd = 1 / sqrt(fg_ref_get(&call->in[VAR], c) + call->attrs->batch_norm.epsilon);
    double dbias = 0, dscale = 0;
    for (int64_t j = 0; j < n; j++) {
      double d = fg_ref_get(dy, place(&p, c, j));
      dbias += d;
      dscale += d * (fg_ref_get(x, place(&p, c, j)) - mean) * rstd;
    }
    double of_dy = dbias, along = dscale;
    FG_TRY(all(call, &of_dy));
    FG_TRY(all(call, &along));
    for (int64_t j = 0; fg_ref_out(call, DX) && j < n; j++) {
      double xhat = (fg_ref_get(x, place(&p, c, j)) - mean) * rstd;
      double d = fg_ref_get(dy, place(&p, c, j));
      fg_ref_put(&call->out[DX], place(&p, c, j),
                 s * rstd * (d - of_dy / total - xhat * along / total));
    }
    if (fg_ref_out(call, DSCALE))
      fg_ref_put(&call->out[DSCALE], c, dscale);
    if (fg_ref_out(call, DBIAS))
      fg_ref_put(&call->out[DBIAS], c, dbias);
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_batch_norm_train_grad = {prepare_grad, run_grad, NULL};
