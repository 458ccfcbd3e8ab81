/* See outputs.h. */
#include "outputs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PATH = 4096 };
static const char partial[] = "partial-";

/* One eps' files. */
struct output {
  char path[MAX_PATH];
  struct fg_sink *sink;
  struct fg_file *records, *manifest;
};

struct fg_outputs {
  struct fg_outputs_of of;
  struct output item[FG_MAX_EPS];
  const char *paths[FG_MAX_EPS];
  struct fg_text rows;
};

/* ---- names */

/* OUT, or with several eps OUT with the eps in its name. */
static fgsm_status name_output(const struct fg_outputs_of *of, int e, struct output *out) {
  const char *path = of->options->out;
  char infix[64];
  if (of->n_eps == 1) {
    if ((size_t)snprintf(out->path, sizeof out->path, "%s", path) >= sizeof out->path)
      return FG_FAIL(USAGE, "the output's path is too long");
    return FGSM_OK;
  }
  snprintf(infix, sizeof infix, "-eps%s", of->options->eps[e].text);
  for (char *c = infix; *c; c++)
    if (*c == '/')
      *c = '_';
  return fg_path_insert(path, infix, out->path, sizeof out->path);
}

static fgsm_status beside(const struct output *out, const char *suffix, char *path) {
  if ((size_t)snprintf(path, MAX_PATH, "%s%s", out->path, suffix) >= MAX_PATH)
    return FG_FAIL(USAGE, "the output's path is too long");
  return FGSM_OK;
}

static fgsm_status keep_apart(const struct fg_outputs_of *of, const char *path) {
  const struct fgsm_options *o = of->options;
  const char *const inputs[] = {of->data_path, of->model_path,
                                o->labels,     o->mask,
                                o->eps_map,    fg_job_target_file(o) ? o->target : NULL};
  for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
    if (inputs[i])
      FG_TRY(fg_job_keep_apart(path, inputs[i]));
  struct fg_feed_text feed;
  for (const char *list = o->feed; fg_feed_next(&list, &feed);) {
    char input[MAX_PATH];
    snprintf(input, sizeof input, "%.*s", feed.n_path, feed.path);
    FG_TRY(fg_job_keep_apart(path, input));
  }
  return FGSM_OK;
}

/* ---- opening and writing */

static fgsm_status open_text(const struct fg_outputs_of *of, const struct output *out,
                             const char *suffix, struct fg_file **file) {
  char path[MAX_PATH];
  FG_TRY(beside(out, suffix, path));
  FG_TRY(keep_apart(of, path));
  return fg_file_create(path, file);
}

static fgsm_status open_output(const struct fg_outputs_of *of, int e, struct output *out) {
  FG_TRY(name_output(of, e, out));
  FG_TRY(keep_apart(of, out->path));
  FG_TRY(fg_sink_open(out->path, &of->info, &out->sink));
  FG_TRY(fg_sink_check_apart(out->sink, of->dataset)); /* its labels file too */
  FG_TRY(open_text(of, out, ".records.csv", &out->records));
  FG_TRY(open_text(of, out, ".json", &out->manifest));
  struct fg_text head = {0};
  fg_records_head(&head, of->minimal);
  fgsm_status status = head.failed ? FG_FAIL(MEMORY, "no memory for the records")
                                   : fg_file_write(out->records, head.data, head.length);
  fg_text_free(&head);
  return status;
}

fgsm_status fg_outputs_open(const struct fg_outputs_of *of, struct fg_outputs **out) {
  struct fg_outputs *outputs = calloc(1, sizeof *outputs);
  if (!outputs)
    return FG_FAIL(MEMORY, "no memory for %d outputs", of->n_eps);
  outputs->of = *of;
  for (int e = 0; e < of->n_eps; e++) {
    fgsm_status status = open_output(of, e, &outputs->item[e]);
    if (status != FGSM_OK) {
      fg_outputs_close(outputs);
      return status;
    }
    outputs->paths[e] = outputs->item[e].path;
  }
  *out = outputs;
  return FGSM_OK;
}

fgsm_status fg_outputs_write(struct fg_outputs *outputs, int e, int64_t n, const void *x,
                             const int64_t *labels, const uint8_t *extra, const int64_t *index,
                             const fgsm_result *results) {
  struct output *out = &outputs->item[e];
  struct fg_text *rows = &outputs->rows;
  FG_TRY(fg_sink_write(out->sink, n, x, labels, extra));
  rows->length = 0;
  fg_records_add(rows, n, index, labels, results, outputs->of.minimal);
  if (rows->failed)
    return FG_FAIL(MEMORY, "no memory for the records of %lld samples", (long long)n);
  return fg_file_write(out->records, rows->data, rows->length);
}

const char *const *fg_outputs_paths(const struct fg_outputs *outputs) {
  return outputs->paths;
}

/* ---- completing */

static fgsm_status write_manifest(const struct fg_report *report, int e, struct fg_file *file) {
  char *json;
  FG_TRY(fg_report_manifest(report, e, &json));
  fgsm_status status = fg_file_write(file, json, strlen(json));
  if (status == FGSM_OK)
    status = fg_file_write(file, "\n", 1);
  free(json);
  return status;
}

fgsm_status fg_outputs_commit(struct fg_outputs *outputs, const struct fg_report *report) {
  for (int e = 0; e < outputs->of.n_eps; e++)
    FG_TRY(fg_sink_commit(outputs->item[e].sink));
  for (int e = 0; e < outputs->of.n_eps; e++)
    FG_TRY(fg_file_commit(outputs->item[e].records));
  for (int e = 0; e < outputs->of.n_eps; e++)
    FG_TRY(write_manifest(report, e, outputs->item[e].manifest));
  for (int e = 0; e < outputs->of.n_eps; e++)
    FG_TRY(fg_file_commit(outputs->item[e].manifest));
  return FGSM_OK;
}

/* The same name with `partial` before its last part. */
static fgsm_status rename_output(const struct fg_outputs_of *of, struct output *out) {
  char path[MAX_PATH];
  const char *slash = strrchr(out->path, '/'), *base = slash ? slash + 1 : out->path;
  if ((size_t)snprintf(path, sizeof path, "%.*s%s%s", (int)(base - out->path), out->path, partial,
                       base) >= sizeof path)
    return FG_FAIL(USAGE, "the output's path is too long");
  FG_TRY(keep_apart(of, path));
  strcpy(out->path, path);
  FG_TRY(fg_file_prefix(out->records, partial));
  return fg_file_prefix(out->manifest, partial);
}

fgsm_status fg_outputs_keep(struct fg_outputs *outputs, const struct fg_report *report) {
  for (int e = 0; e < outputs->of.n_eps; e++) {
    FG_TRY(rename_output(&outputs->of, &outputs->item[e]));
    FG_TRY(fg_sink_shorten(outputs->item[e].sink, partial));
  }
  return fg_outputs_commit(outputs, report);
}

void fg_outputs_close(struct fg_outputs *outputs) {
  if (!outputs)
    return;
  for (int e = outputs->of.n_eps; e-- > 0;) {
    fg_file_close(outputs->item[e].manifest);
    fg_file_close(outputs->item[e].records);
    fg_sink_close(outputs->item[e].sink);
  }
  fg_text_free(&outputs->rows);
  free(outputs);
}
