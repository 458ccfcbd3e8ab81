/* Which format a file is in, where its labels are, and several files read as one. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "io_files.h"

TestSuite(io_dataset, .init = files_begin, .fini = files_end);

static const char X
[] = "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 2), }";
static const char Y[] = "{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }";

static void put_records(struct buffer *b, int n, int coarse, int first) {
  static unsigned char pixels[3072];
  for (int i = 0; i < n; i++) {
    unsigned char head[2] = {(unsigned char)(coarse ? (first + i) % 20 : (first + i) % 10),
                             (unsigned char)((first + i) % 100)};
    memset(pixels, first + i, sizeof pixels);
    pixels[3071] = 255;
    put(b, head, coarse ? 2 : 1);
    put(b, pixels, sizeof pixels);
  }
}

Test(io_dataset, cifar_10_and_100_are_told_apart) {
  struct buffer b = {.n = 0};
  struct whole w;
  put_records(&b, 5, 0, 3);
  const char *names[] = {"a.bin", "anything"};
  for (int k = 0; k < 3; k++) {
    assert_ok(whole_read(k < 2 ? files_write(names[k], b.data, b.n)
                               : files_write_gz("a.bin.gz", b.data, b.n),
                         NULL, 2, &w));
    cr_expect(strcmp(w.info.format, "cifar") == 0 && w.n == 5 && w.info.extra_bytes == 0 &&
              w.info.has_labels && w.info.type == FG_U8 && w.info.rank == 3);
    for (int i = 0; i < 5; i++)
      cr_expect(w.labels[i] == 3 + i && w.x[i * 3072] == 3 + i && w.x[i * 3072 + 3071] == 255);
    whole_free(&w);
  }
  b.n = 0;
  put_records(&b, 5, 1, 37);
  assert_ok(whole_read(files_write("c.bin", b.data, b.n), NULL, 2, &w));
  cr_expect(w.n == 5 && w.info.extra_bytes == 1);
  for (int i = 0; i < 5; i++)
    cr_expect(w.labels[i] == 37 + i && w.extra[i] == (37 + i) % 20 && w.x[i * 3072] == 37 + i);
  whole_free(&w);
}

Test(io_dataset, cifar_of_an_odd_size_is_refused) {
  struct buffer b = {.n = 0};
  struct whole w;
  put_records(&b, 3, 0, 0);
  for (size_t n = 0; n < b.n; n += n % 3073 < 8 || n % 3073 > 3060 ? 1 : 97) {
    fgsm_status status = whole_read(files_write("a.bin", b.data, n), NULL, 2, &w);
    bool good = n && (n % 3073 == 0 || n % 3074 == 0);
    cr_expect(status == (good ? FGSM_OK : FGSM_DATA), "%zu bytes: %s", n, fgsm_last_error());
    whole_free(&w);
  }
  expect_fails(DATA, "whole number of CIFAR records",
               whole_read(files_write("a.bin", b.data, b.n - 1), NULL, 2, &w));
  b.data[0] = 77; /* no label of CIFAR-10's: only the name speaks for it */
  expect_fails(DATA, "in no format", whole_read(files_write("a", b.data, b.n), NULL, 2, &w));
  assert_ok(whole_read(files_write("a.bin", b.data, b.n), NULL, 2, &w));
  cr_expect(w.labels[0] == 77);
  whole_free(&w);
}

Test(io_dataset, a_size_that_fits_both_cifars_is_settled_by_the_labels) {
  struct whole w;
  for (int coarse = 0; coarse < 2; coarse++) {
    int n = coarse ? 3073 : 3074, record = 3073 + coarse;
    unsigned char *data = malloc((size_t)n * (size_t)record);
    memset(data, 0x55, (size_t)n * (size_t)record);
    for (int i = 0; i < n; i++) {
      data[i * record] = (unsigned char)(i % 10);
      data[i * record + coarse] = (unsigned char)(coarse ? 99 - i % 100 : i % 10);
    }
    assert_ok(whole_read(files_write("a.bin", data, (size_t)n * (size_t)record), NULL, 100, &w));
    cr_expect(w.n == n && w.info.extra_bytes == coarse);
    cr_expect(w.labels[1] == (coarse ? 98 : 1));
    whole_free(&w);
    free(data);
  }
  struct buffer b = {.n = 0};
  put_records(&b, 2, 1, 0);
  b.data[1] = 100; /* a fine label that CIFAR-100 does not have */
  expect_fails(DATA, "in no format", whole_read(files_write("a", b.data, b.n), NULL, 2, &w));
}

Test(io_dataset, several_files_are_read_as_one) {
  struct buffer b = {.n = 0}, c = {.n = 0};
  struct whole w;
  put_records(&b, 4, 1, 0);
  put_records(&c, 3, 1, 4);
  char path[1100], hex[65], want[65];
  snprintf(path, sizeof path, "%s,%s", files_write("a.bin", b.data, b.n),
           files_write("b.bin", c.data, c.n));
  for (int step = 1; step < 9; step++) {
    assert_ok(whole_read(path, NULL, step, &w));
    cr_assert(w.n == 7 && w.info.n == 7);
    for (int i = 0; i < 7; i++)
      cr_expect(w.labels[i] == i && w.extra[i] == i && w.x[i * 3072] == i, "sample %d", i);
    whole_free(&w);
  }
  struct fg_dataset *d;
  assert_ok(fg_dataset_open(path, NULL, &d));
  int64_t n, label;
  unsigned char x[3072];
  for (int i = 6; i >= 0; i--) {
    assert_ok(fg_dataset_seek(d, i));
    assert_ok(fg_dataset_read(d, 1, x, &label, NULL, &n));
    cr_expect(n == 1 && label == i && x[7] == i);
  }
  put(&b, c.data, c.n);
  assert_ok(fg_sha256(b.data, b.n, want));
  assert_ok(fg_dataset_sha256(d, hex));
  cr_expect(strcmp(hex, want) == 0);
  cr_expect(fg_dataset_reads(d, files_path("b.bin")) && !fg_dataset_reads(d, files_path("c.bin")));
  fg_dataset_close(d);
}

Test(io_dataset, files_that_differ_do_not_join) {
  struct buffer b = {.n = 0}, c = {.n = 0};
  struct whole w;
  char path[1100];
  put_records(&b, 2, 0, 0);
  put_records(&c, 2, 1, 0);
  const char *ten = files_write("a.bin", b.data, b.n), *hundred = files_write("b.bin", c.data, c.n);
  snprintf(path, sizeof path, "%s,%s", ten, hundred);
  expect_fails(DATA, "only alike files join", whole_read(path, NULL, 1, &w));
  struct buffer x = {.n = 0}, y = {.n = 0};
  put_npy(&x, 1, X, "abcdef", 6);
  put_npy(&y, 1, "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }", "abcdef", 6);
  snprintf(path, sizeof path, "%s,%s", files_write("x.npy", x.data, x.n),
           files_write("y.npy", y.data, y.n));
  expect_fails(DATA, "only alike files join", whole_read(path, NULL, 1, &w));
  snprintf(path, sizeof path, "%s,", ten);
  expect_fails(USAGE, "empty name", whole_read(path, NULL, 1, &w));
  snprintf(path, sizeof path, "%s,%s", ten, files_path("none.bin"));
  expect_fails(IO, "none.bin", whole_read(path, NULL, 1, &w));
  assert_ok(whole_read(files_write("a,b.bin", b.data, b.n), NULL, 1, &w)); /* a comma in a name */
  whole_free(&w);
}

Test(io_dataset, labels_are_found_beside) {
  static const struct {
    const char *images, *labels;
  } t[] = {
      {"train-images-idx3-ubyte", "train-labels-idx1-ubyte"},
      {"t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"},
      {"t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"},
      {"u-images-idx3-ubyte.gz", "u-labels-idx1-ubyte"},
      {"v-images-idx3-ubyte", "v-labels-idx1-ubyte.gz"},
      {"adv.idx", "adv.idx.labels-idx1-ubyte"},
      {"adv.npy", "adv.labels.npy"},
      {"z.npy.gz", "z.labels.npy.gz"},
  };
  for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
    struct buffer x = {.n = 0}, y = {.n = 0};
    struct whole w;
    if (strstr(t[i].images, ".npy")) {
      put_npy(&x, 1, X, "abcdef", 6);
      put_npy(&y, 1, Y, (int64_t[]){7, 500, -1}, 24);
    } else {
      put(&x, "\0\0\x08\x02\0\0\0\3\0\0\0\2abcdef", 18);
      put(&y, "\0\0\x08\1\0\0\0\3\7\x09\xff", 11);
    }
    bool gx = strstr(t[i].images, ".gz"), gy = strstr(t[i].labels, ".gz");
    const char *path = (gx ? files_write_gz : files_write)(t[i].images, x.data, x.n);
    const char *beside = (gy ? files_write_gz : files_write)(t[i].labels, y.data, y.n);
    assert_ok(whole_read(path, NULL, 2, &w));
    cr_expect(w.info.has_labels, "%s", t[i].images);
    cr_expect(w.labels[0] == 7 && w.labels[1] == (y.n > 20 ? 500 : 9));
    whole_free(&w);
    struct fg_dataset *d;
    assert_ok(fg_dataset_open(path, NULL, &d));
    cr_expect(fg_dataset_reads(d, beside));
    fg_dataset_close(d);
    if (y.n > 20) {
      y.n = 0;
      put_npy(&y, 1, "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }",
              "0123456789abcdef", 16);
    } else {
      y.data[7] = 2;
      y.n = 10;
    }
    (gy ? files_write_gz : files_write)(t[i].labels, y.data, y.n);
    expect_fails(DATA, "2 labels, but", whole_read(path, NULL, 2, &w));
    assert_ok(whole_read(path, files_write("l.txt", "4\n5\n6\n", 6), 2, &w)); /* named ones win */
    cr_expect(w.labels[2] == 6);
    whole_free(&w);
    unlink(beside);
    assert_ok(whole_read(path, NULL, 2, &w));
    cr_expect(!w.info.has_labels && w.labels[0] == -1);
    whole_free(&w);
  }
}

static fgsm_status with_labels(const char *labels, struct whole *w) {
  struct buffer x = {.n = 0};
  put_npy(&x, 1, X, "abcdef", 6);
  return whole_read(files_write("x.npy", x.data, x.n), labels, 2, w);
}

Test(io_dataset, labels_of_every_kind_of_file) {
  static const struct {
    const char *descr;
    size_t size;
  } t[] = {{"|i1", 1}, {"<u2", 2}, {"<i4", 4}, {"<u8", 8}, {"<i8", 8}, {"|u1", 1}, {"|b1", 1}};
  for (size_t i = 0; i < sizeof t / sizeof *t; i++)
    for (int column = 0; column < 2; column++) {
      struct buffer y = {.n = 0};
      struct whole w;
      char dict[100];
      unsigned char items[24] = {0};
      items[t[i].size] = 1;
      snprintf(dict, sizeof dict, "{'descr': '%s', 'fortran_order': False, 'shape': (3,%s), }",
               t[i].descr, column ? " 1" : "");
      put_npy(&y, 1, dict, items, 3 * t[i].size);
      assert_ok(with_labels(files_write("y.npy", y.data, y.n), &w));
      cr_expect(w.labels[0] == 0 && w.labels[1] == 1 && w.labels[2] == 0, "%s", t[i].descr);
      whole_free(&w);
      const struct zip_member members[] = {{"z.npy", "", 0}, {"y.npy", y.data, y.n}};
      const char *zip = files_write_zip("y.npz", true, members, 2);
      assert_ok(with_labels(zip, &w));
      cr_expect(w.labels[1] == 1);
      whole_free(&w);
      assert_ok(with_labels(files_path("y.npz:y"), &w));
      whole_free(&w);
    }
}

Test(io_dataset, labels_of_text) {
  static const struct {
    const char *text, *error; /* NULL: labels 4, 5, 600 */
  } t[] = {
      {"4\n5\n600\n", NULL},
      {"4\n5\n600", NULL},
      {"label\r\n4\r\n 5 \r\n600\r\n\r\n\n", NULL},
      {"\xef\xbb\xbf"
       "4\n5\n600\n",
       NULL},
      {"\xef\xbb\xbflabel\n4\n5\n600\n", NULL},
      {"4\n5\n", "2 labels for 3 samples"},
      {"4\n5\n6\n7\n", "4 labels for 3 samples"},
      {"4\n\n5\n6\n", ":3:"},
      {"4\n5.5\n6\n", ":2:"},
      {"4\ncat\n6\n", ":2:"},
      {"4,1\n5,2\n6,3\n", ":1:"},
      {"4\n-2\n6\n", ":2:"},
      {"4\n99999999999999999999\n6\n", ":2:"},
      {"4\n00000000000000000000000000000000000000000000000000000000000000000005\n6\n", ":2:"},
      {"", "empty"},
  };
  for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
    struct whole w;
    fgsm_status status = with_labels(files_write("y.csv", t[i].text, strlen(t[i].text)), &w);
    cr_expect(status == (t[i].error ? FGSM_DATA : FGSM_OK), "text %zu: %s", i, fgsm_last_error());
    if (t[i].error)
      cr_expect(strstr(fgsm_last_error(), t[i].error), "%s", fgsm_last_error());
    else
      cr_expect(w.labels[0] == 4 && w.labels[1] == 5 && w.labels[2] == 600);
    whole_free(&w);
  }
  struct whole w;
  expect_fails(DATA, "zero byte", with_labels(files_write("y.csv", "4\n\0\n5\n6", 7), &w));
  expect_fails(DATA, "begins with byte 89", with_labels(files_write("y.csv", "\x89PNG", 4), &w));
}

Test(io_dataset, labels_of_text_are_read_in_any_order) {
  struct buffer x = {.n = 0};
  struct fg_dataset *d = NULL;
  char text[4000] = "class\n";
  size_t at = strlen(text);
  put_npy(&x, 1, "{'descr': '|u1', 'fortran_order': False, 'shape': (500,), }", x.data, 500);
  for (int i = 0; i < 500; i++)
    at += (size_t)snprintf(text + at, sizeof text - at, "%d\n", i * 3);
  assert_ok(fg_dataset_open(files_write("x.npy", x.data, x.n), files_write("y.txt", text, at), &d));
  for (int i = 0; i < 100; i++) {
    int64_t label[2], n;
    unsigned char pair[2];
    assert_ok(fg_dataset_seek(d, i * 313 % 499));
    assert_ok(fg_dataset_read(d, 2, pair, label, NULL, &n));
    cr_expect(n == 2 && label[0] == i * 313 % 499 * 3 && label[1] == label[0] + 3);
  }
  fg_dataset_close(d);
}

Test(io_dataset, labels_that_are_none_are_refused) {
  struct buffer y = {.n = 0};
  struct whole w;
  put_npy(&y, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", "0123456789ab", 12);
  expect_fails(DATA, "expected as integers", with_labels(files_write("y.npy", y.data, y.n), &w));
  y.n = 0;
  put_npy(&y, 1, "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 2), }", "012345", 6);
  expect_fails(DATA, "one label a sample", with_labels(files_write("y.npy", y.data, y.n), &w));
  y.n = 0;
  put_npy(&y, 1, Y, (int64_t[]){0, -2, 1}, 24);
  expect_fails(DATA, "label -2 of sample 1", with_labels(files_write("y.npy", y.data, y.n), &w));
  whole_free(&w);
  y.n = 0;
  put_npy(&y, 1, "{'descr': '<u8', 'fortran_order': False, 'shape': (3,), }",
          (uint64_t[]){0, UINT64_MAX, 1}, 24);
  expect_fails(DATA, "sample 1 holds", with_labels(files_write("y.npy", y.data, y.n), &w));
  whole_free(&w);
}

Test(io_dataset, npz_members_are_chosen_by_name) {
  struct buffer x = {.n = 0}, y = {.n = 0}, f = {.n = 0};
  struct whole w;
  put_npy(&x, 1, X, "abcdef", 6);
  put_npy(&y, 1, Y, (int64_t[]){7, 500, 9}, 24);
  put_npy(&f, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", "0123456789ab", 12);
  static const char *const t[][2] = {{"x.npy", "y.npy"},           {"images.npy", "labels.npy"},
                                     {"arr_0.npy", "arr_1.npy"},   {"X.npy", "Y.npy"},
                                     {"x_test.npy", "y_test.npy"}, {"data.npy", "targets.npy"}};
  for (size_t i = 0; i < sizeof t / sizeof *t; i++)
    for (int k = 0; k < 4; k++) {
      struct zip_member m[] = {{t[i][k & 1], k & 1 ? y.data : x.data, k & 1 ? y.n : x.n},
                               {t[i][!(k & 1)], k & 1 ? x.data : y.data, k & 1 ? x.n : y.n}};
      assert_ok(whole_read(files_write_zip("a.npz", k & 2, m, 2), NULL, 2, &w));
      cr_expect(strcmp(w.info.format, "npz") == 0 && w.n == 3 && w.info.has_labels &&
                    w.labels[1] == 500 && memcmp(w.x, "abcdef", 6) == 0,
                "%s", t[i][0]);
      whole_free(&w);
    }
  const struct zip_member both[] = {
      {"x_train.npy", x.data, x.n}, {"x_test.npy", x.data, x.n}, {"y_train.npy", y.data, y.n}};
  expect_fails(DATA, "x_train, x_test, y_train",
               whole_read(files_write_zip("a.npz", true, both, 3), NULL, 2, &w));
  assert_ok(whole_read(files_path("a.npz:x_train"), NULL, 2, &w));
  cr_expect(w.info.has_labels);
  whole_free(&w);
  assert_ok(whole_read(files_path("a.npz:x_test"), NULL, 2, &w));
  cr_expect(!w.info.has_labels);
  whole_free(&w);
  const struct zip_member second[] = {{"arr_0.npy", x.data, x.n}, {"arr_1.npy", f.data, f.n}};
  assert_ok(whole_read(files_write_zip("b.npz", true, second, 2), NULL, 2, &w));
  cr_expect(!w.info.has_labels);
  whole_free(&w);
  const struct zip_member floats[] = {{"x.npy", x.data, x.n}, {"y.npy", f.data, f.n}};
  expect_fails(DATA, "integers",
               whole_read(files_write_zip("c.npz", true, floats, 2), NULL, 2, &w));
  assert_ok(whole_read(files_path("c.npz"), files_write("l", "1\n2\n3\n", 6), 2, &w));
  whole_free(&w);
  const struct zip_member alone[] = {{"whatever.npy", x.data, x.n}};
  assert_ok(whole_read(files_write_zip("d.npz", true, alone, 1), NULL, 2, &w));
  whole_free(&w);
}

Test(io_dataset, every_cut_and_flip_of_an_npz_is_refused_or_harmless) {
  struct buffer x = {.n = 0};
  struct whole w;
  put_npy(&x, 1, X, "abcdef", 6);
  for (int deflate = 0; deflate < 2; deflate++) {
    const struct zip_member m[] = {{"x.npy", x.data, x.n}};
    size_t n = 0;
    unsigned char *zip = files_read(files_write_zip("a.npz", deflate, m, 1), &n);
    for (size_t cut = 0; cut < n; cut++) {
      expect_fails(DATA, "b.npz", whole_read(files_write("b.npz", zip, cut), NULL, 2, &w));
      whole_free(&w);
    }
    if (!deflate) { /* a stored item changed: the check sum tells */
      unsigned char *at = memmem(zip, n, "abcdef", 6);
      cr_assert(at);
      *at ^= 1;
      expect_fails(DATA, "CRC", whole_read(files_write("b.npz", zip, n), NULL, 2, &w));
      whole_free(&w);
    }
    free(zip);
  }
}

Test(io_dataset, what_is_no_dataset_is_refused) {
  struct whole w;
  expect_fails(DATA, "a folder", whole_read(files_path("."), NULL, 1, &w));
  expect_fails(DATA, "pipe or device", whole_read("/dev/null", NULL, 1, &w));
  mkfifo(files_path("pipe"), 0600);
  expect_fails(DATA, "pipe or device", whole_read(files_path("pipe"), NULL, 1, &w));
  expect_fails(IO, "No such file", whole_read(files_path("none"), NULL, 1, &w));
  expect_fails(DATA, "(empty)", whole_read(files_write("e", "", 0), NULL, 1, &w));
  expect_fails(DATA, "begins with 89 50 4e 47",
               whole_read(files_write("e", "\x89PNG\r\n", 6), NULL, 1, &w));
  expect_fails(DATA, "IDX begins with",
               whole_read(files_write("a-ubyte", "\0\0\x07\1\0\0\0\0", 8), NULL, 1, &w));
  expect_fails(
      DATA, "no members",
      whole_read((files_write("a.npy", "\x93NUMPY", 6), files_path("a.npy:x")), NULL, 1, &w));
}
