/* The real files: MNIST and CIFAR-10, where FGSM_TEST_DATA (or ../shared/data) has them. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "io_files.h"

TestSuite(io_real, .init = files_begin, .fini = files_end);

/* The file's path, or NULL with a message. */
static const char *real_file(const char *name) {
  static char path[600];
  const char *folder = getenv("FGSM_TEST_DATA");
  snprintf(path, sizeof path, "%s/%s", folder ? folder : "../shared/data", name);
  if (access(path, R_OK) == 0)
    return path;
  fprintf(stderr, "skipped: no %s\n", path);
  return NULL;
}

static void check_classes(const struct whole *w, const int64_t want[10]) {
  int64_t count[10] = {0};
  for (int64_t i = 0; i < w->n; i++) {
    cr_assert(w->labels[i] >= 0 && w->labels[i] < 10);
    count[w->labels[i]]++;
  }
  for (int k = 0; k < 10; k++)
    cr_expect(count[k] == want[k], "class %d: %lld", k, (long long)count[k]);
}

Test(io_real, mnist_test_set) {
  const char *path = real_file("mnist/t10k-images-idx3-ubyte.gz");
  if (!path)
    return;
  struct whole w;
  assert_ok(whole_read(path, NULL, 300, &w));
  cr_assert(w.n == 10000 && w.info.rank == 2 && w.info.dim[0] == 28 && w.info.dim[1] == 28 &&
            w.info.has_labels && w.info.type == FG_U8);
  check_classes(&w, (int64_t[]){980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009});
  cr_expect(w.labels[0] == 7 && w.labels[1] == 2 && w.labels[9999] == 6);
  double sum = 0;
  for (int64_t i = 0; i < w.n * 784; i++)
    sum += w.x[i];
  cr_expect(sum / (double)(w.n * 784) > 33.79 && sum / (double)(w.n * 784) < 33.80,
            "the mean is %g, not 33.79", sum / (double)(w.n * 784));
  struct fg_sink *sink = NULL;
  const char *copy = files_path("copy-images-idx3-ubyte.gz");
  assert_ok(fg_sink_open(copy, &w.info, &sink));
  assert_ok(fg_sink_write(sink, w.n, w.x, w.labels, NULL));
  assert_ok(fg_sink_commit(sink));
  fg_sink_close(sink);
  struct whole again;
  assert_ok(whole_read(copy, NULL, 300, &again));
  cr_expect(again.n == w.n && memcmp(again.x, w.x, (size_t)(w.n * 784)) == 0 &&
            memcmp(again.labels, w.labels, (size_t)w.n * 8) == 0);
  whole_free(&again);
  whole_free(&w);
}

Test(io_real, cifar10_first_thousand) {
  const char *path = real_file("cifar10/test_batch_first1000.bin");
  if (!path)
    return;
  struct whole w;
  assert_ok(whole_read(path, NULL, 300, &w));
  cr_assert(w.n == 1000 && w.info.rank == 3 && w.info.has_labels && !w.info.extra_bytes);
  check_classes(&w, (int64_t[]){103, 89, 100, 103, 90, 86, 112, 102, 106, 109});
  struct fg_sink *sink = NULL;
  assert_ok(fg_sink_open(files_path("copy.bin"), &w.info, &sink));
  assert_ok(fg_sink_write(sink, w.n, w.x, w.labels, w.extra));
  assert_ok(fg_sink_commit(sink));
  fg_sink_close(sink);
  char hex[65], want[65];
  assert_ok(fg_sha256_file(path, want));
  assert_ok(fg_sha256_file(files_path("copy.bin"), hex));
  cr_expect(strcmp(hex, want) == 0, "the copy differs from the original");
  whole_free(&w);
}
