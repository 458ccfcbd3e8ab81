/* Perturbations that are kept from epoch to epoch, as 127ths of eps: a byte a value. A sample that has
 * none yet begins at noise. Every rank keeps all of them, since any may draw a sample next. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "philox.h"

static const int8_t NONE = INT8_MIN; /* in a sample's first place */

fgsm_status fg_carry_begin(struct fg_engine *e) {
  int64_t bytes;
  if (!fg_mul_ok(e->spec.samples, e->count, &bytes) || !(e->kept = calloc((size_t)bytes + 1, 1)))
    return FG_FAIL(MEMORY, "no memory to keep the perturbations of %lld samples of %lld values",
                   (long long)e->spec.samples, (long long)e->count);
  for (int64_t i = 0; i < e->spec.samples; i++)
    e->kept[i * e->count] = NONE;
  e->reals = malloc((size_t)(e->batch * e->count) * sizeof *e->reals + 1);
  return e->reals ? FGSM_OK : FG_FAIL(MEMORY, "no memory for a batch");
}

/* The same noise as the operator perturb's. */
static void draw(const struct fg_engine *e, int64_t index, uint32_t stream, float *to) {
  struct fg_philox r = {{0}};
  for (int64_t i = 0; i < e->count; i++) {
    if (i % 4 == 0)
      r = fg_philox_sample(e->spec.seed, index, stream, (uint32_t)(i / 4));
    to[i] = (float)(e->spec.eps * (double)fg_philox_symmetric(r.word[i % 4]));
  }
}

fgsm_status fg_carry_take(struct fg_engine *e, const struct fg_train_batch *b, uint32_t stream) {
  for (int64_t i = 0; i < e->batch; i++) {
    const int8_t *kept = e->kept + b->index[i] * e->count;
    float *to = e->reals + i * e->count;
    if (*kept == NONE)
      draw(e, b->index[i], stream, to);
    else
      for (int64_t k = 0; k < e->count; k++)
        to[k] = (float)(e->spec.eps / 127 * kept[k]);
  }
  return fg_train_upload_reals(e, FG_TRAIN_delta, e->reals);
}

/* What each rank has kept of its part of the batch, to the others. */
static fgsm_status exchange(struct fg_engine *e, const struct fg_train_batch *b) {
  struct fg_ranks *ranks = e->device->ranks;
  size_t row = (size_t)e->count, n = (size_t)e->batch;
  if (!ranks)
    return FGSM_OK;
  int64_t *index = malloc(n * sizeof *index);
  int8_t *rows = malloc(n * row);
  fgsm_status status = index && rows ? FGSM_OK : FG_FAIL(MEMORY, "no memory for a batch");
  for (int r = 0; status == FGSM_OK && r < ranks->size; r++) {
    bool own = r == ranks->rank;
    for (size_t i = 0; own && i < n; i++)
      memcpy(rows + i * row, e->kept + b->index[i] * e->count, row);
    memcpy(index, b->index, n * sizeof *index);
    status = fg_ranks_broadcast(ranks, r, index, n * sizeof *index);
    if (status == FGSM_OK)
      status = fg_ranks_broadcast(ranks, r, rows, n * row);
    for (size_t i = 0; status == FGSM_OK && !own && i < n; i++)
      memcpy(e->kept + index[i] * e->count, rows + i * row, row);
  }
  free(rows);
  free(index);
  return status;
}

fgsm_status fg_carry_keep(struct fg_engine *e, const struct fg_train_batch *b) {
  const unsigned char *bytes = b->x;
  const float *floats = b->x;
  bool byte = e->shape.type == FG_U8;
  FG_TRY(fg_engine_adversarial(e, e->reals));
  for (int64_t i = 0; i < e->batch; i++)
    for (int64_t k = 0, at = i * e->count; k < e->count; k++, at++) {
      double x0 = byte ? (double)((float)bytes[at] / 255.0f) : (double)floats[at];
      double q = rint(127 * ((double)e->reals[at] - x0) / e->spec.eps);
      e->kept[b->index[i] * e->count + k] = (int8_t)fmax(-127, fmin(127, q));
    }
  return exchange(e, b);
}
