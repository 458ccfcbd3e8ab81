/* The jobs that the pipe is for: a dataset attacked (job.c: reader, attacker, writer), or copied
 * into another format (convert.c). What a job counts is in tally.c, what it writes beside the data
 * in records.c (a row per sample) and manifest.c (OUT.json and the answer to the caller). */
#ifndef FG_JOB_H
#define FG_JOB_H

#include "agree.h"
#include "attack.h"
#include "io.h"
#include "onnx.h"
#include "options.h"

/* Attacks `data` as fgsm_attack_dataset promises. */
fgsm_status fg_job_attack(const struct fg_onnx *onnx, const char *model_path, const char *data,
                          const struct fgsm_options *options, fgsm_progress_fn progress, void *user,
                          char **json) FGSM_MUST_USE;

/* Copies `data` to `out` as fgsm_convert_dataset promises. */
fgsm_status fg_job_convert(const char *data, const char *out, const struct fgsm_options *options,
                           int64_t *n) FGSM_MUST_USE;

/* FGSM_USAGE if `out` is one of the files that `input` (one path, or several joined by commas)
 * names, under whatever name. */
fgsm_status fg_job_keep_apart(const char *out, const char *input) FGSM_MUST_USE;

/* ---- what options name, loaded */

struct fg_extras {
  struct fg_attack_arrays arrays;
  void *eps_map, *mask;
  struct fg_attack_feed *feeds; /* whose names and data are freed with it */
};
fgsm_status fg_extras_load(const struct fgsm_options *options, struct fg_extras *out) FGSM_MUST_USE;
size_t fg_extras_bytes(const struct fg_extras *extras); /* that they hold */
void fg_extras_free(struct fg_extras *extras);

/* Whether option "target" names a file with a class per sample; a class, or the least likely one,
 * is the attacker's to apply. */
bool fg_job_target_file(const struct fgsm_options *options);

/* ---- agreement (first.c) */

/* fg_agree on the job's first batch: of `batch` samples, or of all `n`. */
fgsm_status fg_job_agree(const struct fg_onnx *onnx, const char *data,
                         const struct fgsm_options *options, const struct fg_device_choice *choice,
                         const struct fg_attack_arrays *arrays, int64_t batch, int64_t n,
                         const struct fg_attacker *lender, struct fg_agreement *out) FGSM_MUST_USE;

/* ---- counts */

enum { FG_TALLY_BINS = 1000 };

struct fg_tally {
  int64_t samples, clean_correct, adversarial_correct, changed;
  int64_t candidates, successes; /* clean-correct samples that could, and did, succeed */
  int64_t zero_gradient, nonfinite, off_lattice;
  int64_t unverified, clean_unseen; /* where there are any, what follows from looks is not known */
  int64_t finite_losses; /* samples whose two losses, or the one that is known, are numbers */
  double clean_loss_sum, adversarial_loss_sum, linf_max, l2_sum;
  /* minimal-eps: set first, the largest eps tried; then counts of samples by their least eps, in
   * FG_TALLY_BINS equal parts of that, rounded up; those that need none are in minimal[0]. */
  double minimal_most;
  int64_t minimal[FG_TALLY_BINS + 1];
};
/* labels[i] < 0: the sample has none, and its clean prediction stands for it. */
void fg_tally_add(struct fg_tally *tally, bool targeted, int64_t n, const int64_t *labels,
                  const fgsm_result *results);
/* Sets the counts and rates in `object`, null where they are not known; false if memory ran out. */
bool fg_tally_report(const struct fg_tally *tally, json_t *object);
/* What each rate is a share of, as names of counts. NULL if memory ran out. */
json_t *fg_tally_denominators(void);

/* ---- records: index,label,...,flags; what is not known is empty */

/* With `minimal`, the least eps of each sample too. */
void fg_records_head(struct fg_text *text, bool minimal);
void fg_records_add(struct fg_text *text, int64_t n, const int64_t *index, const int64_t *labels,
                    const fgsm_result *results, bool minimal);

/* ---- manifest */

struct fg_report {
  const struct fg_onnx *onnx;
  const char *model_path, *data_path;
  const struct fgsm_options *options;
  const struct fg_dataset_info *data;
  const char *data_sha256; /* NULL: not known */
  const struct fg_attacker_info *attacker;
  const struct fg_agreement *agreement; /* NULL: the arithmetic is the exact one */
  int64_t samples, asked;               /* fewer than asked: a run that was broken off */
  int64_t climbs; /* samples that climbed, each once for every eps and restart */
  int n_eps;
  const struct fg_tally *tally;  /* n_eps */
  const char *const *path;       /* n_eps; NULL: nothing is written */
  double seconds, wait_share[3]; /* of reader, device and writer    */
};

/* The index of the largest eps: what the answer's top level speaks of. */
int fg_report_strongest(const struct fg_report *report);
/* The answer to the caller, and the manifest of output e; text to be freed. */
fgsm_status fg_report_answer(const struct fg_report *report, char **json) FGSM_MUST_USE;
fgsm_status fg_report_manifest(const struct fg_report *report, int e, char **json) FGSM_MUST_USE;

#endif
