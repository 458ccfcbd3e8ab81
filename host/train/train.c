/* Epochs. A step is the engine's; here are the order of the data, the learning rate, the look at
 * what was held out after every epoch, and what is written. The look is an attack on the model as it
 * would be written, by the same code as `fgsm attack`. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "device.h"
#include "train.h"

struct epoch {
  double loss, rate, seconds;
  int64_t seen, clean, adversarial; /* right while training; -1: not looked at */
  double valid_clean, valid_robust; /* accuracies on what was held out; NaN: nothing was */
};

struct training {
  const struct fg_onnx *onnx;
  const char *model_path, *data_path;
  const struct fgsm_options *options;
  fgsm_train_progress_fn progress;
  void *user;
  struct fg_device_choice devices;
  struct fg_feed feed;
  struct fg_engine_spec spec;
  struct fg_schedule schedule;
  struct fg_engine *engine;
  int64_t batch, per_epoch; /* samples of a step, steps of an epoch */
  void *x;
  int64_t *labels, *index;
  struct epoch *epochs; /* options->epochs */
  int64_t done;
  struct fg_file *log;
  double began;
};

/* ---- judging */

/* The options of the attack that judges: as the user's, but for the attack. */
static fgsm_status judge_options(const struct training *t, const char *attack, int steps,
                                 fgsm_options **out) {
  static const char *const shared[] = {"eps",    "mean",    "std",    "scale",
                                       "clip",   "input",   "output", "data-layout",
                                       "device", "threads", "seed"};
  fgsm_options *o = NULL;
  char text[16];
  FG_TRY(fgsm_options_create(&o));
  fgsm_status status = fgsm_options_set(o, "attack", attack);
  for (size_t i = 0; i < sizeof shared / sizeof *shared && status == FGSM_OK; i++) {
    if (fg_options_given(t->options, shared[i]))
      status = fgsm_options_set(o, shared[i], fgsm_options_get(t->options, shared[i]));
  }
  if (status == FGSM_OK && !o->n_eps)
    status = fgsm_options_set(o, "eps", "0");
  snprintf(text, sizeof text, "%d", steps);
  if (status == FGSM_OK && steps > 0)
    status = fgsm_options_set(o, "steps", text);
  if (status != FGSM_OK) {
    fgsm_options_destroy(o);
    return status;
  }
  *out = o;
  return FGSM_OK;
}

/* Attacks what was held out, with the weights as they are. */
static fgsm_status judge(const struct training *t, const struct fg_onnx *model, double *clean,
                         double *robust) {
  int64_t n = t->feed.n - t->feed.n_train, from = t->feed.n_train, right = 0, standing = 0;
  size_t bytes = (size_t)t->feed.count * fg_type_size(t->feed.info.type);
  struct fg_attacker *attacker = NULL;
  struct fg_device *device;
  fgsm_options *options = NULL;
  fgsm_result *results = calloc((size_t)n + 1, sizeof *results);
  int64_t *index = calloc((size_t)n + 1, sizeof *index);
  fgsm_status status =
      results && index ? FGSM_OK : FG_FAIL(MEMORY, "no memory for %lld results", (long long)n);
  for (int64_t i = 0; status == FGSM_OK && i < n; i++)
    index[i] = from + i;
  if (status == FGSM_OK)
    status = judge_options(t, "pgd", t->options->eval_steps, &options);
  if (status == FGSM_OK)
    status = fg_device_open(&t->devices, 0, options, &device);
  if (status == FGSM_OK)
    status = fg_attacker_create(model, options, device, &t->feed.shape, NULL, t->batch, &attacker);
  if (status == FGSM_OK)
    status = fg_attacker_run(attacker, n, t->feed.x + (size_t)from * bytes, t->feed.labels + from,
                             NULL, index, (void *[]){NULL}, (fgsm_result *[]){results});
  for (int64_t i = 0; status == FGSM_OK && i < n; i++) {
    right += results[i].clean_prediction == t->feed.labels[from + i];
    standing += results[i].adversarial_prediction == t->feed.labels[from + i];
  }
  *clean = (double)right / (double)n;
  *robust = t->options->n_eps ? (double)standing / (double)n : NAN;
  fg_attacker_destroy(attacker);
  fgsm_options_destroy(options);
  free(index);
  free(results);
  return status;
}

/* ---- an epoch */

static void show(const struct training *t, const struct epoch *e, int64_t step) {
  double seen = (double)e->seen;
  if (!t->progress)
    return;
  fgsm_train_progress p = {.epoch = t->done + 1,
                           .epochs = t->options->epochs,
                           .step = step,
                           .steps = t->per_epoch,
                           .seconds = fg_now() - t->began,
                           .samples_per_second = seen / (e->seconds > 0 ? e->seconds : 1e-9),
                           .loss = e->loss / (double)step,
                           .clean_accuracy = e->clean < 0 ? NAN : (double)e->clean / seen,
                           .robust_accuracy =
                               e->adversarial < 0 ? NAN : (double)e->adversarial / seen};
  t->progress(t->user, &p);
}

static fgsm_status run_epoch(struct training *t, struct epoch *e) {
  const struct fg_method *m = &t->spec.method;
  int64_t steps = t->options->epochs * t->per_epoch;
  double began = fg_now();
  *e = (struct epoch){.clean = m->clean_share > 0 ? 0 : -1,
                      .adversarial = m->clean_share < 1 ? 0 : -1,
                      .valid_clean = NAN,
                      .valid_robust = NAN};
  fg_feed_shuffle(&t->feed, t->done);
  for (int64_t s = 0; s < t->per_epoch; s++) {
    struct fg_train_batch batch = {t->x, t->labels, t->index};
    struct fg_train_losses losses;
    e->rate = fg_schedule_rate(&t->schedule, t->done * t->per_epoch + s, steps);
    fg_feed_batch(&t->feed, s * t->batch, t->batch, t->x, t->labels, t->index);
    FG_TRY(fg_engine_step(t->engine, &batch, e->rate, (uint32_t)t->done, &losses));
    if (!isfinite(losses.loss))
      return FG_FAIL(
          CHECK,
          "epoch %lld, step %lld: the loss is not a number; a lower --lr, --clip-norm or "
          "--lr-warmup may help",
          (long long)t->done + 1, (long long)s + 1);
    e->loss += losses.loss;
    e->seen += t->batch;
    e->clean += losses.clean >= 0 ? losses.clean : 0;
    e->adversarial += losses.adversarial >= 0 ? losses.adversarial : 0;
    e->seconds = fg_now() - began;
    show(t, e, s + 1);
  }
  e->loss /= (double)t->per_epoch;
  return FGSM_OK;
}

/* ---- what is said */

static json_t *share_or_null(double v) {
  return isfinite(v) ? json_real(v) : json_null();
}

static json_t *epoch_json(const struct training *t, const struct epoch *e, int64_t number) {
  double seen = (double)e->seen;
  (void)t;
  return json_pack("{s:I, s:f, s:f, s:o, s:o, s:o, s:o, s:f}", "epoch", (json_int_t)number + 1,
                   "loss", e->loss, "learning_rate", e->rate, "train_clean_accuracy",
                   share_or_null(e->clean < 0 ? NAN : (double)e->clean / seen),
                   "train_robust_accuracy",
                   share_or_null(e->adversarial < 0 ? NAN : (double)e->adversarial / seen),
                   "clean_accuracy", share_or_null(e->valid_clean), "robust_accuracy",
                   share_or_null(e->valid_robust), "seconds", e->seconds);
}

static fgsm_status write_log(struct training *t, const struct epoch *e) {
  if (!t->log)
    return FGSM_OK;
  json_t *object = epoch_json(t, e, t->done);
  char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
  json_decref(object);
  fgsm_status status = text ? fg_file_write(t->log, text, strlen(text))
                            : FG_FAIL(MEMORY, "no memory for a line of the log");
  if (status == FGSM_OK)
    status = fg_file_write(t->log, "\n", 1);
  free(text);
  return status;
}

static fgsm_status answer(const struct training *t, char **json) {
  const struct epoch *last = &t->epochs[t->done - 1];
  json_t *epochs = json_array();
  double seconds = fg_now() - t->began, trained = 0;
  if (!json)
    return json_decref(epochs), FGSM_OK;
  for (int64_t i = 0; i < t->done; i++) {
    trained += t->epochs[i].seconds;
    (void)json_array_append_new(epochs, epoch_json(t, &t->epochs[i], i));
  }
  double seen = (double)(t->done * t->per_epoch * t->batch);
  json_t *object = json_pack(
      "{s:s, s:s, s:s, s:f, s:I, s:I, s:I, s:I, s:o, s:o, s:f, s:f, s:f, s:o}", "model",
      t->model_path, "data", t->data_path, "method", t->spec.method.name, "eps", t->spec.eps,
      "epochs", (json_int_t)t->done, "batch", (json_int_t)t->batch, "train_samples",
      (json_int_t)t->feed.n_train, "validation_samples", (json_int_t)(t->feed.n - t->feed.n_train),
      "clean_accuracy", share_or_null(last->valid_clean), "robust_accuracy",
      share_or_null(last->valid_robust), "seconds", seconds, "train_seconds", trained,
      "samples_per_second", seen / (trained > 0 ? trained : 1e-9), "history", epochs);
  *json = object ? json_dumps(object, JSON_INDENT(2)) : NULL;
  json_decref(object);
  return *json ? FGSM_OK
               : FG_FAIL(MEMORY, "no memory for the result, or a path in it is not UTF-8");
}

/* ---- the whole */

/* What is written must not be what is read. */
static fgsm_status keep_apart(const struct training *t) {
  const struct fgsm_options *o = t->options;
  const char *const written[] = {o->out, o->log};
  for (int i = 0; i < 2; i++)
    if (written[i] &&
        (fg_path_same(written[i], t->model_path) || fg_path_same(written[i], t->data_path)))
      return FG_FAIL(USAGE, "%s: is read by this training, and cannot be written", written[i]);
  return FGSM_OK;
}

static fgsm_status begin(struct training *t) {
  const struct fgsm_options *o = t->options;
  struct fg_device *device;
  if (o->epochs < 1)
    return FG_FAIL(USAGE, "--epochs: at least one");
  FG_TRY(keep_apart(t));
  FG_TRY(fg_device_choose(o->device, &t->devices));
  if (t->devices.n > 1)
    return FG_FAIL(USAGE, "--device %s: training takes one device, not %d", o->device,
                   t->devices.n);
  FG_TRY(fg_feed_open(t->data_path, o, &t->feed));
  FG_TRY(fg_engine_spec_resolve(o, t->feed.info.type, &t->spec));
  FG_TRY(fg_schedule_parse(o, &t->schedule));
  int64_t wanted = o->batch < t->feed.n_train ? o->batch : t->feed.n_train;
  FG_TRY(fg_attack_batch(t->onnx, o, &t->feed.shape, wanted, &t->batch));
  if (t->batch > t->feed.n_train)
    return FG_FAIL(DATA,
                   "the model fixes its batch at %lld, and there are %lld samples to train on",
                   (long long)t->batch, (long long)t->feed.n_train);
  t->per_epoch = t->feed.n_train / t->batch;
  FG_TRY(fg_device_open(&t->devices, 0, o, &device));
  FG_TRY(fg_engine_create(t->onnx, o, &t->spec, device, &t->feed.shape, t->batch, &t->engine));
  if (strcmp(o->init, "keep") != 0)
    FG_TRY(fg_weights_init(fg_engine_weights(t->engine), o->init, o->seed));
  size_t n = (size_t)t->batch, bytes = (size_t)t->feed.count * fg_type_size(t->feed.info.type);
  t->x = malloc(n * bytes + 1);
  t->labels = malloc(n * sizeof *t->labels);
  t->index = malloc(n * sizeof *t->index);
  t->epochs = calloc((size_t)o->epochs, sizeof *t->epochs);
  if (!t->x || !t->labels || !t->index || !t->epochs)
    return FG_FAIL(MEMORY, "no memory for a batch of %zu samples", n);
  return o->log ? fg_file_create(o->log, &t->log) : FGSM_OK;
}

static fgsm_status run(struct training *t) {
  bool average = t->spec.average_decay > 0;
  struct fg_onnx *model = NULL;
  fgsm_status status = FGSM_OK;
  while (t->done < t->options->epochs && status == FGSM_OK) {
    struct epoch *e = &t->epochs[t->done];
    status = run_epoch(t, e);
    fg_onnx_close(model);
    model = NULL;
    if (status == FGSM_OK)
      status = fg_engine_export(t->engine, t->onnx, average, &model);
    if (status == FGSM_OK && t->feed.n > t->feed.n_train)
      status = judge(t, model, &e->valid_clean, &e->valid_robust);
    if (status == FGSM_OK)
      status = write_log(t, e);
    t->done += status == FGSM_OK;
  }
  if (status == FGSM_OK && t->options->out)
    status = fg_onnx_write(model, t->options->out, 0, NULL, NULL);
  fg_onnx_close(model);
  return status;
}

fgsm_status fg_train(const struct fg_onnx *onnx, const char *model_path, const char *data,
                     const struct fgsm_options *options, fgsm_train_progress_fn progress,
                     void *user, char **json) {
  struct training t = {.onnx = onnx,
                       .model_path = model_path,
                       .data_path = data,
                       .options = options,
                       .progress = progress,
                       .user = user,
                       .began = fg_now()};
  if (json)
    *json = NULL;
  fgsm_status status = begin(&t);
  if (status == FGSM_OK)
    status = run(&t);
  if (status == FGSM_OK && t.log)
    status = fg_file_commit(t.log);
  if (status == FGSM_OK)
    status = answer(&t, json);
  fg_file_close(t.log);
  fg_engine_destroy(t.engine);
  fg_feed_close(&t.feed);
  free(t.epochs);
  free(t.index);
  free(t.labels);
  free(t.x);
  return status;
}
