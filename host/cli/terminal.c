/* What standard output can show, where the options leave it to that. */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli.h"

int cli_columns(int file) {
  struct winsize size;
  if (isatty(file) && ioctl(file, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    return size.ws_col;
  const char *said = getenv("COLUMNS");
  return said ? (int)strtol(said, NULL, 10) : 0;
}

/* As setlocale would find it. */
static bool is_utf8(void) {
  static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
  for (int i = 0; i < 3; i++) {
    const char *value = getenv(names[i]);
    if (value && *value)
      return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
  }
  return false;
}

static bool has_color(void) {
  const char *plain = getenv("NO_COLOR"), *terminal = getenv("TERM");
  return !(plain && *plain) && terminal && strcmp(terminal, "dumb") != 0 && isatty(STDOUT_FILENO);
}

static bool is_open(const fgsm_options *options, const char *name) {
  const char *value = fgsm_options_get(options, name);
  return value && strcmp(value, "auto") == 0;
}

fgsm_status cli_suit_terminal(fgsm_options *options) {
  fgsm_status status = FGSM_OK;
  int n = cli_columns(STDOUT_FILENO);
  if (is_open(options, "width") && n >= 40 && n <= 1000) {
    char text[16];
    snprintf(text, sizeof text, "%d", n);
    status = fgsm_options_set(options, "width", text);
  }
  if (status == FGSM_OK && is_open(options, "plot"))
    status = fgsm_options_set(options, "plot", is_utf8() ? "unicode" : "ascii");
  if (status == FGSM_OK && is_open(options, "color"))
    status = fgsm_options_set(options, "color", has_color() ? "always" : "never");
  return status;
}
