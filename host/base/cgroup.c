/* See cgroup.h. /proc/self/cgroup has a line for each hierarchy, "number:controllers:path"; v2's has
 * no controllers. */
#include "cgroup.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 4400 };

/* The limit that a cgroup's folder states; infinite where it states none. */
typedef double (*read_fn)(const char *folder);

/* The first n numbers of a file; how many there are. A word such as "max" is infinite. */
static int read_numbers(const char *folder, const char *name, double *to, int n) {
  char file[PATH_BYTES], word[64];
  int found = 0;
  snprintf(file, sizeof file, "%s/%s", folder, name);
  FILE *f = fopen(file, "re");
  while (f && found < n && fscanf(f, "%63s", word) == 1) {
    char *end;
    double value = strtod(word, &end);
    to[found++] = end != word && !*end ? value : INFINITY;
  }
  if (f)
    fclose(f);
  return found;
}

static double cpus_v2(const char *folder) {
  double n[2]; /* quota and period, in microseconds */
  return read_numbers(folder, "cpu.max", n, 2) == 2 && n[0] > 0 && n[1] > 0 ? n[0] / n[1]
                                                                            : INFINITY;
}

/* No quota is -1. */
static double cpus_v1(const char *folder) {
  double quota, period;
  bool found = read_numbers(folder, "cpu.cfs_quota_us", &quota, 1) == 1 &&
               read_numbers(folder, "cpu.cfs_period_us", &period, 1) == 1;
  return found && quota > 0 && period > 0 ? quota / period : INFINITY;
}

static double memory_v2(const char *folder) {
  double bytes;
  return read_numbers(folder, "memory.max", &bytes, 1) == 1 ? bytes : INFINITY;
}

static double memory_v1(const char *folder) {
  double bytes;
  return read_numbers(folder, "memory.limit_in_bytes", &bytes, 1) == 1 ? bytes : INFINITY;
}

/* The least from mount/path up to mount itself. */
static double least_on_the_way(const char *root, const char *mount, const char *path,
                               read_fn read) {
  char folder[PATH_BYTES];
  double least = INFINITY;
  size_t shortest = (size_t)snprintf(folder, sizeof folder, "%s/sys/fs/cgroup%s", root, mount);
  if (shortest >= sizeof folder)
    return least;
  snprintf(folder + shortest, sizeof folder - shortest, "%s", path);
  for (;;) {
    least = fmin(least, read(folder));
    char *last = strrchr(folder + shortest, '/');
    if (!last)
      return least;
    *last = 0;
  }
}

static bool lists(const char *controllers, const char *name) {
  size_t n = strlen(name);
  for (const char *at = controllers; *at; at += strcspn(at, ","), at += *at == ',')
    if (strncmp(at, name, n) == 0 && (at[n] == ',' || !at[n]))
      return true;
  return false;
}

static double least(const char *root, const char *controller, read_fn v2, read_fn v1) {
  char file[PATH_BYTES], line[PATH_BYTES], mount[64];
  double least = INFINITY;
  snprintf(file, sizeof file, "%s/proc/self/cgroup", root);
  snprintf(mount, sizeof mount, "/%s", controller);
  FILE *f = fopen(file, "re");
  while (f && fgets(line, sizeof line, f)) {
    char *controllers = strchr(line, ':'),
         *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!path)
      continue;
    *path++ = 0;
    path[strcspn(path, "\n")] = 0;
    if (!*++controllers) {
      least = fmin(least, least_on_the_way(root, "", path, v2));
      least = fmin(least, least_on_the_way(root, "/unified", path, v2));
    } else if (lists(controllers, controller)) {
      least = fmin(least, least_on_the_way(root, mount, path, v1));
    }
  }
  if (f)
    fclose(f);
  return least;
}

double fg_cgroup_cpus(const char *root) {
  return least(root, "cpu", cpus_v2, cpus_v1);
}

size_t fg_cgroup_memory(const char *root) {
  double bytes = least(root, "memory", memory_v2, memory_v1);
  return bytes < (double)SIZE_MAX ? (size_t)fmax(bytes, 0) : SIZE_MAX;
}
