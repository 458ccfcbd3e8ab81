/* Names of files: suffixes, members of archives, and whether two names are one file. Only names and
 * stat are looked at here, never contents. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "io_format.h"

const char *fg_path_base(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

/* Length without a final ".gz". */
static size_t bare_length(const char *path) {
  size_t n = strlen(path);
  return n > 3 && strcasecmp(path + n - 3, ".gz") == 0 ? n - 3 : n;
}

bool fg_path_is_gz(const char *path) {
  return bare_length(path) != strlen(path);
}

bool fg_path_ends(const char *path, const char *suffix) {
  size_t n = bare_length(path), m = strlen(suffix);
  return n > m && strncasecmp(path + n - m, suffix, m) == 0;
}

bool fg_path_exists(const char *path) {
  struct stat s;
  return stat(path, &s) == 0;
}

bool fg_path_same(const char *a, const char *b) {
  struct stat s, t;
  return stat(a, &s) == 0 && stat(b, &t) == 0 && s.st_dev == t.st_dev && s.st_ino == t.st_ino;
}

fgsm_status fg_path_split(const char *path, char **file, char **member) {
  *file = strdup(path);
  *member = NULL;
  if (!*file)
    return FG_FAIL(MEMORY, "no memory for a path");
  char *colon = strrchr(*file, ':');
  if (!colon || colon == *file || !colon[1] || fg_path_exists(path))
    return FGSM_OK;
  *colon = 0;
  if (!fg_path_exists(*file)) {
    *colon = ':';
    return FGSM_OK;
  }
  *member = strdup(colon + 1);
  if (*member)
    return FGSM_OK;
  free(*file);
  *file = NULL;
  return FG_FAIL(MEMORY, "no memory for a path");
}

/* Where the suffix begins: "-idx3-ubyte" and ".idx3-ubyte" whole, else the last dot's. */
static size_t suffix_at(const char *path) {
  size_t first = (size_t)(fg_path_base(path) - path), end = bare_length(path), dot = end;
  for (size_t i = first + 1; i < end; i++) {
    if (path[i] == '.')
      dot = i;
    if ((path[i] == '.' || path[i] == '-') && strncasecmp(path + i + 1, "idx", 3) == 0)
      return i;
  }
  return dot;
}

fgsm_status fg_path_insert(const char *path, const char *infix, char *out, size_t size) {
  size_t at = suffix_at(path), m = strlen(infix), n = strlen(path);
  if (n + m + 1 > size)
    return FG_FAIL(USAGE, "%s: a name of more than %zu bytes", path, size - 1);
  memmove(out + at + m, path + at, n - at + 1);
  memcpy(out, path, at);
  memcpy(out + at, infix, m);
  return FGSM_OK;
}
