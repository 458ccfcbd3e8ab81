/* A run of training from inside: what train.c, together.c, judge.c, watch.c, log.c, page.c, identity.c
 * and checkpoint.c share. */
#ifndef FG_RUN_H
#define FG_RUN_H

#include <jansson.h>

#include "device.h"
#include "train.h"

/* The running epoch, as far as it has come. */
struct fg_epoch {
  double loss, rate, seconds;        /* the sum of the steps' losses; the last step's rate */
  int64_t steps, clean, adversarial; /* taken; right while training, -1: not looked at      */
  double valid_clean, valid_robust;  /* accuracies on what was held out; NaN: nothing was   */
};

/* Where a run stood, and the engine's pieces there, one after the other. */
struct fg_snapshot {
  int64_t done, steps;   /* epochs; the engine's steps */
  unsigned char *pieces; /* NULL: there is none */
  size_t bytes;
};

enum { FG_WATCH_BAD_LOOKS = 2 }; /* in a row are overfitting */

/* What is known of catastrophic overfitting. */
struct fg_watch {
  double best; /* accuracy under PGD, so far    */
  int64_t bad; /* looks in a row, the last ones */
  int64_t times;
  int64_t rollbacks;       /* as often, crafting takes twice the steps                */
  struct fg_snapshot good; /* the end of the last epoch whose look was not bad */
};

static inline bool fg_watch_is_overfit(const struct fg_watch *watch) {
  return watch->bad >= FG_WATCH_BAD_LOOKS;
}

struct fg_run {
  const struct fg_onnx *onnx;
  struct fg_onnx *made; /* onnx, where it is a built-in architecture */
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
  struct fg_ranks *ranks;   /* NULL: this process trains alone                             */
  int64_t part;             /* this rank's samples of a step                               */
  bool writes;              /* this rank speaks for all: files, progress, the answer       */
  bool agreed;              /* that the run is over, or has failed, is known to every rank */
  char data_sha256[65];
  void *x;
  int64_t *labels, *index;
  int64_t done; /* epochs */
  struct fg_epoch now;
  struct fg_watch watch;
  json_t *lines;        /* of the log, from the first epoch on */
  char *checkpoint;     /* its file, or NULL */
  double began, before; /* when this process began; seconds that others have trained before it */
};

/* ---- what a run is (identity.c) */

/* Whether what a run comes to depends on the option. */
bool fg_run_depends_on(const fgsm_option_info *row);
/* Those options; NULL: no memory. */
json_t *fg_run_options(const struct fg_run *run);
/* data_sha256, of the samples and labels as they are in memory. */
fgsm_status fg_run_digest(struct fg_run *run) FGSM_MUST_USE;
/* FGSM_USAGE on a rank that is of another run than rank 0. */
fgsm_status fg_run_compare_ranks(const struct fg_run *run) FGSM_MUST_USE;

/* ---- ranks (together.c). All ranks call these, and judge and log, at the same places. */

/* The outcome of what each of them does by itself: FGSM_INTERRUPTED on all where one of them is. */
fgsm_status fg_run_agree(struct fg_run *run, fgsm_status status) FGSM_MUST_USE;
/* The same of a signal that came. */
fgsm_status fg_run_check_interrupt(struct fg_run *run) FGSM_MUST_USE;
/* The outcome of what only the rank that writes has done, on all. */
fgsm_status fg_run_settle(struct fg_run *run, fgsm_status status) FGSM_MUST_USE;
/* Parts from the others. Where this rank alone has failed, the log says why, and all end: this does
 * not return then. */
void fg_run_part(struct fg_run *run, fgsm_status status);

/* ---- what becomes of it */

/* Attacks n samples from `from` on, by PGD of that many steps, or by FGSM for 0; the shares that are
 * right before and after. robust: NaN where there is no eps. */
fgsm_status fg_run_judge(struct fg_run *run, const struct fg_onnx *model, int64_t from, int64_t n,
                         int steps, double *clean, double *robust) FGSM_MUST_USE;

/* Whether the run is watched, and is due for a look after the step just taken. */
bool fg_watch_is_due(const struct fg_run *run);
/* Whether a look is bad: the best accuracy under PGD before it; accuracies under FGSM and PGD, and the
 * cosine, now. */
bool fg_watch_is_bad(double best, double fgsm, double pgd, double cosine);
/* Looks at the watched samples, logs what it sees, and warns where it turns bad. */
fgsm_status fg_watch_look(struct fg_run *run) FGSM_MUST_USE;
/* How often crafting's steps are doubled now: by rollbacks and by option harden. */
int fg_watch_caution(const struct fg_run *run);
/* At the end of an epoch: keeps it to go back to, if it is good. */
fgsm_status fg_watch_keep(struct fg_run *run) FGSM_MUST_USE;
/* After a look that was bad, what option on-overfit says. *stop: the run is over, and stands where it
 * was good last; else, for rollback, it is there again and goes on from a new epoch. */
fgsm_status fg_watch_act(struct fg_run *run, bool *back, bool *stop) FGSM_MUST_USE;

/* The engine's pieces as they are now, and back. */
fgsm_status fg_snapshot_take(const struct fg_run *run, struct fg_snapshot *snapshot) FGSM_MUST_USE;
fgsm_status fg_snapshot_restore(struct fg_run *run,
                                const struct fg_snapshot *snapshot) FGSM_MUST_USE;

/* Adds the line (taken over, NULL: no memory) to the log, and writes the log anew. */
fgsm_status fg_run_log(struct fg_run *run, json_t *line) FGSM_MUST_USE;
/* A number, or null for what is none. */
json_t *fg_run_number(double v);
/* The line of an epoch that is over. */
json_t *fg_run_epoch_line(const struct fg_run *run);
/* Accuracies on what is held out, at the end of the last epoch that is over; NaN: not judged. */
void fg_run_last_judged(const struct fg_run *run, double *clean, double *robust);
/* Writes the log as a page with curves, to option report. */
fgsm_status fg_run_page(const struct fg_run *run) FGSM_MUST_USE;
/* What the whole came to, for the caller of fgsm_train_dataset. */
fgsm_status fg_run_answer(const struct fg_run *run, char **json) FGSM_MUST_USE;

/* Writes all that the rest of the run depends on: weights, what the optimiser and the method keep,
 * place, log. One file, which replaces the last one when it is whole. */
fgsm_status fg_checkpoint_write(struct fg_run *run) FGSM_MUST_USE;
/* Takes a run, made from the same model, data and options, to where its checkpoint was written.
 * *found false: there is no such file. FGSM_USAGE names the first thing that differs; FGSM_DATA for
 * a file that is no checkpoint, or is damaged. */
fgsm_status fg_checkpoint_read(struct fg_run *run, bool *found) FGSM_MUST_USE;

#endif
