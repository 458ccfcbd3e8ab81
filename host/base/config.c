/* Option files: lines `name = value`. Small, read whole; every error names the file and line, and
 * nothing in a file can make the reader open another. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "options.h"

enum { MAX_FILE = 1 << 20 };

static fgsm_status read_whole(const char *path, char **out, size_t *n) {
  fgsm_status status = FGSM_OK;
  struct stat about;
  char *text = NULL;
  FILE *f = fopen(path, "re");
  if (!f)
    return FG_FAIL(IO, "%s: %s", path, strerror(errno));
  if (fstat(fileno(f), &about) != 0 || S_ISDIR(about.st_mode)) {
    status = FG_FAIL(IO, "%s: not a file of options", path);
    goto done;
  }
  text = malloc(MAX_FILE + 1);
  if (!text) {
    status = FG_FAIL(MEMORY, "no memory to read %s", path);
    goto done;
  }
  *n = fread(text, 1, MAX_FILE + 1, f);
  if (ferror(f))
    status = FG_FAIL(IO, "%s: %s", path, strerror(errno));
  else if (*n > MAX_FILE)
    status = FG_FAIL(USAGE, "%s: longer than %d bytes: not a file of options", path, MAX_FILE);
  else if (memchr(text, 0, *n))
    status = FG_FAIL(USAGE, "%s: holds a zero byte: not a file of options", path);
  else
    text[*n] = 0;
done:
  fclose(f);
  if (status != FGSM_OK) {
    free(text);
    return status;
  }
  *out = text;
  return FGSM_OK;
}

static char *trim(char *text) {
  text += strspn(text, " \t\r");
  size_t n = strlen(text);
  while (n && strchr(" \t\r", text[n - 1]))
    n--;
  text[n] = 0;
  return text;
}

/* Ends the line where a `#` begins it or follows a space. */
static void cut_comment(char *line) {
  for (char *c = line; (c = strchr(c, '#')); c++)
    if (c == line || c[-1] == ' ' || c[-1] == '\t') {
      *c = 0;
      return;
    }
}

static fgsm_status set_line(struct fgsm_options *o, char *line) {
  cut_comment(line);
  char *equals = strchr(line, '=');
  char *value = equals ? trim(equals + 1) : NULL;
  if (equals)
    *equals = 0;
  char *name = trim(line);
  if (!*name && !equals)
    return FGSM_OK;
  if (strcmp(name, "config") == 0)
    return FG_FAIL(USAGE, "a file of options cannot name another");
  if (strncmp(name, "--", 2) == 0)
    return FG_FAIL(USAGE, "write '%.40s' without the dashes: name = value", name);
  return fgsm_options_set(o, name, value);
}

fgsm_status fgsm_options_read(fgsm_options *options, const char *path) {
  char *text = NULL, *next;
  size_t n;
  if (!options || !path)
    return FG_FAIL(USAGE, "fgsm_options_read: options and path must not be NULL");
  fgsm_status status = read_whole(path, &text, &n);
  if (status != FGSM_OK)
    return status;
  int number = 1;
  for (char *line = text; line && status == FGSM_OK; line = next, number++) {
    next = strchr(line, '\n');
    if (next)
      *next++ = 0;
    status = set_line(options, line);
  }
  if (status != FGSM_OK) {
    char reason[768];
    fg_error_copy(reason, sizeof reason);
    status = fg_fail(status, __FILE__, __LINE__, "%s:%d: %s", path, number - 1, reason);
  }
  free(text);
  return status;
}
