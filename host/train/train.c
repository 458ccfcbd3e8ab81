/* Epochs. A step is the engine's; here are the order of the data, the learning rate, the look at
 * what was held out after every epoch, and what is written when. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch.h"
#include "run.h"

/* ---- an epoch */

static void begin_epoch(struct fg_run *run) {
  run->now = (struct fg_epoch){.valid_clean = NAN, .valid_robust = NAN};
}

static void show(const struct fg_run *run) {
  const struct fg_epoch *e = &run->now;
  double seen = (double)(e->steps * run->batch);
  if (!run->progress)
    return;
  fgsm_train_progress p = {.epoch = run->done + 1,
                           .epochs = run->options->epochs,
                           .step = e->steps,
                           .steps = run->per_epoch,
                           .seconds = run->before + fg_now() - run->began,
                           .samples_per_second = seen / (e->seconds > 0 ? e->seconds : 1e-9),
                           .loss = e->loss / (double)e->steps,
                           .clean_accuracy = e->clean < 0 ? NAN : (double)e->clean / seen,
                           .robust_accuracy =
                               e->adversarial < 0 ? NAN : (double)e->adversarial / seen};
  fg_run_last_judged(run, &p.held_clean_accuracy, &p.held_robust_accuracy);
  run->progress(run->user, &p);
}

/* The loss was not a number: says where that began, and what is left. */
static fgsm_status give_up(struct fg_run *run, const struct fg_train_losses *losses) {
  char first[200], kept[512] = "";
  /* By all ranks: batch statistics are of all of them. */
  FG_TRY(fg_engine_diagnose(run->engine, run->onnx, run->options, first, sizeof first));
  if (isfinite(losses->own))
    snprintf(first, sizeof first, "on another rank");
  if (run->checkpoint && run->done > 0)
    snprintf(kept, sizeof kept, "; the end of epoch %lld is kept in %.400s", (long long)run->done,
             run->checkpoint);
  return FG_FAIL(
      CHECK,
      "epoch %lld, step %lld: the loss is not a number, and the first that is not finite "
      "is %s; a lower --lr, --clip-norm or --lr-warmup may help%s",
      (long long)run->done + 1, (long long)run->now.steps + 1, first, kept);
}

static fgsm_status step(struct fg_run *run) {
  struct fg_epoch *e = &run->now;
  struct fg_train_batch batch = {run->x, run->labels, run->index};
  struct fg_train_losses losses;
  double began = fg_now();
  e->rate = fg_schedule_rate(&run->schedule, run->done * run->per_epoch + e->steps,
                             run->options->epochs * run->per_epoch);
  fg_feed_batch(&run->feed, e->steps * run->batch + fg_ranks_rank(run->ranks) * run->part,
                run->part, run->spec.resident ? NULL : run->x, run->labels, run->index);
  fg_engine_cautious(run->engine, fg_watch_caution(run));
  FG_TRY(fg_engine_step(run->engine, &batch, e->rate, (uint32_t)run->done, &losses));
  if (!isfinite(losses.loss))
    return give_up(run, &losses);
  e->loss += losses.loss;
  e->clean = losses.clean < 0 ? -1 : e->clean + losses.clean;
  e->adversarial = losses.adversarial < 0 ? -1 : e->adversarial + losses.adversarial;
  e->steps++;
  e->seconds += fg_now() - began;
  show(run);
  return FGSM_OK;
}

/* The rest of the running epoch's steps. *back, *stop: as fg_watch_act. */
static fgsm_status run_steps(struct fg_run *run, bool *back, bool *stop) {
  fg_feed_shuffle(&run->feed, run->done);
  *back = *stop = false;
  while (run->now.steps < run->per_epoch && !*back) {
    FG_TRY(fg_run_check_interrupt(run));
    FG_TRY(step(run));
    if (fg_watch_is_due(run)) {
      FG_TRY(fg_watch_look(run));
      FG_TRY(fg_watch_act(run, back, stop));
    }
  }
  return FGSM_OK;
}

/* Judges the epoch that has come to its end, and keeps it. */
static fgsm_status end_epoch(struct fg_run *run) {
  struct fg_epoch *e = &run->now;
  int64_t held = run->feed.n - run->feed.n_train;
  struct fg_onnx *model = NULL;
  fgsm_status status = FGSM_OK;
  if (held > 0) {
    bool average = run->spec.average_decay > 0;
    status = fg_run_agree(run, fg_engine_export(run->engine, run->onnx, average, &model));
    if (status == FGSM_OK)
      status = fg_run_judge(run, model, run->feed.n_train, held, run->options->eval_steps,
                            &e->valid_clean, &e->valid_robust);
    fg_onnx_close(model);
  }
  if (status == FGSM_OK)
    status = fg_run_log(run, fg_run_epoch_line(run));
  FG_TRY(status);
  run->done++;
  begin_epoch(run);
  FG_TRY(fg_watch_keep(run));
  return fg_checkpoint_write(run);
}

static fgsm_status run_epoch(struct fg_run *run, bool *stop) {
  bool back;
  FG_TRY(run_steps(run, &back, stop));
  if (!back)
    return end_epoch(run);
  begin_epoch(run);
  return fg_checkpoint_write(run);
}

/* ---- the whole */

/* What is written must not be what is read. */
static fgsm_status keep_apart(const struct fg_run *run) {
  const char *const written[] = {run->options->out, run->options->log, run->options->report,
                                 run->checkpoint};
  for (int i = 0; i < 4; i++)
    if (written[i] &&
        (fg_path_same(written[i], run->model_path) || fg_path_same(written[i], run->data_path)))
      return FG_FAIL(USAGE, "%s: is read by this training, and cannot be written", written[i]);
  return FGSM_OK;
}

static fgsm_status name_checkpoint(struct fg_run *run) {
  const struct fgsm_options *o = run->options;
  int n = 0;
  if (o->checkpoint)
    n = asprintf(&run->checkpoint, "%s", o->checkpoint);
  else if (o->out)
    n = asprintf(&run->checkpoint, "%s.checkpoint", o->out);
  else if (o->resume)
    return FG_FAIL(USAGE, "--resume: needs --checkpoint, or --out, beside which it lies");
  if (n >= 0)
    return FGSM_OK;
  run->checkpoint = NULL;
  return FG_FAIL(MEMORY, "no memory for a file's name");
}

/* The built-in architecture that option arch names, for the data's shape and classes. */
static fgsm_status make_model(struct fg_run *run) {
  const struct fg_feed *feed = &run->feed;
  const char *layout = run->options->data_layout;
  int64_t dim[FG_MAX_RANK + 1] = {1}, classes = 1;
  int rank = feed->info.rank;
  for (int64_t i = 0; i < feed->n; i++)
    if (feed->labels[i] >= classes)
      classes = feed->labels[i] + 1;
  memcpy(dim + (rank == 2), feed->info.dim, (size_t)rank * sizeof *dim);
  bool last = fg_feed_channels_last(feed);
  if (rank == 3 && (strcmp(layout, "nhwc") == 0 || (strcmp(layout, "auto") == 0 && last))) {
    int64_t channels = dim[2];
    dim[2] = dim[1];
    dim[1] = dim[0];
    dim[0] = channels;
  }
  FG_TRY(fg_arch_create(run->options->arch, rank == 2 ? 3 : rank, dim, classes, &run->made));
  run->onnx = run->made;
  return FGSM_OK;
}

/* Closes the device where it cannot join the ranks. */
static fgsm_status join(const struct fg_run *run, struct fg_device *device) {
  const struct fg_backend *backend = device->backend;
  if (!run->ranks)
    return FGSM_OK;
  fgsm_status status =
      backend->join ? backend->join(device, run->ranks)
                    : FG_FAIL(UNSUPPORTED, "%s cannot train in several processes", backend->name);
  if (status != FGSM_OK)
    backend->close(device);
  return status;
}

/* The samples lie on the device where they fit. Not where perturbations are kept, which is done here, of
 * the samples that came. */
static void settle_where(struct fg_run *run, struct fg_device *device) {
  const struct fg_feed *feed = &run->feed;
  int64_t bytes = feed->n * feed->count * (int64_t)fg_type_size(feed->info.type);
  run->spec.resident = run->spec.method.carry != FG_CARRY_sample &&
                       fg_engine_may_settle(device, feed->info.type, bytes);
  run->spec.augment = fg_feed_augment(feed);
  if (run->spec.resident)
    fg_log(FGSM_LOG_INFO, "the %lld samples lie on the device", (long long)feed->n);
}

static fgsm_status make_engine(struct fg_run *run) {
  const struct fgsm_options *o = run->options;
  struct fg_device *device;
  FG_TRY(fg_device_open(&run->devices, 0, o, &device));
  device->convolutions = FG_CONV_DIRECT; /* a resumed run takes the same steps */
  FG_TRY(join(run, device));
  settle_where(run, device);
  FG_TRY(fg_engine_create(run->onnx, o, &run->spec, device, &run->feed.shape, run->part,
                          &run->engine));
  if (run->spec.resident)
    FG_TRY(fg_engine_settle(run->engine, run->feed.x));
  if (run->writes)
    FG_TRY(fg_feed_check(&run->feed, fg_engine_classes(run->engine)));
  const char *init = run->made && strcmp(o->init, "keep") == 0 ? "torch" : o->init;
  return strcmp(init, "keep") == 0 ? FGSM_OK
                                   : fg_weights_init(fg_engine_weights(run->engine), init, o->seed);
}

static fgsm_status make_batch(struct fg_run *run) {
  size_t n = (size_t)run->part;
  run->x = malloc(n * (size_t)run->feed.count * fg_type_size(run->feed.info.type) + 1);
  run->labels = malloc(n * sizeof *run->labels);
  run->index = malloc(n * sizeof *run->index);
  run->lines = json_array();
  return run->x && run->labels && run->index && run->lines
             ? FGSM_OK
             : FG_FAIL(MEMORY, "no memory for a batch of %zu samples", n);
}

/* The samples of a step, and this rank's part of them. */
static fgsm_status choose_batch(struct fg_run *run) {
  int64_t n = run->feed.n_train, ranks = fg_ranks_size(run->ranks);
  int64_t wanted = run->options->batch < n ? run->options->batch : n;
  if (wanted % ranks)
    return FG_FAIL(USAGE, "--batch: %lld samples do not fall into %lld equal parts, one a rank",
                   (long long)wanted, (long long)ranks);
  FG_TRY(fg_attack_batch(run->onnx, run->options, &run->feed.shape, wanted / ranks, &run->part));
  run->batch = run->part * ranks;
  if (run->batch > n)
    return FG_FAIL(DATA,
                   "the model fixes its batch at %lld, and there are %lld samples to train on",
                   (long long)run->part, (long long)n);
  run->per_epoch = n / run->batch;
  return FGSM_OK;
}

static fgsm_status resume(struct fg_run *run) {
  bool found;
  FG_TRY(fg_checkpoint_read(run, &found));
  if (!found && run->writes)
    fg_log(FGSM_LOG_WARNING, "there is no %s to resume from: training begins", run->checkpoint);
  return FGSM_OK;
}

/* A rank's own card of those of its machine; the only one, where a starter shows each rank one alone. */
static fgsm_status choose_card(struct fg_run *run) {
  int there;
  if (!run->ranks || run->devices.backend->host_memory)
    return FGSM_OK;
  FG_TRY(run->devices.backend->count(&there));
  run->devices.index[0] = there > 1 ? run->ranks->local : 0;
  return FGSM_OK;
}

static fgsm_status begin(struct fg_run *run) {
  const struct fgsm_options *o = run->options;
  if (o->epochs < 1)
    return FG_FAIL(USAGE, "--epochs: at least one");
  FG_TRY(fg_ranks_open(&run->ranks));
  run->writes = fg_ranks_rank(run->ranks) == 0;
  if (!run->writes)
    run->progress = NULL;
  FG_TRY(name_checkpoint(run));
  FG_TRY(keep_apart(run));
  FG_TRY(fg_device_choose(o->device, &run->devices));
  if (run->devices.n > 1)
    return FG_FAIL(USAGE,
                   "--device %s: a process trains on one device, not %d; mpirun starts one for "
                   "each card",
                   o->device, run->devices.n);
  FG_TRY(choose_card(run));
  FG_TRY(fg_feed_open(run->data_path, o, &run->feed));
  if (!run->onnx)
    FG_TRY(make_model(run));
  FG_TRY(fg_engine_spec_resolve(o, run->feed.info.type, &run->spec));
  run->spec.samples = run->feed.n;
  run->spec.besides = fg_feed_bytes(&run->feed) + fg_onnx_bytes(run->onnx);
  run->spec.watched = run->spec.method.steps > 0 && run->spec.eps > 0;
  FG_TRY(fg_schedule_parse(o, &run->schedule));
  FG_TRY(fg_run_digest(run));
  FG_TRY(fg_run_compare_ranks(run));
  FG_TRY(choose_batch(run));
  FG_TRY(make_engine(run));
  FG_TRY(make_batch(run));
  begin_epoch(run);
  return o->resume ? resume(run) : FGSM_OK;
}

static fgsm_status write_results(const struct fg_run *run) {
  struct fg_onnx *model = NULL;
  if (run->options->report)
    FG_TRY(fg_run_page(run));
  if (!run->options->out)
    return FGSM_OK;
  FG_TRY(fg_engine_export(run->engine, run->onnx, run->spec.average_decay > 0, &model));
  fgsm_status status = fg_onnx_write(model, run->options->out, 0, NULL, NULL);
  fg_onnx_close(model);
  return status;
}

static fgsm_status go(struct fg_run *run) {
  bool stop = false;
  while (run->done < run->options->epochs && !stop)
    FG_TRY(run_epoch(run, &stop));
  return fg_run_settle(run, run->writes ? write_results(run) : FGSM_OK);
}

/* An interrupted run is kept as far as it came. */
static fgsm_status keep(struct fg_run *run) {
  FG_TRY(fg_checkpoint_write(run));
  run->agreed = true;
  return FG_FAIL(
      INTERRUPTED,
      "interrupted after step %lld of epoch %lld; %s holds it, and the same command with "
      "--resume goes on from there",
      (long long)run->now.steps, (long long)run->done + 1, run->checkpoint);
}

fgsm_status fg_train(const struct fg_onnx *onnx, const char *model_path, const char *data,
                     const struct fgsm_options *options, fgsm_train_progress_fn progress,
                     void *user, char **json) {
  struct fg_run run = {.onnx = onnx,
                       .model_path = onnx ? model_path : options->arch,
                       .data_path = data,
                       .options = options,
                       .progress = progress,
                       .user = user,
                       .began = fg_now()};
  if (json)
    *json = NULL;
  fgsm_status status = begin(&run);
  if (status == FGSM_OK) {
    status = go(&run);
    if (status == FGSM_INTERRUPTED && run.checkpoint && (run.agreed || !run.ranks))
      status = keep(&run);
  }
  if (status == FGSM_OK)
    status = fg_run_answer(&run, json);
  fg_engine_destroy(run.engine);
  fg_run_part(&run, status);
  fg_feed_close(&run.feed);
  fg_onnx_close(run.made);
  json_decref(run.lines);
  free(run.watch.good.pieces);
  free(run.checkpoint);
  free(run.index);
  free(run.labels);
  free(run.x);
  return status;
}
