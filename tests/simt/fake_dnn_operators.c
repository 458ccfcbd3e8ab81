/* Operations of cuDNN's graphs that are operators of ours: computed by the oracle, in double. */
#include <stdlib.h>

#include "fake_card.h"
#include "fake_dnn_values.h"

extern const struct fg_kernel fg_ref_matmul, fg_ref_layer_norm, fg_ref_layer_norm_grad,
    fg_ref_attention;

/* A tensor's dims between two axes, over dense data. */
static struct fg_tensor dense(const struct fake_tensor *t, int from, int to, const double *data) {
  struct fg_tensor d = {
      .data = (void *)(uintptr_t)data, .type = FG_F64, .layout = FG_PLAIN, .rank = to - from};
  for (int i = from; i < to; i++)
    d.dim[i - from] = t->dim[i];
  return d;
}

static void compute(struct fake_run *r, const struct fg_kernel *kernel, struct fg_call *call) {
  void *scratch = NULL;
  fgsm_status status = r->good ? kernel->prepare(call, NULL) : FGSM_INTERNAL;
  if (status == FGSM_OK && !(scratch = malloc(call->scratch_bytes + 1)))
    abort();
  if (status == FGSM_OK)
    status = kernel->run(call, scratch, NULL);
  if (status != FGSM_OK && r->good)
    fake_wrong("cuDNN: %s", fgsm_last_error());
  r->good = r->good && status == FGSM_OK;
  free(scratch);
}

static bool has(struct fake_run *r, const struct fake_op *op, int64_t parts) {
  if ((op->parts & parts) == parts)
    return true;
  fake_wrong("cuDNN: of what an operation takes and writes not all is there");
  return r->good = false;
}

static const double *part(struct fake_run *r, const struct fake_op *op, int i) {
  return fake_load(r, &op->part[i]);
}

/* Writes the outputs that are there to the parts that they are of. */
static void keep(struct fake_run *r, const struct fake_op *op, const struct fg_call *call,
                 const int *parts) {
  for (int i = 0; i < call->n_out && r->good; i++)
    if (call->out[i].type != FG_NONE)
      fake_store(r, &op->part[parts[i]], call->out[i].data);
}

void fake_multiply(struct fake_run *r, const struct fake_op *op) {
  const union fg_attrs attrs = {.matmul = {.alpha = 1}};
  struct fg_call call = {.op = FG_OP_matmul, .n_in = 2, .n_out = 1, .attrs = &attrs};
  call.in[0] = dense(&op->x, 0, op->x.rank, fake_load(r, &op->x));
  call.in[1] = dense(&op->b, 0, op->b.rank, fake_load(r, &op->b));
  call.out[0] = dense(&op->y, 0, op->y.rank, fake_room(r, &op->y));
  compute(r, &fg_ref_matmul, &call);
  if (r->good)
    fake_store(r, &op->y, call.out[0].data);
}

/* ---- layer normalisation: of x's axis 0 each, over the others, which scale has */

static struct fg_tensor row(const struct fake_tensor *t, const double *data) {
  if (t->dim[0] != 1)
    fake_wrong("cuDNN: scale or bias differs along a batch");
  return dense(t, 1, t->rank, data);
}

static struct fg_tensor whole(const struct fake_tensor *t, const double *data) {
  return dense(t, 0, t->rank, data);
}

#define BIT(name) (1 << FAKE_NORM_##name)
#define PART(name) (&op->part[FAKE_NORM_##name])
#define READ(name) part(r, op, FAKE_NORM_##name)
#define ROOM(name) fake_room(r, PART(name))

/* In training it writes the statistics, in inference it has none. */
void fake_normalise(struct fake_run *r, const struct fake_op *op) {
  static const int outputs[] = {FAKE_NORM_Y, FAKE_NORM_MEAN, FAKE_NORM_RSTD};
  const int64_t statistics = BIT(MEAN) | BIT(RSTD);
  const bool trains = op->mode == CUDNN_NORM_FWD_TRAINING;
  if (!has(r, op, BIT(X) | BIT(SCALE) | BIT(BIAS) | BIT(EPSILON) | BIT(Y)))
    return;
  if ((op->parts & statistics) != (trains ? statistics : 0)) {
    fake_wrong("cuDNN: statistics that the phase has not, or none that it has");
    r->good = false;
    return;
  }
  const double *epsilon = READ(EPSILON);
  const union fg_attrs attrs = {.layer_norm = {.axis = 1, .epsilon = *epsilon}};
  struct fg_call call = {.op = FG_OP_layer_norm, .n_in = 3, .n_out = 3, .attrs = &attrs};
  call.in[0] = whole(PART(X), READ(X));
  call.in[1] = row(PART(SCALE), READ(SCALE));
  call.in[2] = row(PART(BIAS), READ(BIAS));
  call.out[0] = whole(PART(Y), ROOM(Y));
  if (trains) {
    call.out[1] = whole(PART(MEAN), ROOM(MEAN));
    call.out[2] = whole(PART(RSTD), ROOM(RSTD));
  }
  compute(r, &fg_ref_layer_norm, &call);
  keep(r, op, &call, outputs);
}

void fake_normalise_grad(struct fake_run *r, const struct fake_op *op) {
  static const int outputs[] = {FAKE_NORM_Y, FAKE_NORM_DSCALE, FAKE_NORM_DBIAS};
  const union fg_attrs attrs = {.layer_norm = {.axis = 1}};
  struct fg_call call = {.op = FG_OP_layer_norm_grad, .n_in = 5, .n_out = 3, .attrs = &attrs};
  if (!has(r, op, (1 << FAKE_NORM_PARTS) - 1))
    return;
  call.in[0] = whole(PART(DY), READ(DY));
  call.in[1] = whole(PART(X), READ(X));
  call.in[2] = row(PART(SCALE), READ(SCALE));
  call.in[3] = whole(PART(MEAN), READ(MEAN));
  call.in[4] = whole(PART(RSTD), READ(RSTD));
  call.out[0] = whole(PART(Y), ROOM(Y));
  call.out[1] = row(PART(DSCALE), ROOM(DSCALE));
  call.out[2] = row(PART(DBIAS), ROOM(DBIAS));
  compute(r, &fg_ref_layer_norm_grad, &call);
  keep(r, op, &call, outputs);
}

/* ---- attention */

void fake_attend(struct fake_run *r, const struct fake_op *op) {
  static const int outputs[] = {FAKE_ATTENDED, FAKE_LSE};
  if (!has(r, op, (1 << FAKE_LSE) - 1))
    return;
  const double *factor = part(r, op, FAKE_FACTOR);
  const union fg_attrs attrs = {.attention = {.scale = *factor}};
  struct fg_call call = {.op = FG_OP_attention, .n_in = 3, .n_out = 2, .attrs = &attrs};
  for (int i = FAKE_Q; i <= FAKE_V; i++)
    call.in[i] = whole(&op->part[i], part(r, op, i));
  call.out[0] = whole(&op->part[FAKE_ATTENDED], fake_room(r, &op->part[FAKE_ATTENDED]));
  if (op->parts >> FAKE_LSE & 1) {
    const struct fake_tensor *lse = &op->part[FAKE_LSE];
    if (lse->rank != 4 || lse->dim[3] != 1)
      fake_wrong("cuDNN: attention's statistics of another shape");
    call.out[1] = dense(lse, 0, 3, fake_room(r, lse));
  }
  compute(r, &fg_ref_attention, &call);
  keep(r, op, &call, outputs);
}
