/* The cache of choices. A file is named by the key's hash and holds the key itself on its first
 * line, so that a collision is a miss, and before the text its hash, so that damage is one. It is
 * written under a temporary name and renamed: readers see a whole file or none. */
#include "choice_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SIZE = 4096, MOST_BYTES = 16 << 20 };

struct choice {
  struct choice *next;
  char *text;
  char key[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct choice *choices;

static void remember(const char *key, const char *text) {
  size_t n = strlen(key) + 1;
  struct choice *c = malloc(sizeof *c + n);
  char *copy = strdup(text);
  if (!c || !copy) { /* it will be made again */
    free(c);
    free(copy);
    return;
  }
  memcpy(c->key, key, n);
  c->text = copy;
  pthread_mutex_lock(&lock);
  c->next = choices;
  choices = c;
  pthread_mutex_unlock(&lock);
}

static char *recall(const char *key) {
  char *text = NULL;
  pthread_mutex_lock(&lock);
  for (const struct choice *c = choices; c && !text; c = c->next)
    if (strcmp(c->key, key) == 0)
      text = strdup(c->text);
  pthread_mutex_unlock(&lock);
  return text;
}

__attribute__((destructor)) static void forget_all(void) {
  while (choices) {
    struct choice *c = choices;
    choices = c->next;
    free(c->text);
    free(c);
  }
}

/* ---- on disk */

/* FNV-1a, 64 bits. */
static unsigned long long hash(const char *text) {
  unsigned long long h = 0xcbf29ce484222325u;
  for (; *text; text++)
    h = (h ^ (unsigned char)*text) * 0x100000001b3u;
  return h;
}

/* The folder, made if it is not there; false if there is none to be had. */
static bool folder(char *path) {
  const char *cache = secure_getenv("XDG_CACHE_HOME"), *home = secure_getenv("HOME");
  int n = -1;
  if (cache && *cache == '/')
    n = snprintf(path, PATH_SIZE, "%s", cache);
  else if (home && *home == '/')
    n = snprintf(path, PATH_SIZE, "%s/.cache", home);
  if (n < 0 || n >= PATH_SIZE - 64)
    return false;
  (void)mkdir(path, 0700);
  strcat(path, "/fgsm");
  return mkdir(path, 0700) == 0 || errno == EEXIST;
}

static bool path_of(const char *key, char *path) {
  if (!folder(path))
    return false;
  size_t n = strlen(path);
  snprintf(path + n, PATH_SIZE - n, "/%016llx.choice", hash(key));
  return true;
}

static char *read_file(const char *path) {
  FILE *file = fopen(path, "re");
  struct stat s;
  char *text = NULL;
  if (!file)
    return NULL;
  if (fstat(fileno(file), &s) == 0 && S_ISREG(s.st_mode) && s.st_uid == geteuid() &&
      s.st_size > 0 && s.st_size <= MOST_BYTES)
    text = calloc((size_t)s.st_size + 1, 1);
  if (text && fread(text, 1, (size_t)s.st_size, file) != (size_t)s.st_size) {
    free(text);
    text = NULL;
  }
  fclose(file);
  return text;
}

static bool write_file(const char *path, const char *key, const char *text) {
  char temporary[PATH_SIZE + 8];
  snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
  int fd = mkostemp(temporary, O_CLOEXEC);
  FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
  if (!file) {
    if (fd >= 0)
      close(fd);
    return false;
  }
  bool whole = fprintf(file, "%s\n%016llx %s", key, hash(text), text) > 0;
  whole = fclose(file) == 0 && whole;
  whole = whole && rename(temporary, path) == 0;
  if (!whole)
    (void)unlink(temporary);
  return whole;
}

/* Where in a file's contents the text begins; NULL if it is not the key's, or not what was
 * written. */
static const char *text_of(const char *contents, const char *key) {
  enum { DIGITS = 16 };
  size_t n = strlen(key);
  char *end;
  if (strncmp(contents, key, n) != 0 || contents[n] != '\n')
    return NULL;
  unsigned long long sum = strtoull(contents + n + 1, &end, 16);
  return end == contents + n + 1 + DIGITS && *end == ' ' && hash(end + 1) == sum ? end + 1 : NULL;
}

char *fg_choice_find(const char *key) {
  char path[PATH_SIZE];
  char *text = recall(key);
  if (text || !path_of(key, path))
    return text;
  char *contents = read_file(path);
  const char *found = contents ? text_of(contents, key) : NULL;
  if (found) {
    text = strdup(found);
    remember(key, found);
  }
  free(contents);
  return text;
}

bool fg_choice_keep(const char *key, const char *text) {
  char path[PATH_SIZE];
  remember(key, text);
  errno = ENOENT;
  return path_of(key, path) && write_file(path, key, text);
}
