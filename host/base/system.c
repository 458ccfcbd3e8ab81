/* What the process owes its surroundings: log callback, interruption, clock, processors. */
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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

/* The cgroup's CPU quota in whole processors, or 0 for none (cgroup v2, then v1). */
static int quota_cpus(void) {
  double quota = 0, period = 0;
  char word[32] = "";
  FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
  if (f) {
    if (fscanf(f, "%31s %lf", word, &period) != 2 || sscanf(word, "%lf", &quota) != 1)
      quota = 0;
    fclose(f);
  } else if ((f = fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "re"))) {
    if (fscanf(f, "%lf", &quota) != 1)
      quota = 0;
    fclose(f);
    if ((f = fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "re"))) {
      if (fscanf(f, "%lf", &period) != 1)
        period = 0;
      fclose(f);
    }
  }
  if (quota <= 0 || period <= 0)
    return 0;
  int n = (int)(quota / period + 0.5);
  return n > 0 ? n : 1;
}

int fg_cpu_count(void) {
  cpu_set_t set;
  int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                      : (int)sysconf(_SC_NPROCESSORS_ONLN);
  int quota = quota_cpus();
  if (quota && quota < n)
    n = quota;
  return n > 0 ? n : 1;
}
