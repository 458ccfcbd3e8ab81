/* What a run is: its options but for those that change nothing of it, model and data. A checkpoint
 * belongs to one, and all ranks must be of the same. */
#include <stdlib.h>
#include <string.h>

#include "run.h"

/* Options that may change between a run and its resumption: where things are written and shown, and
 * what it is computed with. */
static bool is_free(const char *name) {
  static const char *const names[] = {"out",    "log",     "report",    "checkpoint",
                                      "resume", "json",    "quiet",     "config",
                                      "device", "threads", "max-memory"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(names[i], name) == 0)
      return true;
  return false;
}

bool fg_run_depends_on(const fgsm_option_info *row) {
  const char *at = strstr(row->commands, "train");
  return at && !is_free(row->name);
}

json_t *fg_run_options(const struct fg_run *run) {
  json_t *object = json_object();
  const fgsm_option_info *row;
  for (size_t i = 0; (row = fgsm_option_at(i)); i++) {
    const char *value = fgsm_options_get(run->options, row->name);
    if (fg_run_depends_on(row) && value)
      json_object_set_new(object, row->name, json_string(value));
  }
  return object;
}

fgsm_status fg_run_digest(struct fg_run *run) {
  const struct fg_feed *feed = &run->feed;
  char both[2][65];
  size_t n = (size_t)feed->n;
  FG_TRY(fg_sha256(feed->x, n * (size_t)feed->count * fg_type_size(feed->info.type), both[0]));
  FG_TRY(fg_sha256(feed->labels, n * sizeof *feed->labels, both[1]));
  return fg_sha256(both, sizeof both, run->data_sha256);
}

/* One digest of all of it. */
static fgsm_status fingerprint(const struct fg_run *run, char hex[65]) {
  json_t *object = json_pack("{s:o, s:s, s:s}", "options", fg_run_options(run), "model",
                             fg_onnx_sha256(run->onnx), "data", run->data_sha256);
  char *text = object ? json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
  json_decref(object);
  fgsm_status status = text ? fg_sha256(text, strlen(text), hex)
                            : FG_FAIL(MEMORY, "no memory for a run's fingerprint");
  free(text);
  return status;
}

fgsm_status fg_run_compare_ranks(const struct fg_run *run) {
  char own[65], first[65];
  FG_TRY(fingerprint(run, own));
  memcpy(first, own, sizeof first);
  FG_TRY(fg_ranks_broadcast(run->ranks, 0, first, sizeof first));
  return strcmp(own, first) == 0
             ? FGSM_OK
             : FG_FAIL(USAGE, "this rank has other options, another model or other data than rank "
                              "0; start all of them with the same command");
}
