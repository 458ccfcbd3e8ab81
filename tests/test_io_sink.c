/* Writing: what is written is read back the same, and a file is under its final name only when it
 * is whole, whatever goes wrong. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <criterion/criterion.h>

#include "io_files.h"

TestSuite(io_sink, .init = files_begin, .fini = files_end);

static float noise(int64_t i) {
  return (float)(uint32_t)((uint64_t)i * 2654435761u >> 7) * 0x1p-32f;
}

static int64_t announced; /* samples, if not info's */

/* n samples of `info`, written `step` at a time: item i holds noise(i) or its byte. */
static fgsm_status write_all(const char *path, const struct fg_dataset_info *info, int64_t step,
                             int base, struct fg_sink **sink) {
  int64_t items = 1, size = (int64_t)fg_type_size(info->type);
  for (int i = 0; i < info->rank; i++)
    items *= info->dim[i];
  struct fg_dataset_info told = *info;
  told.n = announced ? announced : info->n;
  FG_TRY(fg_sink_open(path, &told, sink));
  unsigned char *x = malloc((size_t)(step * items * size)), extra[64];
  int64_t labels[64];
  fgsm_status status = FGSM_OK;
  for (int64_t i = 0, n; i < info->n && status == FGSM_OK; i += n) {
    n = info->n - i < step ? info->n - i : step;
    for (int64_t k = 0; k < n * items; k++) {
      if (info->type == FG_U8)
        x[k] = (unsigned char)(noise(i * items + k) * 255);
      else
        ((float *)(void *)x)[k] = noise(i * items + k);
    }
    for (int64_t k = 0; k < n; k++) {
      labels[k] = base + i + k;
      extra[k] = (uint8_t)(i + k + 3);
    }
    status = fg_sink_write(*sink, n, x, info->has_labels ? labels : NULL, extra);
  }
  free(x);
  return status;
}

static void check_read(const char *path, const struct fg_dataset_info *info, int base,
                       const char *what) {
  struct whole w;
  fgsm_status status = whole_read(path, NULL, 3, &w);
  cr_expect(status == FGSM_OK, "%s: %s", what, fgsm_last_error());
  cr_expect(w.n == info->n && w.info.type == info->type && w.info.rank == info->rank &&
                w.info.has_labels == info->has_labels,
            "%s: shape", what);
  int64_t items = 1;
  for (int i = 0; i < info->rank; i++) {
    cr_expect(w.info.dim[i] == info->dim[i], "%s: dim %d", what, i);
    items *= info->dim[i];
  }
  bool same = w.n == info->n;
  for (int64_t k = 0; same && k < w.n * items; k++)
    same = info->type == FG_U8 ? w.x[k] == (unsigned char)(noise(k) * 255)
                               : ((float *)(void *)w.x)[k] == noise(k);
  cr_expect(same, "%s: samples differ", what);
  for (int64_t k = 0; k < w.n; k++)
    cr_expect(w.labels[k] == (info->has_labels ? base + k : -1), "%s: label %lld", what,
              (long long)k);
  whole_free(&w);
}

Test(io_sink, every_format_and_type_comes_back) {
  static const char *const names[] = {"a.npy", "a.npy.gz", "a.npz",   "a-images-idx3-ubyte",
                                      "b.idx", "b.idx.gz", "b-ubyte", "t10k-images.idx3-ubyte.gz"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    for (int k = 0; k < 24; k++) {
      struct fg_dataset_info info = {.n = k & 4 ? 7 : 5,
                                     .type = k & 1 ? FG_U8 : FG_F32,
                                     .rank = 1 + k / 8,
                                     .has_labels = k & 2};
      info.dim[0] = 3;
      info.dim[1] = 4;
      info.dim[2] = 2;
      struct fg_sink *sink = NULL;
      char what[100];
      const char *path = files_path("%d-%s", k, names[i]);
      snprintf(what, sizeof what, "%s %s rank %d", names[i], fg_type_name(info.type), info.rank);
      assert_ok(write_all(path, &info, 1 + k % 4, 10, &sink));
      cr_expect(access(path, F_OK) != 0, "%s: there before it is complete", what);
      assert_ok(fg_sink_commit(sink));
      fg_sink_close(sink);
      check_read(path, &info, 10, what);
      bool one = !info.has_labels || strstr(names[i], ".npz");
      cr_expect(files_count() == (one ? 1 : 2), "%s: %d files", what, files_count());
      files_end();
      files_begin();
    }
}

/* Seven samples were announced and four came: what is left is those four, under another name. */
Test(io_sink, what_was_written_can_be_made_the_whole) {
  static const char *const names[] = {
      "a.npy", "a.npz", "a-images-idx3-ubyte", "c.idx", "c.bin", "a.npy.gz", "b.idx.gz"};
  enum { N = sizeof names / sizeof *names, GZ = 2 };
  for (int i = 0; i < N; i++)
    for (int labelled = names[i][0] == 'c' && names[i][2] == 'b'; labelled < 2; labelled++) {
      bool cifar = strcmp(names[i], "c.bin") == 0;
      struct fg_dataset_info info = {.n = 4, .type = FG_U8, .rank = 2, .dim = {5, 3}};
      if (cifar)
        info = (struct fg_dataset_info){.n = 4, .type = FG_U8, .rank = 3, .dim = {3, 32, 32}};
      info.has_labels = labelled;
      struct fg_sink *sink = NULL;
      char name[64];
      const char *path = files_path("%s", names[i]);
      announced = 7;
      cr_assert_eq(write_all(path, &info, 2, 1, &sink), FGSM_OK, "%s", fgsm_last_error());
      announced = 0;
      fgsm_status status = fg_sink_shorten(sink, "partial-");
      if (i >= N - GZ) {
        cr_expect_eq(status, FGSM_UNSUPPORTED, "%s", names[i]);
      } else {
        cr_assert_eq(status, FGSM_OK, "%s: %s", names[i], fgsm_last_error());
        cr_assert_eq(fg_sink_commit(sink), FGSM_OK, "%s: %s", names[i], fgsm_last_error());
        snprintf(name, sizeof name, "partial-%s", names[i]);
        check_read(files_path("%s", name), &info, 1, name);
      }
      fg_sink_close(sink);
      cr_expect(access(files_path("%s", names[i]), F_OK) != 0, "%s is there", names[i]);
    }
}

Test(io_sink, cifar_comes_back_with_its_extra_byte) {
  for (int extra = 0; extra < 2; extra++)
    for (int gz = 0; gz < 2; gz++) {
      struct fg_dataset_info info = {.n = 6,
                                     .type = FG_U8,
                                     .rank = 3,
                                     .dim = {3, 32, 32},
                                     .has_labels = true,
                                     .extra_bytes = extra};
      struct fg_sink *sink = NULL;
      struct whole w;
      const char *path = files_path(gz ? "a.bin.gz" : "a.bin");
      assert_ok(write_all(path, &info, 4, 2, &sink));
      assert_ok(fg_sink_commit(sink));
      fg_sink_close(sink);
      check_read(path, &info, 2, path);
      assert_ok(whole_read(path, NULL, 4, &w));
      cr_expect(w.info.extra_bytes == extra && (!extra || w.extra[5] == 8));
      whole_free(&w);
    }
}

Test(io_sink, npy_headers_are_numpys) {
  struct fg_dataset_info info = {.n = 2, .type = FG_F32, .rank = 1, .dim = {1}};
  struct fg_sink *sink = NULL;
  size_t n = 0;
  assert_ok(write_all(files_path("a.npy"), &info, 2, 0, &sink));
  assert_ok(fg_sink_commit(sink));
  fg_sink_close(sink);
  unsigned char *data = files_read(files_path("a.npy"), &n);
  cr_expect(n == 136 &&
            memcmp(data,
                   "\x93NUMPY\1\0\x76\0{'descr': '<f4', 'fortran_order': False, "
                   "'shape': (2, 1), }",
                   69) == 0 &&
            data[127] == '\n');
  free(data);
}

Test(io_sink, what_a_format_cannot_hold_is_refused) {
  struct fg_sink *sink = NULL;
  struct fg_dataset_info info = {
      .n = 2, .type = FG_F32, .rank = 3, .dim = {3, 32, 32}, .has_labels = true};
  expect_fails(USAGE, "none of: .npy .npz .bin", fg_sink_open(files_path("a.png"), &info, &sink));
  expect_fails(USAGE, "write .npy", fg_sink_open(files_path("a.bin"), &info, &sink));
  info.type = FG_U8;
  info.has_labels = false;
  expect_fails(USAGE, "with labels", fg_sink_open(files_path("a.bin"), &info, &sink));
  info.rank = 4;
  info.dim[3] = 2;
  expect_fails(USAGE, "at most 3 dimensions", fg_sink_open(files_path("a.idx"), &info, &sink));
  info.type = FG_F64;
  expect_fails(USAGE, "uint8 and float32", fg_sink_open(files_path("a.npy"), &info, &sink));
  info.type = FG_U8;
  info.dim[1] = info.dim[2] = info.dim[3] = INT64_MAX / 2;
  expect_fails(USAGE, "definite shape", fg_sink_open(files_path("a.npy"), &info, &sink));
  expect_fails(IO, "No such file",
               fg_sink_open(files_path("no/a.npy"),
                            &(struct fg_dataset_info){.n = 1, .type = FG_U8}, &sink));
  mkdir(files_path("d.npy"), 0700);
  expect_fails(
      IO, "is no file",
      fg_sink_open(files_path("d.npy"), &(struct fg_dataset_info){.n = 1, .type = FG_U8}, &sink));
  rmdir(files_path("d.npy"));
  cr_expect(!sink && files_count() == 0);
  info = (struct fg_dataset_info){.n = 1, .type = FG_U8, .has_labels = true};
  const char *names[] = {"a.idx", "b.idx.gz"};
  for (int i = 0; i < 2; i++) {
    assert_ok(fg_sink_open(files_path("%s", names[i]), &info, &sink));
    expect_fails(DATA, "label 256 of sample 0",
                 fg_sink_write(sink, 1, "x", (int64_t[]){256}, NULL));
    expect_fails(INTERNAL, "failed", fg_sink_commit(sink));
    fg_sink_close(sink);
    cr_expect(files_count() == 0);
  }
}

Test(io_sink, without_a_commit_nothing_is_left) {
  static const char *const names[] = {"a.npy", "a.npz", "a.npy.gz", "images.idx"};
  struct fg_dataset_info info = {.n = 5, .type = FG_U8, .rank = 1, .dim = {9}, .has_labels = true};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    struct fg_sink *sink = NULL;
    assert_ok(write_all(files_path("%s", names[i]), &info, 2, 0, &sink));
    cr_expect(files_count() >= 1);
    fg_sink_close(sink);
    cr_expect(files_count() == 0, "%s leaves %d files", names[i], files_count());
    assert_ok(fg_sink_open(files_path("%s", names[i]), &info, &sink));
    expect_fails(INTERNAL, "0 of 5", fg_sink_commit(sink)); /* too few samples */
    fg_sink_close(sink);
    cr_expect(files_count() == 0);
  }
  fg_sink_close(NULL);
  fg_file_close(NULL);
  fg_dataset_close(NULL);
}

Test(io_sink, what_was_there_stays_until_the_commit) {
  struct fg_dataset_info info = {.n = 5, .type = FG_U8, .rank = 1, .dim = {9}, .has_labels = true};
  struct fg_sink *sink = NULL;
  size_t n = 0;
  const char *path = files_write("a.npy", "old", 3),
             *beside = files_write("a.labels.npy", "old", 3);
  symlink("a.npy", files_path("link.npy"));
  for (int commit = 0; commit < 2; commit++) {
    assert_ok(write_all(path, &info, 2, 0, &sink));
    unsigned char *data = files_read(path, &n), *labels = files_read(beside, &n);
    cr_expect(memcmp(data, "old", 3) == 0 && memcmp(labels, "old", 3) == 0);
    free(data);
    free(labels);
    if (commit)
      assert_ok(fg_sink_commit(sink));
    fg_sink_close(sink);
  }
  check_read(path, &info, 0, "replaced");
  info.has_labels = false;
  unlink(beside);
  files_write("a.npy", "old", 3);
  assert_ok(write_all(files_path("link.npy"), &info, 2, 0, &sink));
  assert_ok(fg_sink_commit(sink));
  fg_sink_close(sink);
  struct stat s;
  cr_expect(lstat(files_path("link.npy"), &s) == 0 && S_ISLNK(s.st_mode), "the link was replaced");
  check_read(path, &info, 0, "through a link");
}

Test(io_sink, output_over_input_is_refused) {
  struct fg_dataset_info info = {.n = 5, .type = FG_U8, .rank = 1, .dim = {9}, .has_labels = true};
  struct fg_sink *sink = NULL;
  struct fg_dataset *d = NULL;
  assert_ok(write_all(files_path("a.npy"), &info, 2, 0, &sink));
  assert_ok(fg_sink_commit(sink));
  fg_sink_close(sink);
  assert_ok(fg_dataset_open(files_path("a.npy"), NULL, &d));
  link(files_path("a.npy"), files_path("hard.npz"));
  rename(files_path("a.labels.npy"), files_path("moved"));
  link(files_path("moved"), files_path("b.labels.npy"));
  rename(files_path("moved"), files_path("a.labels.npy"));
  const char *names[] = {"a.npy", "hard.npz", "b.npy", "c.npy"};
  for (int i = 0; i < 4; i++) {
    assert_ok(fg_sink_open(files_path("%s", names[i]), &info, &sink));
    if (i < 3)
      expect_fails(USAGE, "being read", fg_sink_check_apart(sink, d));
    else
      assert_ok(fg_sink_check_apart(sink, d));
    fg_sink_close(sink);
  }
  cr_expect(fg_path_same(files_path("a.npy"), files_path("./hard.npz")));
  cr_expect(!fg_path_same(files_path("a.npy"), files_path("b.labels.npy")));
  cr_expect(!fg_path_same(files_path("none"), files_path("none")));
  fg_dataset_close(d);
}

/* A disk that fills up: every size at which writing can fail. */
Test(io_sink, a_full_disk_leaves_nothing) {
  static const char *const names[] = {"a.npy", "a.npz", "a.npy.gz", "images.idx", "a.bin"};
  struct fg_dataset_info info = {
      .n = 40, .type = FG_U8, .rank = 3, .dim = {3, 32, 32}, .has_labels = true};
  signal(SIGXFSZ, SIG_IGN);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    const char *path = files_path("%s", names[i]);
    int failed = 0;
    for (rlim_t limit = 0; limit < 130000; limit += limit < 200 ? 100 : 20000) {
      struct rlimit old, new;
      struct fg_sink *sink = NULL;
      getrlimit(RLIMIT_FSIZE, &old);
      new = old;
      new.rlim_cur = limit;
      setrlimit(RLIMIT_FSIZE, &new);
      fgsm_status status = write_all(path, &info, 7, 0, &sink);
      if (status == FGSM_OK)
        status = fg_sink_commit(sink);
      setrlimit(RLIMIT_FSIZE, &old);
      if (status != FGSM_OK) {
        failed++;
        cr_expect(status == FGSM_IO && strstr(fgsm_last_error(), path) &&
                      strstr(fgsm_last_error(), strerror(EFBIG)),
                  "%s at %ld: %s", path, (long)limit, fgsm_last_error());
        cr_expect(!sink || fg_sink_commit(sink) != FGSM_OK);
      }
      fg_sink_close(sink);
      cr_expect(files_count() == (status == FGSM_OK ? i == 1 || i == 4 ? 1 : 2 : 0),
                "%s at %ld leaves %d files", path, (long)limit, files_count());
    }
    cr_expect(failed >= 3, "%s never failed", path);
    files_end();
    files_begin();
  }
}

Test(io_sink, a_text_file_is_patched_and_committed) {
  struct fg_file *file = NULL;
  size_t n = 0;
  char line[100];
  size_t want = 0;
  assert_ok(fg_file_create(files_path("r.csv"), &file));
  for (int i = 0; i < 20000; i++) {
    size_t length = (size_t)snprintf(line, sizeof line, "%d,%d\n", i, i * i);
    assert_ok(fg_file_write(file, line, length));
    want += length;
  }
  assert_ok(fg_file_patch(file, 0, "9", 1));
  assert_ok(fg_file_patch(file, (int64_t)want - 1, ";", 1));
  expect_fails(INTERNAL, "overwritten", fg_file_patch(file, (int64_t)want, ";", 1));
  expect_fails(INTERNAL, "overwritten", fg_file_patch(file, -1, ";", 1));
  assert_ok(fg_file_write(file, "end", 3));
  assert_ok(fg_file_commit(file));
  expect_fails(INTERNAL, "completed", fg_file_write(file, "x", 1));
  fg_file_close(file);
  unsigned char *data = files_read(files_path("r.csv"), &n);
  cr_expect(n == want + 3 && memcmp(data, "9,0\n1,1\n", 8) == 0 &&
            memcmp(data + want - 1, ";end", 4) == 0);
  free(data);
  cr_expect(files_count() == 1);
  struct stat s;
  mode_t mask = umask(0);
  umask(mask);
  cr_expect(stat(files_path("r.csv"), &s) == 0 && (s.st_mode & 0777) == (0666 & ~mask));
}

Test(io_sink, a_name_takes_an_infix_before_its_suffix) {
  static const char *const t[][2] = {
      {"adv.npy", "adv-e.npy"},
      {"d.x/adv.npy.gz", "d.x/adv-e.npy.gz"},
      {"d.x/adv", "d.x/adv-e"},
      {"t10k-images.idx3-ubyte.gz", "t10k-images-e.idx3-ubyte.gz"},
      {"t10k-images-idx3-ubyte", "t10k-images-e-idx3-ubyte"},
      {"a.b.npz", "a.b-e.npz"},
      {".npy", ".npy-e"},
      {"adv.gz", "adv-e.gz"},
  };
  char out[64];
  for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
    assert_ok(fg_path_insert(t[i][0], "-e", out, sizeof out));
    cr_expect(strcmp(out, t[i][1]) == 0, "%s -> %s", t[i][0], out);
  }
  assert_ok(fg_path_insert("adv.npy", "-e", out, 10));
  expect_fails(USAGE, "more than 8 bytes", fg_path_insert("adv.npy", "-e", out, 9));
}
