/* .npy and IDX: every type, order and version is read as what it means; every lie and every cut is
 * refused with the file's name. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "io_files.h"

TestSuite(io_arrays, .init = files_begin, .fini = files_end);

/* 2 samples of 2 x 3: item i holds i (halves have their own bits). */
static void put_items(struct buffer *b, char kind, int size, bool big, const int *order) {
  for (int i = 0; i < 12; i++) {
    int v = order ? order[i] : i;
    double d = v;
    float f = (float)v;
    int64_t w = v;
    uint16_t h = fg_float_to_half(f);
    unsigned char bytes[8], *p = bytes;
    memcpy(bytes,
           kind != 'f' ? (void *)&w
           : size == 8 ? (void *)&d
           : size == 4 ? (void *)&f
                       : &h,
           (size_t)size);
    for (int k = 0; big && k < size / 2; k++) {
      unsigned char c = p[k];
      p[k] = p[size - 1 - k];
      p[size - 1 - k] = c;
    }
    put(b, bytes, (size_t)size);
  }
}

static void check_counting(const struct whole *w, const char *what) {
  cr_assert(w->n == 2 && w->info.n == 2 && w->info.rank == 2 && w->info.dim[0] == 2 &&
                w->info.dim[1] == 3,
            "%s: shape", what);
  for (int i = 0; i < 12; i++) {
    float f = w->info.type == FG_U8 ? w->x[i] : ((float *)(void *)w->x)[i];
    cr_expect(f == (float)i, "%s: item %d is %g", what, i, f);
  }
}

Test(io_arrays, npy_of_every_type_order_and_version) {
  static const struct {
    const char *descr;
    char kind;
    int size;
    enum fg_type stored;
  } t[] = {
      {"|u1", 'u', 1, FG_U8},  {"|i1", 'i', 1, FG_I8},  {"<i2", 'i', 2, FG_I16},
      {">i2", 'i', 2, FG_I16}, {"<i4", 'i', 4, FG_I32}, {">i4", 'i', 4, FG_I32},
      {"<i8", 'i', 8, FG_I64}, {">i8", 'i', 8, FG_I64}, {"<f2", 'f', 2, FG_F16},
      {">f2", 'f', 2, FG_F16}, {"<f4", 'f', 4, FG_F32}, {">f4", 'f', 4, FG_F32},
      {"<f8", 'f', 8, FG_F64}, {">f8", 'f', 8, FG_F64}, {"=f4", 'f', 4, FG_F32},
  };
  /* C index of each place in Fortran order: (n, i, j) at n + 2 i + 4 j */
  static const int fortran[12] = {0, 6, 3, 9, 1, 7, 4, 10, 2, 8, 5, 11};
  for (size_t i = 0; i < sizeof t / sizeof *t; i++)
    for (int version = 1; version <= 3; version++)
      for (int f = 0; f < 2; f++)
        for (int gz = 0; gz < 2; gz++) {
          struct buffer b = {.n = 0}, items = {.n = 0};
          char dict[128], what[64];
          snprintf(what, sizeof what, "%s v%d fortran %d gz %d", t[i].descr, version, f, gz);
          snprintf(dict, sizeof dict,
                   "{'descr': '%s', 'fortran_order': %s, 'shape': (2, 2, 3), }  ", t[i].descr,
                   f ? "True" : "False");
          put_items(&items, t[i].kind, t[i].size, t[i].descr[0] == '>', f ? fortran : NULL);
          put_npy(&b, version, dict, items.data, items.n);
          struct whole w;
          const char *path =
              gz ? files_write_gz("a.npy.gz", b.data, b.n) : files_write("a.npy", b.data, b.n);
          for (int step = 1; step < 4; step++) {
            assert_ok(whole_read(path, NULL, step, &w));
            cr_expect(w.info.stored == t[i].stored, "%s: stored", what);
            cr_expect(w.info.type == (t[i].kind == 'u' ? FG_U8 : FG_F32), "%s: type", what);
            cr_expect(strcmp(w.info.format, "npy") == 0 && !w.info.has_labels && w.labels[0] == -1);
            check_counting(&w, what);
            whole_free(&w);
          }
        }
}

Test(io_arrays, npy_header_is_parsed_strictly) {
  static const struct {
    bool good;
    const char *dict;
  } t[] = {
      {true, "{\"shape\":(2,2,3),\"fortran_order\":False,\"descr\":\"|u1\"}"},
      {true, "{'descr': '|u1', 'fortran_order': False, 'shape': (2L, 2L, 3L)}"},
      {true, "{'descr': '|u1', 'fortran_order': False, 'shape': (12,)}"},
      {false, "{'descr': '|u1', 'fortran_order': False, 'shape': (12)}"},
      {false, "{'descr': '|u1', 'fortran_order': False}"},
      {false, "{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (12,)}"},
      {false, "{'descr': '|u1', 'fortran_order': False, 'shape': (12,), 'more': 1}"},
      {false, "{'descr': '|u1', 'fortran_order': Maybe, 'shape': (12,)}"},
      {false, "{'descr': '|O', 'fortran_order': False, 'shape': (12,)}"},
      {false, "{'descr': '<u3', 'fortran_order': False, 'shape': (12,)}"},
      {false, "{'descr': '|f8', 'fortran_order': False, 'shape': (12,)}"},
      {false, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (12,)}"},
      {false, "{'descr': '|u1', 'fortran_order': False, 'shape': (-12,)}"},
      {false, "{'descr': '|u1', 'fortran_order': False, 'shape': (12,)} x"},
      {false, "{'descr': '|u1', 'fortran_order': False 'shape': (12,)}"},
      {false, "{'descr': '|u1', 'fortran_order': False, 'shape': (12,)"},
      {false, "{'descr': '|u1', 'fortran_order': False, 'shape': (12 3)}"},
      {false, "{'descr': '|u1', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,12)}"},
      {false, "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,)}"},
      {false, "{'descr': '|u1', 'fortran_order': False, 'shape': ()}"},
      {false, "{'descr': '|u1', 'fortran_order': False, 'shape': (12, 0)}"},
      {false, "{'descr': '|u1', 'fortran_order': False, 'shape': (13,)}"},
      {false, "{'descr': '|u1', 'fortran_order': False, 'shape': (11,)}"},
      {false, "{'descr': '<f8', 'fortran_order': True, 'shape': (4611686018427387904, 4)}"},
      {false, "[]"},
      {false, ""},
  };
  static const unsigned char items[12] = {1};
  for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
    struct buffer b = {.n = 0};
    struct whole w;
    put_npy(&b, 1, t[i].dict, items, 12);
    const char *path = files_write("a.npy", b.data, b.n);
    fgsm_status status = whole_read(path, NULL, 5, &w);
    cr_expect(status == (t[i].good ? FGSM_OK : FGSM_DATA), "%s: %s", t[i].dict, fgsm_last_error());
    cr_expect(t[i].good || strstr(fgsm_last_error(), path), "names no file: %s", fgsm_last_error());
    whole_free(&w);
  }
}

Test(io_arrays, npy_header_cannot_ask_for_memory) {
  struct whole w;
  struct buffer b = {.n = 0};
  put(&b, "\x93NUMPY\x02\0\xff\xff\xff\xff", 12);
  expect_fails(DATA, "header of 4294967295 bytes",
               whole_read(files_write("a.npy", b.data, b.n), NULL, 1, &w));
  b.n = 0;
  put_npy(&b, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1000000000000), }", "", 0);
  expect_fails(DATA, "promises 4000000000",
               whole_read(files_write("a.npy", b.data, b.n), NULL, 1, &w));
  expect_fails(DATA, "promises 4000000000",
               whole_read(files_write_gz("a.npy.gz", b.data, b.n), NULL, 1, &w));
  b.data[6] = 4;
  expect_fails(DATA, "version 4.0", whole_read(files_write("a.npy", b.data, b.n), NULL, 1, &w));
}

static void put_idx(struct buffer *b, int code, int rank, const uint32_t *dim) {
  put(b, (unsigned char[]){0, 0, (unsigned char)code, (unsigned char)rank}, 4);
  for (int i = 0; i < rank; i++)
    put_be32(b, dim[i]);
}

Test(io_arrays, idx_of_every_type_plain_and_gz) {
  static const struct {
    int code;
    char kind;
    int size;
    enum fg_type stored;
  } t[] = {{8, 'u', 1, FG_U8},    {9, 'i', 1, FG_I8},    {0xb, 'i', 2, FG_I16},
           {0xc, 'i', 4, FG_I32}, {0xd, 'f', 4, FG_F32}, {0xe, 'f', 8, FG_F64}};
  for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
    struct buffer b = {.n = 0};
    struct whole w;
    put_idx(&b, t[i].code, 3, (uint32_t[]){2, 2, 3});
    put_items(&b, t[i].kind, t[i].size, true, NULL);
    const char *names[] = {"plain", "a-idx3-ubyte"};
    for (int k = 0; k < 4; k++) {
      const char *path = (k & 1 ? files_write_gz : files_write)(names[k / 2], b.data, b.n);
      assert_ok(whole_read(path, NULL, 3, &w));
      cr_expect(strcmp(w.info.format, "idx") == 0 && w.info.stored == t[i].stored);
      check_counting(&w, "idx");
      whole_free(&w);
    }
  }
}

Test(io_arrays, idx_ranks_one_to_four_and_no_more) {
  for (int rank = 0; rank < 6; rank++) {
    struct buffer b = {.n = 0};
    struct whole w;
    put_idx(&b, 8, rank, (uint32_t[]){5, 1, 1, 1, 1});
    put(&b, "abcde", 5);
    fgsm_status status = whole_read(files_write("a-ubyte", b.data, b.n), NULL, 9, &w);
    cr_expect(status == (rank >= 1 && rank <= 4 ? FGSM_OK : FGSM_DATA), "rank %d: %s", rank,
              fgsm_last_error());
    if (status == FGSM_OK)
      cr_expect(w.n == 5 && w.info.rank == rank - 1 && memcmp(w.x, "abcde", 5) == 0);
    whole_free(&w);
  }
}

Test(io_arrays, every_cut_of_a_file_is_refused) {
  static const char *const names[] = {"a-idx3-ubyte", "a.npy"};
  for (int kind = 0; kind < 2; kind++) {
    struct buffer b = {.n = 0};
    struct whole w;
    unsigned char noise[600];
    for (size_t i = 0; i < sizeof noise; i++)
      noise[i] = (unsigned char)(i * 2654435761u >> 13);
    if (kind)
      put_npy(&b, 1, "{'descr': '|u1', 'fortran_order': False, 'shape': (6, 100), }", noise, 600);
    else {
      put_idx(&b, 8, 3, (uint32_t[]){6, 10, 10});
      put(&b, noise, 600);
    }
    for (size_t n = 0; n < b.n; n++) {
      expect_fails(DATA, names[kind], whole_read(files_write(names[kind], b.data, n), NULL, 4, &w));
      whole_free(&w);
    }
    put(&b, "!", 1);
    expect_fails(DATA, "more follow",
                 whole_read(files_write(names[kind], b.data, b.n), NULL, 4, &w));
    expect_fails(DATA, "more follow",
                 whole_read(files_write_gz(names[kind], b.data, b.n), NULL, 4, &w));
    b.n--;
    size_t whole_bytes = 0;
    unsigned char *gz = files_read(files_write_gz("whole", b.data, b.n), &whole_bytes);
    for (size_t n = 0; n < whole_bytes; n++) {
      expect_fails(DATA, names[kind], whole_read(files_write(names[kind], gz, n), NULL, 4, &w));
      whole_free(&w);
    }
    gz[whole_bytes - 6] ^= 1; /* the check sum */
    expect_fails(DATA, "corrupt",
                 whole_read(files_write(names[kind], gz, whole_bytes), NULL, 4, &w));
    whole_free(&w);
    free(gz);
  }
}

/* The length at the end of a gzip file is believed only until its end is read. */
Test(io_arrays, a_gzip_that_lies_about_its_length_is_found_out) {
  struct buffer b = {.n = 0}, twice = {.n = 0};
  struct whole w;
  size_t n = 0;
  put_npy(&b, 1, "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 2), }", "abcdef", 6);
  unsigned char *gz = files_read(files_write_gz("a.npy", b.data, b.n), &n);
  put(&twice, gz, n);
  put(&twice, gz, n);
  expect_fails(DATA, "more follow",
               whole_read(files_write("b.npy", twice.data, twice.n), NULL, 2, &w));
  whole_free(&w);
  twice.n = 0;
  put(&twice, gz, n / 2);
  put(&twice, gz + n - 4, 4);
  expect_fails(DATA, "b.npy", whole_read(files_write("b.npy", twice.data, twice.n), NULL, 2, &w));
  whole_free(&w);
  twice.n = 0; /* one file in two gzip members is sound */
  free(gz);
  for (int i = 0; i < 2; i++) {
    size_t half = b.n / 2;
    gz = files_read(files_write_gz("half", b.data + (i ? half : 0), i ? b.n - half : half), &n);
    put(&twice, gz, n);
    free(gz);
  }
  assert_ok(whole_read(files_write("b.npy", twice.data, twice.n), NULL, 2, &w));
  cr_expect(w.n == 3 && memcmp(w.x, "abcdef", 6) == 0);
  whole_free(&w);
}

Test(io_arrays, seek_goes_anywhere_in_any_kind_of_file) {
  struct buffer b = {.n = 0};
  unsigned char items[1000];
  for (int i = 0; i < 1000; i++)
    items[i] = (unsigned char)(i / 10);
  put_npy(&b, 1, "{'descr': '|u1', 'fortran_order': False, 'shape': (100, 10), }", items, 1000);
  const struct zip_member members[] = {{"x.npy", b.data, b.n}};
  const char *paths[] = {files_write("a.npy", b.data, b.n), files_write_gz("a.npy.gz", b.data, b.n),
                         files_write_zip("a.npz", true, members, 1),
                         files_write_zip("b.npz", false, members, 1)};
  for (int k = 0; k < 4; k++) {
    struct fg_dataset *d;
    unsigned char x[20];
    int64_t n = 0;
    assert_ok(fg_dataset_open(paths[k], NULL, &d));
    for (int i = 0; i < 60; i++) {
      int at = i * 37 % 99;
      assert_ok(fg_dataset_seek(d, at));
      assert_ok(fg_dataset_read(d, 2, x, NULL, NULL, &n));
      cr_expect(n == 2 && x[0] == at && x[9] == at && x[10] == at + 1, "%s at %d", paths[k], at);
    }
    assert_ok(fg_dataset_seek(d, 100));
    assert_ok(fg_dataset_read(d, 2, x, NULL, NULL, &n));
    cr_expect(n == 0);
    expect_fails(USAGE, "sample 101 of 100", fg_dataset_seek(d, 101));
    expect_fails(USAGE, "sample -1", fg_dataset_seek(d, -1));
    fg_dataset_close(d);
  }
}

Test(io_arrays, values_that_float32_cannot_hold_are_refused) {
  struct whole w;
  struct buffer b = {.n = 0};
  put_npy(&b, 1, "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }",
          (double[]){1, INFINITY, 1e300}, 24);
  expect_fails(DATA, "sample 2 ", whole_read(files_write("a.npy", b.data, b.n), NULL, 9, &w));
  whole_free(&w);
  b.n = 0;
  put_npy(&b, 1, "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }",
          (int32_t[]){1 << 24, (1 << 24) + 1}, 8);
  expect_fails(DATA, "sample 1 ", whole_read(files_write("a.npy", b.data, b.n), NULL, 9, &w));
  whole_free(&w);
}

Test(io_arrays, load_converts_one_array) {
  struct buffer b = {.n = 0};
  int rank = 0;
  int64_t dim[FG_MAX_RANK];
  void *data = NULL;
  put_npy(&b, 1, "{'descr': '>f8', 'fortran_order': True, 'shape': (2, 2), }", /* 0 256 1 3 */
          "\0\0\0\0\0\0\0\0\x40\x70\0\0\0\0\0\0\x3f\xf0\0\0\0\0\0\0\x40\x08\0\0\0\0\0\0", 32);
  const struct zip_member members[] = {{"other.npy", "x", 1}, {"m.npy", b.data, b.n}};
  const char *zip = files_write_zip("a.npz", true, members, 2);
  assert_ok(fg_npy_load(files_path("a.npz:m"), FG_F32, &rank, dim, &data));
  cr_expect(rank == 2 && dim[0] == 2 && dim[1] == 2 && dim[2] == 0);
  cr_expect(memcmp(data, (float[]){0, 1, 256, 3}, 16) == 0);
  free(data);
  const char *npy = files_write("a.npy", b.data, b.n);
  assert_ok(fg_npy_load(npy, FG_I64, &rank, dim, &data));
  cr_expect(memcmp(data, (int64_t[]){0, 1, 256, 3}, 32) == 0);
  free(data);
  assert_ok(fg_npy_load(npy, FG_F64, &rank, dim, &data));
  cr_expect(memcmp(data, (double[]){0, 1, 256, 3}, 32) == 0);
  free(data);
  assert_ok(fg_npy_load(npy, FG_BOOL, &rank, dim, &data));
  cr_expect(memcmp(data, "\0\1\1\1", 4) == 0);
  free(data);
  expect_fails(DATA, "sample 1 ", fg_npy_load(npy, FG_U8, &rank, dim, &data));
  cr_expect(!data);
  expect_fails(DATA, "no member named q",
               fg_npy_load(files_path("a.npz:q"), FG_F32, &rank, dim, &data));
  expect_fails(DATA, ".npy's magic", fg_npy_load(zip, FG_F32, &rank, dim, &data));
  expect_fails(IO, "No such file", fg_npy_load(files_path("none"), FG_F32, &rank, dim, &data));
}
