/* What a job writes: for every eps a dataset, a record per sample, and a manifest that vouches for
 * both. Nothing has its final name before all of it is complete: data first, then records, then the
 * manifests. */
#ifndef FG_OUTPUTS_H
#define FG_OUTPUTS_H

#include "job.h"

struct fg_outputs;

struct fg_outputs_of {
  const struct fgsm_options *options; /* out, eps, and the files that must not be overwritten */
  const char *model_path, *data_path;
  const struct fg_dataset *dataset; /* that is read */
  struct fg_dataset_info info;      /* that are written */
  int n_eps;
  bool minimal; /* records have each sample's least eps */
};

/* Names, creates and begins all files. FGSM_USAGE if one is a file that the job reads. */
fgsm_status fg_outputs_open(const struct fg_outputs_of *of, struct fg_outputs **out) FGSM_MUST_USE;
/* n more samples of eps e, in dataset order. */
fgsm_status fg_outputs_write(struct fg_outputs *outputs, int e, int64_t n, const void *x,
                             const int64_t *labels, const uint8_t *extra, const int64_t *index,
                             const fgsm_result *results) FGSM_MUST_USE;
/* The datasets' paths, n_eps of them. */
const char *const *fg_outputs_paths(const struct fg_outputs *outputs);
fgsm_status fg_outputs_commit(struct fg_outputs *outputs,
                              const struct fg_report *report) FGSM_MUST_USE;
/* Commits what was written so far, of every eps the same samples, under names that begin with
 * "partial-". FGSM_UNSUPPORTED where the format cannot (gzip). */
fgsm_status fg_outputs_keep(struct fg_outputs *outputs,
                            const struct fg_report *report) FGSM_MUST_USE;
/* What was not committed is removed. NULL is fine. */
void fg_outputs_close(struct fg_outputs *outputs);

#endif
