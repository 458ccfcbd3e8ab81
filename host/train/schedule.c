/* The learning rate as a function of the way covered, 0 to 1. Rates are set before each step, so
 * that step 0 of a triangle already moves. */
#include <math.h>
#include <string.h>

#include "train.h"

static double between(double from, double to, double share) {
  return from + (to - from) * share;
}

/* Half a cosine from one rate to the other. */
static double eased(double from, double to, double share) {
  return to + (from - to) * (1 + cos(M_PI * share)) / 2;
}

double fg_schedule_rate(const struct fg_schedule *s, int64_t at, int64_t n) {
  double way = ((double)at + 1) / ((double)n + 1), rate = s->rate, peak = s->peak;
  if (s->warmup > 0 && way < s->warmup)
    return s->rate * way / s->warmup;
  switch (s->kind) {
  case FG_SCHEDULE_triangular:
    return way < peak ? between(0, rate, way / peak) : between(rate, 0, (way - peak) / (1 - peak));
  case FG_SCHEDULE_piecewise:
    return way < 0.5 ? rate : way < 0.75 ? rate / 10 : rate / 100;
  case FG_SCHEDULE_cosine:
    return eased(rate, 0, way);
  case FG_SCHEDULE_one_cycle:
    return way < peak ? eased(rate / 25, rate, way / peak)
                      : eased(rate, rate / 1e4, (way - peak) / (1 - peak));
  case FG_SCHEDULE_constant:
    break;
  }
  return rate;
}

fgsm_status fg_schedule_parse(const struct fgsm_options *options, struct fg_schedule *out) {
  static const char *const names[] = {[FG_SCHEDULE_constant] = "constant",
                                      [FG_SCHEDULE_triangular] = "triangular",
                                      [FG_SCHEDULE_piecewise] = "piecewise",
                                      [FG_SCHEDULE_cosine] = "cosine",
                                      [FG_SCHEDULE_one_cycle] = "one-cycle"};
  size_t kind = 0, n = sizeof names / sizeof *names;
  while (kind < n && strcmp(names[kind], options->lr_schedule) != 0)
    kind++;
  if (kind == n)
    return FG_FAIL(USAGE, "--lr-schedule %s: there is no such schedule", options->lr_schedule);
  if (!(options->lr > 0) || !isfinite(options->lr))
    return FG_FAIL(USAGE, "--lr %g: a positive number is needed", options->lr);
  *out = (struct fg_schedule){(enum fg_schedule_kind)kind, options->lr, options->lr_peak,
                              options->lr_warmup};
  return FGSM_OK;
}
