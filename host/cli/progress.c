/* The progress bar and the library's messages: whole lines to standard error, each in one write, so
 * that threads do not mix them. Drawn at most ten times a second, only on a terminal. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

enum { WIDTH = 30, USUAL = 80 }; /* of the bar; of a terminal that does not say */

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

struct line {
  char text[256];
  int length;
};

__attribute__((format(printf, 2, 3))) static void add(struct line *line, const char *format, ...) {
  size_t room = sizeof line->text - (size_t)line->length;
  va_list args;
  va_start(args, format);
  int n = vsnprintf(line->text + line->length, room, format, args);
  va_end(args);
  line->length += n < 0 ? 0 : (size_t)n < room ? n : (int)room - 1;
}

static void add_rate(struct line *line, const char *name, int64_t correct, int64_t n) {
  if (correct >= 0)
    add(line, "  %s %.1f %%", name, 100.0 * (double)correct / (double)(n ? n : 1));
}

/* As much of the line as fits, in whole items: two spaces lie between them. */
static int fitting(const struct line *line, int room) {
  int n = line->length;
  while (n > room)
    for (n--; n > 0 && strncmp(line->text + n, "  ", 2) != 0;)
      n--;
  return n;
}

/* Over the last drawing. Of two lines on the terminal only the second would be drawn over: the bar gives
 * way to the text, and the text is cut. share: of the bar, 0..1; below 0: no bar. */
static void draw(const struct progress *progress, double share, const struct line *line) {
  int columns = cli_columns(STDERR_FILENO), room = (columns > 0 ? columns : USUAL) - 1;
  int left = room - line->length, width = share < 0 || left < 0 ? 0 : left < WIDTH ? left : WIDTH;
  char bar[WIDTH + 1];
  for (int i = 0; i < width; i++)
    bar[i] = i < (int)(share * width) ? '#' : '.';
  bar[width] = 0;
  bool color = progress->color && width > 0;
  fprintf(stderr, "\r%s%s%s%.*s\033[K", color ? "\033[32m" : "", bar, color ? "\033[0m" : "",
          fitting(line, room), line->text);
}

static bool is_due(struct progress *progress, bool last, double seconds) {
  if (!progress->on || (!last && progress->drawn >= 0 && seconds - progress->drawn < 0.1))
    return false;
  progress->drawn = seconds;
  return true;
}

void cli_progress_show(void *user, const fgsm_progress *p) {
  struct progress *progress = user;
  struct line line = {0};
  if (!is_due(progress, p->done == p->total, p->seconds))
    return;
  double share = p->total > 0 ? (double)p->done / (double)p->total : 0;
  double rate = p->seconds > 0 ? (double)p->done / p->seconds : 0;
  char left[32] = "?";
  if (rate > 0 && p->total > 0)
    clock_text((double)(p->total - p->done) / rate, left, sizeof left);
  add(&line, " %lld/%lld  %.1f/s  %s left", (long long)p->done, (long long)p->total, rate, left);
  add_rate(&line, "clean", p->clean_correct, p->done);
  add_rate(&line, "adversarial", p->adversarial_correct, p->done);
  draw(progress, share, &line);
}

void cli_progress_train(void *user, const fgsm_train_progress *p) {
  struct progress *progress = user;
  struct line line = {0};
  if (!is_due(progress, p->step == p->steps && p->epoch == p->epochs, p->seconds))
    return;
  double all = (double)(p->epochs * p->steps), now = (double)((p->epoch - 1) * p->steps + p->step);
  char left[32];
  clock_text(p->seconds * (all - now) / now, left, sizeof left);
  add(&line, "epoch %lld/%lld, %lld %%  %s left  %.0f/s  loss %.4f", (long long)p->epoch,
      (long long)p->epochs, (long long)(100 * p->step / p->steps), left, p->samples_per_second,
      p->loss);
  if (p->clean_accuracy >= 0)
    add(&line, "  clean %.1f %%", 100 * p->clean_accuracy);
  if (p->robust_accuracy >= 0)
    add(&line, "  robust %.1f %%", 100 * p->robust_accuracy);
  if (p->held_clean_accuracy >= 0)
    add(&line, "  held out %.1f %%", 100 * p->held_clean_accuracy);
  if (p->held_robust_accuracy >= 0)
    add(&line, ", %.1f %%", 100 * p->held_robust_accuracy);
  draw(progress, -1, &line);
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
