/* A dataset copied into another format: the reader and the writer without an attack between them. A
 * change of type goes through the unit range: bytes are fractions of 255. */
#include <math.h>
#include <stdlib.h>

#include "job.h"

enum { CHUNK_BYTES = 4 << 20 };

/* n values from one type to the other; FGSM_DATA where a float is no byte's value in 0..1. */
static fgsm_status convert(int64_t n, const void *from, enum fg_type type, void *to) {
  const uint8_t *bytes = from;
  const float *floats = from;
  for (int64_t i = 0; i < n; i++)
    if (type == FG_U8)
      ((float *)to)[i] = (float)bytes[i] / 255.0f;
    else if (floats[i] >= 0 && floats[i] <= 1)
      ((uint8_t *)to)[i] = (uint8_t)lrintf(255 * floats[i]);
    else
      return FG_FAIL(DATA, "the value %g does not fit a byte: only 0..1 does", (double)floats[i]);
  return FGSM_OK;
}

struct copy {
  struct fg_dataset *dataset;
  struct fg_sink *sink;
  void *x, *y; /* y: converted; NULL where the type stays */
  int64_t *labels;
  uint8_t *extra;
  int64_t chunk, values; /* samples at a time; values of one sample */
};

static fgsm_status copy_samples(struct copy *c, enum fg_type type, int64_t n) {
  for (int64_t done = 0, got; done < n; done += got) {
    int64_t want = n - done < c->chunk ? n - done : c->chunk;
    FG_TRY(fg_check_interrupt());
    FG_TRY(fg_dataset_read(c->dataset, want, c->x, c->labels, c->extra, &got));
    if (got < 1)
      return FG_FAIL(DATA, "the data ends after %lld of %lld samples", (long long)done,
                     (long long)n);
    if (c->y)
      FG_TRY(convert(got * c->values, c->x, type, c->y));
    FG_TRY(fg_sink_write(c->sink, got, c->y ? c->y : c->x, c->labels, c->extra));
  }
  return FGSM_OK;
}

static fgsm_status prepare(struct copy *c, const struct fg_dataset_info *info,
                           const struct fg_dataset_info *target) {
  int64_t bytes;
  c->values = 1;
  for (int i = 0; i < info->rank; i++)
    if (!fg_mul_ok(c->values, info->dim[i], &c->values))
      return FG_FAIL(DATA, "a sample has too many values");
  if (!fg_mul_ok(c->values, 4, &bytes))
    return FG_FAIL(DATA, "a sample has too many values");
  c->chunk = bytes && bytes < CHUNK_BYTES ? CHUNK_BYTES / bytes : 1;
  size_t n = (size_t)c->chunk, extra = (size_t)info->extra_bytes;
  c->x = malloc(n * (size_t)bytes + 1);
  c->labels = malloc(n * sizeof *c->labels);
  c->extra = malloc(n * extra + 1);
  if (target->type != info->type)
    c->y = malloc(n * (size_t)bytes + 1);
  if (!c->x || !c->labels || !c->extra || (target->type != info->type && !c->y))
    return FG_FAIL(MEMORY, "no memory for %lld samples of %lld values", (long long)c->chunk,
                   (long long)c->values);
  return FGSM_OK;
}

fgsm_status fg_job_convert(const char *data, const char *out, const struct fgsm_options *options,
                           int64_t *n) {
  struct copy c = {0};
  fgsm_status status = fg_dataset_open(data, options->labels, &c.dataset);
  if (status != FGSM_OK)
    return status;
  struct fg_dataset_info info = *fg_dataset_info(c.dataset), target = info;
  status = fg_dataset_range(data, &info, options->start, options->limit, &target.n);
  if (status != FGSM_OK)
    goto done;
  if (options->out_type[0])
    target.type = options->out_type[0] == 'u' ? FG_U8 : FG_F32;
  target.stored = target.type;
  status = prepare(&c, &info, &target);
  if (status == FGSM_OK)
    status = fg_dataset_seek(c.dataset, options->start);
  if (status == FGSM_OK)
    status = fg_sink_open(out, &target, &c.sink);
  if (status == FGSM_OK)
    status = fg_sink_check_apart(c.sink, c.dataset);
  if (status == FGSM_OK)
    status = copy_samples(&c, info.type, target.n);
  if (status == FGSM_OK)
    status = fg_sink_commit(c.sink);
  if (status == FGSM_OK && n)
    *n = target.n;
done:
  fg_sink_close(c.sink);
  free(c.y);
  free(c.extra);
  free(c.labels);
  free(c.x);
  fg_dataset_close(c.dataset);
  return status;
}
