/* What the targets share. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"

static const struct fuzz_target *const targets[] = {
    &fuzz_model, &fuzz_idx, &fuzz_cifar, &fuzz_npy, &fuzz_npz, &fuzz_labels, &fuzz_options};

const struct fuzz_target *fuzz_target_at(int i) {
  return i >= 0 && i < (int)(sizeof targets / sizeof *targets) ? targets[i] : NULL;
}

static char folder[64];

static void remove_folder(void) {
  char path[512];
  DIR *d = opendir(folder);
  for (struct dirent *e; d && (e = readdir(d));)
    if (e->d_name[0] != '.') {
      snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
      unlink(path);
    }
  if (d)
    closedir(d);
  rmdir(folder);
}

static void make_folder(void) {
  bool shm = access("/dev/shm", W_OK) == 0;
  snprintf(folder, sizeof folder, "%s/fgsm-fuzz-XXXXXX", shm ? "/dev/shm" : "/tmp");
  if (!mkdtemp(folder)) {
    perror("no folder for the target's files");
    abort();
  }
  atexit(remove_folder);
}

const char *fuzz_file(const char *name, const uint8_t *data, size_t n) {
  static char path[512];
  if (!*folder)
    make_folder();
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, "wb");
  if (!f || fwrite(data, 1, n, f) != n || fclose(f) != 0) {
    perror(path);
    abort();
  }
  return path;
}

bool fuzz_check(fgsm_status status) {
  if (status == FGSM_OK)
    return true;
  const char *words = fgsm_last_error();
  if (status == FGSM_INTERNAL || !*words) {
    fprintf(stderr, "%s: %s\n", fgsm_status_name(status), words);
    abort();
  }
  for (const char *c = words; *c; c++)
    if ((unsigned char)*c < 32 || *c == 127) {
      fprintf(stderr, "%s: a message with a control character, %d\n", fgsm_status_name(status), *c);
      abort();
    }
  return false;
}

uint32_t fuzz_hash(const uint8_t *data, size_t n) {
  uint32_t h = 2166136261u;
  for (size_t i = 0; i < n; i++)
    h = (h ^ data[i]) * 16777619u;
  return h ^ h >> 15;
}
