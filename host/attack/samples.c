/* Samples between the caller and the device: packing, checking, rounding and measuring (how they
 * travel is in traffic.c). These are the only loops over pixels on the host. What is measured is what is written, against what was
 * read: bytes as fractions of 255, in double. */
#include <math.h>
#include <string.h>

#include "attacker.h"

/* How far outside of the clip range a float may lie: rounding in whatever made the data. */
static const double CLIP_TOLERANCE = 1e-6;
/* How far a byte may lie outside of eps before that is said (quantize's own slack, in x). */
static const double LATTICE_TOLERANCE = 1e-4 / 255;

/* Element i of sample s of the batch, in the space of x. A byte that becomes a float counts as
 * the float that the device made of it. */
static double clean_value(const struct fg_attacker *a, const struct fg_batch *b, int64_t s,
                          int64_t i) {
  int64_t at = b->place[s] * a->count + i;
  if (a->shape.type == FG_F32)
    return ((const float *)b->x)[at];
  uint8_t byte = ((const uint8_t *)b->x)[at];
  return a->real == FG_F32 && a->info.out_type == FG_F32 ? (float)byte / 255.0f : byte / 255.0;
}

static fgsm_status check_range(const struct fg_attacker *a, const struct fg_batch *b) {
  double lo = a->clip_lo - CLIP_TOLERANCE, hi = a->clip_hi + CLIP_TOLERANCE;
  if (a->shape.type == FG_U8 && lo <= 0 && hi >= 1)
    return FGSM_OK;
  for (int64_t s = 0; s < b->n; s++)
    for (int64_t i = 0; i < a->count; i++) {
      double v = clean_value(a, b, s, i);
      if (v >= lo && v <= hi && isfinite(v))
        continue;
      if (!isfinite(v))
        return FG_FAIL(DATA, "sample %lld holds %g (value %lld), which no attack can start from",
                       (long long)b->index[b->place[s]], v, (long long)i);
      return FG_FAIL(DATA,
                     "sample %lld holds %g (value %lld), outside of the clip range %g to %g: give "
                     "--clip LO,HI or --clip none, or --mean, --std, --scale if the data is "
                     "normalised",
                     (long long)b->index[b->place[s]], v, (long long)i, a->clip_lo, a->clip_hi);
    }
  return FGSM_OK;
}

/* Sample s of the batch as reals of the device. */
static void pack_reals(const struct fg_attacker *a, const struct fg_batch *b, int64_t s, void *to) {
  int64_t at = b->place[s] * a->count;
  if (a->real == FG_F32 && a->shape.type == FG_F32) {
    memcpy(to, (const float *)b->x + at, (size_t)a->count * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < a->count; i++)
    if (a->real == FG_F64)
      ((double *)to)[i] = clean_value(a, b, s, i);
    else
      ((float *)to)[i] = (float)((const uint8_t *)b->x)[at + i] / 255.0f;
}

fgsm_status fg_samples_load(struct fg_attacker *a, const struct fg_batch *b) {
  bool bytes = a->shape.type == FG_U8;
  /* Neighbours that fill the strip and are what the device holds travel from where they lie. */
  bool as_is = b->n == a->info.strip && b->place[b->n - 1] - b->place[0] == b->n - 1 &&
               (bytes || a->real == FG_F32);
  size_t row = (size_t)a->count * (bytes ? 1 : fg_type_size(a->real));
  const void *from_host = (const char *)b->x + (size_t)b->place[0] * row;
  FG_TRY(check_range(a, b));
  if (!as_is) {
    FG_TRY(fg_stage_wait(a));
    from_host = a->stage;
  }
  for (int64_t s = 0; s < a->info.strip; s++) {
    char *to = (char *)a->stage + (size_t)s * row;
    int64_t from = s < b->n ? s : b->n - 1;
    a->index[s] = b->index[b->place[from]];
    if (as_is)
      continue;
    if (bytes)
      memcpy(to, (const uint8_t *)b->x + b->place[from] * a->count, row);
    else
      pack_reals(a, b, from, to);
  }
  FG_TRY(fg_upload(a, a->wire[bytes ? FG_WIRE_bytes : FG_WIRE_x0], from_host,
                   row * (size_t)a->info.strip));
  if (a->wire[FG_WIRE_index])
    FG_TRY(
        fg_upload(a, a->wire[FG_WIRE_index], a->index, (size_t)a->info.strip * sizeof *a->index));
  return bytes ? fg_pass_run(a, &a->dequantize, NULL, a->wire[FG_WIRE_x0]) : FGSM_OK;
}

fgsm_status fg_samples_restore(struct fg_attacker *a, const struct fg_batch *b, void *x) {
  size_t row = (size_t)a->count * fg_type_size(a->real);
  bool any = false;
  for (int64_t s = 0; s < b->n; s++)
    any |= (a->flags[s] & FGSM_FLAG_NONFINITE) != 0;
  if (!any || x == a->wire[FG_WIRE_x0])
    return FGSM_OK;
  FG_TRY(fg_stage_wait(a));
  FG_TRY(fg_download(a, x, row * (size_t)a->info.strip, a->stage));
  for (int64_t s = 0; s < b->n; s++)
    if (a->flags[s] & FGSM_FLAG_NONFINITE)
      pack_reals(a, b, s, (char *)a->stage + (size_t)s * row);
  return fg_upload(a, x, a->stage, row * (size_t)a->info.strip);
}

fgsm_status fg_samples_round(struct fg_attacker *a, const struct fg_batch *b, const void *x,
                             void *rounded) {
  double *values = a->stage;
  float *written = a->written;
  FG_TRY(fg_stage_wait(a));
  FG_TRY(fg_download(a, x, (size_t)(a->info.strip * a->count) * sizeof *values, values));
  for (int64_t s = 0; s < a->info.strip; s++)
    for (int64_t i = 0; i < a->count; i++) {
      int64_t at = s * a->count + i;
      double from = clean_value(a, b, s < b->n ? s : b->n - 1, i), to = values[at];
      float f = (float)to;
      if (fabs((double)f - from) > fabs(to - from))
        f = nextafterf(f, (float)from);
      written[at] = f;
      values[at] = f;
    }
  return fg_upload(a, rounded, values, (size_t)(a->info.strip * a->count) * sizeof *values);
}

fgsm_status fg_samples_fetch(struct fg_attacker *a, const void *x) {
  size_t n = (size_t)(a->info.strip * a->count);
  if (a->info.out_type == FG_U8)
    return fg_download(a, a->wire[FG_WIRE_bytes], n, a->written);
  return a->real == FG_F64 ? FGSM_OK : fg_download(a, x, n * sizeof(float), a->written);
}

/* How far two samples lie apart: the largest difference, and the sum of squares. */
struct distance {
  double most, squares;
};

/* Bytes differ by whole levels, which are summed exactly. */
static struct distance between_bytes(const uint8_t *from, const uint8_t *to, int64_t n) {
  int most = 0;
  uint64_t squares = 0;
  for (int64_t i = 0; i < n; i++) {
    int d = to[i] > from[i] ? to[i] - from[i] : from[i] - to[i];
    most = d > most ? d : most;
    squares += (uint32_t)(d * d);
  }
  return (struct distance){most / 255.0, (double)squares / (255.0 * 255.0)};
}

static struct distance between_values(const struct fg_attacker *a, const struct fg_batch *b,
                                      int64_t s) {
  bool bytes = a->info.out_type == FG_U8;
  struct distance all = {0};
  for (int64_t i = 0; i < a->count; i++) {
    int64_t at = s * a->count + i;
    double to = bytes ? ((const uint8_t *)a->written)[at] / 255.0 : ((const float *)a->written)[at];
    double d = fabs(to - clean_value(a, b, s, i));
    all.most = d > all.most ? d : all.most;
    all.squares += d * d;
  }
  return all;
}

void fg_samples_measure(const struct fg_attacker *a, const struct fg_batch *b, int64_t s,
                        double eps, fgsm_result *result) {
  bool bytes = a->info.out_type == FG_U8;
  bool bounded =
      bytes && a->shape.type == FG_F32 && a->info.spec.norm == FG_NORM_linf && a->info.spec.project;
  const struct distance apart =
      bytes && a->shape.type == FG_U8
          ? between_bytes((const uint8_t *)b->x + b->place[s] * a->count,
                          (const uint8_t *)a->written + s * a->count, a->count)
          : between_values(a, b, s);
  double linf = apart.most;
  result->linf = (float)linf;
  if ((double)result->linf > linf) /* rounded down: what keeps to eps must not read as more */
    result->linf = nextafterf(result->linf, 0);
  result->l2 = (float)sqrt(apart.squares);
  if (bounded && linf > eps + LATTICE_TOLERANCE)
    result->flags |= FGSM_FLAG_OFF_LATTICE;
}
