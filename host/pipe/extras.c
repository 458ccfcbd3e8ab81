/* What options name by path or number, checked once for every job: arrays per feature, targets, the
 * range of samples, and that no output is one of the inputs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "job.h"

static fgsm_status load_array(const char *path, size_t most, void **out, int64_t *n) {
  int rank;
  int64_t dim[FG_MAX_RANK];
  FG_TRY(fg_npy_load_within(path, most, FG_F32, &rank, dim, out));
  *n = 1;
  for (int i = 0; i < rank; i++)
    *n *= dim[i];
  const float *values = *out;
  for (int64_t i = 0; i < *n; i++)
    if (!isfinite(values[i]))
      return FG_FAIL(DATA, "%s: value %lld is not a finite number", path, (long long)i);
  return FGSM_OK;
}

static fgsm_status load_feed(const struct fg_feed_text *text, size_t most, struct fg_extras *x) {
  struct fg_attack_feed *feed = &x->feeds[x->arrays.n_feeds];
  char *name = strndup(text->name, (size_t)text->n_name);
  char *path = strndup(text->path, (size_t)text->n_path);
  void *data = NULL;
  fgsm_status status = name && path
                           ? fg_npy_load_within(path, most, FG_F64, &feed->rank, feed->dim, &data)
                           : FG_FAIL(MEMORY, "no memory for an option");
  free(path);
  if (status != FGSM_OK) {
    free(name);
    return status;
  }
  feed->name = name;
  feed->data = data;
  x->arrays.n_feeds++;
  return FGSM_OK;
}

static fgsm_status load_feeds(const char *list, size_t most, struct fg_extras *x) {
  struct fg_feed_text text;
  x->arrays.feeds = x->feeds = calloc(FG_MAX_FEEDS, sizeof *x->feeds);
  if (!x->feeds)
    return FG_FAIL(MEMORY, "no memory for an option");
  while (fg_feed_next(&list, &text))
    FG_TRY(load_feed(&text, most, x));
  return FGSM_OK;
}

fgsm_status fg_extras_load(const struct fgsm_options *options, struct fg_extras *out) {
  struct fg_extras x = {0};
  fgsm_status status = FGSM_OK;
  size_t most = fg_options_memory(options) / 4; /* of each: the rest is for the model */
  if (options->eps_map)
    status = load_array(options->eps_map, most, &x.eps_map, &x.arrays.n_eps_map);
  const float *eps = x.eps_map;
  for (int64_t i = 0; status == FGSM_OK && i < x.arrays.n_eps_map; i++)
    if (eps[i] < 0)
      status = FG_FAIL(DATA, "%s: eps %lld is negative", options->eps_map, (long long)i);
  if (status == FGSM_OK && options->mask)
    status = load_array(options->mask, most, &x.mask, &x.arrays.n_mask);
  if (status == FGSM_OK && options->feed)
    status = load_feeds(options->feed, most, &x);
  x.arrays.eps_map = x.eps_map;
  x.arrays.mask = x.mask;
  if (status == FGSM_OK)
    *out = x;
  else
    fg_extras_free(&x);
  return status;
}

size_t fg_extras_bytes(const struct fg_extras *extras) {
  size_t bytes = (size_t)(extras->arrays.n_eps_map + extras->arrays.n_mask) * sizeof(float);
  for (int i = 0; i < extras->arrays.n_feeds; i++) {
    size_t n = sizeof(double);
    for (int k = 0; k < extras->feeds[i].rank; k++)
      n *= (size_t)extras->feeds[i].dim[k];
    bytes += n;
  }
  return bytes;
}

void fg_extras_free(struct fg_extras *extras) {
  free(extras->eps_map);
  free(extras->mask);
  for (int i = 0; i < extras->arrays.n_feeds; i++) {
    free((void *)(uintptr_t)extras->feeds[i].name);
    free((void *)(uintptr_t)extras->feeds[i].data);
  }
  free(extras->feeds);
  *extras = (struct fg_extras){0};
}

bool fg_job_target_file(const struct fgsm_options *options) {
  const char *target = options->target;
  return target && strcmp(target, "least-likely") != 0 &&
         strspn(target, "0123456789") != strlen(target);
}

fgsm_status fg_job_keep_apart(const char *out, const char *input) {
  char path[4096];
  bool same = fg_path_same(out, input);
  for (const char *part = input; part && !same;) {
    size_t n = strcspn(part, ",");
    if (n < sizeof path) {
      memcpy(path, part, n);
      path[n] = 0;
      same = fg_path_same(out, path);
    }
    part = part[n] ? part + n + 1 : NULL;
  }
  return same ? FG_FAIL(USAGE, "%s is read and cannot be written too; choose another output", out)
              : FGSM_OK;
}
