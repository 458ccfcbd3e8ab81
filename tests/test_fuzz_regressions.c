/* What fuzzing found, kept: every file of tests/fuzz/regressions goes through its target in every way
 * there is, in every build. Each must be accepted or refused, within a second (a slow sanitizer's
 * time is not held against it), and break none of the promises that fuzz_check holds. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <criterion/criterion.h>

#include "fuzz/fuzz.h"
#include "io_files.h"

TestSuite(fuzz_regressions, .init = files_begin, .fini = files_end, .timeout = 300);

#ifdef FG_SANITIZED
static const double MOST_SECONDS = 20;
#else
static const double MOST_SECONDS = 1;
#endif

/* Of this process alone: other processes of a busy machine do not count. */
static double cpu_seconds(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
         1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static int replay_folder(const struct fuzz_target *target) {
  char folder[512], path[1024];
  int n = 0;
  snprintf(folder, sizeof folder, "%s/tests/fuzz/regressions/%s", FGSM_SOURCE_DIR, target->name);
  DIR *d = opendir(folder);
  for (struct dirent *e; d && (e = readdir(d));) {
    if (e->d_name[0] == '.')
      continue;
    size_t bytes = 0;
    snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
    unsigned char *data = files_read(path, &bytes);
    double start = cpu_seconds();
    (void)target->run(data, bytes, true);
    double took = cpu_seconds() - start;
    cr_expect(took < MOST_SECONDS, "%s: %s took %.1f s", target->name, e->d_name, took);
    free(data);
    n++;
  }
  if (d)
    closedir(d);
  return n;
}

Test(fuzz_regressions, every_file_is_accepted_or_refused) {
  int n = 0;
  for (int i = 0; fuzz_target_at(i); i++)
    n += replay_folder(fuzz_target_at(i));
  cr_expect(n > 0, "no file was found under %s/tests/fuzz/regressions", FGSM_SOURCE_DIR);
}

/* The targets themselves: what is sound is accepted, so that a refusal says something. */
Test(fuzz_regressions, the_targets_accept_sound_files) {
  static const struct {
    const char *target, *file;
  } t[] = {{"model", "tests/golden/mlp.onnx"}, {"npz", "tests/golden/mlp.npz"}};
  for (size_t i = 0; i < sizeof t / sizeof *t; i++)
    for (int k = 0; fuzz_target_at(k); k++) {
      char path[1024];
      size_t n = 0;
      if (strcmp(fuzz_target_at(k)->name, t[i].target) != 0)
        continue;
      snprintf(path, sizeof path, "%s/%s", FGSM_SOURCE_DIR, t[i].file);
      unsigned char *data = files_read(path, &n);
      cr_expect(fuzz_target_at(k)->run(data, n, true), "%s refused: %s", t[i].file,
                fgsm_last_error());
      free(data);
    }
}
