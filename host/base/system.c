/* What the process owes its surroundings: log callback, interruption, clock. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base.h"

static struct {
  fgsm_log_fn fn;
  void *user;
  fgsm_log_level level;
} logger;

static atomic_int interrupted; /* lock-free, so a signal handler may set it; read by every thread */

void fgsm_set_log(fgsm_log_fn fn, void *user, fgsm_log_level level) {
  logger.fn = fn;
  logger.user = user;
  logger.level = level;
}

void fg_log(fgsm_log_level level, const char *format, ...) {
  if (!logger.fn || level > logger.level)
    return;
  char text[1200], clean[1200];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  fg_utf8_clean(clean, sizeof clean, text);
  logger.fn(logger.user, level, clean);
}

void fgsm_interrupt(void) {
  interrupted = 1;
}

void fgsm_interrupt_clear(void) {
  interrupted = 0;
}

bool fg_interrupted(void) {
  return interrupted != 0;
}

fgsm_status fg_check_interrupt(void) {
  return interrupted ? FG_FAIL(INTERRUPTED, "interrupted") : FGSM_OK;
}

double fg_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
