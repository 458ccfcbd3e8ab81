/* The progress bar and the library's messages: whole lines to standard error, each in one write, so
 * that threads do not mix them. Drawn at most ten times a second, only on a terminal. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

enum { WIDTH = 30 };

void cli_progress_begin(struct progress *progress, bool quiet) {
  const char *terminal = getenv("TERM"), *plain = getenv("NO_COLOR");
  bool capable = isatty(STDERR_FILENO) && terminal && strcmp(terminal, "dumb") != 0;
  *progress = (struct progress){.on = capable && !quiet, .drawn = -1};
  progress->color = progress->on && !(plain && *plain);
}

/* "1:05" or "2:03:09". */
static void clock_text(double seconds, char *text, size_t size) {
  long s = seconds < 1e7 ? (long)(seconds + 0.5) : 9999999;
  if (s >= 3600)
    snprintf(text, size, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
  else
    snprintf(text, size, "%ld:%02ld", s / 60, s % 60);
}

static void print_rate(const char *name, int64_t correct, int64_t n) {
  if (correct >= 0)
    fprintf(stderr, "  %s %.1f %%", name, 100.0 * (double)correct / (double)(n ? n : 1));
}

void cli_progress_show(void *user, const fgsm_progress *p) {
  struct progress *progress = user;
  bool last = p->done == p->total;
  if (!progress->on || (!last && progress->drawn >= 0 && p->seconds - progress->drawn < 0.1))
    return;
  progress->drawn = p->seconds;
  double share = p->total > 0 ? (double)p->done / (double)p->total : 0;
  double rate = p->seconds > 0 ? (double)p->done / p->seconds : 0;
  char left[32] = "?", bar[WIDTH + 1];
  if (rate > 0 && p->total > 0)
    clock_text((double)(p->total - p->done) / rate, left, sizeof left);
  int full = (int)(share * WIDTH);
  for (int i = 0; i < WIDTH; i++)
    bar[i] = i < full ? '#' : '.';
  bar[WIDTH] = 0;
  fprintf(stderr, "\r%s%s%s %lld/%lld  %.1f/s  %s left", progress->color ? "\033[32m" : "", bar,
          progress->color ? "\033[0m" : "", (long long)p->done, (long long)p->total, rate, left);
  print_rate("clean", p->clean_correct, p->done);
  print_rate("adversarial", p->adversarial_correct, p->done);
  fprintf(stderr, "\033[K");
}

void cli_progress_train(void *user, const fgsm_train_progress *p) {
  struct progress *progress = user;
  bool last = p->step == p->steps && p->epoch == p->epochs;
  if (!progress->on || (!last && progress->drawn >= 0 && p->seconds - progress->drawn < 0.1))
    return;
  progress->drawn = p->seconds;
  double all = (double)(p->epochs * p->steps), now = (double)((p->epoch - 1) * p->steps + p->step);
  char left[32];
  clock_text(p->seconds * (all - now) / now, left, sizeof left);
  fprintf(stderr, "\repoch %lld/%lld  step %lld/%lld  loss %.4f", (long long)p->epoch,
          (long long)p->epochs, (long long)p->step, (long long)p->steps, p->loss);
  if (p->clean_accuracy >= 0)
    fprintf(stderr, "  clean %.1f %%", 100 * p->clean_accuracy);
  if (p->robust_accuracy >= 0)
    fprintf(stderr, "  robust %.1f %%", 100 * p->robust_accuracy);
  fprintf(stderr, "  %.0f/s  %s left\033[K", p->samples_per_second, left);
}

void cli_progress_end(struct progress *progress) {
  if (progress->on && progress->drawn >= 0)
    fputs("\r\033[K", stderr);
  progress->on = false;
}

void cli_log(void *user, fgsm_log_level level, const char *message) {
  static const char *const names[] = {"error", "warning", "info", "debug"};
  const struct progress *progress = user;
  fprintf(stderr, "%sfgsm: %s: %s\n", progress->on ? "\r\033[K" : "", names[level], message);
}
