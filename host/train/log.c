/* What is said of a run: a line of JSON per event, and the answer at its end. The log's file is
 * written whole at every line, so that it is never half a line, and a resumed run continues it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"

json_t *fg_run_number(double v) {
  return isfinite(v) ? json_real(v) : json_null();
}

/* The share of the epoch's samples; null where they were not looked at. */
static json_t *share(const struct fg_run *run, int64_t right) {
  return fg_run_number(right < 0 ? NAN : (double)right / (double)(run->now.steps * run->batch));
}

json_t *fg_run_epoch_line(const struct fg_run *run) {
  const struct fg_epoch *e = &run->now;
  const struct fg_loss_scale *scale = fg_engine_scale(run->engine);
  json_t *line =
      json_pack("{s:s, s:I, s:f, s:f, s:o, s:o, s:o, s:o, s:f}", "event", "epoch", "epoch",
                (json_int_t)run->done + 1, "loss", e->loss / (double)e->steps, "learning_rate",
                e->rate, "train_clean_accuracy", share(run, e->clean), "train_robust_accuracy",
                share(run, e->adversarial), "clean_accuracy", fg_run_number(e->valid_clean),
                "robust_accuracy", fg_run_number(e->valid_robust), "seconds", e->seconds);
  if (line && scale) {
    json_object_set_new(line, "loss_scale", json_real(scale->scale));
    json_object_set_new(line, "skipped_steps", json_integer((json_int_t)scale->skipped));
  }
  return line;
}

void fg_run_last_judged(const struct fg_run *run, double *clean, double *robust) {
  *clean = *robust = NAN;
  for (size_t i = json_array_size(run->lines); i > 0; i--) {
    const json_t *line = json_array_get(run->lines, i - 1);
    const json_t *c = json_object_get(line, "clean_accuracy");
    const json_t *r = json_object_get(line, "robust_accuracy");
    if (strcmp(json_string_value(json_object_get(line, "event")), "epoch") != 0)
      continue;
    *clean = json_is_number(c) ? json_number_value(c) : NAN;
    *robust = json_is_number(r) ? json_number_value(r) : NAN;
    return;
  }
}

static fgsm_status write_lines(struct fg_file *file, const json_t *lines) {
  size_t i;
  json_t *line;
  json_array_foreach(lines, i, line) {
    char *text = json_dumps(line, JSON_COMPACT);
    fgsm_status status = text ? fg_file_write(file, text, strlen(text))
                              : FG_FAIL(MEMORY, "no memory for a line of the log");
    free(text);
    FG_TRY(status);
    FG_TRY(fg_file_write(file, "\n", 1));
  }
  return fg_file_commit(file);
}

static fgsm_status write_log(const char *path, const json_t *lines) {
  struct fg_file *file;
  FG_TRY(fg_file_create(path, &file));
  fgsm_status status = write_lines(file, lines);
  fg_file_close(file);
  return status;
}

fgsm_status fg_run_log(struct fg_run *run, json_t *line) {
  if (!line || json_array_append_new(run->lines, line) != 0)
    return FG_FAIL(MEMORY, "no memory for a line of the log");
  if (!run->options->log)
    return FGSM_OK;
  fgsm_status status = FGSM_OK;
  if (run->writes)
    status = write_log(run->options->log, run->lines);
  return fg_run_settle(run, status);
}

fgsm_status fg_run_answer(const struct fg_run *run, char **json) {
  if (!json || !run->writes)
    return FGSM_OK;
  const struct fg_watch *w = &run->watch;
  json_t *epochs = json_array(), *line;
  const json_t *last = NULL;
  double trained = 0;
  size_t i;
  json_array_foreach(run->lines, i, line) {
    if (strcmp(json_string_value(json_object_get(line, "event")), "epoch") != 0)
      continue;
    trained += json_number_value(json_object_get(line, "seconds"));
    (void)json_array_append(epochs, line);
    last = line;
  }
  double seen = (double)(run->done * run->per_epoch * run->batch);
  json_t *object = json_pack(
      "{s:s, s:s, s:s, s:f, s:I, s:I, s:i, s:I, s:I, s:O, s:O, s:f, s:f, s:f, s:o, s:{s:b, s:I, "
      "s:I}}",
      "model", run->model_path, "data", run->data_path, "method", run->spec.method.name, "eps",
      run->spec.eps, "epochs", (json_int_t)run->done, "batch", (json_int_t)run->batch, "ranks",
      fg_ranks_size(run->ranks), "train_samples", (json_int_t)run->feed.n_train,
      "validation_samples", (json_int_t)(run->feed.n - run->feed.n_train), "clean_accuracy",
      json_object_get(last, "clean_accuracy"), "robust_accuracy",
      json_object_get(last, "robust_accuracy"), "seconds", run->before + fg_now() - run->began,
      "train_seconds", trained, "samples_per_second", seen / (trained > 0 ? trained : 1e-9),
      "history", epochs, "overfitting", "at_the_end", fg_watch_is_overfit(w), "times",
      (json_int_t)w->times, "rollbacks", (json_int_t)w->rollbacks);
  *json = object ? json_dumps(object, JSON_INDENT(2)) : NULL;
  json_decref(object);
  return *json ? FGSM_OK
               : FG_FAIL(MEMORY, "no memory for the result, or a path in it is not UTF-8");
}
