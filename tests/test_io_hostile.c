/* Files from strangers: small valid ones with bytes flipped, cut and repeated, thousands of times.
 * A damaged file may be read or refused; it may not crash, hang, or ask for much memory (which the
 * address limit and, in the sanitized build, the sanitizers would show). */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <zlib.h>

#include <criterion/criterion.h>

#include "io_files.h"

TestSuite(io_hostile, .init = files_begin, .fini = files_end, .timeout = 120);

static uint64_t seed = 88172645463325252u;
static uint32_t next(uint32_t below) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return (uint32_t)(seed >> 32) % below;
}

static void damage(unsigned char *data, size_t *n) {
  static const unsigned char odd[] = {0, 1, 0x7f, 0x80, 0xff, '(', ')', ',', '9', '\''};
  for (uint32_t k = 1 + next(3); k--;) {
    size_t at = next((uint32_t)*n);
    if (next(3) == 0)
      at = at % 40 < *n ? at % 40 : at; /* headers matter more */
    switch (next(8)) {
    case 0:
      *n = at + 1;
      break;
    case 1:
      memmove(data + at, data + at / 2, (*n - at) / 2);
      break;
    case 2:
    case 3:
      data[at] = odd[next(sizeof odd)];
      break;
    default:
      data[at] ^= (unsigned char)(1u << next(8));
    }
  }
}

static int tortured(const char *name, const unsigned char *data, size_t n, int times,
                    const char *labels_of) {
  static unsigned char copy[1 << 16];
  int refused = 0;
  for (int i = 0; i < times; i++) {
    struct whole w;
    size_t m = n;
    memcpy(copy, data, n);
    damage(copy, &m);
    const char *path = files_write(name, copy, m);
    fgsm_status status =
        labels_of ? whole_read(labels_of, path, 7, &w) : whole_read(path, NULL, 7, &w);
    cr_expect(status == FGSM_OK || status == FGSM_DATA || status == FGSM_MEMORY, "%s: %s", name,
              fgsm_last_error());
    refused += status != FGSM_OK;
    whole_free(&w);
  }
  return refused;
}

static void limit_memory(void) {
#ifndef FG_SANITIZED
  struct rlimit limit = {(rlim_t)1 << 30, (rlim_t)1 << 30};
  setrlimit(RLIMIT_AS, &limit);
#endif
}

Test(io_hostile, damaged_files_are_read_or_refused) {
  struct buffer idx = {.n = 0}, npy = {.n = 0}, fortran = {.n = 0}, labels = {.n = 0},
                bin = {.n = 0};
  unsigned char items[600];
  for (int i = 0; i < 600; i++)
    items[i] = (unsigned char)(i * 7);
  put(&idx, "\0\0\x08\3\0\0\0\6\0\0\0\xa\0\0\0\xa", 16);
  put(&idx, items, 600);
  put_npy(&npy, 2, "{'descr': '<f2', 'fortran_order': False, 'shape': (6, 5, 10), }", items, 600);
  put_npy(&fortran, 1, "{'descr': '>i2', 'fortran_order': True, 'shape': (6, 5, 10), }", items,
          600);
  put_npy(&labels, 1, "{'descr': '|u1', 'fortran_order': False, 'shape': (6,), }", items, 6);
  for (int i = 0; i < 6; i++)
    put(&bin, (unsigned char[3073]){(unsigned char)i}, 3073);
  limit_memory();
  char good[512];
  snprintf(good, sizeof good, "%s", files_write("good", npy.data, npy.n));
  static const char text[] = "label\n1\n2\n3\n4\n5\n6\n";
  const struct {
    const char *name;
    const unsigned char *data;
    size_t n;
    int labels;
  } t[] = {
      {"a-ubyte", idx.data, idx.n, 0},
      {"a", idx.data, idx.n, 0},
      {"a.npy", npy.data, npy.n, 0},
      {"f.npy", fortran.data, fortran.n, 0},
      {"a.bin", bin.data, bin.n, 0},
      {"l.npy", labels.data, labels.n, 1},
      {"l.txt", (const unsigned char *)text, sizeof text - 1, 1},
  };
  for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
    int refused = tortured(t[i].name, t[i].data, t[i].n, 2000, t[i].labels ? good : NULL);
    cr_expect(refused > 100 && refused < 2000, "%s: %d of 2000 refused", t[i].name, refused);
  }
  size_t n = 0;
  for (int i = 0; i < 2; i++) {
    const struct zip_member m[] = {{"x.npy", i ? fortran.data : npy.data, i ? fortran.n : npy.n},
                                   {"y.npy", labels.data, labels.n}};
    for (int deflate = 0; deflate < 2; deflate++) {
      unsigned char *zip = files_read(files_write_zip("z.npz", deflate, m, 2), &n);
      cr_expect(tortured("b.npz", zip, n, 2000, NULL) > 500);
      cr_expect(tortured("b.npz", zip, n, 500, good) > 100); /* as labels */
      free(zip);
    }
    unsigned char *gz =
        files_read(files_write_gz("g", i ? fortran.data : idx.data, i ? fortran.n : idx.n), &n);
    cr_expect(tortured("g.gz", gz, n, 2000, NULL) > 1000);
    free(gz);
  }
}

/* 64 MiB of zeros in 64 KiB of gzip and zip, behind headers that promise much more or less. */
Test(io_hostile, bombs_do_not_fill_the_memory) {
  static const char *const dicts[] = {
      "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000000), }",
      "{'descr': '|u1', 'fortran_order': True, 'shape': (1000000, 1000000), }",
      "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 4000000000), }",
      "{'descr': '|u1', 'fortran_order': False, 'shape': (4, 4), }",
      "{'descr': '|u1', 'fortran_order': True, 'shape': (4, 4), }",
  };
  size_t bytes = 64 << 20;
  unsigned char *zeros = calloc(1, bytes);
  limit_memory();
  for (size_t i = 0; i < sizeof dicts / sizeof *dicts; i++) {
    struct buffer head = {.n = 0};
    struct whole w;
    put_npy(&head, 1, dicts[i], "", 0);
    memcpy(zeros, head.data, head.n);
    expect_fails(DATA, "header", whole_read(files_write_gz("a.npy.gz", zeros, bytes), NULL, 1, &w));
    const struct zip_member m[] = {{"x.npy", zeros, bytes}};
    expect_fails(DATA, "header", whole_read(files_write_zip("a.npz", true, m, 1), NULL, 1, &w));
    memset(zeros, 0, head.n);
  }
  free(zeros);
  bytes = 300 << 20; /* honest, but it would have to be held to be read by rows */
  zeros = calloc(1, bytes);
  struct buffer head = {.n = 0};
  put_npy(&head, 1, "{'descr': '|u1', 'fortran_order': True, 'shape': (300, 1048560), }", "", 0);
  memcpy(zeros, head.data, head.n);
  struct whole held;
  expect_fails(
      DATA, "held in memory",
      whole_read(files_write_gz("a.npy.gz", zeros, 300 * 1048560 + head.n), NULL, 1, &held));
  free(zeros);
  struct buffer many = {.n = 0}; /* 4 G labels promised, and as many samples */
  struct whole w;
  put(&many, "\0\0\x08\1\xff\xff\xff\xff", 8);
  expect_fails(DATA, "promises 4294967303",
               whole_read(files_write("many-ubyte", many.data, many.n), NULL, 1, &w));
}

/* ---- zips whose directories are odd. `npy` is a sound array of 6 samples. */

static struct buffer sound_npy(void) {
  struct buffer b = {.n = 0};
  unsigned char items[60] = {0};
  put_npy(&b, 1, "{'descr': '|u1', 'fortran_order': False, 'shape': (6, 10), }", items, 60);
  return b;
}

Test(io_hostile, zips_with_odd_members_are_refused_with_words) {
  static struct zip_member many[1100];
  static char names[1100][16];
  struct buffer npy = sound_npy();
  struct whole w;
  const struct zip_member twice[] = {{"x.npy", npy.data, npy.n}, {"x.npy", npy.data, npy.n}};
  expect_fails(DATA, "two members are named x",
               whole_read(files_write_zip("z.npz", true, twice, 2), NULL, 1, &w));
  const struct zip_member both[] = {{"x", npy.data, npy.n}, {"x.npy", npy.data, npy.n}};
  expect_fails(DATA, "two members are named x",
               whole_read(files_write_zip("z.npz", true, both, 2), NULL, 1, &w));
  const struct zip_member shown[] = {{"a\x1b[31m.npy", npy.data, npy.n},
                                     {"b.npy", npy.data, npy.n}};
  expect_fails(DATA, "\\x1b[31m",
               whole_read(files_write_zip("z.npz", true, shown, 2), NULL, 1, &w));
  for (int i = 0; i < 1100; i++) {
    snprintf(names[i], sizeof names[i], "m%d.npy", i);
    many[i] = (struct zip_member){names[i], "", 0};
  }
  expect_fails(DATA, "more than 1024 members",
               whole_read(files_write_zip("z.npz", true, many, 1100), NULL, 1, &w));
  const struct zip_member none[] = {{"x.npy", "", 0}};
  expect_fails(DATA, "z.npz", whole_read(files_write_zip("z.npz", true, none, 1), NULL, 1, &w));
}

/* The sizes that directory and header state are claims: larger, smaller, and those that mean
 * "in the zip64 field", which is not there. */
Test(io_hostile, zips_that_lie_about_sizes_are_read_or_refused) {
  static const uint32_t claims[] = {0, 1, 137, 0x7fffffff, 0xfffffffe, 0xffffffff};
  struct buffer npy = sound_npy();
  limit_memory();
  for (int deflate = 0; deflate < 2; deflate++) {
    const struct zip_member m[] = {{"x.npy", npy.data, npy.n}};
    size_t n = 0;
    unsigned char *zip = files_read(files_write_zip("z.npz", deflate, m, 1), &n);
    for (size_t at = 0; at + 46 < n; at++) {
      bool local = memcmp(zip + at, "PK\3\4", 4) == 0, central = memcmp(zip + at, "PK\1\2", 4) == 0;
      if (!local && !central)
        continue;
      for (size_t k = 0; k < 2 * (sizeof claims / sizeof *claims); k++) {
        unsigned char kept[4], *field = zip + at + (local ? 18 : 20) + 4 * (k % 2);
        struct whole w;
        memcpy(kept, field, 4);
        for (int i = 0; i < 4; i++)
          field[i] = (unsigned char)(claims[k / 2] >> 8 * i);
        fgsm_status status = whole_read(files_write("l.npz", zip, n), NULL, 7, &w);
        cr_expect(status == FGSM_OK || status == FGSM_DATA, "%s", fgsm_last_error());
        cr_expect(status != FGSM_OK || w.n == 6, "%lld samples", (long long)w.n);
        if (status != FGSM_OK)
          cr_expect(strstr(fgsm_last_error(), "l.npz"), "%s", fgsm_last_error());
        whole_free(&w);
        memcpy(field, kept, 4);
      }
    }
    free(zip);
  }
}

/* What must be held in memory is bounded over all the files of a dataset, not for each. */
Test(io_hostile, many_small_bombs_are_one_large_one) {
  size_t bytes = 100 << 20;
  struct buffer head = {.n = 0};
  char list[2048];
  struct whole w;
  put_npy(&head, 1, "{'descr': '|u1', 'fortran_order': True, 'shape': (100, 1048576), }", "", 0);
  unsigned char *zeros = calloc(1, bytes + head.n);
  memcpy(zeros, head.data, head.n);
  const char *one = files_write_gz("a.npy.gz", zeros, bytes + head.n);
  free(zeros);
  snprintf(list, sizeof list, "%s,%s,%s", one, one, one);
  expect_fails(DATA, "held in memory", whole_read(list, NULL, 1, &w));
}

Test(io_hostile, arrays_beyond_what_is_allowed_are_refused) {
  struct buffer npy = sound_npy();
  const char *path = files_write("a.npy", npy.data, npy.n);
  int rank;
  int64_t dim[FG_MAX_RANK];
  void *data = NULL;
  expect_fails(DATA, "more than 239 bytes",
               fg_npy_load_within(path, 239, FG_F32, &rank, dim, &data));
  assert_ok(fg_npy_load_within(path, 240, FG_F32, &rank, dim, &data));
  free(data);
}
