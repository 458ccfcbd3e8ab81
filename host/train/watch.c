/* The watch for catastrophic overfitting: a net that withstands the one step that it was trained on and
 * nothing else (Wong, Rice, Kolter 2020). Every so many steps, and at every epoch's end, a fixed set of
 * training samples is attacked by FGSM and by PGD. It is bad when PGD's accuracy lies more than GAP
 * below FGSM's, and either the gradients beside a sample no longer point where they do at it
 * (Andriushchenko & Flammarion 2020), or PGD's has fallen by more than DROP (the early stopping of Wong
 * et al.) and to less than half of its best. How far they must turn depends on what PGD leaves: a net that
 * never withstood it has no best to fall from, and its gradients may stay half aligned. Either sign alone is
 * seen in sound training too: the gap early, the small cosine late, a dip while the learning rate is high.
 * Nor does one bad look say enough, since a dip may be over by the next; two in a row are overfitting. */
#include <math.h>
#include <stdlib.h>

#include "run.h"

enum { SAMPLES = 256, PGD_STEPS = 10 };
static const double DROP = 0.2, GAP = 0.15, COSINE = 0.5;
static const double NOTHING = 1.0 / 15, COSINE_OF_NOTHING = 0.7; /* a share of FGSM's accuracy */

bool fg_watch_is_due(const struct fg_run *run) {
  int64_t every = run->options->watch, at = run->now.steps;
  return run->spec.watched && (at == run->per_epoch || (every > 0 && at % every == 0));
}

/* Whole batches, at least one. */
static int64_t watched(const struct fg_run *run) {
  int64_t n = SAMPLES / run->batch * run->batch;
  return n < run->batch ? run->batch : n < run->feed.n_train ? n : run->batch;
}

static fgsm_status look_at_gradients(const struct fg_run *run, double *cosine) {
  const struct fg_feed *feed = &run->feed;
  size_t bytes = (size_t)feed->count * fg_type_size(feed->info.type);
  int64_t n = watched(run);
  *cosine = 0;
  for (int64_t from = 0; from < n; from += run->batch) {
    double part;
    int64_t own = from + fg_ranks_rank(run->ranks) * run->part;
    for (int64_t i = 0; i < run->part; i++)
      run->index[i] = own + i;
    struct fg_train_batch batch = {feed->x + (size_t)own * bytes, feed->labels + own, run->index};
    FG_TRY(fg_engine_cosine(run->engine, &batch, &part));
    *cosine += part * (double)run->batch / (double)n;
  }
  return FGSM_OK;
}

bool fg_watch_is_bad(double best, double fgsm, double pgd, double cosine) {
  bool fell = pgd < best - DROP && pgd < best / 2;
  bool turned = cosine < (pgd < NOTHING * fgsm ? COSINE_OF_NOTHING : COSINE);
  return fgsm - pgd > GAP && (turned || fell);
}

fgsm_status fg_watch_look(struct fg_run *run) {
  struct fg_watch *w = &run->watch;
  struct fg_onnx *model = NULL;
  int64_t n = watched(run);
  double clean, fgsm, pgd, cosine;
  fgsm_status status = fg_run_agree(run, fg_engine_export(run->engine, run->onnx, false, &model));
  if (status == FGSM_OK)
    status = fg_run_judge(run, model, 0, n, 0, &clean, &fgsm);
  if (status == FGSM_OK)
    status = fg_run_judge(run, model, 0, n, PGD_STEPS, &clean, &pgd);
  fg_onnx_close(model);
  FG_TRY(status);
  FG_TRY(look_at_gradients(run, &cosine));
  bool was = fg_watch_is_overfit(w);
  w->bad = fg_watch_is_bad(w->best, fgsm, pgd, cosine) ? w->bad + 1 : 0;
  w->best = fmax(w->best, pgd);
  bool overfit = fg_watch_is_overfit(w);
  w->times += overfit && !was;
  if (overfit && !was && run->writes)
    fg_log(FGSM_LOG_WARNING,
           "epoch %lld, step %lld: catastrophic overfitting: of %lld watched samples %.1f %% "
           "withstand FGSM and %.1f %% PGD; the gradients' cosine is %.2f",
           (long long)run->done + 1, (long long)run->now.steps, (long long)n, 100 * fgsm, 100 * pgd,
           cosine);
  return fg_run_log(run,
                    json_pack("{s:s, s:I, s:I, s:f, s:f, s:f, s:f, s:b}", "event", "watch", "epoch",
                              (json_int_t)run->done + 1, "step", (json_int_t)run->now.steps,
                              "clean_accuracy", clean, "fgsm_accuracy", fgsm, "pgd_accuracy", pgd,
                              "cosine", cosine, "overfit", overfit));
}

/* ---- going back */

fgsm_status fg_snapshot_take(const struct fg_run *run, struct fg_snapshot *s) {
  struct fg_engine_piece piece;
  size_t bytes = 0;
  for (int64_t i = 0; fg_engine_piece_at(run->engine, i, &piece); i++)
    bytes += piece.bytes;
  if (!s->pieces && !(s->pieces = malloc(bytes + 1)))
    return FG_FAIL(MEMORY, "no memory to keep %zu bytes of weights", bytes);
  s->bytes = bytes;
  s->done = run->done;
  s->steps = *fg_engine_steps(run->engine);
  unsigned char *at = s->pieces;
  for (int64_t i = 0; fg_engine_piece_at(run->engine, i, &piece); i++) {
    FG_TRY(fg_engine_piece_read(run->engine, &piece, at));
    at += piece.bytes;
  }
  return FGSM_OK;
}

fgsm_status fg_snapshot_restore(struct fg_run *run, const struct fg_snapshot *s) {
  struct fg_engine_piece piece;
  const unsigned char *at = s->pieces;
  for (int64_t i = 0; fg_engine_piece_at(run->engine, i, &piece); i++) {
    FG_TRY(fg_engine_piece_write(run->engine, &piece, at));
    at += piece.bytes;
  }
  run->done = s->done;
  *fg_engine_steps(run->engine) = s->steps;
  return FGSM_OK;
}

static bool keeps(const struct fg_run *run) {
  return run->spec.watched && run->options->on_overfit[0] != 'c';
}

fgsm_status fg_watch_keep(struct fg_run *run) {
  return keeps(run) && run->watch.bad == 0 ? fg_snapshot_take(run, &run->watch.good) : FGSM_OK;
}

int fg_watch_caution(const struct fg_run *run) {
  const struct fgsm_options *o = run->options;
  int64_t at = run->done * run->per_epoch + run->now.steps, n = run->watch.rollbacks;
  for (int i = 0; i < o->n_harden; i++)
    n += (double)at >= o->harden[i] * (double)(o->epochs * run->per_epoch);
  return n < FG_CAUTION_MOST ? (int)n : FG_CAUTION_MOST;
}

/* Whether that was the last time: the same steps would lead to the same place again, and there are no
 * more careful ones. */
static bool is_last(const struct fg_run *run) {
  if (fg_watch_caution(run) < FG_CAUTION_MOST)
    return false;
  if (run->writes)
    fg_log(
        FGSM_LOG_WARNING,
        "training overfits catastrophically though crafting takes %d times the steps: it ends with "
        "the weights of epoch %lld",
        1 << FG_CAUTION_MOST, (long long)run->watch.good.done);
  return true;
}

fgsm_status fg_watch_act(struct fg_run *run, bool *back, bool *stop) {
  struct fg_watch *w = &run->watch;
  *back = *stop = false;
  if (!fg_watch_is_overfit(w) || !keeps(run))
    return FGSM_OK;
  if (!w->good.pieces)
    return FG_FAIL(
        CHECK,
        "epoch %lld, step %lld: catastrophic overfitting before an epoch was over: there "
        "is nothing good to go back to; try --method n-fgsm or pgd",
        (long long)run->done + 1, (long long)run->now.steps);
  *stop = run->options->on_overfit[0] == 's' || is_last(run);
  FG_TRY(fg_snapshot_restore(run, &w->good));
  w->bad = 0;
  *back = true;
  w->rollbacks += !*stop;
  return fg_run_log(run, json_pack("{s:s, s:I}", "event", *stop ? "stop" : "rollback", "to_epoch",
                                   (json_int_t)run->done));
}
