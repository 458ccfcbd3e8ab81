/* Checkpoints. A file is
 *
 *   fgsm checkpoint 1 SHA256 HEADER-BYTES\n    the digest is of all that follows the line
 *   the header, JSON: what the run is (options, model, data), where it stands, its log, and the
 *     pieces with their sizes
 *   the pieces, one after the other, as they lie in memory
 *
 * It is written beside its name and renamed, so that a run that is killed at any moment leaves the
 * last whole one. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"

enum { LINE = 128 };

/* ---- writing */

static json_t *watch_json(const struct fg_watch *w) {
  return json_pack("{s:f, s:I, s:I, s:I, s:[I, I, I]}", "best", w->best, "bad", (json_int_t)w->bad,
                   "times", (json_int_t)w->times, "rollbacks", (json_int_t)w->rollbacks, "good",
                   (json_int_t)w->good.done, (json_int_t)w->good.steps,
                   (json_int_t)(w->good.pieces ? w->good.bytes : 0));
}

static json_t *pieces_json(const struct fg_run *run, size_t *bytes) {
  json_t *list = json_array();
  struct fg_engine_piece piece;
  *bytes = 0;
  for (int64_t i = 0; fg_engine_piece_at(run->engine, i, &piece); i++) {
    char kind[2] = {piece.kind, 0};
    json_array_append_new(list, json_pack("[s, s, I]", kind, piece.name, (json_int_t)piece.bytes));
    *bytes += piece.bytes;
  }
  return list;
}

static fgsm_status make_header(const struct fg_run *run, char **text, size_t *bytes) {
  const struct fg_epoch *e = &run->now;
  json_t *header = json_pack(
      "{s:o, s:s, s:s, s:I, s:I, s:f, s:{s:I, s:f, s:f, s:f, s:I, s:I}, s:O, s:o, s:o}", "options",
      fg_run_options(run), "model_sha256", fg_onnx_sha256(run->onnx), "data_sha256",
      run->data_sha256, "epochs", (json_int_t)run->done, "steps",
      (json_int_t)*fg_engine_steps(run->engine), "seconds", run->before + fg_now() - run->began,
      "now", "steps", (json_int_t)e->steps, "loss", e->loss, "rate", e->rate, "seconds", e->seconds,
      "clean", (json_int_t)e->clean, "adversarial", (json_int_t)e->adversarial, "lines", run->lines,
      "pieces", pieces_json(run, bytes), "watch", watch_json(&run->watch));
  *text = header ? json_dumps(header, JSON_COMPACT) : NULL;
  json_decref(header);
  return *text ? FGSM_OK : FG_FAIL(MEMORY, "no memory for a checkpoint");
}

/* Header and pieces in one block, which the caller frees. */
static fgsm_status gather(const struct fg_run *run, unsigned char **block, size_t *header,
                          size_t *bytes) {
  char *text = NULL;
  struct fg_engine_piece piece;
  const struct fg_snapshot *good = &run->watch.good;
  FG_TRY(make_header(run, &text, bytes));
  *header = strlen(text);
  *bytes += *header + (good->pieces ? good->bytes : 0);
  *block = malloc(*bytes + 1);
  fgsm_status status =
      *block ? FGSM_OK : FG_FAIL(MEMORY, "no memory for a checkpoint of %zu bytes", *bytes);
  if (*block)
    memcpy(*block, text, *header);
  free(text);
  unsigned char *at = *block + *header;
  for (int64_t i = 0; status == FGSM_OK && fg_engine_piece_at(run->engine, i, &piece); i++) {
    status = fg_engine_piece_read(run->engine, &piece, at);
    at += piece.bytes;
  }
  if (status == FGSM_OK && good->pieces)
    memcpy(at, good->pieces, good->bytes);
  if (status == FGSM_OK)
    return FGSM_OK;
  free(*block);
  *block = NULL;
  return status;
}

static fgsm_status write_block(const char *path, const unsigned char *block, size_t header,
                               size_t bytes) {
  char hex[65], line[LINE];
  struct fg_file *file = NULL;
  fgsm_status status = fg_sha256_whole(block, bytes, hex);
  if (status == FGSM_OK)
    status = fg_file_create(path, &file);
  int n = snprintf(line, sizeof line, "fgsm checkpoint 1 %s %zu\n", hex, header);
  if (status == FGSM_OK)
    status = fg_file_write(file, line, (size_t)n);
  if (status == FGSM_OK)
    status = fg_file_write(file, block, bytes);
  if (status == FGSM_OK)
    status = fg_file_commit(file);
  fg_file_close(file);
  return status;
}

fgsm_status fg_checkpoint_write(struct fg_run *run) {
  unsigned char *block = NULL;
  size_t header, bytes;
  if (!run->checkpoint)
    return FGSM_OK;
  FG_TRY(gather(run, &block, &header, &bytes));
  fgsm_status status = FGSM_OK;
  if (run->writes)
    status = write_block(run->checkpoint, block, header, bytes);
  free(block);
  return fg_run_settle(run, status);
}

/* ---- reading */

struct reading {
  const char *path;
  unsigned char *block; /* header, then pieces */
  size_t bytes, header_bytes;
  json_t *header;
};

static fgsm_status damaged(const struct reading *r) {
  return FG_FAIL(DATA, "%s: is no checkpoint of fgsm train, or is damaged", r->path);
}

static fgsm_status read_block(struct reading *r, FILE *file) {
  char line[LINE], hex[65], is[65];
  if (!fgets(line, sizeof line, file) ||
      sscanf(line, "fgsm checkpoint 1 %64[0-9a-f] %zu", hex, &r->header_bytes) != 2)
    return damaged(r);
  long from = ftell(file);
  if (fseek(file, 0, SEEK_END) != 0 || ftell(file) < from)
    return FG_FAIL(IO, "%s: %s", r->path, strerror(errno));
  r->bytes = (size_t)(ftell(file) - from);
  r->block = malloc(r->bytes + 1);
  if (!r->block)
    return FG_FAIL(MEMORY, "%s: no memory for its %zu bytes", r->path, r->bytes);
  if (fseek(file, from, SEEK_SET) != 0 || fread(r->block, 1, r->bytes, file) != r->bytes)
    return FG_FAIL(IO, "%s: cannot be read", r->path);
  FG_TRY(fg_sha256(r->block, r->bytes, is));
  if (strcmp(is, hex) != 0 || r->header_bytes > r->bytes)
    return damaged(r);
  return FGSM_OK;
}

static fgsm_status parse(struct reading *r) {
  r->header = json_loadb((const char *)r->block, r->header_bytes, 0, NULL);
  return json_is_object(r->header) ? FGSM_OK : damaged(r);
}

static fgsm_status same_run(const struct fg_run *run, const struct reading *r) {
  const fgsm_option_info *row;
  const json_t *options = json_object_get(r->header, "options");
  for (size_t i = 0; (row = fgsm_option_at(i)); i++) {
    const char *was = json_string_value(json_object_get(options, row->name));
    const char *is = fgsm_options_get(run->options, row->name);
    if (fg_run_depends_on(row) && strcmp(was ? was : "", is ? is : "") != 0)
      return FG_FAIL(USAGE, "--resume: --%s was %s where %s was written, and is %s now", row->name,
                     was ? was : "not given", r->path, is ? is : "not given");
  }
  const char *model = json_string_value(json_object_get(r->header, "model_sha256"));
  const char *was = json_string_value(json_object_get(r->header, "data_sha256"));
  if (!model || strcmp(model, fg_onnx_sha256(run->onnx)) != 0)
    return FG_FAIL(USAGE, "--resume: %s belongs to another model than %s", r->path,
                   run->model_path);
  if (!was || strcmp(was, run->data_sha256) != 0)
    return FG_FAIL(USAGE, "--resume: %s belongs to other data than %s", r->path, run->data_path);
  return FGSM_OK;
}

/* The pieces; *end is where they end. */
static fgsm_status restore_pieces(struct fg_run *run, const struct reading *r, size_t *end) {
  const json_t *list = json_object_get(r->header, "pieces");
  size_t at = r->header_bytes;
  int64_t i = 0;
  for (struct fg_engine_piece piece; fg_engine_piece_at(run->engine, i, &piece); i++) {
    const json_t *row = json_array_get(list, (size_t)i);
    const char *kind = json_string_value(json_array_get(row, 0));
    const char *name = json_string_value(json_array_get(row, 1));
    if (!kind || !name || kind[0] != piece.kind || strcmp(name, piece.name) != 0)
      return damaged(r);
    if ((size_t)json_integer_value(json_array_get(row, 2)) != piece.bytes)
      return FG_FAIL(USAGE,
                     "--resume: %s holds '%s' in another precision: use the device that it was "
                     "written on",
                     r->path, name);
    if (piece.bytes > r->bytes - at)
      return damaged(r);
    FG_TRY(fg_engine_piece_write(run->engine, &piece, r->block + at));
    at += piece.bytes;
  }
  *end = at;
  return (size_t)i == json_array_size(list) ? FGSM_OK : damaged(r);
}

/* What is known of overfitting, and the snapshot that lies behind the pieces. */
static fgsm_status restore_watch(struct fg_run *run, const struct reading *r, size_t at) {
  struct fg_watch *w = &run->watch;
  json_int_t bad, times, rollbacks, done, steps, bytes;
  if (json_unpack(r->header, "{s:{s:F, s:I, s:I, s:I, s:[I, I, I]}}", "watch", "best", &w->best,
                  "bad", &bad, "times", &times, "rollbacks", &rollbacks, "good", &done, &steps,
                  &bytes) != 0 ||
      rollbacks < 0 || rollbacks > FG_CAUTION_MOST || bytes < 0 || (size_t)bytes != r->bytes - at ||
      (bytes > 0 && (size_t)bytes != at - r->header_bytes))
    return damaged(r);
  w->bad = bad;
  w->times = times;
  w->rollbacks = rollbacks;
  w->good = (struct fg_snapshot){.done = done, .steps = steps, .bytes = (size_t)bytes};
  if (bytes > 0 && !(w->good.pieces = malloc((size_t)bytes)))
    return FG_FAIL(MEMORY, "%s: no memory for its %zu bytes", r->path, r->bytes);
  if (bytes > 0)
    memcpy(w->good.pieces, r->block + at, (size_t)bytes);
  return FGSM_OK;
}

static fgsm_status restore(struct fg_run *run, const struct reading *r) {
  json_int_t done, steps, now_steps, clean, adversarial;
  struct fg_epoch *e = &run->now;
  json_t *lines = NULL;
  *e = (struct fg_epoch){.valid_clean = NAN, .valid_robust = NAN};
  if (json_unpack(r->header, "{s:I, s:I, s:F, s:{s:I, s:F, s:F, s:F, s:I, s:I}, s:o}", "epochs",
                  &done, "steps", &steps, "seconds", &run->before, "now", "steps", &now_steps,
                  "loss", &e->loss, "rate", &e->rate, "seconds", &e->seconds, "clean", &clean,
                  "adversarial", &adversarial, "lines", &lines) != 0 ||
      !json_is_array(lines) || done < 0 || done > run->options->epochs || now_steps < 0 ||
      now_steps > run->per_epoch)
    return damaged(r);
  size_t at;
  FG_TRY(restore_pieces(run, r, &at));
  FG_TRY(restore_watch(run, r, at));
  run->done = done;
  e->steps = now_steps;
  e->clean = clean;
  e->adversarial = adversarial;
  *fg_engine_steps(run->engine) = steps;
  json_decref(run->lines);
  run->lines = json_incref(lines);
  return FGSM_OK;
}

static fgsm_status read_file(struct reading *r) {
  FILE *file = fopen(r->path, "rb");
  if (!file)
    return errno == ENOENT ? FGSM_OK : FG_FAIL(IO, "%s: %s", r->path, strerror(errno));
  fgsm_status status = read_block(r, file);
  (void)fclose(file);
  return status;
}

/* What rank 0 has read, to all: the others may be on machines that do not have the file. */
static fgsm_status share(struct fg_ranks *ranks, struct reading *r) {
  int64_t sizes[2] = {(int64_t)r->bytes, (int64_t)r->header_bytes};
  FG_TRY(fg_ranks_broadcast(ranks, 0, sizes, sizeof sizes));
  r->bytes = (size_t)sizes[0];
  r->header_bytes = (size_t)sizes[1];
  if (!r->block && !(r->block = malloc(r->bytes + 1)))
    return FG_FAIL(MEMORY, "%s: no memory for its %zu bytes", r->path, r->bytes);
  return fg_ranks_broadcast(ranks, 0, r->block, r->bytes);
}

fgsm_status fg_checkpoint_read(struct fg_run *run, bool *found) {
  struct reading r = {.path = run->checkpoint};
  fgsm_status status = run->writes ? read_file(&r) : FGSM_OK;
  if (status == FGSM_OK)
    status = share(run->ranks, &r);
  *found = r.bytes > 0;
  if (status == FGSM_OK && *found)
    status = parse(&r);
  if (status == FGSM_OK && *found)
    status = same_run(run, &r);
  if (status == FGSM_OK && *found)
    status = restore(run, &r);
  json_decref(r.header);
  free(r.block);
  return status;
}
