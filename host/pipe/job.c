/* A dataset attacked. The reader fills a slot with samples, labels and targets; the attacker fills
 * its outputs, one per eps; the writer writes them, a record per sample, and counts. Nothing
 * appears under a final name before everything is written: data first, then records, then the
 * manifests, so that a manifest vouches for complete files. A sample's place in the dataset
 * (slot.first) is all that its randomness and records depend on, so a later run could begin at any
 * slot. */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "job.h"
#include "measure.h"
#include "outputs.h"
#include "pipe.h"

enum { MOST_SLOTS = FG_MOST_WORKERS + 2 };
/* Restarts climb from what still stands of a slot, gathered into full batches: with restarts a slot has so many
 * batches at most, and more than one only within these bytes. */
enum { MOST_BATCHES = 16, GATHERED_BYTES = 64 << 20 };

struct batch {
  void *x;
  int64_t *labels, *attacked, *targets, *index; /* attacked: what the attacker is given */
  uint8_t *extra;
  void *x_adv[FG_MAX_EPS]; /* NULL: measured only */
  fgsm_result *results[FG_MAX_EPS];
};

struct job {
  const struct fg_onnx *onnx;
  const char *model_path, *data_path;
  const struct fgsm_options *options;
  struct fgsm_options tuned; /* the same with a batch that was measured */
  fgsm_progress_fn progress;
  void *user;
  struct fg_dataset *dataset, *target_dataset; /* the latter: the data with targets as labels */
  struct fg_dataset_info info;
  void *target_x; /* read and left aside */
  /* One a worker, each with a device of its own, so that none waits for another. */
  struct fg_attacker *attackers[FG_MOST_WORKERS];
  int n_attackers, n_slots;
  struct fg_device *host; /* whose pinned memory the slots are */
  int n_eps;
  int64_t n, batch, capacity; /* samples in all, in a batch, in a slot */
  size_t x_bytes, adv_bytes;  /* of one sample          */
  struct fg_slot slots[MOST_SLOTS];
  struct batch batches[MOST_SLOTS];
  int64_t read, written; /* samples */
  struct fg_agreement agreement;
  struct fg_outputs *outputs; /* NULL: measured only */
  struct fg_tally tally[FG_MAX_EPS];
  int strongest;
  double began;
  locale_t c_locale; /* records have decimal points whatever the process's locale */
};

static bool approximates(const struct job *job) {
  const struct fg_attacker_info *info = fg_attacker_info(job->attackers[0]);
  return info->spec.steps > 0 && fg_agree_wanted(job->options, &info->gradient);
}

static bool is_minimal(const struct job *job) {
  return fg_attacker_info(job->attackers[0])->spec.halvings > 0;
}

/* ---- stages */

static fgsm_status read_all(const struct job *job, struct fg_dataset *dataset, int64_t n, void *x,
                            int64_t *labels, uint8_t *extra) {
  int64_t got;
  for (int64_t done = 0; done < n; done += got) {
    uint8_t *more = extra ? extra + done * job->info.extra_bytes : NULL;
    FG_TRY(fg_dataset_read(dataset, n - done, (char *)x + (size_t)done * job->x_bytes,
                           labels + done, more, &got));
    if (got < 1)
      return FG_FAIL(DATA, "%s: ends before its last sample", job->data_path);
  }
  return FGSM_OK;
}

static fgsm_status read_stage(void *user, struct fg_slot *slot) {
  struct job *job = user;
  struct batch *b = slot->user;
  int64_t left = job->n - job->read;
  slot->n = left < job->capacity ? left : job->capacity;
  slot->first = job->options->start + job->read;
  if (slot->n == 0)
    return FGSM_OK;
  FG_TRY(read_all(job, job->dataset, slot->n, b->x, b->labels, b->extra));
  if (job->target_dataset)
    FG_TRY(read_all(job, job->target_dataset, slot->n, job->target_x, b->targets, NULL));
  bool predicted = job->options->labels && strcmp(job->options->labels, "predicted") == 0;
  for (int64_t i = 0; i < slot->n; i++) {
    b->index[i] = slot->first + i;
    b->attacked[i] = predicted ? -1 : b->labels[i];
  }
  job->read += slot->n;
  return FGSM_OK;
}

static fgsm_status compute_stage(void *user, struct fg_slot *slot) {
  struct job *job = user;
  struct batch *b = slot->user;
  return fg_attacker_run(job->attackers[slot->worker], slot->n, b->x, b->attacked,
                         job->target_dataset ? b->targets : NULL, b->index, b->x_adv, b->results);
}

static fgsm_status write_stage(void *user, struct fg_slot *slot) {
  struct job *job = user;
  const struct batch *b = slot->user;
  fgsm_status status = FGSM_OK;
  locale_t before = uselocale(job->c_locale);
  for (int e = 0; e < job->n_eps && status == FGSM_OK; e++) {
    if (job->outputs)
      status = fg_outputs_write(job->outputs, e, slot->n, b->x_adv[e], b->labels, b->extra,
                                b->index, b->results[e]);
    fg_tally_add(&job->tally[e], job->options->target != NULL, slot->n, b->labels, b->results[e]);
  }
  uselocale(before);
  if (status != FGSM_OK)
    return status;
  job->written += slot->n;
  const struct fg_tally *tally = &job->tally[job->strongest];
  if (job->progress)
    job->progress(job->user, &(fgsm_progress){job->written, job->n, fg_now() - job->began,
                                              tally->clean_unseen ? -1 : tally->clean_correct,
                                              tally->unverified ? -1 : tally->adversarial_correct});
  return FGSM_OK;
}

/* ---- set-up */

static fgsm_status open_data(struct job *job) {
  const struct fgsm_options *o = job->options;
  bool predicted = o->labels && strcmp(o->labels, "predicted") == 0;
  FG_TRY(fg_dataset_open(job->data_path, predicted ? NULL : o->labels, &job->dataset));
  job->info = *fg_dataset_info(job->dataset);
  FG_TRY(fg_dataset_range(job->data_path, &job->info, o->start, o->limit, &job->n));
  if (!job->info.has_labels && !predicted)
    return FG_FAIL(DATA,
                   "%s: has no labels; give them with labels = FILE, or attack the model's "
                   "own predictions with labels = predicted",
                   job->data_path);
  FG_TRY(fg_dataset_seek(job->dataset, o->start));
  if (fg_job_target_file(o)) {
    FG_TRY(fg_dataset_open(job->data_path, o->target, &job->target_dataset));
    FG_TRY(fg_dataset_seek(job->target_dataset, o->start));
  }
  return FGSM_OK;
}

/* What a slot takes for each sample. */
static size_t sample_bytes(const struct job *job) {
  const struct fgsm_options *o = job->options;
  size_t values = 1, eps = o->n_eps > 0 ? (size_t)o->n_eps : 1;
  for (int i = 0; i < job->info.rank; i++)
    values *= (size_t)job->info.dim[i];
  size_t x = values * fg_type_size(job->info.type);
  size_t adv =
      o->out ? values * (strcmp(o->out_type, "f32") == 0 ? 4 : fg_type_size(job->info.type)) : 0;
  return x + 4 * sizeof(int64_t) + (size_t)job->info.extra_bytes +
         eps * (adv + sizeof(fgsm_result));
}

/* What the slots take, and what readers and arrays hold. */
static struct fg_attack_besides besides(const struct job *job, const struct fg_extras *extras,
                                        int attackers) {
  size_t slots = (size_t)attackers + 2 + (job->target_dataset ? 1 : 0);
  struct fg_attack_besides all = {.attackers = attackers};
  all.sample_bytes = slots * sample_bytes(job);
  all.bytes =
      (size_t)job->info.held_bytes * (job->target_dataset ? 2 : 1) + fg_extras_bytes(extras);
  if (job->options->restarts > 1)
    all.bytes += slots * GATHERED_BYTES;
  return all;
}

/* Opens the devices of a choice one after the other, from `which` on. */
struct opening {
  const struct job *job;
  const struct fg_device_choice *choice;
  int which;
};

static fgsm_status open_device(void *user, struct fg_device **out) {
  const struct opening *o = user;
  return fg_device_open(o->choice, o->which, o->job->options, out);
}

/* Option batch = auto. */
static fgsm_status tune_batch(struct job *job, const struct fg_device_choice *choice,
                              const struct fg_attack_arrays *arrays) {
  struct fg_sample_shape shape = {.type = job->info.type, .rank = job->info.rank};
  struct opening opening = {job, choice, 0};
  struct fg_device_opener opener = {open_device, &opening};
  memcpy(shape.dim, job->info.dim, sizeof shape.dim);
  job->tuned = *job->options; /* its texts stay the caller's */
  FG_TRY(fg_attack_tune_batch(job->onnx, job->options, &opener, &shape, arrays, job->n,
                              &job->tuned.batch));
  job->options = &job->tuned;
  return FGSM_OK;
}

/* One more attacker: the first decides the batch for all. */
static fgsm_status open_attacker(struct job *job, const struct fg_device_choice *choice, int which,
                                 const struct fg_attack_arrays *arrays,
                                 const struct fg_attack_besides *others) {
  struct fg_sample_shape shape = {.type = job->info.type, .rank = job->info.rank};
  struct opening opening = {job, choice, which};
  struct fg_device_opener opener = {open_device, &opening};
  struct fg_attacker **out = &job->attackers[job->n_attackers];
  struct fg_device *device;
  memcpy(shape.dim, job->info.dim, sizeof shape.dim);
  if (job->n_attackers == FG_MOST_WORKERS)
    return FG_FAIL(USAGE, "--device %s: too many devices", job->options->device);
  if (job->n_attackers == 0) {
    FG_TRY(fg_attacker_fit(job->onnx, job->options, &opener, &shape, arrays, others, &job->batch,
                           out));
  } else {
    FG_TRY(open_device(&opening, &device));
    FG_TRY(fg_attacker_create(job->onnx, job->options, device, &shape, arrays, job->batch, out));
  }
  job->n_attackers++;
  return FGSM_OK;
}

/* An attacker for each lane of each device that was asked for, but for no batch that never comes.
 * Device by device, lane by lane, so that few batches are spread over all devices. */
static fgsm_status open_attackers(struct job *job) {
  struct fg_device_choice choice;
  struct fg_extras extras = {0};
  FG_TRY(fg_device_choose(job->options->device, &choice));
  FG_TRY(fg_device_open(&choice, 0, job->options, &job->host));
  FG_TRY(fg_extras_load(job->options, &extras));
  fgsm_status status =
      job->options->batch_auto ? tune_batch(job, &choice, &extras.arrays) : FGSM_OK;
  int64_t batches = (job->n + job->options->batch - 1) / job->options->batch;
  int64_t most = (int64_t)job->host->lanes * choice.n;
  const struct fg_attack_besides others =
      besides(job, &extras, (int)(most < batches ? most : batches));
  for (int lane = 0; lane < job->host->lanes; lane++)
    for (int i = 0; i < choice.n && status == FGSM_OK; i++)
      if (job->n_attackers == 0 || job->n_attackers < batches)
        status = open_attacker(job, &choice, i, &extras.arrays, &others);
  if (status == FGSM_OK && approximates(job))
    status = fg_job_agree(job->onnx, job->data_path, job->options, &choice, &extras.arrays,
                          job->batch, job->n, job->attackers[0], &job->agreement);
  fg_extras_free(&extras);
  fg_memory_trim();
  return status;
}

/* Samples in a slot, in whole batches, of which every worker has its share. */
static int64_t capacity_of(const struct job *job) {
  int64_t all = (job->n + job->batch - 1) / job->batch, batches = 1;
  if (fg_attacker_info(job->attackers[0])->spec.restarts > 1) {
    int64_t share = (all + job->n_attackers - 1) / job->n_attackers;
    batches = (int64_t)(GATHERED_BYTES / sample_bytes(job)) / job->batch;
    batches = batches < MOST_BATCHES ? batches : MOST_BATCHES;
    batches = batches < share ? batches : share;
    batches = batches > 1 ? batches : 1;
  }
  return batches < all ? batches * job->batch : job->n;
}

/* Items of `size` bytes for every sample of a slot, zero; NULL if memory ran out. */
static void *slot_array(const struct job *job, size_t size) {
  return calloc((size_t)job->capacity, size ? size : 1);
}

/* The same in memory that devices transfer from. */
static void *slot_samples(const struct job *job, size_t size) {
  void *memory = NULL;
  size_t bytes = (size_t)job->capacity * (size ? size : 1);
  if (job->host->backend->host_alloc(job->host, bytes, &memory) != FGSM_OK)
    return NULL;
  memset(memory, 0, bytes);
  return memory;
}

static fgsm_status make_slots(struct job *job) {
  const struct fg_attacker_info *info = fg_attacker_info(job->attackers[0]);
  int64_t values = 1, most;
  for (int i = 0; i < job->info.rank; i++)
    if (!fg_mul_ok(values, job->info.dim[i], &values))
      return FG_FAIL(DATA, "%s: a sample has too many values", job->data_path);
  job->n_eps = info->n_eps;
  job->capacity = capacity_of(job);
  int64_t batches = (job->n + job->capacity - 1) / job->capacity;
  job->n_slots = job->n_attackers + 2 < batches ? job->n_attackers + 2 : (int)batches;
  if (!fg_mul_ok(values, 4 * job->capacity, &most))
    return FG_FAIL(DATA, "%s: a batch has too many values; choose a smaller batch", job->data_path);
  job->x_bytes = (size_t)values * fg_type_size(job->info.type);
  job->adv_bytes = (size_t)values * fg_type_size(info->out_type);
  bool whole = true;
  for (int i = 0; i < job->n_slots; i++) {
    struct batch *b = &job->batches[i];
    job->slots[i].user = b;
    whole = (b->x = slot_samples(job, job->x_bytes)) && whole;
    whole = (b->labels = slot_array(job, sizeof *b->labels)) && whole;
    whole = (b->attacked = slot_array(job, sizeof *b->attacked)) && whole;
    whole = (b->targets = slot_array(job, sizeof *b->targets)) && whole;
    whole = (b->index = slot_array(job, sizeof *b->index)) && whole;
    whole = (b->extra = slot_array(job, (size_t)job->info.extra_bytes)) && whole;
    for (int e = 0; e < job->n_eps; e++) {
      whole = (b->results[e] = slot_array(job, sizeof *b->results[e])) && whole;
      if (job->options->out)
        whole = (b->x_adv[e] = slot_array(job, job->adv_bytes)) && whole;
    }
  }
  if (job->target_dataset)
    whole = (job->target_x = slot_array(job, job->x_bytes)) && whole;
  return whole ? FGSM_OK
               : FG_FAIL(MEMORY, "no memory for %d batches of %lld samples; choose a smaller batch",
                         job->n_slots, (long long)job->capacity);
}

static void free_slots(struct job *job) {
  for (int i = 0; i < job->n_slots; i++) {
    struct batch *b = &job->batches[i];
    for (int e = 0; e < FG_MAX_EPS; e++) {
      free(b->x_adv[e]);
      free(b->results[e]);
    }
    free(b->extra);
    free(b->index);
    free(b->targets);
    free(b->attacked);
    free(b->labels);
    job->host->backend->host_free(job->host, b->x);
  }
  free(job->target_x);
}

/* ---- outputs */

static fgsm_status open_outputs(struct job *job) {
  if (!job->options->out)
    return FGSM_OK;
  struct fg_outputs_of of = {.options = job->options,
                             .model_path = job->model_path,
                             .data_path = job->data_path,
                             .dataset = job->dataset,
                             .info = job->info,
                             .n_eps = job->n_eps,
                             .minimal = is_minimal(job)};
  of.info.type = of.info.stored = fg_attacker_info(job->attackers[0])->out_type;
  of.info.n = job->n;
  return fg_outputs_open(&of, &job->outputs);
}

/* ---- the whole */

static struct fg_report report_of(const struct job *job, const struct fg_stage_times *times,
                                  const char *sha256) {
  struct fg_report report = {.onnx = job->onnx,
                             .model_path = job->model_path,
                             .data_path = job->data_path,
                             .options = job->options,
                             .data = &job->info,
                             .data_sha256 = sha256,
                             .attacker = fg_attacker_info(job->attackers[0]),
                             .agreement = approximates(job) ? &job->agreement : NULL,
                             .samples = job->written,
                             .asked = job->n,
                             .n_eps = job->n_eps,
                             .tally = job->tally,
                             .path = job->outputs ? fg_outputs_paths(job->outputs) : NULL,
                             .seconds = fg_now() - job->began};
  for (int i = 0; i < job->n_attackers; i++)
    report.climbs += fg_attacker_climbs(job->attackers[i]);
  for (int s = 0; s < FG_STAGE_COUNT; s++) {
    double whole = times[s].busy_seconds + times[s].wait_seconds;
    report.wait_share[s] = whole > 0 ? times[s].wait_seconds / whole : 0;
  }
  return report;
}

static fgsm_status finish(struct job *job, const struct fg_stage_times *times, char **json) {
  char sha256[65] = "";
  struct fg_report report = report_of(job, times, sha256);
  if (job->outputs)
    FG_TRY(fg_dataset_sha256(job->dataset, sha256));
  char *answer = NULL;
  FG_TRY(fg_report_answer(&report, &answer));
  fgsm_status status = job->outputs ? fg_outputs_commit(job->outputs, &report) : FGSM_OK;
  if (status == FGSM_OK && json)
    *json = answer;
  else
    free(answer);
  return status;
}

/* A card that was lost and an interruption leave what was finished, under other names. Returns the
 * failure, which then says so. */
static fgsm_status keep_finished(struct job *job, const struct fg_stage_times *times,
                                 fgsm_status failure) {
  char why[512], message[1024];
  if (!job->outputs || job->written == 0 || (failure != FGSM_DEVICE && failure != FGSM_INTERRUPTED))
    return failure;
  fg_error_copy(why, sizeof why);
  struct fg_report report = report_of(job, times, NULL);
  if (failure == FGSM_INTERRUPTED) /* the first stops the attack, a second one this */
    fgsm_interrupt_clear();
  fgsm_status kept = fg_outputs_keep(job->outputs, &report);
  if (failure == FGSM_INTERRUPTED)
    fgsm_interrupt();
  if (kept == FGSM_OK)
    snprintf(message, sizeof message,
             "%s; the first %lld of %lld samples are finished, in %s: go on with --start %lld", why,
             (long long)job->written, (long long)job->n, fg_outputs_paths(job->outputs)[0],
             (long long)(job->options->start + job->written));
  else
    snprintf(message, sizeof message, "%s; what was finished could not be kept: %s", why,
             fgsm_last_error());
  return fg_error_restore(failure, message);
}

/* The check that option "fail-under" asks for, at every eps. */
static fgsm_status check(const struct job *job) {
  for (int e = 0; e < job->n_eps; e++) {
    const struct fg_tally *t = &job->tally[e];
    double accuracy = (double)t->adversarial_correct / (double)t->samples;
    if (accuracy < job->options->fail_under)
      return FG_FAIL(CHECK, "the adversarial accuracy is %.6g at eps %s, under the %.6g asked for",
                     accuracy,
                     job->options->eps_map ? job->options->eps_map : job->options->eps[e].text,
                     job->options->fail_under);
  }
  return FGSM_OK;
}

static fgsm_status run(struct job *job, char **json) {
  struct fg_stage_times times[FG_STAGE_COUNT];
  FG_TRY(open_data(job));
  FG_TRY(open_attackers(job));
  FG_TRY(make_slots(job));
  FG_TRY(open_outputs(job));
  job->strongest =
      fg_report_strongest(&(struct fg_report){.n_eps = job->n_eps, .options = job->options});
  struct fg_pipe pipe = {.n_slots = job->n_slots,
                         .slots = job->slots,
                         .user = job,
                         .stage = {read_stage, compute_stage, write_stage},
                         .n_workers = job->n_attackers};
  if (is_minimal(job))
    job->tally[0].minimal_most = fg_attacker_info(job->attackers[0])->eps[0];
  job->began = fg_now();
  fgsm_status status = fg_pipe_run(&pipe, times);
  if (status != FGSM_OK)
    return keep_finished(job, times, status);
  FG_TRY(finish(job, times, json));
  return check(job);
}

fgsm_status fg_job_attack(const struct fg_onnx *onnx, const char *model_path, const char *data,
                          const struct fgsm_options *options, fgsm_progress_fn progress, void *user,
                          char **json) {
  if (options->n_eps == 0)
    return FG_FAIL(USAGE, "option 'eps' is missing: the budget, such as 8/255 or 0.1");
  if (options->no_verify && options->fail_under >= 0)
    return FG_FAIL(USAGE,
                   "options 'no-verify' and 'fail-under': the adversarial accuracy, which is to be "
                   "checked, is not known without a look at what was written");
  struct job *job = calloc(1, sizeof *job);
  locale_t c_locale = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
  fgsm_status status;
  if (!job || !c_locale) {
    status = FG_FAIL(MEMORY, "no memory for a job");
    goto done;
  }
  *job = (struct job){.onnx = onnx,
                      .model_path = model_path,
                      .data_path = data,
                      .options = options,
                      .progress = progress,
                      .user = user,
                      .c_locale = c_locale};
  status = run(job, json);
  char words[1024];
  fg_error_copy(words, sizeof words); /* what is closed below may fail too, on a lost card */
  fg_outputs_close(job->outputs);
  for (int i = job->n_attackers; i-- > 0;)
    fg_attacker_destroy(job->attackers[i]); /* these may still read slots */
  if (job->host) {
    free_slots(job);
    job->host->backend->close(job->host);
  }
  fg_dataset_close(job->target_dataset);
  fg_dataset_close(job->dataset);
  if (status != FGSM_OK)
    status = fg_error_restore(status, words);
done:
  if (c_locale)
    freelocale(c_locale);
  free(job);
  return status;
}
