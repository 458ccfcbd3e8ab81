/* Statuses and the thread's last error: every failure below passes through fg_fail, which keeps the
 * words for fgsm_last_error, made fit to be shown on a terminal whatever names they hold, and hands
 * the status on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"

static _Thread_local char last_error[1024];

const char *fgsm_version(void) {
  return FGSM_VERSION;
}

const char *fgsm_last_error(void) {
  return last_error;
}

const char *fgsm_status_name(fgsm_status status) {
  switch (status) {
#define X(name, code, text)                                                                        \
  case FGSM_##name:                                                                                \
    return #name;
    FGSM_STATUS_MAP(X)
#undef X
  }
  return "UNKNOWN";
}

const char *fgsm_status_text(fgsm_status status) {
  switch (status) {
#define X(name, code, text)                                                                        \
  case FGSM_##name:                                                                                \
    return text;
    FGSM_STATUS_MAP(X)
#undef X
  }
  return "unknown status";
}

int fgsm_status_exit_code(fgsm_status status) {
  switch (status) {
#define X(name, code, text)                                                                        \
  case FGSM_##name:                                                                                \
    return code;
    FGSM_STATUS_MAP(X)
#undef X
  }
  return 6;
}

fgsm_status fg_fail(fgsm_status status, const char *file, int line, const char *format, ...) {
  char text[sizeof last_error]; /* the arguments may hold the last error itself */
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  fg_utf8_clean(last_error, sizeof last_error, text);
  const char *base = strrchr(file, '/');
  fg_log(FGSM_LOG_DEBUG, "%s at %s:%d: %s", fgsm_status_name(status), base ? base + 1 : file, line,
         last_error);
  return status;
}

void fg_error_copy(char *to, size_t size) {
  snprintf(to, size, "%s", last_error);
}

fgsm_status fg_error_restore(fgsm_status status, const char *message) {
  snprintf(last_error, sizeof last_error, "%s", message);
  return status;
}

void fgsm_free(void *text) {
  free(text);
}
